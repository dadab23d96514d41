"""
Schedules: what happens to the processes of an account and to their servers, drawn from a seed, and how it ends.

The moments are seconds, since leases and holds are. How fast the machine is decides what each fault meets, and never
whether a schedule passes: that is what the laws say (`laws.py`).
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import account_store
import account_worker
from attrs import define, field, frozen
from links import Link
from members import Server as RedisServer
from members import open_gate
from redis.asyncio import Redis
from server import Server as PostgresServer  # noqa: TC002 - attrs resolves it

__all__ = ["CALLS", "HOLD", "LEASE", "LONG_LEASE", "WINDOW", "Fault", "Process", "Schedule", "drawn", "play"]

# Processes are forked from one that has the package imported, since most of the time of a fresh one would go into that.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["neto_async.sandbox", "neto_async.client", "neto_async.integrations.redis", "neto_async.journals.postgres"]
)

CALLS = 10
WINDOW = 1.0
"""Calls that the store takes in any window, and its seconds. The vendor's are 500 and 60."""

TIMES = {"window": WINDOW, "longest_call": 1.2, "leave_within": 0.5}
HOLD = 1.2 + 0.5 + 0.1 + WINDOW
LEASE = 1.0
LONG_LEASE = 5.0
"""Seconds; the second is longer than a hold, so that the quota alone keeps a call from leaving late."""

FAULTS = (
    "kill a worker",
    "suspend a worker",
    "suspend an importer",
    "suspend all but one",
    "kill Redis",
    "empty Redis",
    "kill PostgreSQL",
    "cut off from Redis",
    "cut off from PostgreSQL",
    "cut an importer off from PostgreSQL",
    "set the clock of a worker",
)

CLOCKS = (0.0, -3600.0, -0.6, 0.6, 3600.0)
"""Seconds by which a clock is ahead of the right time: an hour, and what is less than windows, leases and holds."""


@frozen
class Fault:
    """
    One thing that happens.

    Attributes:
        at: Seconds from the beginning.
        name: One of `FAULTS`.
        worker: Whom it happens to.
        lasts: Seconds until it is over.
        delivers: Whether a network that held bytes back delivers them at last, or drops them with the connection.
        ahead: What a clock is set to, in seconds ahead of the right time. In the end it is set right.
    """

    at: float
    name: str
    worker: int
    lasts: float
    delivers: bool
    ahead: float = 0.0


@frozen
class Schedule:
    """What a seed draws."""

    seed: int
    workers: int
    imports: dict[str, int]
    seconds: float
    faults: tuple[Fault, ...]
    lease: float


def drawn(seed: int) -> Schedule:
    """Draw a schedule."""
    draw = random.Random(seed)
    workers = draw.choice([2, 3, 4])
    seconds = draw.choice([4.0, 6.0, 8.0])
    faults = [
        Fault(
            at=draw.random() * seconds,
            name=draw.choice(FAULTS),
            worker=draw.randrange(workers),
            lasts=draw.choice([0.2, 0.8, LEASE + 0.5, HOLD + 0.5]),
            delivers=draw.random() < 0.5,
            ahead=draw.choice(CLOCKS[1:]),
        )
        for _ in range(draw.choice([2, 3, 5]))
    ]
    imports = {f"import {number}": draw.choice([100, 200, 400]) for number in range(draw.choice([1, 2]))}
    lease = draw.choice([LEASE, LEASE, LEASE, LONG_LEASE])
    return Schedule(seed, workers, imports, seconds, tuple(sorted(faults, key=lambda fault: fault.at)), lease)


class Process:
    """A process, and what it is told and says."""

    def __init__(self, main: Callable[..., None], *given: Any) -> None:
        self._talk, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=main, args=(theirs, *given), daemon=True)
        self._process.start()
        theirs.close()

    async def heard(self) -> Any:
        """Give what it says next."""
        return await asyncio.to_thread(self._talk.recv)

    def tell(self, what: float | None) -> None:
        """Tell it something; None is to end."""
        with suppress(OSError):  # it was killed
            self._talk.send(what)

    async def ended(self) -> int | None:
        """Wait until it has ended, and give its code."""
        await asyncio.to_thread(self._process.join)
        return self._process.exitcode

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self._process.is_alive():  # and its number is no other's
                os.kill(self._process.pid or 0, number)


@define(eq=False)
class Place:
    """Where a worker runs: when its process was killed, another one begins here."""

    links: dict[str, Link]
    process: Process | None = None
    begun: int = 0
    busy: asyncio.Lock = field(factory=asyncio.Lock)

    async def kill(self) -> None:
        if self.process is not None:
            self.process.signal(signal.SIGKILL)
            await self.process.ended()


@define(eq=False)
class Account:
    """
    A store, workers and their servers.

    Attributes:
        reports: What each process that ever ran has said.
    """

    schedule: Schedule
    postgres: PostgresServer
    redis: RedisServer
    folder: Path
    url: str
    planted: str | None = None
    schema: str = field(factory=lambda: f"account {uuid.uuid4()}")
    places: list[Place] = field(factory=list)
    busy: dict[str, asyncio.Lock] = field(factory=lambda: {"redis": asyncio.Lock(), "postgres": asyncio.Lock()})

    @property
    def reports(self) -> dict[str, list[list[Any]]]:
        lines = {file.stem: file.read_bytes().split(b"\n")[:-1] for file in self.folder.glob("*.report")}
        return {name: [json.loads(line) for line in said] for name, said in sorted(lines.items())}

    @property
    def importer(self) -> Place:
        """Where a row's outcome was learned last."""
        learned = {
            name: max((line[-1] for line in said if line[0] == "row"), default=0.0)
            for name, said in self.reports.items()
        }
        _, number, _ = re.split("[ .]", max(learned, key=learned.__getitem__))
        return self.places[int(number)]

    async def start(self, number: int) -> None:
        """Start a process at a place."""
        place, draw = self.places[number], random.Random(f"{self.schedule.seed} {number}")
        place.begun += 1
        name = f"worker {number}.{place.begun}"
        conninfo = self.postgres.conninfo.replace(f"port={self.postgres.port}", f"port={place.links['postgres'].port}")
        given = {
            "name": name,
            "seed": f"{self.schedule.seed} {name}",
            "report": str(self.folder / f"{name}.report"),
            "url": self.url,
            "redis": f"redis://127.0.0.1:{place.links['redis'].port}/0",
            "postgres": f"{conninfo} connect_timeout=2",
            "schema": self.schema,
            "calls": CALLS,
            "times": TIMES,
            "lease": self.schedule.lease,
            "imports": self.schedule.imports,
            "singles": draw.choice([2, 4, 8]),
            "batch_size": draw.choice([5, 10, 20]),
            "concurrency": draw.choice([2, 4]),
            "patience": draw.choice([2.0, 30.0]),
            "ahead": draw.choice(CLOCKS),
            "started": draw.choice([0.0, 86400.0]),
            "planted": self.planted,
        }
        place.process = await asyncio.to_thread(Process, account_worker.main, given)
        await place.process.heard()

    async def meet(self, fault: Fault) -> None:
        """Have a fault happen, and be over."""
        await asyncio.sleep(fault.at)
        place = self.places[fault.worker]
        match fault.name:
            case "kill a worker":
                async with place.busy:
                    await place.kill()
                    await self.start(fault.worker)
            case "suspend a worker":
                await self.suspend([place], fault.lasts)
            case "suspend an importer":
                await self.suspend([self.importer], fault.lasts)
            case "suspend all but one":
                await self.suspend([other for other in self.places if other is not place], fault.lasts)
            case "cut off from Redis":
                await self.cut_off(place.links["redis"], fault)
            case "cut off from PostgreSQL":
                await self.cut_off(place.links["postgres"], fault)
            case "cut an importer off from PostgreSQL":
                await self.cut_off(self.importer.links["postgres"], fault)
            case "set the clock of a worker":
                await self.set_clock(place, fault)
            case _:
                await self.restart(fault)

    async def restart(self, fault: Fault) -> None:
        """Kill a server, and start it a while later."""
        match fault.name:
            case "kill Redis" | "empty Redis":
                async with self.busy["redis"]:
                    await asyncio.to_thread(self.redis.kill)
                    await asyncio.sleep(fault.lasts / 2)
                    if fault.name == "empty Redis":
                        shutil.rmtree(self.redis._folder / "appendonlydir")
                    await asyncio.to_thread(self.redis.start)
            case "kill PostgreSQL":
                async with self.busy["postgres"]:
                    await asyncio.to_thread(self.postgres.stop)
                    await asyncio.sleep(fault.lasts / 2)
                    await asyncio.to_thread(self.postgres.start)

    async def suspend(self, places: list[Place], seconds: float) -> None:
        processes = [place.process for place in places if place.process is not None]
        for process in processes:
            process.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        for process in processes:
            process.signal(signal.SIGCONT)

    async def cut_off(self, link: Link, fault: Fault) -> None:
        link.hold()
        await asyncio.sleep(fault.lasts)
        if fault.delivers:
            link.deliver()
        else:
            link.cut()

    async def set_clock(self, place: Place, fault: Fault) -> None:
        for ahead, lasts in ((fault.ahead, fault.lasts), (0.0, 0.0)):
            if place.process is not None:
                place.process.tell(ahead)
            await asyncio.sleep(lasts)

    async def finish(self) -> None:
        """Let each process come to its end: no more single adds, and each import once to its end."""
        for place in self.places:
            assert place.process is not None
            place.process.tell(None)
        codes = [await place.process.ended() for place in self.places if place.process is not None]
        assert {0} == set(codes), "a process that broke"


async def play(
    schedule: Schedule, postgres: PostgresServer, folder: Path, *, planted: str | None = None
) -> tuple[dict[str, Any], dict[str, list[list[Any]]]]:
    """Play a schedule to its end; give the store's ledger and what the processes said."""
    redis = RedisServer(folder, "--appendonly", "yes", "--appendfsync", "always")
    store = await asyncio.to_thread(Process, account_store.main, CALLS, WINDOW, schedule.seed)
    account = Account(schedule, postgres, redis, folder, await store.heard(), planted)
    try:
        async with AsyncExitStack() as stack:
            await asyncio.to_thread(redis.start)
            async with Redis.from_url(redis.url) as look:
                await open_gate(look, account.url)
            for _ in range(schedule.workers):
                servers = {"redis": redis.port, "postgres": postgres.port}
                links = {name: await stack.enter_async_context(Link(port)) for name, port in servers.items()}
                account.places.append(Place(links))
            await asyncio.gather(*map(account.start, range(schedule.workers)))
            async with asyncio.TaskGroup() as group:
                for fault in schedule.faults:
                    group.create_task(account.meet(fault))
                group.create_task(asyncio.sleep(schedule.seconds))
            await account.finish()
            store.tell(None)
            return await store.heard(), account.reports
    finally:
        for place in account.places:
            await place.kill()
        store.signal(signal.SIGKILL)
        await store.ended()
        redis.kill()
