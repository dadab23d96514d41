"""A row of a file, whatever the kind of the file. May import: nothing of the package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

__all__ = ["RAW_COLUMN", "REPORT_PREFIX", "FaultyCell", "Row", "is_report_column", "unmended"]

REPORT_PREFIX = "neto_"
"""How the names of the columns begin that reports add to the input's own. They are never read as a log's fields."""

RAW_COLUMN = "neto_raw"
"""The column in which a report keeps the text of a row that could not be read as cells."""


def is_report_column(name: str) -> bool:
    """True for a column that a report added."""
    return name.strip().casefold().startswith(REPORT_PREFIX)


@frozen(kw_only=True)
class FaultyCell:
    """
    A cell of a workbook that shows nothing which can be sent. As text it is what it shows.

    Attributes:
        shown: What a person sees in it, such as ``#N/A``; empty for nothing.
        fault: Why it can't be sent. Never a customer's text.
    """

    shown: str = field(repr=False)
    fault: str

    def __str__(self) -> str:
        return self.shown


@frozen(kw_only=True)
class Row:
    """
    One row as it stands in the file.

    Attributes:
        line: The physical line on which it starts, from 1; in a workbook the row.
        columns: Names of its cells; the same tuple for all rows of a table.
        cells: Its cells; empty where it could not be read as cells. Texts; from JSON any of JSON's types; from a
            workbook also whole numbers, decimals, dates, times, and `FaultyCell`.
        fault: Why it can't be read as cells, None where it can. Holds positions, never a cell's text.
        raw: Its own text where it could not be read as cells, so that nothing is lost; else None.
    """

    line: int
    columns: tuple[str, ...] = field(default=(), repr=False)
    cells: tuple[Any, ...] = field(default=(), repr=False)
    fault: str | None = None
    raw: str | None = field(default=None, repr=False)

    @property
    def values(self) -> Mapping[str, Any]:
        """The cells by name; of columns that share a name, the last."""
        return dict(zip(self.columns, self.cells, strict=False))

    def value(self, column: str) -> Any:
        """Give the cell of a column, compared in any case; None without one."""
        wanted = column.casefold()
        for name, cell in zip(self.columns, self.cells, strict=False):
            if name.strip().casefold() == wanted:
                return cell
        return None


def unmended(row: Row) -> Row | None:
    """Find a row that a report kept as raw text and whose cells nobody has filled in since; give it with its fault."""
    raw = row.value(RAW_COLUMN)
    own = (cell for name, cell in zip(row.columns, row.cells, strict=True) if not is_report_column(name))
    if not raw or any(own):
        return None
    return Row(line=row.line, columns=row.columns, fault=f"fill in the cells from {RAW_COLUMN}", raw=str(raw))
