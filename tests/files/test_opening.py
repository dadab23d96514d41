"""Files of any kind: what kind they are, that they can be read again, and what is said of those that can't be read."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
from itertools import islice

import pytest

import neto_async
from neto_async import ConfigurationError, importing
from neto_async.importing import FileFormat, open_binary, open_rows

TEXT = b"Notes\n" + b"".join(b"%s %d\n" % (b"x" * 60, number) for number in range(3000))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"Notes\nx\n", FileFormat.CSV),
        ("A.TSV", b"Notes\nx\n", FileFormat.CSV),
        ("a.ndjson", b'{"Notes": "x"}', FileFormat.JSONL),
        ("a.JSON", b'[{"Notes": "x"}]', FileFormat.JSON),
    ],
)
def test_endings_say_the_kind(name, content, expected):
    """The ending says what kind a file is, in any case."""
    file = open_rows(io.BytesIO(content), name=name)

    assert (expected, [("x",)]) == (file.format, [row.cells for row in file])


@pytest.mark.parametrize("content", [TEXT, gzip.compress(TEXT, mtime=0)])
def test_iterations_do_not_disturb_one_another(content):
    """Two loops over one file, in turns and in two threads, each read all of it."""
    file = open_rows(io.BytesIO(content), name="a.csv")
    expected = list(file)
    first, second = iter(file), iter(file)
    woven = [list(islice(loop, 700)) for _ in range(5) for loop in (first, second)]
    found = {}
    threads = [threading.Thread(target=lambda key=key: found.update({key: list(file)})) for key in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert expected == sum(woven[::2], []) == sum(woven[1::2], [])  # noqa: RUF017 - ten short lists
    assert {0: expected, 1: expected} == found


def test_a_place_is_held_until_it_is_read():
    """Between going to a place and reading there, no other thread goes elsewhere."""

    class Interrupted(io.BytesIO):
        intruder = None

        def seek(self, *place):
            found = super().seek(*place)
            if self.intruder is not None:
                thread, self.intruder = self.intruder, None
                thread.start()
                thread.join(0.2)  # it has to wait for this reading, and ends afterwards
            return found

    disk = Interrupted(TEXT)
    file = open_rows(disk, name="a.csv")
    expected = list(file)
    found = []
    thread = disk.intruder = threading.Thread(target=lambda: found.extend(file))

    assert expected == list(file)
    thread.join()
    assert expected == found


def test_positions_are_stable():
    """Each reading gives the same rows on the same lines."""
    file = open_rows(io.BytesIO(b'Notes\n"a\nb"\n"x"y\nc\n'), name="a.csv")

    assert [2, 4, 5] == [row.line for row in file] == [row.line for row in file]


@pytest.mark.parametrize(
    ("name", "content", "options", "says"),
    [
        ("a.doc", b"", {}, "known by their endings"),
        ("a.gz", b"", {}, "known by their endings"),
        ("a.xls", b"", {}, "save it as .xlsx"),
        ("a.ods", b"", {}, "save it as .xlsx"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and more", {}, "none with a password"),
        ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 and more", {}, "none with a password"),
        ("a.csv", b"PK\x03\x04", {}, "workbook or a zip archive"),
        ("a.xlsx", b"Notes\n", {}, "no Excel workbook"),
        ("a.xlsx.gz", gzip.compress(b"PK\x03\x04", mtime=0), {}, "inside gzip"),
        ("a.csv", b"Notes\n", {"file_format": "pdf"}, "one of csv, jsonl, json or xlsx"),
        ("a.csv", b"Notes\n", {"delimiter": ";;"}, "one character"),
        ("a.csv", b"Notes\n", {"delimiter": '"'}, "one character"),
        ("a.csv", b"Notes\n", {"sheet": "Calls"}, "only a workbook has sheets"),
    ],
)
def test_what_is_refused(name, content, options, says):
    """What can't be read is refused with a sentence that says what to do."""
    with pytest.raises(ConfigurationError, match=says):
        open_rows(io.BytesIO(content), name=name, **options)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.csv",
            "a;ä\n".encode("cp1252"),
            "Windows-1252, taken for it since it is not UTF-8, columns separated by semicolon",
        ),
        ("a.jsonl", b"", "UTF-8"),
    ],
)
def test_how_it_is_read_in_words(name, content, expected):
    """The plan says how the file is read."""
    assert expected == open_rows(io.BytesIO(content), name=name).read_as


def test_a_delimiter_of_ones_own_is_reported():
    """A delimiter without a name is shown as it is."""
    assert "UTF-8, columns separated by ^" == open_rows(io.BytesIO(b"a^b\n"), name="a.csv", delimiter="^").read_as


def test_files_on_disk(tmp_path):
    """A file is opened as it is; one that does not exist is named."""
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT)
    with open_binary(path) as file:
        assert 3000 == len(list(open_rows(file, name="a.csv")))
        assert str(path) == file.name
    with pytest.raises(ConfigurationError, match=r"b\.csv: No such file"):
        open_binary(tmp_path / "b.csv")


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes")
def test_pipes(tmp_path):
    """A pipe, named or not, is kept in a file without a name, so that it can be read again."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(TEXT,))
    writer.start()
    with open_binary(path) as named, open_binary(io.BytesIO(TEXT)) as stream:
        for file in (named, stream):
            rows = open_rows(file, name="standard input", file_format="csv")
            assert list(rows) == list(rows)
            assert 3000 == len(list(rows))
    writer.join()


def test_a_disk_that_is_full():
    """What can't be kept is reported."""

    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError(28, "No space left on device")

    with pytest.raises(ConfigurationError, match=r"standard input can't be kept .*: No space left"):
        open_binary(Broken())


def test_errors_of_the_disk_come_out_as_they_are():
    """A disk that fails while a file is read is not taken for the file's end."""

    class Failing(io.BytesIO):
        broken = False

        def read(self, size=-1):
            if self.broken:
                raise OSError(5, "Input/output error")
            return super().read(size)

    disk = Failing(TEXT)
    rows = open_rows(disk, name="a.csv")
    disk.broken = True

    with pytest.raises(OSError, match="Input/output error"):
        list(rows)


def test_the_public_names_are_loaded_when_asked_for():
    """Importing the package loads no reader of files; what `neto_async.importing` names is there all the same."""
    program = "import sys, neto_async; print(*(name for name in sys.modules if '.importing.' in name))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    late = {f"neto_async.{name}" for name in ("files.opening", "mapping.columns", "importing.plan")}
    assert set() == late & set(ran.stdout.split())
    assert None is not neto_async
    assert [] == [name for name in importing.__all__ if getattr(importing, name) is None]
    with pytest.raises(AttributeError, match="nothing"):
        _ = importing.nothing
