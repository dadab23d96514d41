"""
The tables of journals in PostgreSQL, and the statements that use them. May import: events, protocol, errors, settings.

Each change is one statement, so no lock waits for a client that is gone. Statements that must last turn
``synchronous_commit`` on for themselves, whatever the database's default is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, LiteralString, NamedTuple, TypeAlias

from attrs import frozen

from neto_async.credentials import Secret, SecretValue
from neto_async.errors import ConfigurationError
from neto_async.journals.events import (
    CALLS_AT_ONCE,
    Event,
    Head,
    JournalSummary,
    Kind,
    calls_of,
    known_of,
    summed_up,
)
from neto_async.journals.protocol import JournalCall, PastCall, fold

try:
    import psycopg
    from psycopg import sql
    from psycopg.conninfo import conninfo_to_dict
except ImportError as _error:
    raise ImportError('a journal in PostgreSQL needs psycopg: pip install "neto_async[postgres]"') from _error

__all__ = [
    "APPEND",
    "HEAD",
    "RELEASE",
    "RENEW",
    "SCHEMA",
    "TAKE",
    "CannotConnectError",
    "Database",
    "ListedJournal",
    "calls_of_journal",
    "connected_to",
    "create_tables",
    "list_journals",
    "marker_in",
    "opened",
    "past_of",
    "prune_journals",
    "psycopg",
    "said_by",
    "summary_of",
    "verify",
]

SCHEMA = "neto_async"
"""The default schema of the tables."""

EVENTS_AT_ONCE = 500
"""Events that are checked at once."""

_CONNECTION = {
    "application_name": "neto_async",
    "client_encoding": "utf8",
    "connect_timeout": 5,
    # A server that is gone without a word is noticed within some 10 s.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A connection string overrides these."""

_REASONS = (
    "Connection refused",
    "No such file or directory",
    "authentication failed",
    "no password supplied",
    "is not permitted to log in",
    "no pg_hba.conf entry",
    "too many clients",
    "starting up",
    "shutting down",
    "timeout expired",
    "failed to resolve host",
    "SSL",
)
"""Parts of libpq's messages that say why, and that can't hold a piece of a mistyped connection string."""

_MISSING = re.compile('(database|role) ".*" does not exist', re.DOTALL)

FORMS: tuple[LiteralString, ...] = (
    """
    CREATE TABLE {s}.journal (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL UNIQUE,
        identity text NOT NULL,
        salt bytea NOT NULL,
        store text NOT NULL,
        created_at timestamptz NOT NULL,
        written_at timestamptz NOT NULL DEFAULT now(),
        timeline bigint NOT NULL,
        sequence bigint NOT NULL DEFAULT 0,
        chain bytea NOT NULL,
        epoch bigint NOT NULL DEFAULT 0,
        holder text,
        lease_until timestamptz
    ) WITH (fillfactor = 50);
    CREATE TABLE {s}.event (
        journal bigint REFERENCES {s}.journal ON DELETE CASCADE,
        sequence bigint,
        kind smallint NOT NULL,
        intent bigint,
        first bigint,
        body bytea NOT NULL,
        chain bytea NOT NULL,
        PRIMARY KEY (journal, sequence)
    ) WITH (toast_tuple_target = 8160);
    CREATE UNIQUE INDEX event_intent ON {s}.event (journal, intent) WHERE intent IS NOT NULL;
    CREATE INDEX event_first ON {s}.event (journal, first, sequence) WHERE first IS NOT NULL;
    """,
)
"""What makes each form of the tables from the one before. A released one never changes."""

_PARTS: dict[str, LiteralString] = {
    # Not pg_control_checkpoint(): after a promotion that shows the old timeline until the first checkpoint.
    "timeline": "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint",
    "synchronous": """set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)""",
    "held": "lease_until > now()",
    # Whether an event says that the journal was opened only to settle. The end of another process may come between.
    "no_run": """(e.kind = %(began)s AND coalesce((SELECT next.kind = %(settled)s AND next.first IS NULL
        FROM {s}.event AS next WHERE next.journal = e.journal AND next.sequence > e.sequence AND next.kind <> %(end)s
        ORDER BY next.sequence LIMIT 1), false))""",
    # The last event of a run that is no end: an end may come late, after another process has finished the run.
    "latest": """LEFT JOIN LATERAL (SELECT e.kind, e.body FROM {s}.event AS e
        WHERE e.journal = j.id AND e.sequence <= j.sequence
            AND e.kind IN (%(began)s, %(intent)s, %(finished)s) AND NOT {no_run}
        ORDER BY e.sequence DESC LIMIT 1) AS latest ON true""",
}
"""What several statements have in common."""

CREATE = """
INSERT INTO {s}.journal (name, identity, salt, store, created_at, chain, timeline)
VALUES (%(name)s, %(identity)s, %(salt)s, %(store)s, %(created_at)s, %(chain)s, {timeline})
ON CONFLICT (name) DO NOTHING RETURNING {synchronous}
"""

LOOK = """
SELECT id, identity, salt, store, created_at, timeline, {timeline}, sequence, chain,
    CASE WHEN {held} THEN holder END, ceil(extract(epoch FROM lease_until - now()))::bigint
FROM {s}.journal WHERE name = %(name)s
"""

TAKE = """
UPDATE {s}.journal SET epoch = epoch + 1, holder = %(holder)s, timeline = %(timeline)s, lease_until = now() + %(lease)s
WHERE id = %(id)s AND ({held}) IS NOT TRUE RETURNING epoch, sequence, chain, {synchronous}
"""

RENEW = """
UPDATE {s}.journal SET lease_until = now() + %(lease)s
WHERE id = %(id)s AND epoch = %(epoch)s RETURNING {synchronous}
"""

RELEASE = """
UPDATE {s}.journal SET holder = NULL, lease_until = NULL WHERE id = %(id)s AND epoch = %(epoch)s
RETURNING 1
"""

APPEND = """
WITH head AS (
    UPDATE {s}.journal SET sequence = %(last)s, chain = %(chain)s, written_at = now(),
        lease_until = CASE epoch WHEN %(epoch)s THEN now() + %(lease)s ELSE lease_until END
    WHERE id = %(id)s AND sequence = %(before)s AND (epoch = %(epoch)s OR %(late)s)
    RETURNING id, epoch, {synchronous}
), written AS (
    INSERT INTO {s}.event (journal, sequence, kind, intent, first, body, chain)
    SELECT head.id, e.* FROM head, unnest(%(sequence)s::bigint[], %(kind)s::smallint[], %(intent)s::bigint[],
        %(first)s::bigint[], %(body)b::bytea[], %(checksum)b::bytea[]) AS e
)
SELECT epoch FROM head
"""

NOW = "SELECT clock_timestamp()"

HEAD = """
SELECT j.epoch, j.sequence, j.chain, e.chain FROM {s}.journal AS j
LEFT JOIN {s}.event AS e ON e.journal = j.id AND e.sequence = %(last)s WHERE j.id = %(id)s
"""

EVENTS = """
SELECT sequence, chain, kind, intent, first, body FROM {s}.event
WHERE journal = %(id)s AND sequence > %(after)s AND sequence <= %(last)s ORDER BY sequence LIMIT %(limit)s
"""

PAST = """
SELECT began.first, began.sequence, began.kind, began.body, (
    SELECT ended.body FROM {s}.event AS ended
    WHERE ended.journal = %(id)s AND ended.intent = began.sequence AND ended.sequence <= %(last)s
) FROM {s}.event AS began
WHERE began.journal = %(id)s AND (began.first, began.sequence) > (%(first)s, %(sequence)s)
    AND began.first IS NOT NULL AND began.sequence <= %(last)s
ORDER BY began.first, began.sequence LIMIT %(limit)s
"""
# Not a join: on tables that were never analyzed each page would read all ends.

OPENINGS = """
SELECT sequence, kind, body FROM {s}.event
WHERE journal = %(id)s AND kind IN (%(began)s, %(ended)s, %(marked)s) AND sequence <= %(last)s ORDER BY sequence
"""

MARKER = """
SELECT body FROM {s}.event WHERE journal = %(id)s AND kind = %(marked)s AND sequence < (
    SELECT sequence FROM {s}.event WHERE journal = %(id)s AND kind = %(intent)s ORDER BY sequence DESC LIMIT 1
) ORDER BY sequence DESC LIMIT 1
"""

CALLS = """
SELECT began.sequence, began.body, ended.sequence, ended.body FROM {s}.event AS began
LEFT JOIN LATERAL (
    SELECT sequence, body FROM {s}.event
    WHERE journal = %(id)s AND intent = began.sequence AND sequence <= %(last)s LIMIT 1
) AS ended ON true
WHERE began.journal = %(id)s AND began.kind = %(intent)s
    AND began.sequence > %(after)s AND began.sequence <= %(last)s ORDER BY began.sequence LIMIT %(limit)s
"""
# The inner limit keeps it from being planned as a join, as above.

LIST = """
SELECT j.name, j.store, j.created_at, j.written_at, CASE WHEN {held} THEN j.holder END,
    coalesce(latest.kind = %(finished)s, false)
FROM {s}.journal AS j {latest} ORDER BY j.created_at, j.id
"""

SUMMARY = """
SELECT latest.kind, latest.body, (
    SELECT count(*) FROM {s}.event AS e
    WHERE e.journal = j.id AND e.sequence <= j.sequence AND e.kind = %(began)s AND NOT {no_run}
)
FROM (SELECT %(id)s::bigint AS id, %(last)s::bigint AS sequence) AS j {latest}
"""

DELETE = """
DELETE FROM {s}.journal WHERE name = %(name)s AND written_at = %(written_at)s AND ({held}) IS NOT TRUE
RETURNING {synchronous}
"""

_KINDS = {kind.name.lower(): int(kind) for kind in Kind}


class Row(NamedTuple):
    """A journal as it is in the database, and the server's timeline now."""

    id: int
    identity: str
    salt: bytes
    store: str
    created_at: datetime
    timeline: int
    timeline_now: int
    sequence: int
    chain: bytes
    holder: str | None  # while it holds the lease
    seconds_left: int | None  # of the lease


@frozen(kw_only=True)
class ListedJournal:
    """
    One journal of a database.

    Attributes:
        name: Its name.
        store: The address that its rows are sent to.
        created_at: When the first run began.
        written_at: When it was last written to.
        holder: Host and process that use it now; None where none does.
        finished: True where its last run came to the end of the source.
    """

    name: str
    store: str
    created_at: datetime
    written_at: datetime
    holder: str | None
    finished: bool


class CannotConnectError(Exception):
    """There is no connection; the text says why, without a piece of the connection string."""


class Database:
    """A connection, and the tables in a schema."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._parts: dict[str, sql.Composable] = {"s": sql.Identifier(schema)}
        for name, text in _PARTS.items():
            self._parts[name] = sql.SQL(text).format(**self._parts)

    @property
    def lost(self) -> bool:
        """Whether the connection can't be used any more."""
        return self._connection.closed

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def run(self, query: LiteralString, **values: Any) -> list[tuple[Any, ...]]:
        """Run one statement, in a transaction that is committed when this returns; give its rows."""
        cursor = self._connection.cursor(binary=True)
        return cursor.execute(sql.SQL(query).format(**self._parts), {**_KINDS, **values}).fetchall()

    def now(self) -> datetime:
        """Give the server's time of day."""
        ((moment,),) = self.run(NOW)
        return moment.astimezone(timezone.utc)  # type: ignore[no-any-return]

    def look(self, name: str) -> Row | None:
        """Give a journal; None where there is none."""
        found = self.run(LOOK, name=name)
        return Row(*found[0]) if found else None

    def listed(self) -> list[ListedJournal]:
        """Give all journals, the oldest first."""
        names = ("name", "store", "created_at", "written_at", "holder", "finished")
        return [ListedJournal(**dict(zip(names, row, strict=True))) for row in self.run(LIST)]

    def prepare(self) -> None:
        """
        Make the tables, or bring them to this version's form; others wait meanwhile.

        Those of a later version raise `ConfigurationError`.
        """
        form = self._form()
        if form < len(FORMS):
            with self._connection.transaction():
                self._execute("SET LOCAL lock_timeout = '10s'; SET LOCAL idle_in_transaction_session_timeout = '10s'")
                self.run("SELECT pg_advisory_xact_lock(hashtextextended(%(schema)s, 0))", schema=self._schema)
                form = self._form()
                if not form:
                    self._make()
                for statements in FORMS[form:]:
                    self._execute(statements)
                self.run("UPDATE {s}.form SET number = %(number)s RETURNING 1", number=max(form, len(FORMS)))
        self._check(form)

    def found(self, name: str) -> Row | None:
        """Give a journal; None where there is none, or no tables yet. A later version's raise `ConfigurationError`."""
        form = self._form()
        self._check(form)
        return self.look(name) if form else None

    def _check(self, form: int) -> None:
        if form > len(FORMS):
            raise ConfigurationError(
                f"the journals in schema {self._schema} were written by another version of neto_async (form {form}, "
                f"this one reads {len(FORMS)})"
            )

    def _make(self) -> None:
        # Asked first: IF NOT EXISTS wants the right to make one in any case.
        if not self.run("SELECT FROM pg_namespace WHERE nspname = %(schema)s", schema=self._schema):
            self._execute("CREATE SCHEMA {s}")
        self._execute("CREATE TABLE {s}.form (number integer NOT NULL); INSERT INTO {s}.form VALUES (0)")

    def _form(self) -> int:
        """Give the number of the form that the tables have; 0 where there are none."""
        # Not to_regclass(): after waiting for a lock it can answer from a cache.
        table = "SELECT FROM pg_tables WHERE schemaname = %(schema)s AND tablename = 'form'"
        return int(self.run("SELECT number FROM {s}.form")[0][0]) if self.run(table, schema=self._schema) else 0

    def _execute(self, statements: LiteralString) -> None:
        self._connection.execute(sql.SQL(statements).format(**self._parts))


def connected_to(conninfo: Secret, schema: str) -> Database:
    """Connect to a database, or raise `CannotConnectError`."""
    try:
        connection = psycopg.connect(**_parameters(conninfo), autocommit=True, prepare_threshold=None)
    except psycopg.ProgrammingError:
        reason = "the connection string can't be read"
    except psycopg.Error as error:
        reason = f"the server can't be reached or refuses the connection ({_why(error)})"
    else:
        return Database(connection, schema)
    # Outside, since psycopg's error holds the connection string: in its text, or in variables of its traceback.
    raise CannotConnectError(reason)


def _why(error: psycopg.Error) -> str:
    missing = _MISSING.search(str(error))
    if missing is not None:
        return f"the {missing[1]} does not exist"
    return next((part for part in _REASONS if part in str(error)), "no reason known")


def _parameters(conninfo: Secret) -> dict[str, Any]:
    return {**_CONNECTION, **conninfo_to_dict(conninfo.get_secret_value())}


def said_by(error: psycopg.Error) -> str:
    """Give the server's own words, without the details that may hold values, and what to do about missing rights."""
    said = error.diag.message_primary or type(error).__name__
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"{said}; the owner of the tables has to make them (create_tables) and grant this role its rights"
    return said


@contextmanager
def opened(conninfo: Secret, schema: str) -> Iterator[Database]:
    """Connect to a database for a while; what fails raises `ConfigurationError`."""
    try:
        database = connected_to(conninfo, schema)
    except CannotConnectError as error:
        raise ConfigurationError(f"the database of the journals can't be used: {error}") from None
    try:
        yield database
    except psycopg.errors.UndefinedTable:
        raise ConfigurationError(f"there are no journals in schema {schema} of this database") from None
    except psycopg.Error as error:
        raise ConfigurationError(f"the journals in schema {schema} can't be used: {said_by(error)}") from None
    finally:
        database.close()


Read: TypeAlias = Callable[..., list[tuple[Any, ...]]]
"""`Database.run`, or what runs it again on a new connection."""


def verify(read: Read, row: Row, name: str, last: Head) -> None:
    """Check the chain of events from its root to the head, or raise `ConfigurationError` where it is damaged."""
    head = Head.root(row.identity, row.salt, row.store, row.created_at.astimezone(timezone.utc).isoformat())
    sound = True
    while page := read(EVENTS, id=row.id, after=head.sequence, last=last.sequence, limit=EVENTS_AT_ONCE):
        for sequence, checksum, *event in page:
            head = head.followed_by(Event(*event))
            sound = sound and head == (sequence, checksum)
    if not sound or head != last:
        raise ConfigurationError(
            f"the journal {name} is damaged, so what it says can't be trusted: restore it from a backup, or look in "
            "the store and import the rest of the source with a new journal"
        )


def past_of(read: Read, journal: int, last: int) -> Iterator[PastCall]:
    """Give the calls of a journal up to an event, by the lowest position in each."""
    first, sequence = -1, 0
    while page := read(PAST, id=journal, first=first, sequence=sequence, last=last, limit=CALLS_AT_ONCE):
        for first, sequence, kind, rows, states in page:
            yield PastCall(first, sequence, known_of(kind, rows, states))


def calls_of_journal(read: Read, journal: int, last: int) -> Iterator[JournalCall]:
    """Give the calls of a journal up to an event, in the order of their intents."""
    yield from calls_of(
        read(OPENINGS, id=journal, last=last),
        lambda sequence: read(CALLS, id=journal, after=sequence, last=last, limit=CALLS_AT_ONCE),
    )


def marker_in(read: Read, journal: int) -> str | None:
    """Give the form of the marker of a journal's rows, empty for none; None where it was not noted."""
    noted = read(MARKER, id=journal)
    return noted[0][0].decode() if noted else None


def summary_of(database: Database, name: str) -> JournalSummary:
    """Count what a journal knows; `ConfigurationError` where there is none, or it is damaged."""
    row = database.look(name)
    if row is None:
        raise ConfigurationError(f"there is no journal {name}")
    verify(database.run, row, name, Head(row.sequence, row.chain))
    ((*last, runs),) = database.run(SUMMARY, id=row.id, last=row.sequence)
    return summed_up(
        fold(past_of(database.run, row.id, row.sequence)),
        (last[0], last[1]),
        identity=row.identity,
        store=row.store,
        created_at=row.created_at,
        runs=runs,
        marker=marker_in(database.run, row.id),
    )


def create_tables(conninfo: str | SecretValue, *, schema: str = SCHEMA) -> None:
    """
    Make the tables of journals, or bring them to this version's form, for a role that may not do so itself.

    Raises:
        ConfigurationError: They can't be made; the text says why.
    """
    conninfo = Secret(conninfo)
    with opened(conninfo, schema) as database:
        database.prepare()


def list_journals(conninfo: str | SecretValue, *, schema: str = SCHEMA) -> list[ListedJournal]:
    """
    List the journals of a database, the oldest first. `PostgresJournal.summary` counts the rows of one.

    Raises:
        ConfigurationError: The database can't be used.
    """
    conninfo = Secret(conninfo)
    with opened(conninfo, schema) as database:
        return database.listed()


def prune_journals(conninfo: str | SecretValue, *, older_than: timedelta, schema: str = SCHEMA) -> list[ListedJournal]:
    """
    Delete journals that are finished, not in use, have no rows in doubt and were not written to for some time.

    An import whose journal is gone would add all its rows again.

    Args:
        conninfo: As of the journal.
        older_than: Time since the last write.
        schema: As of the journal.

    Returns:
        Those that were deleted.

    Raises:
        ConfigurationError: The database can't be used, or one of them is damaged.
    """
    conninfo = Secret(conninfo)
    before = datetime.now(timezone.utc) - older_than
    with opened(conninfo, schema) as database:
        return [
            journal
            for journal in database.listed()
            if journal.finished and journal.holder is None and journal.written_at < before
            if not summary_of(database, journal.name).in_doubt
            if database.run(DELETE, name=journal.name, written_at=journal.written_at)
        ]
