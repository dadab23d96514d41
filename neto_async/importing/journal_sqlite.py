"""
A journal in one SQLite file. May import: journal, errors.

How it holds. Each write is one transaction with ``synchronous=FULL`` and a rollback journal, so that a commit is on
disk when it returns. Not SQLite's write-ahead log, though that costs a third: a log whose synced part is damaged opens
silently as an earlier state, and a lost intent would be a log added twice. Here all that was committed stands in the
file itself, and every event carries a checksum over itself and the one before; the last one stands in the head as
well. So what was not synced is rolled back by SQLite, and any other damage is noticed when the file is opened.

The file holds positions, fingerprints (salted, 16 bytes), states and ids; no text of a customer or of Neto, no API key.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import stat
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from enum import IntEnum
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from attrs import frozen

from neto_async.errors import ConfigurationError, JournalError
from neto_async.importing.journal import End, Entry, Intent, Known, PastCall, RowState, fold

__all__ = ["JournalSummary", "SqliteJournal"]

APPLICATION = 0x4E65746F
"""Marks the file as ours: "Neto"."""

VERSION = 3
"""Of the tables and blobs below, and of the fingerprints in them."""

PAGE = 64
"""Calls read at once."""

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

_ROW = "Q16s"
_STATE = "BQ"
_EVENT = struct.Struct("<QBQq")
_COUNT = struct.Struct("<Q")


class _Kind(IntEnum):
    """What an event says. The numbers stand in files."""

    BEGAN = 0  # a run
    INTENT = 1
    END = 2
    FINISHED = 3  # a run, with its source


class _Event(NamedTuple):
    """A row of the table, without its place in the chain."""

    kind: int
    intent: int | None = None  # the sequence of the intent that an end belongs to
    first: int | None = None  # the lowest position of an intent
    body: bytes = b""


@frozen(kw_only=True)
class JournalSummary:
    """
    What a journal says of its import.

    Attributes:
        store: The address that its rows are sent to.
        created_at: When the first run began.
        runs: Number of runs so far.
        added, rejected, in_doubt: Rows, by what is known of them.
        rows: Rows of the source, where the last run came to its end; None where it stopped before.
    """

    store: str
    created_at: datetime
    runs: int
    added: int
    rejected: int
    in_doubt: int
    rows: int | None


class SqliteJournal:
    """
    A journal in a file.

    Args:
        path: Of the file; it is made if need be, readable by its owner alone.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] = (0, 0)  # device and inode of what was opened
        self._calls: dict[int, tuple[int, int]] = {}  # sequence and size of the intent of each call under way
        self._identity = ""
        self._salt = b""
        self._sequence = 0  # of the last event
        self._chain = b""  # its checksum

    def __repr__(self) -> str:
        return f"SqliteJournal({str(self._path)!r})"

    @property
    def identity(self) -> str:
        """A name that no other journal has; known once it is open."""
        return self._identity

    @property
    def salt(self) -> bytes:
        """The salt of its fingerprints; known once it is open."""
        return self._salt

    def open(self, store: str) -> None:
        """
        Get ready, for this process alone: make the file, or check it from end to end.

        Raises:
            ConfigurationError: It can't be used; the text says why and what to do.
        """
        try:
            self._begin(store)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self.close()
            raise self._unusable(error) from None
        except (ConfigurationError, JournalError) as error:
            self.close()
            raise ConfigurationError(str(error)) from None

    def known(self) -> Iterator[Known]:
        """List what earlier runs came to, by ascending position."""
        return fold(self._past(self._sequence))

    def write(self, entries: Sequence[Entry]) -> None:
        """
        Write all of these, or none; when it returns they are on disk to stay.

        Raises:
            JournalError: They could not be written.
        """
        events: list[_Event] = []
        begun: dict[int, tuple[int, int]] = {}
        for entry in entries:
            if isinstance(entry, Intent):
                begun[entry.call] = (self._sequence + len(events) + 1, len(entry.rows))
                first, _ = min(entry.rows)
                events.append(_Event(_Kind.INTENT, first=first, body=_packed(_ROW, entry.rows)))
            else:
                intent, size = begun.get(entry.call) or self._calls[entry.call]
                if len(entry.states) != size:
                    raise JournalError(f"{len(entry.states)} states were given for the {size} rows of a call")
                events.append(_Event(_Kind.END, intent=intent, body=_states(entry)))
        with self._failing():
            self._append(events)
        self._calls.update(begun)
        for entry in entries:
            if isinstance(entry, End):
                del self._calls[entry.call]

    def finish(self, rows: int) -> None:
        """
        Note that a run came to the end of its source, and how many rows it had.

        Raises:
            JournalError: It could not be written.
        """
        with self._failing():
            self._append([_Event(_Kind.FINISHED, body=_COUNT.pack(rows))])

    def summary(self) -> JournalSummary:
        """
        Say what stands in the file, without a change to it.

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
        Say what a run of it would go on from, without a change to it; None where it would be the first.

        A process that died while it made the file, or a full disk, leaves one with which no import has begun.

        Raises:
            ConfigurationError: It can't be used.
        """
        with self.reading() as begun:
            return self._summed_up() if begun else None

    @contextmanager
    def reading(self) -> Iterator[bool]:
        """
        Have it open without a change to it, for this process alone; False where no import has begun with it.

        What a crash left half written is taken back, as each opening of the file does.

        Raises:
            ConfigurationError: It can't be used.
        """
        if not self._is_there() or not self._path.stat().st_size:
            yield False
            return
        try:
            self._connect(create=False)
            yield self._load() is not None
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._unusable(error) from None
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- opening ------------------------------------------------------------------------------------------------

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
        elif known != store:
            raise ConfigurationError(
                f"{self._name} is the journal of an import into {known}, not {store}; name another journal"
            )
        # Also tries whether the file can be written, before anything is sent.
        self._append([_Event(_Kind.BEGAN)])

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
        self._identity, self._salt, store, created_at, sequence, checksum = head
        self._sequence, self._chain = 0, _root(self._identity, self._salt, store, created_at)
        for row in connection.execute("SELECT sequence, chain, kind, intent, first, body FROM event ORDER BY sequence"):
            self._sequence += 1
            self._chain = _linked(self._chain, self._sequence, _Event(*row[2:]))
            if row[:2] != (self._sequence, self._chain):
                raise self._damaged()
        if (self._sequence, self._chain) != (sequence, checksum):
            raise self._damaged()
        return store

    def _create(self, store: str) -> None:
        created_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._identity, self._salt = secrets.token_hex(16), secrets.token_bytes(16)
        self._sequence, self._chain = 0, _root(self._identity, self._salt, store, created_at)
        with self._transaction() as connection:
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            for statement in _SCHEMA:
                connection.execute(statement)
            head = (self._identity, self._salt, store, created_at, 0, self._chain)
            connection.execute("INSERT INTO head VALUES (1, ?, ?, ?, ?, ?, ?)", head)

    def _damaged(self) -> ConfigurationError:
        return ConfigurationError(
            f"the journal {self._name} is damaged, so what it says can't be trusted: restore it from a copy, or look "
            "in the store and import the rest of the file with a new journal"
        )

    def _unusable(self, error: sqlite3.Error | UnicodeDecodeError) -> ConfigurationError:
        match getattr(error, "sqlite_errorname", "SQLITE_ERROR").split("_"):
            case ["SQLITE", "BUSY" | "LOCKED", *_]:
                text = f"another process is using the journal {self._name} now; wait for its end, or stop it"
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
                "SELECT began.first, began.sequence, began.body, ended.body FROM event AS began "
                "LEFT JOIN event AS ended ON ended.intent = began.sequence AND ended.sequence <= ? "
                "WHERE (began.first, began.sequence) > (?, ?) AND began.first IS NOT NULL AND began.sequence <= ? "
                "ORDER BY began.first, began.sequence LIMIT ?",
                (last, first, sequence, last, PAGE),
            ).fetchall()
            for first, sequence, rows, states in page:
                yield PastCall(first, sequence, list(_known(rows, states)))
            if not page:
                return

    def _summed_up(self) -> JournalSummary:
        store, created_at = self._open.execute("SELECT store, created_at FROM head").fetchone()
        runs = self._open.execute("SELECT count(*) FROM event WHERE kind = ?", (_Kind.BEGAN,)).fetchone()[0]
        states = Counter(known.state for known in self.known())
        last = self._open.execute("SELECT kind, body FROM event ORDER BY sequence DESC LIMIT 1").fetchone()
        finished = last is not None and last[0] == _Kind.FINISHED
        return JournalSummary(
            store=store,
            created_at=datetime.fromisoformat(created_at),
            runs=runs,
            added=states[RowState.ADDED],
            rejected=states[RowState.REJECTED],
            in_doubt=states[RowState.UNKNOWN],
            rows=_COUNT.unpack(last[1])[0] if finished else None,
        )

    def _append(self, events: Sequence[_Event]) -> None:
        sequence, checksum = self._sequence, self._chain
        values: list[object] = []
        for event in events:
            sequence += 1
            checksum = _linked(checksum, sequence, event)
            values += (sequence, *event, checksum)
        # One statement is a transaction by itself. Each more would wait for Python's lock once more, as `execute` would
        # to learn the number of the row.
        self._open.executemany(_INSERT + ", ".join([_VALUES] * len(events)), [values])
        self._sequence, self._chain = sequence, checksum
        # Afterwards: it proves that what was written is in the file which a later run will find.
        self._check_there()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._open
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _check_there(self) -> None:
        # SQLite writes on into a file that was deleted, and all of it would be lost.
        try:
            status = self._path.stat()
        except OSError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != self._file:
            raise JournalError(f"the journal {self._name} was moved or deleted while it was in use")

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self._name} can't be written: {error}") from None


def _packed(form: str, rows: Sequence[tuple[Any, Any]]) -> bytes:
    # One call for all: it is made beside the event loop, under the same lock.
    return struct.pack("<" + form * len(rows), *chain.from_iterable(rows))


def _unpacked(form: str, packed: bytes) -> Iterator[tuple[Any, Any]]:
    return struct.iter_unpack("<" + form, packed)


def _states(end: End) -> bytes:
    if any(state is not RowState.WITHDRAWN for state, _ in end.states):
        return _packed(_STATE, end.states)
    return b""


def _known(rows: bytes, states: bytes | None) -> Iterator[Known]:
    if states is None:
        for position, fingerprint in _unpacked(_ROW, rows):
            yield Known(position, fingerprint, RowState.UNKNOWN, 0)
    elif states:
        for (position, fingerprint), (state, log_id) in zip(
            _unpacked(_ROW, rows), _unpacked(_STATE, states), strict=True
        ):
            yield Known(position, fingerprint, RowState(state), log_id)


def _root(identity: str, salt: bytes, store: str, created_at: str) -> bytes:
    parts = (identity.encode(), salt, store.encode(), created_at.encode())
    return hashlib.blake2b(b"\0".join(part.hex().encode() for part in parts), digest_size=16).digest()


def _linked(before: bytes, sequence: int, event: _Event) -> bytes:
    first = -1 if event.first is None else event.first
    fixed = _EVENT.pack(sequence, event.kind, event.intent or 0, first)
    return hashlib.blake2b(before + fixed + event.body, digest_size=16).digest()
