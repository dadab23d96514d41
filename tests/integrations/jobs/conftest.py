"""A PostgreSQL server, and in it a database for each test, with Procrastinate's tables and an app."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from attrs import Factory, define

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[2] / "journals")]

from importing import BACKGROUND, make
from procrastinate import App  # noqa: TC002 - attrs resolves it

from neto_async.integrations.procrastinate import PUT_BACK, TASK, ImportJobs, ImportState, ImportStatus
from neto_async.sandbox import NetoSandbox

databases = itertools.count()


@define
class Service:
    """A web process and its workers: an app, its imports, the store and an upload of 30 rows."""

    store: NetoSandbox
    settings: dict[str, str]
    app: App
    imports: ImportJobs
    upload: str
    rows: int = 30
    processes: list[asyncio.subprocess.Process] = Factory(list)

    def write(self, rows: list[str]) -> None:
        """Write the upload."""
        Path(self.upload).write_text("\n".join(rows), encoding="utf-8")

    async def work(self, app: App | None = None, **options: Any) -> None:
        """Run a worker until nothing more is to be done now."""
        once = {"wait": False, "install_signal_handlers": False, "listen_notify": False}
        await (app or self.app).run_worker_async(**once, **options)

    def worker(self, app: App | None = None, **options: Any) -> asyncio.Task[None]:
        """Run a worker in the background."""
        running = (app or self.app).run_worker_async(install_signal_handlers=False, **{**BACKGROUND, **options})
        return asyncio.create_task(running)

    async def process(self) -> asyncio.subprocess.Process:
        """Start a worker in a process of its own."""
        program = [sys.executable, str(Path(__file__).with_name("importing.py")), json.dumps(self.settings)]
        self.processes.append(await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE))
        return self.processes[-1]

    def bury(self) -> None:
        """Let no worker have been heard of for long."""
        self.sql("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 hour'")

    async def put_back(self) -> None:
        """Take every worker for dead, and do what is done about it once a minute."""
        self.bury()
        await self.app.configure_task(PUT_BACK).defer_async(timestamp=0)
        await self.work(concurrency=1)

    async def until(self, state: ImportState, name: str = "june") -> ImportStatus:
        """Wait until an import is so far."""
        while (status := await self.status(name)).state is not state:
            pass
        return status

    async def status(self, name: str = "june") -> ImportStatus:
        status = await self.imports.status(name)
        assert status is not None
        return status

    def lapse(self) -> None:
        """Let the time of every lease pass, on the server alone."""
        self.sql("UPDATE neto_async.journal SET lease_until = now() - interval '1 s'")

    def at_once(self) -> None:
        """Let no job wait until it is tried again."""
        self.sql("UPDATE procrastinate_jobs SET scheduled_at = NULL")

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings["conninfo"], autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def jobs(self) -> list[tuple[Any, ...]]:
        """Give the state of each job of an import, and how often it was tried."""
        return self.sql(f"SELECT status, attempts FROM procrastinate_jobs WHERE task_name = '{TASK}' ORDER BY id")

    def saved(self) -> Counter[str]:
        """Give how often each row is in the store."""
        return Counter(log.notes or "" for log in self.store.logs)

    def check(self, status: ImportStatus) -> None:
        """Compare the numbers with what the store saved: each row once at most, and no doubt about the others."""
        saved = self.saved()
        assert {1} == set(saved.values())
        assert self.rows == status.progress.added + status.progress.unknown
        assert status.progress.added <= len(saved) <= status.progress.added + status.progress.unknown


def new_database(server: Any) -> str:
    """Make a database, and say how to connect to it."""
    name = f"jobs{next(databases)}"
    server.sql(f"CREATE DATABASE {name}")
    return server.conninfo.replace("dbname=postgres", f"dbname={name}")


@pytest.fixture
def empty_database(server: Any) -> str:
    """Give a database without tables."""
    return new_database(server)


@pytest.fixture
async def service(store: NetoSandbox, server: Any, tmp_path: Path) -> AsyncIterator[Service]:
    settings = {
        "url": store.url,
        "username": store.username or "",
        "key": store.api_key,
        "conninfo": new_database(server),
    }
    app, imports = make(settings)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await imports.create_table()
        service = Service(store, settings, app, imports, str(tmp_path / "upload.txt"))
        service.write([f"row {number}" for number in range(service.rows)])
        yield service
        for process in service.processes:
            if process.returncode is None:
                process.kill()
                await process.communicate()
