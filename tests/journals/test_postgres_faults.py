"""Imports with a journal in PostgreSQL, whose process or server is killed or suspended: what did the store save?"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from attrs import define, field

from neto_async.sandbox import NetoSandbox, faults

sys.path.append(str(Path(__file__).parent))
from server import Server  # noqa: TC002 - attrs resolves it; and tests are no packages

from neto_async.journals.postgres import PostgresJournal

ROWS = 120
IN_FLIGHT = 4 * 5
"""Rows in the calls that can be under way at once."""


@define
class Run:
    """A process that imports, and what it said of each row."""

    process: asyncio.subprocess.Process
    said: dict[int, str] = field(factory=dict)
    error: str | None = None

    async def read(self, until: Callable[[], bool] = lambda: False) -> None:
        """Take in what it says until something holds, or to its end."""
        assert self.process.stdout is not None
        while not until():
            if not (line := await self.process.stdout.readline()):
                await self.process.wait()
                return
            match json.loads(line):
                case [index, name]:
                    self.said[index] = name
                case error:
                    self.error = error


@define
class Import:
    """One import, in several processes."""

    store: NetoSandbox
    server: Server
    schema: str
    runs: list[Run] = field(factory=list)

    async def start(self, lease: float = 1.0) -> Run:
        settings = {
            "url": self.store.url,
            "username": self.store.username,
            "key": self.store.api_key,
            "conninfo": self.server.conninfo,
            "schema": self.schema,
        }
        program = [
            sys.executable,
            str(Path(__file__).with_name("runner.py")),
            json.dumps(settings),
            str(ROWS),
            str(lease),
        ]
        self.runs.append(Run(await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)))
        return self.runs[-1]

    async def finish(self) -> Run:
        """Run it to its end in a process that nothing happens to, once the lease of the one before has run out."""
        run = await self.start()
        await run.read()
        return run

    def check(self, said: dict[int, str]) -> Counter[str]:
        """Compare what was said of each row with what the store saved: once at most, and truly."""
        saved = Counter(int(log.notes or "") for log in self.store.logs)
        assert {1} == set(saved.values())
        assert list(range(ROWS)) == sorted(said)
        for index, name in said.items():
            assert name == "Unknown" or saved[index] == (name == "Added"), (index, name)
        return Counter(said.values())


@pytest.fixture
async def importing(store: NetoSandbox, server: Server, schema: str) -> AsyncIterator[Import]:
    importing = Import(store, server, schema)
    yield importing
    for run in importing.runs:
        if run.process.returncode is None:
            run.process.kill()
            await run.process.wait()


async def test_killed(importing: Import):
    """After SIGKILL another process takes over when the lease has run out, and holds back what was in flight."""
    run = await importing.start()
    await run.read(lambda: len(run.said) > 50)
    run.process.kill()
    await run.process.wait()

    counts = importing.check((await importing.finish()).said)
    assert counts["Added"] + counts["Unknown"] == ROWS
    # Those that were in flight, and those whose end and whose slot's next intent were being written.
    assert counts["Unknown"] <= 2 * IN_FLIGHT


@pytest.mark.thorough
async def test_suspended_for_longer_than_its_lease(importing: Import):
    """Who was suspended with calls in flight is taken over; awake again it sends nothing, and settles its doubts."""
    run = await importing.start()
    await run.read(lambda: len(run.said) > 50)
    answer = asyncio.Event()
    held: list[object] = []
    importing.store.faults.when(lambda request: held.append(request) is None, faults.Late(until=answer))
    await importing.store.until(lambda: len(held) == IN_FLIGHT / 5)
    run.process.send_signal(signal.SIGSTOP)
    importing.store.faults.clear()
    answer.set()

    second = await importing.finish()
    counts = importing.check(second.said)
    calls = importing.store.call_count
    run.process.send_signal(signal.SIGCONT)
    await run.read()
    third = await importing.finish()

    assert "JournalError" == run.error
    assert calls == importing.store.call_count
    assert counts["Added"] + counts["Unknown"] == ROWS
    assert IN_FLIGHT <= counts["Unknown"] <= 2 * IN_FLIGHT
    # Of each call that was answered the suspended process wrote the end, though it was late.
    assert {"Added": ROWS} == importing.check(third.said)


@pytest.mark.thorough
async def test_the_server_is_killed(importing: Import):
    """A server that is killed time and again, and comes back, stops no run and leaves nothing in doubt."""
    run = await importing.start(lease=30.0)
    importing.store.faults.always(faults.Late(0.02))
    for rows in (20, 70):
        await run.read(lambda rows=rows: len(run.said) > rows)
        await asyncio.to_thread(importing.server.stop)
        await asyncio.to_thread(importing.server.start)
    await run.read()

    assert run.error is None
    assert {"Added": ROWS} == importing.check(run.said)
    journal = PostgresJournal(importing.server.conninfo, "june", schema=importing.schema)
    assert (ROWS, 0, ROWS) == (journal.summary().added, journal.summary().in_doubt, journal.summary().rows)


@pytest.mark.thorough
async def test_the_server_stays_away(importing: Import):
    """A run whose server is gone for longer than the lease stops; a later one adds the rest, and nothing twice."""
    run = await importing.start()
    importing.store.faults.always(faults.Late(0.02))
    await run.read(lambda: len(run.said) > 50)
    await asyncio.to_thread(importing.server.stop)
    await run.read()
    await asyncio.to_thread(importing.server.start)

    assert "JournalError" == run.error
    counts = importing.check((await importing.finish()).said)
    assert counts["Added"] + counts["Unknown"] == ROWS
