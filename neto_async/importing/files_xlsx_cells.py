"""
What a cell of an Excel workbook shows. May import: files_rows.

A workbook keeps dates as numbers and says by a number format that they are dates; a person sees neither. The parts of
ECMA-376 that matter here: 18.3.1.4 (cells), 18.8.30 (number formats), 18.17.4 (dates as numbers).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from attrs import define, field, frozen

from neto_async.importing.files_rows import FaultyCell

__all__ = ["NUMBER", "NumberFormat", "Shows", "StoredCell", "format_of", "plain_text", "value_of"]


class Shows(Enum):
    """What a number format makes of a number."""

    NUMBER = "number"
    DATE = "date"
    ELAPSED = "elapsed"


@frozen
class NumberFormat:
    """
    How a number is shown.

    Attributes:
        shows: What it is shown as.
        digits: Digits that a whole number has at least: a customer number 00123 is kept as 123 and the format 00000.
    """

    shows: Shows = Shows.NUMBER
    digits: int = 1


NUMBER = NumberFormat()


@define(kw_only=True)
class StoredCell:
    """
    A cell as the workbook keeps it.

    Attributes:
        kind: The attribute ``t``: ``s`` a shared text, ``str`` and ``inlineStr`` a text, ``b``, ``e``, ``d``, ``n``.
        text: What stands in it; None where nothing was kept.
        formula: True where it is calculated.
        format: How a number in it is shown.
    """

    kind: str
    text: str | None = field(repr=False)
    formula: bool
    format: NumberFormat = NUMBER


_DATES = {*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)}
"""Numbers of the formats that are dates or times without being written down (18.8.30, East Asian ones included)."""

_BUILT_IN = {number: NumberFormat(Shows.DATE) for number in _DATES} | {46: NumberFormat(Shows.ELAPSED)}

_LITERALS = re.compile(r'"[^"]*"?|\\.|[_*].|\[(?!(?:h+|m+|s+)\])[^\]]*\]', re.IGNORECASE | re.DOTALL)
"""What a format shows as it stands, or says about colour and language."""

_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
"""How a text holds a character that XML can't (22.4.2.4)."""

_ERRORS = {"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#GETTING_DATA", "#SPILL!", "#CALC!"}

_LAST_DAY = 2_958_465
"""31 December 9999, as a number."""

_YEARS_APART = 1462
"""Days between the two starts."""

_LEAP_DAY = 60
"""29 February 1900, which never was; Excel counts it, as Lotus 1-2-3 did."""

_SURE = 10**15
"""Up to here a number keeps all of its digits (15 of them, Excel's specifications and limits)."""


def format_of(number: int, codes: dict[int, str]) -> NumberFormat:
    """Say what the number format with this number shows; `codes` are those that the workbook writes down."""
    code = codes.get(number)
    if code is None:
        return _BUILT_IN.get(number, NUMBER)
    shown = _LITERALS.sub("", code).split(";", 1)[0].lower()
    if "[" in shown:
        return NumberFormat(Shows.ELAPSED)
    if "general" not in shown and re.search("[dmyhs]", shown):
        return NumberFormat(Shows.DATE)
    return NumberFormat(digits=len(code)) if re.fullmatch("0{2,}", code) else NUMBER


def plain_text(text: str) -> str:
    """Give a text without the escapes for characters that XML can't hold."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def value_of(cell: StoredCell, texts: Sequence[str], *, since_1904: bool) -> Any:
    """
    Give what a cell shows.

    Args:
        cell: As it is kept.
        texts: The workbook's shared texts.
        since_1904: Whether the workbook counts days from 1904, as old ones of Macs do.

    Returns:
        None, a text, an int, a Decimal, a date, a datetime, or a `FaultyCell` that says why it shows nothing that
        can be sent.

    Raises:
        ValueError: The workbook is damaged.
        LookupError: Likewise.
    """
    text = cell.text
    if cell.formula and (text is None or (not text and cell.kind not in {"str", "inlineStr"})):
        return FaultyCell(shown="", fault="a formula that was never calculated; open the workbook in Excel and save it")
    if text is None:
        return None
    match cell.kind:
        case "s":
            return _shared(int(text), texts)
        case "str" | "inlineStr":
            return plain_text(text)
        case "b":
            return "TRUE" if text.strip() == "1" else "FALSE"
        case "e":
            shown = text if text in _ERRORS else "an error"
            return FaultyCell(shown=shown, fault=f"the cell shows {shown}")
        case "d":
            return _moment(datetime.fromisoformat(text))
    return _number(text, cell.format, since_1904=since_1904) if text else None


def _shared(number: int, texts: Sequence[str]) -> str:
    if number < 0:
        raise ValueError("a shared text's number below 0")
    return texts[number]


def _number(text: str, form: NumberFormat, *, since_1904: bool) -> Any:
    if form.shows is Shows.NUMBER:
        return _plain_number(text, form.digits)
    days = float(text)
    if form.shows is Shows.ELAPSED:
        return _elapsed(days)
    return _date(days, since_1904=since_1904)


def _plain_number(text: str, digits: int) -> Any:
    if re.fullmatch(r"-?\d{1,20}", text, re.ASCII):
        number = int(text)
    else:
        shown = Decimal(f"{float(text):.15g}")
        if shown != shown.to_integral_value():
            return shown
        if abs(shown) >= _SURE:
            return FaultyCell(shown=str(shown), fault="a number whose last digits the workbook does not keep")
        number = int(shown)
    return str(number).zfill(digits) if digits > 1 and number >= 0 else number


def _date(days: float, *, since_1904: bool) -> Any:
    if 0 <= days < 1:
        return str((datetime(1904, 1, 1) + _rounded(days)).time())  # noqa: DTZ001 - a workbook's times have no zone
    last = _LAST_DAY
    if since_1904:
        last -= _YEARS_APART
        start = datetime(1904, 1, 1)  # noqa: DTZ001 - a workbook's times have no zone
    else:
        start = datetime(1899, 12, 30) if days > _LEAP_DAY else datetime(1899, 12, 31)  # noqa: DTZ001 - likewise
    if not 0 <= days <= last or (int(days) == _LEAP_DAY and not since_1904):
        return FaultyCell(shown=str(days), fault="a number that is no day in the calendar")
    return _moment(start + _rounded(days))


def _moment(found: datetime) -> date | datetime:
    return found.date() if found.time() == time() else found


def _elapsed(days: float) -> str:
    seconds = round(abs(days) * 86_400)
    sign = "-" if days < 0 else ""
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _rounded(days: float) -> timedelta:
    # To the millisecond, which is what the number keeps for certain.
    return timedelta(milliseconds=round(days * 86_400_000))
