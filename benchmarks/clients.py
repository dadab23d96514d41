"""The library under test, opened for a benchmark. May import: the package's public names."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from neto_async import AsyncNetoClient, Outcome

# That a run was left early is no news here.
logging.getLogger("neto_async").setLevel(logging.ERROR)


def open_client(address: str, **settings: Any) -> AsyncNetoClient:
    """Open a client without a limit on calls a minute, unless one is given."""
    return AsyncNetoClient(address, **({"api_key": "key", "username": "bench", "requests_per_minute": None} | settings))


async def import_all(neto: AsyncNetoClient, rows: Iterable[Mapping[str, Any]], **options: Any) -> list[Outcome]:
    """Import rows and keep every outcome."""
    async with neto.import_customer_logs(rows, **options) as run:
        return [outcome async for outcome in run]


async def count_added(neto: AsyncNetoClient, rows: Iterable[Mapping[str, Any]], **options: Any) -> int:
    """Import rows, drop each outcome, and give the number added."""
    async with neto.import_customer_logs(rows, **options) as run:
        async for _ in run:
            pass
        return run.progress.added
