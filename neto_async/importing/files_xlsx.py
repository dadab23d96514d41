"""
Rows of an Excel workbook (.xlsx, .xlsm).

May import: errors, files_rows, files_csv (its limit on a cell), files_packed, files_xlsx_cells.

Read with the standard library's zip and XML parsers, row by row in constant memory; of a workbook only its shared
texts are held. The libraries for this were tried: python-calamine 0.9.1 reads error cells and formulas that were never
calculated as empty, so that a log would go out without its notes and nobody would know, and one stray cell in the last
row and column ends the process; openpyxl 3.1.5 hides the second as well, and takes twice the time (200,000 rows of 8
cells, 2026-11).

ECMA-376 part 1 is the format: 18.2 workbook, 18.3 sheets, 18.4 shared texts, 18.8 styles; part 2 the package.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, BinaryIO, NoReturn, Protocol
from xml.parsers import expat

from attrs import field, frozen

from neto_async.errors import ConfigurationError
from neto_async.importing.files_csv import MAX_CELL
from neto_async.importing.files_packed import refuse_bomb
from neto_async.importing.files_rows import FaultyCell, Row, unmended
from neto_async.importing.files_xlsx_cells import NUMBER, NumberFormat, StoredCell, format_of, plain_text, value_of

__all__ = ["Sheet", "open_sheet", "sheet_rows"]

MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
"""Rows and columns of a sheet, at most (Excel's specifications and limits)."""

MAX_TEXTS = 300_000_000
"""Bytes that the shared texts of a workbook may take up, about."""

MAX_PART = 64 * 1024 * 1024
"""Bytes of a part that is no sheet and holds no texts, at most."""

_TITLE_ROWS = 20
"""Rows among which the header is looked for."""

_CHUNK = 1 << 16
"""Bytes read at a time."""

_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})"')
"""Cells shown as one. They stand behind the rows in the file, and a text can't look so: its "<" is escaped."""

_LONGEST_MERGED = 200

_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    expat.ExpatError,
    EOFError,
    LookupError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)
"""What the parsers below raise for a file that is cut short, altered, encrypted or made by nobody."""

_Cells = dict[int, Any]


@frozen
class _Merged:
    """Cells that are shown as one: rows from 1, columns from 0, the last ones included."""

    top: int
    bottom: int
    left: int


@frozen(kw_only=True)
class Sheet:
    """
    One sheet of a workbook.

    Attributes:
        name: Its own.
        others: The names of the workbook's other sheets that are not hidden.
        columns: Their names, as the header has them; empty for a column without one.
        header: The row that they stand in, from 1.
    """

    name: str
    others: tuple[str, ...]
    columns: tuple[str, ...]
    header: int
    _book: _Workbook = field(repr=False, alias="book", eq=False)
    _part: str = field(repr=False, alias="part")
    _merged: tuple[_Merged, ...] = field(repr=False, alias="merged")


def open_sheet(file: BinaryIO, *, name: str, wanted: str | None = None) -> Sheet:
    """
    Find a sheet and its header.

    The header is the first row that is not empty; single cells above it are taken for titles where the first row with
    more than one is all text.

    Args:
        file: Open for reading bytes, and seekable.
        name: What error texts call it.
        wanted: The sheet's name; None for the first one that is not hidden.

    Raises:
        ConfigurationError: It is no workbook, or a damaged one; there is no such sheet, or nothing in it.
    """
    with _damage_told(name):
        book = _Workbook(file, name)
        title, part = _chosen(book.sheets, name, wanted)
        others = tuple(other for other, _, hidden in book.sheets if other != title and not hidden)
        merged = tuple(sorted(_merged_cells(book, part), key=lambda found: found.top))
        header, columns = _header(book.rows(part))
    if not columns:
        there = f"; the workbook also has {_quoted(others)}" if others else ""
        raise ConfigurationError(
            f'{name}: the sheet "{title}" is empty; its first row must hold the names of the columns{there}'
        )
    return Sheet(name=title, others=others, columns=columns, header=header, book=book, part=part, merged=merged)


def sheet_rows(sheet: Sheet) -> Iterator[Row]:
    """
    Yield the rows below the header, blank ones left out.

    Raises:
        ConfigurationError: The workbook is damaged.
    """
    width = len(sheet.columns)
    below = list(reversed(sheet._merged))  # noqa: SLF001 - this function is the sheet's own reading
    reaching: list[_Merged] = []
    book = sheet._book  # noqa: SLF001 - likewise
    with _damage_told(book.name):
        for number, cells in book.rows(sheet._part):  # noqa: SLF001 - likewise
            if number <= sheet.header:
                continue
            if not any(_filled(cells.get(column)) for column in range(width)):
                continue
            while below and below[-1].top < number:
                reaching.append(below.pop())
            reaching = [merged for merged in reaching if merged.bottom >= number]
            for merged in reaching:
                cells[merged.left] = _UNDER_ANOTHER
            row = Row(line=number, columns=sheet.columns, cells=tuple(map(cells.get, range(width))))
            yield unmended(row) or row


_UNDER_ANOTHER = FaultyCell(shown="", fault="merged with the cell above it; unmerge them and fill in each")


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _filled(value: object) -> bool:
    return value is not None and not (isinstance(value, str) and (not value or value.isspace()))


def _chosen(sheets: list[tuple[str, str, bool]], name: str, wanted: str | None) -> tuple[str, str]:
    for title, part, hidden in sheets:
        if (not hidden) if wanted is None else (title.casefold() == wanted.strip().casefold()):
            return title, part
    if wanted is None:
        raise ConfigurationError(f"{name}: the workbook has no sheet with cells that is not hidden")
    there = _quoted([title for title, _, _ in sheets])
    raise ConfigurationError(f'{name}: the workbook has no sheet "{wanted}"; it has {there}')


def _header(rows: Iterator[tuple[int, _Cells]]) -> tuple[int, tuple[str, ...]]:
    found: tuple[int, _Cells] = (0, {})
    for number, cells in islice(rows, _TITLE_ROWS):
        filled = {column: value for column, value in cells.items() if _filled(value)}
        if not found[1]:
            found = number, filled
        if len(filled) > 1:
            if all(isinstance(value, str) for value in filled.values()):
                found = number, filled
            break
    number, names = found
    return number, tuple(str(names.get(column, "")) for column in range(max(names, default=-1) + 1))


def _merged_cells(book: _Workbook, part: str) -> Iterator[_Merged]:
    """Read the whole sheet once, which also holds its checksum against what is there."""
    rest = b""
    for chunk in book.chunks(part):
        text = rest + chunk
        # What stands across two chunks is found with the second; what is found twice does no harm.
        rest = text[-_LONGEST_MERGED:]
        for found in _MERGED.finditer(text):
            top, bottom = int(found[2]), int(found[4])
            if bottom > top:
                yield _Merged(top, bottom, _column(found[1].decode()))


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


@contextmanager
def _damage_told(name: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGED:
        raise ConfigurationError(
            f"{name}: the workbook is damaged, or written in a way that can't be read; open it in Excel and save it as "
            '.xlsx, or as "CSV UTF-8"'
        ) from None


class _Workbook:
    """
    A workbook's package and what its sheets share.

    Attributes:
        name: What error texts call it.
        sheets: For each worksheet its name, its part of the package, and whether it is hidden.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._zip = zipfile.ZipFile(file)
        _, main = self._related("", "officeDocument")[0]
        sheets = dict(self._related(main, "worksheet"))
        tags = self._tags(main)
        self._since_1904 = any(tag == "workbookPr" and attributes.get("date1904") in _TRUE for tag, attributes in tags)
        self.sheets = [
            (attributes["name"], sheets[key], attributes.get("state", "visible") != "visible")
            for tag, attributes in tags
            if tag == "sheet"
            for qualified, key in attributes.items()
            if qualified.endswith(":id") and key in sheets
        ]
        self._formats = [
            found for _, part in self._related(main, "styles") for found in _cell_formats(self._tags(part))
        ]
        self._texts = [text for _, part in self._related(main, "sharedStrings") for text in self._shared(part)]

    def chunks(self, part: str) -> Iterator[bytes]:
        """Yield the bytes of a part."""
        about = self._zip.getinfo(part)
        refuse_bomb(about.file_size, about.compress_size, name=self.name)
        with self._zip.open(about) as file:
            yield from iter(lambda: file.read(_CHUNK), b"")

    def rows(self, part: str) -> Iterator[tuple[int, _Cells]]:
        """Yield the rows that a sheet has: their numbers, from 1, and their cells by column, from 0."""
        reading = _Rows(self._formats, self._texts, since_1904=self._since_1904)
        for _ in _parsed(self.chunks(part), reading):
            yield from reading.rows
            reading.rows.clear()

    def _shared(self, part: str) -> list[str]:
        reading = _Texts(self.name)
        for _ in _parsed(self.chunks(part), reading):
            pass
        return reading.texts

    def _tags(self, part: str) -> list[tuple[str, dict[str, str]]]:
        if self._zip.getinfo(part).file_size > MAX_PART:
            raise ValueError("too long to be read whole")
        reading = _Tags()
        for _ in _parsed(self.chunks(part), reading):
            pass
        return reading.tags

    def _related(self, part: str, kind: str) -> list[tuple[str, str]]:
        """Give the keys and names of the parts that a part points to."""
        folder, file = posixpath.split(part)
        relations = posixpath.join(folder, "_rels", f"{file}.rels")
        return [
            (attributes["Id"], posixpath.normpath(posixpath.join("/", folder, attributes["Target"])).lstrip("/"))
            for tag, attributes in self._tags(relations)
            if tag == "Relationship" and attributes["Type"].endswith(f"/{kind}")
        ]


_TRUE = {"1", "true"}


def _cell_formats(tags: list[tuple[str, dict[str, str]]]) -> list[NumberFormat]:
    codes: dict[int, str] = {}
    formats = []
    within = ""
    for tag, attributes in tags:
        if tag in {"cellXfs", "cellStyleXfs", "cellStyles", "dxfs"}:
            within = tag
        elif tag == "numFmt" and within != "dxfs":
            codes[int(attributes["numFmtId"])] = attributes["formatCode"]
        elif tag == "xf" and within == "cellXfs":
            formats.append(format_of(int(attributes.get("numFmtId", "0")), codes))
    return formats


class _Reading(Protocol):
    """What takes the parts of an XML document as they are found; `done` ends the reading."""

    done: bool

    def start(self, tag: str, attributes: dict[str, str]) -> None: ...

    def end(self, tag: str) -> None: ...

    def characters(self, text: str) -> None: ...


def _parsed(chunks: Iterator[bytes], reading: _Reading) -> Iterator[None]:
    """Parse a part; yield after each piece of it."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.characters
    parser.StartDoctypeDeclHandler = _no_doctype
    for chunk in chunks:
        parser.Parse(chunk)
        yield
        if reading.done:
            return
    parser.Parse(b"", True)


def _no_doctype(*_: object) -> NoReturn:
    # Part 2 of the standard forbids it, and it is how XML is made to blow up.
    raise ValueError("a document type in a workbook")


def _local(tag: str) -> str:
    return tag.rpartition(":")[2]


class _Tags:
    """All start tags of a part, in order."""

    done = False

    def __init__(self) -> None:
        self.tags: list[tuple[str, dict[str, str]]] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.tags.append((_local(tag), attributes))

    def end(self, tag: str) -> None: ...

    def characters(self, text: str) -> None: ...


class _Texts:
    """The shared texts; their formatting and their phonetic readings are left out."""

    done = False

    def __init__(self, name: str) -> None:
        self.texts: list[str] = []
        self._name = name
        self._weight = 0  # bytes that they take up, about
        self._pieces: list[str] = []  # of the text in hand
        self._taken = False  # inside an element whose text counts
        self._phonetic = False

    def start(self, tag: str, _: dict[str, str]) -> None:
        tag = _local(tag)
        self._phonetic |= tag == "rPh"
        self._taken = tag == "t" and not self._phonetic

    def end(self, tag: str) -> None:
        tag = _local(tag)
        self._taken = False
        if tag == "rPh":
            self._phonetic = False
        elif tag == "si":
            self.texts.append(plain_text("".join(self._pieces)))
            self._pieces.clear()
            self._weigh(60)

    def characters(self, text: str) -> None:
        if self._taken:
            self._pieces.append(text)
            self._weigh(len(text))

    def _weigh(self, weight: int) -> None:
        self._weight += weight
        if self._weight > MAX_TEXTS:
            raise ConfigurationError(
                f'{self._name}: the workbook holds more text than is read at once; save the sheet as "CSV UTF-8", '
                "which has no limit"
            )


class _Rows:
    """The rows of a sheet, those that were read since they were last taken."""

    def __init__(self, formats: list[NumberFormat], texts: list[str], *, since_1904: bool) -> None:
        self.rows: list[tuple[int, _Cells]] = []
        self.done = False
        self._formats = formats
        self._shared = texts
        self._since_1904 = since_1904
        self._cells: _Cells = {}  # of the row in hand
        self._number = 0  # the row in hand
        self._column = -1  # the cell in hand
        self._inside = False  # inside a cell
        self._kind = "n"  # the cell in hand, and so below: see `StoredCell`
        self._format = NUMBER
        self._formula = False
        self._kept = False  # it has a text, if only an empty one
        self._pieces: list[str] = []  # of its text
        self._length = 0  # of its text
        self._taken = False  # inside an element whose text counts
        self._phonetic = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if ":" in tag:
            tag = _local(tag)
        if tag == "c":
            self._start_cell(attributes)
        elif tag == "row":
            self._start_row(attributes)
        elif self._inside:
            self._start_inside(tag)

    def _start_row(self, attributes: dict[str, str]) -> None:
        number = int(attributes.get("r", self._number + 1))
        if not self._number < number <= MAX_ROWS:
            raise ValueError("rows out of order")
        self._number = number
        self._column = -1
        self._cells = {}

    def _start_cell(self, attributes: dict[str, str]) -> None:
        place = attributes.get("r")
        self._column = self._column + 1 if place is None else _column(place.rstrip("0123456789"))
        if not 0 <= self._column < MAX_COLUMNS:
            raise ValueError("a column outside of the sheet")
        style = attributes.get("s")
        self._format = self._formats[int(style)] if style and self._formats else NUMBER
        self._kind = attributes.get("t", "n")
        self._inside = True
        self._formula = self._kept = False

    def _start_inside(self, tag: str) -> None:
        self._formula |= tag == "f"
        self._phonetic |= tag == "rPh"
        self._taken = tag == "v" or (tag == "t" and not self._phonetic)
        self._kept |= self._taken

    def end(self, tag: str) -> None:
        if ":" in tag:
            tag = _local(tag)
        self._taken = False
        if tag == "c":
            self._end_cell()
        elif tag == "row":
            self.rows.append((self._number, self._cells))
        elif tag == "rPh":
            self._phonetic = False
        elif tag == "sheetData":
            self.done = True

    def _end_cell(self) -> None:
        text = "".join(self._pieces) if self._kept else None
        cell = StoredCell(kind=self._kind, text=text, formula=self._formula, format=self._format)
        if self._length > MAX_CELL:
            value: Any = FaultyCell(shown="", fault=f"longer than {MAX_CELL:,} characters")
        else:
            value = value_of(cell, self._shared, since_1904=self._since_1904)
        if value is not None:
            self._cells[self._column] = value
        self._inside = False
        self._pieces.clear()
        self._length = 0

    def characters(self, text: str) -> None:
        if self._taken:
            self._length += len(text)
            if self._length <= MAX_CELL:
                self._pieces.append(text)
