"""
Settling the doubts of a program through its client.

May import: the rest of reconciling, journals, sending, wire, outcomes, results.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing
from datetime import datetime
from functools import partial
from typing import Any

from attrs import frozen

from neto_async.errors import ConfigurationError
from neto_async.journals.protocol import Journal
from neto_async.outcomes import Outcome
from neto_async.reconciling.evidence import DoubtsAndKnown, Verdict
from neto_async.reconciling.from_journal import (
    JournalDoubts,
    as_settled,
    combined,
    doubts_of,
    require_readable_twice,
)
from neto_async.reconciling.from_outcomes import doubts_in
from neto_async.reconciling.reading import Reader
from neto_async.reconciling.report import reconciled
from neto_async.reconciling.settle import over_at, settle
from neto_async.results import Reconciled, ReconcileReport
from neto_async.sending.engine import Engine
from neto_async.sending.waiting import complete_through_cancellation, in_own_thread
from neto_async.wire import CustomerPage

__all__ = ["Switches", "reader_of", "reconcile_journal", "reconcile_outcomes"]


@frozen(kw_only=True)
class Switches:
    """How doubts are settled; see `AsyncNetoClient.reconcile`."""

    sole_writer: bool
    settle_after: float
    wait: bool
    on_progress: Callable[[int, int], object] | None

    def report(self, judged: int, of_all: int) -> None:
        """Report progress."""
        if self.on_progress is not None:
            self.on_progress(judged, of_all)


def reader_of(engine: Engine, now: Callable[[], datetime] | None = None) -> Reader:
    """Make a reader whose calls go out through an engine, under its quota and behind single adds."""
    time_of_day = now or engine.clock.utcnow

    async def ask(page: CustomerPage) -> Any:
        return await engine.outcome(engine.reads, page, None, engine.settings.give_up_after)

    return Reader(ask, lambda: time_of_day().timestamp())


async def reconcile_outcomes(engine: Engine, outcomes: Iterable[Outcome], switches: Switches) -> ReconcileReport:
    """
    Say what became of the records in doubt among some outcomes.

    Raises:
        ConfigurationError: Something else is among them.
    """
    listed: list[Any] = list(outcomes)
    if not all(isinstance(outcome, Outcome) for outcome in listed):
        raise ConfigurationError("outcomes must hold outcomes alone, such as `BulkReport.outcomes`")
    doubts = partial(doubts_in, listed, zone=engine.settings.wire_timezone)
    given = await in_own_thread(doubts, "neto_async settle")
    found: dict[int, Reconciled] = {}
    async with aclosing(await _settled(engine, given, switches, engine.clock.utcnow)) as settled:
        async for some in settled:
            found |= {verdict.doubt.row: reconciled(verdict, listed[verdict.doubt.row]) for verdict in some}
            switches.report(len(found), len(given.doubts))
    return _report(found)


async def reconcile_journal(
    engine: Engine, journal: Journal, source: Iterable[object], switches: Switches, *, marker: str | None
) -> ReconcileReport:
    """
    Settle the rows that a journal has in doubt, and note in it what is proven.

    Raises:
        ConfigurationError: The journal can't be used or settled, or the source is not the one that it knows.
        JournalError: What was proven could not be noted.
    """
    require_readable_twice(source)
    if not hasattr(journal, "settle"):
        raise ConfigurationError("the journal has no `settle`: its doubts can't be settled")
    settling: Any = journal
    loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(1, "neto_async settle")
    to_close = ExitStack()

    def opened() -> JournalDoubts:
        if hasattr(settling, "summary"):
            settling.summary()  # raises where no import has begun with it; opening would make one
        settling.open(engine.settings.store_url)  # where it raises it closes itself, or another run has it open
        to_close.callback(settling.close)
        settling.settle(())
        return doubts_of(settling, source, zone=engine.settings.wire_timezone, marker=marker)

    found: dict[int, Reconciled] = {}
    try:
        doubts = await loop.run_in_executor(threads, opened)
        # Its moments may be of its server's clock, which all hosts share.
        now = getattr(settling, "now", engine.clock.utcnow)
        async with aclosing(await _settled(engine, doubts.given, switches, now)) as settled:
            async for some in settled:
                verdicts = combined(some, doubts)
                if proven := as_settled(doubts, verdicts):
                    await loop.run_in_executor(threads, settling.settle, proven)
                for verdict in verdicts:
                    found[verdict.doubt.row] = reconciled(verdict, doubts.outcomes[verdict.doubt.row])
                switches.report(len(found), len(doubts.outcomes))
    finally:
        await complete_through_cancellation(lambda: loop.create_task(_close(to_close, threads)))
    return _report(found)


async def _close(to_close: ExitStack, threads: ThreadPoolExecutor) -> None:
    await asyncio.get_running_loop().run_in_executor(threads, to_close.close)
    threads.shutdown(wait=False)


async def _settled(
    engine: Engine, given: DoubtsAndKnown, switches: Switches, now: Callable[[], datetime]
) -> AsyncGenerator[tuple[Verdict, ...], None]:
    if switches.wait and given.doubts:
        ahead = (engine.clock.utcnow() - now()).total_seconds()
        await engine.sleep_until(over_at(given, switches.settle_after) + ahead)
    reader = reader_of(engine, now)
    return settle(given, reader, sole_writer=switches.sole_writer, settle_after=switches.settle_after)


def _report(found: Mapping[int, Reconciled]) -> ReconcileReport:
    return ReconcileReport(tuple(found[row] for row in sorted(found)))
