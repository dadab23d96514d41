"""
Customer logs, and updates of them, to the body of a call. Pure; may import models and settings.

Both formats come from one conversion, which cattrs generates from the attrs class: a log becomes the vendor's names
and the texts under them. JSON dumps these, XML joins them to elements, a fingerprint hashes them; so all three hold the
same text, to the character.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime, tzinfo
from functools import lru_cache
from typing import Any, TypeAlias

from cattrs import Converter
from cattrs.gen import make_dict_unstructure_fn, override

from neto_async.models import CustomerLog, CustomerLogUpdate
from neto_async.settings import WireFormat

__all__ = [
    "FIELD_AS_WRITTEN",
    "FIELD_OF",
    "VENDOR_NAMES",
    "Fields",
    "dump_json",
    "encode_logs",
    "escape_xml",
    "fields_of",
    "make_fingerprint",
    "xml_document",
]

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

FIELD_OF = {name.lower(): field for field, vendor in VENDOR_NAMES.items() for name in (field, vendor)}
"""Our name of a field by the vendor's name or ours, in lower case."""

FIELD_AS_WRITTEN = {name: field for field, vendor in VENDOR_NAMES.items() for name in (field, vendor)}
"""Our name of a field by the vendor's name or ours."""

Fields: TypeAlias = dict[str, str]
"""A log as it is sent: the vendor's names, in the vendor's order, and their texts. An absent field has no name."""

_WHOLE = len(VENDOR_NAMES)


def fields_of(record: CustomerLog | CustomerLogUpdate, *, zone: tzinfo) -> Fields:
    """Convert a log, or an update, to what is sent, with times in a zone; a calendar day goes out unchanged."""
    # dateutil's zones have no hash.
    has_hash = getattr(zone, "__hash__", None) is not None
    kind = CustomerLogUpdate if isinstance(record, CustomerLogUpdate) else CustomerLog
    return (_cached_conversion if has_hash else _make_conversion)(kind, zone)(record)


def encode_logs(action: str, logs: Sequence[Fields], wire_format: WireFormat) -> bytes:
    """
    Encode logs, or updates, as `fields_of` gives them, as the body of one call, in UTF-8.

    The store's ids are expected in their order. In JSON they are always a list, a single one too.
    """
    if wire_format is WireFormat.XML:
        elements = "".join(map(_element, logs))
        return xml_document(action, f"<CustomerLogs>{elements}</CustomerLogs>")
    return dump_json({"CustomerLogs": {"CustomerLog": logs}})


def make_fingerprint(salt: bytes) -> Callable[[Fields], bytes]:
    """
    Make the function that gives a log, as it is sent, 16 bytes: they distinguish it and reveal nothing of its texts.

    Nobody who lacks the salt, of 16 bytes at most, can test which text a fingerprint belongs to. Fingerprints are the
    same for JSON and XML, and for every library that writes them. Journals keep them, so they must not change from one
    release to the next.
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


dump_json: Callable[[object], bytes] = _dump_with_json
with suppress(ImportError):
    # The extra `speed`: the same meaning, made faster.
    from orjson import dumps as dump_json


def _element(log: Fields) -> str:
    fields = "".join([f"<{name}>{escape_xml(text)}</{name}>" for name, text in log.items()])
    return f"<CustomerLog>{fields}</CustomerLog>"


def xml_document(action: str, content: str) -> bytes:
    """Put elements into the document of a call."""
    return f'<?xml version="1.0" encoding="utf-8"?>\n<{action}>{content}</{action}>'.encode()


def escape_xml(text: str) -> str:
    """Escape the text of an element; quotes need no escape outside of attributes."""
    # Readers turn a bare carriage return into a newline (XML 1.0, section 2.11).
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


_plain: Callable[[str], str] = str.__str__
"""What is sent of a text. A subclass of str, such as a caller's Enum, gives its content and no other word."""


def _make_conversion(kind: type[CustomerLog | CustomerLogUpdate], zone: tzinfo) -> Callable[[Any], Fields]:
    """Make the function that converts a record of one kind to what is sent, with times in one zone."""

    def moment(value: datetime) -> str:
        # Without the offset, which follows the seconds. A subclass may write itself otherwise.
        return datetime.isoformat(value.astimezone(zone), " ", "seconds")[:19]

    def day_or_moment(value: date) -> str:
        return moment(value) if isinstance(value, datetime) else f"{value.isoformat()} 00:00:00"

    hooks: dict[str, Callable[[Any], str]] = {
        "log_id": str,
        "last_contacted": moment,
        "date_required_follow_up": day_or_moment,
    }
    fields: dict[str, Any] = {
        name: override(rename=vendor, omit_if_default=True, unstruct_hook=hooks.get(name, _plain))
        for name, vendor in (("log_id", "LogID"), *VENDOR_NAMES.items())
    }
    return make_dict_unstructure_fn(kind, Converter(), **fields)


_cached_conversion = lru_cache(maxsize=16)(_make_conversion)
