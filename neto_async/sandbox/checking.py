"""
Check a log against the vendor's pages on AddCustomerLog and UpdateCustomerLog (developers.maropost.com, read 2026-11).

The texts echo the log and name no position in the batch, like Neto's own messages. May import: reading.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

from neto_async.sandbox.reading import Record

__all__ = ["FIELDS", "UPDATABLE", "UnknownElements", "problems_of"]

UnknownElements = Literal["refuse", "ignore"]

FIELDS = {
    "AllocatedTo": "allocated_to",
    "FollowUpType": "follow_up_type",
    "Username": "username",
    "CustomerName": "customer_name",
    "LastContacted": "last_contacted",
    "DateRequiredFollowUp": "date_required_follow_up",
    "Status": "status",
    "Notes": "notes",
}
"""The vendor's element names, in the vendor's order, with ours."""

UPDATABLE = FIELDS.keys() - {"Username"}
"""What an update can change."""

_LENGTHS = {"AllocatedTo": 255, "FollowUpType": 50, "Username": 25, "CustomerName": 100}
_UPDATE_LENGTHS = _LENGTHS | {"AllocatedTo": 100}
_STATUSES = ("Require Recontact", "Recontacting", "Completed")
_DATES = ("LastContacted", "DateRequiredFollowUp")
_DATE_SHAPE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_NO_DATE = ("", "0000-00-00 00:00:00")
"""How live replies write a missing date."""


def problems_of(record: Record, *, unknown_elements: UnknownElements = "refuse", is_update: bool = False) -> list[str]:
    """List why the store refuses a log, or what it is to become, in texts that echo it."""
    problems = []
    fields = UPDATABLE | {"LogID"} if is_update else FIELDS.keys()
    if unknown_elements == "refuse":
        problems += [f"Element {name} is not known" for name in record if name not in fields]
    for name, limit in (_UPDATE_LENGTHS if is_update else _LENGTHS).items():
        if len(value := record.get(name, "")) > limit:
            problems.append(f"{name} {value} is longer than {limit} characters")
    if (status := record.get("Status", "")) and status not in _STATUSES:
        problems.append(f"Status {status} does not exist")
    problems += [
        f"{name} {record[name]} is not a valid date" for name in _DATES if name in record and not _is_date(record[name])
    ]
    return problems


def _is_date(text: str) -> bool:
    if text in _NO_DATE:
        return True
    if not _DATE_SHAPE.fullmatch(text):
        return False
    try:
        datetime.strptime(text, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - the text has no zone; the calendar is asked
    except ValueError:
        return False
    return True
