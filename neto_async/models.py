"""
A customer log as Neto knows it, validated when it is made.

The fields, their order, lengths and words are those of the vendor's AddCustomerLog page
(developers.maropost.com, read 2026-11). May import: errors and outcomes.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timezone
from enum import StrEnum

import attrs
from attrs import field, frozen

from neto_async.errors import InvalidRecordError
from neto_async.outcomes import Invalid

__all__ = ["MAX_LENGTHS", "CustomerLog", "CustomerLogStatus"]


class CustomerLogStatus(StrEnum):
    """The three words that Neto takes as a log's status."""

    REQUIRE_RECONTACT = "Require Recontact"
    RECONTACTING = "Recontacting"
    COMPLETED = "Completed"


MAX_LENGTHS = {"allocated_to": 255, "follow_up_type": 50, "username": 25, "customer_name": 100}
"""Characters that each text may have at most; Notes has no length on the vendor's page."""

_UNCARRIABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What the Char production of XML 1.0 (section 2.2) leaves out. JSON is held to the same: both carry the same text."""

_EARLIEST = datetime(1, 1, 2, tzinfo=timezone.utc)
_LATEST = datetime(9999, 12, 30, tzinfo=timezone.utc)
"""A day inside what datetime can hold, so that every conversion between zones stays inside it too."""


def _blank_is_none(value: object) -> object:
    # A blank element reads back from XML as no text at all; taking it as absent keeps both formats alike.
    return None if isinstance(value, str) and not value.strip(" \t\r\n") else value


def _known_status(value: object) -> object:
    value = _blank_is_none(value)
    try:
        return value if value is None else CustomerLogStatus(value)  # type: ignore[arg-type]
    except ValueError:
        return value


@frozen(kw_only=True)
class CustomerLog:
    """
    One entry in a customer's log: https://developers.maropost.com, "AddCustomerLog".

    All fields are optional, but not all may be empty; a text of white space alone counts as absent. Times go out in
    UTC, in whole seconds.

    Attributes:
        allocated_to: Staff member the log is for, at most 255 characters.
        follow_up_type: At most 50 characters.
        username: The customer's user name in the store, at most 25 characters.
        customer_name: At most 100 characters.
        last_contacted: An aware datetime.
        date_required_follow_up: A calendar day as a date (recommended: it is sent as it stands), or an aware datetime
            (converted to UTC, which can move the day that staff see).
        status: One of the three words of `CustomerLogStatus`, or the member.
        notes: Text of any length.

    Raises:
        InvalidRecordError: A field breaks one of these rules; ``errors`` lists every fault.
    """

    allocated_to: str | None = field(default=None, converter=_blank_is_none, repr=False)
    follow_up_type: str | None = field(default=None, converter=_blank_is_none, repr=False)
    username: str | None = field(default=None, converter=_blank_is_none, repr=False)
    customer_name: str | None = field(default=None, converter=_blank_is_none, repr=False)
    last_contacted: datetime | None = field(default=None, converter=_blank_is_none, repr=False)
    date_required_follow_up: date | datetime | None = field(default=None, converter=_blank_is_none, repr=False)
    status: CustomerLogStatus | None = field(default=None, converter=_known_status, repr=False)
    notes: str | None = field(default=None, converter=_blank_is_none, repr=False)

    def __attrs_post_init__(self) -> None:
        errors = tuple(_faults(self))
        if errors:
            given = {name: value for name, value in _items(self) if value is not None}
            raise InvalidRecordError(errors, fate=Invalid(index=0, record=given, errors=errors))

    def __repr__(self) -> str:
        # Names of the fields that are set, and none of what customers and staff wrote in them.
        return f"CustomerLog({', '.join(f'{name}=…' for name, value in _items(self) if value is not None)})"


_NAMES = tuple(attribute.name for attribute in attrs.fields(CustomerLog))


def _items(log: CustomerLog) -> list[tuple[str, object]]:
    return [(name, getattr(log, name)) for name in _NAMES]


def _faults(log: CustomerLog) -> list[str]:
    faults = []
    for name in ("allocated_to", "follow_up_type", "username", "customer_name", "notes"):
        faults += _text_faults(name, getattr(log, name), MAX_LENGTHS.get(name))
    if log.status is not None and not isinstance(log.status, CustomerLogStatus):
        faults.append(f"status: must be one of {', '.join(CustomerLogStatus)}")
    faults += _time_faults("last_contacted", log.last_contacted, day_allowed=False)
    faults += _time_faults("date_required_follow_up", log.date_required_follow_up, day_allowed=True)
    if all(getattr(log, name) is None for name in _NAMES):
        faults.append("the log is empty: give at least one field")
    return faults


def _text_faults(name: str, value: object, limit: int | None) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, str):
        return [f"{name}: must be text, not {type(value).__name__}"]
    faults = []
    if limit is not None and len(value) > limit:
        faults.append(f"{name}: {len(value)} characters, and Neto takes at most {limit}")
    if found := _UNCARRIABLE.search(value):
        faults.append(
            f"{name}: character {found.start() + 1} is one that XML 1.0 can't carry (a control character, a "
            "surrogate or a noncharacter); remove it"
        )
    return faults


def _time_faults(name: str, value: object, *, day_allowed: bool) -> list[str]:
    if value is None or (day_allowed and type(value) is date):
        return []
    if not isinstance(value, date):
        kinds = "a date or an aware datetime" if day_allowed else "an aware datetime"
        return [f"{name}: must be {kinds}, not {type(value).__name__}"]
    if not isinstance(value, datetime):
        midnight = 'datetime(2026, 11, 5, tzinfo=ZoneInfo("Australia/Brisbane"))'
        return [f"{name}: a date has no time and no zone; say which midnight is meant, as in {midnight}"]
    try:
        return _moment_faults(name, value, day_allowed=day_allowed)
    except Exception as error:  # noqa: BLE001
        # A caller's own tzinfo can raise anything, and its text can hold anything.
        return [f"{name}: its zone fails ({type(error).__name__})"]


def _moment_faults(name: str, value: datetime, *, day_allowed: bool) -> list[str]:
    if value.utcoffset() is None:
        return [
            f"{name}: the time has no zone; give it one, as in "
            'value.replace(tzinfo=ZoneInfo("Australia/Brisbane"))'
            + (", or hand in a date for a calendar day" if day_allowed else "")
        ]
    if not _EARLIEST <= value <= _LATEST:
        return [f"{name}: the time is outside the years 1 to 9999"]
    return []
