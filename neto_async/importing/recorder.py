"""
The thread in which a run writes its reports and its journal, so that the event loop never waits for a disk.

Whatever has come in while the thread was writing is written at once afterwards: one commit for many calls. All is
done in the order in which it was handed in, so an intent that is on disk proves that what came before it is too. For
each outcome the report is written before the journal: what a report has lost, the journal could not give back, for it
holds no texts. May import: journal, outcomes, errors.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Protocol, TypeVar

from attrs import define, field

from neto_async.importing.journal import End, Entry, Intent, Journal, Known
from neto_async.outcomes import Outcome

__all__ = ["OutcomeSink", "Recorder"]

T = TypeVar("T")


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
class _Job:
    """Something for the thread to do: the future takes what it returned or raised."""

    done: asyncio.Future[Any]
    work: Callable[[], Any] | None = None  # alone; else one of those that share a commit
    outcomes: Sequence[Outcome] = ()
    entry: Entry | None = None
    result: Any = field(default=None, init=False)
    error: BaseException | None = field(default=None, init=False)


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
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
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
            self._jobs.put(_Job(self._loop.create_future(), work=lambda: self._finish(None)))
            self._jobs.put(None)
            raise

    async def known(self, most: int) -> list[Known]:
        """Give the next rows that earlier runs have settled, by ascending position; none where there are no more."""
        return await self._do(lambda: list(itertools.islice(self._known, most)))

    async def intend(self, intent: Intent) -> bool:
        """Note on disk that a call is about to leave; False where that failed, and it must not."""
        job = _Job(self._loop.create_future(), entry=intent)
        self._jobs.put(job)
        return bool(await job.done)

    def record(self, outcomes: Sequence[Outcome], end: End | None, then: Callable[[], None]) -> None:
        """Write outcomes down, and the end of the call they came with; then call back in the loop, even on failure."""
        job = _Job(self._loop.create_future(), outcomes=outcomes, entry=end)
        job.done.add_done_callback(lambda _: then())
        self._jobs.put(job)

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
            self._jobs.put(None)

    async def _do(self, work: Callable[[], T]) -> T:
        job = _Job(self._loop.create_future(), work=work)
        self._jobs.put(job)
        result: T = await job.done
        return result

    # -- in the loop --------------------------------------------------------------------------------------------

    def _settle(self, jobs: Sequence[_Job]) -> None:
        error = self._journal_error or self._sink_error
        if error is not None and not self._told:
            self._told = True
            self._broken(error)
        for job in jobs:
            if job.done.done():
                continue  # whoever waited was cancelled
            if job.error is None:
                job.done.set_result(job.result)
            else:
                job.done.set_exception(job.error)

    # -- in the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        taken: deque[_Job | None] = deque()
        while True:
            if not taken:
                taken.append(self._jobs.get())
            while not self._jobs.empty():
                taken.append(self._jobs.get())
            first = taken.popleft()
            if first is None:
                return
            jobs = [first]
            if first.work is not None:
                _work(first)
            else:
                while taken and taken[0] is not None and taken[0].work is None:
                    jobs.append(taken.popleft())  # type: ignore[arg-type]
                self._write(jobs)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._settle, jobs)

    def _open(self, store: str) -> None:
        if self._journal is not None:
            self._journal.open(store)
            self._known = self._journal.known()
        if self._sink is not None:
            self._sink.open(None if self._journal is None else self._journal.identity)

    def _write(self, jobs: Sequence[_Job]) -> None:
        outcomes = [outcome for job in jobs for outcome in job.outcomes]
        if self._sink is not None and self._sink_error is None and outcomes:
            try:
                self._sink.write(outcomes)
            except Exception as error:  # noqa: BLE001 (the journal goes on: it is what a later run needs)
                self._sink_error = error
        entries = [job.entry for job in jobs if job.entry is not None and self._may_be_noted(job.entry)]
        if self._journal is not None and self._journal_error is None and entries:
            try:
                self._journal.write(entries)
            except Exception as error:  # noqa: BLE001 (no call may leave any more)
                self._journal_error = error
        for job in jobs:
            job.result = self._journal_error is None and self._sink_error is None

    def _may_be_noted(self, entry: Entry) -> bool:
        # Without reports no call leaves any more: its intent, with no end to come, would put its rows in doubt.
        return self._sink_error is None or isinstance(entry, End)

    def _finish(self, rows: int | None) -> None:
        whole = rows is not None and self._journal_error is None and self._sink_error is None
        with ExitStack() as stack:
            if self._journal is not None:
                stack.callback(self._journal.close)
            if self._sink is not None:
                stack.callback(self._sink.close, complete=whole)
            if self._journal is not None and rows is not None and whole:
                self._journal.finish(rows)


def _work(job: _Job) -> None:
    assert job.work is not None  # noqa: S101
    try:
        job.result = job.work()
    except BaseException as error:  # noqa: BLE001 (raised where the work was asked for)
        job.error = error
