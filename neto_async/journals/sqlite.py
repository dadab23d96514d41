"""
A journal in one SQLite file. May import: events, protocol, errors.

How it holds. Each write is one transaction with ``synchronous=FULL`` and a rollback journal, so that a commit is on
disk when it returns. Not SQLite's write-ahead log, though that costs a third: a log whose synced part is damaged opens
silently as an earlier state, and a lost intent would be a log added twice. Here everything that was committed is in the
file itself, and every event carries a checksum over itself and the one before; the head has the last one as well. So
what was not synced is rolled back by SQLite, and any other damage is noticed when the file is opened.

The file holds positions, fingerprints (salted, 16 bytes), states, ids, when runs began and ended, and the form of the
rows' marker; no text of a customer or of Neto, no API key.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
import struct
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from neto_async.errors import ConfigurationError, JournalError, JournalInUseError
from neto_async.journals.chained import ChainedJournal, require_store
from neto_async.journals.events import (
    CALLS_AT_ONCE,
    Event,
    Head,
    JournalSummary,
    Kind,
    began,
    calls_of,
    ended,
    known_of,
    summed_up,
    utcnow,
)
from neto_async.journals.protocol import JournalCall, Known, PastCall, fold

__all__ = ["JournalSummary", "SqliteJournal"]

APPLICATION = 0x4E65746F
"""Marks the file as ours: "Neto"."""

VERSION = 3
"""Of the tables and blobs below, and of the fingerprints in them."""

_SCHEMA = (
    """
    CREATE TABLE head (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        identity TEXT NOT NULL,
        salt BLOB NOT NULL,
        store TEXT NOT NULL,
        created_at TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        chain BLOB NOT NULL
    )
    """,
    """
    CREATE TABLE event (
        sequence INTEGER PRIMARY KEY,
        kind INTEGER NOT NULL,
        intent INTEGER,
        first INTEGER,
        body BLOB NOT NULL,
        chain BLOB NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX event_intent ON event (intent) WHERE intent IS NOT NULL",
    "CREATE INDEX event_first ON event (first, sequence) WHERE first IS NOT NULL",
    """
    CREATE TRIGGER event_last AFTER INSERT ON event BEGIN
        UPDATE head SET sequence = NEW.sequence, chain = NEW.chain;
    END
    """,
)

_INSERT = "INSERT INTO event VALUES "
_VALUES = "(?, ?, ?, ?, ?, ?)"

_OF_RUNS = """FROM event WHERE NOT (kind = :began AND coalesce((
    SELECT next.kind = :settled AND next.first IS NULL FROM event AS next
    WHERE next.sequence > event.sequence ORDER BY next.sequence LIMIT 1
), 0))"""
"""All events, without those that say that the file was opened only to settle."""

_RUNS = f"SELECT count(*) {_OF_RUNS} AND kind = :began"
_LATEST = f"SELECT kind, body {_OF_RUNS} AND kind IN (:began, :intent, :finished) ORDER BY sequence DESC LIMIT 1"
_MARKER = """SELECT body FROM event WHERE kind = :marked AND sequence < (
    SELECT sequence FROM event WHERE kind = :intent ORDER BY sequence DESC LIMIT 1
) ORDER BY sequence DESC LIMIT 1"""
_KINDS = {kind.name.lower(): int(kind) for kind in Kind}

_MADE: weakref.WeakSet[SqliteJournal] = weakref.WeakSet()
"""All journals of this process: which of them hold a file says whether it is this process that uses it."""


class SqliteJournal(ChainedJournal):
    """
    A journal in a file.

    Args:
        path: Of the file; it is made if need be, readable by its owner alone.
        now: Gives the time of day, aware.
    """

    def __init__(self, path: str | os.PathLike[str], *, now: Callable[[], datetime] = utcnow) -> None:
        super().__init__(now)
        self._path = Path(path)
        self._connection: sqlite3.Connection | None = None
        _MADE.add(self)
        self._file: tuple[int, int] = (0, 0)  # device and inode of what was opened

    def __repr__(self) -> str:
        return f"SqliteJournal({str(self._path)!r})"

    def open(self, store: str) -> None:
        """
        Get ready, for this process alone: make the file, or check it from end to end.

        Raises:
            ConfigurationError: It can't be used; the text says why and what to do.
        """
        self._claim()
        try:
            self._begin(store)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self.close()
            raise self._unusable(error) from None
        except JournalError as error:
            self.close()
            raise ConfigurationError(str(error)) from None
        except BaseException:
            self.close()
            raise

    def known(self) -> Iterator[Known]:
        return fold(self._past(self._head.sequence))

    def marker(self) -> str | None:
        """Give the form of its rows' marker, empty for none; None where no run that began a call has noted it."""
        noted = self._open.execute(_MARKER, _KINDS).fetchone()
        return None if noted is None else noted[0].decode()

    def calls(self) -> Iterator[JournalCall]:
        """List all calls, in the order of their intents, without what is written meanwhile."""
        return self._listed(self._head.sequence)

    def summary(self) -> JournalSummary:
        """
        Summarise the file without changing it.

        Raises:
            ConfigurationError: There is none, it is damaged, or another process is using it now.
        """
        if not self._is_there():
            raise ConfigurationError(f"there is no journal {self._name}")
        summary = self.remembered()
        if summary is None:
            raise ConfigurationError(f"the journal {self._name} is empty: no import has begun with it")
        return summary

    def remembered(self) -> JournalSummary | None:
        """
        Summarise what a run would continue from, without changing it; None where it would be the first.

        A process that died while it made the file, or a full disk, leaves one with which no import has begun.

        Raises:
            ConfigurationError: It can't be used.
        """
        with self.reading() as begun:
            return self._summed_up() if begun else None

    @contextmanager
    def reading(self) -> Iterator[bool]:
        """
        Open it without changing it, for this process alone; False where no import has begun with it.

        What a crash left half written is taken back, as each opening of the file does.

        Raises:
            JournalInUseError: This object has it open already, or another one.
            ConfigurationError: It can't be used.
        """
        self._claim()
        try:
            if not self._is_there() or not self._path.stat().st_size:
                yield False
                return
            self._connect(create=False)
            yield self._load() is not None
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._unusable(error) from None
        finally:
            self.close()

    def close(self) -> None:
        if not self._over:
            self._over = True
            # If it can't be written, the moment of the next opening is used.
            with suppress(sqlite3.Error, JournalError):
                self._check_there()
                self._insert([ended(self._now())])
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._claimed.locked():
            self._claimed.release()

    def holds(self, path: Path) -> bool:
        """Say whether this journal has the file at a path open."""
        return self._connection is not None and self._path.resolve() == path.resolve()

    # -- opening ------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        if not self._claimed.acquire(blocking=False):
            raise self._in_use("this process is already")

    def _is_there(self) -> bool:
        try:
            mode = self._path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise ConfigurationError(f"the journal {self._name} can't be used: {error.strerror}") from None
        if not stat.S_ISREG(mode):
            raise ConfigurationError(f"{self._name} can't be a journal, since it is no file; name another")
        return True

    @property
    def _name(self) -> str:
        return self._path.name

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise JournalError("the journal is not open")
        return self._connection

    def _begin(self, store: str) -> None:
        self._connect(create=True)
        known = self._load()
        if known is None:
            self._create(store)
        else:
            require_store(self._name, known, store)
        # Also tries whether the file can be written, before anything is sent.
        self._insert([began(self._now())])
        self._over = False

    def _connect(self, *, create: bool) -> None:
        # Never opened by ourselves once it exists: closing a second descriptor would drop SQLite's lock (POSIX).
        if create:
            try:
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            except FileExistsError:
                pass
            except OSError as error:
                raise ConfigurationError(f"the journal {self._name} can't be made: {error.strerror}") from None
        address = self._path.absolute().as_uri() + "?mode=rw"
        self._connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=0, check_same_thread=False)
        for pragma in ("locking_mode=EXCLUSIVE", "synchronous=FULL", "cell_size_check=ON", "temp_store=MEMORY"):
            self._connection.execute(f"PRAGMA {pragma}")
        # The lock that keeps others out: the system drops it when the process dies, however it dies.
        self._connection.execute("BEGIN EXCLUSIVE")
        self._connection.execute("COMMIT")
        status = self._path.stat()
        self._file = (status.st_dev, status.st_ino)

    def _load(self) -> str | None:
        """Read the head and check all that follows it; None where the file is new."""
        connection = self._open
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if (tables, application, version) == (0, 0, 0):
            connection.execute("PRAGMA journal_mode=TRUNCATE")
            return None
        if application != APPLICATION:
            raise ConfigurationError(f"{self._name} is not a journal of neto_async; name another file")
        if version != VERSION:
            raise ConfigurationError(
                f"{self._name} was written by another version of neto_async (form {version}, this one reads {VERSION})"
            )
        connection.execute("PRAGMA journal_mode=TRUNCATE")
        try:
            return self._verified()
        except (AttributeError, TypeError, ValueError, struct.error):
            # SQLite takes a value of any type in any column, and lets the only row of a table be deleted.
            raise self._damaged() from None

    def _verified(self) -> str:
        connection = self._open
        if connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
            raise self._damaged()
        head = connection.execute("SELECT identity, salt, store, created_at, sequence, chain FROM head").fetchone()
        store: str
        self._identity, self._salt, store, created_at, *last = head
        self._head = Head.root(self._identity, self._salt, store, created_at)
        for row in connection.execute("SELECT sequence, chain, kind, intent, first, body FROM event ORDER BY sequence"):
            self._head = self._head.followed_by(Event(*row[2:]))
            if row[:2] != self._head:
                raise self._damaged()
        if self._head != tuple(last):
            raise self._damaged()
        return store

    def _create(self, store: str) -> None:
        created_at = self._now().isoformat(timespec="seconds")
        self._identity, self._salt = secrets.token_hex(16), secrets.token_bytes(16)
        self._head = Head.root(self._identity, self._salt, store, created_at)
        connection = self._open
        connection.execute("BEGIN IMMEDIATE")
        with connection:  # commits, or rolls back
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            for statement in _SCHEMA:
                connection.execute(statement)
            head = (self._identity, self._salt, store, created_at, *self._head)
            connection.execute("INSERT INTO head VALUES (1, ?, ?, ?, ?, ?, ?)", head)

    def _damaged(self) -> ConfigurationError:
        return ConfigurationError(
            f"the journal {self._name} is damaged, so what it says can't be trusted: restore it from a copy, or look "
            "in the store and import the rest of the file with a new journal"
        )

    def _in_use(self, using: str) -> JournalInUseError:
        return JournalInUseError(f"{using} using the journal {self._name}; wait for that run to end, or stop it")

    def _unusable(self, error: sqlite3.Error | UnicodeDecodeError) -> ConfigurationError:
        match getattr(error, "sqlite_errorname", "SQLITE_ERROR").split("_"):
            case ["SQLITE", "BUSY" | "LOCKED", *_]:
                here = any(other.holds(self._path) for other in _MADE if other is not self)
                using = "this process is already" if here else "another process is"
                return self._in_use(using)
            case ["SQLITE", "NOTADB"]:
                text = f"{self._name} is not a journal of neto_async; name another file"
            case ["SQLITE", "CORRUPT" | "ERROR", *_]:
                # A table or column that is not there, or a text that is none, in SQLite's own words as well.
                return self._damaged()
            case _:
                text = f"the journal {self._name} can't be used: {error}"
        return ConfigurationError(text)

    # -- reading and writing ------------------------------------------------------------------------------------

    def _past(self, last: int) -> Iterator[PastCall]:
        first, sequence = -1, 0
        while True:
            page = self._open.execute(
                "SELECT began.first, began.sequence, began.kind, began.body, ended.body FROM event AS began "
                "LEFT JOIN event AS ended ON ended.intent = began.sequence AND ended.sequence <= ? "
                "WHERE (began.first, began.sequence) > (?, ?) AND began.first IS NOT NULL AND began.sequence <= ? "
                "ORDER BY began.first, began.sequence LIMIT ?",
                (last, first, sequence, last, CALLS_AT_ONCE),
            ).fetchall()
            for first, sequence, kind, rows, states in page:
                yield PastCall(first, sequence, known_of(kind, rows, states))
            if not page:
                return

    def _listed(self, last: int) -> Iterator[JournalCall]:
        openings = self._open.execute(
            "SELECT sequence, kind, body FROM event WHERE kind IN (?, ?, ?) AND sequence <= ? ORDER BY sequence",
            (Kind.BEGAN, Kind.ENDED, Kind.MARKED, last),
        ).fetchall()

        def page_after(sequence: int) -> list[tuple[int, bytes, int | None, bytes]]:
            return self._open.execute(
                "SELECT began.sequence, began.body, ended.sequence, ended.body FROM event AS began "
                "LEFT JOIN event AS ended ON ended.intent = began.sequence AND ended.sequence <= ? "
                "WHERE began.kind = ? AND began.sequence > ? AND began.sequence <= ? ORDER BY began.sequence LIMIT ?",
                (last, Kind.INTENT, sequence, last, CALLS_AT_ONCE),
            ).fetchall()

        yield from calls_of(openings, page_after)

    def _summed_up(self) -> JournalSummary:
        store, created_at = self._open.execute("SELECT store, created_at FROM head").fetchone()
        return summed_up(
            self.known(),
            self._open.execute(_LATEST, _KINDS).fetchone(),
            identity=self._identity,
            store=store,
            created_at=datetime.fromisoformat(created_at),
            runs=self._open.execute(_RUNS, _KINDS).fetchone()[0],
            marker=self.marker(),
        )

    def _append(self, events_after: Callable[[int], list[Event]], *, late: bool = False) -> int:  # noqa: ARG002
        before = self._head.sequence
        events = events_after(before)
        try:
            self._insert(events)
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self._name} can't be written: {error}") from None
        return before

    def _insert(self, events: Sequence[Event]) -> None:
        head = self._head
        values: list[object] = []
        for event in events:
            head = head.followed_by(event)
            values += (head.sequence, *event, head.checksum)
        # One statement is a transaction by itself. Each more would wait for Python's lock once more, as `execute` would
        # to learn the number of the row.
        self._open.executemany(_INSERT + ", ".join([_VALUES] * len(events)), [values])
        self._head = head
        # Afterwards: it proves that what was written is in the file which a later run will find.
        self._check_there()

    def _check_there(self) -> None:
        # SQLite writes on into a file that was deleted, and all of it would be lost.
        try:
            status = self._path.stat()
        except OSError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != self._file:
            raise JournalError(f"the journal {self._name} was moved or deleted while it was in use")
