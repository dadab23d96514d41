"""Processes of one account, whatever happens to them and to their servers: what did the store save, and when?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from laws import check
from schedules import CALLS, WINDOW, drawn, play

MORE = [pytest.param(seed, marks=pytest.mark.thorough) for seed in (1, 2, 3, 4)]
MANY = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(10, 210)]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [0, *MORE, *MANY])
async def test_what_holds_after_a_schedule(postgres: Any, tmp_path: Path, seed: int, record_property: Any):
    """
    No window at the store exceeds the quota, each reported outcome is true, nothing is added twice, nothing is lost.

    Single adds and imports of several processes, which are killed and suspended, have their clocks set, and are cut off
    from servers that are killed, restarted and emptied. What is in doubt is named.
    """
    schedule = drawn(seed)
    ledger, reports = await play(schedule, postgres, tmp_path)
    record_property("came to", check(ledger, reports, schedule.imports, calls=CALLS, window=WINDOW))
