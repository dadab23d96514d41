"""Connections that the store closes while nothing, or the next call, is on its way."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx
import pytest
from libraries import make_httpx, make_httpx2
from rawserver import Connection, RawServer, with_length

from neto_async import AsyncNetoClient, CustomerLog, Unknown
from neto_async.sending.connections import Connections
from neto_async.sending.exchange import HttpReply, OutgoingBody
from neto_async.sending.transport import HttpTransport
from neto_async.settings import Settings


def transport(url: str, http_client: Any = None, **more: Any) -> HttpTransport:
    return HttpTransport(Settings(store_url=url, api_key="key", **more), http_client)


@pytest.mark.parametrize("make", [make_httpx, make_httpx2])
async def test_the_end_of_a_connection_is_looked_for_before_the_body_leaves(make):
    """The store ends the connection once the library has chosen it: the call begins again, on another one."""
    connections: list[Connection] = []

    async def note(connection: Connection) -> None:
        connections.append(connection)

    async def end(event: str, info: Any) -> None:
        if event == "http11.send_request_headers.complete" and len(connections) == 1 and connections[0].server.calls:
            connections[0].reset()
            await connections[0].server.all_ended()

    async def trace(request: Any) -> None:
        request.extensions["trace"] = end

    hooks = {"request": [trace]}
    async with (
        RawServer(on_connect=note) as server,
        make(connections=1, event_hooks=hooks) as http_client,
        AsyncNetoClient(server.url, api_key="key", http_client=http_client) as neto,
    ):
        await neto.add_customer_log(CustomerLog(notes="first"))
        added = await neto.add_customer_log(CustomerLog(notes="second"))

    assert (2, 1, {"first": 1, "second": 1}) == (len(connections), len(added.attempts), server.received)


@pytest.mark.parametrize("make", [make_httpx, make_httpx2])
@pytest.mark.parametrize(
    ("looks", "kind"),
    [([False, True, False, False, False], None), ([False, False, True], "connection reset")],
    ids=["before its head", "before its body"],
)
async def test_a_call_sends_its_head_once(monkeypatch, make, looks, kind):
    """A store may count a call by its head: one whose connection ends after that does not begin again by itself."""
    ended = iter(looks)
    monkeypatch.setattr(Connections, "any_ended", lambda self: next(ended))
    async with RawServer() as server, make(connections=1) as http_client:
        body = OutgoingBody(b'{"CustomerLogs": {"CustomerLog": [{"Notes": "x"}]}}')
        exchange = await transport(server.url, http_client).call(body)
        await server.all_ended() if kind else None

    assert (1, [], kind is None) == (server.calls, [*ended], body.left)
    assert kind == getattr(exchange, "kind", None)


async def test_a_store_that_closes_between_any_two_turns_leaves_little_doubt():
    """Of 12 closings, each one turn of the loop later than the one before, three at most put a log in doubt."""
    outcomes = []
    for turns in range(12):
        connections: list[Connection] = []

        async def note(connection: Connection, into: list[Connection] = connections) -> None:
            into.append(connection)

        async with RawServer(on_connect=note) as server, AsyncNetoClient(server.url, api_key="key") as neto:
            await neto.add_customer_log(CustomerLog(notes="first"))
            adding = asyncio.ensure_future(neto.add_customer_logs([CustomerLog(notes="second")]))
            for _ in range(turns):
                await asyncio.sleep(0)
            connections[0].close()
            outcomes += (await adding).outcomes

    assert 3 >= sum(isinstance(outcome, Unknown) for outcome in outcomes)


async def test_no_connection_is_kept_where_none_is_wanted(library):
    """With `keepalive_expiry=0` each call has a connection of its own, with any HTTP client."""

    async def answer(call: Connection) -> None:
        last = call.headers[b"connection"] == b"close"
        await call.send(with_length(await call.body(), headers="Connection: close\r\n" if last else ""))
        if last:
            call.close()

    async with RawServer(otherwise=answer) as server, library() as http_client:
        for given in (http_client, None):
            neto = AsyncNetoClient(server.url, api_key="key", http_client=given, keepalive_expiry=0)
            async with neto:
                await neto.add_customer_log(CustomerLog(notes="first"))
                await neto.add_customer_log(CustomerLog(notes="second"))

        assert 4 == server.connections


async def test_connections_without_a_socket_are_not_watched():
    """A transport that shows no socket, or a closed one, is asked once and forgotten."""

    class Stream:
        def get_extra_info(self, name: str) -> None:
            assert "socket" == name

    seen = Connections()
    seen.note(Stream())
    assert (False, False) == (seen.any_ended(), seen.any_ended())


async def test_where_nothing_can_be_asked_a_connection_counts_as_open(monkeypatch):
    """On a system without `poll` calls go out as the HTTP library sends them."""
    monkeypatch.setattr("neto_async.sending.connections.select", object())
    async with RawServer() as server:
        calling = transport(server.url)
        for _ in range(2):
            body = OutgoingBody(b'{"CustomerLogs": {"CustomerLog": [{"Notes": "x"}]}}')
            assert isinstance(await calling.call(body), HttpReply)
        await calling.aclose()
        assert (1, {"x": 2}) == (server.connections, server.received)


async def test_beginning_again_has_an_end():
    """A connection that ends each time just before the body leaves: the call fails, and has not left."""
    begun = []

    class Ended:
        def get_extra_info(self, name: str) -> Any:
            return pipe

    async def note(request: httpx.Request) -> None:
        begun.append(request)
        calling._connections.note(Ended())

    ours, theirs = socket.socketpair()
    theirs.close()
    pipe = ours
    answered = httpx.MockTransport(lambda request: httpx.Response(200))
    with ours:
        async with httpx.AsyncClient(transport=answered, event_hooks={"request": [note]}) as client:
            calling = transport("http://localhost", client)
            body = OutgoingBody(b"{}")
            exchange = await calling.call(body)

    assert ("connection reset", 4, False) == (exchange.kind, len(begun), body.left)
