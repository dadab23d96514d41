"""
One call as the engine sees it: what goes out, and what comes back. May import: nothing of the package.

The HTTP library stands behind `Transport`; a scripted network in a test does too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from attrs import define, field, frozen

__all__ = ["Failure", "OutgoingBody", "Reply", "Transport"]


@define(eq=False)
class OutgoingBody:
    """
    The bytes of one call, which note when they are first asked for.

    That moment decides whether the call has left. The class of an exception does not: over some transports a
    connection that was reset after the store had saved reports itself as a connect timeout.

    Attributes:
        content: The bytes.
        left: True from the moment when the transport asked for them.
        revoked: True once the call was given up: what has not left by then never does.
    """

    content: bytes = field(repr=False)
    left: bool = field(init=False, default=False)
    revoked: bool = field(init=False, default=False)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.left or self.revoked:
            # A redirect or an authentication scheme below us would send the records twice.
            msg = "the body of a call can be sent only once"
            raise RuntimeError(msg)
        self.left = True
        yield self.content


@frozen(kw_only=True)
class Reply:
    """
    A whole answer.

    Attributes:
        status: HTTP status.
        headers: Its headers.
        body: Its bytes as they came, still under their Content-Encoding.
    """

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
    """

    name: str
    status: int | None = None


class Transport(Protocol):
    """What makes a call."""

    async def call(self, body: OutgoingBody) -> Reply | Failure:
        """Make one call; raise nothing but CancelledError."""

    async def aclose(self) -> None:
        """Let go of the connections."""
