"""Closing while a call is under way, over real sockets, though whoever closes is cancelled again and again."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from rawserver import Connection, RawServer, with_length

from neto_async import Added, AsyncNetoClient, CustomerLog

TURNS = 300


class SlowStore:
    """Answers when it is asked to."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.release = asyncio.Event()

    async def answer(self, call: Connection) -> None:
        content = await call.body()
        self.arrived.set()
        await self.release.wait()
        await call.send(with_length(content))


async def scheduled(turns: int) -> int:
    """Count what others put into the loop's queue while so many turns go by."""
    loop = asyncio.get_running_loop()
    count = 0
    call_soon = loop.call_soon

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        return call_soon(*given, **more)

    loop.call_soon = counted  # type: ignore[method-assign]
    try:
        for _ in range(turns):
            await asyncio.sleep(0)
    finally:
        loop.call_soon = call_soon  # type: ignore[method-assign]
    # Each of our own turns is put there by the task that waits for it.
    return count - turns


def client(url: str, http_client: Any) -> AsyncNetoClient:
    return AsyncNetoClient(url, api_key="key", http_client=http_client, requests_per_minute=None)


async def by_cancel(neto: AsyncNetoClient) -> asyncio.Task[Any]:
    """Close in a task that is cancelled three times."""
    closing = asyncio.ensure_future(neto.aclose(30.0))
    for _ in range(3):
        await asyncio.sleep(0)
        closing.cancel()
    return closing


async def by_scope(neto: AsyncNetoClient) -> asyncio.Task[Any]:
    """Close under an anyio scope that is cancelled, as Starlette's is when a client goes away."""

    async def close() -> None:
        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            await neto.aclose(30.0)

    return asyncio.ensure_future(close())


@pytest.mark.parametrize("close", [by_cancel, by_scope])
async def test_closing_outlives_a_cancellation(library, close):
    """A cancelled close waits for the call under way without spinning; its fate is known, and nothing stays open."""
    store = SlowStore()
    async with RawServer(otherwise=store.answer) as server, library() as http_client:
        neto = client(server.url, http_client)
        adding = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="kept")))
        await store.arrived.wait()
        closing = await close(neto)
        busy = await scheduled(TURNS)
        assert not closing.done()
        store.release.set()
        await asyncio.wait({closing, adding})

        assert isinstance(adding.result(), Added)
        assert {"kept": 1} == server.received
        assert busy < TURNS // 10
        assert (await neto.aclose()).drained


async def test_a_cancelled_block_drains_the_call_under_way(library):
    """A block that is cancelled leaves only when the call under way has its answer."""
    store = SlowStore()
    outcomes: list[Added] = []

    async def service(url: str, http_client: Any) -> None:
        async with client(url, http_client) as neto:
            adding = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="kept")))
            adding.add_done_callback(lambda done: outcomes.append(done.result()))
            await asyncio.Event().wait()

    async with RawServer(otherwise=store.answer) as server, library() as http_client:
        serving = asyncio.ensure_future(service(server.url, http_client))
        await store.arrived.wait()
        for _ in range(3):
            serving.cancel()
            await asyncio.sleep(0)
        assert not serving.done()
        store.release.set()
        await asyncio.wait({serving})

    assert serving.cancelled()
    assert ["kept"] == [outcome.record.notes for outcome in outcomes]
