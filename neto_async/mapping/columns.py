"""
Rows with any column names to customer logs. May import: files, times, toml_form, wire, models, errors.

A mapping is made once for a kind of file. It names the column of each field, the meaning of another system's words, and
the zone of the file's times. As TOML it can be stored beside its files.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime, time, tzinfo
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from neto_async.errors import ConfigurationError, InvalidRecordError
from neto_async.files.options import CELL_OPTIONS, FILE_OPTIONS, checked_options
from neto_async.files.rows import FaultyCell, Row, is_report_column, some, spreadsheet_error
from neto_async.mapping.cell_texts import BLANKS, CONTROL_CHARACTERS, html_as_text, unescaped
from neto_async.mapping.times import checked_format, read_time, zone_named
from neto_async.mapping.toml_form import mapping_in, toml_of
from neto_async.models import CustomerLog, CustomerLogStatus
from neto_async.wire import FIELD_OF, VENDOR_NAMES

__all__ = ["ANY_OTHER", "FIELDS", "ID_FIELDS", "JOINED_BY", "TIME_FIELDS", "ColumnMapping", "field_named", "folded"]

ANY_OTHER = "*"  # in the words of a value mapping: every other word that is not empty

JOINED_BY = " + "  # between the names of columns whose cells are joined with a blank

ID_FIELDS = {"username", "customer_name", "allocated_to"}
"""Fields in which a number is an id, and each of its digits counts."""

_Ways = list[tuple[str, str, int | None, bool]]

_MAX_WAYS = 256
"""Sets of columns, as the objects of a JSON file have them, for which a mapping remembers where its cells are."""

_ERRORS_BEGIN = {"#", "E", "e"}
_NOT_PLAIN = {"", " ", "\t", "\r", "\n", "\xa0", *_ERRORS_BEGIN}
"""First characters of texts that may be blank, or the error of a spreadsheet."""

_NO_ID = re.compile(r"\d(?:[.,]\d+)?(E)\+?\d+|\d+\.0*|(=).*|\d{1,3}(?:(,)\d{3})+", re.ASCII | re.IGNORECASE | re.DOTALL)
_NO_ID_IS = {
    0: "a number that ends in .0 is hardly an id",
    1: "a number in scientific notation has lost digits",
    2: "a formula instead of what it shows",
    3: "a number with commas between thousands is hardly an id",
}
"""What programs make of an id that they take for a number: 4711.0, 1.23E+11, =A1, 4,711."""

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


def _file(given: Mapping[str, Any]) -> dict[str, Any]:
    for key in given:
        if key not in FILE_OPTIONS:
            raise ConfigurationError(f"unknown key {key!r} in [file]; expected one of {', '.join(FILE_OPTIONS)}")
    return checked_options(given)


def _texts(given: str | Iterable[str]) -> frozenset[str]:
    return frozenset(word.strip().casefold() for word in ([given] if isinstance(given, str) else given))


@frozen(kw_only=True)
class ColumnMapping:
    """
    How rows become customer logs.

    Fields are named in the vendor's way or in ours.

    Attributes:
        columns: For each field the column that gives it, or several; the first that is not empty wins. ``A + B`` joins
            the cells of two columns or more with a blank.
        words: For a field, what its words mean: another system's word, in any case, to ours. ``*`` is every other word.
        timezone: Zone of times that name none, or its name; None refuses them. Of a time that its clock shows twice,
            the first is meant; one that it skips is read with the offset from before the change.
        date_formats: Forms of times as `datetime.strptime` has them, instead of ISO 8601; for times that are numbers
            ``unix-seconds``, ``unix-milliseconds`` or ``excel-days``.
        empty: Words that mean an empty cell, in any case.
        escapes: ``backslash`` reads escapes such as a line break's as a database dump means them.
        html: ``text`` makes plain text of HTML.
        control_characters: ``remove`` leaves out those that no log can hold.
        outer_blanks: ``remove`` leaves out blanks and invisible characters around cells, and a spreadsheet's apostrophe
            before a username; None and ``keep`` send them.
        any_year: Take years before 1990 and after 2100.
        accept: Doubts of a plan that are accepted, by the names that its texts give.
        file: How the file is read: arguments of `open_rows`.

    Raises:
        ConfigurationError: No field, zone or argument is called so, or a date format can't be read for certain.
    """

    columns: Mapping[str, tuple[str, ...]] = field(factory=dict, converter=_columns)
    words: Mapping[str, Mapping[str, str]] = field(factory=dict, converter=_words, repr=False)
    timezone: tzinfo | None = field(default=None, converter=_zone)
    date_formats: tuple[str, ...] = field(default=(), converter=_formats)
    empty: frozenset[str] = field(default=frozenset(), converter=_texts)
    escapes: str | None = None
    html: str | None = None
    control_characters: str | None = None
    outer_blanks: str | None = None
    any_year: bool = False
    accept: frozenset[str] = field(default=frozenset(), converter=_texts)
    file: Mapping[str, Any] = field(factory=dict, converter=_file)
    _ways: dict[tuple[str, ...], _Ways] = field(factory=dict, init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        checked_options({name: getattr(self, name) for name in CELL_OPTIONS if name != "empty"})

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

        The tables are ``[columns]``, ``[words.Status]`` (any field) and ``[file]``; above them are ``timezone``,
        ``date_formats`` and the rest.

        Args:
            text: The TOML.
            name: What error texts call it.

        Raises:
            ConfigurationError: It is not TOML, holds an unknown key, or a value of the wrong kind.
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
            cells={
                **{name: getattr(self, name) for name in CELL_OPTIONS},
                "empty": sorted(self.empty),
                "accept": sorted(self.accept),
            },
            file=self.file,
        )

    def completed(self, present: Iterable[str]) -> ColumnMapping:
        """
        Add the columns whose names are the vendor's or ours, for fields that have none yet.

        Args:
            present: Names of the file's columns.

        Raises:
            ConfigurationError: A column that the mapping names is not in the file or is there twice, or two columns
                give one field.
        """
        own = [name for name in present if folded(name) and not is_report_column(name)]
        by_name = {folded(name): name for name in own}
        twice = {name for name, count in Counter(map(folded, own)).items() if count > 1}
        columns = {name: tuple(_present(column, by_name) for column in given) for name, given in self.columns.items()}
        taken = {part for given in columns.values() for column in given for part in _parts(column)}
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
        """Name the columns that give a field, those that are joined too."""
        names = {column for given in self.columns.values() for column in given}
        return frozenset(names.union(*map(_parts, names)))

    def source_of(self, name: str, row: Row) -> str | None:
        """Name the column that gives a field in a row; of joined ones those that are not empty."""
        columns, _ = _places(row.columns)
        column, value = self._first_given(name, columns, row.cells)
        if value is None:
            return None
        parts = _parts(column) if folded(column) not in columns else (column,)
        filled = (part for part in parts if self._meaning(name, _cell(part, columns, row.cells)) is not None)
        return JOINED_BY.join(filled)

    def log_from(self, row: Row) -> CustomerLog:
        """
        Make a log from a row.

        Raises:
            InvalidRecordError: The row can't be read, or breaks a rule; the texts name line, column and field, never
                a value.
        """
        if row.fault is not None:
            raise InvalidRecordError((f"line {row.line}: {row.fault}",))
        places, repeated = _places(row.columns)
        if repeated and (name := self._twice(row)):
            raise InvalidRecordError((f'line {row.line}: "{name}" is there more than once; leave one of them',))
        fields: dict[str, Any] = {}
        given_by: dict[str, str] = {}
        faults: dict[str, str] = {}
        for name, column, at, plain in self._ways.get(row.columns) or self._ways_of(row.columns):
            if at is None:
                given_by[name], value = self._first_given(name, places, row.cells)
            else:
                given_by[name], value = column, row.cells[at]
                if not plain or type(value) is not str or value[:1] in _NOT_PLAIN:
                    value = self._meaning(name, value)
            try:
                fields[name] = None if value is None else self._read(name, value)
            except ValueError as error:
                faults[name] = str(error)
        try:
            log = CustomerLog(**fields)
        except InvalidRecordError as error:
            raise InvalidRecordError(_located(row.line, given_by, faults, error.errors)) from None
        if faults:
            raise InvalidRecordError(_located(row.line, given_by, faults, ()))
        return log

    def _ways_of(self, columns: tuple[str, ...]) -> _Ways:
        """Give for each field where its cell is, None for several columns, and whether it is taken unchanged."""
        places, _ = _places(columns)
        cleaned = bool(self.empty or self._cleans)
        if len(self._ways) >= _MAX_WAYS:
            self._ways.clear()
        self._ways[columns] = [
            (
                name,
                given[0],
                places.get(folded(given[0])) if len(given) == 1 else None,
                not (cleaned or name in self.words),
            )
            for name, given in self.columns.items()
        ]
        return self._ways[columns]

    def text_of(self, column: str, value: object) -> str:
        """
        Write a cell so that `log_from` reads it as it reads the value itself.

        Args:
            column: The name of its column.
            value: Of any type; a workbook's date is written in the first of ``date_formats`` that can express it.
        """
        if isinstance(value, date):
            fields = [name for name in TIME_FIELDS if folded(column) in map(folded, self.columns.get(name, ()))]
            for form in self.date_formats if fields else ():
                text = value.strftime(form)
                with suppress(ValueError):
                    if all(self._read(name, text) == self._read(name, value) for name in fields):
                        return text
        return "" if value is None else str(value)

    def text_in(self, row: Row, name: str) -> str:
        """Give the text that a row has for a field, before words are mapped."""
        places, _ = _places(row.columns)
        column, _ = self._first_given(name, places, row.cells)
        parts = (column,) if folded(column) in places else _parts(column)
        return " ".join(str(_cell(part, places, row.cells) or "").strip() for part in parts)

    def _twice(self, row: Row) -> str | None:
        """Name a column in use that a row has more than once, as a JSON object may that spells it in two ways."""
        counts = Counter(map(folded, row.columns))
        return next((column for column in sorted(self.used()) if counts[folded(column)] > 1), None)

    def _first_given(self, name: str, places: Mapping[str, int], cells: tuple[Any, ...]) -> tuple[str, Any]:
        columns = self.columns[name]
        for column in columns:
            at = places.get(folded(column))
            if at is not None:
                meaning = self._meaning(name, cells[at])
            elif JOINED_BY in column:
                found = [self._meaning(name, _cell(part, places, cells)) for part in _parts(column)]
                meaning = _joined([part for part in found if part is not None])
            else:
                continue
            if meaning is not None:
                return column, meaning
        return columns[0], None

    def _meaning(self, name: str, value: object) -> Any:
        """Give a cell after its words were mapped: a text, a date, a `FaultyCell`, or None for nothing."""
        if value is None or isinstance(value, date):
            return value
        if isinstance(value, dict | list):
            return FaultyCell(
                shown="",
                fault="must be text, a number or nothing; of an object, name what is inside of it, as in Notes.text",
            )
        text = value if isinstance(value, str) else _as_text(value, is_id=name in ID_FIELDS)
        bare = text.strip()
        if isinstance(value, FaultyCell) or bare[:1] in _ERRORS_BEGIN:
            if isinstance(value, str) and (error := spreadsheet_error(bare)):
                value = FaultyCell(shown=bare, fault=f"the cell shows {error}")
            if isinstance(value, FaultyCell):
                return self._meaning_of_faulty(name, value)
        if self._cleans:
            text = self._cleaned(name, text)
            bare = text.strip()
        if not bare or (self.empty and bare.casefold() in self.empty):
            return None
        words = self.words.get(name)
        if words is not None:
            text = words.get(bare.casefold(), words.get(ANY_OTHER, text))
            return text if text.strip() else None
        return text

    def _meaning_of_faulty(self, name: str, cell: FaultyCell) -> str | FaultyCell | None:
        word = cell.shown.strip().casefold()
        if word and word in self.empty:
            return None
        known = self.words.get(name, {}).get(word, cell) if word else cell
        return known if isinstance(known, FaultyCell) or known.strip() else None

    @property
    def _cleans(self) -> bool:
        return bool(self.escapes or self.html or self.control_characters or self.outer_blanks == "remove")

    def _cleaned(self, name: str, text: str) -> str:
        if self.escapes:
            text = unescaped(text)
        if self.html:
            text = html_as_text(text)
        if self.control_characters:
            text = CONTROL_CHARACTERS.sub("", text)
        if self.outer_blanks == "remove":
            return text.strip(f"{BLANKS}'" if name == "username" else BLANKS)
        return text

    def _read(self, name: str, value: Any) -> Any:
        if name in TIME_FIELDS and not isinstance(value, FaultyCell):
            return read_time(
                value,
                zone=self.timezone,
                formats=self.date_formats,
                any_year=self.any_year,
                keep_day=name == "date_required_follow_up",
            )
        if isinstance(value, FaultyCell):
            raise ValueError(value.fault)  # noqa: TRY004 - one kind of fault for a cell
        text = str(value)
        if name == "status":
            return _STATUS_WORDS.get(text.strip().casefold(), text)
        if name in ID_FIELDS and text[0] <= "=" and (found := _NO_ID.fullmatch(text.strip())):
            raise ValueError(f"{_NO_ID_IS[found.lastindex or 0]}; export the column as text")
        return text


TIME_FIELDS = ("last_contacted", "date_required_follow_up")  # fields whose cells are read as times


def field_named(name: str) -> str:
    """
    Give our name of a field from the vendor's or ours, in any case, with blanks, hyphens or underscores.

    Any other name raises `ConfigurationError`.
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
        if JOINED_BY in column:
            return JOINED_BY.join(_present(part, by_name) for part in _parts(column))
        names = some([f'"{name}"' for name in by_name.values()]) or "none"
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
            if "XML 1.0" in what:
                what += "; --control-characters remove does so in all cells"
            found.setdefault(name, []).append(f'line {line}, column "{given_by[name]}": {name}: {what}')
        elif not cells:  # A log of nothing but faulty cells is not called empty as well.
            others.append(f"line {line}: {fault}")
    return (*(fault for name in VENDOR_NAMES for fault in found.get(name, ())), *others)


@lru_cache(maxsize=256)
def _places(columns: tuple[str, ...]) -> tuple[dict[str, int], bool]:
    """Say where the cells of columns are, by their folded names, and whether two share one."""
    places = {folded(name): at for at, name in enumerate(columns)}
    return places, len(places) < len(columns)


def _cell(column: str, places: Mapping[str, int], cells: tuple[Any, ...]) -> Any:
    at = places.get(folded(column))
    return None if at is None else cells[at]


def _as_text(value: object, *, is_id: bool) -> str:
    if isinstance(value, bool):
        return str(value).upper()  # as a workbook shows it
    if is_id and isinstance(value, Decimal) and re.fullmatch(r"\d+\.0+", str(value)):
        return str(int(value))  # as in JSON of a program that takes ids for measures
    return str(value)


def _parts(column: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in column.split(JOINED_BY))


def _joined(parts: list[Any]) -> Any:
    for part in parts:
        if isinstance(part, FaultyCell):
            return part
    return parts[0] if len(parts) == 1 else " ".join(map(_shown, parts)) or None


def _shown(part: Any) -> str:
    """Write a part; of a date with a time of midnight, as a workbook has, the date."""
    if isinstance(part, datetime):
        return part.date().isoformat() if part.time() == time() else part.isoformat(" ")
    return part.isoformat() if isinstance(part, date) else str(part).strip()
