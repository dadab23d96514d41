"""
The plan of an import, made before anything is sent, and the source of logs that carries it out.

May import: files, mapping, models, errors, wire (the vendor's names), sending (waiting).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import TypeAlias

from attrs import Factory, define, field, frozen

from neto_async.errors import ConfigurationError, InvalidRecordError, SourceError
from neto_async.files.csv_files import refuse_wide
from neto_async.files.opening import FileFormat, RowFile
from neto_async.files.rows import Row, is_report_column, some
from neto_async.importing.notices import Findings
from neto_async.mapping.columns import FIELDS, ColumnMapping, folded
from neto_async.models import CustomerLog
from neto_async.sending.waiting import wait_through_cancellation
from neto_async.wire import VENDOR_NAMES

__all__ = ["LogSource", "Plan", "make_plan"]

SAMPLES = 3

MAX_WORDS = 20

MAX_FAULTS = 1_000
"""Invalid rows whose faults a plan keeps."""

HEADER_ROWS = 20
LONGEST_NAME = 50
"""Rows among which a header is looked for, and characters of a name in it."""

CHUNK = 256
"""Rows read in one go in a thread: a few milliseconds of work."""

_REPORTED = {
    "Added": (
        "was added already, and can't be deleted through the API if it is added twice. Import the file it came from, "
        "or remove its neto_ columns if you are sure"
    ),
    "Unknown": (
        "may be in the store already, and can't be deleted through the API if it is added twice. Check the store "
        "first; then remove its neto_ columns, or with the command add --import-unknown"
    ),
    "Planned": "is from the plan of a file: import that file",
    "NotSent": (
        "was not sent, and the import that wrote this file sends it when you run it again: do that, or it is added "
        "twice. If there is nothing to run again, remove the neto_ columns"
    ),
}
"""What is said of a row of a report that must not be imported, by its ``neto_outcome``."""


@define(kw_only=True)
class Plan:
    """
    The plan of an import.

    Attributes:
        mapping: Which column gives which field.
        columns: All columns of the file, the report's own left out.
        ignored: Those that give no field.
        rows: Rows in the file.
        samples: The first logs as they will be sent.
        invalid: Rows that make no log.
        faults: What is wrong with the first of them, 1,000 at most.
        unknown_status: Words of the status column that mean none of Neto's, and in how many rows; 20 at most.
        notices: What a person should know, in short sentences that hold no customer's text.
        doubts: What is likely wrong, each with the option that answers it; don't send unless a person has seen it.
    """

    mapping: ColumnMapping = field(repr=False)
    columns: tuple[str, ...]
    ignored: tuple[str, ...]
    rows: int = 0
    invalid: int = 0
    samples: list[CustomerLog] = Factory(list)
    faults: list[tuple[str, ...]] = field(factory=list, repr=False)
    notices: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    unknown_status: dict[str, int] = field(factory=dict, repr=False)

    @property
    def valid(self) -> int:
        """Rows that make a log."""
        return self.rows - self.invalid


def make_plan(file: RowFile, mapping: ColumnMapping, *, import_unknown: bool) -> Plan:
    """
    Read the file once from end to end.

    Raises:
        SourceError: No column gives a field, the file is a report of records that were added, are in doubt or
            were not sent, or somebody writes to it.
    """
    columns = _columns(file)
    # The objects of a JSON file may spell a name each in its own way; a table's header that does so is ambiguous.
    spelt_once = {folded(name): name for name in reversed(columns)}.values()
    try:
        completed = mapping.completed(spelt_once if file.columns is None else file.columns)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}{_header_further_down(file, mapping)}") from None
    used = completed.used()
    if not columns and file.columns is None:
        row = next(iter(file), None)
        raise SourceError(f"{file.name}: " + (f"line {row.line}: {row.fault}" if row else "there are no rows in it"))
    if not used:
        raise SourceError(
            f"{file.name}: no column is a field of a customer log. The file has: {some(columns) or 'no columns'}. "
            f"The fields are: {', '.join(VENDOR_NAMES.values())}. "
            'Say which column gives which field; with the command: --map Notes="Column name"'
            f"{_header_further_down(file, mapping)}{_other_sheets(file)}"
        )
    plan = Plan(mapping=completed, columns=columns, ignored=_ignored(columns, used))
    findings = Findings(file, completed)
    reported = file.columns is None or any(map(is_report_column, file.columns))
    for row in file.every_row(findings.beside):
        if file.leaves_out(row):
            findings.see(row, None)
            continue
        if reported:
            _refuse_reported(row, file.name, import_unknown=import_unknown)
        plan.rows += 1
        try:
            log = completed.log_from(row)
        except InvalidRecordError as error:
            findings.see(row, None)
            _keep_fault(plan, row, error, in_lines=file.format is not FileFormat.JSON)
        else:
            findings.see(row, log)
            if len(plan.samples) < SAMPLES:
                plan.samples.append(log)
    file.check_unchanged()
    plan.notices, plan.doubts = findings.said()
    return plan


@frozen(kw_only=True)
class LogSource:
    """
    The logs of a file, each with its row as the context; its length lets a run say how long it takes.

    ``for`` reads in the thread of its caller; ``async for``, and so an import, reads in a worker thread, a chunk of
    rows at a time, and gives no chunk of a file that has been written to since it was opened: that is a `SourceError`.
    An error that the file raises comes after the rows before it. No thread is left reading when a loop is left or
    cancelled; leaving it waits for the current chunk.

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


def _keep_fault(plan: Plan, row: Row, error: InvalidRecordError, *, in_lines: bool) -> None:
    plan.invalid += 1
    if len(plan.faults) < MAX_FAULTS:
        # The objects of a JSON document are often all in one line.
        here, where = f"line {row.line}", f"line {row.line}" if in_lines else f"row {plan.rows}"
        plan.faults.append(tuple(f"{where}{fault.removeprefix(here)}" for fault in error.errors))
    if any("status: must be one of" in fault for fault in error.errors):
        counts, word = plan.unknown_status, plan.mapping.text_in(row, "status").strip()[:50]
        if word in counts or len(counts) < MAX_WORDS:
            counts[word] = counts.get(word, 0) + 1


def _refuse_reported(row: Row, name: str, *, import_unknown: bool) -> None:
    outcome = row.value("neto_outcome")
    if outcome in _REPORTED and not (outcome == "Unknown" and import_unknown):
        raise SourceError(f"{name}: line {row.line} {_REPORTED[outcome]}")


def _header_further_down(file: RowFile, mapping: ColumnMapping) -> str:
    """Propose the header row if one of the first rows holds known names of columns."""
    wanted = {*map(folded, mapping.used()), *FIELDS}
    for row in islice(file, HEADER_ROWS):
        text = row.raw or "|".join(map(str, row.cells))
        names = {folded(cell.strip(' "')) for cell in re.split(r"[,;\t|]", text) if len(cell) <= LONGEST_NAME}
        if row.line and names & wanted and "" not in names & wanted and names != set(map(folded, row.columns)):
            return f". Line {row.line} looks like the header: --header-row {row.line}"
    return ""


def _other_sheets(file: RowFile) -> str:
    others = file.sheet.others if file.sheet else ()
    return f". Its other sheets are: {some(others)}; --sheet reads one of them" if others else ""


def _ignored(columns: tuple[str, ...], used: frozenset[str]) -> tuple[str, ...]:
    known = set(map(folded, used))
    # What is inside an object of JSON is used where only a part of it is.
    inside = {name.rpartition(".")[0] for name in known}
    return tuple(name for name in columns if folded(name) not in known | inside)


def _columns(file: RowFile) -> tuple[str, ...]:
    if file.columns is not None:
        names = dict.fromkeys(file.columns)
    else:
        # Each object of a JSON file brings its own names.
        names = {}
        for row in file:
            names.update(dict.fromkeys(row.columns))
            refuse_wide(names, file.name)
    return tuple(name for name in names if name and not is_report_column(name))
