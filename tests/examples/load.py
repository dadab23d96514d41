# ruff: noqa: T201, PLC0415 (a program; each framework is imported where it is asked for)
"""
Load an example service, compare what it answers with the store's ledger, and measure how late its event loop is.

    python tests/examples/load.py aiohttp --users 500 --rows 50000

So many users post single logs, each one after the other, until an upload of so many rows is imported; the store resets
each 50th call after saving. Then as many users post to a service of the same framework without this library, whose
handlers wait as long as the answers took at the median. A heartbeat of 1 ms in each service's loop says how late it
comes, and how much CPU time the loop's thread spent since the last one: that says less of what else the machine does.
The exit code is 0 where every fate was true.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import itertools
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

sys.path.append(str(Path(__file__).parents[2]))

from neto_async.sandbox import NetoSandbox, faults

ROOT = Path(__file__).parents[2]

LATENCY = 0.2
"""Seconds that the store takes for a call."""

BEAT = 0.001
"""Seconds from one beat to the next, as asked for."""

BESIDE = 20.0
"""Seconds, at most, of the load without this library."""

IDLE = 1.0
"""Seconds with nothing to do."""

FRAMEWORKS = ("aiohttp", "fastapi")


# -- the service ----------------------------------------------------------------------------------------------------


class Heartbeat:
    """Beats in the loop that first asks for it; remembers how late each beat was, and its CPU time, in seconds."""

    def __init__(self) -> None:
        self._beats: list[tuple[float, float]] = []
        self._task: asyncio.Task[None] | None = None

    def take(self) -> list[tuple[float, float]]:
        """Give what was remembered since the last time."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._beat())
        beats, self._beats = self._beats, []
        return beats

    async def _beat(self) -> None:
        while True:
            began, spent = time.perf_counter(), time.thread_time()
            await asyncio.sleep(BEAT)
            self._beats.append((time.perf_counter() - began - BEAT, time.thread_time() - spent))


def serve(framework: str, *, bare: bool) -> None:
    """Serve an example, or the same without this library, with a route for the heartbeat; print the port first."""
    heartbeat = Heartbeat()
    if framework == "aiohttp":
        serve_aiohttp(heartbeat, bare=bare)
    else:
        serve_fastapi(heartbeat, bare=bare)


def serve_aiohttp(heartbeat: Heartbeat, *, bare: bool) -> None:
    from examples.aiohttp_service.app import make_app

    async def beats(_request: web.Request) -> web.Response:
        return web.json_response(heartbeat.take())

    async def add(request: web.Request) -> web.Response:
        await request.json()
        await asyncio.sleep(float(os.environ["WAIT"]))
        return web.json_response({"log_id": 1}, status=201)

    app = web.Application() if bare else make_app()
    if bare:
        app.router.add_post("/customers/{username}/logs", add)
    app.router.add_get("/heartbeat", beats)
    web.run_app(app, sock=listening(), access_log=None, print=None)


def serve_fastapi(heartbeat: Heartbeat, *, bare: bool) -> None:
    import uvicorn
    from fastapi import FastAPI, Response

    from examples.fastapi_service.app import app as service

    async def beats() -> Response:
        return Response(json.dumps(heartbeat.take()), media_type="application/json")

    async def add(username: str, log: dict[str, str]) -> dict[str, int]:
        await asyncio.sleep(float(os.environ["WAIT"]))
        return {"log_id": 1}

    app = FastAPI() if bare else service
    if bare:
        app.add_api_route("/customers/{username}/logs", add, methods=["POST"], status_code=201)
    app.add_api_route("/heartbeat", beats)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    uvicorn.Server(config).run(sockets=[listening()])


def listening() -> socket.socket:
    """Listen on a free port, and print it."""
    taken = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(taken.getsockname()[1], flush=True)
    return taken


# -- the load -------------------------------------------------------------------------------------------------------


class Load:
    """What users did with a service, and what they learned."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}  # status and body, by note
        self.seconds: list[float] = []  # of each single log
        self.beats: list[tuple[float, float]] = []  # of the service

    async def use(self, users: int, over: asyncio.Event) -> None:
        """Let so many users post single logs until it is over."""
        await asyncio.gather(*(self._user(user, over) for user in range(users)))

    async def _user(self, user: int, over: asyncio.Event) -> None:
        for number in itertools.count():
            if over.is_set():
                break
            note = f"user {user}, log {number}"
            began = time.perf_counter()
            async with self._http.post("/customers/ann/logs", json={"notes": note}) as answer:
                self.answers[note] = answer.status, await answer.json(content_type=None)
            self.seconds.append(time.perf_counter() - began)

    async def upload(self, rows: int) -> dict[str, Any]:
        """Import so many rows; give the job's last status."""
        content = "Notes,Username\n" + "".join(f"row {row},ann\n" for row in range(rows))
        async with self._http.post("/imports", params={"name": "calls.csv"}, data=content) as answer:
            status: dict[str, Any] = await answer.json()
        async with self._http.get(f"/imports/{status['id']}/events") as events:
            async for line in events.content:
                if line.startswith(b"data: "):
                    status = json.loads(line.removeprefix(b"data: "))
        return status

    async def report(self, job: str, name: str) -> list[dict[str, str]]:
        """Download a report."""
        async with self._http.get(f"/imports/{job}/reports/{name}") as answer:
            return list(csv.DictReader((await answer.text()).splitlines()))

    async def hear(self) -> None:
        """Take the service's heartbeats since the last time."""
        async with self._http.get("/heartbeat") as answer:
            self.beats = await answer.json()


def untrue(load: Load, added: list[dict[str, str]], doubted: list[dict[str, str]], store: NetoSandbox) -> list[str]:
    """Compare what was said of each log with the ledger; give a text for each that was not so."""
    there = {log.notes: log.log_id for log in store.logs}
    times = Counter(log.notes for log in store.logs)
    reported = {note: body["log_id"] for note, (status, body) in load.answers.items() if status == HTTPStatus.CREATED}
    reported |= {row["Notes"]: int(row["neto_log_id"]) for row in added}
    maybe = {note for note, (status, _) in load.answers.items() if status == HTTPStatus.GATEWAY_TIMEOUT}
    maybe |= {row["Notes"] for row in doubted}
    return [
        *(f"{note} is there {count} times" for note, count in times.items() if count > 1),
        *(f"{note} was said to be {log_id}" for note, log_id in reported.items() if there.get(note) != log_id),
        *(f"{note} is there, and nobody said so" for note in there if note not in reported and note not in maybe),
    ]


async def run(given: argparse.Namespace) -> int:
    """Load a service with this library, and one without; print the table."""
    print(
        f"{given.framework}: {given.users} users, an import of {given.rows:,} rows, {given.per_minute} calls a minute"
    )
    load, wrong = await with_us(given)
    await without_us(given, seconds=statistics.median(load.seconds))
    for text in wrong[:20]:
        print("NOT TRUE:", text)
    return 1 if wrong else 0


async def with_us(given: argparse.Namespace) -> tuple[Load, list[str]]:
    """Load the example service; give what was done, and what was not true."""
    async with NetoSandbox(requests_per_minute=None, latency=LATENCY) as store:
        store.faults.when(lambda request: request.number % 50 == 0, faults.Reset(saves=True))
        with tempfile.TemporaryDirectory() as folder:
            environment = {
                "NETO_STORE_URL": store.url,
                "NETO_USERNAME": store.username or "",
                "NETO_API_KEY": store.api_key,
                "IMPORTS": folder,
                "REQUESTS_PER_MINUTE": str(given.per_minute),
            }
            async with Running(given.framework, environment) as http:
                load = Load(http)
                await load.hear()
                over = asyncio.Event()
                using = asyncio.create_task(load.use(given.users, over))
                began = time.perf_counter()
                job = await load.upload(given.rows)
                seconds = time.perf_counter() - began
                over.set()
                await using
                await load.hear()
                added, doubted = [await load.report(job["id"], f"{name}.csv") for name in ("added", "unknown")]
    print(f"the import {job['state']} in {seconds:.0f} s; rows: {len(added)} added, {len(doubted)} in doubt")
    print(f"single logs: {dict(Counter(status for status, _ in load.answers.values()))}")
    print(f"the store: {store.call_count} calls, {store.log_count} logs")
    tell("with this library", load)
    missing = given.rows - len(added) - len(doubted)
    return load, [*([f"{missing} rows without a fate"] if missing else []), *untrue(load, added, doubted, store)]


async def without_us(given: argparse.Namespace, *, seconds: float) -> None:
    """Load the same service without this library, and with nothing to do."""
    async with Running(given.framework, {"WAIT": str(seconds)}, "--bare") as http:
        load = Load(http)
        await load.hear()
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(min(BESIDE, given.rows / 1000), over.set)
        await load.use(given.users, over)
        await load.hear()
        tell("without it", load)
        await asyncio.sleep(IDLE)
        load.seconds.clear()
        await load.hear()
        tell("idle", load)


class Running:
    """A service in a process of its own; gives a session of its clients."""

    def __init__(self, framework: str, environment: dict[str, str], *more: str) -> None:
        self._words = [sys.executable, __file__, "--serve", framework, *more]
        self._environment = {**os.environ, **environment}

    async def __aenter__(self) -> aiohttp.ClientSession:
        self._process = await asyncio.create_subprocess_exec(*self._words, env=self._environment, cwd=ROOT, stdout=PIPE)
        assert self._process.stdout is not None
        port = int(await self._process.stdout.readline())
        self._http = aiohttp.ClientSession(
            f"http://127.0.0.1:{port}",
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        return self._http

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        self._process.terminate()
        await self._process.wait()


def tell(name: str, load: Load) -> None:
    """Print a line of the table."""
    late, spent = zip(*load.beats, strict=True)
    answers = f" | an answer after {spread(load.seconds)}" if load.seconds else ""
    print(f"{name:17} | {len(late):6} beats, late by {spread(late)}, CPU {spread(spent)}{answers}", flush=True)


def spread(seconds: Sequence[float]) -> str:
    """Give median, 99th percentile and maximum, in milliseconds."""
    p99 = statistics.quantiles(seconds, n=100)[98]
    return f"{statistics.median(seconds) * 1e3:.2f} / {p99 * 1e3:.1f} / {max(seconds) * 1e3:.0f} ms"


def main() -> int:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("framework", choices=FRAMEWORKS)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--rows", type=int, default=50_000, help="rows of the import")
    parser.add_argument("--per-minute", type=int, default=400, help="calls a minute, at most")
    parser.add_argument("--serve", action="store_true", help="be the service")
    parser.add_argument("--bare", action="store_true", help="be the service without this library")
    given = parser.parse_args()
    if given.serve:
        serve(given.framework, bare=given.bare)
        return 0
    return asyncio.run(run(given))


if __name__ == "__main__":
    sys.exit(main())
