"""Watching an import to its end, and why rows were not sent. May import: output, screen, client, importing, results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from neto_async.cli.output import OutputError
from neto_async.cli.screen import Screen
from neto_async.client import AsyncNetoClient
from neto_async.importing.run import ImportRun
from neto_async.outcomes import Added, NotSent, NotSentCause, Unknown
from neto_async.results import Statistics

__all__ = ["follow"]

LOOK_EVERY = 0.1
"""Seconds between two looks at how far a run is."""


async def follow(
    neto: AsyncNetoClient,
    run: ImportRun,
    causes: dict[NotSentCause, str],
    doubts: dict[str, None],
    screen: Screen,
) -> None:
    """Watch a run to its end, and note why rows were not sent or are in doubt."""
    warned: set[int] = set()
    looked = 0.0
    rows = run.progress.total or 0
    with screen.progress(rows) as watch, _trouble_shown(neto, screen, lambda: watch(run.progress, reachable=False)):
        async with run:
            async for outcome in run:
                if isinstance(outcome, NotSent):
                    causes.setdefault(outcome.cause, _why(outcome))
                elif isinstance(outcome, Unknown):
                    doubts.setdefault(outcome.reason)
                elif isinstance(outcome, Added) and outcome.warnings and outcome.attempts[-1].call not in warned:
                    warned.add(outcome.attempts[-1].call)
                    screen.warnings(outcome)
                if time.monotonic() - looked >= LOOK_EVERY:
                    watch(run.progress)
                    looked = time.monotonic()
            watch(run.progress)


def _why(outcome: NotSent) -> str:
    """Say in a person's words why a row was not sent; Neto's own words stay in the reports."""
    match outcome.cause:
        case NotSentCause.GAVE_UP:
            return "the store could not be reached, however often it was tried"
        case NotSentCause.KEY_REFUSED:
            return f"{outcome.cause}: check NETO_API_KEY and NETO_USERNAME, or an add-on's NETO_SECRET_KEY"
        case NotSentCause.IN_DOUBT | NotSentCause.WRONG_ADDRESS | NotSentCause.UNREACHABLE:
            return outcome.reason  # ends in the fault of the answer, in our words
        case cause:
            return cause


@contextmanager
def _trouble_shown(neto: AsyncNetoClient, screen: Screen, show: Callable[[], None]) -> Iterator[None]:
    """Say so, now and then, while the store can't be reached or asks for a pause."""

    async def look() -> None:
        said = ""
        while True:
            await asyncio.sleep(1.0)
            trouble = _trouble(neto.statistics())
            if trouble not in {said, ""}:
                with suppress(OutputError):  # the next write stops the run
                    screen.say(trouble)
                    show()
            said = trouble

    task = asyncio.get_running_loop().create_task(look())
    try:
        yield
    finally:
        task.cancel()


def _trouble(now: Statistics) -> str:
    if now.failing:
        return "The store can't be reached. Trying again for some minutes; Ctrl-C stops."
    if now.waiting_on == "pause":
        return "The store asked for a pause; going on when it is over. Ctrl-C stops."
    if now.waiting_on == "probe":
        return "The store's answers can't be read; trying one row at a time."
    return ""
