"""What is in the way before a call leaves, over real sockets: the log is not sent, and none arrives."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trustme
from rawserver import Connection, RawServer, with_length

from neto_async import AsyncNetoClient, CustomerLog, NotSent, NotSentError
from neto_async.outcomes import NotSentCause, Phase

PATIENCE = {"timeout": 0.1, "give_up_after": 0.15}


def client(url: str, http_client: Any, **settings: Any) -> AsyncNetoClient:
    return AsyncNetoClient(url, api_key="key", http_client=http_client, requests_per_minute=None, **settings)


async def fate_of_an_add(url: str, http_client: Any, **settings: Any) -> NotSent:
    async with client(url, http_client, **{**PATIENCE, **settings}) as neto:
        with pytest.raises(NotSentError) as raised:
            await neto.add_customer_log(CustomerLog(notes="kept"))
    fate = raised.value.fate
    assert isinstance(fate, NotSent)
    return fate


def how_it_ended(fate: NotSent) -> tuple[Any, ...]:
    return fate.cause, fate.safe_to_resend, {attempt.phase for attempt in fate.attempts}


def address(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


GAVE_UP = (NotSentCause.GAVE_UP, True, {Phase.NEVER_LEFT})


@pytest.fixture
def closed_port() -> Iterator[socket.socket]:
    """Hold a port that nobody listens on, so that no other program gets it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held


@pytest.fixture(scope="module")
def unknown_authority() -> ssl.SSLContext:
    """Make the context of a server whose certificate nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_refused_connection_is_not_sent(library, closed_port):
    """Nobody listens: the log is tried again until given up, and then certainly not sent."""
    async with library() as http_client:
        fate = await fate_of_an_add(address(closed_port), http_client)

    assert GAVE_UP == how_it_ended(fate)


async def test_unknown_host_is_not_sent(library):
    """A name that no DNS knows: certainly not sent."""
    async with library() as http_client:
        fate = await fate_of_an_add("https://no-such-host.invalid", http_client)

    assert GAVE_UP == how_it_ended(fate)


async def test_tls_to_a_plain_port_is_not_sent(library):
    """The port speaks no TLS: certainly not sent, and nothing arrived."""

    async def answer_in_plain(call: Connection) -> None:
        await call.send(with_length(b"not TLS", status="400 Bad Request"))
        call.close()

    async with RawServer(on_connect=answer_in_plain) as server, library() as http_client:
        fate = await fate_of_an_add(server.url.replace("http:", "https:"), http_client)

    assert (*GAVE_UP, 0) == (*how_it_ended(fate), server.calls)


async def test_untrusted_certificate_is_not_sent(library, unknown_authority):
    """A certificate of an unknown authority: certainly not sent, and no key or text went out."""
    async with RawServer(tls=unknown_authority) as server, library() as http_client:
        fate = await fate_of_an_add(server.url, http_client)

    assert (*GAVE_UP, 0) == (*how_it_ended(fate), server.calls)


async def test_silent_tls_handshake_is_not_sent(library):
    """A server that takes the connection and never answers the handshake: certainly not sent."""
    async with RawServer(on_connect=Connection.gone) as server, library() as http_client:
        fate = await fate_of_an_add(server.url.replace("http:", "https:"), http_client)

    assert GAVE_UP == how_it_ended(fate)


@pytest.mark.skipif(sys.platform != "linux", reason="what a full backlog does is the system's own")
async def test_connect_timeout_is_not_sent(library):
    """A listener with a full backlog answers no connection: certainly not sent."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        async with library() as http_client:
            fate = await fate_of_an_add(address(listener), http_client)

    assert GAVE_UP == how_it_ended(fate)


async def test_no_pool_slot_is_not_sent(library):
    """A pool whose only connection is the caller's own: certainly not sent; free again, it carries the next log."""
    held, release = asyncio.Event(), asyncio.Event()

    async def hold(call: Connection) -> None:
        held.set()
        await release.wait()
        await call.send(with_length(b"the caller's own"))

    async with RawServer(hold) as server, library(connections=1) as http_client:
        own = asyncio.create_task(http_client.get(server.url, headers={"Content-Length": "0"}, timeout=20))
        await held.wait()
        fate = await fate_of_an_add(server.url, http_client)
        before = server.received.total()
        release.set()
        await own
        async with client(server.url, http_client) as neto:
            added = await neto.add_customer_log(CustomerLog(notes="next"))

    assert (*GAVE_UP, 0) == (*how_it_ended(fate), before)
    assert ({"next": 1}, 1) == (server.received, added.log_id)


async def test_refused_connection_is_tried_again(library, closed_port, caplog):
    """A store that comes back before the log is given up gets it once."""
    caplog.set_level(logging.DEBUG, logger="neto_async")
    refused = asyncio.Event()
    noting = logging.Handler()
    noting.emit = lambda _: refused.set()  # type: ignore[method-assign]
    logger = logging.getLogger("neto_async")
    logger.addHandler(noting)
    try:
        async with AsyncExitStack() as stack:
            http_client = await stack.enter_async_context(library())
            neto = await stack.enter_async_context(client(address(closed_port), http_client))
            adding = asyncio.create_task(neto.add_customer_log(CustomerLog(notes="late")))
            await refused.wait()
            server = await stack.enter_async_context(RawServer(sock=closed_port))
            added = await adding
    finally:
        logger.removeHandler(noting)

    assert [Phase.NEVER_LEFT, Phase.ANSWERED] == [attempt.phase for attempt in added.attempts]
    assert {"late": 1} == server.received
