"""The HTTP libraries, opened alike: so many connections, no redirects. May import: by_hand (what `Post` is), wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import httpx2
import httpx_aiohttp

from benchmarks.by_hand import Post
from neto_async.settings import WireFormat
from neto_async.wire import ADD_CUSTOMER_LOG

CONNECTIONS = 4
PATH = "/do/WS/NetoAPI"

OPEN: Mapping[str, Callable[[], Any]] = {
    "httpx": lambda: httpx.AsyncClient(limits=httpx.Limits(max_connections=CONNECTIONS)),
    "httpx2": lambda: httpx2.AsyncClient(limits=httpx2.Limits(max_connections=CONNECTIONS)),
    "httpx over aiohttp": lambda: httpx_aiohttp.HttpxAiohttpClient(limits=httpx.Limits(max_connections=CONNECTIONS)),
}
"""Opens a client that `AsyncNetoClient` takes as its ``http_client``, by the name of the library."""


def call_headers(wire_format: str) -> dict[str, str]:
    """Give the headers that a call by hand carries: the same as the library's."""
    return ADD_CUSTOMER_LOG.headers(WireFormat(wire_format)) | {"NETOAPI_KEY": "key", "NETOAPI_USERNAME": "bench"}


def post_with(client: Any, address: str, wire_format: str) -> Post:
    """Post by hand over a client of `OPEN`."""
    headers = call_headers(wire_format)
    url = address + PATH

    async def post(body: bytes) -> tuple[int, bytes]:
        response = await client.post(url, content=body, headers=headers)
        return response.status_code, response.content

    return post


@asynccontextmanager
async def post_with_aiohttp(address: str, wire_format: str) -> AsyncIterator[Post]:
    """Post by hand over aiohttp itself."""
    headers = call_headers(wire_format)
    url = address + PATH
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:

        async def post(body: bytes) -> tuple[int, bytes]:
            async with session.post(url, data=body, headers=headers) as response:
                return response.status, await response.read()

        yield post
