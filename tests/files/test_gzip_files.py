"""Files packed with gzip are read as if they were not; what is cut short or damaged is refused whole."""

from __future__ import annotations

import gzip
import io
import random
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neto_async import ConfigurationError
from neto_async.files import gzip_files
from neto_async.importing import open_rows

TEXT = b"Notes\n" + b"".join(b"note %d\n" % number for number in range(5000))


def cells(content, name="calls.csv"):
    return [row.cells for row in open_rows(io.BytesIO(content), name=name)]


PACKED = gzip.compress(TEXT)
CELLS = cells(TEXT)


@pytest.mark.parametrize("name", ["calls.csv.gz", "calls.csv", "CALLS.CSV.GZ"])
def test_known_by_their_first_bytes(name):
    """Whatever the name says, gzip is unpacked and plain text is not."""
    assert cells(TEXT) == cells(gzip.compress(TEXT), name) == cells(TEXT, name)


@pytest.mark.parametrize(("name", "text"), [("a.jsonl.gz", b'{"a": 1}\n'), ("a.json.gz", b'[{"a": 1}]')])
def test_json_too(name, text):
    """JSON Lines and JSON are read from gzip as well."""
    file = open_rows(io.BytesIO(gzip.compress(text)), name=name)

    assert ([(1,)], True, "gzip, UTF-8") == ([row.cells for row in file], file.packed, file.read_as)


def test_several_members():
    """Files that were packed apart and put together are one (RFC 1952, 2.2), zeros behind them are nothing."""
    content = gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:]) + b"\0" * 100

    assert cells(TEXT) == cells(content)


@given(st.data())
def test_any_order_of_reading(data):
    """The bytes from a place on are the same in whatever order places are read."""
    text = bytes(range(256)) * 40
    file = gzip_files.unpacked(io.BytesIO(gzip.compress(text)), name="x")

    for at, size in data.draw(st.lists(st.tuples(st.integers(0, len(text)), st.integers(0, 3000)), max_size=6)):
        file.seek(at)
        assert text[at : at + size] == file.read(size)
    file.seek(0)
    assert text == file.read()
    assert file.readable()
    assert file.seekable()


@given(st.integers(0, 2**32))
@example(1713)  # a bit between the end of the stream and the next whole byte, which says nothing
def test_damage_is_reported(seed):
    """A packed file that is cut anywhere is refused before its first row, as is one of which a bit says otherwise."""
    chance = random.Random(seed)
    altered = bytearray(PACKED)
    altered[chance.randrange(20, len(PACKED))] ^= 1 << chance.randrange(8)

    with pytest.raises(ConfigurationError, match="cut short, so its last rows are missing"):
        cells(PACKED[: chance.randrange(2, len(PACKED))])
    with suppress(ConfigurationError):
        assert CELLS == cells(bytes(altered))


def test_a_file_that_is_damaged_after_it_was_opened():
    """What was whole when it was opened and is not when it is read again is an error, and is read once it is whole."""
    content = bytearray(gzip.compress(TEXT))
    file = io.BytesIO(content)
    rows = open_rows(file, name="a.csv")
    file.truncate(len(content) // 2)
    with pytest.raises(ConfigurationError, match="cut short"):
        list(rows)
    file.seek(0)
    file.write(content)

    assert cells(TEXT) == [row.cells for row in rows]


def test_bombs_are_refused(monkeypatch):
    """What holds far more than any table of its packed size is refused when that much has come out of it."""
    monkeypatch.setattr(gzip_files, "MAX_FREELY", 100_000)

    with pytest.raises(ConfigurationError, match="200 times its packed size"):
        cells(gzip.compress(b"Notes\n" + b"x\n" * 5_000_000))
    assert 20_000 == len(cells(gzip.compress(b"Notes\n" + random.Random(1).randbytes(200_000).hex("\n", 10).encode())))


def test_memory_stays_flat():
    """Nothing is unpacked whole: 4 MB are read in pieces of a known size."""
    text = b"Notes\n" + random.Random(1).randbytes(2_000_000).hex("\n", 50).encode()
    sizes = []

    class Watched(io.BytesIO):
        def read(self, size=-1):
            sizes.append(size)
            return super().read(size)

    rows = open_rows(Watched(gzip.compress(text)), name="a.csv")

    assert 40_000 == sum(1 for _ in rows)
    assert 0 <= min(sizes) <= max(sizes) <= 1 << 20
