"""What does a body cost? Ours in JSON and XML, beside the same bodies made by hand and by other writers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timezone
from functools import partial
from typing import TypeAlias
from xml.etree import ElementTree as ET

import msgspec
import xmltodict
from lxml import etree  # type: ignore[import-untyped]

from benchmarks import by_hand
from benchmarks.measuring import Answer, Target, take_turns, timed_calls
from benchmarks.records import make_logs
from neto_async import CustomerLog, WireFormat
from neto_async.wire import ADD_CUSTOMER_LOG, fields_of

BATCH = 100
Writer: TypeAlias = Callable[[Sequence[CustomerLog]], bytes]


class Struct(msgspec.Struct, rename="pascal", omit_defaults=True):
    """A log as msgspec holds it, with its times as texts already: the floor for any codec."""

    allocated_to: str | None = None
    follow_up_type: str | None = None
    username: str | None = None
    customer_name: str | None = None
    last_contacted: str | None = None
    date_required_follow_up: str | None = None
    status: str | None = None
    notes: str | None = None


def msgspec_dict(logs: Sequence[CustomerLog]) -> bytes:
    """Let msgspec dump the dict by hand."""
    return msgspec.json.encode(by_hand.json_dict(logs))


def element_tree(logs: Sequence[CustomerLog]) -> bytes:
    """Build a tree with the standard library and write it."""
    batch = ET.Element("AddCustomerLog")
    every = ET.SubElement(batch, "CustomerLogs")
    for log in logs:
        one = ET.SubElement(every, "CustomerLog")
        for name, text in by_hand.vendor_texts(log).items():
            ET.SubElement(one, name).text = text
    return bytes(ET.tostring(batch, "utf-8", xml_declaration=True))


def lxml_tree(logs: Sequence[CustomerLog]) -> bytes:
    """Build a tree with lxml and write it."""
    batch = etree.Element("AddCustomerLog")
    every = etree.SubElement(batch, "CustomerLogs")
    for log in logs:
        one = etree.SubElement(every, "CustomerLog")
        for name, text in by_hand.vendor_texts(log).items():
            etree.SubElement(one, name).text = text
    return bytes(etree.tostring(batch, encoding="utf-8", xml_declaration=True))


def xmltodict_dict(logs: Sequence[CustomerLog]) -> bytes:
    """Let xmltodict write the dict by hand."""
    return str(xmltodict.unparse({"AddCustomerLog": by_hand.json_dict(logs)})).encode()


def ours(logs: Sequence[CustomerLog], wire_format: WireFormat) -> bytes:
    """Encode a batch as the library does."""
    return ADD_CUSTOMER_LOG.encode([fields_of(log, zone=timezone.utc) for log in logs], wire_format)


JSON_WRITERS: Mapping[str, Writer] = {
    "neto_async": partial(ours, wire_format=WireFormat.JSON),
    "dict by hand": by_hand.encode_json,
    "dict by hand, msgspec": msgspec_dict,
}
XML_WRITERS: Mapping[str, Writer] = {
    "neto_async": partial(ours, wire_format=WireFormat.XML),
    "strings by hand": by_hand.encode_xml,
    "lxml": lxml_tree,
    "ElementTree": element_tree,
    "xmltodict": xmltodict_dict,
}


def measure(*, quick: bool) -> list[Answer]:
    """Encode batches of a hundred logs."""
    logs = make_logs(BATCH)
    structs = [Struct(**{name: _text(value) for name, value in _fields(log)}) for log in logs]
    rounds, times = (2, 1) if quick else (31, 20)
    check(logs)
    in_json = {name: timed_calls(partial(write, logs), BATCH, times) for name, write in JSON_WRITERS.items()}
    in_json["msgspec, a Struct of texts"] = timed_calls(partial(msgspec.json.encode, structs), BATCH, times)
    in_xml = {name: timed_calls(partial(write, logs), BATCH, times) for name, write in XML_WRITERS.items()}
    return [
        Answer(
            title=f"Encode {BATCH} logs to JSON",
            unit="µs CPU a record",
            samples=asyncio.run(take_turns(in_json, rounds)),
            targets=[Target(what="JSON encode", ours="neto_async", peer="dict by hand", limit=1.3)],
        ),
        Answer(
            title=f"Encode {BATCH} logs to XML",
            unit="µs CPU a record",
            samples=asyncio.run(take_turns(in_xml, rounds)),
            targets=[Target(what="XML encode", ours="neto_async", peer="strings by hand", limit=1.5)],
        ),
    ]


def check(logs: Sequence[CustomerLog]) -> None:
    """
    Read every body back.

    Raises:
        RuntimeError: Two of a format don't say the same, so that their times can't be compared.
    """
    said_in_json = [json.loads(write(logs)) for write in JSON_WRITERS.values()]
    said_in_xml = [xmltodict.parse(write(logs)) for write in XML_WRITERS.values()]
    if any(said != of_one[0] for of_one in (said_in_json, said_in_xml) for said in of_one):
        raise RuntimeError("the bodies differ, so their times can't be compared")


def _fields(log: CustomerLog) -> list[tuple[str, object]]:
    return [(name, getattr(log, name)) for name in Struct.__struct_fields__]


def _text(value: object) -> str | None:
    return None if value is None else str(value)
