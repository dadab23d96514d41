"""A journal in a file: what it remembers, whom it refuses, and that no damage passes for an earlier state."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))
import rows  # tests are no packages
from rows import ABSENT, ADDED, REJECTED, STORE, UNKNOWN, WITHDRAWN, intent, known, print_of

from neto_async import ConfigurationError, JournalError
from neto_async.journals import sqlite
from neto_async.journals.protocol import End, Intent, Known
from neto_async.journals.sqlite import SqliteJournal

PAGE = 4096
MOMENT, MICROSECONDS = datetime(1970, 1, 1, 0, 0, 1, 2, tzinfo=timezone.utc), b"\x42\x42\x0f" + bytes(5)


def opened(path: Path, store: str = STORE) -> SqliteJournal:
    journal: SqliteJournal = rows.opened(partial(SqliteJournal, path), store)
    return journal


def read(path: Path) -> tuple[str, bytes, list[Known]]:
    return rows.read(partial(SqliteJournal, path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "import.db"


def fill(path: Path, calls: int = 3, size: int = 2) -> list[Known]:
    """Write calls of all fates to a file; give what is known afterwards."""
    journal = opened(path)
    expected = rows.fill(journal, calls, size)
    journal.close()
    return expected


# -- what it remembers ------------------------------------------------------------------------------------------


def test_summary_of_what_is_no_import(path: Path):
    """There is no summary where there is no file, where nothing has begun, and while an import runs."""
    with pytest.raises(ConfigurationError, match=r"there is no journal import\.db"):
        SqliteJournal(path).summary()
    assert (None, False) == (SqliteJournal(path).remembered(), path.exists())
    path.touch()
    with pytest.raises(ConfigurationError, match="no import has begun"):
        SqliteJournal(path).summary()
    assert (None, b"") == (SqliteJournal(path).remembered(), path.read_bytes())
    journal = opened(path)
    with pytest.raises(ConfigurationError, match="this process is already using"):
        SqliteJournal(path).summary()
    journal.close()
    assert 0 == SqliteJournal(path).summary().added


def test_the_file_is_its_owners_alone(path: Path):
    """Nobody else can read the file or the files beside it; its repr shows the path."""
    previous = os.umask(0)
    try:
        journal = opened(path)
        journal.write([intent(1, 0)])
        assert {0o600} == {file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        journal.close()
    finally:
        os.umask(previous)
    assert f"SqliteJournal({str(path)!r})" == repr(journal)


def test_every_commit_is_synced(path: Path):
    """The file is kept in the mode in which a commit that returned is on disk, and which notices damage."""
    journal = opened(path)
    assert journal._connection is not None
    modes = {
        name: journal._connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "locking_mode", "cell_size_check")
    }
    journal.close()

    assert {"journal_mode": "truncate", "synchronous": 2, "locking_mode": "exclusive", "cell_size_check": 1} == modes


def test_the_form_of_the_file(path: Path):
    """A file holds what another release will look for: its marks, tables, kinds, states and bytes."""
    journal = SqliteJournal(path, now=lambda: MOMENT)
    journal.open(STORE)
    journal.write([Intent(call=4, rows=((5, b"a" * 16), (3, b"b" * 16)))])
    journal.write([End(call=4, states=((ADDED, 7), (REJECTED, 0)))])
    journal.write([Intent(call=5, rows=((258, b"c" * 16),)), End(call=5, states=((WITHDRAWN, 0),))])
    journal.write([Intent(call=6, rows=((1, b"d" * 16),)), End(call=6, states=((UNKNOWN, 0),))])
    journal.finish(259)
    journal.settle([Known(1, b"d" * 16, ABSENT, 0), Known(5, b"a" * 16, ADDED, 258), Known(0, b"e" * 16, ABSENT, 0)])
    journal.settle([])
    journal.close()
    connection = sqlite3.connect(path)
    events = connection.execute("SELECT sequence, kind, intent, first, body FROM event").fetchall()
    columns = [[row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for table in ("head", "event")]
    connection.close()
    head = path.read_bytes()[:100]

    # The places are those of SQLite's documentation, fileformat2.html, 1.3. Whatever changes here changes the number.
    assert (b"\0\0\0\3", b"Neto") == (head[60:64], head[68:72])
    assert [
        ["id", "identity", "salt", "store", "created_at", "sequence", "chain"],
        ["sequence", "kind", "intent", "first", "body", "chain"],
    ] == columns
    zeros = bytes(7)
    assert [
        (1, 0, None, None, MICROSECONDS),
        (2, 1, None, 3, b"\5" + zeros + b"a" * 16 + b"\3" + zeros + b"b" * 16),
        (3, 2, 2, None, b"\1\7" + zeros + b"\2\0" + zeros),
        (4, 1, None, 258, b"\2\1" + bytes(6) + b"c" * 16),
        (5, 2, 4, None, b""),
        (6, 1, None, 1, b"\1" + zeros + b"d" * 16),
        (7, 2, 6, None, b"\3\0" + zeros),
        (8, 4, None, None, MICROSECONDS),
        (9, 3, None, None, b"\3\1" + bytes(6)),
        (10, 5, None, 5, b"\5" + zeros + b"a" * 16),
        (11, 2, 10, None, b"\1\2\1" + bytes(6)),
        (12, 5, None, 0, b"\1" + zeros + b"d" * 16 + b"\0" + zeros + b"e" * 16),
        (13, 5, None, None, b""),
        (14, 4, None, None, MICROSECONDS),
    ] == events


# -- whom it refuses --------------------------------------------------------------------------------------------


def other_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()


def newer(path: Path) -> None:
    opened(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {sqlite.VERSION + 1}")
    connection.close()


def older(path: Path) -> None:
    """A journal of form 2, in which the salt was a key."""
    opened(path).close()
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE head RENAME COLUMN salt TO key")
    connection.execute("PRAGMA user_version = 2")
    connection.close()


FOREIGN = {
    "text": (lambda path: path.write_text("Name,Notes\n" * 500, encoding="ascii"), "not a journal"),
    "a short text": (lambda path: path.write_text("xy", encoding="ascii"), "not a journal"),
    "another database": (other_database, "not a journal"),
    "a newer version": (newer, r"another version of neto_async \(form 4, this one reads 3\)"),
    "an older version": (older, r"another version of neto_async \(form 2, this one reads 3\)"),
    "a folder": (Path.mkdir, "can't be used"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files(path: Path, kind: str):
    """What is no journal of this version is refused by name, and left as it was."""
    make, text = FOREIGN[kind]
    make(path)
    before = path.read_bytes() if path.is_file() else b""

    for _ in range(2):
        with pytest.raises(ConfigurationError, match=text) as raised:
            opened(path)
        assert "import.db" in str(raised.value)
    assert before == (path.read_bytes() if path.is_file() else b"")
    assert {path} == {file for file in path.parent.iterdir() if file.stat().st_size}


def test_no_folder(path: Path):
    """A journal in a folder that is not there is refused with the system's reason."""
    with pytest.raises(ConfigurationError, match="can't be made: No such file or directory"):
        opened(path / "journal")


def test_read_only(path: Path, monkeypatch: pytest.MonkeyPatch):
    """A journal that can be read and not written is refused before anything is sent."""
    fill(path)
    connect = sqlite3.connect
    # The rights of a file don't bind the superuser, so the file is opened as they would have it.
    monkeypatch.setattr(sqlite3, "connect", lambda name, **kw: connect(name.replace("mode=rw", "mode=ro"), **kw))

    with pytest.raises(ConfigurationError, match="can't be used: attempt to write a readonly database"):
        opened(path)


HOLDER = """
import sys
from neto_async.journals.protocol import Intent
from neto_async.journals.sqlite import SqliteJournal
journal = SqliteJournal(sys.argv[1])
journal.open(sys.argv[2])
journal.write([Intent(call=1, rows=((0, b"0" * 16),))])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_no_lock(path: Path):
    """Another process is refused while the first lives, and not once it has been killed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), STORE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert b"open\n" == holder.stdout.readline()
        with pytest.raises(ConfigurationError, match="another process is using"):
            opened(path)
        holder.send_signal(signal.SIGKILL)
    assert -signal.SIGKILL == holder.returncode

    assert [Known(0, b"0" * 16, UNKNOWN, 0)] == read(path)[2]


@pytest.mark.parametrize("how", ["deleted", "replaced", "moved"])
def test_a_file_that_goes_away(path: Path, how: str):
    """Once the file is not where it was no intent counts as written any more, since a later run would not see it."""
    journal = opened(path)
    journal.write([intent(1, 0)])
    match how:
        case "deleted":
            path.unlink()
        case "replaced":
            shutil.copy(path, path.with_name("copy"))
            path.with_name("copy").replace(path)
        case _:
            path.rename(path.with_name("elsewhere"))

    with pytest.raises(JournalError, match=r"import\.db was moved or deleted"):
        journal.write([intent(2, 1)])
    with pytest.raises(JournalError, match="was moved or deleted"):
        journal.finish(1)
    journal.close()


def full_disk(path: Path) -> None:
    """Write until there is no room, and see that what was written before is there; run in a process of its own."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    journal = opened(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40 * 1024, before[1]))
    written = 0

    def go_on() -> None:
        nonlocal written
        while True:
            journal.write([intent(written, *range(written * 100, (written + 1) * 100))])
            written += 1

    for _ in range(2):
        with pytest.raises(
            JournalError, match=r"import\.db can't be written: (database or disk is full|disk I/O error)"
        ):
            go_on()
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.write([intent(written, 100 * written)])
    journal.close()
    assert written > 3
    assert [known(position, UNKNOWN) for position in range(100 * written + 1)] == read(path)[2]


def test_a_full_disk(path: Path):
    """What does not fit is refused whole; all before is there, and with room the journal goes on."""
    process = os.fork()
    if not process:
        code = 1
        try:
            full_disk(path)
            code = 0
        finally:
            os._exit(code)
    assert (process, 0) == os.waitpid(process, 0)


def test_a_full_disk_at_opening(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where not even the beginning of a run can be noted nothing is sent."""
    fill(path)

    def full(*_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    monkeypatch.setattr(SqliteJournal, "_insert", full)
    with pytest.raises(ConfigurationError, match="can't be used: database or disk is full"):
        opened(path)


def test_a_file_that_goes_away_while_opening(path: Path, monkeypatch: pytest.MonkeyPatch):
    """A journal that is deleted while it is opened is refused as any other that can't be used."""
    load = SqliteJournal._load

    def loading(self: SqliteJournal) -> str | None:
        path.unlink()
        return load(self)

    monkeypatch.setattr(SqliteJournal, "_load", loading)
    with pytest.raises(ConfigurationError, match="was moved or deleted"):
        opened(path)


# -- damage -----------------------------------------------------------------------------------------------------

REFUSED = r"(the journal )?import\.db (is damaged|is not a journal|was written by another|can't be used: .* readonly)"


def refused_or_same(path: Path, expected: tuple[str, bytes, list[Known]]) -> bool:
    refusal = ""
    try:
        assert expected == read(path)
    except ConfigurationError as error:
        refusal = str(error)
    assert not refusal or re.match(REFUSED, refusal)
    return bool(refusal)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, tuple[str, bytes, list[Known]]]:
    """Make a journal of some pages; give its bytes, and what it says."""
    path = tmp_path_factory.mktemp("whole") / "import.db"
    fill(path, calls=24, size=60)
    journal = opened(path)
    journal.write([intent(1, 90000)])
    said = journal.identity, journal.salt, list(journal.known())
    journal.close()
    return path.read_bytes(), said


def put(path: Path, content: bytes) -> None:
    for file in path.parent.iterdir():
        file.unlink()
    path.write_bytes(content)


def flip_bytes(path: Path, whole: Any, draw: random.Random, flips: int) -> int:
    content, said = whole
    refused = 0
    for flip in range(flips):
        # The first page, which holds the schema and the head of the file, as often as all others.
        size = PAGE if flip % 2 else len(content)
        place, mask = draw.randrange(size), draw.randrange(1, 256)
        put(path, content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :])
        refused += refused_or_same(path, said)
    return refused


def test_flipped_bytes(path: Path, whole: Any):
    """A byte that changed anywhere is noticed, or stood in unused space; never another state."""
    assert 40 < flip_bytes(path, whole, random.Random(4), 150)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_flipped_byte(path: Path, whole: Any):
    """The same for twenty thousand random bytes."""
    assert flip_bytes(path, whole, random.Random(), 20_000)


def test_a_byte_in_each_event(path: Path, whole: Any):
    """A byte that changed in what an event says is always noticed."""
    content, _ = whole
    for position in range(0, 1440, 97):
        place = content.index(print_of(position))
        put(path, content[: place + 3] + b"\x55" + content[place + 4 :])
        with pytest.raises(ConfigurationError, match="damaged"):
            opened(path)


@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"a"])
def test_lost_pages(path: Path, whole: Any, filler: bytes):
    """A page that was lost is noticed, whichever it is."""
    content, said = whole
    for start in range(0, len(content), PAGE):
        put(path, content[:start] + filler * PAGE + content[start + PAGE :])
        assert refused_or_same(path, said)


def test_pages_of_an_earlier_state(path: Path):
    """A page that a disk has not kept, so that the old one is still there, is noticed."""
    journal = opened(path)
    states = []
    for call in range(40):
        journal.write([intent(call, *range(call * 50, call * 50 + 50))])
        shutil.copy(path, path.with_name("copy"))  # a second descriptor of the file itself would drop the lock
        states.append(path.with_name("copy").read_bytes())
    journal.close()
    content = states[-1]
    for earlier in states[20:-1:6]:
        for start in range(0, len(earlier), PAGE):
            page = earlier[start : start + PAGE]
            if page != content[start : start + PAGE]:
                put(path, content[:start] + page + content[start + PAGE :])
                with pytest.raises(ConfigurationError, match=REFUSED):
                    opened(path)


def test_a_file_cut_short(path: Path, whole: Any):
    """A file that lost its end is noticed, wherever it was cut; only one with no byte left is a new one."""
    content, said = whole
    for size in [*range(PAGE, len(content), PAGE), 2, 99, 100, 101, 511, 2000, len(content) - 1, len(content) - 700]:
        put(path, content[:size])
        # SQLite reads what is missing of a page as zeros, which it may have been.
        assert refused_or_same(path, said) or not any(content[size:]), size


def test_names_that_are_no_text(path: Path, whole: Any):
    """A table whose name is no text any more, which SQLite then puts into its complaint, is damage as well."""
    content = whole[0].replace(b"CREATE UNIQUE INDEX event_intent", b"CREATE UNIQUE INDEX event_int\xf3nt")
    assert content != whole[0]
    put(path, content.replace(b"CREATE INDEX event_first ON event", b"CREATE INDEX event_first ON ev\xf3nt"))
    for use in (lambda: opened(path), SqliteJournal(path).summary):
        with pytest.raises(ConfigurationError, match="damaged"):
            use()


def test_events_taken_away(path: Path, whole: Any):
    """Events that were taken out, or a head that says otherwise, are noticed though SQLite sees nothing wrong."""
    for statement in (
        "DELETE FROM event WHERE sequence = (SELECT max(sequence) FROM event)",
        "DELETE FROM event WHERE sequence = 5",
        "DELETE FROM event",
        "DELETE FROM head",
        "UPDATE event SET kind = 3 WHERE sequence = 4",
        "UPDATE event SET body = 'text' WHERE sequence = 4",
        "UPDATE event SET kind = 'text' WHERE sequence = 4",
        "UPDATE event SET intent = NULL WHERE intent = 2",
        "UPDATE event SET first = first + 1 WHERE sequence = 2",
        "UPDATE head SET sequence = sequence - 1",
        "UPDATE head SET store = 'https://elsewhere.example'",
        "UPDATE head SET salt = x'00'",
        "UPDATE head SET salt = 'text'",
        "UPDATE head SET identity = x'ff'",
        "UPDATE head SET identity = CAST(x'ff' AS TEXT)",
        "DROP TABLE head",
        "ALTER TABLE event RENAME COLUMN body TO soul",
    ):
        put(path, whole[0])
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.commit()
        connection.close()
        with pytest.raises(ConfigurationError, match="damaged"):
            opened(path)
        with pytest.raises(ConfigurationError, match="damaged"):
            SqliteJournal(path).summary()
