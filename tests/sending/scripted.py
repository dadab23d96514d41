"""A scripted network with a store behind it, in the place of HTTP, and clients over it on virtual time."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from attrs import define, field, frozen
from virtual import run

from neto_async import AsyncNetoClient, BulkReport, CustomerLog
from neto_async.sending.engine import Engine
from neto_async.sending.exchange import Failure, HttpReply, OutgoingBody


@frozen
class Sent:
    """A call that left: when, and the notes in it."""

    at: float
    notes: tuple[str, ...]


@define(eq=False)
class Network:
    """
    Plays one behaviour for each call: those of the script first, then ``always``.

    ``ledger`` is what the store saved; ``doubt`` holds the notes whose fate the network made unknowable.
    """

    script: deque[Any] = field(factory=deque)
    always: Any = None
    latency: float = 0.2
    ledger: list[tuple[int, str]] = field(factory=list)
    sent: list[Sent] = field(factory=list)
    doubt: set[str] = field(factory=set)
    tried: int = 0
    closed: bool = False

    async def call(self, body: OutgoingBody) -> HttpReply | Failure:
        self.tried += 1
        behaviour = self.script.popleft() if self.script else self.always or saves
        return await behaviour(self, body)

    def open(self) -> None:
        """Nothing is to be made ready."""

    async def aclose(self) -> None:
        self.closed = True

    async def receive(self, body: OutgoingBody) -> list[str]:
        content = b"".join([part async for part in body])
        notes = [log["Notes"] for log in json.loads(content)["CustomerLogs"]["CustomerLog"]]
        self.sent.append(Sent(asyncio.get_running_loop().time(), tuple(notes)))
        await asyncio.sleep(self.latency)
        if self.closed:
            self.doubt.update(notes)
            raise ConnectionAbortedError
        return notes

    def save(self, notes: list[str]) -> list[int]:
        ids = [len(self.ledger) + 1 + position for position in range(len(notes))]
        self.ledger += zip(ids, notes, strict=True)
        return ids


Behaviour = Callable[[Network, OutgoingBody], Awaitable[HttpReply | Failure]]


def reply(document: object, status: int = 200) -> HttpReply:
    return HttpReply(status=status, headers={"content-type": "application/json"}, body=json.dumps(document).encode())


def with_ids(ids: list[Any], **more: object) -> HttpReply:
    return reply({"Ack": "Success", "CustomerLog": [{"LogID": str(log_id)} for log_id in ids], **more})


def error(text: str) -> HttpReply:
    return reply({"Ack": "Error", "Messages": {"Error": {"Message": text, "SeverityCode": "Error"}}})


async def saves(network: Network, body: OutgoingBody) -> HttpReply:
    """Save all, or refuse the whole call where one record is poison."""
    notes = await network.receive(body)
    return error("bad record") if any("poison" in text for text in notes) else with_ids(network.save(notes))


async def never_leaves(network: Network, body: OutgoingBody) -> Failure:
    await asyncio.sleep(0.01)
    return Failure(name="ConnectError")


async def saves_or_fails(network: Network, body: OutgoingBody) -> HttpReply | Failure:
    """Save all; where the body does not leave, fail as the transport does."""
    try:
        return await saves(network, body)
    except RuntimeError as error:
        return Failure(name=type(error).__name__)


def answers(status: int, **headers: str) -> Behaviour:
    async def behaviour(network: Network, body: OutgoingBody) -> HttpReply:
        await network.receive(body)
        return HttpReply(
            status=status, headers={name.replace("_", "-"): text for name, text in headers.items()}, body=b""
        )

    return behaviour


def says(text: str) -> Behaviour:
    async def behaviour(network: Network, body: OutgoingBody) -> HttpReply:
        await network.receive(body)
        return error(text)

    return behaviour


def breaks(*, saving: bool) -> Behaviour:
    async def behaviour(network: Network, body: OutgoingBody) -> Failure:
        notes = await network.receive(body)
        if saving:
            network.save(notes)
        return Failure(name="ReadError")

    return behaviour


def gives_ids(change: Callable[[list[int]], list[Any]], **more: object) -> Behaviour:
    async def behaviour(network: Network, body: OutgoingBody) -> HttpReply:
        return with_ids(change(network.save(await network.receive(body))), **more)

    return behaviour


def client(network: Network, **settings: Any) -> AsyncNetoClient:
    """Make a client over the network, with waits that hold no chance."""
    neto = AsyncNetoClient("http://localhost", **{"api_key": "key", "requests_per_minute": None, **settings})
    neto._transport = network  # type: ignore[assignment]
    neto._engine = Engine(neto._settings, network, quota=settings.get("quota"), jitter=lambda: 0.5)
    return neto


def logs(count: int, poison: Collection[int] = ()) -> list[CustomerLog]:
    """Make logs, each with notes of its own; those at some positions are poison."""
    return [CustomerLog(notes=f"{'poison' if number in poison else 'log'} {number}") for number in range(count)]


def bulk(network: Network, records: list[CustomerLog], **settings: Any) -> BulkReport:
    """Add logs over the network, with a client of their own."""

    async def work() -> BulkReport:
        async with client(network, **settings) as neto:
            return await neto.add_customer_logs(records)

    return run(work)
