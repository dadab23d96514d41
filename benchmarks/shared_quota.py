"""
What does a quota in Redis cost, and do one process and many use it up? In real time, at a store that refuses.

All is a third as long as it would be at a real store, apart from the client's timers, which get less room: a window of
20 s with 400 calls in it. ``NETO_BENCH_WINDOW=60`` takes the real size. Each process imports without end.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import repeat
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import redis
from attrs import frozen

from benchmarks.clients import open_client
from benchmarks.measuring import Answer, Target
from benchmarks.quota import CALLS, FASTEST, REAL_WINDOW, SLOWEST
from benchmarks.records import make_rows
from benchmarks.servers import NO_REDIS, find_redis, running_redis
from benchmarks.store import read_ledger, running_store
from neto_async.integrations import redis as redis_quota
from neto_async.sending import quota

PROCESSES = {"1 process": 1, "4 processes": 4, "16 processes": 16}
MANY_CALLS = 6000
"""A minute, of one process beside one with the quota of the process alone."""

MOST_AT_ONCE = 32
"""Calls: with fewer their time would bound what is used of the largest quota."""

TIMEOUT = 5.0


@frozen(kw_only=True)
class Account:
    """
    What processes of one account share.

    Attributes:
        address: Of the store.
        redis_url: Of the quota's server; None for the quota that a process has alone.
        calls: In any window.
        window: Seconds.
    """

    address: str
    redis_url: str | None
    calls: int
    window: float


@frozen(kw_only=True)
class Totals:
    """What was counted since the last look: calls, refused ones, round trips, µs of Redis and of the processes."""

    at: float
    calls: int
    refused: int
    trips: int
    redis_time: float
    cpu: float


@frozen(kw_only=True)
class Seen:
    """
    Of a while.

    Attributes:
        used: Calls that were made, in % of those allowed.
        refused: Calls.
        trips: To Redis, a call.
        redis_time: µs that the server took, a call.
        cpu: µs of CPU time of the processes, a call.
    """

    used: float
    refused: float
    trips: float
    redis_time: float
    cpu: float


def measure(*, quick: bool) -> list[Answer]:
    """Keep accounts at their limit, and look several times once a window has passed."""
    if (program := find_redis()) is None:
        return [Answer(title="A quota in Redis", unit="", samples={}, left_out={"shared_quota": NO_REDIS})]
    window = 0.6 if quick else float(os.environ.get("NETO_BENCH_WINDOW", "20"))
    with running_redis(program) as url:
        many: dict[str, list[Seen]] = {}
        for name, processes in PROCESSES.items():
            if not quick or processes == 1:
                many |= looked_at({name: saturated(processes, url, 40 if quick else CALLS, window)}, window)
        calls = 40 if quick else round(MANY_CALLS * window / REAL_WINDOW)
        alone = looked_at(
            {
                "RedisQuota": saturated(1, url, calls, window),
                "quota of the process": saturated(1, None, calls, window),
            },
            window,
        )
    title = f"Import without end in windows of {window:g} s, {CALLS} calls each"
    beside = f"Import without end in windows of {window:g} s, {MANY_CALLS} calls a minute, one process"
    used = [Target(what=f"shared quota: % used, {name}", ours=name, limit=97, at_least=True) for name in many]
    refused = [Target(what=f"shared quota: calls refused, {name}", ours=name, limit=0) for name in many]
    trips = [Target(what=f"shared quota: round trips a call, {name}", ours=name, limit=2) for name in many]
    ours, peer = alone
    as_fast = Target(what="shared quota: beside one in the process", ours=ours, peer=peer, limit=0.99, at_least=True)
    return [
        answer(title, "% of the calls allowed", many, "used", used),
        answer(title, "calls refused", many, "refused", refused),
        answer(title, "round trips a call", many, "trips", trips),
        answer(title, "µs of Redis a call", many, "redis_time"),
        answer(beside, "% of the calls allowed", alone, "used", [as_fast]),
        answer(beside, "µs CPU of the process a call", alone, "cpu"),
    ]


def answer(
    title: str, unit: str, seen: Mapping[str, Sequence[Seen]], what: str, targets: Sequence[Target] = ()
) -> Answer:
    """Make a table of one figure of all that was seen."""
    samples = {name: [getattr(one, what) for one in looks] for name, looks in seen.items()}
    return Answer(title=title, unit=unit, samples=samples, targets=targets)


def looked_at(accounts: Mapping[str, Any], window: float) -> dict[str, list[Seen]]:
    """Have accounts run at the same time, and look at all of them three times once a window has passed."""
    with ExitStack() as stack:
        looks: dict[str, Callable[[], Seen]] = {name: stack.enter_context(one) for name, one in accounts.items()}
        time.sleep(window)
        seen: dict[str, list[Seen]] = {name: [] for name in looks}
        for look in looks.values():
            look()
        for _ in range(3):
            time.sleep(window / 2)
            for name, look in looks.items():
                seen[name].append(look())
    return seen


@contextmanager
def saturated(processes: int, redis_url: str | None, calls: int, window: float) -> Iterator[Callable[[], Seen]]:
    """Run processes that import without end; give what looks at them, and says what has been since the last look."""
    scale = window / REAL_WINDOW
    times = {"fastest": FASTEST * scale, "slowest": SLOWEST * scale}
    with running_store(limit=calls, window=window, **times) as address:
        account = Account(address=address, redis_url=redis_url, calls=calls, window=window)
        if redis_url is not None:
            open_gate(redis_url, address)
        with running_workers(account, processes) as pipes:
            before = Totals(at=0.0, calls=0, refused=0, trips=0, redis_time=0.0, cpu=0.0)

            def look() -> Seen:
                nonlocal before
                since, before = before, totals(account, pipes)
                made = max(before.calls, 1)  # a ledger begins anew with each look
                return Seen(
                    used=100 * made / (calls * (before.at - since.at) / window),
                    refused=before.refused,
                    trips=(before.trips - since.trips) / made,
                    redis_time=(before.redis_time - since.redis_time) / made,
                    cpu=(before.cpu - since.cpu) / made,
                )

            yield look


def totals(account: Account, pipes: Sequence[Connection]) -> Totals:
    """Count."""
    steps: Any = {"calls": 0, "usec": 0}
    if account.redis_url is not None:
        with redis.Redis.from_url(account.redis_url) as server:
            stats: Any = server.info("commandstats")
        steps = stats.get("cmdstat_evalsha", steps)
    for pipe in pipes:
        pipe.send(None)
    cpu = sum(pipe.recv() for pipe in pipes)
    ledger = read_ledger(account.address)
    return Totals(
        at=time.monotonic(),
        calls=len(ledger["accepted"]),
        refused=ledger["refused"],
        trips=steps["calls"],
        redis_time=steps["usec"],
        cpu=cpu * 1e6,
    )


def open_gate(redis_url: str, address: str) -> None:
    """Let calls begin at once on a new server, as docs/how-to/several-processes.md says."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as server:
        info: Any = server.info("server")
        server.zadd(f"neto_async:{{{address}}}:places", {f"run:{info['run_id']}": -1})


@contextmanager
def running_workers(account: Account, processes: int) -> Iterator[list[Connection]]:
    """Run processes once each has made a call; over its pipe each says its CPU time, whenever it is asked."""
    context = get_context("spawn")
    pipes = [context.Pipe() for _ in range(processes)]
    workers = [context.Process(target=work, args=(account, theirs), daemon=True) for _, theirs in pipes]
    try:
        for worker in workers:
            worker.start()
        for ours, _ in pipes:
            ours.recv()
        yield [ours for ours, _ in pipes]
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def work(account: Account, asked: Connection) -> None:
    """Import without end, until killed."""
    asyncio.run(import_without_end(account, asked))


async def import_without_end(account: Account, asked: Connection) -> None:
    """Keep the account at its limit; the library's own times are made as long as the store's."""
    scale = account.window / REAL_WINDOW
    quota.WINDOW = account.window
    redis_quota.AHEAD *= scale
    redis_quota.BUSY *= scale
    limit: dict[str, Any] = {"requests_per_minute": account.calls}
    if account.redis_url is not None:
        times = {"window": account.window, "longest_call": TIMEOUT, "leave_within": 10 * scale}
        limit = {"quota": redis_quota.RedisQuota(account.redis_url, calls_per_minute=account.calls, **times)}
    rows = repeat(make_rows(1)[0])
    settings = {**limit, "batch_size": 1, "max_concurrency": MOST_AT_ONCE, "timeout": TIMEOUT}
    async with open_client(account.address, **settings) as neto, neto.import_customer_logs(rows) as run:
        await anext(run)
        asked.send(None)
        answering = asyncio.create_task(say_cpu_time(asked))
        async for _ in run:
            pass
        await answering


async def say_cpu_time(asked: Connection) -> None:
    """Answer each question."""
    while True:
        await asyncio.to_thread(asked.recv)
        asked.send(time.process_time())
