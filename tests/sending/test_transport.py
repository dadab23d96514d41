"""The transport over real sockets and three HTTP libraries: what left, and what did not."""

from __future__ import annotations

import asyncio
import gzip
import importlib.metadata
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
from virtual import run

from neto_async.sandbox import NetoSandbox, faults
from neto_async.sending.exchange import Failure, HttpReply, OutgoingBody
from neto_async.sending.transport import HttpTransport
from neto_async.settings import Settings
from neto_async.wire.bodies import MAX_REPLY_BYTES

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
    """Nobody listens: the call has not left, and may come through later."""
    exchange, body = await call(f"http://127.0.0.1:{_closed_port()}", http_client)

    assert ("connection refused", False, False) == (exchange.kind, exchange.permanent, body.left)


@pytest.mark.parametrize(
    ("number", "named"),
    [(socket.EAI_NONAME, ("host not found", True)), (socket.EAI_AGAIN, ("host name lookup failed", False))],
)
async def test_unknown_host_never_left(http_client, monkeypatch, number, named):
    """A name that no DNS knows: the call has not left, and never will; where DNS itself fails, it may."""

    def look_up(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(number, "CANARY")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    exchange, body = await call("https://no-such-host.invalid", http_client)

    assert (named, False) == ((exchange.kind, exchange.permanent), body.left)


async def test_tls_to_a_plain_port_never_left(store, http_client):
    """TLS to a port that speaks none: the call has not left."""
    exchange, body = await call(store.url.replace("http://", "https://"), http_client)

    assert ("TLS handshake failed", False, False) == (exchange.kind, exchange.permanent, body.left)


@pytest.mark.parametrize("fault", [faults.Reset(saves=True), faults.Close(saves=True)])
async def test_connection_broken_after_saving_has_left(store, http_client, fault):
    """A connection that breaks after the store saved: the call has left, whatever the exception's class says."""
    store.faults.next(fault)

    exchange, body = await call(store.url, http_client, api_key=store.api_key, username=store.username)

    assert (True, True, 1) == (exchange.kind in {"connection reset", "connection closed"}, body.left, len(store.logs))


async def test_silence_ends_at_the_deadline(store, http_client):
    """A store that never answers: the call ends as left, and without an answer."""
    store.faults.next(faults.Silence())

    exchange, body = await call(store.url, http_client, timeout=0.2)

    assert (Failure(name="deadline passed", kind="timed out"), True) == (exchange, body.left)


async def test_an_answer_comes_whole(store, http_client):
    """Status, headers and bytes of an answer come as they are; the client that was passed stays open."""
    exchange, body = await call(store.url, http_client, api_key=store.api_key, username=store.username)

    assert isinstance(exchange, HttpReply)
    assert (200, True, True, 1) == (exchange.status, b"LogID" in exchange.body, body.left, len(store.logs))
    assert not http_client.is_closed


async def test_a_redirect_is_not_followed(store, http_client):
    """A redirect is an answer like others: the key is not carried elsewhere."""
    store.faults.next(faults.Redirect())
    http_client.follow_redirects = True

    exchange, _ = await call(store.url, http_client)

    assert (302, 1) == (exchange.status, len(store.calls))


async def test_nothing_secret_is_printed(http_client, caplog):
    """Neither key nor notes are in a log record, a repr or a traceback of what the transport gives back."""
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


# -- without a socket -------------------------------------------------------------------------------------------------


def _answered(answer: Any, **hooks: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda request: answer), event_hooks=hooks)


class _Pieces(httpx.AsyncByteStream):
    """An answer in parts, some of which come late."""

    def __init__(self, parts: list[bytes], wait: float) -> None:
        self.parts = parts
        self.wait = wait
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            await asyncio.sleep(self.wait)
            yield part

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("length", "name"), [(MAX_REPLY_BYTES, None), (MAX_REPLY_BYTES + 1, "answer too long"), (9, None)]
)
def test_an_answer_over_the_cap_is_not_read_on(length, name):
    """An answer is read up to the cap of bytes, and one byte more fails it with its status."""
    stream = _Pieces([b"x" * (length - 1), b"x"], 0.0)

    exchange, body = run(lambda: call("http://localhost", _answered(httpx.Response(200, stream=stream))))

    assert (name, 200, True, True) == (getattr(exchange, "name", None), exchange.status, body.left, stream.closed)


@pytest.mark.parametrize(("wait", "name"), [(10.04, None), (10.1, "deadline passed")])
def test_an_answer_is_cut_off_at_its_deadline(wait, name):
    """An answer that drips on after the deadline, and a tenth of a second more, fails, and its stream is closed."""
    stream = _Pieces([b"x", b"y"], wait)

    exchange, _ = run(lambda: call("http://localhost", _answered(httpx.Response(200, stream=stream)), timeout=20.0))

    assert (name, 200, True) == (getattr(exchange, "name", None), exchange.status, stream.closed)


def test_an_answer_that_a_hook_has_read_is_taken_decoded():
    """Where a hook of the caller's client has read the answer, its decoded bytes count, and no encoding is named."""

    async def read(response: httpx.Response) -> None:
        await response.aread()

    packed = httpx.Response(200, headers={"content-encoding": "gzip", "x-more": "1"}, content=gzip.compress(b"plain"))

    exchange, _ = run(lambda: call("http://localhost", _answered(packed, response=[read])))

    assert (b"plain", None, "1") == (
        exchange.body,
        exchange.headers.get("content-encoding"),
        exchange.headers.get("x-more"),
    )


def test_an_answer_comes_undecoded():
    """Otherwise the bytes come as they are, under the encoding that the headers name."""
    packed = gzip.compress(b"plain")
    stream = _Pieces([packed], 0.0)
    answer = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=stream)

    exchange, _ = run(lambda: call("http://localhost", _answered(answer)))

    assert (packed, "gzip") == (exchange.body, exchange.headers["content-encoding"])


def test_a_request_carries_what_the_vendor_asks_for():
    """Path, key, user, action, formats and an explicit length go out; connecting may take what remains of the call."""
    seen: list[httpx.Request] = []

    async def stall(request: httpx.Request) -> None:
        await asyncio.sleep(5.0)
        timeouts = request.extensions["timeout"]
        assert [15.0, None, None, 15.0, 15.0] == [
            *(timeouts[phase] for phase in ("connect", "read", "write", "pool")),
            timeouts.get("pool"),
        ]
        await asyncio.sleep(15.05)
        assert 0.001 == timeouts["connect"]
        seen.append(request)

    async def work() -> None:
        await call("http://localhost", _answered(httpx.Response(200), request=[stall]), username="user")
        await asyncio.sleep(60)

    run(work)
    (request,) = seen
    named = {name: request.headers.get(name) for name in ("NETOAPI_KEY", "NETOAPI_USERNAME", "NETOAPI_ACTION")}
    assert {
        "NETOAPI_KEY": "CANARY-key",
        "NETOAPI_USERNAME": "user",
        "NETOAPI_ACTION": "AddCustomerLog",
    } == named
    assert ("http://localhost/do/WS/NetoAPI", "POST") == (str(request.url), request.method)
    assert (str(len(BODY)), "identity") == (request.headers["content-length"], request.headers["accept-encoding"])
    assert "transfer-encoding" not in request.headers
    assert request.headers["user-agent"].startswith("neto-async/")


def test_a_body_does_not_leave_after_its_deadline():
    """What gets to the body only when the deadline has passed does not leave: nothing was saved, for certain."""

    async def stall(request: httpx.Request) -> None:
        await asyncio.sleep(20.05)

    client = _answered(httpx.Response(200), request=[stall])
    exchange, body = run(lambda: call("http://localhost", client, timeout=20.0))

    assert (Failure(name="TimeoutError", kind="timed out"), False) == (exchange, body.left)


def test_a_bundle_without_metadata_works(monkeypatch):
    """Where the package's metadata is missing its version is known all the same, and is that of the metadata."""
    installed = importlib.metadata.version("neto_async")
    monkeypatch.setattr(importlib.metadata.Distribution, "from_name", importlib.metadata.PackageNotFoundError)
    seen: list[httpx.Request] = []

    async def note(request: httpx.Request) -> None:
        seen.append(request)

    run(lambda: call("http://localhost", _answered(httpx.Response(200), request=[note])))
    assert [f"neto-async/{installed}"] == [request.headers["user-agent"] for request in seen]


def test_no_user_name_no_header():
    """Without a user name no such header goes out."""
    seen: list[httpx.Request] = []

    async def note(request: httpx.Request) -> None:
        seen.append(request)

    run(lambda: call("http://localhost", _answered(httpx.Response(200), request=[note])))
    assert "NETOAPI_USERNAME" not in seen[0].headers


def test_authentication_of_the_given_client_is_not_used():
    """A scheme of the caller's client neither sends the body twice nor adds a header."""
    seen: list[httpx.Request] = []

    async def note(request: httpx.Request) -> None:
        seen.append(request)

    client = _answered(httpx.Response(401), request=[note])
    client.auth = httpx.BasicAuth("CANARY", "CANARY")

    exchange, _ = run(lambda: call("http://localhost", client))
    assert (401, 1, False) == (exchange.status, len(seen), "authorization" in seen[0].headers)


async def test_an_own_client_is_made_at_the_first_call_and_closed(store):
    """Without a client of the caller's one is made, with a slot for each call at once, and closed at the end."""
    settings = Settings(store_url=store.url, api_key=store.api_key, username=store.username, max_concurrency=3)
    transport = HttpTransport(settings)
    assert "HttpTransport(own client)" == repr(transport)
    await transport.aclose()

    exchange = await transport.call(OutgoingBody(BODY))
    pool = transport._client._transport._pool
    assert (200, False) == (exchange.status, transport.closed)
    assert (3, 3, 3.0, False) == (
        pool._max_connections,
        pool._max_keepalive_connections,
        pool._keepalive_expiry,
        transport._client.follow_redirects,
    )

    await transport.aclose()
    assert transport.closed


def test_a_torn_down_loop_ends_calls_as_failures():
    """Where a loop that ends cancels everything, a call ends as a failure of its own name."""

    async def stall(request: httpx.Request) -> None:
        await asyncio.sleep(100.0)

    async def work() -> Any:
        transport = HttpTransport(
            Settings(store_url="http://localhost", api_key="key"), _answered(httpx.Response(200), request=[stall])
        )
        calling = asyncio.ensure_future(transport.call(OutgoingBody(BODY)))
        await asyncio.sleep(1.0)
        calling.cancel()
        return await calling

    assert Failure(name="cancelled") == run(work)
