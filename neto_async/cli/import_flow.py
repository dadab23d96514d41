"""The import of a file: plan, question, run, summary. May import: all but commands."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve, frozen

from neto_async.cli.doubts import command_like_this, show_doubts
from neto_async.cli.exit_codes import ALL_ADDED, SOME_REFUSED, STOPPED, WRONG_USE, exit_code
from neto_async.cli.journal_places import JournalPlace, journal_at
from neto_async.cli.output import OutputError, complain, write_json
from neto_async.cli.sandbox_store import make_sandbox
from neto_async.cli.screen import Screen, counted, edited
from neto_async.cli.stopping import Stopper
from neto_async.cli.watching import follow
from neto_async.client import AsyncNetoClient
from neto_async.errors import ConfigurationError, NetoError
from neto_async.files.opening import RowFile
from neto_async.importing.plan import LogSource, Plan, make_plan
from neto_async.importing.reports import Reports
from neto_async.importing.resuming import check_source
from neto_async.importing.run import ImportRun
from neto_async.journals.chained import require_store
from neto_async.journals.events import JournalSummary
from neto_async.journals.marking import agreed
from neto_async.mapping.columns import ColumnMapping
from neto_async.outcomes import NotSentCause
from neto_async.reconciling.from_journal import doubts_of
from neto_async.results import ImportProgress
from neto_async.settings import SETTLE_AFTER, Settings, credentials_from_env

if TYPE_CHECKING:
    from neto_async.sandbox import NetoSandbox

__all__ = ["ImportOptions", "import_file", "readable", "reports_in"]

MAX_DOUBTS = 3
"""Reasons for doubt that a summary shows; the report has them all."""

OWN_OPTIONS = {
    **dict.fromkeys(("--yes", "--json", "--retry-rejected", "--import-unknown", "--sole-writer"), 0),
    **dict.fromkeys(("--in-doubt", "--settle-after", "--batch-size", "--max-concurrency", "--format"), 1),
}
"""Options of an import that `settle` does not have, or that belong to one run, and how many words each takes."""

GO_ON = "To see what became of the rows, and go on with what is left, nothing twice:"

QUESTION = "\nSend them? What is added can't be deleted through the API"


@frozen(kw_only=True)
class ImportOptions:
    """What the user asked for, apart from the file and the mapping."""

    dry_run: bool = False
    watched: bool = False
    as_json: bool = False
    report: Path | None = None
    import_unknown: bool = False
    to_sandbox: bool = False
    latency: float = 0.0
    journal: JournalPlace | None = None
    in_doubt: str = "hold"
    sole_writer: bool = False
    settle_after: float = SETTLE_AFTER
    waits_until: str = ""
    retry_rejected: bool = False
    marker: str | None = None
    earlier: JournalSummary | None = None

    @property
    def ask(self) -> bool:
        """Whether a person who watches is asked before anything is sent."""
        return self.watched and not self.to_sandbox


def import_file(rows: RowFile, mapping: ColumnMapping, limits: dict[str, Any], options: ImportOptions) -> int:
    """Show the plan, ask, and send. No event loop runs before that, so that Ctrl-C ends what is read or asked."""
    screen = Screen(stderr=options.as_json)
    playing = options.to_sandbox and not options.dry_run
    store = make_sandbox(latency=options.latency, requests_per_minute=None) if playing else None
    with readable(rows.name):
        plan = make_plan(rows, mapping, import_unknown=options.import_unknown)
    where = {"store_url": "http://127.0.0.1", "api_key": "none"} if options.to_sandbox else credentials_from_env()
    client = {**where, **limits}
    settings = Settings(**client)
    earlier = _earlier(options, settings)
    if earlier is not None:
        options = evolve(options, earlier=earlier, marker=agreed(options.marker, earlier.marker))
    identity = None if earlier is None else earlier.identity
    reports = reports_in(options.report, rows, plan, identity)
    source = LogSource(file=rows, plan=plan)
    _compare(source, settings, options)
    _show_plan(screen, rows, plan, settings, options)
    if options.in_doubt == "settle" and earlier is not None and earlier.in_doubt:
        options = evolve(options, waits_until=_show_doubts(source, settings, options, screen))
    if options.dry_run:
        planned = None if reports is None else reports.write_planned(source, settings.wire_timezone)
        return _dry_run(plan, planned, options, screen)
    if refused := _refusal(plan, options, screen):
        raise ConfigurationError(refused)
    if options.journal is not None and options.earlier is None and plan.valid and not options.ask:
        screen.say("", "No journal found: all rows are sent.")
    if options.ask and screen.at_a_terminal and _left(plan, options, fixed=True) and not _agreed(options):
        screen.say("Nothing was sent.")
        return WRONG_USE
    return asyncio.run(_connect(client, store, source, reports, options, screen))


async def _connect(  # noqa: PLR0917
    client: dict[str, Any],
    store: NetoSandbox | None,
    source: LogSource,
    reports: Reports | None,
    options: ImportOptions,
    screen: Screen,
) -> int:
    again = None if options.journal is None else shlex.join(["neto-async", *sys.argv[1:]])
    stopper = Stopper(screen, again, options.report)
    async with AsyncExitStack() as stack:
        stack.enter_context(stopper.listening())
        if store is not None:
            await stack.enter_async_context(store)
            client = {**client, "store_url": store.url, "username": store.username, "api_key": store.api_key}
            screen.say("", f"The sandbox's page, while this runs: {store.url}/")
        neto = await stack.enter_async_context(AsyncNetoClient(**client))
        return await _send(neto, source, reports, options, stopper)


def _agreed(options: ImportOptions) -> bool:
    try:
        return click.confirm(QUESTION, err=options.as_json)
    except click.Abort:  # Ctrl-C, or the end of the input: the cursor is still behind the question
        click.echo()
        return False


def _earlier(options: ImportOptions, settings: Settings) -> JournalSummary | None:
    """Read the journal of an earlier run, if there was one."""
    if options.journal is None:
        return None
    summary = journal_at(options.journal).remembered()
    if summary is not None and not options.to_sandbox:
        require_store(str(options.journal.name), summary.store, settings.store_url)
    return summary


def _left(plan: Plan, options: ImportOptions, *, fixed: bool = False) -> int:
    """Count the rows that will be sent; ``fixed``: as if the rejected ones had been fixed."""
    earlier = options.earlier
    if earlier is None:
        return plan.valid
    settled = earlier.added
    settled += 0 if options.in_doubt == "resend" else earlier.in_doubt
    settled += 0 if fixed or options.retry_rejected else earlier.rejected
    return max(0, plan.valid - settled)


def reports_in(folder: Path | None, rows: RowFile, plan: Plan, journal: str | None) -> Reports | None:
    """
    Make the reports of a file, and look whether they can be written; None without a folder.

    Raises:
        ConfigurationError: The folder can't take them, or has those of another journal.
    """
    if folder is None:
        return None
    plain = rows.encoding is not None and rows.encoding.label == "UTF-8"
    delimiter = rows.delimiter or ","
    reports = Reports(folder, plan.columns, delimiter=delimiter, mark=not plain, mapping=plan.mapping)
    reports.check(journal)
    return reports


def _show_plan(screen: Screen, rows: RowFile, plan: Plan, settings: Settings, options: ImportOptions) -> None:
    left = _left(plan, options)
    # The first call carries one log; see the engine's "feeling the way".
    calls = 0 if not left else 1 + -(-(left - 1) // settings.batch_size)
    rate = settings.requests_per_minute
    screen.plan(
        rows,
        plan,
        store="a sandbox on this machine; nothing reaches Neto" if options.to_sandbox else settings.store_url,
        journal=options.journal,
        marker=options.marker,
        earlier=options.earlier,
        left=left,
        calls=calls,
        seconds=None if rate is None else 60 * calls / rate,
        samples=options.dry_run or options.to_sandbox,
        every_fault=options.dry_run,
    )


def _compare(source: LogSource, settings: Settings, options: ImportOptions) -> None:
    """Refuse a file that the journal does not know any more, before anything is shown, asked or written."""
    if options.journal is not None and options.earlier is not None:
        journal = journal_at(options.journal)
        with journal.reading(), readable(source.file.name):
            try:
                check_source(source, journal, zone=settings.wire_timezone)
            finally:
                source.file.check_unchanged()


def _show_doubts(source: LogSource, settings: Settings, options: ImportOptions, screen: Screen) -> str:
    """Show what is going to be read back; return until when it waits before."""
    assert options.journal is not None  # noqa: S101
    journal = journal_at(options.journal)
    with journal.reading(), readable(source.file.name):
        doubts = doubts_of(journal, source, zone=settings.wire_timezone, marker=options.marker)
    screen.say()
    return show_doubts(doubts, settings, screen, settle_after=options.settle_after)


def _dry_run(plan: Plan, planned: Path | None, options: ImportOptions, screen: Screen) -> int:
    refused = _refusal(plan, options, screen)
    code = WRONG_USE if refused else SOME_REFUSED if plan.invalid else ALL_ADDED
    if options.as_json:
        counts = {"rows": plan.rows, "valid": plan.valid, "invalid": plan.invalid}
        write_json({"dry_run": True, **counts, **_said(plan), "exit_code": code})
    else:
        where = "" if planned is None else f" What would be sent: {planned}"
        screen.say("", f"A dry run: nothing was sent.{where}")
        if refused:
            screen.say(f"The import would be refused: {refused}.")
        elif plan.doubts:
            screen.say("An unattended import would be refused because of the doubts.")
    return code


def _refusal(plan: Plan, options: ImportOptions, screen: Screen) -> str | None:
    """Explain why an unattended import is refused."""
    if not plan.doubts or (options.watched and screen.at_a_terminal):
        return None
    return f"an unattended import sends nothing that is most likely wrong: {'; '.join(plan.doubts)}"


async def _send(
    neto: AsyncNetoClient, source: LogSource, reports: Reports | None, options: ImportOptions, stopper: Stopper
) -> int:
    screen = stopper.screen
    began = time.monotonic()
    causes: dict[NotSentCause, str] = {}
    doubts: dict[str, None] = {}
    run: ImportRun | None = None
    error: str | None = None
    try:
        if options.in_doubt == "settle":
            await _settle(neto, source, options, stopper)
        screen.say()
        run = neto.import_customer_logs(
            source,
            journal=None if options.journal is None else journal_at(options.journal),
            in_doubt="hold" if options.in_doubt == "settle" else options.in_doubt,
            retry_rejected=options.retry_rejected,
            marker=options.marker,
            reports=reports,
            drain_source=True,
        )
        stopper.take(run)
        with readable(source.file.name):
            await follow(neto, run, causes, doubts, screen)
    except (NetoError, OutputError) as fault:
        if isinstance(fault, ConfigurationError) and (run is None or not run.progress.calls):
            raise  # nothing was sent
        error = str(fault)
    copies = [] if reports is None else reports.copies
    progress = ImportProgress() if run is None else run.progress
    code = STOPPED if error is not None else exit_code(progress)
    seconds = time.monotonic() - began
    try:
        screen.summary(
            progress,
            [
                *edited(copies),
                *(_sentence(f"Not sent because {words}") for words in causes.values()),
                *(_sentence(f"In doubt: {reason}") for reason in list(doubts)[:MAX_DOUBTS]),
            ],
            seconds=seconds,
            report=options.report,
            to_sandbox=options.to_sandbox,
            error=error,
            again=stopper.again,
            settle=None if stopper.again is None else command_like_this("settle", without=OWN_OPTIONS),
        )
        if options.as_json:
            summary = _summary(progress, causes, options, seconds=seconds, error=error)
            write_json({**summary, **_said(source.plan), "exit_code": code})
    except OutputError as fault:
        complain(f"neto-async: {fault}", *([] if stopper.again is None else [GO_ON, f"  {stopper.again}"]))
        return STOPPED
    return code


async def _settle(neto: AsyncNetoClient, source: LogSource, options: ImportOptions, stopper: Stopper) -> None:
    """Find out which rows that an earlier run may have added are in the store."""
    if options.journal is None or options.earlier is None or not options.earlier.in_doubt:
        return
    rows = counted(options.earlier.in_doubt, "row")
    when = f" after {options.waits_until}" if options.waits_until else ""
    stopper.screen.say("", f"Reading back {rows} in doubt{when}. Ctrl-C stops.")
    report = await stopper.before_the_run(
        neto.reconcile(
            journal=journal_at(options.journal),
            source=source,
            marker=options.marker,
            sole_writer=options.sole_writer,
            settle_after=options.settle_after,
            wait=True,
        )
    )
    if report is None:
        return
    stopper.screen.say(
        f"Settled: {len(report.added):,} are in the store, {len(report.not_sent):,} are not, "
        f"{len(report.unknown):,} are still in doubt."
    )


def _said(plan: Plan) -> dict[str, list[str]]:
    return {"notices": list(plan.notices), "doubts": list(plan.doubts)}


def _sentence(text: str) -> str:
    return text if text.endswith("?") else f"{text}."


def _summary(
    progress: ImportProgress,
    causes: Collection[NotSentCause],
    options: ImportOptions,
    *,
    seconds: float,
    error: str | None,
) -> dict[str, Any]:
    counts = {
        name: getattr(progress, name) for name in ("added", "rejected", "invalid", "not_sent", "unknown", "replayed")
    }
    return {
        "dry_run": False,
        "rows": progress.finished,
        **counts,
        "calls": progress.calls,
        "seconds": round(seconds, 3),
        "stopped": progress.stopped_at is not None,
        "not_sent_because": list(causes),
        "error": error,
        "journal": None if options.journal is None else str(options.journal),
        "report": None if options.report is None else str(options.report),
    }


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Raise `ConfigurationError` where the block can't read the file."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{name} can't be read: {error.strerror}") from None
