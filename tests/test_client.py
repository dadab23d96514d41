"""The client's own promises: who may use it when, and what it says of itself."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import httpx
import pytest

from neto_async import AsyncNetoClient, ConfigurationError, CustomerLog, InvalidRecordError, NotSentError
from neto_async.sandbox import NetoSandbox


def test_repr_and_environment(monkeypatch):
    """A client made from the environment shows its address, and neither key nor user name."""
    monkeypatch.setenv("NETO_STORE_URL", "https://www.yournetosite.com.au")
    monkeypatch.setenv("NETO_API_KEY", "CANARY-key")
    monkeypatch.setenv("NETO_USERNAME", "CANARY-user")

    assert "AsyncNetoClient('https://www.yournetosite.com.au', json, open)" == repr(AsyncNetoClient.from_env())


def test_a_second_loop_is_refused():
    """A client belongs to the loop of its first use."""
    neto = AsyncNetoClient("http://localhost", api_key="key")
    asyncio.run(_use_and_close(neto))

    with pytest.raises(ConfigurationError):
        asyncio.run(_use_and_close(neto))


async def _use_and_close(neto: AsyncNetoClient) -> None:
    async with neto:
        pass


async def test_a_client_left_open_is_told_of():
    """A client that was used and not closed gives a ResourceWarning."""
    neto = AsyncNetoClient("http://localhost", api_key="key")
    await neto.__aenter__()

    with pytest.warns(ResourceWarning, match="was not closed"):  # noqa: PT031
        del neto
        gc.collect()


async def test_closed_takes_no_more(store: NetoSandbox):
    """After closing, a single add and each record of a bulk add end as NotSent, and closing again is harmless."""
    neto = AsyncNetoClient(store.url, api_key=store.api_key, username=store.username)
    assert (await neto.aclose()).drained

    with pytest.raises(NotSentError):
        await neto.add_customer_log(CustomerLog(notes="x"))
    assert 2 == len((await neto.add_customer_logs([{"Notes": "a"}, {"Notes": "b"}])).not_sent)
    assert (await neto.aclose()).drained
    assert [] == list(store.calls)


async def test_a_closed_http_client_is_refused():
    """A closed http_client is told at the first use, and not as an outcome."""
    http_client = httpx.AsyncClient()
    await http_client.aclose()
    neto = AsyncNetoClient("http://localhost", api_key="key", http_client=http_client)

    with pytest.raises(ConfigurationError):
        await neto.add_customer_log(CustomerLog(notes="x"))
    await neto.aclose()


async def test_invalid_log_raises_with_its_fate(store: NetoSandbox, connect: Any):
    """A mapping that makes no log raises before anything is sent, with context on its fate."""
    neto = await connect(store)

    with pytest.raises(InvalidRecordError) as raised:
        await neto.add_customer_log({"Notes": "\x00"}, context="mine")

    assert ("mine", 0) == (raised.value.fate.context, len(store.calls))


async def test_flush_waits_for_what_was_handed_in(store: NetoSandbox, connect: Any):
    """After flush, what was handed in before has its outcome."""
    neto = await connect(store)
    add = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="x")))
    await asyncio.sleep(0)

    report = await neto.flush()

    assert (True, 1, 1) == (report.drained, len(store.logs), neto.statistics().added)
    await add


async def test_statistics_can_be_read_in_any_thread(store, connect):
    """A synchronous handler, which runs in a thread of its own, may ask what waits on what while imports run."""
    neto = await connect(store, batch_size=3)
    adding = asyncio.ensure_future(neto.add_customer_logs([CustomerLog(notes=str(number)) for number in range(200)]))

    def read() -> int:
        return max(neto.statistics().added for _ in range(300))

    seen = [await asyncio.to_thread(read)]
    while not adding.done():
        seen.append(await asyncio.to_thread(read))

    assert 200 == await asyncio.to_thread(read)
    assert sorted(seen) == seen
