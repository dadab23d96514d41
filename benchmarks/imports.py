"""What does a whole import cost? Rows to outcomes without a limit, beside a loop by hand on the same HTTP library."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle, islice

from benchmarks import by_hand
from benchmarks.clients import import_all, open_client
from benchmarks.http_clients import OPEN, post_with, post_with_aiohttp
from benchmarks.measuring import Answer, Effort, Target, in_microseconds, take_turns, timed
from benchmarks.records import DISTINCT, make_logs, make_rows
from benchmarks.store import read_ledger, running_store

LIMIT = 1.5


def measure(*, quick: bool) -> list[Answer]:
    """Import in both formats."""
    with running_store() as address:
        return [
            answer
            for codec in (by_hand.JSON, by_hand.XML)
            for answer in asyncio.run(measure_in(codec, address, *((400, 1) if quick else (10_000, 9))))
        ]


async def measure_in(codec: by_hand.Codec, address: str, records: int, rounds: int) -> list[Answer]:
    """Measure one format: CPU time, and with it time on the wall."""
    async with AsyncExitStack() as stack:
        candidates = await open_candidates(stack, codec, address, records)
        efforts = await take_turns(candidates, rounds)
    title = f"Import {records} records in {codec.name.upper()}, calls of 100, 4 at once"
    ledger = read_ledger(address)
    return [
        Answer(
            title=f"{title}; the store's own process took {ledger['cpu'] / ledger['calls'] * 1e4:.1f} µs a record",
            unit="µs CPU a record",
            samples=in_microseconds(efforts),
            targets=[
                Target(
                    what=f"whole import, {codec.name}, {library}",
                    ours=f"neto_async, {library}",
                    peer=f"loop by hand, {library}",
                    limit=LIMIT,
                )
                for library in OPEN
            ],
        ),
        Answer(title=title, unit="µs on the wall a record", samples=in_microseconds(efforts, wall=True)),
    ]


async def open_candidates(
    stack: AsyncExitStack, codec: by_hand.Codec, address: str, records: int
) -> Mapping[str, Callable[[], Awaitable[Effort]]]:
    """Open the library and the loop by hand over every HTTP library."""
    rows = list(islice(cycle(make_rows(DISTINCT)), records))
    candidates: dict[str, Callable[[], Awaitable[object]]] = {}
    for library, open_http in OPEN.items():
        theirs = await stack.enter_async_context(open_http())
        by_them = await stack.enter_async_context(open_http())
        neto = await stack.enter_async_context(open_client(address, wire_format=codec.name, http_client=theirs))
        post = post_with(by_them, address, codec.name)
        candidates[f"neto_async, {library}"] = partial(import_all, neto, rows)
        candidates[f"loop by hand, {library}"] = partial(by_hand.import_rows, rows, post, codec)
    post = await stack.enter_async_context(post_with_aiohttp(address, codec.name))
    candidates["loop by hand, aiohttp"] = partial(by_hand.import_rows, rows, post, codec)
    if codec is by_hand.JSON:
        dicts = list(islice(cycle(map(by_hand.vendor_texts, make_logs(DISTINCT))), records))
        candidates["loop of dicts, aiohttp"] = partial(by_hand.import_dicts, dicts, post)
    return {name: timed(work, records) for name, work in candidates.items()}
