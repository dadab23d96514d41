"""Updates and reads: lanes of their own under one quota, each call with one of them, and what their answers mean."""

from __future__ import annotations

import asyncio

import pytest

from neto_async import (
    AsyncNetoClient,
    AuthenticationError,
    BearerToken,
    ConfigurationError,
    CustomerLog,
    InvalidRecordError,
    NotSentError,
    OutcomeUnknownError,
    ReadError,
    RejectedError,
    Updated,
)
from neto_async.sandbox import NetoSandbox, faults

FORMATS = ["json", "xml"]


def client(store: NetoSandbox, **settings) -> AsyncNetoClient:
    return AsyncNetoClient(store.url, username=store.username, api_key=store.api_key, **settings)


async def logs_of(neto: AsyncNetoClient, username: str) -> list[tuple[int, str | None]]:
    return [(log.log_id, log.notes) async for log in neto.customer_logs(username)]


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_a_log_is_added_read_and_completed(wire_format):
    """One log through all three actions, in both formats."""
    async with NetoSandbox(customers=["jsmith"]) as store, client(store, wire_format=wire_format) as neto:
        added = await neto.add_customer_log(CustomerLog(username="jsmith", notes="call", status="Recontacting"))
        updated = await neto.complete_customer_log(added.log_id, context="mine")
        (log,) = [log async for log in neto.customer_logs(" jsmith ")]
        statistics = neto.statistics()

    assert (added.log_id, "call", "Completed") == (log.log_id, log.notes, log.status)
    assert isinstance(updated, Updated)
    assert ("mine", False) == (updated.context, updated.safe_to_resend)
    assert (1, 1, 2, 4) == (statistics.added, statistics.updated, statistics.pages_read, statistics.calls)


async def test_single_adds_go_before_updates_and_reads():
    """With one slot, a log that was submitted last goes first, and the others still get their turn."""
    order = []
    async with NetoSandbox(customers=["jsmith"]) as store, client(store, max_concurrency=1) as neto:
        added = await neto.add_customer_log(CustomerLog(username="jsmith", notes="a"))

        async def note(name, coming):
            await coming
            order.append(name)

        await asyncio.gather(
            note("read", logs_of(neto, "jsmith")),
            note("update", neto.complete_customer_log(added.log_id)),
            note("add", neto.add_customer_log(CustomerLog(notes="b"))),
        )
        statistics = neto.statistics()

    assert "add" == order[0]
    assert (0, 0, None) == (statistics.waiting_update, statistics.waiting_read, statistics.waiting_on)


async def test_a_log_has_one_update_under_way_at_a_time():
    """The second update of a log waits for the first one's call, and updates of other logs do not."""
    async with NetoSandbox(customers=["jsmith"]) as store, client(store) as neto:
        first, second = [(await neto.add_customer_log(CustomerLog(notes=text))).log_id for text in "ab"]
        release = asyncio.Event()
        store.faults.next(faults.Late(until=release))
        slow = asyncio.ensure_future(neto.update_customer_log(first, notes="one"))
        await store.until(lambda: store.call_count == 3)
        held = asyncio.ensure_future(neto.update_customer_log(first, notes="two"))
        await neto.update_customer_log(second, notes="other")
        waiting = (held.done(), neto.statistics().waiting_update)
        release.set()
        await asyncio.gather(slow, held)
        notes = {log.log_id: log.notes for log in store.logs}

    assert (False, 1) == waiting
    assert {first: "two", second: "other"} == notes


async def test_an_update_that_was_left_to_itself_holds_the_next_one_of_its_log():
    """While a call may still change the log, no other update of the log leaves."""
    async with NetoSandbox() as store, client(store) as neto:
        log_id = (await neto.add_customer_log(CustomerLog(notes="a"))).log_id
        release = asyncio.Event()
        store.faults.next(faults.Late(until=release))
        slow = asyncio.ensure_future(neto.update_customer_log(log_id, notes="one"))
        await store.until(lambda: store.call_count == 2)
        (call,) = neto._engine._calls.under_way
        neto._engine._calls._abandon(call, "deadline passed")
        with pytest.raises(OutcomeUnknownError):
            await slow
        held = asyncio.ensure_future(neto.update_customer_log(log_id, notes="two"))
        for _ in range(20):
            await asyncio.sleep(0)
        calls = store.call_count
        release.set()
        await held
        (log,) = store.logs

    assert (2, "two") == (calls, log.notes)


async def test_a_cancelled_update_that_waits_never_leaves():
    """Its caller gave up before a call was free: the log stays as it is."""
    async with NetoSandbox() as store, client(store, max_concurrency=1) as neto:
        log_id = (await neto.add_customer_log(CustomerLog(notes="a"))).log_id
        release = asyncio.Event()
        store.faults.next(faults.Late(until=release))
        slow = asyncio.ensure_future(neto.update_customer_log(log_id, notes="one"))
        await store.until(lambda: store.call_count == 2)
        waits = asyncio.ensure_future(neto.update_customer_log(log_id, notes="two"))
        await asyncio.sleep(0)
        waits.cancel()
        release.set()
        await slow
        await neto.flush()
        (log,) = store.logs

    assert "one" == log.notes
    assert waits.cancelled()


@pytest.mark.parametrize("then", ["it waits", "refused", "updated"])
async def test_a_cancelled_repeat_hides_no_earlier_doubt(then):
    """Cancelled while the update goes again: a refusal, or its withdrawal, takes back nothing that was done before."""
    seen = []
    async with NetoSandbox() as store, client(store, max_concurrency=1, on_unawaited=seen.append) as neto:
        log_id = (await neto.add_customer_log(CustomerLog(notes="a"))).log_id
        first, last = asyncio.Event(), asyncio.Event()
        refusal = faults.Refuse("no") if then == "refused" else None
        store.faults.next(
            faults.Late(until=first, then=faults.Reset(saves=True)), faults.Late(until=last, then=refusal)
        )
        update = asyncio.ensure_future(neto.update_customer_log(log_id, notes="one", repeat_after_doubt=True))
        await store.until(lambda: store.call_count == 2)
        if then == "it waits":
            other = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="b")))  # it goes first
        first.set()
        await store.until(lambda: store.call_count == 3)
        waiting = neto.statistics().waiting_update
        update.cancel()
        last.set()
        await neto.flush()
        if then == "it waits":
            await other
        (log, *_) = store.logs

    assert (then == "it waits", "one", True) == (waiting == 1, log.notes, update.cancelled())
    assert [{"updated": "Updated"}.get(then, "Unknown")] == [type(outcome).__name__ for outcome in seen]


async def test_a_word_in_place_of_a_flag_repeats_nothing():
    """A text such as "false" would count as true, and an update would go again that was not to."""
    async with NetoSandbox() as store, client(store) as neto:
        with pytest.raises(ConfigurationError, match="repeat_after_doubt must be True or False"):
            await neto.update_customer_log(1, notes="a", repeat_after_doubt="false")  # type: ignore[arg-type]
    assert 0 == store.call_count


async def test_a_read_whose_caller_was_cancelled_is_not_counted():
    """The answer to a read that nobody waits for is dropped, and not counted as an outcome without its caller."""
    seen = []
    async with (
        NetoSandbox(customers=["jsmith"]) as store,
        client(store, max_concurrency=1, on_unawaited=seen.append) as neto,
    ):
        release = asyncio.Event()
        store.faults.next(faults.Late(until=release))
        reading = asyncio.ensure_future(logs_of(neto, "jsmith"))
        await store.until(lambda: store.call_count == 1)
        reading.cancel()
        release.set()
        await neto.flush()
        statistics = neto.statistics()

    assert ([], {}) == (seen, statistics.unawaited)


async def test_an_update_in_doubt_is_repeated_only_where_asked():
    """A lost answer to an update is `Unknown`; with `repeat_after_doubt` the same update goes once more."""
    async with NetoSandbox() as store, client(store) as neto:
        log_id = (await neto.add_customer_log(CustomerLog(notes="a"))).log_id
        store.faults.next(faults.Reset(saves=True))
        with pytest.raises(OutcomeUnknownError, match="may have been changed") as caught:
            await neto.update_customer_log(log_id, notes="b")
        store.faults.next(faults.Reset(saves=True))
        repeated = await neto.update_customer_log(log_id, notes="c", repeat_after_doubt=True)
        (log,) = store.logs

    assert not caught.value.safe_to_resend
    assert (log_id, "c") == (repeated.record.log_id, log.notes)


async def test_what_an_earlier_call_may_have_done_no_later_refusal_takes_back():
    """The repeated update is refused: that the first one was carried out stays possible."""
    async with NetoSandbox() as store, client(store) as neto:
        log_id = (await neto.add_customer_log(CustomerLog(notes="a"))).log_id
        store.faults.next(faults.Reset(saves=True), faults.Refuse("no"))
        with pytest.raises(OutcomeUnknownError):
            await neto.update_customer_log(log_id, notes="b", repeat_after_doubt=True)


async def test_a_repeated_update_has_its_time():
    """Doubt after doubt is repeated until `give_up_after`, and no longer."""
    now = [0.0]

    async with NetoSandbox() as store, client(store) as neto:
        log_id = (await neto.add_customer_log(CustomerLog(notes="a"))).log_id
        neto._engine.clock.monotonic = lambda: now[0]  # type: ignore[method-assign]

        class Lost(faults.Reset):
            async def play(self, exchange):
                now[0] += 1.0
                return await super().play(exchange)

        store.faults.next(*[Lost() for _ in range(9)])
        with pytest.raises(OutcomeUnknownError):
            await neto.update_customer_log(log_id, notes="b", repeat_after_doubt=True, give_up_after=3.0)

    assert 4 == store.call_count


@pytest.mark.parametrize(
    ("fault", "error"),
    [(faults.Refuse("no such log"), RejectedError), (faults.RefuseKey(), AuthenticationError)],
    ids=["refused", "key"],
)
async def test_what_an_update_can_end_in(fault, error):
    """Each end of an update is its error, with the update as the record of the outcome."""
    async with NetoSandbox() as store, client(store) as neto:
        store.faults.next(fault)
        with pytest.raises(error) as caught:
            await neto.update_customer_log(1, notes="b")
        record = caught.value.outcome.record

    assert 1 == record.log_id
    assert "b" not in str(caught.value)


async def test_an_update_whose_key_is_refused_goes_once_with_another():
    """A function gives another key once; where that is refused too, the update ends and nothing more is asked."""
    given = []

    def key() -> str:
        given.append(1)
        return "another-stores-token"

    async with NetoSandbox() as store:
        login = BearerToken(key)
        async with AsyncNetoClient(store.url, api_key=login) as neto:
            with pytest.raises(AuthenticationError):
                await neto.update_customer_log(1, notes="b")

    assert (2, 2) == (len(given), store.call_count)


async def test_an_update_that_breaks_a_rule_is_not_sent():
    """The vendor's limits, an empty update, and one that is too long for a call."""
    async with NetoSandbox() as store, client(store, max_batch_bytes=500) as neto:
        for changes in ({}, {"allocated_to": "x" * 101}, {"notes": "x" * 501}):
            with pytest.raises(InvalidRecordError):
                await neto.update_customer_log(1, **changes)
        with pytest.raises(RejectedError):  # another one of the same log may go
            await neto.update_customer_log(1, notes="b")

    assert 1 == store.call_count


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([faults.Refuse("May not read")], ReadError),
        ([faults.RefuseKey()], AuthenticationError),
        ([faults.Reset()] * 3, ReadError),
        ([faults.Status(500)] * 3, ReadError),
        ([], ReadError),
    ],
    ids=["refused", "key", "lost", "500", "nobody"],
)
async def test_what_keeps_customers_from_being_read(script, error, caplog):
    """A store that refuses or does not answer, and a customer that it does not have; no text of the store is shown."""
    async with NetoSandbox(customers=["bob"]) as store, client(store) as neto:
        store.faults.next(*script)
        with pytest.raises(error) as caught:
            await logs_of(neto, "jsmith")

    assert "jsmith" not in str(caught.value) + caplog.text
    assert "May not read" not in str(caught.value)


async def test_a_read_is_repeated_where_it_brought_no_answer():
    """Two lost answers, then the page: nothing is at stake. Reads in doubt hold up no adds."""
    async with NetoSandbox(customers=["jsmith"]) as store, client(store) as neto:
        await neto.add_customer_log(CustomerLog(username="jsmith", notes="a"))
        store.faults.next(faults.Reset(), faults.Status(502))
        assert [(1001, "a")] == await logs_of(neto, "jsmith")
        assert not neto._engine._backpressure.probing


async def test_a_closed_client_reads_nothing():
    """What would wait for a client that closes ends as not sent."""
    async with NetoSandbox() as store:
        async with client(store) as neto:
            pass
        with pytest.raises(NotSentError):
            await neto.update_customer_log(1, notes="b")
        with pytest.raises(NotSentError):
            await logs_of(neto, "jsmith")


@pytest.mark.parametrize("username", ["", "  ", None, "a\x00b"])
async def test_a_name_that_no_customer_can_have(username):
    """Without a name the store would give all its customers."""
    async with NetoSandbox() as store, client(store) as neto:
        with pytest.raises(ConfigurationError, match="username"):
            await logs_of(neto, username)
    assert 0 == store.call_count


async def test_reads_that_succeed_hide_no_doubt_about_adds():
    """Customers can be read while answers to adds are lost: one record at a time is risked all the same."""
    async with NetoSandbox(customers=["jsmith"]) as store, client(store, max_concurrency=1) as neto:
        for _ in range(3):
            store.faults.next(faults.Reset())
            with pytest.raises(OutcomeUnknownError):
                await neto.add_customer_log(CustomerLog(notes="a"))
            await logs_of(neto, "jsmith")
        assert neto._engine._backpressure.probing


async def test_an_update_takes_the_last_place_of_the_quota():
    """Places that single adds leave to others are not kept from the updates for which they are left."""
    async with NetoSandbox() as store, client(store, requests_per_minute=1) as neto:
        engine = neto._engine
        for _ in range(3):
            engine._turns.taken(engine.adds)
        adding = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="a"), give_up_after=0.2))
        with pytest.raises(RejectedError):
            await neto.update_customer_log(1, notes="b", give_up_after=0.2)
        with pytest.raises(NotSentError):
            await adding


async def test_an_empty_bulk_add_takes_no_turn_from_reads():
    """A run that leaves forgets what is owed to lanes only where none of them waits."""
    async with NetoSandbox() as store, client(store) as neto:
        engine = neto._engine
        for _ in range(3):
            engine._turns.taken(engine.adds)
        reading = asyncio.ensure_future(logs_of(neto, "jsmith"))
        await asyncio.sleep(0)
        engine._turns.leave(None)
        assert 1 == engine._turns.places_for_others
        await reading
        for _ in range(3):
            engine._turns.taken(engine.adds)
        engine._turns.leave(None)
        assert 0 == engine._turns.places_for_others
