"""
A server on loopback that writes bytes, not HTTP: each call meets the next script.

It knows as much of HTTP as it takes to find the end of a request's body. It counts the texts in bodies that came whole,
which is what an outcome is held against.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import ssl
import struct
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any, Self

__all__ = ["Connection", "RawServer", "Script", "answer_added", "with_length"]

GONE = (ConnectionError, asyncio.IncompleteReadError)


def with_length(body: bytes, *, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    """Print an answer whose Content-Length is right, unless another is given."""
    said = len(body) if length is None else length
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {said}\r\n{headers}\r\n".encode()
        + body
    )


class Connection:
    """One connection, as a script drives it."""

    def __init__(self, server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.ended = False
        self.headers: dict[bytes, bytes] = {}  # of the last request, in small letters
        self._reader = reader
        self._writer = writer
        self._length = 0

    async def head(self) -> None:
        """Read a request up to the end of its headers."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        self.headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        self._length = int(self.headers[b"content-length"])

    async def body(self) -> bytes:
        """Read and count the body, and give the answer that adds what it holds."""
        records = json.loads(await self._reader.readexactly(self._length))["CustomerLogs"]["CustomerLog"]
        return self.server.save([record["Notes"] for record in records])

    async def send(self, data: bytes) -> None:
        """Write bytes and see them off."""
        self._writer.write(data)
        await self._writer.drain()

    async def drip(self, data: bytes, seconds: float = 0.02) -> None:
        """Write byte by byte, until the other side has gone."""
        for byte in data:
            await self.send(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.gone(), seconds)
                return

    async def gone(self) -> None:
        """Read until the other side hangs up."""
        with contextlib.suppress(*GONE):
            while await self._reader.read(65536):
                pass

    def close(self) -> None:
        """End the connection in order."""
        self.ended = True
        self._writer.close()

    def reset(self) -> None:
        """End the connection with RST."""
        self.ended = True
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()

    async def let_go(self) -> None:
        """Close the socket, whatever the script has done, and see it closed; the end of the server hurries it."""
        if not self.ended:
            self._writer.transport.abort()
        try:
            await self._writer.wait_closed()
        except asyncio.CancelledError:
            self._writer.transport.abort()
        except GONE:
            pass


Script = Callable[[Connection], Awaitable[None]]


async def answer_added(call: Connection) -> None:
    """Read the call and answer as a store does that saved it."""
    await call.send(with_length(await call.body()))


class RawServer:
    """
    A server on a port of its own.

    Args:
        scripts: What the first calls meet, one each, after their headers were read.
        otherwise: What all others meet.
        on_connect: What a connection meets before a byte of it was read; it ends the connection by leaving it ended.
        tls: Speak TLS with this context.
        sock: A bound socket to listen on, instead of a new one; it is closed at the end.

    Attributes:
        received: How often each text arrived in a body that came whole.
        connections: Connections so far.
        calls: Requests whose headers came whole.
        ids: The id that each text was given last.
    """

    def __init__(
        self,
        *scripts: Script,
        otherwise: Script = answer_added,
        on_connect: Script | None = None,
        tls: ssl.SSLContext | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        self.received: Counter[str] = Counter()
        self.ids: dict[str, int] = {}
        self.connections = 0
        self.calls = 0
        self._scripts = deque(scripts)
        self._otherwise = otherwise
        self._on_connect = on_connect
        self._tls = tls
        self._sock = sock or socket.create_server(("127.0.0.1", 0))
        self._next_id = itertools.count(1)
        self._handlers: set[asyncio.Task[Any]] = set()
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The address, as a client takes it."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self._sock.getsockname()[1]}"

    @property
    def open(self) -> int:
        """Connections that have not ended."""
        return len(self._handlers)

    def save(self, texts: list[str]) -> bytes:
        """Count texts as arrived, and give the answer that adds them."""
        self.received.update(texts)
        self.ids |= {text: next(self._next_id) for text in texts}
        added = [{"LogID": str(self.ids[text])} for text in texts]
        return json.dumps({"CustomerLog": added, "Ack": "Success"}).encode()

    async def all_ended(self) -> None:
        """Wait until every connection has ended, and both sides had a turn of the loop to notice."""
        while self._handlers:
            await asyncio.wait(set(self._handlers))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, sock=self._sock, ssl=self._tls)
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
        self.connections += 1
        connection = Connection(self, reader, writer)
        # Cancelled only by the end of the server; asyncio would log that of a stream's handler.
        with contextlib.suppress(asyncio.CancelledError, *GONE):
            if self._on_connect is not None:
                await self._on_connect(connection)
            while not connection.ended:
                await connection.head()
                self.calls += 1
                await (self._scripts.popleft() if self._scripts else self._otherwise)(connection)
        await connection.let_go()
