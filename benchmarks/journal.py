"""What does surviving a crash cost? An import with a journal, in a file or in PostgreSQL, beside the same without."""

from __future__ import annotations

import asyncio
import inspect
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.clients import count_added, open_client
from benchmarks.measuring import Answer, Target, take_turns
from benchmarks.records import stream_rows
from benchmarks.servers import NO_POSTGRESQL, find_postgresql, running_postgresql
from benchmarks.store import running_store
from neto_async import AsyncNetoClient

ASKED = {"with a journal": 0.8, "with a journal in PostgreSQL": 0.7}

Options: TypeAlias = Callable[[], dict[str, Any]]


def measure(*, quick: bool) -> list[Answer]:
    """Import in JSON over httpx, each time with a new journal; nothing where there are no journals."""
    if "journal" not in inspect.signature(AsyncNetoClient.import_customer_logs).parameters:
        return []
    programs = find_postgresql()
    with ExitStack() as stack:
        address = stack.enter_context(running_store())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        conninfo = stack.enter_context(running_postgresql(programs)) if programs else None
        candidates = new_journals(folder, conninfo) | {"without": dict}
        return [asyncio.run(measure_with(candidates, address, *((400, 1) if quick else (100_000, 7))))]


def new_journals(folder: Path, conninfo: str | None) -> dict[str, Options]:
    """Say how each kind of journal is asked for; each import gets a new one."""
    numbers = count()
    journals: dict[str, Options] = {"with a journal": lambda: {"journal": folder / f"{next(numbers)}.db"}}
    if conninfo is not None:
        from neto_async.journals.postgres import PostgresJournal  # noqa: PLC0415 - an extra

        journals["with a journal in PostgreSQL"] = lambda: {"journal": PostgresJournal(conninfo, f"{next(numbers)}")}
    return journals


async def measure_with(candidates: Mapping[str, Options], address: str, records: int, rounds: int) -> Answer:
    """Measure records a second on the wall, since a journal waits for the disk."""
    async with open_client(address) as neto:
        samples = await take_turns(
            {name: throughput(neto, records, options) for name, options in candidates.items()}, rounds
        )
    return Answer(
        title=f"Import {records} records in JSON",
        unit="records a second on the wall",
        samples=samples,
        targets=[
            Target(what=name, ours=name, peer="without", limit=limit, at_least=True)
            for name, limit in ASKED.items()
            if name in candidates
        ],
        left_out={name: NO_POSTGRESQL for name in ASKED if name not in candidates},
    )


def throughput(neto: AsyncNetoClient, records: int, options: Options) -> Callable[[], Awaitable[float]]:
    """Make a candidate that gives records a second."""

    async def run() -> float:
        began = time.perf_counter()
        if await count_added(neto, stream_rows(records), **options()) != records:
            raise RuntimeError("not every record was added")
        return records / (time.perf_counter() - began)

    return run
