"""
Lanes, in which records wait: one each for all single adds, updates and reads, and one for each bulk add or import.

A lane holds records; it knows neither slots nor time. What differs between lanes is a method here, so that the engine
does not ask which one it has. May import: observing, records, stopping, wire, outcomes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Protocol

from attrs import define, field

from neto_async.outcomes import Outcome
from neto_async.sending.observing import logger
from neto_async.sending.records import AwaitedRecord, Batch, BatchPart, PendingRecord
from neto_async.sending.stopping import Limits, RunLimits, Stop
from neto_async.wire import ADD_CUSTOMER_LOG, Action

__all__ = ["ImportLane", "Lane", "SingleLane", "UpdateLane", "WhyNot", "WriteAhead"]

WhyNot = Callable[[AwaitedRecord], Stop | None]
"""Says why a record that a caller waits for may not be sent again; None where it may."""


class WriteAhead(Protocol):
    """What is notified before a call of a run leaves, and after it has ended."""

    async def intend(self, call: int, records: Sequence[PendingRecord]) -> bool:
        """Record that records are about to leave; False where that failed, and they must not."""

    def may_leave(self) -> bool:
        """Say whether what was recorded still counts, when the body of a call is asked for."""

    def ended(self, call: int) -> None:
        """Record that all that the call settled has been settled; what it put back may go again."""


class Lane(Protocol):
    """What the engine asks of a lane. The defaults suit a lane whose calls are not recorded."""

    calls: int
    in_flight: int

    @property
    def action(self) -> Action:
        """The call that its records go with."""

    @property
    def spaced(self) -> bool:
        """True where its calls keep their distance from each other."""

    @property
    def limits(self) -> Limits:
        """What stops it."""

    @property
    def waiting(self) -> int:
        """Number of records that wait."""

    @property
    def max_records(self) -> int:
        """Records that the next call may carry."""

    def ready(self) -> bool:
        """Say whether a batch could be sealed now."""

    def take(self, max_records: int) -> BatchPart | None:
        """Return what goes with the next call, where it is ready; None where all of it was withdrawn just now."""

    def put_back(self, part: BatchPart) -> None:
        """Take back a part that has not gone, to go before all others."""

    def shorten(self, part: BatchPart, fit: int) -> None:
        """Leave the first ``fit`` records in a part that has not gone, and take the rest back."""

    def sent(self, pending: PendingRecord) -> Any:
        """Give what is sent of a record that was prepared."""
        return pending.fields

    def origins(self, part: BatchPart) -> list[Any]:
        """List what an observer of calls gave when the records were submitted: for each of them, or for all."""

    async def intend(self, call: int, part: BatchPart) -> bool:  # noqa: ARG002
        """Have a call recorded before it leaves, where that is asked for; False where it must not leave."""
        return True

    def may_leave(self) -> bool:
        """Say whether a call may leave now that was recorded before."""
        return True

    def definite(self) -> None:
        """Learn that a call ended without doubt."""
        return

    def retry(self, part: BatchPart, why_not: WhyNot) -> list[tuple[PendingRecord, Stop]]:
        """Take back a part of which nothing was saved; return the records that may not go again, and why."""

    def settle(self, records: Sequence[PendingRecord], outcomes: Sequence[Any]) -> None:
        """Pass on what became of records."""

    def ended(self, call: int) -> None:  # noqa: ARG002
        """Learn that all records of a call have been settled or put back."""
        return

    def over(self, part: BatchPart) -> None:  # noqa: ARG002
        """Learn that nothing of a call can reach the store any more."""
        return

    def close(self, stop: Stop, not_sent: Callable[[PendingRecord], None]) -> None:  # noqa: ARG002
        """Take no more, where the lane can be stopped, and give each record that waits to ``not_sent``."""
        return


@define(eq=False)
class SingleLane(Lane):
    """
    The records of all callers that wait for one each, in the order in which they came.

    Args:
        action: The call that they go with.
        max_records: Records that a call may carry.
        unawaited: Takes an outcome whose caller was cancelled; None drops it.
        spaced: Whether its calls keep their distance from each other.
    """

    action: Action
    max_records: int
    unawaited: Callable[[Any], None] | None = field(default=None, repr=False)
    spaced: bool = False
    calls: int = 0
    in_flight: int = 0
    limits: Limits = field(factory=Limits, repr=False)
    _queue: OrderedDict[AwaitedRecord, None] = field(factory=OrderedDict, repr=False)
    _parts: deque[BatchPart] = field(factory=deque, repr=False)

    @property
    def waiting(self) -> int:
        return len(self.records())

    def records(self) -> list[AwaitedRecord]:
        """List waiting records, without those that were withdrawn or have run out of time."""
        in_parts = (add for part in tuple(self._parts) for add in _adds(part))
        return [add for add in (*in_parts, *self._queue) if not add.waiter.done()]

    def add(self, add: AwaitedRecord) -> None:
        """Take a record in."""
        self._queue[add] = None

    def withdraw(self, add: AwaitedRecord) -> None:
        """Forget a record that waits; in a part it is passed over when its turn comes."""
        self._queue.pop(add, None)

    def ready(self) -> bool:
        while self._parts and all(add.waiter.done() for add in _adds(self._parts[0])):
            self._parts.popleft()
        return bool(self._parts or self._queue)

    def take(self, max_records: int) -> BatchPart | None:
        """Return the first part, else the oldest records."""
        if self._parts:
            part = self._parts.popleft()
            part.records = [add for add in _adds(part) if not add.waiter.done()]
            if len(part.records) > max_records:
                self.put_back(part.split(max_records))
        else:
            taken: list[PendingRecord] = []
            while self._queue and len(taken) < max_records:
                add, _ = self._queue.popitem(last=False)
                if not add.waiter.done():
                    taken.append(add)
            part = BatchPart(taken, Batch(0, len(taken)))
        for add in _adds(part):
            add.in_call = True
        return part if part.records else None

    def put_back(self, part: BatchPart) -> None:
        for add in _adds(part):
            add.in_call = False
        self._parts.appendleft(part)

    def shorten(self, part: BatchPart, fit: int) -> None:
        self.put_back(part.split(fit))

    def origins(self, part: BatchPart) -> list[Any]:
        return [add.origin for add in _adds(part)]

    def retry(self, part: BatchPart, why_not: WhyNot) -> list[tuple[PendingRecord, Stop]]:
        judged = [(add, why_not(add)) for add in _adds(part)]
        part.records = [add for add, stop in judged if stop is None]
        if part.records:
            self.put_back(part)
        return [(add, stop) for add, stop in judged if stop is not None]

    def settle(self, records: Sequence[PendingRecord], outcomes: Sequence[Any]) -> None:
        add: Any  # a single lane holds awaited records alone
        for add, outcome in zip(records, outcomes, strict=True):
            if not add.waiter.done():
                add.waiter.set_result(outcome)
            elif self.unawaited is not None:
                self.unawaited(add.in_all(outcome))


def _adds(part: BatchPart) -> list[AwaitedRecord]:
    return part.records  # type: ignore[return-value]  # a part of a single lane holds what callers wait for


@define(eq=False)
class UpdateLane(SingleLane):
    """
    Updates of all callers, one a call: its answer names no record. A log has one update under way at a time.

    An abandoned call may still change the log, so the next update of the same log waits for its end.
    """

    _changing: dict[int, BatchPart] = field(factory=dict, repr=False)  # by log id: what may still change the log

    def withdraw(self, add: AwaitedRecord) -> None:
        super().withdraw(add)
        self._parts = deque(part for part in self._parts if add not in part.records)

    def ready(self) -> bool:
        return self._next() is not None

    def take(self, max_records: int) -> BatchPart:  # noqa: ARG002
        """Return what came back first, else the oldest update, whose log no call is changing."""
        found = self._next()
        assert found is not None  # noqa: S101 - it is ready
        if isinstance(found, AwaitedRecord):
            self.withdraw(found)
            part = BatchPart([found], Batch(0, 1))
        else:
            self._parts.remove(found)
            part = copy(found)  # an earlier call of it may still end, which ends nothing of this one
        (add,) = _adds(part)
        add.in_call = True
        self._changing[_log_id(add)] = part
        return part

    def put_back(self, part: BatchPart) -> None:
        self.over(part)
        super().put_back(part)

    def over(self, part: BatchPart) -> None:
        self._changing = {log_id: other for log_id, other in self._changing.items() if other is not part}

    def _next(self) -> BatchPart | AwaitedRecord | None:
        parts = (part for part in self._parts if self._may_go(*_adds(part)))
        return next(parts, None) or next((add for add in self._queue if self._may_go(add)), None)

    def _may_go(self, add: AwaitedRecord) -> bool:
        return not add.waiter.done() and _log_id(add) not in self._changing


def _log_id(update: PendingRecord) -> int:
    return update.record.log_id  # type: ignore[union-attr]  # the lane of updates holds nothing else


@define(eq=False)
class ImportLane(Lane):
    """
    The records of one bulk add or import.

    Args:
        batch_size: Records of a full batch.
        room_made: Called when records have been taken, so that more can be read.
        settled: Takes the outcomes of a call, or of a record that is in none; a run gives it when it is entered.
        stopped: Called when the run takes no more; given then as well.
        limits: What stops it.

    Attributes:
        write_ahead: Is notified of each call before it leaves and after it ended; None without a journal.
        marked: Gives what is sent of a record, from its position and what its action prepared; None where that is sent.
        first_call_pending: True until a call ended definitely: until then one call of one record goes at a time, so
            that a wrong address does not put a whole file in doubt.
        partial: True where less than a full batch may be sealed: the source waits for something, or is at its end.
        held: True while the reader of outcomes takes none.
        stop: Why no more is taken; None while the run continues.
        origin: What an observer of calls gave for the run when it was entered.
    """

    batch_size: int
    room_made: Callable[[], None]
    settled: Callable[[Sequence[Outcome]], None] = field(default=lambda _: None, repr=False)
    stopped: Callable[[], None] = field(default=lambda: None, repr=False)
    limits: RunLimits = field(factory=RunLimits)
    write_ahead: WriteAhead | None = None
    marked: Callable[[int, Any], Any] | None = None
    calls: int = 0
    in_flight: int = 0
    first_call_pending: bool = True
    partial: bool = False
    held: bool = False
    stop: Stop | None = None
    origin: Any = field(default=None, repr=False)
    action: Action = field(init=False, default=ADD_CUSTOMER_LOG)
    spaced: bool = field(init=False, default=True)
    _queue: deque[PendingRecord] = field(factory=deque, repr=False)
    _parts: deque[BatchPart] = field(factory=deque, repr=False)
    _batches: int = 0

    @property
    def waiting(self) -> int:
        in_parts = sum(len(part.records) for part in tuple(self._parts)) if self._parts else 0
        return len(self._queue) + in_parts

    def records(self) -> list[PendingRecord]:
        """List those that wait."""
        return [*(pending for part in self._parts for pending in part.records), *self._queue]

    @property
    def max_records(self) -> int:
        return 1 if self.first_call_pending else self.batch_size

    def add(self, pending: PendingRecord) -> None:
        """Take a record in."""
        self._queue.append(pending)

    def ready(self) -> bool:
        if self.first_call_pending and self.in_flight:
            return False
        if self._parts:
            return True
        if self.held or not self._queue:
            return False
        return self.partial or len(self._queue) >= self.max_records

    def take(self, max_records: int) -> BatchPart:
        if self._parts:
            part = self._parts.popleft()
            if len(part.records) > max_records:
                self.put_back(part.split(max_records))
            return part
        taken = [self._queue.popleft() for _ in range(min(max_records, len(self._queue)))]
        self._batches += 1
        self.room_made()
        return BatchPart(taken, Batch(self._batches, len(taken)))

    def put_back(self, part: BatchPart) -> None:
        self._parts.appendleft(part)

    def shorten(self, part: BatchPart, fit: int) -> None:
        if len(part.records) == part.batch.size:
            # A batch that never went: the rest belongs to the next batch, which can be full.
            self._queue.extendleft(reversed(part.records[fit:]))
            del part.records[fit:]
            part.batch.size = fit
        else:
            self.put_back(part.split(fit))

    def sent(self, pending: PendingRecord) -> Any:
        return pending.fields if self.marked is None else self.marked(pending.index, pending.fields)

    def origins(self, part: BatchPart) -> list[Any]:  # noqa: ARG002
        return [self.origin]

    async def intend(self, call: int, part: BatchPart) -> bool:
        return self.write_ahead is None or await self.write_ahead.intend(call, part.records)

    def may_leave(self) -> bool:
        return self.write_ahead is None or self.write_ahead.may_leave()

    def definite(self) -> None:
        self.first_call_pending = False

    def retry(self, part: BatchPart, why_not: WhyNot) -> list[tuple[PendingRecord, Stop]]:  # noqa: ARG002
        """Take a part back, unless the run has stopped."""
        if self.stop is not None:
            return [(pending, self.stop) for pending in part.records]
        self.put_back(part)
        return []

    def settle(self, records: Sequence[PendingRecord], outcomes: Sequence[Any]) -> None:  # noqa: ARG002
        self.settled(outcomes)

    def ended(self, call: int) -> None:
        if self.write_ahead is not None:
            self.write_ahead.ended(call)

    def close(self, stop: Stop, not_sent: Callable[[PendingRecord], None]) -> None:
        """Take no more, unless the run has stopped already, and give each record that waits to ``not_sent``."""
        if self.stop is not None:
            return
        self.stop = stop
        logger.warning("a run stopped: %s", stop.cause, extra={"neto_cause": stop.cause.name})
        waiting = self.records()
        self._queue.clear()
        self._parts.clear()
        for pending in waiting:
            not_sent(pending)
        self.stopped()
