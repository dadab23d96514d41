"""Errors, reports and counts, made of outcomes. May import: errors, models, outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar, overload

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
from neto_async.models import CustomerLogUpdate
from neto_async.outcomes import Added, Invalid, NotSent, NotSentCause, Outcome, Rejected, Unknown, Updated

__all__ = [
    "BulkReport",
    "DrainReport",
    "ImportProgress",
    "ReconcileReport",
    "Reconciled",
    "Statistics",
    "error_for",
]

O = TypeVar("O")  # noqa: E741 - an outcome


@overload
def error_for(outcome: Added | Updated) -> None: ...
@overload
def error_for(outcome: Rejected | Invalid | NotSent | Unknown) -> NetoError: ...
@overload
def error_for(outcome: Outcome | Updated) -> NetoError | None: ...
def error_for(outcome: Outcome | Updated) -> NetoError | None:
    """
    Make the error of an outcome.

    Returns:
        None for `Added` and `Updated`. Each call makes a new error: one raised by several tasks would gather their
        tracebacks.
    """
    is_update = isinstance(outcome.record, CustomerLogUpdate)
    match outcome:
        case Added() | Updated():
            return None
        case Rejected():
            refused = "update and changed nothing" if is_update else "log and saved nothing of it"
            return RejectedError(f"the store refused the {refused}; its words are in outcome.messages", outcome=outcome)
        case Invalid(errors=errors):
            return InvalidRecordError(errors, outcome=outcome)
        case NotSent(cause=cause, retry_after=retry_after):
            text = f"not sent: {cause}{_last_attempt(outcome)}"
            if cause is NotSentCause.KEY_REFUSED:
                return AuthenticationError(text, outcome=outcome)
            if cause is NotSentCause.RATE_LIMITED:
                return RateLimitedError(text, outcome=outcome, retry_after=retry_after)
            return NotSentError(text, outcome=outcome)
    doubt = f"{outcome.reason}{_last_attempt(outcome)}; look in the store before sending it again"
    done = "changed" if is_update else "saved"
    return OutcomeUnknownError(f"the log may have been {done}: {doubt}", outcome=outcome)


def _last_attempt(outcome: NotSent | Unknown) -> str:
    return f" ({outcome.attempts[-1]})" if outcome.attempts else ""


def _only(kind: type[O], outcomes: Iterable[object]) -> tuple[O, ...]:
    return tuple(outcome for outcome in outcomes if isinstance(outcome, kind))


class _ByKind(Protocol):
    """A report whose outcomes can be taken by kind."""

    __slots__ = ()

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """One for each record."""

    @property
    def added(self) -> tuple[Added, ...]:
        """Those that are in the store, with their ids."""
        return _only(Added, self.outcomes)

    @property
    def not_sent(self) -> tuple[NotSent, ...]:
        """Those that were certainly not saved."""
        return _only(NotSent, self.outcomes)

    @property
    def unknown(self) -> tuple[Unknown, ...]:
        """Those that may have been saved."""
        return _only(Unknown, self.outcomes)


@frozen(repr=False)
class BulkReport(_ByKind):
    """
    What became of a finite number of records.

    Attributes:
        outcomes: One for each record, in the order of the input.
    """

    outcomes: tuple[Outcome, ...]

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """Those that Neto refused."""
        return _only(Rejected, self.outcomes)

    @property
    def invalid(self) -> tuple[Invalid, ...]:
        """Those that break a documented rule and never left."""
        return _only(Invalid, self.outcomes)

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
class Reconciled:
    """
    What reading back says of one record.

    Attributes:
        outcome: `Added` or `NotSent` where that is proven; otherwise `Unknown`, as it was.
        reason: Why, in words for a person; holds no text of a customer.
        missing: What would be needed to say more; None where it is settled.
        candidates: Ids of logs that could be the record; empty where it is settled.
    """

    outcome: Added | NotSent | Unknown
    reason: str
    missing: str | None = None
    candidates: tuple[int, ...] = ()


@frozen(repr=False)
class ReconcileReport(_ByKind):
    """
    What reading back says of records in doubt.

    Attributes:
        records: One for each that was in doubt, in their order.
    """

    records: tuple[Reconciled, ...]

    @property
    def outcomes(self) -> tuple[Added | NotSent | Unknown, ...]:
        """The outcome of each, as it is known now."""
        return tuple(record.outcome for record in self.records)

    def __repr__(self) -> str:
        counts = f"Added={len(self.added)}, NotSent={len(self.not_sent)}, Unknown={len(self.unknown)}"
        return f"ReconcileReport(records={len(self.records)}, {counts})"


@frozen(kw_only=True)
class ImportProgress:
    """
    How far a run is, at one moment.

    Attributes:
        taken: Records read from the source so far.
        total: Length of the source, None where it is not known.
        added, rejected, invalid, not_sent, unknown: Outcomes so far.
        replayed: Those of them that an earlier run settled.
        calls: Calls that have begun.
        in_flight: Calls that have begun and not ended.
        seconds: How long the run has taken, up to its end.
        seconds_left: Seconds to the end, from the quota and not from the past; None where unknown, or where the run
            stopped.
        stopped_at: The first index never taken, where the run stopped; None otherwise.
        stop_reason: Why it stopped; None otherwise.
        complete: True where the whole source was read, each of its records has an outcome, and nothing stopped the
            run.
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
    complete: bool = False

    @property
    def finished(self) -> int:
        """Number of records that have an outcome."""
        return self.added + self.rejected + self.invalid + self.not_sent + self.unknown

    @property
    def records_per_second(self) -> float:
        """Records that this run has added, or that were rejected or left in doubt, per second; 0 at its start."""
        decided = self.added + self.rejected + self.unknown - self.replayed
        return decided / self.seconds if self.seconds else 0.0


@frozen(kw_only=True)
class DrainReport:
    """
    The result of a drain.

    Attributes:
        drained: True where every record submitted before has its outcome.
        left_in_flight: Records in calls that had not ended at the deadline: their outcome is not known yet.
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
        waiting_update: Updates of logs that wait to be sent.
        waiting_read: Requests for pages of customers that wait to be sent.
        waiting_on: What the next call waits for: "slot", "quota", "quota server", "pause", "probe"; None where nothing
            waits.
        failing: Calls in a row that never left, such as to a store that can't be reached.
        paused_for: Seconds until the pause that the store or a failed connection asked for ends.
        quota_used: Calls that count against the quota now, those of all clients that share it.
        quota_shared: True with a quota of the program's own, such as `RedisQuota`: all processes share it.
        halted: True while the store refuses the key.
        added, rejected, invalid, not_sent, unknown: Outcomes so far; the last four of updates and reads as well.
        updated: Logs that were changed.
        pages_read: Pages of customers that were read.
        unawaited: Outcomes, by name, whose caller had been cancelled.
    """

    calls: int = 0
    in_flight: int = 0
    waiting_single: int = 0
    waiting_import: int = 0
    waiting_update: int = 0
    waiting_read: int = 0
    waiting_on: str | None = None
    failing: int = 0
    paused_for: float = 0.0
    quota_used: int = 0
    quota_shared: bool = False
    halted: bool = False
    added: int = 0
    rejected: int = 0
    invalid: int = 0
    not_sent: int = 0
    unknown: int = 0
    updated: int = 0
    pages_read: int = 0
    unawaited: Mapping[str, int] = field(factory=dict)
