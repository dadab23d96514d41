"""The client: what a program calls. May import: importing, sending, wire, models, outcomes, errors, settings."""

from __future__ import annotations

import asyncio
import inspect
import os
import warnings
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from datetime import timezone, tzinfo
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from neto_async.errors import ConfigurationError, InvalidRecordError
from neto_async.importing.items import read_item
from neto_async.importing.run import ImportRun
from neto_async.models import CustomerLog
from neto_async.outcomes import (
    Added,
    BulkReport,
    DrainReport,
    ImportProgress,
    Invalid,
    Outcome,
    Statistics,
    error_for,
)
from neto_async.sending.engine import Engine
from neto_async.sending.observing import CallObserver, logger
from neto_async.sending.transport import HttpTransport
from neto_async.sending.waiting import wait_through_cancellation
from neto_async.settings import InDoubt, Settings, WireFormat, credentials_from_env, require_positive

if TYPE_CHECKING:
    from neto_async.importing.items import Item
    from neto_async.importing.journal import Journal
    from neto_async.importing.recorder import OutcomeSink

__all__ = ["AsyncNetoClient"]


class AsyncNetoClient:
    """
    Add customer logs to a Neto store.

    All times are in seconds. Use it as ``async with AsyncNetoClient(…) as neto``, or call `aclose` at the end. A
    client belongs to the event loop and the process it was first used in.

    Args:
        store_url: Address of the store, such as ``https://www.yournetosite.com.au``.
        username: API user name; None sends no such header (a global key needs none).
        api_key: API key of that user.
        wire_format: "json" or "xml"; both give the same outcomes.
        wire_timezone: Zone that times are sent in. The vendor documents UTC for the API at large; for this call's own
            fields it is not known.
        batch_size: Records a call, at most.
        max_batch_bytes: Bytes of an encoded body, at most.
        max_concurrency: Calls in flight, at most.
        requests_per_minute: Calls in any 60 seconds, at most, of this process; None for no limit. The vendor allows
            500 for the whole account (developers.maropost.com, read 2026-11): divide it by the number of processes,
            and leave room for the store's other integrations.
        timeout: One call, from first byte to last.
        give_up_after: For a single add from hand-in, waiting included; for a batch of an import from its first
            attempt, without the waiting for slot and quota.
        isolate_rejections: Take a batch that was refused whole apart until the culprits stand alone.
        http_client: Your own `httpx.AsyncClient`, or one with its interface; it is not closed for you, and its
            redirects and authentication are not used.
        allow_insecure_http: Accept plain ``http://`` elsewhere than on loopback.

    Raises:
        ConfigurationError: A setting can't be used.
    """

    def __init__(
        self,
        store_url: str,
        *,
        api_key: str,
        username: str | None = None,
        wire_format: WireFormat | str = WireFormat.JSON,
        wire_timezone: tzinfo = timezone.utc,
        batch_size: int = 100,
        max_batch_bytes: int = 1_000_000,
        max_concurrency: int = 4,
        requests_per_minute: float | None = 400,
        timeout: float = 60.0,
        give_up_after: float = 300.0,
        isolate_rejections: bool = True,
        http_client: Any = None,
        allow_insecure_http: bool = False,
    ) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None  # set at the first use; see `_check_usable`
        self._pid = os.getpid()
        self._closing: asyncio.Task[DrainReport] | None = None
        self._bulks: set[asyncio.Future[None]] = set()  # one for each bulk add under way, which closing waits for
        self._settings = Settings(
            store_url=store_url,
            api_key=api_key,
            username=username,
            wire_format=wire_format,  # type: ignore[arg-type]
            wire_timezone=wire_timezone,
            batch_size=batch_size,
            max_batch_bytes=max_batch_bytes,
            max_concurrency=max_concurrency,
            requests_per_minute=requests_per_minute,
            timeout=timeout,
            give_up_after=give_up_after,
            isolate_rejections=isolate_rejections,
            allow_insecure_http=allow_insecure_http,
        )
        self._transport = HttpTransport(self._settings, http_client)
        self._engine = Engine(self._settings, self._transport)

    @property
    def store_url(self) -> str:
        """Address of the store, without a path."""
        return self._settings.store_url

    @classmethod
    def from_env(cls, **settings: Any) -> Self:
        """
        Make a client from NETO_STORE_URL, NETO_USERNAME (optional) and NETO_API_KEY.

        Raises:
            ConfigurationError: One of them is missing, or a setting can't be used.
        """
        return cls(**{**credentials_from_env(), **settings})

    def __repr__(self) -> str:
        state = "closed" if self._closing is not None else "open"
        return f"AsyncNetoClient({self._settings.store_url!r}, {self._settings.wire_format}, {state})"

    def __del__(self) -> None:
        # __init__ may have raised before there was anything to close; after a fork the parent has it to close.
        if getattr(self, "_loop", None) is not None and self._closing is None and self._pid == os.getpid():
            warnings.warn(f"{self!r} was not closed: await aclose()", ResourceWarning, source=self, stacklevel=1)

    async def __aenter__(self) -> Self:
        self._check_usable()
        self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            # What waits does not go any more; what has left is awaited, so that its fate is known.
            self._engine.close_intake()
            self._engine.fail_waiting()
        await self.aclose()

    async def add_customer_log(
        self, log: CustomerLog | Mapping[str, Any], context: Any = None, give_up_after: float | None = None
    ) -> Added:
        """
        Add one log and wait until its fate is known. Concurrent calls share calls to the store.

        For a deadline use ``give_up_after``: a caller that is cancelled after the log has left does not learn what
        became of it.

        Args:
            log: The log, or a mapping with the vendor's or our names.
            context: Comes back on the outcome.
            give_up_after: Seconds, in place of the client's.

        Raises:
            InvalidRecordError: The log breaks a rule; it was not sent.
            RejectedError: The store refused it.
            NotSentError: It was certainly not saved; `AuthenticationError` and `RateLimitedError` are kinds of it.
            OutcomeUnknownError: It may have been saved.
            ConfigurationError: The client is used in a second event loop or process.
        """
        self._check_usable()
        seconds = self._settings.give_up_after if give_up_after is None else give_up_after
        require_positive("give_up_after", seconds)
        entry = self._engine.submit(self._valid(log, context), context, seconds)
        try:
            outcome = await entry.waiter
        except asyncio.CancelledError:
            self._engine.withdraw(entry)
            if entry.waiter.done() and not entry.waiter.cancelled():
                # It was settled in the very turn in which its caller was cancelled.
                self._engine.unawaited(entry.waiter.result())
            raise
        if isinstance(outcome, Added):
            return outcome
        raise _error(outcome)

    async def add_customer_logs(self, logs: Iterable[Item] | AsyncIterable[Item]) -> BulkReport:
        """
        Add a finite number of logs and report what became of each.

        Never raises for what the store did, a refused key included.

        Args:
            logs: Logs, mappings with the vendor's or our names, or (log, context) pairs.

        Raises:
            Exception: Whatever ``logs`` itself raises.
            ConfigurationError: The client is used in a second event loop or process.
        """
        self._check_usable()
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bulks.add(ended)
        try:
            async with ImportRun(self._engine, logs, read_on=True) as run:
                outcomes: list[Outcome] = [outcome async for outcome in run]
        finally:
            self._bulks.discard(ended)
            ended.set_result(None)
        outcomes.sort(key=lambda outcome: outcome.index)
        return BulkReport(tuple(outcomes))

    def import_customer_logs(
        self,
        source: Iterable[Item] | AsyncIterable[Item],
        *,
        journal: str | os.PathLike[str] | Journal | None = None,
        in_doubt: InDoubt | str = InDoubt.HOLD,
        retry_rejected: bool = False,
        reports: OutcomeSink | None = None,
        read_on: bool = False,
        max_rejected: int | None = None,
        on_progress: Callable[[ImportProgress], object] | None = None,
    ) -> ImportRun:
        """
        Add logs of a source of any length, streaming what became of each.

        Args:
            source: Yields logs, mappings with the vendor's or our names, or (log, context) pairs.
            journal: Path of a file that remembers the run, or a `Journal` of your own. With it the run can be broken
                off at any instant: another run on the same journal and source yields what is settled again, marked
                ``replayed``, and sends the rest. The file holds fingerprints and ids, no texts.
            in_doubt: "hold" yields rows of which an earlier run did not see the end as `Unknown`; "resend" sends them
                again, and they may stand in the store twice.
            retry_rejected: Send rows again that an earlier run saw refused, though they have not changed.
            reports: Takes each outcome before the journal does, in a thread; see `Reports`.
            read_on: After the run has stopped, read the source to its end all the same, so that every row has an
                outcome.
            max_rejected: Rejected records after which the run stops; None for no such bound.
            on_progress: Called in the event loop with `ImportRun.progress` when the run has got further, at most ten
                times a second, and once at its end. It must not wait; what it raises is logged by its class.

        Raises:
            ConfigurationError: The client is used in a second event loop or process. From the run itself: the journal
                can't be used, or the source is not the one that it knows.
            JournalError: From the run itself, after the calls under way: journal or reports can't be written any more.
        """
        self._check_usable()
        try:
            what_of_doubt = InDoubt(in_doubt)
        except ValueError:
            raise ConfigurationError('in_doubt must be "hold" or "resend"') from None
        if inspect.iscoroutinefunction(on_progress):
            raise ConfigurationError("on_progress must be a plain function: it is called, and not awaited")
        return ImportRun(
            self._engine,
            source,
            read_on=read_on,
            max_rejected=max_rejected,
            journal=_journal(journal),
            reports=reports,
            in_doubt=what_of_doubt,
            retry_rejected=retry_rejected,
            on_progress=on_progress,
        )

    async def flush(self, timeout: float | None = None) -> DrainReport:  # noqa: ASYNC109
        """
        Wait until all single and bulk adds handed in before, and all calls under way, have ended.

        Args:
            timeout: Seconds to wait at most; None waits as long as the records themselves may.
        """
        self._check_usable()
        began = self._engine.clock.monotonic()
        bulks = set(self._bulks)
        report = await self._drain(timeout)
        if not (bulks and report.drained):
            return report
        # What they have not read yet was handed in as well.
        left = None if timeout is None else self._left(began, timeout)
        _, running = await asyncio.wait(bulks, timeout=left)
        seconds = self._engine.clock.monotonic() - began
        in_flight = self._engine.records_in_flight() if running else 0
        waiting = len(self._engine.unsettled()) - in_flight if running else 0
        return DrainReport(drained=not running, left_in_flight=in_flight, left_waiting=waiting, seconds=seconds)

    def observe(self, observer: CallObserver) -> Callable[[], None]:
        """
        Tell an observer of every call from now on; `neto_async.integrations.opentelemetry` brings one.

        Returns:
            What ends this. Of calls under way then, the observer still hears the end.

        Raises:
            RuntimeError: There is one already.
        """
        return self._engine.observe(observer)

    def statistics(self) -> Statistics:
        """Count what was done so far, and say what waits on what; any thread may ask."""
        return self._engine.statistics()

    async def aclose(self, timeout: float = 30.0) -> DrainReport:  # noqa: ASYNC109
        """
        Take no more records, wait for those under way, and close the connections.

        Neither `asyncio.Task.cancel` nor a cancel scope breaks this off: it ends when all is drained, or at its
        deadline. A second call waits for the first. What has not left by then never does. A call whose answer is still
        missing ends with its connection: at once, or where the HTTP client is yours when you close that.

        Args:
            timeout: Seconds after which what waits is given up; what is then still under way is logged.
        """
        self._check_usable(closing=True)
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(timeout), name="neto_async close")
        return await wait_through_cancellation(_result(self._closing))

    async def _close(self, timeout: float) -> DrainReport:  # noqa: ASYNC109
        clock = self._engine.clock
        began = clock.monotonic()
        self._engine.close_intake()
        handed_in = await self._drain(timeout)
        if self._bulks and handed_in.drained:
            # What they have not read yet was handed in as well.
            await asyncio.wait(self._bulks, timeout=self._left(began, timeout))
        waiting = len(self._engine.unsettled()) - self._engine.records_in_flight()
        self._engine.fail_waiting()
        # Imports may have begun calls since: closing the connections now would put their records in doubt.
        await self._drain(self._left(began, timeout))
        carried = self._engine.records_in_flight()
        self._engine.revoke_calls()
        in_flight = self._engine.records_in_flight()
        waiting += carried - in_flight
        await asyncio.sleep(0)
        if waiting or in_flight:
            logger.warning(
                "closed with %d records in calls that have not ended and %d that were not sent",
                in_flight,
                waiting,
                extra={"neto_in_flight": in_flight, "neto_not_sent": waiting},
            )
        await self._transport.aclose()
        if self._transport.closed:
            await self._engine.see_off_calls()
        return DrainReport(
            drained=not (waiting or in_flight),
            left_in_flight=in_flight,
            left_waiting=waiting,
            seconds=clock.monotonic() - began,
        )

    def _left(self, began: float, timeout: float) -> float:
        return max(timeout - (self._engine.clock.monotonic() - began), 0.0)

    async def _drain(self, timeout: float | None) -> DrainReport:  # noqa: ASYNC109
        clock = self._engine.clock
        began = clock.monotonic()
        drained = await self._engine.wait_settled(self._engine.unsettled(), timeout)
        in_flight = self._engine.records_in_flight() if not drained else 0
        waiting = 0 if drained else len(self._engine.unsettled()) - in_flight
        return DrainReport(
            drained=drained,
            left_in_flight=in_flight,
            left_waiting=waiting,
            seconds=clock.monotonic() - began,
        )

    def _valid(self, log: CustomerLog | Mapping[str, Any], context: Any) -> CustomerLog:
        valid, record, _, errors = read_item((log, None))
        if valid is None:
            fate = Invalid(index=0, record=record, context=context, errors=errors)  # type: ignore[arg-type]
            self._engine.count(fate)
            raise InvalidRecordError(errors, fate=fate)
        return valid

    def _check_usable(self, *, closing: bool = False) -> None:
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            raise ConfigurationError("the client was made before a fork; make one in each process")
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ConfigurationError("the client belongs to another event loop; make one in each loop")
        if not closing and self._transport.closed and self._closing is None:
            raise ConfigurationError("the http_client handed in is closed")


def _journal(journal: str | os.PathLike[str] | Journal | None) -> Journal | None:
    if not isinstance(journal, str | os.PathLike):
        return journal
    from neto_async.importing.journal_sqlite import SqliteJournal  # noqa: PLC0415 - most programs never need SQLite

    return SqliteJournal(journal)


def _error(outcome: Outcome) -> Exception:
    error = error_for(outcome)
    assert error is not None  # noqa: S101
    return error


async def _result(task: asyncio.Task[DrainReport]) -> DrainReport:
    return await asyncio.shield(task)
