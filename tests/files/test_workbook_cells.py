# ruff: noqa: DTZ001 (a workbook's times have no zone)
"""What a cell shows, by the way in which workbooks keep it."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900, to_excel

from neto_async.files.number_formats import NUMBER, NumberFormat, format_of
from neto_async.files.rows import FaultyCell
from neto_async.files.workbook_cells import plain_text, value_of

DATE = NumberFormat("day")
ELAPSED = NumberFormat("elapsed")


def shown(text, *, kind="n", form=NUMBER, formula=False, since_1904=False, texts=("shared",)):
    return value_of(kind, text, evolve(form, since_1904=since_1904), texts, formula=formula)


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
    assert "last digits" in shown("4001234567890120").fault  # as Excel writes 4001234567890123


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("00000", "123", "00123"),
        ("00000", "1234567", "1234567"),
        ("00", "-5", "-05"),
        ('"C-"00000', "123", "C-00123"),
        (r"0000\ 000\ 000", "412345678", "0412 345 678"),
        ("00000_);(00000)", "123", "00123"),
        ("00000_);(00000)", "-123", "(00123)"),
        ('0;-0;"none"', "0", "none"),
        ("[Red]0;[Red]-0.0", "-2.25", "-2.3"),
        ("[$€-407] #,##0.00", "1234567.5", "€ 1,234,567.50"),
        ("0.0##%", "0.12345", "12.345%"),
        ("0.0##%", "0.5", "50.0%"),
        ('0.## "h"', "2", "2. h"),
        ("#,##0.00", "1234.5", Decimal("1234.5")),
        ("0_)", "-0.4", Decimal("-0.4")),
        ("0\\x", "-0.4", "0x"),
        ('"No. "General', "7", "No. 7"),
        ('"fixed"', "7", "fixed"),
        ("@", "7", 7),
        ('0"."000', "4711", "4.711"),
        (r"#\.###\.###", "4711123", "4.711.123"),
        ("[$-409]0", "7", 7),
        ('0.0############## "kg"', "12345678901234567891", "12345678901234567891.0 kg"),
    ],
)
def test_number_formats(code, text, expected):
    """A number is what its format shows: zeros before it, its sections, what is written around it."""
    assert expected == shown(text, form=format_of(200, {200: code}))


@pytest.mark.parametrize(
    "code", ["0.00E+00", "# ?/?", "[>5]0;0.0", "0,", ";;;", ".00x", '.00"x"', "0.0.0", '"x",', "[DBNum1]0"]
)
def test_number_formats_that_are_not_read(code):
    """What a format shows that takes more than digits is a fault of the cell, with what to do."""
    assert "format the column as text" in shown("7", form=format_of(200, {200: code})).fault


def test_formats_of_texts():
    """A format may write around a text as well; a day zero is Excel's placeholder."""
    assert "Tel 12" == shown("12", kind="str", form=format_of(200, {200: '0;0;0;"Tel "@'}))
    assert "12" == shown("12", kind="str", form=format_of(200, {200: '"C-"0'}))
    assert ["1900-01-00", "00:00:00"] == [shown("0", form=NumberFormat(kind)) for kind in ("day", "time")]


@pytest.mark.parametrize(
    ("code", "shows"),
    [
        ("General", "number"),
        ("0.00", "number"),
        ('#,##0.00 "days"', "number"),
        (r"0\d", "number"),
        ("[Red]0", "number"),
        ("0_);(0_d)", "number"),
        ("0.00E+00", "number"),
        ("yyyy-mm-dd", "day"),
        ("[$-409]d/m/yy h:mm AM/PM;@", "day"),
        ('"on" dd', "day"),
        ("mm:ss.0", "time"),
        ("[h]:mm", "elapsed"),
        ("[SS]", "elapsed"),
    ],
)
def test_formats_written_down(code, shows):
    """A format is a date's by its letters outside of quotes, escapes and brackets."""
    assert shows == format_of(164, {164: code}).shows


@pytest.mark.parametrize(("number", "shows"), [(0, "number"), (2, "number"), (14, "day"), (46, "elapsed")])
def test_formats_known_by_number(number, shows):
    """Formats that no workbook writes down are known by their numbers."""
    assert shows == format_of(number, {}).shows


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
        ("d", "10:37:00", "10:37:00"),
        ("s", "", None),
        ("inlineStr", "a_x000D_b_x005F_", "a\rb_"),
    ],
)
def test_other_kinds(kind, text, expected):
    """Texts, truths and dates of the standard's own form."""
    assert expected == shown(text, kind=kind)


@pytest.mark.parametrize(("text", "says"), [("#N/A", "#N/A"), ("#DIV/0!", "#DIV/0!"), ("CANARY", "an error")])
def test_errors_are_faults(text, says):
    """A cell that shows an error is a fault that names it, and nothing else that the cell may hold."""
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
    """What no workbook holds makes its own cell faulty."""
    assert "damaged" in shown(text, kind=kind).fault


@pytest.mark.parametrize("form", [NUMBER, DATE, ELAPSED])
@pytest.mark.parametrize("text", ["nan", "infinity", "1_000", "\u0661\u0662"])
def test_only_decimal_numbers_are_numbers(text, form):
    """What only Python reads as a number is damage: it is never sent as a number or as a text such as NaN."""
    assert "damaged" in shown(text, form=form).fault


@pytest.mark.parametrize("form", [NUMBER, DATE, ELAPSED])
@pytest.mark.parametrize("text", ["1e999", "-INF"])
def test_numbers_without_end(text, form):
    """A number beyond any float is a fault of its cell, and the other rows are read."""
    assert isinstance(shown(text, form=form), FaultyCell)


@given(st.text())
def test_texts_without_escapes_are_themselves(text):
    """Only the escape is changed in a text."""
    assert text.replace("_x", "x") == plain_text(text.replace("_x", "x"))
