"""
Backpressure: earlier calls make the next ones pause, probe or halt. Pure, on times that are passed in.

May import: nothing of the package.

    429, never left          everyone pauses; of several ends of a pause the latest counts
    three in a row in doubt  one call of one record goes at a time, ever more slowly, until one ends definitely
    key refused              only one call of one record a minute goes, until the store takes the key
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

__all__ = ["DEFAULT_PAUSE", "DOUBTFUL_IN_A_ROW", "PROBE_INTERVAL", "Backpressure", "backoff"]

DEFAULT_PAUSE = 60.0
"""Seconds of pause after a 429 that names none: "you shouldn't make any further requests for a minute" (vendor's older
page on limits, read 2026-11)."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0

DOUBTFUL_IN_A_ROW = 3
"""Calls in a row that ended in doubt, after which one record is risked at a time."""

PROBE_INTERVAL = 60.0
"""Seconds between probes of a store that refuses the key."""

NEVER = float("-inf")


@define(eq=False)
class Backpressure:
    """
    Keep the limits on the next call. All times are seconds on the clock.

    Attributes:
        jitter: Draws a number from 0 to 1 for each wait.
        asked_until: End of the pause that the store asked for.
        backoff_until: End of the wait after calls that never left.
        failures: Calls in a row that never left, counting those that began together once.
    """

    jitter: Callable[[], float]
    asked_until: float = NEVER
    backoff_until: float = NEVER
    failures: int = 0
    _limited: int = 0  # 429s in a row, counting those within one pause once
    _doubtful: int = 0  # calls in a row that ended in doubt
    _doubt_probe_at: float = NEVER  # while in doubt: from when on the next record may be risked
    _halt_probe_at: float | None = None  # while the key is refused: from when on the next probe may be taken in
    _halt_call_at: float = NEVER  # while the key is refused: from when on the next call may go

    @property
    def paused_until(self) -> float:
        """End of all pauses."""
        return max(self.asked_until, self.backoff_until)

    @property
    def in_doubt(self) -> bool:
        """True once too many calls in a row have ended in doubt."""
        return self._doubtful >= DOUBTFUL_IN_A_ROW

    @property
    def halted(self) -> bool:
        """True while the key is refused."""
        return self._halt_probe_at is not None

    @property
    def probing(self) -> bool:
        """True while one call of one record goes at a time."""
        return self.in_doubt or self.halted

    @property
    def probe_at(self) -> float:
        """From when on probing lets the next call go."""
        in_doubt = self._doubt_probe_at if self.in_doubt else NEVER
        return max(in_doubt, self._halt_call_at) if self.halted else in_doubt

    def takes_in(self, now: float) -> bool:
        """Say whether a record or a run may be taken in: while the key is refused one a minute, as a probe."""
        if self._halt_probe_at is None:
            return True
        if now < self._halt_probe_at:
            return False
        self._halt_probe_at = now + PROBE_INTERVAL
        return True

    # -- what became of a call ------------------------------------------------------------------------------------

    def asked_to_pause(self, now: float, seconds: float) -> float:
        """
        Pause for the seconds that a 429 asks for, unless a longer pause is under way; return the seconds of this pause.

        They are never below a floor that grows with each 429 in a row.
        """
        if now >= self.asked_until:
            self._limited += 1
        seconds = max(seconds, backoff(max(self._limited, 1), jitter=self.jitter()))
        self.asked_until = max(self.asked_until, now + seconds)
        return seconds

    def never_left(self, now: float) -> None:
        """Wait after a call that never left; one that fails during such a wait is part of the same failure."""
        if now >= self.backoff_until:
            self.failures += 1
            self.backoff_until = now + backoff(self.failures, jitter=self.jitter())

    def left(self, began_at: float) -> None:
        """Note that a call has left, whatever became of it."""
        self.failures = 0
        self._halt_call_at = began_at + PROBE_INTERVAL

    def ended_in_doubt(self, now: float) -> None:
        """Note that it can't be known what a call has saved."""
        self._doubtful += 1
        if self.in_doubt:
            failures = self._doubtful - DOUBTFUL_IN_A_ROW + 1
            self._doubt_probe_at = now + backoff(failures, jitter=self.jitter())

    def ended_definitely(self, *, writes: bool) -> None:
        """Note an answer that leaves no doubt, and whether its call could save anything."""
        self._limited = 0
        if writes:
            self._doubtful = 0

    def key_refused(self, now: float) -> None:
        """Halt."""
        self._halt_probe_at = now + PROBE_INTERVAL

    def key_taken(self) -> None:
        """End the halt."""
        self._halt_probe_at = None


def backoff(failures: int, *, jitter: float) -> float:
    """
    Give the seconds to wait after a number of failures in a row, from 1.

    The wait doubles from `FIRST_WAIT` up to `LONGEST_WAIT`, and lies between half of that and the whole: ``jitter``,
    from 0 to 1, keeps many clients from coming back in step.
    """
    doubled = FIRST_WAIT * 2.0 ** min(failures - 1, 16)
    return min(doubled, LONGEST_WAIT) * (0.5 + jitter / 2)
