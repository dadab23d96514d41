"""
Imports that survive the process: each has a folder with the upload, its mapping, its journal and its reports.

Free of any web framework; both example services use it. In a folder named by the job's id:

    upload, mapping.toml      what came in, and how its columns are read
    job.json                  name, state and counts
    journal                   what was added, what was not, what is in doubt: the library's
    reports/                  added.csv, rejected.csv, unknown.csv, not_sent.csv: the library's

The folder is one process's: two that share it would start each other's imports.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from attrs import asdict, define, evolve, field

from neto_async import AsyncNetoClient, ConfigurationError, ImportProgress, NetoError
from neto_async.importing import (
    ColumnMapping,
    ImportRun,
    LogSource,
    Plan,
    Reports,
    RowFile,
    make_plan,
    open_binary,
    open_rows,
)

__all__ = ["KINDS", "REPORTS", "Imports", "Job", "RefusedFileError", "State", "TooLargeError", "mapping_for"]

KINDS = {path.stem: ColumnMapping.from_toml(path) for path in sorted(Path(__file__).parent.glob("mappings/*.toml"))}
"""The kinds of file that this service knows, beside those whose columns are named as Neto's."""

REPORTS = ("added.csv", "rejected.csv", "unknown.csv", "not_sent.csv")

PART = ".part"
"""How the name of a folder ends until its upload is whole and was looked through."""

FIRST_FAULTS = 10
"""Invalid rows that a preview lists."""

TOLD_EVERY = 0.5
"""Seconds between two statuses of a running import; a connection that has gone is noticed by them too."""

logger = logging.getLogger(__name__)


class RefusedFileError(Exception):
    """The upload can't be imported; the text says why, and nothing of it is kept."""


class TooLargeError(RefusedFileError):
    """The upload is over the size that is taken."""


class State(StrEnum):
    """How far a job is."""

    READY = "ready"
    """Uploaded and looked through; nothing is sent before it is started."""
    RUNNING = "running"
    """Being sent, in this process or, after its end, in the next."""
    STOPPED = "stopped"
    """It could not go on, such as with a refused key: start it again, or restart the service."""
    ENDED = "ended"
    """Every row has its outcome."""


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
        plan: What is going to be sent, while that is known.
    """

    folder: Path
    name: str
    mapping: ColumnMapping
    created_at: datetime = field(factory=lambda: datetime.now(timezone.utc))
    state: State = State.READY
    reason: str = ""
    plan: Plan | None = None
    task: asyncio.Task[None] | None = None  # this and the next: while it is being imported
    run: ImportRun | None = None
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
        )


class Imports:
    """
    All jobs of a service.

    Args:
        neto: Sends them.
        folder: Holds a folder for each; made if need be.
        max_bytes: Of an upload.
    """

    def __init__(self, neto: AsyncNetoClient, folder: Path, *, max_bytes: int = 100_000_000) -> None:
        self._neto = neto
        self._folder = folder
        self._max_bytes = max_bytes
        self._jobs: dict[str, Job] = {}
        self._closing = False

    @property
    def jobs(self) -> Mapping[str, Job]:
        """All there are, by id, oldest first."""
        return MappingProxyType(self._jobs)

    async def resume(self) -> None:
        """Take up what an earlier process left, and go on with the imports that had not come to their end."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for broken_off in self._folder.glob(f"*{PART}"):
            shutil.rmtree(broken_off)
        kept = [Job.load(path.parent) for path in self._folder.glob("*/job.json")]
        for job in sorted(kept, key=lambda job: job.created_at):
            self._jobs[job.id] = job
            if job.state in {State.RUNNING, State.STOPPED}:
                await self.start(job)

    async def add(
        self,
        name: str,
        pieces: AsyncIterable[bytes],
        mapping: ColumnMapping = ColumnMapping(),  # noqa: B008 - frozen
    ) -> Job:
        """
        Take an upload in: store it as it comes, and look through it. Nothing is sent before `start`.

        Args:
            name: Of the file; its ending says what kind it is.
            pieces: Its bytes.
            mapping: How its columns become logs.

        Raises:
            RefusedFileError: It is too large (`TooLargeError`), or can't be imported.
        """
        id_ = secrets.token_hex(8)
        job = Job(self._folder / (id_ + PART), name, mapping)
        try:
            job.folder.mkdir(mode=0o700)
            with (job.folder / "upload").open("xb") as file:
                await self._store(pieces, file)
            (job.folder / "mapping.toml").write_text(mapping.to_toml(), encoding="utf-8")
            await self.preview(job)
            await asyncio.to_thread(job.save)
            job.folder = job.folder.rename(self._folder / id_)
        except BaseException:
            shutil.rmtree(job.folder, ignore_errors=True)
            raise
        self._jobs[job.id] = job
        return job

    async def preview(self, job: Job) -> dict[str, Any]:
        """
        Say what is going to be sent, as JSON may carry it.

        Raises:
            RefusedFileError: The file can't be imported.
        """
        try:
            with open_binary(job.folder / "upload") as file:
                plan = (await _opened(job, file)).plan
        except ConfigurationError as error:
            raise RefusedFileError(str(error)) from None
        return {
            "rows": plan.rows,
            "valid": plan.valid,
            "columns": dict(plan.mapping.columns),
            "ignored": plan.ignored,
            "samples": [
                {name: str(value) for name, value in asdict(log).items() if value is not None} for log in plan.samples
            ],
            "faults": ["; ".join(errors) for errors in plan.faults[:FIRST_FAULTS]],
        }

    async def start(self, job: Job) -> None:
        """Begin to send, or go on after a stop; when this returns, an end of the process is no end of the import."""
        if job.task is None and job.state is not State.ENDED:
            job.state, job.reason = State.RUNNING, ""
            saved = asyncio.ensure_future(asyncio.to_thread(job.save))
            job.task = asyncio.create_task(self._import(job, saved))
            await asyncio.shield(saved)

    async def statuses(self, job: Job) -> AsyncIterator[dict[str, Any]]:
        """Give a job's status now, and again as it changes, until its import ends, or soon after `stop`."""
        yield job.status
        while job.task is not None and not self._closing:
            await asyncio.wait({job.task}, timeout=TOLD_EVERY)
            yield job.status

    def remove(self, job: Job) -> bool:
        """Delete what is kept of a job; False for one that is not through: its journal knows what was sent."""
        if job.state not in {State.READY, State.ENDED}:
            return False
        del self._jobs[job.id]
        shutil.rmtree(job.folder)
        return True

    def stop(self) -> None:
        """Take no more rows, and end all `statuses`: the process is going to end."""
        self._closing = True
        for job in self._jobs.values():
            if job.run is not None:
                job.run.stop()

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

    async def _store(self, pieces: AsyncIterable[bytes], file: IO[bytes]) -> None:
        size = 0
        async for piece in pieces:
            size += len(piece)
            if size > self._max_bytes:
                raise TooLargeError(f"the file is larger than {self._max_bytes:,} bytes")
            await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(_sync, file)

    async def _import(self, job: Job, saved: Awaitable[None]) -> None:
        try:
            await saved
            await self._send(job)
        except NetoError as error:
            job.state, job.reason = State.STOPPED, str(error)
        except Exception:
            logger.exception("the import %s broke off", job.id)
            job.state, job.reason = State.STOPPED, "the service failed; its log says why"
        if job.run is not None:
            job.progress, job.run = asdict(job.run.progress), None
        if job.state is not State.RUNNING:
            with suppress(OSError):  # a full disk: the next process goes on, and finds all settled
                await asyncio.to_thread(job.save)
        job.task = None

    async def _send(self, job: Job) -> None:
        """Import to the end; a job that is still running afterwards was left, for another process to go on with."""
        with open_binary(job.folder / "upload") as file:
            source = await _opened(job, file)
            reports = _reports(job, source)
            run = job.run = self._neto.import_customer_logs(
                source, journal=job.folder / "journal", reports=reports, read_on=True
            )
            if self._closing:
                return
            async with run:
                async for _ in run:
                    if self._closing:
                        return
        job.plan = None
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
        RefusedFileError: There is no such kind, or no such zone.
    """
    if kind and kind not in KINDS:
        raise RefusedFileError(f"there is no kind of file called {kind}")
    mapping = KINDS.get(kind, ColumnMapping())
    try:
        return mapping if mapping.timezone or not zone else evolve(mapping, timezone=zone)
    except ConfigurationError as error:
        raise RefusedFileError(str(error)) from None


async def _opened(job: Job, file: Any) -> LogSource:
    rows: RowFile = await asyncio.to_thread(open_rows, file, name=job.name, **job.mapping.file)
    if job.plan is None:
        job.plan = await asyncio.to_thread(make_plan, rows, job.mapping, import_unknown=False)
    return LogSource(file=rows, plan=job.plan)


def _reports(job: Job, source: LogSource) -> Reports:
    plain = source.file.encoding is not None and source.file.encoding.label == "UTF-8"
    delimiter = source.file.delimiter or ","
    return Reports(job.folder / "reports", source.plan.columns, delimiter=delimiter, mark=not plain)


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
