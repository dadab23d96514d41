"""How long do a thousand handlers wait? Adds that come at once, beside a data loader that gathers them into calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiodataloader import DataLoader

from benchmarks import by_hand
from benchmarks.clients import open_client
from benchmarks.http_clients import CONNECTIONS, OPEN, post_with
from benchmarks.measuring import Answer, Target, in_microseconds, take_turns, timed
from benchmarks.records import make_logs
from benchmarks.store import running_store
from neto_async import CustomerLog, Outcome

BATCH = 100
ADDS = 1000


def measure(*, quick: bool) -> list[Answer]:
    """Add a thousand logs at once, in JSON over httpx."""
    with running_store() as address:
        return asyncio.run(measure_at(address, 1 if quick else 31))


async def measure_at(address: str, rounds: int) -> list[Answer]:
    """Measure until the last fate is known."""
    logs = make_logs(ADDS)
    open_http = OPEN["httpx"]
    async with open_http() as theirs, open_http() as by_them, open_client(address, http_client=theirs) as neto:
        loader = loader_over(post_with(by_them, address, "json"))
        efforts = await take_turns(
            {
                "add_customer_log": timed(all_at_once(neto.add_customer_log, logs), ADDS),
                "aiodataloader": timed(all_at_once(loader.load, logs), ADDS),
            },
            rounds,
        )
    title = f"{ADDS} adds at once, calls of {BATCH}, {CONNECTIONS} at once"
    target = Target(what="1,000 adds at once", ours="add_customer_log", peer="aiodataloader", limit=1.2)
    return [
        Answer(
            title=title, unit="µs on the wall a record", samples=in_microseconds(efforts, wall=True), targets=[target]
        ),
        Answer(title=title, unit="µs CPU a record", samples=in_microseconds(efforts)),
    ]


def all_at_once(
    add: Callable[[CustomerLog], Awaitable[object]], logs: list[CustomerLog]
) -> Callable[[], Awaitable[object]]:
    """Add every log in a task of its own, as handlers would."""

    async def handle(log: CustomerLog) -> None:
        await add(log)

    async def run() -> None:
        await asyncio.gather(*(handle(log) for log in logs))

    return run


def loader_over(post: by_hand.Post) -> DataLoader[CustomerLog, Outcome]:
    """Make a data loader that adds what it is asked for, so many calls at once."""
    slots = asyncio.Semaphore(CONNECTIONS)

    async def add(logs: list[CustomerLog]) -> list[Outcome]:
        async with slots:
            status, body = await post(by_hand.encode_json(logs))
        return by_hand.outcomes_of(list(enumerate(logs)), status, body, by_hand.JSON)

    return DataLoader(add, max_batch_size=BATCH, cache=False)
