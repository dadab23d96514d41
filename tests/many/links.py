"""What is between a process and a server: it can hold all bytes back, and later deliver them or drop them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

__all__ = ["Link"]


class Link:
    """
    A port of its own that leads to a server's.

    Args:
        to: Port of the server.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._passes = asyncio.Event()
        self._passes.set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        self.cut()
        for handler in self._handlers:
            handler.cancel()
        if self._handlers:
            await asyncio.wait(set(self._handlers))
        await self._listener.wait_closed()

    @property
    def port(self) -> int:
        assert self._listener is not None
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    def hold(self) -> None:
        """Pass no byte on; connections can still be made, as to a host whose network drops packets."""
        self._passes.clear()

    def deliver(self) -> None:
        """Pass on what was held back, and all that follows."""
        self._passes.set()

    def cut(self) -> None:
        """End all connections, with what was held back on them, and let new ones through."""
        for writer in self._writers:
            writer.transport.abort()
        self._passes.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)
        self._writers.add(writer)
        # Cancelled only by the end of the link; asyncio would log that of a stream's handler.
        with suppress(OSError, asyncio.CancelledError):
            await self._passes.wait()
            beyond, onwards = await asyncio.open_connection("127.0.0.1", self._to)
            self._writers.add(onwards)
            try:
                await asyncio.gather(self._pump(reader, onwards), self._pump(beyond, writer))
            finally:
                self._end(onwards)
        self._end(writer)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            await self._passes.wait()
            if writer.transport.is_closing():
                return
            writer.write(piece)
            await writer.drain()
        # One side has ended: so does the other, once it was sent what came before.
        await self._passes.wait()
        writer.close()
