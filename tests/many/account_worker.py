"""
A process of the account: it adds single logs and takes part in imports, and writes what it learned of each record.

It says that it has begun. Told a number it sets its clock ahead of the right time by so many seconds. It adds single
logs until it is told None, and ends once every import has come to its end here.
What it says is one line of JSON each, written at once, so that what it said before it is killed is known.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from contextlib import suppress
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from typing import Any

import planted

from neto_async import AsyncNetoClient, ConfigurationError, NetoError
from neto_async.integrations import redis as redis_quota
from neto_async.integrations.redis import RedisQuota
from neto_async.journals import postgres as postgres_journal
from neto_async.journals.postgres import PostgresJournal
from neto_async.sending.clock import LoopClock

TIME_OF_DAY = time.time
"""The machine's own, which the laws compare with the store's."""


class Clocks(LoopClock):
    """
    The clocks of the process, as the schedule sets them. These are all that the library reads.

    * The time of day, which anybody can set: for moments that people read, and that are compared with the store's
      headers. Quota and journal must not need it: they have the servers' clocks.
    * The time since the machine was started, with what it slept, which nobody can set. On each host it begins
      elsewhere, and where a machine has slept it is ahead of the loop's by that: mixing the two shows here.
    * The event loop's, which nobody can set, and which stops while a process is suspended with its machine.

    Attributes:
        ahead: Seconds by which the time of day is wrong.
    """

    def __init__(self, ahead: float, started: float) -> None:
        self.ahead = ahead
        since_start = redis_quota.boot_time
        redis_quota.boot_time = postgres_journal.boot_time = lambda: since_start() + started  # type: ignore[attr-defined]
        time.time = self.time_of_day

    def time_of_day(self) -> float:
        return TIME_OF_DAY() + self.ahead

    def utcnow(self) -> datetime:
        return datetime.fromtimestamp(self.time_of_day(), timezone.utc)


class Worker:
    """One process, as `given` by the schedule."""

    def __init__(self, told: Connection, given: dict[str, Any]) -> None:
        self.told = told
        self.given = given
        self.clocks = Clocks(given["ahead"], given["started"])
        self.ending = asyncio.Event()
        self.draw = random.Random(given["seed"])
        self.report = os.open(given["report"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(self, *what: Any) -> None:
        os.write(self.report, (json.dumps([*what, TIME_OF_DAY()]) + "\n").encode())

    async def run(self) -> None:
        given = self.given
        quota = RedisQuota(given["redis"], calls_per_minute=given["calls"], **given["times"])
        who = {"username": given["name"], "api_key": "sandbox-key"}
        sizes = {"batch_size": given["batch_size"], "max_concurrency": given["concurrency"], "timeout": 1.0}
        ours = {"quota": quota, "clock": self.clocks}
        async with AsyncNetoClient(given["url"], **who, **sizes, **ours) as neto, asyncio.TaskGroup() as group:
            for number in range(given["singles"]):
                group.create_task(self.add_singles(neto, number))
            group.create_task(self.import_all(neto))
            self.told.send("begun")
            while (ahead := await asyncio.to_thread(self.told.recv)) is not None:
                self.clocks.ahead = ahead
            self.ending.set()
        self.say("ended")

    # -- single adds ----------------------------------------------------------------------------------------------

    async def add_singles(self, neto: AsyncNetoClient, number: int) -> None:
        count = 0
        while not self.ending.is_set():
            count += 1
            text = f"{self.given['name']}/{number}/{count}"
            self.say("submitted", text)
            try:
                added = await neto.add_customer_log({"notes": text}, give_up_after=self.draw.choice([1.0, 5.0, 30.0]))
            except NetoError as error:
                self.say("single", text, type(error.outcome).__name__, 0)
            else:
                self.say("single", text, "Added", added.log_id)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), self.draw.random() * 0.1)

    # -- imports --------------------------------------------------------------------------------------------------

    async def import_all(self, neto: AsyncNetoClient) -> None:
        left = dict(self.given["imports"])
        runs = 0
        while left:
            runs += 1
            name = self.draw.choice(list(left))
            self.say("began", name, runs)
            try:
                complete = await self.bring(neto, name, left[name], runs)
            except (NetoError, ConfigurationError) as error:
                complete = False
                self.say("broke", name, runs, type(error).__name__)
                await asyncio.sleep(0.1)
            if complete:
                self.say("complete", name, runs)
                del left[name]

    async def bring(self, neto: AsyncNetoClient, name: str, rows: int, run_number: int) -> bool:
        given = self.given
        journal = PostgresJournal(given["postgres"], name, schema=given["schema"], lease=given["lease"])
        source = ({"notes": f"{name}/{index}"} for index in range(rows))
        async with neto.import_customer_logs(source, journal=journal, give_up_after=given["patience"]) as run:
            async for outcome in run:
                log_id = getattr(outcome, "log_id", 0)
                self.say("row", name, run_number, outcome.index, type(outcome).__name__, log_id)
        return run.progress.complete


def main(told: Connection, given: dict[str, Any]) -> None:
    redis_quota.END_WITHIN = 0.1
    planted.plant(given["planted"])
    asyncio.run(Worker(told, given).run())
