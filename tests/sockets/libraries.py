"""The HTTP libraries that a user may hand in, each as a maker of a client."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
import httpx2
from attrs import frozen
from httpx_aiohttp import AiohttpTransport

__all__ = ["LIBRARIES", "Through", "make_httpx", "make_httpx2", "make_httpx_over_aiohttp"]


@frozen
class Through:
    """A proxy: its address, and user name and password for it."""

    url: str
    auth: tuple[str, str] | None = None


def make_httpx(
    *, connections: int = 10, verify: ssl.SSLContext | bool = True, through: Through | None = None, **more: Any
) -> Any:
    return _make(httpx, connections, verify, through, more)


def make_httpx2(
    *, connections: int = 10, verify: ssl.SSLContext | bool = True, through: Through | None = None, **more: Any
) -> Any:
    return _make(httpx2, connections, verify, through, more)


def make_httpx_over_aiohttp(
    *, connections: int = 10, verify: ssl.SSLContext | bool = True, through: Through | None = None, **more: Any
) -> Any:
    limits = httpx.Limits(max_connections=connections)
    proxy = None if through is None else httpx.Proxy(through.url, auth=through.auth)
    transport = AiohttpTransport(limits=limits, verify=verify, proxy=proxy, trust_env=False)
    return httpx.AsyncClient(transport=transport, **more)


def _make(library: Any, connections: int, verify: Any, through: Through | None, more: dict[str, Any]) -> Any:
    proxy = None
    if through is not None:
        tls = verify if through.url.startswith("https:") else None
        proxy = library.Proxy(through.url, auth=through.auth, ssl_context=tls)
    limits = library.Limits(max_connections=connections)
    return library.AsyncClient(limits=limits, verify=verify, proxy=proxy, trust_env=False, **more)


LIBRARIES: dict[str, Any] = {
    "httpx": make_httpx,
    "httpx2": make_httpx2,
    "httpx over aiohttp": make_httpx_over_aiohttp,
}
