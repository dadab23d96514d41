"""
What each reply means: every sample under ``replies/``, and the rows of the table that samples can't show.

The samples are written for these tests after the shapes that the vendor documents and live stores send. Folder: the
verdict. Name: number of records in the call, what it shows, HTTP status, format. Every id is from 5001 on.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import UserDict
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neto_async.wire import ADD_CUSTOMER_LOG, VerdictKind
from neto_async.wire.verdicts import MAX_RETRY_AFTER

NOW = datetime(2026, 11, 2, 7, 30, tzinfo=timezone.utc)
REPLIES = Path(__file__).parent / "replies"
SAMPLES = sorted(path for path in REPLIES.rglob("*") if path.is_file())
ADDED = [path for path in SAMPLES if path.parent.name == "added"]
PAIRS = [path for path in SAMPLES if path.suffix == ".json" and path.with_suffix(".xml").exists()]
CANARY = "canary-5f3a"

judge = ADD_CUSTOMER_LOG.judge


def of(path):
    """Judge a sample."""
    status = int(path.suffixes[-2].removeprefix("."))
    return judge(status, {}, path.read_bytes(), records_of(path), now=NOW)


def records_of(path):
    """Give the number of records in a sample's call."""
    return int(path.name.partition("-")[0])


def reply(body, *, status=200, records=1, headers=None):
    """Judge a body."""
    return judge(status, headers or {}, body.encode() if isinstance(body, str) else body, records, now=NOW)


def judge_with(path, status, **headers):
    """Judge a sample under another status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return judge(status, named, path.read_bytes(), records_of(path), now=NOW)


def label(path):
    """Name a sample in the report."""
    return str(path.relative_to(REPLIES))


def test_each_sample_has_the_verdict_of_its_folder():
    """Every shape of a reply means what the table says, and a verdict has a reason and the status."""
    for path in SAMPLES:
        verdict = of(path)
        assert path.parent.name == verdict.kind.value.replace(" ", "-"), (label(path), verdict.reason)
        assert int(path.suffixes[-2].removeprefix(".")) == verdict.status, label(path)
        assert verdict.reason, label(path)


def test_added_has_the_ids_in_the_order_of_the_reply():
    """ADDED comes with one id a record, in the order of the document, and with no messages but warnings."""
    for path in ADDED:
        verdict = of(path)
        ids = tuple(int(digits) for digits in re.findall(r"\b50\d\d\b", path.read_text(encoding="utf-8")))
        assert (ids, records_of(path), ()) == (verdict.log_ids, len(ids), verdict.messages), label(path)


def test_both_formats_mean_the_same():
    """The same reply in JSON and in XML gives the same ids, messages and warnings, whatever the verdict."""
    for path in PAIRS:
        said = [(one.log_ids, one.messages, one.warnings) for one in (of(path), of(path.with_suffix(".xml")))]
        assert said[0] == said[1], label(path)


READ = [path for path in SAMPLES if ".200." in path.name and path.parent.name != "unknown"]
"""Samples whose meaning is settled by what the API says, under a 200."""


def kind_under(status, kind):
    """Say what an answer that means `kind` under a 200 means under another status, row by row of the table."""
    if status in {408, 500, 502, 503, 504, 599} or (kind is VerdictKind.ADDED and 300 <= status < 500):
        return VerdictKind.UNKNOWN
    if 300 <= status < 400:
        return VerdictKind.WRONG_ADDRESS
    if status in {413, 429}:
        return VerdictKind.TOO_LARGE if status == 413 else VerdictKind.RATE_LIMITED
    if status == 401 or (400 <= status < 500 and kind is VerdictKind.KEY_REFUSED):
        return VerdictKind.KEY_REFUSED
    return VerdictKind.BLOCKED if status >= 400 else kind


STATUSES = (201, 204, 299, 301, 302, 307, 308, *range(400, 430), 451, 499, 500, 502, 503, 504)


def test_each_shape_under_each_status():
    """Every shape of a reply under every status: HTTP decides, and an id beside a refusal leaves the fate unknown."""
    for path, status in itertools.product(READ, STATUSES):
        verdict, under_200, case = judge_with(path, status, Retry_After="7"), of(path), (label(path), status)
        assert (kind_under(status, under_200.kind), under_200.log_ids) == (verdict.kind, verdict.log_ids), case
        assert (status, 7.0) == (verdict.status, verdict.retry_after), case
        assert verdict.kind is VerdictKind.ADDED or verdict.warnings == (), case


def test_ids_for_another_number_of_records_are_never_paired():
    """Whatever the shape, ids in another number than the call's records leave all of them unknown, as evidence."""
    for path in ADDED:
        ids = of(path).log_ids
        for records in {0, 1, 2, 3, 4, 100} - {len(ids)}:
            verdict = judge(200, {}, path.read_bytes(), records, now=NOW)
            assert (VerdictKind.UNKNOWN, ids) == (verdict.kind, verdict.log_ids), (label(path), records)


def test_a_reply_without_ids_means_the_same_for_any_number_of_records():
    """Where no id is, the number of records in the call plays no part."""
    for path, records in itertools.product([path for path in READ if path not in ADDED], (1, 2, 100)):
        assert of(path).kind is judge(200, {}, path.read_bytes(), records, now=NOW).kind, (label(path), records)


def test_the_samples_cover_every_verdict():
    """No kind of verdict is without a sample, and most samples are in both formats."""
    kinds = set(VerdictKind) - {VerdictKind.UPDATED, VerdictKind.READ}  # other actions have these
    assert {kind.value.replace(" ", "-") for kind in kinds} == {path.parent.name for path in SAMPLES}
    assert len(PAIRS) > len(SAMPLES) / 4


@pytest.mark.parametrize(
    ("sample", "messages"),
    [
        ("refused/1-error-object.200.json", ("Customer not found: No customer of that name",)),
        ("refused/3-error-list.200.xml", ("First: One", "Second")),
        ("refused/2-messages-list.200.json", ("First", "Second")),
        ("refused/1-error-bare-string.200.xml", ("Customer not found",)),
        ("refused/1-messages-bare-string.200.json", ("Customer not found",)),
        ("refused/1-error-and-warning.200.json", ("First", "Second")),
        ("refused/1-ack-error-alone.200.json", ()),
        ("refused/1-ack-error-warning-alone.200.json", ("Cannot find customer",)),
        ("unknown/3-fewer-ids.200.xml", ("Cannot find customer",)),
        ("unknown/1-error-in-503.503.json", ("Customer not found",)),
        ("key-refused/1-forbidden.403.json", ("Invalid API Key",)),
        ("key-refused/1-description-alone.200.json", ("Invalid API Key",)),
        ("rate-limited/1-too-many.429.xml", ("Too many requests",)),
    ],
)
def test_messages_are_netos_own_words_errors_first(sample, messages):
    """Messages are Neto's words, each with its description, errors before the rest, whatever form they came in."""
    verdict = of(REPLIES / sample)
    assert messages == verdict.messages
    assert verdict.warnings == ()


@pytest.mark.parametrize(
    ("sample", "warnings"),
    [
        ("added/2-ack-warning-field-dropped.200.json", ("Status Lost does not exist, setting as Completed",)),
        ("added/2-warnings-in-a-list.200.xml", ("First", "Second")),
        ("added/1-messages-list-of-warnings.200.json", ("First", "Second")),
        ("added/1-severity-misspelt.200.xml", ("Field dropped",)),
        ("added/1-warning-bare-string.200.json", ("Field dropped",)),
        ("added/1-message-of-no-kind.200.json", ("Saved",)),
        ("added/1-object.200.json", ()),
        ("added/1-messages-empty-string.200.json", ()),
    ],
)
def test_warnings_come_with_added(sample, warnings):
    """What Neto says beside ids that are all there is kept as warnings."""
    assert warnings == of(REPLIES / sample).warnings


@pytest.mark.parametrize(
    ("sample", "ids"),
    [
        ("unknown/3-fewer-ids.200.json", (5001, 5002)),
        ("unknown/1-more-ids.200.xml", (5001, 5002)),
        ("unknown/2-id-twice.200.json", (5001, 5001)),
        ("unknown/2-ids-in-one-entry.200.xml", (5001, 5002)),
        ("unknown/2-ids-in-one-entry.200.json", (5001, 5002)),
        ("unknown/2-ids-without-name.200.json", (5001, 5002)),
        ("unknown/1-stray-id-beside-id.200.json", (5001, 5002)),
        ("unknown/1-id-outside.200.xml", (5001,)),
        ("unknown/1-all-well-but-500.500.json", (5001,)),
        ("unknown/2-ids-in-302.302.xml", (5001, 5002)),
        ("unknown/2-id-of-letters.200.json", (5001,)),
    ],
)
def test_unknown_keeps_every_id_as_evidence(sample, ids):
    """Ids that can't be paired are evidence for the person who looks."""
    assert ids == of(REPLIES / sample).log_ids


@pytest.mark.parametrize(
    "value",
    [
        *("true", "5001.0", "5e3", "-5001", "[5001]", '{"id": 5001}', f"{2**63}", f'"{2**63}"'),
        *('"+5001"', '"5_001"', '"5,001"', '"0x1389"', '"5001.0"', '"50 01"', '"N5001"', '"\\u00a05001"'),
        *('"\\u0665\\u0660\\u0660\\u0661"', '"\\uff15\\uff10\\uff10\\uff11"', '"\\u00b2"'),
    ],
)
def test_what_is_no_whole_number_above_zero_is_no_id(value):
    """Only a whole number in ASCII digits is an id; anything else, beside an error too, leaves the fate unknown."""
    assert reply(f'{{"CustomerLog": {{"LogID": {value}}}, "Ack": "Success"}}').kind is VerdictKind.UNKNOWN
    assert reply(f'{{"CustomerLog": {{"LogID": {value}}}, "Ack": "Error"}}').kind is VerdictKind.UNKNOWN


@pytest.mark.parametrize("value", ["null", '""', '" "', "0", '"0"', '"000"', "[]", "{}", "false"])
def test_an_empty_id_is_none(value):
    """An id that says "none" lets an error be a refusal."""
    assert reply(f'{{"CustomerLog": {{"LogID": {value}}}, "Ack": "Error"}}').kind is VerdictKind.REFUSED


@pytest.mark.parametrize(("value", "log_id"), [("7", 7), ('"7"', 7), ('" 7\\n"', 7), ('"007"', 7)])
def test_an_id_is_a_number_or_digits(value, log_id):
    """An id may come as a number or as digits, and is a number for the caller."""
    assert (log_id,) == reply(f'{{"CustomerLog": {{"LogID": {value}}}}}').log_ids


def test_the_largest_id_is_one():
    """An id may be as large as a database's column."""
    assert (2**63 - 1,) == reply(f'{{"CustomerLog": {{"LogID": "{2**63 - 1}"}}}}').log_ids


@pytest.mark.parametrize(
    "text",
    ["Invalid API Key", "invalid api key", "INVALID API KEY", " Invalid\t API\nKey . ", "Invalid API Key!"],
)
def test_the_keys_text_is_known_whole_and_folded(text):
    """Case, white space and a final stop make no difference to the text that says the key is refused."""
    error = f"<Ack>Error</Ack><Messages><Error><Message>{text}</Message></Error></Messages>"
    assert reply(f"<AddCustomerLogResponse>{error}</AddCustomerLogResponse>").kind is VerdictKind.KEY_REFUSED


@pytest.mark.parametrize(
    "text", ["Invalid API Key given", "CustomerName Invalid API Key does not exist", "'Invalid API Key'", "API Key", ""]
)
def test_a_text_around_the_keys_text_is_an_echo(text):
    """A message that only contains the text is about a customer's own words, and must not halt the client."""
    body = f'{{"Ack": "Error", "Messages": {{"Error": {{"Message": "{text}", "SeverityCode": "Error"}}}}}}'
    assert reply(body).kind is VerdictKind.REFUSED


def test_a_warning_that_names_the_key_is_no_refusal():
    """The key's text counts only where the reply is an error."""
    body = '{"CustomerLog": {"LogID": 1}, "Ack": "Warning", "Messages": {"Warning": "Invalid API Key"}}'
    assert reply(body).kind is VerdictKind.ADDED


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"Message": "bad", "Description": "Request Error"}, VerdictKind.REFUSED),
        ({"Message": "bad", "Description": "Request Error: Internal server error."}, VerdictKind.REFUSED),
        ({"Message": "bad", "Description": "Invalid API Key"}, VerdictKind.REFUSED),
        ({"Message": "bad", "Description": "Internal server error."}, VerdictKind.UNKNOWN),
        ({"Message": "", "Description": "Request Error"}, VerdictKind.UNKNOWN),
        ({"Message": "", "Description": "Invalid API Key"}, VerdictKind.KEY_REFUSED),
    ],
)
def test_a_description_beside_a_text_is_an_echo(message, kind):
    """A text as a Description counts where there is no text, and beside one only where the vendor writes it so."""
    body = json.dumps({"Ack": "Error", "Messages": {"Error": {**message, "SeverityCode": "Error"}}})
    assert kind is reply(body).kind


@pytest.mark.parametrize("said", ["Invalid API Key", ["Invalid API Key"], {"Message": "Invalid API Key"}])
def test_the_keys_text_without_an_error_is_no_refusal(said):
    """A message that is no error, by Ack or by severity, halts no client, whatever it says."""
    assert VerdictKind.UNKNOWN is reply(json.dumps({"Messages": said})).kind


@pytest.mark.parametrize("nothing", [None, "", [], {}, 0, " "])
def test_an_ack_that_says_nothing_is_none(nothing):
    """Ack may be there and say nothing, in any way that stores write that: ids count all the same."""
    assert VerdictKind.ADDED is reply(json.dumps({"Ack": nothing, "CustomerLog": {"LogID": 1}})).kind


@pytest.mark.parametrize("code", ["Warning", "waring"])
def test_an_error_that_is_called_a_warning_settles_nothing(code):
    """Where the element says error and its code says warning, misspelt or not, the fate is unknown."""
    body = json.dumps({"Messages": {"Error": {"Message": "bad", "SeverityCode": code}}})
    assert VerdictKind.UNKNOWN is reply(body).kind


@pytest.mark.parametrize("text", [["bad", "", "record"], {"a": "bad", "b": ["record"]}, " bad record "])
def test_a_text_in_parts_is_joined(text):
    """Neto's words come out as text, whatever they were wrapped in."""
    body = json.dumps({"Ack": "Error", "Messages": {"Error": {"Message": text, "SeverityCode": "Error"}}})
    assert ("bad record",) == reply(body).messages


def test_a_reply_has_no_say_in_what_is_read_from_it():
    """Names that only our own reading uses mean nothing in a document."""
    ours = {"has_stray_ids": True, "stray_ids": [7], "entries": {"ids": [8]}}
    verdict = reply(json.dumps({"CustomerLog": {"LogID": 5}, **ours}))
    assert (VerdictKind.ADDED, (5,)) == (verdict.kind, verdict.log_ids)


def test_an_id_that_can_not_be_read_leaves_doubt_in_a_refusal():
    """Wherever it is, an id beside a refusal is no refusal, legible or not."""
    assert [VerdictKind.UNKNOWN] * 2 == [
        reply(json.dumps({name: {"LogID": "abc"}}), status=403).kind for name in ("CustomerLog", "Other")
    ]


def test_a_pause_is_a_day_at_most():
    """An answer can't hold a client for longer than a day."""
    assert 86_400.0 == MAX_RETRY_AFTER


def test_a_status_outside_2xx_to_4xx_is_unknown():
    """Whatever the body says, a server that failed, or a status that HTTP doesn't have, leaves the fate unknown."""
    for sample in ("added/1-object.200.json", "refused/1-error-object.200.json"):
        for status in (*range(100, 200), *range(500, 600), 0, -1, 99, 600, 999):
            verdict = judge_with(REPLIES / sample, status)
            assert VerdictKind.UNKNOWN is verdict.kind, (sample, status)
            assert verdict.log_ids or verdict.messages, (sample, status)


def test_the_status_decides_where_no_id_is():
    """A 3xx or 4xx without an id means what its status says, whatever its body is."""
    named = {
        401: VerdictKind.KEY_REFUSED,
        408: VerdictKind.UNKNOWN,
        413: VerdictKind.TOO_LARGE,
        429: VerdictKind.RATE_LIMITED,
    }
    for status in range(300, 500):
        kind = named.get(status, VerdictKind.WRONG_ADDRESS if status < 400 else VerdictKind.BLOCKED)
        for body in (b"", b"<html></html>", b'{"Ack": "Success"}', b'{"Ack": "Err'):
            assert kind is judge(status, {}, body, 3, now=NOW).kind, (status, body)


def test_an_id_in_a_refusal_is_unknown():
    """An id beside a status that says "not done" is evidence that something was."""
    for status in range(300, 500):
        verdict = reply('{"CustomerLog": {"LogID": "5001"}, "Ack": "Success"}', status=status)
        assert (VerdictKind.UNKNOWN, (5001,)) == (verdict.kind, verdict.log_ids), status


def test_any_2xx_is_read():
    """What the API says counts for every 2xx, and an empty one is unknown."""
    for status in range(200, 300):
        assert reply('{"CustomerLog": {"LogID": "5001"}}', status=status).kind is VerdictKind.ADDED, status
        assert reply("", status=status).kind is VerdictKind.UNKNOWN, status


@pytest.mark.parametrize("records", [-1, 0])
def test_a_call_of_no_records_adds_none(records):
    """ADDED is never said of nothing."""
    assert reply('{"CustomerLog": [], "Ack": "Success"}', records=records).kind is VerdictKind.UNKNOWN


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        (" 30 ", 30.0),
        ("1.5", 1.5),
        ("-5", 0.0),
        ("9" * 300, MAX_RETRY_AFTER),
        ("Mon, 02 Nov 2026 07:31:30 GMT", 90.0),
        ("Monday, 02-Nov-26 07:31:30 GMT", 90.0),
        ("Mon Nov  2 07:31:30 2026", 90.0),
        ("Mon, 02 Nov 2026 17:31:30 +1000", 90.0),
        ("Mon, 02 Nov 2026 07:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER),
        ("Mon, 01 Jan 0001 00:00:00 +1400", 0.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("\u0663\u0660", None),
        ("30 s", None),
        ("9" * 301, None),
        ("Mon, 99 Nov 2026 07:31:30 GMT", None),
        ("Mon, 02 Nov 99999999999 07:31:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_from_now(value, seconds):
    """Retry-After is read as seconds or as a date, the past is now, a day the most, and the unreadable None."""
    verdict = judge(429, {"Retry-After": value}, b"", 1, now=NOW)
    assert (VerdictKind.RATE_LIMITED, seconds) == (verdict.kind, verdict.retry_after)


def test_without_retry_after_there_is_none():
    """A 429 that asks for no pause says so, and leaves the choice to the engine."""
    assert judge(429, {}, b"", 1, now=NOW).retry_after is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "30"},
        {"retry-after": "30"},
        {"RETRY-AFTER": " 30"},
        {b"Retry-After": b"30"},
        httpx.Headers({"Retry-After": "30"}),
        UserDict({"reTry-aFter": "30"}),
    ],
    ids=["title", "lower", "upper", "bytes", "httpx", "mapping"],
)
def test_header_names_count_in_any_case(headers):
    """Headers are found whatever mapping the HTTP library hands out."""
    assert judge(429, headers, b"", 1, now=NOW).retry_after == 30.0


@given(st.integers(), st.dictionaries(st.text(), st.text()), st.binary(), st.integers(), st.datetimes())
def test_judge_never_raises(status, headers, body, records, now):
    """Any status, headers, bytes and moment, a naive one too, give a verdict, and never that something was added."""
    named = ("Retry-After", "Content-Type", "Content-Encoding")
    for value in ("", *headers.values()):
        judge(status, dict.fromkeys(named, value), body, records, now=now)
    verdict = judge(status, headers, body, records, now=now)
    assert verdict.kind is not VerdictKind.ADDED
    assert verdict.retry_after is None or 0.0 <= verdict.retry_after <= MAX_RETRY_AFTER


def test_judge_is_pure():
    """The same answer gives an equal verdict each time, and the headers are left as they were."""
    headers = {"Retry-After": "Mon, 02 Nov 2026 08:00:00 GMT"}
    verdicts = [judge(429, headers, b"{}", 1, now=NOW + timedelta(hours=hour)) for hour in (0, 0)]
    assert verdicts[0] == verdicts[1]
    assert {"Retry-After": "Mon, 02 Nov 2026 08:00:00 GMT"} == headers


CANARY_BODIES = [
    f'{{"CustomerLog": {{"LogID": 1}}, "Ack": "Warning", "Messages": {{"Warning": "{CANARY}"}}}}',
    f'{{"Ack": "Error", "Messages": {{"Error": {{"Message": "{CANARY}", "Description": "{CANARY}"}}}}}}',
    f'{{"Ack": "{CANARY}", "CustomerLog": {{"LogID": "{CANARY}"}}, "{CANARY}": "{CANARY}"}}',
    f'{{"Ack": "Error", "{CANARY}": "{CANARY}", "{CANARY}": 1}}',
    f'{{"{CANARY}": ',
    f"{CANARY}",
    f"<html>{CANARY}</html>",
    f"<{CANARY}>{CANARY}</{CANARY}>",
    f'<?xml version="1.0" encoding="{CANARY}"?><AddCustomerLogResponse><{CANARY}></AddCustomerLogResponse>',
    f"<!DOCTYPE {CANARY}><AddCustomerLogResponse/>",
    f'<AddCustomerLogResponse LogID="{CANARY}"/>',
]


def test_nothing_of_the_answer_shows(caplog):
    """Neither the reason nor the repr of a verdict holds a word of the answer, its headers included, nor does a log."""
    headers = {"Content-Type": f"text/{CANARY}; charset={CANARY}", "Retry-After": CANARY, "X-Echo": CANARY}
    for body, status in itertools.product(CANARY_BODIES, (200, 302, 400, 401, 403, 413, 429, 500, 777)):
        for more in ({}, {"Content-Encoding": CANARY}):
            verdict = reply(body, status=status, headers=headers | more)
            assert CANARY not in f"{verdict!r} {verdict} {verdict.reason} {caplog.text}", (body, status, more)


def test_the_canary_would_be_seen():
    """The texts that the test before looks for do reach the verdict, on the attributes meant for them."""
    assert (CANARY,) == reply(CANARY_BODIES[0]).warnings
    assert (f"{CANARY}: {CANARY}",) == reply(CANARY_BODIES[1]).messages


def test_a_web_page_is_called_one():
    """A page instead of an answer hints at the address."""
    for sample in ("1-web-page", "1-web-page-without-doctype", "1-web-page-as-xml"):
        assert "web page" in of(REPLIES / f"unknown/{sample}.200.html").reason
    assert "web page" in reply("Service: hello", headers={"Content-Type": "text/html; charset=utf-8"}).reason


def test_an_answer_of_the_api_labelled_as_html_is_read():
    """The body decides the format; a wrong Content-Type loses no outcome."""
    body = '{"CustomerLog": {"LogID": "5001"}}'
    assert reply(body, headers={"Content-Type": "text/html"}).kind is VerdictKind.ADDED


def test_a_date_is_counted_from_the_answers_own():
    """A clock that is wrong here does not change the pause: Retry-After is counted from the answer's Date."""
    headers = {"Date": "Thu, 05 Nov 2026 10:00:00 GMT", "Retry-After": "Thu, 05 Nov 2026 10:00:55 GMT"}
    verdict = judge(429, headers, b"", 1, now=datetime(2026, 11, 5, 9, 55, tzinfo=timezone.utc))

    assert 55.0 == verdict.retry_after
