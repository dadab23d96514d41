"""A service as it is run: in a process of its own, from the project's folder, for a store in the test."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import httpx
from attrs import define, field

from neto_async.sandbox import NetoSandbox

ROOT = Path(__file__).parents[2]
READY = "unning on http"
"""What both servers print when they serve, before the rest of the address."""


@define(eq=False)
class Service:
    """A service in a process; it can be ended and started again, at the same address and with the same folder."""

    store: NetoSandbox
    folder: Path
    settings: dict[str, str] = field(factory=dict)
    port: int = 0
    process: asyncio.subprocess.Process | None = None
    said: list[str] = field(factory=list)  # by all of its processes
    _reader: asyncio.Task[None] | None = None
    _http: list[httpx.AsyncClient] = field(factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def http(self) -> httpx.AsyncClient:
        """A client of the service, for the life of one of its processes."""
        return self._http[-1]

    def words(self, app: str) -> list[str]:
        """Give the command's words after the interpreter."""
        return ["-m", "uvicorn", app, f"--port={self.port}", "--timeout-graceful-shutdown=5", "--no-access-log"]

    async def start(self, app: str = "examples.fastapi_service.app:app") -> None:
        """Start a process, and wait until it serves."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NETO_")}
        environment |= {
            "NETO_STORE_URL": self.store.url,
            "NETO_USERNAME": self.store.username or "",
            "NETO_API_KEY": self.store.api_key,
            "IMPORTS": str(self.folder),
            "PYTHONUNBUFFERED": "1",
            **self.settings,
        }
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, *self.words(app)), cwd=ROOT, env=environment, stdout=PIPE, stderr=STDOUT
        )
        serving = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(self.process, serving))
        async with asyncio.timeout(30):
            self.port = await serving
        self._http.append(httpx.AsyncClient(base_url=self.url, timeout=30))

    async def _read(self, process: asyncio.subprocess.Process, serving: asyncio.Future[int]) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.said.append(line.decode())
            if READY in self.said[-1] and not serving.done():
                serving.set_result(int(self.said[-1].partition(READY)[2].split()[0].rpartition(":")[2]))
        if not serving.done():
            serving.set_exception(RuntimeError("".join(self.said)))

    async def stopped_taking(self) -> None:
        """Wait until its port is closed: it has heard the signal, and begun to end."""
        with suppress(ConnectionRefusedError):
            while True:
                with suppress(ConnectionResetError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    await writer.wait_closed()

    async def end(self, number: int = signal.SIGTERM) -> int | None:
        """Send a signal, wait for the end, and give its code."""
        assert self.process is not None
        assert self._reader is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(30):
            await self.process.wait()
            await self._reader
        for client in self._http:
            await client.aclose()
        return self.process.returncode

    # -- what a person does -------------------------------------------------------------------------------------

    async def upload(self, name: str, content: bytes | str, **options: Any) -> httpx.Response:
        return await self.http.post("/imports", params={"name": name, **options}, content=content)

    async def statuses(self, job: str) -> AsyncGenerator[dict[str, Any], None]:
        """Give what the event stream tells, until it ends."""
        async with self.http.stream("GET", f"/imports/{job}/events") as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                if line:
                    yield json.loads(line.removeprefix("data: "))

    async def settled(self, job: str) -> dict[str, Any]:
        """Watch an import to its end."""
        async with asyncio.timeout(40), aclosing(self.statuses(job)) as statuses:
            return [status async for status in statuses][-1]


def table(rows: int) -> str:
    """Make a CSV file of so many rows, each with a note of its own."""
    return "Notes,Username\n" + "".join(f"row {row},ann\n" for row in range(rows))


def saved(store: NetoSandbox) -> Counter[str]:
    """Count how often each note is in the store."""
    return Counter(log.notes or "" for log in store.logs)
