"""
The plan, the progress and the summary, as a person sees them.

May import: output, journal_places, files, importing, journals, models, outcomes, results, settings, wire.

Texts of customers are shown in the plan's three samples, and may be in Neto's warnings. Samples are shown where a
person asked to see them or sits before a terminal, warnings at a terminal: what else is written may end in a log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from textwrap import wrap
from typing import Any, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from neto_async.cli.journal_places import JournalPlace
from neto_async.cli.output import Output, writing
from neto_async.escaping import escaped
from neto_async.files.opening import RowFile
from neto_async.importing.plan import Plan
from neto_async.journals.events import JournalSummary
from neto_async.models import CustomerLog
from neto_async.outcomes import Added
from neto_async.results import ImportProgress
from neto_async.wire import FIELD_OF, VENDOR_NAMES, fields_of

__all__ = ["Screen", "Watcher", "counted", "edited", "remembered"]

FIRST_FAULTS = 5
MAX_RANGES = 6
LINE = re.compile(r"^(line|row) (\d+)")
"""The line or the number of a row, with which each of its faults begins."""
WIDTH = 68
INDENT = 9
HANGING: dict[str, Any] = {"subsequent_indent": " " * INDENT, "break_on_hyphens": False}
LABELS = {
    "added": ("green", "Neto gave them an id"),
    "rejected": ("red", "Neto rejected them; fix them and import them again"),
    "invalid": ("red", "not sent: they break a rule; fix them and import them again"),
    "unknown": ("yellow", "may be saved: check the store before sending them again"),
    "not_sent": ("yellow", "certainly not saved: safe to import again"),
}


class Watcher(Protocol):
    """Shows how far a run is."""

    def __call__(self, progress: ImportProgress, *, reachable: bool = True) -> None:
        """Show it, if it is time to; without the time left where the store can't be reached."""


class Screen(Output):
    """Shows a person what the command does; all its methods raise `OutputError` where nothing can be written."""

    _bar: Progress | None = None  # while it is on the screen

    def plan(
        self,
        file: RowFile,
        plan: Plan,
        *,
        store: str,
        journal: JournalPlace | None,
        marker: str | None,
        earlier: JournalSummary | None,
        left: int,
        calls: int,
        seconds: float | None,
        samples: bool,
        every_fault: bool,
    ) -> None:
        """
        Show what is going to be done: what is read, what goes where, and how many calls and seconds it takes.

        ``samples`` are shown off a terminal too where that is asked for, and with ``every_fault`` all invalid rows.
        """
        matched = [_matched(" | ".join(columns), VENDOR_NAMES[name]) for name, columns in plan.mapping.columns.items()]
        before = None if earlier is None else f"{remembered(earlier)}; {left:,} left to send"
        self.list(
            {
                "Store": store,
                "File": f"{file.name} ({file.read_as})",
                "Rows": f"{plan.rows:,}: {plan.valid:,} valid, {plan.invalid:,} invalid",
                "Before": before,
                "Calls": _calls_ahead(calls, seconds) if calls else None,
                "Journal": "none: a second run adds every row again" if journal is None else str(journal),
                "Marker": None if marker is None else _marker(marker),
                "Columns": ", ".join(matched),
                "Ignored": ", ".join(plan.ignored) or None,
            }
        )
        for about, sentences in (("Notice", plan.notices), ("Doubt", plan.doubts)):
            for sentence in sentences:
                self.list({about: sentence})
        if left and (samples or self.at_a_terminal):
            if file.encoding is not None and file.encoding.words:
                self.list({"Words": f"{', '.join(file.encoding.words)}: is this how they are written?"})
            # On going on, the first rows of the file are most likely sent.
            what = "as it will be sent" if earlier is None else "of the file as it is sent"
            self._samples(plan.samples, what, plan.mapping.timezone)
        self._faults(plan, every=every_fault)
        if self.at_a_terminal:
            # At a terminal alone: these are words of the file.
            for word, count in plan.unknown_status.items():
                rows = "1 row says" if count == 1 else f"{count:,} rows say"
                self.say(f'  {rows} "{word}": --map-value Status="{word}=Completed" (or another status of Neto)')
        elif plan.unknown_status:
            self.say(
                '  To translate a status: --map-value Status="THEIRS=Completed", or [words.Status] in a mapping file.'
            )

    def _samples(self, samples: list[CustomerLog], what: str, zone: tzinfo | None) -> None:
        for number, log in enumerate(samples, start=1):
            self.say("", f"Log {number} {what}:")
            for name, value in fields_of(log, zone=timezone.utc).items():
                text = " ".join(value.split())
                text = text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
                at = _moment_of(log, name)
                self.say(f"  {name}: {text}{'' if at is None else _local(at, zone)}")

    def _faults(self, plan: Plan, *, every: bool) -> None:
        if not plan.invalid:
            return
        faults = _by_fault(plan.faults)
        shown = faults if every else faults[:FIRST_FAULTS]
        self.say("", "Invalid rows, which will not be sent:", *(f"  {fault}" for fault in shown))
        if len(faults) > len(shown):
            self.say(f"  … and {counted(len(faults) - len(shown), 'other fault')}; --dry-run lists them all")
        if plan.invalid > len(plan.faults):
            self.say(f"  These are the faults of the first {len(plan.faults):,} invalid rows of {plan.invalid:,}.")

    @contextmanager
    def progress(self, rows: int) -> Iterator[Watcher]:
        """Show progress: a bar on a terminal, a line for each tenth elsewhere."""
        if not self.console.is_terminal:
            yield self._lines(rows)
            return
        columns = (BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
        # Without a thread that refreshes it: nobody would learn of an error there.
        bar = Progress(*columns, console=self.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        task = bar.add_task("", total=rows, state="")

        def show(progress: ImportProgress, *, reachable: bool = True) -> None:
            state = _state(progress, rows, reachable=reachable)
            with writing():
                bar.update(task, completed=_through(progress), state=state, refresh=True)

        with writing():
            bar.start()
        self._bar = bar
        try:
            yield show
        finally:
            self._end_bar()

    def _end_bar(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            with writing():
                bar.stop()

    def _lines(self, rows: int) -> Watcher:
        shown = 0

        def show(progress: ImportProgress, *, reachable: bool = True) -> None:
            nonlocal shown
            tenths = 10 * progress.finished // max(rows, 1)
            if tenths > shown:
                shown = tenths
                self.say(f"{_through(progress):,} of {rows:,} rows: {_state(progress, rows, reachable=reachable)}")

        return show

    def warnings(self, added: Added) -> None:
        """Show the warnings of a call, once; at a terminal alone, since they may hold what was sent."""
        attempt = added.attempts[-1]
        neighbour = "; they may concern any of its rows" if attempt.records > 1 else ""
        on = f"Neto warns on call {attempt.call} ({counted(attempt.records, 'row')}{neighbour})"
        if not self.at_a_terminal:
            self.say(f"{on}. What it says is in added.csv, with --report DIR.")
            return
        self.say(f"{on}:")
        for warning in added.warnings:
            self.say(f"  {warning}")

    def summary(
        self,
        progress: ImportProgress,
        reasons: Sequence[str],
        *,
        seconds: float,
        report: Path | None,
        to_sandbox: bool,
        error: str | None,
        again: str | None,
        settle: str | None,
    ) -> None:
        """
        Say what became of the rows, and what to do next.

        ``reasons`` say in sentences why rows were not sent or are in doubt, ``error`` what stopped the run. Where a
        journal is kept, ``again`` is the command that goes on, and ``settle`` the one that settles rows in doubt.
        """
        self.say("", f"{counted(progress.finished, 'row')} in {counted(progress.calls, 'call')}, {seconds:.1f} s")
        self._counts(progress)
        if progress.replayed:
            were = "was" if progress.replayed == 1 else "were"
            nothing = "" if progress.calls else " This run sent nothing."
            self.say(f"Of these, {progress.replayed:,} {were} sent by an earlier run and not sent again.{nothing}")
        for reason in reasons:
            self.say(reason)
        if error is not None:
            self.say(f"Stopped: {error}")
        if report is not None:
            self.say(f"Reports: {report}")
        elif progress.added < progress.finished:
            self.say("Which rows these are, and why: run it again with --report DIR.")
        stopped = progress.not_sent > 0 or error is not None
        if settle is not None and progress.unknown:
            self.say("Unknown rows were held back. To find out what became of them:")
            self.say(f"  {settle}", wrap=False)
        if again is not None and stopped:
            self._go_on_with(again)
        elif again is None and progress.added and not to_sandbox:
            self.say("No journal was kept: importing the file again adds every row again.")

    def _counts(self, progress: ImportProgress) -> None:
        counts = {name: getattr(progress, name) for name in LABELS}
        shown = {name: f"{count:,}" for name, count in counts.items() if count or name == "added"}
        widths = max(map(len, shown.values())), max(map(len, shown))
        for name, count in shown.items():
            colour, meaning = LABELS[name]
            label = name.replace("_", " ")
            self.say(f"{count:>{widths[0]}}  {label:<{widths[1]}}  {meaning}", style=colour)

    def stopping(self, in_flight: int) -> None:
        """Say that no more is sent, and what is still awaited."""
        awaited = (
            f"; awaiting {counted(in_flight, 'call')} under way. Ctrl-C again ends at once, with their rows in doubt"
        )
        self.say(f"Stopping: no more rows are sent{awaited if in_flight else ''}.")

    def ended_at_once(self, again: str | None, *, report: Path | None) -> None:
        """Say so, and what to do next, when nothing is awaited any more; ``again`` where a journal is kept."""
        self._end_bar()
        self.say("", "Ended at once: the rows of the calls under way may be in the store or not.")
        if report is not None:
            self.say(f"Reports: {report}, as far as it came; rows without an outcome are in none of them.")
        if again is not None:
            self._go_on_with(again)

    def _go_on_with(self, again: str) -> None:
        self.say("To go on with what is left, nothing twice:")
        # Not broken into lines, so that it can be copied.
        self.say(f"  {again}", wrap=False)

    def status(self, summary: JournalSummary, *, holder: str | None, found: Path | None) -> None:
        """Show what a journal remembers, which process is using it, and where it was found for a file."""
        if holder is not None:
            end = f"A run is using it: {holder}."
        elif summary.rows is None:
            end = "The last run did not come to the end of its file: run the same import again."
        else:
            end = f"The last run came to the end of its file, of {counted(summary.rows, 'row')}."
        begun = f"{summary.created_at:%Y-%m-%d %H:%M} UTC, {counted(summary.runs, 'run')} so far"
        marker = f'"{summary.marker}" ends each note' if summary.marker else None
        journal = None if found is None else str(found)
        rows = remembered(summary)
        self.list({"Journal": journal, "Store": summary.store, "Begun": begun, "Rows": rows, "Marker": marker})
        self.say(end)

    def list(self, entries: Mapping[str, str | None]) -> None:
        """Show names and their values; what is None is left out."""
        for name, text in entries.items():
            if text is not None:
                line = escaped(f"{name:<{INDENT}}{text}")
                # As one line where it is no person who reads it.
                self.say(*wrap(line, self.console.width, **HANGING) if self.console.is_terminal else [line])


def _by_fault(faults: Sequence[tuple[str, ...]]) -> list[str]:
    """Give each fault of rows once, with all their lines, in the order in which they first occur."""
    numbers_of: dict[tuple[str, str], list[int]] = {}
    for error in (error for errors in faults for error in errors):
        _, unit, number, what = LINE.split(error, maxsplit=1)
        numbers_of.setdefault((unit, what), []).append(int(number))
    return [
        f"{unit} {numbers[0]}{what}"
        if len(numbers) == 1
        else f"{unit}s {_ranges(numbers)} ({len(numbers):,} rows){what}"
        for (unit, what), numbers in numbers_of.items()
    ]


def _ranges(lines: Sequence[int]) -> str:
    """Write ascending numbers; those that follow on another by their first and last."""
    ranges: list[list[int]] = []
    for line in lines:
        if ranges and line == ranges[-1][-1] + 1:
            ranges[-1][1:] = [line]
        else:
            ranges.append([line])
    texts = ["-".join(map(str, ends)) for ends in ranges]
    return ", ".join(texts if len(texts) <= MAX_RANGES else [*texts[: MAX_RANGES - 1], "…", texts[-1]])


def _moment_of(log: CustomerLog, vendor_name: str) -> datetime | None:
    """Give the moment in a field; None for a day, which is sent as it is, and for a text."""
    value = getattr(log, FIELD_OF[vendor_name.lower()])
    return value if isinstance(value, datetime) else None


def _local(at: datetime, zone: tzinfo | None) -> str:
    city = "" if zone is None else str(zone).rpartition("/")[2].replace("_", " ")
    if zone is None or at.astimezone(zone).utcoffset() == timedelta():
        return " UTC"
    here = at.astimezone(zone)
    day = "" if here.date() == at.astimezone(timezone.utc).date() else f" on {here:%Y-%m-%d}"
    return f" UTC ({here:%H:%M} {city}{day})"


def _marker(form: str) -> str:
    return f'each note ends in "{form}", a token in the place of {{}}; staff see it'


def remembered(summary: JournalSummary) -> str:
    """Count the rows of a journal by their known state."""
    parts = [f"{summary.added:,} added"]
    parts += [f"{summary.rejected:,} refused"] if summary.rejected else []
    parts += [f"{summary.in_doubt:,} in doubt"] if summary.in_doubt else []
    parts += [f"{summary.remaining:,} invalid or not sent"] if summary.remaining else []
    return ", ".join(parts)


def _calls_ahead(calls: int, seconds: float | None) -> str:
    time = "" if seconds is None else f", about {_duration(seconds)} at the limit"
    return f"{calls:,}{time}" + ("; the first carries one log" if calls > 1 else "")


def edited(copies: Iterable[Path]) -> list[str]:
    """Say where reports are that a person had edited."""
    return [f"The report that you had edited was renamed to {copy.name}." for copy in copies]


def counted(number: int, word: str) -> str:
    """Give a number with its noun."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _matched(columns: str, vendor: str) -> str:
    return vendor if columns == vendor else f"{vendor} from {columns}"


def _through(progress: ImportProgress) -> int:
    """Count the rows that have their outcome and are not left to send."""
    return progress.added + progress.rejected + progress.invalid


def _state(progress: ImportProgress, rows: int, *, reachable: bool) -> str:
    left = rows - progress.finished + progress.not_sent
    counts = {
        "added": progress.added,
        "rejected": progress.rejected,
        "invalid": progress.invalid,
        "in doubt": progress.unknown,
        "left": left,
    }
    parts = [f"{count:,} {name}" for name, count in counts.items() if count or name == "added"]
    parts.append(counted(progress.calls, "call"))
    parts += [f"{_pace(progress.records_per_second)} rows/s"] if progress.calls else []
    parts += [f"{_duration(progress.seconds_left)} to go"] if progress.seconds_left and left and reachable else []
    return ", ".join(parts)


def _pace(records_per_second: float) -> str:
    return f"{records_per_second:,.0f}" if records_per_second >= 10 else f"{records_per_second:.1f}"  # noqa: PLR2004


def _duration(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004
