"""
A run: it reads a source of any length, gives its records to the engine, and streams what became of them.

Theory of operation. One reader task makes the source's iterator, pulls items from it and closes it. It offers the logs
to the engine's lane, at most `READ_AHEAD` batches ahead; what is invalid has its outcome at once. Outcomes wait in
``_ready`` for the caller's loop; while too many do, the lane is held and nothing more is read or sent, so that memory
stays flat however long the source and however slow the caller is. With a journal or reports, a thread writes
outcomes to disk before they get there; and rows that the journal does not know wait in ``_held`` until one that it
knows is found at its position; their number alone depends on the source. May import: the rest of importing, sending,
models, outcomes, errors, settings.
"""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from neto_async.errors import ConfigurationError, JournalError, NetoError
from neto_async.importing.items import read_item, require_source
from neto_async.importing.progress import ProgressCallback
from neto_async.models import CustomerLog
from neto_async.outcomes import Invalid, NotSentCause, Outcome
from neto_async.results import ImportProgress
from neto_async.sending.engine import Engine
from neto_async.sending.lanes import ImportLane
from neto_async.sending.observing import logger
from neto_async.sending.records import PendingRecord
from neto_async.sending.stopping import RunLimits, Stop
from neto_async.sending.waiting import complete_through_cancellation
from neto_async.settings import InDoubt

if TYPE_CHECKING:
    from neto_async.importing.resuming import EarlierRuns
    from neto_async.journals.protocol import Journal
    from neto_async.journals.write_ahead import WriteAheadLog
    from neto_async.journals.writer import OutcomeSink

__all__ = ["ImportRun"]

READ_AHEAD = 2
"""Batches that are read before there is a call for them."""

READ_IN_A_TURN = 25
"""Records that are read in one turn of the loop: about a quarter of a millisecond, as measured in 2026-11."""


class ImportRun(AsyncIterator[Outcome]):
    """
    One import: an async context manager, and inside it an async iterator of outcomes.

    Outcomes come in the order in which they become known; ``index`` is the position in the source. A second loop
    continues where the first one ended, and several tasks may iterate at once: each outcome goes to one of them.
    Leaving the block takes no more rows, awaits the calls under way and keeps their outcomes in ``unread``.

    The source's iterator is made, read and closed in one task, before the block is left: a generator by ``close`` or
    ``aclose``, any other asynchronous iterator by ``aclose`` where it has one.

    Raises:
        TypeError: The source is not an iterable of logs.
        Exception: What the source itself raised, once the calls under way have ended. It is raised once, in the loop
            that comes to the end; if the block is left before that, it is logged by its class.

    Warns:
        RuntimeWarning: The block was left normally, and nobody had iterated over the run or called `finish` or `stop`;
            or the run was dropped, and nobody had entered its block.
    """

    _begun = True  # somebody entered, iterated over or stopped it; also while it is being made

    def __init__(
        self,
        engine: Engine,
        source: Iterable[Any] | AsyncIterable[Any],
        *,
        total: int | None = None,
        drain_source: bool = False,
        max_rejected: int | None = None,
        give_up_after: float | None = None,
        journal: Journal | None = None,
        reports: OutcomeSink | None = None,
        in_doubt: InDoubt = InDoubt.HOLD,
        retry_rejected: bool = False,
        marker: str | None = None,
        on_progress: Callable[[ImportProgress], object] | None = None,
    ) -> None:
        require_source(source)
        self._engine = engine
        self._source = source
        self._total = total
        self._drain_source = drain_source
        self._journal = journal
        self._reports = reports
        self._in_doubt = in_doubt
        self._retry_rejected = retry_rejected
        self._marker = marker
        self._on_progress = on_progress
        self._progress_callback: ProgressCallback | None = None  # only with a callback, once the run is entered
        self._began_at: float | None = None  # seconds on the clock
        self._ended_at: float | None = None  # when the last outcome was known and nothing more was to be read
        self._log: WriteAheadLog | None = None  # this and the next: only with a journal or reports
        self._earlier_runs: EarlierRuns | None = None  # ... and only while earlier runs know of rows that follow
        self._held: list[PendingRecord] = []  # may not go before the next known row was looked up
        size = engine.settings.batch_size
        self._ahead = READ_AHEAD * size
        self._max_ready = (engine.settings.max_concurrency + READ_AHEAD) * size
        self._ready: deque[Outcome] = deque()  # outcomes that the caller has not taken
        self._counts: Counter[str] = Counter()
        self._taken = 0  # items read from the source
        self._outstanding = 0  # items taken whose outcome has not come to `_ready` yet
        self._replayed = 0  # outcomes that an earlier run settled
        self._looked_at = False  # somebody iterated over it, or stopped it
        self._leaving = False  # no more is read
        self._exhausted = False  # nothing more will be read
        self._finished = False  # because the source is at its end
        self._source_closes = False  # the reader closes it, or was cancelled to do so: nothing may cut that short
        self._error: BaseException | None = None  # what the source raised, or what could not be written
        self._raised: BaseException | None = None  # the same, once a loop has raised it
        self._room = asyncio.Event()  # the reader may read on
        self._news = asyncio.Event()  # something has changed for the caller's loop
        self._reader: asyncio.Task[None] | None = None
        self._stopped_at: int | None = None
        self.unread: tuple[Outcome, ...] = ()
        self._lane = ImportLane(
            batch_size=size,
            room_made=self._room.set,
            limits=RunLimits(
                max_rejected=max_rejected,
                give_up_after=engine.settings.give_up_after if give_up_after is None else give_up_after,
            ),
        )
        self._begun = False

    def __del__(self) -> None:
        if not self._begun:
            text = "an import was made, and its block never entered, so nothing was added: `async with` begins it"
            warnings.warn(text, RuntimeWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        return f"ImportRun(taken={self._taken}, finished={sum(self._counts.values())})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an import can't be copied or pickled: its source and the calls under way belong to one loop")

    @property
    def progress(self) -> ImportProgress:
        """How far the run is, now."""
        total = len(self._source) if self._total is None and isinstance(self._source, Sized) else self._total
        stop = self._lane.stop
        return ImportProgress(
            taken=self._taken,
            total=total,
            added=self._counts["Added"],
            rejected=self._counts["Rejected"],
            invalid=self._counts["Invalid"],
            not_sent=self._counts["NotSent"],
            unknown=self._counts["Unknown"],
            replayed=self._replayed,
            calls=self._lane.calls,
            in_flight=self._lane.in_flight,
            seconds=self._seconds(),
            seconds_left=self._seconds_left(total),
            stopped_at=self._stopped_at,
            stop_reason=None if stop is None else stop.reason,
            complete=self._finished and self._over and stop is None,
        )

    @property
    def _over(self) -> bool:
        """True where nothing more is read, and everything that was read has its outcome."""
        return self._exhausted and not self._outstanding

    def stop(self) -> None:
        """
        Take no more rows; the calls under way continue, and rows that were read and not sent come out as `NotSent`.

        A run that has come to its end does not change.
        """
        self._looked_at = self._begun = True
        if not self._over:
            self._halt()

    async def finish(self) -> ImportProgress:
        """
        Run the import to its end, for a program that does not look at the outcomes.

        Returns:
            The counts; ``complete`` is False where the run stopped.

        Raises:
            RuntimeError: The block was not entered.
            Exception: What the source itself raised, once the calls under way have ended.
        """
        async for _ in self:
            pass
        return self.progress

    def _halt(self) -> None:
        self._engine.stop_run(self._lane, Stop(cause=NotSentCause.STOPPED, reason="the program stopped the run"))

    async def __aenter__(self) -> Self:
        if self._reader is not None:
            msg = "a run can be entered only once"
            raise RuntimeError(msg)
        self._begun = True
        if self._journal is not None or self._reports is not None:
            await self._open_log()
        self._began_at = self._engine.clock.monotonic()
        if self._on_progress is not None:
            self._progress_callback = ProgressCallback(self._engine.clock, lambda: self.progress, self._on_progress)
        self._room.set()
        # Only now: until then only the program holds the run, so one that is dropped is freed, and warns, at once.
        self._lane.settled, self._lane.stopped = self._settle, self._on_stop
        self._engine.attach(self._lane)
        # Not by the loop's task factory: an eager one would read the source before the caller has the run.
        self._reader = asyncio.Task(self._read(), loop=asyncio.get_running_loop(), name="neto_async reader")
        if self._lane.stop is not None:
            self._on_stop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leaving = True
        if not self._over:
            self._halt()
        await complete_through_cancellation(lambda: asyncio.get_running_loop().create_task(self._leave()))
        if kind is None and not self._looked_at:
            text = "the block of an import was left, and nobody had iterated over it: `await run.finish()` runs it"
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    async def __anext__(self) -> Outcome:
        self._begun = True
        if self._reader is None:
            msg = "iterate inside the block: async with client.import_customer_logs(source) as run"
            raise RuntimeError(msg)
        self._looked_at = True
        while not self._ready:
            if self._over:
                if self.unread:
                    msg = "the block of this import was left: its other outcomes are in run.unread"
                    raise RuntimeError(msg)
                if self._error is None:
                    raise StopAsyncIteration
                self._raised, self._error = self._error, None
                raise self._raised
            self._news.clear()
            await self._news.wait()
        outcome = self._ready.popleft()
        if self._lane.held or not self._room.is_set():
            self._regulate()
        return outcome

    async def _leave(self) -> None:
        # Begun anew where its task is cancelled, so each step may be done twice.
        assert self._reader is not None  # noqa: S101
        self._stop_reading()
        await asyncio.wait({self._reader})
        self._exhausted = True
        while self._outstanding:
            self._news.clear()
            await self._news.wait()
        self._changed()
        self.unread += tuple(self._ready)
        self._ready.clear()
        if self._error is not None:
            name, self._error = type(self._error).__name__, None
            logger.warning("a run raised %s after its caller had left it", name, extra={"neto_failure": name})
        log, self._log = self._log, None
        try:
            if log is not None:
                await log.close(rows=self._taken if self.progress.complete else None)
        finally:
            callback, self._progress_callback = self._progress_callback, None
            if callback is not None:
                callback.end()

    async def _open_log(self) -> None:
        # Most programs keep neither journal nor reports, and need not import what does.
        from neto_async.importing.resuming import EarlierRuns  # noqa: PLC0415
        from neto_async.journals.marking import Marking  # noqa: PLC0415
        from neto_async.journals.write_ahead import WriteAheadLog  # noqa: PLC0415

        log = WriteAheadLog(self._journal, self._reports, pass_on=self._pass_on, broken=self._on_broken)
        marker = await log.open(self._engine.settings.store_url, self._marker)
        self._log = log
        if self._journal is not None:
            self._lane.write_ahead = log
            if marker is not None:
                self._lane.marked = Marking(marker, self._journal.salt).marked
            self._earlier_runs = EarlierRuns(
                salt=self._journal.salt,
                zone=self._engine.settings.wire_timezone,
                in_doubt=self._in_doubt,
                retry_rejected=self._retry_rejected,
                doubt=log.doubt,
            )

    # -- reading ------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            if await self._take_all():
                while self._earlier_runs is not None:
                    with self._stopping_where_changed():
                        self._earlier_runs.check_end(self._taken)
                    await self._learn(self._earlier_runs)
                self._finished = True
        except asyncio.CancelledError as error:
            if self._leaving or self._lane.stop is not None:
                raise
            self._error = error
        except BaseException as error:  # noqa: BLE001
            # Raised in the caller's loop, after the calls under way.
            self._error = self._error or _not_an_end(error)
        finally:
            if self._held:
                # The source ended before it was certain that these were not added from another place.
                self._engine.stop_run(self._lane, Stop.because(NotSentCause.STOPPED))
                self._let_go()
            self._exhausted = True
            self._lane.partial = True
            self._changed()
            self._engine.wake()

    async def _take_all(self) -> bool:
        """Take the source in; False where it was left before its end."""
        rows: Any
        if isinstance(self._source, AsyncIterable):
            # Such a source may wait for something, so records that are there may go. One that can also be read without
            # waiting, such as a file's, fills its calls.
            self._lane.partial = not isinstance(self._source, Iterable)
            rows = aiter(self._source)
        else:
            rows = iter(self._source)
        try:
            if isinstance(self._source, AsyncIterable):
                async for item in rows:
                    if not await self._take(item):
                        return False
            else:
                for item in rows:
                    if not await self._take(item):
                        return False
        finally:
            await self._close_source(rows)
        return True

    async def _close_source(self, rows: Any) -> None:
        """Close an iterator in the task that read it; what it raises is the source's error, or logged after a stop."""
        self._source_closes = True
        try:
            if isinstance(rows, Generator):
                rows.close()
            elif (aclose := getattr(rows, "aclose", None)) is not None:
                await aclose()
        except BaseException as error:  # noqa: BLE001
            failure = _besides_closing(error)
            if failure is not None:
                if not (self._leaving or self._lane.stop is not None):
                    raise failure  # noqa: B904 - the source's own, with its own cause
                # Only the class: what a program raises could say anything.
                name = type(failure).__name__
                logger.warning("closing the source of a stopped run raised %s", name, extra={"neto_failure": name})

    def _stop_reading(self) -> None:
        if self._reader is not None and not self._source_closes:
            self._source_closes = True
            self._reader.cancel()  # its source may wait for ever

    async def _take(self, item: object) -> bool:
        """Take one item in; wait for room, and say whether to continue."""
        if self._lane.stop is not None and not self._drain_source:
            return False
        index = self._taken
        log, record, context, errors = read_item(item)
        if self._earlier_runs is not None and self._earlier_runs.must_learn:
            await self._learn(self._earlier_runs)
        found = None if self._earlier_runs is None else self._look_back(self._earlier_runs, index, log, context)
        # Counted only now: leaving the block meanwhile would wait for an outcome that never comes.
        self._taken += 1
        self._outstanding += 1
        if found is not None:
            self._settle((found,))
        elif log is None:
            invalid = Invalid(index=index, record=record, context=context, errors=errors)
            self._settle((self._engine.count(invalid),))
        else:
            pending = PendingRecord(index=index, record=log, context=context)
            if self._earlier_runs is None or self._earlier_runs.in_place:
                self._engine.offer(self._lane, pending)
            else:
                self._held.append(pending)
        while not self._leaving and not self._has_room():
            self._room.clear()
            await self._room.wait()
        if self._taken % READ_IN_A_TURN == 0:
            # A source that never waits must not hold the loop.
            await asyncio.sleep(0)
        return not self._leaving and (self._lane.stop is None or self._drain_source)

    def _look_back(self, earlier: EarlierRuns, index: int, log: CustomerLog | None, context: Any) -> Outcome | None:
        """Give the outcome that a record has already: see `EarlierRuns.look`."""
        with self._stopping_where_changed():
            found = earlier.look(index, log, context)
        if earlier.in_place:
            self._let_go()
        return found

    @contextmanager
    def _stopping_where_changed(self) -> Iterator[None]:
        try:
            yield
        except ConfigurationError:
            # What was read may belong to another source as well.
            self._engine.stop_run(self._lane, Stop.because(NotSentCause.SOURCE_CHANGED))
            raise

    async def _learn(self, earlier: EarlierRuns) -> None:
        """Read the known state of the next rows; if no more are known, all that follow may go."""
        assert self._log is not None  # noqa: S101
        if not earlier.learn(await self._log.known()):
            self._earlier_runs = None
            self._let_go()

    def _let_go(self) -> None:
        """Offer the held records to the engine; if the run has stopped, it settles them as not sent."""
        held, self._held = self._held, []
        for pending in held:
            self._engine.offer(self._lane, pending)

    def _has_room(self) -> bool:
        unread = len(self._ready) + (0 if self._log is None else self._log.waiting)
        return self._lane.waiting < self._ahead and unread < self._max_ready

    def _on_stop(self) -> None:
        if self._stopped_at is None and not (self._exhausted and not self._drain_source):
            self._stopped_at = self._taken
        self._let_go()
        self._room.set()
        self._changed()
        if self._reader is not None and not self._drain_source:
            self._stop_reading()
            self._reader.add_done_callback(self._ended)

    def _ended(self, _: object) -> None:
        self._exhausted = True  # also where the reader was cancelled before its first step
        self._changed()

    def _changed(self) -> None:
        """Wake the caller's loop and report progress; at the run's end note the time, and let nothing stop it."""
        if self._over and self._ended_at is None:
            self._ended_at = self._engine.clock.monotonic()
            self._engine.detach(self._lane)
        self._news.set()
        if self._progress_callback is not None:
            self._progress_callback.changed()

    # -- outcomes -----------------------------------------------------------------------------------------------

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        if self._log is None:
            self._pass_on(outcomes)
        else:
            self._log.settle(outcomes)

    def _pass_on(self, outcomes: Sequence[Outcome]) -> None:
        for kind, count in Counter(map(type, outcomes)).items():
            self._counts[kind.__name__] += count
        self._replayed += sum([outcome.replayed for outcome in outcomes])
        self._outstanding -= len(outcomes)
        self._ready.extend(outcomes)
        self._regulate()
        self._changed()

    def _on_broken(self, error: BaseException) -> None:
        """Stop where journal or reports can't be written any more; the caller's loop raises the error."""
        if self._error is None:
            self._error = error if isinstance(error, NetoError) else _not_written(error)
        self._engine.stop_run(self._lane, Stop.because(NotSentCause.JOURNAL))

    def _regulate(self) -> None:
        """Hold the lane while the caller's loop takes no outcomes, and release it afterwards."""
        was_held, self._lane.held = self._lane.held, len(self._ready) >= self._max_ready
        if self._lane.held:
            return
        if was_held:
            self._engine.wake()
        self._room.set()

    def _seconds(self) -> float:
        if self._began_at is None:
            return 0.0
        return (self._engine.clock.monotonic() if self._ended_at is None else self._ended_at) - self._began_at

    def _seconds_left(self, total: int | None) -> float | None:
        if total is None or self._lane.stop is not None:
            return None
        left = 0 if self._over else max(total - sum(self._counts.values()), 0)
        return self._engine.quota.seconds_for(-(-left // self._engine.settings.batch_size))


def _besides_closing(error: BaseException) -> BaseException | None:
    # A task group in a generator raises a group that holds the very exceptions that closed it.
    closing = (GeneratorExit, asyncio.CancelledError)
    if isinstance(error, BaseExceptionGroup):
        return error.split(closing)[1]
    return None if isinstance(error, closing) else error


def _not_an_end(error: BaseException) -> BaseException:
    # Raised in the caller's loop it would end that loop silently, and nobody would notice the missing rows.
    if not isinstance(error, StopAsyncIteration):
        return error
    stopped = RuntimeError("the source raised StopAsyncIteration")
    stopped.__cause__ = error
    return stopped


def _not_written(error: BaseException) -> JournalError:
    said = getattr(error, "strerror", None) or type(error).__name__
    return JournalError(f"the outcomes could not be written down: {said}")
