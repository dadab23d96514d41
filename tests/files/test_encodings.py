"""In which encoding a file is written: decided on all of it; a fault is named with its place."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neto_async import ConfigurationError
from neto_async.files.encodings import Encoding, open_text
from neto_async.importing import open_rows


def opened(content, **options):
    return open_rows(io.BytesIO(content), name="calls.csv", **options)


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_usual_encoding_is_found(encoding):
    """Marks, UTF-8 and Windows-1252 are recognised, and the text is read to the character."""
    file = opened("Name,Notes\nZoë,café “5 €”\n".encode(encoding))

    assert [("Zoë", "café “5 €”")] == [row.cells for row in file]
    assert ("cp1252" == encoding) == file.encoding.guessed


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), st.sampled_from(ENCODINGS[:4]))
def test_what_is_marked_or_utf8_is_read_back(text, encoding):
    """Any text in one of these encodings comes back."""
    (row,) = opened(f'"Notes"\n"x{text.replace(chr(34), "")}"\n'.encode(encoding), delimiter=",")

    assert (f"x{text.replace(chr(34), '')}",) == row.cells


def test_damaged_utf8_is_not_taken_for_windows_1252():
    """A file that is UTF-8 elsewhere is refused with line and column, since every other letter would be garbled."""
    with pytest.raises(ConfigurationError, match=r"line 3, column 2: .*not UTF-8, in a file that is UTF-8 elsewhere"):
        opened("Notes\ncafé, Zoë\nx".encode() + b"\xff\n")


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (b"Notes\na\nb\x81\n", {}, "line 3, column 2: bytes that are not Windows-1252"),
        (b"Notes\n\xe9\n", {"encoding": "ascii"}, "line 2, column 1: bytes that are not ascii"),
        (b"\xff\xfeN", {}, "bytes that are not UTF-16"),
        (b"Notes\n\xe9\n", {"encoding": "punycode"}, "bytes that are not punycode"),
        (b"Notes\n", {"encoding": "undefined"}, "no encoding has this name"),
        (b"xn--" + b"9" * 80, {"encoding": "idna"}, "line 1, column 1: bytes that are not idna"),
        (b"Notes\n", {"encoding": "zip"}, "no encoding has this name"),
        (b"Notes\n", {"encoding": "klingon"}, "no encoding has this name"),
        ("Notes\nx\n".encode("utf-16-le"), {}, "NUL characters"),
    ],
)
def test_what_can_not_be_read_is_refused(content, options, says):
    """A byte that can't be read refuses the file before its first row."""
    with pytest.raises(ConfigurationError, match=says):
        opened(content, **options)


def test_an_encoding_that_was_chosen():
    """A name that someone gave decides where there is no mark, and only there."""
    assert [("Ж",)] == [row.cells for row in opened("Notes\nЖ\n".encode("koi8-r"), encoding="koi8-r")]
    assert [("Ж",)] == [row.cells for row in opened("Notes\nЖ\n".encode("utf-8-sig"), encoding="koi8-r")]


def test_faults_past_the_first_chunk():
    """The place of a fault is counted on from chunk to chunk."""
    content = b"Notes\n" + b"x" * 299_999 + b"\n" + "é".encode() * 2 + b"\xff\n"

    with pytest.raises(ConfigurationError, match="line 3, column 3:"):
        opened(content)


def test_the_text_borrows_the_file():
    """Closing the text leaves the file open, for whoever lent it; a repr shows nothing of it."""
    file = io.BytesIO(b"CANARY")
    with open_text(file, Encoding(codec="utf-8", label="UTF-8")) as text:
        assert ("C", False) == (text.read(1), "CANARY" in repr(text))
    assert not file.closed
