"""Cancelling at every await point: what was not sealed is never sent, and no neighbour notices."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from scripted import Network, answers, breaks, client, reply
from virtual import run

from neto_async import Added, BulkSourceError, CustomerLog, NotSentError, OutcomeUnknownError, RejectedError
from neto_async.sending.engine import Engine


@pytest.mark.parametrize("turns", [0, 1])
def test_a_single_add_cancelled_before_sealing_is_never_sent(turns):
    """Cancelled in any turn of the loop before its batch is sealed, a log never leaves."""
    network = Network()

    async def work() -> int:
        async with client(network) as neto:
            task = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="withdrawn")))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            report = await neto.flush()
            assert (True, True) == (task.cancelled(), report.drained)
            return neto.statistics().calls

    assert (0, 0) == (run(work), network.tried)


def test_what_was_withdrawn_waits_no_more():
    """A log whose call came back unsaved and whose caller was cancelled since does not count as waiting."""
    network = Network()
    network.script.append(answers(429, retry_after="30"))

    async def work() -> list[int]:
        waiting = []
        async with client(network) as neto:
            tasks = [asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes=text))) for text in "abc"]
            await asyncio.sleep(1)
            waiting.append(neto.statistics().waiting_single)
            tasks[1].cancel()
            await asyncio.wait({tasks[1]})
            waiting.append(neto.statistics().waiting_single)
            await asyncio.gather(tasks[0], tasks[2])
            waiting.append(neto.statistics().waiting_single)
        return waiting

    assert [3, 2, 0] == run(work)
    assert [(1, "a"), (2, "c")] == network.ledger


# -- at every await point ---------------------------------------------------------------------------------------------

TURNS = range(16)
"""More turns of the loop than any of the programs below takes from its first step to its last."""


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def quick(*script: Any) -> Network:
    """Make a network that answers within a few turns of the loop, so that every await point can be counted off."""
    return Network(latency=0, script=deque(script))


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("refused", [False, True])
def test_a_cancelled_waiter_harms_no_neighbour(turn, refused):
    """Whenever one of several callers is cancelled, the others' logs are added once, and its own at most once."""
    network = quick()
    texts = ["a", "poison" if refused else "b", "c", "d"]

    async def work() -> Any:
        async with client(network) as neto:
            adds = [asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes=text))) for text in texts]
            await turns(turn)
            adds[2].cancel()
            results = await asyncio.gather(*adds, return_exceptions=True)
            report = await neto.flush()
            return [type(result) for result in results], report.drained, neto.statistics()

    kinds, drained, statistics = run(work)
    saved = [text for _, text in network.ledger]
    assert [Added, RejectedError if refused else Added, Added] == [kinds[0], kinds[1], kinds[3]]
    assert (True, 0) == (drained, statistics.waiting_single)
    assert len(set(saved)) == len(saved)
    assert {"a", "d"} <= set(saved)
    assert statistics.added == len(saved)
    # A caller that was cancelled has either withdrawn its log, or its outcome is counted as unawaited.
    lost = kinds[2] is asyncio.CancelledError and "c" in saved
    assert statistics.unawaited in ([{"Added": 1}] if lost else [{}, {"NotSent": 1}] if refused else [{}])
    assert lost or (kinds[2] is Added) == ("c" in saved)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("then", [{"Ack": "Success"}, {"Ack": "Error"}], ids=["updated", "refused"])
def test_an_update_that_is_repeated_ends_once(turn, then):
    """Whenever the caller of an update that goes again after doubt is cancelled, one outcome is reported, or none."""

    async def replies(network: Network, body: Any) -> Any:
        await network.receive(body)
        return reply(then)

    network = quick(breaks(saving=False), replies)

    async def work() -> Any:
        async with client(network) as neto:
            update = asyncio.ensure_future(neto.update_customer_log(7, notes="a", repeat_after_doubt=True))
            await turns(turn)
            update.cancel()
            (result,) = await asyncio.gather(update, return_exceptions=True)
            await neto.flush()
            return type(result), neto.statistics().unawaited

    kind, unawaited = run(work)
    assert sum(unawaited.values()) == (kind is asyncio.CancelledError and network.tried > 0)
    assert set(unawaited) <= ({"Unknown", "Updated"} if "Success" in then.values() else {"Unknown"})


@pytest.mark.parametrize("turn", TURNS)
def test_a_cancelled_reader_of_an_import_harms_no_neighbour(turn):
    """Whenever the task that reads an import is cancelled, calls under way end, and single adds go on."""
    network = quick()

    async def read(neto: Any, outcomes: list[Any]) -> None:
        async with neto.import_customer_logs(CustomerLog(notes=f"row {n}") for n in range(7)) as imported:
            try:
                async for outcome in imported:
                    outcomes.append(outcome)  # noqa: PERF401 - what came before the cancellation counts
            finally:
                outcomes.append(imported)

    async def work() -> Any:
        outcomes: list[Any] = []
        async with client(network, batch_size=2, max_concurrency=1) as neto:
            single = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="single")))
            task = asyncio.ensure_future(read(neto, outcomes))
            await turns(turn)
            task.cancel()
            await asyncio.wait({task, single})
            assert (await neto.flush()).drained
            assert Added is type(single.result())
            return outcomes, neto.statistics()

    outcomes, statistics = run(work)
    saved = [text for _, text in network.ledger]
    assert (len(set(saved)), statistics.added) == (len(saved), len(saved))
    if outcomes:
        *taken, imported = outcomes
        everything = [*taken, *imported.unread]
        assert list(range(imported.progress.taken)) == sorted(outcome.index for outcome in everything)
        assert {o.record.notes for o in everything if isinstance(o, Added)} == set(saved) - {"single"}


@pytest.mark.parametrize("turn", TURNS)
def test_a_cancelled_bulk_add_harms_no_neighbour(turn, caplog):
    """Whenever a bulk add is cancelled, what had left is saved once, counted and logged; neighbours go on."""
    network = quick()

    async def work() -> Any:
        neto = client(network, batch_size=3, max_concurrency=2)
        bulk = asyncio.ensure_future(neto.add_customer_logs([{"Notes": f"row {n}"} for n in range(10)]))
        other = asyncio.ensure_future(neto.add_customer_logs([{"Notes": f"other {n}"} for n in range(4)]))
        await turns(turn)
        bulk.cancel()
        await asyncio.wait({bulk, other})
        report = await neto.aclose()
        return len(other.result().added), report.drained, neto.statistics(), bulk.cancelled()

    added, drained, statistics, cancelled = run(work)
    saved = [text for _, text in network.ledger]
    assert (4, True, len(saved)) == (added, drained, statistics.added)
    assert len(set(saved)) == len(saved)
    lost = sum(text.startswith("row") for text in saved) if cancelled else 0
    assert lost == statistics.unawaited.get("Added", 0)
    logged = [record for record in caplog.records if "bulk add ended" in record.getMessage()]
    assert [statistics.unawaited][: sum(statistics.unawaited.values())] == [line.neto_outcomes for line in logged]


def test_a_cancelled_bulk_add_that_read_nothing_is_not_logged(caplog):
    """Where nothing was read, nothing is counted or logged."""

    async def nothing() -> Any:
        await asyncio.Event().wait()
        yield None

    async def work() -> Any:
        async with client(quick()) as neto:
            bulk = asyncio.ensure_future(neto.add_customer_logs(nothing()))
            await turns(4)
            bulk.cancel()
            await asyncio.wait({bulk})
            return neto.statistics().unawaited

    assert {} == run(work)
    assert [] == [line for line in caplog.messages if "bulk add ended" in line]


@pytest.mark.parametrize("turn", TURNS)
def test_a_cancelled_flush_or_close_does_no_harm(turn):
    """Whenever a flush and a close are cancelled, each log has its outcome, and the connections are closed once."""
    network = quick()

    async def work() -> Any:
        neto = client(network)
        adds = [asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes=text))) for text in "abc"]
        await turns(2)
        flush = asyncio.ensure_future(neto.flush(timeout=10))
        close = asyncio.ensure_future(neto.aclose())
        await turns(turn)
        flush.cancel()
        close.cancel()
        await asyncio.wait({flush, close})
        results = await asyncio.gather(*adds)
        assert (await neto.aclose()).drained
        return sorted(added.log_id for added in results)

    assert ([1, 2, 3], True) == (run(work), network.closed)


def test_an_exception_in_the_block_awaits_what_has_left_and_sends_no_more():
    """An exception of the caller's inside the block: calls under way are awaited, what waits is NotSent."""
    network = Network(latency=5.0)
    adds: list[Any] = []

    async def work() -> None:
        async with client(network, batch_size=1, max_concurrency=1) as neto:
            adds.extend(asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes=text))) for text in "ab")
            await asyncio.sleep(1)
            raise LookupError

    async def all_of_it() -> Any:
        with pytest.raises(LookupError):
            await work()
        return [type(result) for result in await asyncio.gather(*adds, return_exceptions=True)]

    assert [Added, NotSentError] == run(all_of_it)
    assert ([(1, "a")], True) == (network.ledger, network.closed)


def test_a_deadline_of_the_callers_own_withdraws_what_has_not_left():
    """asyncio.timeout round an add that still waits: it is certainly not sent; round one that left: it is counted."""
    network = Network(latency=5.0)

    async def impatient(neto: Any, text: str) -> None:
        async with asyncio.timeout(2):
            await neto.add_customer_log(CustomerLog(notes=text))

    async def work() -> Any:
        async with client(network, batch_size=1, max_concurrency=1) as neto:
            results = await asyncio.gather(*(impatient(neto, text) for text in "ab"), return_exceptions=True)
            await neto.flush()
            return [type(result) for result in results], neto.statistics().unawaited

    assert ([TimeoutError, TimeoutError], {"Added": 1}) == run(work)
    assert [(1, "a")] == network.ledger


def test_a_broken_source_ends_its_own_run_alone():
    """A source that raises ends its own run, with a report on what it had yielded; its neighbours are added."""
    network = Network()

    def broken() -> Iterator[Any]:
        yield CustomerLog(notes="before")
        raise LookupError

    async def work() -> Any:
        async with client(network) as neto:
            return await asyncio.gather(
                neto.add_customer_logs(broken()),
                neto.add_customer_logs([CustomerLog(notes="other")]),
                neto.add_customer_log(CustomerLog(notes="single")),
                return_exceptions=True,
            )

    first, *_ = run(work)
    assert (BulkSourceError, LookupError) == (type(first), type(first.__cause__))
    assert ("(1)" in str(first), ["before"]) == (True, [added.record.notes for added in first.report.added])
    assert not first.safe_to_resend
    assert {"before", "other", "single"} == {text for _, text in network.ledger}


def test_a_transport_that_raises_takes_no_record_with_it():
    """A transport that breaks its contract: what had not left is tried again, what had is unknown."""
    network = Network()

    async def raises(network: Network, body: Any) -> Any:
        raise LookupError("CANARY")

    async def raises_later(network: Network, body: Any) -> Any:
        await network.receive(body)
        raise LookupError("CANARY")

    network.script += [raises, raises_later]

    async def work() -> Any:
        async with client(network) as neto:
            with pytest.raises(OutcomeUnknownError) as raised:
                await neto.add_customer_log(CustomerLog(notes="x"))
            return [attempt.failure for attempt in raised.value.fate.attempts]

    assert ["LookupError", "LookupError"] == run(work)


@pytest.mark.parametrize("turn", range(4))
def test_a_call_whose_own_task_is_cancelled_takes_no_record_with_it(turn):
    """A loop that is torn down cancels calls too, some before their first step: each record has its outcome."""
    network = quick()

    async def work() -> Any:
        async with client(network) as neto:
            adding = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="x"), give_up_after=5.0))
            while not neto._engine._calls.tasks:  # noqa: ASYNC110 - turns of the loop, no time
                await asyncio.sleep(0)
            await turns(turn)
            for task in list(neto._engine._calls.tasks):
                task.cancel()
            await asyncio.wait([adding], timeout=1_000.0)
            return adding

    adding = run(work)
    assert adding.done()
    assert network.ledger == [] or isinstance(adding.exception(), OutcomeUnknownError | None)


@pytest.mark.parametrize("raises", [False, True])
def test_an_outcome_without_a_caller_is_passed_on(raises, caplog):
    """The engine's callback gets each outcome whose caller is gone; what it raises is logged by class alone."""
    seen: list[Any] = []

    def note(outcome: Any) -> None:
        seen.append((type(outcome).__name__, outcome.context))
        if raises:
            raise ValueError("CANARY")

    async def work() -> None:
        network = Network()
        neto = client(network)
        neto._engine = Engine(neto._settings, network, on_unawaited=note)  # type: ignore[arg-type]
        async with neto:
            adding = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="x"), context=7))
            await asyncio.sleep(0.1)
            adding.cancel()

    run(work)
    assert [("Added", 7)] == seen
    assert raises is ("on_unawaited raised ValueError" in caplog.messages)
    assert "CANARY" not in caplog.text
