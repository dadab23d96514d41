"""Stopping an import by signals. May import: output, screen, exit_codes, importing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from attrs import define

from neto_async.cli.exit_codes import STOPPED
from neto_async.cli.output import OutputError
from neto_async.cli.screen import Screen
from neto_async.importing.run import ImportRun

__all__ = ["Stopper"]

STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""What a person, a supervisor and a terminal that closes send."""

T = TypeVar("T")


@define
class Stopper:
    """
    Takes no more rows after a Ctrl-C or a request to end; ends at once at a Ctrl-C after that.

    Supervisors send requests of two kinds at once, and kill processes that they don't want to wait for. ``again`` is
    the command that goes on; None without a journal.
    """

    screen: Screen
    again: str | None
    report: Path | None
    _run: ImportRun | None = None
    _before: asyncio.Task[Any] | None = None
    _asked: bool = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear signals while the block lasts."""
        if sys.platform == "win32":  # pragma: no cover (its event loop takes no signal handlers: Ctrl-C ends at once)
            yield
            return
        loop = asyncio.get_running_loop()
        # One that is ignored, as under nohup, stays so.
        heard = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
        for number in heard:
            loop.add_signal_handler(number, self._hear, number)
        try:
            yield
        finally:
            for number in heard:
                loop.remove_signal_handler(number)

    async def before_the_run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Give the work's result; None where it was ended by a request to stop."""
        self._before = before = asyncio.create_task(work)
        if self._asked:
            before.cancel()
        try:
            await asyncio.wait({before})
        finally:
            before.cancel()
        return None if before.cancelled() else before.result()

    def take(self, run: ImportRun) -> None:
        """Take a run that can be stopped; stop it if that was asked for already."""
        self._run = run
        if self._asked:
            self._stop(run)

    def _hear(self, number: int) -> None:
        if self._asked and number == signal.SIGINT:
            with suppress(OutputError):
                self.screen.ended_at_once(self.again, report=self.report)
            os._exit(STOPPED)
        if not self._asked:
            self._asked = True
            if self._run is not None:
                self._stop(self._run)
            elif self._before is not None:
                self._before.cancel()

    def _stop(self, run: ImportRun) -> None:
        run.stop()
        with suppress(OutputError):
            self.screen.stopping(run.progress.in_flight)
