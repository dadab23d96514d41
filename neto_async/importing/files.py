"""
Files of customer logs, read row by row: CSV with any usual delimiter and encoding, JSON Lines, JSON, Excel workbooks.

Each but a workbook may be packed with gzip.

A file is looked at once from end to end when it is opened, for its encoding and for what is damaged, and can then be
read any number of times in constant memory (a JSON document excepted, which is read whole, and the shared texts of a
workbook). What can't be read is either one row or one cell, which says why, or the file as a whole, which is refused
before its first row. May import: errors, and the files_* modules.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from enum import StrEnum
from os import fstat
from pathlib import Path
from typing import BinaryIO

from attrs import field, frozen

from neto_async.errors import ConfigurationError
from neto_async.importing.files_csv import DELIMITERS, Table, read_table, table_rows
from neto_async.importing.files_encoding import Encoding, detect_encoding, open_text
from neto_async.importing.files_json import MAX_DOCUMENT, document_rows, line_rows, too_large
from neto_async.importing.files_packed import unpacked
from neto_async.importing.files_rows import Row
from neto_async.importing.files_xlsx import Sheet, open_sheet, sheet_rows

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

_WORKBOOK = b"PK\x03\x04"
"""The first bytes of a zip archive, which an Excel workbook is."""

_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""The first bytes of a compound file, which a workbook of Excel 97 to 2003 is, and one with a password."""

_CHUNK = 1 << 20
"""Bytes read at a time where only their number counts."""


@frozen(kw_only=True)
class RowFile:
    """
    A file of rows; iterating it reads it from the start. Iterations don't disturb one another, in threads neither.

    Attributes:
        name: What texts call it.
        format: Its kind.
        encoding: How its bytes become text; None for a workbook.
        table: The delimiter and the columns of CSV, else None.
        sheet: The sheet of a workbook that is read, else None.
        packed: Whether it is packed with gzip.
    """

    name: str
    format: FileFormat
    encoding: Encoding | None
    table: Table | None = None
    sheet: Sheet | None = None
    packed: bool = False
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
        """What stands between cells of CSV, else None."""
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
        parted = f", columns parted by {DELIMITERS.get(mark, mark)}" if mark else ""
        guess = ", taken for it since it is not UTF-8" if self.encoding.guessed else ""
        return f"{packed}{self.encoding.label}{guess}{parted}"

    def check_unchanged(self) -> None:
        """
        Make sure that nobody has written to the file since it was opened: rows read from then on may be cut in half.

        Raises:
            ConfigurationError: Somebody has.
        """
        if _stamp_of(self._stored) != self._stamp:
            raise ConfigurationError(
                f"{self.name} was written to while it was read, so its rows may be cut or moved; go on when it is "
                "whole again"
            )

    def __iter__(self) -> Iterator[Row]:
        if self.sheet is not None:
            return sheet_rows(self.sheet)
        assert self.encoding is not None  # noqa: S101
        text = open_text(self._file, self.encoding, reading=self._reading)
        if self.table is not None:
            return table_rows(text, self.table, name=self.name)
        if self.format is FileFormat.JSONL:
            return line_rows(text, name=self.name)
        return document_rows(text, name=self.name)


def open_rows(
    file: BinaryIO,
    *,
    name: str,
    file_format: FileFormat | str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    sheet: str | None = None,
) -> RowFile:
    """
    Get ready to read the rows of a file.

    Args:
        file: Open for reading bytes, and seekable. It stays open, and is not to be read by others meanwhile.
        name: What texts call it; without ``file_format`` its suffix says what kind it is.
        file_format: Its kind.
        encoding: A codec's name, in place of looking at the file; a mark at its start is stronger.
        delimiter: What stands between cells, in place of looking at the header.
        sheet: The name of a workbook's sheet, in place of its first one that is not hidden.

    Raises:
        ConfigurationError: The file is not of a kind that can be read, or a part of it can't be decoded or unpacked, or
            it has no header.
    """
    kind = _format_of(name, file_format)
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
        raise ConfigurationError("a delimiter is one character, and no quote or line break")
    stamp = _stamp_of(file)
    plain = unpacked(file, name=name)
    _refuse_other_kind(plain, kind, name, packed=plain is not file)
    if kind is FileFormat.XLSX:
        found = open_sheet(file, name=name, wanted=sheet)
        return RowFile(name=name, format=kind, encoding=None, sheet=found, file=file, stored=file, stamp=stamp)
    if sheet is not None:
        raise ConfigurationError(f"{name}: only a workbook has sheets")
    if kind is FileFormat.JSON and _longer_than(MAX_DOCUMENT, plain):
        raise too_large(name)
    known = detect_encoding(plain, name=name, given=encoding)
    table = None
    if kind is FileFormat.CSV:
        if delimiter is None and _bare(name).suffix.lower() == ".tsv":
            delimiter = "\t"
        table = read_table(open_text(plain, known), name=name, delimiter=delimiter)
    return RowFile(
        name=name,
        format=kind,
        encoding=known,
        table=table,
        packed=plain is not file,
        file=plain,
        stored=file,
        stamp=stamp,
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
        if stat.S_ISREG(fstat(file.fileno()).st_mode):
            return file
    except OSError as error:
        raise ConfigurationError(f"{path.name}: {error.strerror}") from None
    with file:
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
        raise ConfigurationError(f"{name} can't be kept in a temporary file: {error.strerror}") from None
    return copy


def _stamp_of(file: BinaryIO) -> object:
    """Give what changes when a file is written to; None where it stands on no disk."""
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
        raise ConfigurationError(
            f"{name}: files are known by their endings {', '.join(_SUFFIXES)}, each with {_PACKED} as well; say which "
            f"kind it is: {kinds}"
        )
    return _SUFFIXES[suffix]


def _other_workbook(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name}: of workbooks only .xlsx and .xlsm can be read, and none with a password; open it and save it as "
        '.xlsx, or as "CSV UTF-8"'
    )


def _refuse_other_kind(file: BinaryIO, kind: FileFormat, name: str, *, packed: bool) -> None:
    """Refuse a file whose first bytes say that it is not what its name says."""
    file.seek(0)
    start = file.read(len(_COMPOUND))
    if start == _COMPOUND:
        raise _other_workbook(name)
    workbook = start.startswith(_WORKBOOK)
    if workbook and packed:
        raise ConfigurationError(f"{name}: a workbook inside gzip; unpack it and import the workbook")
    if workbook and kind is not FileFormat.XLSX:
        raise ConfigurationError(
            f"{name}: this is an Excel workbook or a zip archive; give a workbook the ending .xlsx, or the format xlsx"
        )
    if kind is FileFormat.XLSX and not workbook:
        raise ConfigurationError(
            f"{name}: this is no Excel workbook; give a text file the ending .csv, or the format csv"
        )


def _longer_than(limit: int, file: BinaryIO) -> bool:
    # By reading: how long a packed file is nothing in it says for certain.
    file.seek(0)
    length = 0
    while length <= limit and (chunk := file.read(_CHUNK)):
        length += len(chunk)
    return length > limit
