"""Do memory and CPU time stay flat? Imports of three lengths, each in a fresh process, their outcomes dropped."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from pathlib import Path

from attrs import frozen

from benchmarks.clients import count_added, open_client
from benchmarks.measuring import Answer, Target, in_fresh_process
from benchmarks.records import stream_rows
from benchmarks.store import running_store

SHORT, MIDDLE, LONG = (10_000, 100_000, 1_000_000)


@frozen
class Taken:
    """What one import took: seconds of CPU time, and MB of memory at its peak, interpreter and libraries included."""

    cpu: float
    peak: float


def measure(*, quick: bool) -> list[Answer]:
    """Import from a generator and count the outcomes."""
    lengths, rounds = ((200, 400, 600), 1) if quick else ((SHORT, MIDDLE, LONG), 3)
    names = [f"{length:,} records" for length in lengths]
    taken: dict[str, list[Taken]] = {name: [] for name in names}
    with running_store() as address:
        for _ in range(rounds):
            for name, length in zip(names, lengths, strict=True):
                taken[name].append(in_fresh_process(import_many, address, length))
    short, middle, long = names
    return [
        Answer(
            title="Peak memory of the whole process",
            unit="MB",
            samples={name: [one.peak for one in several] for name, several in taken.items()},
            targets=[Target(what="memory: 1,000,000 over 10,000", ours=long, peer=short, limit=1.1)],
        ),
        Answer(
            title="CPU time of the import",
            unit="s",
            samples={name: [one.cpu for one in several] for name, several in taken.items()},
            targets=[Target(what="growth: CPU of 1,000,000 over 100,000", ours=long, peer=middle, limit=10.5)],
        ),
    ]


def import_many(address: str, records: int) -> Taken:
    """Import so many records, and drop each outcome once it is counted."""
    cpu = time.process_time()
    counted = asyncio.run(_import(address, records))
    if counted != records:
        raise RuntimeError(f"{counted} of {records} records were added")
    return Taken(cpu=time.process_time() - cpu, peak=peak_memory())


async def _import(address: str, records: int) -> int:
    async with open_client(address) as neto:
        return await count_added(neto, stream_rows(records))


def peak_memory() -> float:
    """Give the peak of this process in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage starts from what the parent had before exec.
        (line,) = (line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
