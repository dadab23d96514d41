"""
A bulk add: a run whose outcomes are gathered into one report. May import: the rest of importing, sending, errors.

Its records can't be taken back, so what became of them is reported even where the caller does not get the report.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable
from typing import Any

from neto_async.errors import BulkSourceError
from neto_async.importing.run import ImportRun
from neto_async.outcomes import Outcome
from neto_async.results import BulkReport
from neto_async.sending.engine import Engine

__all__ = ["BulkAdd"]


class BulkAdd(ImportRun):
    """A run that gathers its outcomes; ``ended`` is done when the report is made, or can't be made any more."""

    def __init__(self, engine: Engine, logs: Iterable[Any] | AsyncIterable[Any]) -> None:
        super().__init__(engine, logs, drain_source=True)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def reads_in_this_task(self) -> bool:
        """True where its source is what runs now."""
        return self._reader is asyncio.current_task()

    async def report(self) -> BulkReport:
        """Add all records and report what became of each; where the source raised, `BulkSourceError` has the report."""
        outcomes: list[Outcome] = []
        try:
            async with self:
                async for outcome in self:
                    outcomes.append(outcome)  # noqa: PERF401 - what came before an error counts
        except BaseException as error:
            report = _report([*outcomes, *self.unread])
            if error is self._raised and isinstance(error, Exception | asyncio.CancelledError):
                name, count = type(error).__name__, len(report.outcomes)
                text = f"the source raised {name}; the error's report has the outcomes of what it had yielded ({count})"
                raise BulkSourceError(text, report=report) from error
            self._engine.unawaited.add_bulk(report.outcomes)
            raise
        finally:
            self.ended.set_result(None)
        return _report(outcomes)


def _report(outcomes: list[Outcome]) -> BulkReport:
    return BulkReport(tuple(sorted(outcomes, key=lambda outcome: outcome.index)))
