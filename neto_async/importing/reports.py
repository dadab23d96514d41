"""
Reports that a person can act on: four CSV files, each row the input's own with what became of it.

They hold what customers and staff wrote, so only their owner can read them. The cells are the input's to the letter: a
cell that begins with "=" is not disarmed, since a mended file has to import as it was. May import: files_rows,
outcomes, errors.
"""

from __future__ import annotations

import csv
import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from neto_async.errors import ConfigurationError
from neto_async.importing.files_rows import RAW_COLUMN, Row
from neto_async.outcomes import Added, Invalid, NotSent, Outcome, Rejected, Unknown

__all__ = ["Reports"]

FILES: dict[type[Outcome], str] = {
    Added: "added",
    Rejected: "rejected",
    Invalid: "rejected",
    Unknown: "unknown",
    NotSent: "not_sent",
}
OURS = ("neto_line", "neto_outcome", "neto_reason", "neto_log_id", RAW_COLUMN)


class Reports:
    """
    Write ``added.csv``, ``rejected.csv`` (with invalid), ``unknown.csv`` and ``not_sent.csv`` as a run goes.

    Args:
        folder: Made if need be.
        columns: The input's own.

    Raises:
        ConfigurationError: The folder holds reports already, or can't be written to.
    """

    def __init__(self, folder: Path, columns: tuple[str, ...]) -> None:
        self._folder = folder
        self._columns = columns
        self._files = ExitStack()
        self._writers: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in dict.fromkeys(FILES.values()):
                self._writers[name] = self._open(self._folder / f"{name}.csv")
        except FileExistsError:
            self._files.close()
            raise ConfigurationError(
                f"{self._folder} holds the reports of another import; name another folder"
            ) from None
        except OSError as error:
            self._files.close()
            raise ConfigurationError(f"{self._folder} can't be written to: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._files.close()

    def write(self, row: Row, outcome: Outcome) -> None:
        """Write down what became of a row."""
        cells = row.values
        own = [_cell(cells.get(column)) for column in self._columns]
        ours = [row.line, type(outcome).__name__, _reason(outcome), getattr(outcome, "log_id", ""), row.raw or ""]
        self._writers[FILES[type(outcome)]].writerow([*own, *ours])

    def _open(self, path: Path) -> Any:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        file = self._files.enter_context(os.fdopen(descriptor, "w", encoding="utf-8", newline="", buffering=1))
        writer = csv.writer(file)
        writer.writerow([*self._columns, *OURS])
        return writer


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
        case Unknown(reason=reason, evidence=evidence):
            ids = ", ".join(map(str, evidence.log_ids))
            return "; ".join((reason, *evidence.messages, *([f"ids in the answer: {ids}"] if ids else [])))
