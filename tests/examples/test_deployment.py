"""The FastAPI service as web processes and workers, with servers of its own: started as a reader would start it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from served import ROOT, check, lose, notes_in, saved, settling_in, table

from examples import run_deployment
from examples.run_deployment import Deployment, deployment
from neto_async.sandbox import NetoSandbox, faults

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(300)]

ROWS = 1500


@pytest.fixture
async def running(store: NetoSandbox) -> AsyncIterator[Deployment]:
    """A deployment for the store."""
    try:
        for name in ("initdb", "redis-server"):
            run_deployment.program(name)
    except run_deployment.MissingError as error:
        pytest.skip(str(error))
    async with deployment(store) as made:
        yield made


@pytest.fixture
async def web(running: Deployment) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client of each web process."""
    clients = [httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) for url in running.addresses]
    yield clients
    for client in clients:
        await client.aclose()


async def upload(web: httpx.AsyncClient, content: str = table(ROWS), **options: Any) -> str:
    answer = await web.post("/imports", params={"name": "calls.csv", **options}, content=content)
    assert answer.is_success, answer.text
    id_: str = answer.json()["id"]
    return id_


async def followed(web: httpx.AsyncClient, id_: str) -> list[dict[str, Any]]:
    """Read an event stream to its end."""
    async with web.stream("GET", f"/imports/{id_}/events") as events:
        return [json.loads(line.removeprefix("data: ")) async for line in events.aiter_lines() if line]


async def test_a_worker_is_killed_and_another_web_process_shows_the_end(store, running, web):
    """Each row is in the store once, apart from those in doubt, which are named and there once at most."""
    held = asyncio.Event()
    store.faults.next(None, None, None, faults.Late(until=held))
    id_ = await upload(web[0])
    watching = asyncio.create_task(followed(web[1], id_))
    async with asyncio.timeout(60):
        await store.until(lambda: any(call.fault is not None for call in store.calls))
    assert "running" == (await web[1].get(f"/imports/{id_}")).json()["state"]

    # Either may have it.
    for name in ("worker 1", "worker 2"):
        running.processes[name].kill()
        await running.processes[name].wait()
    held.set()
    await running.start_worker("worker 3")
    statuses = await watching

    assert {"running", "ended"} == {status["state"] for status in statuses}
    in_doubt = await check(web[1], statuses[-1], store, ROWS)
    assert in_doubt
    assert statuses[-1] == (await web[0].get(f"/imports/{id_}")).json()
    (listed,) = (await web[0].get("/imports")).json()["imports"]
    assert statuses[-1] == listed


async def test_an_import_says_what_it_waits_for(store, running, web):
    """Before its first outcome: a worker, then a call that has not ended. Afterwards its counts say how far it is."""
    for name in ("worker 1", "worker 2"):
        running.processes[name].terminate()
        await running.processes[name].wait()
    held = asyncio.Event()
    store.faults.next(faults.Late(until=held))
    id_ = await upload(web[0])

    async def now() -> tuple[str, str]:
        status = (await web[0].get(f"/imports/{id_}")).json()
        return status["state"], status["reason"]

    assert ("running", "it waits for a worker") == await now()
    await running.start_worker("worker 3")
    async with asyncio.timeout(60):
        await store.until(lambda: store.call_count > 0)
    assert ("running", "no call of it has ended yet; it may wait for the quota") == await now()
    held.set()
    await followed(web[0], id_)
    assert ("ended", "") == await now()


async def in_doubt(store: NetoSandbox, web: httpx.AsyncClient) -> str:
    """Import 250 rows while the answers of two calls are lost, one of which the store saves."""
    lose(store, {1: True, 101: False})
    id_ = await upload(web, table(250))
    status = (await followed(web, id_))[-1]
    store.faults.clear()
    assert ("ended", 200) == (status["state"], status["progress"]["unknown"])
    return id_


async def test_what_is_in_doubt_is_settled_by_a_worker(store, running, web):
    """What is proven absent is sent after a new start, which any web process may give; each row is there once."""
    id_ = await in_doubt(store, web[0])
    assert 409 == (await web[0].post(f"/imports/{id_}/cancel")).status_code

    answer = await web[1].post(f"/imports/{id_}/settle", params={"sole_writer": True})
    assert (202, "settling") == (answer.status_code, answer.json()["state"])
    status = (await followed(web[0], id_))[-1]
    assert ("stopped", 100, 100, 0) == settling_in(status)
    assert (150, 100, 0) == tuple(status["progress"][name] for name in ("added", "not_sent", "unknown"))

    assert 202 == (await web[1].post(f"/imports/{id_}/start")).status_code
    assert set() == await check(web[0], (await followed(web[0], id_))[-1], store, 250)
    assert Counter({f"row {row}": 1 for row in range(250)}) == saved(store)


async def test_a_settling_goes_on_in_another_worker(store, running, web):
    """The job is put back where its worker was killed, and nothing that one has noted is lost."""
    id_ = await in_doubt(store, web[0])
    calls, held = store.call_count, asyncio.Event()
    store.faults.next(faults.Late(until=held))
    await web[1].post(f"/imports/{id_}/settle", params={"sole_writer": True})
    async with asyncio.timeout(60):
        await store.until(lambda: store.call_count > calls)
    for name in ("worker 1", "worker 2"):
        running.processes[name].kill()
        await running.processes[name].wait()
    held.set()
    await running.start_worker("worker 3")

    status = (await followed(web[0], id_))[-1]
    assert ("stopped", 100, 100, 0) == settling_in(status)


async def test_who_was_taken_over_keeps_no_reports(running, web, tmp_path, monkeypatch):
    """Reports of a run that another one has followed do not take the place of the later ones."""
    from examples import deployed  # noqa: PLC0415 - what it needs may not be installed

    monkeypatch.setattr(deployed, "DATABASE", running.environment["IMPORTS_DATABASE"])
    id_ = await upload(web[0], start=False)

    def run(name: str) -> deployed.KeptReports:
        (tmp_path / name).mkdir()
        reports = deployed.KeptReports(id_, tmp_path / name, columns=("Notes",))
        reports.added_before("journal")
        reports.open("journal")
        return reports

    first, second = run("first"), run("second")
    for reports in (second, first):
        reports.close(complete=False)
    deployed.fetch(id_, "reports/", tmp_path)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "reports").iterdir()}
    assert kept == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "second" / "reports").iterdir()}
    assert ["added.csv", "rejected.csv", "unknown.csv", "not_sent.csv"] == (
        (await web[1].get(f"/imports/{id_}")).json()["reports"]
    )


async def test_without_the_database_single_logs_go_on(store, running, web):
    """Handlers add logs, and what needs the database is answered 503 with the seconds to wait."""
    assert [] == (await web[0].get("/imports")).json()["imports"]
    running.processes["PostgreSQL"].kill()
    await running.processes["PostgreSQL"].wait()
    assert 201 == (await web[0].post("/customers/ann/logs", json={"notes": "n"})).status_code
    assert 1 == store.log_count
    for answer in (
        await web[0].get("/imports"),
        await web[0].post("/imports", params={"name": "a.csv"}, content="Notes\nx\n"),
    ):
        assert (503, "10") == (answer.status_code, answer.headers["Retry-After"])
        assert "database" in answer.json()["detail"]


async def test_an_import_is_looked_at_cancelled_continued_and_deleted(store, running, web):
    """What one web process was given, the other one shows, cancels, starts and deletes."""
    id_ = await upload(web[0], start=False)
    status = (await web[1].get(f"/imports/{id_}")).json()
    assert ("ready", "calls.csv", []) == tuple(status[name] for name in ("state", "name", "reports"))
    preview = (await web[1].get(f"/imports/{id_}/preview")).json()
    assert (ROWS, ROWS) == (preview["rows"], preview["valid"])
    assert [status] == await followed(web[0], id_)
    assert 409 == (await web[1].post(f"/imports/{id_}/settle")).status_code

    store.refuse_when(lambda fields: fields["Notes"] == "row 0")
    held = asyncio.Event()
    store.faults.next(None, None, faults.Late(until=held))
    await web[1].post(f"/imports/{id_}/start")
    watching = asyncio.create_task(followed(web[0], id_))
    async with asyncio.timeout(60):
        await store.until(lambda: any(call.fault is not None for call in store.calls))
    assert 202 == (await web[1].post(f"/imports/{id_}/cancel")).status_code
    held.set()
    status = (await watching)[-1]
    assert ("cancelled", 0) == (status["state"], status["progress"]["unknown"])
    assert status["progress"]["added"] == store.log_count < ROWS
    assert 409 == (await web[1].delete(f"/imports/{id_}")).status_code
    rejected = (await web[0].get(f"/imports/{id_}/reports/rejected.csv")).text

    await web[1].post(f"/imports/{id_}/start")
    status = (await followed(web[0], id_))[-1]
    assert ("ended", ROWS - 1, 1) == (status["state"], status["progress"]["added"], status["progress"]["rejected"])
    assert Counter({f"row {row}": 1 for row in range(1, ROWS)}) == saved(store)
    assert ROWS - 1 == len(set(await notes_in(web[0], id_, "added.csv")))
    # The reason is known from the store's answer alone, which the earlier run had.
    assert rejected == (await web[1].get(f"/imports/{id_}/reports/rejected.csv")).text
    assert "row 0,ann,1,2,Rejected," in rejected
    assert "earlier run" not in rejected
    assert 404 == (await web[1].get(f"/imports/{id_}/reports/plan.json")).status_code
    assert 204 == (await web[1].delete(f"/imports/{id_}")).status_code
    for answer in (await web[0].get(f"/imports/{id_}"), await web[0].get(f"/imports/{id_}/events")):
        assert 404 == answer.status_code


async def test_a_web_process_ends_while_it_is_watched(store, running, web):
    """At SIGTERM its streams end, its handlers are answered and the import goes on in the workers."""
    held = asyncio.Event()
    store.faults.next(None, faults.Late(until=held))
    id_ = await upload(web[0])
    watching = asyncio.create_task(followed(web[0], id_))
    async with asyncio.timeout(60):
        await store.until(lambda: any(call.fault is not None for call in store.calls))
    running.processes["web 1"].terminate()
    await running.processes["web 1"].wait()
    assert "running" == (await watching)[-1]["state"]
    held.set()

    assert set() == await check(web[1], (await followed(web[1], id_))[-1], store, ROWS)
    assert not [line for line in running.said if "Traceback" in line]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
async def test_a_signal_leaves_nothing_behind(name):
    """All processes have ended, and the folder is gone; the command that it prints starts a worker meanwhile."""
    command = (sys.executable, "-u", "-m", "examples.run_deployment")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE, stderr=STDOUT)
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(120):
        while "Ctrl-C ends it." not in said:
            line = await process.stdout.readline()
            assert line, said
            said += line.decode()
    started = [int(pid) for pid in re.findall(r"\w: (\d+),", said)]
    assert 6 == len(started)
    (line,) = re.findall(r"from this folder: (.+)", said)
    database = dict(word.partition("=")[::2] for word in shlex.split(line))["IMPORTS_DATABASE"]
    with psycopg.connect(database) as connection:
        folder = Path(connection.execute("SHOW data_directory").fetchone()[0])
    worker = await asyncio.create_subprocess_shell(f"{line} --one-shot", cwd=ROOT, stdout=PIPE, stderr=STDOUT)
    worked, _ = await worker.communicate()
    assert 0 == worker.returncode, worked.decode()

    process.send_signal(signal.Signals[name])
    process.send_signal(signal.SIGTERM)  # an impatient second one breaks nothing off
    rest, _ = await process.communicate()

    assert (b"", 0) == (rest, process.returncode)
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not folder.parent.exists()
