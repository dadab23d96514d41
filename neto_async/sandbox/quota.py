"""The store's limit on calls: a sliding window of a minute. May import: nothing of neto_async."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

__all__ = ["SlidingWindow"]

_WINDOW = 60.0
"""Seconds. "500 requests per minute" is the vendor's word; the kind of window is not known."""


class SlidingWindow:
    """
    Counts calls and says which are over the limit.

    A call that is over it counts too: "you shouldn't make any further requests for a minute" (an older page of the
    vendor's, read 2026-11).

    Args:
        limit: Calls in any 60 seconds, None for no limit.
    """

    def __init__(self, limit: int | None, clock: Callable[[], float]) -> None:
        self.limit: int | None = limit
        self._clock = clock
        # Times of the newest calls: the oldest of them decides, so no more are kept than the limit.
        self._calls: deque[float] = deque(maxlen=limit)

    def take(self) -> bool:
        """Count a call, and say whether it is within the limit."""
        if self.limit is None:
            return True
        now = self._clock()
        within = len(self._calls) < self.limit or now - self._calls[0] >= _WINDOW
        self._calls.append(now)
        return within

    @property
    def used(self) -> int:
        """Calls of the last 60 seconds, as far as they count against the limit."""
        if self.limit is None:
            return 0
        now = self._clock()
        return sum(now - at < _WINDOW for at in self._calls)

    def clear(self) -> None:
        """Forget all calls."""
        self._calls.clear()
