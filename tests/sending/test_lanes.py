"""Single adds and imports side by side: who goes first, and that neither starves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scripted import Network, Sent, client
from virtual import run

from neto_async import CustomerLog
from neto_async.sending.quota import Window


def _mixed(network: Network, *, singles: int, imported: int, seconds: float, **settings: Any) -> None:
    """Let so many single adds and records of imports wait, and stop after so many seconds."""

    async def single(neto: Any, number: int) -> None:
        await neto.add_customer_log(CustomerLog(notes=f"single {number}"), give_up_after=100_000.0)

    async def work() -> None:
        async with client(network, batch_size=1, **settings) as neto:
            adds = [asyncio.ensure_future(single(neto, number)) for number in range(singles)]
            bulk = asyncio.ensure_future(
                neto.add_customer_logs([CustomerLog(notes=f"import {number}") for number in range(imported)])
            )
            await asyncio.sleep(seconds)
            assert min(neto.statistics().waiting_single, neto.statistics().waiting_import) > 0, "both must wait"
            for task in (*adds, bulk):
                task.cancel()
            await asyncio.gather(*adds, bulk, return_exceptions=True)
            await neto.aclose()

    run(work)


def _shares(sent: list[Sent]) -> tuple[float, float]:
    singles = sum("single" in call.notes[0] for call in sent)
    return singles / len(sent), 1 - singles / len(sent)


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("latency", [0.02, 2.0])
@pytest.mark.parametrize("quota", [None, 7.5, 60])
def test_each_lane_gets_a_quarter_while_both_wait(slots, latency, quota):
    """While both lanes wait each gets at least a quarter of the calls, whichever of slot and quota is short."""
    network = Network(latency=latency)
    seconds = 25 * latency if quota is None else 240.0

    _mixed(network, singles=500, imported=500, seconds=seconds, max_concurrency=slots, requests_per_minute=quota)

    # The first call of an import goes alone, and nothing of it can go beside it.
    steady = network.sent[2 * slots :]
    whole = steady[: len(steady) // 4 * 4]
    assert len(whole) >= 8
    assert min(_shares(whole)) >= 0.25 - 2 / len(whole)


def test_single_adds_go_first():
    """Where both wait, the free slot goes to single adds, three times of four."""
    network = Network()

    _mixed(network, singles=60, imported=60, seconds=8.1, max_concurrency=1)

    lanes = ["single" if "single" in call.notes[0] else "import" for call in network.sent]
    assert (["single"] * 3 + ["import"]) * 9 == lanes[:36]


def test_concurrent_single_adds_share_calls():
    """A thousand concurrent single adds leave as at most fourteen calls."""
    network = Network()

    async def work() -> None:
        async with client(network) as neto:
            await asyncio.gather(*(neto.add_customer_log(CustomerLog(notes=str(number))) for number in range(1000)))

    run(work)
    assert (1000, True) == (len(network.ledger), network.tried <= 14)


def test_an_idle_client_sends_in_the_next_turn():
    """Nothing waits for company: a single log leaves in the turn after it was submitted."""
    network = Network()

    async def work() -> None:
        async with client(network) as neto:
            began = asyncio.get_running_loop().time()
            await neto.add_customer_log(CustomerLog(notes="alone"))
            assert began == network.sent[0].at

    run(work)


class Counted(Window):
    """A window that counts how often it is asked."""

    looks = 0

    def earliest(self, now: float, *, spaced: bool, leave: int = 0) -> float:
        self.looks += 1
        return super().earliest(now, spaced=spaced, leave=leave)


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("latency", [0.2, 7.0, 45.0])
@pytest.mark.parametrize("limit", [0.5, 1, 2, 3, 5, 60])
def test_a_wait_for_the_quota_ends_after_few_looks(limit, latency, slots):
    """However few the places and slow the calls, the engine asks a few times a call, and each lane gets its share."""
    network = Network(latency=latency)
    quota = Counted(limit)

    async def work() -> None:
        async with client(network, batch_size=1, max_concurrency=slots, quota=quota) as neto:
            adds = [
                asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="single"), give_up_after=100_000.0))
                for _ in range(600)
            ]
            bulk = asyncio.ensure_future(neto.add_customer_logs([CustomerLog(notes="import")] * 600))
            await asyncio.sleep(10 * max(60.0, 60.0 / limit))
            for task in (*adds, bulk):
                task.cancel()
            await asyncio.gather(*adds, bulk, return_exceptions=True)

    run(work)
    print(f"looks a call: {quota.looks / network.tried:.1f}")  # noqa: T201 - a figure to report
    assert quota.looks <= 6 * network.tried + 6
    assert min(_shares(network.sent)) >= 0.25 - 3 / len(network.sent)
