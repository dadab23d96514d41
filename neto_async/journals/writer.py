"""
The thread's side of journal and reports: it owns them, and the event loop never waits for a disk.

Whatever was submitted while the thread was writing is written at once afterwards. All is done in the order in which it
was submitted, so an intent that is on disk proves that what came before it is too. For each outcome the report is
written before the journal: a journal holds no texts, and could not restore what a report has lost. May import:
marking, protocol, outcomes, errors.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Protocol

from attrs import define

from neto_async.errors import JournalInUseError
from neto_async.journals.marking import marker_of
from neto_async.journals.protocol import READ_AT_ONCE, End, Intent, Journal, JournalEvent, Known, RowState
from neto_async.outcomes import Outcome

__all__ = ["Errand", "JournalWriter", "Note", "OutcomeSink"]

MAX_NOTES = 100
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

    def added_before(self, journal: str) -> Mapping[int, int]:
        """Give what it kept of earlier runs of a journal: log id by position. Called before `open`; may be empty."""

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Write these; where a journal is kept, it forgets their texts afterwards, so they are to be on disk."""

    def close(self, *, complete: bool) -> None:
        """Close it; ``complete`` where every row of the source has its outcome."""


@define(eq=False)
class Note:
    """
    Something to write down, which may share a commit with others: outcomes for the reports, an event for the journal.

    ``written`` is called in the loop once both are on disk, with None, or with what is broken.
    """

    outcomes: Sequence[Outcome]
    event: JournalEvent | None
    written: Callable[[BaseException | None], None]


@define(eq=False)
class Errand:
    """Something else to do in the thread; ``done`` takes what ``work``, given the writer, returned or raised."""

    work: Callable[[JournalWriter], Any]
    done: asyncio.Future[Any]


class JournalWriter:
    """Own the thread, and in it a journal and a sink, or one of them."""

    def __init__(self, journal: Journal | None, sink: OutcomeSink | None) -> None:
        self._journal = journal
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Sequence[Note | Errand | None]] = queue.SimpleQueue()
        self._known: Iterator[Known] = iter(())
        self._withheld: set[int] = set()  # calls whose intent was left out
        self._journal_error: BaseException | None = None  # no intent is written to it any more
        self._sink_error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="neto_async writer", daemon=True)
        self._thread.start()

    def submit(self, *jobs: Note | Errand | None) -> None:
        """Have these done, in their order and after all that was submitted before; None ends the thread."""
        self._jobs.put(jobs)

    # -- errands --------------------------------------------------------------------------------------------------

    def open(self, store: str, marker: str | None) -> str | None:
        """
        Open journal and sink.

        Args:
            store: The address of the store.
            marker: The form of the rows' marker, where the user gave one.

        Returns:
            The form of the marker that rows are sent with, None for none.

        Raises:
            ConfigurationError: One of them can't be used, or the journal's rows carry another marker.
            JournalError: The marker could not be noted.
        """
        if self._journal is not None:
            try:
                self._journal.open(store)
            except JournalInUseError:
                # It may be the very object that another run has open: its journal and sink are not ours to close.
                self._journal = self._sink = None
                raise
            marker = marker_of(self._journal, marker)
            if hasattr(self._journal, "note_marker"):
                self._journal.note_marker(marker or "")
            if self._sink is not None:
                # Before the sink opens, which may rewrite what it read.
                self._complete(self._journal, self._sink.added_before(self._journal.identity))
            self._known = self._journal.known()
        if self._sink is not None:
            self._sink.open(None if self._journal is None else self._journal.identity)
        return marker

    def known(self) -> list[Known]:
        """Give the next rows that earlier runs have settled, by ascending position; an empty list at the end."""
        return list(itertools.islice(self._known, READ_AT_ONCE))

    def close(self, rows: int | None) -> None:
        """Close journal and sink; see `WriteAheadLog.close`."""
        whole = rows is not None and self._broken is None
        with ExitStack() as stack:
            if self._journal is not None:
                stack.callback(self._journal.close)
            if self._sink is not None:
                stack.callback(self._sink.close, complete=whole)
            if self._journal is not None and rows is not None and whole:
                self._journal.finish(rows)

    # -- the thread -----------------------------------------------------------------------------------------------

    @property
    def _broken(self) -> BaseException | None:
        return self._journal_error or self._sink_error

    def _run(self) -> None:
        taken: deque[Note | Errand | None] = deque()
        while True:
            if not taken:
                taken += self._jobs.get()
            while not self._jobs.empty():
                taken += self._jobs.get()
            first = taken.popleft()
            if first is None:
                return
            if isinstance(first, Errand):
                self._do(first)
                continue
            notes = [first]
            while taken and isinstance(taken[0], Note) and len(notes) < MAX_NOTES:
                notes.append(taken.popleft())  # type: ignore[arg-type]
            self._write(notes)
            self._in_loop(_written, notes, self._broken)

    def _in_loop(self, callback: Callable[..., None], *args: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(callback, *args)

    def _do(self, errand: Errand) -> None:
        try:
            result = errand.work(self)
        except BaseException as error:  # noqa: BLE001 - raised where the work was asked for
            self._in_loop(_settle, errand.done, errand.done.set_exception, error)
        else:
            self._in_loop(_settle, errand.done, errand.done.set_result, result)

    def _complete(self, journal: Journal, added: Mapping[int, int]) -> None:
        """Write the ids of rows that the journal holds to be in doubt, as it was full when an earlier run got them."""
        found = (row for row in journal.known() if row.state is RowState.UNKNOWN and row.position in added)
        # As a call, where a journal knows no other way: it would be a call that is younger than its ids.
        settle: Callable[[Sequence[Known]], None] = getattr(journal, "settle", partial(_write_as_call, journal))
        while rows := list(itertools.islice(found, MAX_NOTES)):
            settle([row._replace(state=RowState.ADDED, log_id=added[row.position]) for row in rows])

    def _write(self, notes: Sequence[Note]) -> None:
        outcomes = [outcome for note in notes for outcome in note.outcomes]
        if self._sink is not None and self._sink_error is None and outcomes:
            try:
                self._sink.write(outcomes)
            except Exception as error:  # noqa: BLE001 - the journal continues: a later run needs it
                self._sink_error = error
        events = [note.event for note in notes if note.event is not None and self._may_be_written(note.event)]
        if self._journal is None or not events:
            return
        try:
            self._journal.write(events)
        except Exception as error:  # noqa: BLE001 - no call may leave any more
            self._journal_error = self._journal_error or error
            self._withheld |= {event.call for event in events if isinstance(event, Intent)}
            # Alone they may fit, or be accepted after another process has taken the journal over: each settles a doubt.
            ends = [event for event in events if isinstance(event, End) and event.call not in self._withheld]
            if 0 < len(ends) < len(events):
                with suppress(Exception):
                    self._journal.write(ends)

    def _may_be_written(self, event: JournalEvent) -> bool:
        # Once something is broken no call leaves: its intent, with no end to come, would put its rows in doubt.
        if isinstance(event, Intent) and self._broken is not None:
            self._withheld.add(event.call)
        return event.call not in self._withheld


def _write_as_call(journal: Journal, rows: Sequence[Known]) -> None:
    intent = Intent(call=0, rows=tuple((row.position, row.fingerprint) for row in rows))
    journal.write([intent, End(call=0, states=tuple((row.state, row.log_id) for row in rows))])


def _written(notes: Sequence[Note], broken: BaseException | None) -> None:
    for note in notes:
        note.written(broken)


def _settle(done: asyncio.Future[Any], settle: Callable[[Any], None], result: object) -> None:
    if not done.done():  # otherwise whoever waited was cancelled
        settle(result)
