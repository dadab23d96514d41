"""
The FastAPI service as a deployment on this machine: python -m examples.run_deployment. Nothing reaches Neto.

It runs what compose.yaml does, without containers: two web processes and two workers, with a PostgreSQL server, a Redis
server and a store of their own, on free ports and in a temporary folder. Both servers must be installed. Kill what you
like: it prints which processes there are, and a command for a further worker. Ctrl-C, SIGTERM or SIGHUP ends them all.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from attrs import define, field

from examples.store import make_store
from neto_async.sandbox import NetoSandbox

TABLES = ("python", "-m", "examples.deployed")
WEB = ("python", "-m", "examples.fastapi_service.app")
WORKER = (
    *("python", "-m", "procrastinate", "--app=examples.deployed.app", "worker"),
    *("--concurrency=4", "--shutdown-graceful-timeout=5"),
)
"""The programs of the service, as in compose.yaml."""

REDIS = ("redis-server", "--save", "")

COPIES = 2
"""How many web processes, and workers."""

READY = "Running on "
"""What a web process prints before its address."""


class MissingError(Exception):
    """A program that has to be installed is not there."""


@define(eq=False)
class Deployment:
    """
    The processes.

    Attributes:
        folder: Of the servers; an own one, which all users may search.
        environment: Of the service's programs.
        processes: By name, such as ``web 1``.
        addresses: Of the web processes.
        said: What web processes and workers print.
    """

    folder: Path
    environment: dict[str, str] = field(factory=dict)
    processes: dict[str, Process] = field(factory=dict)
    addresses: list[str] = field(factory=list)
    said: list[str] = field(factory=list)
    _readers: list[asyncio.Task[None]] = field(factory=list)

    async def start_servers(self) -> tuple[str, str]:
        """Start PostgreSQL and Redis, wait until they answer, and say how to connect."""
        postgres, redis = free_port(), free_port()
        data = self.folder / "postgres"
        await self._run(*server("initdb"), "-D", data, "-U", "service", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.processes["PostgreSQL"] = await self._process(
            *(*server("postgres"), "-D", data, "-p", postgres, "-k", data, "-c", "listen_addresses=127.0.0.1")
        )
        self.processes["Redis"] = await self._process(
            *(program(REDIS[0]), *REDIS[1:], "--port", redis, "--bind", "127.0.0.1", "--dir", self.folder)
        )
        for port in (postgres, redis):
            await answered(port)
        return f"host=127.0.0.1 port={postgres} user=service dbname=postgres", f"redis://127.0.0.1:{redis}/0"

    async def start_service(self) -> None:
        """Make the tables, and start the web processes and workers."""
        await self._run(sys.executable, *TABLES[1:])
        for number in range(1, COPIES + 1):
            await self.start_worker(f"worker {number}")
        webs = [self.start_web(f"web {number}") for number in range(1, COPIES + 1)]
        self.addresses += await asyncio.gather(*webs)

    async def start_worker(self, name: str) -> None:
        """Start a worker."""
        process = self.processes[name] = await self._process(sys.executable, *WORKER[1:], output=PIPE)
        self._readers.append(asyncio.create_task(self._read(process)))

    async def start_web(self, name: str) -> str:
        """Start a web process, wait until it serves, and give its address."""
        process = self.processes[name] = await self._process(sys.executable, *WEB[1:], output=PIPE)
        serving: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._readers.append(asyncio.create_task(self._read(process, serving)))
        return await serving

    @property
    def worker_command(self) -> str:
        """A further worker as a command for a shell, to be run in the project's folder."""
        variables = (f"{name}={value}" for name, value in self.environment.items() if name != "PORT")
        return shlex.join(("env", *variables, sys.executable, *WORKER[1:]))

    async def aclose(self) -> None:
        """End them: what serves people first, and the servers last."""
        for names in (("web", "worker"), ("PostgreSQL", "Redis")):
            running = [process for name, process in self.processes.items() if name.startswith(names)]
            for process in running:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGINT if process is self.processes["PostgreSQL"] else signal.SIGTERM)
            for process in running:
                await process.wait()
        await asyncio.gather(*self._readers)

    async def _run(self, *command: object) -> None:
        process = await self._process(*command, output=PIPE)
        try:
            said, _ = await process.communicate()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        if process.returncode:
            raise RuntimeError(said.decode())

    async def _process(self, *command: object, output: int = DEVNULL) -> Process:
        # In groups of their own: Ctrl-C is for this process, which ends them one after the other.
        return await asyncio.create_subprocess_exec(
            *map(str, command),
            env=os.environ | self.environment,
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            process_group=0,
        )

    async def _read(self, process: Process, serving: asyncio.Future[str] | None = None) -> None:
        assert process.stdout is not None  # noqa: S101
        async for line in process.stdout:
            self.said.append(line.decode())
            if serving is not None and not serving.done() and self.said[-1].startswith(READY):
                serving.set_result(self.said[-1].removeprefix(READY).strip())
        if serving is not None and not serving.done():
            serving.set_exception(RuntimeError("".join(self.said)))


@asynccontextmanager
async def deployment(store: NetoSandbox) -> AsyncIterator[Deployment]:
    """
    Run a deployment for a store.

    Raises:
        MissingError: A server is not installed.
    """
    # Not in TMPDIR: PostgreSQL may run as another user, who can't enter it.
    with tempfile.TemporaryDirectory(prefix="deployment", dir="/tmp", ignore_cleanup_errors=True) as name:
        if os.geteuid() == 0:
            shutil.chown(name, "postgres", "postgres")
        running = Deployment(Path(name))
        try:
            running.environment = environment_of(store, *await running.start_servers())
            await running.start_service()
            yield running
        finally:
            await running.aclose()


def environment_of(store: NetoSandbox, database: str, redis: str) -> dict[str, str]:
    """Give the variables of the service's programs."""
    return {
        "NETO_STORE_URL": store.url,
        "NETO_USERNAME": store.username or "",
        "NETO_API_KEY": store.api_key,
        "SANDBOX": store.url,
        "REQUESTS_PER_MINUTE": "400",
        "IMPORTS_DATABASE": database,
        "QUOTA_REDIS": redis,
        "PORT": "0",
    }


def program(name: str) -> str:
    """Find a program, PostgreSQL's also where Debian has them."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(debian[-1]) if debian else None)
    if found is None:
        raise MissingError(f"{name} is not on the path, nor in /usr/lib/postgresql: install PostgreSQL and Redis")
    return found


def server(name: str) -> tuple[str, ...]:
    """Give the command for a program of PostgreSQL, which refuses to run as the superuser."""
    as_another = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups") if os.geteuid() == 0 else ()
    return (*as_another, program(name))


def free_port() -> int:
    """Find a port that nobody uses now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


async def answered(port: int) -> None:
    """Wait until something listens."""
    async with asyncio.timeout(30):
        while True:
            with suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)


def end_by_signals() -> None:
    """Have Ctrl-C, SIGTERM and SIGHUP cancel this task, once: a second signal does not break off the clean-up."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101
    ending = False

    def end() -> None:
        nonlocal ending
        if not ending:
            ending = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            loop.add_signal_handler(number, end)


async def main() -> None:
    """Run it until Ctrl-C or SIGTERM, with a store that is gone afterwards."""
    end_by_signals()
    async with make_store() as store, deployment(store) as running:
        print(f"The store, as its staff see it: {store.url}/")
        print("The service:", *running.addresses)
        print("Processes:", *(f"{name}: {process.pid}," for name, process in running.processes.items()))
        print("A further worker, from this folder:", running.worker_command)
        print("The first import or log waits for 20 seconds, since a new quota does not know what went before.")
        print("Ctrl-C ends it.", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except MissingError as missing:
        sys.exit(str(missing))
    except asyncio.CancelledError:
        pass
