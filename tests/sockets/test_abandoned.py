"""
Calls that never end by themselves, over real sockets: at the end neither their tasks nor their sockets are left.

A server that sends its headers byte by byte restarts every timeout of an HTTP library for ever.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rawserver import Connection, RawServer

from neto_async import AsyncNetoClient, CustomerLog, NotSentError, OutcomeUnknownError
from neto_async.outcomes import NotSentCause


async def drip_for_ever(call: Connection) -> None:
    """Save, and answer with a header that has no end."""
    await call.body()
    await call.send(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    await call.drip(b"x" * 1_000_000, 0.01)
    call.close()


async def say_nothing(connection: Connection) -> None:
    """Take a connection and leave it without a word: whoever wants TLS on it waits for the handshake."""
    await connection.gone()
    connection.close()


def client(url: str, http_client: Any = None, **settings: Any) -> AsyncNetoClient:
    return AsyncNetoClient(url, api_key="key", http_client=http_client, requests_per_minute=None, **settings)


async def until(happened: Callable[[], Any]) -> None:
    while not happened():  # noqa: ASYNC110 - turns of the loop, no time
        await asyncio.sleep(0)


def calls_of(neto: AsyncNetoClient) -> list[Any]:
    """List the tasks of a client's calls that have not ended; white-box, since they belong to nobody else."""
    return list(neto._engine._calls.tasks)


async def test_a_call_that_still_connects_at_the_end_never_leaves(library):
    """Where closing gives up while a call waits for its handshake, its record is settled at once: never sent."""
    async with RawServer(on_connect=say_nothing) as server:
        url = server.url.replace("http:", "https:")
        async with library(verify=False) as http_client:
            neto = client(url, http_client, timeout=0.2)
            adding = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="x")))
            await until(lambda: server.connections)

            report = await neto.aclose(timeout=0.0)

            assert (0, 1, True) == (report.left_in_flight, report.left_waiting, adding.done())
            with pytest.raises(NotSentError) as raised:
                await adding
            assert NotSentCause.CLOSED is raised.value.fate.cause
            # Its own timeout ends the handshake, and nothing comes after it.
            await asyncio.wait(calls_of(neto))
        await server.all_ended()


async def test_an_own_client_waits_for_no_answer_at_the_end():
    """With a client of its own, closing ends a call that waits for its answer: it is in doubt, and its task is gone."""
    async with RawServer(otherwise=Connection.gone) as server:
        neto = client(server.url)
        adding = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="x")))
        await until(lambda: server.calls)

        report = await neto.aclose(timeout=0.0)

        assert (1, []) == (report.left_in_flight, calls_of(neto))
        with pytest.raises(OutcomeUnknownError):
            await adding


PROGRAM = """
import asyncio, gc, sys
sys.path.append(sys.argv[1])
from rawserver import RawServer
from test_abandoned import drip_for_ever
from neto_async import AsyncNetoClient, CustomerLog, OutcomeUnknownError

async def main():
    async with RawServer(otherwise=drip_for_ever) as server:
        async with AsyncNetoClient(server.url, api_key="key", timeout=0.3) as neto:
            try:
                await neto.add_customer_log(CustomerLog(notes="x"))
            except OutcomeUnknownError:
                print("in doubt")

loop = asyncio.new_event_loop()
loop.slow_callback_duration = 3600.0  # how long a step takes is another question
loop.run_until_complete(main())
loop.close()
gc.collect()
"""


def test_nothing_is_left_for_the_end_of_a_program():
    """A program that closes its loop by itself is notified of no pending task and no open socket."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, str(Path(__file__).parent)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (0, "in doubt\n", "") == (done.returncode, done.stdout, done.stderr)
