"""Time, so that tests can bring their own. May import: nothing of the package."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Protocol

__all__ = ["Clock", "LoopClock", "Timer"]


class Timer(Protocol):
    """A callback that waits for its time."""

    def cancel(self) -> None:
        """Forget the callback."""


class Clock(Protocol):
    """What the engine knows of time."""

    def monotonic(self) -> float:
        """Give seconds that never run backwards."""

    def utcnow(self) -> datetime:
        """Give the time of day, aware; the dates of HTTP are compared with it."""

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Timer:
        """Call back in the event loop once `monotonic` reaches ``when``."""


class LoopClock:
    """The clock of the running event loop."""

    def monotonic(self) -> float:
        """Give the loop's own seconds, those its timers keep; in another thread those that loops keep by default."""
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return time.monotonic()

    def utcnow(self) -> datetime:
        """Give the machine's time of day."""
        return datetime.now(timezone.utc)

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Timer:
        """Leave the callback with the loop."""
        return asyncio.get_running_loop().call_at(when, callback, *args)
