"""Time, so that tests can bring their own. May import: nothing of the package."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import Protocol

__all__ = ["Clock", "LoopClock", "Timer", "boot_time", "clock_in_use", "use_clock"]

boot_time: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Seconds that pass while the machine is suspended too: on Linux by that clock, on Windows by any, on macOS by none."""


class Timer(Protocol):
    """A callback that waits for its time."""

    def cancel(self) -> None:
        """Forget the callback."""


class Clock(Protocol):
    """
    The time of a client. Pass your own to `AsyncNetoClient`, or for all clients of a test to `use_clock`.

    A call's deadline and the network take the event loop's time all the same.
    """

    def monotonic(self) -> float:
        """Give seconds that never run backwards."""

    def utcnow(self) -> datetime:
        """Give the time of day, aware; the dates of HTTP are compared with it."""

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Timer:
        """Call back in the event loop once `monotonic` reaches ``when``."""

    def decided(self, client: object, *, calls: int, waiting_on: str | None) -> None:
        """
        Learn what a client waits for, after each of its decisions. A clock that does not care does nothing.

        Args:
            client: The same object each time for one client.
            calls: Its calls under way.
            waiting_on: What its next call waits for, as in `Statistics`; None where nothing waits.
        """


class LoopClock(Clock):
    """The clock of the running event loop."""

    def monotonic(self) -> float:
        """Give the loop's own seconds, those its timers keep; in another thread those that loops keep by default."""
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return time.monotonic()

    def utcnow(self) -> datetime:
        return datetime.now(timezone.utc)

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Timer:
        return asyncio.get_running_loop().call_at(when, callback, *args)

    def decided(self, client: object, *, calls: int, waiting_on: str | None) -> None:
        """Do nothing: real time passes."""


_in_use: Clock | None = None


def use_clock(clock: Clock | None) -> None:
    """Give each client of this process that is made from now on this clock, for tests; None ends that."""
    global _in_use  # noqa: PLW0603 - it is the process's
    _in_use = clock


def clock_in_use() -> Clock | None:
    """Give the clock of `use_clock`, or None."""
    return _in_use
