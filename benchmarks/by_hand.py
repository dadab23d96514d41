"""
The peer of the whole library: what an expert writes in an afternoon, in sixty lines, without the promises.

It validates rows, batches, keeps so many calls in flight and builds the library's own outcomes. It does not pace, try
again, isolate, hold its memory flat, or say what a broken answer means. May import: models and outcomes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timezone
from itertools import islice
from typing import Any, TypeAlias
from xml.sax.saxutils import escape

import xmltodict
from attrs import frozen

from neto_async import Added, CustomerLog, Invalid, InvalidRecordError, Outcome, Unknown

Post: TypeAlias = Callable[[bytes], Awaitable[tuple[int, bytes]]]
"""Posts a body over some HTTP library; gives status and body of the answer."""


def vendor_texts(log: CustomerLog) -> dict[str, str]:
    """Give the fields that are set under the vendor's names: times in UTC, and the follow-up a calendar day."""
    contacted, follow_up = log.last_contacted, log.date_required_follow_up
    fields = {
        "AllocatedTo": log.allocated_to,
        "FollowUpType": log.follow_up_type,
        "Username": log.username,
        "CustomerName": log.customer_name,
        "LastContacted": contacted.astimezone(timezone.utc).isoformat(" ", "seconds")[:19] if contacted else None,
        "DateRequiredFollowUp": f"{follow_up} 00:00:00" if follow_up else None,
        "Status": log.status,
        "Notes": log.notes,
    }
    return {name: text for name, text in fields.items() if text is not None}


def json_dict(logs: Iterable[CustomerLog]) -> dict[str, Any]:
    """Give the document of a call."""
    return {"CustomerLogs": {"CustomerLog": [vendor_texts(log) for log in logs]}}


def encode_json(logs: Iterable[CustomerLog]) -> bytes:
    """Dump the whole batch."""
    return dump(json_dict(logs))


def dump_with_json(document: object) -> bytes:
    """Write a document with the standard library."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


dump: Callable[[object], bytes] = dump_with_json
load: Callable[[bytes], Any] = json.loads
with suppress(ImportError):
    # The library that the package itself takes, so that the two can be compared.
    import orjson

    dump, load = orjson.dumps, orjson.loads


def encode_xml(logs: Iterable[CustomerLog]) -> bytes:
    """Join strings, with nothing but the escaping."""
    parts = ['<?xml version="1.0" encoding="utf-8"?>\n<AddCustomerLog><CustomerLogs>']
    for log in logs:
        fields = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in vendor_texts(log).items())
        parts.append(f"<CustomerLog>{fields}</CustomerLog>")
    parts.append("</CustomerLogs></AddCustomerLog>")
    return "".join(parts).encode()


def ids_in_json(body: bytes) -> list[int]:
    """Read the ids of an answer without an error, else none."""
    return _ids(load(body))


def ids_in_xml(body: bytes) -> list[int]:
    """Read the ids of an answer without an error, else none."""
    return _ids(xmltodict.parse(body)["AddCustomerLogResponse"])


def _ids(reply: Mapping[str, Any]) -> list[int]:
    if reply["Ack"] == "Error":
        return []
    logs = reply.get("CustomerLog", [])
    return [int(log["LogID"]) for log in (logs if isinstance(logs, list) else [logs])]


@frozen
class Codec:
    """How one format is written and read."""

    name: str
    encode: Callable[[Iterable[CustomerLog]], bytes]
    ids_in: Callable[[bytes], list[int]]


JSON = Codec("json", encode_json, ids_in_json)
XML = Codec("xml", encode_xml, ids_in_xml)

Numbered: TypeAlias = tuple[int, CustomerLog]


def outcomes_of(batch: Sequence[Numbered], status: int, body: bytes, codec: Codec) -> list[Outcome]:
    """Pair the ids of an answer with the logs of its call."""
    ids = codec.ids_in(body) if status == 200 else []  # noqa: PLR2004
    if len(ids) != len(batch):
        return [Unknown(index=index, record=log, reason=f"HTTP {status}") for index, log in batch]
    return [Added(index=index, record=log, log_id=log_id) for (index, log), log_id in zip(batch, ids, strict=True)]


async def import_rows(
    rows: Iterable[Mapping[str, Any]], post: Post, codec: Codec, *, batch_size: int = 100, concurrency: int = 4
) -> list[Outcome]:
    """Add all rows, so many at a time, and give what became of each."""
    outcomes: list[Outcome] = []
    slots = asyncio.Semaphore(concurrency)
    numbered = enumerate(rows)

    async def send(batch: Sequence[Numbered]) -> None:
        try:
            status, body = await post(codec.encode(log for _, log in batch))
        finally:
            slots.release()
        outcomes.extend(outcomes_of(batch, status, body, codec))

    async with asyncio.TaskGroup() as calls:
        while part := list(islice(numbered, batch_size)):
            batch = []
            for index, row in part:
                try:
                    batch.append((index, CustomerLog(**row)))
                except InvalidRecordError as error:
                    outcomes.append(Invalid(index=index, record=row, errors=error.errors))
            await slots.acquire()
            calls.create_task(send(batch))
    return outcomes


async def import_dicts(rows: Iterable[Mapping[str, Any]], post: Post, *, batch_size: int = 100) -> list[int]:
    """Add rows that are ready to be dumped, four calls at a time: no check, no log, no outcome but the ids."""
    ids: list[int] = []
    source = iter(rows)

    async def send() -> None:
        while batch := list(islice(source, batch_size)):
            _, body = await post(dump({"CustomerLogs": {"CustomerLog": batch}}))
            ids.extend(ids_in_json(body))

    await asyncio.gather(*(send() for _ in range(4)))
    return ids
