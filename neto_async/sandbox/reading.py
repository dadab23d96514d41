"""
Read the body of a call: bytes to records, in JSON or XML, with the standard library alone.

This is the sandbox's own reading of the vendor's AddCustomerLog page (developers.maropost.com, read 2026-11). May
import: nothing of neto_async.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal
from xml.etree import ElementTree as ET

from attrs import field, frozen

__all__ = ["BodyError", "Format", "Record", "SandboxRequest", "format_asked_for", "read_records"]

Format = Literal["json", "xml"]
Record = Mapping[str, str]
"""A log as it was sent: the vendor's element names and their text."""


class BodyError(Exception):
    """
    The body is not a call that the store can read.

    Attributes:
        message: The words that the store answers with, "JSON Error" or "XML Error".
        description: What is wrong with the body.
    """

    def __init__(self, wire_format: Format, description: str) -> None:
        self.message = f"{wire_format.upper()} Error"
        self.description = description
        super().__init__(f"{self.message}: {description}")


@frozen(kw_only=True)
class SandboxRequest:
    """
    A call as it arrived.

    Attributes:
        number: Number of the call, from 1.
        action: The header NETOAPI_ACTION, "" without one.
        username: The header NETOAPI_USERNAME, None without one.
        api_key: The header NETOAPI_KEY, None without one.
        format: The format that Accept asks for, which the body is read in too.
        content_type: The header Content-Type, "" without one.
        body: The body's bytes.
        records: The logs in it; none where the body can't be read.
        error: What is wrong with the body, None where it can be read.
    """

    number: int
    action: str
    username: str | None
    api_key: str | None = field(repr=False)
    format: Format
    content_type: str
    body: bytes = field(repr=False)
    records: tuple[Record, ...] = field(repr=False)
    error: BodyError | None = None

    def contains(self, text: str) -> bool:
        """Say whether a text of any of its logs contains this one."""
        return any(text in value for record in self.records for value in record.values())


def format_asked_for(accept: str) -> Format:
    """Tell the format from an Accept header: JSON where it names application/json, else XML."""
    return "json" if "application/json" in accept.lower() else "xml"


def read_records(body: bytes, wire_format: Format) -> tuple[Record, ...]:
    """
    Read the logs of a body, in their order.

    Raises:
        BodyError: The body is not of this format, or not an AddCustomerLog call.
    """
    return _read_json(body) if wire_format == "json" else _read_xml(body)


def _read_json(body: bytes) -> tuple[Record, ...]:
    try:
        document = json.loads(body.decode("utf-8"), object_pairs_hook=_unique_names)
    except (ValueError, RecursionError) as error:
        raise BodyError("json", _place_of(error)) from None
    if not isinstance(document, dict) or set(document) != {"CustomerLogs"}:
        raise BodyError("json", "the body must be an object with CustomerLogs and nothing else")
    logs = document["CustomerLogs"]
    if not isinstance(logs, dict) or not set(logs) <= {"CustomerLog"}:
        raise BodyError("json", "CustomerLogs must be an object with CustomerLog and nothing else")
    entries = logs.get("CustomerLog", [])
    return tuple(_json_record(entry) for entry in (entries if isinstance(entries, list) else [entries]))


def _json_record(entry: Any) -> Record:
    if not isinstance(entry, dict):
        raise BodyError("json", "each CustomerLog must be an object")
    record = {name: value for name, value in entry.items() if value is not None}
    for name, value in record.items():
        if not isinstance(value, str):
            raise BodyError("json", f"{name} must be text")
        if not (name + value).isascii():
            _refuse_surrogates(name + value)
    return MappingProxyType(record)


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BodyError("json", "half of a surrogate pair is no character") from None


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BodyError("json", "a name stands twice in one object")
    return members


def _place_of(error: Exception) -> str:
    # Not str(error): the texts of a UnicodeDecodeError and of the sandbox's own log hold parts of the body.
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}: line {error.lineno} column {error.colno} (char {error.pos})"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    return "can't be read"


class _NoDoctype(ET.TreeBuilder):
    """Builds a tree, and refuses a document type declaration: entities come only from there."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002 - expat's signature
        raise BodyError("xml", "a document type declaration is not allowed")


def _read_xml(body: bytes) -> tuple[Record, ...]:
    # The builder above refuses what S314 warns of, and expat itself stops amplification since 2.4.1.
    parser = ET.XMLParser(target=_NoDoctype())  # noqa: S314
    try:
        parser.feed(body)
        root = parser.close()
    except ET.ParseError as error:
        line, column = error.position
        raise BodyError("xml", f"not well-formed: line {line} column {column + 1}") from None
    except (ValueError, LookupError):
        raise BodyError("xml", "the encoding that it declares is not known") from None
    if root.tag != "AddCustomerLog" or [child.tag for child in root] != ["CustomerLogs"]:
        raise BodyError("xml", "the root must be AddCustomerLog with one CustomerLogs and nothing else")
    _refuse_stray_text(root)
    _refuse_stray_text(root[0])
    return tuple(_xml_record(element) for element in root[0])


def _refuse_stray_text(element: ET.Element) -> None:
    texts = [element.text, *(child.tail for child in element)]
    if any(text and not text.isspace() for text in texts):
        raise BodyError("xml", f"text stands between the elements of {element.tag}")


def _xml_record(element: ET.Element) -> Record:
    if element.tag != "CustomerLog":
        raise BodyError("xml", "CustomerLogs must hold CustomerLog and nothing else")
    record = {child.tag: child.text or "" for child in element}
    if len(record) != len(element):
        raise BodyError("xml", "an element stands twice in one CustomerLog")
    if any(len(child) for child in element):
        raise BodyError("xml", "each element of a CustomerLog must hold text alone")
    _refuse_stray_text(element)
    return MappingProxyType(record)
