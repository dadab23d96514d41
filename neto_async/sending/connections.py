"""
Connections that the store has closed, looked for at the last moment before a call leaves. May import: nothing.

HTTP libraries look when they choose a connection. Some turns of the loop lie between that and the body, and a call that
leaves on a closed connection ends in doubt. aiohttp shows no connection, so over it nothing more can be seen.
"""

from __future__ import annotations

import select
from collections.abc import Iterable
from itertools import compress
from typing import Any

__all__ = ["Connections"]


class Connections:
    """The connections on which answers came, which are those that a later call may get."""

    def __init__(self) -> None:
        self._streams: list[Any] = []
        self._sockets: list[Any] = []  # of the first of these; an HTTP library takes a while to find one

    def note(self, stream: Any) -> None:
        """Note the stream of a connection: httpcore's, which an answer has as its extension ``network_stream``."""
        if stream is not None and stream not in self._streams:
            self._streams.append(stream)

    def any_ended(self) -> bool:
        """
        Say whether the other side has ended a connection since the last look, and forget those that have ended.

        Which of them a call has got is not known.
        """
        for stream in self._streams[len(self._sockets) :]:
            self._sockets.append(stream.get_extra_info("socket"))
        descriptors = [-1 if socket is None else socket.fileno() for socket in self._sockets]  # -1: closed here
        ended = _ended(descriptors)
        if ended or -1 in descriptors:
            still_open = [found >= 0 and found not in ended for found in descriptors]
            self._streams = list(compress(self._streams, still_open))
            self._sockets = list(compress(self._sockets, still_open))
        return bool(ended)


def _ended(descriptors: Iterable[int]) -> set[int]:
    """Say which sockets the other side has ended, by polling them all at once, since each call does so."""
    if not hasattr(select, "poll"):
        return set()  # Windows has no way to ask without reading
    looking = select.poll()
    for descriptor in descriptors:
        if descriptor >= 0:
            looking.register(descriptor, getattr(select, "POLLRDHUP", 0))
    return {descriptor for descriptor, _ in looking.poll(0)}
