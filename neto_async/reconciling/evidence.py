"""
The evidence from which doubt is settled: values without behaviour. May import: calibration, models.

Two scales of time are in use. An *order number* says which of two events was recorded first, as a journal numbers its
events; it never goes back. A moment is in seconds of one clock, such as `time.time`, and serves to measure how long ago
something was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeAlias, TypeVar

from attrs import field, frozen

from neto_async.models import StoredCustomer
from neto_async.reconciling.calibration import Calibration

__all__ = [
    "AnsweredCall",
    "Doubt",
    "DoubtfulCall",
    "DoubtsAndKnown",
    "Evidence",
    "Fields",
    "KnownLog",
    "Missing",
    "Reading",
    "Settled",
    "Verdict",
    "by_customer",
    "customer_of",
    "folded_name",
]

Fields: TypeAlias = Mapping[str, str]
"""The vendor's names and the texts under them; what is absent has none."""


def folded_name(username: str) -> str:
    """Give the form of a user name by which customers are compared: whether the store heeds case is not known."""
    return username.strip().casefold()


def customer_of(sent: Fields) -> str:
    """Give the folded name of the customer that a record belongs to; empty for one without a user name."""
    return folded_name(sent.get("Username", ""))


@frozen(kw_only=True)
class Doubt:
    """
    A record that may have been saved.

    Attributes:
        row: Its position in the source.
        call: Number of the call that it left with.
        sent: The record as it was sent, its marker included.
        marker: The token in its Notes that no other log has; None without one.
    """

    row: int
    call: int
    sent: Fields = field(repr=False)
    marker: str | None = None


@frozen(kw_only=True)
class DoubtfulCall:
    """
    A call whose records are in doubt.

    Attributes:
        began: Order number of the moment just before it could leave.
        left_at: The latest moment at which a byte of it may have left.
    """

    number: int
    began: int
    left_at: float


@frozen(kw_only=True)
class AnsweredCall:
    """
    A call whose ids are known.

    Attributes:
        began: Order number of the moment just before it could leave.
        answered: Order number of the moment when its answer was there.
        began_at: The moment just before it could leave.
    """

    began: int
    answered: int
    began_at: float
    lowest_id: int
    highest_id: int


@frozen(kw_only=True)
class KnownLog:
    """A log that is known to belong to a record, and the record as it was sent."""

    log_id: int
    sent: Fields = field(repr=False)


_Sent = TypeVar("_Sent", Doubt, KnownLog)


def by_customer(records: Iterable[_Sent]) -> dict[str, list[_Sent]]:
    """Give records in doubt, or known logs, by `customer_of`; an empty list for any other name."""
    found: dict[str, list[_Sent]] = defaultdict(list)
    for record in records:
        found[customer_of(record.sent)].append(record)
    return found


@frozen(kw_only=True)
class Reading:
    """
    One pass over the store's pages.

    Attributes:
        began_at: The moment at which its first call began.
        is_whole: Whether a page without anything new ended it. A short page is no end.
        customers: What came back.
    """

    began_at: float
    is_whole: bool
    customers: tuple[StoredCustomer, ...]


@frozen(kw_only=True)
class DoubtsAndKnown:
    """
    What is known of some doubts before anything is read.

    Attributes:
        doubts: Every record in doubt, those of one call in the order in which it carried them.
        calls: The calls of these doubts.
        answered: Calls to the same store whose ids are known, of any customer.
        known: Every log of the customers in doubt that is known to belong to a record.
    """

    doubts: tuple[Doubt, ...] = ()
    calls: tuple[DoubtfulCall, ...] = ()
    answered: tuple[AnsweredCall, ...] = ()
    known: tuple[KnownLog, ...] = ()


@frozen(kw_only=True)
class Evidence(DoubtsAndKnown):
    """
    All that is known about some customers. A doubt that is left out can make a verdict on another one false.

    Attributes:
        first: One reading of these customers.
        second: Another reading, made some time after it.
        calibration: What earlier readings taught.
    """

    first: Reading
    second: Reading
    calibration: Calibration = field(factory=Calibration)


class Settled(StrEnum):
    """What a verdict says of a record."""

    ADDED = "added"
    """It is in the store, under this id."""
    NOT_SENT = "not sent"
    """It is not in the store and will not be: it can be sent again."""
    UNKNOWN = "unknown"
    """It may be in the store."""


class Missing(StrEnum):
    """The piece of evidence without which a record stays unknown."""

    JOURNAL = "the journal of the import, which knows of earlier calls"
    USERNAME = "a user name, by which its customer could be read"
    CUSTOMER = "exactly one customer with its user name"
    WHOLE_READING = "a reading of the customer to its end"
    SAME_TWICE = "two readings with the same logs"
    KNOWN_LOGS = "the customer's known logs, with their texts as they were sent"
    MARKER_ONCE = "one log alone that carries its marker"
    WITNESS = "a log known to be added that came back in a reading"
    TIME = "time: the call may still be saved"
    NO_EQUAL = "that no log with its text exists, whatever its id"
    SOLE_WRITER = "a guarantee that nobody else writes or edits such logs"
    FLOOR = "an id known to be older than the call"
    CALIBRATION = "known logs that show how the store gives such a record back"
    SAME_RECORD = "logs that hold what was sent"
    COUNT = "as many logs as records with this text"
    WHICH = "a difference that says which log belongs to which record"


@frozen(kw_only=True)
class Verdict:
    """
    What the evidence says of one record.

    Attributes:
        log_id: Its id; only for ADDED.
        reason: Why, in words for a person; holds no text of a customer.
        missing: What would be needed; only for UNKNOWN.
        candidates: Ids of logs that could be the record; only for UNKNOWN.
    """

    doubt: Doubt
    settled: Settled
    log_id: int | None = None
    reason: str
    missing: Missing | None = None
    candidates: tuple[int, ...] = ()
