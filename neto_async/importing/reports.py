"""
Reports that a person can act on: four CSV files, each row the input's own with what became of it.

They hold what customers and staff wrote, so only their owner can read them. The cells are the input's to the letter: a
cell that begins with "=" is not disarmed, since a mended file has to import as it was. A folder belongs to one journal:
a later run of it writes the files anew, and takes over what its own run saw of a row that stays refused or in doubt,
which no journal keeps. May import: files_rows, resuming, outcomes, errors.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

from neto_async.errors import ConfigurationError, JournalError
from neto_async.importing.files_rows import RAW_COLUMN, Row
from neto_async.importing.resuming import IN_DOUBT
from neto_async.outcomes import Added, Invalid, NotSent, Outcome, Rejected, Unknown

__all__ = ["Reports"]

FILES: dict[type[Outcome], str] = {
    Added: "added",
    Rejected: "rejected",
    Invalid: "rejected",
    Unknown: "unknown",
    NotSent: "not_sent",
}
OURS = ("neto_row", "neto_line", "neto_outcome", "neto_reason", "neto_log_id", RAW_COLUMN)

OWNER = ".journal"
"""The file in a folder that says which journal its reports belong to."""

EARLIER = ".rejected-earlier.csv"
"""Rows that earlier runs saw refused or in doubt, until a run has come to the end of its source."""

LONGEST = 1 << 24
"""Characters of a cell that is read back, at most."""

KEPT = {Rejected.__name__, Unknown.__name__}
"""Outcomes of which later runs say again what their own run saw."""

FORGOTTEN = "refused by an earlier run; its reason stood in that run's report alone"


class Reports:
    """
    Write ``added.csv``, ``rejected.csv`` (with invalid), ``unknown.csv`` and ``not_sent.csv`` as a run goes.

    Each outcome's context must be the `Row` it is of, as with `LogSource`. UTF-8, with the mark at its start that Excel
    needs where the input was not plain UTF-8 itself.

    Args:
        folder: Made if need be.
        columns: The input's own.
        delimiter: What stands between cells.
        mark: Begin the files with a byte order mark.
    """

    def __init__(
        self, folder: str | os.PathLike[str], columns: tuple[str, ...], *, delimiter: str = ",", mark: bool = False
    ) -> None:
        self._folder = Path(folder)
        self._columns = columns
        self._delimiter = delimiter
        self._encoding = "utf-8-sig" if mark else "utf-8"
        self._files = ExitStack()
        self._handles: dict[str, IO[str]] = {}
        self._writers: dict[str, Any] = {}
        self._reasons: dict[tuple[str, int], str] = {}  # what earlier runs saw, by outcome and row from 1

    def check(self) -> None:
        """
        Look, before anything is sent, whether the folder could take reports; nothing in it is changed.

        Raises:
            ConfigurationError: It is no folder, or can't be written to, or holds reports that no journal owns.
        """
        folders = (self._folder, *self._folder.absolute().parents)
        # `Path.exists` raises where a folder can't be searched.
        nearest = next(path for path in folders if os.path.exists(path))  # noqa: PTH110
        if not nearest.is_dir():
            raise ConfigurationError(f"{self._folder} can't hold reports: {nearest} is no folder")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise ConfigurationError(f"{self._folder} can't hold reports: {nearest} can't be written to")
        if self._holds_reports() and not (self._folder / OWNER).exists():
            raise self._taken()

    def open(self, journal: str | None) -> None:
        """
        Make the files.

        Args:
            journal: The identity of the run's journal, None without one.

        Raises:
            ConfigurationError: The folder holds the reports of another import, or can't be written to.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._begin(journal)
        except OSError as error:
            self.close(complete=False)
            raise ConfigurationError(f"{self._folder} can't be written to: {error.strerror}") from None

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """
        Write down what became of rows; what was seen of those refused or in doubt is on disk when it returns.

        Raises:
            JournalError: They could not be written.
        """
        try:
            for outcome in outcomes:
                self._writers[FILES[type(outcome)]].writerow(self._line(outcome))
            for handle in self._handles.values():
                handle.flush()
            for name in {FILES[type(outcome)] for outcome in outcomes if isinstance(outcome, Rejected | Unknown)}:
                os.fsync(self._handles[name].fileno())
        except OSError as error:
            raise JournalError(f"the reports in {self._folder} can't be written: {error.strerror}") from None

    def close(self, *, complete: bool) -> None:
        """Let go of the files; ``complete`` where every row of the source has its outcome in them."""
        with suppress(OSError):  # a full disk: `write` has said so
            self._files.close()
            if complete:
                (self._folder / EARLIER).unlink(missing_ok=True)

    # -- the folder ---------------------------------------------------------------------------------------------

    def _begin(self, journal: str | None) -> None:
        try:
            self._claim(journal)
            self._keep_reasons()
            for name in dict.fromkeys(FILES.values()):
                # Without a journal nothing is gone on with: what is there by now is another import's.
                self._start(name, "x" if journal is None else "w")
        except FileExistsError:
            raise self._taken() from None

    def _claim(self, journal: str | None) -> None:
        """Make sure that the folder is this journal's, or nobody's; of two imports that begin at once, one gets it."""
        owner = self._folder / OWNER
        known = owner.exists()
        found = owner.read_text(encoding="ascii", errors="replace") if known else ""
        ours = journal is not None and found == journal
        if not ours and (found or self._holds_reports()):
            raise self._taken()
        if journal and not found:
            # An empty one is of a run that got no further. On disk before any report is.
            with _private(owner, "w" if known else "x", encoding="ascii") as file:
                file.write(journal)
                file.flush()
                os.fsync(file.fileno())

    def _holds_reports(self) -> bool:
        return any((self._folder / f"{name}.csv").exists() for name in FILES.values())

    def _taken(self) -> ConfigurationError:
        return ConfigurationError(f"{self._folder} holds the reports of another import; name another folder")

    def _keep_reasons(self) -> None:
        """Read what earlier runs saw, and keep it aside until this run has come to its end."""
        earlier = self._folder / EARLIER
        for path in (earlier, self._folder / "rejected.csv", self._folder / "unknown.csv"):
            self._reasons.update(_reasons_in(path))
        if self._reasons:
            aside = earlier.with_suffix(".new")
            with _private(aside, "w", encoding="utf-8", newline="") as file:
                kept = ((row, outcome, reason) for (outcome, row), reason in self._reasons.items())
                csv.writer(file).writerows([("neto_row", "neto_outcome", "neto_reason"), *kept])
                file.flush()
                os.fsync(file.fileno())
            aside.replace(earlier)

    def _start(self, name: str, mode: str) -> None:
        file = self._files.enter_context(
            _private(self._folder / f"{name}.csv", mode, encoding=self._encoding, newline="")
        )
        self._handles[name] = file
        self._writers[name] = csv.writer(file, delimiter=self._delimiter)
        self._writers[name].writerow([*self._columns, *OURS])

    def _line(self, outcome: Outcome) -> list[object]:
        row: Row = outcome.context
        cells = row.values
        own = [_cell(cells.get(column)) for column in self._columns]
        name, reason = type(outcome).__name__, _reason(outcome)
        if outcome.replayed and not isinstance(outcome, Added):
            # The journal holds no words: those of the report that its own run wrote.
            reason = self._reasons.get((name, outcome.index + 1), reason or FORGOTTEN)
        log_id = getattr(outcome, "log_id", "")
        return [*own, outcome.index + 1, row.line, name, reason, log_id, row.raw or ""]


def _private(path: Path, mode: str, *, encoding: str, newline: str | None = None) -> IO[str]:
    # A lone surrogate, which JSON can carry and UTF-8 can't, is written as its escape.
    return open(
        path,
        mode,
        encoding=encoding,
        errors="backslashreplace",
        newline=newline,
        opener=lambda name, flags: os.open(name, flags, 0o600),
    )


def _reasons_in(path: Path) -> Iterator[tuple[tuple[str, int], str]]:
    """Read a report, of which a crash may have cut the last row."""
    if not path.exists():
        return
    csv.field_size_limit(max(LONGEST, csv.field_size_limit()))  # of the whole process; it is only ever raised
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        header = file.read(LONGEST)  # its names may hold line breaks
        file.seek(0)
        delimiter = next((mark for mark in "\t;|" if f"{mark}neto_reason{mark}" in header), ",")
        with suppress(csv.Error):
            for cells in csv.DictReader(file, delimiter=delimiter):
                row, outcome, reason = (cells.get(name) or "" for name in ("neto_row", "neto_outcome", "neto_reason"))
                if row.isdigit() and outcome in KEPT and reason not in {"", FORGOTTEN, IN_DOUBT}:
                    yield (outcome, int(row)), reason


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _reason(outcome: Outcome) -> str:
    match outcome:
        case Added(warnings=warnings):
            return "; ".join(warnings)
        case Rejected(messages=messages):
            return "; ".join(messages)
        case Invalid(errors=errors):
            return "; ".join(errors)
        case NotSent(reason=reason):
            return reason
    ids = ", ".join(map(str, outcome.evidence.log_ids))
    return "; ".join((outcome.reason, *outcome.evidence.messages, *([f"ids in the answer: {ids}"] if ids else [])))
