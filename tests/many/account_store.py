"""
The account's store, a process of its own: its window is strict, and its ledger says which process made which call.

It says its address first. Told to end it says its ledger.
"""

from __future__ import annotations

import asyncio
import random
import time
from multiprocessing.connection import Connection
from typing import Any

from neto_async.sandbox import NetoSandbox, faults
from neto_async.sandbox.reading import SandboxRequest


async def keep(said: Connection, calls: int | None, window: float, seed: int) -> None:
    draw = random.Random(seed)
    made_by: dict[int, str | None] = {}

    def seldom(request: SandboxRequest) -> bool:
        made_by[request.number] = request.username
        return calls is not None and draw.random() < 0.005

    async with NetoSandbox(
        username=None,  # takes any: processes have one each
        requests_per_minute=calls,
        retry_after=1.0,
        clock=lambda: time.monotonic() * 60 / window,
        latency=lambda: draw.choice([0.0, 0.01, 0.1]) * draw.random(),
    ) as store:
        store.faults.when(seldom, faults.Reset(saves=True))
        store.faults.when(seldom, faults.Reset())
        said.send(store.url)
        await asyncio.to_thread(said.recv)
        made = [(call.received_at * window / 60, call.status, call.outcome) for call in store.calls]
        logs = [(log.log_id, log.notes, made_by.get(log.call), log.saved_at.timestamp()) for log in store.logs]
        said.send({"calls": made, "logs": logs})


def main(*given: Any) -> None:
    asyncio.run(keep(*given))
