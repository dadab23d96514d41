"""
The events that a journal stores, whichever database holds them. May import: protocol, errors.

Events are appended and never changed. Each has a checksum over itself and the one before; the journal's head has the
last one. So an event that was changed, taken out or put in is noticed when the journal is opened.

A release that knows nothing of settling reads such a journal rightly, and needs no other form of it. It takes SETTLED
for an intent, whatever its kind: what was found is added, as an END says so; what is absent is in doubt, as no END
follows, and is held. It ignores ENDED, the body of BEGAN, MARKED, and SETTLED without rows; FINISHED is as it was.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from enum import IntEnum
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from attrs import field, frozen

from neto_async.errors import JournalError
from neto_async.journals.protocol import End, Intent, JournalCall, JournalEvent, Known, RowState

__all__ = [
    "CALLS_AT_ONCE",
    "Event",
    "Head",
    "JournalSummary",
    "Kind",
    "OpenCalls",
    "began",
    "calls_of",
    "ended",
    "finished",
    "known_of",
    "marked",
    "settled",
    "summed_up",
    "utcnow",
]

CALLS_AT_ONCE = 64
"""Calls that are read from the database at once."""

_ROW = "Q16s"
_STATE = "BQ"
_EVENT = struct.Struct("<QBQq")
_COUNT = struct.Struct("<Q")
_MOMENT = struct.Struct("<q")  # microseconds since
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Kind(IntEnum):
    """What an event says. The numbers are stored: they never change."""

    BEGAN = 0  # a run, or settling; the moment, empty in older journals
    INTENT = 1
    END = 2  # of a call, or the ids of settled rows
    FINISHED = 3  # a run, with its source; ENDED comes before it
    ENDED = 4  # a run: none of its calls is under way any more; the moment
    SETTLED = 5  # rows that are absent, or added if an END follows; without rows: what BEGAN before is no run
    MARKED = 6  # follows BEGAN of a run: the form of the marker of its rows, empty where they carry none


class Event(NamedTuple):
    """A row of the table, without its place in the chain."""

    kind: int
    intent: int | None = None  # the sequence of the intent that an end belongs to
    first: int | None = None  # the lowest position of an intent
    body: bytes = b""


class Head(NamedTuple):
    """The last event of a journal: its number and its checksum."""

    sequence: int
    checksum: bytes

    @classmethod
    def root(cls, identity: str, salt: bytes, store: str, created_at: str) -> Head:
        """Give that of a journal without events."""
        parts = (identity.encode(), salt, store.encode(), created_at.encode())
        joined = b"\0".join(part.hex().encode() for part in parts)
        return cls(0, hashlib.blake2b(joined, digest_size=16).digest())

    def followed_by(self, event: Event) -> Head:
        """Give that of the journal with one more event."""
        sequence = self.sequence + 1
        fixed = _EVENT.pack(sequence, event.kind, event.intent or 0, -1 if event.first is None else event.first)
        return Head(sequence, hashlib.blake2b(self.checksum + fixed + event.body, digest_size=16).digest())


@frozen(kw_only=True)
class JournalSummary:
    """
    What a journal says of its import.

    Attributes:
        identity: Its own; the folder of its reports says it too.
        store: The address that its rows are sent to.
        created_at: When the first run began.
        runs: Number of runs so far; opening it only to settle doubts is none.
        added, rejected, in_doubt: Rows, by their known state.
        rows: Rows of the source, where the last run came to its end; None where it stopped before.
        remaining: Those of ``rows`` that were invalid or not sent, so that no call is known for them; None as ``rows``.
        marker: The form of the marker that its rows carry; empty where they carry none, None where that was not noted.
    """

    identity: str = field(repr=False)
    store: str
    created_at: datetime
    runs: int
    added: int
    rejected: int
    in_doubt: int
    rows: int | None
    remaining: int | None
    marker: str | None = None


def summed_up(
    known: Iterable[Known],
    last: tuple[int, bytes] | None,
    *,
    identity: str,
    store: str,
    created_at: datetime,
    runs: int,
    marker: str | None,
) -> JournalSummary:
    """Count the rows that a journal knows; ``last`` is the last event of a run, no END or ENDED: its kind and body."""
    rows = _COUNT.unpack(last[1])[0] if last is not None and last[0] == Kind.FINISHED else None
    states: Counter[RowState] = Counter()
    inside = 0  # of the source as it is now: rejected rows at its end may have been removed
    for row in known:
        states[row.state] += 1
        inside += rows is not None and row.position < rows
    return JournalSummary(
        identity=identity,
        store=store,
        created_at=created_at,
        runs=runs,
        added=states[RowState.ADDED],
        rejected=states[RowState.REJECTED],
        in_doubt=states[RowState.UNKNOWN],
        rows=rows,
        remaining=None if rows is None else rows - inside,
        marker=marker,
    )


class OpenCalls:
    """The calls of a run whose intents were written, and whose ends were not."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[int, int]] = {}  # sequence of the intent, and number of its rows

    def events(self, entries: Sequence[JournalEvent], sequence: int) -> list[Event]:
        """
        Give what to write.

        Args:
            entries: Intents, and ends of calls whose intents were written or come earlier among these.
            sequence: Of the last event that was written.

        Raises:
            JournalError: An end has more or fewer states than its call has rows, or one that no call proves.
        """
        begun = dict(self._calls)
        events: list[Event] = []
        for entry in entries:
            if isinstance(entry, Intent):
                begun[entry.call] = (sequence + len(events) + 1, len(entry.rows))
                first, _ = min(entry.rows)
                events.append(Event(Kind.INTENT, first=first, body=_packed(_ROW, entry.rows)))
            else:
                intent, size = begun[entry.call]
                if len(entry.states) != size:
                    raise JournalError(f"{len(entry.states)} states were given for the {size} rows of a call")
                if any(state is RowState.ABSENT for state, _ in entry.states):
                    raise JournalError("the end of a call does not prove a row absent: that is for `settle`")
                events.append(Event(Kind.END, intent=intent, body=_states(entry)))
        return events

    def written(self, entries: Sequence[JournalEvent], sequence: int) -> None:
        """Learn that these were written after the event of this number."""
        for place, entry in enumerate(entries, sequence + 1):
            if isinstance(entry, Intent):
                self._calls[entry.call] = (place, len(entry.rows))
            else:
                del self._calls[entry.call]


def utcnow() -> datetime:
    """Give the time of day."""
    return datetime.now(timezone.utc)


def began(moment: datetime) -> Event:
    """Give the event that a run began."""
    return Event(Kind.BEGAN, body=_packed_moment(moment))


def ended(moment: datetime) -> Event:
    """Give the event that a run has no call under way any more."""
    return Event(Kind.ENDED, body=_packed_moment(moment))


def finished(rows: int, moment: datetime) -> list[Event]:
    """Give the events that a run came to the end of its source, of so many rows."""
    return [ended(moment), Event(Kind.FINISHED, body=_COUNT.pack(rows))]


def marked(form: str) -> Event:
    """Give the event that says which marker the rows of a run carry, from its form; empty for none."""
    return Event(Kind.MARKED, body=form.encode())


def settled(rows: Sequence[Known], sequence: int) -> list[Event]:
    """
    Give what to write of rows that were settled.

    Args:
        rows: What was proven of each.
        sequence: Of the last event that was written.

    Raises:
        JournalError: One has another state than ADDED and ABSENT.
    """
    added = [row for row in rows if row.state is RowState.ADDED]
    absent = [row for row in rows if row.state is RowState.ABSENT]
    if len(added) + len(absent) < len(rows):
        raise JournalError("a row is settled when it is proven to be added or absent")
    events: list[Event] = []
    if added:
        states = _packed(_STATE, [(row.state, row.log_id) for row in added])
        events += [_settled(added), Event(Kind.END, intent=sequence + 1, body=states)]
    if absent:
        events.append(_settled(absent))
    return events or [Event(Kind.SETTLED)]


def _settled(rows: Sequence[Known]) -> Event:
    placed = [(row.position, row.fingerprint) for row in rows]
    first, _ = min(placed)
    return Event(Kind.SETTLED, first=first, body=_packed(_ROW, placed))


def calls_of(
    openings: Sequence[tuple[int, int, bytes]],
    page_after: Callable[[int], Sequence[tuple[int, bytes, int | None, bytes]]],
) -> Iterator[JournalCall]:
    """
    List calls with their known moments and runs.

    Args:
        openings: Number, kind and body of each BEGAN, ENDED and MARKED, in order. All are held in memory.
        page_after: Gives the next calls after the intent of a number: number and body of the intent and of the end.
    """
    moments = [
        (number, _EPOCH + timedelta(microseconds=_MOMENT.unpack(body)[0]))
        for number, kind, body in openings
        if body and kind != Kind.MARKED
    ]
    # A release that notes no marker may have begun a run before or after, with any marker or none.
    has_marker = any(body for _, kind, body in openings if kind == Kind.MARKED)
    runs = [(number, kind == Kind.MARKED or not has_marker) for number, kind, _ in openings if kind != Kind.ENDED]
    last = 0
    while page := page_after(last):
        for last, rows, end, states in page:
            before = bisect(moments, last, key=itemgetter(0))
            # An end may be written after another process has taken over: until then the process of the call was there.
            after = bisect(moments, end or last, key=itemgetter(0))
            yield JournalCall(
                began=last,
                ended=end,
                began_at=moments[before - 1][1] if before else None,
                over_at=moments[after][1] if after < len(moments) else None,
                marker_known=runs[bisect(runs, last, key=itemgetter(0)) - 1][1],
                rows=[row for row in known_of(Kind.INTENT, rows, states) if row.state is not RowState.WITHDRAWN],
            )


def known_of(kind: int, rows: bytes, states: bytes | None) -> list[Known]:
    """Read the bodies of an intent, or of rows that were settled, and of the end, None where there is none."""
    if states is None:
        state = RowState.ABSENT if kind == Kind.SETTLED else RowState.UNKNOWN
        return [Known(position, fingerprint, state, 0) for position, fingerprint in _unpacked(_ROW, rows)]
    if not states:
        return []
    return [
        Known(position, fingerprint, RowState(state), log_id)
        for (position, fingerprint), (state, log_id) in zip(
            _unpacked(_ROW, rows), _unpacked(_STATE, states), strict=True
        )
    ]


def _packed_moment(moment: datetime) -> bytes:
    return _MOMENT.pack((moment - _EPOCH) // timedelta(microseconds=1))


def _packed(form: str, rows: Sequence[tuple[Any, Any]]) -> bytes:
    # One call for all: it is made beside the event loop, under the same lock.
    return struct.pack("<" + form * len(rows), *chain.from_iterable(rows))


def _unpacked(form: str, packed: bytes) -> Iterator[tuple[Any, Any]]:
    return struct.iter_unpack("<" + form, packed)


def _states(end: End) -> bytes:
    if any(state is not RowState.WITHDRAWN for state, _ in end.states):
        return _packed(_STATE, end.states)
    return b""
