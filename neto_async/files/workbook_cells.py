"""
The value that a cell of an Excel workbook shows. May import: rows, number_formats.

ECMA-376 part 1: 18.3.1.4 (cells), 18.17.4 (dates as numbers). What can't be read makes its own cell faulty.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from neto_async.files.number_formats import NumberFormat
from neto_async.files.rows import FaultyCell, spreadsheet_error

__all__ = ["plain_text", "value_of"]

_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")  # a character that XML can't hold (22.4.2.4)
_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:E[+-]?\d+)?\s*|-?INF", re.ASCII | re.IGNORECASE)
"""How a number is written (XML Schema part 2, section 3.2.5), without NaN; linear, as no part of it overlaps."""

_LAST_DAY = 2_958_465  # 31 December 9999
_LEAP_DAY = 60  # 29 February 1900, which never was; Excel counts it, as Lotus 1-2-3 did
_YEARS_APART = 1462  # days between the starts of the two calendars, 1900 and 1904
_DIGITS = 15  # that Excel keeps of a number (its specifications and limits)

_UNREADABLE = FaultyCell(fault="a cell that is damaged; open the workbook in Excel and fill it in again")
_UNCALCULATED = FaultyCell(fault="a formula that was never calculated; open the workbook in Excel and save it")


def plain_text(text: str) -> str:
    """Give a text without the escapes for characters that XML can't hold."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def value_of(
    kind: str, text: str | None, form: NumberFormat, texts: Sequence[str | FaultyCell], *, formula: bool = False
) -> Any:
    """
    Give what a cell shows: None, a text, an int, a Decimal, a date, a datetime, or a `FaultyCell`.

    Args:
        kind: The attribute ``t``: ``s`` a shared text, ``str`` and ``inlineStr`` a text, ``b``, ``e``, ``d``, ``n``.
        text: What is in it; None where nothing was kept.
        form: How a number or a text in it is shown.
        texts: The workbook's shared texts.
        formula: Whether it is calculated.
    """
    is_text = kind in {"str", "inlineStr"}
    if text is None or (not text and not is_text):
        return _UNCALCULATED if formula else None
    try:
        if kind == "s":
            value: Any = texts[int(text)] if text.isdecimal() else _UNREADABLE
        elif is_text:
            value = plain_text(text)
        elif kind == "b":
            return "TRUE" if text.strip() in {"1", "true"} else "FALSE"
        elif kind == "e":
            shown = spreadsheet_error(text) or "an error"
            return FaultyCell(shown=shown, fault=f"the cell shows {shown}")
        elif kind == "d":
            clock = text.removeprefix("T").removeprefix("P")
            return str(time.fromisoformat(clock)) if ":" in clock[:3] else _moment(datetime.fromisoformat(text))
        else:
            return _number(text, form)
    except (ValueError, LookupError):
        return _UNREADABLE
    return form.text(value) if form.sections and isinstance(value, str) else value


def _number(text: str, form: NumberFormat) -> Any:
    if not _NUMBER.fullmatch(text):  # float() also reads "nan", "1_000" and the digits of other scripts
        raise ValueError("a number that is not written as one")
    if form.shows == "number":
        value = _plain_number(text)
        return form.number(value) if form.sections and not isinstance(value, FaultyCell) else value
    days = float(text)
    if form.shows == "elapsed":
        if abs(days) > _LAST_DAY:
            return FaultyCell(shown=str(days), fault="a number too large for a length of time")
        minutes, seconds = divmod(round(abs(days) * 86_400), 60)
        return f"{'-' if days < 0 else ''}{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    if days == 0 and form.shows == "day" and not form.since_1904:
        return "1900-01-00"
    if 0 <= days < 1:
        return str(_at(datetime(1904, 1, 1), days).time())  # noqa: DTZ001 - a workbook's times have no zone
    counted = days + (_YEARS_APART if form.since_1904 else 0)
    if days < 0 or counted > _LAST_DAY or int(counted) == _LEAP_DAY:
        return FaultyCell(shown=str(days), fault="a number that is no day in the calendar")
    return _moment(_at(datetime(1899, 12, 30 if counted > _LEAP_DAY else 31), counted))  # noqa: DTZ001 - as above


def _plain_number(text: str) -> int | Decimal | FaultyCell:
    if re.fullmatch(r"-?\d{1,20}", text, re.ASCII):
        # A program may have written all digits; Excel writes zeros for those that it lost.
        digits = text.lstrip("-0")
        lost = len(digits) > _DIGITS >= len(digits.rstrip("0"))
        shown = Decimal(text)
    else:
        shown = Decimal(f"{float(text):.{_DIGITS}g}")
        if shown != shown.to_integral_value():
            return shown
        lost = abs(shown) >= 10**_DIGITS
    if lost:
        return FaultyCell(shown=str(shown), fault="a number whose last digits the workbook does not keep")
    return int(shown)


def _at(start: datetime, days: float) -> datetime:
    # To the millisecond, which is what the number keeps for certain.
    return start + timedelta(milliseconds=round(days * 86_400_000))


def _moment(found: datetime) -> date | datetime:
    return found.date() if found.time() == time() else found
