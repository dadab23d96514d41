"""
Imports that the service's own process sends, and that survive it: a folder for each, and no server beside.

In a folder named by the job's id, beside what `uploads.py` stores there:

    job.json     name, state and counts
    journal      what was added, what was not, what is in doubt: the library's
    reports/     added.csv, rejected.csv, unknown.csv, not_sent.csv: the library's

The folder is one process's: two that share it would start each other's imports. For more processes: `deployed.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attrs import asdict, define, evolve, field

from examples.imports import PROVEN_ABSENT, REPORTS, RefusedError, Settling, State
from examples.uploads import CHUNK, READER, Limits, StoredRows, Uploads, plan_in, sync, unkept
from neto_async import AsyncNetoClient, ImportProgress, NetoError, ReconcileReport
from neto_async.importing import ColumnMapping, ImportRun, Reports
from neto_async.journals.sqlite import SqliteJournal

__all__ = ["EmbeddedImports", "Job", "opened"]

PART = ".part"
"""How the name of a folder ends until its upload is complete and has been read."""

STATUS_EVERY = 0.5
"""Seconds between two statuses of a running import; a connection that has gone is noticed by them too."""

logger = logging.getLogger(__name__)


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
    cancelled: bool = False  # while it is being imported, and a person wants it to stop
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
            sync(file)
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


async def opened(neto: AsyncNetoClient, limits: Limits) -> EmbeddedImports:
    """Open the imports as the environment says, and go on with those of an earlier process."""
    folder, settle_after = Path(os.environ.get("IMPORTS", "imports")), float(os.environ.get("SETTLE_AFTER", "600"))
    imports = EmbeddedImports(neto, folder, limits=limits, settle_after=settle_after)
    await imports.resume()
    return imports


class EmbeddedImports:
    """
    See `examples.imports.Imports`.

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
        limits: Limits = Limits(),  # noqa: B008 - frozen
        reader: Sequence[str] = READER,
        settle_after: float = 600,
    ) -> None:
        self._neto = neto
        self._folder = folder
        self._uploads = Uploads(limits, reader)
        self._settle_after = settle_after
        self._jobs: dict[str, Job] = {}
        self._unreadable: dict[str, str] = {}
        self._arriving: set[Path] = set()  # folders of uploads that come in or are read
        self._may_send = asyncio.Semaphore(limits.imports)
        self._may_settle = asyncio.Semaphore(limits.imports)
        self._closing = False

    @property
    def jobs(self) -> Mapping[str, Job]:
        """All there are, by id, oldest first."""
        return MappingProxyType(self._jobs)

    async def resume(self) -> None:
        """
        Take up what an earlier process left, and go on with the imports that had not come to their end.

        Nothing that is wrong with a folder, such as a full disk, is raised: the service starts all the same, and
        `listed` says what it can't go on with.
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
                    await self.start(job.id)
                elif job.state is State.SETTLING:
                    await self._begin_settling(job, sole_writer=job.settling is not None and job.settling.sole_writer)
        for id_, reason in (await self.listed())[1].items():
            logger.warning("can't go on with the import %s: %s", id_, reason)

    async def add(
        self,
        name: str,
        pieces: AsyncIterable[bytes],
        mapping: ColumnMapping = ColumnMapping(),  # noqa: B008 - frozen
    ) -> str:
        """Take an upload in."""
        self._uploads.check(name)
        self._sweep()
        id_ = secrets.token_hex(8)
        job = Job(self._folder / (id_ + PART), name, mapping)
        self._arriving.add(job.folder)
        try:
            await self._uploads.take_in(job.folder, name, pieces, mapping)
            await asyncio.to_thread(job.save)
            job.folder = job.folder.rename(self._folder / id_)
        except OSError as error:
            raise unkept(error) from None
        finally:
            self._arriving.discard(self._folder / (id_ + PART))
            self._sweep()
        self._jobs[id_] = job
        return id_

    async def listed(self) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Give all there are, and what can't go on."""
        stopped = {job.id: job.reason for job in self._jobs.values() if job.state is State.STOPPED}
        return [job.status for job in reversed(self._jobs.values())], {**self._unreadable, **stopped}

    async def status(self, id_: str) -> dict[str, Any]:
        """Say how far it is."""
        return self._job(id_).status

    async def preview(self, id_: str) -> dict[str, Any]:
        """Say what is going to be sent."""
        try:
            plan = await asyncio.to_thread(plan_in, self._job(id_).folder)
        except OSError as error:
            raise unkept(error) from None
        del plan["reports"]
        return plan

    async def start(self, id_: str) -> None:
        """Begin to send, or go on; it is written down when this returns."""
        job = self._job(id_)
        await _written(job)
        if job.task is None and job.state is not State.ENDED:
            await self._begin(job, State.RUNNING)

    async def cancel(self, id_: str) -> None:
        """Take no more rows."""
        job = self._job(id_)
        if job.state is not State.RUNNING:
            raise RefusedError("only an import that is running can be cancelled", status=409)
        job.cancelled = True
        if job.run is not None:
            job.run.stop()
        elif job.task is not None:
            job.task.cancel()  # it waits for its turn

    async def settle(self, id_: str, *, sole_writer: bool = False) -> None:
        """Begin to read customers back; it is written down when this returns."""
        job = self._job(id_)
        await _written(job)
        if job.state is State.SETTLING:
            return
        if job.state is not State.ENDED or not job.progress["unknown"]:
            raise RefusedError("only an import that has ended with rows in doubt can be settled", status=409)
        await self._begin_settling(job, sole_writer=sole_writer)

    async def follow(self, id_: str) -> AsyncIterator[dict[str, Any]]:
        """Give a status now, and again as it changes."""
        job = self._job(id_)
        yield job.status
        while job.task is not None and not self._closing:
            await asyncio.wait({job.task}, timeout=STATUS_EVERY)
            yield job.status

    async def report(self, id_: str, name: str) -> AsyncIterator[bytes]:
        """Give the content of a report."""
        path = self._job(id_).report(name)
        if path is None:
            raise RefusedError("there is no such report", status=404)

        async def pieces() -> AsyncIterator[bytes]:
            with path.open("rb") as file:
                while piece := await asyncio.to_thread(file.read, CHUNK):
                    yield piece

        return pieces()

    async def remove(self, id_: str) -> None:
        """Delete what is kept of a job."""
        job = self._job(id_)
        if job.state not in {State.READY, State.ENDED}:
            raise RefusedError("it has not ended: its journal knows what was sent", status=409)
        try:
            job.folder.rename(job.folder.with_suffix(PART))
        except OSError as error:
            raise unkept(error) from None
        del self._jobs[id_]
        self._sweep()

    def stop(self) -> None:
        """Take no more rows and uploads, and end all that follow: the process is going to end."""
        self._closing = True
        self._uploads.stop()
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

    def _job(self, id_: str) -> Job:
        if id_ not in self._jobs:
            raise RefusedError("there is no such import", status=404)
        return self._jobs[id_]

    def _sweep(self) -> None:
        """Remove what is left of uploads that were refused, broken off or deleted; what can't go now goes later."""
        for left in set(self._folder.glob(f"*{PART}")) - self._arriving:
            shutil.rmtree(left, ignore_errors=True)

    async def _begin_settling(self, job: Job, *, sole_writer: bool) -> None:
        job.settling = Settling.begun(sole_writer=sole_writer, settle_after=self._settle_after)
        await self._begin(job, State.SETTLING)

    async def _begin(self, job: Job, state: State) -> None:
        job.state, job.reason, job.cancelled = state, "", False
        saved = asyncio.ensure_future(asyncio.to_thread(job.save))
        job.task = asyncio.create_task(self._work(job, saved))
        try:
            await asyncio.shield(saved)
        except OSError as error:
            job.state, job.reason = State.STOPPED, str(unkept(error))
            raise unkept(error) from None

    async def _work(self, job: Job, saved: Awaitable[None]) -> None:
        try:
            await asyncio.shield(saved)
            if job.state is State.SETTLING:
                async with self._may_settle:
                    await self._settle(job)
            if job.state is State.RUNNING:
                async with self._may_send:
                    await self._send(job)
        except asyncio.CancelledError:
            if not job.cancelled:
                raise
        except NetoError as error:
            job.state, job.reason = State.STOPPED, _without_paths(str(error), job)
        except OSError as error:
            job.state, job.reason = State.STOPPED, str(unkept(error))
        except Exception:
            logger.exception("the import %s broke off", job.id)
            job.state, job.reason = State.STOPPED, "the service failed; its log says why"
        await self._end(job)

    async def _end(self, job: Job) -> None:
        """Write down how far it came, unless it was left for the next process."""
        if job.run is not None:
            job.progress, job.run = asdict(job.run.progress), None
        if job.cancelled and job.state is State.RUNNING:
            job.state = State.CANCELLED
        if job.state not in {State.RUNNING, State.SETTLING}:
            with suppress(OSError):  # a full disk: the next process goes on, and finds all settled
                await asyncio.to_thread(job.save)
        job.task = None

    async def _settle(self, job: Job) -> None:
        """Note what is proven in the journal, and say how the job goes on."""
        if self._closing or job.settling is None:
            return
        plan = await asyncio.to_thread(plan_in, job.folder)
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
        now = await asyncio.to_thread(SqliteJournal(job.folder / "journal").summary)
        settling = job.settling = job.settling.ended(job.progress, now, report, error)
        counts = {"added": now.added, "not_sent": settling.not_sent, "unknown": now.in_doubt}
        job.progress = {**job.progress, **counts}
        if settling.not_sent:
            job.state, job.reason = State.STOPPED, PROVEN_ABSENT
        else:  # a run sends nothing then, and corrects the reports
            job.state = State.RUNNING if settling.added else State.ENDED

    async def _send(self, job: Job) -> None:
        """Import to the end; a job that is still running afterwards was left, for another process to go on with."""
        plan = await asyncio.to_thread(plan_in, job.folder)
        if self._closing:
            return
        reports = Reports(job.folder / "reports", **plan["reports"], mapping=job.mapping)
        source = StoredRows(job.folder / "rows", plan["rows"])
        run = job.run = self._neto.import_customer_logs(
            source, journal=job.folder / "journal", reports=reports, drain_source=True
        )
        async with run:
            async for _ in run:
                if self._closing:
                    return
        if not run.progress.not_sent:
            job.state = State.ENDED
        elif not job.cancelled:
            job.state, job.reason = State.STOPPED, run.progress.stop_reason or ""


async def _written(job: Job) -> None:
    """Wait until the end of what a job did is written down, if it is seen to have ended."""
    if job.task is not None and job.state not in {State.RUNNING, State.SETTLING}:
        await asyncio.wait({job.task})


def _without_paths(text: str, job: Job) -> str:
    for folder in (job.folder.resolve(), job.folder):
        text = text.replace(f"{folder}{os.sep}", "")
    return text
