"""
The five outcomes of a record, and what they share. May import: nothing of the package.

Every record taken in ends in exactly one of `Added`, `Rejected`, `Invalid`, `NotSent` and `Unknown`. An outcome is
true of what the store saved; where that can't be known, it says so. Texts of customers and of Neto (whose messages
echo input) are in attributes that no ``repr`` shows.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, TypeAlias

from attrs import field, frozen

__all__ = [
    "Added",
    "Attempt",
    "Evidence",
    "Invalid",
    "NotSent",
    "NotSentCause",
    "Outcome",
    "Phase",
    "Rejected",
    "Unknown",
    "Updated",
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
        sent_at: When it began, in UTC with its zone; None where that was not recorded.
        ended_at: When it ended or was abandoned, in the same form. Nothing of it was sent later.
        status: The HTTP status of the answer, None without one.
        failure: Name of the error class that ended it, None where it was answered.
        kind: What happened, in words, such as "connection refused"; None where that is not known.
    """

    call: int
    records: int
    body_bytes: int
    phase: Phase
    seconds: float
    sent_at: datetime | None = None
    ended_at: datetime | None = None
    status: int | None = None
    failure: str | None = None
    kind: str | None = None

    def __str__(self) -> str:
        status = None if self.status is None else f"HTTP {self.status}"
        parts = (str(self.phase), status, self.kind or self.failure)
        ended = ", ".join(part for part in parts if part)
        records = "1 record" if self.records == 1 else f"{self.records} records"
        return f"call {self.call} with {records}: {ended}, after {_length(self.seconds)}"


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
        earlier_run: True where an earlier run may have added the record: its journal knows with which call.
    """

    log_ids: tuple[int, ...] = ()
    messages: tuple[str, ...] = field(default=(), repr=False)
    status: int | None = None
    earlier_run: bool = False


class NotSentCause(StrEnum):
    """Why a record was certainly not saved."""

    KEY_REFUSED = "the store refused the API key"
    RATE_LIMITED = "the store asked for a longer pause than the call may wait"
    NO_KEY = "the function that gives the key gave none that can be used within give_up_after"
    GAVE_UP = "the call could not be made within give_up_after"
    QUOTA_SERVER = "the server of the shared quota could not be used within give_up_after"
    UNREACHABLE = "the store can't be reached; check its address, and the certificates that this machine trusts"
    WRONG_ADDRESS = "the store's address does not answer as the API does"
    REFUSED_WHOLE = "the store refuses whole batches, and the run stopped taking them apart"
    IN_DOUBT = "the store's answers can't be read, and the run stopped before this record"
    JOURNAL = "the journal or the reports could not be written"
    SOURCE_CHANGED = "the source is not the one that the journal knows"
    TOO_MANY_REJECTED = "more records were rejected than the run allows"
    STOPPED = "the run stopped before this record"
    CLOSED = "the client was closed before this record left"
    READ_BACK = "the store does not have it: its customer's logs were read"


@frozen(kw_only=True)
class _OutcomeBase:
    """
    What all outcomes share.

    Attributes:
        index: Position of the record in the input, from 0.
        record: The `CustomerLog`, or the mapping that makes no valid one; None where there was neither.
        context: What the caller submitted with it.
        attempts: The calls it went with, in their order; shared with its neighbours in them. None where it is known
            from an earlier run or was found by reading back.
        replayed: True where an earlier run settled it, and its journal says so again.
    """

    _safe: ClassVar[bool]

    index: int
    record: Any = field(repr=False)
    context: Any = field(default=None, repr=False)
    attempts: tuple[Attempt, ...] = field(default=(), repr=False)
    replayed: bool = False

    @property
    def safe_to_resend(self) -> bool:
        """Whether sending the record again can't put it into the store twice."""
        return self._safe


@frozen(kw_only=True)
class Added(_OutcomeBase):
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
class Rejected(_OutcomeBase):
    """
    Neto refused the record and saved nothing of it. It can be sent again once it is corrected.

    Attributes:
        messages: Neto's own words; empty where replayed, since a journal keeps no texts.
    """

    _safe: ClassVar[bool] = True

    messages: tuple[str, ...] = field(default=(), repr=False)


@frozen(kw_only=True)
class Invalid(_OutcomeBase):
    """
    The record breaks a documented rule and was never sent. It can be sent once it is corrected.

    Attributes:
        errors: What is wrong, a sentence for each fault: field, limit and position, never the value.
    """

    _safe: ClassVar[bool] = True

    errors: tuple[str, ...]


@frozen(kw_only=True)
class NotSent(_OutcomeBase):
    """
    The record was certainly not saved, and can be sent again as it is.

    With the cause `NotSentCause.SOURCE_CHANGED` that is not so: the source is not the one that its journal knows, and
    an earlier run may have added the record at another position.

    Attributes:
        reason: Why it was not sent; holds Neto's own words where a refusal stopped the run.
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
class Unknown(_OutcomeBase):
    """
    The record may have been saved. Look in the store before sending it again.

    Attributes:
        reason: Why it can't be known.
        evidence: What the answer said, if there was one.
    """

    _safe: ClassVar[bool] = False

    reason: str
    evidence: Evidence = field(factory=Evidence)


@frozen(kw_only=True)
class Updated(_OutcomeBase):
    """
    Neto reported that it changed the log as asked. Sending the update again overwrites what was set since.

    The answer names no log; it means this one because a call carries only one update.
    """

    _safe: ClassVar[bool] = False


Outcome: TypeAlias = Added | Rejected | Invalid | NotSent | Unknown
"""What became of a record. Exactly one of these for each record taken in."""
