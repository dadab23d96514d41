"""
The transmission that answers a call: a whole HTTP reply, or exact bytes and the way the connection ends.

May import: nothing of neto_async; `connection` carries it out.
"""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import TypeAlias

from attrs import field, frozen

__all__ = ["Ending", "HttpReply", "RawBytes", "Transmission"]

_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Ending(StrEnum):
    """How a connection ends."""

    CLOSE = "close"
    """With FIN: the client reads the end of the stream."""
    RESET = "reset"
    """With RST: the client reads "connection reset by peer"."""


@frozen(kw_only=True)
class HttpReply:
    """
    A whole reply; the connection stays open after it.

    Attributes:
        status: The HTTP status.
        content_type: The header Content-Type.
        headers: Further headers, without Content-Length.
        body: The body's bytes.
    """

    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)

    @property
    def reason(self) -> str:
        """The phrase after the status; gateways have statuses of their own, such as 520."""
        return _REASONS.get(self.status, "Unknown")

    @property
    def head(self) -> bytes:
        """Status line and headers, as a raw transmission needs them."""
        lines = [
            f"HTTP/1.1 {self.status} {self.reason}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


@frozen(kw_only=True)
class RawBytes:
    """
    Exact bytes, and then the end of the connection.

    Attributes:
        data: The bytes; none to end the connection without an answer.
        ending: How the connection ends.
        status: The HTTP status in them, None if there is none.
        outcome: What the ledger says of it, for a person.
        whole: Bytes that leave at once, when the rest is dripped.
        gap: Seconds between two dripped bytes, None to send all at once.
    """

    data: bytes = field(default=b"", repr=False)
    ending: Ending = Ending.CLOSE
    status: int | None = None
    outcome: str = "no answer"
    whole: int = 0
    gap: float | None = None


Transmission: TypeAlias = HttpReply | RawBytes
