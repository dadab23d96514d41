"""How long does one log take? An add in an idle application, beside one `post` of the same body."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median

from benchmarks import by_hand
from benchmarks.clients import open_client
from benchmarks.http_clients import OPEN, post_with
from benchmarks.measuring import Answer, Target, take_turns
from benchmarks.records import make_logs
from benchmarks.store import running_store


def measure(*, quick: bool) -> list[Answer]:
    """Add single logs in JSON over httpx."""
    times, rounds = (5, 1) if quick else (100, 31)
    with running_store() as address:
        return [asyncio.run(measure_at(address, times, rounds))]


async def measure_at(address: str, times: int, rounds: int) -> Answer:
    """Take the median latency of so many adds in a round."""
    (log,) = make_logs(1)
    body = by_hand.encode_json([log])
    open_http = OPEN["httpx"]
    async with open_http() as theirs, open_http() as by_them, open_client(address, http_client=theirs) as neto:
        post = post_with(by_them, address, "json")
        samples = await take_turns(
            {
                "add_customer_log": latency(lambda: neto.add_customer_log(log), times),
                "post of the same body": latency(lambda: post(body), times),
            },
            rounds,
        )
    return Answer(
        title=f"Add one log at a time, {times} in a round",
        unit="µs to the fate",
        samples=samples,
        targets=[Target(what="single add, idle", ours="add_customer_log", peer="post of the same body", limit=1.15)],
    )


def latency(add: Callable[[], Awaitable[object]], times: int) -> Callable[[], Awaitable[float]]:
    """Make a candidate that gives the median of µs on the wall."""

    async def run() -> float:
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            await add()
            taken.append(time.perf_counter() - began)
        return median(taken) * 1e6

    return run
