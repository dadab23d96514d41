"""
What every connection and request has to pass in both services, whatever the framework: nobody logs in here.

A page of another site must not reach a service through a person's browser. Browsers send ``Sec-Fetch-Site`` only to
https and loopback, so ``Host`` and ``Origin`` are checked as well: a foreign name that resolves to this machine (DNS
rebinding) is refused.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

try:
    import resource
except ImportError:  # Windows
    FILES = 512
else:
    FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

HOSTS = frozenset(os.environ.get("HOSTS", "").lower().replace(",", " ").split())
"""Names under which a proxy serves this service; addresses and localhost are always taken."""

MAX_CONNECTIONS = min(300, FILES // 2) if FILES > 0 else 300
"""Connections open at once; the rest wait. Imports need files and connections of their own, which must not run out."""

MAX_BODY = 1_000_000
"""Bytes of a request's body, uploads excepted."""

BODY_SECONDS = 10.0
"""How long a request's body may take to arrive, uploads excepted."""

HEAD_SECONDS = 10.0
"""How long the head of a request may take to arrive while further connections wait."""

UNREAD_SECONDS = 60.0
"""How long a peer may read nothing of what was sent before its connection is closed, where the system can do that."""

STREAMS = asyncio.Semaphore(max(MAX_CONNECTIONS // 2, 1))
"""Taken by each event stream: those who only watch leave connections to the others. A further one is refused."""

TOO_MANY_STREAMS = "too many watch imports; try again later"

SECURITY_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer, where it does not set one itself."""


def foreign(method: str, headers: Mapping[str, str]) -> str | None:
    """Say why a request is refused that may come from another site's page; None for one that is not."""
    host = headers.get("Host", "").lower()
    if not _is_ours(host):
        return "open the service by its address; a proxy's name belongs into the variable HOSTS"
    if (origin := headers.get("Origin")) is not None and not _same(origin.lower(), host):
        return "another site's page may not do this"
    if method not in {"GET", "HEAD"} and headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        return "another site's page may not do this"
    return None


def is_json(content_type: str | None) -> bool:
    """Say whether a body is JSON by its type; a page of another site can't send this type without being asked."""
    return (content_type or "").partition(";")[0].strip().lower() == "application/json"


def _is_ours(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    if name in HOSTS or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return bool(parts.netloc) and (parts.netloc == host or parts.hostname in HOSTS)


_silent: dict[Any, float] = {}
"""By peer: since when its connection has been waiting for the head of a request."""


def heard(peer: Any) -> None:
    """Note that the head of a request has come: its connection stays open for as long as the answer takes."""
    _silent.pop(peer, None)


def answered(peer: Any) -> None:
    """Note that a request is answered; its connection waits for the next."""
    _silent[peer] = time.monotonic()


class BoundedSocket(socket.socket):
    """
    A listening socket; at `MAX_CONNECTIONS` the event loop (asyncio's own) lets further ones wait for a second.

    While some wait, connections are closed on which no whole head has come for `HEAD_SECONDS`. Neither server has a
    limit of its own on that.
    """

    _open: Mapping[Any, socket.socket] = {}
    _refused = False  # the last look ended the loop's interest for a second

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, if there may be one more."""
        self._open = {peer: connection for peer, connection in self._open.items() if connection.fileno() != -1}
        for peer in _silent.keys() - self._open.keys():
            del _silent[peer]
        if len(self._open) < MAX_CONNECTIONS:
            self._refused = False
            connection, peer = super().accept()
            self._open = {**self._open, peer: connection}
            _silent[peer] = time.monotonic()
            return connection, peer
        self._refused = not self._refused
        if not self._refused:
            # asyncio (3.11 to 3.13) goes on after EMFILE as often as its backlog is long, each time with a timer and a
            # traceback in the log.
            raise BlockingIOError
        self._close_silent()
        raise OSError(errno.EMFILE, "too many connections; further ones wait")

    def _close_silent(self) -> None:
        for peer, since in _silent.items():
            if time.monotonic() - since >= HEAD_SECONDS:
                with suppress(OSError):  # the other side has closed it meanwhile
                    self._open[peer].shutdown(socket.SHUT_RDWR)


def listening(port: int) -> BoundedSocket:
    """Listen on this machine alone, or at the address in the variable LISTEN, as a container has to."""
    listener = BoundedSocket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; connections take it over
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD_SECONDS * 1000))
    listener.bind((os.environ.get("LISTEN", "127.0.0.1"), port))
    listener.listen(128)
    return listener
