"""
What became of each record, and of many: the five outcomes and the reports that count them.

Every record taken in ends in exactly one of `Added`, `Rejected`, `Invalid`, `NotSent` and `Unknown`. An outcome is
true of what the store saved; where that can't be known, it says so. Texts of customers and of Neto (whose messages
echo input) stand on attributes that no ``repr`` shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from attrs import field, frozen

from neto_async.errors import (
    AuthenticationError,
    InvalidRecordError,
    NetoError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    RejectedError,
)

if TYPE_CHECKING:
    from neto_async.models import CustomerLog

__all__ = [
    "Added",
    "Attempt",
    "BulkReport",
    "DrainReport",
    "Evidence",
    "ImportProgress",
    "Invalid",
    "NotSent",
    "NotSentCause",
    "Outcome",
    "Phase",
    "Rejected",
    "Statistics",
    "Unknown",
    "error_for",
]


class Phase(StrEnum):
    """How far a call came before it ended."""

    NEVER_LEFT = "never left"
    """The transport never asked for the body: nothing can have been processed."""
    LEFT = "left, no answer"
    """The body was asked for, and no whole answer came back."""
    ANSWERED = "answered"
    """A whole answer came back."""


@frozen(kw_only=True)
class Attempt:
    """
    One call that a record went with.

    Attributes:
        call: Number of the call, counted from 1 over the life of the client.
        records: Number of records in it.
        body_bytes: Length of its body in bytes.
        phase: How far it came.
        seconds: How long it took.
        status: The HTTP status of the answer, None without one.
        failure: Name of the error class that ended it, None where it was answered.
    """

    call: int
    records: int
    body_bytes: int
    phase: Phase
    seconds: float
    status: int | None = None
    failure: str | None = None

    def __str__(self) -> str:
        status = None if self.status is None else f"HTTP {self.status}"
        told = ", ".join(part for part in (str(self.phase), status, self.failure) if part)
        records = "1 record" if self.records == 1 else f"{self.records} records"
        return f"call {self.call} with {records}: {told}, after {_length(self.seconds)}"


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


@frozen(kw_only=True)
class Evidence:
    """
    What an answer said, for a person who has to look.

    Attributes:
        log_ids: Ids in the answer, in its order. Which record got which is not known.
        messages: Neto's own words.
        status: The HTTP status, None without an answer.
    """

    log_ids: tuple[int, ...] = ()
    messages: tuple[str, ...] = field(default=(), repr=False)
    status: int | None = None


class NotSentCause(StrEnum):
    """Why a record was certainly not saved."""

    KEY_REFUSED = "the store refused the API key"
    RATE_LIMITED = "the store asked for a longer pause than the call may wait"
    GAVE_UP = "the call could not be made within give_up_after"
    WRONG_ADDRESS = "the store's address does not answer as the API does"
    REFUSED_WHOLE = "the store refuses whole batches, and the run stopped taking them apart"
    IN_DOUBT = "the store's answers can't be read, and the run stopped before this record"
    JOURNAL = "the journal or the reports could not be written"
    SOURCE_CHANGED = "the source is not the one that the journal knows"
    TOO_MANY_REJECTED = "more records were rejected than the run allows"
    STOPPED = "the run stopped before this record"
    CLOSED = "the client was closed before this record left"


@frozen(kw_only=True)
class _Fate:
    """
    What all outcomes share.

    Attributes:
        index: Position of the record in the input, from 0.
        record: The record: the log, or the mapping that makes no valid one.
        context: What the caller handed in with it.
        attempts: The calls it went with, in their order; shared with its neighbours in them.
        replayed: True where an earlier run settled it, and its journal says so again.
    """

    _safe: ClassVar[bool]

    index: int
    record: CustomerLog | Mapping[str, Any] | None = field(repr=False)
    context: Any = field(default=None, repr=False)
    attempts: tuple[Attempt, ...] = field(default=(), repr=False)
    replayed: bool = False

    @property
    def safe_to_resend(self) -> bool:
        """Whether sending the record again can't put it into the store twice."""
        return self._safe


@frozen(kw_only=True)
class Added(_Fate):
    """
    Neto saved the record and gave it an id. Sending it again adds it twice.

    Attributes:
        log_id: The vendor's LogID. With several records in a call the pairing by position is an assumption.
        warnings: Neto's warnings for the whole call; with several records in it they may concern a neighbour.
    """

    _safe: ClassVar[bool] = False

    log_id: int
    warnings: tuple[str, ...] = field(default=(), repr=False)


@frozen(kw_only=True)
class Rejected(_Fate):
    """
    Neto refused the record and saved nothing of it. It can be sent again once it is mended.

    Attributes:
        messages: Neto's own words; empty where replayed, since a journal keeps no texts.
    """

    _safe: ClassVar[bool] = True

    messages: tuple[str, ...] = field(default=(), repr=False)


@frozen(kw_only=True)
class Invalid(_Fate):
    """
    The record breaks a documented rule and was never sent. It can be sent once it is mended.

    Attributes:
        errors: What is wrong, a sentence for each fault: field, limit and position, never the value.
    """

    _safe: ClassVar[bool] = True

    errors: tuple[str, ...]


@frozen(kw_only=True)
class NotSent(_Fate):
    """
    The record was certainly not saved, and can be sent again as it is.

    With the cause `NotSentCause.SOURCE_CHANGED` that is not so: the source is another one than its journal knows, and
    an earlier run may have added the record when it stood at another place.

    Attributes:
        reason: What stood in the way; holds Neto's own words where a refusal stopped the run.
        cause: The same as one of a few constants.
        retry_after: Seconds until the store takes calls again, where it said so.
    """

    reason: str = field(repr=False)
    cause: NotSentCause
    retry_after: float | None = None

    @property
    def safe_to_resend(self) -> bool:
        """Whether sending the record again can't put it into the store twice."""
        return self.cause is not NotSentCause.SOURCE_CHANGED


@frozen(kw_only=True)
class Unknown(_Fate):
    """
    The record may have been saved. Look in the store before sending it again.

    Attributes:
        reason: Why it can't be known.
        evidence: What the answer said, if there was one.
    """

    _safe: ClassVar[bool] = False

    reason: str
    evidence: Evidence = field(factory=Evidence)


Outcome: TypeAlias = Added | Rejected | Invalid | NotSent | Unknown
"""What became of a record. Exactly one of these for each record taken in."""


def error_for(outcome: Outcome) -> NetoError | None:
    """
    Make the error that tells of an outcome.

    Returns:
        None for `Added`. Each call makes an error of its own: one that several tasks raise would gather their
        tracebacks.
    """
    match outcome:
        case Added():
            return None
        case Rejected():
            return RejectedError(
                "the store refused the log and saved nothing of it; its words are in fate.messages", fate=outcome
            )
        case Invalid(errors=errors):
            return InvalidRecordError(errors, fate=outcome)
        case NotSent(cause=cause, retry_after=retry_after):
            text = f"not sent: {cause}{_last_attempt(outcome)}"
            if cause is NotSentCause.KEY_REFUSED:
                return AuthenticationError(text, fate=outcome)
            if cause is NotSentCause.RATE_LIMITED:
                return RateLimitedError(text, fate=outcome, retry_after=retry_after)
            return NotSentError(text, fate=outcome)
    return OutcomeUnknownError(
        f"the log may have been saved: {outcome.reason}{_last_attempt(outcome)}; look in the store before sending it "
        "again",
        fate=outcome,
    )


def _last_attempt(outcome: NotSent | Unknown) -> str:
    return f" ({outcome.attempts[-1]})" if outcome.attempts else ""


@frozen(repr=False)
class BulkReport:
    """
    What became of a finite number of records.

    Attributes:
        outcomes: One for each record, in the order of the input.
    """

    outcomes: tuple[Outcome, ...]

    @property
    def added(self) -> tuple[Added, ...]:
        """Those that Neto gave an id."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, Added))

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """Those that Neto refused."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, Rejected))

    @property
    def invalid(self) -> tuple[Invalid, ...]:
        """Those that break a documented rule and never left."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, Invalid))

    @property
    def not_sent(self) -> tuple[NotSent, ...]:
        """Those that were certainly not saved."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, NotSent))

    @property
    def unknown(self) -> tuple[Unknown, ...]:
        """Those that may have been saved."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, Unknown))

    def raise_for_problems(self) -> None:
        """
        Raise where not every record was added.

        Raises:
            ExceptionGroup: One `NetoError` for each record that was not, or may not have been, added.
        """
        errors = [error for outcome in self.outcomes if (error := error_for(outcome)) is not None]
        if errors:
            raise ExceptionGroup(
                f"{len(errors)} of {len(self.outcomes)} customer logs were not certainly added", errors
            )

    def __repr__(self) -> str:
        # Counts, not contents: a report of a million rows must not print them.
        counts = Counter(type(outcome).__name__ for outcome in self.outcomes)
        listed = ", ".join(f"{name}={counts[name]}" for name in ("Added", "Rejected", "Invalid", "NotSent", "Unknown"))
        return f"BulkReport(records={len(self.outcomes)}, {listed})"


@frozen(kw_only=True)
class ImportProgress:
    """
    How far a run is, at one moment.

    Attributes:
        taken: Records read from the source so far.
        total: Length of the source, None where it does not tell.
        added, rejected, invalid, not_sent, unknown: Outcomes so far.
        replayed: Those of them that an earlier run settled.
        calls: Calls that have begun.
        in_flight: Calls that have begun and not ended.
        seconds: How long the run has taken, up to its end.
        seconds_left: Seconds to the end, from the quota and not from the past; None where unknown, or where the run
            stopped.
        stopped_at: The first index never taken, where the run stopped; None otherwise.
        stop_reason: Why it stopped; None otherwise.
    """

    taken: int = 0
    total: int | None = None
    added: int = 0
    rejected: int = 0
    invalid: int = 0
    not_sent: int = 0
    unknown: int = 0
    replayed: int = 0
    calls: int = 0
    in_flight: int = 0
    seconds: float = 0.0
    seconds_left: float | None = None
    stopped_at: int | None = None
    stop_reason: str | None = field(default=None, repr=False)

    @property
    def finished(self) -> int:
        """Number of records that have an outcome."""
        return self.added + self.rejected + self.invalid + self.not_sent + self.unknown

    @property
    def records_per_second(self) -> float:
        """Records of which the store, or its silence, decided in this run, by its seconds so far; 0 at its start."""
        decided = self.added + self.rejected + self.unknown - self.replayed
        return decided / self.seconds if self.seconds else 0.0


@frozen(kw_only=True)
class DrainReport:
    """
    What a drain came to.

    Attributes:
        drained: True where every record handed in before has its outcome.
        left_in_flight: Records in calls that had not ended at the deadline: their fate is not known yet.
        left_waiting: Records that were still waiting to be sent at the deadline.
        seconds: How long it took.
    """

    drained: bool
    left_in_flight: int = 0
    left_waiting: int = 0
    seconds: float = 0.0


@frozen(kw_only=True)
class Statistics:
    """
    What a client has done and what is waiting on what, at one moment.

    Attributes:
        calls: Calls that have begun.
        in_flight: Calls that have begun and not ended.
        waiting_single: Records of single adds that wait to be sent.
        waiting_import: Records read by bulk adds and imports that wait to be sent.
        waiting_on: What the next call waits for: "slot", "quota", "pause", "probe"; None where nothing waits.
        failing: Calls in a row that never left, such as to a store that can't be reached.
        paused_for: Seconds until the pause that the store or a failed connection asked for ends.
        quota_used: Calls that count against the quota now.
        halted: True while the store refuses the key.
        added, rejected, invalid, not_sent, unknown: Outcomes so far.
        unawaited: Outcomes, by name, whose caller had been cancelled.
    """

    calls: int = 0
    in_flight: int = 0
    waiting_single: int = 0
    waiting_import: int = 0
    waiting_on: str | None = None
    failing: int = 0
    paused_for: float = 0.0
    quota_used: int = 0
    halted: bool = False
    added: int = 0
    rejected: int = 0
    invalid: int = 0
    not_sent: int = 0
    unknown: int = 0
    unawaited: Mapping[str, int] = field(factory=dict)
