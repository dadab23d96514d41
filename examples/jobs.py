"""
Imports that survive the process: each has a folder with the upload, its mapping, its journal and its reports.

Free of any web framework; both example services use it. In a folder named by the job's id:

    upload, mapping.toml      what came in, and how its columns are read
    rows, plan.json           what `reading.py`, a process of its own with limits, made of them
    job.json                  name, state and counts
    journal                   what was added, what was not, what is in doubt: the library's
    reports/                  added.csv, rejected.csv, unknown.csv, not_sent.csv: the library's

This process never reads an upload itself, only ``rows`` and ``plan.json``. The folder is one process's: two that share
it would start each other's imports.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import secrets
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from attrs import asdict, define, evolve, field, frozen

from examples.reading import DISK_FULL, REFUSED, restored
from neto_async import (
    AsyncNetoClient,
    ConfigurationError,
    CustomerLog,
    ImportProgress,
    InvalidRecordError,
    NetoError,
    ReconcileReport,
)
from neto_async.importing import ColumnMapping, ImportRun, Reports, Row
from neto_async.journals.sqlite import SqliteJournal

__all__ = ["KINDS", "REPORTS", "Imports", "Job", "Limits", "RefusedError", "Settling", "State", "mapping_for"]

KINDS = {path.stem: ColumnMapping.from_toml(path) for path in sorted(Path(__file__).parent.glob("mappings/*.toml"))}
"""The kinds of file that this service knows, beside those whose columns are named as Neto's."""

REPORTS = ("added.csv", "rejected.csv", "unknown.csv", "not_sent.csv")

PART = ".part"
"""How the name of a folder ends until its upload is complete and has been read."""

STATUS_EVERY = 0.5
"""Seconds between two statuses of a running import; a connection that has gone is noticed by them too."""

CHUNK = 1 << 18
"""Bytes of rows that are read at a time: some milliseconds of work in a thread."""

READER = (sys.executable, str(Path(__file__).with_name("reading.py")))
"""The command that reads an upload."""

MAX_NAME = 255
"""Characters of an upload's name."""

UNPACKED = 10
"""How many times larger than an upload may be its rows may be."""

MAX_DOUBTS = 20
"""Rows still in doubt that a status lists, and ids of logs to look at for each."""

logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """
    What was asked for is not done; the text says why, and names no path.

    Attributes:
        status: HTTP status of the answer.
        retry_after: Seconds after which the same may work, None where it will not.
    """

    def __init__(self, reason: str, *, status: int = 422, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


@frozen(kw_only=True)
class Limits:
    """
    What uploads and imports may take of the machine.

    Attributes:
        upload_bytes: Of an upload.
        upload_seconds: How long an upload may take to arrive.
        uploads: Uploads that come in or are read at once; a further one is refused with 503.
        reader_bytes: Memory of the process that reads an upload.
        reader_seconds: How long it may take.
        readers: Such processes at once; further uploads wait.
        imports: Imports that are sent at once, each with a dozen open files; further ones wait.
    """

    upload_bytes: int = 100_000_000
    upload_seconds: float = 300
    uploads: int = 8
    reader_bytes: int = 256_000_000
    reader_seconds: int = 120
    readers: int = 2
    imports: int = 4


class State(StrEnum):
    """How far a job is."""

    READY = "ready"
    """Uploaded and read; nothing is sent before it is started."""
    RUNNING = "running"
    """Being sent, in this process or, after its end, in the next."""
    STOPPED = "stopped"
    """It could not go on, such as with a refused key: start it again, or restart the service."""
    ENDED = "ended"
    """Every row has its outcome."""
    SETTLING = "settling"
    """It had ended; customers are read back for its rows in doubt, in this process or, after its end, in the next."""


@frozen(kw_only=True)
class Settling:
    """
    The settling of a job's rows in doubt.

    Attributes:
        sole_writer: The person's guarantee; see `AsyncNetoClient.reconcile`.
        until: When reading begins at about the latest: before, a call in doubt might still be saved. ISO 8601, in UTC.
        looked_at: Rows that were judged so far.
        added: Rows that are in the store, once it has ended, as the next.
        not_sent: Rows that are certainly not in the store.
        unknown: Rows still in doubt.
        rows: The first of those: line in the file, reason, what is missing, the first ids of logs to look at.
        error: Why it broke off, else empty.
    """

    sole_writer: bool
    until: str
    looked_at: int = 0
    added: int = 0
    not_sent: int = 0
    unknown: int = 0
    rows: Sequence[Mapping[str, Any]] = ()
    error: str = ""


@define(eq=False)
class Job:
    """
    One upload and its import.

    Attributes:
        folder: Its name is the job's id.
        name: What the person called the file.
        mapping: How its columns become logs.
        created_at: When it came in, in UTC.
        state: How far it is.
        reason: Why it stopped, else empty.
        settling: How the last settling of its rows in doubt goes, or went.
    """

    folder: Path
    name: str
    mapping: ColumnMapping
    created_at: datetime = field(factory=lambda: datetime.now(timezone.utc))
    state: State = State.READY
    reason: str = ""
    settling: Settling | None = None
    task: asyncio.Task[None] | None = None  # while it is being imported or settled
    run: ImportRun | None = None  # while it is being imported
    progress: Mapping[str, Any] = field(factory=lambda: asdict(ImportProgress()))  # before and after

    @property
    def id(self) -> str:
        """What it is asked for by."""
        return self.folder.name

    @property
    def status(self) -> dict[str, Any]:
        """How far it is, as JSON may carry it."""
        progress = self.progress if self.run is None else asdict(self.run.progress)
        return {
            "id": self.id,
            "name": self.name,
            "created_at": self.created_at.isoformat(),
            "state": str(self.state),
            "reason": self.reason,
            "progress": progress,
            "settling": None if self.settling is None else asdict(self.settling),
            "reports": [name for name in REPORTS if self.report(name) is not None],
        }

    def report(self, name: str) -> Path | None:
        """Give the path of a report; None where there is none yet, or none of this name."""
        path = self.folder / "reports" / name
        return path if name in REPORTS and path.exists() else None

    def save(self) -> None:
        """Write down how far it is, whole or not at all."""
        aside = self.folder / "job.new"
        with aside.open("w", encoding="utf-8") as file:
            json.dump(self.status, file)
            _sync(file)
        aside.replace(self.folder / "job.json")

    @classmethod
    def load(cls, folder: Path) -> Job:
        """Read it again."""
        kept = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        return cls(
            folder=folder,
            name=kept["name"],
            mapping=ColumnMapping.from_toml(folder / "mapping.toml"),
            created_at=datetime.fromisoformat(kept["created_at"]),
            state=State(kept["state"]),
            reason=kept["reason"],
            progress=kept["progress"],
            settling=Settling(**kept["settling"]) if kept.get("settling") else None,
        )


@frozen
class StoredRows:
    """The rows that the reader stored: logs, each with its row as context; a loop reads them in a thread, in chunks."""

    path: Path
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[CustomerLog | InvalidRecordError, Row]]:
        with self.path.open("rb") as file:
            yield from map(restored, file)

    async def __aiter__(self) -> AsyncIterator[tuple[CustomerLog | InvalidRecordError, Row]]:
        with self.path.open("rb") as file:
            while pairs := await asyncio.to_thread(lambda: [restored(line) for line in file.readlines(CHUNK)]):
                for pair in pairs:
                    yield pair


class Imports:
    """
    All jobs of a service.

    Args:
        neto: Sends them.
        folder: Holds a folder for each; made if need be.
        limits: What they may take of the machine.
        reader: The command that reads an upload.
        settle_after: Seconds after which nothing of a call in doubt is saved any more; see `AsyncNetoClient.reconcile`.
    """

    def __init__(
        self,
        neto: AsyncNetoClient,
        folder: Path,
        *,
        limits: Limits = Limits(),
        reader: Sequence[str] = READER,
        settle_after: float = 600,
    ) -> None:
        self._neto = neto
        self._folder = folder
        self._limits = limits
        self._reader = reader
        self._settle_after = settle_after
        self._jobs: dict[str, Job] = {}
        self._unreadable: dict[str, str] = {}
        self._arriving: set[Path] = set()  # folders of uploads that come in or are read
        self._uploads: set[asyncio.Timeout] = set()
        self._readers: set[Process] = set()
        self._may_read = asyncio.Semaphore(limits.readers)
        self._may_send = asyncio.Semaphore(limits.imports)
        self._may_settle = asyncio.Semaphore(limits.imports)
        self._closing = False

    @property
    def jobs(self) -> Mapping[str, Job]:
        """All there are, by id, oldest first."""
        return MappingProxyType(self._jobs)

    @property
    def problems(self) -> dict[str, str]:
        """What an earlier process left and this one can't go on with: the reason, by id."""
        stopped = {job.id: job.reason for job in self._jobs.values() if job.state is State.STOPPED}
        return {**self._unreadable, **stopped}

    async def resume(self) -> None:
        """
        Take up what an earlier process left, and go on with the imports that had not come to their end.

        Nothing that is wrong with a folder, such as a full disk, is raised: the service starts all the same, and
        `problems` says what it can't go on with.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            logger.warning("the folder of imports can't be made: %s", error.strerror)
        self._sweep()
        kept = []
        for path in self._folder.glob("*/job.json"):
            try:
                kept.append(Job.load(path.parent))
            except Exception as error:  # noqa: BLE001 - whatever was left there
                self._unreadable[path.parent.name] = f"what was kept of it can't be read ({type(error).__name__})"
        for job in sorted(kept, key=lambda job: job.created_at):
            self._jobs[job.id] = job
            with suppress(RefusedError):
                if job.state in {State.RUNNING, State.STOPPED}:
                    await self.start(job)
                elif job.state is State.SETTLING:
                    await self._begin_settling(job, sole_writer=job.settling is not None and job.settling.sole_writer)
        for id_, reason in self.problems.items():
            logger.warning("can't go on with the import %s: %s", id_, reason)

    async def add(
        self,
        name: str,
        pieces: AsyncIterable[bytes],
        mapping: ColumnMapping = ColumnMapping(),  # noqa: B008 - frozen
    ) -> Job:
        """
        Take an upload in: store it as it comes, and have it read. Nothing is sent before `start`.

        Args:
            name: Of the file; its ending says what kind it is.
            pieces: Its bytes.
            mapping: How its columns become logs.

        Raises:
            RefusedError: It is too large or too slow, can't be imported, or can't be kept now.
        """
        if self._closing:
            raise _ending()
        if len(self._arriving) >= self._limits.uploads:
            raise RefusedError("too many files are being uploaded; try again later", status=503, retry_after=10)
        if len(name) > MAX_NAME:
            raise RefusedError(f"the file's name is longer than {MAX_NAME} characters")
        self._sweep()
        id_ = secrets.token_hex(8)
        job = Job(self._folder / (id_ + PART), name, mapping)
        self._arriving.add(job.folder)
        try:
            await self._take_in(job, pieces)
            job.folder = job.folder.rename(self._folder / id_)
        except OSError as error:
            raise _unkept(error) from None
        finally:
            self._arriving.discard(self._folder / (id_ + PART))
            self._sweep()
        self._jobs[job.id] = job
        return job

    async def preview(self, job: Job) -> dict[str, Any]:
        """
        Say what is going to be sent, as JSON may carry it.

        Raises:
            RefusedError: It can't be read now.
        """
        try:
            plan = await self._plan(job)
        except OSError as error:
            raise _unkept(error) from None
        del plan["reports"]
        return plan

    async def start(self, job: Job) -> None:
        """
        Begin to send, or go on after a stop; when this returns, an end of the process is no end of the import.

        Raises:
            RefusedError: That can't be written down now, and nothing was sent.
        """
        await _written(job)
        if job.task is None and job.state is not State.ENDED:
            await self._begin(job, State.RUNNING)

    async def settle(self, job: Job, *, sole_writer: bool = False) -> None:
        """
        Begin to read the customers of its rows in doubt back; nothing is sent.

        Rows that are proven absent wait for `start`. When this returns, an end of the process is no end of it.

        Args:
            job: An import that has ended with rows in doubt; one that is being settled is left to it.
            sole_writer: The person's guarantee; see `AsyncNetoClient.reconcile`.

        Raises:
            RefusedError: There is nothing to settle now, or that can't be written down.
        """
        await _written(job)
        if job.state is State.SETTLING:
            return
        if job.state is not State.ENDED or not job.progress["unknown"]:
            raise RefusedError("only an import that has ended with rows in doubt can be settled", status=409)
        await self._begin_settling(job, sole_writer=sole_writer)

    async def statuses(self, job: Job) -> AsyncIterator[dict[str, Any]]:
        """Give a job's status now, and again as it changes, until its import ends, or soon after `stop`."""
        yield job.status
        while job.task is not None and not self._closing:
            await asyncio.wait({job.task}, timeout=STATUS_EVERY)
            yield job.status

    def remove(self, job: Job) -> bool:
        """Delete what is kept of a job; False for one that has not ended: its journal knows what was sent."""
        if job.state not in {State.READY, State.ENDED}:
            return False
        try:
            job.folder.rename(job.folder.with_suffix(PART))
        except OSError as error:
            raise _unkept(error) from None
        del self._jobs[job.id]
        self._sweep()
        return True

    def stop(self) -> None:
        """Take no more rows and uploads, and end all `statuses`: the process is going to end."""
        self._closing = True
        for upload in self._uploads:
            upload.reschedule(0)
        for reader in self._readers:
            reader.kill()
        for job in self._jobs.values():
            if job.run is not None:
                job.run.stop()
            elif job.task is not None and job.state is State.SETTLING:
                job.task.cancel()  # it may wait for minutes; the next process begins it again

    async def aclose(self, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """
        Stop, and wait for the calls under way, so that their fate is in the journals.

        Args:
            timeout: Seconds; rows of calls that have not ended by then are in doubt when the imports go on.
        """
        self.stop()
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)

    def _sweep(self) -> None:
        """Remove what is left of uploads that were refused, broken off or deleted; what can't go now goes later."""
        for left in set(self._folder.glob(f"*{PART}")) - self._arriving:
            shutil.rmtree(left, ignore_errors=True)

    async def _take_in(self, job: Job, pieces: AsyncIterable[bytes]) -> None:
        """Store an upload, and what the reader makes of it."""
        job.folder.mkdir(mode=0o700)
        with (job.folder / "upload").open("xb") as file:
            await self._store(pieces, file)
        (job.folder / "mapping.toml").write_text(job.mapping.to_toml(), encoding="utf-8")
        async with self._may_read:
            await self._read(job)
        await asyncio.to_thread(job.save)

    async def _store(self, pieces: AsyncIterable[bytes], file: IO[bytes]) -> None:
        size = 0
        deadline = asyncio.timeout(self._limits.upload_seconds)
        self._uploads.add(deadline)
        try:
            async with deadline:
                async for piece in pieces:
                    size += len(piece)
                    if size > self._limits.upload_bytes:
                        raise RefusedError(f"the file is larger than {self._limits.upload_bytes:,} bytes", status=413)
                    await asyncio.to_thread(file.write, piece)
        except TimeoutError:
            raise (_ending() if self._closing else RefusedError("the upload took too long", status=408)) from None
        finally:
            self._uploads.discard(deadline)
        await asyncio.to_thread(_sync, file)

    async def _read(self, job: Job) -> None:
        """Have an upload read in a process of its own, which is killed where it takes too long."""
        limits = self._limits
        bounds = map(str, (limits.reader_bytes, limits.reader_seconds, UNPACKED * limits.upload_bytes))
        reader = await asyncio.create_subprocess_exec(
            *(*self._reader, str(job.folder), json.dumps(job.name), *bounds),
            env={name: value for name, value in os.environ.items() if not name.startswith("NETO_")},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
        )
        self._readers.add(reader)
        try:
            async with asyncio.timeout(limits.reader_seconds):
                said, _ = await reader.communicate()
        except TimeoutError:
            said = b""
        finally:
            self._readers.discard(reader)
            with suppress(ProcessLookupError):
                reader.kill()
            await reader.wait()
        if self._closing:
            raise _ending()
        if reader.returncode == REFUSED:
            raise RefusedError(json.loads(said))
        if reader.returncode == DISK_FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if reader.returncode != 0:
            raise RefusedError(f"{job.name}: it takes more time or memory to read than this service gives a file")

    async def _plan(self, job: Job) -> dict[str, Any]:
        plan: dict[str, Any] = json.loads(await asyncio.to_thread((job.folder / "plan.json").read_text))
        return plan

    async def _begin_settling(self, job: Job, *, sole_writer: bool) -> None:
        until = datetime.now(timezone.utc) + timedelta(seconds=self._settle_after)
        job.settling = Settling(sole_writer=sole_writer, until=until.isoformat(timespec="seconds"))
        await self._begin(job, State.SETTLING)

    async def _begin(self, job: Job, state: State) -> None:
        job.state, job.reason = state, ""
        saved = asyncio.ensure_future(asyncio.to_thread(job.save))
        job.task = asyncio.create_task(self._work(job, saved))
        try:
            await asyncio.shield(saved)
        except OSError as error:
            job.state, job.reason = State.STOPPED, str(_unkept(error))
            raise _unkept(error) from None

    async def _work(self, job: Job, saved: Awaitable[None]) -> None:
        try:
            await asyncio.shield(saved)
            if job.state is State.SETTLING:
                async with self._may_settle:
                    await self._settle(job)
            if job.state is State.RUNNING:
                async with self._may_send:
                    await self._send(job)
        except NetoError as error:
            job.state, job.reason = State.STOPPED, _without_paths(str(error), job)
        except OSError as error:
            job.state, job.reason = State.STOPPED, str(_unkept(error))
        except Exception:
            logger.exception("the import %s broke off", job.id)
            job.state, job.reason = State.STOPPED, "the service failed; its log says why"
        if job.run is not None:
            job.progress, job.run = asdict(job.run.progress), None
        if job.state not in {State.RUNNING, State.SETTLING}:
            with suppress(OSError):  # a full disk: the next process goes on, and finds all settled
                await asyncio.to_thread(job.save)
        job.task = None

    async def _settle(self, job: Job) -> None:
        """Note what is proven in the journal, and say how the job goes on."""
        if self._closing or job.settling is None:
            return
        plan = await self._plan(job)
        report, error = ReconcileReport(()), ""

        def looked(at: int, _of_all: int) -> None:
            assert job.settling is not None  # noqa: S101 - it is being settled
            job.settling = evolve(job.settling, looked_at=at)

        try:
            report = await self._neto.reconcile(
                journal=job.folder / "journal",
                source=StoredRows(job.folder / "rows", plan["rows"]),
                sole_writer=job.settling.sole_writer,
                settle_after=self._settle_after,
                wait=True,
                on_progress=looked,
            )
        except NetoError as fault:
            error = _without_paths(str(fault), job)
        # From the journal: an earlier process may have proven some, and so has a settling that broke off.
        now = await asyncio.to_thread(SqliteJournal(job.folder / "journal").summary)
        added = now.added - job.progress["added"]
        not_sent = job.progress["unknown"] - added - now.in_doubt
        counts = {"added": added, "not_sent": not_sent, "unknown": now.in_doubt}
        job.settling = evolve(job.settling, **counts, rows=_still_in_doubt(report), error=error)
        job.progress = {**job.progress, "added": now.added, "not_sent": not_sent, "unknown": now.in_doubt}
        if not_sent:
            job.state, job.reason = State.STOPPED, "some rows are certainly not in the store; go on to send them"
        else:
            job.state = State.RUNNING if added else State.ENDED  # a run sends nothing then, and corrects the reports

    async def _send(self, job: Job) -> None:
        """Import to the end; a job that is still running afterwards was left, for another process to go on with."""
        if self._closing:
            return
        plan = await self._plan(job)
        reports = Reports(job.folder / "reports", **plan["reports"], mapping=job.mapping)
        source = StoredRows(job.folder / "rows", plan["rows"])
        run = job.run = self._neto.import_customer_logs(
            source, journal=job.folder / "journal", reports=reports, drain_source=True
        )
        if self._closing:
            return
        async with run:
            async for _ in run:
                if self._closing:
                    return
        if run.progress.not_sent:
            job.state, job.reason = State.STOPPED, run.progress.stop_reason or ""
        else:
            job.state = State.ENDED


def mapping_for(kind: str, zone: str) -> ColumnMapping:
    """
    Give the mapping of a kind of file.

    Args:
        kind: One of `KINDS`, or empty where columns are named as Neto's.
        zone: Of times that name none, where the kind does not say; empty refuses such times.

    Raises:
        RefusedError: There is no such kind, or no such zone.
    """
    if kind and kind not in KINDS:
        raise RefusedError(f"there is no kind of file called {kind}")
    mapping = KINDS.get(kind, ColumnMapping())
    try:
        return mapping if mapping.timezone or not zone else evolve(mapping, timezone=zone)
    except ConfigurationError as error:
        raise RefusedError(str(error)) from None


async def _written(job: Job) -> None:
    """Wait until the end of what a job did is written down, if it is seen to have ended."""
    if job.task is not None and job.state not in {State.RUNNING, State.SETTLING}:
        await asyncio.wait({job.task})


def _still_in_doubt(report: ReconcileReport) -> list[dict[str, Any]]:
    """List the first rows that are left, as JSON may carry them; no reason holds a customer's text."""
    left = [record for record in report.records if record.missing is not None][:MAX_DOUBTS]
    return [
        {
            "line": record.outcome.context.line,
            "reason": record.reason,
            "missing": record.missing,
            "candidates": list(record.candidates[:MAX_DOUBTS]),
        }
        for record in left
    ]


def _ending() -> RefusedError:
    return RefusedError("the service is ending; try again later", status=503, retry_after=10)


def _unkept(error: OSError) -> RefusedError:
    """Say that something can't be kept, without the path that the system's own text names."""
    reason = f"the disk of this service fails: {error.strerror or type(error).__name__}"
    return RefusedError(reason, status=503, retry_after=60)


def _without_paths(text: str, job: Job) -> str:
    for folder in (job.folder.resolve(), job.folder):
        text = text.replace(f"{folder}{os.sep}", "")
    return text


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
