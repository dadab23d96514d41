"""Deadlines over real sockets: what has arrived is read first, and what never ends is cut off."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from libraries import LIBRARIES, Through
from rawserver import Connection, RawServer, answer_added, with_length

from neto_async import AsyncNetoClient, CustomerLog, OutcomeUnknownError
from neto_async.sending.exchange import OutgoingBody
from neto_async.sending.transport import HttpTransport
from neto_async.settings import Settings

TIMEOUT = 0.3


@asynccontextmanager
async def client(url: str, make: Any = None, **more: Any) -> AsyncIterator[AsyncNetoClient]:
    """Make a client that has one connection, over an HTTP library or of its own."""
    given = {"requests_per_minute": None, "max_concurrency": 1, "timeout": TIMEOUT, **more}
    if make is None:
        async with AsyncNetoClient(url, api_key="key", **given) as neto:
            yield neto
        return
    async with make(connections=1) as http, AsyncNetoClient(url, api_key="key", http_client=http, **given) as neto:
        yield neto


@pytest.fixture(params=[None, *LIBRARIES])
def any_client(request: Any) -> Any:
    """Make clients of their own HTTP client, and of each library's."""
    return None if request.param is None else LIBRARIES[request.param]


# --- The loop is blocked, or the process suspended -------------------------------------------------------------------


@contextmanager
def running(server: RawServer) -> Iterator[None]:
    """Run a server in a thread, which goes on while the loop of the test is blocked."""
    started, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with server:
            started.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def held(blocked: threading.Event) -> Callable[[Connection], Any]:
    """Make a script that answers, with more than one read takes, once the other side is blocked."""

    async def script(call: Connection) -> None:
        answer = await call.body()
        await asyncio.get_running_loop().run_in_executor(None, blocked.wait)
        await call.send(with_length(answer + b" " * 300_000))

    return script


@pytest.mark.parametrize("slices", [pytest.param(1, marks=pytest.mark.thorough), 8])
async def test_what_lies_in_the_socket_is_read_after_a_blocked_loop(any_client, slices):
    """The loop is blocked past the deadline, once or in every turn: the answer that came meanwhile counts."""
    blocked = threading.Event()
    server = RawServer(held(blocked))
    with running(server):
        async with client(server.url, any_client) as neto:
            adding = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="x")))
            while not server.received:  # noqa: ASYNC110 - turns of the loop, no time
                await asyncio.sleep(0)
            blocked.set()
            for _ in range(slices):
                time.sleep(TIMEOUT * 2 if slices == 1 else TIMEOUT / 3)  # noqa: ASYNC251 - that is what is tested
                await asyncio.sleep(0)

            assert 1 == (await adding).log_id


SUSPENDED = """
import asyncio, sys
sys.path.append(sys.argv[2])
from libraries import LIBRARIES
from test_deadlines import client
from neto_async import CustomerLog

async def main():
    async def one(make):
        async with client(sys.argv[1], make, timeout=0.5) as neto:
            return type((await neto.add_customer_logs([CustomerLog(notes="x")])).outcomes[0]).__name__
    print(*await asyncio.gather(*map(one, [None, *LIBRARIES.values()])))

asyncio.run(main())
"""


async def test_what_lies_in_the_socket_is_read_after_a_suspension():
    """A process is suspended for longer than its timeout: the answers that came meanwhile count."""
    suspended = asyncio.Event()

    async def answer(call: Connection) -> None:
        body = await call.body()
        await suspended.wait()
        await call.send(with_length(body))

    async with RawServer(otherwise=answer) as server:
        command = [sys.executable, "-c", SUSPENDED, server.url, str(Path(__file__).parent)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        while server.received.total() < 1 + len(LIBRARIES):  # noqa: ASYNC110 - waits for another process
            await asyncio.sleep(0.001)
        os.kill(process.pid, signal.SIGSTOP)
        suspended.set()
        await asyncio.sleep(1.2)
        os.kill(process.pid, signal.SIGCONT)
        printed, _ = await process.communicate()

    assert "Added Added Added Added" == printed.decode().strip()


# --- Answers without an end ------------------------------------------------------------------------------------------


async def drip_headers(call: Connection) -> None:
    await call.body()
    await call.send(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    await call.drip(b"x" * 1_000_000, 0.01)


async def drip_provisional(call: Connection) -> None:
    await call.body()
    await call.drip(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100_000, 0.001)


async def drip_a_body(call: Connection) -> None:
    await call.body()
    await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    await call.drip(b" " * 1_000_000, 0.01)


@pytest.mark.parametrize(
    "drips",
    [drip_headers, *(pytest.param(drip, marks=pytest.mark.thorough) for drip in (drip_provisional, drip_a_body))],
)
async def test_an_answer_without_an_end_keeps_no_connection(any_client, drips):
    """A client with one connection adds the next log, after calls whose answers never ended."""
    async with (
        RawServer(drips, drips, otherwise=answer_added) as server,
        client(server.url, any_client) as neto,
    ):
        for _ in range(2):
            with pytest.raises(OutcomeUnknownError, match="deadline passed"):
                await neto.add_customer_log(CustomerLog(notes="doubt"))
        await neto.add_customer_log(CustomerLog(notes="added"))

        assert (1, {"doubt": 2, "added": 1}) == (server.open, server.received)


async def test_a_proxy_that_drips_keeps_no_connection(library):
    """A proxy whose answer to CONNECT has no end: the call has not left, and its connection is closed."""

    async def drip(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nX-Endless: ")
        await connection.drip(b"x" * 1_000_000, 0.01)

    body = OutgoingBody(b"{}")
    async with RawServer(on_connect=drip) as proxy, library(connections=1, through=Through(proxy.url)) as http:
        settings = Settings(store_url="https://store.example", api_key="key", timeout=TIMEOUT)
        exchange = await HttpTransport(settings, http).call(body)
        await proxy.all_ended()

    assert ("timed out", False) == (exchange.kind, body.left)
