"""
Calls over HTTP. The one module that knows the HTTP library; every error of it ends here.

May import: exchange, wire (headers), settings, errors. Works with `httpx.AsyncClient` and with what has its interface,
such as `httpx2.AsyncClient`, which is why nothing below asks for the class of a client or of an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from neto_async.errors import ConfigurationError
from neto_async.sending.exchange import Failure, OutgoingBody, Reply
from neto_async.settings import Settings
from neto_async.wire import MAX_REPLY_BYTES, request_headers

__all__ = ["HttpTransport"]

KEEPALIVE = 3.0
"""Seconds an idle connection is kept. Servers close idle ones after five seconds and more, and a call that goes out
just then ends in doubt."""


NOT_OURS = frozenset({"authorization", "cookie", "expect", "transfer-encoding"})
"""Headers that a call never has, whatever the caller's client adds by default."""


class HttpTransport:
    """
    Make calls through an HTTP client.

    A call is never cancelled, since httpcore loses pool slots that way: the phases' timeouts are what remains of the
    deadline, and the deadline is looked at between the pieces of the answer. A server that sends its headers byte by
    byte restarts those timeouts for ever: that call the engine leaves to itself.

    Args:
        settings: Where to and with which credentials.
        http_client: The caller's own client; it is not closed here.

    Raises:
        ConfigurationError: The caller's own client is of another kind.
    """

    def __init__(self, settings: Settings, http_client: Any = None) -> None:
        if http_client is not None and not all(hasattr(http_client, name) for name in ("build_request", "aclose")):
            raise ConfigurationError("http_client must be an httpx.AsyncClient, or one with its interface")
        self._settings = settings
        self._client = http_client
        self._owned = http_client is None
        self._headers = request_headers(settings.wire_format) | _credentials(settings)
        self._url: Any = settings.endpoint  # from the first call on as the HTTP library holds it, parsed

    def __repr__(self) -> str:
        return f"HttpTransport({'own' if self._owned else 'given'} client)"

    @property
    def closed(self) -> bool:
        """True where the client can't be used any more."""
        return bool(getattr(self._client, "is_closed", False))

    async def call(self, body: OutgoingBody) -> Reply | Failure:
        """Post the body; every error becomes a `Failure`."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._settings.timeout
        status = None
        try:
            client = self.open()
            request = client.build_request(
                "POST",
                self._url,
                headers={**self._headers, "Content-Length": str(len(body.content))},
                content=body,
                extensions={"timeout": _Remaining(deadline, now)},
            )
            if not self._owned:
                _take_defaults_away(request)
            self._url = request.url
            response = await _send(client, request)
            status = response.status_code
            try:
                return await _read(response, deadline, now)
            finally:
                await response.aclose()
        except asyncio.CancelledError:
            # Only a loop that is being torn down cancels this task. Whoever waits for it learns of that by itself.
            return Failure(name="cancelled", status=status)
        except Exception as error:  # noqa: BLE001
            # Whatever it was, `body.left` says what it means. Its text may hold a key: only the class goes on.
            return Failure(name=type(error).__name__, status=status)

    async def aclose(self) -> None:
        """Close the client, where it is ours."""
        if self._owned and self._client is not None:
            await self._client.aclose()

    def open(self) -> Any:
        """Make the client, if need be: that reads certificates, and holds the loop for some 0.1 s."""
        if self._client is None:
            connections = self._settings.max_concurrency
            self._client = httpx.AsyncClient(
                limits=httpx.Limits(
                    max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEEPALIVE
                ),
                follow_redirects=False,
            )
        return self._client


def _take_defaults_away(request: Any) -> None:
    """Take away what a client that is shared with other services adds: their secrets, and what breaks a call."""
    for name in NOT_OURS.intersection(request.headers):
        del request.headers[name]
    if request.url.query:
        request.url = request.url.copy_with(query=None)


async def _send(client: Any, request: Any) -> Any:
    try:
        return await client.send(request, stream=True, follow_redirects=False, auth=None)
    except Exception as error:
        # An event hook with raise_for_status() stands in the documentation of httpx. Where it has read this call's
        # answer before, and not another service's, that is as good as any: a 429 need not put records in doubt.
        response = getattr(error, "response", None)
        if response is None or response.request is not request or not response.is_stream_consumed:
            raise
        return response


async def _read(response: Any, deadline: float, now: Callable[[], float]) -> Reply | Failure:
    if response.is_stream_consumed:
        # An event hook of the caller's own client has read, and decoded, the answer.
        headers = {name: value for name, value in response.headers.items() if name != "content-encoding"}
        return Reply(status=response.status_code, headers=headers, body=response.content)
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MAX_REPLY_BYTES:
            return Failure(name="answer too long", status=response.status_code)
        if now() > deadline:
            return Failure(name="deadline passed", status=response.status_code)
    return Reply(status=response.status_code, headers=response.headers, body=bytes(body))


class _Remaining(dict[str, float]):
    """The timeouts of a request's phases, each of which is what remains of one deadline when the phase begins."""

    def __init__(self, deadline: float, now: Callable[[], float]) -> None:
        self._deadline = deadline
        self._now = now
        super().__init__(dict.fromkeys(("connect", "read", "write", "pool"), self._left()))

    def __getitem__(self, phase: str) -> float:
        return self._left()

    def get(self, phase: str, default: Any = None) -> Any:  # noqa: ARG002
        return self._left()

    def _left(self) -> float:
        return max(self._deadline - self._now(), 0.001)


def _credentials(settings: Settings) -> dict[str, str]:
    from importlib.metadata import version  # noqa: PLC0415 - a twentieth of the whole import, for one word

    headers = {"NETOAPI_KEY": settings.api_key, "User-Agent": f"neto-async/{version('neto_async')}"}
    if settings.username is not None:
        headers["NETOAPI_USERNAME"] = settings.username
    return headers
