"""How long to wait before what was certainly not saved is tried again. Pure. May import: nothing of the package."""

from __future__ import annotations

__all__ = ["DEFAULT_PAUSE", "backoff"]

DEFAULT_PAUSE = 60.0
"""Seconds of pause after a 429 that names none: "you shouldn't make any further requests for a minute" (vendor's older
page on limits, read 2026-11)."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0


def backoff(failures: int, *, jitter: float) -> float:
    """
    Say how long to wait after a number of failures in a row.

    The wait doubles from `FIRST_WAIT` up to `LONGEST_WAIT`, and lies between half of that and the whole.

    Args:
        failures: Failures in a row, from 1.
        jitter: From 0 to 1, drawn by the caller, so that many clients don't come back in step.

    Returns:
        Seconds.
    """
    doubled = FIRST_WAIT * 2.0 ** min(failures - 1, 16)
    return min(doubled, LONGEST_WAIT) * (0.5 + jitter / 2)
