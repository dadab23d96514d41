"""The HTTP libraries that a user may hand in, each as a maker of a client."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
import httpx2
from httpx_aiohttp import AiohttpTransport

__all__ = ["LIBRARIES", "make_httpx", "make_httpx2", "make_httpx_over_aiohttp"]


def make_httpx(*, connections: int = 10, verify: ssl.SSLContext | bool = True) -> Any:
    return httpx.AsyncClient(limits=httpx.Limits(max_connections=connections), verify=verify, trust_env=False)


def make_httpx2(*, connections: int = 10, verify: ssl.SSLContext | bool = True) -> Any:
    return httpx2.AsyncClient(limits=httpx2.Limits(max_connections=connections), verify=verify, trust_env=False)


def make_httpx_over_aiohttp(*, connections: int = 10, verify: ssl.SSLContext | bool = True) -> Any:
    limits = httpx.Limits(max_connections=connections)
    return httpx.AsyncClient(transport=AiohttpTransport(limits=limits, verify=verify, trust_env=False))


LIBRARIES: dict[str, Any] = {
    "httpx": make_httpx,
    "httpx2": make_httpx2,
    "httpx over aiohttp": make_httpx_over_aiohttp,
}
