"""
Imports as jobs of Procrastinate, which keeps its jobs in PostgreSQL. Needs the extra ``jobs``.

    imports = ImportJobs(
        app,
        make_client=AsyncNetoClient.from_env,
        make_journal=lambda name: PostgresJournal("postgresql://imports@db/crm", name),
        open_upload=open_upload,
    )

A web process calls `ImportJobs.start`, `~ImportJobs.status` and `~ImportJobs.cancel`; workers of the same app run the
imports. A job carries two references, the import's name and its upload, and never a row.

Theory. The journal alone decides what is sent: at whatever instant a worker ends, and however often a job is delivered,
no row that was sent is sent again. The rest is comfort, and may be late or wrong without harm:

    one at a time    the job's lock is the import's name, so a second job waits for the first. Where that fails, since
                     a worker was taken for dead too early, the journal refuses the second run, which is tried again
    a worker dies    its heartbeat ends. A job that runs every minute puts back what such workers left. It carries a
                     queueing lock and no lock: a lock would stay with it where its own worker dies (Procrastinate's
                     issue 1408), and nothing would be put back any more
    a worker ends    Procrastinate cancels the job's task, which leaves the run's block: the calls under way end, the
                     journal has their outcome, and the job is put back
    cancel           the same, but the job ends
    followers        hear of each change from triggers, so that it also shows where Procrastinate alone made it
    trouble          what another time may solve is tried again, twenty times in all. Rows in doubt are no trouble but
                     a result, and are never sent again

A worker that was taken for dead may end its job after another one has begun it again. Procrastinate can't tell them
apart, so this may write a wrong status; the numbers of `ImportStatus` are those of the later delivery.

May import: journals, importing, sending, client, results, outcomes, errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from enum import StrEnum
from typing import Any

import cattrs
from attrs import asdict, evolve, field, frozen

from neto_async.client import AsyncNetoClient
from neto_async.errors import JournalError, JournalInUseError, NetoError, NotSentError
from neto_async.importing.items import SourceItem
from neto_async.importing.run import ImportRun
from neto_async.journals.protocol import Journal
from neto_async.journals.writer import OutcomeSink
from neto_async.outcomes import NotSent, NotSentCause
from neto_async.results import ImportProgress, error_for
from neto_async.sending.observing import logger

try:
    from procrastinate import App, BaseRetryStrategy, JobContext, RetryDecision
    from procrastinate.exceptions import AlreadyEnqueued, ConnectorException, JobAborted
    from procrastinate.job_context import AbortReason
    from procrastinate.jobs import Job, Status
except ImportError as _error:
    raise ImportError('imports as jobs need Procrastinate: pip install "neto_async[jobs]"') from _error

__all__ = ["ImportJobs", "ImportState", "ImportStatus", "Upload"]

TASK = "neto_async.import"
PUT_BACK = "neto_async.put_back"
"""Names of the two tasks."""

ATTEMPTS = 20
"""Deliveries after which a job is not put back any more, apart from those that the end of a worker cut short."""

FIRST_WAIT, LONGEST_WAIT = 5, 300
"""Seconds before a job is tried again: doubled each time, up to a limit."""

WRITE_EVERY = 1.0
"""Seconds between two writes of an import's progress."""

TRY_LATER = {NotSentCause.RATE_LIMITED, NotSentCause.GAVE_UP, NotSentCause.QUOTA_SERVER, NotSentCause.UNREACHABLE}
"""What stopped an import and may have passed later, without a person."""

CHANNEL = "neto_async_import"
"""On which PostgreSQL says which import has changed."""

LOOK_EVERY = 5.0
"""Seconds between two looks at an import of which no change is heard: a notification is lost with its connection."""

LONGEST = 1000
"""Characters of a name that a notification carries: it is limited to 8,000 bytes."""

CREATE = f"""
SELECT pg_advisory_xact_lock(hashtext('{CHANNEL}'));

CREATE TABLE IF NOT EXISTS neto_async_import (
    name text PRIMARY KEY,
    job bigint NOT NULL,
    attempt integer NOT NULL,
    ended boolean NOT NULL,
    reason text NOT NULL,
    progress jsonb NOT NULL
);

CREATE OR REPLACE FUNCTION neto_async_import_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed jsonb := to_jsonb(NEW);
BEGIN
    PERFORM pg_notify('{CHANNEL}', left(coalesce(changed ->> 'name', changed -> 'args' ->> 'name'), {LONGEST}));
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS neto_async_import_changed ON neto_async_import;
CREATE TRIGGER neto_async_import_changed AFTER INSERT OR UPDATE ON neto_async_import
FOR EACH ROW EXECUTE FUNCTION neto_async_import_changed();

DROP TRIGGER IF EXISTS neto_async_import_changed ON procrastinate_jobs;
CREATE TRIGGER neto_async_import_changed AFTER INSERT OR UPDATE OF status ON procrastinate_jobs
FOR EACH ROW WHEN (NEW.task_name = '{TASK}') EXECUTE FUNCTION neto_async_import_changed();
"""

WRITE = """
INSERT INTO neto_async_import AS written (name, job, attempt, ended, reason, progress)
VALUES (%(name)s, %(job)s, %(attempt)s, %(ended)s, %(reason)s, %(progress)s)
ON CONFLICT (name) DO UPDATE SET
    job = excluded.job, attempt = excluded.attempt, ended = excluded.ended, reason = excluded.reason,
    progress = excluded.progress
WHERE (written.job, written.attempt) <= (excluded.job, excluded.attempt)
"""

WRITE_REASON = """
UPDATE neto_async_import SET reason = %(reason)s WHERE name = %(name)s AND job = %(job)s RETURNING job
"""

READ = "SELECT job, ended, reason, progress FROM neto_async_import WHERE name = %(name)s"


@frozen(kw_only=True)
class Upload:
    """
    What an import reads and writes.

    Attributes:
        rows: The source, as `AsyncNetoClient.import_customer_logs` takes it: the same rows in the same order each time.
        reports: Takes every outcome, such as `Reports` in a folder that all workers share.
        total: Number of rows where ``rows`` has no ``len()``; for the progress alone.
    """

    rows: Iterable[SourceItem] | AsyncIterable[SourceItem]
    reports: OutcomeSink | None = None
    total: int | None = None


class ImportState(StrEnum):
    """How far an import is."""

    WAITING = "waiting"
    """For a worker, or until it is tried again."""
    RUNNING = "running"
    """A worker has it. If that worker has died, another one will get it."""
    ENDED = "ended"
    """Every row has its outcome; some may be in doubt."""
    STOPPED = "stopped"
    """It could not go on; ``reason`` says why. It can be started again."""
    CANCELLED = "cancelled"
    """By `ImportJobs.cancel`. It can be started again."""


_STATES = {
    Status.TODO: ImportState.WAITING,
    Status.DOING: ImportState.RUNNING,
    Status.SUCCEEDED: ImportState.ENDED,
    Status.FAILED: ImportState.STOPPED,
    Status.CANCELLED: ImportState.CANCELLED,
    Status.ABORTED: ImportState.CANCELLED,
}
_OPEN = {Status.TODO, Status.DOING}


@frozen(kw_only=True)
class ImportStatus:
    """
    How far an import is, for any process that reaches the database.

    Attributes:
        name: Of the import.
        state: How far it is.
        progress: The counts of its latest delivery, about a second old; rows that an earlier one settled are counted
            again as it comes by them. ``stop_reason`` is always None.
        reason: Why it stopped or waits to be tried again, else empty; also where one worker after the other died. It
            holds no text of a customer or of Neto.
    """

    name: str
    state: ImportState
    progress: ImportProgress = field(factory=ImportProgress)
    reason: str = ""


class ImportJobs:
    """
    Imports of an app of Procrastinate.

    Args:
        app: Its workers run the imports.
        make_client: Makes a client for one import, as ``async with`` takes it.
        make_journal: Gives the journal of an import by its name, such as a `PostgresJournal`; it must refuse a second
            process.
        open_upload: Opens what the reference of an upload stands for, for as long as an import runs. After an
            ``OSError`` from it or from its rows the import is tried again.
        queue: Of the jobs.
        stalled_after: Seconds without a heartbeat after which a worker is taken for dead; as the workers'
            ``stalled_worker_timeout``.
        put_back_at: When the jobs of dead workers are looked for, in cron's form; a sixth field is for seconds.
    """

    def __init__(
        self,
        app: App,
        *,
        make_client: Callable[[], AsyncNetoClient],
        make_journal: Callable[[str], Journal],
        open_upload: Callable[[str], AbstractAsyncContextManager[Upload]],
        queue: str = "neto_async",
        stalled_after: float = 30.0,
        put_back_at: str = "* * * * *",
    ) -> None:
        self._app = app
        self._make_client = make_client
        self._make_journal = make_journal
        self._open_upload = open_upload
        self._stalled_after = stalled_after
        self._changes = _Changes(app)
        self._task = app.task(name=TASK, queue=queue, pass_context=True, retry=_PutBack())(self._run)
        app.periodic(cron=put_back_at)(app.task(name=PUT_BACK, queue=queue, queueing_lock=PUT_BACK)(self._put_back))

    # -- for a web process --------------------------------------------------------------------------------------

    async def create_table(self) -> None:
        """
        Make the table of progress, and triggers on it and on Procrastinate's jobs that notify followers.

        It needs the owner of Procrastinate's tables, and changes nothing where all is there.
        """
        await self._app.connector.execute_query_async(CREATE)

    async def start(self, name: str, upload: str) -> None:
        """
        Have an upload imported, or go on with an import that stopped or was cancelled; one that is open stays as it is.

        Args:
            name: Of the import and of its journal: another one for another upload, the same one to go on.
            upload: What ``open_upload`` gets. Procrastinate logs both, so neither may hold a customer's text.

        Raises:
            ConfigurationError: No journal can have this name.
        """
        self._make_journal(name)
        if not await self._jobs(name, _OPEN):
            with suppress(AlreadyEnqueued):  # by another process, just now
                lock = f"{TASK} {name}"
                await self._task.configure(lock=lock, queueing_lock=lock).defer_async(name=name, upload=upload)

    async def status(self, name: str) -> ImportStatus | None:
        """Say how far an import is; None where none of this name is known."""
        jobs = await self._jobs(name, set(Status))
        rows = await self._app.connector.execute_query_all_async(READ, name=name)
        job = max(jobs, key=lambda job: (_status(job) is Status.DOING, job.id), default=None)
        row = rows[0] if rows and (job is None or rows[0]["job"] == job.id) else None
        if job is None and row is None:
            return None
        state = _state(job, row)
        if row is None:
            return ImportStatus(name=name, state=state)
        # Elsewhere it is left from an earlier delivery, or from one that came too late.
        reason = row["reason"] if state in {ImportState.WAITING, ImportState.STOPPED} else ""
        return ImportStatus(
            name=name, state=state, progress=cattrs.structure(row["progress"], ImportProgress), reason=reason
        )

    async def follow(self, name: str) -> AsyncGenerator[ImportStatus, None]:
        """
        Give an import's status now, and again whenever it has changed, until the import is neither waiting nor running.

        PostgreSQL notifies of changes, over one connection for all followers of a process. A change whose notification
        was lost is seen some seconds later.
        """
        last = None
        async with self._changes.of(name) as changed:
            while (status := await self.status(name)) is not None:
                if status != last:
                    yield status
                if status.state not in {ImportState.WAITING, ImportState.RUNNING}:
                    return
                last = status
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), LOOK_EVERY)
                changed.clear()

    async def cancel(self, name: str) -> bool:
        """
        Have an import stop: what is under way ends, and nothing more is sent. False where it was not open.

        It returns at once; `follow` says when the import has stopped.
        """
        jobs = await self._jobs(name, _OPEN)
        done = [await self._app.job_manager.cancel_job_by_id_async(job.id, abort=True) for job in jobs if job.id]
        return any(done)

    async def _jobs(self, name: str, statuses: set[Status]) -> list[Job]:
        jobs = await self._app.job_manager.list_jobs_async(task=TASK, lock=f"{TASK} {name}")
        return [job for job in jobs if _status(job) in statuses]

    # -- for a worker -------------------------------------------------------------------------------------------

    async def _run(self, context: JobContext, name: str, upload: str) -> None:
        delivery = _Delivery(self._app, name, context.job)
        try:
            await self._import(delivery, upload)
        except asyncio.CancelledError:
            await delivery.write()
            if context.abort_reason() is AbortReason.USER_REQUEST:
                raise JobAborted from None
            raise
        except NetoError as error:
            await delivery.write(reason=str(error))
            raise
        except Exception as error:  # noqa: BLE001
            # Procrastinate logs what a task raises, and what a program's own code raises could say anything.
            kind = type(error).__name__
            await delivery.write(reason=kind)
            broken_off = _BrokenOffError(f"an import broke off: {kind}", passing=isinstance(error, OSError))
            raise broken_off.with_traceback(error.__traceback__) from None
        await delivery.write(ended=True)

    async def _import(self, delivery: _Delivery, reference: str) -> None:
        async with self._open_upload(reference) as upload, self._make_client() as neto:
            run = neto.import_customer_logs(
                upload.rows,
                journal=self._make_journal(delivery.name),
                reports=upload.reports,
                total=upload.total,
                drain_source=True,
            )
            unsent = None
            async with run:
                delivery.run = run
                async for outcome in run:
                    if unsent is None and isinstance(outcome, NotSent):
                        unsent = evolve(outcome, record=None, context=None)
                    await delivery.write_sometimes()
        if unsent is not None:
            raise error_for(unsent)

    async def _put_back(self, timestamp: int) -> None:  # noqa: ARG002 - Procrastinate gives it
        manager = self._app.job_manager
        for job in await manager.get_stalled_jobs(task_name=TASK, seconds_since_heartbeat=self._stalled_after):
            if job.attempts < ATTEMPTS:
                await manager.retry_job(job)
            else:
                await manager.finish_job(job, Status.FAILED, delete_job=False)


class _BrokenOffError(Exception):
    """Stands for what is none of this library's errors, without its text."""

    def __init__(self, text: str, *, passing: bool) -> None:
        super().__init__(text)
        self.passing = passing


class _PutBack(BaseRetryStrategy):
    """Decides which jobs are tried again, and when."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, asyncio.CancelledError):
            return RetryDecision(retry_in={"seconds": 0})
        if job.attempts >= ATTEMPTS or not _may_pass(exception):
            return None
        return RetryDecision(retry_in={"seconds": min(FIRST_WAIT * 2**job.attempts, LONGEST_WAIT)})


def _may_pass(error: BaseException) -> bool:
    match error:
        case JournalInUseError() | JournalError():
            return True
        case NotSentError(outcome=outcome):
            return outcome.cause in TRY_LATER
        case _BrokenOffError(passing=passing):
            return passing
    return False


class _Delivery:
    """
    One delivery of a job, and what is written of its progress.

    Attributes:
        run: Set once it has the journal. Before, an earlier delivery may still be running, and the numbers are its.
    """

    def __init__(self, app: App, name: str, job: Job) -> None:
        self.name = name
        self.run: ImportRun | None = None
        self._connector = app.connector
        self._job = job
        self._next_at = 0.0  # in the loop's time; when the progress is written again

    async def write_sometimes(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_at:
            self._next_at = now + WRITE_EVERY
            await self.write()

    async def write(self, *, reason: str = "", ended: bool = False) -> None:
        said = {"name": self.name, "job": self._job.id, "reason": reason}
        try:
            if self.run is not None:
                progress = asdict(self.run.progress)
                del progress["stop_reason"]  # it may end in Neto's words
                counts = {"attempt": self._job.attempts, "ended": ended, "progress": progress}
                await self._connector.execute_query_async(WRITE, **said, **counts)
            elif not await self._connector.execute_query_all_async(WRITE_REASON, **said):
                await self._connector.execute_query_async(WRITE, **said, attempt=-1, ended=False, progress={})
        except ConnectorException as error:
            name = type(error).__name__
            logger.warning("the progress of an import could not be written: %s", name, extra={"neto_failure": name})


class _Changes:
    """Hears of changes while somebody follows an import: one connection, whatever the number of followers."""

    def __init__(self, app: App) -> None:
        self._connector = app.connector
        self._followers: list[tuple[str, asyncio.Event]] = []
        self._listening: asyncio.Task[None] | None = None  # while there are followers

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[asyncio.Event]:
        """Give an event that is set when an import may have changed."""
        follower = (name[:LONGEST], asyncio.Event())
        self._followers.append(follower)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        try:
            yield follower[1]
        finally:
            self._followers.remove(follower)
            if not self._followers:
                listening, self._listening = self._listening, None
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            with suppress(ConnectorException):
                await self._connector.listen_notify(self._heard, [CHANNEL])
            await asyncio.sleep(LOOK_EVERY)

    async def _heard(self, *, channel: str, payload: str) -> None:  # noqa: ARG002 - Procrastinate gives it
        for name, changed in self._followers:
            if name == payload:
                changed.set()


def _status(job: Job) -> Status:
    return Status(job.status)


def _state(job: Job | None, row: dict[str, Any] | None) -> ImportState:
    if job is not None:
        # Procrastinate fails a job that it was to put back and that had been cancelled.
        cancelled = _status(job) is Status.FAILED and job.abort_requested
        return ImportState.CANCELLED if cancelled else _STATES[_status(job)]
    # Its job was deleted, as workers may be set to do.
    return ImportState.ENDED if row is not None and row["ended"] else ImportState.STOPPED
