"""
Telling a program's callback how far a run is, not more often than a person can look. May import: sending, outcomes.

The callback runs in a turn of the event loop of its own, so that it may do what it likes to the run, stop it for one.
What it raises ends in the log: records must not go with it.
"""

from __future__ import annotations

from collections.abc import Callable

from neto_async.outcomes import ImportProgress
from neto_async.sending.clock import Clock, Timer
from neto_async.sending.observing import logger

__all__ = ["Teller"]

TELL_EVERY = 0.1
"""Seconds between two calls."""


class Teller:
    """
    Call back when a run has got further: soon after a change, and once at its end.

    Args:
        clock: Time.
        progress: Says how far the run is.
        callback: The program's.
    """

    def __init__(
        self, clock: Clock, progress: Callable[[], ImportProgress], callback: Callable[[ImportProgress], object]
    ) -> None:
        self._clock = clock
        self._progress = progress
        self._callback = callback
        self._next_at = clock.monotonic()
        self._timer: Timer | None = None  # waits for it, where something has changed since the last call

    def changed(self) -> None:
        """Note that there is something to tell."""
        if self._timer is None:
            self._timer = self._clock.call_at(self._next_at, self._tell)

    def end(self) -> None:
        """Call back for the last time, now."""
        if self._timer is not None:
            self._timer.cancel()
        self._tell()

    def _tell(self) -> None:
        self._timer = None
        self._next_at = self._clock.monotonic() + TELL_EVERY
        try:
            self._callback(self._progress())
        except Exception as error:  # noqa: BLE001
            # Only the class: what a program raises could say anything.
            name = type(error).__name__
            logger.error("the callback for the progress of a run raised %s", name, extra={"neto_failure": name})
