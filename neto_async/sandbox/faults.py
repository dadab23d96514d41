"""
The faults of a store, each a small named object; ``script.py`` says which call meets which.

    store.faults.next(faults.Reset(saves=True), faults.Status(503))    # one coming call each, in this order
    store.faults.when(lambda request: request.contains("x"), faults.Refuse())
    store.faults.always(faults.Late(2.0))

A fault that has ``saves`` lets the store do its work first where it is true: the records are in the ledger (if the
store takes them at all) before things go wrong. May import: exchange, replies, transmission.
"""

from __future__ import annotations

import asyncio
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import attrs
from attrs import field, frozen

from neto_async.sandbox.exchange import Exchange
from neto_async.sandbox.replies import Answer, Message, ReplyShape
from neto_async.sandbox.transmission import Ending, HttpReply, RawBytes, Transmission

__all__ = [
    "FAULTS",
    "AnswerWith",
    "BrokenGzip",
    "Close",
    "CutShort",
    "Drip",
    "DuplicateIds",
    "EmptyBody",
    "Exchange",
    "Fault",
    "FewerIds",
    "GarbageStatusLine",
    "GzipBomb",
    "HtmlPage",
    "IdsBesideError",
    "Late",
    "MoreIds",
    "Oversized",
    "PartlyRefused",
    "Redirect",
    "Refuse",
    "RefuseKey",
    "Reset",
    "ResetUnread",
    "SavedLater",
    "ServerBroke",
    "Shaped",
    "Silence",
    "Status",
    "TooManyCalls",
    "WrongEncoding",
]


@frozen
class Fault(ABC):
    """
    The base of all faults; a test may define its own.

    Attributes:
        reads_body: False where the call is ended before its body is read.
    """

    reads_body: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The fault's name, for the ledger."""
        saves = getattr(self, "saves", None)
        return type(self).__name__ + ("" if saves is None else " after saving" if saves else " before saving")

    @abstractmethod
    async def play(self, exchange: Exchange) -> Transmission:
        """Do to a call what the fault is named after."""


def _saves(*, default: bool = False) -> bool:
    return field(default=default, kw_only=True)


def _processed(exchange: Exchange, *, saves: bool) -> None:
    if saves:
        exchange.process()


# --- The application answers -------------------------------------------------------------------------------------


@frozen
class Refuse(Fault):
    """Refuse the whole call with ``Ack: Error`` and save nothing."""

    message: str = field(default="Customer log could not be added", repr=False)
    description: str | None = field(default=None, repr=False, kw_only=True)

    async def play(self, exchange: Exchange) -> Transmission:
        return exchange.reply(Answer(errors=(Message(text=self.message, description=self.description),)))


@frozen
class RefuseKey(Fault):
    """Refuse the key, as if it had been withdrawn: ``Ack: Error``, "Invalid API Key"."""

    async def play(self, exchange: Exchange) -> Transmission:
        return exchange.reply(Answer(errors=(Message(text="Invalid API Key"),)))


@frozen
class ServerBroke(Fault):
    """Answer ``Ack: Error``, "Request Error", "Internal server error."; only the ledger knows what was saved."""

    saves: bool = _saves()

    async def play(self, exchange: Exchange) -> Transmission:
        _processed(exchange, saves=self.saves)
        return exchange.reply(Answer(errors=(Message(text="Request Error", description="Internal server error."),)))


@frozen
class PartlyRefused(Fault):
    """
    Refuse some records and save their neighbours: ``Ack: Warning``, a warning for each refused one, without an index.

    Attributes:
        positions: Which records of the call, from 0; negative ones count from the end.
    """

    positions: tuple[int, ...] = (-1,)

    async def play(self, exchange: Exchange) -> Transmission:
        count = len(exchange.request.records)
        refusing = {position % count for position in self.positions if -count <= position < count}
        return exchange.reply(exchange.process(refusing=refusing))


@frozen
class IdsBesideError(Fault):
    """Save all, and answer the ids beside an error, with ``Ack: Error``."""

    message: str = field(default="Customer log could not be added", repr=False)

    async def play(self, exchange: Exchange) -> Transmission:
        answer = exchange.process()
        return exchange.reply(attrs.evolve(answer, errors=(*answer.errors, Message(text=self.message))))


@frozen
class FewerIds(Fault):
    """Save all, and leave out the last ids."""

    missing: int = 1

    async def play(self, exchange: Exchange) -> Transmission:
        answer = exchange.process()
        kept = max(0, len(answer.log_ids) - self.missing)
        return exchange.reply(attrs.evolve(answer, log_ids=answer.log_ids[:kept]))


@frozen
class MoreIds(Fault):
    """Save all, and answer ids that belong to no record as well."""

    extra: int = 1

    async def play(self, exchange: Exchange) -> Transmission:
        answer = exchange.process()
        last = answer.log_ids[-1] if answer.log_ids else 0
        more = range(last + 1_000_000, last + 1_000_000 + self.extra)
        return exchange.reply(attrs.evolve(answer, log_ids=(*answer.log_ids, *more)))


@frozen
class DuplicateIds(Fault):
    """Save all, and answer the first id for every record; a call of one record gets its id twice."""

    async def play(self, exchange: Exchange) -> Transmission:
        answer = exchange.process()
        ids = answer.log_ids[:1] * max(2, len(answer.log_ids))
        return exchange.reply(attrs.evolve(answer, log_ids=ids))


@frozen
class Shaped(Fault):
    """Answer as usual, but in a shape of its own."""

    shape: ReplyShape

    async def play(self, exchange: Exchange) -> Transmission:
        return exchange.reply(exchange.process(), shape=self.shape)


# --- HTTP answers ------------------------------------------------------------------------------------------------


@frozen
class Status(Fault):
    """Answer with a status and a gateway's page, before or after saving."""

    status: int
    saves: bool = _saves()

    @property
    def name(self) -> str:
        """The status, and whether it came after saving."""
        return f"{self.status} {'after' if self.saves else 'before'} saving"

    async def play(self, exchange: Exchange) -> Transmission:
        _processed(exchange, saves=self.saves)
        reply = HttpReply(status=self.status)
        title = f"{self.status} {reply.reason}"
        return attrs.evolve(
            reply, body=f"<html><head><title>{title}</title></head><body>{title}</body></html>".encode()
        )


@frozen
class TooManyCalls(Fault):
    """
    Answer 429 and save nothing.

    Attributes:
        retry_after: The header Retry-After, as seconds or as the text of a date; None leaves it out.
    """

    retry_after: float | str | None = None

    async def play(self, exchange: Exchange) -> Transmission:  # noqa: ARG002 - nothing of the call matters
        return too_many_calls(self.retry_after)


def too_many_calls(retry_after: float | str | None) -> HttpReply:
    """Make the reply to a call over the limit."""
    headers = () if retry_after is None else (("Retry-After", f"{retry_after}"),)
    return HttpReply(status=429, content_type="text/plain", headers=headers, body=b"Too Many Requests")


@frozen
class HtmlPage(Fault):
    """Answer an HTML page with 200, as a wrong host or path does."""

    saves: bool = _saves()

    async def play(self, exchange: Exchange) -> Transmission:
        _processed(exchange, saves=self.saves)
        return HttpReply(body=b"<!DOCTYPE html><html><body><h1>Welcome to our store</h1></body></html>")


@frozen
class Redirect(Fault):
    """Answer a redirect, to a login page if nothing else is given; following it would carry the key away."""

    location: str = "/_cpanel/login"
    status: int = field(default=302, kw_only=True)
    saves: bool = _saves()

    async def play(self, exchange: Exchange) -> Transmission:
        _processed(exchange, saves=self.saves)
        return HttpReply(status=self.status, headers=(("Location", self.location),))


@frozen
class AnswerWith(Fault):
    """Answer these bytes, whatever they are."""

    body: bytes = field(repr=False)
    status: int = field(default=200, kw_only=True)
    content_type: str = field(default="application/json", kw_only=True)
    headers: tuple[tuple[str, str], ...] = field(default=(), kw_only=True)
    saves: bool = _saves()

    async def play(self, exchange: Exchange) -> Transmission:
        _processed(exchange, saves=self.saves)
        return HttpReply(status=self.status, content_type=self.content_type, headers=self.headers, body=self.body)


@frozen
class EmptyBody(Fault):
    """Answer 200 and not one byte of a body."""

    saves: bool = _saves(default=True)

    async def play(self, exchange: Exchange) -> Transmission:
        return attrs.evolve(_usual(exchange, saves=self.saves), body=b"")


@frozen
class Oversized(Fault):
    """Answer as usual, and pad the body with blanks, which both formats ignore, to a size in bytes."""

    size: int = 20_000_000
    saves: bool = _saves(default=True)

    async def play(self, exchange: Exchange) -> Transmission:
        reply = _usual(exchange, saves=self.saves)
        return attrs.evolve(reply, body=reply.body.ljust(self.size))


@frozen
class GzipBomb(Fault):
    """Answer as `Oversized` does, packed with gzip to a thousandth of the size."""

    size: int = 100_000_000
    saves: bool = _saves(default=True)

    async def play(self, exchange: Exchange) -> Transmission:
        reply = _usual(exchange, saves=self.saves)
        packed = await asyncio.to_thread(_packed, reply.body, self.size)
        return attrs.evolve(reply, body=packed, headers=(("Content-Encoding", "gzip"),))


def _packed(body: bytes, size: int) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    blanks = b" " * 1_000_000
    pieces = [packer.compress(body)]
    whole, rest = divmod(max(0, size - len(body)), len(blanks))
    pieces += [packer.compress(blanks) for _ in range(whole)]
    return b"".join([*pieces, packer.compress(blanks[:rest]), packer.flush()])


@frozen
class BrokenGzip(Fault):
    """Answer as usual, with a header that says gzip over a body that is not packed."""

    saves: bool = _saves(default=True)

    async def play(self, exchange: Exchange) -> Transmission:
        return attrs.evolve(_usual(exchange, saves=self.saves), headers=(("Content-Encoding", "gzip"),))


@frozen
class WrongEncoding(Fault):
    """Save all, and answer with a warning in an encoding that the reply does not declare."""

    encoding: str = "latin-1"
    warning: str = field(default="Café Zürich does not exist", repr=False, kw_only=True)

    async def play(self, exchange: Exchange) -> Transmission:
        answer = exchange.process()
        reply = exchange.reply(attrs.evolve(answer, warnings=(*answer.warnings, Message(text=self.warning))))
        text = reply.body.decode("utf-8")
        if exchange.request.format == "json":  # printed in ASCII, which every encoding shares
            text = text.encode("ascii").decode("unicode-escape")
        return attrs.evolve(reply, body=text.encode(self.encoding))


def _usual(exchange: Exchange, *, saves: bool) -> HttpReply:
    """Give the reply as it would have been; where nothing is saved, one that claims an id for every record."""
    if saves:
        return exchange.reply(exchange.process())
    return exchange.reply(Answer(log_ids=tuple(range(1, len(exchange.request.records) + 1))))


# --- The connection breaks ---------------------------------------------------------------------------------------


@frozen
class Reset(Fault):
    """End the connection with RST instead of an answer."""

    saves: bool = _saves()

    async def play(self, exchange: Exchange) -> Transmission:
        _processed(exchange, saves=self.saves)
        return RawBytes(ending=Ending.RESET, outcome="reset")


@frozen
class Close(Fault):
    """End the connection with FIN instead of an answer."""

    saves: bool = _saves()

    async def play(self, exchange: Exchange) -> Transmission:
        _processed(exchange, saves=self.saves)
        return RawBytes(outcome="closed")


@frozen
class ResetUnread(Fault):
    """End the connection with RST when the head has arrived, before the body is read."""

    reads_body: ClassVar[bool] = False

    async def play(self, exchange: Exchange) -> Transmission:  # noqa: ARG002 - nothing of the call is known
        return RawBytes(ending=Ending.RESET, outcome="reset")


@frozen
class Silence(Fault):
    """Never answer; the connection stays open until the client or the store closes."""

    saves: bool = _saves()

    async def play(self, exchange: Exchange) -> Transmission:
        _processed(exchange, saves=self.saves)
        await exchange.pause(None)
        return RawBytes()  # pragma: no cover - the store's closing ends the wait with an exception


@frozen
class Late(Fault):
    """
    Answer late, by seconds or when an event is set.

    Attributes:
        seconds: How late; None to wait for the event alone.
        until: The event that ends the wait, so that a test need not sleep.
        saves_first: Whether the records are saved before the wait, or after it.
        then: The fault that follows the wait; it then decides what is saved. None for the usual answer.
    """

    seconds: float | None = None
    until: asyncio.Event | None = field(default=None, repr=False, kw_only=True)
    saves_first: bool = field(default=True, kw_only=True)
    then: Fault | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.seconds is None and self.until is None:
            raise ValueError("Late needs seconds or an event; for an answer that never comes there is Silence")

    @property
    def name(self) -> str:
        """The fault's name, and of the one that follows."""
        return "Late" if self.then is None else f"Late, then {self.then.name}"

    async def play(self, exchange: Exchange) -> Transmission:
        if self.saves_first and self.then is None:
            exchange.process()
        await exchange.pause(self.seconds, until=self.until)
        return await self.then.play(exchange) if self.then else exchange.reply(exchange.process())


@frozen
class SavedLater(Fault):
    """
    End the connection with RST, and save the records later, by seconds or when an event is set.

    Attributes:
        seconds: How much later; None to wait for the event alone.
        until: The event that ends the wait.
    """

    seconds: float | None = None
    until: asyncio.Event | None = field(default=None, repr=False, kw_only=True)

    async def play(self, exchange: Exchange) -> Transmission:
        exchange.process_later(self.seconds, until=self.until)
        return RawBytes(ending=Ending.RESET, outcome="reset")


@frozen
class CutShort(Fault):
    """
    Break off in the middle of the answer's body, whose Content-Length is that of the whole.

    Attributes:
        after: Bytes of the body that still leave; None for half of them.
        ending: How the connection ends, "close" or "reset".
    """

    after: int | None = None
    ending: Ending = field(default=Ending.CLOSE, kw_only=True, converter=Ending)
    saves: bool = _saves(default=True)

    async def play(self, exchange: Exchange) -> Transmission:
        reply = _usual(exchange, saves=self.saves)
        after = len(reply.body) // 2 if self.after is None else self.after
        return RawBytes(
            data=reply.head + reply.body[:after], ending=self.ending, status=reply.status, outcome="cut short"
        )


@frozen
class Drip(Fault):
    """
    Answer a byte at a time.

    Attributes:
        seconds: From one byte to the next.
        head: Whether the head drips too, or leaves at once.
    """

    seconds: float = 0.01
    head: bool = field(default=False, kw_only=True)
    saves: bool = _saves(default=True)

    async def play(self, exchange: Exchange) -> Transmission:
        reply = _usual(exchange, saves=self.saves)
        whole = 0 if self.head else len(reply.head)
        data = reply.head + reply.body
        return RawBytes(data=data, status=reply.status, outcome="dripped", whole=whole, gap=self.seconds)


@frozen
class GarbageStatusLine(Fault):
    """Answer with bytes that are no HTTP."""

    data: bytes = b"220 mail.example.com ESMTP ready\r\n\r\n"
    saves: bool = _saves()

    async def play(self, exchange: Exchange) -> Transmission:
        _processed(exchange, saves=self.saves)
        return RawBytes(data=self.data, outcome="garbage")


FAULTS: Mapping[str, Fault] = {
    "answer lost": Reset(saves=True),
    "call lost": Reset(),
    "server error": Status(500, saves=True),
    "rate limited": TooManyCalls(60),
    "key refused": RefuseKey(),
    "refused": Refuse(),
}
"""The faults that have a plain name."""
