"""
A customer log as Neto knows it, validated when it is made; a change to one; and logs as the store gives them back.

The fields, their order, lengths and words are those of the vendor's pages AddCustomerLog, UpdateCustomerLog and
GetCustomer (developers.maropost.com, read 2026-11). May import: errors and outcomes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime, timezone
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import attrs
from attrs import field, frozen

from neto_async.errors import InvalidRecordError
from neto_async.outcomes import Invalid

__all__ = [
    "MAX_LENGTHS",
    "CustomerLog",
    "CustomerLogStatus",
    "CustomerLogUpdate",
    "StoredCustomer",
    "StoredCustomerLog",
]


class CustomerLogStatus(StrEnum):
    """The three words that Neto takes as a log's status."""

    REQUIRE_RECONTACT = "Require Recontact"
    RECONTACTING = "Recontacting"
    COMPLETED = "Completed"


MAX_LENGTHS = {"allocated_to": 255, "follow_up_type": 50, "username": 25, "customer_name": 100}
"""Characters that each text may have at most; Notes has no length on the vendor's page."""

_UPDATE_LENGTHS = {**MAX_LENGTHS, "allocated_to": 100}
"""The same for an update (UpdateCustomerLog page)."""

MAX_UPDATE_ID = 10**10 - 1
"""The largest LogID that an update can name: the vendor's page says Integer(10)."""

UNCARRIABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""
What the Char production of XML 1.0 (section 2.2) leaves out. The same rule applies to JSON, so that both formats carry
the same text.
"""

_EARLIEST = datetime(1, 1, 2, tzinfo=timezone.utc)
_LATEST = datetime(9999, 12, 30, tzinfo=timezone.utc)
"""A day inside what datetime can hold, so that every conversion between zones stays inside as well."""

T = TypeVar("T")


def _blank_is_none(value: T | None) -> T | None:
    if value is None or isinstance(value, str):
        # A blank element reads back from XML as no text at all; taking it as absent keeps both formats alike.
        return value if value and value.strip(" \t\r\n") else None
    return _missing_is_none(value)


def _missing_is_none(value: T | None) -> T | None:
    if value is None or isinstance(value, str):
        return value
    try:
        # A missing value of a data frame: NaN and pandas' NaT differ from themselves.
        missing = bool(value != value)  # noqa: PLR0124
    except Exception:  # noqa: BLE001 - a caller's own class can raise anything here
        missing = type(value).__name__ == "NAType"  # pandas' NA is neither equal nor different
    return None if missing else value


if TYPE_CHECKING:
    # mypy and pyright take the type of a parameter from its converter, and mypy none from a generic one.
    def _text(value: str | None) -> str | None: ...
    def _time(value: datetime | None) -> datetime | None: ...
    def _day(value: date | None) -> date | None: ...
    def _new_text(value: str | None) -> str | None: ...
    def _new_time(value: datetime | None) -> datetime | None: ...
    def _new_day(value: date | None) -> date | None: ...
else:
    _text = _time = _day = _blank_is_none
    _new_text = _new_time = _new_day = _missing_is_none


def _known_status(value: CustomerLogStatus | str | None) -> CustomerLogStatus | None:
    return _new_status(_blank_is_none(value))


def _new_status(value: CustomerLogStatus | str | None) -> CustomerLogStatus | None:
    value = _missing_is_none(value)
    try:
        return value if value is None else CustomerLogStatus(value)
    except ValueError:
        return value  # type: ignore[return-value]  # one of the faults that are listed next


@frozen(kw_only=True)
class CustomerLog:
    """
    One entry in a customer's log: https://developers.maropost.com, "AddCustomerLog".

    All fields are optional, but not all may be empty. A text of white space alone counts as absent, and so do the
    missing values of data frames: NaN, and pandas' NaT and NA. Times go out in UTC, in whole seconds.

    Attributes:
        allocated_to: Staff member the log is for, at most 255 characters.
        follow_up_type: At most 50 characters.
        username: The customer's user name in the store, at most 25 characters.
        customer_name: At most 100 characters.
        last_contacted: An aware datetime.
        date_required_follow_up: A calendar day as a date (recommended: it is sent unchanged), or an aware datetime
            (converted to UTC, which can move the day that staff see).
        status: One of the three words of `CustomerLogStatus`, or the member.
        notes: Text of any length.

    Raises:
        InvalidRecordError: A field breaks one of these rules; ``errors`` lists every fault.
    """

    allocated_to: str | None = field(default=None, converter=_text, repr=False)
    follow_up_type: str | None = field(default=None, converter=_text, repr=False)
    username: str | None = field(default=None, converter=_text, repr=False)
    customer_name: str | None = field(default=None, converter=_text, repr=False)
    last_contacted: datetime | None = field(default=None, converter=_time, repr=False)
    date_required_follow_up: date | datetime | None = field(default=None, converter=_day, repr=False)
    status: CustomerLogStatus | None = field(default=None, converter=_known_status, repr=False)
    notes: str | None = field(default=None, converter=_text, repr=False)

    def __attrs_post_init__(self) -> None:
        faults = _faults(self, MAX_LENGTHS)
        if all(getattr(self, name) is None for name in _NAMES):
            faults.append("the log is empty: give at least one field")
        if faults:
            raise _refusal(self, faults)

    def __repr__(self) -> str:
        # Names of the fields that are set, and none of what customers and staff wrote in them.
        return f"CustomerLog({', '.join(f'{name}=…' for name in _given(self))})"


_NAMES = tuple(attribute.name for attribute in attrs.fields(CustomerLog))
_TEXTS = ("allocated_to", "follow_up_type", "username", "customer_name", "notes")


@frozen(kw_only=True)
class CustomerLogUpdate:
    """
    A change to a log that is in the store: https://developers.maropost.com, "UpdateCustomerLog".

    Only the fields that are given are sent. It is not documented that the store keeps the others; other update calls of
    the API do so. At least one field is needed. A blank text is refused, because it is not known whether it empties a
    field; the missing values of data frames count as not given.

    Attributes:
        log_id: The log, by the id that the store gave it; at most ten digits.
        allocated_to: Staff member the log is for, at most 100 characters.
        follow_up_type: At most 50 characters.
        customer_name: At most 100 characters.
        last_contacted: An aware datetime.
        date_required_follow_up: A calendar day as a date, or an aware datetime; see `CustomerLog`.
        status: One of the three words of `CustomerLogStatus`, or the member.
        notes: Text of any length. It replaces what the log has.

    Raises:
        InvalidRecordError: A field breaks one of these rules; ``errors`` lists every fault.
    """

    log_id: int
    allocated_to: str | None = field(default=None, converter=_new_text, repr=False)
    follow_up_type: str | None = field(default=None, converter=_new_text, repr=False)
    customer_name: str | None = field(default=None, converter=_new_text, repr=False)
    last_contacted: datetime | None = field(default=None, converter=_new_time, repr=False)
    date_required_follow_up: date | datetime | None = field(default=None, converter=_new_day, repr=False)
    status: CustomerLogStatus | None = field(default=None, converter=_new_status, repr=False)
    notes: str | None = field(default=None, converter=_new_text, repr=False)

    def __attrs_post_init__(self) -> None:
        faults = _faults(self, _UPDATE_LENGTHS)
        if type(self.log_id) is not int or not 0 < self.log_id <= MAX_UPDATE_ID:
            # Without an id that the store knows, an update may make a new log (LogID is optional on the vendor's page).
            faults.append("log_id: must be a whole number above 0, of at most ten digits")
        blank = [name for name in _given(self) if name in _TEXTS and _blank_is_none(getattr(self, name)) is None]
        faults += [f"{name}: blank; leave it out to keep what the log has" for name in blank]
        if _given(self).keys() <= {"log_id"}:
            faults.append("the update is empty: give at least one field beside log_id")
        if faults:
            raise _refusal(self, faults)

    def __repr__(self) -> str:
        return f"CustomerLogUpdate({', '.join(f'{name}=…' for name in _given(self))})"


@frozen(kw_only=True)
class StoredCustomerLog:
    """
    A log as the store gives it back: https://developers.maropost.com, "GetCustomer".

    FollowUpType and CustomerName do not come back. What is empty, or can't be read as its type, is None here and as it
    came in ``fields``.

    Attributes:
        log_id: Its id.
        fields: Its texts as they came, under the vendor's names; what is empty has none.
    """

    log_id: int
    fields: Mapping[str, str] = field(repr=False, hash=False)

    @property
    def allocated_to(self) -> str | None:
        """Staff member the log is for."""
        return self.fields.get("AllocatedTo")

    @property
    def status(self) -> CustomerLogStatus | None:
        """Its status."""
        with suppress(ValueError):
            return CustomerLogStatus(self.fields.get("Status", ""))
        return None

    @property
    def last_contacted(self) -> datetime | None:
        """LastContactedUTC, with its zone."""
        with suppress(ValueError):
            text = self.fields.get("LastContactedUTC", "")
            return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
        return None

    @property
    def date_required_follow_up(self) -> date | None:
        """A calendar day: the store gives back no time."""
        with suppress(ValueError):
            return date.fromisoformat(self.fields.get("DateRequiredFollowUp", "")[:10])
        return None

    @property
    def notes(self) -> str | None:
        """Its text."""
        return self.fields.get("Notes")


@frozen(kw_only=True)
class StoredCustomer:
    """
    A customer as the store gives it back.

    Attributes:
        username: The user name, as the store writes it.
        logs: The customer's logs, in the order in which they came.
    """

    username: str = field(repr=False)
    logs: tuple[StoredCustomerLog, ...] = ()


def _given(record: CustomerLog | CustomerLogUpdate) -> dict[str, object]:
    values = ((attribute.name, getattr(record, attribute.name)) for attribute in attrs.fields(type(record)))
    return {name: value for name, value in values if value is not None}


def _refusal(record: CustomerLog | CustomerLogUpdate, faults: list[str]) -> InvalidRecordError:
    errors = tuple(faults)
    return InvalidRecordError(errors, outcome=Invalid(index=0, record=_given(record), errors=errors))


def _faults(record: CustomerLog | CustomerLogUpdate, lengths: Mapping[str, int]) -> list[str]:
    faults = []
    for name in _TEXTS:
        faults += _text_faults(name, getattr(record, name, None), lengths.get(name))
    if record.status is not None and not isinstance(record.status, CustomerLogStatus):
        faults.append(f"status: must be one of {', '.join(CustomerLogStatus)}")
    faults += _time_faults("last_contacted", record.last_contacted, day_allowed=False)
    faults += _time_faults("date_required_follow_up", record.date_required_follow_up, day_allowed=True)
    return faults


def _text_faults(name: str, value: object, limit: int | None) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, str):
        return [f"{name}: must be text, not {type(value).__name__}"]
    faults = []
    if limit is not None and len(value) > limit:
        faults.append(f"{name}: {len(value)} characters, and Neto takes at most {limit}")
    if found := UNCARRIABLE.search(value):
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
            + (", or pass a date for a calendar day" if day_allowed else "")
        ]
    if not _EARLIEST <= value <= _LATEST:
        return [f"{name}: the time is outside the years 1 to 9999"]
    return []
