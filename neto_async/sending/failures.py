"""Kinds of failures of calls. May import: exchange."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable, Iterator

from neto_async.sending.exchange import Failure

__all__ = ["failure_of"]


def failure_of(error: BaseException, status: int | None = None) -> Failure:
    """
    Describe an error of an HTTP library, by what it was raised from too.

    Only classes and error numbers are used: a text can hold a key or a password.
    """
    chain = list(_chain(error))
    for kind, permanent, fits in _KINDS:
        if any(fits(link) for link in chain):
            return Failure(name=type(error).__name__, status=status, kind=kind, permanent=permanent)
    return Failure(name=type(error).__name__, status=status)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it was raised from, each once; httpcore cuts `__cause__`, not `__context__`."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        link = waiting.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [link.__cause__, link.__context__, *getattr(link, "exceptions", ())]


def _is(*classes: type[BaseException]) -> Callable[[BaseException], bool]:
    return lambda link: isinstance(link, classes)


def _named(*endings: str) -> Callable[[BaseException], bool]:
    """Match by the class's name: the HTTP library is not known here, and it may be one of three."""
    return lambda link: any(kind.__name__.endswith(endings) for kind in type(link).__mro__)


def _numbered(*numbers: int) -> Callable[[BaseException], bool]:
    # Some come without a number, as raised by asyncio's own code.
    raised = tuple({type(OSError(number, "")) for number in numbers} - {OSError})
    return lambda link: isinstance(link, OSError) and (link.errno in numbers or isinstance(link, raised))


def _host_unknown(link: BaseException) -> bool:
    return isinstance(link, socket.gaierror) and link.errno != socket.EAI_AGAIN


# The first that fits any error of a chain counts, so the more specific come first.
_KINDS: tuple[tuple[str, bool, Callable[[BaseException], bool]], ...] = (
    ("certificate not trusted", True, _is(ssl.SSLCertVerificationError)),
    ("TLS handshake failed", False, _is(ssl.SSLError)),
    ("host not found", True, _host_unknown),
    ("host name lookup failed", False, _is(socket.gaierror)),
    ("connection refused", False, _numbered(errno.ECONNREFUSED)),
    ("network unreachable", False, _numbered(errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)),
    ("connection reset", False, _numbered(errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED)),
    ("proxy refused", False, _named("ProxyError", "ProxyConnectionError")),
    ("no free connection", False, _named("PoolTimeout")),
    # Before timeouts: httpx-aiohttp reports a closed connection as a ConnectTimeout.
    ("connection closed", False, _named("RemoteProtocolError", "ReadError", "WriteError", "DisconnectedError")),
    ("timed out", False, _named("Timeout", "TimeoutException", "TimeoutError")),
)
