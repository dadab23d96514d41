"""
Calls over HTTP. The one module that knows the HTTP library; every error of it ends here.

May import: sending but the engine, settings, errors. Works with `httpx.AsyncClient` and with what has
its interface, such as `httpx2.AsyncClient`, which is why nothing below asks for a client's or an error's class.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from neto_async._version import VERSION
from neto_async.errors import ConfigurationError
from neto_async.sending.access import Access, NoKeyError
from neto_async.sending.connections import Connections
from neto_async.sending.environment import certificates_variable, check_certificates, proxy_for
from neto_async.sending.exchange import Failure, HttpReply, OutgoingBody, Transport
from neto_async.sending.failures import failure_of
from neto_async.sending.waiting import Deadline
from neto_async.settings import Settings

__all__ = ["HttpTransport"]

GRACE = 0.1
"""Seconds past its deadline after which a call is cut off; the engine's own are longer."""

FRESH_STARTS = 3
"""Times that a call begins again because a connection ended just before it left."""

NOT_OURS = frozenset({"authorization", "cookie", "expect", "transfer-encoding"})
"""Headers that only we put on a call; those that the caller's client adds by default are removed."""


class HttpTransport(Transport):
    """
    Make calls through an HTTP client.

    A call is cut off at its deadline, and its connection is closed: a server that sends its headers byte by byte would
    keep it for ever. Before that it is never cancelled, since httpcore loses a slot of its pool where a call is
    cancelled that has just been given one; past the deadline no call waits for a slot.

    Args:
        settings: Where to and with which credentials.
        http_client: The caller's own client; it is not closed here.

    Raises:
        ConfigurationError: The store's host can't exist; the caller's own client is of another kind, or would send a
            call for loopback to a proxy; a variable of the environment can't be used.
    """

    def __init__(self, settings: Settings, http_client: Any = None) -> None:
        self._owned = http_client is None
        if http_client is not None and not all(hasattr(http_client, name) for name in ("build_request", "aclose")):
            raise ConfigurationError("http_client must be an httpx.AsyncClient, or one with its interface")
        self._settings = settings
        self._client = http_client
        self._headers = _headers(settings)
        self._access = Access(settings.login)
        self._connections = Connections()
        self._url: Any = settings.endpoint  # from the first call on as the HTTP library holds it, parsed
        self._proxy: str | None = None
        _check_host(settings)
        if self._owned:
            self._read_environment()
        elif settings.on_loopback and getattr(http_client, "trust_env", False):
            _refuse_proxy_for_loopback(settings)

    def __repr__(self) -> str:
        return f"HttpTransport({'own' if self._owned else 'given'} client)"

    @property
    def closed(self) -> bool:
        """True where the client can't be used any more."""
        return bool(getattr(self._client, "is_closed", False))

    async def call(self, body: OutgoingBody) -> HttpReply | Failure:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.timeout
        status = None
        limit = asyncio.timeout(None)
        timer = Deadline(deadline, GRACE, lambda: limit.reschedule(loop.time()))
        try:
            async with limit:
                response = await self._post(body, deadline)
                status = response.status_code
                try:
                    return await _read(response, body.action.max_reply_bytes)
                finally:
                    await response.aclose()
        except asyncio.CancelledError:
            # Only a loop that is shutting down cancels this task, and then it cancels those who wait for it too.
            return Failure(name="cancelled", status=status)
        except NoKeyError as error:
            return error.failure
        except ConfigurationError as error:
            return Failure(name=type(error).__name__, status=status, kind=str(error), permanent=True)
        except Exception as error:  # noqa: BLE001
            if limit.expired():
                return Failure(name="deadline passed", status=status, kind="timed out")
            # `body.left` says what any error means. Its text may hold a key, so only its class is passed on.
            return failure_of(error, status)
        finally:
            timer.cancel()

    async def _post(self, body: OutgoingBody, deadline: float) -> Any:
        """Send a body; where its connection ends just before anything of it leaves, begin again."""
        departure = _Departure(body, deadline, self._connections)
        body.check = departure.check
        for _ in range(FRESH_STARTS):
            try:
                return await self._send(body, departure)
            except Exception:
                if departure.head_left or body.left or body.revoked or not departure.ended:
                    raise
                departure.ended = False
        return await self._send(body, departure)

    async def _send(self, body: OutgoingBody, departure: _Departure) -> Any:
        client = self.open()
        login = await self._access.headers(departure.deadline)
        body.key_refused = partial(self._access.refused, login)
        self._connections.any_ended()  # those that the HTTP library notices too are forgotten
        request = client.build_request(
            "POST",
            self._url,
            headers={
                **body.action.headers(self._settings.wire_format),
                **self._headers,
                **{name: secret.get_secret_value() for name, secret in login.items()},
                "Content-Length": str(len(body.content)),
            },
            content=body,
            extensions={"timeout": _Remaining(departure.deadline), "trace": departure.trace},
        )
        _take_defaults_away(request, login)
        self._url = request.url
        response = await _send(client, request)
        self._connections.note(getattr(response, "extensions", {}).get("network_stream"))
        return response

    async def aclose(self) -> None:
        """Close the client, where it is ours."""
        if self._owned and self._client is not None:
            await self._client.aclose()

    def open(self) -> Any:
        """
        Make the client, if need be: that reads certificates, and holds the loop for some 0.1 s.

        Raises:
            ConfigurationError: The certificates that the environment names can't be read.
        """
        if self._client is None:
            connections = self._settings.max_concurrency
            context = _trusting(encrypted=self._encrypted)
            self._client = httpx.AsyncClient(
                limits=httpx.Limits(
                    max_connections=connections,
                    max_keepalive_connections=connections,
                    keepalive_expiry=self._settings.keepalive_expiry,
                ),
                verify=context,
                proxy=None if self._proxy is None else _proxy(self._proxy, context),
                trust_env=False,  # what the environment says was read before
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                follow_redirects=False,
            )
        return self._client

    @property
    def _encrypted(self) -> bool:
        """True where the store, or the proxy to it, is reached by TLS."""
        return "https:" in {self._settings.endpoint[:6], (self._proxy or "")[:6].lower()}

    def _read_environment(self) -> None:
        if not self._settings.on_loopback:
            self._proxy = proxy_for(self._settings.endpoint, httpx.URL)
        if self._encrypted:
            check_certificates()


def _check_host(settings: Settings) -> None:
    try:
        _ = httpx.URL(settings.endpoint).host
    except (httpx.InvalidURL, UnicodeError):  # idna's errors are of the latter kind
        raise ConfigurationError("the store's address names a host that can't exist; look for a typing error") from None


def _refuse_proxy_for_loopback(settings: Settings) -> None:
    if proxy_for(settings.endpoint, httpx.URL, networks=False) is not None:
        raise ConfigurationError(
            "http_client heeds a proxy of the environment, which would get the key of a store on this machine: "
            "make it with trust_env=False, or name the store's host in NO_PROXY"
        )


def _trusting(*, encrypted: bool) -> ssl.SSLContext:
    if not encrypted:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # no TLS: it trusts nobody, and reads nothing
    try:
        return httpx.create_ssl_context()
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        name = certificates_variable()
        what = (
            "the certificates that come with httpx" if name is None else f"what the environment variable {name} names"
        )
        raise ConfigurationError(f"{what} can't be read as certificates") from None


def _proxy(address: str, context: ssl.SSLContext) -> httpx.Proxy:
    return httpx.Proxy(address, ssl_context=context if address.lower().startswith("https:") else None)


def _take_defaults_away(request: Any, ours: Iterable[str]) -> None:
    """Take away what a client that is shared with other services adds: their secrets, and what breaks a call."""
    for name in NOT_OURS.intersection(request.headers).difference(map(str.lower, ours)):
        del request.headers[name]
    if request.url.query:
        request.url = request.url.copy_with(query=None)


async def _send(client: Any, request: Any) -> Any:
    try:
        return await client.send(request, stream=True, follow_redirects=False, auth=None)
    except Exception as error:
        # httpx documents an event hook with raise_for_status(). Where it has read this call's
        # answer before, and not another service's, that is as good as any other: a 429 need not put records in doubt.
        response = getattr(error, "response", None)
        if response is None or response.request is not request or not response.is_stream_consumed:
            raise
        return response


async def _read(response: Any, limit: int) -> HttpReply | Failure:
    if response.is_stream_consumed:
        # An event hook of the caller's own client has read, and decoded, the answer.
        headers = {name: value for name, value in response.headers.items() if name != "content-encoding"}
        return HttpReply(status=response.status_code, headers=headers, body=response.content)
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > limit:
            return Failure(name="answer too long", status=response.status_code, kind="answer too long")
    return HttpReply(status=response.status_code, headers=response.headers, body=bytes(body))


class _Departure:
    """
    Check at the last moment whether a call may leave: if it has not left, nothing was saved for certain.

    First before its head, if the HTTP library is httpcore, which reports that moment; then before its body.

    Attributes:
        deadline: Of the call, on the loop's clock.
        ended: It may not, since a connection has ended; the call may begin again.
        head_left: Its head has left. A store may count that as a call, so no other head may follow in the same place.
    """

    def __init__(self, body: OutgoingBody, deadline: float, connections: Connections) -> None:
        self.deadline = deadline
        self.ended = False
        self.head_left = False
        self._body = body
        self._connections = connections

    def check(self) -> None:
        self.ended = self._connections.any_ended()
        if self.ended:
            raise ConnectionResetError
        if asyncio.get_running_loop().time() > self.deadline:
            raise TimeoutError

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """Check before httpcore sends the head; an exception raised here prevents that."""
        # A request to a proxy for a tunnel is traced as well.
        if event.endswith("send_request_headers.started") and info["request"].method == b"POST":
            self.check()
            self._body.require_leave()
            self.head_left = True


class _Remaining(dict[str, float | None]):
    """
    The timeouts of a request's phases.

    Waiting for a connection and making it may take what remains of the deadline when they begin. Writing and reading
    have none of their own: the call as a whole is cut off, once what has arrived was read.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        super().__init__(dict.fromkeys(("connect", "read", "write", "pool")))

    def __getitem__(self, phase: str) -> float | None:
        if phase in {"read", "write"}:
            return None
        return max(self._deadline - asyncio.get_running_loop().time(), 0.001)

    def get(self, phase: str, default: Any = None) -> Any:  # noqa: ARG002
        return self[phase]


def _headers(settings: Settings) -> dict[str, str]:
    headers = {"User-Agent": f"neto-async/{VERSION}"}
    if settings.keepalive_expiry == 0:
        headers["Connection"] = "close"
    return headers
