"""
Customer logs to the body and the headers of an AddCustomerLog call. Pure; may import models and settings.

Both formats come from one cattrs conversion of the attrs class, so that they carry the same text, to the character.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import date, datetime, timezone, tzinfo
from functools import lru_cache
from typing import Any

import xmltodict
from cattrs import Converter
from cattrs.gen import make_dict_unstructure_fn, override

from neto_async.models import CustomerLog, CustomerLogStatus
from neto_async.settings import WireFormat

__all__ = ["ACTION", "VENDOR_NAMES", "encode_batch", "fingerprint", "request_headers"]

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


def encode_batch(records: Sequence[CustomerLog], wire_format: WireFormat, *, zone: tzinfo = timezone.utc) -> bytes:
    """
    Encode records as the body of one call, in UTF-8.

    Args:
        records: The logs, in the order in which the store's ids are expected.
        wire_format: JSON or XML. In JSON the records are always a list, a single one too.
        zone: The zone that times are sent in; a calendar day goes out as it stands.
    """
    to_vendor = _converter_for(zone)
    logs = {"CustomerLog": [to_vendor.unstructure(record) for record in records]}
    if wire_format is WireFormat.XML:
        return _dump_xml({ACTION: {"CustomerLogs": logs}})
    return _dump_json({"CustomerLogs": logs})


def fingerprint(record: CustomerLog, *, zone: tzinfo, key: bytes) -> bytes:
    """
    Return 16 bytes that tell one log, as it is sent, from another, and nothing of what stands in it.

    The same for JSON and XML, and for whichever library writes them. Journals keep it, so it must not change from one
    release to the next.

    Args:
        record: The log.
        zone: The zone that times are sent in: another zone is another text on the wire.
        key: At most 64 bytes. Without it nobody can try out which text makes a fingerprint.
    """
    sent = _converter_for(zone).unstructure(record)
    # A model takes neither U+0000 nor U+0001, so two logs that differ never make the same text.
    text = "".join([f"{name}\1{value}\0" for name, value in sent.items()])
    return hashlib.blake2b(text.encode(), digest_size=16, key=key).digest()


def _dump_json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _dump_xml(document: dict[str, Any]) -> bytes:
    text = xmltodict.unparse(document)
    # XML readers turn a bare carriage return into a newline (XML 1.0, section 2.11). The only ones in the document are
    # those of the records' texts: markup has none, and there are no attributes.
    return text.replace("\r", "&#13;").encode()


def _converter_for(zone: tzinfo) -> Converter:
    # dateutil's zones have no hash.
    has_hash = getattr(zone, "__hash__", None) is not None
    return _cached_converter(zone) if has_hash else _make_converter(zone)


def _make_converter(zone: tzinfo) -> Converter:
    converter = Converter()

    def in_zone(moment: datetime) -> str:
        return _timestamp(moment.astimezone(zone))

    converter.register_unstructure_hook(str, _plain_text)
    converter.register_unstructure_hook(CustomerLogStatus, _plain_text)
    converter.register_unstructure_hook(date, _midnight)
    converter.register_unstructure_hook(datetime, in_zone)
    renamed: dict[str, Any] = {
        name: override(rename=vendor, omit_if_default=True) for name, vendor in VENDOR_NAMES.items()
    }
    converter.register_unstructure_hook(CustomerLog, make_dict_unstructure_fn(CustomerLog, converter, **renamed))
    return converter


_cached_converter = lru_cache(maxsize=16)(_make_converter)


def _plain_text(text: str) -> str:
    # Of a subclass of str (an Enum of the caller's) the JSON encoder takes the content, and str() what __str__ says.
    return str.__str__(text)


def _timestamp(moment: datetime) -> str:
    # strftime("%Y") does not pad years below 1000 on every platform.
    return f"{moment.year:04}-{moment.month:02}-{moment.day:02} {moment.hour:02}:{moment.minute:02}:{moment.second:02}"


def _midnight(day: date) -> str:
    return f"{day.year:04}-{day.month:02}-{day.day:02} 00:00:00"
