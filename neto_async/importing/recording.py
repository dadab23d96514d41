"""
What a run has written down: each call before it leaves, each outcome before it is handed on.

May import: recorder, journal, sending, outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field

from neto_async.importing.journal import End, Intent, RowState
from neto_async.importing.recorder import Recorder
from neto_async.outcomes import Added, Evidence, NotSent, Outcome, Rejected, Unknown
from neto_async.sending.feeds import Entry

__all__ = ["Recording"]


@define(eq=False)
class _Noted:
    """A call that was noted and has not ended."""

    indexes: tuple[int, ...]
    outcomes: dict[int, Outcome] = field(factory=dict)


class Recording:
    """
    Stand between the engine and a recorder; to the engine it is a `WriteAhead`.

    Args:
        recorder: Writes.
        hand_on: Takes outcomes that have been written down.
    """

    def __init__(self, recorder: Recorder, hand_on: Callable[[Sequence[Outcome]], None]) -> None:
        self._recorder = recorder
        self._hand_on = hand_on
        self._fingerprints: dict[int, bytes] = {}  # of records without an outcome, by index
        self._doubted: set[int] = set()  # those of them that an earlier run left in doubt
        self._calls: dict[int, _Noted] = {}
        self._loose: list[Outcome] = []  # outcomes of no call, which the thread has not got yet
        self._on_their_way = 0  # outcomes that the thread has got
        self._busy = False  # it has got loose ones

    @property
    def waiting(self) -> int:
        """Number of outcomes that are not handed on yet, those of calls under way left out."""
        return self._on_their_way + len(self._loose)

    def expect(self, index: int, fingerprint: bytes, *, doubted: bool) -> None:
        """Note that a record is about to be handed to the engine."""
        self._fingerprints[index] = fingerprint
        if doubted:
            self._doubted.add(index)

    async def intend(self, call: int, entries: Sequence[Entry]) -> bool:
        """Have a call noted before it leaves; False where that failed."""
        rows = tuple((entry.index, self._fingerprints[entry.index]) for entry in entries)
        if not await self._recorder.intend(Intent(call=call, rows=rows)):
            return False
        self._calls[call] = _Noted(tuple(index for index, _ in rows))
        return True

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Take outcomes; they are handed on when they are written down."""
        for outcome in outcomes:
            self._fingerprints.pop(outcome.index, None)
            noted = self._calls.get(outcome.attempts[-1].call) if outcome.attempts else None
            if noted is None:
                self._loose.append(self._with_its_doubt(outcome))
            else:
                noted.outcomes[outcome.index] = self._with_its_doubt(outcome)
        self._write_loose()

    def _with_its_doubt(self, outcome: Outcome) -> Outcome:
        if outcome.index not in self._doubted:
            return outcome
        self._doubted.discard(outcome.index)
        return _still_in_doubt(outcome)

    def ended(self, call: int) -> None:
        """Have the end of a call noted, and hand its outcomes on then."""
        noted = self._calls.pop(call, None)
        if noted is None:
            return
        outcomes = tuple(noted.outcomes.values())
        end = End(call=call, states=tuple(_state(noted.outcomes.get(index)) for index in noted.indexes))
        self._record(outcomes, end)

    def _write_loose(self) -> None:
        """Hand over what has gathered while the thread was busy, all at once."""
        if self._loose and not self._busy:
            outcomes, self._loose = self._loose, []
            self._busy = True
            self._record(outcomes, None)

    def _record(self, outcomes: Sequence[Outcome], end: End | None) -> None:
        def written() -> None:
            self._on_their_way -= len(outcomes)
            self._hand_on(outcomes)
            if end is None:
                self._busy = False
                self._write_loose()

        self._on_their_way += len(outcomes)
        self._recorder.record(outcomes, end, written)


def _state(outcome: Outcome | None) -> tuple[RowState, int]:
    match outcome:
        case Added(log_id=log_id):
            return RowState.ADDED, log_id
        case Rejected():
            return RowState.REJECTED, 0
        case Unknown():
            return RowState.UNKNOWN, 0
        case _:
            # Put back, or certainly not saved: another call may carry it.
            return RowState.WITHDRAWN, 0


def _still_in_doubt(outcome: Outcome) -> Outcome:
    """Keep the doubt of an earlier run: that the store refuses a record now does not say that it did then."""
    if isinstance(outcome, Added | Unknown):
        return outcome
    messages = outcome.messages if isinstance(outcome, Rejected) else ()
    ended = "was not sent" if isinstance(outcome, NotSent) else "was refused"
    return Unknown(
        index=outcome.index,
        record=outcome.record,
        context=outcome.context,
        attempts=outcome.attempts,
        reason=f"an earlier run did not see what became of it, and this time it {ended}",
        evidence=Evidence(messages=messages),
    )
