"""
Windows: the ids that a call's records can have, as far as ids ascend. Pure; may import: evidence.

That ids ascend is not known of Neto. It is checked on the calls whose ids are known; where one of them went back, no
window is narrowed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate

from attrs import frozen

from neto_async.reconciling.evidence import AnsweredCall, DoubtfulCall

__all__ = ["Window", "ids_ascend", "windows_of"]


@frozen(kw_only=True)
class Window:
    """
    The ids that a call's records can have.

    Attributes:
        floor: They are above it; None where no older id is known.
        ceiling: They are below it; None where no younger id is known.
        settled_at: From this moment on nothing of the call is saved any more.
    """

    floor: int | None
    ceiling: int | None
    settled_at: float

    def __contains__(self, log_id: int) -> bool:
        return (self.floor is None or self.floor < log_id) and (self.ceiling is None or log_id < self.ceiling)

    def of(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Give those of some ids, which ascend, that are in it."""
        start = 0 if self.floor is None else bisect_right(ids, self.floor)
        return ids[start : None if self.ceiling is None else bisect_left(ids, self.ceiling, lo=start)]


def ids_ascend(answered: Iterable[AnsweredCall]) -> bool:
    """Say whether each call that began after another was answered has the higher ids."""
    calls = sorted(answered, key=lambda call: call.began)
    ended = iter(sorted(calls, key=lambda call: call.answered))
    earlier = next(ended, None)
    highest = 0
    for call in calls:
        while earlier is not None and earlier.answered < call.began:
            highest = max(highest, earlier.highest_id)
            earlier = next(ended, None)
        if call.lowest_id <= highest:
            return False
    return True


def windows_of(
    calls: Iterable[DoubtfulCall], answered: Iterable[AnsweredCall], settle_after: float
) -> dict[int, Window]:
    """Say which ids the records of each call can have, by the calls' numbers."""
    # There may be as many of both as records in an import, so each call is looked up and not compared with all.
    answered = tuple(answered)
    narrowing = answered if ids_ascend(answered) else ()
    ended = sorted(narrowing, key=lambda call: call.answered)
    floors = list(accumulate((call.highest_id for call in ended), max))
    begun = sorted(narrowing, key=lambda call: call.began_at, reverse=True)
    ceilings = list(accumulate((call.lowest_id for call in begun), min))
    windows = {}
    for call in calls:
        settled_at = call.left_at + settle_after
        older = bisect_left(ended, call.began, key=lambda other: other.answered)
        younger = bisect_right(begun, -settled_at, key=lambda other: -other.began_at)
        windows[call.number] = Window(
            floor=floors[older - 1] if older else None,
            ceiling=ceilings[younger - 1] if younger else None,
            settled_at=settled_at,
        )
    return windows
