"""
Read the body of a call: bytes to records or to a query, in JSON or XML, with the standard library alone.

This is the sandbox's own reading of the vendor's pages on AddCustomerLog, UpdateCustomerLog and GetCustomer
(developers.maropost.com, read 2026-11). May import: nothing of neto_async.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal
from xml.etree import ElementTree as ET

from attrs import field, frozen

__all__ = ["BodyError", "Format", "Query", "Record", "SandboxRequest", "format_asked_for", "read_query", "read_records"]

Format = Literal["json", "xml"]
Record = Mapping[str, str]
"""A log as it was sent: the vendor's element names and their text."""

_FILTERS = ("Username", "Page", "Limit", "OutputSelector")
"""What the sandbox takes in a Filter; the vendor's page has more."""


class BodyError(Exception):
    """
    The body is not a call that the store can read.

    Attributes:
        message: The text that the store answers with, "JSON Error" or "XML Error".
        description: What is wrong with the body.
    """

    def __init__(self, wire_format: Format, description: str) -> None:
        self.message = f"{wire_format.upper()} Error"
        self.description = description
        super().__init__(f"{self.message}: {description}")


@frozen(kw_only=True)
class Query:
    """
    What a GetCustomer call asks for.

    Attributes:
        usernames: User names to find; none for every customer.
        page: Number of the page, from 0.
        limit: Customers on a page, None where the call does not say.
        selectors: Which fields are to come back; at least one.
    """

    usernames: tuple[str, ...] = field(repr=False)
    page: int
    limit: int | None
    selectors: tuple[str, ...]


@frozen(kw_only=True)
class SandboxRequest:
    """
    A call as it arrived.

    Attributes:
        number: Number of the call, from 1.
        action: The header NETOAPI_ACTION, "" without one.
        username: The header NETOAPI_USERNAME, None without one.
        api_key: The header NETOAPI_KEY, None without one.
        access_key: The header X_ACCESS_KEY, None without one.
        secret_key: The header X_SECRET_KEY, None without one.
        authorization: The header Authorization, None without one.
        format: The format that Accept asks for, which the body is read in too.
        content_type: The header Content-Type, "" without one.
        body: The body's bytes.
        records: The logs in it; none where the body can't be read.
        query: What it asks for; None where it is no GetCustomer, or the body can't be read.
        error: What is wrong with the body, None where it can be read.
    """

    number: int
    action: str
    username: str | None
    api_key: str | None = field(repr=False)
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    authorization: str | None = field(default=None, repr=False)
    format: Format
    content_type: str
    body: bytes = field(repr=False)
    records: tuple[Record, ...] = field(repr=False)
    query: Query | None = None
    error: BodyError | None = None

    def contains(self, text: str) -> bool:
        """Say whether a text of any of its logs contains this one."""
        return any(text in value for record in self.records for value in record.values())


def format_asked_for(accept: str) -> Format:
    """Return the format that an Accept header asks for: JSON if it names application/json, else XML."""
    return "json" if "application/json" in accept.lower() else "xml"


def read_records(body: bytes, wire_format: Format, action: str = "AddCustomerLog") -> tuple[Record, ...]:
    """Read the logs of a body, in their order; `BodyError` where it is not of this format, or of this action."""
    if wire_format == "json":
        return _json_records(_parse_json(body))
    return _xml_records(_parse_xml(body), action)


def read_query(body: bytes, wire_format: Format) -> Query:
    """Read what a GetCustomer call asks for; `BodyError` where it is none that the sandbox can answer."""
    filters = _json_filters(_parse_json(body)) if wire_format == "json" else _xml_filters(_parse_xml(body))
    if unknown := set(filters) - set(_FILTERS):
        raise BodyError(wire_format, f"the sandbox has no filter {min(unknown)}")
    if not filters.get("OutputSelector"):
        raise BodyError(wire_format, "at least one OutputSelector is needed")
    page, limit = (_number(filters, name, wire_format) for name in ("Page", "Limit"))
    return Query(
        usernames=tuple(filters.get("Username", ())),
        page=page or 0,
        limit=limit,
        selectors=tuple(filters["OutputSelector"]),
    )


def _number(filters: Mapping[str, list[str]], name: str, wire_format: Format) -> int | None:
    texts = filters.get(name, [])
    if len(texts) > 1 or not all(re.fullmatch("[0-9]{1,9}", text) for text in texts):
        raise BodyError(wire_format, f"{name} must be one whole number")
    return int(texts[0]) if texts else None


# --- JSON --------------------------------------------------------------------------------------------------------


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_unique_names)
    except (ValueError, RecursionError) as error:
        raise BodyError("json", _place_of(error)) from None


def _only(document: Any, name: str, where: str) -> Any:
    if not isinstance(document, dict) or set(document) != {name}:
        raise BodyError("json", f"{where} must be an object with {name} and nothing else")
    return document[name]


def _listed(entries: Any) -> list[Any]:
    return entries if isinstance(entries, list) else [entries]


def _json_records(document: Any) -> tuple[Record, ...]:
    logs = _only(document, "CustomerLogs", "the body")
    entries = [] if logs == {} else _listed(_only(logs, "CustomerLog", "CustomerLogs"))
    return tuple(_json_record(entry) for entry in entries)


def _json_record(entry: Any) -> Record:
    if not isinstance(entry, dict):
        raise BodyError("json", "each CustomerLog must be an object")
    record = {name: _json_text(name, value) for name, value in entry.items() if value is not None}
    return MappingProxyType(record)


def _json_text(name: str, value: Any) -> str:
    if type(value) is int and name in {"LogID", "Page", "Limit"}:
        return str(value)
    if not isinstance(value, str):
        raise BodyError("json", f"{name} must be text")
    if not (name + value).isascii():
        _refuse_surrogates(name + value)
    return value


def _json_filters(document: Any) -> dict[str, list[str]]:
    filters = _only(document, "Filter", "the body")
    if not isinstance(filters, dict):
        raise BodyError("json", "Filter must be an object")
    return {name: [_json_text(name, value) for value in _listed(values)] for name, values in filters.items()}


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BodyError("json", "half of a surrogate pair is no character") from None


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BodyError("json", "a name occurs twice in one object")
    return members


def _place_of(error: Exception) -> str:
    # Not str(error): the texts of a UnicodeDecodeError and of the sandbox's own log hold parts of the body.
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}: line {error.lineno} column {error.colno} (char {error.pos})"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    return "can't be read"


# --- XML ---------------------------------------------------------------------------------------------------------


class _NoDoctype(ET.TreeBuilder):
    """Builds a tree, and refuses a document type declaration: entities come only from there."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002 - expat's signature
        raise BodyError("xml", "a document type declaration is not allowed")


def _parse_xml(body: bytes) -> ET.Element:
    # The builder above refuses what S314 warns of, and expat itself stops amplification since 2.4.1.
    parser = ET.XMLParser(target=_NoDoctype())  # noqa: S314
    try:
        parser.feed(body)
        return parser.close()
    except ET.ParseError as error:
        line, column = error.position
        raise BodyError("xml", f"not well-formed: line {line} column {column + 1}") from None
    except (ValueError, LookupError):
        raise BodyError("xml", "the encoding that it declares is not known") from None


def _xml_records(root: ET.Element, action: str) -> tuple[Record, ...]:
    if root.tag != action or [child.tag for child in root] != ["CustomerLogs"]:
        raise BodyError("xml", f"the root must be {action} with one CustomerLogs and nothing else")
    _refuse_stray_text(root)
    _refuse_stray_text(root[0])
    return tuple(_xml_record(element) for element in root[0])


def _xml_filters(root: ET.Element) -> dict[str, list[str]]:
    if root.tag != "GetCustomer" or [child.tag for child in root] != ["Filter"]:
        raise BodyError("xml", "the root must be GetCustomer with one Filter and nothing else")
    _refuse_stray_text(root)
    _refuse_stray_text(root[0])
    if any(len(child) for child in root[0]):
        raise BodyError("xml", "each element of Filter must hold text alone")
    filters: dict[str, list[str]] = {}
    for child in root[0]:
        filters.setdefault(child.tag, []).append(child.text or "")
    return filters


def _refuse_stray_text(element: ET.Element) -> None:
    texts = [element.text, *(child.tail for child in element)]
    if any(text and not text.isspace() for text in texts):
        raise BodyError("xml", f"there is text between the elements of {element.tag}")


def _xml_record(element: ET.Element) -> Record:
    if element.tag != "CustomerLog":
        raise BodyError("xml", "CustomerLogs must hold CustomerLog and nothing else")
    record = {child.tag: child.text or "" for child in element}
    if len(record) != len(element):
        raise BodyError("xml", "an element occurs twice in one CustomerLog")
    if any(len(child) for child in element):
        raise BodyError("xml", "each element of a CustomerLog must hold text alone")
    _refuse_stray_text(element)
    return MappingProxyType(record)
