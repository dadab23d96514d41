# ruff: noqa: D301, FBT001 (click hands flags over as they come, and reads \b in a docstring as "don't wrap")
"""
The command's words, and what each does. May import: all of the package.

Exit codes, the largest that applies: 0 all added, 1 wrong use, 2 some rejected or invalid, 3 some unknown, 4 stopped
before the end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from importlib import resources
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
from attrs import asdict, define, evolve, frozen

from neto_async.cli.screen import OutputError, Screen
from neto_async.client import AsyncNetoClient
from neto_async.errors import ConfigurationError, NetoError
from neto_async.importing.files import RowFile, open_binary, open_rows
from neto_async.importing.journal_sqlite import JournalSummary, SqliteJournal
from neto_async.importing.mapping import ColumnMapping, field_named
from neto_async.importing.mapping_times import checked_format, zone_named
from neto_async.importing.plan import LogSource, Plan, make_plan
from neto_async.importing.reports import Reports
from neto_async.importing.resuming import check_source
from neto_async.importing.run import ImportRun
from neto_async.outcomes import Added, ImportProgress, NotSent, NotSentCause, Statistics, Unknown
from neto_async.settings import Settings, credentials_from_env

if TYPE_CHECKING:
    from neto_async.sandbox import NetoSandbox

__all__ = ["run"]

WRONG_USE = 1
SOME_REFUSED = 2
SOME_UNKNOWN = 3
STOPPED = 4

STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""What a person, a supervisor and a terminal that closes send."""

MOST_DOUBTS = 3
"""Reasons for doubt that a summary tells; the report has them all."""

LOOK_EVERY = 0.1
"""Seconds between two looks at how far a run is."""

GO_ON = "To see what became of the rows, and go on with what is left, nothing twice:"

QUESTION = "\nSend them? What is added can't be deleted through the API"


def run() -> None:
    """Run the command and exit with its code."""
    # What the log says, the summary says too.
    logging.getLogger("neto_async").addHandler(logging.NullHandler())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a log file's encoding may not have a customer's letters
    try:
        sys.exit(neto_async.main(standalone_mode=False))
    except click.exceptions.Abort:
        sys.exit(WRONG_USE)
    except click.ClickException as error:
        error.show()
        sys.exit(WRONG_USE)
    except (ConfigurationError, OutputError, OSError) as error:
        _complain(_in_words(error))
        sys.exit(WRONG_USE)


def _in_words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _complain(text: str) -> None:
    """Write to standard error; where standard output broke, what it holds is let go, or the exit code would say so."""
    with suppress(OSError):
        print(f"neto-async: {text}", file=sys.stderr, flush=True)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="neto_async")
def neto_async() -> None:
    """
    Put customer logs into a Neto (Maropost Commerce Cloud) store.

    \b
    neto-async demo                            see it work, without a store
    neto-async import calls.csv --dry-run      see what would be sent
    neto-async import calls.csv --timezone Australia/Sydney
    """


@frozen(kw_only=True)
class _Options:
    """What the user asked for beside the file."""

    dry_run: bool = False
    ask: bool = False
    as_json: bool = False
    report: Path | None = None
    import_unknown: bool = False
    to_sandbox: bool = False
    latency: float = 0.0
    journal: Path | None = None
    in_doubt: str = "hold"
    retry_rejected: bool = False
    earlier: JournalSummary | None = None


def _pairs(_context: Any, _parameter: Any, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for value in values:
        name, equals, rest = value.partition("=")
        if not equals or not rest:
            raise click.BadParameter('write Field="…", such as Notes="Column name"')
        pairs.append((field_named(name), rest))
    return tuple(pairs)


def _rate(_context: Any, _parameter: Any, value: str) -> float | None:
    if value.lower() == "none":
        return None
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter('give a number, or "none" for no limit') from None


@neto_async.command("import", short_help="Add the logs of a file to a store.")
@click.argument("file", metavar="FILE")
@click.option(
    "--map",
    "maps",
    multiple=True,
    callback=_pairs,
    metavar="FIELD=COLUMN",
    help="Which column gives a field; COLUMN|COLUMN takes the first that is not empty. May be repeated.",
)
@click.option(
    "--map-value",
    "words",
    multiple=True,
    callback=_pairs,
    metavar="FIELD=THEIRS=OURS",
    help="What a word of another system means; * for every other word. May be repeated.",
)
@click.option("--timezone", help="Zone of times that name none, such as Australia/Brisbane.")
@click.option(
    "--date-format",
    "date_formats",
    multiple=True,
    help='Form of times, such as "%d/%m/%Y %H:%M". May be repeated.',
)
@click.option(
    "--input-format", type=click.Choice(["csv", "jsonl", "json", "xlsx"]), help="In place of the file's ending."
)
@click.option("--encoding", help="In place of looking at the file.")
@click.option("--delimiter", help="In place of looking at the header.")
@click.option("--sheet", help="Of a workbook; by default the first that is not hidden.")
@click.option(
    "--mapping",
    "mapping_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A TOML file that says all of this at once; options given beside it are stronger.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write added.csv, rejected.csv, unknown.csv and not_sent.csv.",
)
@click.option(
    "--journal",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What remembers the import; by default beside FILE, named after it and the store.",
)
@click.option("--no-journal", is_flag=True, help="Remember nothing: a second run adds every row again.")
@click.option(
    "--in-doubt",
    type=click.Choice(["hold", "resend"]),
    default="hold",
    show_default=True,
    help="What to do with rows that an earlier run may have added.",
)
@click.option("--retry-rejected", is_flag=True, help="Send rows again that an earlier run saw refused, unmended.")
@click.option("--dry-run", is_flag=True, help="Show the plan and every invalid row; send nothing.")
@click.option("--yes", is_flag=True, help="Don't ask before sending; it asks at a terminal only.")
@click.option("--sandbox", "to_sandbox", is_flag=True, help="Into a store on this machine, not a real one.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output; all else on standard error.")
@click.option("--import-unknown", is_flag=True, help="Import an unknown.csv after having looked in the store.")
@click.option("--format", "wire_format", type=click.Choice(["json", "xml"]), default="json", show_default=True)
@click.option("--batch-size", type=int, default=100, show_default=True, help="Logs a call, at most.")
@click.option("--max-concurrency", type=int, default=4, show_default=True, help="Calls at once, at most.")
@click.option(
    "--requests-per-minute",
    "rate",
    callback=_rate,
    default="400",
    show_default=True,
    help='A number, or "none". The vendor allows 500 for the whole account.',
)
def import_(  # noqa: PLR0917 (click hands each option over as an argument)
    file: str,
    maps: Any,
    words: Any,
    timezone: str | None,
    date_formats: tuple[str, ...],
    input_format: str | None,
    encoding: str | None,
    delimiter: str | None,
    sheet: str | None,
    mapping_file: Path | None,
    report: Path | None,
    journal: Path | None,
    no_journal: bool,
    in_doubt: str,
    retry_rejected: bool,
    dry_run: bool,
    yes: bool,
    to_sandbox: bool,
    as_json: bool,
    import_unknown: bool,
    wire_format: str,
    batch_size: int,
    max_concurrency: int,
    rate: float | None,
) -> int:
    """
    Add the logs of FILE to a store.

    It reads .csv .tsv .jsonl .ndjson .json .xlsx, all but .xlsx packed with gzip too, or - for standard input.

    The store and its key come from the environment: NETO_STORE_URL, NETO_USERNAME, NETO_API_KEY. Columns with the
    vendor's names (AllocatedTo, Notes, …) or ours (allocated_to, notes, …) are found by themselves.

    \b
    neto-async import export.csv --dry-run --timezone Australia/Sydney \\
        --map AllocatedTo="Agent name" --map Notes="Transcript|Summary" \\
        --map Status=Stage --map-value Status="In progress=Recontacting" \\
        --map-value Status="*=Completed"

    A journal beside the file remembers what was added: the same command again, after a crash too, sends what is left
    and nothing twice. What may have been added is held back.

    \b
    Exit codes: 0 all added, 1 wrong use, 2 some rejected or invalid,
    3 some unknown, 4 stopped before the end.
    """
    kept = ColumnMapping() if mapping_file is None else ColumnMapping.from_toml(mapping_file)
    mapping = evolve(
        kept,
        columns={
            **kept.columns,
            **{name: tuple(part.strip() for part in columns.split("|")) for name, columns in maps},
        },
        words={**kept.words, **_words(words)},
        timezone=kept.timezone if timezone is None else zone_named(timezone),
        date_formats=tuple(checked_format(form) for form in date_formats) or kept.date_formats,
    )
    said = {"file_format": input_format, "encoding": encoding, "delimiter": delimiter, "sheet": sheet}
    how = {**mapping.file, **{name: value for name, value in said.items() if value is not None}}
    if file == "-":
        how = {"file_format": "csv", **how}
    limits = {
        "wire_format": wire_format,
        "batch_size": batch_size,
        "max_concurrency": max_concurrency,
        "requests_per_minute": rate,
    }
    ask = not yes and not to_sandbox and file != "-" and _can_answer()
    if journal is not None and no_journal:
        raise click.UsageError("--journal and --no-journal exclude each other")
    options = _Options(
        dry_run=dry_run,
        ask=ask,
        as_json=as_json,
        report=report,
        import_unknown=import_unknown,
        to_sandbox=to_sandbox,
        journal=None if no_journal else journal or _beside(file, to_sandbox=to_sandbox),
        in_doubt=in_doubt,
        retry_rejected=retry_rejected,
    )
    name = "standard input" if file == "-" else Path(file).name
    with _opened(file) as binary:
        with _readable(name):
            rows = open_rows(binary, name=name, **how)
        return _import(rows, mapping, limits, options)


@neto_async.command(short_help="Say what a journal remembers.")
@click.argument("journal", type=click.Path(path_type=Path), metavar="JOURNAL")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(journal: Path, as_json: bool) -> int:
    """
    Say how far the import of JOURNAL is. The file is checked from end to end, and not changed.

    \b
    neto-async status calls.csv.www.yournetosite.com.au.journal
    """
    summary = SqliteJournal(journal).summary()
    screen = Screen()
    if as_json:
        screen.tell({**asdict(summary), "created_at": summary.created_at.isoformat()})
    else:
        screen.status(summary)
    return 0


@neto_async.command(short_help="See it work, without a store.")
def demo() -> int:
    """Import a sample file of 240 logs into a store on this machine."""
    sample = resources.files("neto_async.cli") / "customer-logs.csv"
    mapping = ColumnMapping(columns={}, timezone=zone_named("Australia/Sydney"))
    limits = {"batch_size": 10, "max_concurrency": 2, "requests_per_minute": None}
    with sample.open("rb") as file:
        rows = open_rows(file, name="customer-logs.csv")  # type: ignore[arg-type]
        code = _import(rows, mapping, limits, _Options(to_sandbox=True, latency=0.15))
    Screen().say(
        "\nNext, with a file of your own and nothing sent:\n"
        "  neto-async import FILE --dry-run --sandbox\n"
        "and a store to look at in a browser:\n"
        "  neto-async sandbox"
    )
    return code


@neto_async.command(short_help="Run a store on this machine.")
@click.option("--port", type=int, default=0, help="0 takes any free one.")
@click.option("--json", "as_json", is_flag=True, help="Print the address and credentials as one JSON object.")
def sandbox(port: int, as_json: bool) -> int:
    """Run a store on this machine to play with, until Ctrl-C. Nothing reaches Neto."""
    try:
        asyncio.run(_serve(port, as_json=as_json))
    except KeyboardInterrupt:
        Screen(stderr=True).say("stopped")
    return 0


def _beside(file: str, *, to_sandbox: bool) -> Path | None:
    """Name the journal of a file and the store; None where the same store or file can't come again."""
    if to_sandbox or file == "-":
        return None
    where = os.environ.get("NETO_STORE_URL", "").strip()
    host = urlsplit(where).netloc.rpartition("@")[2].lower().replace(":", "_")
    return Path(f"{file}.{host or 'store'}.journal")


def _can_answer() -> bool:
    # A stream that was closed before the command began is None.
    return sys.stdin is not None and sys.stdin.isatty()


def _opened(file: str) -> Any:
    if file == "-" and sys.stdin is None:
        raise ConfigurationError("standard input is closed; give a file")
    return open_binary(sys.stdin.buffer if file == "-" else Path(file))


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"{name} can't be read: {error.strerror}") from None


def _words(pairs: tuple[tuple[str, str], ...]) -> dict[str, dict[str, str]]:
    words: dict[str, dict[str, str]] = {}
    for name, rest in pairs:
        theirs, equals, ours = rest.rpartition("=")
        if not equals or not theirs.strip():
            raise click.BadParameter('write Field="their word=our word", such as Status="In progress=Recontacting"')
        words.setdefault(name, {})[theirs.strip().casefold()] = ours.strip()
    return words


def _sandbox(**options: Any) -> NetoSandbox:
    try:
        from neto_async.sandbox import NetoSandbox  # noqa: PLC0415 (an extra that an import into a store does not need)
    except ImportError as error:
        raise ConfigurationError(str(error)) from None
    return NetoSandbox(**options)


async def _serve(port: int, *, as_json: bool) -> None:
    screen = Screen()
    store = _sandbox(port=port)
    try:
        await store.start()
    except OSError as error:
        raise ConfigurationError(f"port {port} can't be used: {error.strerror}") from None
    async with aclosing(store):
        if as_json:
            screen.tell({"url": store.url, "username": store.username, "api_key": store.api_key})
        else:
            screen.say(
                f"A sandbox: nothing here reaches Neto.\n\n"
                f"  export NETO_STORE_URL={store.url}\n"
                f"  export NETO_USERNAME={store.username}\n"
                f"  export NETO_API_KEY={store.api_key}\n\n"
                f"Logs and calls: {store.url}/\n"
                "Ctrl-C ends it, and its logs are gone then."
            )
        await asyncio.Event().wait()


def _import(rows: RowFile, mapping: ColumnMapping, limits: dict[str, Any], options: _Options) -> int:
    """Show the plan, ask, and send. No event loop runs before that, so that Ctrl-C ends what is read or asked."""
    screen = Screen(stderr=options.as_json)
    playing = options.to_sandbox and not options.dry_run
    store = _sandbox(latency=options.latency, requests_per_minute=None) if playing else None
    with _readable(rows.name):
        plan = make_plan(rows, mapping, import_unknown=options.import_unknown)
    where = {"store_url": "http://127.0.0.1", "api_key": "none"} if options.to_sandbox else credentials_from_env()
    client = {**where, **limits}
    settings = Settings(**client)
    options = evolve(options, earlier=_earlier(options, settings))
    reports = _reports(options.report, rows, plan)
    source = LogSource(file=rows, plan=plan)
    _compare(source, settings, options)
    _show_plan(screen, rows, plan, settings, options)
    if options.dry_run:
        return _dry_run(plan, options, screen)
    if options.ask and screen.at_a_terminal and _left(plan, options, mended=True) and not _agreed(options):
        screen.say("Nothing was sent.")
        return WRONG_USE
    return asyncio.run(_connect(client, store, source, reports, options, screen))


async def _connect(  # noqa: PLR0917
    client: dict[str, Any],
    store: NetoSandbox | None,
    source: LogSource,
    reports: Reports | None,
    options: _Options,
    screen: Screen,
) -> int:
    again = None if options.journal is None else shlex.join(["neto-async", *sys.argv[1:]])
    stopper = _Stopper(screen, again, options.report)
    async with AsyncExitStack() as stack:
        stack.enter_context(stopper.listening())
        if store is not None:
            await stack.enter_async_context(store)
            client = {**client, "store_url": store.url, "username": store.username, "api_key": store.api_key}
            screen.say(f"\nThe sandbox's page, while this runs: {store.url}/")
        neto = await stack.enter_async_context(AsyncNetoClient(**client))
        return await _send(neto, source, reports, options, stopper)


def _agreed(options: _Options) -> bool:
    try:
        return click.confirm(QUESTION, err=options.as_json)
    except click.Abort:  # Ctrl-C, or the end of the input: the cursor still stands behind the question
        click.echo()
        return False


def _earlier(options: _Options, settings: Settings) -> JournalSummary | None:
    """Read the journal of an earlier run, if there was one."""
    if options.journal is None:
        return None
    summary = SqliteJournal(options.journal).remembered()
    if summary is not None and summary.store != settings.store_url and not options.to_sandbox:
        raise ConfigurationError(
            f"{options.journal.name} is the journal of an import into {summary.store}, not {settings.store_url}; name "
            "another journal"
        )
    return summary


def _left(plan: Plan, options: _Options, *, mended: bool = False) -> int:
    """Count the rows that will be sent; ``mended``: as if those that were refused had been mended."""
    earlier = options.earlier
    if earlier is None:
        return plan.valid
    settled = earlier.added
    settled += 0 if options.in_doubt == "resend" else earlier.in_doubt
    settled += 0 if mended or options.retry_rejected else earlier.rejected
    return max(0, plan.valid - settled)


def _reports(folder: Path | None, rows: RowFile, plan: Plan) -> Reports | None:
    if folder is None:
        return None
    plain = rows.encoding is not None and rows.encoding.label == "UTF-8"
    reports = Reports(folder, plan.columns, delimiter=rows.delimiter or ",", mark=not plain)
    reports.check()
    return reports


def _show_plan(screen: Screen, rows: RowFile, plan: Plan, settings: Settings, options: _Options) -> None:
    left = _left(plan, options)
    # The first call carries one log; see the engine's "feeling the way".
    calls = 0 if not left else 1 + -(-(left - 1) // settings.batch_size)
    rate = settings.requests_per_minute
    screen.plan(
        rows,
        plan,
        store="a sandbox on this machine; nothing reaches Neto" if options.to_sandbox else settings.store_url,
        journal=options.journal,
        earlier=options.earlier,
        left=left,
        calls=calls,
        seconds=None if rate is None else 60 * calls / rate,
        samples=options.dry_run or options.to_sandbox,
        every_fault=options.dry_run,
    )


def _compare(source: LogSource, settings: Settings, options: _Options) -> None:
    """Refuse a file that the journal does not know any more, before anything is shown, asked or written."""
    if options.journal is not None and options.earlier is not None:
        journal = SqliteJournal(options.journal)
        with journal.reading(), _readable(source.file.name):
            try:
                check_source(source, journal, zone=settings.wire_timezone)
            finally:
                source.file.check_unchanged()


def _dry_run(plan: Plan, options: _Options, screen: Screen) -> int:
    code = SOME_REFUSED if plan.faults else 0
    if options.as_json:
        counts = {"rows": plan.rows, "valid": plan.valid, "invalid": len(plan.faults)}
        screen.tell({"dry_run": True, **counts, "exit_code": code})
    else:
        screen.say("\nA dry run: nothing was sent.")
    return code


async def _send(
    neto: AsyncNetoClient, source: LogSource, reports: Reports | None, options: _Options, stopper: _Stopper
) -> int:
    screen = stopper.screen
    began = time.monotonic()
    causes: dict[NotSentCause, str] = {}
    doubts: dict[str, None] = {}
    run = neto.import_customer_logs(
        source,
        journal=options.journal,
        in_doubt=options.in_doubt,
        retry_rejected=options.retry_rejected,
        reports=reports,
        read_on=True,
    )
    error: str | None = None
    try:
        screen.say()
        stopper.take(run)
        with _readable(source.file.name):
            await _follow(neto, run, causes, doubts, screen)
    except (NetoError, OutputError) as fault:
        if isinstance(fault, ConfigurationError) and not run.progress.calls:
            raise  # nothing was sent
        error = str(fault)
    progress = run.progress
    code = STOPPED if error is not None else _exit_code(progress)
    seconds = time.monotonic() - began
    try:
        screen.summary(
            progress,
            [
                *(_sentence(f"Not sent because {words}") for words in causes.values()),
                *(_sentence(f"In doubt: {reason}") for reason in list(doubts)[:MOST_DOUBTS]),
            ],
            seconds=seconds,
            report=options.report,
            to_sandbox=options.to_sandbox,
            error=error,
            again=stopper.again,
        )
        if options.as_json:
            screen.tell(_summary(progress, causes, options, seconds=seconds, error=error, code=code))
    except OutputError as fault:
        _complain(str(fault) if stopper.again is None else f"{fault}\n{GO_ON}\n  {stopper.again}")
        return STOPPED
    return code


async def _follow(
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
    with screen.progress(rows) as watch, _told_of_trouble(neto, screen):
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


def _sentence(text: str) -> str:
    return text if text.endswith("?") else f"{text}."


def _why(outcome: NotSent) -> str:
    """Say in a person's words why a row was not sent; Neto's own words stay in the reports."""
    match outcome.cause:
        case NotSentCause.GAVE_UP:
            return "the store could not be reached, however often it was tried"
        case NotSentCause.KEY_REFUSED:
            return f"{outcome.cause}: mend NETO_API_KEY, or NETO_USERNAME"
        case NotSentCause.IN_DOUBT | NotSentCause.WRONG_ADDRESS:
            return outcome.reason  # which ends in what was wrong with the answer, in our words
        case cause:
            return cause


def _summary(
    progress: ImportProgress,
    causes: Collection[NotSentCause],
    options: _Options,
    *,
    seconds: float,
    error: str | None,
    code: int,
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
        "exit_code": code,
    }


@contextmanager
def _told_of_trouble(neto: AsyncNetoClient, screen: Screen) -> Iterator[None]:
    """Say so, now and then, while the store can't be reached or asks for a pause."""

    async def look() -> None:
        said = ""
        while True:
            await asyncio.sleep(1.0)
            trouble = _trouble(neto.statistics())
            if trouble not in {said, ""}:
                with suppress(OutputError):  # whoever comes next to write stops the run
                    screen.say(trouble)
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


def _exit_code(progress: ImportProgress) -> int:
    if progress.not_sent:
        return STOPPED
    if progress.unknown:
        return SOME_UNKNOWN
    return SOME_REFUSED if progress.rejected or progress.invalid else 0


@define
class _Stopper:
    """
    Takes no more rows after a Ctrl-C or a request to end; ends at once at a Ctrl-C after that.

    Supervisors send requests of two kinds at once, and kill whom they don't want to wait for.

    Attributes:
        screen: Where it is said.
        again: The command that goes on; None without a journal.
        report: Where the reports are; None without.
    """

    screen: Screen
    again: str | None
    report: Path | None
    _run: ImportRun | None = None
    _asked: bool = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear signals while the block lasts."""
        if sys.platform == "win32":  # pragma: no cover (its event loop takes no signal handlers: Ctrl-C ends at once)
            yield
            return
        loop = asyncio.get_running_loop()
        # One that is ignored, as under nohup, stays so.
        heard = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
        for number in heard:
            loop.add_signal_handler(number, self._hear, number)
        try:
            yield
        finally:
            for number in heard:
                loop.remove_signal_handler(number)

    def take(self, run: ImportRun) -> None:
        """Have a run to stop, which may have been asked for by now."""
        self._run = run
        if self._asked:
            self._stop(run)

    def _hear(self, number: int) -> None:
        if self._asked and number == signal.SIGINT:
            with suppress(OutputError):
                self.screen.ended_at_once(self.again, report=self.report)
            os._exit(STOPPED)
        if not self._asked:
            self._asked = True
            if self._run is not None:
                self._stop(self._run)

    def _stop(self, run: ImportRun) -> None:
        run.stop()
        with suppress(OutputError):
            self.screen.stopping(run.progress.in_flight)
