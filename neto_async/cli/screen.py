"""
What a person sees: the plan, the progress, the summary. May import: outcomes, models, wire.

Texts of customers are shown in the plan's three samples and nowhere else.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from neto_async.importing.files import RowFile
from neto_async.importing.plan import Plan
from neto_async.models import CustomerLog
from neto_async.outcomes import ImportProgress
from neto_async.settings import WireFormat
from neto_async.wire import VENDOR_NAMES, encode_batch

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Screen", "Watcher"]

FIRST_FAULTS = 5
WIDTH = 68
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


class Screen:
    """
    Writes to one console.

    Args:
        console: Standard error where standard output is for machines.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, text: str = "") -> None:
        """Write a line, as it stands."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=not self.console.is_terminal)

    def plan(
        self, file: RowFile, plan: Plan, *, store: str, calls: int, minutes: float | None, every_fault: bool
    ) -> None:
        """Show what is going to be done."""
        read_as = file.encoding.label + (f', columns parted by "{file.delimiter}"' if file.delimiter else "")
        time = "" if minutes is None else f", about {_duration(minutes * 60)} at the limit"
        table = Table.grid(padding=(0, 2))
        table.add_row("Store", escape(store))
        table.add_row("File", escape(f"{file.name} ({read_as})"))
        table.add_row("Rows", f"{plan.rows:,}: {plan.valid:,} to send, {len(plan.faults):,} invalid")
        table.add_row("Calls", f"{calls:,}{time}")
        matched = [_matched(" | ".join(columns), VENDOR_NAMES[name]) for name, columns in plan.mapping.columns.items()]
        table.add_row("Columns", escape(", ".join(matched)))
        if plan.ignored:
            table.add_row("Ignored", escape(", ".join(plan.ignored)))
        self.console.print(table, highlight=False)
        self._samples(plan.samples)
        self._faults(plan.faults, every=every_fault)

    def _samples(self, samples: list[CustomerLog]) -> None:
        for number, log in enumerate(samples, start=1):
            self.say(f"\nLog {number} as it will be sent:")
            (sent,) = json.loads(encode_batch([log], WireFormat.JSON))["CustomerLogs"]["CustomerLog"]
            for name, value in sent.items():
                text = " ".join(value.split())
                self.say(f"  {name}: {text if len(text) <= WIDTH else text[: WIDTH - 1] + '…'}")

    def _faults(self, faults: list[tuple[str, ...]], *, every: bool) -> None:
        if not faults:
            return
        self.say("\nInvalid rows, which will not be sent:")
        for errors in faults if every else faults[:FIRST_FAULTS]:
            for error in errors:
                self.say(f"  {error}")
        if not every and len(faults) > FIRST_FAULTS:
            self.say(f"  … and {len(faults) - FIRST_FAULTS:,} more; --dry-run lists them all")

    @contextmanager
    def progress(self, rows: int) -> Iterator[Watcher]:
        """Show progress: a bar on a terminal, a line for each tenth elsewhere."""
        if not self.console.is_terminal:
            yield self._lines(rows)
            return
        columns = (BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
        with Progress(*columns, console=self.console) as bar:
            task = bar.add_task("", total=rows, state="")

            def show(progress: ImportProgress) -> None:
                bar.update(task, completed=progress.finished, state=_state(progress))

            yield show

    def _lines(self, rows: int) -> Watcher:
        shown = 0

        def show(progress: ImportProgress) -> None:
            nonlocal shown
            tenths = 10 * progress.finished // max(rows, 1)
            if tenths > shown:
                shown = tenths
                self.say(f"{progress.finished:,} of {rows:,} rows, {_state(progress)}")

        return show

    def summary(
        self, progress: ImportProgress, causes: Counter[str], *, seconds: float, report: str | None, to_sandbox: bool
    ) -> None:
        """Say what became of the rows."""
        self.say(f"\n{progress.finished:,} rows in {progress.calls:,} calls, {seconds:.1f} s")
        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right")
        for name, (colour, meaning) in LABELS.items():
            count = getattr(progress, name)
            if count or name == "added":
                table.add_row(f"[{colour}]{count:,}[/]", name.replace("_", " "), meaning)
        self.console.print(table, highlight=False)
        for cause in causes:
            self.say(f"Not sent because {cause}.")
        if report:
            self.say(f"Reports: {report}")
        elif progress.added < progress.finished:
            self.say("Which rows these are, and why: run with --report DIR next time.")
        if progress.added and not to_sandbox:
            self.say("This version keeps no journal: importing the file again adds every row again.")


def _matched(columns: str, vendor: str) -> str:
    return vendor if columns == vendor else f"{vendor} from {columns}"


def _state(progress: ImportProgress) -> str:
    problems = progress.rejected + progress.invalid + progress.not_sent + progress.unknown
    left = "" if progress.seconds_left is None else f", {_duration(progress.seconds_left)} left"
    return f"{progress.added:,} added, {problems:,} not, {progress.calls:,} calls{left}"


def _duration(seconds: float) -> str:
    if seconds < 60:  # noqa: PLR2004
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004
