"""
The calls under way. Each runs in its own task, which only the transport cuts off, after its deadline.

A call ends in one of three ways: its task ends; it is abandoned (its answer is too late for everyone, or the
client closes); or the event loop cancels its task before its first step. Each way leads to `Calls._conclude`, once.
May import: clock, exchange, lanes, observing, quota, records, waiting, wire, outcomes, settings.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from attrs import define, field

from neto_async.outcomes import Attempt, Phase
from neto_async.sending.clock import Clock
from neto_async.sending.exchange import Failure, HttpReply, OutgoingBody, Transport
from neto_async.sending.lanes import Lane
from neto_async.sending.observing import CallObserver, SafeObserver, logger
from neto_async.sending.quota import Quota
from neto_async.sending.records import BatchPart, PendingRecord
from neto_async.sending.waiting import Deadline, in_own_thread
from neto_async.settings import Settings
from neto_async.wire import Verdict, VerdictKind

__all__ = ["OUR_OWN", "WITHHELD", "Call", "Calls", "Decide"]

LONG = 32 * 1024
LONG_PACKED = 512
"""Bytes of an answer, as it came and compressed, from which it is judged in a thread."""

GRACE = 0.5
"""Seconds past its deadline after which a call is abandoned. The transport's own timeouts come first."""

TURNS_TO_END = 10
"""Turns of the loop in which a call ends whose connection was closed: HTTP libraries take up to four."""

WITHHELD = Failure(name="Withheld")
"""The result of a call that was not made because it could not be recorded before."""

REVOKED = Failure(name="client closed")
"""The result of a call that was not made because the client had been closed meanwhile."""

LAPSED = Failure(name="lapsed", kind="its place in the quota, or its journal's lease, had lapsed")
"""The result of a call that was not made because its place in the quota, or its record in the journal, had lapsed."""

CANCELLED = Failure(name="CancelledError")
"""The result of a call whose task was cancelled; only an event loop that shuts down does that."""

OUR_OWN = (REVOKED, LAPSED, CANCELLED)
"""Ends of calls that say nothing about the store."""


@define(eq=False)
class Call:
    """
    A call under way, or about to begin.

    Attributes:
        number: Counted from 1 over the life of the client.
        probe: True where it was let through although the client is halted.
        began_at: Seconds on the clock.
        sent_at: The same moment, in UTC.
    """

    number: int
    lane: Lane
    part: BatchPart
    body: OutgoingBody
    probe: bool
    context: contextvars.Context
    began_at: float
    sent_at: datetime
    place: Any
    timer: Deadline | None = None  # abandons the call; set when the transport is given it
    abandoned: bool = False
    ended: bool = False  # its task is at its end
    verdict: Verdict | None = None  # on an answer so long that it was judged in a thread
    observer: SafeObserver | None = None  # who was notified of its beginning, and will be of its end
    observed: Any = None  # the token that this observer gets back then

    @property
    def records(self) -> list[PendingRecord]:
        """Its records."""
        return self.part.records


Decide = Callable[[Call, HttpReply | Failure, Verdict | None], None]
"""Settles the records of a call, or puts them back; without a verdict the call never left."""


@define(eq=False, kw_only=True, repr=False)
class Calls:
    """
    Make calls, and see each to its end.

    Args:
        quota: Is notified of the end of each call.
        decide: Says what an end means for the records.
        changed: Called after each end.

    Attributes:
        under_way: Those that have neither ended nor been abandoned.
        tasks: The owner of each call that has not ended.
        context: That of no caller, in which calls are decided on and made. A call carries records of many callers, so
            it must not run with the trace, or the request id for log lines, of the first one.
    """

    _settings: Settings
    _transport: Transport
    _clock: Clock
    _quota: Quota
    _decide: Decide
    _changed: Callable[[], None]
    made: int = 0
    under_way: set[Call] = field(factory=set)
    tasks: dict[asyncio.Task[None], Call] = field(factory=dict)
    context: contextvars.Context = field(factory=contextvars.copy_context)
    _observer: SafeObserver | None = None

    @property
    def running(self) -> int:
        """Number of calls whose task has not come to its end, abandoned ones too."""
        return sum(not call.ended for call in self.tasks.values())

    @property
    def records(self) -> list[PendingRecord]:
        """The records that calls carry now."""
        return [pending for call in self.under_way for pending in call.records]

    # -- observing ------------------------------------------------------------------------------------------------

    def observe(self, observer: CallObserver) -> Callable[[], None]:
        """
        Notify an observer of every call from now on.

        Returns: A function that ends this. Of calls under way then, it still learns the end.

        Raises:
            RuntimeError: There is one already.
        """
        if self._observer is not None:
            raise RuntimeError("the calls of this client are observed already")
        self._observer = guarded = SafeObserver(observer)
        return partial(self._observe_no_more, guarded)

    def _observe_no_more(self, guarded: SafeObserver) -> None:
        if self._observer is guarded:
            self._observer = None

    def origin(self) -> Any:
        """Ask the observer for its token of the caller who submits a record or enters a run."""
        return None if self._observer is None else self._observer.handed_in()

    # -- one call -------------------------------------------------------------------------------------------------

    def begin(self, lane: Lane, part: BatchPart, content: bytes, place: Any, *, probe: bool) -> None:
        """Make a call that has its slot and its place in the quota."""
        self.made += 1
        now, sent_at = self._clock.monotonic(), self._clock.utcnow()
        body = OutgoingBody(content, lane.action, lambda: lane.may_leave() and self._quota.may_leave(place))
        call = Call(self.made, lane, part, body, probe, self.context.copy(), now, sent_at, place)
        lane.in_flight += 1
        lane.calls += 1
        self.under_way.add(call)
        name = f"neto_async call {call.number}"
        task = asyncio.get_running_loop().create_task(self._run(call), name=name, context=call.context)
        self.tasks[task] = call
        task.add_done_callback(self._gone, context=call.context)

    async def _run(self, call: Call) -> None:
        exchange: HttpReply | Failure = CANCELLED
        try:
            if not await call.lane.intend(call.number, call.part):
                exchange = WITHHELD
            elif call.body.revoked:
                exchange = REVOKED
            elif not call.body.may_leave():
                # The body asks as well. But a store may count a call by its head, and that leaves before the body.
                exchange = LAPSED
            else:
                self._notify_observer(call)
                # The loop's own time, which the transport's deadline is in.
                deadline = asyncio.get_running_loop().time() + self._settings.timeout
                call.timer = Deadline(deadline, GRACE, partial(self._abandon, call, "deadline passed"), call.context)
                exchange = await self._transport.call(call.body)
                if call.body.lapsed and not call.body.left:
                    exchange = LAPSED
                elif isinstance(exchange, HttpReply) and _is_long(exchange):
                    call.timer.cancel()
                    call.verdict = await in_own_thread(partial(self._judged, call, exchange), "neto_async judge")
        except Exception as error:  # noqa: BLE001
            # A transport that breaks its contract must not take records with it. A traceback could show a text.
            exchange = Failure(name=type(error).__name__)
            described = {"neto_call": call.number, "neto_failure": exchange.name}
            logger.error("the transport raised %s", exchange.name, extra=described)
        finally:
            self._end(call, exchange)

    def _gone(self, task: asyncio.Task[None]) -> None:
        call = self.tasks.pop(task)
        if not call.ended:
            # A loop that is torn down cancelled it before its first step.
            self._end(call, CANCELLED)

    def _notify_observer(self, call: Call) -> None:
        if self._observer is not None:
            call.observer, origins = self._observer, call.lane.origins(call.part)
            size, action = len(call.body.content), call.lane.action.name
            call.observed = call.observer.began(call.number, origins, len(call.records), size, action)

    def _abandon(self, call: Call, why: str) -> None:
        """Abandon a call. It keeps its place in the quota to its end, since the store may see it until then."""
        call.abandoned = True
        call.body.revoked = True  # if it has not left yet, it never will
        self._conclude(call, Failure(name=why))
        self._changed()

    def _end(self, call: Call, exchange: HttpReply | Failure) -> None:
        call.ended = True
        if call.timer is not None:
            call.timer.cancel()
        self._quota.end(self._clock.monotonic(), call.place)
        if not call.abandoned:
            self._conclude(call, exchange)
        call.lane.over(call.part)
        self._changed()

    def _conclude(self, call: Call, exchange: HttpReply | Failure) -> None:
        self.under_way.discard(call)
        call.lane.in_flight -= 1
        verdict = self._judge(call, exchange)
        seconds = self._clock.monotonic() - call.began_at
        call.part.spent += seconds
        attempt = _attempt(call, exchange, seconds, self._clock.utcnow())
        for pending in call.records:
            pending.attempts = (*pending.attempts, attempt) if pending.attempts else (attempt,)
        if logger.isEnabledFor(logging.DEBUG):
            ended = "never left" if verdict is None else verdict.kind.name
            described = {"neto_call": call.number, "neto_records": len(call.records), "neto_status": attempt.status}
            logger.debug("call %d: %s", call.number, ended, extra=described)
        self._decide(call, exchange, verdict)
        call.lane.ended(call.number)
        if call.observer is not None and call.observed is not None:
            # Last, so that what is logged of a call is logged where its observer put it.
            call.observer.ended(call.observed, attempt, None if verdict is None else verdict.kind)

    def _judge(self, call: Call, exchange: HttpReply | Failure) -> Verdict | None:
        """Give the verdict on a call; None where it never left."""
        if isinstance(exchange, HttpReply):
            return call.verdict or self._judged(call, exchange)
        if not call.body.left:
            return None
        reason = f"the call had left when it failed ({exchange.name})"
        return Verdict(kind=VerdictKind.UNKNOWN, reason=reason, status=exchange.status)

    def _judged(self, call: Call, reply: HttpReply) -> Verdict:
        return call.lane.action.judge(
            reply.status, reply.headers, reply.body, len(call.records), now=self._clock.utcnow()
        )

    # -- closing --------------------------------------------------------------------------------------------------

    def revoke(self) -> None:
        """Let nothing leave any more: records of calls that have not left yet are settled as not sent."""
        for call in tuple(self.under_way):
            call.body.revoked = True
            # One that is not with the transport yet waits to be recorded, and its end must be recorded as well.
            if call.timer is not None and not call.body.left:
                call.timer.cancel()
                call.context.run(self._abandon, call, REVOKED.name)

    async def wait_for_closed(self) -> None:
        """Wait for the end of calls whose connections have been closed: some turns of the loop."""
        for _ in range(TURNS_TO_END):
            if any(call.body.left for call in self.tasks.values()):
                await asyncio.sleep(0)


def _is_long(reply: HttpReply) -> bool:
    """Say whether reading an answer could hold the loop for more than some milliseconds (4 µs a message, 2026-11)."""
    return len(reply.body) > (LONG_PACKED if "content-encoding" in reply.headers else LONG)


def _attempt(call: Call, exchange: HttpReply | Failure, seconds: float, ended_at: datetime) -> Attempt:
    failure = None if isinstance(exchange, HttpReply) else exchange
    phase = Phase.ANSWERED if failure is None else Phase.LEFT if call.body.left else Phase.NEVER_LEFT
    return Attempt(
        call=call.number,
        records=len(call.records),
        body_bytes=len(call.body.content),
        phase=phase,
        seconds=seconds,
        sent_at=call.sent_at,
        ended_at=ended_at,
        status=exchange.status,
        failure=None if failure is None else failure.name,
        kind=None if failure is None else failure.kind,
    )
