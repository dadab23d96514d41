"""
A watch between the engine and the transport: it sees each call begin and end, and holds the laws of calls.

It is in two places at once. As the quota it is notified of a call in the very step in which the engine decides on it,
and keeps what was known then; as the transport it sees the records, and the end of the call as the engine sees it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from attrs import frozen
from faulty_store import CURRENT, Delivery, Fate, FaultyStore, OddError, now, strange, texts_in

from neto_async.sending.calls import GRACE
from neto_async.sending.exchange import Failure, HttpReply, OutgoingBody, Transport
from neto_async.sending.quota import Quota
from neto_async.settings import Settings

__all__ = ["Watch", "owner_of"]

DEFINITE = frozenset(
    {Fate.ADDED, Fate.REFUSED, Fate.TOO_LARGE, Fate.BLOCKED, Fate.REDIRECTED, Fate.KEY_REFUSED},
)
EARLY = 1e-6
"""Seconds that floats may be off."""


def owner_of(text: str) -> str:
    """Say whose record it is: "s" for the lane of single adds, else the name of the run."""
    return text.split("/", 1)[0]


@frozen
class _Begun:
    """What was known in the step in which the engine decided on a call."""

    at: float
    step: int
    under_way: int
    doubtful: int
    pause_until: float
    key_refused_at: float | None
    closed: bool


class Watch(Quota):
    """Hold the laws of calls over one client."""

    def __init__(
        self, draw: random.Random, settings: Settings, store: FaultyStore, inner: Transport, quota: Quota
    ) -> None:
        self.draw, self.settings, self.store, self.inner, self.quota = draw, settings, store, inner, quota
        self.begun: deque[_Begun] = deque()
        self.deliveries: list[Delivery] = []
        self.tape: list[str] = []
        self.step = 0  # counts what happens, to tell which of two things came first in one moment
        self.under_way = 0
        self.doubtful = 0  # calls in a row that nobody can know the end of
        self.pause_until = float("-inf")
        self.key_refused_at: float | None = None
        self.probed: set[str] = set()  # records that went while the key was refused
        self.definite: dict[str, int] = {}  # run -> the step at which one of its calls ended definitely
        self.last: dict[str, Delivery] = {}  # record -> the last call that it went with and that left
        self.attempts: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self.cancelled: dict[str, int] = {}  # single adds whose caller was cancelled, and at which step
        self.closing = self.closed = False
        self.on_end: Callable[[], None] = lambda: None

    def tick(self) -> int:
        self.step += 1
        return self.step

    # -- as the quota -------------------------------------------------------------------------------------------

    @property
    def used(self) -> int:
        return self.quota.used

    def earliest(self, at: float, **how: Any) -> float:
        return self.quota.earliest(at, **how)

    def seconds_for(self, calls: int) -> float | None:
        return self.quota.seconds_for(calls)

    def begin(self, at: float, **how: Any) -> bool:
        known = (self.under_way, self.doubtful, self.pause_until, self.key_refused_at, self.closed)
        self.begun.append(_Begun(at, self.tick(), *known))
        self.under_way += 1
        return self.quota.begin(at, **how)

    def pause(self, at: float, until: float) -> None:
        self.quota.pause(at, until)

    def end(self, at: float, place: Any) -> None:
        self.quota.end(at, place)

    # -- as the transport ---------------------------------------------------------------------------------------

    async def call(self, body: OutgoingBody) -> HttpReply | Failure:
        begun = self.begun.popleft()
        delivery = Delivery(
            len(self.deliveries) + 1, body.content, texts_in(body.content), now() + self.settings.timeout
        )
        self.deliveries.append(delivery)
        self.tape.append(f"{now():9.2f}  call {delivery.number} begins: {_shown(delivery.texts)}")
        with self.store.held():
            self.hold(begun, delivery)
        CURRENT.set(delivery)
        # The engine abandons it in the same turn.
        left = asyncio.get_running_loop().call_at(delivery.deadline + GRACE, self.ended, begun, delivery, None, body)
        exchange: HttpReply | Failure | None = None
        try:
            exchange = await self._called(body, delivery)
        finally:
            left.cancel()
            if delivery.over is None:
                with self.store.held():
                    self.ended(begun, delivery, exchange, body)
        return exchange

    async def _called(self, body: OutgoingBody, delivery: Delivery) -> HttpReply | Failure:
        if self.draw.random() < 0.01:
            await asyncio.sleep(0)
            raise OddError if self.draw.random() < 0.2 else strange(self.draw)
        exchange: HttpReply | Failure = await self.inner.call(body)
        if delivery.fault == "transport_raises":
            delivery.gray = True
            raise strange(self.draw)
        return exchange

    async def aclose(self) -> None:
        await self.inner.aclose()

    # -- laws of a call that begins -----------------------------------------------------------------------------

    def hold(self, begun: _Begun, delivery: Delivery) -> None:
        texts = delivery.texts
        owners = {owner_of(text) for text in texts}
        assert 1 <= len(texts) <= self.settings.batch_size, "a batch of another size than batch_size allows"
        assert len(delivery.content) <= self.settings.max_batch_bytes, "a body over max_batch_bytes"
        assert len(owners) == 1, "a call that holds two lanes"
        assert len(set(texts)) == len(texts), "a record twice in a call"
        assert begun.under_way < self.settings.max_concurrency, "more calls than max_concurrency"
        assert begun.at >= begun.pause_until - EARLY, "a call before the end of the pause that the store asked for"
        assert not begun.closed, "a call that began after the client was closed"
        if begun.doubtful >= 3:
            assert len(texts) == 1, "several records at risk after three calls in doubt"
            assert begun.under_way == 0, "two calls at risk after three calls in doubt"
        if begun.key_refused_at is not None:
            tried = all(text in self.probed for text in texts)
            assert tried or begun.at >= begun.key_refused_at + 60.0 - EARLY, "a call while the key is refused"
            self.probed.update(texts)
        for text in texts:
            self.hold_record(begun, text)
        (owner,) = owners
        if owner != "s" and self.definite.get(owner, begun.step) >= begun.step:
            self.hold_feeling(begun, delivery, owner)

    def hold_record(self, begun: _Begun, text: str) -> None:
        assert self.cancelled.get(text, begun.step) >= begun.step, f"{text}: sent after its caller had been cancelled"
        last = self.last.get(text)
        if last is not None:
            assert last.over is not None, f"{text}: in two calls at once"
            again = {Fate.LIMITED: True, Fate.BLOCKED: len(last.texts) > 1, Fate.TOO_LARGE: len(last.texts) > 1}
            again[Fate.REFUSED] = len(last.texts) > 1 and self.settings.isolate_rejections
            assert again.get(last.fate), f"{text}: sent again after {last.fate}"  # type: ignore[arg-type]

    def hold_feeling(self, begun: _Begun, delivery: Delivery, owner: str) -> None:
        assert len(delivery.texts) == 1, f"{owner}: several records in a call before the first that ended definitely"
        for other in self.deliveries[:-1]:
            if owner_of(other.texts[0]) == owner:
                assert other.over is not None, f"{owner}: two calls before the first that ended definitely"
                assert other.over < begun.step, f"{owner}: a call beside the first"

    # -- the end of a call --------------------------------------------------------------------------------------

    def ended(
        self, begun: _Begun, delivery: Delivery, exchange: HttpReply | Failure | None, body: OutgoingBody
    ) -> None:
        assert body.left is delivery.asked, "the body's note of having left is wrong"
        delivery.over = self.tick()
        # Closing settles at once what has not left, whatever may be answered to it still.
        revoked = body.revoked and not delivery.asked
        delivery.fate = Fate.NEVER_LEFT if revoked else self.fate_of(delivery, exchange)
        self.under_way -= 1
        self.tape.append(f"{now():9.2f}  call {delivery.number} ends: {delivery.fault}, {delivery.fate.name}")
        for text in delivery.texts:
            self.attempts[text] += 1
            if delivery.fate is not Fate.NEVER_LEFT:
                self.left[text] += 1
                self.last[text] = delivery
        self.keep(begun, delivery)
        self.on_end()

    def fate_of(self, delivery: Delivery, exchange: HttpReply | Failure | None) -> Fate:
        whole = delivery.whole_at is not None
        late = now() > delivery.deadline - EARLY  # up to the grace both ends are right
        if isinstance(exchange, HttpReply):
            assert whole, "an answer was read that never was whole"
            assert delivery.answer is not None
            assert delivery.whole_at <= delivery.deadline + GRACE + EARLY, "a call went on past its deadline"
            return delivery.answer.fate
        assert not (whole and not late and not delivery.gray), "a whole answer that came in time was lost"
        return Fate.UNKNOWABLE if delivery.asked else Fate.NEVER_LEFT

    def keep(self, begun: _Begun, delivery: Delivery) -> None:
        """Keep the limits on the next call."""
        fate = delivery.fate
        if fate is Fate.UNKNOWABLE:
            self.doubtful += 1
        elif fate in DEFINITE:
            self.doubtful = 0
            self.definite.setdefault(owner_of(delivery.texts[0]), delivery.over or 0)
        if fate is Fate.LIMITED and delivery.answer is not None:
            self.pause_until = max(self.pause_until, delivery.answer.pause_until or 0.0)
        if fate is Fate.KEY_REFUSED:
            self.key_refused_at = now()
            self.probed.clear()
        elif fate in {Fate.ADDED, Fate.REFUSED} and begun.key_refused_at is not None:
            self.key_refused_at = None

    # -- the window ---------------------------------------------------------------------------------------------

    def hold_window(self) -> None:
        """Hold that no window at the store saw more calls than the client may make."""
        a_minute = self.settings.requests_per_minute
        if a_minute is None:
            return
        most, span = (int(a_minute), 60.0) if a_minute >= 1 else (1, 60.0 / a_minute)
        arrivals = sorted(self.store.arrivals)
        for first, one_too_many in zip(arrivals, arrivals[most:], strict=False):
            assert one_too_many - first >= span - EARLY, f"{most + 1} calls within {one_too_many - first:.3f} s"


def _shown(texts: tuple[str, ...]) -> str:
    return f"{len(texts)} of {owner_of(texts[0])}, from {texts[0]!r}"
