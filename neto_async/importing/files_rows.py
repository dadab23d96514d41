"""A row of a file, whatever the kind of the file. May import: nothing of the package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

__all__ = ["RAW_COLUMN", "REPORT_PREFIX", "Row", "is_report_column"]

REPORT_PREFIX = "neto_"
"""How the names of the columns begin that reports add to the input's own. They are never read as a log's fields."""

RAW_COLUMN = "neto_raw"
"""The column in which a report keeps the text of a row that could not be read as cells."""


def is_report_column(name: str) -> bool:
    """True for a column that a report added."""
    return name.strip().casefold().startswith(REPORT_PREFIX)


@frozen(kw_only=True)
class Row:
    """
    One row as it stands in the file.

    Attributes:
        line: The physical line on which it starts, from 1.
        columns: Names of its cells; the same tuple for all rows of a table.
        cells: Its cells; empty where it could not be read as cells. Texts, and from JSON any of JSON's types.
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
