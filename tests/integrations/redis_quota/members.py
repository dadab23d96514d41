"""A redis-server that a test may kill, and processes as far as their quota knows."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neto_async.integrations.redis import RedisQuota

STORE = "https://www.yournetosite.com.au"
WINDOW = 0.5
HOLD = 0.2 + 0.2 + 0.1 + WINDOW
"""Seconds of `quota`: to the first byte, of the longest call, past its deadline, and the window."""


class Server:
    """A redis-server of its own, in a folder of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *options]
        self._folder = folder
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*self._command, "--dir", str(self._folder)], stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert any("Ready to accept connections" in line for line in self.process.stdout)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


def now() -> float:
    return asyncio.get_running_loop().time()


class Member:
    """A process, as far as its quota knows: it begins and ends calls."""

    def __init__(self, quota: RedisQuota, store_url: str = STORE) -> None:
        self.quota = quota
        self._woken = asyncio.Event()
        quota.attach(self._woken.set, store_url=store_url, timeout=0.1)

    async def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            self._woken.clear()
            await self._woken.wait()

    async def begin(self, *, spaced: bool = False) -> Any:
        """Begin a call as soon as the quota lets it."""
        while True:
            self._woken.clear()
            at = self.quota.earliest(now(), spaced=spaced)
            if at <= now() and (place := self.quota.begin(now(), spaced=spaced)):
                return place
            if at < float("inf"):
                await asyncio.sleep(at - now())
            else:
                await self._woken.wait()

    async def call(self, *, spaced: bool = False) -> float:
        """Make a call that takes no time, and say when it was made."""
        place = await self.begin(spaced=spaced)
        at = now()
        self.quota.end(at, place)
        return at


KEYS = {name: f"neto_async:{{{STORE}}}:{name}" for name in ("places", "state", "singles", "imports", "overdue")}


async def open_gate(look: Any, store_url: str = STORE) -> None:
    """Let calls to a store begin at once, as docs/how-to/several-processes.md says."""
    run_id = (await look.info("server"))["run_id"]
    await look.zadd(KEYS["places"].replace(STORE, store_url), {f"run:{run_id}": -1})
