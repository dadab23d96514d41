"""
Reasons to stop a run, and not to send a record. Pure, on times that are passed in. May import: records, outcomes.

    too many rejected         more than the caller allows
    refused whole             its first three batches were refused to the last record with the same messages, or
                              splitting refused batches costs more than a tenth of its calls plus 200
    wrong address             two records alone were blocked by a firewall's status, and nothing was added between them
    in doubt                  calls have ended in doubt for longer than ``give_up_after``
"""

from __future__ import annotations

from attrs import define, field, frozen

from neto_async.outcomes import NotSent, NotSentCause
from neto_async.sending.records import Batch, PendingRecord

__all__ = ["CLOSED", "GAVE_UP", "KEY_REFUSED", "NOBODY_WAITS", "NOT_NOTED", "NO_QUOTA", "Limits", "RunLimits", "Stop"]

EXTRA_CALLS = 200
EXTRA_SHARE = 0.1
"""Limits on splitting refused batches: so many calls a run, plus this share of its calls."""

FIRST_BATCHES = (1, 2, 3)
"""The batches which, refused to the last record with the same messages, show that the records are not at fault."""


@frozen(kw_only=True)
class Stop:
    """
    Why a record or the rest of a run is not sent.

    Attributes:
        cause: One of the constants.
        reason: A sentence; ends in Neto's own words where a refusal stopped the run.
        retry_after: Seconds until the store takes calls again, where it said so.
    """

    cause: NotSentCause
    reason: str = field(repr=False)
    retry_after: float | None = None

    @classmethod
    def because(cls, cause: NotSentCause, *details: str, retry_after: float | None = None) -> Stop:
        """Make one whose sentence is the cause, and after colons the details."""
        return cls(cause=cause, reason=": ".join((cause, *details)), retry_after=retry_after)

    def outcome_of(self, pending: PendingRecord) -> NotSent:
        """Make the outcome of a record that is not sent for this."""
        return pending.outcome(NotSent, reason=self.reason, cause=self.cause, retry_after=self.retry_after)


NOT_NOTED = Stop.because(NotSentCause.JOURNAL)
CLOSED = Stop.because(NotSentCause.CLOSED)
GAVE_UP = Stop.because(NotSentCause.GAVE_UP)
NO_QUOTA = Stop.because(NotSentCause.QUOTA_SERVER)
KEY_REFUSED = Stop.because(NotSentCause.KEY_REFUSED)
NOBODY_WAITS = Stop(cause=NotSentCause.STOPPED, reason="its caller was cancelled, and its call saved nothing")


@define(eq=False, kw_only=True)
class Limits:
    """
    No limits, for single adds: each has its own deadline, and none is stopped because of another.

    Attributes:
        give_up_after: Seconds for a batch from its first attempt, without the waiting for slot and quota.
    """

    give_up_after: float = float("inf")

    def may_cut(self, calls: int) -> bool:  # noqa: ARG002
        """Say whether a refused batch may be cut in two, after so many calls."""
        return True

    def blocked_again(self) -> bool:
        """Note a record that was blocked alone, and say whether another was before it, and no success between."""
        return False

    def rejected(self, batch: Batch, count: int) -> Stop | None:  # noqa: ARG002
        """Note rejected records of a batch, and say why the run stops, if it does."""
        return None

    def added(self) -> None:
        """Note a success."""


@define(eq=False, kw_only=True)
class RunLimits(Limits):
    """What a run allows, and the counts that decide it; ``max_rejected`` is None for no such limit."""

    max_rejected: int | None = None
    _doubtful_since: float | None = None  # when calls began to end in doubt, in seconds on the clock
    _quota_lost_at: float | None = None  # since when it waits for the quota's server, in seconds on the clock
    _extra_calls: int = 0  # calls that took a refused batch apart
    _rejected: int = 0  # records
    _refused_batches: dict[int, tuple[str, ...]] = field(factory=dict, repr=False)  # first batches: their one message
    _blocked: bool = False  # a record was blocked alone, with no success since

    def may_cut(self, calls: int) -> bool:
        if self._extra_calls + 2 > EXTRA_SHARE * calls + EXTRA_CALLS:
            return False
        self._extra_calls += 2
        return True

    def blocked_again(self) -> bool:
        # Two of them: then it is not a text that a firewall dislikes.
        again, self._blocked = self._blocked, True
        return again

    def rejected(self, batch: Batch, count: int) -> Stop | None:
        self._rejected += count
        if self.max_rejected is not None and self._rejected > self.max_rejected:
            return Stop.because(NotSentCause.TOO_MANY_REJECTED, str(self._rejected))
        if batch.ordinal in FIRST_BATCHES and batch.refused == batch.size and len(batch.texts) == 1:
            (self._refused_batches[batch.ordinal],) = batch.texts
            texts = set(self._refused_batches.values())
            if len(self._refused_batches) == len(FIRST_BATCHES) and len(texts) == 1:
                return Stop.because(NotSentCause.REFUSED_WHOLE, *texts.pop())
        return None

    def added(self) -> None:
        self._blocked = False

    def doubtful(self, now: float, probe_at: float) -> bool:
        """Note that calls end in doubt, and say whether the next probe comes too late for this run."""
        if self._doubtful_since is None:
            self._doubtful_since = now
        return probe_at - self._doubtful_since > self.give_up_after

    def without_quota(self, now: float, *, lost: bool) -> float:
        """Note whether the run waits for the quota's server, and say until when it may; infinity where it does not."""
        if not lost:
            self._quota_lost_at = None
        elif self._quota_lost_at is None:
            self._quota_lost_at = now
        return float("inf") if self._quota_lost_at is None else self._quota_lost_at + self.give_up_after

    def definite(self) -> None:
        """Note an answer that leaves no doubt."""
        self._doubtful_since = None
