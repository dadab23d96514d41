"""
Calling a program back with the progress of a run, no more often than a person can look. May import: sending, results.

The callback runs in a separate turn of the event loop, so it may do anything to the run, such as stop it. What it
raises is only logged: no record is lost by it.
"""

from __future__ import annotations

from collections.abc import Callable

from neto_async.results import ImportProgress
from neto_async.sending.clock import Clock, Timer
from neto_async.sending.observing import logger

__all__ = ["ProgressCallback"]

REPORT_EVERY = 0.1
"""Seconds between two calls."""


class ProgressCallback:
    """Call back when a run has got further: soon after a change, and once with its last state."""

    def __init__(
        self, clock: Clock, progress: Callable[[], ImportProgress], callback: Callable[[ImportProgress], object]
    ) -> None:
        self._clock = clock
        self._progress = progress
        self._callback = callback
        self._next_at = clock.monotonic()
        self._timer: Timer | None = None  # waits for it, where something has changed since the last call
        self._last: ImportProgress | None = None  # what the last call was given

    def changed(self) -> None:
        """Note that something has changed."""
        if self._timer is None:
            self._timer = self._clock.call_at(self._next_at, self._report)

    def end(self) -> None:
        """Call back for the last time, now, unless the last call was given the same."""
        if self._timer is not None:
            self._timer.cancel()
        if self._progress() != self._last:
            self._report()

    def _report(self) -> None:
        self._timer = None
        self._next_at = self._clock.monotonic() + REPORT_EVERY
        self._last = self._progress()
        try:
            self._callback(self._last)
        except Exception as error:  # noqa: BLE001
            # Only the class: what a program raises could say anything.
            name = type(error).__name__
            logger.error("the callback for the progress of a run raised %s", name, extra={"neto_failure": name})
