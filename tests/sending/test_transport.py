"""The transport over real sockets and three HTTP libraries: what left, and what did not."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from httpx_aiohttp import AiohttpTransport

from neto_async.sandbox import NetoSandbox, faults
from neto_async.sending.exchange import Failure, OutgoingBody, Reply
from neto_async.sending.transport import HttpTransport
from neto_async.settings import Settings

OWN_LINES = {line.strip() for line in Path(__file__).read_text(encoding="utf-8").splitlines()}
BODY = b'{"CustomerLogs": {"CustomerLog": [{"Notes": "CANARY notes"}]}}'
LIBRARIES: dict[str, Any] = {
    "httpx": httpx.AsyncClient,
    "httpx2": httpx2.AsyncClient,
    "httpx over aiohttp": lambda: httpx.AsyncClient(transport=AiohttpTransport()),
}


@pytest.fixture(params=list(LIBRARIES))
async def http_client(request: Any) -> AsyncIterator[Any]:
    async with LIBRARIES[request.param]() as client:
        yield client


async def call(url: str, http_client: Any, **more: Any) -> tuple[Any, OutgoingBody]:
    settings = Settings(store_url=url, **{"api_key": "CANARY-key", "timeout": 20.0, **more})
    body = OutgoingBody(BODY)
    return await HttpTransport(settings, http_client).call(body), body


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_refused_connection_never_left(http_client):
    """Nobody listens: the call has not left."""
    exchange, body = await call(f"http://127.0.0.1:{_closed_port()}", http_client)

    assert (True, False) == (isinstance(exchange, Failure), body.left)


async def test_unknown_host_never_left(http_client):
    """A name that no DNS knows: the call has not left."""
    exchange, body = await call("https://no-such-host.invalid", http_client)

    assert (True, False) == (isinstance(exchange, Failure), body.left)


async def test_tls_to_a_plain_port_never_left(store, http_client):
    """TLS to a port that speaks none: the call has not left."""
    exchange, body = await call(store.url.replace("http://", "https://"), http_client)

    assert (True, False) == (isinstance(exchange, Failure), body.left)


@pytest.mark.parametrize("fault", [faults.Reset(saves=True), faults.Close(saves=True)])
async def test_connection_broken_after_saving_has_left(store, http_client, fault):
    """A connection that breaks after the store saved: the call has left, whatever the exception's class says."""
    store.faults.next(fault)

    exchange, body = await call(store.url, http_client, api_key=store.api_key, username=store.username)

    assert (True, True, 1) == (isinstance(exchange, Failure), body.left, len(store.logs))


async def test_silence_ends_at_the_deadline(store, http_client):
    """A store that never answers: the call ends as left, and without an answer."""
    store.faults.next(faults.Silence())

    exchange, body = await call(store.url, http_client, timeout=0.2)

    assert (True, True) == (isinstance(exchange, Failure), body.left)


async def test_an_answer_comes_whole(store, http_client):
    """Status, headers and bytes of an answer come as they are; the client handed in stays open."""
    exchange, body = await call(store.url, http_client, api_key=store.api_key, username=store.username)

    assert isinstance(exchange, Reply)
    assert (200, True, True, 1) == (exchange.status, b"LogID" in exchange.body, body.left, len(store.logs))
    assert not http_client.is_closed


async def test_a_redirect_is_not_followed(store, http_client):
    """A redirect is an answer like others: the key is not carried elsewhere."""
    store.faults.next(faults.Redirect())
    http_client.follow_redirects = True

    exchange, _ = await call(store.url, http_client)

    assert (302, 1) == (exchange.status, len(store.calls))


async def test_nothing_secret_is_printed(http_client, caplog):
    """Neither key nor notes stand in a log record, a repr or a traceback of what the transport gives back."""
    caplog.set_level(logging.DEBUG)
    async with NetoSandbox(requests_per_minute=None) as store:
        store.faults.next(faults.Reset(saves=True))
        broken, body = await call(store.url, http_client)
        answered, _ = await call(store.url, http_client)
    refused, _ = await call(f"http://127.0.0.1:{_closed_port()}", http_client)
    settings = Settings(store_url="http://localhost", api_key="CANARY-key")
    try:
        [_ async for _ in body]
    except RuntimeError as error:
        shown = "".join(traceback.format_exception(error))
    else:
        pytest.fail("a body was sent twice")

    seen = [repr(it) for it in (broken, answered, refused, body, settings, HttpTransport(settings))]
    printed = "\n".join([*seen, shown, caplog.text])
    assert [] == [line for line in printed.splitlines() if "CANARY" in line and line.strip() not in OWN_LINES]
