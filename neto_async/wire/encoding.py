"""
Customer logs to the body and the headers of an AddCustomerLog call. Pure; may import models and settings.

Both formats come from one conversion, which cattrs generates from the attrs class: a log becomes the vendor's names
and the texts under them. JSON dumps these, XML joins them to elements, a fingerprint hashes them; so all three hold the
same text, to the character.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime, timezone, tzinfo
from functools import lru_cache
from typing import Any, TypeAlias

from cattrs import Converter
from cattrs.gen import make_dict_unstructure_fn, override

from neto_async.models import CustomerLog
from neto_async.settings import WireFormat

__all__ = [
    "ACTION",
    "VENDOR_NAMES",
    "Fields",
    "encode_batch",
    "encode_fields",
    "fields_of",
    "make_fingerprint",
    "request_headers",
]

ACTION = "AddCustomerLog"
"""The vendor's name of the call: a header in both formats, and the root element in XML."""

VENDOR_NAMES = {
    "allocated_to": "AllocatedTo",
    "follow_up_type": "FollowUpType",
    "username": "Username",
    "customer_name": "CustomerName",
    "last_contacted": "LastContacted",
    "date_required_follow_up": "DateRequiredFollowUp",
    "status": "Status",
    "notes": "Notes",
}
"""Our names to the vendor's, in the vendor's order (AddCustomerLog page, developers.maropost.com, read 2026-11)."""

Fields: TypeAlias = dict[str, str]
"""A log as it is sent: the vendor's names, in the vendor's order, and the texts under them. What is absent has none."""

_WHOLE = len(VENDOR_NAMES)

_MEDIA_TYPES = {WireFormat.JSON: "application/json", WireFormat.XML: "application/xml"}


def request_headers(wire_format: WireFormat) -> dict[str, str]:
    """
    Return the headers that every call of this format carries; credentials are not among them.

    Without ``Accept: application/json`` the store answers in XML (AddCustomerLog page, read 2026-11).
    """
    media_type = _MEDIA_TYPES[wire_format]
    return {
        "NETOAPI_ACTION": ACTION,
        "Accept": media_type,
        "Content-Type": media_type,
        # A reply is a few kilobytes: compression gains nothing, and can hide gigabytes.
        "Accept-Encoding": "identity",
    }


def fields_of(record: CustomerLog, *, zone: tzinfo) -> Fields:
    """
    Convert a log to what is sent of it.

    Args:
        record: The log.
        zone: The zone that times are sent in; a calendar day goes out as it stands.
    """
    # dateutil's zones have no hash.
    has_hash = getattr(zone, "__hash__", None) is not None
    return (_cached_conversion if has_hash else _make_conversion)(zone)(record)


def encode_fields(logs: Sequence[Fields], wire_format: WireFormat) -> bytes:
    """
    Encode logs as the body of one call, in UTF-8.

    Args:
        logs: As `fields_of` gives them, in the order in which the store's ids are expected.
        wire_format: JSON or XML. In JSON the logs are always a list, a single one too.
    """
    if wire_format is WireFormat.XML:
        elements = "".join(map(_element, logs))
        return (
            f'<?xml version="1.0" encoding="utf-8"?>\n<{ACTION}><CustomerLogs>{elements}</CustomerLogs></{ACTION}>'
        ).encode()
    return _dump_json({"CustomerLogs": {"CustomerLog": logs}})


def encode_batch(records: Sequence[CustomerLog], wire_format: WireFormat, *, zone: tzinfo = timezone.utc) -> bytes:
    """Convert logs and encode them: `fields_of` and `encode_fields` in one."""
    return encode_fields([fields_of(record, zone=zone) for record in records], wire_format)


def make_fingerprint(salt: bytes) -> Callable[[Fields], bytes]:
    """
    Make the function that gives 16 bytes for a log, as it is sent: they tell it from another, and nothing of its texts.

    They are the same for JSON and XML, and for whichever library writes them. Journals keep them, so they must not
    change from one release to the next.

    Args:
        salt: At most 16 bytes. Without it nobody can try out which text makes a fingerprint.
    """
    start = hashlib.blake2b(digest_size=16, salt=salt).copy

    def fingerprint(fields: Fields) -> bytes:
        # A model takes no U+0000. A whole log makes eight parts; another has its names before its texts and makes an
        # odd number. So two logs that differ never make the same text.
        texts = fields.values()
        hashed = start()
        hashed.update("\0".join(texts if len(fields) == _WHOLE else [*fields, "", *texts]).encode())
        return hashed.digest()

    return fingerprint


def _dump_with_json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


_dump_json: Callable[[object], bytes] = _dump_with_json
with suppress(ImportError):
    # The extra `speed`: the same meaning, made faster.
    from orjson import dumps as _dump_json


def _element(log: Fields) -> str:
    fields = "".join([f"<{name}>{_escaped(text)}</{name}>" for name, text in log.items()])
    return f"<CustomerLog>{fields}</CustomerLog>"


def _escaped(text: str) -> str:
    """Return what XML makes of a text; there are no attributes, so quotes stand for themselves."""
    # Readers turn a bare carriage return into a newline (XML 1.0, section 2.11).
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


_plain: Callable[[str], str] = str.__str__
"""What is sent of a text. A subclass of str, such as a caller's Enum, gives its content and no other word."""


def _make_conversion(zone: tzinfo) -> Callable[[CustomerLog], Fields]:
    """Make the function that converts a log to what is sent, with times in one zone."""

    def moment(value: datetime) -> str:
        # Without the offset, which follows the seconds. A subclass may write itself otherwise.
        return datetime.isoformat(value.astimezone(zone), " ", "seconds")[:19]

    def day_or_moment(value: date) -> str:
        return moment(value) if isinstance(value, datetime) else f"{value.isoformat()} 00:00:00"

    hooks: dict[str, Callable[[Any], str]] = {"last_contacted": moment, "date_required_follow_up": day_or_moment}
    fields: dict[str, Any] = {
        name: override(rename=vendor, omit_if_default=True, unstruct_hook=hooks.get(name, _plain))
        for name, vendor in VENDOR_NAMES.items()
    }
    return make_dict_unstructure_fn(CustomerLog, Converter(), **fields)


_cached_conversion = lru_cache(maxsize=16)(_make_conversion)
