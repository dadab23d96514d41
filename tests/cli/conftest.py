"""The command, run as a person runs it: in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest
from attrs import define, field, frozen

from neto_async.sandbox import NetoSandbox

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
STARTER = Path(__file__).with_name("starter.py")


@frozen
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        """The object on standard output."""
        return json.loads(self.out)


@define(eq=False)
class Command:
    """Starts the command, one at a time, and runs it to its end."""

    starter: subprocess.Popen[bytes]
    folder: Path
    process: int = field(init=False, default=0)
    runs: bool = field(init=False, default=False)

    async def start(
        self,
        *words: str,
        store: NetoSandbox | None = None,
        stdin: bytes | str | None = b"",
        out: str | None = "read",
        err: str | None = "read",
        terminal: str | None = None,
        longest_file: int | None = None,
        bound_by_modes: bool = False,
        **environment: str,
    ) -> None:
        """Start it; a stream that is None is closed, and the others are `starter`'s, unless it has a terminal."""
        given = self.folder / "in"
        if isinstance(stdin, bytes):
            given.write_bytes(stdin)
            stdin = str(given)
        if store is not None:
            key = {"NETO_STORE_URL": store.url, "NETO_USERNAME": store.username or "", "NETO_API_KEY": store.api_key}
            environment = {**key, **environment}
        order = {
            "words": words,
            "environment": environment,
            "stdin": stdin,
            "out": out,
            "err": err,
            "terminal": terminal,
            "longest_file": longest_file,
            "bound_by_modes": bound_by_modes,
        }
        assert self.starter.stdin is not None
        self.starter.stdin.write(json.dumps(order).encode() + b"\n")
        self.starter.stdin.flush()
        self.process = await self._answer()
        self.runs = True

    def until_waiting(self) -> None:
        """Wait until it waits: for its input, where it has nothing else to wait for."""
        while Path(f"/proc/{self.process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "S":
            os.sched_yield()

    async def ended(self) -> Ran:
        """Wait for its end."""
        ended = await self._answer()
        self.runs = False
        return Ran(**ended)

    async def __call__(self, *words: str, **options: Any) -> Ran:
        """Run it to its end."""
        await self.start(*words, **options)
        return await self.ended()

    async def _answer(self) -> Any:
        assert self.starter.stdout is not None
        return json.loads(await asyncio.to_thread(self.starter.stdout.readline))


@define(eq=False)
class Output:
    """What a command writes while it runs."""

    reading: int
    writing: int
    written: bytes = b""
    _news: asyncio.Event = field(factory=asyncio.Event, init=False)

    @property
    def name(self) -> str:
        """A path that the command can open it by."""
        return f"/proc/{os.getpid()}/fd/{self.writing}"

    @property
    def shown(self) -> str:
        """What was written so far, as text."""
        return self.written.decode(errors="replace")

    async def until(self, text: str) -> None:
        """Wait until a text is shown."""
        while text not in self.shown:
            self._news.clear()
            await self._news.wait()

    @contextmanager
    def read(self) -> Iterator[Self]:
        """Take what is written, and close both ends afterwards."""
        asyncio.get_running_loop().add_reader(self.reading, self._take)
        try:
            yield self
        finally:
            asyncio.get_running_loop().remove_reader(self.reading)
            os.close(self.reading)
            os.close(self.writing)

    def _take(self) -> None:
        self.written += os.read(self.reading, 1 << 16)
        self._news.set()


@define(eq=False)
class Terminal(Output):
    """A pseudo-terminal; colours and the cursor's moves are left out of what it shows."""

    @property
    def name(self) -> str:
        """The device, for a process that has it as its own."""
        return os.ttyname(self.writing)

    @property
    def shown(self) -> str:
        """All that was written so far."""
        return CONTROL.sub("", super().shown).replace("\r\n", "\n")

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.reading, keys.encode())


@pytest.fixture
async def output() -> AsyncIterator[Output]:
    """Open a pipe."""
    with Output(*os.pipe()).read() as made:
        yield made


@pytest.fixture
async def terminal() -> AsyncIterator[Terminal]:
    """Open a terminal of 80 columns."""
    with Terminal(*os.openpty()).read() as made:
        termios.tcsetwinsize(made.writing, (24, 80))
        yield made


@pytest.fixture(scope="session")
def starter() -> Iterator[subprocess.Popen[bytes]]:
    """Start the program that makes the processes."""
    if not hasattr(os, "fork"):
        pytest.skip("the processes are forked")
    # A test says what the store is, and how the screen is.
    unsaid = re.compile("NETO_|COLUMNS|LINES|TERM|TTY_|NO_COLOR|FORCE_COLOR")
    environment = {name: value for name, value in os.environ.items() if not unsaid.match(name)}
    with subprocess.Popen([sys.executable, str(STARTER)], stdin=-1, stdout=-1, env=environment) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def run(starter: subprocess.Popen[bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Give the command; what a test has left of it is killed."""
    command = Command(starter, tmp_path_factory.mktemp("streams"))
    yield command
    if command.runs:
        with suppress(ProcessLookupError):
            os.kill(command.process, signal.SIGKILL)
