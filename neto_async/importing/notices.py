"""
Notices and doubts about a file, counted while it is read, before its rows are sent. May import: files, mapping.

A notice is information. A doubt is most likely wrong in a store: an unattended command stops at it and names the option
that answers it. Neither holds a customer's text; a row is named by its number.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from contextlib import suppress
from datetime import date, datetime, time, timezone, tzinfo
from itertools import takewhile
from typing import Any

from neto_async.files.opening import RowFile
from neto_async.files.rows import Row
from neto_async.mapping.cell_texts import BACKSLASH_ESCAPES, BLANKS, GARBLED, HTML
from neto_async.mapping.columns import ID_FIELDS, JOINED_BY, TIME_FIELDS, ColumnMapping, folded
from neto_async.models import CustomerLog
from neto_async.wire import VENDOR_NAMES

__all__ = ["Findings"]

_NULL_WORDS = {
    *("NULL", r"\N", "<NULL>", "<null>", "(null)", "(NULL)", "[NULL]", "#NULL#", "undefined", "NaN", "NaT", "<NA>"),
    *("<nil>", "<none>", "(none)", "(blank)", "[object Object]"),
}
"""Words that programs write for nothing."""

_BLANK_WORDS = {
    *("null", "Null", "None", "none", "nil", "NIL", "n/a", "N/A", "n.a.", "N.A.", "na", "NA", "nan", "-", "--", "---"),
    *(".", "?"),
}
"""Words that people write for nothing, or that are names. As a person's id they are most likely wrong."""

_NO_PERSON = {"0"}  # what a formula shows of an empty cell

_ANY_WORD = _NULL_WORDS | _BLANK_WORDS | _NO_PERSON

_TIME_OF_DAY = re.compile(r"\s*\d{1,2}:\d\d(?::\d\d)?(?: ?[AaPp]\.?[Mm]\.?)?\s*")

_DAY_AS_TEXT = re.compile(r"\s*(?:(?:1[3-9]|[23]\d)[/.-]\d{1,2}|\d{1,2}[/.-](?:1[3-9]|[23]\d))[/.-]\d{2,4}\b.*")
"""A day that only one order of day and month can read."""

_AROUND_IDS = f"{BLANKS}'"  # with a spreadsheet's mark of a text

_DAY = re.compile(r"\d[-/.]\d{1,2}[-/.]\d")

_FIRST_ROWS, _FEWEST, _LAST_ROWS = 20, 2, 5
"""Rows that are compared to find what is below a table: the first ones, how many there must be, and the last."""

_LINE_END = re.compile("\r\n|\r|\n")

_NOTICES = {
    "totals": "Left out as the totals of a table",
    "placeholder": "Taken for no time, as they hold a placeholder such as 1970-01-01",
    "twice": "Times that the clock of the zone shows twice, read as the first",
    "html": "HTML in cells, sent as it is (--html text makes plain text of it)",
    "escapes": r"Backslash escapes such as \n in cells, sent as they are (--escapes backslash reads them)",
    "single": "Rows with a single cell, as a line below a table has",
    "below": "Rows below a blank one, as a second table has",
}

_AROUND = "Username with a blank, an apostrophe or an invisible character at its start or end"

_DOUBTS = {
    "skipped-times": "times that the clock of the zone skips; is the zone right? give another --timezone, correct them",
    "days-as-text": (
        "days as text, such as 31/12/2026, beside dates: Excel may have read day and month of the dates in the wrong "
        "order; import the file that was opened in Excel, make dates of the texts"
    ),
    "cut-rows": (
        "a single cell below a full row, which may be cut by a line break without quotes; correct both, give "
        "--short-rows empty if only last cells are missing"
    ),
    "last-rows": "last rows that look like totals, or lines below the table; leave them out of the file",
    "garbled-letters": "cells with letters that another program has lost or changed; export them again as UTF-8",
}
"""What is doubted, and what can be done; or it is accepted by this name."""


class Findings:
    """What was found in the rows of a file."""

    def __init__(self, file: RowFile, mapping: ColumnMapping) -> None:
        self.beside: Counter[int] = Counter()
        self._file = file
        self._mapping = mapping
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._first: dict[tuple[str, ...], int] = {}
        self._times: list[datetime] = []  # the first and the last, once there are any
        self._read_texts = False  # a time was read from what is no date of a workbook
        self._several = [name for name, columns in mapping.columns.items() if len(columns) > 1 or _joins(columns)]
        self._used = {folded(name) for name in mapping.used()}
        self._time_fields = [name for name in TIME_FIELDS if name in mapping.columns]
        self._below_valid = False  # the row above made a log
        self._above: Row | None = None
        self._rows = 0  # seen so far
        self._first_rows: list[Row] = []
        self._last_rows: deque[Row] = deque(maxlen=_LAST_ROWS)
        self._day = 0  # the last time's, and whether the clock changes on it
        self._clock_changes = False

    def see(self, row: Row, log: CustomerLog | None) -> None:
        """Look at a row, and at the log that it made."""
        self._rows += 1
        if row.aside:
            self._count(row, row.aside)
            if self._file.leaves_out(row):
                return
        texts = [cell for cell in row.cells if isinstance(cell, str)]
        if not _ANY_WORD.isdisjoint(map(str.strip, texts)) or 0 in row.cells:
            self._see_words(row)
        if self._above and row.line > self._above.line + 1 and self._is_below_blank(row, self._above):
            self._count(row, "below")
        self._above = row
        if self._file.sheet is not None and self._time_fields:
            self._see_days(row)
        if log is not None:
            self._see_valid(row, log, texts)
        elif row.fault is None:
            self._see_order(row)
        elif self._below_valid and row.fault.startswith("the row has 1 cell,"):
            self._count(row, "cut-rows")
        self._below_valid = log is not None

    def _see_valid(self, row: Row, log: CustomerLog, texts: list[str]) -> None:
        joined = "\n".join(texts)
        if ("<" in joined or "&" in joined) and not self._mapping.html:
            self._see_pattern(row, HTML, "html")
        if "\\" in joined and not self._mapping.escapes:
            self._see_pattern(row, BACKSLASH_ESCAPES, "escapes")
        if not joined.isascii():
            self._see_pattern(row, GARBLED, "garbled-letters")
        if log.username and (log.username[0] in _AROUND_IDS or log.username[-1] in _AROUND_IDS):
            self._count(row, "around")
        if self._file.columns:
            self._see_place(row)
        for name in self._time_fields:
            self._see_time(row, log, name)
        for name in self._several:
            if (column := self._mapping.source_of(name, row)) is not None:
                self._count(row, "from", VENDOR_NAMES[name], column)
        if "" in row.columns:
            self.beside.update(
                at for at, name in enumerate(row.columns) if not name and str(row.cells[at] or "").strip()
            )

    def _see_place(self, row: Row) -> None:
        """Look at the position of a row in its table."""
        if not (row.cells[0] and row.cells[-1]) and len(row.columns) > 2 and sum(map(bool, row.cells)) == 1:  # noqa: PLR2004 - of two, one is usual
            self._count(row, "single")
        if len(self._first_rows) < _FIRST_ROWS:
            self._first_rows.append(row)
        self._last_rows.append(row)

    def _count_last(self) -> None:
        """Count the rows at the end that have one text and no day, where those above have more texts."""
        below = list(takewhile(_is_label, reversed(self._last_rows)))
        if below:
            above = [_texts(row) for row in self._first_rows if row.line < below[-1].line]
            if len(above) >= _FEWEST and min(above) > 1:
                self._counts["last-rows",] = len(below)
                self._first["last-rows",] = below[-1].line

    def _count(self, row: Row, *key: str) -> None:
        self._counts[key] += 1
        # The objects of a JSON document are often all in one line.
        self._first.setdefault(key, self._rows if self._file.format == "json" else row.line)

    def _is_below_blank(self, row: Row, above: Row) -> bool:
        """Whether there is a blank row between two rows of a table; a cell of a text takes up several lines."""
        texts = (above.raw or "",) if above.fault else (cell for cell in above.cells if isinstance(cell, str))
        breaks = 0 if self._file.sheet else sum(len(_LINE_END.findall(text)) for text in texts)
        return self._file.columns is not None and row.line > above.line + 1 + breaks

    def _see_words(self, row: Row) -> None:
        for name, columns in self._mapping.columns.items():
            for column, cell in zip(row.columns, row.cells, strict=False):
                word = "" if cell is None else str(cell).strip()
                if word not in _ANY_WORD or not _in(column, columns) or (word == r"\N" and self._mapping.escapes):
                    continue
                if word.casefold() in self._mapping.words.get(name, {}) or word.casefold() in self._mapping.empty:
                    continue
                if word in _NULL_WORDS or name not in ID_FIELDS:
                    self._count(row, "word", word)
                else:
                    self._count(row, "no person", word, VENDOR_NAMES[name])

    def _see_pattern(self, row: Row, pattern: re.Pattern[str], what: str) -> None:
        for column, cell in zip(row.columns, row.cells, strict=False):
            if isinstance(cell, str) and folded(column) in self._used and pattern.search(cell):
                self._count(row, what)
                return

    def _see_days(self, row: Row) -> None:
        for name in self._time_fields:
            for column in self._mapping.columns[name]:
                cell = row.value(column)
                if isinstance(cell, date):
                    self._counts["dates",] += 1
                elif isinstance(cell, str) and _DAY_AS_TEXT.fullmatch(cell):
                    self._count(row, "days-as-text")

    def _see_order(self, row: Row) -> None:
        """Count a row that the order of day and month given can't read, and the other one can."""
        for form in self._mapping.date_formats:
            other = re.sub("%[dm]", lambda part: "%m" if part[0] == "%d" else "%d", form)
            if "%d" in form and "%m" in form and other not in self._mapping.date_formats:
                for name in self._time_fields:
                    text = self._mapping.text_in(row, name)
                    if not _fits(text, form) and _fits(text, other):
                        self._count(row, "day-order", form, other)

    def _see_time(self, row: Row, log: CustomerLog, name: str) -> None:
        at = getattr(log, name)
        columns = self._mapping.columns[name]
        if isinstance(at, datetime):
            self._see_moment(row, at)
        elif at is None and self._mapping.source_of(name, row) is not None:
            self._count(row, "placeholder")
        if at is not None and not self._read_texts:
            first, *_ = (self._mapping.source_of(name, row) or "").split(JOINED_BY)
            self._read_texts = not isinstance(row.value(first), date)
        if len(columns) > 1:
            taken = self._mapping.source_of(name, row)
            for column in columns:
                cell = row.value(column)
                if column != taken and isinstance(cell, str) and _TIME_OF_DAY.fullmatch(cell):
                    self._count(row, "time", VENDOR_NAMES[name], f"{taken}{JOINED_BY}{column}")

    def _see_moment(self, row: Row, at: datetime) -> None:
        if not self._times:
            self._times = [at, at]
        elif at < self._times[0]:
            self._times[0] = at
        elif at > self._times[1]:
            self._times[1] = at
        if at.tzinfo is not self._mapping.timezone or at.tzinfo is None:
            return
        if at.toordinal() != self._day:
            self._day = at.toordinal()
            self._clock_changes = _clock_changes(at.tzinfo, at.date())
        if self._clock_changes and at.utcoffset() != at.replace(fold=1).utcoffset():
            there_and_back = at.astimezone(timezone.utc).astimezone(at.tzinfo)
            self._count(
                row, "twice" if there_and_back.replace(tzinfo=None) == at.replace(tzinfo=None) else "skipped-times"
            )

    def _said(self, key: tuple[str, ...], what: str = "row") -> str:
        count = self._counts[key]
        first = f"first: {'row' if self._file.format == 'json' else 'line'} {self._first[key]}"
        return f"{count:,} {what}{'' if count == 1 else 's'} ({first})"

    def said(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Give the notices and the doubts, after the last row."""
        self._count_last()
        return self._notices(), self._doubts()

    def _doubts(self) -> tuple[str, ...]:
        """What is likely wrong, each with the option that answers it."""
        found = []
        encoding = self._file.encoding
        if encoding is not None and encoding.guessed:
            found.append(
                f"the encoding is guessed: {encoding.label}, as the file is not UTF-8; give it: "
                f"--encoding {encoding.codec}, or another, such as mac_roman or cp1250"
            )
        if ("hidden",) in self._counts and self._file.hidden_rows is None:
            found.append(f"hidden, as by a filter: {self._said(('hidden',))}; give --hidden-rows skip or send")
        if ("around",) in self._counts and self._mapping.outer_blanks is None:
            found.append(f"{_AROUND}: {self._said(('around',))}; give --outer-blanks remove or keep")
        for key in self._counts:
            if key[0] == "word" and key[1] in _NULL_WORDS:
                found.append(
                    f"cells with the word {key[1]}: {self._said(key, 'cell')}; give --empty '{key[1]}', or "
                    f"--map-value Field='{key[1]}={key[1]}' if it is meant"
                )
            elif key[0] == "no person":
                found.append(
                    f"{key[2]} is the word {key[1]}: {self._said(key)}; give --empty '{key[1]}', or "
                    f"--map-value {key[2]}='{key[1]}={key[1]}' if it is meant"
                )
            elif key[0] == "time":
                found.append(
                    f"a time of day is left out of {key[1]}: {self._said(key)}; join the columns: "
                    f'--map {key[1]}="{key[2]}"'
                )
            elif key[0] not in self._mapping.accept and (what := self._doubted(key)):
                found.append(f"{what[0]}: {self._said(key)}; {what[1]}, or give --accept {key[0]}")
        return tuple(found)

    def _doubted(self, key: tuple[str, ...]) -> tuple[str, str] | None:
        """Give the two parts of a doubt that can be accepted, and None for any other count."""
        if key[0] == "day-order":
            return f"times that {key[1]} can't read, and {key[2]} can", (
                f'if day and month are the other way round in all rows, give --date-format "{key[2]}"; correct these'
            )
        if key[0] not in _DOUBTS or (key[0] == "days-as-text" and not self._counts["dates",]):
            return None
        what, _, answer = _DOUBTS[key[0]].partition("; ")
        return what, answer

    def _notices(self) -> tuple[str, ...]:
        """What a person should look at."""
        found = []
        if self._file.encoding is not None:
            found.append(f"Encoding: {self._file.encoding.label}, {self._file.encoding.decided}")
        if self._time_fields:
            forms = self._mapping.date_formats
            read = f"Times: of the form {' or '.join(forms)}, as given" if forms else "Times: year, month, day"
            found += [read] if self._read_texts else []
            zone = self._mapping.timezone
            found += [_zone(zone, *self._times)] if zone is not None and self._times else []
        found += [f"{says}: {self._said((key,))}" for key, says in _NOTICES.items() if (key,) in self._counts]
        if ("hidden",) in self._counts and self._file.hidden_rows is not None:
            done = "Left out as hidden" if self._file.hidden_rows == "skip" else "Read though hidden"
            found.append(f"{done}: {self._said(('hidden',))}")
        if ("around",) in self._counts and self._mapping.outer_blanks is not None:
            found.append(f"{_AROUND}, sent with it: {self._said(('around',))}")
        for key in self._counts:
            if key[0] in self._mapping.accept and (what := self._doubted(key)):
                found.append(f"Accepted: {what[0]}: {self._said(key)}")
            elif key[0] == "word" and key[1] in _BLANK_WORDS:
                found.append(
                    f"Cells with the word {key[1]}: {self._said(key, 'cell')} (--empty '{key[1]}' empties them)"
                )
            elif key[0] == "from":
                found.append(f"{key[1]} from {key[2]}: {self._said(key)}")
        found += [
            f"Column {_letters(at) if self._file.sheet else at + 1}, without a name, is not read: {count:,} "
            f"cell{'' if count == 1 else 's'}"
            for at, count in sorted(self.beside.items())
        ]
        return tuple(found)


def _joins(columns: tuple[str, ...]) -> bool:
    return any(JOINED_BY in column for column in columns)


def _in(column: str, columns: tuple[str, ...]) -> bool:
    return any(folded(column) in {folded(given), *map(folded, given.split(JOINED_BY))} for given in columns)


def _texts(row: Row) -> int:
    """Count the cells that have a letter."""
    return sum(any(map(str.isalpha, cell)) for cell in row.cells if isinstance(cell, str))


def _is_label(row: Row) -> bool:
    """Whether the first cell of a row that is not empty is its only text, and none is a day."""
    first = next((cell for cell in row.cells if cell), None)
    dated = any(isinstance(cell, date) or _DAY.search(str(cell)) for cell in row.cells)
    return isinstance(first, str) and any(map(str.isalpha, first)) and _texts(row) == 1 and not dated


def _fits(text: str, form: str) -> bool:
    with suppress(ValueError):
        return bool(datetime.strptime(text, form))  # noqa: DTZ007 - only whether it can be read
    return False


def _clock_changes(zone: tzinfo, day: date) -> bool:
    first, last = datetime.combine(day, time(), zone), datetime.combine(day, time(23, 59, 59, fold=1), zone)
    return first.utcoffset() != last.utcoffset()


def _zone(zone: tzinfo, first: datetime, last: datetime) -> str:
    def shown(at: datetime) -> str:
        local: Any = at.astimezone(zone)
        return f"UTC{local.strftime('%z')[:3]}:{local.strftime('%z')[3:5]} on {local.date()}"

    until = "" if first.astimezone(zone).date() == last.astimezone(zone).date() else f", {shown(last)}"
    return f"Zone of times without one: {getattr(zone, 'key', zone)}, {shown(first)}{until}"


def _letters(at: int) -> str:
    at, letter = divmod(at, 26)
    return (_letters(at - 1) if at else "") + chr(65 + letter)
