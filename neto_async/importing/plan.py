"""
What an import of a file is going to do, found out before anything is sent, and the source that then does it.

May import: files, mapping, models, errors, wire (the vendor's names), sending (waiting).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import islice
from typing import TypeAlias

from attrs import Factory, define, field, frozen

from neto_async.errors import ConfigurationError, InvalidRecordError
from neto_async.importing.files import RowFile
from neto_async.importing.files_rows import Row, is_report_column
from neto_async.importing.mapping import ColumnMapping, folded
from neto_async.models import CustomerLog
from neto_async.sending.waiting import wait_through_cancellation
from neto_async.wire import VENDOR_NAMES

__all__ = ["LogSource", "Plan", "make_plan"]

SAMPLES = 3

CHUNK = 256
"""Rows read in one go in a thread: a few milliseconds of work."""


@define(kw_only=True)
class Plan:
    """
    What an import is going to do.

    Attributes:
        mapping: Which column gives which field.
        columns: All columns of the file, the report's own left out.
        ignored: Those that give no field.
        rows: Rows in the file.
        samples: The first logs as they will be sent.
        faults: What is wrong with the invalid rows.
    """

    mapping: ColumnMapping = field(repr=False)
    columns: tuple[str, ...]
    ignored: tuple[str, ...]
    rows: int = 0
    samples: list[CustomerLog] = Factory(list)
    faults: list[tuple[str, ...]] = field(factory=list, repr=False)

    @property
    def valid(self) -> int:
        """Rows that make a log."""
        return self.rows - len(self.faults)


def make_plan(file: RowFile, mapping: ColumnMapping, *, import_unknown: bool) -> Plan:
    """
    Read the file once from end to end.

    Raises:
        ConfigurationError: No column gives a field, the file is a report of records that were added, are in doubt or
            were not sent, or somebody writes to it.
    """
    columns = _columns(file)
    # The objects of a JSON file may spell a name each in its own way; a table's header that does so is ambiguous.
    spelt_once = {folded(name): name for name in reversed(columns)}.values()
    completed = mapping.completed(spelt_once if file.columns is None else file.columns)
    used = completed.used()
    if not used:
        raise ConfigurationError(
            f"{file.name}: no column is a field of a customer log. The file has: {', '.join(columns) or 'no columns'}. "
            f"The fields are: {', '.join(VENDOR_NAMES.values())}. "
            'Say which column gives which field; with the command: --map Notes="Column name"'
        )
    plan = Plan(mapping=completed, columns=columns, ignored=_ignored(columns, used))
    for row in file:
        if row.value("neto_outcome") == "Added":
            raise ConfigurationError(
                f"{file.name}: line {row.line} was added already, and can't be deleted through the API if it is added "
                "twice. Import the file it came from, or take its neto_ columns out if you are sure"
            )
        if row.value("neto_outcome") == "Unknown" and not import_unknown:
            raise ConfigurationError(
                f"{file.name}: line {row.line} may be in the store already, and can't be deleted through the API if it "
                "is added twice. Look in the store first; then take its neto_ columns out, or with the command add "
                "--import-unknown"
            )
        if row.value("neto_outcome") == "NotSent":
            raise ConfigurationError(
                f"{file.name}: line {row.line} was not sent, and the import that wrote this file sends it when it is "
                "run again: do that, or it is added twice. If there is nothing to run again, take the neto_ columns out"
            )
        plan.rows += 1
        try:
            log = completed.log_from(row)
        except InvalidRecordError as error:
            plan.faults.append(error.errors)
        else:
            if len(plan.samples) < SAMPLES:
                plan.samples.append(log)
    file.check_unchanged()
    return plan


@frozen(kw_only=True)
class LogSource:
    """
    The logs of a file, each row as the context of its own; its length lets a run say how long it takes.

    ``for`` reads where it stands; ``async for``, and so an import, reads in a worker thread, a chunk of rows at a time,
    and gives no chunk of a file that has been written to since it was opened: that is a `ConfigurationError`. What the
    file itself raises comes out as it is, after the rows before it. No thread is left reading when a loop is left
    or cancelled, which therefore waits for the chunk in hand.

    Attributes:
        file: The rows.
        plan: How they become logs, and how many there are.
    """

    file: RowFile
    plan: Plan

    def __len__(self) -> int:
        return self.plan.rows

    def __iter__(self) -> Iterator[tuple[CustomerLog | InvalidRecordError, Row]]:
        for row in self.file:
            try:
                yield self.plan.mapping.log_from(row), row
            except InvalidRecordError as error:
                yield error, row

    async def __aiter__(self) -> AsyncIterator[tuple[CustomerLog | InvalidRecordError, Row]]:
        pairs = iter(self)
        while True:
            chunk, error = await wait_through_cancellation(asyncio.to_thread(self._chunk, pairs))
            for pair in chunk:
                yield pair
            if error is not None:
                raise error
            if not chunk:
                return

    def _chunk(self, pairs: Iterator[_Pair]) -> tuple[list[_Pair], Exception | None]:
        chunk: list[_Pair] = []
        fault: Exception | None = None
        try:
            for pair in islice(pairs, CHUNK):
                chunk.append(pair)  # noqa: PERF402 - what comes before an error has to stay
        except Exception as error:  # noqa: BLE001 - raised in the caller's loop, after the rows before it
            fault = error
        try:
            self.file.check_unchanged()
        except ConfigurationError as changed:
            return [], changed
        return chunk, fault


_Pair: TypeAlias = tuple[CustomerLog | InvalidRecordError, Row]


def _ignored(columns: tuple[str, ...], used: frozenset[str]) -> tuple[str, ...]:
    known = set(map(folded, used))
    return tuple(name for name in columns if folded(name) not in known)


def _columns(file: RowFile) -> tuple[str, ...]:
    if file.columns is not None:
        names = dict.fromkeys(file.columns)
    else:
        # Each object of a JSON file brings its own names.
        names = dict.fromkeys(name for row in file for name in row.columns)
    with suppress(KeyError):
        del names[""]
    return tuple(name for name in names if not is_report_column(name))
