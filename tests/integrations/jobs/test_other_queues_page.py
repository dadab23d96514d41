"""The page on Celery and taskiq: its files and its workers, which are killed and stopped in the middle of an import."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from attrs import Factory, define

from neto_async import NetoError
from neto_async.journals.events import JournalSummary
from neto_async.journals.postgres import PostgresJournal
from neto_async.sandbox import NetoSandbox, faults

sys.path.append(str(Path(__file__).parents[1] / "redis_quota"))

from members import Server, open_gate

pytestmark = pytest.mark.job_queues

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "imports-with-celery-or-taskiq.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'^```python title="([\w.]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))
ROWS = 1500

TASKIQ = """
import asyncio
from taskiq_jobs import broker, import_upload, wake

async def main():
    await broker.startup()
    await {job}
    await broker.shutdown()

asyncio.run(main())
"""
WAKE = TASKIQ.format(job="wake.kiq()")
"""What the page's scheduler sends once a minute."""

JOBS = {
    "celery": 'from celery_jobs import import_upload; import_upload.delay("june")',
    "taskiq": TASKIQ.format(job='import_upload.kiq("june")'),
}


@define
class Service:
    """What the page describes, on servers of the test's own; the processes of one queue."""

    queue: str
    store: NetoSandbox
    conninfo: str
    folder: Path
    broker: redis.Redis
    environment: dict[str, str]
    workers: list[subprocess.Popen[bytes]] = Factory(list)

    def run(self, program: str) -> None:
        """Run a few lines, as a web process would."""
        subprocess.run([sys.executable, "-c", program], cwd=self.folder, env=self.environment, check=True, timeout=60)

    def start(self) -> None:
        """Have the upload imported."""
        self.run(JOBS[self.queue])

    def work(self) -> None:
        """Start a worker with the page's command, with a process group of its own."""
        (command,) = re.findall(rf"^{self.queue} (.*worker.*)$", PAGE, re.MULTILINE)
        with (self.folder / "log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", self.queue, *shlex.split(command)],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.workers.append(worker)

    def kill(self) -> None:
        """Kill all processes of the last worker at once."""
        os.killpg(self.workers[-1].pid, signal.SIGKILL)
        self.workers[-1].wait()

    async def stop(self, worker: int = -1) -> int:
        """Ask a worker to end, as an orchestrator does; give its exit code."""
        self.workers[worker].terminate()
        # On Python 3.11 taskiq notices it with its next message, and the page's scheduler sends one each minute.
        while self.queue == "taskiq" and self.workers[worker].poll() is None:
            await asyncio.to_thread(self.run, WAKE)
        return await asyncio.to_thread(self.workers[worker].wait)

    def pass_time(self) -> None:
        """Let the time pass after which the broker takes a worker for dead, on the server alone."""
        if self.queue == "celery":
            for tag in self.broker.zrange("unacked_index", 0, -1):
                self.broker.zadd("unacked_index", {tag: 0})
        else:
            for job in self.broker.xpending_range("imports", "taskiq", "-", "+", 10):
                self.broker.xclaim("imports", "taskiq", job["consumer"], 0, [job["message_id"]], idle=300_001)
            self.run(WAKE)

    def journal(self) -> JournalSummary | None:
        """Say what is in the import's journal; None where there is none yet."""
        with suppress(NetoError):
            return PostgresJournal(self.conninfo, "june").summary()
        return None

    async def until_ended(self) -> JournalSummary:
        """Wait until the import has come to the end of its upload."""
        while (journal := await asyncio.to_thread(self.journal)) is None or journal.remaining != 0:
            assert self.workers[-1].poll() is None
        return await asyncio.to_thread(PostgresJournal(self.conninfo, "june").summary)

    async def in_the_middle(self, answers: asyncio.Event) -> None:
        """Wait until the store has saved rows of two calls that it has not answered."""
        await self.store.until(lambda: self.store.log_count > 300)
        self.store.faults.always(faults.Late(until=answers))
        before = self.store.log_count
        await self.store.until(lambda: self.store.log_count >= before + 200)

    def check(self, journal: JournalSummary) -> None:
        """Compare the journal with what the store saved: each row once at most, and no doubt about the others."""
        saved = Counter(log.notes for log in self.store.logs)
        assert {1} == set(saved.values())
        assert ROWS == journal.added + journal.in_doubt
        assert journal.added <= len(saved) <= journal.added + journal.in_doubt


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Server]:
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server on this machine's path")
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["celery", "taskiq"])
async def service(
    request: Any, store: NetoSandbox, empty_database: str, redis_server: Server, tmp_path: Path
) -> AsyncIterator[Service]:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.replace("LATER = 60\n", "LATER = 1\n"), encoding="utf-8")
    rows = [f"jsmith,row {number}\n" for number in range(ROWS)]
    (tmp_path / "june.csv").write_text("Username,Notes\n" + "".join(rows), encoding="utf-8")
    settings = {
        "IMPORTS_BROKER": redis_server.url,
        "IMPORTS_DATABASE": empty_database,
        "IMPORTS_QUOTA": redis_server.url,
        "IMPORTS_UPLOADS": str(tmp_path),
        "NETO_STORE_URL": store.url,
        "NETO_USERNAME": store.username or "",
        "NETO_API_KEY": store.api_key,
    }
    async with redis.asyncio.Redis.from_url(redis_server.url) as look:
        await open_gate(look, store.url)  # nobody else calls this store
    with redis.Redis.from_url(redis_server.url) as broker:
        made = Service(request.param, store, empty_database, tmp_path, broker, {**os.environ, **settings})
        yield made
        for worker in made.workers:
            with suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


async def test_a_killed_worker_s_import_goes_on(service):
    """After SIGKILL another worker gets the job again and ends it; rows whose calls were under way are in doubt."""
    service.start()
    service.work()
    await service.in_the_middle(asyncio.Event())
    service.kill()
    service.store.faults.clear()

    service.work()
    service.pass_time()
    journal = await service.until_ended()

    service.check(journal)
    assert (2, True) == (journal.runs, journal.in_doubt >= 200)
    assert 0 == await service.stop()


async def test_a_job_that_is_delivered_twice_sends_each_row_once(service):
    """While one worker runs an import, the same job at another one sends nothing; it tries again, and ends with it."""
    service.start()
    service.start()
    service.work()
    await service.store.until(lambda: service.store.log_count > 0)
    service.pass_time()  # the first delivery as well is taken for one of a worker that is gone
    service.work()

    journal = await service.until_ended()

    service.check(journal)
    assert 0 == journal.in_doubt
    assert [0, 0] == [await service.stop(0), await service.stop(1)]


async def test_a_worker_that_is_stopped_leaves_no_doubt(service):
    """After SIGTERM the calls under way end before the worker does; another one sends the rest."""
    answers = asyncio.Event()
    service.start()
    service.work()
    await service.in_the_middle(answers)
    stopping = asyncio.create_task(service.stop())
    while b"a run stopped" not in await asyncio.to_thread((service.folder / "log").read_bytes):
        pass
    answers.set()

    assert 0 == await stopping
    journal = service.journal()
    assert (service.store.log_count, 0, None) == (journal.added, journal.in_doubt, journal.rows)
    service.store.faults.clear()
    service.work()
    service.pass_time()
    journal = await service.until_ended()
    service.check(journal)
    assert 0 == journal.in_doubt
