"""
Time that skips waits, for tests. May import: sending.

A client waits for two kinds of things. The network takes its own time: a call's deadline is in the event loop's time,
which nothing here touches. The client's own waits (a pause that the store asked for, the spaces between calls, a place
in the quota, a wait before the next attempt) are in its clock's time. That time skips to the next of its timers when
three things hold: skipping was asked for, a client waits for nothing but time, and no call of any client is under way.
So timers run in their order: a record that gives up after 10 s does so before a pause of 60 s is over, and one that
waits beside a call never gives up because of skipped time.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial

from neto_async.sending.clock import Clock

__all__ = ["NetoTime"]

WAITS = {"pause", "probe", "quota"}
"""What a client can wait for that is nothing but time; the fourth is a slot, which a call gives back."""


class NetoTime(Clock):
    """
    The time of the clients and stores of one test, in any threads. It is the machine's until something is skipped.

    Attributes:
        skipped: Seconds that were skipped.
        timers: What waits for its time now.
    """

    def __init__(self) -> None:
        self.skipped: float = 0.0
        self._hurried = False
        # Of each client: its calls under way, and what its next call waits for.
        self._clients: weakref.WeakKeyDictionary[object, tuple[int, str | None]] = weakref.WeakKeyDictionary()
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
        """Skip all pauses, spacing and backoff of clients from now on."""
        self._hurried = True
        self._in_each_loop(self.look)

    def look(self) -> None:
        """Skip to the next timer, if there is nothing else to wait for."""
        with self._lock:
            clients = list(self._clients.values())
            waits = {waiting_on for _, waiting_on in clients}
            if any(calls for calls, _ in clients) or not self._hurried or waits.isdisjoint(WAITS):
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

    # -- what an engine asks of its clock -------------------------------------------------------------------------

    def monotonic(self) -> float:
        """Give seconds that never run backwards, those skipped included."""
        return time.monotonic() + self.skipped

    def utcnow(self) -> datetime:
        """Give the machine's time of day: a date that a test puts into Retry-After is compared with it."""
        return datetime.now(timezone.utc)

    def decided(self, client: object, *, calls: int, waiting_on: str | None) -> None:
        """Look, in the next turn of the client's loop, whether there is nothing left but to wait."""
        with self._lock:
            self._clients[client] = (calls, waiting_on)
        asyncio.get_running_loop().call_soon(self.look)

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> _Timer:
        """Call back once `monotonic` has come to ``when``."""
        return _Timer(self, when, partial(callback, *args))


class _Timer:
    """A callback that waits for its time."""

    def __init__(self, shared: NetoTime, when: float, callback: Callable[[], object]) -> None:
        self.when: float = when
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._shared = shared
        self._due = False  # its callback runs
        self._callback = callback
        self._context = contextvars.copy_context()  # not that of the code that skips
        shared.timers.add(self)  # before its time is calculated: another thread may skip at any moment
        self._handle = self._left_with_loop()

    def arm_again(self) -> None:
        """Calculate what remains of its time again."""
        self._handle.cancel()
        self._handle = self._left_with_loop()

    def cancel(self) -> None:
        """Forget the callback."""
        if not self._due:
            self._shared.timers.discard(self)
        self._handle.cancel()

    def _left_with_loop(self) -> asyncio.Handle:
        seconds = self.when - self._shared.monotonic()
        if seconds > 0:
            return self.loop.call_later(seconds, self._run_out, context=self._context)
        return self.loop.call_soon(self._run_out, context=self._context)  # those that are due keep their order

    def _run_out(self) -> None:
        # Until the callback has decided something, nothing is skipped: a timer that is due keeps it so.
        self._due = True
        try:
            self._callback()
        finally:
            self._shared.timers.discard(self)
        self.loop.call_soon(self._shared.look)
