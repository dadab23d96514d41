"""Import, settle or both, in a process of its own that the test may kill: ``python settler.py ORDER``."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from neto_async import AsyncNetoClient


async def work(order: dict[str, Any]) -> dict[str, int]:
    """Import what is left, then settle what is in doubt."""
    rows, journal = order["rows"], order["journal"]
    settings = {"requests_per_minute": None, "max_concurrency": 3, "batch_size": 10, **order["settings"]}
    async with AsyncNetoClient(order["url"], **settings) as neto:
        async with neto.import_customer_logs(rows, journal=journal) as run:
            progress = await run.finish()
        report = await neto.reconcile(journal=journal, source=rows, sole_writer=True, settle_after=0)
        return {"added": progress.added + len(report.added), "unknown": len(report.unknown)}


if __name__ == "__main__":
    json.dump(asyncio.run(work(json.load(sys.stdin))), sys.stdout)
