"""
Giving each record its one outcome, and counting them.

A record that was taken in is in ``unsettled`` until it has its outcome; nothing else ends its wait. May import: clock,
lanes, observing, records, stopping, turns, outcomes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from neto_async.outcomes import Outcome
from neto_async.sending.clock import Clock, Timer
from neto_async.sending.lanes import Lane, SingleLane
from neto_async.sending.observing import logger
from neto_async.sending.records import AwaitedRecord, PendingRecord
from neto_async.sending.stopping import Stop
from neto_async.sending.turns import Turns

__all__ = ["Settling", "Unawaited"]


class Unawaited:
    """Outcomes that no caller will see: counted, logged without their contents, and passed on if that is asked for."""

    def __init__(self, pass_on: Callable[[Outcome], object] | None) -> None:
        self._pass_on = pass_on
        self.counts: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Take the outcome of a single add."""
        name = type(outcome).__name__
        calls = [attempt.call for attempt in outcome.attempts]
        described = {"neto_index": outcome.index, "neto_outcome": name, "neto_calls": calls}
        self.counts[name] += 1
        logger.warning("a customer log ended as %s after its caller had been cancelled", name, extra=described)
        self._hand_over(outcome)

    def add_bulk(self, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of a bulk add; they are logged in one line."""
        counts = Counter(type(outcome).__name__ for outcome in outcomes)
        self.counts.update(counts)
        listed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        if outcomes:
            described = {"neto_outcomes": dict(counts)}
            logger.warning(
                "the logs of a bulk add ended as %s after its caller had been cancelled", listed, extra=described
            )
        for outcome in outcomes:
            self._hand_over(outcome)

    def _hand_over(self, outcome: Outcome) -> None:
        if self._pass_on is None:
            return
        try:
            self._pass_on(outcome)
        except Exception as error:  # noqa: BLE001
            # Only the class: the program's text could say anything.
            failure = type(error).__name__
            logger.error("on_unawaited raised %s", failure, extra={"neto_failure": failure})


class Settling:
    """
    Settle records, each once.

    Args:
        out_of_time: Called with each waiting record that has run out of time.

    Attributes:
        counts: Outcomes so far, by name.
        unsettled: The records taken in that have no outcome yet.
    """

    def __init__(self, clock: Clock, turns: Turns, out_of_time: Callable[[SingleLane, AwaitedRecord], None]) -> None:
        self._clock = clock
        self._turns = turns
        self._out_of_time = out_of_time
        self.counts: Counter[str] = Counter()
        self.unsettled: set[PendingRecord] = set()
        self._listeners: list[Callable[[Sequence[PendingRecord]], None]] = []  # called with records that are settled
        self._expiry: Timer | None = None  # looks which records have run out of time
        self._expiry_at = float("inf")  # when it does; nothing that waits gives up before

    def count(self, outcome: Outcome) -> Outcome:
        """Count an outcome."""
        self.counts[type(outcome).__name__] += 1
        return outcome

    def forget(self, records: Sequence[PendingRecord]) -> None:
        """Note that records have their outcomes, or need none."""
        self.unsettled.difference_update(records)
        for listener in tuple(self._listeners):
            listener(records)

    def settle(self, lane: Lane, records: Sequence[PendingRecord], outcomes: Sequence[Any]) -> None:
        """Give records of one lane their outcomes, all of one call or a single one of none."""
        for kind, count in Counter(map(type, outcomes)).items():
            self.counts[kind.__name__] += count
        self.forget(records)
        lane.settle(records, outcomes)

    def not_sent(self, lane: Lane, records: Sequence[PendingRecord], stop: Stop) -> None:
        """Settle records of one lane as not sent, all of one call or a single one of none."""
        self.settle(lane, records, [stop.outcome_of(pending) for pending in records])

    def stop_waiting(self, lane: SingleLane, add: AwaitedRecord, stop: Stop) -> None:
        """Settle a record that a caller waits for, and that waits, as not sent."""
        lane.withdraw(add)
        self.not_sent(lane, (add,), stop)

    def stop_run(self, lane: Lane, stop: Stop) -> None:
        """Send no more of a run: what waits is settled as not sent, calls under way and single adds continue."""
        lane.close(stop, lambda pending: self.not_sent(lane, (pending,), stop))

    def stop_all(self, stop: Stop) -> None:
        """Settle all waiting records as not sent; calls under way continue."""
        for lane, add in self.waiting():
            self.stop_waiting(lane, add, stop)
        for run in list(self._turns.runs):
            self.stop_run(run, stop)

    def waiting(self) -> list[tuple[SingleLane, AwaitedRecord]]:
        """List what callers wait for and no call carries, with its lane."""
        return [(lane, add) for lane in self._turns.singles for add in lane.records()]

    def expire_at(self, when: float) -> None:
        """Schedule the check for expired records no later than then. One shared timer serves all that wait."""
        if when >= self._expiry_at:
            return
        self.cancel_expiry()
        self._expiry, self._expiry_at = self._clock.call_at(when, self._expire), when

    def cancel_expiry(self) -> None:
        """Cancel the timer: nothing waits."""
        if self._expiry is not None:
            self._expiry.cancel()

    def _expire(self) -> None:
        self._expiry, self._expiry_at = None, float("inf")
        now = self._clock.monotonic()
        for lane, add in self.waiting():
            if add.give_up_at <= now:
                self._out_of_time(lane, add)
            else:
                self.expire_at(add.give_up_at)

    async def wait(self, records: Iterable[PendingRecord], timeout: float | None) -> bool:  # noqa: ASYNC109 - not raised: it is the answer
        """Wait until records have their outcomes; False where the timeout, in seconds, came first."""
        remaining = set(records) & self.unsettled
        if not remaining:
            return True
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def listen(settled: Sequence[PendingRecord]) -> None:
            remaining.difference_update(settled)
            if not remaining:
                _answer(done, True)

        timer = (
            None if timeout is None else self._clock.call_at(self._clock.monotonic() + timeout, _answer, done, False)
        )
        self._listeners.append(listen)
        try:
            return await done
        finally:
            self._listeners.remove(listen)
            if timer is not None:
                timer.cancel()


def _answer(future: asyncio.Future[bool], answer: bool) -> None:  # noqa: FBT001 - a callback's
    if not future.done():
        future.set_result(answer)
