"""
What a run has written down: each call before it leaves, each outcome before it is handed on.

May import: recorder, journal, sending, wire, outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field

from neto_async.importing.journal import End, Intent, RowState
from neto_async.importing.recorder import Recorder
from neto_async.outcomes import Added, Evidence, NotSent, Outcome, Rejected, Unknown
from neto_async.sending.feeds import Entry
from neto_async.wire import make_fingerprint

__all__ = ["Recording"]


@define(eq=False)
class _Noted:
    """A call of which an intent was handed over and no end: the indexes of its records, and what became of them."""

    indexes: Sequence[int]
    outcomes: list[Outcome] = field(factory=list)


class Recording:
    """
    Stand between the engine and a recorder; to the engine it is a `WriteAhead`.

    Args:
        recorder: Writes.
        salt: Of the journal's fingerprints.
        hand_on: Takes outcomes that have been written down.

    Attributes:
        waiting: Number of outcomes that are not handed on yet, those of calls under way left out.
    """

    def __init__(self, recorder: Recorder, salt: bytes, hand_on: Callable[[Sequence[Outcome]], None]) -> None:
        self._recorder = recorder
        self._fingerprint = make_fingerprint(salt)
        self._hand_on = hand_on
        self._doubted: set[int] = set()  # indexes of records without an outcome that an earlier run left in doubt
        self._calls: dict[int, _Noted] = {}
        self._loose: list[Outcome] = []  # outcomes of no call, which the thread has not got yet
        self._busy = False  # it has got some of these
        self.waiting: int = 0

    def doubt(self, index: int) -> None:
        """Note that a record is about to be handed to the engine which an earlier run left in doubt."""
        self._doubted.add(index)

    async def intend(self, call: int, entries: Sequence[Entry]) -> bool:
        """Have a call noted before it leaves; False where that failed."""
        rows = tuple([(entry.index, self._fingerprint(entry.fields)) for entry in entries])
        # Before it is on disk: a loop that is torn down cancels whoever waits for that, and the end must follow.
        self._calls[call] = _Noted([index for index, _ in rows])
        if await self._recorder.intend(Intent(call=call, rows=rows)):
            return True
        del self._calls[call]
        return False

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Take outcomes, all of one call or a single one of none; they are handed on when they are written down."""
        if self._doubted:
            outcomes = [self._with_its_doubt(outcome) for outcome in outcomes]
        attempts = outcomes[0].attempts
        noted = self._calls.get(attempts[-1].call) if attempts else None
        if noted is not None:
            noted.outcomes += outcomes
        else:
            self._loose += outcomes
            self.waiting += len(outcomes)
            self._write_loose()

    def _with_its_doubt(self, outcome: Outcome) -> Outcome:
        if outcome.index not in self._doubted:
            return outcome
        self._doubted.discard(outcome.index)
        return _still_in_doubt(outcome)

    def ended(self, call: int) -> None:
        """Have the end of a call noted, and hand its outcomes on then."""
        noted = self._calls.pop(call, None)
        if noted is not None:
            self.waiting += len(noted.outcomes)
            self._record(noted.outcomes, End(call=call, states=_states(noted)))

    def _write_loose(self) -> None:
        """Hand over what has gathered while the thread was busy, all at once."""
        if self._loose and not self._busy:
            outcomes, self._loose = self._loose, []
            self._busy = True
            self._record(outcomes, None)

    def _record(self, outcomes: Sequence[Outcome], end: End | None) -> None:
        def written() -> None:
            self.waiting -= len(outcomes)
            self._hand_on(outcomes)
            if end is None:
                self._busy = False
                self._write_loose()

        self._recorder.record(outcomes, end, written)


_STATES: dict[type, tuple[RowState, int]] = {Rejected: (RowState.REJECTED, 0), Unknown: (RowState.UNKNOWN, 0)}
"""Of records that were not added; those with another outcome were certainly not saved, and may go again."""

_MAY_GO_AGAIN = (RowState.WITHDRAWN, 0)


def _states(noted: _Noted) -> tuple[tuple[RowState, int], ...]:
    """Say what became of each record of a call, in its order; one without an outcome was put back."""
    state_of = {
        outcome.index: (RowState.ADDED, outcome.log_id)
        if isinstance(outcome, Added)
        else _STATES.get(type(outcome), _MAY_GO_AGAIN)
        for outcome in noted.outcomes
    }
    return tuple([state_of.get(index, _MAY_GO_AGAIN) for index in noted.indexes])


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
