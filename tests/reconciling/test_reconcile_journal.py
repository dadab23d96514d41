"""Doubts of an import, settled with its journal and its source: what is proven is noted, and the next run heeds it."""

from __future__ import annotations

import asyncio
import random
import threading
from datetime import datetime, timedelta, timezone

import pytest
from attrs import evolve

from neto_async import (
    AsyncNetoClient,
    ConfigurationError,
    CustomerLog,
    Item,
    JournalError,
    JournalInUseError,
    NotSentError,
    RowState,
    Unknown,
)
from neto_async.journals import postgres_tables
from neto_async.journals.chained import ChainedJournal
from neto_async.journals.postgres import PostgresJournal
from neto_async.journals.sqlite import SqliteJournal
from neto_async.reconciling import settle
from neto_async.reconciling.evidence import Doubt, DoubtsAndKnown, Settled, Verdict
from neto_async.reconciling.from_journal import JournalDoubts, as_seen, combined
from neto_async.sandbox import NetoSandbox, faults

CUSTOMERS = ["jsmith", "bob", "ann"]


def client(store: NetoSandbox, **settings) -> AsyncNetoClient:
    settings = {"batch_size": 5, "max_concurrency": 1, "requests_per_minute": None, **settings}
    return AsyncNetoClient(store.url, username=store.username, api_key=store.api_key, **settings)


def rows_of(count: int) -> list[dict[str, str]]:
    return [{"username": CUSTOMERS[place % 3], "notes": f"order {place}"} for place in range(count)]


async def run_import(neto: AsyncNetoClient, rows, journal, **options):
    async with neto.import_customer_logs(rows, journal=journal, **options) as run:
        return await run.finish()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "import.journal"


@pytest.mark.parametrize("wire_format", [pytest.param("json", marks=pytest.mark.thorough), "xml"])
async def test_what_is_proven_is_noted_and_the_rest_is_sent_once(path, wire_format):
    """Answers lost before and after saving: settled, the next run adds what is absent, and each row is there once."""
    rng = random.Random(2)
    rows = rows_of(60)
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store, wire_format=wire_format) as neto:
        script = [rng.choice((None, faults.Reset(), faults.Reset(saves=True))) for _ in range(12)]
        store.faults.next(None, *script)
        before = await run_import(neto, rows, path)
        seen = []
        report = await neto.reconcile(
            journal=path, source=rows, sole_writer=True, settle_after=0, on_progress=lambda *n: seen.append(n)
        )
        summary = SqliteJournal(path).summary()
        after = await run_import(neto, rows, path)
        saved = [log.notes for log in store.logs]

    assert before.unknown > 10
    assert [(before.unknown, before.unknown)] == seen
    assert (before.unknown, 0) == (len(report.records), len(report.unknown))
    assert (before.added + len(report.added), 0) == (summary.added, summary.in_doubt)
    assert (60, 60 - len(report.not_sent)) == (after.added, after.replayed)
    assert sorted(row["notes"] for row in rows) == sorted(saved)


async def test_what_is_not_proven_stays_in_doubt(path):
    """Without a guarantee a text that is there proves nothing; nothing is noted, and nothing is sent again."""
    rows = [Item(CustomerLog(**row), context=place) for place, row in enumerate(rows_of(9))]
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        store.faults.next(None, faults.Reset(saves=True))
        await run_import(neto, rows, path)
        report = await neto.reconcile(journal=SqliteJournal(path), source=rows, settle_after=0)
        after = await run_import(neto, rows, path)
        count = store.log_count

    assert 5 == len(report.unknown)
    assert [1, 2, 3, 4, 5] == [outcome.context for outcome in report.unknown]
    assert (5, 9) == (after.unknown, count)


async def test_a_row_that_went_twice_is_absent_only_if_both_calls_are(path):
    """It was sent again while in doubt, and one of the two calls saved it."""
    rows = rows_of(2)
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        store.faults.next(None, faults.Reset(saves=True))
        await run_import(neto, rows, path)
        store.faults.next(faults.Reset())
        await run_import(neto, rows, path, in_doubt="resend")
        report = await neto.reconcile(journal=path, source=rows, sole_writer=True, settle_after=0)
        after = await run_import(neto, rows, path)

    assert (1, 1) == (len(report.records), len(report.unknown))
    assert (1, 1, 2) == (after.added, after.unknown, store.log_count)


async def test_a_row_that_went_twice_is_absent_only_once_both_calls_are_over(path):
    """The call of an hour ago saved nothing, but the second one, of just now, may still be saved."""
    rows = [{"username": "ann", "notes": f"order {place}"} for place in range(2)]
    early = SqliteJournal(path, now=lambda: datetime.now(timezone.utc) - timedelta(hours=1))
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        store.faults.next(None, faults.Reset())
        await run_import(neto, rows, early)
        store.faults.next(faults.Reset())
        await run_import(neto, rows, path, in_doubt="resend")
        report = await neto.reconcile(journal=path, source=rows, sole_writer=True)
        later = await neto.reconcile(journal=path, source=rows, sole_writer=True, settle_after=0)

    assert ["time: the call may still be saved"] == [record.missing for record in report.records]
    assert (1, 1) == (len(later.records), len(later.not_sent))


def verdict(settled: Settled, call: int, log_id: int | None = None) -> Verdict:
    return Verdict(doubt=Doubt(row=3, call=call, sent={}), settled=settled, log_id=log_id, reason=str(settled))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([Settled.ADDED, Settled.NOT_SENT], Settled.ADDED),
        ([Settled.UNKNOWN, Settled.ADDED], Settled.ADDED),
        ([Settled.NOT_SENT, Settled.UNKNOWN], Settled.UNKNOWN),
        ([Settled.NOT_SENT, Settled.NOT_SENT], Settled.NOT_SENT),
    ],
)
def test_the_verdicts_on_several_calls_come_to_one(found, expected):
    """Added with one call is added; absent is what no call has saved."""
    doubts = JournalDoubts(DoubtsAndKnown(), outcomes={3: Unknown(index=3, record=None, reason="lost")})
    verdicts = [verdict(each, call) for call, each in enumerate(found)]
    assert [expected] == [one.settled for one in combined(verdicts, doubts)]


async def test_a_journal_without_doubts_takes_no_call(path):
    """Nothing is read where nothing is in doubt."""
    rows = rows_of(3)
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        await run_import(neto, rows, path)
        calls = store.call_count
        report = await neto.reconcile(journal=path, source=rows, wait=True)
    assert ((), calls, 1) == (report.records, store.call_count, SqliteJournal(path).summary().runs)


async def test_what_cannot_be_settled(path):
    """A source that changed or can be read only once, no journal, a foreign one, one in use: clear errors, no call."""
    rows = rows_of(6)
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        store.faults.next(None, faults.Reset())
        await run_import(neto, rows, path)
        calls = store.call_count
        changed = [rows[0], {**rows[1], "notes": "another"}, *rows[2:]]
        for source, words in (
            (changed, "record 2 of the source"),
            (rows[:3], "the source has 3 records now"),
            (iter(rows), "several times"),
            (3, "several times"),
        ):
            with pytest.raises(ConfigurationError, match=words):
                await neto.reconcile(journal=path, source=source)
        with pytest.raises(ConfigurationError, match="no journal"):
            await neto.reconcile(journal=path.with_name("other"), source=rows)
        with pytest.raises(ConfigurationError, match="settle"):
            await neto.reconcile(journal=OnlyARun(), source=rows)
        for given in ({}, {"outcomes": (), "journal": path, "source": rows}, {"journal": path}, {"source": rows}):
            with pytest.raises(ConfigurationError, match="either outcomes, or a journal"):
                await neto.reconcile(**given)
        async with neto.import_customer_logs(rows, journal=path) as run:
            with pytest.raises(JournalInUseError):
                await neto.reconcile(journal=path, source=rows)
            run.stop()
        assert calls == store.call_count
    async with NetoSandbox() as other, client(other) as neto:
        with pytest.raises(ConfigurationError, match="journal of an import into"):
            await neto.reconcile(journal=path, source=rows)
    assert not path.with_name("other").exists()


class OnlyARun:
    """A program's own journal, of before doubts could be settled."""

    def known(self):
        return iter(())


async def test_calls_whose_moments_are_not_known_settle_nothing_absent(path):
    """A journal of an earlier version has no moments: what is not there could come yet."""

    class Timeless(SqliteJournal):
        def calls(self):
            return (evolve(call, began_at=None, over_at=None) for call in super().calls())

    rows = rows_of(6)
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        store.faults.next(None, faults.Reset())
        await run_import(neto, rows, path)
        report = await neto.reconcile(journal=Timeless(path), source=rows, settle_after=0, wait=True)
        assert {"time: the call may still be saved"} == {record.missing for record in report.records}


@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_clock_of_a_journals_server_says_what_is_over(server, monkeypatch, hours):
    """Where hosts have other times than the journal's server, theirs prove nothing: a call may still be saved."""
    monkeypatch.setattr(postgres_tables, "NOW", f"SELECT clock_timestamp() + interval '{hours} hours'")
    journal = PostgresJournal(server.conninfo, "import", schema=f"clock {hours}")
    rows = rows_of(9)
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        store.faults.next(None, faults.Reset())
        await run_import(neto, rows, journal)
        early = await neto.reconcile(journal=journal, source=rows, sole_writer=True)
        later = await neto.reconcile(journal=journal, source=rows, sole_writer=True, settle_after=0, wait=True)

    assert (5, 5) == (len(early.unknown), len(later.not_sent))


async def test_a_journal_that_cannot_be_written_ends_it(path):
    """What could not be noted is not reported as settled, and the file is free again."""

    class Full(SqliteJournal):
        def settle(self, rows):
            if rows:
                raise JournalError("the disk is full")

    rows = rows_of(6)
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        store.faults.next(None, faults.Reset())
        await run_import(neto, rows, path)
        with pytest.raises(JournalError):
            await neto.reconcile(journal=Full(path), source=rows, settle_after=0)
        report = await neto.reconcile(journal=path, source=rows, settle_after=0)
        (known, *_) = [row.state for row in opened(path, store).known()]
    assert (5, RowState.ADDED) == (len(report.not_sent), known)


def opened(path, store: NetoSandbox) -> SqliteJournal:
    journal = SqliteJournal(path)
    journal.open(store.url)
    journal.close()
    journal.open(store.url)
    return journal


async def test_a_store_that_refuses_keeps_what_was_proven_before(path, monkeypatch):
    """Reading breaks off at the second customer: what the first one's logs prove is noted, and a later try goes on."""
    monkeypatch.setattr(settle, "CUSTOMERS_A_CALL", 1)
    rows = [{"username": name, "notes": f"order {place}"} for place, name in enumerate(("ann", "ann", "ann", "bob"))]
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        store.faults.next(None, faults.Reset())
        await run_import(neto, rows, path)
        store.faults.next(*[None] * (2 * settle.CALLS_A_READING), faults.RefuseKey())
        with pytest.raises(NotSentError):
            await neto.reconcile(journal=path, source=rows, settle_after=0)
    summary = SqliteJournal(path).summary()
    assert (1, 1) == (summary.added, summary.in_doubt)


async def test_a_cancelled_caller_leaves_the_journal_closed(path):
    """Cancelled while it reads: the thread ends, and another process may use the file."""
    rows = rows_of(6)
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        store.faults.next(None, faults.Reset())
        await run_import(neto, rows, path)
        release = asyncio.Event()
        store.faults.next(faults.Late(until=release))
        settling = asyncio.ensure_future(neto.reconcile(journal=path, source=rows, settle_after=0))
        await store.until(lambda: store.call_count == 3)
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
        assert 5 == SqliteJournal(path).summary().in_doubt
        release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("neto_async settle"):
            thread.join()  # it has nothing more to do, and ends


async def test_a_journal_object_that_a_run_has_open_stays_open(path):
    """Settling is refused while the import goes on, and takes nothing from it."""
    rows = rows_of(12)
    journal = SqliteJournal(path)
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        async with neto.import_customer_logs(rows, journal=journal) as run:
            await anext(run)
            with pytest.raises(JournalInUseError, match="this process is already using"):
                await neto.reconcile(journal=journal, source=rows)
            await run.finish()
        assert 12 == run.progress.added
    assert 12 == SqliteJournal(path).summary().added


async def test_a_marker_distinguishes_sent_logs_from_those_of_others(path):
    """Somebody else has written the same texts: by their markers the rows are settled all the same, equal ones too."""
    rows = [{"username": "jsmith", "notes": "called"} for _ in range(12)]
    rows[3] = {"username": "jsmith", "status": "Completed"}
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        for _ in range(3):
            await neto.add_customer_log(CustomerLog(username="jsmith", notes="called"))
        store.faults.next(None, faults.Reset(saves=True), faults.Reset())
        before = await run_import(neto, rows, path, marker=" [#{}]")
        report = await neto.reconcile(journal=path, source=rows, marker=" [#{}]", settle_after=0)
        after = await run_import(neto, rows, path, marker=" [#{}]")
        notes = [log.notes for log in store.logs[3:]]

    assert (10, 5, 5, 0) == (before.unknown, *map(len, (report.added, report.not_sent, report.unknown)))
    assert (12, 7) == (after.added, after.replayed)
    assert 12 == len(set(notes)) == len(notes)
    assert {len("called [#abcdefgh]"), len(" [#abcdefgh]")} == set(map(len, notes))


async def test_a_journal_remembers_its_marker(path):
    """A run and a settling that are given no marker take the one with which rows were sent."""
    rows = rows_of(6)
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        await run_import(neto, [], path, marker=" ({})")
        await run_import(neto, rows[:3], path, marker=" [#{}]")
        store.faults.next(faults.Reset(saves=True))
        doubtful = await run_import(neto, rows, path)
        settled = await neto.reconcile(journal=path, source=rows, settle_after=0)
        notes = [log.notes for log in store.logs]
    assert (3, 1, 2) == (doubtful.replayed, doubtful.unknown, doubtful.added - doubtful.replayed)
    assert (1, 0) == (len(settled.added), len(settled.unknown))
    assert [True] * 6 == [" [#" in text for text in notes]


async def test_all_rows_of_a_journal_carry_the_same_marker_or_none(path, tmp_path):
    """A run and a settling refuse another one, also where rows were sent without; nothing is sent."""
    rows = rows_of(4)
    without = tmp_path / "without"
    async with NetoSandbox() as store, client(store) as neto:
        await run_import(neto, rows[:2], path, marker=" [#{}]")
        await run_import(neto, rows[:2], without)
        for journal, text in ((path, r'with the marker " \[#{}\]", so " \({}\)"'), (without, "without a marker")):
            with pytest.raises(ConfigurationError, match=text):
                await run_import(neto, rows, journal, marker=" ({})")
            with pytest.raises(ConfigurationError, match=text):
                await neto.reconcile(journal=journal, source=rows, marker=" ({})")
        assert 4 == store.log_count


@pytest.mark.parametrize("marked_before", [True, False])
async def test_a_run_of_a_release_that_notes_no_marker_proves_nothing_absent(path, monkeypatch, marked_before):
    """It may have sent its rows with another marker or none, so they would seem to be absent though they are there."""
    rows = [{"username": "jsmith" if row else "bob", "notes": f"call {row}"} for row in range(6)]
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        if marked_before:
            await run_import(neto, rows[:1], path, marker=" [#{}]")
        with monkeypatch.context() as older:
            older.delattr(SqliteJournal, "marker")
            older.delattr(ChainedJournal, "note_marker")
            store.faults.next(*([] if marked_before else [None]), faults.Reset(saves=True))
            doubtful = await run_import(neto, rows[:2] if marked_before else rows[:3], path)
        await run_import(neto, rows, path, marker=" [#{}]")
        settled = await neto.reconcile(journal=path, source=rows, settle_after=0, sole_writer=True)
    assert (doubtful.unknown, 0) == (len(settled.unknown), len(settled.not_sent))
    assert 1 <= doubtful.unknown


async def test_a_journal_that_noted_no_marker_takes_what_is_said(path, monkeypatch):
    """What releases before have sent with a marker is settled with the one that is given."""
    rows = rows_of(4)
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        with monkeypatch.context() as older:
            older.delattr(ChainedJournal, "note_marker")
            store.faults.next(None, faults.Reset(saves=True))
            await run_import(neto, rows, path, marker=" [#{}]")
        assert None is SqliteJournal(path).summary().marker
        settled = await neto.reconcile(journal=path, source=rows, marker=" [#{}]", settle_after=0)
    assert 0 < len(settled.added) == len(settled.records)


@pytest.mark.parametrize("marker", ["", "#", "{}{}", "\x00{}", 3])
async def test_a_marker_that_cannot_be_used(path, marker):
    """A form without a place for the token, or that no log can carry, is refused before anything is sent."""
    async with NetoSandbox() as store, client(store) as neto:
        with pytest.raises(ConfigurationError, match="marker"):
            neto.import_customer_logs([], journal=path, marker=marker)
        with pytest.raises(ConfigurationError, match="marker"):
            await neto.reconcile(journal=path, source=[], marker=marker)
        with pytest.raises(ConfigurationError, match="needs a journal"):
            neto.import_customer_logs([], marker="{}")
        with pytest.raises(ConfigurationError, match="needs a journal"):
            await neto.reconcile([], marker="{}")


async def test_an_earlier_call_of_a_row_that_was_added_later_stays_in_doubt(path):
    """A row was sent again, and added, before its first call was saved: that log is not taken for an equal row's."""
    rows = [{"username": "ann", "notes": text} for text in ("first", "same", "same", "last")]
    rows += [{"username": "bob", "notes": "another customer's"}, {"status": "none"}]
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store, batch_size=1) as neto:
        late = asyncio.Event()
        store.faults.next(None, faults.SavedLater(until=late))
        await run_import(neto, rows[:2], path)
        await run_import(neto, rows[:2], path, in_doubt="resend")
        store.faults.next(faults.Reset(), None)
        await run_import(neto, rows, path)
        late.set()
        await store.until(lambda: store.log_count == 5)
        later = datetime.now(timezone.utc) + timedelta(hours=1)
        neto._engine.clock.utcnow = lambda: later  # type: ignore[method-assign]
        report = await neto.reconcile(journal=path, source=rows, sole_writer=True)

    assert [] == [(outcome.index, outcome.log_id) for outcome in report.added]
    assert 1 == len(report.unknown)


async def test_the_other_log_of_a_row_that_was_saved_twice_is_not_taken_for_an_equal_row(path):
    """A person said which log the row is; its other call saved another one, and a later row has the same text."""
    rows = [{"username": "bob", "notes": "x"}, {"username": "bob", "notes": "same"}]
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        store.faults.next(None, faults.Reset(saves=True))
        await run_import(neto, rows, path)
        store.faults.next(faults.Reset(saves=True))
        await run_import(neto, rows, path, in_doubt="resend")
        journal = SqliteJournal(path)
        journal.open(store.url)
        journal.settle(())
        journal.settle(as_seen(journal, rows, {1: 1002}, (), zone=timezone.utc))
        journal.close()
        rows.append(rows[1])
        store.faults.next(faults.Reset())
        await run_import(neto, rows, path)
        report = await neto.reconcile(journal=path, source=rows, sole_writer=True, settle_after=0)

    assert 3 == store.log_count
    assert [2] == [outcome.index for outcome in report.unknown]


class WithoutASummary:
    """A program's own journal: all that the protocol names, and nothing else."""

    def __init__(self, path):
        inner = SqliteJournal(path)
        for name in ("open", "known", "calls", "settle", "close"):
            setattr(self, name, getattr(inner, name))
        self._inner = inner

    @property
    def salt(self):
        return self._inner.salt


async def test_a_journal_of_a_programs_own_needs_no_summary(path):
    """What the protocol names is enough."""
    rows = rows_of(6)
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        store.faults.next(None, faults.Reset())
        await run_import(neto, rows, path)
        report = await neto.reconcile(journal=WithoutASummary(path), source=rows, settle_after=0)
    assert 5 == len(report.not_sent)
