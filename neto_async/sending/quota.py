"""
The quota of calls a minute, as arithmetic on times that are passed in. May import: nothing of the package.

Theory. The store allows N calls in any 60 seconds and counts a call when it arrives there, which is some time between
its first byte and its reply. A call therefore holds a place from its first byte until 60 s after its reply: whichever
moment the store saw, two calls that use the same place are at least 60 s apart there, so no window of 60 s sees more
than N, whatever the network does. A place given back 60 s after *sending* would not hold that when latency varies.

The price: with calls of d seconds a place is used every 60 + d seconds, so that N * 60 / (60 + d) calls a minute go
out at most: 98.4 % of them at d = 1. Imports are also spaced 60/N apart, so that they neither exhaust the window
in a burst nor leave a handler's single log to wait for most of a minute.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from attrs import define, field

__all__ = ["QUOTA_SERVER", "Quota", "SharedCalls", "Unlimited", "Window", "catch_up", "quota_for"]

QUOTA_SERVER = "quota server"
"""What `Quota.waiting_on` says while no call may begin because a server of the quota can't be used."""

NEVER = float("-inf")

WINDOW = 60.0
"""Seconds of the vendor's window: "500 requests per minute" (developers.maropost.com, read 2026-11)."""

CLOCKS_AGREE = 1.0
"""Seconds that the clocks of two event loops may differ by; time that goes back by more is another clock's."""


class Quota(Protocol):
    """
    When the next call may begin. Pass your own to `AsyncNetoClient`; `RedisQuota` is one that processes share.

    Subclass it: the defaults below do nothing. All methods but `aclose` are called in the client's event loop,
    and must not wait. Times are seconds on the client's clock.
    """

    @property
    def used(self) -> int:
        """Calls that count now."""

    @property
    def waiting_on(self) -> str:
        """What a call that may not begin waits for, as in `Statistics`: "quota", "pause" or "quota server"."""
        return "quota"

    def attach(self, wake: Callable[[], None], *, store_url: str, timeout: float) -> None:  # noqa: ARG002
        """
        Serve a client. Called once, in the client's event loop, before all other methods.

        Args:
            wake: Makes the client ask `earliest` again. To be called in its event loop.
            store_url: Address of the store.
            timeout: Seconds that a call may take.
        """
        return

    def earliest(self, now: float, *, spaced: bool, leave: int = 0) -> float:
        """
        Say from when on a call may begin; the client asks again then, and whenever one of its calls has ended.

        Args:
            now: Seconds on the clock.
            spaced: True for calls of imports, which are spread over the window.
            leave: Places that are to stay free when it has begun.

        Returns:
            Seconds on the clock; the client asks again then. Infinity where the quota will ``wake`` it.
        """

    def begin(self, now: float, *, spaced: bool) -> Any:
        """
        Count a call that begins.

        Returns:
            The call's place, for `may_leave` and `end`: anything true. A false value where another client took the
            last one since `earliest` was asked.
        """

    def may_leave(self, place: Any) -> bool:  # noqa: ARG002
        """Say whether the place still counts, before a call and its body leave; if not, the call begins again later."""
        return True

    def end(self, now: float, place: Any) -> None:
        """Note that a call has ended: the store can see nothing of it any more."""

    def pause(self, now: float, until: float) -> None:
        """Note that the store asked this client for a pause. The client itself keeps it anyway."""

    def seconds_for(self, calls: int) -> float | None:
        """Say how long so many spaced calls take at the least; None where there is no limit."""

    async def aclose(self) -> None:
        """Give back what is held. Called when the client has closed."""
        return


def catch_up(spacing: float) -> float:
    """
    Say how many seconds of a timer's lateness the next spaced call may make up, so that lateness does not accumulate.

    20 ms, or a tenth of the spacing where that is more, and half of it at most. An import that waits for the encoding
    of single adds is late as well, and more than this would let it take that back from the single adds it waited for.
    """
    return min(max(0.02, spacing / 10), spacing / 2)


@define(eq=False)
class SharedCalls:
    """
    The calls of all clients that share a quota, in any event loops and threads of one process.

    Attributes:
        lock: Held while any of this is read or written, and for nothing else.
        under_way: Calls that have begun and not ended.
        ended_at: When the others ended, ascending, as long as they may count.
        lost: For each client that was garbage-collected with calls under way, their number, until the next look.
        longest: Seconds of the longest window of a client.
        due_at: When the last spaced call was due: a late timer does not delay the next.
        paused_until: End of the latest pause that the store asked any of them for.
        seen_at: The latest time of any look.
    """

    lock: threading.Lock = field(factory=threading.Lock)
    under_way: int = 0
    ended_at: deque[float] = field(factory=deque)
    lost: deque[int] = field(factory=deque)
    longest: float = WINDOW
    due_at: float = NEVER
    paused_until: float = NEVER
    seen_at: float = NEVER


@define(eq=False)
class Window(Quota):
    """
    A sliding window of places, alone or shared.

    Args:
        requests_per_minute: N, any positive number. A fraction is rounded down, and below one the window is stretched
            instead, so that one call goes every 60/N seconds.
        calls: Those that count, of other clients too; each client keeps them below its own N.
    """

    requests_per_minute: float
    calls: SharedCalls = field(factory=SharedCalls)
    _capacity: int = field(init=False)
    _span: float = field(init=False)
    _spacing: float = field(init=False)
    _catch_up: float = field(init=False)
    _under_way: int = field(init=False, default=0)  # of the shared ones, those of this client

    def __attrs_post_init__(self) -> None:
        self._capacity = max(1, int(self.requests_per_minute))
        self._span = max(WINDOW, WINDOW / self.requests_per_minute)
        self._spacing = WINDOW / self.requests_per_minute
        self._catch_up = catch_up(self._spacing)
        with self.calls.lock:
            self.calls.longest = max(self.calls.longest, self._span)

    def __del__(self) -> None:
        # The garbage collector may interrupt a holder of the lock, so this takes none.
        if self._under_way:
            self.calls.lost.append(self._under_way)

    @property
    def used(self) -> int:
        """Calls that count: under way, or ended less than a window ago as of the last look."""
        return self.calls.under_way + len(self.calls.ended_at)

    def earliest(self, now: float, *, spaced: bool, leave: int = 0) -> float:
        """Say from when on a call may begin: exactly, or, where it waits for calls under way, when to ask again."""
        with self.calls.lock:
            counting = self._counting(now)
            at = max(now, self.calls.paused_until)
            missing = self.calls.under_way + len(counting) + 1 + leave - self._capacity
            if missing > len(counting):
                # A call that is under way now counts for a window from its end at least, whoever makes it.
                at = max(at, now + self._span)
            elif missing > 0:
                at = max(at, counting[missing - 1] + self._span)
            return max(at, self.calls.due_at + self._spacing, self._spread_at(counting)) if spaced else at

    def _counting(self, now: float) -> Sequence[float]:
        """Give the ends that still count here; forget those that count for no one."""
        calls = self.calls
        if now < calls.seen_at - CLOCKS_AGREE:
            # An event loop with a clock of its own, as tests have: times of another clock mean nothing here.
            calls.ended_at.clear()
            calls.due_at = calls.paused_until = calls.seen_at = NEVER
        calls.seen_at = max(calls.seen_at, now)
        while calls.lost:
            self._free(calls.lost.popleft(), now)
        while calls.ended_at and calls.ended_at[0] + calls.longest <= now:
            calls.ended_at.popleft()
        if calls.longest == self._span:
            return calls.ended_at
        return [at for at in calls.ended_at if at + self._span > now]

    def _free(self, places: int, now: float) -> None:
        """Give places back a window from now. Threads may come in another order than they asked for the time."""
        self.calls.under_way -= places
        self.calls.ended_at.extend([max(now, self.calls.seen_at)] * places)

    def _spread_at(self, counting: Sequence[float]) -> float:
        """Say from when on a spaced call leaves free places for all the time until the next comes free."""
        last = self.calls.due_at
        if last == NEVER:
            return last
        comes_free = (counting[0] if counting else last) + self._span
        free = self._capacity - self.calls.under_way - len(counting)
        return last + (comes_free - last) / (max(free, 0) + 1)

    def begin(self, now: float, *, spaced: bool) -> bool:
        with self.calls.lock:
            if self.calls.under_way + len(self._counting(now)) >= self._capacity:
                return False
            self.calls.under_way += 1
            self._under_way += 1
            if spaced:
                late = now - (self.calls.due_at + self._spacing)
                # By more than the spacing no timer is late: there was nothing to send.
                self.calls.due_at = now - (min(late, self._catch_up) if late < self._spacing else 0.0)
            return True

    def end(self, now: float, place: Any = True) -> None:  # noqa: ARG002, FBT002 - all places are alike
        """Give the call's place back a window from now."""
        with self.calls.lock:
            self._counting(now)
            self._under_way -= 1
            self._free(1, now)

    def pause(self, now: float, until: float) -> None:  # noqa: ARG002
        with self.calls.lock:
            self.calls.paused_until = max(self.calls.paused_until, until)

    def seconds_for(self, calls: int) -> float:
        return calls * self._spacing


@define(eq=False)
class Unlimited(Quota):
    """No limit: for a store that has none, or a limiter elsewhere. Its calls don't count for other clients either."""

    @property
    def used(self) -> int:
        return 0

    def earliest(self, now: float, *, spaced: bool, leave: int = 0) -> float:  # noqa: ARG002
        return now

    def begin(self, now: float, *, spaced: bool) -> bool:  # noqa: ARG002
        return True

    def end(self, now: float, place: Any = True) -> None:  # noqa: FBT002
        """Count nothing."""

    def pause(self, now: float, until: float) -> None:
        """Leave it to the client that was asked."""

    def seconds_for(self, calls: int) -> None:  # noqa: ARG002
        return


_SHARED: dict[tuple[int, str], SharedCalls] = {}
"""
The calls of this process, by its id and the store's address. A fork starts anew, as the limit is one for each process.
They stay after the last client, whose places come free later.
"""


def quota_for(requests_per_minute: float | None, *, store_url: str | None = None) -> Quota:
    """Make the quota of a client. Clients of one ``store_url`` share their calls in this process; None shares none."""
    if requests_per_minute is None:
        return Unlimited()
    if store_url is None:
        return Window(requests_per_minute)
    return Window(requests_per_minute, _SHARED.setdefault((os.getpid(), store_url), SharedCalls()))
