"""
An HTTP proxy on loopback: it forwards what is sent in the clear, and opens tunnels for the rest.

What it sees of a call it remembers, so that a test can look for a key there.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
from typing import Any, Self
from urllib.parse import urlsplit

__all__ = ["HttpProxy"]

GONE = (ConnectionError, asyncio.IncompleteReadError)


class HttpProxy:
    """
    A proxy on a port of its own.

    Args:
        tls: Speak TLS to the client with this context.
        credentials: "user:password" that it wants; 407 without.
        refusing: A status that it answers everything with, such as "502 Bad Gateway".
        silent: Answer nothing, ever.

    Attributes:
        heads: The head of each request that it was sent in the clear, a CONNECT or a call.
        seen: Every byte that clients sent through it.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        credentials: str | None = None,
        refusing: str | None = None,
        silent: bool = False,
    ) -> None:
        self.heads: list[str] = []
        self.seen = bytearray()
        self._tls = tls
        self._wanted = None if credentials is None else base64.b64encode(credentials.encode()).decode()
        self._refusing = refusing
        self._silent = silent
        self._handlers: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The address, as a client takes it."""
        assert self._listener is not None
        port = self._listener.sockets[0].getsockname()[1]
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{port}"

    def header(self, name: str) -> list[str]:
        """Give the values that the last request had for a header."""
        return re.findall(rf"^{name}: (.*)\r$", self.heads[-1], re.IGNORECASE | re.MULTILINE)

    def cut(self) -> None:
        """End every connection at once."""
        for writer in self._writers:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        for handler in self._handlers:
            handler.cancel()
        if self._handlers:
            await asyncio.wait(set(self._handlers))
        await self._listener.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)
        # Cancelled only by the end of the proxy; asyncio would log that of a stream's handler.
        with contextlib.suppress(asyncio.CancelledError, *GONE):
            await self._take(reader, writer)
        await self._let_go(writer)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.seen += head
        self.heads.append(head.decode("latin-1"))
        if self._silent:
            await reader.read()
        elif (refusal := self._refusal()) is not None:
            writer.write(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            await self._read_on(reader)
        else:
            await self._pass_on(head, reader, writer)

    def _refusal(self) -> str | None:
        if self._wanted is not None and [f"Basic {self._wanted}"] != self.header("Proxy-Authorization"):
            return '407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="proxy"'
        return self._refusing

    async def _read_on(self, reader: asyncio.StreamReader) -> None:
        while piece := await reader.read(65536):
            self.seen += piece

    async def _pass_on(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = head.decode("latin-1").split(" ", 2)
        tunnel = method == "CONNECT"
        parts = urlsplit(f"//{target}" if tunnel else target)
        beyond, onwards = await asyncio.open_connection(parts.hostname, parts.port)
        both = {writer, onwards}
        self._writers |= both
        try:
            if tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                # One call a connection: what follows on it would have to be read and rewritten too.
                own = re.sub(rb"(?im)^(proxy-.*|connection:.*)\r\n", b"", head)
                own = own.replace(
                    target.encode(), parts.path.encode() + (b"?" + parts.query.encode()) * bool(parts.query)
                )
                onwards.write(own.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            await asyncio.gather(self._pump(reader, onwards, seen=True), self._pump(beyond, writer, seen=False))
        finally:
            self._writers -= both
            await self._let_go(onwards)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, seen: bool) -> None:
        with contextlib.suppress(*GONE):
            while piece := await reader.read(65536):
                if seen:
                    self.seen += piece
                writer.write(piece)
                await writer.drain()
        writer.close()

    @staticmethod
    async def _let_go(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        # A transport that was aborted closes, whether or not the end of the proxy lets us see it.
        with contextlib.suppress(asyncio.CancelledError, *GONE):
            await writer.wait_closed()
