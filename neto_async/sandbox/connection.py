"""
Send a transmission through aiohttp's server: the one file that touches the socket.

May import: transmission.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

from neto_async.sandbox.transmission import Ending, HttpReply, RawBytes, Transmission

__all__ = ["ask_for_body", "response_for"]

_LINGER_ZERO = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
"""SO_LINGER on, with no time: closing then sends RST instead of FIN."""

Pause = Callable[[float], Awaitable[None]]


def ask_for_body(request: web.BaseRequest) -> None:
    """Answer 100 Continue to a client that sent only its headers and waits (as curl does with a long body)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def response_for(transmission: Transmission, pause: Pause) -> web.StreamResponse:
    """Make the response that carries a transmission out; ``pause`` waits for a number of seconds."""
    if isinstance(transmission, RawBytes):
        return _RawResponse(transmission, pause)
    return _whole(transmission)


def _whole(reply: HttpReply) -> web.Response:
    response = web.Response(status=reply.status, body=reply.body)
    response.headers["Content-Type"] = reply.content_type
    for name, value in reply.headers:
        response.headers.add(name, value)
    return response


class _RawResponse(web.StreamResponse):
    """Writes exact bytes past aiohttp's own writer, and ends the connection."""

    def __init__(self, raw: RawBytes, pause: Pause) -> None:
        super().__init__()
        self._raw = raw
        self._pause = pause
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        transport = request.transport
        if transport is None:  # the client went away first
            return
        await self._send(transport)
        if self._raw.ending is Ending.RESET:
            _reset(transport)
        else:
            transport.close()

    async def write_eof(self, data: bytes = b"") -> None:
        """There is no more to write: `prepare` has ended the connection."""

    async def _send(self, transport: asyncio.Transport) -> None:
        raw = self._raw
        if raw.gap is None:
            transport.write(raw.data)
            return
        transport.write(raw.data[: raw.whole])
        for position in range(raw.whole, len(raw.data)):
            if transport.is_closing():
                return
            transport.write(raw.data[position : position + 1])
            await self._pause(raw.gap)


def _reset(transport: asyncio.Transport) -> None:
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()
