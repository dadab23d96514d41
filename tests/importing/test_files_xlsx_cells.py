# ruff: noqa: DTZ001 (a workbook's times have no zone)
"""What a cell shows, by the way in which workbooks keep it."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900, to_excel

from neto_async.importing.files_rows import FaultyCell
from neto_async.importing.files_xlsx_cells import (
    NUMBER,
    NumberFormat,
    Shows,
    StoredCell,
    format_of,
    plain_text,
    value_of,
)

DATE = NumberFormat(Shows.DATE)
ELAPSED = NumberFormat(Shows.ELAPSED)


def shown(text, *, kind="n", form=NUMBER, formula=False, since_1904=False, texts=("shared",)):
    return value_of(StoredCell(kind=kind, text=text, formula=formula, format=form), texts, since_1904=since_1904)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("123", 123),
        ("123.0", 123),
        ("-7", -7),
        ("1E3", 1000),
        ("0.25", Decimal("0.25")),
        ("0.30000000000000004", Decimal("0.3")),
        ("4001234567890123", 4001234567890123),
        ("", None),
        (None, None),
    ],
)
def test_numbers(text, expected):
    """A number is what a person sees: whole ones without a point, the others to 15 digits."""
    assert (type(expected), expected) == (type(shown(text)), shown(text))


def test_a_number_that_lost_its_last_digits():
    """A whole number that was kept with an exponent, past its sure digits, is a fault and not a wrong number."""
    assert "last digits" in shown("1.234567890123457E+19").fault
    assert "last digits" in shown("1234567890123456789012.5").fault


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [("00000", "123", "00123"), ("00000", "1234567", "1234567"), ("00", "-5", -5), ("0000", "1.5", Decimal("1.5"))],
)
def test_leading_zeros(code, text, expected):
    """A customer number that is shown as 00123 is 00123, though 123 is kept."""
    assert expected == shown(text, form=format_of(200, {200: code}))


@pytest.mark.parametrize(
    ("code", "shows"),
    [
        ("General", Shows.NUMBER),
        ("0.00", Shows.NUMBER),
        ('#,##0.00 "days"', Shows.NUMBER),
        (r"0\d", Shows.NUMBER),
        ("[Red]0", Shows.NUMBER),
        ("0_);(0_d)", Shows.NUMBER),
        ("0.00E+00", Shows.NUMBER),
        ("yyyy-mm-dd", Shows.DATE),
        ("[$-409]d/m/yy h:mm AM/PM;@", Shows.DATE),
        ('"on" dd', Shows.DATE),
        ("mm:ss.0", Shows.DATE),
        ("[h]:mm", Shows.ELAPSED),
        ("[SS]", Shows.ELAPSED),
    ],
)
def test_formats_written_down(code, shows):
    """A format is a date's by its letters outside of quotes, escapes and brackets."""
    assert shows is format_of(164, {164: code}).shows


@pytest.mark.parametrize(
    ("number", "shows"), [(0, Shows.NUMBER), (2, Shows.NUMBER), (14, Shows.DATE), (46, Shows.ELAPSED)]
)
def test_formats_known_by_number(number, shows):
    """Formats that no workbook writes down are known by their numbers."""
    assert shows is format_of(number, {}).shows


MOMENTS = st.datetimes(datetime(1900, 3, 1), datetime(9999, 12, 31, 23, 59, 59)).map(
    lambda at: at.replace(microsecond=0)
)


@given(MOMENTS, st.booleans())
def test_dates_as_another_library_writes_them(at, mac):
    """Any second that another library turns into a number is read back, in both of Excel's calendars."""
    at = at.replace(year=max(at.year, 1905)) if mac else at
    number = to_excel(at, CALENDAR_MAC_1904 if mac else CALENDAR_WINDOWS_1900)
    expected = at.date() if (at.hour, at.minute, at.second) == (0, 0, 0) else at

    assert expected == shown(repr(number), form=DATE, since_1904=mac)


@pytest.mark.parametrize(
    ("text", "since_1904", "expected"),
    [
        ("1", False, date(1900, 1, 1)),
        ("59", False, date(1900, 2, 28)),
        ("61", False, date(1900, 3, 1)),
        ("60", True, date(1904, 3, 1)),
        ("0.395833333333333", False, "09:30:00"),
        ("46027.3958333333", False, datetime(2026, 1, 5, 9, 30)),
    ],
)
def test_edges_of_the_calendar(text, since_1904, expected):
    """The first days, the time of a day alone, and a number that is a hair short of its second."""
    assert expected == shown(text, form=DATE, since_1904=since_1904)


@pytest.mark.parametrize("text", ["60", "60.5", "-1", "2958466", "1E300", "INF"])
def test_no_day_in_the_calendar(text):
    """29 February 1900, and what Excel shows as a row of hashes, are faults."""
    assert "no day in the calendar" in shown(text, form=DATE).fault


def test_the_last_day_of_each_calendar():
    """The last day is 31 December 9999 in both calendars, and a number past it is a fault."""
    assert [date(9999, 12, 31)] * 2 == [shown("2958465", form=DATE), shown("2957003", form=DATE, since_1904=True)]
    assert "no day" in shown("2957004.5", form=DATE, since_1904=True).fault


@pytest.mark.parametrize(("days", "expected"), [(1.25, "30:00:00"), (-0.5, "-12:00:00"), (1 / 86400, "0:00:01")])
def test_elapsed_time(days, expected):
    """Hours are counted on past a day."""
    assert expected == shown(repr(days), form=ELAPSED)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("s", "0", "shared"),
        ("str", "x", "x"),
        ("str", "", ""),
        ("inlineStr", "007", "007"),
        ("b", "1", "TRUE"),
        ("b", "0", "FALSE"),
        ("d", "2026-01-05T09:30:00", datetime(2026, 1, 5, 9, 30)),
        ("d", "2026-01-05", date(2026, 1, 5)),
        ("inlineStr", "a_x000D_b_x005F_", "a\rb_"),
    ],
)
def test_other_kinds(kind, text, expected):
    """Texts, truths and dates of the standard's own form."""
    assert expected == shown(text, kind=kind)


@pytest.mark.parametrize(("text", "says"), [("#N/A", "#N/A"), ("#DIV/0!", "#DIV/0!"), ("CANARY", "an error")])
def test_errors_are_faults(text, says):
    """A cell that shows an error is a fault that names it, and nothing else that may stand there."""
    assert FaultyCell(shown=says, fault=f"the cell shows {says}") == shown(text, kind="e")
    assert says == str(shown(text, kind="e"))


@pytest.mark.parametrize(("kind", "text"), [("n", None), ("n", ""), ("str", None), ("b", ""), ("e", "")])
def test_formulas_that_were_never_calculated(kind, text):
    """A formula without a result is a fault: a program wrote it, and Excel has not opened the workbook since."""
    assert "never calculated" in shown(text, kind=kind, formula=True).fault


@pytest.mark.parametrize(("kind", "text", "expected"), [("n", "5", 5), ("str", "", ""), ("str", "x", "x")])
def test_formulas_that_were(kind, text, expected):
    """A formula's result is the cell's value, an empty text as well."""
    assert expected == shown(text, kind=kind, formula=True)


@pytest.mark.parametrize(("kind", "text"), [("s", "-1"), ("s", "1"), ("s", "x"), ("n", "x"), ("d", "x")])
def test_damage(kind, text):
    """What no workbook holds is told to the reader of the file."""
    with pytest.raises((ValueError, LookupError)):
        shown(text, kind=kind)


@given(st.text())
def test_texts_without_escapes_are_themselves(text):
    """Only the escape is changed in a text."""
    assert text.replace("_x", "x") == plain_text(text.replace("_x", "x"))
