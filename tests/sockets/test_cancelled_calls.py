"""Callers that are cancelled at random over real sockets: no slot of the pool is lost, no log arrives twice."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from libraries import make_httpx, make_httpx2
from rawserver import Connection, RawServer, with_length

from neto_async import Added, AsyncNetoClient, CustomerLog, NetoError, Outcome

SLOTS = 10
CALLERS = 30


class RandomStore:
    """Answers after a random moment; now and then not before the client's deadline."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.barrier: asyncio.Barrier | None = None

    async def answer(self, call: Connection) -> None:
        content = await call.body()
        if self.barrier is not None:
            await self.barrier.wait()
        elif self.draw.random() < 0.01:
            await call.gone()
            call.close()
            return
        else:
            for _ in range(self.draw.randrange(6)):
                await asyncio.sleep(0)
        await call.send(with_length(content))


def client(url: str, http_client: Any, **settings: Any) -> AsyncNetoClient:
    limits = {"batch_size": 1, "max_concurrency": SLOTS, "requests_per_minute": None}
    return AsyncNetoClient(url, api_key="key", http_client=http_client, **limits, **settings)


async def add_and_cancel(neto: AsyncNetoClient, text: str, draw: random.Random) -> Outcome | None:
    """Add a log, and cancel its caller after some turns of the loop, or not at all."""
    adding = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes=text)))
    turns = draw.choice([0, 1, 2, 4, 8, 16, 32, 1_000_000])
    while turns and not adding.done():
        await asyncio.sleep(0)
        turns -= 1
    adding.cancel()
    try:
        return await adding
    except asyncio.CancelledError:
        return None
    except NetoError as error:
        return error.fate


async def hammer(make: Any, calls: int) -> dict[str, int]:
    draw = random.Random(calls)
    scripted = RandomStore(calls)
    heard: dict[str, Outcome] = {}
    async with RawServer(otherwise=scripted.answer) as server, make(connections=SLOTS) as http_client:

        async def caller(number: int) -> None:
            for round_ in range(calls // CALLERS):
                text = f"{number}/{round_}"
                if (outcome := await add_and_cancel(neto, text, draw)) is not None:
                    heard[text] = outcome

        async with client(server.url, http_client, timeout=0.05, give_up_after=30.0) as neto:
            await asyncio.gather(*(caller(number) for number in range(CALLERS)))
            await neto.flush()
            counted = neto.statistics()
        assert [] == [text for text, times in server.received.items() if times > 1]
        for text, outcome in heard.items():
            if isinstance(outcome, Added):
                assert server.ids[text] == outcome.log_id
        # The proof: as many calls as there are slots meet at the store, which answers none before all are there.
        scripted.barrier = asyncio.Barrier(SLOTS)
        async with client(server.url, http_client, timeout=20.0, give_up_after=20.0) as after:
            logs = [CustomerLog(notes=f"after {number}") for number in range(SLOTS)]
            added = await asyncio.gather(*(after.add_customer_log(log) for log in logs))
        assert SLOTS == len({fate.log_id for fate in added})
    return {"calls": counted.calls, "heard": len(heard), "unknown": counted.unknown}


@pytest.mark.parametrize("make", [make_httpx, pytest.param(make_httpx2, marks=pytest.mark.thorough)])
async def test_cancelled_callers_lose_no_slot(make):
    """After a thousand callers, cancelled at random, every slot of the pool still takes a call."""
    said = await hammer(make, 900)

    assert said["calls"] > said["heard"] > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("make", [make_httpx, make_httpx2])
async def test_cancelled_callers_lose_no_slot_for_long(make):
    """The same after 120,000 callers; more than 20,000 calls left, most of them for a caller that was cancelled."""
    said = await hammer(make, 120_000)
    print(json.dumps(said))  # noqa: T201 - figures to report

    assert said["calls"] > 20_000
