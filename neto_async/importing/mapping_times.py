"""
Times as people write them in files. May import: errors.

ISO 8601 and the vendor's own form are read; every other form only where someone gave it, since 04/05/2026 is in April
for some and in May for others, and nothing in a file says which.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from datetime import date, datetime, time, timezone, tzinfo

from neto_async.errors import ConfigurationError

__all__ = ["checked_format", "read_day_or_time", "read_time", "zone_named"]

_ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}"
    r"(?P<time>[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:[.,]\d{1,9})?)?(?P<zone> ?(?:Z|[+-]\d{2}(?::?\d{2})?))?)?",
    re.ASCII,
)
"""The forms of ISO 8601 that can't be taken for anything else."""

_EMPTY = {"0000-00-00", "0000-00-00 00:00:00", "0000-00-00T00:00:00"}
"""How the vendor writes that there is no time (seen in replies of its API, read 2026-11)."""

_PROBE = datetime(2023, 11, 25, 17, 45, tzinfo=timezone.utc)
"""No two of its numbers are alike, so what a format loses shows when it is written and read back."""

_NOT_A_DAY = 'a date format must hold the year, the month and the day, as in "%d/%m/%Y"'

_YEAR = re.compile("%[YyGcx]")
"""What stands for a year. Without one, Python from 3.13 on warns of a day that is read, and 3.15 is to refuse it."""


def read_time(text: str | date, *, zone: tzinfo | None, formats: tuple[str, ...] = ()) -> datetime | None:
    """
    Read a moment.

    A date alone is midnight. Where a zone's clock shows a time twice, the first is meant; a time that its clock
    skips is read with the offset from before the jump (``fold=0`` of the standard library, PEP 495).

    Args:
        text: As it stands in the file; from a workbook a date or a datetime.
        zone: For times without a zone.
        formats: In place of ISO 8601, as `datetime.strptime` has them.

    Returns:
        An aware datetime, or None for an empty text and the vendor's zeros.

    Raises:
        ValueError: The text is no such time, or has no zone and none is given; the error's text says what to do, and
            never holds the value.
    """
    found = _parse(text, formats)
    return None if found is None else _in_zone(found, zone)


def read_day_or_time(text: str | date, *, zone: tzinfo | None, formats: tuple[str, ...] = ()) -> date | datetime | None:
    """
    Read a calendar day, or a moment where the text has a time of day.

    A date, and midnight without a zone, are a calendar day, which no zone moves.

    Raises:
        ValueError: As `read_time` does.
    """
    found = _parse(text, formats)
    if found is None:
        return None
    if found.tzinfo is None and found.time() == time():
        return found.date()
    return _in_zone(found, zone)


def zone_named(name: str) -> tzinfo:
    """
    Give the time zone of that name.

    Raises:
        ConfigurationError: There is none, or this machine has no time zones.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        pass
    known = zoneinfo.available_timezones()
    if not known:
        raise ConfigurationError("this machine has no list of time zones; install the package tzdata")
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ', such as "Australia/Brisbane" or "UTC"'
    raise ConfigurationError(f"no time zone has this name{hint}")


def checked_format(given: str) -> str:
    """
    Make sure that a format of `datetime.strptime` says all that a time needs.

    Raises:
        ConfigurationError: It lacks the year, the month or the day, has hours of 12 without AM or PM, or names a zone
            in a way that reading it loses.
    """
    if "%Z" in given.replace("%%", ""):
        raise ConfigurationError(
            "a date format can't hold %Z, which is read and then lost; use %z, or give the time zone"
        )
    if not _YEAR.search(given.replace("%%", "")):
        raise ConfigurationError(_NOT_A_DAY)
    try:
        found = datetime.strptime(_PROBE.strftime(given), given)  # noqa: DTZ007 - the zone is looked at by the caller
    except (ValueError, re.error):
        raise ConfigurationError(
            'a date format can\'t be read; write one such as "%d/%m/%Y" or "%d/%m/%Y %H:%M"'
        ) from None
    if found.date() != _PROBE.date():
        raise ConfigurationError(_NOT_A_DAY)
    if found.hour not in (0, _PROBE.hour):
        raise ConfigurationError("a date format with %I needs %p as well, for AM and PM")
    return given


def _parse(text: str | date, formats: tuple[str, ...]) -> datetime | None:
    if isinstance(text, datetime):
        return text
    if isinstance(text, date):
        return datetime.combine(text, time())
    text = text.strip()
    if not text or text in _EMPTY:
        return None
    return _parse_as(text, formats) if formats else _parse_iso(text)


def _parse_iso(text: str) -> datetime:
    match = _ISO.fullmatch(text.upper())
    try:
        if match:
            return datetime.fromisoformat(text.upper().replace(" Z", "Z").replace(" +", "+").replace(" -", "-"))
    except ValueError:
        raise ValueError(_NO_SUCH_DAY) from None
    raise ValueError(
        "not a time that can be read for certain; write YYYY-MM-DD, YYYY-MM-DD HH:MM or YYYY-MM-DD HH:MM:SS, with or "
        'without a zone such as +10:00 or Z, or give the file\'s own form, as in --date-format "%d/%m/%Y" (the order '
        "of day and month is never guessed)"
    )


_NO_SUCH_DAY = "no such day or time: the form is right, and the calendar has none such"


def _parse_as(text: str, formats: tuple[str, ...]) -> datetime:
    found = set()
    missing = False  # a form fits, and its day or time does not exist
    for form in formats:
        try:
            found.add(datetime.strptime(text, form))  # noqa: DTZ007 - the zone is looked at by the caller
        except ValueError as error:
            # The standard library says it in words alone, the same in all its versions up to now.
            missing |= not str(error).startswith(("time data", "unconverted data"))
    if not found:
        kind = "the date format given" if len(formats) == 1 else "any date format given"
        raise ValueError(_NO_SUCH_DAY if missing else f"not a time of {kind}: {', '.join(formats)}")
    if len(found) > 1:
        raise ValueError("the date formats given read it differently; give one of them alone")
    return found.pop()


def _in_zone(found: datetime, zone: tzinfo | None) -> datetime:
    if found.tzinfo is not None:
        return found
    if zone is None:
        raise ValueError("the time has no zone; give one for the whole file, as in --timezone Australia/Brisbane")
    return found.replace(tzinfo=zone)
