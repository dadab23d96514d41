"""
Times as people write them in files. May import: errors.

ISO 8601 and the vendor's own form are read; every other form only where someone gave it, since 04/05/2026 is in April
for some and in May for others, and nothing in a file says which.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from contextlib import suppress
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from time import strptime

from neto_async.errors import ConfigurationError

__all__ = ["checked_format", "read_time", "zone_named"]

_ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}"
    r"(?P<time>[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d{1,9})?)?"
    r"(?P<zone> ?(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?)?",
    re.ASCII,
)
"""The forms of ISO 8601 that can't be taken for anything else, and UTC under its two other names."""

_PLACEHOLDER = re.compile(
    r"(?:0{1,4}([-/.])0{1,2}\1 ?0{1,4}|1900-0?1-00?|0?1/00?/1900|00?([/.])0?1\2 ?1900)"
    r"(?:[T ]00?:00(?::00(?:\.0+)?)?)? ?(?:Z|UTC|\+00:?00)?",
    re.ASCII,
)
"""Days that are in no calendar: the vendor's zeros (replies of its API, read 2026-11), MySQL's, and Excel's day 0."""

_PLACEHOLDERS = {datetime(1899, 12, 30), datetime(1970, 1, 1)}  # noqa: DTZ001 - compared without their zone
"""Midnights that programs write for "no time": day 0 of Excel and Access, and second 0 of Unix."""

_FIRST_YEAR, _LAST_YEAR = 1990, 2100
"""Years that a contact can be in; any other is a slip, such as 26, or 2569 of the Buddhist calendar."""

_NUMBERS = {"unix-seconds": 1, "unix-milliseconds": 1000}
EXCEL_DAYS = "excel-days"

_ZONE_BEHIND = re.compile(r" ?(?:UTC|GMT|Z)$", re.IGNORECASE)

_LOOKS = (
    (
        r"\W?(?:NULL|NONE|NIL|NAN|NAT|NA)\W?|\\N|N/A|UNDEFINED|\?+|-+",
        "this looks like a word for nothing; --empty and the word reads it so",
    ),
    (r"\d{9,10}(?:\.\d+)?", "this looks like seconds since 1970: --date-format unix-seconds reads them"),
    (r"\d{12,13}", "this looks like milliseconds since 1970: --date-format unix-milliseconds reads them"),
    (r"\d{5}(?:\.\d+)?", "this looks like an Excel day number: --date-format excel-days reads them"),
    (r"(?:19|20)\d{6}", 'this looks like a day without marks; give its form, such as --date-format "%Y%m%d"'),
    (r"\d{4}-W\d\d-\d", 'this looks like a day of a week: --date-format "%G-W%V-%u" reads them'),
    (
        r"(?!\d{4}-\d\d-\d\d(?:[T ]\d\d|$))\d{4}-\d{1,2}-\d{1,2}(?:[T ]\d{1,2}:\d\d)?",
        'this looks like numbers without leading zeros; give the forms, such as --date-format "%Y-%m-%d %H:%M"',
    ),
    (
        r"\d{1,2}:\d\d(?::\d\d)?(?: ?[AP]M)?",
        'this is a time without a day; join the columns, as in --map LastContacted="Date column + Time column"',
    ),
    (
        r".*\d ?(?!AM$|PM$)\(?[A-Z]{2,5}\)?",
        (
            "this looks like a time with the short name of a zone, which is not certain; write its offset, such as "
            "+10:00, or where all times of the file have it, give the zone and the name: --timezone Australia/Sydney "
            '--date-format "%Y-%m-%d %H:%M AEDT"'
        ),
    ),
)
"""What texts look like that can't be read, and the option that reads them."""

_LONGEST = 40  # characters of a text that is compared with these

_HALF_DAY = re.compile(
    r"(?:(?P<iso>\d{4}-\d\d?-\d\d?)|\d\d?(?P<mark>[-/.])\d\d?(?P=mark)\d\d(?P<century>\d\d)?|\S.*?)(?P<between>,? |T)"
    r"\d\d?(?P<minutes>:\d\d)?(?P<seconds>:\d\d)?(?P<blank>\s?)[AP](?P<dots>\. ?M\.?|M\.|M)",
    re.ASCII | re.IGNORECASE,
)
"""A day and a time with AM or PM, and what says its form."""

_PROBE = datetime(2023, 11, 25, 17, 45, tzinfo=timezone.utc)
"""No two of its numbers are alike, so what a format loses shows when it is written and read back."""

_NOT_A_DAY = 'a date format must hold the year, the month and the day, as in "%d/%m/%Y"'

_YEAR = re.compile("%[YyGcx]")
"""What is a year. Without one, Python from 3.13 on warns of a day that is read, and 3.15 is to refuse it."""

_WEEKDAY = re.compile("%[aAwu]")

_RUN_TOGETHER = re.compile("%[YymdHIMSj]%[YymdHIMSj]")
"""Numbers without a mark between them: 1022026 is 1 February or, as strptime has it, 10 February."""


def read_time(
    text: str | date,
    *,
    zone: tzinfo | None,
    formats: tuple[str, ...] = (),
    any_year: bool = False,
    keep_day: bool = False,
) -> date | datetime | None:
    """
    Read a moment, or a calendar day.

    A date alone is midnight. Where a zone's clock shows a time twice, the first is meant; a time that its clock
    skips is read with the offset from before the jump (``fold=0`` of the standard library, PEP 495).

    Args:
        text: As it is in the file; from a workbook a date or a datetime.
        zone: For times without a zone.
        formats: Instead of ISO 8601, as `datetime.strptime` has them; or the names of numbers, see `checked_format`.
        any_year: Take years before 1990 and after 2100.
        keep_day: Give a date, and midnight without a zone, as a date, which no zone moves.

    Returns:
        None for an empty text and for what programs write for no time.

    Raises:
        ValueError: The text is no such time, or has no zone and none is given; the error's text says what to do, and
            never holds the value.
    """
    found = _parse(text, formats, any_year=any_year)
    if found is not None and keep_day and found.tzinfo is None and found.time() == time():
        return found.date()
    return None if found is None else _in_zone(found, zone)


def zone_named(name: str) -> tzinfo:
    """
    Give the time zone of that name.

    Raises:
        ConfigurationError: There is none, its name is a short one that means several, or this machine has no zones.
    """
    with suppress(ValueError, OSError, KeyError):
        found = zoneinfo.ZoneInfo(name)
        if "/" in name or not _SHORT.fullmatch(name) or name.upper() in _UTC:
            return found
    known = {zone for zone in zoneinfo.available_timezones() if "/" in zone and not zone.startswith("Etc/")}
    if not known:
        raise ConfigurationError("this machine has no list of time zones; install the package tzdata")
    close = _zones_like(name.strip(), [*_NEAR, *sorted(known - set(_NEAR))]) or difflib.get_close_matches(
        name, known, n=1
    )
    *first, last = close[:4] or ("Australia/Brisbane", "UTC")
    names = f"{', '.join(first)} or {last}" if first else last
    raise ConfigurationError(
        f"no time zone has this name for certain; did you mean {names}?"
        if close
        else f"no time zone has this name; give one such as {names}"
    )


_SHORT = re.compile(r"[A-Z]{3}(?:\d[A-Z]{3})?", re.IGNORECASE)
_UTC = {"UTC", "GMT"}
_OFFSET = re.compile(r"(?:UTC|GMT)? ?([+-]?)(\d{1,2})(?::?(\d\d))?", re.IGNORECASE)
_NEAR = (
    *(f"Australia/{city}" for city in ("Sydney", "Melbourne", "Brisbane", "Adelaide", "Perth", "Hobart", "Darwin")),
    "Pacific/Auckland",
)
"""Where most of Neto's stores are, and so their zones are proposed first."""


def _zones_like(name: str, zones: list[str]) -> list[str]:
    """Find zones by a city, a short name such as AEST, or an offset such as UTC+10."""
    cities = [zone for zone in zones if zone.rpartition("/")[2].casefold() == name.replace(" ", "_").casefold()]
    if cities:
        return cities
    offset = None
    if found := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(found[2]), minutes=int(found[3] or 0)) * (-1 if found[1] == "-" else 1)
    short = {name.upper(), f"A{name.upper()}"}  # EST, said in Australia, is AEST
    likely = []
    for zone in zones:
        seasons = [datetime(2026, month, 1, tzinfo=zoneinfo.ZoneInfo(zone)) for month in (1, 7)]
        if any(at.tzname() in short or at.utcoffset() == offset for at in seasons):
            likely.append(zone)
    return likely


def checked_format(given: str) -> str:
    """
    Make sure that a format of `datetime.strptime` says all that a time needs.

    ``unix-seconds``, ``unix-milliseconds`` and ``excel-days`` are the names of times that are numbers.

    Raises:
        ConfigurationError: It lacks the year, the month or the day, has hours of 12 without AM or PM or the reverse,
            has one part twice, or names a zone in a way that reading it loses.
    """
    if given in _NUMBERS or given == EXCEL_DAYS:
        return given
    parts = re.findall("%.", given.replace("%%", ""), re.DOTALL)
    _refuse_parts(set(parts))
    if not _YEAR.search(given.replace("%%", "")):
        raise ConfigurationError(_NOT_A_DAY)
    try:
        found = datetime.strptime(_PROBE.strftime(given), given)  # noqa: DTZ007 - the zone is looked at by the caller
    except (ValueError, re.error):
        twice = "; one part is in it twice" if len(parts) > len(set(parts)) else ""
        raise ConfigurationError(
            f'a date format can\'t be read; write one such as "%d/%m/%Y" or "%d/%m/%Y %H:%M"{twice}'
        ) from None
    if found.date() != _PROBE.date():
        raise ConfigurationError(_NOT_A_DAY)
    if found.hour not in (0, _PROBE.hour):
        raise ConfigurationError("a date format with %I needs %p as well, for AM and PM")
    return given


def _refuse_parts(parts: set[str]) -> None:
    """Refuse a format with a part that reading would lose, or that needs another one beside it."""
    if "%Z" in parts:
        raise ConfigurationError(
            "a date format can't hold %Z, which is read and then lost; use %z, or give the time zone"
        )
    if "%p" in parts and "%I" not in parts:
        raise ConfigurationError("a date format with %p needs %I, hours of 12: beside %H, AM and PM would not count")
    if "%M" in parts and "%m" not in parts and not {"%H", "%I"} & parts:
        raise ConfigurationError(f"{_NOT_A_DAY}; %M is minutes, and %m the month")
    if ("%S" in parts and "%M" not in parts) or ("%M" in parts and not {"%H", "%I"} & parts):
        raise ConfigurationError("a date format has seconds without minutes, or minutes without hours")
    if any(len(same & parts) > 1 for same in _SAME):
        raise ConfigurationError("a date format has one part of the time in two ways; leave one of them")


_SAME = ({"%Y", "%y", "%G", "%c", "%x"}, {"%m", "%b", "%B", "%j", "%c", "%x"}, {"%d", "%j"}, {"%H", "%I", "%c", "%X"})
"""Parts of a format that exclude each other."""


def _parse(text: str | date, formats: tuple[str, ...], *, any_year: bool) -> datetime | None:
    if isinstance(text, datetime):
        found = text
    elif isinstance(text, date):
        found = datetime.combine(text, time())
    else:
        text = text.strip()
        if not text or (text[0] in "01" and _PLACEHOLDER.fullmatch(text)):
            return None
        found = _parse_as(text, formats, any_year=any_year) if formats else _parse_iso(text)
    if not _FIRST_YEAR <= found.year <= _LAST_YEAR:
        if found.replace(tzinfo=None) in _PLACEHOLDERS:
            return None
        if not any_year:
            raise ValueError(f"the year is before {_FIRST_YEAR} or after {_LAST_YEAR}; if it is meant, add --any-year")
    return found


def _parse_iso(text: str) -> datetime:
    match = _ISO.fullmatch(text.upper())
    try:
        if match:
            day = text.upper().replace(" Z", "Z").replace(" +", "+").replace(" -", "-")
            return datetime.fromisoformat(_ZONE_BEHIND.sub("+00:00", day))
    except ValueError:
        raise ValueError(_NO_SUCH_DAY) from None
    if len(text) < _LONGEST:
        for pattern, hint in _LOOKS:
            if re.fullmatch(pattern, text.upper(), re.ASCII):
                raise ValueError(hint)
    raise ValueError(_half_day(text, ()) or _UNREADABLE)


_UNREADABLE = (
    "not a time that can be read for certain; write YYYY-MM-DD, YYYY-MM-DD HH:MM or YYYY-MM-DD HH:MM:SS, with or "
    'without a zone such as +10:00 or Z, or give the file\'s own form, as in --date-format "%d/%m/%Y" (the order '
    "of day and month is never guessed)"
)


def _half_day(text: str, formats: tuple[str, ...]) -> str:
    """Name the form of a time with AM or PM; empty for any other text, and where that form is given."""
    found = _HALF_DAY.fullmatch(text) if len(text) < _LONGEST else None
    if found is None:
        return ""
    if len(found["dots"]) > 1:
        return "this looks like a time with a.m. or p.m., which no date format reads; write AM or PM, without dots"
    looks = "this looks like a time with AM or PM; give its form, such as --date-format"
    if not (found["iso"] or found["mark"]):
        return f'{looks} "%d %b %Y %I:%M %p": %b is the short name of the month, %I hours of 12, %p AM or PM'
    clock = f"%I{':%M' * bool(found['minutes'])}{':%S' * bool(found['seconds'])}{' ' * bool(found['blank'])}%p"
    orders = ("%Y", "%m", "%d"), ("%d", "%m", "%Y"), ("%m", "%d", "%Y")
    forms = [f"{(found['mark'] or '-').join(parts)}{found['between']}{clock}" for parts in orders]
    forms = forms[:1] if found["iso"] else forms[1:]
    if found["mark"] and not found["century"]:
        forms = [form.replace("%Y", "%y") for form in forms]
    if not set(forms).isdisjoint(formats):
        return ""
    shown = " or ".join(f'"{form}"' for form in forms)
    return f"{looks} {shown}{' (which one is never guessed)' if len(forms) > 1 else ''}"


_NO_SUCH_DAY = "no such day or time: the form is right, and the calendar has none such"


def _parse_as(text: str, formats: tuple[str, ...], *, any_year: bool) -> datetime:
    found: set[datetime] = set()
    missing = False  # a form fits, and its day or time does not exist
    # Behind a time, UTC is read as well where no form names a zone.
    bare = _ZONE_BEHIND.sub("", text) if "%z" not in "".join(formats) else text
    for form in formats:
        for shown, zone in ((text, None), (bare, timezone.utc))[: 1 if bare == text else 2]:
            try:
                at = _parse_form(shown, form)
            except ValueError as error:
                # The standard library says it in words alone, the same in all its versions up to now.
                missing |= not str(error).startswith(("time data", "unconverted data"))
            else:
                found.add(at.replace(tzinfo=zone) if zone else at)
                if _WEEKDAY.search(form) and strptime(shown, form).tm_wday != at.weekday():
                    raise ValueError("the weekday does not agree with the date")
                break
    if not found and (iso := _ISO.fullmatch(text)) and iso["time"]:
        # A report holds a workbook's moment in this form where the given ones can't express it.
        return _parse_iso(text)
    if not found:
        kind = "the date format given" if len(formats) == 1 else "any date format given"
        also = f"; {hint}" if (hint := _half_day(text, formats)) else ""
        raise ValueError(_NO_SUCH_DAY if missing else f"not a time of {kind}: {', '.join(formats)}{also}")
    if len(found) > 1 and not any_year:
        # Seconds since 1970 are milliseconds of January 1970 too.
        found = {at for at in found if _FIRST_YEAR <= at.year <= _LAST_YEAR} or found
    if len(found) > 1:
        raise ValueError("the date formats given read it differently; give one of them alone")
    return found.pop()


def _parse_form(text: str, form: str) -> datetime:
    if form != EXCEL_DAYS and form not in _NUMBERS:
        at = datetime.strptime(text, form)  # noqa: DTZ007 - the zone is looked at by the caller
        if _RUN_TOGETHER.search(form) and at.strftime(form).casefold() != text.casefold():
            raise ValueError("time data whose digits can be divided in two ways")
        return at
    if not re.fullmatch(r"-?\d{1,14}(?:\.\d{1,16})?", text, re.ASCII):
        raise ValueError("time data that is no number")
    try:
        if form == EXCEL_DAYS:
            return datetime(1899, 12, 30) + timedelta(seconds=round(float(text) * 86_400))  # noqa: DTZ001 - as above
        return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=float(text) / _NUMBERS[form])
    except OverflowError:
        raise ValueError(_NO_SUCH_DAY) from None


def _in_zone(found: datetime, zone: tzinfo | None) -> datetime:
    if found.tzinfo is not None:
        return found
    if zone is None:
        raise ValueError("the time has no zone; give one for the whole file, as in --timezone Australia/Brisbane")
    return found.replace(tzinfo=zone)
