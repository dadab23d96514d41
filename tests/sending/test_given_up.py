"""A call that is given up at its deadline: it never leaves later, and it keeps its place in the quota until it ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from attrs import define, field
from scripted import Network, client, saves
from virtual import run

from neto_async import AsyncNetoClient, CustomerLog, NotSentError
from neto_async.sending.waiting import wait_through_cancellation


@define
class Store:
    """A store behind httpx itself, on virtual time: what it saved, and when each call began."""

    saved: list[str] = field(factory=list)
    begun_at: list[float] = field(factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        notes = [log["Notes"] for log in json.loads(request.content)["CustomerLogs"]["CustomerLog"]]
        first = len(self.saved) + 1
        self.saved += notes
        ids = [{"LogID": str(first + position)} for position in range(len(notes))]
        return httpx.Response(200, json={"Ack": "Success", "CustomerLog": ids})

    def client(self, *stalls: float, **settings: Any) -> AsyncNetoClient:
        """Make a client whose first calls stall so long, cancelled or not, each before its body is asked for."""
        waits = list(stalls)

        async def stall(request: httpx.Request) -> None:
            self.begun_at.append(asyncio.get_running_loop().time())
            await wait_through_cancellation(asyncio.sleep(waits.pop(0) if waits else 0))

        given = httpx.AsyncClient(transport=httpx.MockTransport(self.answer), event_hooks={"request": [stall]})
        return AsyncNetoClient("http://localhost", api_key="key", http_client=given, **{"timeout": 10.0, **settings})


def test_a_call_given_up_before_it_left_never_leaves():
    """A call that stalls past its deadline is tried again, and the stalled one saves nothing when it wakes."""
    store = Store()

    async def work() -> int:
        async with store.client(100.0) as neto:
            added = await neto.add_customer_log(CustomerLog(notes="once"))
            await asyncio.sleep(200)
            return added.log_id

    assert (1, ["once"]) == (run(work), store.saved)


def test_what_was_not_sent_is_not_saved_later():
    """A log whose calls all stalled is NotSent, and stays out of the store when they wake."""
    store = Store()

    async def work() -> None:
        async with store.client(*[100.0] * 9) as neto:
            with pytest.raises(NotSentError):
                await neto.add_customer_log(CustomerLog(notes="never"), give_up_after=15.0)
            await asyncio.sleep(200)

    run(work)
    assert [] == store.saved


def test_a_call_given_up_keeps_its_place_until_it_has_ended():
    """A call that goes on past its deadline counts until 60 s after its real end: till then it may reach the store."""
    store = Store()

    async def work() -> int:
        async with store.client(100.0, requests_per_minute=1) as neto:
            await neto.add_customer_log(CustomerLog(notes="once"))
            return neto.statistics().quota_used

    assert 1 == run(work)
    first, second = store.begun_at
    assert second - first == pytest.approx(100.0 + 60.0)


def test_a_call_cancelled_from_outside_never_leaves():
    """Where a program cancels a task of ours, what had not left does not leave any more."""
    store = Store()

    async def work() -> None:
        neto = store.client(1.0)
        add = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="never"), give_up_after=0.6))
        await asyncio.sleep(0.5)
        (owner,) = (task for task in asyncio.all_tasks() if task.get_name() == "neto_async call 1")
        owner.cancel()
        with pytest.raises(NotSentError):
            await add
        await asyncio.sleep(10)
        await neto.aclose()

    run(work)
    assert [] == store.saved


def test_a_call_left_to_itself_gives_out_no_body():
    """A transport that breaks its deadline, and asks for the body when the call is given up, gets nothing to send."""
    network = Network()

    async def late(network: Network, body: Any) -> Any:
        await asyncio.sleep(100)
        return await saves(network, body)

    network.script.append(late)

    async def work() -> int:
        async with client(network, timeout=10.0) as neto:
            added = await neto.add_customer_log(CustomerLog(notes="once"))
            await asyncio.sleep(200)
            return added.log_id

    assert (1, [(1, "once")]) == (run(work), network.ledger)
