"""
What a journal is: the memory of an import that outlives its process. May import: errors.

Before a call leaves, its intent is written: which rows it carries, by position and fingerprint. After it ended, its end
is: what became of each. An intent without an end is a call that nobody saw end, so its rows are in doubt. What earlier
runs came to is a set of rows, not a prefix of the source, since calls overtake each other.

`SqliteJournal` keeps this in a file. A journal in a shared database can take its place: it needs what `Journal` says.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol, TypeAlias

from attrs import frozen

__all__ = ["READ_AT_ONCE", "End", "Entry", "Intent", "Journal", "Known", "PastCall", "RowState", "fold"]

READ_AT_ONCE = 2_000
"""Rows that earlier runs have settled and that are held in memory."""


class RowState(IntEnum):
    """What became of a row with one call. The numbers stand in files: they never change."""

    WITHDRAWN = 0
    """Proven that nothing of it was saved; it may go again."""
    ADDED = 1
    """Neto gave it an id."""
    REJECTED = 2
    """Neto refused it and saved nothing of it."""
    UNKNOWN = 3
    """It may have been saved."""


@frozen(kw_only=True)
class Intent:
    """
    A call that is about to leave.

    Attributes:
        call: Its number in this run.
        rows: Position, from 0, and fingerprint of each record in it.
    """

    call: int
    rows: tuple[tuple[int, bytes], ...]


@frozen(kw_only=True)
class End:
    """
    What became of a call.

    Attributes:
        call: Its number in this run.
        states: State and log id (0 without one) of each row of its intent, in the same order.
    """

    call: int
    states: tuple[tuple[RowState, int], ...]


Entry: TypeAlias = Intent | End


class Known(NamedTuple):
    """
    What is known of a row.

    Attributes:
        position: From 0.
        fingerprint: Of the log as it was sent.
        state: Never `RowState.WITHDRAWN`: such a row is not known.
        log_id: 0 where it was not added.
    """

    position: int
    fingerprint: bytes
    state: RowState
    log_id: int


class PastCall(NamedTuple):
    """
    A call of an earlier run.

    Attributes:
        first: The lowest position in it.
        order: Its place among all calls, in time.
        rows: What became of each of its rows.
    """

    first: int
    order: int
    rows: Sequence[Known]


class Journal(Protocol):
    """
    What an import asks of its journal.

    All methods are called in one thread, which is not the event loop's, and may block.
    """

    @property
    def identity(self) -> str:
        """A name that no other journal has; known once it is open."""

    @property
    def salt(self) -> bytes:
        """The salt of its fingerprints, at most 16 bytes, known to nobody without it; known once it is open."""

    def open(self, store: str) -> None:
        """
        Get ready, for this process alone.

        Args:
            store: The address of the store that rows are sent to.

        Raises:
            ConfigurationError: It can't be used: it belongs to another store, another process has it open, it is no
                journal or a damaged one.
        """

    def known(self) -> Iterator[Known]:
        """List what earlier runs came to, by ascending position. What is written meanwhile does not show."""

    def write(self, entries: Sequence[Entry]) -> None:
        """
        Write all of these, or none; when it returns they are on disk to stay.

        Raises:
            JournalError: They could not be written.
        """

    def finish(self, rows: int) -> None:
        """Note that a run came to the end of its source, and how many rows it had."""

    def close(self) -> None:
        """Let go of it."""


def fold(calls: Iterable[PastCall]) -> Iterator[Known]:
    """
    Merge what became of rows with several calls into what is known of each, by ascending position.

    What was added stays added; what may have been saved stays in doubt until it was added, whatever a later call said;
    else the last call counts. Memory holds the rows of those calls alone whose ranges of positions overlap.

    Args:
        calls: By ascending `PastCall.first`.
    """
    waiting: list[tuple[int, int, Known]] = []
    for call in calls:
        yield from _below(waiting, call.first)
        for row in call.rows:
            if row.state is not RowState.WITHDRAWN:
                heapq.heappush(waiting, (row.position, call.order, row))
    yield from _below(waiting, None)


def _below(waiting: list[tuple[int, int, Known]], limit: int | None) -> Iterator[Known]:
    while waiting and (limit is None or waiting[0][0] < limit):
        position, _, known = heapq.heappop(waiting)
        while waiting and waiting[0][0] == position:
            _, _, later = heapq.heappop(waiting)
            known = _stronger(known, later)
        yield known


def _stronger(earlier: Known, later: Known) -> Known:
    for state in (RowState.ADDED, RowState.UNKNOWN):
        if later.state is state:
            return later
        if earlier.state is state:
            return earlier
    return later
