"""Waiting that a cancellation can't cut short or that holds no loop; deadlines. May import: nothing of the package."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["Deadline", "complete_through_cancellation", "in_own_thread", "wait_through_cancellation"]

T = TypeVar("T")

TURNS_TO_READ = 20
"""Turns of the loop after a deadline in which what has arrived is read; an HTTP library takes up to ten."""


class Deadline:
    """
    Call back once a time has passed and the loop has had turns, and a grace, to read what arrived by then.

    The loop may have been blocked, or the process suspended, past the deadline: the answer can lie in the socket.

    Args:
        when: The deadline, in the loop's time.
        grace: Seconds after it, or after the loop has run again.
        passed: Called then.
        context: For the callback; by default the current one.
    """

    def __init__(
        self, when: float, grace: float, passed: Callable[[], object], context: contextvars.Context | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._grace = grace
        self._passed: Callable[[], object] | None = passed
        self._context = context
        self._handle: asyncio.Handle = self._loop.call_at(when, self._turn, TURNS_TO_READ, context=context)

    def cancel(self) -> None:
        """Forget the callback: it may hold what holds this, and would keep it until the next garbage collection."""
        self._handle.cancel()
        self._passed = None

    def _turn(self, left: int) -> None:
        if left:
            self._handle = self._loop.call_soon(self._turn, left - 1, context=self._context)
        else:
            assert self._passed is not None  # noqa: S101 - it was not cancelled
            self._handle = self._loop.call_later(self._grace, self._passed, context=self._context)


async def in_own_thread(work: Callable[[], T], name: str) -> T:
    """Do work that would hold the loop in a thread: one of its own, as all others may wait for this very work."""
    threads = ThreadPoolExecutor(1, name)
    try:
        working = asyncio.get_running_loop().run_in_executor(threads, work)
    except RuntimeError:  # the process is ending, and starts no thread any more
        return work()
    finally:
        threads.shutdown(wait=False)
    return await working


async def wait_through_cancellation(work: Coroutine[Any, Any, T]) -> T:
    """
    Run work, which has its own deadline, to its end in a separate task, even if the caller is cancelled.

    Raises:
        CancelledError: The caller was cancelled meanwhile; the work was done nevertheless.
    """
    task = asyncio.get_running_loop().create_task(work)
    return await complete_through_cancellation(lambda: task)


async def complete_through_cancellation(begin: Callable[[], asyncio.Task[T]]) -> T:
    """
    Wait for a task to its end, even where the caller is cancelled; begin again where the task itself is.

    A cancel-all at shutdown (``for task in asyncio.all_tasks(): task.cancel()``) cancels both.

    Args:
        begin: Gives the task; a new one where the last was cancelled, or else that one.

    Raises:
        CancelledError: The caller was cancelled meanwhile; the work was done nevertheless.
    """
    task = begin()
    cancelled: asyncio.CancelledError | None = None
    with _shield():
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
            if task.cancelled():
                task = begin()
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result


def _shield() -> contextlib.AbstractContextManager[object]:
    # An anyio cancel scope (Starlette's) cancels again in every turn of the loop for as long as anything waits inside
    # it: only anyio's own shield stops that. Where anyio has not been imported there is no such scope.
    anyio = sys.modules.get("anyio")
    return contextlib.nullcontext() if anyio is None else anyio.CancelScope(shield=True)
