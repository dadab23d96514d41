"""Items of a source, and the customer logs that they mean. May import: wire (the vendor's names), models, errors."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from neto_async.errors import InvalidRecordError
from neto_async.models import CustomerLog
from neto_async.wire import FIELD_AS_WRITTEN, FIELD_OF, VENDOR_NAMES

__all__ = ["Item", "Record", "SourceItem", "log_from_mapping", "read_item", "require_source"]

Record: TypeAlias = CustomerLog | Mapping[str, Any] | InvalidRecordError
"""A log, a mapping with the vendor's or our names, or the error of a row that was found invalid before."""


@attrs.frozen
class Item:
    """
    A record for a bulk add or an import, with a context of the program's own.

    Attributes:
        record: A log, or a mapping with the vendor's or our names.
        context: Comes back on the record's outcome: a primary key, a row, anything.
    """

    record: Record = attrs.field(repr=False)
    context: Any = attrs.field(default=None, repr=False)


SourceItem: TypeAlias = Record | Item | tuple[Record, Any]
"""A record, an `Item`, or a pair of a record and a context that can't be mistaken for a record itself."""

_PAIR_OF_RECORDS = (
    "two logs in one pair: the second would be the context of the first, and never sent; yield each log by itself, "
    "or Item(record, context) where the second is a context"
)

_OUR_NAMES = frozenset(VENDOR_NAMES)
_field_as_written = FIELD_AS_WRITTEN.get


def log_from_mapping(mapping: Mapping[Any, Any]) -> CustomerLog:
    """
    Make a log from a mapping with the vendor's or our field names, in any case of letters.

    Raises:
        InvalidRecordError: A name is none of them or occurs twice, or a value breaks a rule.
    """
    if type(mapping) is dict and mapping.keys() <= _OUR_NAMES:
        return CustomerLog(**mapping)
    # As they are usually written; other mappings are checked name by name.
    usual = {_field_as_written(name): value for name, value in mapping.items()}
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
    """Read what a source yielded: a log or None, the record as it was given, its context, and what is wrong."""
    record: object
    if isinstance(item, Item):
        record, context = item.record, item.context
    elif isinstance(item, tuple) and len(item) == 2:  # noqa: PLR2004
        record, context = item
        if _is_record(context):
            return None, record, context, (_PAIR_OF_RECORDS,)
    else:
        record, context = item, None
    if isinstance(record, CustomerLog):
        return record, record, context, ()
    if isinstance(record, InvalidRecordError):
        return None, None, context, record.errors
    if not isinstance(record, Mapping):
        fault = f"the log must be a CustomerLog or a mapping, not {type(record).__name__}"
        return None, None, context, (fault,)
    try:
        return log_from_mapping(record), record, context, ()
    except InvalidRecordError as error:
        return None, record, context, error.errors


def require_source(source: object) -> None:
    """Raise `TypeError` where a source is no iterable that can mean logs; the text says what to give instead."""
    kind = type(source).__name__
    if isinstance(source, Mapping | CustomerLog | Item | InvalidRecordError):
        raise TypeError(f"the source is one log ({kind}), and must be an iterable of logs: wrap it in a list, [log]")
    if isinstance(source, str | bytes | bytearray | memoryview | os.PathLike | io.IOBase):
        raise TypeError(
            f"the source must be an iterable of logs, not {kind}; to read a file, see open_rows, make_plan and "
            "LogSource in neto_async.importing"
        )
    if not (isinstance(source, Iterable | AsyncIterable) or hasattr(type(source), "__getitem__")):
        called = "; call the function, and give what it returns" if callable(source) else ""
        raise TypeError(f"the source must be an iterable or an asynchronous iterable of logs, not {kind}{called}")


def _is_record(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(isinstance(name, str) and name.lower() in FIELD_OF for name in value)
    return isinstance(value, CustomerLog | Item | InvalidRecordError)


def _names() -> str:
    return ", ".join(attribute.name for attribute in attrs.fields(CustomerLog))
