"""
Rows with any column names to customer logs. May import: items, files_rows, mapping_times, mapping_toml, models, errors.

A mapping is made once for a kind of file, and says which column gives which field, which words of another system mean
which of Neto's, and in which zone the file's times are. As TOML it can be kept beside the files that it is for.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from neto_async.errors import ConfigurationError, InvalidRecordError
from neto_async.importing.files_rows import FaultyCell, Row, is_report_column
from neto_async.importing.items import FIELD_OF
from neto_async.importing.mapping_times import checked_format, read_day_or_time, read_time, zone_named
from neto_async.importing.mapping_toml import FILE_KEYS, mapping_in, toml_of
from neto_async.models import CustomerLog, CustomerLogStatus
from neto_async.wire import VENDOR_NAMES

__all__ = ["ANY_OTHER", "ColumnMapping", "field_named", "folded"]

ANY_OTHER = "*"
"""In the words of a value mapping: every other word that is not empty."""

_STATUS_WORDS = {status.casefold(): status.value for status in CustomerLogStatus}


def _columns(given: Mapping[str, str | Iterable[str]]) -> dict[str, tuple[str, ...]]:
    columns: dict[str, tuple[str, ...]] = {}
    for name, names in given.items():
        known = field_named(name)
        if known in columns:
            raise ConfigurationError(f"the columns of {known} are given twice")
        columns[known] = (names,) if isinstance(names, str) else tuple(names)
        if not columns[known] or not all(map(folded, columns[known])):
            raise ConfigurationError(f"{known} needs the name of a column")
    return columns


def _words(given: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    words: dict[str, dict[str, str]] = {}
    for name, meanings in given.items():
        for theirs, ours in meanings.items():
            known = words.setdefault(field_named(name), {})
            if known.setdefault(theirs.strip().casefold(), ours) != ours:
                raise ConfigurationError(f"a word of {field_named(name)} has two meanings: {theirs.strip()}")
    return words


def _zone(given: tzinfo | str | None) -> tzinfo | None:
    return zone_named(given) if isinstance(given, str) else given


def _formats(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(checked_format, [given] if isinstance(given, str) else given))


def _file(given: Mapping[str, str]) -> dict[str, str]:
    for key in given:
        if key not in FILE_KEYS:
            raise ConfigurationError(f"nothing about a file is called {key}; there are {', '.join(FILE_KEYS)}")
    return dict(given)


@frozen(kw_only=True)
class ColumnMapping:
    """
    How rows become customer logs.

    Fields are named in the vendor's way or in ours.

    Attributes:
        columns: For each field the column that gives it, or several; the first that is not empty wins.
        words: For a field, what its words mean: another system's word, in any case, to ours. ``*`` is every other word.
        timezone: Zone of times that name none, or its name; None refuses them.
        date_formats: Forms of times as `datetime.strptime` has them, in place of ISO 8601.
        file: How the file is read: arguments of `open_rows` (file_format, encoding, delimiter, sheet).

    Raises:
        ConfigurationError: No field, zone or argument is called so, or a date format can't be read for certain.
    """

    columns: Mapping[str, tuple[str, ...]] = field(factory=dict, converter=_columns)
    words: Mapping[str, Mapping[str, str]] = field(factory=dict, converter=_words, repr=False)
    timezone: tzinfo | None = field(default=None, converter=_zone)
    date_formats: tuple[str, ...] = field(default=(), converter=_formats)
    file: Mapping[str, str] = field(factory=dict, converter=_file)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> ColumnMapping:
        """
        Read a mapping from a file; see `loads`.

        Raises:
            ConfigurationError: The file can't be read, or is no mapping; the text names the key.
        """
        name = Path(path).name
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise ConfigurationError(f"{name}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"{name}: bytes that are not UTF-8, which TOML is written in") from None
        return cls.loads(text, name=name)

    @classmethod
    def loads(cls, text: str, *, name: str = "the mapping") -> ColumnMapping:
        """
        Read a mapping from TOML.

        The tables are ``[columns]``, ``[words.Status]`` (any field) and ``[file]``; above them stand ``timezone`` and
        ``date_formats``.

        Args:
            text: The TOML.
            name: What error texts call it.

        Raises:
            ConfigurationError: It is no TOML, holds an unknown key, or a value of the wrong kind.
        """
        known = mapping_in(text, name=name)
        try:
            return cls(**known)
        except ConfigurationError as error:
            raise ConfigurationError(f"{name}: {error}") from None

    def to_toml(self) -> str:
        """
        Write the mapping as TOML that `loads` reads.

        Raises:
            ConfigurationError: The time zone has no name, or a text is one that TOML can't hold.
        """
        return toml_of(
            columns={VENDOR_NAMES[name]: given for name, given in self.columns.items()},
            words={VENDOR_NAMES[name]: given for name, given in self.words.items()},
            timezone=self.timezone,
            date_formats=self.date_formats,
            file=self.file,
        )

    def completed(self, present: Iterable[str]) -> ColumnMapping:
        """
        Add the columns whose names are the vendor's or ours, for fields that have none yet.

        Args:
            present: Names of the file's columns.

        Raises:
            ConfigurationError: A column that the mapping names is not in the file or stands there twice, or two columns
                give one field.
        """
        own = [name for name in present if folded(name) and not is_report_column(name)]
        by_name = {folded(name): name for name in own}
        twice = {name for name, count in Counter(map(folded, own)).items() if count > 1}
        columns = {name: tuple(_present(column, by_name) for column in given) for name, given in self.columns.items()}
        taken = {column for given in columns.values() for column in given}
        for column in taken:
            if folded(column) in twice:
                raise ConfigurationError(f'the file has more than one column "{column}"; rename all but one')
        for name in own:
            known = FIELDS.get(folded(name))
            if known is None or name in taken or known in self.columns:
                continue
            if known in columns:
                raise ConfigurationError(
                    f'the columns "{columns[known][0]}" and "{name}" both give {known}; rename one'
                )
            columns[known] = (name,)
        return evolve(self, columns=columns)

    def used(self) -> frozenset[str]:
        """Name the columns that give a field."""
        return frozenset(column for given in self.columns.values() for column in given)

    def log_from(self, row: Row) -> CustomerLog:
        """
        Make a log from a row.

        Raises:
            InvalidRecordError: The row can't be read, or breaks a rule; the texts name line, column and field, never
                a value.
        """
        if row.fault is not None:
            raise InvalidRecordError((f"line {row.line}: {row.fault}",))
        values = {folded(name): value for name, value in zip(row.columns, row.cells, strict=False)}
        if len(values) < len(row.columns) and (name := self._twice(row)):
            raise InvalidRecordError((f'line {row.line}: "{name}" stands there more than once; leave one of them',))
        fields: dict[str, Any] = {}
        given_by: dict[str, str] = {}
        faults: dict[str, str] = {}
        for name, columns in self.columns.items():
            given_by[name], value = _first_given(columns, values)
            try:
                fields[name] = self._read(name, value)
            except ValueError as error:
                faults[name] = str(error)
        try:
            log = CustomerLog(**fields)
        except InvalidRecordError as error:
            raise InvalidRecordError(_located(row.line, given_by, faults, error.errors)) from None
        if faults:
            raise InvalidRecordError(_located(row.line, given_by, faults, ()))
        return log

    def _twice(self, row: Row) -> str | None:
        """Name a column in use that a row has more than once, as a JSON object may that spells it in two ways."""
        counts = Counter(map(folded, row.columns))
        return next((column for column in sorted(self.used()) if counts[folded(column)] > 1), None)

    def _read(self, name: str, value: object) -> Any:
        if value is None:
            return None
        if isinstance(value, FaultyCell):
            raise ValueError(value.fault)  # noqa: TRY004 - one kind of fault for a cell
        if isinstance(value, bool | dict | list):
            raise ValueError("must be text, a number or nothing")  # noqa: TRY004 - likewise
        known = value if isinstance(value, date) else self._word(name, str(value))
        if name == "last_contacted":
            return read_time(known, zone=self.timezone, formats=self.date_formats)
        if name == "date_required_follow_up":
            return read_day_or_time(known, zone=self.timezone, formats=self.date_formats)
        text = str(known)
        if name == "status" and text.strip():
            return _STATUS_WORDS.get(text.strip().casefold(), text)
        return text

    def _word(self, name: str, text: str) -> str:
        words = self.words.get(name)
        if words is None or not text.strip():
            return text
        return words.get(text.strip().casefold(), words.get(ANY_OTHER, text))


def field_named(name: str) -> str:
    """
    Give our name of a field from the vendor's or ours, in any case, with blanks, hyphens or underscores.

    Raises:
        ConfigurationError: There is no such field.
    """
    known = FIELDS.get(folded(name))
    if known is None:
        raise ConfigurationError(f'"{name}" is no field of a customer log; they are {", ".join(VENDOR_NAMES.values())}')
    return known


@lru_cache(maxsize=4096)  # The names of the columns, for each row again.
def folded(name: str) -> str:
    """Give what names that mean the same have in common: case, blanks, hyphens and underscores do not count."""
    return re.sub(r"[\s_-]+", "", name).casefold()


FIELDS = {folded(name): known for name, known in FIELD_OF.items()}


def _present(column: str, by_name: Mapping[str, str]) -> str:
    try:
        return by_name[folded(column)]
    except KeyError:
        names = ", ".join(f'"{name}"' for name in by_name.values()) or "none"
        raise ConfigurationError(f'the file has no column "{column}"; it has {names}') from None


def _located(line: int, given_by: Mapping[str, str], cells: Mapping[str, str], log: Iterable[str]) -> tuple[str, ...]:
    """Put all faults of a row in the order of its fields, each with its line and column."""
    found = {
        name: [f'line {line}, column "{column}": {cells[name]}'] for name, column in given_by.items() if name in cells
    }
    others = []
    for fault in log:
        name, _, what = fault.partition(": ")
        if name in given_by:
            found.setdefault(name, []).append(f'line {line}, column "{given_by[name]}": {name}: {what}')
        elif not cells:  # A log of nothing but faulty cells is not called empty as well.
            others.append(f"line {line}: {fault}")
    return (*(fault for name in VENDOR_NAMES for fault in found.get(name, ())), *others)


def _first_given(columns: tuple[str, ...], values: Mapping[str, Any]) -> tuple[str, Any]:
    for column in columns:
        value = values.get(folded(column))
        if value is not None and (isinstance(value, FaultyCell) or str(value).strip()):
            return column, value
    return columns[0], None
