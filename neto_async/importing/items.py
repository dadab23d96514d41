"""What a source may yield, and the customer log it means. May import: wire (the vendor's names), models, errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

from neto_async.errors import InvalidRecordError
from neto_async.models import CustomerLog
from neto_async.wire import VENDOR_NAMES

__all__ = ["Item", "Record", "log_from_mapping", "read_item"]

Record: TypeAlias = CustomerLog | Mapping[str, Any] | InvalidRecordError
"""A log, a mapping with the vendor's or our names, or the fault of a row that was found invalid before."""

Item: TypeAlias = Record | tuple[Record, Any]
"""A record, or a record with a context that comes back with its outcome."""

FIELD_OF = {name.lower(): field for field, vendor in VENDOR_NAMES.items() for name in (field, vendor)}
"""Our name of a field by the vendor's name or ours, in lower case."""

FIELD_AS_WRITTEN = {name: field for field, vendor in VENDOR_NAMES.items() for name in (field, vendor)}
"""Our name of a field by the vendor's name or ours."""


def log_from_mapping(mapping: Mapping[Any, Any]) -> CustomerLog:
    """
    Make a log from a mapping with the vendor's or our field names, in any case of letters.

    Raises:
        InvalidRecordError: A name is none of them or stands twice, or a value breaks a rule.
    """
    # As they are usually written; what else there is, is looked into one by one.
    usual = {FIELD_AS_WRITTEN.get(name): value for name, value in mapping.items()}
    if None not in usual and len(usual) == len(mapping):
        return CustomerLog(**usual)  # type: ignore[arg-type]
    fields: dict[str, Any] = {}
    errors = []
    for position, (name, value) in enumerate(mapping.items(), start=1):
        field = FIELD_OF.get(name.lower()) if isinstance(name, str) else None
        if field is None:
            errors.append(f"name {position} of {len(mapping)} is no field of a customer log; the fields are {_names()}")
        elif field in fields:
            errors.append(f"{field}: given twice")
        else:
            fields[field] = value
    if errors:
        raise InvalidRecordError(tuple(errors))
    return CustomerLog(**fields)


def read_item(item: object) -> tuple[CustomerLog | None, object, Any, tuple[str, ...]]:
    """
    Read what a source yielded.

    Returns:
        The log, or None; the record as it was given; its context; what is wrong, where there is no log.
    """
    record, context = item if isinstance(item, tuple) and len(item) == 2 else (item, None)  # noqa: PLR2004
    if isinstance(record, CustomerLog):
        return record, record, context, ()
    if isinstance(record, InvalidRecordError):
        return None, None, context, record.errors
    if not isinstance(record, Mapping):
        fault = f"must be a CustomerLog or a mapping, not {type(record).__name__}"
        return None, None, context, (fault,)
    try:
        return log_from_mapping(record), record, context, ()
    except InvalidRecordError as error:
        return None, record, context, error.errors


def _names() -> str:
    return ", ".join(attribute.name for attribute in attrs.fields(CustomerLog))
