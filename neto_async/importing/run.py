"""
A run: it reads a source of any length, hands its records to the engine, and streams what became of them.

Theory of operation. A reader task pulls items from the source and offers the logs in them to the engine's feed, at
most `READ_AHEAD` batches ahead; what is invalid has its outcome at once. Outcomes wait in ``_ready`` for the caller's
loop; while too many do, the feed is held and nothing more is read or sent, so that memory stays flat whatever the
length of the source and however slow the caller. With a journal or reports, outcomes are written down in a thread
before they get there; and what a journal does not know waits in ``_held`` until a row that it knows was found in its
place, the one thing whose size the source decides. May import: the rest of importing, sending, models, outcomes,
errors, settings.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from neto_async.errors import ConfigurationError, JournalError, NetoError
from neto_async.importing.items import read_item
from neto_async.importing.telling import Teller
from neto_async.models import CustomerLog
from neto_async.outcomes import ImportProgress, Invalid, NotSentCause, Outcome
from neto_async.sending.engine import Engine
from neto_async.sending.feeds import Entry, RunFeed, Stop
from neto_async.sending.waiting import wait_through_cancellation
from neto_async.settings import InDoubt

if TYPE_CHECKING:
    from neto_async.importing.journal import Journal
    from neto_async.importing.recorder import OutcomeSink, Recorder
    from neto_async.importing.recording import Recording
    from neto_async.importing.resuming import Resumption

__all__ = ["ImportRun"]

READ_AHEAD = 2
"""Batches that are read before there is a call for them."""

READ_IN_A_TURN = 25
"""Records that are read in one turn of the loop: about a quarter of a millisecond, as measured in 2026-11."""


class ImportRun:
    """
    One import: an async context manager, and inside it an async iterator of outcomes.

    Outcomes come in the order in which they become known; ``index`` is the position in the source. Leaving the block
    takes no more rows, awaits the calls under way and keeps their outcomes in ``unread``.

    Raises:
        Exception: Whatever the source itself raised, once the calls under way have ended.
    """

    def __init__(
        self,
        engine: Engine,
        source: Iterable[Any] | AsyncIterable[Any],
        *,
        read_on: bool = False,
        max_rejected: int | None = None,
        journal: Journal | None = None,
        reports: OutcomeSink | None = None,
        in_doubt: InDoubt = InDoubt.HOLD,
        retry_rejected: bool = False,
        on_progress: Callable[[ImportProgress], object] | None = None,
    ) -> None:
        self._engine = engine
        self._source = source
        self._read_on = read_on
        self._journal = journal
        self._reports = reports
        self._in_doubt = in_doubt
        self._retry_rejected = retry_rejected
        self._on_progress = on_progress
        self._teller: Teller | None = None  # only with a callback, once the run is entered
        self._began_at: float | None = None  # seconds on the clock
        self._ended_at: float | None = None
        self._recorder: Recorder | None = None  # the next three: only with a journal or reports
        self._recording: Recording | None = None
        self._resumption: Resumption | None = None  # ... and only while earlier runs know of rows that follow
        self._held: list[Entry] = []  # may not go before the next row that is known was looked up
        size = engine.settings.batch_size
        self._ahead = READ_AHEAD * size
        self._most_ready = (engine.settings.max_concurrency + READ_AHEAD) * size
        self._ready: deque[Outcome] = deque()  # outcomes that the caller has not taken
        self._counts: Counter[str] = Counter()
        self._taken = 0  # items read from the source
        self._outstanding = 0  # items taken whose outcome has not come to `_ready` yet
        self._replayed = 0  # outcomes that an earlier run settled
        self._leaving = False  # no more is read
        self._exhausted = False  # nothing more will be read
        self._finished = False  # because the source is at its end
        self._error: BaseException | None = None  # what the source raised, or what could not be written
        self._room = asyncio.Event()  # the reader may read on
        self._news = asyncio.Event()  # something has changed for the caller's loop
        self._reader: asyncio.Task[None] | None = None
        self._stopped_at: int | None = None
        self.unread: tuple[Outcome, ...] = ()
        self._feed = RunFeed(
            batch_size=size,
            settle=self._settle,
            room_made=self._room.set,
            stopped=self._on_stop,
            max_rejected=max_rejected,
        )

    def __repr__(self) -> str:
        return f"ImportRun(taken={self._taken}, finished={sum(self._counts.values())})"

    @property
    def progress(self) -> ImportProgress:
        """How far the run is, now."""
        total = len(self._source) if isinstance(self._source, Sized) else None
        stop = self._feed.stop
        return ImportProgress(
            taken=self._taken,
            total=total,
            added=self._counts["Added"],
            rejected=self._counts["Rejected"],
            invalid=self._counts["Invalid"],
            not_sent=self._counts["NotSent"],
            unknown=self._counts["Unknown"],
            replayed=self._replayed,
            calls=self._feed.calls,
            in_flight=self._feed.in_flight,
            seconds=self._seconds(),
            seconds_left=self._seconds_left(total),
            stopped_at=self._stopped_at,
            stop_reason=None if stop is None else stop.reason,
        )

    def stop(self) -> None:
        """Take no more rows; the calls under way go on, and what was read and not sent comes out as `NotSent`."""
        self._engine.stop_run(self._feed, Stop(cause=NotSentCause.STOPPED, reason="the program stopped the run"))

    async def __aenter__(self) -> Self:
        if self._reader is not None:
            msg = "a run can be entered only once"
            raise RuntimeError(msg)
        if self._journal is not None or self._reports is not None:
            await self._open_recorder()
        self._began_at = self._engine.clock.monotonic()
        if self._on_progress is not None:
            self._teller = Teller(self._engine.clock, lambda: self.progress, self._on_progress)
        self._room.set()
        self._engine.attach(self._feed)
        self._reader = asyncio.get_running_loop().create_task(self._read(), name="neto_async reader")
        if self._feed.stop is not None:
            self._on_stop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leaving = True
        if not self._exhausted or self._outstanding:
            self.stop()
        await wait_through_cancellation(self._leave())

    async def __aiter__(self) -> AsyncIterator[Outcome]:
        if self._reader is None:
            msg = "iterate inside the block: async with client.import_customer_logs(source) as run"
            raise RuntimeError(msg)
        while True:
            while self._ready:
                outcome = self._ready.popleft()
                self._regulate()
                yield outcome
            if self._exhausted and not self._outstanding:
                break
            self._news.clear()
            await self._news.wait()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    async def _leave(self) -> None:
        assert self._reader is not None  # noqa: S101
        self._reader.cancel()
        await asyncio.wait({self._reader})
        while self._outstanding:
            self._news.clear()
            await self._news.wait()
        self._engine.detach(self._feed)
        self.unread = tuple(self._ready)
        self._ready.clear()
        if self._recorder is not None:
            finished = self._finished and self._feed.stop is None and self._error is None
            await self._recorder.close(rows=self._taken if finished else None)
        self._ended_at = self._engine.clock.monotonic()
        if self._teller is not None:
            self._teller.end()

    async def _open_recorder(self) -> None:
        # Most programs keep neither journal nor reports, and need not import what does.
        from neto_async.importing.recorder import Recorder  # noqa: PLC0415

        recorder = Recorder(self._journal, self._reports, self._on_broken)
        await recorder.open(self._engine.settings.store_url)
        self._recorder = recorder
        try:
            self._make_memory(recorder)
        except BaseException:
            # A journal of the caller's own may have no proper salt; its file must not stay open for that.
            await recorder.close(rows=None)
            raise

    def _make_memory(self, recorder: Recorder) -> None:
        from neto_async.importing.recording import Recording  # noqa: PLC0415
        from neto_async.importing.resuming import Resumption  # noqa: PLC0415

        salt = b"" if self._journal is None else self._journal.salt
        self._recording = Recording(recorder, salt, self._hand_on)
        if self._journal is not None:
            self._feed.write_ahead = self._recording
            self._resumption = Resumption(
                salt=salt,
                zone=self._engine.settings.wire_timezone,
                in_doubt=self._in_doubt,
                retry_rejected=self._retry_rejected,
                doubt=self._recording.doubt,
            )

    # -- reading ------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            if await self._take_all():
                while self._resumption is not None:
                    self._look_behind(self._resumption)
                    await self._learn(self._resumption)
                self._finished = True
        except asyncio.CancelledError as error:
            if self._leaving or self._feed.stop is not None:
                raise
            self._error = error
        except BaseException as error:  # noqa: BLE001
            # Raised in the caller's loop, after the calls under way.
            self._error = self._error or error
        finally:
            if self._held:
                # The source ended before it was certain that these were not added from another place.
                self._engine.stop_run(self._feed, Stop(cause=NotSentCause.STOPPED, reason=NotSentCause.STOPPED))
                self._let_go()
            self._exhausted = True
            self._feed.partial = True
            self._news.set()
            self._engine.wake()

    async def _take_all(self) -> bool:
        """Take the source in; False where it was left before its end."""
        if isinstance(self._source, AsyncIterable):
            # Such a source may wait for something, so what is there may go; one that can be read without waiting as
            # well, such as a file's, fills its calls.
            self._feed.partial = not isinstance(self._source, Iterable)
            async for item in self._source:
                if not await self._take(item):
                    return False
        else:
            for item in self._source:
                if not await self._take(item):
                    return False
        return True

    async def _take(self, item: object) -> bool:
        """Take one item in; wait for room, and say whether to go on."""
        if self._feed.stop is not None and not self._read_on:
            return False
        index = self._taken
        log, record, context, errors = read_item(item)
        if self._resumption is not None and self._resumption.must_learn:
            await self._learn(self._resumption)
        found = None if self._resumption is None else self._look_back(self._resumption, index, log, context)
        # Taken only now: whoever leaves meanwhile would wait for an outcome that nobody can tell.
        self._taken += 1
        self._outstanding += 1
        if found is not None:
            self._settle((found,))
        elif log is None:
            invalid = Invalid(index=index, record=record, context=context, errors=errors)  # type: ignore[arg-type]
            self._settle((self._engine.count(invalid),))
        else:
            entry = Entry(index=index, record=log, context=context)
            if self._resumption is None or self._resumption.in_place:
                self._engine.offer(self._feed, entry)
            else:
                self._held.append(entry)
        while not self._leaving and not self._has_room():
            self._room.clear()
            await self._room.wait()
        if self._taken % READ_IN_A_TURN == 0:
            # A source that never waits must not hold the loop.
            await asyncio.sleep(0)
        return not self._leaving and (self._feed.stop is None or self._read_on)

    def _look_back(self, resumption: Resumption, index: int, log: CustomerLog | None, context: Any) -> Outcome | None:
        """Give the outcome that a record has already: see `Resumption.look`."""
        with self._stopping_where_changed():
            found = resumption.look(index, log, context)
        if resumption.in_place:
            self._let_go()
        return found

    def _look_behind(self, resumption: Resumption) -> None:
        with self._stopping_where_changed():
            resumption.check_end(self._taken)

    @contextmanager
    def _stopping_where_changed(self) -> Iterator[None]:
        try:
            yield
        except ConfigurationError:
            # What was read may belong to another source as well.
            cause = NotSentCause.SOURCE_CHANGED
            self._engine.stop_run(self._feed, Stop(cause=cause, reason=cause))
            raise

    async def _learn(self, resumption: Resumption) -> None:
        """Read what is known of the next rows; where nothing more is, all that follows may go."""
        assert self._recorder is not None  # noqa: S101
        if not resumption.learn(await self._recorder.known()):
            self._resumption = None
            self._let_go()

    def _let_go(self) -> None:
        """Hand on what was held; where the run has stopped it is settled as not sent."""
        held, self._held = self._held, []
        for entry in held:
            self._engine.offer(self._feed, entry)

    def _has_room(self) -> bool:
        unread = len(self._ready) + (0 if self._recording is None else self._recording.waiting)
        return self._feed.waiting < self._ahead and unread < self._most_ready

    def _on_stop(self) -> None:
        if self._stopped_at is None and not (self._exhausted and not self._read_on):
            self._stopped_at = self._taken
        self._let_go()
        self._room.set()
        self._news.set()
        if self._reader is not None and not self._read_on:
            self._reader.cancel()  # its source may wait for ever
            self._reader.add_done_callback(self._ended)

    def _ended(self, _: object) -> None:
        self._exhausted = True  # also where the reader was cancelled before its first step
        self._news.set()

    # -- outcomes -----------------------------------------------------------------------------------------------

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        if self._recording is None:
            self._hand_on(outcomes)
        else:
            self._recording.settle(outcomes)

    def _hand_on(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._counts[type(outcome).__name__] += 1
            self._replayed += outcome.replayed
        self._outstanding -= len(outcomes)
        self._ready.extend(outcomes)
        self._regulate()
        self._news.set()
        if self._teller is not None:
            self._teller.changed()

    def _on_broken(self, error: BaseException) -> None:
        """Stop where journal or reports can't be written any more; the caller's loop raises it."""
        if self._error is None:
            self._error = error if isinstance(error, NetoError) else _not_written(error)
        cause = NotSentCause.JOURNAL
        self._engine.stop_run(self._feed, Stop(cause=cause, reason=cause))

    def _regulate(self) -> None:
        """Hold the feed while the caller's loop stands still, and let it go on afterwards."""
        held = len(self._ready) >= self._most_ready
        if held == self._feed.held and held:
            return
        if self._feed.held and not held:
            self._feed.held = False
            self._engine.wake()
        self._feed.held = held
        if not held:
            self._room.set()

    def _seconds(self) -> float:
        if self._began_at is None:
            return 0.0
        return (self._engine.clock.monotonic() if self._ended_at is None else self._ended_at) - self._began_at

    def _seconds_left(self, total: int | None) -> float | None:
        if total is None or self._feed.stop is not None:
            return None
        left = total - sum(self._counts.values())
        return self._engine.quota.seconds_for(-(-left // self._engine.settings.batch_size))


def _not_written(error: BaseException) -> JournalError:
    said = getattr(error, "strerror", None) or type(error).__name__
    return JournalError(f"the outcomes could not be written down: {said}")
