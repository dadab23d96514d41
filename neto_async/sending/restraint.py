"""
What holds calls back after what became of those before. Pure, on times that are handed in. May import: attempts.

    429, never left          everyone pauses; of several ends of a pause the latest counts
    three in a row in doubt  one call of one record goes at a time, ever more slowly, until one ends definitely
    key refused              nothing goes but one call of one record a minute, until one shows that the key is taken
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from neto_async.sending.attempts import backoff

__all__ = ["DOUBTFUL_IN_A_ROW", "PROBE_INTERVAL", "Restraint"]

DOUBTFUL_IN_A_ROW = 3
"""Calls in a row that ended in doubt, after which one record is risked at a time."""

PROBE_INTERVAL = 60.0
"""Seconds between probes of a store that refuses the key."""

NEVER = float("-inf")


@define(eq=False)
class Restraint:
    """
    Keep what the next call is held to. All times are seconds on the clock.

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
        """From when on the next call may go, as far as probing is concerned."""
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

    def asked_to_pause(self, now: float, seconds: float) -> None:
        """Pause for what a 429 asks for, unless a longer pause goes on."""
        self.asked_until = max(self.asked_until, now + seconds)

    def never_left(self, now: float) -> None:
        """Wait after a call that never left; one that fails while such a wait goes on is part of the same failure."""
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

    def ended_definitely(self) -> None:
        """Note an answer that leaves no doubt."""
        self._doubtful = 0

    def key_refused(self, now: float) -> None:
        """Halt."""
        self._halt_probe_at = now + PROBE_INTERVAL

    def key_taken(self) -> None:
        """Go on."""
        self._halt_probe_at = None
