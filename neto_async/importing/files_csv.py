"""
Rows of a table of text: CSV with any of four delimiters. May import: errors, files_rows.

Python's csv module reads the cells, in its strict mode: what is not well formed is found, never guessed at. A row
whose quotes don't match up has no certain end. It is taken to reach to the line where the number of quotes since its
start is even again, as it is at the end of every well-formed row, so that the rest of a torn note is never read as
a row of its own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import TextIO

from attrs import frozen

from neto_async.errors import ConfigurationError
from neto_async.importing.files_rows import Row, unmended

__all__ = ["DELIMITERS", "MAX_CELL", "Table", "read_table", "table_rows"]

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
"""What may stand between cells, and its name."""

MAX_CELL = 1_000_000
"""Characters in one cell, at most. A log that long would not fit into one call (`max_batch_bytes`)."""

MAX_LINE = 16_000_000
"""Characters in one line, at most: what is longer is no table of text."""

_MAX_RAW = 2 * MAX_CELL
"""Characters of a row that can't be read that are kept for the reports."""


@frozen(kw_only=True)
class Table:
    """
    The shape of a table of text.

    Attributes:
        delimiter: What stands between its cells.
        columns: Their names, as the header has them.
        skipped: Lines before the header: Excel's hint ``sep=;``, blank ones.
        header_lines: Lines that the header takes up, more than one where a name holds a line break.
    """

    delimiter: str
    columns: tuple[str, ...]
    skipped: int
    header_lines: int


def read_table(text: TextIO, *, name: str, delimiter: str | None = None) -> Table:
    """
    Read the header of a table.

    Raises:
        ConfigurationError: There is none, it is not well formed, or two delimiters are as likely as one another.
    """
    lines = _Lines(text, name)
    skipped, delimiter = _skip_to_header(lines, delimiter)
    header = lines.row_so_far()
    where = f"{name}, line {skipped + 1}"
    if "\0" in header:
        raise ConfigurationError(
            f"{where}: the header holds NUL characters: this is no text file, or UTF-16 without a mark"
        )
    if delimiter is None:
        delimiter = _delimiter_of(header, where)
    # Read once more, by csv itself: a lone quote inside a name makes the guess above reach into the rows.
    header_lines = _Lines(io.StringIO(header, newline=""), name)
    try:
        columns = tuple(next(csv.reader(header_lines, delimiter=delimiter, strict=True)))
        _refuse_long(columns)
    except csv.Error:
        line, column, what = _quote_fault(header, skipped + 1, delimiter)
        raise ConfigurationError(f"{name}, line {line}, column {column}: the header can't be read: {what}") from None
    return Table(
        delimiter=delimiter,
        columns=tuple(column.removeprefix("\ufeff") for column in columns),
        skipped=skipped,
        header_lines=header_lines.number,
    )


def table_rows(text: TextIO, table: Table, *, name: str) -> Iterator[Row]:
    """
    Yield the rows below the header, blank ones left out.

    Raises:
        ConfigurationError: A line is too long to be one of a table.
    """
    # The limit belongs to the whole process; it is only ever raised, and others may have raised it further.
    csv.field_size_limit(max(MAX_CELL, csv.field_size_limit()))
    lines = _Lines(text, name)
    for _ in range(table.skipped + table.header_lines):
        next(lines, None)
    reader = csv.reader(lines, delimiter=table.delimiter, strict=True)
    while True:
        lines.held.clear()
        line = lines.number + 1
        try:
            cells = next(reader)
            _refuse_long(cells)
        except StopIteration:
            return
        except csv.Error:
            yield _broken_row(lines, line, table, too_long=sum(map(len, lines.held)) > MAX_CELL)
            continue
        if any(cell and not cell.isspace() for cell in cells):
            yield _row(line, cells, table, lines)


def _refuse_long(cells: Sequence[str]) -> None:
    if cells and max(map(len, cells)) > MAX_CELL:
        raise csv.Error


def _row(line: int, cells: list[str], table: Table, lines: _Lines) -> Row:
    if len(cells) != len(table.columns):
        counts = f"{_cells(len(cells))}, and the header has {len(table.columns)}"
        return Row(line=line, columns=table.columns, fault=f"the row has {counts}", raw=lines.raw())
    row = Row(line=line, columns=table.columns, cells=tuple(cells))
    return unmended(row) or row


def _cells(count: int) -> str:
    return f"{count} cell" if count == 1 else f"{count} cells"


def _broken_row(lines: _Lines, line: int, table: Table, *, too_long: bool) -> Row:
    quotes = sum(held.count('"') for held in lines.held)
    kept = sum(map(len, lines.held))
    while quotes % 2 and (more := next(lines, None)) is not None:
        quotes += more.count('"')
        kept += len(more)
        if kept > _MAX_RAW:
            lines.held.pop()
    raw = lines.raw()
    if too_long:
        fault = f"a cell is longer than {MAX_CELL:,} characters; is a quote never closed?"
    else:
        at, column, what = _quote_fault(raw, line, table.delimiter)
        fault = f"{what} (line {at}, column {column})"
    if lines.number > line:
        fault += f"; lines {line} to {lines.number} are left out with it"
    return Row(line=line, columns=table.columns, fault=fault, raw=raw)


def _skip_to_header(lines: _Lines, delimiter: str | None) -> tuple[int, str | None]:
    """Read up to the end of the header; leave its lines in `lines.held`."""
    while (first := next(lines, None)) is not None:
        hint = first.strip("\r\n\ufeff")
        if lines.number == 1 and len(hint) == len("sep=;") and hint.lower().startswith("sep="):
            delimiter = delimiter or hint[4]
        elif hint.strip():
            skipped = lines.number - 1
            while lines.row_so_far().count('"') % 2 and next(lines, None) is not None:
                if sum(map(len, lines.held)) > MAX_CELL:
                    break
            return skipped, delimiter
        lines.held.clear()
    raise ConfigurationError(f"{lines.name}: the file is empty; its first line must hold the names of the columns")


def _delimiter_of(header: str, where: str) -> str:
    outside = "".join(header.split('"')[::2])
    counts = sorted(((outside.count(mark), mark) for mark in DELIMITERS), reverse=True)
    (most, mark), (second, other) = counts[:2]
    if most and most == second:
        raise ConfigurationError(
            f"{where}: {DELIMITERS[mark]} and {DELIMITERS[other]} are both likely to stand between cells; say which"
        )
    return mark if most else ","


def _quote_fault(text: str, line: int, delimiter: str) -> tuple[int, int, str]:
    """Find the first fault in the quotes of a row: its line, its column from 1, and what it is."""
    at, what = _fault_offset(text, delimiter)
    before = text[:at].replace("\r\n", "\n").replace("\r", "\n")
    return line + before.count("\n"), len(before) - before.rfind("\n"), what


def _fault_offset(text: str, delimiter: str) -> tuple[int, str]:
    at = 0
    while at < len(text):
        if text[at] == '"':
            opened = at
            at = _closing_quote(text, at + 1)
            if at < 0:
                return opened, "a quote is opened and never closed"
            at += 1
            if at < len(text) and text[at] not in (delimiter, "\r", "\n"):
                return at, "text follows a closing quote; a quote inside a quoted cell is written twice"
        while at < len(text) and text[at] not in (delimiter, "\r", "\n"):
            at += 1
        at += 1
    return 0, "the row is not well formed"


def _closing_quote(text: str, start: int) -> int:
    at = text.find('"', start)
    while at >= 0 and text.startswith('"', at + 1):
        at = text.find('"', at + 2)
    return at


class _Lines:
    """
    The physical lines of a text, counted, and those of the row in hand kept.

    Attributes:
        number: Lines read so far.
        held: Lines since it was last cleared.
    """

    def __init__(self, text: TextIO, name: str) -> None:
        self.name = name
        self.number = 0
        self.held: list[str] = []
        self._text = text

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == MAX_LINE:
            raise ConfigurationError(
                f"{self.name}, line {self.number}: more than {MAX_LINE:,} characters in one line; is this the kind of "
                "file that its name says?"
            )
        self.held.append(line)
        return line

    def row_so_far(self) -> str:
        return "".join(self.held)

    def raw(self) -> str:
        return self.row_so_far().rstrip("\r\n")[:_MAX_RAW]
