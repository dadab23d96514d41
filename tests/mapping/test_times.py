# ruff: noqa: DTZ001 (times of files have no zone)
"""Times as people write them: read where they are certain, refused with what to do where they are not."""

from __future__ import annotations

import zoneinfo
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neto_async import ConfigurationError
from neto_async.mapping.times import checked_format, read_time, zone_named

BRISBANE = zone_named("Australia/Brisbane")
UTC = timezone.utc


@given(
    st.datetimes(
        datetime(1990, 1, 2),
        datetime(2100, 12, 30),
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))]),
    ),
    st.sampled_from("T "),
)
def test_iso_is_read_back(at, between):
    """What the standard library writes as ISO 8601 is read as the same moment, whatever zone the file has."""
    assert at == read_time(at.isoformat(between), zone=BRISBANE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-05 09:30", datetime(2026, 1, 5, 9, 30, tzinfo=BRISBANE)),
        (" 2026-01-05t09:30:15.5 ", datetime(2026, 1, 5, 9, 30, 15, 500000, tzinfo=BRISBANE)),
        ("2026-01-05 09:30 Z", datetime(2026, 1, 5, 9, 30, tzinfo=UTC)),
        ("2026-01-05 09:30 +10", datetime(2026, 1, 4, 23, 30, tzinfo=UTC)),
        ("2026-01-05 09:30 -0330", datetime(2026, 1, 5, 13, 0, tzinfo=UTC)),
        ("2026-01-05", datetime(2026, 1, 5, tzinfo=BRISBANE)),
        (date(2026, 1, 5), datetime(2026, 1, 5, tzinfo=BRISBANE)),
        (datetime(2026, 1, 5, 9, 30), datetime(2026, 1, 5, 9, 30, tzinfo=BRISBANE)),
        (datetime(2026, 1, 5, 9, 30, tzinfo=UTC), datetime(2026, 1, 5, 9, 30, tzinfo=UTC)),
        ("", None),
        ("0000-00-00 00:00:00", None),
    ],
)
def test_moments(text, expected):
    """The forms of ISO 8601, typed cells of workbooks, and the vendor's zeros."""
    assert expected == read_time(text, zone=BRISBANE, formats=())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-05", date(2026, 1, 5)),
        ("2026-01-05 00:00:00", date(2026, 1, 5)),
        ("2026-01-05 00:00:00Z", datetime(2026, 1, 5, tzinfo=UTC)),
        ("2026-01-05 09:30", datetime(2026, 1, 5, 9, 30, tzinfo=BRISBANE)),
        (date(2026, 1, 5), date(2026, 1, 5)),
        ("0000-00-00", None),
    ],
)
def test_days(text, expected):
    """A day stays a day, and midnight without a zone is one; a time of day makes it a moment."""
    found = read_time(text, zone=BRISBANE, keep_day=True)

    assert (type(expected), expected) == (type(found), found)


@pytest.mark.parametrize("text", ["2026-02-30", "2026-13-01 10:00", "0000-01-01"])
def test_no_such_day(text):
    """Where the form is right and the day does not exist, the text says so."""
    with pytest.raises(ValueError, match="no such day"):
        read_time(text, zone=UTC)


@pytest.mark.parametrize("text", ["05/06/2026", "2026-01-05 25:00", "tomorrow"])
def test_not_certain(text):
    """Any other form is refused, with the forms that are read and not with the text."""
    with pytest.raises(ValueError, match="write YYYY-MM-DD, YYYY-MM-DD HH:MM or YYYY-MM-DD HH:MM:SS") as raised:
        read_time(text, zone=UTC)
    assert text not in str(raised.value)


def test_a_time_without_a_zone():
    """Without a zone for the file, a time that names none is refused."""
    with pytest.raises(ValueError, match="--timezone"):
        read_time("2026-01-05 09:30", zone=None)


@pytest.mark.parametrize(
    ("text", "formats", "expected"),
    [
        ("05/06/2026", ("%d/%m/%Y",), date(2026, 6, 5)),
        ("5.6.2026 9:30", ("%d/%m/%Y", "%d.%m.%Y %H:%M"), datetime(2026, 6, 5, 9, 30, tzinfo=UTC)),
        ("05/05/2026", ("%d/%m/%Y", "%m/%d/%Y"), date(2026, 5, 5)),
        ("1770070500", ("unix-seconds", "unix-milliseconds"), datetime(2026, 2, 2, 22, 15, tzinfo=UTC)),
        ("1770070500000", ("unix-seconds", "unix-milliseconds"), datetime(2026, 2, 2, 22, 15, tzinfo=UTC)),
        ("2026-W06-2", ("%G-W%V-%u",), date(2026, 2, 3)),
        ("2026-06-05 09:30 +1000", ("%Y-%m-%d %H:%M %z",), datetime(2026, 6, 4, 23, 30, tzinfo=UTC)),
    ],
)
def test_forms_that_were_given(text, formats, expected):
    """A form that someone gave is read, of several the one that fits."""
    assert expected == read_time(text, zone=UTC, formats=formats, keep_day=True)


@pytest.mark.parametrize(
    ("text", "formats", "says"),
    [
        ("2026-06-05", ("%d/%m/%Y",), "not a time of the date format given: %d/%m/%Y"),
        ("05/06/2026 x", ("%d/%m/%Y", "%m/%d/%Y"), "any date format given: %d/%m/%Y, %m/%d/%Y"),
        ("31/02/2026", ("%d/%m/%Y",), "no such day"),
        ("05/06/2026", ("%d/%m/%Y", "%m/%d/%Y"), "read it differently"),
    ],
)
def test_forms_that_do_not_fit(text, formats, says):
    """A text of none of the forms, a day that does not exist, and two readings are three faults."""
    with pytest.raises(ValueError, match=says):
        read_time(text, zone=UTC, formats=formats)


def test_seconds_or_milliseconds():
    """A number is both; only one is a year of today, unless any year counts."""
    formats = ("unix-seconds", "unix-milliseconds")

    with pytest.raises(ValueError, match="read it differently"):
        read_time("1770070500", zone=UTC, formats=formats, any_year=True)
    with pytest.raises(ValueError, match="read it differently"):
        read_time("700000", zone=UTC, formats=formats)


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%d %B %Y %I:%M %p", "%Y%m%d%H%M%S", "%d/%m/%y %H:%M %z", "%%Z %d/%m/%Y"])
def test_formats_that_say_enough(form):
    """A form with year, month and day is taken as it is."""
    assert form == checked_format(form)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("%d/%m", "the year, the month and the day"),
        ("%H:%M", "the year, the month and the day"),
        ("%Y-%m", "the year, the month and the day"),
        ("%d/%m/%Y %I:%M", "needs %p"),
        ("%d/%m/%Y %Z", "can't hold %Z"),
        ("%d/%m/%Y %d", "can't be read"),
        ("%d/%m/%Y %", "can't be read"),
    ],
)
def test_formats_that_do_not(form, says):
    """A form that loses a part of the time is refused before anything is read."""
    with pytest.raises(ConfigurationError, match=says):
        checked_format(form)


def test_zones():
    """A zone is known by its name; one that is close is proposed."""
    assert "Australia/Brisbane" == str(zone_named("Australia/Brisbane"))
    with pytest.raises(ConfigurationError, match="did you mean Australia/Brisbane"):
        zone_named("Australia/Brisban")
    with pytest.raises(ConfigurationError, match="such as Australia/Brisbane or UTC"):
        zone_named("../CANARY")


def test_a_machine_without_zones(monkeypatch):
    """Where there is no list of zones, what to install is said."""
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(ConfigurationError, match="install the package tzdata"):
        zone_named("Australia/Nowhere")


@pytest.mark.parametrize(
    "text",
    [
        *("0000-00-00 00:00", "00/00/0000", "1900-01-00", "1/0/1900 0:00", "1899-12-30", "1970-01-01 00:00:00Z"),
        datetime(1899, 12, 30),
    ],
)
def test_placeholders(text):
    """What programs write for no time is none."""
    assert None is read_time(text, zone=BRISBANE)
    assert None is read_time("30/12/1899", zone=BRISBANE, formats=("%d/%m/%Y",), keep_day=True)


@pytest.mark.parametrize("text", ["0026-02-02", "1989-12-31", "2101-01-01 09:00", date(2569, 1, 1), "1970-01-01 10:00"])
def test_years(text):
    """A year that no contact can be in is refused, unless any is taken."""
    with pytest.raises(ValueError, match="--any-year"):
        read_time(text, zone=UTC)
    assert None is not read_time(text, zone=UTC, any_year=True)


@pytest.mark.parametrize(
    ("text", "formats", "expected"),
    [
        ("2026-02-02 10:37 GMT", (), datetime(2026, 2, 2, 10, 37, tzinfo=UTC)),
        ("02/02/2026 10:37 UTC", ("%d/%m/%Y %H:%M",), datetime(2026, 2, 2, 10, 37, tzinfo=UTC)),
        ("1769990220", ("unix-seconds",), datetime(2026, 2, 1, 23, 57, tzinfo=UTC)),
        ("1769990220500", ("unix-milliseconds",), datetime(2026, 2, 1, 23, 57, 0, 500_000, tzinfo=UTC)),
        ("46055.4423611", ("excel-days",), datetime(2026, 2, 2, 10, 37, tzinfo=BRISBANE)),
        ("Mon 02/02/2026", ("%a %d/%m/%Y",), datetime(2026, 2, 2, tzinfo=BRISBANE)),
        ("2026-02-02 10:37", ("excel-days", "%d/%m/%Y"), datetime(2026, 2, 2, 10, 37, tzinfo=BRISBANE)),
    ],
)
def test_other_systems(text, formats, expected):
    """UTC under its names, times that are numbers, and a weekday that agrees."""
    assert expected == read_time(text, zone=BRISBANE, formats=tuple(map(checked_format, formats)))


@pytest.mark.parametrize(
    ("text", "formats", "says"),
    [
        ("Tue 02/02/2026", ("%a %d/%m/%Y",), "weekday does not agree"),
        ("99999999999999", ("excel-days",), "no such day"),
        ("1769990220", (), "seconds since 1970: --date-format unix-seconds"),
        ("1769990220000", (), "milliseconds since 1970: --date-format unix-milliseconds"),
        ("46055.5", (), "Excel day number: --date-format excel-days"),
        ("10:37 am", (), 'join the columns, as in --map LastContacted="Date'),
        ("2026-02-02 10:37 AM", (), '--date-format "%Y-%m-%d %I:%M %p"$'),
        ("3/11/2026 4:05 pm", (), '"%d/%m/%Y %I:%M %p" or "%m/%d/%Y %I:%M %p" .which one is never guessed.$'),
        ("3/11/26 4:05:09pm", ("%d/%m/%Y %I:%M %p",), 'date format given: .*; .* "%d/%m/%y %I:%M:%S%p" or "%m'),
        ("3-11-2026, 4 pm", ("%d/%m/%Y",), 'such as --date-format "%d-%m-%Y, %I %p" or'),
        ("31/11/2026 4:05 pm", ("%m/%d/%Y %I:%M %p",), "given: %m/%d/%Y %I:%M %p$"),
        (
            "3 Nov 2026 4:05 pm",
            (),
            '"%d %b %Y %I:%M %p": %b is the short name of the month, %I hours of 12, %p AM or PM',
        ),
        ("3/11/2026 4:05 p.m.", (), "a.m. or p.m., which no date format reads; write AM or PM, without dots"),
        ("4:05 pm", ("%d/%m/%Y",), "given: %d/%m/%Y$"),
        ("2026-02-02 10:37 AEDT", (), "short name of a zone.*%H:%M AEDT"),
        ("NULL", (), "--empty"),
        ("<NA>", (), "--empty"),
        ("20260105", (), "%Y%m%d"),
        ("2026-W06-2", (), "%G-W%V-%u"),
        ("2026-1-5", (), "leading zeros.*%Y-%m-%d %H:%M"),
        ("2026-01-05 9:30", (), "leading zeros.*%Y-%m-%d %H:%M"),
    ],
)
def test_what_it_looks_like(text, formats, says):
    """What can't be read is named by what it looks like, with the option that reads it."""
    with pytest.raises(ValueError, match=says):
        read_time(text, zone=UTC, formats=formats)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("%d/%m/%Y %H:%M %p", "%p needs %I"),
        ("%d/%M/%Y", "%M is minutes"),
        ("%d/%m/%Y %H:%S", "seconds without minutes"),
        ("%d/%m/%Y %H %I %p", "in two ways"),
        ("%d/%m/%Y %Y", "in it twice"),
    ],
)
def test_formats_that_contradict_themselves(form, says):
    """A part that would not count, or that is another than it looks, is refused before the file is read."""
    with pytest.raises(ConfigurationError, match=says):
        checked_format(form)


@pytest.mark.parametrize(
    ("name", "proposed"),
    [
        *(("AEST", "Australia/Sydney"), ("AWST", "Australia/Perth"), ("NZST", "Pacific/Auckland")),
        *(("EST", "Australia/Sydney"), ("MST", "America/"), ("HST", "Pacific/Honolulu")),
        *(("UTC+10", "Australia/Sydney"), ("-03:30", "America/St_Johns"), ("lord howe", "Australia/Lord_Howe")),
    ],
)
def test_names_of_zones_that_are_not_certain(name, proposed):
    """A short name, an offset and a city are refused with zones of an area and a city, Australia's first."""
    with pytest.raises(ConfigurationError, match=f"did you mean .*{proposed}"):
        zone_named(name)
    assert "UTC" == str(zone_named("UTC"))
