"""Answers of a store in every shape that one seed or another draws: JSON or XML, one or many, plain or compressed."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

__all__ = ["ABSENT", "render"]

ABSENT = object()
"""In the place of an id: an entry without one."""

Said = Sequence[tuple[str, str]]
"""Messages, each as ("Error" or "Warning", text)."""


def render(
    draw: random.Random, wire_format: str, ids: Sequence[Any], *, ack: str | None = None, said: Said = ()
) -> tuple[dict[str, str], bytes]:
    """Give headers and body of an answer; mostly in the format of the call, as stores do."""
    ack = draw.choice(["Success", "success", "SUCCESS", None]) if ack is None else ack
    if draw.random() < 0.05:
        wire_format = "xml" if wire_format == "json" else "json"
    text = _as_json(draw, ids, ack, said) if wire_format == "json" else _as_xml(draw, ids, ack, said)
    body = text.encode("utf-8-sig" if draw.random() < 0.05 else "utf-8")
    headers = {draw.choice(["Content-Type", "content-type"]): _media_type(draw, wire_format)}
    if draw.random() < 0.1:
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, mtime=0)
    return headers, body


def _media_type(draw: random.Random, wire_format: str) -> str:
    return draw.choice([f"application/{wire_format}", f"application/{wire_format}; charset=utf-8", "text/html"])


def _as_json(draw: random.Random, ids: Sequence[Any], ack: str | None, said: Said) -> str:
    as_id = draw.choice([str, int, " {} ".format])
    entries = [{} if found is ABSENT else {"LogID": as_id(found) if type(found) is int else found} for found in ids]
    document: dict[str, Any] = {"CurrentTime": "2026-11-05 07:30:10"}
    if ack is not None:
        document["Ack"] = ack
    if entries:
        document["CustomerLog"] = entries[0] if len(entries) == 1 and draw.random() < 0.7 else entries
    elif draw.random() < 0.5:
        document["CustomerLog"] = draw.choice(["", [], {}, None])
    messages = [
        (kind, {"Message": text, "SeverityCode": kind, **({"Description": "as it is"} if kind == "Error" else {})})
        for kind, text in said
    ]
    form = draw.randrange(3)
    if not messages:
        document |= draw.choice([{}, {}, {"Messages": draw.choice(["", [], {}, None])}])
    elif form == 0:
        document["Messages"] = [{kind: message} for kind, message in messages]
    else:
        grouped = {kind: [message for other, message in messages if other == kind] for kind, _ in messages}
        document["Messages"] = {
            kind: group[0] if len(group) == 1 and form == 1 else group for kind, group in grouped.items()
        }
    return json.dumps(document)


def _as_xml(draw: random.Random, ids: Sequence[Any], ack: str | None, said: Said) -> str:
    batch = draw.choice(["AddCustomerLogResponse", "AddCustomerLogResponse", "AddCustomerLog"])
    entries = [
        "<CustomerLog/>" if found is ABSENT else f"<CustomerLog><LogID>{found}</LogID></CustomerLog>" for found in ids
    ]
    messages = [
        f"<{kind}><Message>{escape(text)}</Message><SeverityCode>{kind}</SeverityCode></{kind}>" for kind, text in said
    ]
    parts = [
        draw.choice(["", '<?xml version="1.0" encoding="utf-8"?>']),
        f"<{batch}{draw.choice(['', ' xmlns=' + chr(34) + 'urn:neto' + chr(34)])}>",
        "" if ack is None else f"<Ack>{ack}</Ack>",
        *entries,
        "<CurrentTime>2026-11-05 07:30:10</CurrentTime>",
        f"<Messages>{''.join(messages)}</Messages>" if messages else draw.choice(["", "<Messages/>"]),
        f"</{batch}>",
    ]
    return "".join(parts)
