"""
Where the engine takes records from: the lane of single adds, and a feed for each bulk add or import.

A feed holds what waits; it knows neither slots nor time. May import: wire, models, outcomes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import define, field

from neto_async.models import CustomerLog
from neto_async.outcomes import Attempt, NotSentCause, Outcome
from neto_async.wire import Fields

__all__ = ["Entry", "Feed", "Piece", "Root", "RunFeed", "SingleEntry", "SingleLane", "Stop", "WriteAhead"]


@define(eq=False, kw_only=True)
class Entry:
    """
    A record on its way.

    Attributes:
        index: Position in its input.
        record: What to send.
        context: The caller's own.
        fields: The record as it is sent; empty until a call that is to carry it was encoded.
        attempts: The calls it went with so far.
    """

    index: int
    record: CustomerLog = field(repr=False)
    context: Any = field(default=None, repr=False)
    fields: Fields = field(factory=dict, repr=False)
    attempts: tuple[Attempt, ...] = field(default=(), repr=False)


@define(eq=False, kw_only=True)
class SingleEntry(Entry):
    """
    A record that a caller waits for.

    Attributes:
        waiter: Takes the outcome; done where it has one, or where the caller was cancelled.
        give_up_at: Seconds on the clock.
        in_call: True while a call carries it.
        origin: What an observer of calls took down when it was handed in.
    """

    waiter: asyncio.Future[Outcome]
    give_up_at: float
    in_call: bool = False
    origin: Any = field(default=None, repr=False)


@define(eq=False)
class Root:
    """
    A batch as it was first sealed, which its pieces remember.

    Attributes:
        ordinal: Its number in the feed, from 1.
        size: Records in it.
        refused: How many of them stood alone and were refused.
        texts: The words they were refused with.
    """

    ordinal: int
    size: int
    refused: int = 0
    texts: set[tuple[str, ...]] = field(factory=set, repr=False)


@define(eq=False)
class Piece:
    """
    Records that go together: a batch, or a part of one that was refused whole.

    Attributes:
        entries: At least one.
        root: The batch it is of.
        spent: Seconds of its attempts so far and of the waits between them, those for slot and quota left out.
    """

    entries: list[Entry]
    root: Root
    spent: float = 0.0

    def split(self, fit: int) -> Piece:
        """Keep the first ``fit`` records, and give the rest as a piece of the same batch."""
        rest = Piece(self.entries[fit:], self.root, self.spent)
        self.entries = self.entries[:fit]
        return rest


@define(eq=False, kw_only=True)
class Stop:
    """
    Why a run takes no more.

    Attributes:
        cause: One of the constants.
        reason: A sentence; ends in Neto's own words where a refusal stopped the run.
        retry_after: Seconds until the store takes calls again, where it said so.
    """

    cause: NotSentCause
    reason: str = field(repr=False)
    retry_after: float | None = None


class WriteAhead(Protocol):
    """What has to be told before a call of a run leaves, and after it ended."""

    async def intend(self, call: int, entries: Sequence[Entry]) -> bool:
        """Note that records are about to leave; False where that can't be noted, and they must not."""

    def ended(self, call: int) -> None:
        """Note that all that the call settled has been settled; what it put back may go again."""


class Feed(Protocol):
    """What the engine asks of a lane."""

    in_flight: int
    calls: int

    @property
    def spaced(self) -> bool:
        """True where its calls keep their distance from each other."""

    @property
    def waiting(self) -> int:
        """Number of records that wait."""

    @property
    def most(self) -> int:
        """Records that the next call may carry."""

    def ready(self) -> bool:
        """Say whether a batch could be sealed now."""

    def take(self, most: int) -> Piece | None:
        """Hand over what goes with the next call, where it is ready; None where all of it was withdrawn just now."""

    def put_back(self, piece: Piece) -> None:
        """Take a piece back, to go before all others."""

    def shorten(self, piece: Piece, fit: int) -> None:
        """Leave the first ``fit`` records in a piece that has not gone, and take the rest back."""


@define(eq=False)
class SingleLane:
    """
    Single adds of all callers, in the order in which they came.

    Args:
        most: Records that a call may carry.

    Attributes:
        in_flight: Calls under way.
        calls: Calls so far.
    """

    most: int
    in_flight: int = 0
    calls: int = 0
    _queue: OrderedDict[SingleEntry, None] = field(factory=OrderedDict, repr=False)
    _pieces: deque[Piece] = field(factory=deque, repr=False)
    _roots: int = 0

    spaced: bool = field(init=False, default=False)

    @property
    def waiting(self) -> int:
        """Number of records that wait."""
        return len(self.entries())

    def entries(self) -> list[SingleEntry]:
        """List those that wait; what was withdrawn, or has run out of time, waits no more."""
        in_pieces = (entry for piece in tuple(self._pieces) for entry in piece.entries)
        return [entry for entry in (*in_pieces, *self._queue) if not _settled(entry)]  # type: ignore[misc]

    def add(self, entry: SingleEntry) -> None:
        """Take a record in."""
        self._queue[entry] = None

    def withdraw(self, entry: SingleEntry) -> None:
        """Forget a record that waits; in a piece it is passed over when its turn comes."""
        self._queue.pop(entry, None)

    def ready(self) -> bool:
        """Say whether a batch could be sealed now."""
        while self._pieces and all(_settled(entry) for entry in self._pieces[0].entries):
            self._pieces.popleft()
        return bool(self._pieces or self._queue)

    def take(self, most: int) -> Piece | None:
        """Hand over the first piece, else the oldest records."""
        if self._pieces:
            piece = self._pieces.popleft()
            piece.entries = [entry for entry in piece.entries if not _settled(entry)]
            if len(piece.entries) > most:
                self.put_back(piece.split(most))
            return piece
        taken: list[Entry] = []
        while self._queue and len(taken) < most:
            entry, _ = self._queue.popitem(last=False)
            if not _settled(entry):
                taken.append(entry)
        self._roots += 1
        return Piece(taken, Root(self._roots, len(taken))) if taken else None

    def put_back(self, piece: Piece) -> None:
        """Take a piece back, to go before all others."""
        self._pieces.appendleft(piece)

    def shorten(self, piece: Piece, fit: int) -> None:
        """Leave the first ``fit`` records in a piece that has not gone, and take the rest back."""
        self.put_back(piece.split(fit))


def _settled(entry: Entry) -> bool:
    return isinstance(entry, SingleEntry) and entry.waiter.done()


@define(eq=False)
class RunFeed:
    """
    The records of one bulk add or import.

    Args:
        batch_size: Records of a full batch.
        settle: Takes the outcomes of a call, or of a record that is in none.
        room_made: Called when records have been taken, so that more can be read.
        stopped: Called when the run takes no more.
        max_rejected: Rejected records after which the run stops, None for no such bound.
        write_ahead: Is told of each call before it leaves and after it ended; None where nobody is.

    Attributes:
        in_flight: Calls under way.
        calls: Calls so far.
        extra_calls: Those of them that took a refused batch apart.
        feeling: True until a call ended definitely: until then one call of one record goes at a time, so that a wrong
            address does not put a whole file in doubt.
        partial: True where less than a full batch may be sealed: the source waits for something, or is at its end.
        held: True while the reader of outcomes stands still.
        stop: Why no more is taken; None while the run goes on.
        refused_roots: For the first batches, in their order, the words that refused every record of it.
        rejected: Rejected records so far.
        doubtful_since: When probing began as far as this run is concerned, in seconds on the clock.
        alone_blocked: The last record that was refused by a firewall's status alone, with no success since.
        origin: What an observer of calls took down when the run was entered.
    """

    batch_size: int
    settle: Callable[[Sequence[Outcome]], None]
    room_made: Callable[[], None]
    stopped: Callable[[], None]
    max_rejected: int | None = None
    write_ahead: WriteAhead | None = None
    in_flight: int = 0
    calls: int = 0
    extra_calls: int = 0
    feeling: bool = True
    partial: bool = False
    held: bool = False
    stop: Stop | None = None
    refused_roots: dict[int, tuple[str, ...]] = field(factory=dict, repr=False)
    rejected: int = 0
    doubtful_since: float | None = None
    alone_blocked: Entry | None = None
    origin: Any = field(default=None, repr=False)
    _queue: deque[Entry] = field(factory=deque, repr=False)
    _pieces: deque[Piece] = field(factory=deque, repr=False)
    _roots: int = 0

    spaced: bool = field(init=False, default=True)

    @property
    def waiting(self) -> int:
        """Number of records that wait."""
        in_pieces = sum(len(piece.entries) for piece in tuple(self._pieces)) if self._pieces else 0
        return len(self._queue) + in_pieces

    def entries(self) -> list[Entry]:
        """List those that wait."""
        return [*(entry for piece in self._pieces for entry in piece.entries), *self._queue]

    def add(self, entry: Entry) -> None:
        """Take a record in."""
        self._queue.append(entry)

    def clear(self) -> list[Entry]:
        """Give up all that wait."""
        entries = self.entries()
        self._queue.clear()
        self._pieces.clear()
        return entries

    @property
    def most(self) -> int:
        """Let the first call carry one record, and the others be full."""
        return 1 if self.feeling else self.batch_size

    def ready(self) -> bool:
        """Say whether a batch could be sealed now."""
        if self.feeling and self.in_flight:
            return False
        if self._pieces:
            return True
        if self.held or not self._queue:
            return False
        return self.partial or len(self._queue) >= self.most

    def take(self, most: int) -> Piece:
        """Hand over the first piece, else the next records."""
        if self._pieces:
            piece = self._pieces.popleft()
            if len(piece.entries) > most:
                self.put_back(piece.split(most))
            return piece
        taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        self._roots += 1
        self.room_made()
        return Piece(taken, Root(self._roots, len(taken)))

    def put_back(self, piece: Piece) -> None:
        """Take a piece back, to go before all others."""
        self._pieces.appendleft(piece)

    def shorten(self, piece: Piece, fit: int) -> None:
        """Leave the first ``fit`` records in a piece that has not gone, and take the rest back."""
        if len(piece.entries) == piece.root.size:
            # A batch that never went: the rest belongs to the next batch, which can be full.
            self._queue.extendleft(reversed(piece.entries[fit:]))
            del piece.entries[fit:]
            piece.root.size = fit
        else:
            self.put_back(piece.split(fit))
