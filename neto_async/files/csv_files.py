"""
Rows of a table of text: CSV with any of four delimiters. May import: errors, rows.

Python's csv module reads the cells, in its strict mode: what is not well formed is found, never guessed at. A row
whose quotes don't match up has no certain end. It reaches to the line where the number of quotes since its start is
even again, as it is at the end of every well-formed row, so that the rest of a broken note is never read as a row.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import TextIO

from attrs import evolve, frozen

from neto_async.errors import SourceError
from neto_async.files.rows import Row, checked_row, no_record

__all__ = ["DELIMITERS", "MAX_CELL", "MAX_COLUMNS", "Table", "read_table", "refuse_wide", "table_rows"]

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}  # what may separate cells, and its name

MAX_CELL = 1_000_000
"""Characters in one cell, at most. A log that long would not fit into one call (`max_batch_bytes`)."""

MAX_COLUMNS = 4096  # columns of a file, at most: memory and time for each row grow with them

MAX_LINE = 16_000_000  # characters in one line, at most: what is longer is no table of text

_ENDS_OR_NOT = re.compile(r'\\""[,;|\t\r\n]')
"""Two quotes behind a backslash, before what may end a cell: one quote of a text that goes on, or, where a backslash
escapes quotes, the end of the cell."""

_BLANK_BEFORE_QUOTE = re.compile(r'(?:^|[,;\t|]) +"', re.MULTILINE)

_AS_FORMULA = re.compile(r'="(?:[^"]|"")*"')

_FILE_ENDS = "\0\x1a \r\n"  # what old programs write at the end of a file, on its last line

_MAX_RAW = 2 * MAX_CELL  # characters of a row that can't be read that are kept for the reports


@frozen(kw_only=True)
class Table:
    """
    The shape of a table of text.

    Attributes:
        columns: Their names, as the header has them.
        skipped: Lines before the header: Excel's hint ``sep=;``, blank ones.
        header_lines: Lines that the header takes up, more than one where a name holds a line break.
        quote: ``none`` where a quote is a character like any other, ``double`` where it encloses whatever it holds,
            None where a quoted cell must not hold what looks like rows.
        fill_short: Whether the last cells that a row lacks are read as empty.
    """

    delimiter: str
    columns: tuple[str, ...]
    skipped: int
    header_lines: int
    quote: str | None = None
    fill_short: bool = False

    def reader(self, lines: Iterator[str], *, blank_before_quote: bool = False) -> Iterator[list[str]]:
        """Give the reader of its rows."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            strict=True,
            quoting=csv.QUOTE_NONE if self.quote == "none" else csv.QUOTE_MINIMAL,
            skipinitialspace=blank_before_quote,
        )


def read_table(
    text: TextIO,
    *,
    name: str,
    delimiter: str | None = None,
    header_row: int | None = None,
    quote: str | None = None,
    fill_short: bool = False,
) -> Table:
    """
    Read the header of a table, by default the first line that is not blank.

    Raises:
        SourceError: There is none, it is not well formed, or two delimiters are as likely as one another.
    """
    lines = _Lines(text, name)
    skipped, delimiter = _skip_to_header(lines, delimiter, header_row or 1, quoted=quote != "none")
    header = lines.row_so_far()
    where = f"{name}, line {skipped + 1}"
    if "\0" in header:
        codec = "utf-16-be" if header.startswith("\0") else "utf-16-le"
        raise SourceError(
            f"{where}: the header holds NUL characters: this is no text file, or UTF-16 without a mark, which "
            f"--encoding {codec} reads"
        )
    if delimiter is None:
        delimiter = _delimiter_of(header, where)
    # Read once more, by csv itself: a lone quote inside a name makes the guess above reach into the rows.
    header_lines = _Lines(io.StringIO(header, newline=""), name)
    table = Table(delimiter=delimiter, columns=(), skipped=skipped, header_lines=1, quote=quote, fill_short=fill_short)
    blank = bool(_BLANK_BEFORE_QUOTE.search(header))
    try:
        columns = tuple(next(table.reader(header_lines, blank_before_quote=blank)))
        _refuse_long(columns)
        refuse_wide(columns, name)
    except csv.Error:
        line, column, what = _quote_fault(header, skipped + 1, delimiter)
        raise SourceError(f"{name}, line {line}, column {column}: the header can't be read: {what}") from None
    return evolve(
        table,
        columns=tuple(column.removeprefix("\ufeff") for column in columns),
        header_lines=header_lines.number,
    )


def table_rows(text: TextIO, table: Table, *, name: str) -> Iterator[Row]:
    """Yield the rows below the header, blank ones left out. A line too long for a table raises `SourceError`."""
    # The limit belongs to the whole process; it is only ever raised, and others may have raised it further.
    csv.field_size_limit(max(MAX_CELL, csv.field_size_limit()))
    lines = _Lines(text, name)
    for _ in range(table.skipped + table.header_lines):
        next(lines, None)
    ends = _LineEnds("".join(lines.held[-1:]), several=len(table.columns) > 1)
    above: tuple[Row, str] | None = None  # a row with its text, whose line end may be a break inside a cell
    doubt = 0  # about the line end above
    for row in _rows(lines, table):
        below = ends.doubt(lines.held[-1], blank=row is None)
        if row is None:
            doubt = max(doubt, below)
            continue
        cut = doubt == _SURE or (doubt and (_lacks_cells(row, table) or (above and _lacks_cells(above[0], table))))
        if above:
            yield _part(*above) if cut else above[0]
        found = _part(row, lines.raw()) if cut else row
        doubt = below
        above = (found, lines.raw()) if doubt else None
        if not above:
            yield found
    if above:
        yield _part(*above) if doubt == _SURE else above[0]


_SURE = 2


class _LineEnds:
    """
    Which lines end inside a cell that has no quotes.

    Files with both Unix and Windows line ends are common; a lone carriage return beside others is not. MySQL writes a
    line break inside a cell behind a backslash.
    """

    def __init__(self, header: str, *, several: bool) -> None:
        self._usual = header[len(header.rstrip("\r\n")) :]
        self._before = slice(-len(self._usual) - 1, -len(self._usual))
        self._several = several  # columns, so that a row that was cut shows by its number of cells
        self._first = True

    def doubt(self, line: str, *, blank: bool) -> int:
        """Say how likely it is: not (0), where a row beside it lacks cells (1), or surely (2)."""
        usual = self._usual
        first, self._first = self._first, False
        if line.endswith(usual) and line[self._before] not in {"\r", "\\"}:
            return 0
        bare = line.rstrip("\r\n")
        end = line[len(bare) :]
        if first and (line, usual) == ("\r\n", "\r"):
            self._usual = ""  # a known damage: all lines end in \r\r\n
        elif end and end != usual and "\r" in {end, usual}:
            return _SURE
        elif end and not blank and (len(bare) - len(bare.rstrip("\\"))) % 2:
            return 1 if self._several else _SURE
        elif end and not blank and end != usual and self._several:
            return 1
        return 0


def _lacks_cells(row: Row, table: Table) -> bool:
    return row.fault is not None or (table.fill_short and not row.cells[-1])


def _part(row: Row, raw: str) -> Row:
    fault = (
        "this may be a part of a row: a line break in or beside it is not like the header's, or follows a backslash; "
        "put cells that hold line breaks in quotes, or end all lines alike"
    )
    broken = row.fault is not None and not row.fault.startswith("the row has")
    return Row(line=row.line, columns=row.columns, fault=row.fault if broken else fault, raw=raw)


def _rows(lines: _Lines, table: Table) -> Iterator[Row | None]:
    """Yield the rows, None for a blank one; the lines of each are in `lines.held`."""
    reader = table.reader(lines)
    while True:
        lines.held.clear()
        line = lines.number + 1
        try:
            cells = next(reader)
            _refuse_long(cells)
            if table.quote != "none":
                held = lines.held[0] if len(lines.held) == 1 else lines.row_so_far()
                if '\\""' in held and _ENDS_OR_NOT.search(held):
                    raise csv.Error  # noqa: TRY301 - its quotes can be read in two ways
                if ' "' in held or '="' in held:
                    cells = _as_meant(cells, lines, table)
        except StopIteration:
            return
        except csv.Error:
            yield _broken_row(lines, line, table, too_long=sum(map(len, lines.held)) > MAX_CELL)
            continue
        if any(cell and not cell.isspace() for cell in cells) and (len(cells) > 1 or cells[0].strip(_FILE_ENDS)):
            cells[0] = cells[0].removeprefix("\ufeff")
            yield _row(line, cells, table, lines)
        else:
            yield None


def refuse_wide(columns: Collection[str], name: str) -> None:
    """Raise `SourceError` where a table has more columns than a person could have made."""
    if len(columns) > MAX_COLUMNS:
        raise SourceError(
            f"{name}: {len(columns):,} columns, and a file may have {MAX_COLUMNS:,}; leave out the others"
        )


def _refuse_long(cells: Sequence[str]) -> None:
    if cells and max(map(len, cells)) > MAX_CELL:
        raise csv.Error


def _as_meant(cells: list[str], lines: _Lines, table: Table) -> list[str]:
    """Read quotes behind blanks, and texts written as formulas so that spreadsheets keep their zeros."""
    if _BLANK_BEFORE_QUOTE.search(lines.row_so_far()):
        cells = _unquoted(cells, lines, table)
    return [cell[2:-1].replace('""', '"') if _AS_FORMULA.fullmatch(cell) else cell for cell in cells]


def _unquoted(cells: list[str], lines: _Lines, table: Table) -> list[str]:
    """Read a row once more, in which a quote may open a cell behind blanks; leave the blanks of all other cells."""
    held = iter(lines.held.copy())
    anew = next(table.reader(chain(held, lines), blank_before_quote=True))
    if next(held, None) is not None:
        raise csv.Error  # its quotes can be read in two ways
    _refuse_long(anew)
    if len(anew) != len(cells):
        return anew
    return [old if old.lstrip(" ") == new else new for old, new in zip(cells, anew, strict=True)]


def _swallowed(cells: list[str], table: Table) -> bool:
    """Whether a cell holds lines with as many cells as the header; a delimiter before a blank is punctuation."""
    if table.quote is not None or len(table.columns) == 1:
        return False
    mark = re.escape(table.delimiter) + ("" if table.delimiter == "\t" else "(?! )")
    for cell in cells:
        if "\n" in cell or "\r" in cell:
            lines = re.split("\r\n|\r|\n", cell)[1:]
            if any(len(re.findall(mark, line)) == len(table.columns) - 1 for line in lines):
                return True
    return False


def _row(line: int, cells: list[str], table: Table, lines: _Lines) -> Row:
    lacking = len(table.columns) - len(cells)
    # A single column does not show the delimiter, so what looks like one may be text.
    if lacking < 0 and len(table.columns) > 1 and not any(map(str.strip, cells[lacking:])):
        del cells[lacking:]
    elif lacking > 0 and table.fill_short:
        cells += [""] * lacking
    fault = None
    if len(lines.held) > 1 and _swallowed(cells, table):
        fault = (
            f"a quoted cell holds what looks like rows, lines {line} to {lines.number}: is a quote no mark around a "
            "cell? --quote none reads the file so, --quote double takes the cell as it is"
        )
    elif len(cells) != len(table.columns):
        counts = f"{len(cells)} cell{'s' if len(cells) > 1 else ''}, and the header has {len(table.columns)}"
        remedy = "; --short-rows empty reads the last ones as empty" if lacking > 0 else ""
        fault = no_record([*cells, ""]) or f"the row has {counts}{remedy}"
    if fault is not None:
        return Row(line=line, columns=table.columns, fault=fault, raw=lines.raw())
    return checked_row(Row(line=line, columns=table.columns, cells=tuple(cells)), lines.raw)


def _broken_row(lines: _Lines, line: int, table: Table, *, too_long: bool) -> Row:
    # Both as CSV has it and as a database dump may, where a quote behind a backslash is a character.
    quotes, escaped = (sum(held.count(mark) for held in lines.held) for mark in ('"', '\\"'))
    kept = sum(map(len, lines.held))
    while (quotes % 2 or escaped % 2) and (more := next(lines, None)) is not None:
        quotes += more.count('"')
        escaped += more.count('\\"')
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


def _skip_to_header(lines: _Lines, delimiter: str | None, header_row: int, *, quoted: bool) -> tuple[int, str | None]:
    """Read up to the end of the header; leave its lines in `lines.held`."""
    while (first := next(lines, None)) is not None:
        hint = first.strip("\r\n\ufeff").strip('"')
        if lines.number == 1 and len(hint) == len("sep=;") and hint.lower().startswith("sep="):
            delimiter = delimiter or hint[4]
        elif hint.strip() and lines.number >= header_row:
            skipped = lines.number - 1
            quotes, length = first.count('"'), len(first)
            while quoted and quotes % 2 and length <= MAX_CELL and (more := next(lines, None)) is not None:
                quotes += more.count('"')
                length += len(more)
            return skipped, delimiter
        lines.held.clear()
    raise SourceError(f"{lines.name}: the file is empty; its first line must hold the names of the columns")


def _delimiter_of(header: str, where: str) -> str:
    parts = header.split('"')
    outside = "".join(parts[::2] if len(parts) % 2 else parts)
    counts = sorted(((outside.count(mark), mark) for mark in DELIMITERS), reverse=True)
    (most, mark), (second, other) = counts[:2]
    if most and most == second:
        raise SourceError(
            f"{where}: {DELIMITERS[mark]} and {DELIMITERS[other]} may both be the delimiter; give it, as in --delimiter"
        )
    return mark if most else ","


_QUOTED = '"[^"]*+(?:""[^"]*+)*+"'


def _quote_fault(text: str, line: int, delimiter: str) -> tuple[int, int, str]:
    """Find the first fault in the quotes of a row: its line, its column from 1, and what it is."""
    mark = re.escape(delimiter)
    sound = re.compile(rf'(?:{_QUOTED}|(?!")[^{mark}\r\n]*+)(?:[{mark}\r\n]|\Z)')
    at = 0
    while at < len(text) and (cell := sound.match(text, at)):
        at = cell.end()
    if at >= len(text):
        at, what = 0, "the row is not well formed"
    elif quoted := re.compile(_QUOTED).match(text, at):
        at, what = quoted.end(), "text follows a closing quote; a quote inside a quoted cell is written twice"
    else:
        what = "a quote is opened and never closed"
    before = text[:at].replace("\r\n", "\n").replace("\r", "\n")
    return line + before.count("\n"), len(before) - before.rfind("\n"), what


class _Lines:
    """The physical lines of a text, counted; ``held`` are those of the current row."""

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
            raise SourceError(
                f"{self.name}, line {self.number}: more than {MAX_LINE:,} characters in one line; is this the kind of "
                "file that its name says?"
            )
        self.held.append(line)
        return line

    def row_so_far(self) -> str:
        return "".join(self.held)

    def raw(self) -> str:
        return self.row_so_far().rstrip("\r\n")[:_MAX_RAW]
