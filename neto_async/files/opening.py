"""
Files of customer logs, read row by row: CSV with any usual delimiter and encoding, JSON Lines, JSON, Excel workbooks.

Each but a workbook may be packed with gzip.

Opening a file reads it once from end to end, to find its encoding and any damage. After that it can be read any number
of times in constant memory (a JSON document excepted, which is read whole, and the shared texts of a workbook). What
can't be read is either one row or one cell, which says why, or the file as a whole, which is refused before its first
row. May import: errors, and the rest of this folder.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from enum import StrEnum
from os import fstat
from pathlib import Path
from typing import Any, BinaryIO

from attrs import field, frozen

from neto_async.errors import ConfigurationError, SourceError
from neto_async.files.csv_files import DELIMITERS, Table, read_table, table_rows
from neto_async.files.encodings import Encoding, detect_encoding, open_text
from neto_async.files.gzip_files import unpacked
from neto_async.files.json_files import document_rows, line_rows, path_of_rows, refuse_array
from neto_async.files.options import checked_options
from neto_async.files.rows import Row
from neto_async.files.workbooks import Sheet, open_sheet

__all__ = ["FileFormat", "Row", "RowFile", "open_binary", "open_rows"]


class FileFormat(StrEnum):
    """The kinds of file that can be read."""

    CSV = "csv"
    JSONL = "jsonl"
    JSON = "json"
    XLSX = "xlsx"


_SUFFIXES = {
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".json": FileFormat.JSON,
    ".xlsx": FileFormat.XLSX,
    ".xlsm": FileFormat.XLSX,
}

_PACKED = ".gz"

_OTHER_WORKBOOKS = {".xls", ".xlsb", ".ods"}

_WORKBOOK = b"PK\x03\x04"  # the first bytes of a zip archive, which an Excel workbook is

_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""The first bytes of a compound file, which a workbook of Excel 97 to 2003 is, and one with a password."""


@frozen(kw_only=True)
class RowFile:
    """
    A file of rows; iterating it reads it from the start. Iterations don't disturb one another, even in several threads.

    Attributes:
        name: What texts call it.
        format: Its kind.
        encoding: How its bytes become text; None for a workbook.
        table: The delimiter and the columns of CSV, else None.
        sheet: The sheet of a workbook that is read, else None.
        packed: Whether it is packed, with gzip or as the one file of a zip archive.
        hidden_rows: ``skip`` leaves out rows that a workbook hides; None and ``send`` read them.
        rows: The names that lead to the list of rows in a JSON document.
    """

    name: str
    format: FileFormat
    encoding: Encoding | None = None
    table: Table | None = None
    sheet: Sheet | None = None
    packed: bool = False
    hidden_rows: str | None = None
    rows: tuple[str, ...] = ()
    _file: BinaryIO = field(repr=False, alias="file", eq=False)
    _stored: BinaryIO = field(repr=False, alias="stored", eq=False)  # the file as it is stored, packed or not
    _stamp: object = field(repr=False, alias="stamp", eq=False)  # its own, before it was first read
    _reading: threading.Lock = field(factory=threading.Lock, repr=False, init=False, eq=False)

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The names of the columns; None for JSON, whose objects each bring their own names."""
        shape = self.table or self.sheet
        return shape.columns if shape else None

    @property
    def delimiter(self) -> str | None:
        """What separates the cells of CSV, else None."""
        return self.table.delimiter if self.table else None

    @property
    def read_as(self) -> str:
        """How it is read, in words for a person."""
        packed = "gzip, " if self.packed else ""
        if self.sheet is not None:
            others = f", not {', '.join(self.sheet.others)}" if self.sheet.others else ""
            return f"Excel workbook, sheet {self.sheet.name}{others}"
        assert self.encoding is not None  # noqa: S101
        mark = self.delimiter
        parted = f", columns separated by {DELIMITERS.get(mark, mark)}" if mark else ""
        guess = ", taken for it since it is not UTF-8" if self.encoding.guessed else ""
        return f"{packed}{self.encoding.label}{guess}{parted}"

    def check_unchanged(self) -> None:
        """
        Check that the file was not written to since it was opened: rows read after that may be cut in half.

        Raises:
            SourceError: It was.
        """
        if _stamp_of(self._stored) != self._stamp:
            raise SourceError(
                f"{self.name} was written to while it was read, so its rows may be cut or moved; go on when it is "
                "whole again"
            )

    def leaves_out(self, row: Row) -> bool:
        """Whether a row of `every_row` is left out when the file is iterated."""
        return row.aside == "totals" or (row.aside == "hidden" and self.hidden_rows == "skip")

    def __iter__(self) -> Iterator[Row]:
        rows = self.every_row()
        return rows if self.sheet is None else (row for row in rows if not self.leaves_out(row))

    def every_row(self, beside: Counter[int] | None = None) -> Iterator[Row]:
        """
        Read all rows, including those that iteration leaves out.

        Args:
            beside: Counts the cells of a workbook outside of the named columns, by column from 0.
        """
        if self.sheet is not None:
            return self.sheet.rows(beside)
        assert self.encoding is not None  # noqa: S101
        text = open_text(self._file, self.encoding, reading=self._reading)
        if self.table is not None:
            return table_rows(text, self.table, name=self.name)
        if self.format is FileFormat.JSONL:
            return line_rows(text, name=self.name)
        return document_rows(text, name=self.name, path=self.rows)


def open_rows(
    file: BinaryIO,
    *,
    name: str,
    file_format: FileFormat | str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    sheet: str | None = None,
    header_row: int | None = None,
    quote: str | None = None,
    short_rows: str | None = None,
    hidden_rows: str | None = None,
    rows: str | None = None,
) -> RowFile:
    """
    Get ready to read the rows of a file.

    Args:
        file: Open for reading bytes, and seekable. It stays open; others must not read it meanwhile.
        name: What texts call it; without ``file_format`` its suffix says what kind it is.
        file_format: Its kind.
        encoding: A codec's name (default: detected); a mark at the start of the file overrides it.
        delimiter: What separates cells (default: from the header).
        sheet: The name of a workbook's sheet (default: the first that is not hidden).
        header_row: The line or row of the names of the columns, from 1 (default: found).
        quote: ``none`` where a quote is a character of its cell; ``double`` reads a quoted cell of several lines that
            looks like rows.
        short_rows: ``empty`` reads the last cells that a row of CSV lacks as empty.
        hidden_rows: ``skip`` or ``send`` what a workbook hides.
        rows: Where the list of rows is in a JSON document, names with dots between them.

    Raises:
        SourceError: The file is not of a kind that can be read, or a part of it can't be decoded or unpacked, or
            it has no header.
    """
    checked_options(
        {"header_row": header_row, "quote": quote, "short_rows": short_rows, "hidden_rows": hidden_rows, "rows": rows}
    )
    archive = _only_file(file, name)
    inner = name if archive is None else archive
    kind = _format_of(inner, file_format)
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
        raise ConfigurationError("a delimiter is one character, and no quote or line break")
    stamp = _stamp_of(file)
    plain = unpacked(file, name=name, member=archive)
    packed = plain is not file
    _refuse_other_kind(plain, kind, name, packed=packed)
    shape: dict[str, Any] = {}
    if kind is FileFormat.XLSX:
        shape["sheet"] = open_sheet(file, name=name, wanted=sheet, header_row=header_row)
    elif sheet is not None:
        raise ConfigurationError(f"{name}: only a workbook has sheets")
    else:
        known = shape["encoding"] = detect_encoding(plain, name=name, given=encoding)
        text = open_text(plain, known)
        if kind is FileFormat.CSV:
            shape["table"] = read_table(
                text,
                name=name,
                delimiter=delimiter or ("\t" if _bare(inner).suffix.lower() == ".tsv" else None),
                header_row=header_row,
                quote=quote,
                fill_short=short_rows == "empty",
            )
        elif kind is FileFormat.JSON:
            shape["rows"] = path_of_rows(text, name=name, given=rows)
        else:
            refuse_array(text, name=name)
    return RowFile(
        name=name, format=kind, packed=packed, hidden_rows=hidden_rows, file=plain, stored=file, stamp=stamp, **shape
    )


def open_binary(path: Path | BinaryIO) -> BinaryIO:
    """
    Open a file so that it can be read more than once.

    A pipe is first copied to a temporary file that has no name (on Windows: a hidden one), which only this process
    can read and which is gone when it ends.

    Raises:
        ConfigurationError: It can't be opened or copied.
    """
    if not isinstance(path, Path):
        return _copy(path, "standard input")
    try:
        file = path.open("rb")
        mode = fstat(file.fileno()).st_mode
        if stat.S_ISREG(mode):
            return file
    except OSError as error:
        raise SourceError(f"{path.name}: {error.strerror}") from None
    with file:
        if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not file.isatty()):
            raise SourceError(f"{path.name}: this is a device, and it may never end; give a file or a pipe")
        return _copy(file, path.name)


def _copy(source: BinaryIO, name: str) -> BinaryIO:
    try:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        with ExitStack() as stack:
            stack.enter_context(copy)
            shutil.copyfileobj(source, copy)
            copy.flush()
            stack.pop_all()
    except OSError as error:
        raise SourceError(f"{name} can't be kept in a temporary file: {error.strerror}") from None
    return copy


def _stamp_of(file: BinaryIO) -> object:
    """Give a value that changes when a file is written to; None if it is on no disk."""
    try:
        status = fstat(file.fileno())
    except (AttributeError, OSError):
        return None
    return status.st_size, status.st_mtime_ns


def _bare(name: str) -> Path:
    path = Path(name)
    return path.with_suffix("") if path.suffix.lower() == _PACKED else path


def _format_of(name: str, given: FileFormat | str | None) -> FileFormat:
    kinds = "csv, jsonl, json or xlsx"
    if given is not None:
        try:
            return FileFormat(given)
        except ValueError:
            raise ConfigurationError(f"the format of a file is one of {kinds}") from None
    suffix = _bare(name).suffix.lower()
    if suffix in _OTHER_WORKBOOKS:
        raise _other_workbook(name)
    if suffix not in _SUFFIXES:
        raise SourceError(
            f"{name}: files are known by their endings {', '.join(_SUFFIXES)}, each with {_PACKED} as well; say which "
            f"kind it is: {kinds}"
        )
    return _SUFFIXES[suffix]


def _other_workbook(name: str) -> SourceError:
    return SourceError(
        f"{name}: of workbooks only .xlsx and .xlsm can be read, and none with a password; open it and save it as "
        '.xlsx, or as "CSV UTF-8"'
    )


_PACKERS = {
    b"\xfd7zXZ\0": "an xz file",
    b"BZh": "a bzip2 file",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
}
"""First bytes of files that are packed in other ways."""


def _only_file(file: BinaryIO, name: str) -> str | None:
    """Name the one table that a zip archive holds; None for any other file, and for a workbook."""
    file.seek(0)
    if not file.read(len(_WORKBOOK)).startswith(_WORKBOOK):
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            names = [found.filename for found in archive.infolist() if not found.is_dir()]
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return None  # its fault is named where it is read
    if any(found.casefold() == "[content_types].xml" for found in names):
        return None
    tables = [found for found in names if not found.startswith("__MACOSX/") and not Path(found).name.startswith(".")]
    if len(tables) == 1 and _SUFFIXES.get(Path(tables[0]).suffix.lower(), FileFormat.XLSX) is not FileFormat.XLSX:
        return tables[0]
    if "mimetype" in names:
        raise _other_workbook(name)
    if Path(name).suffix.lower() == ".zip":
        raise SourceError(f"{name}: a zip archive that holds not just one .csv or .json file; unpack it")
    return None


def _refuse_other_kind(file: BinaryIO, kind: FileFormat, name: str, *, packed: bool) -> None:
    """Refuse a file whose first bytes say that it is not what its name says."""
    file.seek(0)
    start = file.read(len(_COMPOUND))
    for mark, what in _PACKERS.items():
        if start.startswith(mark):
            raise SourceError(f"{name}: this is {what}: unpack it, and import what was in it")
    if start == _COMPOUND:
        raise _other_workbook(name)
    workbook = start.startswith(_WORKBOOK)
    if workbook and packed:
        raise SourceError(f"{name}: a workbook inside gzip; unpack it and import the workbook")
    if workbook and kind is not FileFormat.XLSX:
        raise SourceError(
            f"{name}: this is an Excel workbook or a zip archive; give a workbook the ending .xlsx, or the format xlsx"
        )
    if kind is FileFormat.XLSX and not workbook:
        raise SourceError(f"{name}: this is no Excel workbook; give a text file the ending .csv, or the format csv")
