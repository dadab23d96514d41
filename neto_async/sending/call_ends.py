"""
The consequences of the end of a call for its records, the lanes and the calls after it.

    added, updated, read      settled
    refused, one record       settled: rejected
    refused, several          nothing was saved (an inference): cut in two, to be sent again
    429, never left           nothing was saved: put back, and everyone pauses
    413                       cut in two, and later batches stay smaller
    403 or another 4xx        the wrong address before the first success; after it cut in two as above
    a redirect                the wrong address: settled as not sent, a run stops
    key refused               put back once, where a function gives another key; else settled as not sent, and the
                              client is halted, except for one probe a minute
    anything else             settled as unknown, and never sent again

May import: backpressure, calls and what that may, settling, sizes, stopping, turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from attrs import define

from neto_async.outcomes import Added, Evidence, NotSentCause, Rejected, Unknown, Updated
from neto_async.sending.backpressure import DEFAULT_PAUSE, Backpressure
from neto_async.sending.calls import OUR_OWN, WITHHELD, Call
from neto_async.sending.clock import Clock
from neto_async.sending.exchange import Failure, HttpReply
from neto_async.sending.lanes import Lane
from neto_async.sending.observing import logger
from neto_async.sending.quota import Quota
from neto_async.sending.records import AwaitedRecord, BatchPart, PageRead
from neto_async.sending.settling import Settling
from neto_async.sending.sizes import Sizes
from neto_async.sending.stopping import CLOSED, GAVE_UP, KEY_REFUSED, NOBODY_WAITS, NOT_NOTED, Stop
from neto_async.sending.turns import Turns
from neto_async.settings import Settings
from neto_async.wire import Verdict, VerdictKind

__all__ = ["CallEnds"]

WARN_INTERVAL = 60.0
"""Seconds between two warnings that the store can't be reached."""

PERMANENT_ATTEMPTS = 3
"""Failures in a row that waiting can't fix, after which records are given up if no call has ever left."""


@define(eq=False, kw_only=True, repr=False)
class CallEnds:
    """
    Decide what becomes of the records of each call.

    Args:
        quota: Is notified when the store asks for a pause.
        backpressure: Keeps the limits on the next calls.
        sizes: Learns what is too large for the store.

    Attributes:
        closing: True once nothing is sent again.
        gave_up: Why a single add whose time is over now was not sent.
    """

    _settings: Settings
    _clock: Clock
    _quota: Quota
    _turns: Turns
    _settling: Settling
    _backpressure: Backpressure
    _sizes: Sizes
    closing: bool = False
    gave_up: Stop = GAVE_UP
    _reached: bool = False  # a call has left: host name and certificate are right
    _succeeded: bool = False  # a call did what it was for: address and key are right
    _warn_at: float = float("-inf")  # from when on the next warning of an unreachable store is due

    def decide(self, call: Call, exchange: HttpReply | Failure, verdict: Verdict | None) -> None:
        """Settle the records of a call that has ended, or put them back; without a verdict the call never left."""
        if exchange is WITHHELD:
            self._settling.stop_run(call.lane, NOT_NOTED)
            self._put_back(call, call.part)
        elif verdict is None:
            self._never_left(call, exchange)
        else:
            self._reached = True
            self.gave_up = GAVE_UP
            self._backpressure.left(call.began_at)
            self._meanings[verdict.kind](self, call, verdict)

    # -- by verdict -----------------------------------------------------------------------------------------------

    def _added(self, call: Call, verdict: Verdict) -> None:
        self._note_success(call)
        call.lane.limits.added()
        # Each by itself, and not by `PendingRecord.outcome`: nearly all outcomes are made here.
        outcomes = [
            Added(
                index=pending.index,
                record=pending.record,
                context=pending.context,
                attempts=pending.attempts,
                log_id=log_id,
                warnings=verdict.warnings,
            )
            for pending, log_id in zip(call.records, verdict.log_ids, strict=True)
        ]
        self._settling.settle(call.lane, call.records, outcomes)

    def _updated(self, call: Call, verdict: Verdict) -> None:  # noqa: ARG002
        self._note_success(call)
        self._settling.settle(call.lane, call.records, [pending.outcome(Updated) for pending in call.records])

    def _read(self, call: Call, verdict: Verdict) -> None:
        self._note_success(call)
        outcomes = [pending.outcome(PageRead, customers=verdict.customers) for pending in call.records]
        self._settling.settle(call.lane, call.records, outcomes)

    def _refused(self, call: Call, verdict: Verdict) -> None:
        self._note_definite(call)
        self._note_key_taken(call)
        if self._settings.isolate_rejections:
            self._cut_or_reject(call, verdict)
        else:
            self._reject(call, verdict)

    def _too_large(self, call: Call, verdict: Verdict) -> None:
        self._note_definite(call)
        if len(call.records) > 1:
            self._sizes.lower(len(call.body.content))
        self._cut_or_reject(call, verdict)

    def _blocked(self, call: Call, verdict: Verdict) -> None:
        alone = len(call.records) == 1
        if not self._succeeded or (alone and call.lane.limits.blocked_again()):
            self._wrong_address(call, verdict)
        else:
            self._note_definite(call)
            self._cut_or_reject(call, verdict)

    def _wrong_address(self, call: Call, verdict: Verdict) -> None:
        self._note_definite(call)
        self._not_sent_and_stop(call, Stop.because(NotSentCause.WRONG_ADDRESS, verdict.reason))

    def _rate_limited(self, call: Call, verdict: Verdict) -> None:
        now = self._clock.monotonic()
        asked = DEFAULT_PAUSE if verdict.retry_after is None else verdict.retry_after
        seconds = self._backpressure.asked_to_pause(now, asked)
        self._quota.pause(now, self._backpressure.asked_until)
        logger.warning("the store asked for a pause of %.0f s", seconds, extra={"neto_pause": seconds})
        for lane, add in self._settling.waiting():
            if (stop := self.pause_outlasts(add)) is not None:
                self._settling.stop_waiting(lane, add, stop)
        self._try_again(call, self._backpressure.asked_until - now, self._asked_to_pause())
        for run in list(self._turns.runs):
            self.stop_if_pause_outlasts(run)

    def _key_refused(self, call: Call, verdict: Verdict) -> None:  # noqa: ARG002
        # Asked in any case: the next call goes with another key, even if this one does not.
        if call.body.key_refused() and not (call.part.with_new_key or call.probe):
            call.part.with_new_key = True
            logger.info("the store refused a key; asking for another", extra={"neto_call": call.number})
            self._put_back(call, call.part)
            return
        if not self._backpressure.halted:
            described = {"neto_call": call.number, "neto_cause": NotSentCause.KEY_REFUSED.name}
            logger.error("the store refused the API key; nothing is sent but one probe a minute", extra=described)
        self._backpressure.key_refused(self._clock.monotonic())
        self._note_definite(call)
        self._not_sent(call, KEY_REFUSED)
        self._settling.stop_all(KEY_REFUSED)

    def _in_doubt(self, call: Call, verdict: Verdict) -> None:
        now = self._clock.monotonic()
        if not call.lane.action.may_repeat:  # nothing is at stake with one that may
            self._backpressure.ended_in_doubt(now)
        messages = (*verdict.messages, *verdict.warnings)
        evidence = Evidence(log_ids=verdict.log_ids, messages=messages, status=verdict.status)
        outcomes = [pending.outcome(Unknown, reason=verdict.reason, evidence=evidence) for pending in call.records]
        self._settling.settle(call.lane, call.records, outcomes)
        if self._backpressure.in_doubt:
            for lane in list(self._turns.runs):
                if lane.limits.doubtful(now, self._backpressure.probe_at):
                    self._settling.stop_run(lane, Stop.because(NotSentCause.IN_DOUBT, verdict.reason))

    _meanings: ClassVar[Mapping[VerdictKind, Callable[[CallEnds, Call, Verdict], None]]] = {
        VerdictKind.ADDED: _added,
        VerdictKind.UPDATED: _updated,
        VerdictKind.READ: _read,
        VerdictKind.REFUSED: _refused,
        VerdictKind.TOO_LARGE: _too_large,
        VerdictKind.BLOCKED: _blocked,
        VerdictKind.WRONG_ADDRESS: _wrong_address,
        VerdictKind.RATE_LIMITED: _rate_limited,
        VerdictKind.KEY_REFUSED: _key_refused,
        VerdictKind.UNKNOWN: _in_doubt,
    }

    def _never_left(self, call: Call, exchange: HttpReply | Failure) -> None:
        now = self._clock.monotonic()
        self._backpressure.never_left(now)
        stop = GAVE_UP
        if isinstance(exchange, Failure) and exchange not in OUR_OWN:
            kind = exchange.kind or exchange.name
            if exchange.kind is not None:
                stop = Stop.because(NotSentCause.NO_KEY if exchange.no_key else GAVE_UP.cause, kind)
            self.gave_up = stop if exchange.no_key else GAVE_UP
            if now >= self._warn_at:
                self._warn_at = now + WARN_INTERVAL
                described = {"neto_call": call.number, "neto_failure": exchange.name}
                if exchange.no_key:
                    logger.warning("there is no key to log in with: %s", kind, extra=described)
                else:
                    logger.warning("the store can't be reached: %s", kind, extra=described)
            if exchange.permanent and not self._reached and self._backpressure.failures >= PERMANENT_ATTEMPTS:
                cause = NotSentCause.UNREACHABLE
                stop = Stop(cause=cause, reason=f"{cause} ({kind})")
                self._not_sent(call, stop)
                self._settling.stop_all(stop)
                return
        self._try_again(call, self._backpressure.backoff_until - now, stop)

    def _note_success(self, call: Call) -> None:
        self._note_definite(call)
        self._note_key_taken(call)
        self._succeeded = True

    def _note_definite(self, call: Call) -> None:
        """Note that the store answered in a way that leaves no doubt."""
        self._backpressure.ended_definitely(writes=not call.lane.action.may_repeat)
        if call.lane.action.may_repeat:
            return  # that customers can be read says nothing about what may be saved
        for lane in self._turns.runs:
            lane.limits.definite()
        call.lane.definite()

    def _note_key_taken(self, call: Call) -> None:
        if call.probe and self._backpressure.halted:
            self._backpressure.key_taken()
            logger.info("the store takes the API key again", extra={"neto_call": call.number})

    # -- what becomes of the records ------------------------------------------------------------------------------

    def _cut_or_reject(self, call: Call, verdict: Verdict) -> None:
        if len(call.records) == 1:
            self._reject(call, verdict)
        else:
            self._cut(call, verdict)

    def _reject(self, call: Call, verdict: Verdict) -> None:
        lane, batch = call.lane, call.part.batch
        batch.refused += len(call.records)
        batch.texts.add(verdict.messages)
        messages = verdict.messages or (verdict.reason,)
        outcomes = [pending.outcome(Rejected, messages=messages) for pending in call.records]
        self._settling.settle(lane, call.records, outcomes)
        if (stop := lane.limits.rejected(batch, len(call.records))) is not None:
            self._settling.stop_run(lane, stop)

    def _cut(self, call: Call, verdict: Verdict) -> None:
        """Send the halves of a batch again: nothing of it was saved."""
        lane, part = call.lane, call.part
        if not lane.limits.may_cut(lane.calls):
            self._not_sent_and_stop(call, Stop.because(NotSentCause.REFUSED_WHOLE, *verdict.messages))
            return
        first = BatchPart(part.records, part.batch, part.spent)
        second = first.split((len(part.records) + 1) // 2)
        self._put_back(call, second)
        self._put_back(call, first)

    def _try_again(self, call: Call, wait: float, stop: Stop) -> None:
        """Put back what was certainly not saved, unless its time is over by then."""
        part = call.part
        part.with_new_key = False  # the one that it goes with may have expired by then
        part.spent += max(wait, 0.0)
        if part.spent > call.lane.limits.give_up_after:
            self._not_sent_and_stop(call, stop)
        else:
            self._put_back(call, part)

    def _put_back(self, call: Call, part: BatchPart) -> None:
        def why_not(add: AwaitedRecord) -> Stop | None:
            stop = self._why_not_again(add, probe=call.probe)
            if stop is None:
                self._settling.expire_at(add.give_up_at)
            return stop

        for pending, stop in call.lane.retry(part, why_not):
            self._settling.not_sent(call.lane, (pending,), stop)

    def _why_not_again(self, add: AwaitedRecord, *, probe: bool) -> Stop | None:
        if add.waiter.done():
            return NOBODY_WAITS
        if self.closing:
            return CLOSED
        if self._backpressure.halted and not probe:
            return KEY_REFUSED
        if (stop := self.pause_outlasts(add)) is not None:
            return stop
        if add.give_up_at <= max(self._clock.monotonic(), self._backpressure.backoff_until):
            return self.gave_up
        return None

    def _not_sent(self, call: Call, stop: Stop) -> None:
        self._settling.not_sent(call.lane, call.records, stop)

    def _not_sent_and_stop(self, call: Call, stop: Stop) -> None:
        self._not_sent(call, stop)
        self._settling.stop_run(call.lane, stop)

    # -- pauses ---------------------------------------------------------------------------------------------------

    def pause_outlasts(self, add: AwaitedRecord) -> Stop | None:
        """Say why a caller's record can't wait for the end of the pause that the store asked for; None where it can."""
        return self._asked_to_pause() if add.give_up_at < self._backpressure.asked_until else None

    def stop_if_pause_outlasts(self, lane: Lane) -> None:
        """Stop a run that can't wait for the end of the pause that the store asked for."""
        if self._backpressure.asked_until - self._clock.monotonic() > lane.limits.give_up_after:
            self._settling.stop_run(lane, self._asked_to_pause())

    def _asked_to_pause(self) -> Stop:
        seconds = self._backpressure.asked_until - self._clock.monotonic()
        return Stop.because(NotSentCause.RATE_LIMITED, f"{seconds:.0f} s", retry_after=seconds)
