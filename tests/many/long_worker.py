"""
Processes of a long import: some bring its rows and are killed, and one settles what is in doubt.

Each says what it came to, an import at a time, with the most memory that it has had in MB.
"""

from __future__ import annotations

import asyncio
import random
import resource
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from attrs import frozen

from neto_async import AsyncNetoClient, ConfigurationError, NetoError
from neto_async.journals.postgres import PostgresJournal

ROWS_OF_A_CUSTOMER = 20


@frozen
class Rows:
    """The rows of an import, made anew each time that they are read."""

    name: str
    count: int

    def text(self, index: int) -> str:
        return f"{self.name}/{index}"

    def __iter__(self) -> Iterator[dict[str, str]]:
        for index in range(self.count):
            yield {"username": f"{self.name} {index // ROWS_OF_A_CUSTOMER}", "notes": self.text(index)}


def client(given: dict[str, Any]) -> AsyncNetoClient:
    return AsyncNetoClient(given["url"], username="worker", api_key="sandbox-key", requests_per_minute=None)


def journal_of(given: dict[str, Any], name: str) -> PostgresJournal:
    return PostgresJournal(given["postgres"], name, schema=given["schema"], lease=given["lease"])


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def bring(told: Connection, given: dict[str, Any]) -> None:
    """Bring imports to their end, whichever nobody else is busy with; say once that a row was sent."""
    draw = random.Random(given["seed"])
    left = {rows.name: rows for rows in given["imports"]}
    has_sent = False
    async with client(given) as neto:
        while left:
            rows = draw.choice(list(left.values()))
            counts: Counter[str] = Counter()
            ids: dict[int, int] = {}
            try:
                async with neto.import_customer_logs(rows, journal=journal_of(given, rows.name)) as run:
                    async for outcome in run:
                        counts[type(outcome).__name__] += 1
                        ids[outcome.index] = getattr(outcome, "log_id", 0)
                        if not (has_sent or outcome.replayed):
                            told.send(None)
                            has_sent = True
            except (NetoError, ConfigurationError):  # another process has it, or has taken it over
                await asyncio.sleep(0.05)
                continue
            if run.progress.complete:
                del left[rows.name]
                told.send((rows.name, counts, ids, memory()))


async def settle(told: Connection, given: dict[str, Any]) -> None:
    """Settle all doubts."""
    async with client(given) as neto:
        for rows in given["imports"]:
            settling = neto.reconcile(
                journal=journal_of(given, rows.name), source=rows, sole_writer=True, settle_after=1.0, wait=True
            )
            outcomes = (await settling).outcomes
            told.send((rows.name, Counter(type(outcome).__name__ for outcome in outcomes), {}, memory()))


def bringing(*given: Any) -> None:
    asyncio.run(bring(*given))


def settling(*given: Any) -> None:
    asyncio.run(settle(*given))
