"""A busy client: full calls, short waits beside an import, and no more in memory than a few batches."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from scripted import Network, client, saves
from virtual import run

from neto_async import CustomerLog

ROWS = 8_000


def listed(rows: int) -> list[CustomerLog]:
    return [CustomerLog(notes=f"import {number}") for number in range(rows)]


def generated(rows: int) -> Iterator[CustomerLog]:
    yield from listed(rows)


async def awaited(rows: int) -> AsyncIterator[CustomerLog]:
    """Yield a row a millisecond and a half at the most: a little faster than the quota takes them."""
    draw = random.Random(rows)
    for log in listed(rows):
        await asyncio.sleep(draw.random() * 0.0025)
        yield log


def fill(network: Network, size: int) -> float:
    return sum(len(sent.notes) for sent in network.sent) / (len(network.sent) * size)


@pytest.mark.parametrize("source", [listed, generated, awaited])
def test_the_calls_of_a_saturated_import_are_full(source):
    """An import whose source is faster than the quota fills its calls: 95 % of all the places in them."""
    network = Network(latency=0.4)

    async def work() -> Any:
        async with client(network, requests_per_minute=400) as neto:
            return await neto.add_customer_logs(source(ROWS))

    assert ROWS == len(run(work).added)
    print(f"fill of an import: {fill(network, 100):.4f}")  # noqa: T201 - a figure to report
    assert fill(network, 100) >= 0.95


def test_the_calls_of_saturated_single_adds_are_full():
    """Handlers that add more than the quota takes fill their calls by themselves, once the window's burst is spent."""
    network = Network(latency=0.4)
    draw = random.Random(1)

    async def handler(neto: Any, begins: float) -> None:
        await asyncio.sleep(begins)
        await neto.add_customer_log(CustomerLog(notes="single"), give_up_after=10_000.0)

    async def work() -> None:
        async with client(network, requests_per_minute=60, batch_size=20) as neto:
            await asyncio.gather(*(handler(neto, draw.random() * 240.0) for _ in range(8_000)))

    run(work)
    network.sent = [sent for sent in network.sent if 1060.0 <= sent.at < 1240.0]
    assert len(network.sent) >= 0.98 * 180
    print(f"fill of single adds: {fill(network, 20):.4f}")  # noqa: T201 - a figure to report
    assert fill(network, 20) >= 0.95


@pytest.mark.parametrize(
    ("slots", "before"),
    [pytest.param(1, 0, marks=pytest.mark.thorough), pytest.param(4, 0, marks=pytest.mark.thorough), (4, 100)],
)
def test_a_single_add_waits_for_no_more_than_a_call_and_its_pace(slots, before):
    """While an import of 60,000 runs, a handler's log leaves within the time of one call plus the pace."""
    network = Network(latency=0.5)
    delays: list[float] = []
    draw = random.Random(slots)

    async def work() -> None:
        async with client(network, requests_per_minute=400, max_concurrency=slots, batch_size=100) as neto:
            await asyncio.gather(*(neto.add_customer_log(CustomerLog(notes="burst")) for _ in range(100 * before)))
            bulk = asyncio.ensure_future(neto.add_customer_logs(generated(60_000)))
            for number in range(100):
                await asyncio.sleep(draw.random())
                handed_in = asyncio.get_running_loop().time()
                await neto.add_customer_log(CustomerLog(notes=f"single {number}"))
                (sent,) = (call for call in reversed(network.sent[-8:]) if f"single {number}" in call.notes)
                delays.append(sent.at - handed_in)
            assert not bulk.done()
            await bulk

    run(work)
    print(f"delay of single adds beside an import: at most {max(delays):.3f} s")  # noqa: T201 - a figure to report
    assert 60_100 + 100 * before == len(network.ledger)
    assert max(delays) <= 0.5 + 60 / 400


@pytest.mark.parametrize("source", [generated, awaited])
def test_an_import_of_any_length_holds_a_few_batches(source):
    """At any call of an import the records that were read and have no outcome are those of a few batches."""
    held: list[int] = []

    async def counts(network: Network, body: Any) -> Any:
        held.append(len(neto._engine.unsettled()))
        return await saves(network, body)

    neto: Any = None

    async def work() -> None:
        nonlocal neto
        async with client(Network(always=counts), max_concurrency=4) as neto:
            await neto.add_customer_logs(source(ROWS))

    run(work)
    print(f"records held by an import: at most {max(held)}")  # noqa: T201 - a figure to report
    assert max(held) <= 10 * 100
