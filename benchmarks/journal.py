"""What does surviving a crash cost? An import with a journal beside the same import without."""

from __future__ import annotations

import asyncio
import inspect
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.clients import count_added, open_client
from benchmarks.measuring import Answer, Target, take_turns
from benchmarks.records import stream_rows
from benchmarks.store import running_store
from neto_async import AsyncNetoClient


def measure(*, quick: bool) -> list[Answer]:
    """Import in JSON over httpx, each time with a new journal; nothing where there are no journals."""
    if "journal" not in inspect.signature(AsyncNetoClient.import_customer_logs).parameters:
        return []
    with running_store() as address, tempfile.TemporaryDirectory() as folder:
        return [asyncio.run(measure_in(Path(folder), address, *((400, 1) if quick else (100_000, 7))))]


async def measure_in(folder: Path, address: str, records: int, rounds: int) -> Answer:
    """Measure records a second on the wall, since a journal waits for the disk."""
    numbers = count()

    def new_journal() -> dict[str, Any]:
        return {"journal": folder / f"{next(numbers)}.db"}

    async with open_client(address) as neto:
        samples = await take_turns(
            {
                "with a journal": throughput(neto, records, new_journal),
                "without": throughput(neto, records, dict),
            },
            rounds,
        )
    return Answer(
        title=f"Import {records} records in JSON",
        unit="records a second on the wall",
        samples=samples,
        targets=[Target(what="with a journal", ours="with a journal", peer="without", limit=0.8, at_least=True)],
    )


def throughput(
    neto: AsyncNetoClient, records: int, options: Callable[[], dict[str, Any]]
) -> Callable[[], Awaitable[float]]:
    """Make a candidate that gives records a second."""

    async def run() -> float:
        began = time.perf_counter()
        if await count_added(neto, stream_rows(records), **options()) != records:
            raise RuntimeError("not every record was added")
        return records / (time.perf_counter() - began)

    return run
