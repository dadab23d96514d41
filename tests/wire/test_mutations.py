"""
Damaged answers: cut at every byte, and mutated by the thousand.

The law: `judge` gives a verdict, whatever came, and never says ADDED of ids that an independent reader does not find
in the document, each in an entry of its own.
"""

from __future__ import annotations

import json
import random
import re
from datetime import datetime, timezone
from pathlib import Path
from xml.dom import expatbuilder

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neto_async.wire import ADD_CUSTOMER_LOG, Verdict, VerdictKind

NOW = datetime(2026, 11, 2, 7, 30, tzinfo=timezone.utc)
REPLIES = Path(__file__).parent / "replies"
SAMPLES = sorted(path for path in REPLIES.rglob("*") if path.is_file())
BODIES = [path.read_bytes() for path in SAMPLES]
TOKENS = [
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"<", b">", b"/", b"&", b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"0"),
    *(b"LogID", b'"LogID": "5009",', b"<LogID>5009</LogID>", b"<CustomerLog>", b"</CustomerLog>", b"CustomerLog"),
    *(b"Error", b"Warning", b"Success", b"Ack", b"<Ack>Error</Ack>", b'"Ack": "Error",', b"Messages", b"null", b"5001"),
    *(b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<!DOCTYPE r>", b"<?xml version='1.0'?>", b"&#53;", b"NaN", b"1e999"),
]
ADD_KINDS = set(VerdictKind) - {VerdictKind.UPDATED, VerdictKind.READ}
STATUSES = (*[200] * 12, 201, 302, 400, 401, 403, 404, 408, 413, 429, 500, 503)
HEADERS = (
    *[{}] * 8,
    {"Content-Type": "application/json; charset=utf-8"},
    {"Content-Type": "text/html; charset=iso-8859-1"},
    {"Content-Type": "text/xml; charset=utf-16"},
    {"Content-Encoding": "gzip"},
    {"Retry-After": "5"},
)


def ids_by_another_reader(headers, body):
    """Find the values of all elements or members that are a LogID, by readers that `judge` does not use."""
    is_latin = "iso-8859-1" in headers.get("Content-Type", "") and not body.startswith(b"\xef\xbb\xbf")
    text = body.decode("iso-8859-1" if is_latin else "utf-8-sig").strip()
    if text.startswith("{"):
        found = []

        def members(pairs):
            found.extend(value for name, value in pairs if name.lower() == "logid")
            return dict(pairs)

        json.loads(text, object_pairs_hook=members)
    else:
        # Without its declaration and unaware of namespaces: a mutation may have made it name an encoding that does not
        # exist, or put a prefix in front of a name.
        document = expatbuilder.parseString(re.sub(r"^<\?xml\s[^>]*\?>", "", text).strip(), namespaces=False)
        ids = [node for node in document.getElementsByTagName("*") if node.tagName.split(":")[-1].lower() == "logid"]
        found = ["".join(child.data for child in node.childNodes if child.nodeName != "#comment") for node in ids]
    return [0 if isinstance(value, str) and not value.strip() else int(value or 0) for value in found]


def check(status, headers, body, records):
    """Judge, and hold the verdict to the law."""
    verdict = ADD_CUSTOMER_LOG.judge(status, headers, body, records, now=NOW)
    assert isinstance(verdict, Verdict)
    if verdict.kind is VerdictKind.ADDED:
        assert 200 <= status < 300
        assert records == len(verdict.log_ids) == len(set(verdict.log_ids))
        assert min(verdict.log_ids) > 0
        assert ids_by_another_reader(headers, body) == list(verdict.log_ids)
    if verdict.kind is VerdictKind.REFUSED:
        assert verdict.log_ids == ()
        assert not any(ids_by_another_reader(headers, body))
    return verdict


# Cut before what follows them, these are whole.
CUTTABLE = [path for path in SAMPLES if "something-follows" not in path.name]


@pytest.mark.parametrize("path", CUTTABLE, ids=lambda path: str(path.relative_to(REPLIES)))
def test_an_answer_cut_at_any_byte_is_never_read(path):
    """Cut short anywhere, a 200 is unknown and without ids: half an answer never passes for a whole one."""
    body = path.read_bytes().rstrip()
    for end in range(len(body)):
        verdict = check(200, {}, body[:end], int(path.name.partition("-")[0]))
        assert (VerdictKind.UNKNOWN, ()) == (verdict.kind, verdict.log_ids), end


def mutated(body, rng):
    """Damage a body in one to four places."""
    damaged = bytearray(body)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        start = rng.randint(0, len(damaged))
        end = min(len(damaged), start + rng.choice((1, 1, 2, 5, 20, 80)))
        match rng.randrange(8):
            case 0 if start < len(damaged):
                damaged[start] ^= 1 << rng.randrange(8)
            case 1 if start < len(damaged):
                damaged[start] = rng.randrange(256)
            case 2:
                del damaged[start:end]
            case 3:
                damaged[start:start] = damaged[start:end]
            case 4:
                damaged[start:start] = rng.choice(TOKENS)
            case 5:
                damaged[start:end] = rng.choice(TOKENS)
            case 6:
                other = rng.choice(BODIES)
                damaged[start:] = other[rng.randint(0, len(other)) :]
            case 7:
                damaged[start:start] = b" " * rng.randrange(4)
    return bytes(damaged)


def judge_mutations(number, seed):
    """Judge damaged samples, and count the verdicts."""
    rng = random.Random(seed)
    kinds = dict.fromkeys(ADD_KINDS, 0)
    for turn in range(number):
        body = mutated(rng.choice(BODIES), rng)
        status, headers, records = rng.choice(STATUSES), rng.choice(HEADERS), rng.choice((1, 1, 1, 2, 2, 3))
        try:
            kinds[check(status, headers, body, records).kind] += 1
        except Exception as error:
            error.add_note(f"seed {seed}, turn {turn}: HTTP {status}, {headers}, {records} records, {body!r}")
            raise
    return kinds


def test_damaged_answers_give_a_verdict():
    """Some thousands of mutations of the samples: always a verdict, never ids that aren't there."""
    kinds = judge_mutations(20_000, seed=20261102)
    assert all(kinds.values()), f"some verdict never came up, so the law was not tried on it: {kinds}"


@pytest.mark.slow
def test_a_hundred_thousand_damaged_answers_give_a_verdict():
    """The same for 100,000 mutations from a seed of its own each time; a failure names it."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown by pytest where it fails
    kinds = judge_mutations(100_000, seed=seed)
    assert all(kinds.values()), f"seed {seed}: some verdict never came up: {kinds}"


NAMES = st.sampled_from(
    [
        "Ack",
        "CustomerLog",
        "LogID",
        "Messages",
        "Error",
        "Warning",
        "Message",
        "SeverityCode",
        "Description",
        "ack",
        "x",
    ]
)
LEAVES = st.sampled_from(
    [None, True, False, 0, 1, 5001, -1, 1.5, "", " ", "5001", "5002", "Error", "Warning", "Success"]
)
NODES = st.recursive(
    LEAVES | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(NAMES, children, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, NODES, max_size=5), st.sampled_from(STATUSES), st.integers(1, 3))
def test_any_json_document_gives_a_verdict(document, status, records):
    """Documents of the right names in any shape: a verdict, by the same law."""
    check(status, {}, json.dumps(document).encode(), records)


def element(name, node):
    """Write a node as XML."""
    if isinstance(node, list):
        return "".join(element(name, child) for child in node)
    if isinstance(node, dict):
        return f"<{name}>{''.join(element(child, value) for child, value in node.items())}</{name}>"
    text = re.sub("[^ -~]", "", "" if node is None else str(node)).replace("&", "").replace("<", "")
    return f"<{name}>{text}</{name}>"


@given(st.dictionaries(NAMES, NODES, max_size=5), st.sampled_from(STATUSES), st.integers(1, 3))
def test_any_xml_document_gives_a_verdict(document, status, records):
    """The same for XML, in which lists are elements repeated."""
    check(status, {}, element("AddCustomerLogResponse", document).encode(), records)
