"""Runs as the engine serves them: sources that break or stall, and what stops a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from typing import Any

import pytest
from scripted import Network, answers, client, never_leaves, saves, saves_or_fails
from virtual import run

from neto_async import AuthenticationError, CustomerLog
from neto_async.outcomes import NotSentCause


def kinds(outcomes: Any) -> list[str]:
    return [type(outcome).__name__ for outcome in outcomes]


def _cancelled() -> Iterator[CustomerLog]:
    yield CustomerLog(notes="before")
    raise asyncio.CancelledError


async def _cancelled_async() -> AsyncIterator[CustomerLog]:
    yield CustomerLog(notes="before")
    raise asyncio.CancelledError


async def _idle(taken: int) -> AsyncIterator[CustomerLog]:
    for number in range(taken):
        yield CustomerLog(notes=f"log {number}")
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("source", [_cancelled, _cancelled_async])
def test_a_source_that_raises_cancelled_error(source):
    """CancelledError of a source is raised to the caller, after the calls under way."""
    network = Network()
    outcomes: list[Any] = []

    async def read() -> None:
        async with client(network) as neto, neto.import_customer_logs(source()) as imported:
            async for outcome in imported:
                outcomes.append(outcome)  # noqa: PERF401 - what came before the exception counts

    with pytest.raises(asyncio.CancelledError):
        run(read)
    assert (["Added"], [(1, "before")]) == (kinds(outcomes), network.ledger)


def test_a_stopped_run_ends_though_its_source_is_idle():
    """A run that the store stops ends, though its source never yields again."""
    network = Network(always=answers(404))

    async def work() -> Any:
        async with client(network) as neto, neto.import_customer_logs(_idle(2)) as imported:
            return [outcome async for outcome in imported], imported.progress.stopped_at

    outcomes, stopped_at = run(work)
    assert ({NotSentCause.WRONG_ADDRESS}, 2, 2) == ({o.cause for o in outcomes}, len(outcomes), stopped_at)


def test_a_run_refused_at_its_start_ends_though_its_source_is_idle():
    """A run that a closed client refuses takes nothing and ends, though its source never yields."""
    network = Network()

    async def work() -> Any:
        neto = client(network)
        await neto.aclose()
        async with neto.import_customer_logs(_idle(0)) as imported:
            return [outcome async for outcome in imported], imported.progress.stopped_at

    assert ([], 0) == run(work)


def test_leaving_a_run_early_ends_though_its_source_is_idle():
    """Leaving the block awaits what is under way and no more, though the source never yields again."""
    network = Network()

    async def work() -> Any:
        async with client(network) as neto:
            async with neto.import_customer_logs(_idle(3)) as imported:
                async for _ in imported:
                    break
            return kinds(imported.unread)

    assert 2 == len(run(work))


def test_a_probe_in_doubt_risks_one_record_a_minute():
    """While the key is refused, a run that was let through as the probe risks one record a minute, until one ends."""
    network = Network()
    network.script += [answers(401), answers(502), answers(502), saves]

    async def work() -> Any:
        async with client(network, batch_size=10) as neto:
            with pytest.raises(AuthenticationError):
                await neto.add_customer_log(CustomerLog(notes="refused"))
            await asyncio.sleep(60)
            return await neto.add_customer_logs([CustomerLog(notes=str(number)) for number in range(13)])

    assert ["Unknown", "Unknown", *["Added"] * 11] == kinds(run(work).outcomes)
    assert [1, 1, 1, 1, 10] == [len(sent.notes) for sent in network.sent]
    begun = [sent.at for sent in network.sent[1:4]]
    assert [60, 60] == [pytest.approx(later - earlier) for earlier, later in pairwise(begun)]


def test_a_probe_that_never_left_is_tried_again_soon():
    """A probe that never reached the store spends nothing of its minute."""
    network = Network()
    network.script += [answers(401), never_leaves]

    async def work() -> float:
        async with client(network) as neto:
            with pytest.raises(AuthenticationError):
                await neto.add_customer_log(CustomerLog(notes="refused"))
            await asyncio.sleep(60)
            added = await neto.add_customer_log(CustomerLog(notes="probe"), give_up_after=2.0)
            return added.log_id

    assert 1 == run(work)


class Notebook:
    """What is notified of a run's calls, before and after; it can refuse to note one."""

    def __init__(self, refuse: int | None = None) -> None:
        self.refuse = refuse
        self.lapsed = 0  # calls that may not leave any more
        self.said: list[Any] = []

    async def intend(self, call: int, records: Any) -> bool:
        self.said.append((call, [pending.index for pending in records]))
        await asyncio.sleep(0)
        return call != self.refuse

    def may_leave(self) -> bool:
        self.lapsed -= 1
        return self.lapsed < 0

    def ended(self, call: int) -> None:
        self.said.append(call)


@pytest.mark.parametrize("refuse", [None, 2])
def test_a_run_is_notified_of_each_call_before_it_leaves(refuse):
    """Each call of a run is noted before it leaves and after it ended; one that can't be noted never leaves."""
    network = Network()
    notebook = Notebook(refuse)

    async def work() -> Any:
        async with client(network, batch_size=2, max_concurrency=1) as neto:
            imported = neto.import_customer_logs([CustomerLog(notes=str(number)) for number in range(5)])
            imported._lane.write_ahead = notebook
            async with imported:
                return [outcome async for outcome in imported]

    outcomes = run(work)
    calls = [(1, [0]), 1, (2, [1, 2]), 2]
    if refuse is None:
        assert ([*calls, (3, [3, 4]), 3], ["Added"] * 5) == (notebook.said, kinds(outcomes))
    else:
        assert (calls, 1) == (notebook.said, network.tried)
        assert {NotSentCause.JOURNAL} == {outcome.cause for outcome in outcomes[1:]}


def test_a_call_whose_record_lapsed_does_not_leave():
    """Where what was noted of a call counts no more when its body is asked for, nothing of it leaves; it goes later."""
    network, notebook = Network(always=saves_or_fails), Notebook()
    notebook.lapsed = 1

    async def work() -> Any:
        async with client(network) as neto:
            imported = neto.import_customer_logs([CustomerLog(notes="once")])
            imported._lane.write_ahead = notebook
            async with imported:
                return [outcome async for outcome in imported]

    (outcome,) = run(work)
    assert ["never left", "answered"] == [attempt.phase for attempt in outcome.attempts]
    assert [(1, [0]), 1, (2, [0]), 2] == notebook.said
    assert [(1, "once")] == network.ledger


def test_a_run_in_doubt_risks_single_records_of_a_piece():
    """A batch that comes back unsaved while the store is in doubt goes on record by record, in its order."""
    network = Network()

    async def paused_late(network: Network, body: Any) -> Any:
        await asyncio.sleep(3)
        return await answers(429, retry_after="1")(network, body)

    network.script += [saves, paused_late, answers(502), answers(502), answers(502)]

    async def work() -> Any:
        async with client(network, batch_size=2, max_concurrency=4) as neto:
            return await neto.add_customer_logs([CustomerLog(notes=str(number)) for number in range(13)])

    report = run(work)
    assert [1, 2, 2, 2, 2, 1, 1] == [len(sent.notes) for sent in network.sent[:7]]
    assert list(network.sent[4].notes) == [text for sent in network.sent[5:7] for text in sent.notes]
    assert (7, 6) == (len(report.added), len(report.unknown))
    assert 7 == len(network.ledger)
