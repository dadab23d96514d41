"""The settling of a file's rows in doubt: plan, reading, summary. May import: all but commands."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from neto_async.cli.doubts import command_like_this, show_doubts
from neto_async.cli.exit_codes import ALL_ADDED, SOME_UNKNOWN, STOPPED
from neto_async.cli.import_flow import readable, reports_in
from neto_async.cli.output import write_json
from neto_async.cli.screen import Screen, counted, edited
from neto_async.client import AsyncNetoClient
from neto_async.errors import ConfigurationError, NetoError
from neto_async.files.opening import RowFile
from neto_async.files.rows import Row
from neto_async.importing.plan import LogSource, make_plan
from neto_async.importing.reports import Reports
from neto_async.importing.resuming import outcomes_so_far
from neto_async.journals.marking import agreed
from neto_async.journals.protocol import READ_AT_ONCE
from neto_async.mapping.columns import ColumnMapping
from neto_async.models import CustomerLog, StoredCustomerLog
from neto_async.reconciling.evidence import Missing
from neto_async.reconciling.from_journal import JournalDoubts, as_seen, doubts_of, looking_like
from neto_async.results import ReconcileReport
from neto_async.settings import Settings, credentials_from_env

__all__ = ["SettleOptions", "settle_file"]

OWN_OPTIONS = {"--sole-writer": 0, "--settle-after": 1, "--found": 1, "--absent": 1, "--sure": 0, "--json": 0}
"""Options of the command that `import` does not have, or that belong to one run, and how many words each takes."""

PATIENCE = 30.0
"""Seconds after which what a person saw is taken unread."""

MAX_ROWS = 20
"""Rows still in doubt that a summary shows."""


@frozen(kw_only=True)
class SettleOptions:
    """
    What the user asked for, apart from the file and the mapping.

    Attributes:
        journal: A `SqliteJournal`, or one with its methods.
        found: Log ids that a person saw in the store, by row from 1.
        absent: Rows from 1 that a person did not find there.
        sure: They are absent even if logs of their customers have their texts.
        sole_writer: The user's guarantee.
        marker: The form of the marker that the rows were sent with; None without one.
        marker_noted: Whether the journal says that.
        settle_after: Seconds.
        report: The folder of the import's reports, which are written anew; None where that is not asked for.
        as_json: Write an object for a program.
    """

    journal: Any
    found: Mapping[int, int]
    absent: frozenset[int]
    sure: bool
    sole_writer: bool
    marker: str | None
    settle_after: float
    report: Path | None
    as_json: bool
    marker_noted: bool = False


def settle_file(rows: RowFile, mapping: ColumnMapping, limits: dict[str, Any], options: SettleOptions) -> int:
    """Note what a person saw, or read the customers of the rows in doubt back and note what that proves."""
    screen = Screen(stderr=options.as_json)
    client = {**credentials_from_env(), **limits}
    settings = Settings(**client)
    with readable(rows.name):
        source = LogSource(file=rows, plan=make_plan(rows, mapping, import_unknown=False))
        summary = options.journal.summary()
        options = evolve(
            options, marker=agreed(options.marker, summary.marker), marker_noted=summary.marker is not None
        )
        reports = reports_in(options.report, rows, source.plan, summary.identity)
        if options.found or options.absent:
            code = _note(client, source, settings, options, screen)
        elif _plan(source, settings, options, screen):
            code = _read_back_now(client, source, options, screen)
        else:
            if options.as_json:
                _write(ReconcileReport(()), None, ALL_ADDED)
            screen.say("Nothing is in doubt.")
            return ALL_ADDED
        if reports is not None and code != STOPPED:
            _write_reports(source, reports, settings, options, screen)
        return code


def _read_back_now(client: dict[str, Any], source: LogSource, options: SettleOptions, screen: Screen) -> int:
    async def read_back() -> int:
        async with AsyncNetoClient(**client) as neto:
            return await _read_back(neto, source, options, screen)

    try:
        return asyncio.run(read_back())
    except KeyboardInterrupt:
        screen.say("", "Stopped. What was proven by then is noted; run it again for the rest.")
        return STOPPED


def _at(row: int, where: Row, source: LogSource) -> str:
    """Name a row by its number, and the line that it begins on; in a document all may be in one line."""
    return f"row {row:,}" if source.file.format == "json" else f"row {row:,} (line {where.line:,})"


async def _look_for(
    client: dict[str, Any],
    rows: Mapping[int, tuple[CustomerLog, str]],
    doubts: JournalDoubts,
    options: SettleOptions,
    screen: Screen,
) -> None:
    """
    Check what a person saw in the logs of the rows' customers; say so where they can't be read.

    Raises:
        ConfigurationError: A customer does not have the log that was found, or has one with the text of an absent row.
    """
    found = options.found
    read: dict[str, list[StoredCustomerLog] | str] = {"": "the row has no user name"}
    async with AsyncNetoClient(**client, give_up_after=PATIENCE) as neto:
        for row, (log, at) in rows.items():
            name = (log.username or "").strip()
            if name not in read:
                try:
                    read[name] = [log async for log in neto.customer_logs(name)]
                except NetoError as error:
                    read[name] = str(error)
            logs = read[name]
            if isinstance(logs, str):
                taken = f"Log {found[row]} is taken to be {at}" if row in found else f"{at.capitalize()} is absent"
                screen.say(f"{taken} as you say; it can't be read back: {logs}.")
            elif row in found:
                if found[row] not in {log.log_id for log in logs}:
                    raise ConfigurationError(
                        f"log {found[row]} can't be {at}: the store has {counted(len(logs), 'log')} of the row's "
                        "customer, and not this one; nothing was noted"
                    )
            elif like := [log_id for log_id in looking_like(row - 1, doubts, logs) if log_id not in found.values()]:
                raise ConfigurationError(
                    f"{at} may be in the store: its customer has logs with its text that are no other row's: "
                    f"{', '.join(map(str, like[:MAX_ROWS]))}; nothing was noted. If one is the row, give --found "
                    f"{row}={like[0]}; if all are somebody else's, add --sure"
                )


def _note(client: dict[str, Any], source: LogSource, settings: Settings, options: SettleOptions, screen: Screen) -> int:
    journal = options.journal
    journal.open(settings.store_url)
    try:
        journal.settle(())
        found = {row - 1: log_id for row, log_id in options.found.items()}
        seen = as_seen(journal, source, found, {row - 1 for row in options.absent}, zone=settings.wire_timezone)
        chosen = options.found.keys() | options.absent
        rows = {
            row: (log, _at(row, where, source))
            for row, (log, where) in enumerate(source, 1)
            if row in chosen and isinstance(log, CustomerLog)
        }
        doubts = doubts_of(journal, source, zone=settings.wire_timezone, marker=options.marker)
        to_check = {row: log for row, log in rows.items() if row in options.found or not options.sure}
        if to_check:
            asyncio.run(_look_for(client, to_check, doubts, options, screen))
        journal.settle(seen)
    finally:
        journal.close()
    left = journal.summary().in_doubt
    code = SOME_UNKNOWN if left else ALL_ADDED
    counts = {"found": len(options.found), "absent": len(options.absent)}
    if options.as_json:
        write_json({**counts, "unknown": left, "exit_code": code})
    for row, (_, at) in islice(rows.items(), MAX_ROWS):
        screen.say(f"  {at}: {'not in the store' if row in options.absent else f'log {options.found[row]}'}")
    screen.say(f"Noted: {counts['found']:,} found, {counts['absent']:,} absent. In doubt: {counted(left, 'row')}.")
    if options.absent:
        _say_next(screen)
    return code


def _plan(source: LogSource, settings: Settings, options: SettleOptions, screen: Screen) -> int:
    """Show what is going to be read; return how many rows are in doubt."""
    summary = options.journal.summary()
    if summary.store != settings.store_url:
        raise ConfigurationError(f"the journal is of an import into {summary.store}, not {settings.store_url}")
    with options.journal.reading():
        doubts = doubts_of(options.journal, source, zone=settings.wire_timezone, marker=options.marker)
    if doubts.outcomes:
        screen.list(
            {
                "Store": f"{settings.store_url}; nothing is sent",
                "File": f"{source.file.name} ({source.file.read_as})",
                "Marker": None if options.marker is None else f'"{options.marker}"',
            }
        )
        show_doubts(doubts, settings, screen, settle_after=options.settle_after)
    return len(doubts.outcomes)


def _write_reports(
    source: LogSource, reports: Reports, settings: Settings, options: SettleOptions, screen: Screen
) -> None:
    """Write the outcome of each row as it is known now."""
    with options.journal.reading():
        reports.open(options.journal.identity)
        outcomes = outcomes_so_far(source, options.journal, zone=settings.wire_timezone)
        try:
            while some := list(islice(outcomes, READ_AT_ONCE)):
                reports.write(some)
        finally:
            reports.close(complete=False)
    screen.say(*edited(reports.copies), f"Reports: {options.report}")


async def _read_back(neto: AsyncNetoClient, source: LogSource, options: SettleOptions, screen: Screen) -> int:
    shown = 0

    def show(looked_at: int, of_all: int) -> None:
        nonlocal shown
        if 10 * looked_at // of_all > shown:
            shown = 10 * looked_at // of_all
            screen.say(f"{looked_at:,} of {of_all:,} rows")

    error = None
    report = ReconcileReport(())
    try:
        report = await neto.reconcile(
            journal=options.journal,
            source=source,
            marker=options.marker,
            sole_writer=options.sole_writer,
            settle_after=options.settle_after,
            wait=True,
            on_progress=show,
        )
    except NetoError as fault:
        if isinstance(fault, ConfigurationError):
            raise
        error = str(fault)
    return _summary(report, error, source, options, screen)


def _summary(
    report: ReconcileReport, error: str | None, source: LogSource, options: SettleOptions, screen: Screen
) -> int:
    code = STOPPED if error is not None else SOME_UNKNOWN if report.unknown else ALL_ADDED
    if options.as_json:
        _write(report, error, code)
    if error is not None:
        screen.say("", f"Stopped: {error}", "What was proven by then is noted; run it again for the rest.")
        return code
    screen.say("")
    screen.say(f"{len(report.added):>6,}  added      found in the store, with their ids", style="green")
    screen.say(f"{len(report.not_sent):>6,}  not sent   certainly not in the store", style="yellow")
    screen.say(f"{len(report.unknown):>6,}  unknown    not proven either way", style="yellow")
    for missing, count in Counter(record.missing for record in report.records if record.missing).most_common():
        screen.say(f"Still in doubt ({count:,}). Missing: {missing}.{_hint(missing, options)}")
    left = [record for record in report.records if record.missing is not None]
    for record in left[:MAX_ROWS]:
        ids = ", ".join(map(str, record.candidates)) or "none"
        at = _at(record.outcome.index + 1, record.outcome.context, source)
        screen.say(f"  {at}: {record.reason}; logs to look at: {ids}")
    if len(left) > MAX_ROWS:
        screen.say(f"  {counted(len(left) - MAX_ROWS, 'more row')}, which --json lists")
    if report.unknown:
        screen.say("Look these up in the store, then: --found ROW=LOGID, or --absent ROW.")
    if report.not_sent:
        _say_next(screen)
    return code


def _write(report: ReconcileReport, error: str | None, code: int) -> None:
    unknown = [
        {"row": record.outcome.index + 1, "missing": record.missing, "candidates": list(record.candidates)}
        for record in report.records
        if record.missing is not None
    ]
    counts = {"added": len(report.added), "not_sent": len(report.not_sent), "unknown": len(report.unknown)}
    write_json({**counts, "rows_unknown": unknown, "error": error, "exit_code": code})


def _hint(missing: str, options: SettleOptions) -> str:
    """Name the option that could supply what is missing."""
    if missing == Missing.SOLE_WRITER:
        return " If you can give it: --sole-writer."
    if missing == Missing.KNOWN_LOGS and options.marker is None and not options.marker_noted:
        return " If the file was imported with a --marker, give the same."
    return ""


def _say_next(screen: Screen) -> None:
    screen.say("To send what is not there, nothing twice, run the import again, such as:")
    screen.say(f"  {command_like_this('import', without=OWN_OPTIONS)}", wrap=False)
