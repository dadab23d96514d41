"""How late does the rest of the application run? A heartbeat of 1 ms beside an import at full speed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from statistics import quantiles

from attrs import frozen

from benchmarks import by_hand
from benchmarks.clients import count_added, open_client
from benchmarks.http_clients import OPEN, post_with
from benchmarks.measuring import Answer, Target, take_turns
from benchmarks.records import stream_rows
from benchmarks.store import running_store
from neto_async import AsyncNetoClient

BEAT = 0.001


@frozen(kw_only=True)
class Beats:
    """
    The 99th percentiles of a round, in ms.

    Attributes:
        late: By how much the loop woke the heartbeat too late, other processes' doing included.
        held: What of it was CPU time of this process.
    """

    late: float
    held: float


def measure(*, quick: bool) -> list[Answer]:
    """Import without a limit, so that the client never waits for more than the store's answer."""
    with running_store() as address:
        return asyncio.run(measure_at(address, *((600, 1) if quick else (30_000, 7))))


async def measure_at(address: str, records: int, rounds: int) -> list[Answer]:
    """Take the 99th percentile of lateness in each round."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(OPEN["httpx"]())
        candidates = {"nothing but the heartbeat": late_beside(partial(asyncio.sleep, records / 30_000))}
        for codec in (by_hand.JSON, by_hand.XML):
            for size in (100, 1000):
                neto = open_client(address, http_client=http, wire_format=codec.name, batch_size=size)
                await stack.enter_async_context(neto)
                work = partial(_import, neto, records)
                candidates[f"neto_async, {codec.name}, batches of {size}"] = late_beside(work)
            post = post_with(http, address, codec.name)
            by_them = partial(_import_by_hand, post, codec, records)
            candidates[f"loop by hand, {codec.name}, batches of 100"] = late_beside(by_them)
        samples = await take_turns(candidates, rounds)
    title = f"Lateness of a heartbeat of 1 ms during an import of {records} records"
    return [
        Answer(
            title=title,
            unit="ms late, 99th percentile",
            samples={name: [beats.late for beats in several] for name, several in samples.items()},
            targets=[
                Target(what=f"guest: ms late, p99, {name}", ours=f"neto_async, {name}, batches of 100", limit=5.0)
                for name in ("json", "xml")
            ],
        ),
        Answer(
            title=f"{title}: what of it this process itself used",
            unit="ms CPU, 99th percentile",
            samples={name: [beats.held for beats in several] for name, several in samples.items()},
        ),
    ]


async def _import(neto: AsyncNetoClient, records: int) -> None:
    await count_added(neto, stream_rows(records))


async def _import_by_hand(post: by_hand.Post, codec: by_hand.Codec, records: int) -> None:
    await by_hand.import_rows(stream_rows(records), post, codec)


def late_beside(work: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[Beats]]:
    """Make a candidate that beats while it works."""

    async def run() -> Beats:
        late: list[float] = []
        held: list[float] = []
        beating = asyncio.create_task(beat(late, held))
        await work()
        beating.cancel()
        await asyncio.wait([beating])
        return Beats(late=quantiles(late, n=100)[98] * 1000, held=quantiles(held, n=100)[98] * 1000)

    return run


async def beat(late: list[float], held: list[float]) -> None:
    """Note how late each beat comes, and what CPU time went by since it was due if the loop was never idle."""
    loop = asyncio.get_running_loop()
    while True:
        due, cpu = loop.time() + BEAT, time.process_time()
        await asyncio.sleep(BEAT)
        late.append(loop.time() - due)
        held.append(max(0.0, time.process_time() - cpu - BEAT))
