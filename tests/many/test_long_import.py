"""
A long import by several workers that are killed all the time, and what becomes of each of its rows.

``NETO_ASYNC_TEST_ROWS=1000000`` takes more rows; with ``--junitxml=FILE`` that says the counts, seconds and memory.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
import uuid
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from typing import Any

import account_store
import long_worker
import pytest
from attrs import define, field
from long_worker import Rows
from schedules import Process

ROWS = int(os.environ.get("NETO_ASYNC_TEST_ROWS", "20000"))
ROWS_OF_AN_IMPORT = min(25_000, ROWS // 4)
WORKERS = 4
LIVES = 2.0
"""Seconds for which a worker goes on after its first row, at most. Before it no worker is killed, so all come on."""


@define(eq=False)
class LongImport:
    """
    Imports of one account, by workers without a quota.

    Attributes:
        came_to: What was last said of each import: counts of outcomes, and the id of each row, 0 without one.
        most: Memory of a process, in MB.
    """

    given: dict[str, Any]
    draw: random.Random = field(factory=lambda: random.Random(1))
    came_to: dict[str, tuple[Counter[str], dict[int, int]]] = field(factory=dict)
    most: float = 0.0
    kills: int = 0

    async def listen(self, process: Process, *, killed: bool) -> None:
        """Take in what a process says, until it has ended."""
        killing = None
        with suppress(EOFError):
            while True:
                said = await process.heard()
                if said is not None:
                    name, counts, ids, most = said
                    self.came_to[name] = counts, ids
                    self.most = max(self.most, most)
                elif killed:
                    killing = asyncio.create_task(self.kill(process, self.draw.random() * LIVES))
        await process.ended()
        if killing is not None:
            killing.cancel()

    async def kill(self, process: Process, after: float) -> None:
        await asyncio.sleep(after)
        process.signal(signal.SIGKILL)
        self.kills += 1

    async def work(self, number: int) -> None:
        """Have a worker at a place, and another one whenever it was killed, until all imports are complete."""
        while left := [rows for rows in self.given["imports"] if rows.name not in self.came_to]:
            given = {**self.given, "imports": left, "seed": f"{number} {self.kills}"}
            process = await asyncio.to_thread(Process, long_worker.bringing, given)
            await self.listen(process, killed=True)

    async def run(self, main: Any) -> Counter[str]:
        """Have a process do something with all imports; give the counts that it came to."""
        self.came_to.clear()
        await self.listen(await asyncio.to_thread(Process, main, {**self.given, "seed": ""}), killed=False)
        return self.counts

    @property
    def counts(self) -> Counter[str]:
        assert {rows.name for rows in self.given["imports"]} == set(self.came_to)
        return sum((counts for counts, _ in self.came_to.values()), Counter[str]())


@pytest.mark.slow
async def test_each_row_is_added_once_by_workers_that_are_killed(postgres: Any, record_property: Any):
    """
    Each row is added by one worker, or in doubt; what is in doubt can be settled, and then each row is there once.

    Nothing is added twice on the way, and each id is that of its row.
    """
    store = await asyncio.to_thread(Process, account_store.main, None, 1.0, 1)
    imports = [Rows(f"import {number}", ROWS_OF_AN_IMPORT) for number in range(ROWS // ROWS_OF_AN_IMPORT)]
    given = {
        "url": await store.heard(),
        "postgres": postgres.conninfo,
        "schema": f"account {uuid.uuid4()}",
        "lease": 2.0,
        "imports": imports,
    }
    account = LongImport(given)
    try:
        times = [time.monotonic()]
        await asyncio.gather(*map(account.work, range(WORKERS)))
        times.append(time.monotonic())
        brought, most_bringing, account.most = account.counts, account.most, 0.0
        settled = await account.run(long_worker.settling)
        times.append(time.monotonic())
        most_settling = account.most
        ended = await account.run(long_worker.bringing)
        store.tell(None)
        ledger = await store.heard()
    finally:
        store.signal(signal.SIGKILL)
        await store.ended()

    saved = {log_id: text for log_id, text, _, _ in ledger["logs"]}
    said = {log_id: rows.text(index) for rows in imports for index, log_id in account.came_to[rows.name][1].items()}
    took = [round(after - before) for before, after in pairwise(times)]
    came_to = (
        f"{len(saved)} rows, {account.kills} kills: {dict(brought)} in {took[0]} s, {most_bringing:.0f} MB; "
        f"settled: {dict(settled)} in {took[1]} s, {most_settling:.0f} MB; then {dict(ended)}"
    )
    record_property("came to", came_to)
    surplus = Counter(saved.values())
    surplus.subtract(rows.text(index) for rows in imports for index in range(rows.count))
    assert {} == {text: count for text, count in surplus.items() if count}
    assert {"Added", "Unknown"} == set(brought)
    assert brought["Unknown"] == settled.total()
    assert len(saved) == ended["Added"] == ended.total()
    assert set() == saved.items() ^ said.items()
