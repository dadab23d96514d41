"""The script of faults: which call meets which. May import: faults, reading."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from neto_async.sandbox.faults import Fault
from neto_async.sandbox.reading import SandboxRequest

__all__ = ["FaultScript"]


class FaultScript:
    """Says which call meets which fault: `next` goes before `when`, and `when` before `always`."""

    def __init__(self) -> None:
        self._next: deque[Fault | None] = deque()
        self._when: list[tuple[Callable[[SandboxRequest], bool], Fault]] = []
        self._always: Fault | None = None

    def next(self, *faults: Fault | None) -> None:
        """Play each of these on one coming call, in order of arrival, after those lined up before; None is no fault."""
        self._next.extend(faults)

    def when(self, predicate: Callable[[SandboxRequest], bool], fault: Fault) -> None:
        """Play a fault on every call that the predicate holds for; the first rule that matches counts."""
        if not fault.reads_body:
            raise ValueError(f"{fault.name} comes before the body is read, so a rule can't look at it; use next()")
        self._when.append((predicate, fault))

    def always(self, fault: Fault | None) -> None:
        """Play a fault on every call that nothing else is set for; None ends it."""
        self._always = fault

    def clear(self) -> None:
        """Forget the whole script."""
        self._next.clear()
        self._when.clear()
        self._always = None

    @property
    def waiting(self) -> int:
        """Number of faults lined up by `next` that no call has met yet."""
        return len(self._next)

    def on_arrival(self) -> tuple[bool, Fault | None]:
        """Take what is set for a call whose head has arrived: whether it is settled, and the fault."""
        if self._next:
            return True, self._next.popleft()
        unread = self._always is not None and not self._always.reads_body and not self._when
        return unread, self._always if unread else None

    def on_request(self, request: SandboxRequest) -> Fault | None:
        """Find the fault for a call that has been read."""
        return next((fault for predicate, fault in self._when if predicate(request)), self._always)
