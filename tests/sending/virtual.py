"""An event loop whose time jumps to the next timer when nothing else is to be done: nothing in a test sleeps."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["VirtualLoop", "run"]

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """A selector that never waits: what a real one would have slept is added to the loop's time."""

    slept = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("nothing is left that could wake the loop: what is awaited never comes")
        self.slept += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, for programs that open no socket."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return 1000.0 + self._jumping.slept


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function on a virtual loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work())
