"""
Is the limit used up, and never passed? In real time, at a store that refuses the first call too many in any window.

Everything is a tenth as long as it would be at a real store, apart from the client's timers, which get ten times less
room: a window of 6 s with 400 calls in it, calls of 10 to 50 ms. ``NETO_BENCH_WINDOW=60`` takes the real size.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from itertools import repeat

from aiolimiter import AsyncLimiter

from benchmarks import by_hand
from benchmarks.clients import open_client
from benchmarks.http_clients import CONNECTIONS, OPEN, post_with
from benchmarks.measuring import Answer, Target
from benchmarks.records import make_logs, make_rows
from benchmarks.store import read_ledger, running_store
from neto_async.sending import quota

CALLS = 400
"""In any window."""

REAL_WINDOW = 60.0
TOO_MANY = 429
FASTEST, SLOWEST = 0.1, 0.5
"""Seconds that a call takes at a store of real size."""


def measure(*, quick: bool) -> list[Answer]:
    """Keep two clients at the limit, one after the other, for several windows each."""
    window = 0.3 if quick else float(os.environ.get("NETO_BENCH_WINDOW", "6"))
    windows, rounds = (1, 1) if quick else (2, 1 if window >= REAL_WINDOW else 3)
    used: dict[str, list[float]] = {}
    refused: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, saturate in {"neto_async": with_client, "aiolimiter": with_aiolimiter}.items():
            share, too_many = run_at_limit(saturate, window, windows, calls=40 if quick else CALLS)
            used.setdefault(name, []).append(share)
            refused.setdefault(name, []).append(too_many)
    title = (
        f"{windows} windows of {window:g} s with {CALLS} calls each, calls of {FASTEST * window / REAL_WINDOW:g} s up"
    )
    return [
        Answer(
            title=title,
            unit="% of the calls allowed",
            samples=used,
            targets=[Target(what="quota: % used", ours="neto_async", limit=98, at_least=True)],
        ),
        Answer(
            title=title,
            unit="calls refused with 429",
            samples=refused,
            targets=[Target(what="quota: calls refused", ours="neto_async", limit=0)],
        ),
    ]


def run_at_limit(
    saturate: Callable[[str, float, int], Awaitable[None]], window: float, windows: int, *, calls: int
) -> tuple[float, float]:
    """Give the share of the allowed calls that were made, in %, from the first one on, and the number refused."""
    scale = window / REAL_WINDOW
    with running_store(limit=calls, window=window, fastest=FASTEST * scale, slowest=SLOWEST * scale) as address:
        asyncio.run(_for_some_time(saturate(address, window, calls), window * (windows + 0.5)))
        ledger = read_ledger(address)
    accepted = ledger["accepted"]
    end = accepted[0] + window * windows
    return 100 * sum(at < end for at in accepted) / (calls * windows), ledger["refused"]


async def _for_some_time(work: Awaitable[None], seconds: float) -> None:
    task = asyncio.ensure_future(work)
    await asyncio.wait([task], timeout=seconds)
    task.cancel()
    await asyncio.wait([task])


async def with_client(address: str, window: float, calls: int) -> None:
    """Import without end; the library's own window is made as long as the store's."""
    quota.WINDOW = window
    rows = repeat(make_rows(1)[0])
    async with open_client(address, requests_per_minute=calls) as neto, neto.import_customer_logs(rows) as run:
        async for _ in run:
            pass


async def with_aiolimiter(address: str, window: float, calls: int) -> None:
    """Post without end, so many at once, each after asking the limiter; after a 429 wait for a window."""
    limiter = AsyncLimiter(calls, window)
    async with OPEN["httpx"]() as client:
        post = post_with(client, address, "json")
        body = by_hand.encode_json(make_logs(100))

        async def work() -> None:
            while True:
                async with limiter:
                    status, _ = await post(body)
                if status == TOO_MANY:
                    await asyncio.sleep(window)

        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
