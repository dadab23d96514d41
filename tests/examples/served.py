"""A service for a store in the test: inside the test's loop over real sockets, or in a process as it is run."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from aiohttp import web
from attrs import define, field
from fastapi.routing import APIRoute

from examples import guard
from examples.aiohttp_service import app as aiohttp_app
from examples.fastapi_service import app as fastapi_app
from neto_async.sandbox import NetoSandbox, faults

ROOT = Path(__file__).parents[2]
READY = "Running on http"
"""What both servers print when they serve, before the rest of the address."""


@define(eq=False)
class Service:
    """What a person does with a service."""

    folder: Path
    port: int = 0
    _http: list[httpx.AsyncClient] = field(factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def http(self) -> httpx.AsyncClient:
        """A client of the service, since it was last started."""
        return self._http[-1]

    def serves_at(self, port: int) -> None:
        """Remember where it serves, and make a client."""
        self.port = port
        self._http.append(httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False))

    async def aclose(self) -> None:
        """Close the clients."""
        for client in self._http:
            await client.aclose()

    async def upload(self, name: str, content: bytes | str, **options: Any) -> httpx.Response:
        return await self.http.post("/imports", params={"name": name, **options}, content=content)

    async def statuses(self, job: str) -> AsyncGenerator[dict[str, Any], None]:
        """Give what the event stream says, until it ends."""
        async with self.http.stream("GET", f"/imports/{job}/events") as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                if line:
                    yield json.loads(line.removeprefix("data: "))

    async def settled(self, job: str) -> dict[str, Any]:
        """Watch an import to its end."""
        async with asyncio.timeout(40), aclosing(self.statuses(job)) as statuses:
            return [status async for status in statuses][-1]


@asynccontextmanager
async def serving(framework: str, folder: Path) -> AsyncIterator[Service]:
    """Run a service in this loop, under its own server; the environment names the store."""
    service = Service(folder)
    listener = guard.listening(0)
    try:
        async with AsyncExitStack() as stack:
            if framework == "aiohttp":
                runner = web.AppRunner(aiohttp_app.make_app(), access_log=None, shutdown_timeout=1)
                stack.push_async_callback(runner.cleanup)
                await runner.setup()
                await web.SockSite(runner, listener).start()
            else:
                options: dict[str, Any] = {"log_config": None, "timeout_graceful_shutdown": 1, "proxy_headers": False}
                config = uvicorn.Config(fastapi_app.app, **options)
                server = uvicorn.Server(config)
                stack.push_async_callback(stopped, server, asyncio.create_task(server.serve(sockets=[listener])))
            service.serves_at(listener.getsockname()[1])
            if framework == "fastapi":
                service.http.event_hooks = {"response": [is_declared]}
            # A connection waits in the listening socket until the server takes it.
            await service.http.get("/health")
            yield service
    finally:
        await service.aclose()
        listener.close()


async def is_declared(answer: httpx.Response) -> None:
    """Hold that OpenAPI lists the status of an answer of FastAPI's service, for whichever test it is."""
    schema, asked = fastapi_app.app.openapi(), answer.request
    for route in fastapi_app.app.routes:
        if isinstance(route, APIRoute) and asked.method in route.methods and route.path_regex.match(asked.url.path):
            if route.include_in_schema:
                assert str(answer.status_code) in schema["paths"][route.path][asked.method.lower()]["responses"]
            return


async def stopped(server: uvicorn.Server, running: asyncio.Task[None]) -> None:
    """End uvicorn."""
    server.should_exit = True
    await running


@define(eq=False)
class ServiceProcess(Service):
    """A service in a process; it can be ended and started again, at the same address and with the same folder."""

    store: NetoSandbox = field(kw_only=True)
    framework: str = field(kw_only=True)
    program: str = "app"
    settings: dict[str, str] = field(factory=dict)
    process: asyncio.subprocess.Process | None = None
    said: list[str] = field(factory=list)  # by all of its processes
    _reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start a process, and wait until it serves."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NETO_")}
        environment |= {**environment_of(self.store, self.folder), "PORT": str(self.port), **self.settings}
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"examples.{self.framework}_service.{self.program}"),
            cwd=ROOT,
            env=environment,
            stdout=PIPE,
            stderr=STDOUT,
        )
        serving = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(self.process, serving))
        async with asyncio.timeout(30):
            self.serves_at(await serving)

    async def _read(self, process: asyncio.subprocess.Process, serving: asyncio.Future[int]) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.said.append(line.decode())
            if READY in self.said[-1] and not serving.done():
                serving.set_result(int(self.said[-1].partition(READY)[2].split()[0].rstrip("/").rpartition(":")[2]))
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
        await self.aclose()
        return self.process.returncode


def environment_of(store: NetoSandbox, folder: Path) -> dict[str, str]:
    """Give the variables that name a store and a folder."""
    return {
        "NETO_STORE_URL": store.url,
        "NETO_USERNAME": store.username or "",
        "NETO_API_KEY": store.api_key,
        "IMPORTS": str(folder),
        "SETTLE_AFTER": "0",
        "PYTHONUNBUFFERED": "1",
    }


def table(rows: int) -> str:
    """Make a CSV file of so many rows, each with a note of its own."""
    return "Notes,Username\n" + "".join(f"row {row},ann\n" for row in range(rows))


async def pieces(*given: str | bytes) -> AsyncIterator[bytes]:
    """Give the pieces of an upload as they come."""
    for piece in given:
        yield piece.encode() if isinstance(piece, str) else piece


async def half_of_an_upload(service: Service) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Begin an upload of 100 bytes, of which six come; the service waits for the others when this returns."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"POST /imports?name=a.csv HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nNotes\n")
    async with asyncio.timeout(30):
        while not list(service.folder.glob("*.part")):
            await service.http.get("/health")
    return reader, writer


def lose(store: NetoSandbox, lost: Mapping[int, bool]) -> None:
    """Lose the answers of the calls with these rows of a table, which the store saves or not."""
    for row, saves in lost.items():
        note = f"row {row}"
        store.faults.when(
            lambda request, note=note: any(record["Notes"] == note for record in request.records),
            faults.Reset(saves=saves),
        )


def saved(store: NetoSandbox) -> Counter[str]:
    """Count how often each note is in the store."""
    return Counter(log.notes or "" for log in store.logs)


async def notes_in(http: httpx.AsyncClient, job: str, report: str) -> list[str]:
    """Read a report."""
    answer = await http.get(f"/imports/{job}/reports/{report}")
    assert 200 == answer.status_code
    return [row["Notes"] for row in csv.DictReader(answer.text.splitlines())]


async def check(http: httpx.AsyncClient, status: dict[str, Any], store: NetoSandbox, rows: int) -> set[str]:
    """
    Compare counts and reports of an import of a table with the store's ledger; give the rows in doubt.

    Each row is in the store exactly once, save those that unknown.csv names, each of which is there at most once.
    """
    assert "ended" == status["state"]
    assert rows == status["progress"]["added"] + status["progress"]["unknown"]
    added, unknown = [await notes_in(http, status["id"], name) for name in ("added.csv", "unknown.csv")]
    assert {f"row {row}" for row in range(rows)} == {*added, *unknown}
    assert rows == len(added) + len(unknown)
    counts = saved(store)
    assert {1} == {counts[note] for note in added}
    assert {counts[note] for note in unknown} <= {0, 1}
    return set(unknown)


def settling_in(status: dict[str, Any]) -> tuple[str, int, int, int]:
    """Give the state, and of the settling the rows that were added, not sent and are still in doubt."""
    settling = status["settling"]
    return status["state"], settling["added"], settling["not_sent"], settling["unknown"]
