"""
Whose turn it is: single adds first, and at least a quarter of the calls for the other lanes, one after the other.

May import: lanes.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from attrs import define, field

from neto_async.sending.lanes import ImportLane, Lane, SingleLane

__all__ = ["Turns"]

ADDS_TO_ANOTHER = 3
"""Calls with single adds for which a lane that waits is owed one: each gets at least a quarter of them."""


@define(eq=False)
class Turns:
    """The lanes in the order in which they are served: single ones, adds first, and those of bulk adds and imports."""

    singles: tuple[SingleLane, ...]
    runs: list[ImportLane] = field(factory=list)
    _others: deque[Lane] = field(init=False)  # all lanes but that of single adds; the next to be served first
    _owed: int = 0  # calls with single adds while others waited, less `ADDS_TO_ANOTHER` for each call of another

    def __attrs_post_init__(self) -> None:
        self._others = deque(self.singles[1:])

    def enter(self, lane: ImportLane) -> None:
        """Serve a run from now on."""
        self.runs.append(lane)
        self._others.append(lane)

    def leave(self, lane: ImportLane) -> None:
        """Stop serving a run."""
        with suppress(ValueError):  # a run that is finished has left before its block is left
            self.runs.remove(lane)
            self._others.remove(lane)
        if not any(other.ready() for other in self._others):
            self._owed = 0

    def ready(self) -> list[Lane]:
        """List the lanes with something to send, in their order."""
        adds = self.singles[0]
        others = [lane for lane in self._others if lane.ready()]
        if not adds.ready():
            return others
        if others and self._owed >= ADDS_TO_ANOTHER:
            return [*others, adds]
        return [adds, *others]

    @property
    def places_for_others(self) -> int:
        """Places in the quota that single adds leave to others that wait, which can't take them in a burst."""
        return self._owed // ADDS_TO_ANOTHER

    def taken(self, lane: Lane) -> None:
        """Note that a lane had a turn."""
        if lane is not self.singles[0]:
            self._owed = max(0, self._owed - ADDS_TO_ANOTHER)
            self._others.remove(lane)
            self._others.append(lane)
        elif self._owed < ADDS_TO_ANOTHER or any(other.ready() for other in self._others):
            # If no other waits, the next one to come has one turn first.
            self._owed += 1
