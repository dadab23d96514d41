"""The client: what a program calls. May import: all but blocking, cli, sandbox and integrations."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import timezone, tzinfo
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, Unpack

from neto_async.credentials import AddOnKeys, BearerToken, SecretValue, wrapped
from neto_async.errors import ConfigurationError, InvalidRecordError
from neto_async.importing.bulk import BulkAdd
from neto_async.importing.items import Item, read_item
from neto_async.importing.run import ImportRun
from neto_async.models import CustomerLog, CustomerLogStatus, CustomerLogUpdate, StoredCustomerLog
from neto_async.outcomes import Added, Invalid, Outcome, Unknown, Updated
from neto_async.parameters import (
    ClientSettings,
    HttpClient,
    LogChanges,
    UpdateOptions,
    checked_marker,
    journal_of,
    require_function,
    require_methods,
)
from neto_async.results import BulkReport, DrainReport, ImportProgress, ReconcileReport, Statistics, error_for
from neto_async.sending.clock import Clock, clock_in_use
from neto_async.sending.closing import close, drain
from neto_async.sending.engine import Engine
from neto_async.sending.observing import CallObserver
from neto_async.sending.quota import Quota, quota_for
from neto_async.sending.transport import HttpTransport
from neto_async.sending.waiting import complete_through_cancellation
from neto_async.settings import (
    SETTLE_AFTER,
    InDoubt,
    Settings,
    WireFormat,
    credentials_from_env,
    require_flag,
    require_not_below_zero,
    require_positive,
)
from neto_async.wire import is_name

if TYPE_CHECKING:
    from neto_async.importing.items import SourceItem
    from neto_async.journals.protocol import Journal
    from neto_async.journals.writer import OutcomeSink

__all__ = ["AsyncNetoClient"]


class AsyncNetoClient:
    """
    Add customer logs to a Neto store.

    All times are in seconds. Use it as ``async with AsyncNetoClient(…) as neto``, or call `aclose` at the end. A
    client belongs to the event loop and the process it was first used in.

    Args:
        store_url: Address of the store, such as ``https://www.yournetosite.com.au``.
        username: API user name; None sends no such header (a global key needs none).
        api_key: API key of that user, as text or as what has ``get_secret_value()``, such as pydantic's ``SecretStr``.
            An add-on passes its `AddOnKeys` or a `BearerToken` here, and no user name.
        wire_format: "json" or "xml"; both give the same outcomes.
        wire_timezone: Zone that times are sent in. The vendor documents UTC for the API in general; for this call's own
            fields it is not known.
        batch_size: Records a call, at most.
        max_batch_bytes: Bytes of an encoded body, at most.
        max_concurrency: Calls in flight, at most.
        requests_per_minute: Calls in any 60 seconds, at most, of this process; None for no limit. The clients of one
            store in a process share their calls, in any event loops and threads. The vendor allows 500 for the whole
            account (developers.maropost.com, read 2026-11): divide it by the number of processes, and leave room for
            the store's other integrations.
        timeout: One call, from first byte to last. What has arrived by then is read, however late the loop gets to it.
        keepalive_expiry: How long an idle connection is kept, for the next call; 0 makes a connection for each call. A
            call that goes out while the store closes its connection is in doubt, and servers close idle ones after
            five seconds and more. Your own ``http_client`` keeps its limits; only 0 applies to it too.
        give_up_after: For a single add, from the moment it is submitted, waiting included; for a batch of an import
            from its first attempt, without the waiting for slot and quota.
        isolate_rejections: Split a batch that was refused as a whole until the faulty records are alone.
        http_client: Your own `httpx.AsyncClient`, or one with its interface; it is not closed for you, and its
            redirects and authentication are not used.
        allow_insecure_http: Accept plain ``http://`` elsewhere than on loopback.
        quota: A limiter that replaces ``requests_per_minute``, such as a `RedisQuota` that several processes share.
            Without one, a client with its own ``clock`` shares its quota with no other.
        clock: A clock of your own, for tests; without one that of `use_clock`, else the event loop's.
        on_unawaited: Called in the event loop with each outcome whose caller was cancelled, of single and bulk adds.
            It must not wait; what it raises is logged by its class.

    Raises:
        ConfigurationError: A setting can't be used.
    """

    def __init__(
        self,
        store_url: str,
        *,
        api_key: str | SecretValue | AddOnKeys | BearerToken,
        username: str | None = None,
        wire_format: WireFormat | str = WireFormat.JSON,
        wire_timezone: tzinfo = timezone.utc,
        batch_size: int = 100,
        max_batch_bytes: int = 1_000_000,
        max_concurrency: int = 4,
        requests_per_minute: float | None = 400,
        timeout: float = 60.0,
        keepalive_expiry: float = 3.0,
        give_up_after: float = 300.0,
        isolate_rejections: bool = True,
        http_client: HttpClient | None = None,
        allow_insecure_http: bool = False,
        quota: Quota | None = None,
        clock: Clock | None = None,
        on_unawaited: Callable[[Outcome], object] | None = None,
    ) -> None:
        api_key = wrapped(api_key)  # first: a traceback may come with local variables
        self._loop: asyncio.AbstractEventLoop | None = None  # set at the first use; see `_check_usable`
        self._pid = os.getpid()
        self._closing: asyncio.Task[DrainReport] | None = None
        self._bulks: set[BulkAdd] = set()  # those under way
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
            keepalive_expiry=keepalive_expiry,
            give_up_after=give_up_after,
            isolate_rejections=isolate_rejections,
            allow_insecure_http=allow_insecure_http,
        )
        require_function("on_unawaited", on_unawaited, "an outcome")
        methods = ("attach", "earliest", "begin", "may_leave", "end", "pause", "seconds_for", "aclose")
        require_methods("quota", quota, methods)
        require_methods("clock", clock, ("monotonic", "utcnow", "call_at", "decided"))
        self._transport = HttpTransport(self._settings, http_client)
        clock = clock or clock_in_use()
        if quota is None and clock is None:  # times of another clock mean nothing to other clients
            quota = quota_for(requests_per_minute, store_url=self._settings.store_url)
        self._engine = Engine(self._settings, self._transport, clock=clock, quota=quota, on_unawaited=on_unawaited)

    @property
    def store_url(self) -> str:
        """Address of the store, without a path except for the ``base_path`` of a `BearerToken`."""
        return self._settings.store_url

    @classmethod
    def from_env(cls, **settings: Unpack[ClientSettings]) -> Self:
        """
        Make a client from NETO_STORE_URL, NETO_USERNAME (optional) and NETO_API_KEY.

        An add-on sets NETO_ACCESS_KEY and NETO_SECRET_KEY instead of user name and key. Settings that are passed come
        first.

        Raises:
            ConfigurationError: One of them is missing, or a setting can't be used.
        """
        if "api_key" in settings:
            settings["api_key"] = wrapped(settings["api_key"])
        return cls(**{**credentials_from_env(with_key="api_key" not in settings), **settings})

    def __repr__(self) -> str:
        if not hasattr(self, "_engine"):
            return "AsyncNetoClient(not made)"  # a traceback of what __init__ raised may show it
        state = "closed" if self._closing is not None else "open"
        return f"AsyncNetoClient({self._settings.store_url!r}, {self._settings.wire_format}, {state})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client can't be copied or pickled: share the one, or make another from the same settings")

    def __del__(self) -> None:
        # __init__ may have raised before there was anything to close; after a fork the parent has it to close.
        if getattr(self, "_loop", None) is not None and self._closing is None and self._pid == os.getpid():
            warnings.warn(f"{self!r} was not closed: await aclose()", ResourceWarning, source=self, stacklevel=1)

    async def __aenter__(self) -> Self:
        if self._closing is not None:
            raise ConfigurationError("the client was closed; make a new one")
        self._transport.open()  # first: where it raises, there is nothing to be closed
        self._check_usable()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            # Waiting records are not sent any more. Calls that have left are awaited, so that their outcomes are known.
            self._engine.close_intake()
            self._engine.fail_waiting()
        await self.aclose()

    async def add_customer_log(
        self, log: CustomerLog | Mapping[str, Any], *, context: Any = None, give_up_after: float | None = None
    ) -> Added:
        """
        Add one log and wait until its outcome is known. Concurrent calls share calls to the store.

        For a deadline use ``give_up_after``: a caller that is cancelled after the log has left does not learn what
        became of it. ``on_unawaited`` of the client does; or shield the call with `asyncio.shield`, and keep the task.

        Args:
            log: The log, or a mapping with the vendor's or our names.
            context: Comes back on the outcome.
            give_up_after: Seconds, instead of the client's.

        Raises:
            InvalidRecordError: The log breaks a rule; it was not sent.
            RejectedError: The store refused it.
            NotSentError: It was certainly not saved; `AuthenticationError` and `RateLimitedError` are kinds of it.
            OutcomeUnknownError: It may have been saved.
            ConfigurationError: The client is used in a second event loop or process.
        """
        self._check_usable()
        seconds = self._seconds(give_up_after)
        outcome = await self._engine.outcome(self._engine.adds, self._valid(log, context), context, seconds)
        if isinstance(outcome, Added):
            return outcome
        raise error_for(outcome)

    async def update_customer_log(
        self,
        log_id: int,
        *,
        context: Any = None,
        give_up_after: float | None = None,
        repeat_after_doubt: bool = False,
        **changes: Unpack[LogChanges],
    ) -> Updated:
        """
        Change a log that is in the store, such as to complete a follow-up; a log has one update under way at a time.

        Only the fields that are given are sent. It is not documented that the store keeps the others; its other update
        calls do so (public code, read 2026-11).

        Args:
            log_id: The log's id: ``Added.log_id``, or ``StoredCustomerLog.log_id``.
            context: Comes back on the outcome.
            give_up_after: Seconds, instead of the client's.
            repeat_after_doubt: Send the update again where it may have been carried out. That sets the same fields
                once more, and overwrites what somebody else has set in between.
            changes: Fields of `CustomerLogUpdate`.

        Raises:
            InvalidRecordError: A field breaks one of the vendor's rules; nothing was sent.
            RejectedError: The store refused it.
            NotSentError: It was certainly not done; `AuthenticationError` and `RateLimitedError` are kinds of it.
            OutcomeUnknownError: It may have been carried out.
            ConfigurationError: The client is used in a second event loop or process.
        """
        self._check_usable()
        seconds = self._seconds(give_up_after)
        require_flag("repeat_after_doubt", repeat_after_doubt)
        update = CustomerLogUpdate(log_id=log_id, **changes)
        give_up_at = self._engine.clock.monotonic() + seconds
        outcome = doubt = await self._engine.outcome(self._engine.updates, update, context, seconds)
        while repeat_after_doubt and isinstance(outcome, Unknown):
            if (seconds := give_up_at - self._engine.clock.monotonic()) <= 0:
                break
            outcome = await self._engine.outcome(self._engine.updates, update, context, seconds, doubt=doubt)
        if isinstance(outcome, Updated):
            return outcome
        # No later answer undoes what an earlier call may have done.
        raise error_for(doubt)

    async def complete_customer_log(self, log_id: int, **options: Unpack[UpdateOptions]) -> Updated:
        """Set a log's status to Completed; see `update_customer_log`."""
        return await self.update_customer_log(log_id, status=CustomerLogStatus.COMPLETED, **options)

    async def customer_logs(self, username: str) -> AsyncGenerator[StoredCustomerLog, None]:
        """
        Yield the logs that the store has of a customer, in the order in which it gives them.

        Args:
            username: The customer's user name.

        Raises:
            ReadError: The store has no such customer, refused, or gave no answer that can be read.
            NotSentError: It could not be asked; `AuthenticationError` and `RateLimitedError` are kinds of it.
            ConfigurationError: The client is used in a second event loop or process, or the name is blank.
        """
        self._check_usable()
        if not is_name(username):
            raise ConfigurationError("username must be a text that is not blank, without control characters")
        from neto_async.reconciling.session import reader_of  # noqa: PLC0415 - most programs need none of it

        async with aclosing(reader_of(self._engine).logs(username.strip())) as logs:
            async for log in logs:
                yield log

    async def reconcile(
        self,
        outcomes: Iterable[Outcome] | None = None,
        *,
        journal: str | os.PathLike[str] | Journal | None = None,
        source: Iterable[SourceItem] | None = None,
        marker: str | None = None,
        sole_writer: bool = False,
        settle_after: float = SETTLE_AFTER,
        wait: bool = False,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> ReconcileReport:
        """
        Read the customers of `Unknown` outcomes back, and say which records are in the store and which are not.

        What can't be proven stays `Unknown`; docs/explanation/reconciling.md says what each proof assumes about Neto.

        Args:
            outcomes: All that the program has of this store, `Added` ones too: their ids are evidence. A doubt that is
                left out can make a verdict on another record with the same text false.
            journal: Instead of them, the journal of an import. What is proven is noted in it, so that the next run
                sends what is absent, and nothing twice.
            source: The source of that import, unchanged; it is read several times, in a thread.
            marker: With a journal that remembers none, that of the import, if all its runs had one.
            sole_writer: You guarantee that, since the last id known before each call in doubt, nobody else has written
                logs with the same Notes for these customers, or edited those that the call saved.
            settle_after: Seconds after its end until nothing of a call is saved any more, and what was saved can be
                read. How long that takes at Neto is not known.
            wait: Wait until that time is over for every call; otherwise what may still be saved stays `Unknown`.
            on_progress: Called in the event loop with the number of doubts judged so far, and of all.

        Raises:
            ReadError: The store refused to give customers.
            NotSentError: It could not be asked; `AuthenticationError` and `RateLimitedError` are kinds of it.
            ConfigurationError: The client is used in a second event loop or process, or an argument can't be used: the
                journal is in use or of another store, or the source is not the one that it knows.
            JournalError: What is proven can't be noted.
        """
        self._check_usable()
        require_flag("sole_writer", sole_writer)
        require_flag("wait", wait)
        require_not_below_zero("settle_after", settle_after, otherwise="")
        require_function("on_progress", on_progress, "two numbers")
        if (outcomes is None) == (journal is None) or (journal is None) != (source is None):
            raise ConfigurationError("give either outcomes, or a journal with its source")
        form = checked_marker(marker, journal)
        from neto_async.reconciling import session  # noqa: PLC0415 - most programs need none of it

        switches = session.Switches(
            sole_writer=sole_writer, settle_after=settle_after, wait=wait, on_progress=on_progress
        )
        if outcomes is not None:
            return await session.reconcile_outcomes(self._engine, outcomes, switches)
        kept = journal_of(journal)
        assert kept is not None  # noqa: S101 - one of the two was given, and a journal comes with its source
        assert source is not None  # noqa: S101
        return await session.reconcile_journal(self._engine, kept, source, switches, marker=form)

    def _seconds(self, give_up_after: float | None) -> float:
        seconds = self._settings.give_up_after if give_up_after is None else give_up_after
        require_positive("give_up_after", seconds)
        return seconds

    async def add_customer_logs(self, logs: Iterable[SourceItem] | AsyncIterable[SourceItem]) -> BulkReport:
        """
        Add a finite number of logs and report what became of each.

        Never raises for what the store did, a refused key included. Where the caller is cancelled, no more is sent,
        the calls under way are awaited, and what became of the records is counted in ``statistics().unawaited``, logged
        and passed to ``on_unawaited``.

        Args:
            logs: Logs, mappings with the vendor's or our names, or each with a context in an `Item`.

        Raises:
            BulkSourceError: ``logs`` itself raised; the error has the report on what it had yielded.
            TypeError: ``logs`` is not an iterable of logs.
            ConfigurationError: The client is used in a second event loop or process.
        """
        self._check_usable()
        bulk = BulkAdd(self._engine, logs)
        self._bulks.add(bulk)
        try:
            return await bulk.report()
        finally:
            self._bulks.discard(bulk)

    def import_customer_logs(
        self,
        source: Iterable[SourceItem] | AsyncIterable[SourceItem],
        *,
        journal: str | os.PathLike[str] | Journal | None = None,
        in_doubt: InDoubt | str = InDoubt.HOLD,
        retry_rejected: bool = False,
        marker: str | None = None,
        reports: OutcomeSink | None = None,
        total: int | None = None,
        drain_source: bool = False,
        read_on: bool = False,
        max_rejected: int | None = None,
        give_up_after: float | None = None,
        on_progress: Callable[[ImportProgress], object] | None = None,
    ) -> ImportRun:
        """
        Add logs of a source of any length, streaming what became of each.

        Args:
            source: Yields logs, mappings with the vendor's or our names, or each with a context in an `Item`. See
                `ImportRun` for how it is read and closed.
            journal: Path of a file that remembers the run, or a `Journal` of your own. With it the run can be
                interrupted at any moment: another run on the same journal and source yields settled outcomes again,
                marked ``replayed``, and sends the rest. The file holds fingerprints and ids, no texts.
            in_doubt: "hold" yields rows whose outcome an earlier run never learned as `Unknown`; "resend" sends them
                again, so they may be in the store twice.
            retry_rejected: Send rows again that were rejected in an earlier run, even if they have not changed.
            marker: With a journal, a text that ends the Notes of each log, such as ``" [#{}]"``: eight letters and
                digits replace ``{}``. Staff see it, and `reconcile` finds the log by it, even if others write logs too.
                The journal remembers it: a later run with None uses it, and one with another marker is refused.
            reports: Takes each outcome before the journal does, in a thread; see `Reports`.
            total: Number of records in the source, where it has no ``len()``; for `ImportProgress` alone.
            drain_source: After the run has stopped, read the source to its end all the same, so that every row has an
                outcome.
            read_on: The old name of ``drain_source``.
            max_rejected: Rejected records after which the run stops; None for no such bound.
            give_up_after: Seconds for a batch from its first attempt, instead of the client's; None takes the client's.
            on_progress: Called in the event loop with `ImportRun.progress` when the run has got further, at most ten
                times a second, and once at its end. It must not wait; what it raises is logged by its class.

        Raises:
            TypeError: The source is not an iterable of logs.
            ConfigurationError: The client is used in a second event loop or process, or an argument can't be used.
                From the run itself: the journal can't be used, or the source is not the one that it knows.
            JournalError: From the run itself, after the calls under way: journal or reports can't be written any more.
        """
        self._check_usable()
        try:
            what_of_doubt = InDoubt(in_doubt)
        except ValueError:
            raise ConfigurationError('in_doubt must be "hold" or "resend"') from None
        require_function("on_progress", on_progress, "an ImportProgress")
        if not (reports is None or hasattr(reports, "write")):
            raise ConfigurationError("reports must be a Reports, or have its methods, or None")
        for name, flag in (("retry_rejected", retry_rejected), ("drain_source", drain_source), ("read_on", read_on)):
            require_flag(name, flag)
        for name, value in (("total", total), ("max_rejected", max_rejected)):
            if not (value is None or isinstance(value, int)):
                raise ConfigurationError(f"{name} must be a whole number, or None")
            require_not_below_zero(name, value)
        if give_up_after is not None:
            require_positive("give_up_after", give_up_after, otherwise=", or None for the client's")
        form = checked_marker(marker, journal)
        return ImportRun(
            self._engine,
            source,
            total=total,
            drain_source=drain_source or read_on,
            max_rejected=max_rejected,
            give_up_after=give_up_after,
            journal=journal_of(journal),
            reports=reports,
            in_doubt=what_of_doubt,
            retry_rejected=retry_rejected,
            marker=form,
            on_progress=on_progress,
        )

    async def flush(self, timeout: float | None = None) -> DrainReport:  # noqa: ASYNC109
        """
        Wait until all single and bulk adds submitted before, and all calls under way, have ended.

        Records of imports that have not left are not waited for: they may wait for the loop that takes the outcomes.
        Called by the source of a bulk add, it does not wait for bulk adds.

        Args:
            timeout: Seconds to wait at most; None waits as long as the records themselves may.

        Raises:
            ConfigurationError: The client is used in a second event loop or process, or the timeout is not a number.
        """
        self._check_usable()
        require_not_below_zero("timeout", timeout)
        return await drain(self._engine, timeout, self._bulk_ends())

    def observe(self, observer: CallObserver) -> Callable[[], None]:
        """
        Report every call from now on to an observer, such as that of `neto_async.integrations.opentelemetry`.

        Returns:
            A function that ends this. The observer is still notified of the end of calls under way then.

        Raises:
            RuntimeError: There is one already.
            ConfigurationError: It lacks a method of a `CallObserver`.
        """
        require_methods("observer", observer, ("handed_in", "began", "ended"))
        return self._engine.observe(observer)

    def statistics(self) -> Statistics:
        """Count what was done so far, and say what waits on what; any thread may ask."""
        return self._engine.statistics()

    async def aclose(self, timeout: float | None = 30.0) -> DrainReport:  # noqa: ASYNC109
        """
        Take no more records, wait for those under way, and close the connections.

        Neither `asyncio.Task.cancel` nor a cancel scope interrupts this: it ends when all is drained, or at its
        deadline. A second call waits for the first. What has not left by then never does. A call whose answer is still
        missing ends with its connection: at once, or where the HTTP client is yours when you close that.

        Args:
            timeout: Seconds after which what waits is given up; what is then still under way is logged. None waits as
                long as single and bulk adds themselves may. Imports end with the last of these.

        Raises:
            ConfigurationError: The client is used in a second event loop or process, or the timeout is not a number:
                it stays open.
        """
        self._check_usable(closing=True)
        require_not_below_zero("timeout", timeout)
        ends = self._bulk_ends()
        return await complete_through_cancellation(lambda: self._closing_task(timeout, ends))

    def _closing_task(self, timeout: float | None, ends: set[asyncio.Future[None]]) -> asyncio.Task[DrainReport]:
        if self._closing is None or self._closing.cancelled():
            closing = close(self._engine, self._transport, timeout, ends)
            self._closing = asyncio.get_running_loop().create_task(closing, name="neto_async close")
        return self._closing

    def _bulk_ends(self) -> set[asyncio.Future[None]]:
        """List the ends of bulk adds: rows that they have not read yet count as submitted."""
        # A source can't wait for its own end.
        reading = any(bulk.reads_in_this_task for bulk in self._bulks)
        return set() if reading else {bulk.ended for bulk in self._bulks}

    def _valid(self, log: CustomerLog | Mapping[str, Any], context: Any) -> CustomerLog:
        if isinstance(log, CustomerLog):
            return log
        valid, record, _, errors = read_item(Item(log))
        if valid is None:
            outcome = Invalid(index=0, record=record, context=context, errors=errors)
            self._engine.count(outcome)
            raise InvalidRecordError(errors, outcome=outcome)
        return valid

    def _check_usable(self, *, closing: bool = False) -> None:
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            raise ConfigurationError("the client was made before a fork; make one in each process")
        if self._loop is None:
            settings, engine = self._settings, self._engine
            engine.quota.attach(engine.wake, store_url=settings.store_url, timeout=settings.timeout)
            self._loop = loop
        elif self._loop is not loop:
            raise ConfigurationError("the client belongs to another event loop; make one in each loop")
        if not closing and self._transport.closed and self._closing is None:
            raise ConfigurationError("the http_client that was passed is closed")
