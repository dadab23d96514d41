"""
Disks, files and streams that fail under the command.

The law: it says in a sentence what is wrong, exits with the code that README.md gives, and once the fault is fixed the
same command goes on until each row is in the store exactly once.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from attrs import Factory, define, frozen

from neto_async.importing.reports import Reports
from neto_async.journals.sqlite import APPLICATION, VERSION, SqliteJournal
from neto_async.sandbox import NetoSandbox, faults

HEADER = "Username,Notes\n"
ROWS = 120
PAGE = 4096  # of a journal


def rows(number: int, width: int = 0) -> str:
    """Give a file of logs; each says in its text which one it is."""
    return HEADER + "".join(f"ann,note {row}{'-' * width}\n" for row in range(number))


@define
class Place:
    """A folder with a file to import, and how it is imported while something fails, and afterwards."""

    folder: Path
    store: NetoSandbox
    words: list[str] = Factory(list)
    fixed: list[str] = Factory(list)
    options: dict[str, Any] = Factory(dict)

    @property
    def file(self) -> Path:
        return self.folder / "calls.csv"

    @property
    def journal(self) -> Path:
        return self.folder / "it.journal"

    @property
    def report(self) -> Path:
        return self.folder / "report"

    def say(self, *words: str) -> None:
        """Import the file with these words, now and afterwards."""
        self.words = self.fixed = [str(self.file), *(word.format(place=self) for word in words)]


@pytest.fixture
def place(store: NetoSandbox, tmp_path: Path) -> Place:
    """Give a folder with a good file in it."""
    made = Place(tmp_path, store)
    made.file.write_text(rows(ROWS), encoding="utf-8")
    made.say()
    return made


def quickly(words: list[str], pace: str = "none") -> list[str]:
    """Give the words of an import in many calls."""
    return ["import", *words, "--batch-size", "20", "--max-concurrency", "2", "--requests-per-minute", pace]


Arrange = Callable[[Place], Any]


@frozen
class Case:
    """
    Something that fails.

    Attributes:
        arrange: Makes it fail while its block lasts.
        code: Its exit code. With 1 nothing was sent.
        says: What the person reads.
        doubts: Calls that were under way can be in doubt afterwards: their ends could not be written.
    """

    name: str
    arrange: Arrange
    code: int
    says: str
    doubts: bool = False


def full_at(size: int, *words: str, width: int = 0) -> Arrange:
    """Let no file grow beyond some bytes, as on a disk that is full."""

    def arrange(place: Place) -> Any:
        place.file.write_text(rows(ROWS, width), encoding="utf-8")
        place.say(*words)
        place.options = {"longest_file": size}
        return nullcontext()

    return arrange


def standard_input_is_not_kept(place: Place) -> Any:
    place.words = ["-"]
    place.options = {"longest_file": 10, "stdin": place.file.read_bytes()}
    return nullcontext()


def modes(path: str, mode: int, *words: str) -> Arrange:
    """Take rights to a path away; what is not there is made, a file where its name has an ending."""

    @contextmanager
    def arrange(place: Place) -> Iterator[None]:
        place.say(*words)
        place.options = {"bound_by_modes": True}
        where = place.folder / path
        if not where.exists():
            where.touch() if where.suffix else where.mkdir()
        before = where.stat().st_mode
        where.chmod(mode)
        try:
            yield
        finally:
            where.chmod(before)

    return arrange


def wrong(*words: str) -> Arrange:
    """Say what can't be, and nothing of it afterwards."""

    def arrange(place: Place) -> Any:
        place.words = [word.format(place=place) for word in words]
        return nullcontext()

    return arrange


@contextmanager
def journal_in_use(place: Place) -> Iterator[None]:
    place.say("--journal", "{place.journal}")
    journal = SqliteJournal(place.journal)
    journal.open(place.store.url)
    try:
        yield
    finally:
        journal.close()


def journal_that_is(make: Callable[[Path], None]) -> Arrange:
    """Put another file where the journal is to be; it must not be changed."""

    @contextmanager
    def arrange(place: Place) -> Iterator[None]:
        place.say("--journal", "{place.journal}")
        make(place.journal)
        before = place.journal.read_bytes()
        yield
        assert before == place.journal.read_bytes()
        place.journal.unlink()

    return arrange


def database(version: int, application: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE customers (name TEXT)")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute(f"PRAGMA application_id = {application}")
        connection.close()

    return make


def damaged(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.open("http://127.0.0.1:1")
    journal.close()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"http://127.0.0.1:1", b"http://127.0.0.1:2"))


def reports_of(journal: str | None) -> Arrange:
    """Have another import write into the folder meanwhile."""

    @contextmanager
    def arrange(place: Place) -> Iterator[None]:
        place.say("--report", "{place.report}")
        reports = Reports(place.report, ("Notes",))
        reports.open(journal)
        try:
            yield
        finally:
            reports.close(complete=True)
            shutil.rmtree(place.report)

    return arrange


def source(name: str, content: bytes, *more: str) -> Arrange:
    def arrange(place: Place) -> Any:
        (place.folder / name).write_bytes(content)
        place.words = [str(place.folder / name), *more]
        return nullcontext()

    return arrange


PACKED = gzip.compress(rows(ROWS).encode())
HALF = len(PACKED) // 2
FLIPPED = PACKED[:HALF] + bytes([PACKED[HALF] ^ 0xFF]) + PACKED[HALF + 1 :]
NOT_UTF_8 = rows(30).encode() + b"ann,\xff\xfe\n"
NOT_EVEN_WINDOWS = rows(30).encode() + b"ann,\x81\n"

CASES = [
    # A disk that is full.
    Case("no room for the journal", full_at(0), 1, "journal can't be used: "),
    Case("no room for all of its tables", full_at(2 * PAGE), 1, "journal can't be used: "),
    Case("the journal fills", full_at(6 * PAGE), 4, "journal can't be written: ", doubts=True),
    Case("no room for reports", full_at(1, "--report", "{place.report}", "--no-journal"), 4, "report can't be written"),
    Case("the reports fill", full_at(50_000, "--report", "{place.report}", width=1500), 4, "report can't be written: "),
    Case("standard input is not kept", standard_input_is_not_kept, 1, "can't be kept in a temporary file: "),
    # Rights that are missing.
    Case("the file's folder is read-only", modes(".", 0o500), 1, "can't be made: Permission denied"),
    Case("the journal's folder is closed", modes("a", 0, "--journal", "{place.folder}/a/j"), 1, "Permission denied"),
    Case("the journal is read-only", modes("it.journal", 0o400, "--journal", "{place.journal}"), 1, "readonly"),
    Case(
        "the report's folder is read-only", modes("report", 0o500, "--report", "{place.report}"), 1, "report can't be"
    ),
    Case("the report's folder is closed", modes("a", 0, "--report", "{place.folder}/a/b"), 1, "a can't be written to"),
    Case("the file can't be read", modes("calls.csv", 0), 1, "calls.csv: Permission denied"),
    # Journals and reports where there can be none.
    Case("a journal in a file", wrong("{place.file}", "--journal", "{place.file}/j"), 1, "j can't be made: Not a dir"),
    Case("a journal in no folder", wrong("{place.file}", "--journal", "{place.folder}/a/j"), 1, "made: No such file"),
    Case("a journal that is a folder", wrong("{place.file}", "--journal", "{place.folder}"), 1, "it is no file; name"),
    Case(
        "a journal that is a device", wrong("{place.file}", "--journal", "/dev/full"), 1, "it is no file; name another"
    ),
    Case(
        "the journal is the file", wrong("{place.file}", "--journal", "{place.file}"), 1, "csv is not a journal of neto"
    ),
    Case("reports in a file", wrong("{place.file}", "--report", "{place.file}"), 1, "calls.csv is no folder"),
    Case("reports below a file", wrong("{place.file}", "--report", "{place.file}/a/b"), 1, "calls.csv is no folder"),
    # Journals and reports of others.
    Case("a journal in use", journal_in_use, 1, "another process is using the journal it.journal; wait"),
    Case("another program's database", journal_that_is(database(1, 7)), 1, "is not a journal of neto_async; name"),
    Case("a newer journal", journal_that_is(database(VERSION + 1, APPLICATION)), 1, "another version of neto_async"),
    Case("a damaged journal", journal_that_is(damaged), 1, "is damaged, so what it says can't be trusted"),
    Case("a report folder in use", reports_of("other"), 1, "report holds the reports of another import; name another"),
    Case("reports that nobody owns", reports_of(None), 1, "report holds the reports of another import; name another"),
    # Sources that raise half-way.
    Case("gzip that is damaged", source("a.csv.gz", FLIPPED), 1, "a.csv.gz: the gzip file is damaged"),
    Case("gzip that is cut", source("a.csv.gz", PACKED[:HALF]), 1, "a.csv.gz: the gzip file is cut short"),
    Case("not the encoding", source("a.csv", NOT_UTF_8, "--encoding", "utf-8"), 1, "a.csv, line 32, column 5: bytes"),
    Case("no encoding at all", source("a.csv", NOT_EVEN_WINDOWS), 1, "a.csv, line 32, column 5: bytes that are not"),
    Case("a document that ends early", source("a.json", b'[{"Notes": "a"}, {"Notes": '), 1, "a.json"),
    Case("a folder", wrong("{place.folder}", "--input-format", "csv"), 1, "Is a directory"),
    Case("a disk that can't be read", wrong("/proc/self/mem", "--input-format", "csv"), 1, "can't be read: Input/outp"),
]


def saved(store: NetoSandbox) -> list[int]:
    """Give the numbers of the rows in the store."""
    return sorted(int((log.notes or "").strip("note -")) for log in store.logs)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[pytest.mark.thorough] * (number % 4 > 0)) for number, case in enumerate(CASES)],
    ids=lambda case: case.name.replace(" ", "-"),
)
async def test_what_fails(run: Any, place: Place, case: Case) -> None:
    """It is said in a sentence, with the right exit code; fixed, the same command goes on until each row is there."""
    with case.arrange(place):
        failed = await run(*quickly(place.words), store=place.store, **place.options)

    assert (case.code, True) == (failed.code, case.says in failed.out + failed.err), failed
    assert "Traceback" not in failed.out + failed.err
    assert (case.code == 1) == (place.store.log_count == 0)
    if "--no-journal" in place.words:
        return
    assert (case.code == 1) == ("To go on with what is left, nothing twice:" not in failed.out)
    again = await run(*quickly(place.fixed), "--json", store=place.store)
    doubted = again.summary["unknown"]
    assert (ROWS - doubted, 3 if doubted else 0) == (again.summary["added"], again.code)
    assert list(range(ROWS)) == saved(place.store)
    assert case.doubts or not doubted


# -- while it runs ----------------------------------------------------------------------------------------------

MANY = 900  # rows, more than are read ahead


async def meanwhile(run: Any, place: Place, act: Callable[[], object], *, pace: str = "none", **options: Any) -> Any:
    """Import many rows, do something while the second call is under way, and give what the command came to."""
    release = asyncio.Event()
    place.store.faults.next(None, faults.Late(until=release))
    await run.start(*quickly(place.words, pace), store=place.store, **options)
    await place.store.until(lambda: place.store.log_count > 1)
    act()
    release.set()
    return await run.ended()


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def grown(file: Path) -> None:
    with file.open("a", encoding="utf-8") as end:
        end.write("ann,half a ro")


def overwritten(file: Path) -> None:
    with file.open("r+b") as middle:
        middle.seek(file.stat().st_size // 2)
        middle.write(b"\0" * 1000)


@pytest.mark.parametrize("packed", [False, pytest.param(True, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("change", [truncated, grown, overwritten])
async def test_a_file_that_is_written_to(run: Any, place: Place, change: Callable[[Path], None], packed: Any) -> None:
    """Nothing that was read after a change is sent; when the file is whole again the same command goes on."""
    whole = gzip.compress(rows(MANY).encode()) if packed else rows(MANY).encode()
    place.file.write_bytes(whole)

    failed = await meanwhile(run, place, lambda: change(place.file))

    assert (4, "") == (failed.code, failed.err)
    assert "Stopped: calls.csv was written to while it was read" in failed.out
    assert "To go on with what is left, nothing twice:" in failed.out
    assert saved(place.store) == list(range(len(place.store.logs)))
    assert 0 < len(place.store.logs) < MANY
    place.file.write_bytes(whole)
    again = await run(*quickly(place.words), store=place.store)
    assert (0, list(range(MANY))) == (again.code, saved(place.store)), again.out


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_vanishes(run: Any, place: Place, replaced: Any) -> None:
    """A file that was deleted, or replaced by another, while it is imported is imported to its end."""
    place.file.write_text(rows(MANY), encoding="utf-8")
    other = place.folder / "other.csv"
    other.write_text("Notes\nother\n", encoding="utf-8")

    ran = await meanwhile(run, place, lambda: other.replace(place.file) if replaced else place.file.unlink())

    assert (0, list(range(MANY))) == (ran.code, saved(place.store)), ran.out


async def test_output_whose_reader_is_gone(run: Any, place: Place) -> None:
    """Where its output breaks off, the import stops, says so on standard error, and can be gone on with."""
    place.file.write_text(rows(MANY), encoding="utf-8")
    fifo = place.folder / "output"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)

    # At a pace at which it looks for news before the end, however fast the machine.
    ran = await meanwhile(run, place, lambda: os.close(reader), pace="600", out=str(fifo))

    assert (4, 0) == (ran.code, ran.err.count("Traceback"))
    assert "neto-async: the output can't be written: Broken pipe\nTo see what became of the rows, and go on" in ran.err
    assert 0 < len(place.store.logs) < MANY
    again = await run(*quickly(place.words), store=place.store)
    assert (0, list(range(MANY))) == (again.code, saved(place.store))


OUTPUTS = [
    # options, its words, exit code, rows in the store
    ({"out": "/dev/full"}, [], 1, 0),
    ({"out": "nobody reads"}, [], 1, 0),
    ({"out": "/dev/full"}, ["--json"], 4, ROWS),
    ({"out": "nobody reads"}, ["--json"], 4, ROWS),
    ({"err": "/dev/full"}, ["--json"], 1, 0),
    ({"out": "/dev/full", "err": "/dev/full"}, [], 1, 0),
    ({"out": "/dev/full"}, ["--dry-run"], 1, 0),
    ({"out": "/dev/full"}, ["--dry-run", "--json"], 1, 0),
    ({"stdin": None}, [], 0, ROWS),
    ({"out": None}, [], 0, ROWS),
    ({"err": None}, [], 0, ROWS),
    ({"stdin": None, "out": None, "err": None}, [], 0, ROWS),
]


@pytest.mark.parametrize(("options", "words", "code", "sent"), OUTPUTS)
async def test_streams(run: Any, place: Place, options: Any, words: list[str], code: int, sent: int) -> None:  # noqa: PLR0917
    """Nothing is sent that could not be shown before; what can't be shown afterwards the same command shows again."""
    ran = await run(*quickly(place.words), *words, store=place.store, **options)

    assert (code, sent) == (ran.code, len(place.store.logs)), ran
    if code and options.get("err") != "/dev/full":
        assert ran.err.count("neto-async: the output can't be written: ") == 1
    assert "Traceback" not in ran.err
    again = await run(*quickly(place.words), "--json", store=place.store)
    assert (0, ROWS, sent) == (again.code, again.summary["added"], again.summary["replayed"])
    assert list(range(ROWS)) == saved(place.store)


async def test_closed_standard_input(run: Any, store: NetoSandbox) -> None:
    """A file asked for from an input that is closed is wrong use."""
    ran = await run("import", "-", store=store, stdin=None)

    assert (1, "neto-async: standard input is closed; give a file\n") == (ran.code, ran.err)


async def test_letters_that_the_output_does_not_have(run: Any, place: Place) -> None:
    """A log in an encoding without a customer's letters does not end the import."""
    place.file.write_text("Notes,Größe ✂\ncafé,\n", encoding="utf-8")

    ran = await run(*quickly(place.words), store=place.store, PYTHONIOENCODING="ascii")

    assert (0, ["café"]) == (ran.code, [log.notes for log in place.store.logs])
    assert r"Gr\xf6\xdfe \u2702" in ran.out


@pytest.mark.parametrize("words", [["sandbox"], ["sandbox", "--json"], ["demo"], ["status", "{place.journal}"]])
async def test_other_commands_say_what_they_can_not_write(run: Any, place: Place, words: list[str]) -> None:
    """A full disk under any command's output is said in one sentence."""
    journal = SqliteJournal(place.journal)
    journal.open("http://127.0.0.1:1")
    journal.close()

    ran = await run(*(word.format(place=place) for word in words), out="/dev/full")

    assert 1 == ran.code
    assert "neto-async: the output can't be written: No space left on device\n" == ran.err
