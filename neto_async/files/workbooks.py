"""
Rows of an Excel workbook (.xlsx, .xlsm), read in constant memory: of a workbook only its shared texts are held.

May import: errors, rows, csv_files (its limits), gzip_files, number_formats, workbook_cells.

Read with the standard library's zip and XML parsers; docs/dependencies.md says why. ECMA-376 part 1 is the format: 18.2
workbook, 18.3 sheets, 18.4 shared texts, 18.5 tables, 18.8 styles; part 2 the package.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from sys import getsizeof
from typing import Any, BinaryIO, NoReturn
from xml.parsers import expat

from attrs import field, frozen

from neto_async.errors import SourceError
from neto_async.files.csv_files import MAX_CELL, refuse_wide
from neto_async.files.gzip_files import open_member, refuse_bomb
from neto_async.files.number_formats import NUMBER, NumberFormat, format_of
from neto_async.files.rows import FaultyCell, Row, checked_row, some
from neto_async.files.workbook_cells import plain_text, value_of

__all__ = ["Sheet", "open_sheet"]

# What a workbook may have at most. The numbers of rows, columns, cell formats (65,000) and number formats (250) that
# Excel allows are from its "specifications and limits".
MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
MAX_TEXTS = 100_000_000  # bytes of the shared texts, about
MAX_PARTS = 64 * 1024 * 1024  # bytes of all parts but sheets and shared texts, each counted as often as it is read
MAX_TAGS = 200_000  # tags that are kept of such a part
MAX_FORMATS = 2_000  # number formats in use
MAX_MERGED = 200_000  # merged cells that reach over several rows
MAX_DEPTH = 100  # elements inside one another; a sheet has some seven
MAX_TAG = 1 << 20  # bytes of one tag

_SMALLEST = 4096  # bytes that a part counts as, at least: each costs time to open
_TITLE_ROWS = 20  # rows among which the header is looked for
_CHUNK = 1 << 16  # bytes read at a time

_MERGED = re.compile(
    rb"""<(?:\w{1,40}:)?mergeCell\s[^<>]{0,100}?ref=["']([A-Z]{1,3})(\d{1,7}):([A-Z]{1,3})(\d{1,7})["']"""
)
"""Merged cells. They come after the rows in the file, and a text can't look like this: its "<" is escaped."""
_LONGEST_MERGED = 200

_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, expat.ExpatError, EOFError, LookupError, ValueError, OverflowError),
    *(NotImplementedError, RuntimeError),
)
"""What the parsers raise for a file that is cut short, altered, encrypted or not made by a spreadsheet program."""

_SECTIONS = {"cellXfs", "cellStyleXfs", "cellStyles", "dxfs"}
_USED = {"table", "workbookPr", "sheet", "Relationship", "numFmt", "xf", *_SECTIONS}
"""Tags of parts that are read whole."""

_TRUE = {"1", "true"}
_TOO_LONG = FaultyCell(fault=f"longer than {MAX_CELL:,} characters")
_BELOW_ANOTHER = FaultyCell(fault="merged with the cell above it; unmerge them and fill in each")

_Tag = tuple[str, dict[str, str]]
_Cells = dict[int, Any]
_Merged = tuple[int, int, int]  # the first and the last row, from 1, and the column, from 0


@frozen(kw_only=True)
class Sheet:
    """
    One sheet of a workbook.

    Attributes:
        name: Its name.
        others: The names of the workbook's other sheets that are not hidden.
        columns: Their names, as the header has them; empty for a column without one.
        header: The row of the header, from 1.
        book: Where it is, in the part that is called `part`.
        merged: The merged cells of its columns that reach over several rows.
        totals: Its rows that are the totals of a table.
    """

    name: str
    others: tuple[str, ...]
    columns: tuple[str, ...]
    header: int
    book: _Workbook = field(repr=False, eq=False)
    part: str = field(repr=False)
    merged: tuple[_Merged, ...] = field(repr=False)
    totals: frozenset[int] = field(repr=False)

    def rows(self, beside: Counter[int] | None = None) -> Iterator[Row]:
        """
        Yield the rows below the header, blank ones left out; those that are hidden, and totals, say so.

        Args:
            beside: Counts the cells beyond the named columns, by column from 0.

        Raises:
            SourceError: The workbook is damaged.
        """
        width = len(self.columns)
        below = list(reversed(self.merged))
        reaching: dict[int, int] = {}  # columns to the last row of the merged cell that is above
        with _damage_named(self.book.name):
            for number, cells, hidden in self.book.rows(self.part):
                if number <= self.header:
                    continue
                if beside is not None and cells and max(cells) >= width:
                    beside.update(column for column, value in cells.items() if column >= width and _filled(value))
                if not any(_filled(cells.get(column)) for column in range(width)):
                    continue
                while below and below[-1][0] < number:
                    _, bottom, left = below.pop()
                    reaching[left] = max(bottom, reaching.get(left, 0))
                reaching = {column: bottom for column, bottom in reaching.items() if bottom >= number}
                aside = "totals" if number in self.totals else "hidden" if hidden else ""
                found = tuple(map(cells.get, range(width)))
                if reaching:
                    found = tuple(_BELOW_ANOTHER if at in reaching else value for at, value in enumerate(found))
                yield checked_row(Row(line=number, columns=self.columns, cells=found, aside=aside))


def open_sheet(file: BinaryIO, *, name: str, wanted: str | None = None, header_row: int | None = None) -> Sheet:
    """
    Find a sheet and its header.

    The header is the first row that is not empty; single cells above it are titles where the first row with more than
    one is all text. `header_row` names another one, from 1; `wanted` a sheet instead of the first that is not hidden.

    Raises:
        SourceError: It is no workbook, or a damaged one; there is no such sheet, or nothing in it.
    """
    with _damage_named(name):
        book = _Workbook(file, name)
        title, part = _chosen(book.sheets, name, wanted)
        others = tuple(other for other, _, hidden in book.sheets if other != title and not hidden)
        merged = sorted(islice(_merged_cells(book, part), MAX_MERGED + 1))
        if len(merged) > MAX_MERGED:
            raise SourceError(f"{name}: more than {MAX_MERGED:,} merged cells; unmerge them")
        header, columns = _header(book.rows(part), header_row)
        # Those beside the named columns would cost time in each row.
        within = tuple(cell for cell in merged if cell[2] < len(columns))
        totals = frozenset(book.totals(part))
        refuse_wide(columns, name)
    if not columns:
        there = f"; the workbook also has {_quoted(others)}" if others else ""
        raise SourceError(
            f'{name}: the sheet "{title}" is empty; its first row must hold the names of the columns{there}'
        )
    return Sheet(
        name=title, others=others, columns=columns, header=header, book=book, part=part, merged=within, totals=totals
    )


def _quoted(names: Sequence[str]) -> str:
    return some([f'"{name}"' for name in names])


def _filled(value: object) -> bool:
    return value is not None and not (isinstance(value, str) and (not value or value.isspace()))


def _chosen(sheets: list[tuple[str, str, bool]], name: str, wanted: str | None) -> tuple[str, str]:
    for title, part, hidden in sheets:
        if (not hidden) if wanted is None else (title.casefold() == wanted.strip().casefold()):
            return title, part
    if wanted is None:
        raise SourceError(f"{name}: the workbook has no sheet with cells that is not hidden")
    there = _quoted([title for title, _, _ in sheets])
    raise SourceError(f'{name}: the workbook has no sheet "{wanted}"; it has {there}')


def _header(rows: Iterator[tuple[int, _Cells, bool]], wanted: int | None) -> tuple[int, tuple[str, ...]]:
    found: tuple[int, _Cells] = (0, {})
    for number, cells, _ in islice(rows, None if wanted else _TITLE_ROWS):
        filled = {column: value for column, value in cells.items() if _filled(value)}
        if number >= (wanted or 0) and not found[1]:
            found = number, filled
        if wanted is None and len(filled) > 1 and all(isinstance(value, str) for value in filled.values()):
            found = number, filled
        if number >= wanted if wanted else len(filled) > 1:
            break
    number, names = found
    return number, tuple(str(names.get(column, "")) for column in range(max(names, default=-1) + 1))


def _merged_cells(book: _Workbook, part: str) -> Iterator[_Merged]:
    """Read the whole sheet once, which also checks its checksum."""
    rest = b""
    for chunk in book.chunks(part):
        text = rest + chunk
        # What lies across two chunks is found with the second; what is found twice does no harm.
        rest = text[-_LONGEST_MERGED:]
        for found in _MERGED.finditer(text):
            top, bottom = int(found[2]), int(found[4])
            if bottom > top:
                yield top, bottom, _column(found[1].decode())


def _column(letters: str) -> int:
    if len(letters) > len("XFD"):
        raise ValueError("a column outside of the sheet")
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGED:
        raise SourceError(
            f"{name}: the workbook is damaged, or written in a way that can't be read; open it in Excel and save it as "
            '.xlsx, or as "CSV UTF-8"'
        ) from None


class _Workbook:
    """
    A workbook's package and what its sheets share.

    ``sheets`` has for each worksheet its name, its part of the package, and whether it is hidden.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._read = 0  # bytes of `MAX_PARTS`
        self._zip = zipfile.ZipFile(file)
        # Part 2 of the standard, 6.2.2: names are compared without regard to case.
        self._parts = {about.filename.casefold(): about for about in self._zip.infolist()}
        _, main = self._related("", "officeDocument")[0]
        sheets = dict(self._related(main, "worksheet"))
        tags = self._tags(main)
        since_1904 = any(tag == "workbookPr" and attributes.get("date1904") in _TRUE for tag, attributes in tags)
        self.sheets: list[tuple[str, str, bool]] = [
            (attributes["name"], sheets[key], attributes.get("state", "visible") != "visible")
            for tag, attributes in tags
            if tag == "sheet"
            for qualified, key in attributes.items()
            if qualified.endswith(":id") and key in sheets
        ]
        self._formats = [
            found
            for part in self._only(main, "styles")
            for found in _cell_formats(self._tags(part), since_1904=since_1904)
        ]
        self._texts = [text for part in self._only(main, "sharedStrings") for text in self._shared(part)]

    def chunks(self, part: str) -> Iterator[bytes]:
        """Yield the bytes of a part."""
        about = self._parts[part.casefold()]
        refuse_bomb(about.file_size, about.compress_size, name=self.name)
        with open_member(self._zip, about) as file:
            yield from iter(lambda: file.read(_CHUNK), b"")

    def totals(self, part: str) -> Iterator[int]:
        """Yield the rows that are the totals of a table."""
        for _, table in self._related(part, "table"):
            for tag, attributes in self._tags(table):
                if tag == "table" and attributes.get("totalsRowCount", "0") != "0":
                    yield int(attributes["ref"].rpartition(":")[2].lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ$"))

    def rows(self, part: str) -> Iterator[tuple[int, _Cells, bool]]:
        """Yield the rows that a sheet has: their numbers, from 1, their cells by column, from 0, whether hidden."""
        reading = _Content(self.name, self._formats, self._texts)
        for _ in _parsed(self.chunks(part), reading):
            yield from reading.rows
            reading.rows.clear()

    def _shared(self, part: str) -> list[str | FaultyCell]:
        reading = _Content(self.name, [], [])
        deque(_parsed(self.chunks(part), reading), maxlen=0)
        return reading.texts

    def _tags(self, part: str) -> list[_Tag]:
        self._read += max(self._parts[part.casefold()].file_size, _SMALLEST)
        if self._read > MAX_PARTS:
            raise ValueError("too long to be read whole")
        reading = _Tags()
        deque(_parsed(self.chunks(part), reading), maxlen=0)
        return reading.tags

    def _only(self, part: str, kind: str) -> list[str]:
        """List the part of a kind: none or one (part 1, 12.3.15 and 12.3.20)."""
        found = [name for _, name in self._related(part, kind)]
        if len(found) > 1:
            raise ValueError("a part that is to be read again and again")
        return found

    def _related(self, part: str, kind: str) -> list[tuple[str, str]]:
        """Give the keys and names of the parts that a part points to."""
        folder, file = posixpath.split(part)
        relations = posixpath.join(folder, "_rels", f"{file}.rels")
        return [
            (attributes["Id"], posixpath.normpath(posixpath.join("/", folder, attributes["Target"])).lstrip("/"))
            for tag, attributes in (self._tags(relations) if relations.casefold() in self._parts else ())
            if tag == "Relationship" and attributes["Type"].endswith(f"/{kind}")
        ]


def _cell_formats(tags: list[_Tag], *, since_1904: bool) -> list[NumberFormat]:
    codes: dict[int, str] = {}
    known: dict[int, NumberFormat] = {}  # each is read once
    formats = []
    within = ""
    for tag, attributes in tags:
        if tag in _SECTIONS:
            within = tag
        elif tag == "numFmt" and within != "dxfs":
            codes[int(attributes["numFmtId"])] = attributes["formatCode"]
        elif tag == "xf" and within == "cellXfs":
            number = int(attributes.get("numFmtId", "0"))
            if number not in known:
                known[number] = format_of(number, codes, since_1904=since_1904)
                if len(known) > MAX_FORMATS:
                    raise ValueError("more number formats than a workbook has")
            formats.append(known[number])
    return formats


def _parsed(chunks: Iterator[bytes], reading: _Tags) -> Iterator[None]:
    """Parse a part; yield after each piece of it."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.characters
    parser.StartDoctypeDeclHandler = reading.doctype
    fed = 0
    for chunk in chunks:
        parser.Parse(chunk)
        fed += len(chunk)
        yield
        if reading.done:
            return
        if fed - parser.CurrentByteIndex > MAX_TAG:
            raise ValueError("a tag longer than any of a workbook")
    parser.Parse(b"", True)


class _Tags:
    """Takes the parts of an XML document as they are found, and keeps the start tags that are used."""

    done = False  # ends the reading

    def __init__(self) -> None:
        self.tags: list[_Tag] = []
        self._depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.go_down()
        if (tag := tag.rpartition(":")[2]) in _USED:
            self.tags.append((tag, attributes))
            if len(self.tags) > MAX_TAGS:
                raise ValueError("more cell formats than a workbook has")

    def go_down(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("elements inside one another that no workbook has")

    def end(self, _: str) -> None:
        self._depth -= 1

    def characters(self, _: str) -> None:
        """Keep no text."""

    def doctype(self, *_: object) -> NoReturn:
        # Part 2 of the standard forbids it, and it is how XML is made to blow up.
        raise ValueError("a document type in a workbook")


class _Content(_Tags):
    """
    The rows of a sheet, or the shared texts of its workbook.

    Attributes:
        rows: Those that were read since they were last taken.
        texts: The shared texts.
    """

    def __init__(self, name: str, formats: list[NumberFormat], texts: list[str | FaultyCell]) -> None:
        super().__init__()
        self.rows: list[tuple[int, _Cells, bool]] = []
        self.texts = texts
        self._name = name
        self._formats = formats
        self._weight = 0  # bytes of the shared texts, about
        self._number = 0  # the current row, its cells, and whether it is hidden
        self._cells: _Cells = {}
        self._hidden = False
        self._column = -1  # the current cell, and what `value_of` takes of it
        self._kind = "n"
        self._format = NUMBER
        self._formula = self._kept = False
        self._pieces: list[str] = []  # of its text, or of a shared text
        self._length = 0
        self._inside = self._taken = False  # inside a cell or a shared text; inside an element whose text counts
        self._phonetic = False  # inside the pronunciation of a text, which does not count

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.go_down()
        if ":" in tag:
            tag = tag.rpartition(":")[2]
        if tag == "c":
            place = attributes.get("r")
            self._column = self._column + 1 if place is None else _column(place.rstrip("0123456789"))
            if not 0 <= self._column < MAX_COLUMNS:
                raise ValueError("a column outside of the sheet")
            style = attributes.get("s")
            self._format = self._formats[int(style)] if style and self._formats else NUMBER
            self._kind = attributes.get("t", "n")
            self._inside = True
            self._formula = self._kept = False
        elif tag == "row":
            number = int(attributes.get("r", self._number + 1))
            if not self._number < number <= MAX_ROWS:
                raise ValueError("rows out of order")
            self._number = number
            self._column = -1
            self._cells = {}
            self._hidden = attributes.get("hidden") in _TRUE
        elif self._inside:
            self._formula |= tag == "f"
            self._phonetic |= tag == "rPh"
            self._taken = tag == "v" or (tag == "t" and not self._phonetic)
            self._kept |= self._taken
        elif tag == "si":
            self._inside = True

    def characters(self, text: str) -> None:
        if self._taken:
            self._length += len(text)
            if self._length <= MAX_CELL:
                self._pieces.append(text)

    def end(self, tag: str) -> None:
        self._depth -= 1
        self._taken = False
        if ":" in tag:
            tag = tag.rpartition(":")[2]
        if tag in {"c", "si"}:
            value: Any = _TOO_LONG if self._length > MAX_CELL else "".join(self._pieces)
            self._pieces.clear()
            self._length = 0
            self._inside = False
            if tag == "si":
                self._share(plain_text(value) if isinstance(value, str) else value)
                return
            if isinstance(value, str):
                text = value if self._kept else None
                value = value_of(self._kind, text, self._format, self.texts, formula=self._formula)
            if value is not None:
                self._cells[self._column] = value
        elif tag == "row":
            self.rows.append((self._number, self._cells, self._hidden))
        elif tag == "rPh":
            self._phonetic = False
        elif tag == "sheetData":
            self.done = True

    def _share(self, text: str | FaultyCell) -> None:
        self.texts.append(text)
        self._weight += 60 + getsizeof(text)
        if self._weight > MAX_TEXTS:
            raise SourceError(
                f'{self._name}: the workbook holds more text than is read at once; save the sheet as "CSV UTF-8", '
                "which has no limit"
            )
