"""An app of Procrastinate with imports, as a web process and its workers have it; run as a program, it is a worker."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from procrastinate import App, PsycopgConnector

from neto_async import AsyncNetoClient
from neto_async.integrations.procrastinate import ImportJobs, Upload
from neto_async.journals.postgres import PostgresJournal

BATCH = 5
HASTY: dict[str, Any] = {
    "batch_size": BATCH,
    "max_concurrency": 2,
    "requests_per_minute": None,
    "give_up_after": 0.1,
}
BACKGROUND: dict[str, Any] = {
    "shutdown_graceful_timeout": 0,
    "fetch_job_polling_interval": 0.05,
    "abort_job_polling_interval": 0.05,
}
NEVER = "0 0 29 2 *"


@asynccontextmanager
async def open_upload(path: str) -> AsyncIterator[Upload]:
    """Open a file with one text a line."""
    lines = await asyncio.to_thread(Path(path).read_text, encoding="utf-8")
    yield Upload(rows=({"Notes": line} for line in lines.splitlines()), total=30)


def make(settings: dict[str, str], **other: Any) -> tuple[App, ImportJobs]:
    """Make an app and its imports."""

    def make_client() -> AsyncNetoClient:
        who = {"username": settings["username"], "api_key": settings["key"]}
        return AsyncNetoClient(settings["url"], **who, **HASTY)

    def make_journal(name: str) -> PostgresJournal:
        return PostgresJournal(settings["conninfo"], name)

    app = App(connector=PsycopgConnector(conninfo=settings["conninfo"], min_size=1, max_size=2))
    given = {"make_client": make_client, "make_journal": make_journal, "open_upload": open_upload, "put_back_at": NEVER}
    return app, ImportJobs(app, **{**given, **other})


async def main(settings: dict[str, str]) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    app, _ = make(settings)
    async with app.open_async():
        await app.run_worker_async(**BACKGROUND)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
