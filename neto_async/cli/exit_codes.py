"""Exit codes of the command: the largest that applies. May import: results."""

from __future__ import annotations

from neto_async.results import ImportProgress

__all__ = ["ALL_ADDED", "SOME_REFUSED", "SOME_UNKNOWN", "STOPPED", "WRONG_USE", "exit_code"]

ALL_ADDED = 0
WRONG_USE = 1
"""Nothing was sent."""
SOME_REFUSED = 2
"""Some rows were rejected by the store, or are invalid."""
SOME_UNKNOWN = 3
STOPPED = 4
"""The import stopped before its end."""


def exit_code(progress: ImportProgress) -> int:
    """Return the exit code of an import that ended without an error."""
    if progress.not_sent:
        return STOPPED
    if progress.unknown:
        return SOME_UNKNOWN
    return SOME_REFUSED if progress.rejected or progress.invalid else ALL_ADDED
