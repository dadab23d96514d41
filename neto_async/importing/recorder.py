"""
The thread in which a run writes its reports and its journal, so that the event loop never waits for a disk.

The end of a call waits some turns of the loop for the intent of the next, and whatever has come in while the thread was
writing is written at once afterwards: once all slots are taken, a call costs at most one commit. All is done in the
order in which it was handed in, so an intent that is on disk proves that what came before it is too. For each outcome
the report is written before the journal: what a report has lost, the journal could not give back, for it holds no
texts. May import: journal, outcomes, errors.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from attrs import define

from neto_async.importing.journal import READ_AT_ONCE, End, Entry, Intent, Journal, Known
from neto_async.outcomes import Outcome

__all__ = ["OutcomeSink", "Recorder"]

T = TypeVar("T")

TURNS, LINGER = 4, 0.005
"""Turns of the loop, and seconds, for which the end of a call waits at most for the intent of the call that takes its
slot, to share its commit. The engine takes two turns, and one more for each call that begins before."""

MOST_AT_ONCE = 100
"""Notes that share a commit. SQLite before 3.32 takes 999 values in a statement, and a note has six."""


class OutcomeSink(Protocol):
    """
    Takes every outcome of a run, such as `Reports`.

    All methods are called in one thread, which is not the event loop's, and may block.
    """

    def open(self, journal: str | None) -> None:
        """
        Get ready.

        Args:
            journal: The identity of the run's journal, None without one.

        Raises:
            ConfigurationError: It can't be used.
        """

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Write these; where a journal is kept, it forgets their texts afterwards, so they are to be on disk."""

    def close(self, *, complete: bool) -> None:
        """Let go of it; ``complete`` where every row of the source has its outcome."""


@define(eq=False)
class _Note:
    """Something to write down, which may share a commit with others; whether it is on disk is told in the loop."""

    outcomes: Sequence[Outcome]
    entry: Entry | None
    tell: Callable[[bool], None]


@define(eq=False)
class _Errand:
    """Something else for the thread to do; the future takes what it returned or raised."""

    work: Callable[[], Any]
    done: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:  # noqa: BLE001 (raised where the work was asked for)
            self.error = error

    def settle(self) -> None:
        if self.done.done():
            return  # whoever waited was cancelled
        if self.error is None:
            self.done.set_result(self.result)
        else:
            self.done.set_exception(self.error)


class Recorder:
    """
    Own the thread, and in it a journal and a sink.

    Args:
        journal: None keeps no journal.
        sink: None writes no reports.
        broken: Called in the loop, once, when something could not be written. The run must stop then.
    """

    def __init__(
        self, journal: Journal | None, sink: OutcomeSink | None, broken: Callable[[BaseException], None]
    ) -> None:
        self._journal = journal
        self._sink = sink
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Sequence[_Note | _Errand | None]] = queue.SimpleQueue()
        self._gathered: list[_Note] = []  # ends of calls, which wait for the next intent for some turns
        self._turns = 0  # of the loop until they go without one, or
        self._until = 0.0  # the loop's time at which they do
        self._not_noted: set[int] = set()  # calls whose intent was left out
        self._thread = threading.Thread(target=self._run, name="neto_async recorder", daemon=True)
        self._known: Iterator[Known] = iter(())
        self._journal_error: BaseException | None = None  # nothing is written to it any more
        self._sink_error: BaseException | None = None
        self._told = False  # that something is broken

    async def open(self, store: str) -> None:
        """
        Open journal and sink.

        Raises:
            ConfigurationError: One of them can't be used.
        """
        self._thread.start()
        try:
            await self._do(lambda: self._open(store))
        except BaseException:
            self._jobs.put([_Errand(lambda: self._finish(None), self._loop.create_future()), None])
            raise

    async def known(self) -> list[Known]:
        """Give the next rows that earlier runs have settled, by ascending position; none where there are no more."""
        return await self._do(lambda: list(itertools.islice(self._known, READ_AT_ONCE)))

    async def intend(self, intent: Intent) -> bool:
        """Note on disk that a call is about to leave; False where that failed, and it must not."""
        noted: asyncio.Future[bool] = self._loop.create_future()
        self._hand_over(_Note((), intent, partial(_answer, noted)))
        return await noted

    def record(self, outcomes: Sequence[Outcome], end: End | None, then: Callable[[], None]) -> None:
        """Write outcomes down, and the end of the call they came with; then call back in the loop, even on failure."""
        note = _Note(outcomes, end, lambda _: then())
        if end is None:
            self._hand_over(note)
            return
        self._gathered.append(note)
        if not self._turns:
            self._turns, self._until = TURNS, self._loop.time() + LINGER
            self._loop.call_soon(self._take_a_turn)

    async def close(self, *, rows: int | None) -> None:
        """
        Write what is left, and let go of journal and sink.

        Args:
            rows: Length of the source, where the run came to its end and all of it has an outcome; else None.

        Raises:
            JournalError: The end could not be noted.
        """
        try:
            await self._do(lambda: self._finish(rows))
        finally:
            self._jobs.put([None])

    async def _do(self, work: Callable[[], T]) -> T:
        errand = _Errand(work, self._loop.create_future())
        self._hand_over(errand)
        result: T = await errand.done
        return result

    # -- in the loop --------------------------------------------------------------------------------------------

    def _take_a_turn(self) -> None:
        self._turns = self._turns - 1 if self._loop.time() < self._until else 0
        if self._turns:
            self._loop.call_soon(self._take_a_turn)
        elif self._gathered:
            self._hand_over()

    def _hand_over(self, *jobs: _Note | _Errand) -> None:
        """Give the thread what has gathered, and these behind it."""
        gathered, self._gathered = self._gathered, []
        self._jobs.put([*gathered, *jobs])

    def _settle(self, notes: Sequence[_Note], *, written: bool) -> None:
        error = self._journal_error or self._sink_error
        if error is not None and not self._told:
            self._told = True
            self._broken(error)
        for note in notes:
            note.tell(written)

    # -- in the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        taken: deque[_Note | _Errand | None] = deque()
        while True:
            if not taken:
                taken += self._jobs.get()
            while not self._jobs.empty():
                taken += self._jobs.get()
            first = taken.popleft()
            if first is None:
                return
            if isinstance(first, _Errand):
                first.run()
                self._in_loop(first.settle)
                continue
            notes = [first]
            while taken and isinstance(taken[0], _Note) and len(notes) < MOST_AT_ONCE:
                notes.append(taken.popleft())  # type: ignore[arg-type]
            self._in_loop(partial(self._settle, notes, written=self._write(notes)))

    def _in_loop(self, tell: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(tell)

    def _open(self, store: str) -> None:
        if self._journal is not None:
            self._journal.open(store)
            self._known = self._journal.known()
        if self._sink is not None:
            self._sink.open(None if self._journal is None else self._journal.identity)

    def _write(self, notes: Sequence[_Note]) -> bool:
        outcomes = [outcome for note in notes for outcome in note.outcomes] if self._sink is not None else ()
        if self._sink is not None and self._sink_error is None and outcomes:
            try:
                self._sink.write(outcomes)
            except Exception as error:  # noqa: BLE001 (the journal goes on: it is what a later run needs)
                self._sink_error = error
        entries = [note.entry for note in notes if note.entry is not None and self._may_be_noted(note.entry)]
        if self._journal is not None and self._journal_error is None and entries:
            try:
                self._journal.write(entries)
            except Exception as error:  # noqa: BLE001 (no call may leave any more)
                self._journal_error = error
        return self._journal_error is None and self._sink_error is None

    def _may_be_noted(self, entry: Entry) -> bool:
        # Without reports no call leaves any more: its intent, with no end to come, would put its rows in doubt.
        if isinstance(entry, End):
            return entry.call not in self._not_noted
        if self._sink_error is not None:
            self._not_noted.add(entry.call)
        return self._sink_error is None

    def _finish(self, rows: int | None) -> None:
        whole = rows is not None and self._journal_error is None and self._sink_error is None
        with ExitStack() as stack:
            if self._journal is not None:
                stack.callback(self._journal.close)
            if self._sink is not None:
                stack.callback(self._sink.close, complete=whole)
            if self._journal is not None and rows is not None and whole:
                self._journal.finish(rows)


def _answer(noted: asyncio.Future[bool], written: bool) -> None:  # noqa: FBT001 - a callback's
    if not noted.done():  # else whoever waited was cancelled
        noted.set_result(written)
