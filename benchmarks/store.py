"""
A store that costs next to nothing: what a benchmark's client talks to, in a process of its own.

It answers every call from a table by format and number of records, and looks at nothing else; with ``--limit`` it
refuses the first call too many in any window instead, and takes its time over each. ``GET /ledger`` tells what it saw
since the last look. May import: the standard library alone, since it runs as a program.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from attrs import define, field

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
IN_JSON, IN_XML = b'"AllocatedTo":', b"<CustomerLog>"
"""What stands once in each record of `records`; its quotes and brackets are escaped in every text."""

TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def running_store(**options: float) -> Iterator[str]:
    """Run a store as a process and give its address; see ``--help`` for the options."""
    arguments = [f"--{name}={value}" for name, value in options.items()]
    with subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def read_ledger(address: str) -> dict[str, Any]:
    """Ask what a store saw since the last look: ``accepted`` (times in s), ``refused``, ``calls``, ``cpu`` (s)."""
    with urllib.request.urlopen(f"{address}/ledger") as answer:  # noqa: S310
        return dict(json.load(answer))


@cache
def answer(records: int, *, xml: bool) -> bytes:
    """Give the whole answer to a call of so many records, in the shape that live stores send."""
    ids = [str(70_000_000 + position) for position in range(records)]
    if xml:
        entries = "".join(f"<CustomerLog><LogID>{log_id}</LogID></CustomerLog>" for log_id in ids)
        envelope = f"<CurrentTime>2026-11-05 09:00:00</CurrentTime><Ack>Success</Ack>{entries}"
        body = f'<?xml version="1.0" encoding="utf-8"?><AddCustomerLogResponse>{envelope}</AddCustomerLogResponse>'
    else:
        logs: Any = [{"LogID": log_id} for log_id in ids]
        logs = logs[0] if records == 1 else logs
        body = json.dumps({"CustomerLog": logs, "CurrentTime": "2026-11-05 09:00:00", "Ack": "Success"})
    return whole(body.encode(), "application/xml" if xml else "application/json")


def whole(body: bytes, media_type: str) -> bytes:
    """Put the head of a 200 before a body."""
    return f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@define(eq=False)
class Store:
    """
    What all connections share.

    Args:
        limit: Calls in any window, None for no limit.
        window: Seconds.
        slowest, fastest: Seconds that an answer takes; both 0 answers at once.
    """

    limit: int | None
    window: float
    fastest: float
    slowest: float
    calls: int = 0
    refused: int = 0
    accepted: list[float] = field(factory=list)
    cpu_before: float = 0.0
    _in_window: deque[float] = field(factory=deque)
    _rng: random.Random = field(factory=lambda: random.Random(1))

    def take(self, transport: asyncio.Transport, body: bytes) -> None:
        """Answer a call, now or in a while; it counts at some moment between its arrival and its answer."""
        self.calls += 1
        xml = body.startswith(b"<")
        reply = answer(body.count(IN_XML if xml else IN_JSON), xml=xml)
        if not self.slowest:
            transport.write(reply)
            return
        delay = self._rng.uniform(self.fastest, self.slowest)
        seen_after = delay * self._rng.random()
        asyncio.get_running_loop().call_later(seen_after, self._see, transport, reply, delay - seen_after)

    def _see(self, transport: asyncio.Transport, reply: bytes, delay: float) -> None:
        now = time.monotonic()
        while self._in_window and self._in_window[0] <= now - self.window:
            self._in_window.popleft()
        if self.limit is not None and len(self._in_window) >= self.limit:
            self.refused += 1
            reply = TOO_MANY % max(1, round(self.window))
        else:
            self._in_window.append(now)
            self.accepted.append(now)
        asyncio.get_running_loop().call_later(delay, transport.write, reply)

    def ledger(self) -> bytes:
        """Tell what was seen since the last look, as an answer."""
        cpu = time.process_time()
        told = {"accepted": self.accepted, "refused": self.refused, "calls": self.calls, "cpu": cpu - self.cpu_before}
        self.accepted, self.refused, self.calls, self.cpu_before = [], 0, 0, cpu
        return whole(json.dumps(told).encode(), "application/json")


@define(eq=False)
class Connection(asyncio.Protocol):
    """One connection: calls one after the other, each with its Content-Length."""

    store: Store
    _transport: Any = None
    _received: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Gather a call, and answer it once it is whole."""
        self._received += data
        end = self._received.find(HEAD_END)
        if end < 0:
            return
        head = self._received[:end]
        body = self._received[end + len(HEAD_END) :]
        stated = LENGTH.search(head)
        if stated is not None and len(body) < int(stated[1]):
            return
        self._received = b""
        if head.startswith(b"GET /ledger"):
            self._transport.write(self.store.ledger())
        else:
            self.store.take(self._transport, body)


async def serve(store: Store) -> None:
    """Serve on a free port of loopback, which is the one line printed."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(store), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Read the options and serve until terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, help="calls in any window; none by default")
    parser.add_argument("--window", type=float, default=60.0, help="seconds")
    parser.add_argument("--fastest", type=float, default=0.0, help="seconds that an answer takes at the least")
    parser.add_argument("--slowest", type=float, default=0.0, help="seconds that an answer takes at the most")
    asyncio.run(serve(Store(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
