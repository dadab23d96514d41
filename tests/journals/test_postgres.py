"""A journal in PostgreSQL: who may write, what a lost connection leaves, and what of the database is refused."""

from __future__ import annotations

import importlib
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from neto_async import ConfigurationError, JournalError, JournalInUseError
from neto_async.journals import postgres, postgres_tables
from neto_async.journals.postgres import PostgresJournal, create_tables, list_journals, prune_journals
from neto_async.journals.protocol import End, Intent, Known

sys.path.append(str(Path(__file__).parent))
from rows import (
    ABSENT,
    ADDED,
    REJECTED,
    STORE,
    UNKNOWN,
    WITHDRAWN,
    at,
    end,
    fill,
    intent,
    known,
    opened,
    read,
    ticking,
)  # tests are no packages
from server import Proxy, Server

PASSWORD = "CAN" + "ARY"
MOMENT, MICROSECONDS = datetime(1970, 1, 1, 0, 0, 1, 2, tzinfo=timezone.utc), b"\x42\x42\x0f" + bytes(5)
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "journal-in-postgresql.md"


class Tables:
    """The tables of one test."""

    def __init__(self, server: Server, schema: str) -> None:
        self.server = server
        self.schema = schema

    @property
    def quoted(self) -> str:
        return '"' + self.schema.replace('"', '""') + '"'

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.server.sql(f"SET search_path = {self.quoted}", *statements)

    def lapse(self) -> None:
        """Let the time of every lease pass, on the server alone."""
        self.sql("UPDATE journal SET lease_until = now() - interval '1 s'")

    def journal(self, name: str = "june", conninfo: str | None = None, **more: Any) -> PostgresJournal:
        return PostgresJournal(conninfo or self.server.conninfo, name, schema=self.schema, **more)

    def opened(self, name: str = "june", **more: Any) -> PostgresJournal:
        journal: PostgresJournal = opened(self.journal, name=name, **more)
        return journal

    def read(self, name: str = "june") -> list[Known]:
        return read(partial(self.journal, name))[2]

    def events(self) -> list[int]:
        return [number for (number,) in self.sql("SELECT sequence FROM event ORDER BY sequence")]


@pytest.fixture
def tables(server: Server, schema: str) -> Tables:
    return Tables(server, schema)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server)
    yield proxy
    proxy.close()


# -- one process at a time --------------------------------------------------------------------------------------


def test_who_was_taken_over_writes_no_intent(tables: Tables):
    """After another process took over, an intent is refused whole; ends of calls that left before are accepted."""
    first = tables.opened()
    first.write([intent(1, 0, 1), intent(2, 2)])
    tables.lapse()
    second = tables.opened()
    assert [known(row, UNKNOWN) for row in range(3)] == list(second.known())

    with pytest.raises(JournalError, match="another process has taken the journal june over"):
        first.write([end(2, ADDED), intent(3, 3)])
    assert not first.may_leave()
    first.write([end(1, ADDED, REJECTED)])
    second.write([intent(1, 3)])
    first.write([end(2, WITHDRAWN)])
    second.write([end(1, ADDED)])
    with pytest.raises(JournalError, match="taken the journal june over"):
        first.finish(4)
    first.close()
    assert second.may_leave(), "who was taken over gave nothing back"
    second.close()

    assert [known(0, ADDED, 1), known(1, REJECTED), known(3, ADDED, 1)] == tables.read()


def test_who_was_taken_over_settles_nothing(tables: Tables):
    """After another process took over, settling is refused whole, and so is the moment of the end."""
    first = tables.opened(now=ticking())
    first.write([intent(1, 0)])
    tables.lapse()
    second = tables.opened(now=lambda: at(50))

    with pytest.raises(JournalError, match="taken the journal june over"):
        first.settle([known(0, ABSENT)])
    first.close()
    assert [(at(2), at(50))] == [(call.began_at, call.over_at) for call in second.calls()]
    second.close()

    assert [known(0, UNKNOWN)] == tables.read()


def test_a_call_whose_end_came_late(tables: Tables):
    """Until its end was written a call had a living process, though another one had begun: it was over afterwards."""
    first = tables.opened(now=ticking())
    first.write([intent(1, 0), intent(2, 1)])
    tables.lapse()
    second = tables.opened(now=lambda: at(50))
    first.write([end(1, ADDED)])
    second.settle([])  # just after opening, as far as its process knows
    first.close()
    before = [(call.ended, call.over_at) for call in second.calls()]
    second.close()
    assert [(5, None), (None, at(50))] == before
    third = tables.opened(now=lambda: at(60))

    assert [(5, at(50)), (None, at(50))] == [(call.ended, call.over_at) for call in third.calls()]
    third.close()
    assert 2 == tables.journal().summary().runs


def test_a_summary_is_of_one_moment(tables: Tables, monkeypatch: pytest.MonkeyPatch):
    """What a run writes while it is looked at does not show in a part of its summary."""
    running = tables.opened()
    running.write([intent(1, 0, 1)])

    def end_meanwhile(*looked_at: Any) -> None:
        running.write([end(1, ADDED, ADDED)])
        running.finish(2)
        verify(*looked_at)

    verify = postgres_tables.verify
    monkeypatch.setattr(postgres_tables, "verify", end_meanwhile)
    summary = tables.journal().summary()
    monkeypatch.undo()

    assert (0, 2, None) == (summary.added, summary.in_doubt, summary.rows)
    after = tables.journal().summary()
    assert (2, 0, 2) == (after.added, after.in_doubt, after.rows)
    running.close()


def test_a_late_end_and_what_was_settled(tables: Tables):
    """An end that comes after settling still says what was added; it puts no row that is proven absent in doubt."""
    first = tables.opened()
    first.write([intent(1, 0, 1, 2)])
    tables.lapse()
    second = tables.opened()
    second.settle([known(row, ABSENT) for row in range(3)])
    first.write([end(1, ADDED, UNKNOWN, REJECTED)])
    second.close()
    first.close()

    assert [known(0, ADDED, 1)] == tables.read()


def test_the_fence_is_the_epoch(tables: Tables):
    """An intent is refused from the moment when another process took over, though that has not written anything yet."""
    journal = tables.opened()
    tables.sql("UPDATE journal SET epoch = epoch + 1")

    with pytest.raises(JournalError, match="taken the journal june over"):
        journal.write([intent(1, 0)])
    assert [1] == tables.events()
    journal.close()


def test_no_call_leaves_after_its_lease(tables: Tables, monkeypatch: pytest.MonkeyPatch):
    """A call may leave while the lease lasts by a clock that began before it was asked for; a renewal extends it."""
    now = 1000.0
    monkeypatch.setattr(postgres, "boot_time", lambda: now)
    journal = tables.journal(lease=10)
    assert not journal.may_leave()
    journal.open(STORE)
    assert journal.may_leave()
    now += 8.9
    assert journal.may_leave()
    now += 0.2
    assert not journal.may_leave()
    journal._renew()
    assert journal.may_leave()
    now += 9.1
    run = postgres.tables.Database.run

    def slow(*arguments: Any, **values: Any) -> Any:
        nonlocal now
        now += 5
        return run(*arguments, **values)

    with monkeypatch.context() as patched:
        patched.setattr(postgres.tables.Database, "run", slow)
        journal._renew()
    assert journal.may_leave()
    now += 4.1
    assert not journal.may_leave()
    journal.write([intent(1, 0)])
    assert journal.may_leave()
    tables.lapse()
    tables.opened().close()
    journal._renew()
    assert not journal.may_leave()
    journal.close()


def test_the_lease_is_renewed(tables: Tables):
    """A thread renews the lease three times while it lasts, and ends when the journal is closed."""
    journal = tables.opened(lease=30)
    renewer = journal._renewer
    assert renewer is not None
    assert renewer.is_alive()
    journal._closing.set()
    renewer.join()
    tables.lapse()
    waits: list[float] = []

    class Closing:
        def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            return len(waits) > 2

        def set(self) -> None: ...

    journal._closing = Closing()  # type: ignore[assignment]
    journal._keep_renewing()

    assert [10.0] * 3 == waits
    with pytest.raises(JournalInUseError):
        tables.opened()
    journal.close()


def test_the_thread_ends_with_its_journal(tables: Tables):
    """No thread renews a journal that is closed."""
    journal = tables.opened()
    renewer = journal._renewer
    assert renewer is not None
    journal.close()
    assert not renewer.is_alive()


def test_a_lost_connection_is_noticed_by_the_renewal(tables: Tables, proxy: Proxy):
    """While nothing is written, the renewal of the lease finds that the connection is lost, and makes a new one."""
    journal = tables.opened(conninfo=proxy.conninfo)
    tables.lapse()
    proxy.cut_before = b"UPDATE"
    journal._renew()

    with pytest.raises(JournalInUseError):
        tables.opened()
    journal.close()


def test_who_holds_the_journal_is_named(tables: Tables):
    """Who comes second learns who is first, and when to try again if that process is gone."""
    journal = tables.opened(lease=20)
    tables.sql("UPDATE journal SET holder = 'web-1, process 7'")

    text = r"another process \(web-1, process 7\) is using the journal june; .* try again in \d+ s"
    with pytest.raises(JournalInUseError, match=text):
        tables.opened()
    assert ["web-1, process 7"] == [
        listed.holder for listed in list_journals(tables.server.conninfo, schema=tables.schema)
    ]
    journal.close()


# -- a lost connection ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["cut_before", "cut_after"])
@pytest.mark.parametrize("what", ["intent", "end", "settle"])
def test_a_connection_lost_in_a_commit(tables: Tables, proxy: Proxy, where: str, what: str):
    """Whether the server had committed or not when the connection broke, the write is there once."""
    journal = tables.opened(conninfo=proxy.conninfo)
    if what != "intent":
        journal.write([intent(1, 0)])
    setattr(proxy, where, b"INSERT INTO")

    match what:
        case "intent":
            journal.write([intent(1, 0)])
        case "end":
            journal.write([end(1, ADDED)])
        case _:
            journal.settle([known(0, ADDED, 1)])

    assert journal.may_leave()
    journal.write([intent(2, 1)])
    journal.close()
    assert [known(0, UNKNOWN if what == "intent" else ADDED, 1), known(1, UNKNOWN)] == tables.read()


def test_a_commit_that_is_still_going_on(tables: Tables, proxy: Proxy):
    """What the lost connection still carries is waited for: it commits first, or never."""
    journal = tables.opened(conninfo=proxy.conninfo)
    with psycopg.connect(tables.server.conninfo) as other:
        other.execute(f"SELECT FROM {tables.quoted}.journal FOR UPDATE".encode())
        proxy.cut_after = b"INSERT INTO"
        writing = threading.Thread(target=journal.write, args=[[intent(1, 0)]])
        writing.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while tables.server.sql(waiting) != [(2,)]:  # the statement of the lost connection, and the one after it
            assert writing.is_alive()
        other.rollback()
    writing.join()
    journal.close()

    assert [1, 2] == tables.events()[:2]
    assert [known(0, UNKNOWN)] == tables.read()


def test_reading_goes_on_after_a_lost_connection(tables: Tables, proxy: Proxy):
    """What earlier runs came to is listed whole, though the connection is lost meanwhile."""
    journal = tables.opened()
    expected = fill(journal, 200)
    journal.close()
    journal = tables.opened(conninfo=proxy.conninfo)
    listing = journal.known()
    first = next(listing)
    proxy.cut_before = b"began"

    assert expected == [first, *listing]
    journal.close()


def test_a_server_that_stays_away(tables: Tables, proxy: Proxy, monkeypatch: pytest.MonkeyPatch):
    """Where the server is not reached before the lease runs out, what was being written is called in doubt."""
    journal = tables.opened(conninfo=proxy.conninfo)
    proxy.close()
    clock = iter(range(10**9, 10**10))
    monkeypatch.setattr(postgres, "boot_time", lambda: float(next(clock)))
    monkeypatch.setattr(postgres, "RECONNECT", 0)
    journal._lease_end = float(next(clock) + 3)

    with pytest.raises(JournalError, match="server was not reached again; what was being written may be in doubt"):
        journal.write([intent(1, 0)])
    with pytest.raises(JournalError):
        journal._renew()
    journal._closing.set()
    with pytest.raises(JournalError):
        journal.write([intent(2, 0)])
    assert not journal.may_leave()
    journal.close()


def test_a_connection_that_is_lost_again_and_again(tables: Tables, proxy: Proxy):
    """A write is not tried for ever."""
    journal = tables.opened(conninfo=proxy.conninfo)
    proxy.cut_before, proxy.always = b"INSERT INTO", True

    with pytest.raises(JournalError, match="june can't be written: the connection was lost again and again"):
        journal.write([intent(1, 0)])
    proxy.cut_before = None
    journal.write([intent(1, 1)])
    journal.close()
    assert [known(1, UNKNOWN)] == tables.read()


def test_taken_over_while_the_connection_was_lost(tables: Tables, proxy: Proxy):
    """A process that comes back after another has taken over writes nothing more, even if it was not notified."""
    journal = tables.opened(conninfo=proxy.conninfo)
    tables.lapse()
    tables.opened().close()
    proxy.cut_before = b"INSERT INTO"

    with pytest.raises(JournalError, match="taken the journal june over"):
        journal.write([intent(1, 0)])
    journal.close()
    assert [] == tables.read()


def test_what_the_server_refuses(tables: Tables):
    """A refusal that leaves the connection as it is stops the run with the server's own words."""
    tables.server.sql("CREATE ROLE hasty LOGIN SUPERUSER", "ALTER ROLE hasty SET lock_timeout = '1ms'")
    hasty = tables.server.conninfo.replace("owner", "hasty")
    journal = tables.opened(conninfo=hasty)
    with psycopg.connect(tables.server.conninfo) as other:
        other.execute(f"SELECT FROM {tables.quoted}.journal FOR UPDATE".encode())
        with pytest.raises(JournalError, match="june can't be written: canceling statement due to lock timeout"):
            journal.write([intent(1, 0)])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            journal._renew()
    tables.sql("ALTER TABLE event RENAME COLUMN body TO soul")
    with pytest.raises(JournalError, match='june can\'t be written: column "body"'):
        journal.write([intent(1, 0)])
    with pytest.raises(JournalError, match=r"june can't be read: column began\.body"):
        list(journal.known())
    journal.close()


def test_a_journal_that_goes_away(tables: Tables, proxy: Proxy):
    """Once somebody has deleted the journal no intent counts as written any more."""
    journal = tables.opened(conninfo=proxy.conninfo)
    tables.sql("DELETE FROM journal")
    for _ in range(2):
        with pytest.raises(JournalError, match="june was deleted while it was in use"):
            journal.write([intent(1, 0)])
        proxy.cut_before = b"INSERT INTO"
    journal.close()


# -- the database -----------------------------------------------------------------------------------------------


def test_a_commit_is_on_disk_when_it_returns(tables: Tables):
    """Though the role's commits are asynchronous, what was written is there after the server was killed at once."""
    tables.server.sql("CREATE ROLE careless LOGIN SUPERUSER", "ALTER ROLE careless SET synchronous_commit = off")
    careless = tables.server.conninfo.replace("owner", "careless")
    journal = tables.opened(conninfo=careless)
    journal.write([intent(1, 0), end(1, ADDED)])
    tables.server.stop()
    tables.server.start()
    journal.close()
    tables.lapse()  # which could not be given back

    assert [known(0, ADDED, 1)] == tables.read()


def test_another_timeline_is_refused(tables: Tables, proxy: Proxy):
    """After a failover a journal says what may be lost, and goes on only on the timeline that it is told to accept."""
    tables.opened().close()
    tables.sql("UPDATE journal SET timeline = 7")
    text = r"on timeline 1, .* on timeline 7: .* may be missing .* accept_timeline=1$"

    with pytest.raises(ConfigurationError, match=text):
        tables.opened()
    with pytest.raises(ConfigurationError, match=text):
        tables.opened(accept_timeline=2)
    tables.opened(accept_timeline=1).close()
    journal = tables.opened(conninfo=proxy.conninfo)
    journal._timeline = 6
    proxy.cut_before = b"INSERT INTO"
    with pytest.raises(JournalError, match=r"on timeline 1, .* on timeline 6"):
        journal.write([intent(1, 0)])
    with pytest.raises(JournalError):
        journal.write([intent(1, 0)])
    journal.close()


@pytest.mark.thorough
def test_a_promoted_standby(tables: Tables):
    """A standby that was promoted just now is recognised, though it has not made a checkpoint since."""
    tables.opened().close()
    standby = tables.server.promoted_copy()
    try:
        with pytest.raises(ConfigurationError, match=r"on timeline 2, .* on timeline 1"):
            tables.opened(conninfo=standby.conninfo)
    finally:
        standby.remove()


def test_a_standby_can_not_be_written(tables: Tables, monkeypatch: pytest.MonkeyPatch):
    """A server that takes no writes is refused before anything is sent."""
    monkeypatch.setitem(postgres.tables._PARTS, "timeline", "pg_promote()::int / 0")
    with pytest.raises(ConfigurationError, match="the journal june can't be used: "):
        tables.opened()


def test_tables_are_made_once(tables: Tables):
    """Processes that come at the same time make the tables once; each has its own journal in them."""
    journals = [tables.journal(f"journal {number}") for number in range(6)]
    threads = [threading.Thread(target=journal.open, args=[STORE]) for journal in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, journal in enumerate(journals):
        journal.write([intent(1, number)])
    for journal in journals:
        journal.close()

    assert 6 == len({journal.identity for journal in journals})
    assert [[known(number, UNKNOWN)] for number in range(6)] == [tables.read(f"journal {n}") for n in range(6)]
    assert [(1,)] == tables.sql("SELECT number FROM form")


def test_tables_that_were_made_meanwhile(tables: Tables, monkeypatch: pytest.MonkeyPatch):
    """Who waited for the tables, which another process was making, leaves them as they are."""
    database = postgres.tables.Database
    form, answers = database._form, [0]
    tables.server.sql(f"CREATE SCHEMA {tables.quoted}")
    create_tables(tables.server.conninfo, schema=tables.schema)
    monkeypatch.setattr(database, "_form", lambda self: answers.pop() if answers else form(self))
    tables.opened().close()

    assert [(1,)] == tables.sql("SELECT number FROM form")


def test_there_are_no_tables(tables: Tables):
    """A database in which no import has begun is named as one; nothing is made in it."""
    for use in (lambda: list_journals(tables.server.conninfo, schema=tables.schema), tables.journal().summary):
        with pytest.raises(ConfigurationError, match=r'^there are no journals in schema test "\d+" of this database$'):
            use()


def test_tables_of_another_version(tables: Tables):
    """Tables that a later version made are left alone."""
    create_tables(tables.server.conninfo, schema=tables.schema)
    tables.sql("UPDATE form SET number = 2")
    for use in (tables.opened, lambda: create_tables(tables.server.conninfo, schema=tables.schema)):
        with pytest.raises(ConfigurationError, match=r"another version of neto_async \(form 2, this one reads 1\)"):
            use()


def test_the_form_of_the_tables(tables: Tables):
    """What is in the tables is what another release will look for."""
    journal = tables.opened(now=lambda: MOMENT)
    journal.write(
        [Intent(call=4, rows=((5, b"a" * 16), (3, b"b" * 16))), End(call=4, states=((ADDED, 7), (REJECTED, 0)))]
    )
    journal.finish(259)
    journal.settle([Known(1, b"d" * 16, ABSENT, 0), Known(5, b"a" * 16, ADDED, 258), Known(0, b"e" * 16, ABSENT, 0)])
    journal.settle([])
    journal.close()
    zeros = bytes(7)

    assert [
        (1, 0, None, None, MICROSECONDS),
        (2, 1, None, 3, b"\5" + zeros + b"a" * 16 + b"\3" + zeros + b"b" * 16),
        (3, 2, 2, None, b"\1\7" + zeros + b"\2\0" + zeros),
        (4, 4, None, None, MICROSECONDS),
        (5, 3, None, None, b"\3\1" + bytes(6)),
        (6, 5, None, 5, b"\5" + zeros + b"a" * 16),
        (7, 2, 6, None, b"\1\2\1" + bytes(6)),
        (8, 5, None, 0, b"\1" + zeros + b"d" * 16 + b"\0" + zeros + b"e" * 16),
        (9, 5, None, None, b""),
        (10, 4, None, None, MICROSECONDS),
    ] == tables.sql("SELECT sequence, kind, intent, first, body FROM event")
    columns = tables.sql(
        "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute "
        "WHERE attrelid IN ('journal'::regclass, 'event'::regclass) AND attnum > 0 GROUP BY attrelid ORDER BY attrelid"
    )
    assert [
        "id name identity salt store created_at written_at timeline sequence chain epoch holder lease_until",
        "journal sequence kind intent first body chain",
    ] == [names for (names,) in columns]


def test_damage_is_noticed(tables: Tables):
    """Events that were changed or taken out, or a head that says otherwise, are noticed when the journal is opened."""
    journal = tables.opened()
    fill(journal)
    journal.close()
    tables.sql("CREATE TABLE event_as_it_was AS TABLE event", "CREATE TABLE journal_as_it_was AS TABLE journal")
    for statement in (
        "DELETE FROM event WHERE sequence = (SELECT max(sequence) FROM event)",
        "DELETE FROM event WHERE sequence = 3",
        "DELETE FROM event",
        "UPDATE event SET kind = 3 WHERE sequence = 4",
        "UPDATE event SET body = body || 'x'::bytea WHERE sequence = 4",
        "UPDATE event SET first = first + 1 WHERE sequence = 2",
        "UPDATE journal SET sequence = sequence - 1",
        "UPDATE journal SET salt = 'x'::bytea",
        "UPDATE journal SET identity = 'x'",
    ):
        tables.sql(statement)
        for use in (tables.opened, tables.journal().summary):
            with pytest.raises(ConfigurationError, match="the journal june is damaged"):
                use()
        tables.sql(
            "TRUNCATE event, journal",
            "INSERT INTO journal OVERRIDING SYSTEM VALUE TABLE journal_as_it_was",
            "INSERT INTO event TABLE event_as_it_was",
        )
    assert 6 == len(tables.read())


def test_list_and_prune(tables: Tables):
    """All journals are listed; those are pruned that are finished, free, old enough, and leave nothing in doubt."""
    at, more = tables.server.conninfo, {"schema": tables.schema}
    for name in ("done", "doubtful", "stopped", "busy"):
        journal = tables.opened(name)
        journal.write([intent(1, 0)])
        if name != "doubtful":
            journal.write([end(1, ADDED)])
        if name != "stopped":
            journal.finish(1)
        if name != "busy":
            journal.close()
    late = tables.opened("late")
    late.write([intent(1, 0)])
    tables.lapse()
    successor = tables.opened("late")
    successor.finish(1)
    successor.close()
    late.write([end(1, ADDED)])

    listed = {found.name: (found.finished, found.store) for found in list_journals(at, **more)}
    assert {
        "done": (True, STORE),
        "doubtful": (True, STORE),
        "stopped": (False, STORE),
        "busy": (True, STORE),
        "late": (True, STORE),
    } == listed
    assert (1, 1, 0) == (
        tables.journal("late").summary().rows,
        tables.journal("late").summary().added,
        tables.journal("late").summary().remaining,
    )
    assert [] == prune_journals(at, older_than=timedelta(hours=1), **more)
    tables.sql("UPDATE journal SET lease_until = now() + interval '1 h' WHERE name = 'busy'")
    assert ["done", "late"] == [pruned.name for pruned in prune_journals(at, older_than=timedelta(0), **more)]
    assert {"doubtful", "stopped", "busy"} == {found.name for found in list_journals(at, **more)}
    assert 0 == tables.sql("SELECT count(*) FROM event WHERE journal NOT IN (SELECT id FROM journal)")[0][0]
    with pytest.raises(ConfigurationError, match="there is no journal done"):
        tables.journal("done").summary()
    journal.close()


def test_least_privileges(tables: Tables):
    """A role with the rights of the page, and no other, keeps journals; one without is refused by name."""
    (granted,) = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    role = "role" + re.sub(r"\W", "", tables.schema)
    tables.server.sql(f"CREATE ROLE {role} LOGIN")
    limited = tables.server.conninfo.replace("owner", role)
    with pytest.raises(ConfigurationError, match=r"june can't be used: permission denied for database .*create_tables"):
        tables.opened(conninfo=limited)
    create_tables(tables.server.conninfo, schema=tables.schema)
    for use in (lambda: tables.opened(conninfo=limited), lambda: list_journals(limited, schema=tables.schema)):
        with pytest.raises(ConfigurationError, match=r"can't be used: permission denied for schema .*create_tables"):
            use()
    tables.server.sql(granted.replace("neto_async", tables.quoted).replace("imports", role))

    tables.sql(f"REVOKE INSERT ON event FROM {role}")
    with pytest.raises(ConfigurationError, match="june can't be written: permission denied for table event"):
        tables.opened(conninfo=limited)
    tables.sql(f"GRANT INSERT ON event TO {role}")

    journal = tables.opened(conninfo=limited)
    journal.write([intent(1, 0), end(1, ADDED)])
    journal.finish(1)
    journal.close()
    assert [False] == [found.finished is False for found in list_journals(limited, schema=tables.schema)]
    assert 1 == len(prune_journals(limited, older_than=timedelta(0), schema=tables.schema))


def test_without_psycopg(monkeypatch: pytest.MonkeyPatch):
    """Where psycopg is missing, importing the journal fails with the command that brings it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in ("postgres", "postgres_tables"):
        monkeypatch.delitem(sys.modules, f"neto_async.journals.{name}")
    with pytest.raises(ImportError, match=re.escape('pip install "neto_async[postgres]"')):
        importlib.import_module("neto_async.journals.postgres")


# -- looking without a change -----------------------------------------------------------------------------------


def test_what_a_run_would_go_on_from(tables: Tables):
    """It is read without a change to the database: nothing where there is no journal, else what the journal knows."""
    journal = tables.journal()
    assert journal.remembered() is None
    with journal.reading() as begun:
        assert not begun
    assert [] == tables.server.sql("SELECT FROM pg_namespace WHERE nspname = %(schema)s", schema=tables.schema)

    tables.opened("july").close()
    assert journal.remembered() is None
    journal.open(STORE)
    expected = fill(journal)
    salt = journal.salt
    journal.close()
    before = tables.sql("TABLE journal")
    other = tables.journal()
    assert journal.summary() == other.remembered()
    with other.reading() as begun:
        assert (True, salt, expected) == (begun, other.salt, list(other.known()))
    with pytest.raises(JournalError, match="not open"):
        list(other.known())
    assert before == tables.sql("TABLE journal")


def test_what_a_run_would_refuse(tables: Tables):
    """Looking at what a run would go on from refuses a journal as the run itself would."""
    held = tables.opened()

    def refused(text: str, error: type[Exception] = ConfigurationError) -> None:
        with pytest.raises(error, match=text):
            tables.journal().remembered()
        with pytest.raises(error, match=text), tables.journal().reading():
            pass

    refused(r"^this process is already using the journal june; .* try again in \d+ s$", JournalInUseError)
    tables.sql("UPDATE journal SET holder = 'web-1, process 7'")
    refused(r"^another process \(web-1, process 7\) is using", JournalInUseError)
    held.close()
    tables.lapse()
    tables.sql("UPDATE journal SET timeline = 7")
    refused(r"on timeline 1, .* on timeline 7: .* accept_timeline=1$")
    assert tables.journal(accept_timeline=1).remembered() is not None
    tables.sql("UPDATE journal SET timeline = 1, identity = 'x'")
    refused("the journal june is damaged")
    tables.sql("UPDATE form SET number = 2")
    refused("another version of neto_async")


def test_a_connection_that_is_lost_while_it_is_read(tables: Tables, proxy: Proxy):
    """Reading goes on over a new connection where there is one, and is refused where there is none."""
    journal = tables.opened()
    expected = fill(journal)
    journal.close()
    other = tables.journal(conninfo=proxy.conninfo)

    proxy.cut_before = b"began.first"
    with other.reading():
        assert expected == list(other.known())
    proxy.always = True
    proxy.cut_before = b"began.first"
    with pytest.raises(ConfigurationError, match="june"), other.reading():
        list(other.known())


# -- what is said -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conninfo", "said"),
    [
        ("host=127.0.0.1 port=1 password={}", "Connection refused"),
        ("{server} password={} dbname=nowhere", "the database does not exist"),
        ("host=127.0.0.1 port={port} password={} user=nobody", "the role does not exist"),
        ("{server} password={} oops", "the connection string can't be read"),
        ("postgresql://user:{}@@@host:x/y", "the server can't be reached or refuses the connection"),
        ("postgresql://user:a/{}@localhost/y", "the server can't be reached or refuses the connection"),
        ("host={}.invalid", "failed to resolve host"),
    ],
)
def test_no_error_shows_the_password(tables: Tables, conninfo: str, said: str):
    """Wherever a connection string is wrong, no text, repr or variable of a traceback holds a piece of it."""
    conninfo = conninfo.replace("{server}", tables.server.conninfo).format(PASSWORD, port=tables.server.port)
    uses: list[Callable[[], object]] = [
        lambda: tables.opened(conninfo=conninfo),
        lambda: tables.journal(conninfo=conninfo).summary(),
        lambda: list_journals(conninfo),
    ]
    for use in uses:
        with pytest.raises(ConfigurationError, match=re.escape(said)) as raised:
            use()
        error: BaseException | None = raised.value
        while error is not None:
            frames = [
                frame
                for frame, _ in traceback.walk_tb(error.__traceback__)
                if "neto_async" in frame.f_code.co_filename or "psycopg" in frame.f_code.co_filename
            ]
            assert PASSWORD not in str(error) + "".join(repr(frame.f_locals) for frame in frames)
            error = error.__context__
    assert "PostgresJournal('june')" == repr(tables.journal(conninfo=conninfo))


UNUSABLE: Any = [
    *(({"name": name}, "needs a name") for name in ("", "a\0b", "\ud800", 5, None)),
    *(({"schema": schema}, "schema of a journal must be text of 63 bytes") for schema in ("", "é" * 32, "a\0b", None)),
    *(({"lease": lease}, "at least one second") for lease in (0.5, 86_401)),
    *(({"lease": lease}, "lease must be a number above 0") for lease in (float("inf"), float("nan"), True, "15")),
    *(({"conninfo": conninfo}, "needs a connection string") for conninfo in (None, b"dbname=crm")),
]


@pytest.mark.parametrize(("given", "text"), UNUSABLE)
def test_what_can_not_be(given: dict[str, Any], text: str):
    """An argument that can't be meant is refused when the journal is made."""
    with pytest.raises(ConfigurationError, match=text):
        PostgresJournal(**{"conninfo": "dbname=crm", "name": "june", **given})
