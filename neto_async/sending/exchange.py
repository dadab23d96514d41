"""
One call as the engine sees it: what goes out, and what comes back. May import: wire.

`Transport` hides the HTTP library, or in a test a scripted network.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol

from attrs import define, field, frozen

from neto_async.wire import ADD_CUSTOMER_LOG, Action

__all__ = ["Failure", "HttpReply", "OutgoingBody", "Transport"]


@define(eq=False)
class OutgoingBody:
    """
    The bytes of one call, which note when they are first asked for.

    That moment decides whether the call has left. The class of an exception does not: over some transports a
    connection that was reset after the store had saved reports itself as a connect timeout.

    Attributes:
        may_leave: Asked before the call is made, before its head leaves, and when the transport first asks for the
            bytes: does its place in the quota still count, and what was recorded of it?
        left: True from the moment when the transport asked for them.
        revoked: True once the call was given up: what has not left by then never does.
        lapsed: True once it was asked for too late for that.
        key_refused: Called where the store refused the key that this went with; True where another can be asked for.
        check: Called before the bytes are given out; what it raises keeps them from leaving.
    """

    content: bytes = field(repr=False)
    action: Action = field(default=ADD_CUSTOMER_LOG, repr=False)
    may_leave: Callable[[], bool] = field(default=lambda: True, repr=False)
    left: bool = field(init=False, default=False)
    revoked: bool = field(init=False, default=False)
    lapsed: bool = field(init=False, default=False)
    key_refused: Callable[[], bool] = field(init=False, default=lambda: False, repr=False)
    check: Callable[[], None] | None = field(init=False, default=None, repr=False)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.check is not None:
            self.check()
        if self.left or self.revoked:
            # A redirect or an authentication scheme below us would send the records twice.
            msg = "the body of a call can be sent only once"
            raise RuntimeError(msg)
        self.require_leave()
        self.left = True
        yield self.content

    def require_leave(self) -> None:
        """Raise `RuntimeError` where the call may not leave any more."""
        if not self.may_leave():
            self.lapsed = True
            msg = "the call's place in the quota, or its journal's lease, has lapsed"
            raise RuntimeError(msg)


@frozen(kw_only=True)
class HttpReply:
    """A whole answer; its body is still under its Content-Encoding."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@frozen(kw_only=True)
class Failure:
    """
    No whole answer.

    Attributes:
        name: Name of the error's class, or a word of our own; never its text, which can hold a key.
        status: The HTTP status, where one had arrived.
        kind: What happened, in words, such as "connection refused"; None where it has none.
        permanent: True where waiting can't help: a certificate that is not trusted, a host that is not found.
        no_key: True where no key for it was available.
    """

    name: str
    status: int | None = None
    kind: str | None = None
    permanent: bool = False
    no_key: bool = False


class Transport(Protocol):
    """What makes a call."""

    async def call(self, body: OutgoingBody) -> HttpReply | Failure:
        """Make one call; raise nothing but CancelledError."""

    async def aclose(self) -> None:
        """Close the connections."""
