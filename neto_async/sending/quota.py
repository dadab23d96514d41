"""
How many calls a minute, as arithmetic on times that are handed in. May import: nothing of the package.

Theory. The store allows N calls in any 60 seconds and counts a call when it arrives there, which is some time between
its first byte and its reply. A call therefore holds a place from its first byte until 60 s after its reply: whichever
moment the store saw, two calls that use the same place are at least 60 s apart there, so no window of 60 s sees more
than N, whatever the network does. A place given back 60 s after *sending* would not hold that when latency varies.

The price: with calls of d seconds a place is used every 60 + d seconds, so that N * 60 / (60 + d) calls a minute go
out at most: 98.4 % of them at d = 1. Imports are spaced 60/N apart besides, so that they neither exhaust the window
in a burst nor leave a handler's single log to wait for most of a minute.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from attrs import define, field

__all__ = ["Quota", "Unlimited", "Window", "quota_for"]

WINDOW = 60.0
"""Seconds of the vendor's window: "500 requests per minute" (developers.maropost.com, read 2026-11)."""

LATE = 0.02
"""Seconds that a call may begin late and be caught up with by the next; else the lateness of each timer would add up. A
tenth of the spacing where that is more, half of it where that is less. An import that waited for a slot begins late as
well, and more than this would let it take that back from the single adds it waited for."""


class Quota(Protocol):
    """Who says when the next call may begin. A limiter shared by several processes can take its place."""

    @property
    def used(self) -> int:
        """Calls that count now."""

    def earliest(self, now: float, *, spaced: bool, leave: int = 0) -> float | None:
        """
        Say from when on a call may begin.

        Args:
            now: Seconds on the clock.
            spaced: It keeps its distance from others of that kind.
            leave: Places that are to stay free when it has begun.

        Returns:
            Seconds on the clock, or None where it has to wait for the end of one that is under way.
        """

    def begin(self, now: float, *, spaced: bool) -> None:
        """Count a call that begins."""

    def end(self, now: float) -> None:
        """Note that a call has ended: the store can see nothing of it any more."""

    def seconds_for(self, calls: int) -> float | None:
        """Say how long so many spaced calls take at the least; None where there is no limit."""


@define(eq=False)
class Window:
    """
    A sliding window of places.

    Args:
        requests_per_minute: N, any positive number. A fraction is rounded down, and below one the window is stretched
            instead, so that one call goes every 60/N seconds.
    """

    requests_per_minute: float
    _capacity: int = field(init=False)
    _span: float = field(init=False)
    _spacing: float = field(init=False)
    _catch_up: float = field(init=False)
    _under_way: int = field(init=False, default=0)  # calls that have begun and not ended
    _free_at: deque[float] = field(init=False, factory=deque)  # when the places of ended calls come free, ascending
    _spaced_at: float = field(init=False, default=float("-inf"))  # from when on the next spaced call may begin

    def __attrs_post_init__(self) -> None:
        self._capacity = max(1, int(self.requests_per_minute))
        self._span = max(WINDOW, WINDOW / self.requests_per_minute)
        self._spacing = WINDOW / self.requests_per_minute
        self._catch_up = min(max(LATE, self._spacing / 10), self._spacing / 2)

    @property
    def used(self) -> int:
        """Calls that count: under way, or ended less than a window ago as of the last look."""
        return self._under_way + len(self._free_at)

    def earliest(self, now: float, *, spaced: bool, leave: int = 0) -> float | None:
        """Say from when on a call may begin; None: not before one that is under way has ended."""
        while self._free_at and self._free_at[0] <= now:
            self._free_at.popleft()
        at = now
        missing = self.used + 1 + leave - self._capacity
        if missing > 0:
            if missing > len(self._free_at):
                return None
            at = self._free_at[missing - 1]
        return max(at, self._spaced_at, self._spread_at()) if spaced else at

    def _spread_at(self) -> float:
        """Say from when on a spaced call leaves free places for all the time until the next comes free."""
        last = self._spaced_at - self._spacing  # when the last was due, so that late timers don't add up here either
        if last == float("-inf"):
            return last
        comes_free = self._free_at[0] if self._free_at else last + self._span
        return last + (comes_free - last) / (self._capacity - self.used + 1)

    def begin(self, now: float, *, spaced: bool) -> None:
        """Count a call that begins."""
        self._under_way += 1
        if spaced:
            late = now - self._spaced_at
            # By more than the spacing no timer is late: there was nothing to send.
            caught_up = min(late, self._catch_up) if late < self._spacing else 0.0
            self._spaced_at = now - caught_up + self._spacing

    def end(self, now: float) -> None:
        """Give the call's place back a window from now."""
        self._under_way -= 1
        self._free_at.append(now + self._span)

    def seconds_for(self, calls: int) -> float:
        """Say how long so many spaced calls take at the least."""
        return calls * self._spacing


@define(eq=False)
class Unlimited:
    """No limit: for a store that has none, or a limiter elsewhere."""

    used: int = 0

    def earliest(self, now: float, *, spaced: bool, leave: int = 0) -> float:  # noqa: ARG002
        """Say: at once."""
        return now

    def begin(self, now: float, *, spaced: bool) -> None:
        """Count nothing."""

    def end(self, now: float) -> None:
        """Count nothing."""

    def seconds_for(self, calls: int) -> None:  # noqa: ARG002
        """Say that it can't be known."""
        return


def quota_for(requests_per_minute: float | None) -> Quota:
    """Make the quota of one process."""
    return Unlimited() if requests_per_minute is None else Window(requests_per_minute)
