"""
A store, and a network before it, that break in every way their seed draws, behind the interface of an HTTP client.

The store knows what it saved. For each call it also notes, apart from any client, what the answer lets its reader know
(`Fate`), and whether that answer was handed over whole and in time: what is not, nobody can know.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from enum import Enum, auto
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import httpx
from attrs import define, field, frozen
from shapes import ABSENT, render

__all__ = ["CURRENT", "Delivery", "Fate", "FaultyStore", "OddError", "StrangeError", "strange", "texts_in", "utcnow"]

BEGINNING = datetime(2026, 11, 1, tzinfo=timezone.utc)


class Fate(Enum):
    """What the reader of a whole answer knows of the records of its call."""

    ADDED = auto()
    REFUSED = auto()
    TOO_LARGE = auto()
    BLOCKED = auto()
    REDIRECTED = auto()
    LIMITED = auto()
    KEY_REFUSED = auto()
    NEVER_LEFT = auto()
    UNKNOWABLE = auto()


class StrangeError(Exception):
    """What no HTTP library raises."""


class OddError(BaseException):
    """What nobody catches."""


@frozen
class Answer:
    """An answer, what it lets its reader know, and until when it asks for a pause, in seconds of the loop."""

    status: int
    headers: dict[str, str]
    body: bytes
    fate: Fate
    pause_until: float | None = None


@define(eq=False)
class Delivery:
    """
    One call as the network sees it.

    Attributes:
        number: From 1, in the order in which the calls began.
        content: The body that was to go.
        texts: What its records hold, in their order.
        deadline: When its answer is too late, in seconds of the loop.
        fault: What the network or the store does wrong.
        answer: What the store sent off.
        asked: The body was asked for.
        arrived_at: When the store saw it.
        whole_at: When the last part of the answer was handed over, None where that never was.
        gray: It ended so that a client may well treat a whole answer as none.
        over: The client has learnt its end, at this count of the schedule's steps.
        fate: What could be known then.
    """

    number: int
    content: bytes
    texts: tuple[str, ...]
    deadline: float
    fault: str = "none"
    answer: Answer | None = None
    asked: bool = False
    arrived_at: float | None = None
    whole_at: float | None = None
    gray: bool = False
    over: int | None = None
    fate: Fate | None = None


CURRENT: ContextVar[Delivery] = ContextVar("CURRENT")
"""The call that a client's task makes now."""


def now() -> float:
    return asyncio.get_running_loop().time()


def utcnow() -> datetime:
    """Give the time of day on the virtual clock."""
    return BEGINNING + timedelta(seconds=now())


def strange(draw: random.Random) -> BaseException:
    """Make an exception, of a library or of nobody; the class must not matter."""
    return draw.choice(
        [
            httpx.ConnectError("refused"),
            httpx.ConnectTimeout("a reset after saving is called so by some"),
            httpx.PoolTimeout("no slot"),
            httpx.ReadError("reset"),
            httpx.DecodingError("bad gzip"),
            OSError(104, "reset"),
            TimeoutError(),
            UnicodeEncodeError("ascii", "é", 0, 1, "not ASCII"),
            KeyError("stream"),
            AssertionError(),
            ExceptionGroup("several", [StrangeError()]),
            StrangeError("strange"),
            asyncio.CancelledError(),
        ]
    )


def texts_in(content: bytes) -> tuple[str, ...]:
    """Read the notes of a call's records, by the formats' own rules and none of the client's."""
    if content.startswith(b"{"):
        return tuple(log["Notes"] for log in json.loads(content)["CustomerLogs"]["CustomerLog"])
    return tuple(str(log.findtext("Notes")) for log in ET.fromstring(content).iter("CustomerLog"))


Maker = Callable[["FaultyStore", Delivery], Answer]


class FaultyStore:
    """
    A store, its network, and the draws that decide what goes wrong.

    Args:
        draw: Decides.
        wire_format: JSON or XML.
        rough: Much goes wrong; else faults are as rare as they are in a week of use, and what comes after them shows.
    """

    def __init__(self, draw: random.Random, wire_format: str, *, rough: bool) -> None:
        self.draw = draw
        self.wire_format = wire_format
        self.ledger: dict[str, list[int]] = {}
        self.arrivals: list[float] = []
        self.broken: list[AssertionError] = []  # laws that were broken where a client takes any exception for a fault
        self.last_id = draw.choice([0, 7_000])
        self.closed = False
        self.share = draw.choice([0.05, 0.3, 0.7, 1.0] if rough else [0.0, 0.003, 0.01, 0.03])
        self.faults = draw.sample(FAULTS, draw.randint(1, 6) if draw.random() < 0.7 else len(FAULTS))
        self.leg = draw.choice([0.005, 0.3, 3.0] + [30.0] * rough)  # seconds, at most, of each leg of a call's way
        self.most_bytes = draw.choice([None, None, None, 600, 5_000] + [150] * rough)
        # Times in which every call meets the same fault: an outage, or a key that is taken back and given again.
        self.weather = [
            (begins, begins + draw.choice([1.0, 20.0, 200.0] + [2_000.0] * rough), draw.choice(FAULTS))
            for begins in (
                1000.0 + draw.random() * draw.choice([1.0, 30.0, 600.0])
                for _ in range(draw.choice([0, 0, 1, 3] if rough else [0, 0, 0, 1]))
            )
        ]

    # -- what a client sees -------------------------------------------------------------------------------------

    def client(self) -> Any:
        """Make an HTTP client whose every call comes here: at times httpx itself, else no more than its interface."""
        if self.draw.random() < 0.1:
            return httpx.AsyncClient(transport=_Wire(self))
        return _PlainClient(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the laws that are broken inside for the end: a client would catch them."""
        try:
            yield
        except AssertionError as broken:
            self.broken.append(broken)
            raise

    def abort(self) -> None:
        """Break every call under way, as closing the connections does."""
        self.closed = True

    async def exchange(self, content: Any, timeouts: Any) -> Any:
        """Carry one call to the store and its answer back, or not."""
        delivery = CURRENT.get()
        delivery.fault = self.choose()
        carrier = getattr(self, f"_{delivery.fault}", None)
        if carrier is None:
            return await self._carried(delivery, content, timeouts)
        return await carrier(delivery, content, timeouts)

    def choose(self) -> str:
        for begins, ends, fault in self.weather:
            if begins <= now() < ends:
                return fault
        return self.draw.choice(self.faults) if self.draw.random() < self.share else "none"

    # -- the network --------------------------------------------------------------------------------------------

    async def wait(self, seconds: float, timeouts: Any, phase: str) -> None:
        """Wait; where that is longer than the phase may take, most libraries raise then, and some never do."""
        allowed = timeouts[phase]
        if allowed is not None and seconds > allowed and self.draw.random() < 0.7:
            await asyncio.sleep(allowed)
            raise httpx.ReadTimeout(phase)
        await asyncio.sleep(seconds)
        if self.closed:
            raise ConnectionAbortedError

    async def legs(self, timeouts: Any, phase: str) -> None:
        await self.wait(self.draw.random() * self.leg, timeouts, phase)

    async def ask(self, delivery: Delivery, content: Any, timeouts: Any, *, arrives: bool = True) -> None:
        parts = [part async for part in content]
        with self.held():
            assert delivery.over is None, "the body left after its call was given up"
            assert delivery.content == b"".join(parts), "another body than the call's"
        delivery.asked = True
        await self.legs(timeouts, "write")
        if arrives:
            self.arrivals.append(now())
            delivery.arrived_at = now()
            delivery.answer = self.answer(delivery)

    async def _carried(self, delivery: Delivery, content: Any, timeouts: Any, **how: Any) -> Any:
        await self.legs(timeouts, "connect")
        await self.ask(delivery, content, timeouts)
        await self.legs(timeouts, "read")
        return _Response(self, delivery, **how)

    async def _refused(self, delivery: Delivery, content: Any, timeouts: Any) -> Any:
        await self.legs(timeouts, "connect")
        raise strange(self.draw)

    async def _connects_never(self, delivery: Delivery, content: Any, timeouts: Any) -> Any:
        # Where the library has no timeout of its own, the body is asked for after the call was given up.
        await self.wait(self.draw.choice([100.0, 400.0]), timeouts, "connect")
        return await self._carried(delivery, content, timeouts)

    async def _dropped(self, delivery: Delivery, content: Any, timeouts: Any) -> Any:
        await self.legs(timeouts, "connect")
        await self.ask(delivery, content, timeouts, arrives=self.draw.random() < 0.6)
        await self.legs(timeouts, "read")
        raise strange(self.draw)

    async def _asked_twice(self, delivery: Delivery, content: Any, timeouts: Any) -> Any:
        await self.ask(delivery, content, timeouts)
        await self.legs(timeouts, "read")
        await self.ask(delivery, content, timeouts)
        return _Response(self, delivery)

    async def _silent(self, delivery: Delivery, content: Any, timeouts: Any) -> Any:
        await self.ask(delivery, content, timeouts, arrives=self.draw.random() < 0.6)
        await self.wait(1_000.0, timeouts, "read")
        raise StrangeError

    async def _dripping(self, delivery: Delivery, content: Any, timeouts: Any) -> Any:
        return await self._carried(delivery, content, timeouts, parts=4, leg=self.draw.choice([0.1, 2.0, 40.0]))

    async def _broken_off(self, delivery: Delivery, content: Any, timeouts: Any) -> Any:
        return await self._carried(delivery, content, timeouts, parts=3, breaks=True)

    async def _closing_raises(self, delivery: Delivery, content: Any, timeouts: Any) -> Any:
        return await self._carried(delivery, content, timeouts, closing=strange(self.draw))

    async def _answered_early(self, delivery: Delivery, content: Any, timeouts: Any) -> Any:
        await self.legs(timeouts, "connect")
        delivery.answer = self.draw.choice([_limited, _too_large, _blocked, _redirected])(self, delivery)
        return _Response(self, delivery)

    # -- the store ----------------------------------------------------------------------------------------------

    def answer(self, delivery: Delivery) -> Answer:
        """Save what is to be saved, and make the answer; what the store refuses by its rules it refuses first."""
        refusal = self.refusal(delivery)
        maker = MAKERS.get(delivery.fault, _good)
        return refusal or maker(self, delivery)

    def refusal(self, delivery: Delivery) -> Answer | None:
        if self.most_bytes is not None and len(delivery.content) > self.most_bytes:
            return _too_large(self, delivery)
        if any("firewalled" in text for text in delivery.texts):
            return _blocked(self, delivery)
        if any("poison" in text for text in delivery.texts):
            return _refused_whole(self, delivery)
        return None

    def save(self, texts: Any) -> list[int]:
        ids = []
        for text in texts:
            self.last_id += self.draw.choice([1, 1, 5])
            self.ledger.setdefault(text, []).append(self.last_id)
            ids.append(self.last_id)
        return ids

    def save_or_not(self, delivery: Delivery) -> list[int]:
        return self.save(delivery.texts) if self.draw.random() < 0.5 else []

    def said(self, fate: Fate, ids: Any, *, status: int = 200, **more: Any) -> Answer:
        headers, body = render(self.draw, self.wire_format, ids, **more)
        return Answer(status, headers, body, fate)


def _good(store: FaultyStore, delivery: Delivery) -> Answer:
    warning = {"ack": "Warning", "said": [("Warning", "Status Lost does not exist")]}
    warned = warning if store.draw.random() < 0.1 else {}
    status = store.draw.choice([200, 200, 200, 201])
    return store.said(Fate.ADDED, store.save(delivery.texts), status=status, **warned)


def _refused_whole(store: FaultyStore, delivery: Delivery) -> Answer:
    text = store.draw.choice(["bad record", "bad record", "JSON Error"])
    return store.said(Fate.REFUSED, [], ack=store.draw.choice(["Error", "error"]), said=[("Error", text)])


def _request_error(store: FaultyStore, delivery: Delivery) -> Answer:
    store.save_or_not(delivery)
    text = store.draw.choice(["Request Error", "Internal server error."])
    return store.said(Fate.UNKNOWABLE, [], ack="Error", said=[("Error", text)])


def _in_part(store: FaultyStore, delivery: Delivery) -> Answer:
    kept = store.draw.sample(delivery.texts, store.draw.randrange(len(delivery.texts)))
    ids = store.save([text for text in delivery.texts if text in kept])
    return store.said(Fate.UNKNOWABLE, ids, ack="Warning", said=[("Warning", "Cannot find Customer X")])


def _id_twice(store: FaultyStore, delivery: Delivery) -> Answer:
    ids = store.save(delivery.texts)
    return store.said(Fate.UNKNOWABLE, [ids[0], *(ids[:1] if len(ids) == 1 else [ids[0], *ids[2:]])])


def _id_missing(store: FaultyStore, delivery: Delivery) -> Answer:
    ids: list[Any] = list(store.save(delivery.texts))
    ids[store.draw.randrange(len(ids))] = ABSENT
    return store.said(Fate.UNKNOWABLE, ids)


def _id_too_many(store: FaultyStore, delivery: Delivery) -> Answer:
    return store.said(Fate.UNKNOWABLE, [*store.save(delivery.texts), store.last_id + 1_000_000])


def _id_odd(store: FaultyStore, delivery: Delivery) -> Answer:
    ids: list[Any] = list(store.save(delivery.texts))
    ids[store.draw.randrange(len(ids))] = store.draw.choice(["abc", "0", "-1", "1.5", "", "12 13"])
    return store.said(Fate.UNKNOWABLE, ids)


def _ids_beside_an_error(store: FaultyStore, delivery: Delivery) -> Answer:
    return store.said(
        Fate.UNKNOWABLE, store.save(delivery.texts), ack=store.draw.choice(["Error", None]), said=[("Error", "bad")]
    )


def _says_nothing(store: FaultyStore, delivery: Delivery) -> Answer:
    store.save_or_not(delivery)
    return store.said(Fate.UNKNOWABLE, [])


def _web_page(store: FaultyStore, delivery: Delivery) -> Answer:
    store.save_or_not(delivery)
    return Answer(200, {"content-type": "text/html"}, store.draw.choice([b"<html><body>", b"", b"OK"]), Fate.UNKNOWABLE)


def _cut_short(store: FaultyStore, delivery: Delivery) -> Answer:
    whole = _good(store, delivery)
    return Answer(200, whole.headers, whole.body[: store.draw.randrange(len(whole.body))], Fate.UNKNOWABLE)


def _server_failed(store: FaultyStore, delivery: Delivery) -> Answer:
    status = store.draw.choice([500, 502, 503, 504, 408])
    return store.said(Fate.UNKNOWABLE, store.save_or_not(delivery), status=status)


def _refused_with_ids(store: FaultyStore, delivery: Delivery) -> Answer:
    status = store.draw.choice([302, 401, 403, 413, 429])
    return store.said(Fate.UNKNOWABLE, store.save(delivery.texts), status=status)


def _limited(store: FaultyStore, delivery: Delivery) -> Answer:
    seconds = store.draw.choice([0, 1, 3, 30, 90, 4_000, 1_000_000])
    asked: dict[str, str] = {}
    until = now() + 60.0
    match store.draw.choice(["seconds", "seconds", "date", "absent", "unreadable", "past"]):
        case "seconds":
            asked, until = {"Retry-After": str(seconds)}, now() + min(seconds, 86_400)
        case "date":
            moment = (utcnow() + timedelta(seconds=seconds)).replace(microsecond=0)
            asked, until = {"retry-after": format_datetime(moment, usegmt=True)}, (moment - BEGINNING).total_seconds()
            until = min(until, now() + 86_400)
        case "unreadable":
            asked = {"Retry-After": "soon"}
        case "past":
            asked, until = {"Retry-After": "Fri, 06 Nov 1998 08:49:37 GMT"}, now()
    # Counted from when the answer is read, which for seconds is later than here: never earlier.
    return Answer(429, asked, b"", Fate.LIMITED, until)


def _too_large(store: FaultyStore, delivery: Delivery) -> Answer:
    return Answer(413, {}, b"<html>413", Fate.TOO_LARGE)


def _blocked(store: FaultyStore, delivery: Delivery) -> Answer:
    return Answer(store.draw.choice([403, 403, 404, 405, 451]), {}, b"<html>no", Fate.BLOCKED)


def _redirected(store: FaultyStore, delivery: Delivery) -> Answer:
    return Answer(store.draw.choice([301, 302, 307]), {"Location": "http://localhost/login"}, b"", Fate.REDIRECTED)


def _key(store: FaultyStore, delivery: Delivery) -> Answer:
    status = store.draw.choice([200, 200, 401, 403])
    return store.said(Fate.KEY_REFUSED, [], status=status, ack="Error", said=[("Error", "Invalid API Key")])


MAKERS: dict[str, Maker] = {
    made.__name__[1:]: made
    for made in (
        *(_refused_whole, _request_error, _in_part, _id_twice, _id_missing, _id_too_many, _id_odd),
        *(_ids_beside_an_error, _says_nothing, _web_page, _cut_short, _server_failed, _refused_with_ids),
        *(_limited, _too_large, _blocked, _redirected, _key),
    )
}
CARRIERS = (
    *("refused", "connects_never", "dropped", "asked_twice", "silent", "dripping", "broken_off", "closing_raises"),
    *("answered_early", "transport_raises"),
)
FAULTS = (*MAKERS, *CARRIERS)


class _Response:
    """An answer on its way: in parts, with time between them, and perhaps never whole."""

    is_stream_consumed = False

    def __init__(
        self,
        store: FaultyStore,
        delivery: Delivery,
        *,
        parts: int = 1,
        leg: float = 0.0,
        breaks: bool = False,
        closing: BaseException | None = None,
    ) -> None:
        assert delivery.answer is not None
        self.status_code = delivery.answer.status
        self.headers = delivery.answer.headers
        self._store, self._delivery = store, delivery
        self._parts, self._leg, self._breaks, self._closing = parts, leg, breaks, closing

    async def aiter_raw(self) -> AsyncIterator[bytes]:
        body = self._delivery.answer.body  # type: ignore[union-attr]
        step = len(body) // self._parts + 1
        for first in range(0, len(body), step):
            await asyncio.sleep(self._store.draw.random() * self._leg)
            if self._store.closed:
                raise ConnectionAbortedError
            if self._breaks and self._store.draw.random() < 0.5:
                raise strange(self._store.draw)
            yield body[first : first + step]
        self._delivery.whole_at = now()
        if self._closing is not None:
            self._delivery.gray = True

    async def aclose(self) -> None:
        if self._closing is not None:
            raise self._closing


class _PlainClient:
    """No more of `httpx.AsyncClient` than the library uses."""

    is_closed = False

    def __init__(self, store: FaultyStore) -> None:
        self._store = store

    def build_request(self, method: str, url: str, *, headers: Any, content: Any, extensions: Any) -> Any:
        url = SimpleNamespace(query=b"")
        return SimpleNamespace(content=content, timeouts=extensions["timeout"], headers={}, url=url)

    async def send(self, request: Any, *, stream: bool, follow_redirects: bool, auth: Any) -> Any:
        return await self._store.exchange(request.content, request.timeouts)

    async def aclose(self) -> None:
        self._store.abort()


@define
class _Stream(httpx.AsyncByteStream):
    response: _Response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self.response.aiter_raw():
            yield part

    async def aclose(self) -> None:
        await self.response.aclose()


@define
class _Wire(httpx.AsyncBaseTransport):
    """The store under `httpx.AsyncClient`, without a socket."""

    store: FaultyStore = field()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self.store.exchange(request.stream, request.extensions["timeout"])
        return httpx.Response(answer.status_code, headers=answer.headers, stream=_Stream(answer))

    async def aclose(self) -> None:
        self.store.abort()
