"""A program's doubts, settled through its client, against a store on loopback."""

from __future__ import annotations

import asyncio
import random
import threading
from datetime import datetime, timedelta, timezone

import pytest
from attrs import evolve

from neto_async import (
    Added,
    AsyncNetoClient,
    AuthenticationError,
    ConfigurationError,
    CustomerLog,
    Evidence,
    NotSent,
    NotSentCause,
    NotSentError,
    ReadError,
    Unknown,
)
from neto_async.models import StoredCustomer, StoredCustomerLog
from neto_async.reconciling import session, settle
from neto_async.reconciling.reading import Reader
from neto_async.sandbox import NetoSandbox, ReadBack, faults
from neto_async.sending.records import PageRead

CUSTOMERS = [f"customer {number}" for number in range(7)]


def client(store: NetoSandbox, **settings) -> AsyncNetoClient:
    settings = {"batch_size": 5, "max_concurrency": 1, "requests_per_minute": None, **settings}
    return AsyncNetoClient(store.url, username=store.username, api_key=store.api_key, **settings)


def log(text: str, username: str | None = "customer 1") -> CustomerLog:
    return CustomerLog(username=username, notes=text)


async def add(neto: AsyncNetoClient, store: NetoSandbox, *texts: str, fault=None, username="customer 1"):
    """Add logs in one call, with a fault; a first log has gone before, so the call need not feel its way."""
    outcomes = []
    for text in texts:
        store.faults.next(fault)
        outcomes += (await neto.add_customer_logs([log(text, username)])).outcomes
    return outcomes


@pytest.mark.parametrize("wire_format", ["json", "xml"])
async def test_lost_answers_are_settled_truly(wire_format):
    """A third of the answers lost, half of them after saving, by a store that alters texts: every verdict is true."""
    rng = random.Random(5)
    alters = ReadBack(trims=True, strips_tags=True, line_ends="\r\n", local_time=True, short_pages=True)
    async with (
        NetoSandbox(read_back=alters, customers=CUSTOMERS) as store,
        client(store, wire_format=wire_format) as neto,
    ):
        outcomes = []
        for number in range(40):
            fault = rng.choice((faults.Reset(), faults.Reset(saves=True))) if number and rng.random() < 0.3 else None
            text = f" <b>order</b> {number}\nlate "
            outcomes += await add(neto, store, text, fault=fault, username=rng.choice(CUSTOMERS))
        report = await neto.reconcile(outcomes, sole_writer=True, settle_after=0)
        saved = {saved.notes: saved.log_id for saved in store.logs}

    doubts = [outcome for outcome in outcomes if isinstance(outcome, Unknown)]
    assert len(doubts) > 5
    assert [doubt.record for doubt in doubts] == [outcome.record for outcome in report.outcomes]
    assert [saved.get(doubt.record.notes) for doubt in doubts] == [
        outcome.log_id if isinstance(outcome, Added) else None for outcome in report.outcomes
    ]
    assert () == report.unknown
    assert report.added
    assert report.not_sent
    assert {NotSentCause.READ_BACK} == {outcome.cause for outcome in report.not_sent}
    assert {True} == {outcome.safe_to_resend for outcome in report.not_sent}
    assert f"ReconcileReport(records={len(doubts)}" in repr(report)


async def test_without_a_guarantee_an_equal_text_proves_nothing():
    """Somebody else may have written it: the record stays in doubt, with the id to look at."""
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        outcomes = await add(neto, store, "a")
        outcomes += await add(neto, store, "b", fault=faults.Reset(saves=True))
        (reconciled,) = (await neto.reconcile(outcomes, settle_after=0)).records

    assert isinstance(reconciled.outcome, Unknown)
    assert ((1002,), outcomes[1]) == (reconciled.candidates, reconciled.outcome)
    assert "guarantee" in reconciled.missing
    assert "b" not in reconciled.reason.split()


async def test_what_may_still_be_saved_is_not_called_absent():
    """Before `settle_after` has passed the call may be saved yet; with `wait` its end is waited for."""
    now = datetime(2026, 11, 5, tzinfo=timezone.utc)
    slept = []
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        clock = neto._engine.clock
        clock.utcnow = lambda: now  # type: ignore[method-assign]
        call_at = clock.call_at

        def call_soon(when, callback, *arguments):
            nonlocal now
            slept.append(round(when - clock.monotonic()))
            now += timedelta(seconds=when - clock.monotonic() + 0.001)
            return call_at(clock.monotonic(), callback, *arguments)

        outcomes = await add(neto, store, "a")
        outcomes += await add(neto, store, "b", fault=faults.Reset())
        early = await neto.reconcile(outcomes)
        clock.call_at = call_soon  # type: ignore[method-assign]
        later = await neto.reconcile(outcomes, wait=True, settle_after=30)

    assert ["time: the call may still be saved"] == [record.missing for record in early.records]
    assert [30] == slept
    assert (1, 1) == (len(early.unknown), len(later.not_sent))


@pytest.mark.parametrize("case", ["replayed", "resent", "without times", "without attempts"])
async def test_a_doubt_whose_call_is_not_known_stays(case):
    """Only the journal knows when an earlier run's call left. Such a doubt keeps its equals in doubt too."""
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        outcomes = await add(neto, store, "a")
        outcomes += await add(neto, store, "b", fault=faults.Reset(saves=True))
        outcomes += await add(neto, store, "b", fault=faults.Reset(saves=True))
        doubt = outcomes[1]
        timeless = evolve(doubt.attempts[0], ended_at=None)
        outcomes[1] = evolve(
            doubt,
            attempts=() if case in {"replayed", "without attempts"} else (timeless,),
            evidence=Evidence(earlier_run=case in {"replayed", "resent"}),
        )
        report = await neto.reconcile(outcomes, sole_writer=True, settle_after=0)

    assert 2 == len(report.unknown)
    assert "journal" in report.records[0].missing
    assert "journal" not in report.records[1].missing


async def test_records_without_a_customer_are_not_read():
    """No user name, no call; and records that are no doubts take no part."""
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        outcomes = [
            *await add(neto, store, "a", username=None, fault=faults.Reset(saves=True)),
            *(await neto.add_customer_logs([{"Status": "none"}])).outcomes,
            Added(index=0, record=log("x"), log_id=1),
        ]
        seen = []
        report = await neto.reconcile(outcomes, on_progress=lambda *counts: seen.append(counts))

    assert ["a user name, by which its customer could be read"] == [record.missing for record in report.records]
    assert ([(1, 1)], 1) == (seen, store.call_count)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"outcomes": ["a"]}, "outcomes must hold outcomes alone"),
        ({"outcomes": "a"}, "outcomes must hold outcomes alone"),
        ({"sole_writer": "false"}, "sole_writer must be True or False"),
        ({"wait": None}, "wait must be True or False"),
        ({"settle_after": None}, "settle_after must be a number that is not below 0$"),
        ({"settle_after": float("nan")}, "settle_after must be a number that is not below 0$"),
    ],
)
async def test_what_is_no_argument(given, words):
    """A word in place of a flag is no guarantee, and nothing else stands for an outcome: a clear error, no call."""
    async with NetoSandbox() as store, client(store) as neto:
        with pytest.raises(ConfigurationError, match=words):
            await neto.reconcile(**{"outcomes": [], **given})
    assert 0 == store.call_count


@pytest.mark.parametrize(("module", "name"), [(session, "doubts_in"), (settle, "reconcile")])
async def test_what_takes_long_does_not_hold_the_loop(monkeypatch, module, name):
    """A customer may have thousands of logs: while they are judged the loop goes on."""
    loop, ticks = asyncio.get_running_loop(), []
    work = getattr(module, name)

    def slow(*given, **more):
        ticked = threading.Event()
        loop.call_soon_threadsafe(ticked.set)
        ticks.append(ticked.wait(timeout=5))
        return work(*given, **more)

    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        outcomes = await add(neto, store, "a")
        outcomes += await add(neto, store, "b", fault=faults.Reset())
        monkeypatch.setattr(module, name, slow)
        report = await neto.reconcile(outcomes, settle_after=0)
    assert (1, [True]) == (len(report.not_sent), ticks)


async def test_nothing_in_doubt_takes_no_call():
    """A report of an import that went well."""
    async with NetoSandbox() as store, client(store) as neto:
        report = await neto.reconcile(await add(neto, store, "a", "b"), wait=True)
    assert ((), 2) == (report.records, store.call_count)


async def test_an_unread_page_leaves_doubt():
    """Reading breaks off: nothing is concluded from what came before."""
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        outcomes = await add(neto, store, "a")
        outcomes += await add(neto, store, "b", fault=faults.Reset())
        store.faults.next(None, *[faults.Status(502)] * 3)
        report = await neto.reconcile(outcomes, settle_after=0)
        assert ["a reading of the customer to its end"] == [record.missing for record in report.records]
        assert 1 == len((await neto.reconcile(outcomes, settle_after=0)).not_sent)


@pytest.mark.parametrize(
    ("fault", "error"), [(faults.Refuse("not allowed"), ReadError), (faults.RefuseKey(), AuthenticationError)]
)
async def test_a_store_that_gives_no_customers(fault, error):
    """A key without the right to read customers: a clear error, and nothing was changed."""
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        outcomes = await add(neto, store, "a", fault=faults.Reset())
        store.faults.next(fault)
        with pytest.raises(error):
            await neto.reconcile(outcomes)
        count = store.log_count
    assert 0 == count


async def test_many_customers_are_read_together():
    """The number of calls that is announced is the one that is made, and what one group teaches serves the next."""
    names = [f"c{number}" for number in range(2 * settle.CUSTOMERS_A_CALL + 1)]
    async with NetoSandbox(customers=names) as store, client(store) as neto:
        outcomes = list((await neto.add_customer_logs([log("first", "c0")])).outcomes)
        now = datetime.now(timezone.utc)
        attempt = evolve(outcomes[0].attempts[0], sent_at=now, ended_at=now)
        outcomes += [Unknown(index=0, record=log("x", name), attempts=(attempt,), reason="lost") for name in names]
        before, seen = store.call_count, []
        report = await neto.reconcile(outcomes, settle_after=0, on_progress=lambda *counts: seen.append(counts))
        calls = store.call_count - before
        given = settle.DoubtsAndKnown(doubts=tuple(settle.Doubt(row=0, call=0, sent={"Username": n}) for n in names))

    assert len(names) == len(report.not_sent)
    assert (12, 12) == (calls, settle.calls_needed(given))
    assert [(50, 101), (100, 101), (101, 101)] == seen


@pytest.mark.parametrize("given", [{"settle_after": -1}, {"on_progress": 3}])
async def test_what_cannot_be_used(given):
    """Arguments of the wrong kind are refused before anything is asked."""
    async with NetoSandbox() as store, client(store) as neto:
        with pytest.raises(ConfigurationError):
            await neto.reconcile([], **given)


async def test_a_client_that_is_closed_asks_nothing():
    """Its doubts stay as they are."""
    async with NetoSandbox(customers=CUSTOMERS) as store:
        async with client(store) as neto:
            outcomes = await add(neto, store, "a", fault=faults.Reset())
        with pytest.raises(NotSentError) as caught:
            await neto.reconcile(outcomes)
    assert isinstance(caught.value.outcome, NotSent)


async def test_equal_records_are_paired_in_the_order_of_their_call():
    """In whichever order a program lists its outcomes: each record has the id of the log that holds what was sent."""
    kinds = [f"kind {number}" for number in range(4)]
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        outcomes = await add(neto, store, "a")
        store.faults.next(None, faults.Reset(saves=True))
        rows = [evolve(log("same"), follow_up_type=kind) for kind in kinds]
        outcomes += (await neto.add_customer_logs([log("first"), *rows])).outcomes
        report = await neto.reconcile(outcomes[::-1], sole_writer=True, settle_after=0)
        saved = {saved.log_id: saved.follow_up_type for saved in store.logs}

    assert {*kinds} == {outcome.record.follow_up_type for outcome in report.added}
    assert [saved[outcome.log_id] for outcome in report.added] == [
        outcome.record.follow_up_type for outcome in report.added
    ]
    assert {()} == {outcome.attempts for outcome in report.added}


async def test_the_order_of_single_adds_in_a_call_is_not_known():
    """Two of them with the same text shared a call whose answer was lost: either log may be either record's."""
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        outcomes = await add(neto, store, "a")
        store.faults.next(faults.Reset(saves=True))
        adding = [neto.add_customer_log(evolve(log("same"), follow_up_type=kind)) for kind in "xy"]
        errors = await asyncio.gather(*adding, return_exceptions=True)
        outcomes += [error.outcome for error in errors]
        report = await neto.reconcile(outcomes, sole_writer=True, settle_after=0)

    assert 2 == len(report.unknown)
    assert {(1002, 1003)} == {record.candidates for record in report.records}


async def test_a_log_with_another_doubts_text_is_no_candidate_of_a_part_of_it():
    """The words of one text begin another: the caller's guarantee says which of the two was saved."""
    async with NetoSandbox(customers=CUSTOMERS) as store, client(store) as neto:
        outcomes = await add(neto, store, "order 100")
        outcomes += await add(neto, store, "order 5", fault=faults.Reset())
        outcomes += await add(neto, store, "order 51", fault=faults.Reset(saves=True))
        report = await neto.reconcile(outcomes, sole_writer=True, settle_after=0)
        without = await neto.reconcile(outcomes, settle_after=0)

    assert [NotSent, Added] == [type(outcome) for outcome in report.outcomes]
    assert 2 == len(without.unknown)


async def test_closing_ends_the_waiting():
    """A client that closes waits for no time of day; what is in doubt stays so."""
    async with NetoSandbox(customers=CUSTOMERS) as store:
        async with client(store) as neto:
            outcomes = await add(neto, store, "a", fault=faults.Reset())
            settling = asyncio.ensure_future(neto.reconcile(outcomes, wait=True))
            for _ in range(20):
                await asyncio.sleep(0)
            assert neto._engine._sleeping
        with pytest.raises(NotSentError):
            await settling


async def test_what_was_not_asked_for_is_left_out():
    """A store that does not heed the filter, or the page's number, gives others too, and the same again."""
    mine = StoredCustomer(username="JSmith", logs=(StoredCustomerLog(log_id=1, fields={}),))
    asked = []

    async def ask(page):
        asked.append(page.page)
        return PageRead(index=0, record=page, context=None, attempts=(), customers=(mine, StoredCustomer(username="b")))

    reading = await Reader(ask, lambda: 5.0).read(["jsmith"])
    assert ((mine,), True, 5.0, [0, 1]) == (reading.customers, reading.is_whole, reading.began_at, asked)
