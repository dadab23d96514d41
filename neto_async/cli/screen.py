"""
What a person sees: the plan, the progress, the summary. May import: importing, outcomes, models, settings, wire.

Texts of customers are shown in the plan's three samples, and may stand in Neto's warnings. Samples are shown where a
person asked to see them or sits before a terminal, warnings at a terminal: what else is written may end in a log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from neto_async.importing.files import RowFile
from neto_async.importing.journal_sqlite import JournalSummary
from neto_async.importing.plan import Plan
from neto_async.models import CustomerLog
from neto_async.outcomes import Added, ImportProgress
from neto_async.settings import WireFormat
from neto_async.wire import VENDOR_NAMES, encode_batch

__all__ = ["OutputError", "Screen", "Watcher"]

FIRST_FAULTS = 5
LINE = re.compile(r"^line (\d+)")
"""Where a row stands: all its faults begin so."""
WIDTH = 68
INDENT = 9
HANGING: dict[str, Any] = {"subsequent_indent": " " * INDENT, "break_on_hyphens": False}
LABELS = {
    "added": ("green", "Neto gave them an id"),
    "rejected": ("red", "Neto refused them; mend and import them again"),
    "invalid": ("red", "they break a rule and never left; mend and import them again"),
    "unknown": ("yellow", "may be saved: look in the store before sending them again"),
    "not_sent": ("yellow", "certainly not saved: safe to import again"),
}


class Watcher(Protocol):
    """Shows how far a run is."""

    def __call__(self, progress: ImportProgress) -> None:
        """Show it, if it is time to."""


class OutputError(Exception):
    """What is written on the screen, or to the file or program in its place, can't be written any more."""


class _Console(Console):
    """A console that tells of a closed pipe as of anything else that can't be written."""

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 (the error in hand; rich's own way is to end the process)


class Screen:
    """
    Writes for a person, to standard output or standard error.

    All its methods raise `OutputError` where that is not possible.

    Args:
        stderr: Where standard output is for machines.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        self.console: _Console = _Console(stderr=stderr)
        self._bar: Progress | None = None  # while it is on the screen

    @property
    def at_a_terminal(self) -> bool:
        """Whether a person reads what is written, at once."""
        # What rich says may come from the environment, as for a log that takes colours.
        return self.console.file.isatty()

    def say(self, text: str = "") -> None:
        """Write a line, as it stands."""
        self._print(text, markup=False, soft_wrap=not self.console.is_terminal)

    def tell(self, machine: dict[str, object]) -> None:
        """Write an object for a program, to standard output in any case."""
        with _writing():
            print(json.dumps(machine), flush=True)

    def _print(self, thing: object, **style: bool) -> None:
        with _writing():
            self.console.print(thing, highlight=False, **style)  # type: ignore[arg-type]

    def plan(
        self,
        file: RowFile,
        plan: Plan,
        *,
        store: str,
        journal: Path | None,
        earlier: JournalSummary | None,
        left: int,
        calls: int,
        seconds: float | None,
        samples: bool,
        every_fault: bool,
    ) -> None:
        """
        Show what is going to be done.

        Args:
            file: What is read.
            plan: What is in it.
            store: Where the logs go.
            journal: What will remember them.
            earlier: What it remembers already.
            left: Rows to send.
            calls: Calls for them.
            seconds: Time for them at the limit, None without one.
            samples: Show them off a terminal too.
            every_fault: List all invalid rows.
        """
        matched = [_matched(" | ".join(columns), VENDOR_NAMES[name]) for name, columns in plan.mapping.columns.items()]
        before = None if earlier is None else f"{_remembered(earlier)}; {left:,} left to send"
        self._list(
            {
                "Store": store,
                "File": f"{file.name} ({file.read_as})",
                "Rows": f"{plan.rows:,}: {plan.valid:,} valid, {len(plan.faults):,} invalid",
                "Before": before,
                "Calls": _calls_ahead(calls, seconds) if calls else None,
                "Journal": "none: a second run adds every row again" if journal is None else str(journal),
                "Columns": ", ".join(matched),
                "Ignored": ", ".join(plan.ignored) or None,
            }
        )
        if left and (samples or self.at_a_terminal):
            # On going on, the first rows of the file are most likely sent.
            self._samples(plan.samples, "as it will be sent" if earlier is None else "of the file as it is sent")
        self._faults(plan.faults, every=every_fault)

    def _samples(self, samples: list[CustomerLog], what: str) -> None:
        for number, log in enumerate(samples, start=1):
            self.say(f"\nLog {number} {what}:")
            (sent,) = json.loads(encode_batch([log], WireFormat.JSON))["CustomerLogs"]["CustomerLog"]
            for name, value in sent.items():
                text = " ".join(value.split())
                self.say(f"  {name}: {text if len(text) <= WIDTH else text[: WIDTH - 1] + '…'}")

    def _faults(self, faults: list[tuple[str, ...]], *, every: bool) -> None:
        if not faults:
            return
        self.say("\nInvalid rows, which will not be sent:")
        for told in _gathered(faults if every else faults[:FIRST_FAULTS]):
            self.say(f"  {told}")
        if not every and len(faults) > FIRST_FAULTS:
            self.say(f"  … and {len(faults) - FIRST_FAULTS:,} more; --dry-run lists them all")

    @contextmanager
    def progress(self, rows: int) -> Iterator[Watcher]:
        """Show progress: a bar on a terminal, a line for each tenth elsewhere."""
        if not self.console.is_terminal:
            yield self._lines(rows)
            return
        columns = (BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
        # Without a thread of its own: what it could not write nobody would learn.
        bar = Progress(*columns, console=self.console, auto_refresh=False)
        task = bar.add_task("", total=rows, state="")

        def show(progress: ImportProgress) -> None:
            with _writing():
                bar.update(task, completed=progress.finished, state=_state(progress), refresh=True)

        with _writing():
            bar.start()
        self._bar = bar
        try:
            yield show
        finally:
            self._end_bar()

    def _end_bar(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            with _writing():
                bar.stop()

    def _lines(self, rows: int) -> Watcher:
        shown = 0

        def show(progress: ImportProgress) -> None:
            nonlocal shown
            tenths = 10 * progress.finished // max(rows, 1)
            if tenths > shown:
                shown = tenths
                self.say(f"{progress.finished:,} of {rows:,} rows, {_state(progress)}")

        return show

    def warnings(self, added: Added) -> None:
        """Show the warnings of a call, once; at a terminal alone, since they may hold what was sent."""
        attempt = added.attempts[-1]
        neighbour = "; they may concern any of its rows" if attempt.records > 1 else ""
        on = f"Neto warns on call {attempt.call} ({_counted(attempt.records, 'row')}{neighbour})"
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
    ) -> None:
        """
        Say what became of the rows, and what to do next.

        Args:
            progress: How many have which fate.
            reasons: Why rows were not sent or are in doubt, in sentences.
            seconds: How long it took.
            report: Where the reports are.
            to_sandbox: It was a store on this machine.
            error: What stopped the run.
            again: The command that goes on, where a journal is kept.
        """
        self.say(f"\n{_counted(progress.finished, 'row')} in {_counted(progress.calls, 'call')}, {seconds:.1f} s")
        self._counts(progress)
        if progress.replayed:
            sent = "" if progress.calls else ": nothing was sent"
            were = "was" if progress.replayed == 1 else "were"
            self.say(f"Of these, {progress.replayed:,} {were} settled by an earlier run and not sent again{sent}.")
        for reason in reasons:
            self.say(reason)
        if error is not None:
            self.say(f"Stopped: {error}")
        if report is not None:
            self.say(f"Reports: {report}")
        elif progress.added < progress.finished:
            self.say("Which rows these are, and why: run it with --report DIR.")
        stopped = progress.not_sent > 0 or error is not None
        if again is not None and progress.unknown:
            self.say(
                "Rows that may be there are held back: look in the store; if none is, --in-doubt resend adds them."
            )
        if again is not None and stopped:
            self._go_on_with(again)
        elif again is None and progress.added and not to_sandbox:
            self.say("No journal was kept: importing the file again adds every row again.")

    def _counts(self, progress: ImportProgress) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right")
        for name, (colour, meaning) in LABELS.items():
            count = getattr(progress, name)
            if count or name == "added":
                table.add_row(f"[{colour}]{count:,}[/]", name.replace("_", " "), meaning)
        self._print(table)

    def stopping(self, in_flight: int) -> None:
        """Say that no more is sent, and what is still awaited."""
        awaited = (
            f"; awaiting {_counted(in_flight, 'call')} under way. Ctrl-C again ends at once, with their rows in doubt"
        )
        self.say(f"Stopping: no more rows are sent{awaited if in_flight else ''}.")

    def ended_at_once(self, again: str | None, *, report: Path | None) -> None:
        """Say so, and what to do next, when nothing is awaited any more; ``again`` where a journal is kept."""
        self._end_bar()
        self.say("\nEnded at once: the rows of the calls under way may be in the store or not.")
        if report is not None:
            self.say(f"Reports: {report}, as far as it came; rows without an outcome are in none of them.")
        if again is not None:
            self._go_on_with(again)

    def _go_on_with(self, again: str) -> None:
        self.say("To go on with what is left, nothing twice:")
        # Not broken into lines, so that it can be copied.
        self._print(f"  {again}", markup=False, soft_wrap=True)

    def status(self, summary: JournalSummary) -> None:
        """Show what a journal remembers."""
        if summary.rows is None:
            end = "The last run did not come to the end of its file: run the same import again."
        else:
            end = f"The last run came to the end of its file, of {_counted(summary.rows, 'row')}."
        begun = f"{summary.created_at:%Y-%m-%d %H:%M} UTC, {_counted(summary.runs, 'run')} so far"
        self._list({"Store": summary.store, "Begun": begun, "Rows": _remembered(summary)})
        self.say(end)

    def _list(self, entries: Mapping[str, str | None]) -> None:
        """Show names and what they stand for; what is None is left out."""
        for name, text in entries.items():
            if text is not None:
                line = f"{name:<{INDENT}}{text}"
                # As one line where it is no person who reads it.
                self.say(fill(line, self.console.width, **HANGING) if self.console.is_terminal else line)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"the output can't be written: {error.strerror}") from None


def _gathered(faults: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Tell the faults of rows; one that many rows have is told once, with all their lines."""
    told = [error for errors in faults for error in errors]
    lines_of: dict[str, list[int]] = {}
    for error in told:
        _, line, what = LINE.split(error, maxsplit=1)
        lines_of.setdefault(what, []).append(int(line))
    for error in told:
        _, line, what = LINE.split(error, maxsplit=1)
        lines = lines_of[what]
        if len(lines) <= FIRST_FAULTS:
            yield error
        elif lines[0] == int(line):
            yield f"lines {_ranges(lines)} ({len(lines):,} rows){what}"


def _ranges(lines: Sequence[int]) -> str:
    """Write ascending numbers; those that follow on another by their first and last."""
    ranges: list[list[int]] = []
    for line in lines:
        if ranges and line == ranges[-1][-1] + 1:
            ranges[-1][1:] = [line]
        else:
            ranges.append([line])
    return ", ".join("-".join(map(str, ends)) for ends in ranges)


def _remembered(summary: JournalSummary) -> str:
    parts = [f"{summary.added:,} added"]
    parts += [f"{summary.rejected:,} refused"] if summary.rejected else []
    parts += [f"{summary.in_doubt:,} in doubt"] if summary.in_doubt else []
    return ", ".join(parts)


def _calls_ahead(calls: int, seconds: float | None) -> str:
    time = "" if seconds is None else f", about {_duration(seconds)} at the limit"
    return f"{calls:,}{time}" + ("; the first carries one log" if calls > 1 else "")


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _matched(columns: str, vendor: str) -> str:
    return vendor if columns == vendor else f"{vendor} from {columns}"


def _state(progress: ImportProgress) -> str:
    problems = progress.rejected + progress.invalid + progress.not_sent + progress.unknown
    pace = f", {_pace(progress.records_per_second)} rows/s" if progress.calls else ""
    left = f", {_duration(progress.seconds_left)} left" if progress.seconds_left else ""
    return f"{progress.added:,} added, {problems:,} not, {_counted(progress.calls, 'call')}{pace}{left}"


def _pace(records_per_second: float) -> str:
    return f"{records_per_second:,.0f}" if records_per_second >= 10 else f"{records_per_second:.1f}"  # noqa: PLR2004


def _duration(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004
