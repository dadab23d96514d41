"""
Files of customer logs, read row by row: CSV with any usual delimiter and encoding, JSON Lines, JSON.

A file is looked at once from end to end when it is opened, for its encoding, and can then be read any number of
times in constant memory (a JSON document excepted, which is read whole). What can't be read is either one row, which
says why, or the file as a whole, which is refused with line and column before its first row. May import: errors, and
the files_* modules.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from attrs import field, frozen

from neto_async.errors import ConfigurationError
from neto_async.importing.files_csv import Table, read_table, table_rows
from neto_async.importing.files_encoding import Encoding, detect_encoding, open_text
from neto_async.importing.files_json import MAX_DOCUMENT, document_rows, line_rows, too_large
from neto_async.importing.files_rows import Row

__all__ = ["FileFormat", "Row", "RowFile", "open_binary", "open_rows"]


class FileFormat(StrEnum):
    """The kinds of file that can be read."""

    CSV = "csv"
    JSONL = "jsonl"
    JSON = "json"


_SUFFIXES = {
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".json": FileFormat.JSON,
}

_WORKBOOK = b"PK\x03\x04"
"""The first bytes of a zip archive, which an Excel workbook is."""


@frozen(kw_only=True)
class RowFile:
    """
    A file of rows; iterating it reads it from the start. One iteration at a time.

    Attributes:
        name: What texts call it.
        format: Its kind.
        encoding: How its bytes become text.
        table: Its delimiter and columns; None for JSON, whose objects each bring their own names.
    """

    name: str
    format: FileFormat
    encoding: Encoding
    table: Table | None
    _file: BinaryIO = field(repr=False, alias="file")

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The names of the columns; None for JSON."""
        return self.table.columns if self.table else None

    @property
    def delimiter(self) -> str | None:
        """What stands between cells; None for JSON."""
        return self.table.delimiter if self.table else None

    def __iter__(self) -> Iterator[Row]:
        text = open_text(self._file, self.encoding)
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
) -> RowFile:
    """
    Get ready to read the rows of a file.

    Args:
        file: Open for reading bytes, and seekable. It stays open, and is not to be read by others meanwhile.
        name: What texts call it; without ``file_format`` its suffix says what kind it is.
        file_format: Its kind.
        encoding: A codec's name, in place of looking at the file; a mark at its start is stronger.
        delimiter: What stands between cells, in place of looking at the header.

    Raises:
        ConfigurationError: The file is not of a kind that can be read, or a part of it can't be decoded, or it has no
            header.
    """
    kind = _format_of(name, file_format)
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
        raise ConfigurationError("a delimiter is one character, and no quote or line break")
    _refuse_workbook(file, name)
    if kind is FileFormat.JSON and file.seek(0, os.SEEK_END) > MAX_DOCUMENT:
        raise too_large(name)
    known = detect_encoding(file, name=name, given=encoding)
    table = None
    if kind is FileFormat.CSV:
        if delimiter is None and name.lower().endswith(".tsv"):
            delimiter = "\t"
        table = read_table(open_text(file, known), name=name, delimiter=delimiter)
    return RowFile(name=name, format=kind, encoding=known, table=table, file=file)


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
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
    except OSError as error:
        raise ConfigurationError(f"{path.name}: {error.strerror}") from None
    with file:
        return _copy(file, path.name)


def _copy(source: BinaryIO, name: str) -> BinaryIO:
    try:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        shutil.copyfileobj(source, copy)
    except OSError as error:
        raise ConfigurationError(f"{name} can't be kept in a temporary file: {error.strerror}") from None
    return copy


def _format_of(name: str, given: FileFormat | str | None) -> FileFormat:
    kinds = "csv, jsonl or json"
    if given is not None:
        try:
            return FileFormat(given)
        except ValueError:
            raise ConfigurationError(f"the format of a file is one of {kinds}") from None
    suffix = Path(name).suffix.lower()
    if suffix in {".xlsx", ".xlsm", ".xls", ".ods"}:
        raise ConfigurationError(f'{name}: a workbook can\'t be read; save it as "CSV UTF-8" and import that')
    if suffix not in _SUFFIXES:
        raise ConfigurationError(
            f"{name}: files are known by their endings {', '.join(_SUFFIXES)}; say which kind it is: {kinds}"
        )
    return _SUFFIXES[suffix]


def _refuse_workbook(file: BinaryIO, name: str) -> None:
    file.seek(0)
    if file.read(len(_WORKBOOK)) == _WORKBOOK:
        raise ConfigurationError(
            f'{name}: this is an Excel workbook or a zip archive; save it as "CSV UTF-8" and import that'
        )
