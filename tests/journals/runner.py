"""An import with a journal in PostgreSQL that writes what became of each row: a process for tests to kill."""

from __future__ import annotations

import asyncio
import json
import sys

from neto_async import AsyncNetoClient, NetoError
from neto_async.journals.postgres import PostgresJournal


def say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def bring(neto: AsyncNetoClient, journal: PostgresJournal, rows: int) -> str | None:
    try:
        async with neto.import_customer_logs(({"Notes": str(row)} for row in range(rows)), journal=journal) as run:
            async for outcome in run:
                say([outcome.index, type(outcome).__name__])
    except NetoError as error:
        return type(error).__name__
    return None


async def main(settings: dict[str, str], rows: int, lease: float) -> None:
    journal = PostgresJournal(settings["conninfo"], "june", schema=settings["schema"], lease=lease)
    who = {"username": settings["username"], "api_key": settings["key"]}
    async with AsyncNetoClient(settings["url"], **who, batch_size=5, requests_per_minute=None) as neto:
        error = "JournalInUseError"
        while error == "JournalInUseError":
            error = await bring(neto, journal, rows)
    say(error)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
