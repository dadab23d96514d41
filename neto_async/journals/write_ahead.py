"""
The loop's side of journal and reports: each call is written before it leaves, each outcome before it is passed on.

The end of a call waits some turns of the loop for the intent of the next: once all slots are taken, a call costs at
most one commit. May import: writer, protocol, sending, wire, outcomes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import define, evolve, field

from neto_async.journals.protocol import End, Intent, Journal, Known, RowState
from neto_async.journals.writer import Errand, JournalWriter, Note, OutcomeSink
from neto_async.outcomes import Added, Evidence, NotSent, Outcome, Rejected, Unknown
from neto_async.sending.lanes import WriteAhead
from neto_async.sending.records import PendingRecord
from neto_async.wire import make_fingerprint

__all__ = ["WriteAheadLog"]

T = TypeVar("T")

TURNS, LINGER = 4, 0.005
"""
How long the end of a call waits (turns of the loop, seconds) for the intent of the call that takes its slot, to share
its commit. The engine takes two turns, and one more for each call that begins before.
"""


@define(eq=False)
class _OpenCall:
    """A call whose intent was submitted and whose end was not: the indexes of its records, and what became of them."""

    indexes: Sequence[int]
    outcomes: list[Outcome] = field(factory=list)


class WriteAheadLog(WriteAhead):
    """
    Have a run's calls and outcomes written; to the engine it is a `WriteAhead`.

    Args:
        pass_on: Takes outcomes that have been written.
        broken: Called once, when something could not be written. The run must stop then.

    Attributes:
        may_leave: Says whether a call may leave whose intent was written.
        waiting: Number of outcomes that are not passed on yet, those of calls under way left out.
    """

    def __init__(
        self,
        journal: Journal | None,
        sink: OutcomeSink | None,
        *,
        pass_on: Callable[[Sequence[Outcome]], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        self._journal = journal
        self.may_leave: Callable[[], bool] = getattr(journal, "may_leave", lambda: True)
        self._pass_on = pass_on
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._writer = JournalWriter(journal, sink)
        self._doubted: set[int] = set()  # indexes of records without an outcome that an earlier run left in doubt
        self._calls: dict[int, _OpenCall] = {}
        self._gathered: list[Note] = []  # ends of calls, which wait for the next intent for some turns
        self._turns = 0  # of the loop until they go without one, or
        self._until = 0.0  # the loop's time at which they do
        self._loose: list[Outcome] = []  # outcomes of no call, which the thread has not got yet
        self._busy = False  # it has got some of these
        self._is_broken = False
        self.waiting: int = 0

    async def open(self, store: str, marker: str | None = None) -> str | None:
        """
        Open journal and sink, as `JournalWriter.open`.

        Raises:
            ConfigurationError: One of them can't be used.
            ValueError: A journal has no proper salt.
        """
        try:
            form = await self._do(lambda writer: writer.open(store, marker))
            self._fingerprint = make_fingerprint(b"" if self._journal is None else self._journal.salt)
        except BaseException as error:
            closed: asyncio.Future[None] = self._loop.create_future()
            self._writer.submit(Errand(lambda writer: writer.close(None), closed), None)
            if not isinstance(error, asyncio.CancelledError):
                # The same journal may be opened again at once, as where another process uses it.
                await asyncio.wait({closed})
            raise
        return form

    async def known(self) -> list[Known]:
        """Give the next rows that earlier runs have settled, by ascending position; an empty list at the end."""
        return await self._do(lambda writer: writer.known())

    async def close(self, *, rows: int | None) -> None:
        """
        Write everything that waits, and close journal and sink.

        Args:
            rows: Length of the source, where the run came to its end and all of it has an outcome; otherwise None.

        Raises:
            JournalError: The end could not be written.
        """
        try:
            await self._do(lambda writer: writer.close(rows))
        finally:
            self._writer.submit(None)

    async def _do(self, work: Callable[[JournalWriter], T]) -> T:
        errand = Errand(work, self._loop.create_future())
        self._submit(errand)
        result: T = await errand.done
        return result

    # -- what the engine and the run say --------------------------------------------------------------------------

    def doubt(self, index: int) -> None:
        """Note that a record is about to be submitted to the engine which an earlier run left in doubt."""
        self._doubted.add(index)

    async def intend(self, call: int, records: Sequence[PendingRecord]) -> bool:
        rows = tuple([(pending.index, self._fingerprint(pending.fields)) for pending in records])
        # Before it is on disk: a loop that shuts down cancels the wait for that, and the end must still follow.
        self._calls[call] = _OpenCall([index for index, _ in rows])
        written: asyncio.Future[bool] = self._loop.create_future()

        def on_written(broken: BaseException | None) -> None:
            self._notice(broken)
            if not written.done():  # otherwise whoever waited was cancelled
                written.set_result(broken is None)

        self._submit(Note((), Intent(call=call, rows=rows), on_written))
        return await written

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Take outcomes, all of one call or a single one of none; they are passed on when they are written."""
        if self._doubted:
            outcomes = [self._with_its_doubt(outcome) for outcome in outcomes]
        attempts = outcomes[0].attempts
        call = self._calls.get(attempts[-1].call) if attempts else None
        if call is not None:
            call.outcomes += outcomes
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
        open_call = self._calls.pop(call, None)
        if open_call is None:
            return
        self.waiting += len(open_call.outcomes)
        self._gathered.append(self._note(open_call.outcomes, End(call=call, states=_states(open_call))))
        if not self._turns:
            self._turns, self._until = TURNS, self._loop.time() + LINGER
            self._loop.call_soon(self._take_a_turn)

    # -- what the thread gets, and when ---------------------------------------------------------------------------

    def _take_a_turn(self) -> None:
        self._turns = self._turns - 1 if self._loop.time() < self._until else 0
        if self._turns:
            self._loop.call_soon(self._take_a_turn)
        elif self._gathered:
            self._submit()

    def _submit(self, *jobs: Note | Errand) -> None:
        """Give the thread all gathered notes, and these after them."""
        gathered, self._gathered = self._gathered, []
        self._writer.submit(*gathered, *jobs)

    def _write_loose(self) -> None:
        """Submit all outcomes that gathered while the thread was busy."""
        if self._loose and not self._busy:
            outcomes, self._loose = self._loose, []
            self._busy = True
            self._submit(self._note(outcomes, None))

    def _note(self, outcomes: Sequence[Outcome], end: End | None) -> Note:
        def written(broken: BaseException | None) -> None:
            self._notice(broken)
            self.waiting -= len(outcomes)
            self._pass_on(outcomes)
            if end is None:
                self._busy = False
                self._write_loose()

        return Note(outcomes, end, written)

    def _notice(self, broken: BaseException | None) -> None:
        if broken is not None and not self._is_broken:
            self._is_broken = True
            self._broken(broken)


_STATES: dict[type, tuple[RowState, int]] = {Rejected: (RowState.REJECTED, 0), Unknown: (RowState.UNKNOWN, 0)}
"""Of records that were not added; those with another outcome were certainly not saved, and may go again."""

_MAY_GO_AGAIN = (RowState.WITHDRAWN, 0)


def _states(call: _OpenCall) -> tuple[tuple[RowState, int], ...]:
    """Say what became of each record of a call, in its order; one without an outcome was put back."""
    state_of = {
        outcome.index: (RowState.ADDED, outcome.log_id)
        if isinstance(outcome, Added)
        else _STATES.get(type(outcome), _MAY_GO_AGAIN)
        for outcome in call.outcomes
    }
    return tuple([state_of.get(index, _MAY_GO_AGAIN) for index in call.indexes])


def _still_in_doubt(outcome: Outcome) -> Outcome:
    """Keep the doubt of an earlier run: that the store refuses a record now does not say that it did then."""
    if isinstance(outcome, Added):
        return outcome
    if isinstance(outcome, Unknown):
        return evolve(outcome, evidence=evolve(outcome.evidence, earlier_run=True))
    messages = outcome.messages if isinstance(outcome, Rejected) else ()
    ended = "was not sent" if isinstance(outcome, NotSent) else "was refused"
    return Unknown(
        index=outcome.index,
        record=outcome.record,
        context=outcome.context,
        attempts=outcome.attempts,
        reason=f"an earlier run never learned its outcome, and this time it {ended}",
        evidence=Evidence(messages=messages, earlier_run=True),
    )
