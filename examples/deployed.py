"""
Imports of many web processes and workers, as jobs: all of it is in one PostgreSQL database, and the quota in Redis.

    python -m examples.deployed                                     makes the tables
    procrastinate --app=examples.deployed.app worker …              sends imports, and settles their doubt
    IMPORTS_DATABASE=… python -m examples.fastapi_service.app       takes uploads in, and shows any import

`ImportJobs` has the jobs, with their states and counts, and `PostgresJournal` the journals. Here are, beside them:

    example_import    what was uploaded, and what came of settling its doubt
    example_file      the files of each import, in pieces: what `uploads.py` made of it, and the reports

A worker fetches the files of an import into a folder of its own, and keeps the reports in the database when it stops.
If it is killed, the next one writes them anew from the journal; they lack the reasons that the store had given it.

From the environment, the same for all processes: IMPORTS_DATABASE, how to connect, as libpq reads it; QUOTA_REDIS, the
URL of the quota's server; REQUESTS_PER_MINUTE, of all processes; SETTLE_AFTER; the store, as for the service. SANDBOX
is the address of a sandbox: if it is the store's, plain HTTP will do, and a new quota lets no call begin for
20 seconds instead of 131.
"""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, LiteralString

import psycopg
from attrs import asdict
from procrastinate import App, PsycopgConnector, RetryStrategy
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from examples.imports import PROVEN_ABSENT, REPORTS, RefusedError, Settling, State
from examples.uploads import CHUNK, Limits, StoredRows, Uploads, plan_in, unkept
from neto_async import AsyncNetoClient, ImportProgress, JournalError, JournalInUseError, NetoError, ReconcileReport
from neto_async.importing import ColumnMapping, Reports
from neto_async.integrations.procrastinate import ImportJobs, ImportState, Upload
from neto_async.integrations.redis import RedisQuota
from neto_async.journals.postgres import PostgresJournal

__all__ = ["DeployedImports", "app", "make_tables", "open_client", "opened"]

DATABASE = os.environ.get("IMPORTS_DATABASE", "")
REDIS = os.environ.get("QUOTA_REDIS", "redis://localhost:6379/0")
REQUESTS_PER_MINUTE = int(os.environ.get("REQUESTS_PER_MINUTE", "400"))
SANDBOX = os.environ.get("SANDBOX") == os.environ.get("NETO_STORE_URL", "")
SETTLE_AFTER = float(os.environ.get("SETTLE_AFTER", "0" if SANDBOX else "600"))

WINDOW = 10
"""Seconds of the quota's window for a sandbox, in place of a store's 60. A place must be used within a tenth of it."""

SETTLE = "examples.settle"
PUT_BACK = "examples.put_back"
"""Names of tasks."""

WAITS_FOR = {
    ImportState.WAITING: "it waits for a worker",
    ImportState.RUNNING: "no call of it has ended yet; it may wait for the quota",
}
"""Reasons in the status of an import of which no outcome is known yet."""

SETTLING_EVERY = 1.0
"""Seconds between two looks at a settling."""

SAME_AGAIN = 15.0
"""Seconds after which a status is given once more, so that nobody between takes the stream for dead."""

MAX_LISTED = 100
"""Imports in a list, the newest."""

TABLES: LiteralString = """
SELECT pg_advisory_xact_lock(hashtext('example_import'));
CREATE TABLE IF NOT EXISTS example_import (
    id text PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    state text NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'started', 'settled')),
    settling jsonb,
    reporter text NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS example_file (
    import text REFERENCES example_import ON DELETE CASCADE,
    name text,
    number integer,
    changed_ns bigint NOT NULL,
    piece bytea NOT NULL,
    PRIMARY KEY (import, name, number)
);
"""

READ: LiteralString = """
SELECT
    id, name, created_at, state, settling,
    EXISTS (
        SELECT FROM procrastinate_jobs
        WHERE lock = 'examples.settle ' || example_import.id AND status = 'doing'
            OR queueing_lock = 'examples.settle ' || example_import.id AND status = 'todo'
    ) AS is_settling,
    ARRAY(
        SELECT substr(file.name, length('reports/') + 1) FROM example_file AS file
        WHERE import = example_import.id AND number = 0 AND file.name LIKE 'reports/%%.csv'
    ) AS reports
FROM example_import
"""

STATES = {
    ImportState.WAITING: State.RUNNING,
    ImportState.RUNNING: State.RUNNING,
    ImportState.ENDED: State.ENDED,
    ImportState.STOPPED: State.STOPPED,
    ImportState.CANCELLED: State.CANCELLED,
}


def open_client() -> AsyncNetoClient:
    """Make a client that shares the quota of the account with all other processes."""
    if not SANDBOX:
        return AsyncNetoClient.from_env(quota=RedisQuota(REDIS, calls_per_minute=REQUESTS_PER_MINUTE))
    times = {"longest_call": 5, "leave_within": 4, "window": WINDOW}
    quota = RedisQuota(REDIS, calls_per_minute=math.ceil(REQUESTS_PER_MINUTE * WINDOW / 60), **times)
    return AsyncNetoClient.from_env(quota=quota, timeout=5, allow_insecure_http=True)


# -- files in the database ------------------------------------------------------------------------------------------


@contextmanager
def connected() -> Iterator[psycopg.Connection[Any]]:
    """Connect for a transaction; what fails may pass, as with a journal."""
    try:
        with psycopg.connect(DATABASE) as connection:
            yield connection
    except psycopg.Error as error:
        raise JournalError(f"the database of the imports fails ({type(error).__name__})") from None


def fetch(id_: str, names: str, folder: Path) -> None:
    """Write the files of an import whose names begin so into a folder, with the times at which they were changed."""
    query = (
        "SELECT name, changed_ns, piece FROM example_file WHERE import = %s AND starts_with(name, %s)"
        " ORDER BY name, number"
    )
    with connected() as connection, connection.cursor("files") as cursor:  # which stays at the server
        cursor.itersize = 8
        for name, changed_ns, piece in cursor.execute(query, (id_, names)):
            path = folder / name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with path.open("ab") as file:
                file.write(piece)
            os.utime(path, ns=(changed_ns, changed_ns))


def keep(connection: psycopg.Connection[Any], id_: str, names: str, folder: Path) -> None:
    """Put the files of a folder in the place of those of an import whose names begin so."""
    connection.execute("DELETE FROM example_file WHERE import = %s AND starts_with(name, %s)", (id_, names))
    for path in sorted(folder.joinpath(names).iterdir()):
        with path.open("rb") as file:
            for number, piece in enumerate(chain([file.read(CHUNK)], iter(partial(file.read, CHUNK), b""))):
                connection.execute(
                    "INSERT INTO example_file VALUES (%s, %s, %s, %s, %b)",
                    (id_, f"{names}{path.name}", number, path.stat().st_mtime_ns, piece),
                )


def keep_upload(id_: str, name: str, folder: Path) -> None:
    """Keep a new upload: not itself, but what was read of it."""
    folder.joinpath("upload", "upload").unlink()
    with connected() as connection:
        # The one character that a text in PostgreSQL can't have.
        connection.execute("INSERT INTO example_import (id, name) VALUES (%s, %s)", (id_, name.replace("\0", "")))
        keep(connection, id_, "upload/", folder)


class KeptReports(Reports):
    """
    Reports in a folder of this worker, which are in the database between two runs.

    A worker that was suspended, and whose import another one has taken over, keeps nothing.
    """

    def __init__(self, id_: str, folder: Path, **options: Any) -> None:
        super().__init__(folder / "reports", **options)
        self._id = id_
        self._scratch = folder
        self._reporter = secrets.token_hex(8)

    def added_before(self, journal: str) -> Mapping[int, int]:
        """Fetch what earlier runs wrote; by now this one has the journal's lease."""
        self._scratch.joinpath("reports").mkdir(mode=0o700)
        fetch(self._id, "reports/", self._scratch)
        with connected() as connection:
            connection.execute("UPDATE example_import SET reporter = %s WHERE id = %s", (self._reporter, self._id))
        return super().added_before(journal)

    def close(self, *, complete: bool) -> None:
        """Close the files and keep them."""
        super().close(complete=complete)
        with connected() as connection:
            query = "SELECT FROM example_import WHERE id = %s AND reporter = %s FOR UPDATE"
            if connection.execute(query, (self._id, self._reporter)).rowcount:
                keep(connection, self._id, "reports/", self._scratch)


# -- for workers ----------------------------------------------------------------------------------------------------


def journal(id_: str) -> PostgresJournal:
    """Give the journal of an import."""
    return PostgresJournal(DATABASE, id_)


@asynccontextmanager
async def open_upload(id_: str) -> AsyncIterator[Upload]:
    """Have the rows of an import in a folder, and its reports."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await asyncio.to_thread(fetch, id_, "upload/", folder)
        plan = await asyncio.to_thread(plan_in, folder / "upload")
        mapping = ColumnMapping.from_toml(folder / "upload" / "mapping.toml")
        rows = StoredRows(folder / "upload" / "rows", plan["rows"])
        yield Upload(rows=rows, reports=KeptReports(id_, folder, mapping=mapping, **plan["reports"]))


app = App(connector=PsycopgConnector(conninfo=DATABASE, timeout=5))
jobs = ImportJobs(app, make_client=open_client, make_journal=journal, open_upload=open_upload)


@app.task(name=SETTLE, retry=RetryStrategy(max_attempts=20, wait=30))
async def settle(id_: str, *, sole_writer: bool) -> None:
    """Read back the customers of an import's rows in doubt, note what is proven in its journal, and say so."""
    (row,) = await app.connector.execute_query_all_async(READ + "WHERE id = %(id)s", id=id_)
    ended = await jobs.status(id_)
    assert ended is not None  # noqa: S101 - only what has ended is settled
    report, error = ReconcileReport(()), ""
    async with open_upload(id_) as upload, open_client() as neto:
        assert isinstance(upload.rows, StoredRows)  # noqa: S101
        try:
            report = await neto.reconcile(
                journal=journal(id_),
                source=upload.rows,
                sole_writer=sole_writer,
                settle_after=SETTLE_AFTER,
                wait=True,
            )
        except JournalInUseError:
            raise
        except NetoError as fault:
            error = str(fault)
    now = await asyncio.to_thread(journal(id_).summary)
    begun = Settling(**{**row["settling"], "looked_at": len(report.records)})
    settling = begun.ended(asdict(ended.progress), now, report, error)
    await app.connector.execute_query_async(
        "UPDATE example_import SET settling = %(settling)s, state = %(state)s WHERE id = %(id)s",
        id=id_,
        settling=asdict(settling),
        state="settled" if settling.not_sent else "started",
    )
    if settling.added and not settling.not_sent:
        await jobs.start(id_, id_)  # which sends nothing, and corrects the reports


@app.periodic(cron="* * * * *")
@app.task(name=PUT_BACK, queueing_lock=PUT_BACK)
async def put_back(timestamp: int) -> None:  # noqa: ARG001 - Procrastinate gives it
    """Put settlings back whose worker died; `ImportJobs` does so for imports."""
    for job in await app.job_manager.get_stalled_jobs(task_name=SETTLE):
        await app.job_manager.retry_job(job)


# -- for web processes ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def refusing() -> AsyncIterator[None]:
    """Answer that the database is away, or the disk is full."""
    try:
        yield
    except (JournalError, ConnectorException):
        raise RefusedError("the database of this service fails; try again later", status=503, retry_after=10) from None
    except OSError as error:
        raise unkept(error) from None


@asynccontextmanager
async def opened(limits: Limits) -> AsyncIterator[DeployedImports]:
    """Open the imports for a web process."""
    async with app.open_async():
        yield DeployedImports(limits)


class DeployedImports:
    """See `examples.imports.Imports`."""

    def __init__(self, limits: Limits) -> None:
        self._uploads = Uploads(limits)
        self._ending = asyncio.Event()

    @refusing()
    async def add(
        self,
        name: str,
        pieces: AsyncIterable[bytes],
        mapping: ColumnMapping = ColumnMapping(),  # noqa: B008 - frozen
    ) -> str:
        """Take an upload in."""
        self._uploads.check(name)
        id_ = secrets.token_hex(8)
        with tempfile.TemporaryDirectory() as folder:
            await self._uploads.take_in(Path(folder, "upload"), name, pieces, mapping)
            await asyncio.to_thread(keep_upload, id_, name, Path(folder))
        return id_

    @refusing()
    async def listed(self) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Give the newest, and what can't go on."""
        rows = await self._read("ORDER BY created_at DESC LIMIT %(most)s", most=MAX_LISTED)
        statuses = [await self._status(row) for row in rows]
        return statuses, {status["id"]: status["reason"] for status in statuses if status["state"] == State.STOPPED}

    @refusing()
    async def status(self, id_: str) -> dict[str, Any]:
        """Say how far it is."""
        return await self._status(await self._row(id_))

    @refusing()
    async def preview(self, id_: str) -> dict[str, Any]:
        """Say what is going to be sent."""
        await self._row(id_)
        with tempfile.TemporaryDirectory() as folder:
            await asyncio.to_thread(fetch, id_, "upload/plan.json", Path(folder))
            plan = await asyncio.to_thread(plan_in, Path(folder, "upload"))
        del plan["reports"]
        return plan

    @refusing()
    async def start(self, id_: str) -> None:
        """Have a worker begin, or go on."""
        if (await self.status(id_))["state"] in {State.READY, State.STOPPED, State.CANCELLED}:
            await self._change("SET state = 'started'", id_)
            await jobs.start(id_, id_)

    @refusing()
    async def cancel(self, id_: str) -> None:
        """Have its worker stop."""
        await self._row(id_)
        if not await jobs.cancel(id_):
            raise RefusedError("only an import that is running can be cancelled", status=409)

    @refusing()
    async def settle(self, id_: str, *, sole_writer: bool = False) -> None:
        """Have a worker read customers back."""
        status = await self.status(id_)
        if status["state"] == State.SETTLING:
            return
        if status["state"] != State.ENDED or not status["progress"]["unknown"]:
            raise RefusedError("only an import that has ended with rows in doubt can be settled", status=409)
        begun = Settling.begun(sole_writer=sole_writer, settle_after=SETTLE_AFTER)
        await self._change("SET settling = %(settling)s", id_, settling=asdict(begun))
        lock = f"{SETTLE} {id_}"
        try:
            await settle.configure(lock=lock, queueing_lock=lock).defer_async(id_=id_, sole_writer=sole_writer)
        except AlreadyEnqueued:  # by another process, just now
            return

    async def follow(self, id_: str) -> AsyncIterator[dict[str, Any]]:
        """Give a status now, and again as it changes."""
        last = await self.status(id_)
        async with aclosing(self._changes(id_, last)) as changes:
            change = asyncio.ensure_future(anext(changes, None))
            ending = asyncio.ensure_future(self._ending.wait())
            try:
                yield last
                while not ending.done():
                    await asyncio.wait({change, ending}, timeout=SAME_AGAIN, return_when=asyncio.FIRST_COMPLETED)
                    if change.done():
                        if (now := change.result()) is None:
                            return
                        last, change = now, asyncio.ensure_future(anext(changes, None))
                    yield last
            finally:
                change.cancel()
                ending.cancel()
                await asyncio.gather(change, ending, return_exceptions=True)

    @refusing()
    async def report(self, id_: str, name: str) -> AsyncIterator[bytes]:
        """Give the content of a report, as it is now."""
        if name not in (await self._row(id_))["reports"] or name not in REPORTS:
            raise RefusedError("there is no such report", status=404)
        with tempfile.TemporaryDirectory() as folder:
            await asyncio.to_thread(fetch, id_, f"reports/{name}", Path(folder))
            file: IO[bytes] = await asyncio.to_thread(Path(folder, "reports", name).open, "rb")

        async def pieces() -> AsyncIterator[bytes]:
            with file:
                while piece := await asyncio.to_thread(file.read, CHUNK):
                    yield piece

        return pieces()

    @refusing()
    async def remove(self, id_: str) -> None:
        """Delete what is kept of it, apart from its journal; see ``neto-async prune``."""
        if (await self.status(id_))["state"] not in {State.READY, State.ENDED}:
            raise RefusedError("it has not ended: its journal knows what was sent", status=409)
        await app.connector.execute_query_async("DELETE FROM example_import WHERE id = %(id)s", id=id_)

    def stop(self) -> None:
        """Take no more uploads, and end all that follow: the process is going to end. Workers go on."""
        self._uploads.stop()
        self._ending.set()

    async def aclose(self, timeout: float = 10.0) -> None:  # noqa: ARG002, ASYNC109
        """Stop; this process makes no calls for imports."""
        self.stop()

    async def _changes(self, id_: str, last: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        with suppress(ConnectorException, RefusedError):  # it was deleted, or who follows has to come again
            while last["state"] in {State.RUNNING, State.SETTLING}:
                async with aclosing(self._looks(id_)) as looks:
                    async for status in looks:
                        if status != last:
                            last = status
                            yield status

    async def _looks(self, id_: str) -> AsyncGenerator[dict[str, Any], None]:
        """Look at an import when it may have changed, while it is open or is settled."""
        async with aclosing(jobs.follow(id_)) as changes:
            async for _ in changes:
                yield await self.status(id_)
        status = await self.status(id_)
        yield status
        if status["state"] == State.SETTLING:
            await asyncio.sleep(SETTLING_EVERY)

    async def _read(self, which: LiteralString, **values: Any) -> list[dict[str, Any]]:
        return await app.connector.execute_query_all_async(READ + which, **values)

    async def _row(self, id_: str) -> dict[str, Any]:
        rows = await self._read("WHERE id = %(id)s", id=id_) if "\0" not in id_ else []
        if not rows:
            raise RefusedError("there is no such import", status=404)
        return rows[0]

    async def _change(self, change: LiteralString, id_: str, **values: Any) -> None:
        query: LiteralString = "UPDATE example_import " + change + " WHERE id = %(id)s"
        await app.connector.execute_query_async(query, id=id_, **values)

    async def _status(self, row: dict[str, Any]) -> dict[str, Any]:
        now = await jobs.status(row["id"])
        progress = asdict(ImportProgress() if now is None else now.progress)
        settling = row["settling"]
        if row["is_settling"]:
            state, reason = State.SETTLING, ""
        elif row["state"] == "settled":
            state, reason = State.STOPPED, PROVEN_ABSENT
            counts = {name: settling[name] for name in ("not_sent", "unknown")}
            progress = {**progress, **counts, "added": progress["added"] + settling["added"]}
        elif row["state"] == "ready":
            state, reason = State.READY, ""
        elif now is None:
            state, reason = State.STOPPED, "it did not begin; start it again"
        else:
            state, reason = STATES[now.state], now.reason
            if progress["total"] is None:
                reason = reason or WAITS_FOR.get(now.state, "")
        return {
            "id": row["id"],
            "name": row["name"],
            "created_at": row["created_at"].isoformat(),
            "state": str(state),
            "reason": reason,
            "progress": progress,
            "settling": settling,
            "reports": [name for name in REPORTS if name in row["reports"]],
        }


async def make_tables() -> None:
    """Make all tables that are not there; of processes that do so at once, one makes them."""
    async with app.open_async():
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        await jobs.create_table()
        await app.connector.execute_query_async(TABLES)


if __name__ == "__main__":
    asyncio.run(make_tables())
