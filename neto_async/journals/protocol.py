"""
The protocol of a journal: the memory of an import that outlives its process. May import: errors.

Before a call leaves, its intent is written: which rows it carries, by position and fingerprint. After it ended, its end
is: what became of each. An intent without an end is a call whose end was never seen, so its rows are in doubt. The rows
that earlier runs settled are a set, not a prefix of the source, because calls overtake each other.

`SqliteJournal` keeps this in a file, `PostgresJournal` in a database; a journal of your own implements `Journal`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple, Protocol, TypeAlias

from attrs import frozen

__all__ = [
    "READ_AT_ONCE",
    "End",
    "Intent",
    "Journal",
    "JournalCall",
    "JournalEvent",
    "Known",
    "PastCall",
    "RowState",
    "fold",
]

READ_AT_ONCE = 2_000
"""Rows that earlier runs have settled and that are held in memory."""


class RowState(IntEnum):
    """What became of a row with one call. The numbers are in files: they never change."""

    WITHDRAWN = 0
    """Proven that nothing of it was saved; it may go again."""
    ADDED = 1
    """Neto gave it an id."""
    REJECTED = 2
    """Neto refused it and saved nothing of it."""
    UNKNOWN = 3
    """It may have been saved."""
    ABSENT = 4
    """Proven that it is not in the store, and never will be: it may go again. Only settling says so, never a call."""


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


JournalEvent: TypeAlias = Intent | End


class Known(NamedTuple):
    """
    The known state of a row.

    Attributes:
        position: From 0.
        fingerprint: Of the log as it was sent.
        state: Never `RowState.WITHDRAWN` or `RowState.ABSENT` in the list of known rows.
        log_id: 0 where it was not added.
    """

    position: int
    fingerprint: bytes
    state: RowState
    log_id: int


class PastCall(NamedTuple):
    """
    A call of an earlier run, or rows that were settled at once.

    Attributes:
        first: The lowest position in it.
        order: Its place among all of these, in time: of a call, that of its intent.
        rows: What became of each of its rows.
    """

    first: int
    order: int
    rows: Sequence[Known]


@frozen(kw_only=True)
class JournalCall:
    """
    A call as a journal noted it, for settling what it left in doubt.

    The moments are as accurate as the clock of the machine that wrote them, or of the journal's server. None means that
    no moment is known, as in journals of versions that did not note them.

    Attributes:
        began: Number of its intent; events of a journal are numbered in the order in which they were written.
        ended: Number of its end; None where its end was never seen.
        began_at: The latest known moment, in UTC, that is not later than its beginning: when its run began.
        over_at: The earliest known moment, in UTC, after which its process sends nothing of it: the next one at which a
            run ended or began, after the end of the call if that is known. Two things can leave later, and nothing can
            take them back: bytes that the operating system still holds for a dead process, and the rest of a body that
            a process had begun to send before it was suspended and another one took its journal over.
        rows: What became of each row with this call, even if more is known by now: UNKNOWN where its end was never
            seen. Withdrawn rows are left out, so there may be none.
        marker_known: False where another run noted the marker of its rows and the run of this call noted nothing.
    """

    began: int
    ended: int | None
    began_at: datetime | None
    over_at: datetime | None
    rows: Sequence[Known]
    marker_known: bool = True


class Journal(Protocol):
    """
    What an import asks of its journal.

    All methods are called in one thread, which is not the event loop's, and may block.

    A journal that another process can take over has one method more: ``may_leave() -> bool`` is called in the event
    loop just before a call leaves, and must not wait. If it returns False the call stays, and its intent is withdrawn.

    A journal whose moments are not of this machine's clock has ``now() -> datetime``, which gives that clock's time of
    day, aware, once it is open: what is read back is compared with them.

    A journal whose doubts can be settled has two more, for which it is open as for a run:

    * ``calls() -> Iterator[JournalCall]`` lists all calls in the order of their intents, without what is written
      meanwhile.
    * ``settle(rows: Sequence[Known]) -> None`` writes what was proven of rows, `RowState.ADDED` with its id or
      `RowState.ABSENT`: all or none, on disk when it returns; otherwise it raises `JournalError`. It settles the doubt
      of all calls whose intents were written before. With no rows, before anything else is written, it notes that the
      journal was opened only to settle, which is no run.

    A journal that remembers which marker its rows carry has two more, for which it is open:

    * ``marker() -> str | None`` gives the form that was noted last by a run which has begun a call since; None where
      none was noted.
    * ``note_marker(form: str) -> None`` notes the form for the run that was begun just now, empty for none. It raises
      `JournalError` where that can't be written.
    """

    @property
    def identity(self) -> str:
        """A name that no other journal has; known once it is open."""

    @property
    def salt(self) -> bytes:
        """The salt of its fingerprints, at most 16 secret bytes; known once it is open."""

    def open(self, store: str) -> None:
        """
        Get ready, for this process alone.

        Args:
            store: The address of the store that rows are sent to.

        Raises:
            JournalInUseError: Another run has it open; it may be tried again later. `close` is not called after this.
            ConfigurationError: It can't be used: it belongs to another store, it is no journal or a damaged one.
        """

    def known(self) -> Iterator[Known]:
        """List the known rows of earlier runs, by ascending position, without what is written meanwhile."""

    def write(self, entries: Sequence[JournalEvent]) -> None:
        """
        Write all of these, or none; when it returns they are on disk to stay.

        Raises:
            JournalError: They could not be written.
        """

    def finish(self, rows: int) -> None:
        """
        Note that a run came to the end of its source, and how many rows it had.

        Raises:
            JournalError: It could not be written.
        """

    def close(self) -> None:
        """Close it; no call is under way any more."""


def fold(calls: Iterable[PastCall]) -> Iterator[Known]:
    """
    Merge what became of rows with several calls into the known state of each, by ascending position.

    What was added stays added; what may have been saved stays in doubt until it was added or proven absent, even if a
    later call says otherwise; else the last call counts. A row that was proven absent is not known, until a later call
    carries it again. Memory holds the rows of those calls alone whose ranges of positions overlap.

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
        if known.state is not RowState.ABSENT:
            yield known


def _stronger(earlier: Known, later: Known) -> Known:
    if earlier.state is RowState.ADDED or (earlier.state is RowState.UNKNOWN and later.state is RowState.REJECTED):
        return later if later.state is RowState.ADDED else earlier
    return later
