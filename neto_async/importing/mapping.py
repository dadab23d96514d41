"""
Rows with any column names to customer logs. May import: items, files_rows, mapping_times, models, errors.

A mapping is made once for a file, and says which column gives which field, which words of another system mean which
of Neto's, and in which zone the file's times are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import tzinfo
from typing import Any

from attrs import evolve, field, frozen

from neto_async.errors import ConfigurationError, InvalidRecordError
from neto_async.importing.files_rows import Row, is_report_column
from neto_async.importing.items import FIELD_OF
from neto_async.importing.mapping_times import read_day_or_time, read_time
from neto_async.models import CustomerLog, CustomerLogStatus
from neto_async.wire import VENDOR_NAMES

__all__ = ["ANY_OTHER", "ColumnMapping", "field_named", "folded"]

ANY_OTHER = "*"
"""In the words of a value mapping: every other word that is not empty."""

_STATUS_WORDS = {status.casefold(): status.value for status in CustomerLogStatus}


@frozen(kw_only=True)
class ColumnMapping:
    """
    How rows become customer logs.

    Attributes:
        columns: For each field (our name) the columns that give it; the first that is not empty wins.
        words: For a field, what its words mean: another system's word, in lower case, to ours.
        timezone: Zone of times that name none; None refuses them.
        date_formats: Forms of times as `datetime.strptime` has them, in place of ISO 8601.
    """

    columns: Mapping[str, tuple[str, ...]]
    words: Mapping[str, Mapping[str, str]] = field(factory=dict, repr=False)
    timezone: tzinfo | None = None
    date_formats: tuple[str, ...] = ()

    def completed(self, present: Iterable[str]) -> ColumnMapping:
        """
        Add the columns whose names are the vendor's or ours, for fields that have none yet.

        Args:
            present: Names of the file's columns.

        Raises:
            ConfigurationError: A column that the mapping names is not in the file, or two columns give one field.
        """
        own = [name for name in present if not is_report_column(name)]
        by_name = {folded(name): name for name in own}
        columns = {name: tuple(_present(column, by_name) for column in given) for name, given in self.columns.items()}
        taken = {column for given in columns.values() for column in given}
        for name in own:
            known = FIELDS.get(folded(name))
            if known is None or name in taken or known in self.columns:
                continue
            if known in columns:
                raise ConfigurationError(f'the columns "{columns[known][0]}" and "{name}" both give {known}; map one')
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
        values = {folded(name): value for name, value in row.values.items()}
        fields: dict[str, Any] = {}
        errors = []
        for name, columns in self.columns.items():
            column, value = _first_given(columns, values)
            try:
                fields[name] = self._read(name, value)
            except ValueError as error:
                errors.append(f'line {row.line}, column "{column}": {error}')
        if errors:
            raise InvalidRecordError(tuple(errors))
        try:
            return CustomerLog(**fields)
        except InvalidRecordError as error:
            raise InvalidRecordError(tuple(f"line {row.line}: {fault}" for fault in error.errors)) from None

    def _read(self, name: str, value: object) -> Any:
        if value is None or value == "":
            return None
        if isinstance(value, bool | dict | list):
            raise ValueError("must be text, a number or nothing")  # noqa: TRY004 (one kind of fault for a cell)
        text = self._word(name, str(value))
        if name == "last_contacted":
            return read_time(text, zone=self.timezone, formats=self.date_formats)
        if name == "date_required_follow_up":
            return read_day_or_time(text, zone=self.timezone, formats=self.date_formats)
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


def _first_given(columns: tuple[str, ...], values: Mapping[str, Any]) -> tuple[str, Any]:
    for column in columns:
        value = values.get(folded(column))
        if value is not None and str(value).strip():
            return column, value
    return columns[0], None
