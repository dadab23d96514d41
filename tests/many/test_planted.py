"""Faults that are planted in quota and journal: the laws find each, or they would prove nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from laws import BrokenLawError, check
from schedules import CALLS, HOLD, LEASE, LONG_LEASE, WINDOW, Fault, Schedule, play

SHOWN_BY = {
    "no_fence": ("once", "suspend an importer", LEASE + 0.5, LEASE),
    "no_hold": ("window", "empty Redis", 0.1, LEASE),
    "freed_at_the_reply": ("window", "kill a worker", 0.1, LEASE),
    "used_late": ("window", "suspend all but one", HOLD + 0.5, LONG_LEASE),
    "clock_of_the_worker": ("window", "set the clock of a worker", LEASE + 0.5, LEASE),
}
"""For each fault of `planted.py`: the law that it breaks, what shows it, its seconds, and the lease of journals."""


def showing(planted: str, seed: int) -> Schedule:
    """Give a schedule that has the same fault three times."""
    _, name, lasts, lease = SHOWN_BY[planted]
    shown = {"name": name, "lasts": lasts, "delivers": True, "ahead": 0.6}
    faults = [Fault(at=1.5 + (lasts + 1.5) * n, worker=n, **shown) for n in range(3)]
    return Schedule(seed, 5, {"import 0": 400}, 1.5 + 3 * (lasts + 1.5), tuple(faults), lease)


async def came_to(schedule: Schedule, postgres: Any, folder: Path, planted: str | None) -> None:
    """Play a schedule, and check the laws."""
    ledger, reports = await play(schedule, postgres, folder, planted=planted)
    check(ledger, reports, schedule.imports, calls=CALLS, window=WINDOW)


@pytest.mark.slow
@pytest.mark.parametrize("planted", SHOWN_BY)
async def test_a_planted_fault_is_found(postgres: Any, tmp_path: Path, planted: str):
    """
    Without the fence, the hold, the window after the end, a grant's age, or the server's clock, a law is broken.

    How fast the machine is decides what a schedule meets, so it is played up to five times.
    """
    found = []
    for seed in range(5):
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            await came_to(showing(planted, seed), postgres, folder, planted)
        except BrokenLawError as error:
            found.append(str(error))
            break
    assert [SHOWN_BY[planted][0]] == [text.split(":")[0] for text in found]


@pytest.mark.slow
@pytest.mark.parametrize("planted", SHOWN_BY)
async def test_without_it_the_laws_hold(postgres: Any, tmp_path: Path, planted: str):
    """It is the planted fault that is found: without it the same schedule breaks no law."""
    await came_to(showing(planted, 0), postgres, tmp_path, None)
