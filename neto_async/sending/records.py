"""Records on their way to the store, and the batches that they go in. May import: wire, models, outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from attrs import define, field, frozen

from neto_async.models import CustomerLog, CustomerLogUpdate, StoredCustomer
from neto_async.outcomes import Attempt, Unknown, Updated
from neto_async.wire import CustomerPage

__all__ = ["AwaitedRecord", "Batch", "BatchPart", "PageRead", "PendingRecord", "Sendable"]

O = TypeVar("O")  # noqa: E741 - an outcome

Sendable: TypeAlias = CustomerLog | CustomerLogUpdate | CustomerPage
"""A log to add, a change to a log, or a request for a page of customers."""


@define(eq=False, kw_only=True)
class PendingRecord:
    """
    A record on its way.

    Attributes:
        index: Position in its input.
        fields: The record as its action prepares it; empty until a call that is to carry it was encoded.
        attempts: The calls it went with so far.
    """

    index: int
    record: Sendable = field(repr=False)
    context: Any = field(default=None, repr=False)
    fields: Any = field(factory=dict, repr=False)
    attempts: tuple[Attempt, ...] = field(default=(), repr=False)

    def outcome(self, kind: Callable[..., O], **details: Any) -> O:
        """Make its outcome, of this kind."""
        return kind(index=self.index, record=self.record, context=self.context, attempts=self.attempts, **details)


@define(eq=False, kw_only=True)
class AwaitedRecord(PendingRecord):
    """
    A record that a caller waits for.

    Attributes:
        waiter: Takes the outcome; done where it has one, or where the caller was cancelled.
        give_up_at: Seconds on the clock.
        in_call: True while a call carries it.
        origin: What an observer of calls gave for it when it was submitted.
        doubt: What became of the same update in an earlier call, where that may have been carried out.
    """

    waiter: asyncio.Future[Any]
    give_up_at: float
    in_call: bool = False
    origin: Any = field(default=None, repr=False)
    doubt: Unknown | None = field(default=None, repr=False)

    def in_all(self, outcome: Any) -> Any:
        """Say what became of it in all its calls: no later refusal undoes what an earlier one may have done."""
        return outcome if self.doubt is None or isinstance(outcome, Updated) else self.doubt


@frozen(kw_only=True)
class PageRead:
    """The customers that the store gave back on one page, in its order."""

    index: int
    record: CustomerPage = field(repr=False)
    context: Any = field(repr=False)
    attempts: tuple[Attempt, ...] = field(repr=False)
    customers: tuple[StoredCustomer, ...] = field(repr=False)


@define(eq=False)
class Batch:
    """
    A batch as it was first sealed, which its parts remember.

    Attributes:
        ordinal: Its number in its run, from 1; 0 elsewhere, where nobody asks.
        refused: How many of them were refused alone.
        texts: The messages of these refusals.
    """

    ordinal: int
    size: int
    refused: int = 0
    texts: set[tuple[str, ...]] = field(factory=set, repr=False)


@define(eq=False)
class BatchPart:
    """
    Records that go together: a batch, or a part of one that was refused as a whole.

    Attributes:
        records: At least one.
        batch: The batch that it is a part of.
        spent: Seconds of its attempts so far and of the waits between them, those for slot and quota left out.
        with_new_key: True where its last call was refused for its key, and it was put back to go with another one.
    """

    records: list[PendingRecord]
    batch: Batch
    spent: float = 0.0
    with_new_key: bool = False

    def split(self, fit: int) -> BatchPart:
        """Keep the first ``fit`` records, and return the rest as a part of the same batch."""
        rest = BatchPart(self.records[fit:], self.batch, self.spent)
        self.records = self.records[:fit]
        return rest
