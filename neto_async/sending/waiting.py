"""Waiting that a cancellation can't cut short. May import: nothing of the package."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["wait_through_cancellation"]

T = TypeVar("T")


async def wait_through_cancellation(work: Coroutine[Any, Any, T]) -> T:
    """
    Do work that has a deadline of its own to its end, in a task of its own, even where the caller is cancelled.

    Raises:
        CancelledError: The caller was cancelled meanwhile; the work is done all the same.
    """
    task = asyncio.get_running_loop().create_task(work)
    cancelled: asyncio.CancelledError | None = None
    with _shield():
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result


def _shield() -> contextlib.AbstractContextManager[object]:
    # An anyio cancel scope (Starlette's) cancels again in every turn of the loop for as long as anything waits inside
    # it: only anyio's own shield stops that. Where anyio has not been imported there is no such scope.
    anyio = sys.modules.get("anyio")
    return contextlib.nullcontext() if anyio is None else anyio.CancelScope(shield=True)
