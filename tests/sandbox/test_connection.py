"""Raw bytes go past aiohttp's writer."""

from __future__ import annotations

from neto_async.sandbox.connection import response_for
from neto_async.sandbox.transmission import RawBytes


class Transport:
    """A transport whose client goes away after some writes."""

    def __init__(self, stays_for):
        self.written = []
        self.closed = False
        self._stays_for = stays_for

    def write(self, data):
        self.written.append(data)

    def is_closing(self):
        return len(self.written) >= self._stays_for

    def close(self):
        self.closed = True


class Request:
    def __init__(self, transport):
        self.transport = transport


async def test_dripping_stops_when_the_client_is_gone():
    """No byte is written to a connection that is closing."""
    pauses = []

    async def pause(seconds):
        pauses.append(seconds)

    transport = Transport(stays_for=3)
    await response_for(RawBytes(data=b"abcdef", whole=2, gap=1.5), pause).prepare(Request(transport))
    assert transport.written == [b"ab", b"c", b"d"]
    assert pauses == [1.5, 1.5]
    assert transport.closed


async def test_no_client_is_left():
    """Where the connection is gone already there is nothing to do."""
    await response_for(RawBytes(data=b"abc"), None).prepare(Request(None))
