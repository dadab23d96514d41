"""
The sending engine: it decides which records go with which call, and when.

Theory of operation. Records wait in lanes: one each for all single adds, updates and reads, and one for each bulk add
or import. A batch is sealed when a call slot and a place in the quota are both free, and not before: an idle client
sends at once, a busy one fills its calls automatically. All decisions are made in one synchronous step, `_pump`, which
runs in the next turn of the loop after anything has changed. It holds no lock and never waits: one timer runs it again
when a place in the quota comes free or a pause ends.

    turns      whose turn it is                     calls      makes each call and sees it to its end
    lanes      what waits, and what differs         call_ends  what its end means for its records
    settling   each record's one outcome            stopping   what stops a run

May import: the rest of sending, wire, models, outcomes, results, settings.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any

from neto_async.outcomes import Invalid, Outcome, Unknown
from neto_async.results import Statistics
from neto_async.sending.backpressure import Backpressure
from neto_async.sending.call_ends import CallEnds
from neto_async.sending.calls import Calls
from neto_async.sending.clock import Clock, LoopClock, Timer
from neto_async.sending.exchange import Transport
from neto_async.sending.lanes import ImportLane, Lane, SingleLane, UpdateLane
from neto_async.sending.observing import CallObserver, logger
from neto_async.sending.quota import QUOTA_SERVER, Quota, quota_for
from neto_async.sending.records import AwaitedRecord, BatchPart, PendingRecord, Sendable
from neto_async.sending.safe_quota import SafeQuota, safe
from neto_async.sending.settling import Settling, Unawaited
from neto_async.sending.sizes import Sizes
from neto_async.sending.stopping import CLOSED, KEY_REFUSED, NO_QUOTA, Stop
from neto_async.sending.turns import Turns
from neto_async.settings import Settings
from neto_async.wire import ADD_CUSTOMER_LOG, GET_CUSTOMER, UPDATE_CUSTOMER_LOG

__all__ = ["Engine"]


class Engine:
    """
    Take records in and settle each exactly once.

    Args:
        quota: Says when a call may begin; by default the window of ``settings.requests_per_minute``.
        jitter: Draws a number from 0 to 1 for each wait.
        on_unawaited: Called with each outcome that its caller will not see.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        *,
        clock: Clock | None = None,
        quota: Quota | None = None,
        jitter: Callable[[], float] = random.random,
        on_unawaited: Callable[[Outcome], object] | None = None,
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or LoopClock()
        self.quota: Quota = quota_for(settings.requests_per_minute) if quota is None else safe(quota)
        self.unawaited: Unawaited = Unawaited(on_unawaited)
        self._backpressure = Backpressure(jitter)
        self._sizes = Sizes(settings.max_batch_bytes)
        self.adds: SingleLane = SingleLane(ADD_CUSTOMER_LOG, settings.batch_size, self.unawaited.add)
        self.updates: SingleLane = UpdateLane(UPDATE_CUSTOMER_LOG, 1, self.unawaited.add)
        self.reads: SingleLane = SingleLane(GET_CUSTOMER, 1, spaced=True)
        self._turns = Turns((self.adds, self.updates, self.reads))
        self._settling = Settling(self.clock, self._turns, self._out_of_time)
        self._ends = CallEnds(
            settings=settings,
            clock=self.clock,
            quota=self.quota,
            turns=self._turns,
            settling=self._settling,
            backpressure=self._backpressure,
            sizes=self._sizes,
        )
        self._calls = Calls(
            settings=settings,
            transport=transport,
            clock=self.clock,
            quota=self.quota,
            decide=self._ends.decide,
            changed=self.wake,
        )
        self._pump_due = False  # a pump is in the loop's queue
        self._timer: Timer | None = None  # pumps when what the next call waits for has come
        self._waiting_on: str | None = None
        self._closed = False  # no more is taken in
        self._sleeping: set[asyncio.Event] = set()  # those who wait for a time of day

    def observe(self, observer: CallObserver) -> Callable[[], None]:
        """Notify an observer of every call from now on; see `Calls.observe`."""
        return self._calls.observe(observer)

    # -- taking in ------------------------------------------------------------------------------------------------

    def submit(self, lane: SingleLane, record: Sendable, context: Any, give_up_after: float) -> AwaitedRecord:
        """Take in a record that a caller waits for; its outcome comes through ``waiter``."""
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        give_up_at = self.clock.monotonic() + give_up_after
        add = AwaitedRecord(index=0, record=record, context=context, waiter=waiter, give_up_at=give_up_at)
        add.origin = self._calls.origin()
        self._settling.unsettled.add(add)
        if (stop := self._why_not_taken_in() or self._ends.pause_outlasts(add)) is not None:
            self._settling.stop_waiting(lane, add, stop)
        else:
            lane.add(add)
            self._settling.expire_at(give_up_at)
            self.wake()
        return add

    def _why_not_taken_in(self) -> Stop | None:
        if self._closed:
            return CLOSED
        return None if self._backpressure.takes_in(self.clock.monotonic()) else KEY_REFUSED

    async def outcome(
        self, lane: SingleLane, record: Sendable, context: Any, give_up_after: float, *, doubt: Unknown | None = None
    ) -> Any:
        """
        Submit a record that a caller waits for, and wait for its outcome.

        Args:
            lane: Where it goes.
            record: What to send.
            context: The caller's own.
            give_up_after: Seconds.
            doubt: An earlier outcome of it; `on_unawaited` gets both as one.
        """
        add = self.submit(lane, record, context, give_up_after)
        add.doubt = doubt
        try:
            return await add.waiter
        except asyncio.CancelledError:
            known = None  # what a call carries, or has settled meanwhile, the lane reports
            if add.waiter.done() and not add.waiter.cancelled():
                # It was settled in the very turn in which its caller was cancelled, or before.
                known = add.in_all(add.waiter.result())
            elif not add.in_call and add in self._settling.unsettled:
                lane.withdraw(add)
                self._settling.forget((add,))
                self.wake()  # to find that nothing waits
                known = doubt  # only the earlier call counts
            if known is not None and lane.unawaited is not None:
                lane.unawaited(known)
            raise

    def attach(self, lane: ImportLane) -> None:
        """Serve a bulk add or an import from now on."""
        lane.origin = self._calls.origin()
        self._turns.enter(lane)
        if (stop := self._why_not_taken_in()) is not None:
            self.stop_run(lane, stop)
        else:
            self._ends.stop_if_pause_outlasts(lane)

    def detach(self, lane: ImportLane) -> None:
        """Stop serving a run."""
        self._turns.leave(lane)

    def offer(self, lane: ImportLane, pending: PendingRecord) -> None:
        """Take in a record of a run."""
        if lane.stop is not None:
            self._settling.not_sent(lane, (pending,), lane.stop)
            return
        self._settling.unsettled.add(pending)
        lane.add(pending)
        self.wake()

    def stop_run(self, lane: ImportLane, stop: Stop) -> None:
        """Send no more of a run: waiting records are settled as not sent, calls under way continue."""
        self._settling.stop_run(lane, stop)

    def count(self, outcome: Outcome) -> Outcome:
        """Count an outcome that was decided before the record reached the engine."""
        return self._settling.count(outcome)

    async def sleep_until(self, moment: float) -> None:
        """Wait until a moment in seconds since 1970, by the clock's time of day, or until no more is taken in."""
        while not self._closed and (left := moment - self.clock.utcnow().timestamp()) > 0:
            over = asyncio.Event()
            self._sleeping.add(over)
            timer = self.clock.call_at(self.clock.monotonic() + left, over.set)
            try:
                await over.wait()
            finally:
                timer.cancel()
                self._sleeping.discard(over)

    # -- closing --------------------------------------------------------------------------------------------------

    def close_intake(self) -> None:
        """Take no more records."""
        self._closed = True
        for sleeping in self._sleeping:
            sleeping.set()

    def fail_waiting(self) -> None:
        """Settle all waiting records as not sent; calls under way continue."""
        self._ends.closing = True
        self._settling.stop_all(CLOSED)
        self._settling.cancel_expiry()
        self.wake()  # to find that nothing waits, and to cancel the timer

    def revoke_calls(self) -> None:
        """Let nothing leave any more: records of calls that have not left yet are settled as not sent."""
        self._calls.revoke()

    async def wait_for_closed_calls(self) -> None:
        """Wait for the end of calls whose connections have been closed: some turns of the loop."""
        await self._calls.wait_for_closed()

    def unsettled(self) -> frozenset[PendingRecord]:
        """List the records taken in that have no outcome yet."""
        return frozenset(self._settling.unsettled)

    def submitted(self) -> frozenset[PendingRecord]:
        """List records that callers wait for or calls carry: others may wait for a loop that takes outcomes."""
        return frozenset((*(add for _, add in self._settling.waiting()), *self._calls.records))

    async def wait_settled(self, records: Iterable[PendingRecord], timeout: float | None) -> bool:  # noqa: ASYNC109 - not raised: it is the answer
        """Wait until records have their outcomes; False where the timeout, in seconds, came first."""
        return await self._settling.wait(records, timeout)

    def records_in_flight(self) -> int:
        """Count the records that calls carry now."""
        return len(self._calls.records)

    def statistics(self) -> Statistics:
        """Count what was done, and say what waits on what."""
        waiting_single, waiting_update, waiting_read = (lane.waiting for lane in self._turns.singles)
        # A copy: another thread may read this while the loop serves the runs.
        waiting_import = sum(lane.waiting for lane in tuple(self._turns.runs))
        counts = self._settling.counts
        return Statistics(
            calls=self._calls.made,
            in_flight=len(self._calls.under_way),
            waiting_single=waiting_single,
            waiting_import=waiting_import,
            waiting_update=waiting_update,
            waiting_read=waiting_read,
            waiting_on=self._waiting_on if waiting_single or waiting_import or waiting_update or waiting_read else None,
            failing=self._backpressure.failures,
            paused_for=max(0.0, self._backpressure.paused_until - self.clock.monotonic()),
            quota_used=self.quota.used,
            quota_shared=isinstance(self.quota, SafeQuota),
            halted=self._backpressure.halted,
            added=counts["Added"],
            rejected=counts["Rejected"],
            invalid=counts["Invalid"],
            not_sent=counts["NotSent"],
            unknown=counts["Unknown"],
            updated=counts["Updated"],
            pages_read=counts["PageRead"],
            unawaited=dict(self.unawaited.counts),
        )

    # -- which call next ------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Look in the next turn of the loop whether a call can begin."""
        if not self._pump_due:
            self._pump_due = True
            asyncio.get_running_loop().call_soon(self._pump, context=self._calls.context)

    def _pump(self) -> None:
        self._pump_due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (lane := self._next_lane()) is not None:
            self._begin(lane)
            # One batch a turn: encoding as many as slots are free would hold the loop that much longer.
            if self._turns.ready():
                self.wake()
        self.clock.decided(self, calls=self._calls.running, waiting_on=self._waiting_on)

    def _next_lane(self) -> Lane | None:
        """Choose the lane whose batch goes now; if none may, note what it waits for and when to look again."""
        self._waiting_on = None
        ready = self._turns.ready()
        if not ready:
            return None
        if len(self._calls.under_way) >= (1 if self._backpressure.probing else self.settings.max_concurrency):
            self._waiting_on = "slot"
            return None
        now, pause, probe_at = self.clock.monotonic(), self._backpressure.paused_until, self._backpressure.probe_at
        if now < max(pause, probe_at):
            self._wait_for("pause" if pause > probe_at else "probe", max(pause, probe_at))
            return None
        nearest = float("inf")
        for lane in ready:
            leave = self._turns.places_for_others if lane is self.adds and len(ready) > 1 else 0
            at = self.quota.earliest(now, spaced=lane.spaced, leave=leave)
            if at <= now:
                return lane
            nearest = min(nearest, at)
        waiting_on = self.quota.waiting_on
        for run in tuple(self._turns.runs):
            lost = waiting_on == QUOTA_SERVER and run.ready()
            give_up_at = run.limits.without_quota(now, lost=lost)
            nearest = min(nearest, give_up_at)
            if give_up_at <= now:
                self.stop_run(run, NO_QUOTA)
        self._wait_for(waiting_on, nearest)
        return None

    def _wait_for(self, what: str, when: float) -> None:
        self._waiting_on = what
        if when < float("inf"):  # otherwise the quota wakes us
            self._timer = self.clock.call_at(when, self._pump)

    def _out_of_time(self, lane: SingleLane, add: AwaitedRecord) -> None:
        self._settling.stop_waiting(lane, add, NO_QUOTA if self._waiting_on == QUOTA_SERVER else self._ends.gave_up)
        self.wake()  # to find that nothing waits

    def _begin(self, lane: Lane) -> None:
        part = lane.take(1 if self._backpressure.probing else lane.max_records)
        if part is None:
            return
        body = self._seal(lane, part)
        if body is None:
            lane.over(part)
            return
        if not (place := self.quota.begin(self.clock.monotonic(), spaced=lane.spaced)):
            # Another client took the last place just now.
            lane.put_back(part)
            self.wake()
            return
        self._turns.taken(lane)
        self._calls.begin(lane, part, body, place, probe=self._backpressure.halted)

    def _seal(self, lane: Lane, part: BatchPart) -> bytes | None:
        """Encode a part. Records that do not fit into the call are taken back; one that never can is invalid."""
        while True:
            records: list[Any] = [pending.record for pending in part.records]
            if len(records) > 1 and (fit := self._sizes.fitting(records)) < len(records):
                lane.shorten(part, fit)
                del records[fit:]
            body = self._encode(lane, part.records)
            if len(records) == 1:
                fault = _fault_alone(body, self.settings.max_batch_bytes)
                if fault is None:
                    return body
                self._settling.settle(lane, part.records, [part.records[0].outcome(Invalid, errors=(fault,))])
                return None
            if body is not None and len(body) <= self._sizes.limit:
                self._sizes.note(records, len(body))
                return body
            lane.shorten(part, self._sizes.cut(records, None if body is None else len(body)))

    def _encode(self, lane: Lane, records: list[PendingRecord]) -> bytes | None:
        try:
            for pending in records:
                if not pending.fields:
                    pending.fields = lane.action.prepare(pending.record, zone=self.settings.wire_timezone)
            return lane.action.encode(list(map(lane.sent, records)), self.settings.wire_format)
        except Exception as error:  # noqa: BLE001
            # A caller's own tzinfo can raise anything; its neighbours must not notice.
            name = type(error).__name__
            described = {"neto_records": len(records), "neto_failure": name}
            logger.warning("a batch of %d could not be encoded (%s)", len(records), name, extra=described)
            return None


def _fault_alone(body: bytes | None, limit: int) -> str | None:
    if body is None:
        return "the log can't be encoded: look at its times and their zones"
    if len(body) > limit:
        return f"the log takes {len(body)} bytes in a call of its own, and max_batch_bytes is {limit}"
    return None
