"""
Reports that a person can act on: four CSV files, each row the input's own with what became of it.

They hold what customers and staff wrote, so only their owner can read them. The input's cells are copied unchanged,
even one that begins with "=", since a corrected file has to import as it was; only the column that holds Neto's words
is escaped for spreadsheets. A folder belongs to one journal. A later run rewrites the files; it keeps what earlier runs
saw of rows that are still rejected or in doubt, which no journal stores, and files that a person has edited. May
import: files, journals, mapping, plan, resuming, wire, outcomes, errors.
"""

from __future__ import annotations

import csv
import json
import os
import re
import stat
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime, tzinfo
from itertools import count
from pathlib import Path
from typing import IO, Any

from neto_async.errors import ConfigurationError, InvalidRecordError, JournalError
from neto_async.files.rows import RAW_COLUMN, Row
from neto_async.importing.plan import LogSource
from neto_async.importing.resuming import IN_DOUBT
from neto_async.journals.writer import OutcomeSink
from neto_async.mapping.columns import ColumnMapping
from neto_async.outcomes import Added, Invalid, NotSent, Outcome, Rejected, Unknown
from neto_async.wire import VENDOR_NAMES, fields_of

__all__ = ["Reports"]

FILES: dict[type[Outcome], str] = {
    Added: "added",
    Rejected: "rejected",
    Invalid: "rejected",
    Unknown: "unknown",
    NotSent: "not_sent",
}
OURS = ("neto_row", "neto_line", "neto_outcome", "neto_reason", "neto_log_id", RAW_COLUMN)
SEEN = ("neto_sent_at", "neto_above_id")
"""
In ``unknown.csv`` alone: when the last call that carried the row began, UTC, to the second; and the highest id that the
store had given before. If ids ascend, which is not known of Neto, the row's own is above it.
"""

OWNER = ".journal"
"""The file in a folder that says which journal its reports belong to."""

EARLIER = ".rejected-earlier.csv"
"""Rows that earlier runs reported as rejected or in doubt, until a run has come to the end of its source."""

WRITTEN = ".written"
"""Size and time of change of each report when a run closed it; empty while a run writes, and touched by each write."""

LONGEST = 1 << 24
"""Characters of a cell that is read back, at most."""

KEPT = {Rejected.__name__, Unknown.__name__}
"""Outcomes whose reasons later runs report again."""

FORGOTTEN = "rejected by an earlier run; the reason is only in that run's report"

_FORMULA = re.compile(r"'*\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""How a text begins that a spreadsheet may run, or that was escaped already; the last four are full-width forms."""

_ID = re.compile(r"[0-9]{1,18}")


class Reports(OutcomeSink):
    """
    Write ``added.csv``, ``rejected.csv`` (with invalid), ``unknown.csv`` and ``not_sent.csv`` as a run goes.

    Each outcome's context must be the `Row` it is of, as with `LogSource`. UTF-8, with the mark at its start that Excel
    needs where the input was not plain UTF-8 itself.

    Args:
        folder: Made if need be.
        columns: The input's own.
        delimiter: The character between cells.
        mark: Begin the files with a byte order mark.
        mapping: How the input is read; a workbook's dates are written so that it reads them again.

    Attributes:
        copies: Files of earlier runs that a person had edited, under the names to which this run moved them.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        columns: tuple[str, ...],
        *,
        delimiter: str = ",",
        mark: bool = False,
        mapping: ColumnMapping | None = None,
    ) -> None:
        self.copies: list[Path] = []
        self._folder = Path(folder)
        self._columns = columns
        self._delimiter = delimiter
        self._mapping = mapping or ColumnMapping()
        self._encoding = "utf-8-sig" if mark else "utf-8"
        self._files = ExitStack()
        self._handles: dict[str, IO[str]] = {}
        self._writers: dict[str, Any] = {}
        # What earlier runs saw, by outcome and row from 1: the reason, and the cells of `SEEN`.
        self._reasons: dict[tuple[str, int], tuple[str, ...]] = {}
        self._ids = _IdsOverTime()

    def check(self, journal: str | None = None) -> None:
        """
        Look, before anything is sent, whether the folder could take reports; nothing in it is changed.

        Args:
            journal: The identity of the journal that earlier runs kept, None if there were none.

        Raises:
            ConfigurationError: It is no folder, or can't be written to, or others can write to it, or it holds the
                reports of another import, or what is no file under the name of one.
        """
        folders = (self._folder, *self._folder.absolute().parents)
        # `Path.exists` raises where a folder can't be searched.
        nearest = next(path for path in folders if os.path.exists(path))  # noqa: PTH110
        if not nearest.is_dir():
            raise ConfigurationError(f"{self._folder} can't hold reports: {nearest} is no folder")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise ConfigurationError(f"{self._folder} can't hold reports: {nearest} can't be written to")
        self._check_private(nearest)
        self._check_files()
        if self._holds_reports() and (journal is None or self._owner() != journal):
            raise self._taken()

    def added_before(self, journal: str) -> Mapping[int, int]:
        """
        Give the log ids in the ``added.csv`` that an earlier run of a journal wrote, by position from 0.

        A report is written before the journal, so it can know of rows whose call the journal never saw end. Nothing is
        read from another journal's folder, or from a file that was changed since.
        """
        path, owner = self._folder / "added.csv", self._folder / OWNER
        try:
            if self._no_file() or owner.read_text(encoding="ascii", errors="replace") != journal or self._edited(path):
                return {}
            found = [(line["neto_row"], line["neto_log_id"]) for line in _lines_of(path)]
        except OSError:
            return {}  # `open` raises where it matters
        return {int(row) - 1: int(log_id) for row, log_id in found if row.isdecimal() and _ID.fullmatch(log_id)}

    def write_planned(self, source: LogSource, zone: tzinfo) -> Path:
        """
        Write ``planned.csv``: the valid rows of a file, cell for cell as they would be sent. Return where it is.

        Raises:
            ConfigurationError: It can't be written.
        """
        planned = self._folder / "planned.csv"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _private(planned, "w", encoding="utf-8-sig", newline="") as file:
                rows = csv.DictWriter(file, ["neto_line", "neto_outcome", *VENDOR_NAMES.values()])
                rows.writeheader()
                for log, row in source:
                    if not isinstance(log, InvalidRecordError):
                        rows.writerow({"neto_line": row.line, "neto_outcome": "Planned", **fields_of(log, zone=zone)})
        except OSError as error:
            raise ConfigurationError(f"{planned} can't be written: {error.strerror}") from None
        return planned

    def open(self, journal: str | None) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_private(self._folder)
            self._check_files()
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
            os.utime(self._folder / WRITTEN)
            for name in {FILES[type(outcome)] for outcome in outcomes if isinstance(outcome, Rejected | Unknown)}:
                os.fsync(self._handles[name].fileno())
        except OSError as error:
            raise JournalError(f"the reports in {self._folder} can't be written: {error.strerror}") from None

    def close(self, *, complete: bool) -> None:
        with suppress(OSError):  # a full disk: `write` has reported it
            self._files.close()
            if self._handles:
                state = {f"{name}.csv": _state_of(self._folder / f"{name}.csv") for name in self._handles}
                with _private(self._folder / WRITTEN, "w", encoding="ascii") as file:
                    json.dump(state, file)
            if complete:
                (self._folder / EARLIER).unlink(missing_ok=True)

    # -- the folder ---------------------------------------------------------------------------------------------

    def _begin(self, journal: str | None) -> None:
        try:
            self._claim(journal)
            self._keep_reasons()
            names = dict.fromkeys(FILES.values())
            for path in (self._folder / f"{name}.csv" for name in names):
                if journal is not None and self._edited(path):
                    self.copies.append(path.rename(self._spare(path)))
            _private(self._folder / WRITTEN, "w", encoding="ascii").close()
            for name in names:
                # Without a journal no import is continued: a file that is there now is another import's.
                self._start(name, "x" if journal is None else "w")
        except FileExistsError:
            raise self._taken() from None

    def _claim(self, journal: str | None) -> None:
        """Claim the folder for this journal; of two imports that begin at once, one gets it."""
        owner = self._folder / OWNER
        known = owner.exists()
        found = self._owner()
        ours = journal is not None and found == journal
        if not ours and (found or self._holds_reports()):
            raise self._taken()
        if journal and not found:
            # An empty one is of a run that got no further. On disk before any report is.
            with _private(owner, "w" if known else "x", encoding="ascii") as file:
                file.write(journal)
                file.flush()
                os.fsync(file.fileno())

    def _owner(self) -> str:
        owner = self._folder / OWNER
        return owner.read_text(encoding="ascii", errors="replace") if owner.exists() else ""

    def _check_private(self, folder: Path) -> None:
        # On Windows the mode says nothing. A folder that does not exist yet is made for its owner alone.
        if os.name == "posix" and folder == self._folder and folder.stat().st_mode & stat.S_IWOTH:
            raise ConfigurationError(
                f"every user of this machine can write to {folder}; remove that permission (chmod o-w) or name another "
                "folder"
            )

    def _check_files(self) -> None:
        if (path := self._no_file()) is not None:
            raise ConfigurationError(f"{path} is no file, but a link, a pipe or a folder; name another folder")

    def _no_file(self) -> Path | None:
        """Find a name of our files that is no regular file: a link may lead anywhere, a pipe may never end."""
        names = (*(f"{stem}.csv" for stem in FILES.values()), OWNER, EARLIER, WRITTEN)
        there = (path for path in map(self._folder.joinpath, names) if os.path.lexists(path))
        return next((path for path in there if not stat.S_ISREG(path.lstat().st_mode)), None)

    def _edited(self, path: Path) -> bool:
        """Whether a report was changed since a run wrote it."""
        written = self._folder / WRITTEN
        if not path.exists() or not written.exists():
            return False  # one of an earlier version has no such file
        try:
            return bool(_state_of(path) != json.loads(written.read_text(encoding="ascii"))[path.name])
        except (ValueError, KeyError, TypeError):
            # The run that wrote it was killed. A writer of its own touches the file after each of its reports.
            return path.stat().st_mtime_ns > written.stat().st_mtime_ns

    def _spare(self, path: Path) -> Path:
        names = (path.with_name(f"{path.stem}-edited-{number}.csv") for number in count(1))
        return next(name for name in names if not os.path.lexists(name))

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
                kept = (
                    (row, outcome, _escaped(said), *seen) for (outcome, row), (said, *seen) in self._reasons.items()
                )
                csv.writer(file).writerows([("neto_row", "neto_outcome", "neto_reason", *SEEN), *kept])
                file.flush()
                os.fsync(file.fileno())
            aside.replace(earlier)

    def _start(self, name: str, mode: str) -> None:
        path = self._folder / f"{name}.csv"
        if mode == "w" and not path.is_symlink():  # which is refused
            # A new file: a process that was suspended, and whose import this one took over, may still write to the old.
            path.unlink(missing_ok=True)
        file = self._files.enter_context(_private(path, mode, encoding=self._encoding, newline=""))
        self._handles[name] = file
        self._writers[name] = csv.writer(file, delimiter=self._delimiter)
        self._writers[name].writerow([*self._columns, *OURS, *(SEEN if name == FILES[Unknown] else ())])

    def _line(self, outcome: Outcome) -> list[object]:
        row: Row = outcome.context
        cells = row.values
        own = [self._mapping.text_of(column, cells.get(column)) for column in self._columns]
        name, reason = type(outcome).__name__, _reason(outcome)
        seen: Sequence[object] = ("", "")
        if isinstance(outcome, Added):
            self._ids.note(outcome)
        elif outcome.replayed:
            # The journal holds no texts: take those from the report of the run that saw them.
            reason, *seen = self._reasons.get((name, outcome.index + 1), (reason or FORGOTTEN, "", ""))
        elif isinstance(outcome, Unknown) and outcome.attempts and (began := outcome.attempts[-1].sent_at):
            seen = [began.isoformat(sep=" ", timespec="seconds"), self._ids.highest_before(began) or ""]
        log_id = getattr(outcome, "log_id", "")
        line = [*own, outcome.index + 1, row.line, name, _escaped(reason), log_id, row.raw or ""]
        return [*line, *seen] if isinstance(outcome, Unknown) else line


class _IdsOverTime:
    """The ids that the store had given by a moment, as far as a run has seen; those of earlier runs came first."""

    def __init__(self) -> None:
        self._ended: list[datetime] = []  # ends of calls, in order
        self._highest: list[int] = []  # the highest id that each of them gave
        self._earlier = 0

    def note(self, added: Added) -> None:
        ended = added.attempts[-1].ended_at if added.attempts else None
        if ended is None:
            self._earlier = max(self._earlier, added.log_id)
        elif (place := bisect_right(self._ended, ended)) and self._ended[place - 1] == ended:
            self._highest[place - 1] = max(self._highest[place - 1], added.log_id)
        else:
            self._ended.insert(place, ended)
            self._highest.insert(place, added.log_id)

    def highest_before(self, began: datetime) -> int:
        """Give the highest id of all calls that had ended before a moment; 0 where there is none."""
        return max((self._earlier, *self._highest[: bisect_right(self._ended, began)]))


def _private(path: Path, mode: str, *, encoding: str, newline: str | None = None) -> IO[str]:
    # A lone surrogate, which JSON can carry and UTF-8 can't, is written as its escape.
    return open(
        path,
        mode,
        encoding=encoding,
        errors="backslashreplace",
        newline=newline,
        # A link that somebody left there is not followed.
        opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o600),
    )


def _state_of(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _escaped(reason: str) -> str:
    """Keep a spreadsheet from running a text; `_unescaped` gives it back."""
    return f"'{reason}" if _FORMULA.match(reason) else reason


def _unescaped(reason: str) -> str:
    return reason[1:] if reason.startswith("'") and _FORMULA.match(reason) else reason


def _reasons_in(path: Path) -> Iterator[tuple[tuple[str, int], tuple[str, ...]]]:
    for line in _lines_of(path):
        row, outcome, reason = line["neto_row"], line["neto_outcome"], _unescaped(line["neto_reason"])
        if row.isdecimal() and outcome in KEPT and reason not in {"", FORGOTTEN, IN_DOUBT}:
            yield (outcome, int(row)), (reason, *(line[name] for name in SEEN))


def _lines_of(path: Path) -> Iterator[dict[str, str]]:
    """Read our columns of a report, without a last row that a crash has cut: its id may have lost digits."""
    if not path.exists():
        return
    csv.field_size_limit(max(LONGEST, csv.field_size_limit()))  # of the whole process; it is only ever raised
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        header = file.read(LONGEST)  # its names may hold line breaks
        file.seek(0)
        delimiter = next((mark for mark in "\t;|" if f"{mark}neto_reason{mark}" in header), ",")
        with suppress(csv.Error):
            for cells in csv.DictReader(file, delimiter=delimiter):
                if None not in cells.values():
                    yield {name: cells.get(name, "") for name in (*OURS, *SEEN)}


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
