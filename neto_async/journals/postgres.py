"""
A journal in PostgreSQL, which any process on any host can continue.

May import: postgres_tables, events, protocol, sending, errors, settings.

    from neto_async.journals.postgres import PostgresJournal

    neto.import_customer_logs(rows, journal=PostgresJournal("postgresql://imports@db/crm", "complaints-2026-11"))

How it works. One process at a time holds a journal's lease, and renews it in a thread. When the lease has run out,
another process may take the journal over, and raises its epoch. A lease alone proves nothing, since a process may be
suspended at any point; so each write updates the journal's head only where the epoch is still its own, in the same
statement that adds the events. Ends of calls are accepted from earlier epochs too: they only say what became of an
intent that its own process wrote. Locks of the server (`pg_advisory_lock`) would not do: a suspended process keeps
them, and a connection pooler loses them.

Each change is one statement, so no lock waits for a client that is gone, and a pooler may sit in between. The statement
turns ``synchronous_commit`` on for itself. If the connection is lost during it, nobody knows whether it was committed.
Then a second connection looks whether the event is there, with its checksum, and writes it where it is not. Each event
has one place in the sequence, so what the first connection still carries is committed before that, or never.

A statement that a failover to an asynchronous standby loses can't be noticed by the events that remain. It shows in the
server's timeline, so a journal whose timeline changed is refused.

The database holds positions, fingerprints (salted, 16 bytes), states, ids, when runs began and ended, and the form of
the rows' marker; no text of a customer or of Neto, and no key. Needs the extra ``postgres``.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from itertools import accumulate
from typing import Any, LiteralString

from neto_async.credentials import Secret, SecretValue
from neto_async.errors import ConfigurationError, JournalError, JournalInUseError
from neto_async.journals import postgres_tables as tables
from neto_async.journals.chained import ChainedJournal, require_store
from neto_async.journals.events import Event, Head, JournalSummary, OpenCalls, began, ended
from neto_async.journals.postgres_tables import (
    SCHEMA,
    CannotConnectError,
    Database,
    ListedJournal,
    create_tables,
    list_journals,
    prune_journals,
    psycopg,
    said_by,
)
from neto_async.journals.protocol import JournalCall, Known, fold
from neto_async.sending.clock import boot_time
from neto_async.settings import require_positive

__all__ = ["ListedJournal", "PostgresJournal", "create_tables", "list_journals", "prune_journals"]

LEASE = 15.0
"""Seconds for which a process holds a journal after it was last heard of."""

LONGEST_LEASE = 86_400
"""Seconds. Nobody could wait for longer after a crash."""

LONGEST_SCHEMA = 63
"""Bytes of a name; PostgreSQL cuts what is longer without an error, and would not find it again."""

SAFETY = 0.9
"""Part of a lease after which no call leaves any more. The rest is for clocks of different pace."""

RECONNECT = 0.2
"""Seconds between attempts to reach the server again."""

ATTEMPTS = 5
"""Times that a write is tried whose connection was lost, or whose place another process's end had taken."""


class PostgresJournal(ChainedJournal):
    """
    A journal in a PostgreSQL database.

    Args:
        conninfo: A connection string or URL, as libpq reads it. A password is better left to ``PGPASSWORD``, a
            password file or a service file; it is never shown.
        name: Of the journal in the database; an import has the same one in each of its runs.
        schema: Of the tables. It is made if need be.
        lease: Seconds after which another process may take over from one that is gone.
        accept_timeline: The number of a timeline to continue on, after a failover or a restore was refused.
        now: Gives the time of day, aware; by default the server's, so that all hosts note moments of one clock.

    Raises:
        ConfigurationError: An argument is unusable.
    """

    def __init__(
        self,
        conninfo: str | SecretValue,
        name: str,
        *,
        schema: str = SCHEMA,
        lease: float = LEASE,
        accept_timeline: int | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._conninfo = conninfo = Secret(conninfo)  # no variable holds the password
        super().__init__(now or self._now_at_the_server)
        if not _bytes_of(name):
            raise ConfigurationError("a journal needs a name, as text that PostgreSQL can hold")
        if not 0 < _bytes_of(schema) <= LONGEST_SCHEMA:
            raise ConfigurationError(f"the schema of a journal must be text of {LONGEST_SCHEMA} bytes at most")
        if not isinstance(self._conninfo.get_secret_value(), str):
            raise ConfigurationError("a journal in PostgreSQL needs a connection string")
        require_positive("lease", lease)
        if not 1 <= lease <= LONGEST_LEASE:
            raise ConfigurationError("the lease of a journal must be at least one second, and at most one day")
        self._name = name
        self._schema = schema
        self._lease = timedelta(seconds=lease)
        self._accept_timeline = accept_timeline
        self.now: Callable[[], datetime] = self._now
        # `boot_time`, and the server's time of day soon after it; known once it is open.
        self._seen_at = 0.0, datetime.fromtimestamp(0, timezone.utc)
        self._lock = threading.RLock()  # of all below: the run's writer and the thread that renews share them
        self._database: Database | None = None
        self._closing = threading.Event()
        self._renewer: threading.Thread | None = None
        self._id = 0
        self._epoch = 0
        self._timeline = 0
        self._lease_end = 0.0  # in `boot_time`'s seconds; no call leaves later

    def __repr__(self) -> str:
        return f"PostgresJournal({self._name!r})"

    def open(self, store: str) -> None:
        """
        Get ready, for this process alone: make tables and journal, or check the journal from end to end.

        Raises:
            JournalInUseError: Another process holds its lease.
            ConfigurationError: It can't be used; the text says why and what to do.
        """
        self._claim()
        try:
            self._begin(store)
        except CannotConnectError as error:
            self.close()
            raise ConfigurationError(f"the journal {self._name} can't be used: {error}") from None
        except psycopg.Error as error:
            self.close()
            raise ConfigurationError(f"the journal {self._name} can't be used: {said_by(error)}") from None
        except JournalError as error:
            self.close()
            raise ConfigurationError(str(error)) from None
        except BaseException:
            self.close()
            raise

    def known(self) -> Iterator[Known]:
        return fold(tables.past_of(self._read, self._id, self._head.sequence))

    def marker(self) -> str | None:
        """Give the form of its rows' marker, empty for none; None where no run that began a call has noted it."""
        return tables.marker_in(self._read, self._id)

    def calls(self) -> Iterator[JournalCall]:
        """
        List all calls, in the order of their intents, without what is written meanwhile.

        A process that was taken over sends nothing after its lease has run out, and no other takes over before that. So
        no body of an earlier process begins to leave after the moment at which the next one began.
        """
        return tables.calls_of_journal(self._read, self._id, self._head.sequence)

    def may_leave(self) -> bool:
        """Say whether a call may leave now: its intent counts while the lease lasts. Never waits."""
        return boot_time() < self._lease_end

    def summary(self) -> JournalSummary:
        """
        Summarise the journal without changing it; another process may be using it.

        Raises:
            ConfigurationError: There is none, or it is damaged.
        """
        with tables.opened(self._conninfo, self._schema) as database:
            return tables.summary_of(database, self._name)

    def remembered(self) -> JournalSummary | None:
        """
        Summarise what a run would continue from, without changing it; None where it would be the first.

        Raises:
            JournalInUseError: Another process holds its lease.
            ConfigurationError: It can't be used.
        """
        with tables.opened(self._conninfo, self._schema) as database:
            return None if self._free(database) is None else tables.summary_of(database, self._name)

    @contextmanager
    def reading(self) -> Iterator[bool]:
        """
        Open it without changing it; False where no import has begun with it.

        Raises:
            JournalInUseError: Another process holds its lease.
            ConfigurationError: It can't be used.
        """
        self._claim()
        with ExitStack() as stack:
            stack.callback(self._claimed.release)
            database = stack.enter_context(tables.opened(self._conninfo, self._schema))
            row = self._free(database)
            if row is None:
                yield False
                return
            self._id, self._identity, self._salt = row.id, row.identity, row.salt
            self._head, self._timeline = Head(row.sequence, row.chain), row.timeline_now
            self._database = database
            try:
                tables.verify(database.run, row, self._name, self._head)
                yield True
            except JournalError as error:
                raise ConfigurationError(str(error)) from None
            finally:
                self._database.close()  # which is another one where the connection was lost
                self._database = None

    def close(self) -> None:
        """Give the lease back and close the connection; no call is under way any more."""
        self._closing.set()
        if self._renewer is not None:
            self._renewer.join()
            self._renewer = None
        if not self._over:
            self._over = True
            # If it can't be written, the moment of the next opening is used.
            with suppress(JournalError):
                self._append(lambda _: [ended(self.now())])
        self._lease_end = 0.0
        if self._database is not None:
            with suppress(psycopg.Error):  # then the lease runs out
                self._run(tables.RELEASE)
            self._database.close()
            self._database = None
        if self._claimed.locked():
            self._claimed.release()

    # -- opening ------------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        if not self._claimed.acquire(blocking=False):
            raise JournalInUseError(f"this process is already using the journal {self._name}; wait for that run to end")

    def _begin(self, store: str) -> None:
        self._closing = threading.Event()
        self._calls = OpenCalls()
        self._id = 0
        database = self._database = tables.connected_to(self._conninfo, self._schema)
        database.prepare()
        self._seen_at = boot_time(), database.now()
        row = database.look(self._name) or self._create(database, store)
        require_store(self._name, row.store, store)
        self._check_timeline(row)
        self._identity, self._salt, self._timeline = row.identity, row.salt, row.timeline_now
        self._take(row.id)
        self._renewer = threading.Thread(target=self._keep_renewing, name="neto_async lease", daemon=True)
        self._renewer.start()
        tables.verify(self._read, row, self._name, self._head)
        # Also tries whether the journal can be written, before anything is sent.
        self._append(lambda _: [began(self.now())])
        self._over = False

    def _now_at_the_server(self) -> datetime:
        since, moment = self._seen_at
        return moment + timedelta(seconds=boot_time() - since)

    def _check_timeline(self, row: tables.Row) -> None:
        if row.timeline_now not in (row.timeline, self._accept_timeline):
            raise ConfigurationError(_failed_over(self._name, row.timeline, row.timeline_now))

    def _free(self, database: Database) -> tables.Row | None:
        """Give the journal, which no run is using and which a run could continue; None where there is none."""
        row = database.found(self._name)
        if row is not None:
            self._check_timeline(row)
            if row.holder is not None:
                raise self._in_use(row)
        return row

    def _create(self, database: Database, store: str) -> tables.Row:
        identity, salt = secrets.token_hex(16), secrets.token_bytes(16)
        created_at = self.now().astimezone(timezone.utc)  # in the zone in which `verify` writes it
        root = Head.root(identity, salt, store, created_at.isoformat())
        head = {"identity": identity, "salt": salt, "store": store, "created_at": created_at, "chain": root.checksum}
        database.run(tables.CREATE, name=self._name, **head)
        row = database.look(self._name)  # which another process may have made first
        assert row is not None  # noqa: S101
        return row

    def _take(self, journal: int) -> None:
        asked_at = boot_time()
        self._id = journal
        taken = self._run(tables.TAKE, holder=_this_process(), timeline=self._timeline)
        if not taken:
            self._id = 0
            raise self._in_use(self._open.look(self._name))
        self._epoch, sequence, checksum, _ = taken[0]
        self._head = Head(sequence, checksum)
        self._extend(asked_at)

    def _in_use(self, row: tables.Row | None) -> JournalInUseError:
        other, seconds = (None, None) if row is None else (row.holder, row.seconds_left)
        using = "this process is already" if other == _this_process() else f"another process ({other}) is"
        return JournalInUseError(
            f"{using} using the journal {self._name}; wait for that run to end, or stop it. If that process is "
            f"gone, try again in {seconds or 1} s"
        )

    # -- the lease ----------------------------------------------------------------------------------------------

    def _extend(self, asked_at: float) -> None:
        """Count the lease from before the server was asked for it, so that it ends here first."""
        self._lease_end = asked_at + SAFETY * self._lease.total_seconds()

    def _keep_renewing(self) -> None:
        while not self._closing.wait(self._lease.total_seconds() / 3):
            with suppress(psycopg.Error, JournalError), self._lock:  # then the next write says so
                self._renew()

    def _renew(self) -> None:
        try:
            self._renew_with(self._open)
        except psycopg.OperationalError as error:
            self._recover(error)  # which renews it as well

    def _renew_with(self, database: Database) -> None:
        asked_at = boot_time()
        held = database.run(tables.RENEW, id=self._id, epoch=self._epoch, lease=self._lease)
        self._lease_end = 0.0
        if held:
            self._extend(asked_at)

    def _recover(self, error: psycopg.OperationalError) -> None:
        """
        Connect again after the connection was lost.

        Args:
            error: What was raised. It is raised again where the connection is not lost.

        Raises:
            JournalError: The server was not reached before the lease ran out, or is not the one it was.
        """
        if not self._open.lost:
            raise error
        until = self._lease_end  # afterwards another process may have taken over
        self._open.close()
        while not self._closing.is_set():
            with suppress(psycopg.OperationalError, CannotConnectError):
                return self._reconnect()
            if boot_time() >= until:
                break
            self._closing.wait(RECONNECT)
        raise JournalError(
            f"the connection to the journal {self._name} was lost, and the server was not reached again; what was "
            "being written may be in doubt"
        )

    def _reconnect(self) -> None:
        database = tables.connected_to(self._conninfo, self._schema)
        try:
            self._check_the_same(database.look(self._name))
            self._renew_with(database)
        except BaseException:
            database.close()
            raise
        self._database = database

    def _check_the_same(self, row: tables.Row | None) -> None:
        if row is None:
            raise self._gone()
        if row.timeline_now != self._timeline:
            raise JournalError(_failed_over(self._name, self._timeline, row.timeline_now))

    # -- reading and writing ------------------------------------------------------------------------------------

    @property
    def _open(self) -> Database:
        if self._database is None:
            raise JournalError("the journal is not open")
        return self._database

    def _run(self, query: LiteralString, **values: Any) -> list[tuple[Any, ...]]:
        mine = {"id": self._id, "epoch": self._epoch, "lease": self._lease}
        return self._open.run(query, **{**mine, **values})

    def _read(self, query: LiteralString, **values: Any) -> list[tuple[Any, ...]]:
        """Run what changes nothing, once more on a new connection if need be."""
        try:
            with self._lock:
                try:
                    return self._run(query, **values)
                except psycopg.OperationalError as error:
                    self._recover(error)
                return self._run(query, **values)
        except psycopg.Error as error:
            raise JournalError(f"the journal {self._name} can't be read: {said_by(error)}") from None

    def _append(self, events_after: Callable[[int], list[Event]], *, late: bool = False) -> int:
        try:
            with self._lock:
                for _ in range(ATTEMPTS):
                    before = self._head
                    events = events_after(before.sequence)
                    heads = [*accumulate(events, Head.followed_by, initial=before)][1:]
                    if self._inserted(before, events, heads, late=late) or self._landed(heads[-1], late=late):
                        return before.sequence
        except psycopg.Error as error:
            raise JournalError(f"the journal {self._name} can't be written: {said_by(error)}") from None
        raise JournalError(f"the journal {self._name} can't be written: the connection was lost again and again")

    def _inserted(self, before: Head, events: list[Event], heads: list[Head], *, late: bool) -> bool:
        """Say whether events were written; False where they were not, or nobody saw whether."""
        asked_at = boot_time()
        try:
            written = self._run(
                tables.APPEND,
                late=late,
                before=before.sequence,
                last=heads[-1].sequence,
                chain=heads[-1].checksum,
                **{name: [getattr(head, name) for head in heads] for name in Head._fields},
                **{name: [getattr(event, name) for event in events] for name in Event._fields},
            )
        except psycopg.OperationalError as error:
            self._recover(error)
            return False
        if not written:
            return False
        self._head = heads[-1]
        if written == [(self._epoch,)]:
            self._extend(asked_at)
        return True

    def _landed(self, last: Head, *, late: bool) -> bool:
        """Say whether events are there up to this one, and learn the head as it is now."""
        found = self._read(tables.HEAD, last=last.sequence)
        if not found:
            raise self._gone()
        ((epoch, sequence, checksum, there),) = found
        self._head = Head(sequence, checksum)
        if epoch != self._epoch and not late:
            self._lease_end = 0.0
            raise JournalError(
                f"another process has taken the journal {self._name} over, because this one was not heard of for "
                f"{self._lease.total_seconds():.0f} s"
            )
        return bool(there == last.checksum)

    def _gone(self) -> JournalError:
        return JournalError(f"the journal {self._name} was deleted while it was in use")


def _bytes_of(name: object) -> int:
    """Give the length of a name in UTF-8; 0 where PostgreSQL can't hold it."""
    if not isinstance(name, str) or "\0" in name:
        return 0
    try:
        return len(name.encode())
    except UnicodeEncodeError:  # half of a surrogate pair, as in the name of a file that is not UTF-8
        return 0


def _this_process() -> str:
    return f"{socket.gethostname()}, process {os.getpid()}"


def _failed_over(name: str, before: int, now: int) -> str:
    return (
        f"the database server is on timeline {now}, and the journal {name} was last written on timeline {before}: a "
        "standby was promoted, or a backup restored. Calls that were noted shortly before may be missing from the "
        "journal, and their rows would be added twice. Compare the last rows of the import with the store; then "
        f"continue with accept_timeline={now}"
    )
