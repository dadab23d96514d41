# ruff: noqa: D301, FBT001 (click passes flags by position, and reads \b in a docstring as "don't wrap")
"""The command's words and options. May import: the rest of the command's files, files, mapping, journals, errors."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import click
from attrs import evolve

from neto_async.cli.exit_codes import STOPPED, WRONG_USE
from neto_async.cli.import_flow import ImportOptions, import_file, readable
from neto_async.cli.journal_lists import holder_of, prune_all, show_all, summary_in_json
from neto_async.cli.journal_places import DatabaseUrl, JournalPlace, beside, journal_at, journal_of, journal_place
from neto_async.cli.option_groups import GroupedCommand, option, together
from neto_async.cli.output import OutputError, complain, guard_streams, write_json
from neto_async.cli.sandbox_store import serve
from neto_async.cli.screen import Screen
from neto_async.cli.settle_flow import SettleOptions, settle_file
from neto_async.errors import ConfigurationError, NetoError
from neto_async.files.opening import RowFile, open_binary, open_rows
from neto_async.files.options import CELL_OPTIONS, FILE_OPTIONS
from neto_async.journals.marking import checked_form
from neto_async.mapping.columns import ColumnMapping, field_named
from neto_async.settings import SETTLE_AFTER

__all__ = ["run"]


def run() -> None:
    """Run the command and exit with its code."""
    # What the log says, the summary says too.
    logging.getLogger("neto_async").addHandler(logging.NullHandler())
    guard_streams()
    try:
        sys.exit(neto_async.main(prog_name="neto-async", standalone_mode=False))
    except click.exceptions.Abort:  # Ctrl-C; once something is sent it is heard elsewhere
        complain("neto-async: stopped")
        sys.exit(WRONG_USE)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        usage = [] if context is None else [*context.get_usage().splitlines(), ""]
        complain(*usage, f"neto-async: {error.format_message()}")
        sys.exit(WRONG_USE)
    except (ConfigurationError, OutputError, OSError) as error:
        complain(f"neto-async: {_in_words(error)}")
        sys.exit(WRONG_USE)
    except NetoError as error:
        complain(f"neto-async: {error}")
        sys.exit(STOPPED)


def _in_words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


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


def _pairs(_context: Any, _parameter: Any, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for value in values:
        name, equals, rest = value.partition("=")
        if not equals or not rest:
            raise click.BadParameter('write Field="…", such as Notes="Column name"')
        pairs.append((field_named(name), rest))
    return tuple(pairs)


def _found(_context: Any, _parameter: Any, values: tuple[str, ...]) -> dict[int, int]:
    found = {}
    for value in values:
        row, _, log_id = value.partition("=")
        if not (row.isdecimal() and log_id.isdecimal() and int(row) and int(log_id)):
            raise click.BadParameter("write ROW=LOGID, such as 17=4711")
        if int(row) in found:
            raise click.BadParameter(f"row {row} is given twice")
        found[int(row)] = int(log_id)
    return found


def _marker(_context: Any, _parameter: Any, value: str | None) -> str | None:
    return None if value is None else checked_form(value)


def _rate(_context: Any, _parameter: Any, value: str) -> float | None:
    if value.lower() == "none":
        return None
    try:
        return float(value)
    except ValueError:
        raise click.BadParameter('give a number, or "none" for no limit') from None


MAIN, READING, CELLS = "Main options", "Reading the file", "Reading its cells"
RESUMING, SETTLING, SENDING = "Going on after a stop", "Settling rows in doubt", "Sending"


def _of_table(said: Any) -> Any:
    """Declare an option of the tables of files and cells."""
    given: dict[str, Any] = {"is_flag": True} if said.kind is bool else {"multiple": said.kind is tuple}
    if said.kind is not bool:
        given["type"] = click.Choice(said.choices) if said.choices else int if said.kind is int else str
    heading = READING if said.name in FILE_OPTIONS else CELLS
    word = "input-format" if said.name == "file_format" else said.name.replace("_", "-")
    return option(heading, f"--{word}", said.name, help=said.meaning, **given)


_mapping_options = together(
    option(
        MAIN,
        "--map",
        "maps",
        multiple=True,
        callback=_pairs,
        metavar="FIELD=COLUMN",
        help="Column that gives a field; A|B is the first that is not empty, A + B joins both. May be repeated.",
    ),
    option(
        MAIN,
        "--map-value",
        "words",
        multiple=True,
        callback=_pairs,
        metavar="FIELD=THEIRS=OURS",
        help="What a value in the file means; * is every other value. May be repeated.",
    ),
    option(MAIN, "--timezone", metavar="ZONE", help="Time zone of times without one, such as Australia/Brisbane."),
    option(
        MAIN,
        "--date-format",
        "date_formats",
        multiple=True,
        metavar="FORMAT",
        help='Format of times, such as "%d/%m/%Y %H:%M" (default: ISO 8601). May be repeated.',
    ),
    option(
        MAIN,
        "--mapping",
        "mapping_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Read these options from a TOML file; command-line options override it.",
    ),
)
_reading_options = together(*map(_of_table, [*FILE_OPTIONS.values(), *CELL_OPTIONS.values()]))
_settling_options = together(
    option(
        SETTLING,
        "--sole-writer",
        is_flag=True,
        help="You guarantee that nobody else has written logs with the same notes for these customers meanwhile.",
    ),
    option(
        SETTLING,
        "--settle-after",
        type=click.FloatRange(min=0),
        default=SETTLE_AFTER / 60,
        show_default=True,
        metavar="MINUTES",
        help="Minutes after which nothing of a call is saved any more. It waits until then.",
    ),
)
_json_option = option(
    MAIN, "--json", "as_json", is_flag=True, help="Write one JSON object to standard output, the rest to stderr."
)
_wire_format_option = option(
    SENDING,
    "--wire-format",
    type=click.Choice(["json", "xml"]),
    default="json",
    show_default=True,
    help="Format of the calls.",
)
_rate_option = option(
    SENDING,
    "--requests-per-minute",
    "rate",
    callback=_rate,
    default="400",
    show_default=True,
    help='Calls a minute, or "none" for no limit. Neto allows 500 for the whole account.',
)


@neto_async.command(
    "import",
    cls=GroupedCommand,
    short_help="Add the logs of a file to a store.",
    # The earlier name of an option.
    context_settings={"token_normalize_func": lambda name: "wire-format" if name == "format" else name},
)
@click.argument("file", metavar="FILE")
@_mapping_options
@option(MAIN, "--dry-run", is_flag=True, help="Show the plan and the invalid rows; send nothing.")
@option(
    MAIN,
    "--report",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write added.csv, rejected.csv, unknown.csv and not_sent.csv to this folder; of a dry run planned.csv.",
)
@option(MAIN, "--yes", is_flag=True, help="Send without asking; only a terminal is asked.")
@option(MAIN, "--sandbox", "to_sandbox", is_flag=True, help="Send to a store on this machine, not to a real one.")
@_json_option
@_reading_options
@option(
    RESUMING,
    "--journal",
    callback=journal_place,
    metavar="FILE|URL",
    help="File that records what was sent (default: beside FILE, named after it and the store); or a database, as "
    "postgresql://host/db?name=NAME, its password in PGPASSWORD or a password file.",
)
@option(RESUMING, "--no-journal", is_flag=True, help="Keep no journal: a second run adds every row again.")
@option(
    RESUMING,
    "--in-doubt",
    type=click.Choice(["hold", "settle", "resend"]),
    default="hold",
    show_default=True,
    help="What to do with rows that an earlier run may have added; settle first reads back which are there.",
)
@_settling_options
@option(
    RESUMING,
    "--marker",
    callback=_marker,
    metavar="TEXT",
    help='Text that ends each note, such as " [#{}]", with a token for {}; settle finds the rows by it. The journal '
    "remembers it.",
)
@option(RESUMING, "--retry-rejected", is_flag=True, help="Send rows again that an earlier run saw rejected.")
@option(RESUMING, "--import-unknown", is_flag=True, help="Import an unknown.csv, after you have checked the store.")
@_wire_format_option
@option(SENDING, "--batch-size", type=int, default=100, show_default=True, help="Largest number of logs in a call.")
@option(SENDING, "--max-concurrency", type=int, default=4, show_default=True, help="Largest number of calls at once.")
@_rate_option
def import_(  # noqa: PLR0917 (click hands each option over as an argument)
    file: str,
    report: Path | None,
    journal: JournalPlace | None,
    no_journal: bool,
    in_doubt: str,
    sole_writer: bool,
    settle_after: float,
    retry_rejected: bool,
    marker: str | None,
    dry_run: bool,
    yes: bool,
    to_sandbox: bool,
    as_json: bool,
    import_unknown: bool,
    wire_format: str,
    batch_size: int,
    max_concurrency: int,
    rate: float | None,
    **given: Any,
) -> int:
    """
    Add the logs of FILE to a store.

    It reads .csv .tsv .jsonl .ndjson .json .xlsx, all but .xlsx packed with gzip too, or - for standard input.

    The store and its key come from the environment: NETO_STORE_URL, NETO_USERNAME, NETO_API_KEY. Columns with the
    vendor's names (AllocatedTo, Notes, …) or ours (allocated_to, notes, …) are matched
    automatically.

    \b
    neto-async import export.csv --dry-run --timezone Australia/Sydney \\
        --map AllocatedTo="Agent name" --map Notes="Transcript|Summary" \\
        --map Status=Stage --map-value Status="In progress=Recontacting" \\
        --map-value Status="*=Completed"

    A journal beside the file records what was added. Run the same command again, after a crash too, to send what is
    left and nothing twice. Rows that may have been added are held back.

    \b
    Exit codes: 0 all added, 1 wrong use, 2 some rejected or invalid,
    3 some unknown, 4 stopped before the end.
    """
    mapping, how = _as_said(file, given)
    limits = {
        "wire_format": wire_format,
        "batch_size": batch_size,
        "max_concurrency": max_concurrency,
        "requests_per_minute": rate,
    }
    if journal is not None and no_journal:
        raise click.UsageError("--journal and --no-journal exclude each other")
    options = ImportOptions(
        dry_run=dry_run,
        watched=not yes and file != "-" and _can_answer(),
        as_json=as_json,
        report=report,
        import_unknown=import_unknown,
        to_sandbox=to_sandbox,
        journal=None if no_journal else journal or _beside(file, to_sandbox=to_sandbox),
        in_doubt=in_doubt,
        sole_writer=sole_writer,
        settle_after=60 * settle_after,
        retry_rejected=retry_rejected,
        marker=marker,
    )
    if options.journal is None and (marker is not None or in_doubt == "settle"):
        raise click.UsageError(f"{'--in-doubt settle' if marker is None else 'a --marker'} needs a journal")
    if in_doubt != "settle" and (sole_writer or _was_given("settle_after")):
        raise click.UsageError("--sole-writer and --settle-after need --in-doubt settle")
    with _rows_of(file, how) as rows:
        return import_file(rows, mapping, limits, options)


@neto_async.command(cls=GroupedCommand, short_help="Find out what became of the rows in doubt.")
@click.argument("file", metavar="FILE")
@_mapping_options
@_settling_options
@option(
    SETTLING,
    "--marker",
    callback=_marker,
    metavar="TEXT",
    help="The --marker with which the file was imported, where the journal does not remember it: it is from an earlier "
    "release then.",
)
@option(
    MAIN,
    "--found",
    multiple=True,
    callback=_found,
    metavar="ROW=LOGID",
    help="You saw the row in the store, under this id. Rows count from 1, as neto_row in the reports does. May be "
    "repeated.",
)
@option(
    MAIN,
    "--absent",
    multiple=True,
    type=click.IntRange(min=1),
    metavar="ROW",
    help="You looked, and the row is not in the store. Refused if a log of its customer has its text. May be repeated.",
)
@option(MAIN, "--sure", is_flag=True, help="Take --absent even so: you know that these logs are somebody else's.")
@option(
    MAIN,
    "--journal",
    callback=journal_place,
    metavar="JOURNAL",
    help="Journal of the import (default: beside FILE, named after it and the store).",
)
@option(
    MAIN,
    "--report",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the import's reports in this folder anew.",
)
@_json_option
@_reading_options
@_wire_format_option
@_rate_option
def settle(  # noqa: PLR0917 (click hands each option over as an argument)
    file: str,
    sole_writer: bool,
    marker: str | None,
    settle_after: float,
    found: dict[int, int],
    absent: tuple[int, ...],
    sure: bool,
    journal: JournalPlace | None,
    report: Path | None,
    as_json: bool,
    wire_format: str,
    rate: float | None,
    **given: Any,
) -> int:
    """
    Find out what became of the rows of FILE that are in doubt. Nothing is sent.

    It reads their customers back from the store, and notes in the journal which rows are there and which are not. Use
    the options with which the file was imported. What can't be proven stays in doubt: look it up, and say what you
    found.

    \b
    neto-async settle calls.csv --timezone Australia/Sydney --sole-writer
    neto-async settle calls.csv --timezone Australia/Sydney --found 17=4711 --absent 18

    \b
    Exit codes: 0 no doubt is left, 1 wrong use, 3 some still unknown, 4 stopped before the end.
    """
    mapping, how = _as_said(file, given)
    place = journal or _beside(file, to_sandbox=False)
    if place is None:
        raise click.UsageError("give the --journal of the import")
    if both := found.keys() & set(absent):
        raise click.UsageError(f"row {min(both)} is both --found and --absent")
    options = SettleOptions(
        journal=journal_at(place),
        found=found,
        absent=frozenset(absent),
        sure=sure,
        sole_writer=sole_writer,
        marker=marker,
        settle_after=60 * settle_after,
        report=report,
        as_json=as_json,
    )
    with _rows_of(file, how) as rows:
        return settle_file(rows, mapping, {"wire_format": wire_format, "requests_per_minute": rate}, options)


@neto_async.command(short_help="Say what a journal remembers.")
@click.argument("journal", callback=journal_place, metavar="FILE|JOURNAL")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(journal: JournalPlace, as_json: bool) -> int:
    """
    Say how far the import of FILE is, from the journal beside it, or from JOURNAL, a file or a URL.

    The journal is checked from end to end, and not changed. The URL of a database without a name lists all its
    journals.

    \b
    neto-async status calls.csv
    neto-async status calls.csv.www.yournetosite.com.au.journal
    neto-async status "postgresql://host/db?name=complaints-2026-11"
    neto-async status postgresql://host/db
    """
    if isinstance(journal, DatabaseUrl) and journal.name is None:
        show_all(journal, as_json=as_json)
        return 0
    place = journal_of(journal) if isinstance(journal, Path) else journal
    summary = journal_at(place).summary()
    if as_json:
        write_json(summary_in_json(summary))
    else:
        found = place if isinstance(place, Path) and place is not journal else None
        Screen().status(summary, holder=holder_of(place), found=found)
    return 0


@neto_async.command(short_help="Delete old journals of a database.")
@click.argument("database", callback=journal_place, metavar="URL")
@click.option(
    "--older-than",
    type=click.IntRange(min=1, max=36_500),
    required=True,
    metavar="DAYS",
    help="Days since a journal was last written to.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def prune(database: JournalPlace, older_than: int, as_json: bool) -> int:
    """
    Delete the journals of a database that are finished, free and old, and have no rows in doubt.

    An import whose journal is gone would add all its rows again.

    \b
    neto-async prune postgresql://host/db --older-than 90
    """
    if not isinstance(database, DatabaseUrl) or database.name is not None:
        raise click.UsageError("give the URL of a database, without a journal's name")
    prune_all(database, days=older_than, as_json=as_json)
    return 0


@neto_async.command(short_help="See it work, without a store.")
def demo() -> int:
    """Import a sample file of 240 logs into a store on this machine."""
    sample = resources.files("neto_async.cli") / "customer-logs.csv"
    mapping = ColumnMapping(timezone="Australia/Sydney")
    limits = {"batch_size": 10, "max_concurrency": 2, "requests_per_minute": None}
    with sample.open("rb") as file:
        rows = open_rows(file, name="customer-logs.csv")  # type: ignore[arg-type]
        code = import_file(rows, mapping, limits, ImportOptions(to_sandbox=True, latency=0.15))
    Screen().say(
        "",
        "Next, with a file of your own and nothing sent:",
        "  neto-async import FILE --dry-run --sandbox",
        "and a store to look at in a browser:",
        "  neto-async sandbox",
    )
    return code


@neto_async.command(short_help="Run a store on this machine.")
@click.option("--port", type=int, default=0, show_default=True, help="Port to listen on; 0 takes any free port.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME",
    help='Fault of the second call, such as "answer lost" (its rows are unknown). Repeat it for later calls.',
)
@click.option("--json", "as_json", is_flag=True, help="Print the address and credentials as one JSON object.")
def sandbox(port: int, faults: tuple[str, ...], as_json: bool) -> int:
    """Run a store on this machine to play with, until Ctrl-C. Nothing reaches Neto."""
    try:
        asyncio.run(serve(port, faults, as_json=as_json))
    except KeyboardInterrupt:
        Screen(stderr=True).say("stopped")
    return 0


def _beside(file: str, *, to_sandbox: bool) -> Path | None:
    """Name the journal of a file and the store; None where the same store or file can't come again."""
    return None if to_sandbox or file == "-" else beside(file)


def _was_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _as_said(file: str, given: dict[str, Any]) -> tuple[ColumnMapping, dict[str, Any]]:
    """Give the mapping, and how the file is read, from the options and the mapping file."""
    mapping_file = given["mapping_file"]
    kept = ColumnMapping() if mapping_file is None else ColumnMapping.from_toml(mapping_file)
    zone, formats = given["timezone"], given["date_formats"]
    mapping = evolve(
        kept,
        columns={
            **kept.columns,
            **{name: tuple(part.strip() for part in columns.split("|")) for name, columns in given["maps"]},
        },
        words={**kept.words, **_words(given["words"])},
        timezone=kept.timezone if zone is None else zone,
        date_formats=formats or kept.date_formats,
        **{name: value for name, value in given.items() if value and name in CELL_OPTIONS},
    )
    said = {name: value for name, value in given.items() if name in FILE_OPTIONS and value is not None}
    how = {**mapping.file, **said}
    return mapping, {"file_format": "csv", **how} if file == "-" else how


@contextmanager
def _rows_of(file: str, how: dict[str, Any]) -> Iterator[RowFile]:
    name = "standard input" if file == "-" else Path(file).name
    with _opened(file) as binary:
        with readable(name):
            rows = open_rows(binary, name=name, **how)
        yield rows


def _can_answer() -> bool:
    # A stream that was closed before the command began is None.
    return sys.stdin is not None and sys.stdin.isatty()


def _opened(file: str) -> Any:
    if file == "-" and sys.stdin is None:
        raise ConfigurationError("standard input is closed; give a file")
    return open_binary(sys.stdin.buffer if file == "-" else Path(file))


def _words(pairs: tuple[tuple[str, str], ...]) -> dict[str, dict[str, str]]:
    words: dict[str, dict[str, str]] = {}
    for name, rest in pairs:
        theirs, equals, ours = rest.rpartition("=")
        if not equals or not theirs.strip():
            raise click.BadParameter('write Field="their word=our word", such as Status="In progress=Recontacting"')
        words.setdefault(name, {})[theirs.strip().casefold()] = ours.strip()
    return words
