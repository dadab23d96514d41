"""A row of a file of any kind. May import: nothing of the package."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from attrs import field, frozen

__all__ = [
    "RAW_COLUMN",
    "REPORT_PREFIX",
    "FaultyCell",
    "Row",
    "checked_row",
    "is_report_column",
    "no_record",
    "some",
    "spreadsheet_error",
]

REPORT_PREFIX = "neto_"
"""How the names of the columns begin that reports add to the input's own. They are never read as a log's fields."""

RAW_COLUMN = "neto_raw"  # the column in which a report keeps the text of a row that could not be read as cells

_SPREADSHEET_ERRORS = {
    *("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#GETTING_DATA", "#SPILL!", "#CALC!"),
    *("#FIELD!", "#BLOCKED!", "#CONNECT!", "#UNKNOWN!", "#BUSY!", "#PYTHON!", "#EXTERNAL!", "#ERROR!"),
}
"""What cells show that a spreadsheet could not calculate, in files that it exported too."""

_NO_ROOM = re.compile("#{3,}")
_ERROR_NUMBER = re.compile(r"ERR:5\d\d")  # LibreOffice

_TOTALS = frozenset(
    re.findall(
        r"\S+",
        "total totals subtotal subtotals sub-total sub-totals sum summe gesamt gesamtsumme gesamtergebnis ergebnis "
        "teilergebnis zwischensumme endsumme insgesamt totale totali subtotale totaux sous-total somma somme suma "
        "totaal subtotaal eindtotaal som totalt summa delsumma alt yhteensä soma razem celkem součet összesen összeg "
        "ukupno toplam итого всего сумма разом σύνολο 合計 小計 総計 总计 合计 小计 합계 average averages count "
        "durchschnitt mittelwert anzahl moyenne promedio media média gemiddelde aantal",
    )
)
"""Words for totals, in languages that spreadsheets and reports are in."""

_OF_TOTALS = frozenset(re.findall(r"\S+", "grand overall general général générale generale geral i of all calls"))
_TOTALS_BEGIN = frozenset(word[:3] for word in (*_TOTALS, *_OF_TOTALS))
_TOTALS_END = frozenset(word[-3:] for word in _TOTALS)
_MOST_WORDS = 5

_COUNT_BELOW = re.compile(
    r"\(?\d[\d,. ]{0,15} (?:rows?|records?|lines?|entries|items|results?|calls?|tickets?|zeilen|datensätze|lignes|"
    r"filas|registros|righe|rijen)\b[^?!()]{0,40}(?:\([\d. a-z]{1,20}\))?\)?",
)
"""What databases and reports write below a table: (2 rows affected)."""
_COUNT_BEGINS = frozenset("(0123456789")

_RULE = re.compile("[-=_+:*|~ ]*")
_RULE_BEGINS = frozenset("-=_+:*|~")

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_DAY = re.compile(r"\d[-/.]\d{1,2}[-/.]\d")

_FEW, _LONGEST_NAME = 20, 50  # names that a text lists, and characters of each


def is_report_column(name: str) -> bool:
    """True for a column that a report added."""
    return name.strip().casefold().startswith(REPORT_PREFIX)


def some(names: Collection[str]) -> str:
    """List names in a text; of many the first twenty, each cut to fifty characters."""
    listed = ", ".join(
        name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…" for name in islice(names, _FEW)
    )
    return listed if len(names) <= _FEW else f"{listed} and {len(names) - _FEW:,} more"


@frozen(kw_only=True)
class FaultyCell:
    """
    A cell of a workbook that shows nothing which can be sent. As text it is what it shows.

    Attributes:
        shown: What a person sees in it. If that is nothing, ``#N/A``: an empty cell in a report would be imported.
        fault: Why it can't be sent. Never a customer's text.
    """

    shown: str = field(default="#N/A", repr=False)
    fault: str

    def __str__(self) -> str:
        return self.shown


@frozen(kw_only=True)
class Row:
    """
    One row as it is in the file.

    Attributes:
        line: The physical line on which it starts, from 1; in a workbook the row.
        columns: Names of its cells; the same tuple for all rows of a table.
        cells: Its cells; empty where it could not be read as cells. Texts; from JSON any of JSON's types; from a
            workbook also whole numbers, decimals, dates, times, and `FaultyCell`.
        fault: Why it can't be read as cells, None where it can. Holds positions, never a cell's text.
        aside: ``hidden`` or ``totals`` for a row of a workbook that a person does not see, or that is none of its data.
        raw: Its own text where it could not be read as cells, so that nothing is lost; else None.
    """

    line: int
    columns: tuple[str, ...] = field(default=(), repr=False)
    cells: tuple[Any, ...] = field(default=(), repr=False)
    fault: str | None = None
    raw: str | None = field(default=None, repr=False)
    aside: str = ""

    @property
    def values(self) -> Mapping[str, Any]:
        """The cells by name; of columns that share a name, the last."""
        return dict(zip(self.columns, self.cells, strict=False))

    def value(self, column: str) -> Any:
        """Give the cell of a column, compared in any case; None without one."""
        wanted = column.casefold()
        for name, cell in zip(self.columns, self.cells, strict=False):
            if name.strip().casefold() == wanted:
                return cell
        return None


def spreadsheet_error(text: str) -> str | None:
    """Give the error that a cell shows, or hashes where its column was too narrow; None for any other text."""
    text = text.strip()
    upper = text.upper()
    if _NO_ROOM.fullmatch(upper):
        return "###"
    return text if upper in _SPREADSHEET_ERRORS or _ERROR_NUMBER.fullmatch(upper) else None


@lru_cache(maxsize=256)
def _known(columns: tuple[str, ...]) -> tuple[frozenset[str], bool]:
    """Give the names of columns as a repeated header is compared, and whether one holds the text of broken rows."""
    names = frozenset(name.strip().casefold() for name in columns)
    return names, RAW_COLUMN in names


def checked_row(row: Row, raw: Callable[[], str] | None = None) -> Row:
    """
    Give a row, or its fault where it is no record: the header again, totals, or a report's row that is still broken.

    ``raw`` gives its text, where the file has one.
    """
    names, has_raw = _known(row.columns)
    if has_raw and _is_unfilled(row):
        kept = str(row.value(RAW_COLUMN))
        return Row(line=row.line, columns=row.columns, fault=f"fill in the cells from {RAW_COLUMN}", raw=kept)
    fault = None if row.aside == "totals" else no_record(row.cells, names)
    if fault is None:
        return row
    text = raw() if raw else " ".join(map(str, filter(None, row.cells)))
    return Row(line=row.line, columns=row.columns, fault=fault, raw=text, aside=row.aside)


def _is_unfilled(row: Row) -> bool:
    own = (cell for name, cell in zip(row.columns, row.cells, strict=True) if not is_report_column(name))
    return bool(row.value(RAW_COLUMN)) and not any(own)


def no_record(cells: Sequence[Any], names: Collection[str] = ()) -> str | None:
    """
    Say what cells are that are no record: the header again, totals, a count below the table, a rule; else None.

    ``names`` are those of the columns, without blanks around them, in small letters.
    """
    first = cells[0] or next(filter(None, cells), None)
    if type(first) is not str or len(first) > _LONGEST_NAME or not (text := first.strip().casefold()):
        return None
    what = None
    if text in names and _is_header(cells, names):
        return "the row repeats the header"
    if len(text) > 1 and text[0] in _RULE_BEGINS and all(_RULE.fullmatch(str(cell)) for cell in filter(None, cells)):
        what = "a rule between rows"
    elif (text[:3] in _TOTALS_BEGIN or text.rstrip(" :.")[-3:] in _TOTALS_END) and _is_total(text, first, cells):
        what = "the totals of a table"
    elif text[0] in _COUNT_BEGINS and _COUNT_BELOW.fullmatch(text) and len(cells) > 1 and not any(cells[1:]):
        what = "the number of rows below a table"
    return what and f"the row looks like {what}, which is no record; leave it out of the file"


def _is_header(cells: Sequence[Any], names: Collection[str]) -> bool:
    """Whether all cells are names of columns, in another order perhaps: that of a file which was put below."""
    given = [str(cell).strip().casefold() for cell in cells if cell]
    return len(given) >= min(2, len(cells)) and all(name in names for name in given)


def _is_total(text: str, first: str, cells: Sequence[Any]) -> bool:
    """Whether no other cell has a letter or a day, and a word for totals is all, or first or last beside numbers."""
    words = _WORD.findall(text)
    others = " ".join(str(cell) for cell in cells if cell is not None and cell is not first)
    if _TOTALS.isdisjoint(words) or any(map(str.isalpha, others)) or _DAY.search(others):
        return False
    if all(word in _TOTALS or word in _OF_TOTALS for word in words):
        return True
    counted = any(map(str.isdigit, f"{text}{others}"))
    return counted and len(words) <= _MOST_WORDS and not _TOTALS.isdisjoint((words[0], words[-1]))
