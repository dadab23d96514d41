"""
Imports whose answers are lost and whose processes die, settled and resumed until nothing is left.

The law: every row is in the store exactly once, and a row with a user name and a text of its own is not left in doubt.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from neto_async import AsyncNetoClient
from neto_async.sandbox import NetoSandbox, ReadBack, faults

KILLS = 6

SETTLER = Path(__file__).with_name("settler.py")


def rows_of(count: int) -> list[dict[str, str]]:
    return [{"username": f"customer {place % 23}", "notes": f"order {place}"} for place in range(count)]


@pytest.mark.parametrize(
    ("seed", "count", "alters"),
    [
        (1, 300, ReadBack()),
        pytest.param(2, 3000, ReadBack(), marks=pytest.mark.thorough),
        pytest.param(3, 1000, ReadBack(trims=True, strips_tags=True, short_pages=True), marks=pytest.mark.thorough),
    ],
)
async def test_one_answer_in_ten_is_lost(tmp_path, seed, count, alters):
    """Lost before or after saving, import after import: the store ends with each row once, and nothing in doubt."""
    draw = random.Random(seed)
    rows, journal = rows_of(count), tmp_path / "journal"
    lost = (faults.Reset(saves=True), faults.Reset(), faults.Status(502, saves=True), faults.Status(504))
    doubted = 0
    async with (
        NetoSandbox(requests_per_minute=None, read_back=alters) as store,
        AsyncNetoClient(
            store.url,
            username=store.username,
            api_key=store.api_key,
            requests_per_minute=None,
            batch_size=10,
        ) as neto,
    ):
        for _ in range(20):
            calls = count // 10 + 2
            store.faults.next(None, *(draw.choice(lost) if draw.random() < 0.1 else None for _ in range(calls)))
            async with neto.import_customer_logs(rows, journal=journal) as run:
                progress = await run.finish()
            store.faults.clear()
            doubted += progress.unknown
            report = await neto.reconcile(journal=journal, source=rows, sole_writer=True, settle_after=0)
            assert () == report.unknown
            if progress.complete and progress.added + len(report.added) == count:
                break
        saved = Counter(log.notes for log in store.logs)

    assert dict.fromkeys((row["notes"] for row in rows), 1) == saved
    assert doubted


@pytest.mark.thorough
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, pytest.param(0, marks=pytest.mark.slow)])
async def test_killed_at_random_instants_while_importing_and_settling(tmp_path, seed):
    """Processes die at any moment, while answers are lost: the last one leaves each row in the store once."""
    draw = random.Random(seed)
    rows = rows_of(200)
    killed = 0
    async with NetoSandbox(requests_per_minute=None) as store:
        order = {
            "url": store.url,
            "settings": {"username": store.username, "api_key": store.api_key},
            "rows": rows,
            "journal": str(tmp_path / "journal"),
        }
        for attempt in range(20):
            store.faults.clear()
            if attempt < KILLS:
                store.faults.next(None, *draw.choices((faults.Reset(), faults.Reset(saves=True), *[None] * 4), k=30))
            code, result = await settled(order, store, draw.randint(1, 12) if attempt < KILLS else None)
            killed += code == -signal.SIGKILL
            if result == {"added": len(rows), "unknown": 0}:
                break
        saved = Counter(log.notes for log in store.logs)

    assert killed > 2
    assert dict.fromkeys((row["notes"] for row in rows), 1) == saved


async def settled(order: dict[str, Any], store: NetoSandbox, calls: int | None) -> tuple[int, dict[str, int] | None]:
    """Import and settle in a process, which is killed when the store has had so many more calls."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, SETTLER), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    ending = asyncio.ensure_future(process.communicate(json.dumps(order).encode()))
    if calls is not None:
        until = store.call_count + calls
        reached = asyncio.ensure_future(store.until(lambda: store.call_count >= until))
        await asyncio.wait((ending, reached), return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    said, _ = await ending
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode, json.loads(said) if process.returncode == 0 else None
