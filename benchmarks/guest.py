"""How late does the rest of the application run? A heartbeat of 1 ms beside an import at full speed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from statistics import quantiles

from benchmarks import by_hand
from benchmarks.clients import import_all, open_client
from benchmarks.http_clients import OPEN, post_with
from benchmarks.measuring import Answer, Target, take_turns
from benchmarks.records import stream_rows
from benchmarks.store import running_store

BEAT = 0.001


def measure(*, quick: bool) -> list[Answer]:
    """Import without a limit, so that the client never waits for more than the store's answer."""
    with running_store() as address:
        return [asyncio.run(measure_at(address, *((600, 1) if quick else (30_000, 7))))]


async def measure_at(address: str, records: int, rounds: int) -> Answer:
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
    return Answer(
        title=f"Lateness of a heartbeat of 1 ms during an import of {records} records",
        unit="ms late, 99th percentile",
        samples=samples,
        targets=[
            Target(what=f"guest: ms late, p99, {name}", ours=f"neto_async, {name}, batches of 100", limit=5.0)
            for name in ("json", "xml")
        ],
    )


async def _import(neto: object, records: int) -> None:
    await import_all(neto, stream_rows(records))  # type: ignore[arg-type]


async def _import_by_hand(post: by_hand.Post, codec: by_hand.Codec, records: int) -> None:
    await by_hand.import_rows(stream_rows(records), post, codec)


def late_beside(work: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[float]]:
    """Make a candidate that gives the 99th percentile of ms by which the loop woke the heartbeat too late."""

    async def run() -> float:
        late: list[float] = []
        beating = asyncio.create_task(beat(late))
        await work()
        beating.cancel()
        await asyncio.wait([beating])
        return quantiles(late, n=100)[98] * 1000

    return run


async def beat(late: list[float]) -> None:
    """Note how late each beat comes, in seconds."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + BEAT
        await asyncio.sleep(BEAT)
        late.append(loop.time() - due)
