"""
What can go wrong at a store, each as a small named object, and the script that says which call meets which.

    store.faults.next(faults.Reset(saves=True), faults.Status(503))    # one coming call each, in this order
    store.faults.when(lambda request: request.contains("x"), faults.Refuse())
    store.faults.always(faults.Late(2.0))

A fault that has ``saves`` lets the store do its work first where it is true: the records are in the ledger (if the
store takes them at all) before things go wrong. May import: reading, replies, transmission.
"""

from __future__ import annotations

import asyncio
import zlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection
from typing import ClassVar, Protocol

import attrs
from attrs import field, frozen

from neto_async.sandbox.reading import SandboxRequest
from neto_async.sandbox.replies import Answer, Message, ReplyShape
from neto_async.sandbox.transmission import Ending, HttpReply, RawBytes, Transmission

__all__ = [
    "AnswerWith",
    "BrokenGzip",
    "Close",
    "CutShort",
    "Drip",
    "DuplicateIds",
    "EmptyBody",
    "Exchange",
    "Fault",
    "FaultScript",
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
    "ServerBroke",
    "Shaped",
    "Silence",
    "Status",
    "TooManyCalls",
    "WrongEncoding",
]


class Exchange(Protocol):
    """A call that the store is working on, as a fault sees it."""

    @property
    def request(self) -> SandboxRequest:
        """The call as it arrived."""
        ...

    def process(self, *, refusing: Collection[int] = ()) -> Answer:
        """
        Do the store's work: check the call and save its records, once.

        Args:
            refusing: Positions of records, from 0, that are refused while their neighbours are saved.
        """
        ...

    def reply(self, answer: Answer, *, shape: ReplyShape | None = None) -> HttpReply:
        """Print an answer, in the store's shape if none is given."""
        ...

    async def pause(self, seconds: float | None, *, until: asyncio.Event | None = None) -> None:
        """Wait for seconds (None: without end) or until an event is set, and at most until the store closes."""
        ...


@frozen
class Fault(ABC):
    """
    What all faults share; a test may bring one of its own.

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
        """Answer with the error."""
        return exchange.reply(Answer(errors=(Message(text=self.message, description=self.description),)))


@frozen
class RefuseKey(Fault):
    """Refuse the key, as if it had been withdrawn: ``Ack: Error``, "Invalid API Key"."""

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer with the error."""
        return exchange.reply(Answer(errors=(Message(text="Invalid API Key"),)))


@frozen
class ServerBroke(Fault):
    """Answer ``Ack: Error``, "Request Error", "Internal server error."; only the ledger knows what was saved."""

    saves: bool = _saves()

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer with the error."""
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
        """Save the rest and answer."""
        count = len(exchange.request.records)
        refusing = {position % count for position in self.positions if -count <= position < count}
        return exchange.reply(exchange.process(refusing=refusing))


@frozen
class IdsBesideError(Fault):
    """Save all, and answer the ids beside an error, with ``Ack: Error``."""

    message: str = field(default="Customer log could not be added", repr=False)

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer ids and the error."""
        answer = exchange.process()
        return exchange.reply(attrs.evolve(answer, errors=(*answer.errors, Message(text=self.message))))


@frozen
class FewerIds(Fault):
    """Save all, and leave out the last ids."""

    missing: int = 1

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer some of the ids."""
        answer = exchange.process()
        kept = max(0, len(answer.log_ids) - self.missing)
        return exchange.reply(attrs.evolve(answer, log_ids=answer.log_ids[:kept]))


@frozen
class MoreIds(Fault):
    """Save all, and answer ids that belong to no record as well."""

    extra: int = 1

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer more ids than records."""
        answer = exchange.process()
        last = answer.log_ids[-1] if answer.log_ids else 0
        more = range(last + 1_000_000, last + 1_000_000 + self.extra)
        return exchange.reply(attrs.evolve(answer, log_ids=(*answer.log_ids, *more)))


@frozen
class DuplicateIds(Fault):
    """Save all, and answer the first id for every record; a call of one record gets its id twice."""

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer one id as often as there are records."""
        answer = exchange.process()
        ids = answer.log_ids[:1] * max(2, len(answer.log_ids))
        return exchange.reply(attrs.evolve(answer, log_ids=ids))


@frozen
class Shaped(Fault):
    """Answer as usual, but in a shape of its own."""

    shape: ReplyShape

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer in the shape."""
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
        """Answer with the page."""
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
        """Answer 429."""
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
        """Answer with the page."""
        _processed(exchange, saves=self.saves)
        return HttpReply(body=b"<!DOCTYPE html><html><body><h1>Welcome to our store</h1></body></html>")


@frozen
class Redirect(Fault):
    """Answer a redirect, to a login page if nothing else is given; following it would carry the key away."""

    location: str = "/_cpanel/login"
    status: int = field(default=302, kw_only=True)
    saves: bool = _saves()

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer with the redirect."""
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
        """Answer the bytes."""
        _processed(exchange, saves=self.saves)
        return HttpReply(status=self.status, content_type=self.content_type, headers=self.headers, body=self.body)


@frozen
class EmptyBody(Fault):
    """Answer 200 and not one byte of a body."""

    saves: bool = _saves(default=True)

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer nothing."""
        return attrs.evolve(_usual(exchange, saves=self.saves), body=b"")


@frozen
class Oversized(Fault):
    """Answer as usual, and fill the body with blanks, which neither format minds, to a size in bytes."""

    size: int = 20_000_000
    saves: bool = _saves(default=True)

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer the long body."""
        reply = _usual(exchange, saves=self.saves)
        return attrs.evolve(reply, body=reply.body.ljust(self.size))


@frozen
class GzipBomb(Fault):
    """Answer as `Oversized` does, packed with gzip to a thousandth of the size."""

    size: int = 100_000_000
    saves: bool = _saves(default=True)

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer the packed body."""
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
        """Answer the wrong header."""
        return attrs.evolve(_usual(exchange, saves=self.saves), headers=(("Content-Encoding", "gzip"),))


@frozen
class WrongEncoding(Fault):
    """Save all, and answer with a warning in an encoding that the reply does not declare."""

    encoding: str = "latin-1"
    warning: str = field(default="Café Zürich does not exist", repr=False, kw_only=True)

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer the bytes that no UTF-8 decoder reads."""
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
    """End the connection with RST in place of an answer."""

    saves: bool = _saves()

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer with RST."""
        _processed(exchange, saves=self.saves)
        return RawBytes(ending=Ending.RESET, outcome="reset")


@frozen
class Close(Fault):
    """End the connection with FIN in place of an answer."""

    saves: bool = _saves()

    async def play(self, exchange: Exchange) -> Transmission:
        """Answer with FIN."""
        _processed(exchange, saves=self.saves)
        return RawBytes(outcome="closed")


@frozen
class ResetUnread(Fault):
    """End the connection with RST when the head has arrived, before the body is read."""

    reads_body: ClassVar[bool] = False

    async def play(self, exchange: Exchange) -> Transmission:  # noqa: ARG002 - nothing of the call is known
        """Answer with RST."""
        return RawBytes(ending=Ending.RESET, outcome="reset")


@frozen
class Silence(Fault):
    """Never answer; the connection stays open until the client or the store closes."""

    saves: bool = _saves()

    async def play(self, exchange: Exchange) -> Transmission:
        """Wait for the store to close."""
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
        """Wait and answer."""
        if self.saves_first and self.then is None:
            exchange.process()
        await exchange.pause(self.seconds, until=self.until)
        return await self.then.play(exchange) if self.then else exchange.reply(exchange.process())


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
        """Answer a part."""
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
        """Answer slowly."""
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
        """Answer the bytes."""
        _processed(exchange, saves=self.saves)
        return RawBytes(data=self.data, outcome="garbage")


# --- The script --------------------------------------------------------------------------------------------------


class FaultScript:
    """Says which call meets which fault: `next` goes before `when`, and `when` before `always`."""

    def __init__(self) -> None:
        self._next: deque[Fault | None] = deque()
        self._when: list[tuple[Callable[[SandboxRequest], bool], Fault]] = []
        self._always: Fault | None = None

    def next(self, *faults: Fault | None) -> None:
        """Play each of these on one coming call, in order of arrival, after those lined up before; None is no fault."""
        self._next.extend(faults)

    def when(self, predicate: Callable[[SandboxRequest], bool], fault: Fault) -> None:
        """Play a fault on every call that the predicate holds for; the first rule that matches counts."""
        if not fault.reads_body:
            raise ValueError(f"{fault.name} comes before the body is read, so a rule can't look at it; use next()")
        self._when.append((predicate, fault))

    def always(self, fault: Fault | None) -> None:
        """Play a fault on every call that nothing else is set for; None ends it."""
        self._always = fault

    def clear(self) -> None:
        """Forget the whole script."""
        self._next.clear()
        self._when.clear()
        self._always = None

    @property
    def waiting(self) -> int:
        """Number of faults lined up by `next` that no call has met yet."""
        return len(self._next)

    def on_arrival(self) -> tuple[bool, Fault | None]:
        """Take what is set for a call whose head has arrived: whether it is settled, and the fault."""
        if self._next:
            return True, self._next.popleft()
        unread = self._always is not None and not self._always.reads_body and not self._when
        return unread, self._always if unread else None

    def on_request(self, request: SandboxRequest) -> Fault | None:
        """Find the fault for a call that has been read."""
        return next((fault for predicate, fault in self._when if predicate(request)), self._always)
