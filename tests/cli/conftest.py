"""The command, run as a person runs it: in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field, frozen

from neto_async.sandbox import NetoSandbox

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

    async def start(
        self,
        *words: str,
        store: NetoSandbox | None = None,
        stdin: bytes | None = b"",
        out: str | None = "read",
        err: str | None = "read",
        terminal: str | None = None,
        longest_file: int | None = None,
        bound_by_modes: bool = False,
        **environment: str,
    ) -> None:
        """Start it; a stream that is None is closed, and the others are `starter`'s, unless it has a terminal."""
        given = self.folder / "in"
        given.write_bytes(stdin or b"")
        if store is not None:
            key = {"NETO_STORE_URL": store.url, "NETO_USERNAME": store.username or "", "NETO_API_KEY": store.api_key}
            environment = {**key, **environment}
        order = {
            "words": words,
            "environment": environment,
            "stdin": None if stdin is None else str(given),
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

    async def ended(self) -> Ran:
        """Wait for its end."""
        return Ran(**await self._answer())

    async def __call__(self, *words: str, **options: Any) -> Ran:
        """Run it to its end."""
        await self.start(*words, **options)
        return await self.ended()

    async def _answer(self) -> Any:
        assert self.starter.stdout is not None
        return json.loads(await asyncio.to_thread(self.starter.stdout.readline))


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
def run(starter: subprocess.Popen[bytes], tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Give the command."""
    return Command(starter, tmp_path_factory.mktemp("streams"))
