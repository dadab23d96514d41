"""The command with a journal in PostgreSQL, on a server of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from attrs import define

from neto_async import ConfigurationError
from neto_async.cli.journal_places import DatabaseUrl, journal_at, journal_place
from neto_async.journals.postgres import PostgresJournal
from neto_async.journals.protocol import End, Intent, RowState
from neto_async.sandbox import NetoSandbox, faults

HEADER = "Username,Status,Notes\n"
PASSWORD = "CAN" + "ARY"
STORE = "https://www.example.com"
numbers = itertools.count()


@define
class Database:
    """A database of one test."""

    server: Any
    name: str

    def url(self, name: str | None = "june", role: str = "owner", **more: str) -> str:
        parts = {**({} if name is None else {"name": name}), **more}
        query = "&".join(f"{key}={value}" for key, value in parts.items())
        return f"postgresql://{role}@127.0.0.1:{self.server.port}/{self.name}" + (f"?{query}" if query else "")

    def journal(self, name: str = "june", **more: Any) -> PostgresJournal:
        return PostgresJournal(self.url(None), name, **more)

    def opened(self, name: str = "june", **more: Any) -> PostgresJournal:
        journal = self.journal(name)
        journal.open(more.get("store", STORE))
        return journal

    def sql(self, *statements: str) -> Any:
        import psycopg  # noqa: PLC0415 - as in the product, only where it is used

        with psycopg.connect(self.url(None), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def database(server: Any) -> Database:
    name = f"commands{next(numbers)}"
    server.sql(f"CREATE DATABASE {name}")
    return Database(server, name)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A file of three logs."""
    file = tmp_path / "calls.csv"
    file.write_text(f"{HEADER}ann,Completed,one\nbob,,two\ncy,,fine\n", encoding="utf-8")
    return file


def rewrite(file: Path, before: str, after: str) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")


# -- an import --------------------------------------------------------------------------------------------------


@pytest.mark.thorough
async def test_an_import_goes_on(run: Any, store: NetoSandbox, database: Database, calls: Path) -> None:
    """The first run says that there was none; the second sends what is new, and says what was known before."""
    words = ("import", str(calls), "--journal", database.url())
    planned = await run(*words, "--dry-run", store=store)
    first = await run(*words, store=store)
    with calls.open("a", encoding="utf-8") as end:
        end.write("dee,,new\n")
    looked = await run(*words, "--dry-run", store=store)
    second = await run(*words, "--json", store=store)

    assert (0, 0, 0, 0) == (planned.code, first.code, looked.code, second.code), first.err
    assert "No journal found: all rows are sent." in first.out
    assert f"Journal  {database.url()}\n" in first.out
    assert "Before   3 added; 1 left to send\n" in looked.out
    assert (4, 3, database.url()) == (second.summary["added"], second.summary["replayed"], second.summary["journal"])
    assert ["one", "two", "fine", "new"] == [log.notes for log in store.logs]
    assert ["calls.csv"] == [file.name for file in calls.parent.iterdir()]


async def test_a_dry_run_makes_nothing(run: Any, store: NetoSandbox, database: Database, calls: Path) -> None:
    """A dry run leaves a database as it was."""
    ran = await run("import", str(calls), "--journal", database.url(), "--dry-run", store=store)

    assert (0, [(0,)]) == (ran.code, database.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'neto_async'"))


async def test_one_goes_on_for_one_that_was_killed(
    run: Any, store: NetoSandbox, database: Database, tmp_path: Path
) -> None:
    """While a run holds the journal, and until its lease is over, others learn when to try; then one goes on."""
    file = tmp_path / "calls.csv"
    file.write_text(HEADER + "".join(f"u{row},,note {row}\n" for row in range(40)), encoding="utf-8")
    release = asyncio.Event()
    store.faults.next(None, None, None, None, faults.Late(until=release))
    url = database.url()
    words = ("import", str(file), "--batch-size", "2", "--max-concurrency", "1", "--requests-per-minute", "none")
    words += ("--journal", url)
    await run.start(*words, store=store)
    await store.until(lambda: store.log_count == 9)
    ((holder,),) = database.sql("SELECT holder FROM neto_async.journal")
    os.kill(run.process, signal.SIGKILL)
    await run.ended()
    refused = await run(*words, store=store)
    shown = await run("status", url)
    listed = await run("status", database.url(None))
    release.set()
    database.sql("UPDATE neto_async.journal SET lease_until = now()")
    again = await run(*words, "--json", store=store)

    assert (1, 0, 0, 3) == (refused.code, shown.code, listed.code, again.code)
    assert f"another process ({holder}) is using the journal june" in refused.err
    assert "If that process is gone, try again in " in refused.err
    assert "" == refused.out, "it is refused before the plan is shown"
    assert "7 added, 2 in doubt" in shown.out
    assert [True, True] == [text in listed.out for text in (f"in use by {holder}", "7 added, 2 in doubt")]
    notes = [log.notes for log in store.logs]
    assert len(notes) == len(set(notes))
    assert (38, 2) == (again.summary["added"], again.summary["unknown"])


async def test_taken_over_in_the_middle(run: Any, store: NetoSandbox, database: Database, tmp_path: Path) -> None:
    """A run whose journal another process took over stops with 4, and names the command that goes on."""
    file = tmp_path / "calls.csv"
    file.write_text(HEADER + "".join(f"u{row},,note {row}\n" for row in range(20)), encoding="utf-8")
    release = asyncio.Event()
    store.faults.next(None, faults.Late(until=release))
    words = ("import", str(file), "--batch-size", "2", "--max-concurrency", "1", "--requests-per-minute", "none")
    words += ("--journal", database.url())
    await run.start(*words, store=store)
    await store.until(lambda: store.log_count == 3)
    database.sql("UPDATE neto_async.journal SET epoch = epoch + 1")
    release.set()
    ran = await run.ended()

    assert (4, 3) == (ran.code, store.log_count)
    assert "Stopped: another process has taken the journal june over" in ran.out
    assert f"--journal '{database.url()}'" in ran.out


@define
class Refused:
    """What an import is refused for."""

    database: Database
    calls: Path
    store: NetoSandbox

    async def in_use(self) -> str:
        self.database.opened("june", store=self.store.url)  # never given back
        return self.database.url()

    async def another_store(self) -> str:
        self.database.opened("june").close()
        return self.database.url()

    async def another_timeline(self) -> str:
        self.database.opened("june", store=self.store.url).close()
        self.database.sql("UPDATE neto_async.journal SET timeline = 7")
        return self.database.url()

    async def damaged(self) -> str:
        self.database.opened("june", store=self.store.url).close()
        self.database.sql("DELETE FROM neto_async.event")
        return self.database.url()

    async def no_name(self) -> str:
        return self.database.url(None)

    async def no_database(self) -> str:
        return self.database.url().replace(self.database.name, "nowhere")

    async def no_role(self) -> str:
        return self.database.url(role="nobody")

    async def no_server(self) -> str:
        return self.database.url().replace(str(self.database.server.port), "1")

    async def no_rights(self) -> str:
        role = f"poor{next(numbers)}"
        self.database.sql(f"CREATE ROLE {role} LOGIN")
        return self.database.url(role=role)

    async def unknown_parameter(self) -> str:
        return self.database.url(sslmod="require")


@pytest.mark.parametrize(
    ("why", "says"),
    [
        (Refused.in_use, "is using the journal june; wait for that run to end, or stop it."),
        (Refused.another_store, "june is the journal of an import into https://www.example.com, not http"),
        (Refused.another_timeline, "continue with accept_timeline=1"),
        (Refused.damaged, "the journal june is damaged, so what it says can't be trusted"),
        (Refused.no_name, 'a journal in PostgreSQL needs a name: end its URL in "?name=…"'),
        (Refused.no_database, "(the database does not exist)"),
        (Refused.no_role, "(the role does not exist)"),
        (Refused.no_server, "the server can't be reached or refuses the connection (Connection refused)"),
        (Refused.no_rights, "permission denied for database"),
        (Refused.unknown_parameter, "the connection string can't be read"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_is_refused(  # noqa: PLR0917
    run: Any, store: NetoSandbox, database: Database, calls: Path, why: Callable[[Refused], Any], says: str
) -> None:
    """Nothing is sent, the exit code is 1, and the text says what is wrong."""
    url = await why(Refused(database, calls, store))

    ran = await run("import", str(calls), "--journal", url, store=store)

    assert (1, 0) == (ran.code, store.log_count)
    assert says in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.thorough
async def test_a_changed_source_and_a_timeline_that_is_accepted(
    run: Any, store: NetoSandbox, database: Database, calls: Path
) -> None:
    """A file that the journal knows otherwise is refused; a new timeline is accepted where the URL says so."""
    words = ("import", str(calls), "--journal")
    await run(*words, database.url(), store=store)
    database.sql("UPDATE neto_async.journal SET timeline = 7")
    accepted = await run(*words, database.url(accept_timeline="1"), store=store)
    rewrite(calls, "two", "other")
    changed = await run(*words, database.url(), store=store)

    assert (0, 1, "") == (accepted.code, changed.code, changed.out)
    assert "row 2 (line 3) was added by an earlier run" in changed.err
    assert 3 == store.log_count


# -- the URL, and passwords -------------------------------------------------------------------------------------


@pytest.mark.thorough
async def test_the_password_comes_from_the_environment(
    run: Any, store: NetoSandbox, database: Database, calls: Path
) -> None:
    """PGPASSWORD is used and shown nowhere, where it is right and where it is wrong; the schema is the URL's."""
    server, role = database.server, f"walled{next(numbers)}"
    database.sql(
        f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'", f"GRANT CREATE ON DATABASE {database.name} TO {role}"
    )
    rules = server.folder / "data" / "pg_hba.conf"
    rules.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{rules.read_text(encoding='utf-8')}", "utf-8")
    server.stop("fast")
    server.start()
    words = ("import", str(calls), "--journal", database.url(role=role, schema="my%20imports", sslmode="disable"))
    for options in ((), ("--json",)):
        without = await run(*words, *options, store=store)
        wrong = await run(*words, *options, store=store, PGPASSWORD=PASSWORD + "2")
        right = await run(*words, *options, store=store, PGPASSWORD=PASSWORD)

        assert (1, 1, 0) == (without.code, wrong.code, right.code), right.err
        assert "no password supplied" in without.err
        assert "authentication failed" in wrong.err
        assert PASSWORD not in "".join(ran.out + ran.err for ran in (without, wrong, right))
    assert [("june",)] == database.sql('SELECT name FROM "my imports".journal')


SECRET_URLS = [
    f"postgresql://user:{PASSWORD}@host/db?name=june",
    f"postgres://user:{PASSWORD}@host/db?name=june",
    f"postgresql://user:@{PASSWORD}@host/db?name=june",
    f"postgresql://user:x?name={PASSWORD}@host/db",
    f"postgresql://user:x/{PASSWORD}@host/db?name=june",
    f"postgresql://{PASSWORD}/@host/db?name=june",
    f"postgresql://host/db?name=june&password={PASSWORD}",
    f"postgresql://host/db?name=june&pass%77ord={PASSWORD}",
    f"postgresql://host/db?sslpassword={PASSWORD}&name=june",
]


@pytest.mark.parametrize("url", SECRET_URLS)
def test_a_url_with_a_password_is_refused(url: str) -> None:
    """Wherever a password is in the URL, it is refused with a text that shows no piece of it and says what to do."""
    with pytest.raises(click.BadParameter, match=r"a password does not belong in the URL.*PGPASSWORD") as raised:
        journal_place(None, None, url)
    assert PASSWORD not in raised.value.format_message()


async def test_no_command_takes_a_password(run: Any, calls: Path) -> None:
    """Each command that takes a URL refuses one with a password, and does not show it."""
    url = SECRET_URLS[0]
    for words in (("import", str(calls), "--journal", url), ("status", url), ("prune", url, "--older-than", "9")):
        ran = await run(*words)
        assert (1, "") == (ran.code, ran.out)
        assert "a password does not belong in the URL" in ran.err
        assert PASSWORD not in ran.err


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://h/db?name=a", DatabaseUrl("", "postgresql://h/db", "a")),
        ("postgres:///?service=s&name=a%20b+c&schema=x%26y", DatabaseUrl("", "postgres:///?service=s", "a b+c", "x&y")),
        ("postgresql://u@h1:1,h2:2/db", DatabaseUrl("", "postgresql://u@h1:1,h2:2/db")),
        ("postgresql://h/db?name=&&a=b&n%61me=c", DatabaseUrl("", "postgresql://h/db?a=b", "c")),
        ("postgresql://h/db?schema=&accept_timeline=2", DatabaseUrl("", "postgresql://h/db", accept_timeline=2)),
    ],
)
def test_which_parameters_of_a_url_name_the_journal(url: str, expected: DatabaseUrl) -> None:
    """Name, schema and timeline are taken out of the URL; libpq gets the rest unchanged."""
    found = journal_place(None, None, url)

    assert isinstance(found, DatabaseUrl)
    assert url == str(found) == found.shown
    assert (expected.conninfo, expected.name, expected.schema, expected.accept_timeline) == (
        found.conninfo,
        found.name,
        found.schema,
        found.accept_timeline,
    )


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (f"mysql://user:{PASSWORD}@host/db", "give a file, or a URL that begins with postgresql://"),
        (f"PostgreSQL://user:{PASSWORD}@host/db", "give a file, or a URL that begins with postgresql://"),
        ("postgresql://h/db?name=a&accept_timeline=next", "accept_timeline must be a number"),
    ],
)
def test_a_url_that_is_none(url: str, text: str) -> None:
    """It is refused without being shown."""
    with pytest.raises(click.BadParameter) as raised:
        journal_place(None, None, url)
    assert text == raised.value.message


def test_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is missing, the error names it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in ("postgres", "postgres_tables"):
        monkeypatch.delitem(sys.modules, f"neto_async.journals.{name}")
        monkeypatch.delattr(f"neto_async.journals.{name}")
    place = journal_place(None, None, "postgresql://host/db?name=june")
    assert place is not None
    with pytest.raises(ConfigurationError, match=r'needs psycopg: pip install "neto_async\[postgres\]"'):
        journal_at(place)


# -- the journals of a database ---------------------------------------------------------------------------------


def fill(database: Database, name: str, *, doubtful: bool = False, finished: bool = True) -> PostgresJournal:
    journal = database.opened(name)
    journal.write([Intent(call=1, rows=((0, b"0" * 16), (1, b"1" * 16)))])
    if not doubtful:
        journal.write([End(call=1, states=((RowState.ADDED, 7), (RowState.REJECTED, 0)))])
    if finished:
        journal.finish(3)
    return journal


async def test_status_lists_all_journals(run: Any, database: Database) -> None:
    """Each journal is listed with its state, rows and holder; one that is damaged does not hide the others."""
    fill(database, "done").close()
    fill(database, "doubtful", doubtful=True).close()
    fill(database, "stopped", finished=False).close()
    fill(database, "bad").close()
    database.sql("DELETE FROM neto_async.event WHERE journal = (SELECT id FROM neto_async.journal WHERE name = 'bad')")
    busy = fill(database, "busy", finished=False)
    ((holder,),) = database.sql("SELECT holder FROM neto_async.journal WHERE holder IS NOT NULL")

    shown = await run("status", database.url(None))
    reported = await run("status", database.url(None), "--json")
    busy.close()

    assert (0, 0) == (shown.code, reported.code)
    head, *lines = shown.out.splitlines()
    assert ["Journal", "State", "Rows", "Last", "written"] == head.split()
    assert ["done", "doubtful", "stopped", "bad", "busy"] == [line.split()[0] for line in lines]
    assert "finished" in lines[0]
    assert "1 added, 1 refused, 1 invalid or not sent" in lines[0]
    assert "2 in doubt" in lines[1]
    assert "stopped  " in lines[2][8:]
    assert "the journal bad is damaged" in lines[3]
    assert f"in use by {holder}" in lines[4]
    found = {one["name"]: one for one in reported.summary["journals"]}
    assert (True, 3, 1, 1, 0, None, None) == tuple(
        found["done"][key] for key in ("finished", "rows", "added", "rejected", "in_doubt", "holder", "error")
    )
    assert (holder, False, None) == tuple(found["busy"][key] for key in ("holder", "finished", "rows"))
    assert "is damaged" in found["bad"]["error"]


async def test_status_of_one_journal(run: Any, database: Database) -> None:
    """With a name it says what a file's would, while a run is using it too, and finds fault with what is not there."""
    nothing = await run("status", database.url(None))
    busy = fill(database, "june")
    shown = await run("status", database.url())
    reported = await run("status", database.url(), "--json")
    missing = await run("status", database.url("july"))
    busy.close()
    free = await run("status", database.url())

    assert (1, 0, 0, 1) == (nothing.code, shown.code, reported.code, missing.code)
    assert "there are no journals in schema neto_async of this database" in nothing.err
    assert "Rows     1 added, 1 refused, 1 invalid or not sent\n" in shown.out
    counts = {"runs", "added", "rejected", "in_doubt", "rows", "remaining"}
    assert {"store", "created_at", "marker", *counts} == {*reported.summary}
    assert [True, False] == ["A run is using it: " in ran.out for ran in (shown, free)]
    assert "The last run came to the end of its file, of 3 rows." in free.out
    assert "there is no journal july" in missing.err


async def test_prune(run: Any, database: Database, tmp_path: Path) -> None:
    """Old journals are deleted that are finished and leave nothing in doubt; it takes a number of days, and no name."""
    fill(database, "done").close()
    fill(database, "doubtful", doubtful=True).close()
    fill(database, "recent").close()
    held = database.journal("stopped")
    held.open(STORE)
    database.sql("UPDATE neto_async.journal SET written_at = now() - interval '10 days' WHERE name <> 'recent'")
    words = ("prune", database.url(None))
    refused = [
        await run(*given)
        for given in (
            words,
            (*words, "--older-than", "0"),
            ("prune", database.url(), "--older-than", "9"),
            ("prune", str(tmp_path / "it.journal"), "--older-than", "9"),
        )
    ]
    early = await run(*words, "--older-than", "11")
    pruned = await run(*words, "--older-than", "9")
    held.close()
    database.sql("UPDATE neto_async.journal SET written_at = now() - interval '10 days' WHERE name <> 'recent'")
    again = await run(*words, "--older-than", "9", "--json")

    assert [1] * 4 == [ran.code for ran in refused]
    assert [True, True] == ["without a journal's name" in ran.err for ran in refused[2:]]
    assert (0, "0 deleted; kept 4: 3 written to since, 1 in use\n") == (early.code, early.out)
    kept = "kept 3: 1 with rows in doubt, 1 written to since, 1 in use"
    assert (0, f"deleted done\n1 deleted; {kept}\n") == (pruned.code, pruned.out)
    why = {"with rows in doubt": 1, "written to since": 1, "stopped before its end": 1}
    assert {"pruned": [], "kept": why} == json.loads(again.out)
    assert [("doubtful",), ("recent",), ("stopped",)] == database.sql(
        "SELECT name FROM neto_async.journal ORDER BY name"
    )


async def test_lists_in_another_schema(run: Any, database: Database) -> None:
    """The schema of the URL is used for lists too."""
    journal = database.journal("june", schema="mine")
    journal.open(STORE)
    journal.finish(0)
    journal.close()
    url = database.url(None, schema="mine")

    listed = await run("status", url, "--json")
    shown = await run("status", f"{url}&name=june", "--json")
    pruned = await run("prune", url, "--older-than", "9", "--json")

    assert (["june"], 0, []) == (
        [one["name"] for one in listed.summary["journals"]],
        shown.summary["added"],
        pruned.summary["pruned"],
    )
