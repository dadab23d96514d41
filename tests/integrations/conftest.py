"""Real servers for the tests of the adapters, on free ports: in the test's own loop, and as processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
import uvicorn
from aiohttp import web
from attrs import frozen

from neto_async import AsyncNetoClient
from neto_async.sandbox import NetoSandbox, faults

Serve = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def own(store: NetoSandbox) -> Callable[..., AsyncNetoClient]:
    """Make a client of the store, or of another one, as a service would."""

    def make(of: NetoSandbox = store) -> AsyncNetoClient:
        return AsyncNetoClient(of.url, username=of.username, api_key=of.api_key, requests_per_minute=None)

    return make


@pytest.fixture
def serve_fastapi() -> Serve:
    """Run uvicorn, and give its address."""

    @asynccontextmanager
    async def serving(app: Any, **config: Any) -> AsyncIterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None, **config))
            running = asyncio.create_task(server.serve(sockets=[listening]))
            try:
                yield address
            finally:
                server.should_exit = True
                await running
                assert not server.lifespan.shutdown_failed

    return serving


@pytest.fixture
def serve_aiohttp() -> Serve:
    """Run aiohttp's runner, and give its address."""

    @asynccontextmanager
    async def serving(app: web.Application, **config: Any) -> AsyncIterator[str]:
        runner = web.AppRunner(app, **config)
        try:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    return serving


@frozen
class Service:
    """A process that serves; it has printed its port."""

    process: asyncio.subprocess.Process
    url: str

    async def stopped_taking(self) -> None:
        """Wait until its port is closed: it has heard the signal and begun to stop."""
        port = int(self.url.rpartition(":")[2])
        with suppress(ConnectionRefusedError):
            while True:
                with suppress(ConnectionResetError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    await writer.wait_closed()

    async def ended(self) -> tuple[int, str]:
        """Wait for its end; give the exit code, and all that it logged."""
        assert self.process.stderr is not None
        logged = await self.process.stderr.read()
        return await self.process.wait(), logged.decode()


LISTEN = """
import socket

listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
"""


@pytest.fixture
async def run_service(store: NetoSandbox) -> AsyncIterator[Any]:
    """Run a program whose ``listening`` is a socket, with the store's credentials in its environment."""
    processes = []

    async def run(program: str, **environ: str) -> Service:
        credentials = {
            "NETO_STORE_URL": store.url,
            "NETO_USERNAME": str(store.username),
            "NETO_API_KEY": store.api_key,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            LISTEN + program,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **credentials, **environ},
        )
        processes.append(process)
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        return Service(process, f"http://127.0.0.1:{port}")

    yield run
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
def asked_to_stop(store: NetoSandbox) -> Any:
    """Stop a service while many requests wait for a store that answers late, and well, badly or not at all."""

    async def stop(service: Service, *, ends_with: int) -> None:
        answer = asyncio.Event()
        then = [None, faults.Reset(saves=True), faults.Reset(), faults.Status(503)]
        store.faults.next(*(faults.Late(until=answer, then=fault) for fault in then))
        async with httpx.AsyncClient(
            base_url=service.url, timeout=60, limits=httpx.Limits(max_connections=None)
        ) as http:
            asking = [asyncio.create_task(http.post(f"/logs/{number}")) for number in range(60)]
            await store.until(lambda: store.call_count >= 4)
            service.process.send_signal(signal.SIGTERM)
            await service.stopped_taking()
            answer.set()
            answers = await asyncio.gather(*asking)
        code, logged = await service.ended()

        assert ends_with == code
        said = {str(number): answered.json() for number, answered in enumerate(answers)}
        added = {notes: fate["log_id"] for notes, fate in said.items() if "log_id" in fate}
        doubted = {notes for notes, fate in said.items() if fate.get("fate") == "unknown"}
        saved = {log.notes: log.log_id for log in store.logs}
        assert len(saved) == len(store.logs), "a log is there twice"
        assert set(said) == added.keys() | doubted
        assert added
        assert doubted
        assert added == {notes: log_id for notes, log_id in saved.items() if notes not in doubted}
        assert store.api_key not in logged

    return stop


@pytest.fixture
def cut_off(store: NetoSandbox) -> Any:
    """Stop a service that gives neither requests nor calls the time they need."""

    async def stop(service: Service, *, ends_with: int) -> None:
        store.faults.always(faults.Silence(saves=True))
        async with httpx.AsyncClient(
            base_url=service.url, timeout=60, limits=httpx.Limits(max_connections=None)
        ) as http:
            asking = [asyncio.create_task(http.post(f"/logs/{number}")) for number in range(40)]
            await store.until(lambda: store.call_count >= 4)
            service.process.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*asking, return_exceptions=True)
        code, logged = await service.ended()

        assert ends_with == code
        assert set() == {answer.status_code for answer in answers if isinstance(answer, httpx.Response)} - {500}
        assert logged.count("a customer log ended as Unknown after its caller had been cancelled") == len(store.logs)
        assert f"closed with {len(store.logs)} records in calls that have not ended and 0 that were not sent" in logged

    return stop


@pytest.fixture
def given_time(store: NetoSandbox) -> Any:
    """Stop a service that gives each request more time than its log can take, while the store is silent."""

    async def stop(service: Service) -> None:
        store.faults.always(faults.Silence(saves=True))
        async with httpx.AsyncClient(
            base_url=service.url, timeout=60, limits=httpx.Limits(max_connections=None)
        ) as http:
            asking = [asyncio.create_task(http.post(f"/logs/{number}")) for number in range(40)]
            await store.until(lambda: store.call_count >= 4)
            service.process.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*asking)
        await service.ended()

        said = {str(number): answer.json()["fate"] for number, answer in enumerate(answers)}
        assert set(said.values()) <= {"unknown", "not_sent"}
        assert {log.notes for log in store.logs} <= {notes for notes, fate in said.items() if fate == "unknown"}

    return stop
