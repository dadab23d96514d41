"""
Time that hurries through waiting, for tests. May import: sending, settings.

A client waits for two kinds of things. What the network does takes its own time, and goes on doing so: a call's
deadline is in the event loop's time, which nothing here touches. What the client waits for by itself (a pause that the
store asked for, the spaces between calls, a place in the quota, a wait before the next attempt) is in its clock's time.
That time skips to the next of its timers when three things hold: hurrying was asked for, a client waits for nothing
but time, and no call of any client is under way. So timers run out in their order, and whatever gives up after 10 s
does so before a pause of 60 s is over; and a record that waits beside a call never gives up for what was skipped.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial

from neto_async.sending.engine import Engine
from neto_async.sending.exchange import Transport
from neto_async.settings import Settings

__all__ = ["NetoTime"]

WAITS = {"pause", "probe", "quota"}
"""What a client can wait for that is nothing but time; the fourth is a slot, which a call gives back."""


class NetoTime:
    """
    The time of the clients and stores of one test, in any threads. It is the machine's until something is skipped.

    Attributes:
        skipped: Seconds that nobody had to wait for.
        timers: What waits for its time now.
    """

    def __init__(self) -> None:
        self.skipped: float = 0.0
        self._hurried = False
        self._engines: list[_Watched] = []
        self.timers: set[_Timer] = set()  # those that are neither over nor cancelled
        self._lock = threading.RLock()  # held for a moment, and never while anything is waited for

    def __repr__(self) -> str:
        return f"<NetoTime: {self.skipped:.3f} s skipped>"

    def skip(self, seconds: float) -> None:
        """Let seconds pass at once: "a minute later"."""
        with self._lock:
            self.skipped += seconds
        self._in_each_loop(self._arm_again)

    def hurry(self) -> None:
        """Skip from now on whatever clients wait for by themselves."""
        self._hurried = True
        self._in_each_loop(self.look)

    def look(self) -> None:
        """Skip to the next timer, if there is nothing else to wait for."""
        with self._lock:
            calls = sum(engine.under_way for engine in self._engines)
            waits = {engine.statistics().waiting_on for engine in self._engines}
            if calls or not self._hurried or waits.isdisjoint(WAITS):
                return
            self.timers -= {timer for timer in tuple(self.timers) if timer.loop.is_closed()}
            seconds = min((timer.when for timer in tuple(self.timers)), default=0.0) - self.monotonic()
            if seconds > 0:
                self.skip(seconds)

    def _in_each_loop(self, do: Callable[[], None]) -> None:
        for loop in {timer.loop for timer in tuple(self.timers)}:
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(do)

    def _arm_again(self) -> None:
        loop = asyncio.get_running_loop()
        for timer in sorted(self.timers, key=lambda timer: timer.when):
            if timer.loop is loop:
                timer.arm_again()

    def engine(self, settings: Settings, transport: Transport) -> Engine:
        """Make the engine of a client that lives in this time."""
        engine = _Watched(settings, transport, self)
        self._engines.append(engine)
        return engine

    # -- what an engine asks of its clock -------------------------------------------------------------------------

    def monotonic(self) -> float:
        """Give seconds that never run backwards, those skipped included."""
        return time.monotonic() + self.skipped

    def utcnow(self) -> datetime:
        """Give the machine's time of day: a date that a test puts into Retry-After is reckoned from it."""
        return datetime.now(timezone.utc)

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> _Timer:
        """Call back once `monotonic` has come to ``when``."""
        return _Timer(self, when, partial(callback, *args))


class _Watched(Engine):
    """An engine that has its time looked at in the turn after any in which it may have come to wait."""

    def __init__(self, settings: Settings, transport: Transport, shared: NetoTime) -> None:
        super().__init__(settings, transport, clock=shared)
        self._shared = shared

    @property
    def under_way(self) -> int:
        """Calls that have not ended, those that were left to themselves included."""
        return len(self._tasks)

    def _pump(self) -> None:
        super()._pump()
        asyncio.get_running_loop().call_soon(self._shared.look)


class _Timer:
    """A callback that waits for its time."""

    def __init__(self, shared: NetoTime, when: float, callback: Callable[[], object]) -> None:
        self.when: float = when
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._shared = shared
        self._callback = callback
        self._context = contextvars.copy_context()  # whoever skips must not lend it theirs
        shared.timers.add(self)  # before its time is reckoned: another thread may skip at any moment
        self._handle = self._left_with_loop()

    def arm_again(self) -> None:
        """Reckon what remains of its time anew."""
        self._handle.cancel()
        self._handle = self._left_with_loop()

    def cancel(self) -> None:
        """Forget the callback."""
        self._shared.timers.discard(self)
        self._handle.cancel()

    def _left_with_loop(self) -> asyncio.Handle:
        seconds = self.when - self._shared.monotonic()
        if seconds > 0:
            return self.loop.call_later(seconds, self._run_out, context=self._context)
        return self.loop.call_soon(self._run_out, context=self._context)  # those that are due keep their order

    def _run_out(self) -> None:
        self._shared.timers.discard(self)
        self._callback()
        self.loop.call_soon(self._shared.look)
