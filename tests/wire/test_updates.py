"""UpdateCustomerLog: what a call carries, and what each reply means."""

from __future__ import annotations

import itertools
import json
from datetime import date, datetime, timezone
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neto_async.errors import InvalidRecordError
from neto_async.models import CustomerLog, CustomerLogStatus, CustomerLogUpdate
from neto_async.sandbox.reading import read_records
from neto_async.settings import WireFormat
from neto_async.wire import ADD_CUSTOMER_LOG, UPDATE_CUSTOMER_LOG, VerdictKind, fields_of

NOW = datetime(2026, 11, 2, 7, 30, tzinfo=timezone.utc)
VENDOR_NAMES = {
    "log_id": "LogID",
    "allocated_to": "AllocatedTo",
    "follow_up_type": "FollowUpType",
    "customer_name": "CustomerName",
    "last_contacted": "LastContacted",
    "date_required_follow_up": "DateRequiredFollowUp",
    "status": "Status",
    "notes": "Notes",
}
CARRIABLE = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
TEXTS = st.lists(CARRIABLE | st.sampled_from(["\r", "\n", "\r\n", "\t", "&", "<", "]]>"]), min_size=1, max_size=20).map(
    lambda characters: f"{''.join(characters)}."
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "allocated_to": TEXTS,
        "follow_up_type": TEXTS.map(lambda text: text[:50]),
        "customer_name": TEXTS,
        "last_contacted": st.datetimes(datetime(1, 1, 4), datetime(9999, 12, 27), timezones=st.just(timezone.utc)),  # noqa: DTZ001
        "date_required_follow_up": st.dates(),
        "status": st.sampled_from(CustomerLogStatus),
        "notes": TEXTS,
    },
).filter(bool)
UPDATES = st.builds(
    lambda log_id, changes: CustomerLogUpdate(log_id=log_id, **changes), st.integers(1, 10**10 - 1), CHANGES
)


def encode(updates, wire_format):
    return UPDATE_CUSTOMER_LOG.encode([fields_of(update, zone=timezone.utc) for update in updates], wire_format)


def judge(document, *, records=1, status=200, root="UpdateCustomerLogResponse"):
    """Judge a document in both formats; they must agree."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    verdict = UPDATE_CUSTOMER_LOG.judge(status, {}, body, records, now=NOW)
    if isinstance(document, dict):
        as_xml = f"<{root}>{''.join(itertools.starmap(element, document.items()))}</{root}>".encode()
        assert UPDATE_CUSTOMER_LOG.judge(status, {}, as_xml, records, now=NOW) == verdict, document
    return verdict


def element(name, node):
    if isinstance(node, list):
        return "".join(element(name, child) for child in node)
    inner = "".join(itertools.starmap(element, node.items())) if isinstance(node, dict) else node
    return f"<{name}>{inner}</{name}>"


def expected(update):
    """Say by hand what an update looks like on the wire."""
    rows = {}
    for name, vendor in VENDOR_NAMES.items():
        value = getattr(update, name)
        if isinstance(value, datetime):
            value = value.replace(microsecond=0, tzinfo=None).isoformat(" ")
        elif isinstance(value, date):
            value = f"{value.isoformat()} 00:00:00"
        if value is not None:
            rows[vendor] = str(value)
    return rows


@given(st.lists(UPDATES, min_size=1, max_size=3))
def test_both_formats_carry_what_was_given_and_nothing_else(updates):
    """Each update arrives with its LogID first and the fields that were given, to the character; the rest is absent."""
    rows = [expected(update) for update in updates]
    as_json = json.loads(encode(updates, WireFormat.JSON))
    assert {"CustomerLogs": {"CustomerLog": rows}} == as_json
    root = ET.fromstring(encode(updates, WireFormat.XML))
    assert "UpdateCustomerLog" == root.tag
    assert [list(row.items()) for row in rows] == [[(one.tag, one.text) for one in log] for log in root[0]]
    for wire_format in WireFormat:
        body = encode(updates, wire_format)
        assert rows == [dict(row) for row in read_records(body, wire_format.value, "UpdateCustomerLog")]


def test_the_call_names_its_action():
    """The header NETOAPI_ACTION is the action's name; an update is not repeated unless the caller says so."""
    assert "UpdateCustomerLog" == UPDATE_CUSTOMER_LOG.headers(WireFormat.JSON)["NETOAPI_ACTION"]
    assert UPDATE_CUSTOMER_LOG.may_repeat is False


def test_times_go_out_in_the_zone():
    """A time is converted to the zone on the wire, as it is when a log is added."""
    moment = datetime(2026, 11, 5, 9, tzinfo=ZoneInfo("Australia/Brisbane"))
    for record in (CustomerLogUpdate(log_id=7, last_contacted=moment), CustomerLog(last_contacted=moment)):
        assert "2026-11-04 23:00:00" == fields_of(record, zone=timezone.utc)["LastContacted"]


@pytest.mark.parametrize("log_id", [None, 0, -1, 10**10, True, 7.0, "7", "customer's text"])
def test_no_update_goes_without_a_log_id(log_id):
    """A LogID is a whole number of at most ten digits; without one the store might make a new log."""
    with pytest.raises(InvalidRecordError, match="log_id: must be a whole number above 0, of at most ten") as caught:
        CustomerLogUpdate(log_id=log_id, status="Completed")
    assert "customer" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, "the update is empty: give at least one field beside log_id"),
        ({"notes": None, "last_contacted": float("nan")}, "the update is empty: give at least one field beside log_id"),
        ({"allocated_to": "q" * 101}, "allocated_to: 101 characters, and Neto takes at most 100"),
        ({"follow_up_type": "q" * 51}, "follow_up_type: 51 characters, and Neto takes at most 50"),
        ({"customer_name": "q" * 101}, "customer_name: 101 characters, and Neto takes at most 100"),
        ({"notes": " \n"}, "notes: blank; leave it out to keep what the log has"),
        ({"notes": "", "status": "Completed"}, "notes: blank; leave it out to keep what the log has"),
        ({"status": "Closed"}, "status: must be one of Require Recontact, Recontacting, Completed"),
        ({"status": ""}, "status: must be one of Require Recontact, Recontacting, Completed"),
        ({"last_contacted": datetime(2026, 11, 5)}, "last_contacted: the time has no zone"),  # noqa: DTZ001
        ({"date_required_follow_up": "soon"}, "date_required_follow_up: must be a date or an aware datetime, not str"),
    ],
)
def test_what_breaks_a_rule_of_the_vendor_is_refused(changes, fault):
    """The limits are those of the vendor's page; a fault names field and limit, and never the value."""
    with pytest.raises(InvalidRecordError) as caught:
        CustomerLogUpdate(log_id=7, **changes)
    assert any(error.startswith(fault) for error in caught.value.errors), caught.value.errors
    assert 1 == len(caught.value.errors)
    assert "qqq" not in repr(caught.value) + str(caught.value)


def test_lengths_at_the_limit_are_taken():
    """A text of exactly the longest length is valid; Notes have no limit."""
    update = CustomerLogUpdate(
        log_id=10**10 - 1, allocated_to="q" * 100, follow_up_type="q" * 50, customer_name="q" * 100, notes="q" * 10**6
    )
    assert 10**6 == len(update.notes)


def test_an_update_shows_no_texts():
    """Its repr names the fields, and nothing of what customers and staff wrote; it has no Username."""
    update = CustomerLogUpdate(log_id=7, notes="q", status="Completed")
    assert "CustomerLogUpdate(log_id=…, status=…, notes=…)" == repr(update)
    assert list(VENDOR_NAMES) == [attribute.name for attribute in attrs.fields(CustomerLogUpdate)]


NO_MESSAGES = ({}, {"Messages": ""}, {"Messages": {"Error": "", "Warning": ""}})
ERROR = {"Messages": {"Error": {"Message": "LogID 7 does not exist", "SeverityCode": "Error"}}}
WARNING = {"Messages": {"Warning": {"Message": "LogID 7 does not exist", "SeverityCode": "Warning"}}}


def test_a_bare_success_is_updated():
    """``Ack: Success`` in any case and without a message updates every log of the call, whichever the root's name."""
    for beside, ack, records in itertools.product(NO_MESSAGES, ("Success", "SUCCESS", "success"), (1, 5)):
        for root in ("UpdateCustomerLogResponse", "UpdateCustomerLog"):
            verdict = judge({"CurrentTime": "2026-11-02 07:30:10", "Ack": ack, **beside}, records=records, root=root)
            assert (VerdictKind.UPDATED, (), ()) == (verdict.kind, verdict.messages, verdict.log_ids), (beside, ack)


REPLIES = [
    (VerdictKind.REFUSED, {"Ack": "Error"}, 1),
    (VerdictKind.REFUSED, ERROR, 1),
    (VerdictKind.REFUSED, {"Ack": "Success", **ERROR}, 1),
    (VerdictKind.UNKNOWN, {"Ack": "Error"}, 2),
    (VerdictKind.UNKNOWN, {"Ack": "Error", **ERROR}, 2),
    (VerdictKind.UNKNOWN, {"Ack": "Warning"}, 1),
    (VerdictKind.UNKNOWN, {"Ack": "Warning", **WARNING}, 1),
    (VerdictKind.UNKNOWN, {"Ack": "Success", **WARNING}, 1),
    (VerdictKind.UNKNOWN, {"Ack": "Success", "Messages": {"Other": "saved"}}, 1),
    (VerdictKind.UNKNOWN, {}, 1),
    (VerdictKind.UNKNOWN, {"CurrentTime": "2026-11-02 07:30:10"}, 1),
    (VerdictKind.UNKNOWN, {"Ack": "Pending"}, 1),
    (VerdictKind.UNKNOWN, {"Ack": ["Success", "Success"]}, 1),
    (VerdictKind.UNKNOWN, {"Ack": "Success", "CustomerLog": {"LogID": "7"}}, 1),
    (VerdictKind.UNKNOWN, {"Ack": "Success", "LogID": "7"}, 1),
    (VerdictKind.UNKNOWN, {"Ack": "Success", "CustomerLog": {"LogID": "seven"}}, 1),
    (VerdictKind.UNKNOWN, {"Ack": "Error", "Messages": {"Error": {"Message": "Request Error"}}}, 1),
    (VerdictKind.KEY_REFUSED, {"Ack": "Error", "Messages": {"Error": {"Message": "Invalid API Key"}}}, 1),
    (VerdictKind.KEY_REFUSED, {"Ack": "Error", "Messages": {"Error": {"Message": "Invalid API Key"}}}, 3),
    (VerdictKind.UNKNOWN, b"<html>", 1),
    (VerdictKind.UNKNOWN, b"", 1),
    (VerdictKind.UNKNOWN, b"<AddCustomerLogResponse><Ack>Success</Ack></AddCustomerLogResponse>", 1),
]


def test_what_is_no_bare_success_is_never_updated():
    """An error refuses one log alone; after a warning, an id or a reply without an Ack nothing is certain."""
    for kind, document, records in REPLIES:
        verdict = judge(document, records=records)
        assert kind is verdict.kind, (document, records, verdict.reason)


def test_messages_are_passed_on():
    """Neto's own words come with the verdict, for a refusal and for a doubt."""
    for document in ({"Ack": "Error", **ERROR}, {"Ack": "Warning", **WARNING}):
        verdict = judge(document)
        assert (("LogID 7 does not exist",), ()) == (verdict.messages, verdict.warnings), document


def test_http_decides_as_it_does_for_logs_that_are_added():
    """Under any status but a success the verdict is the one on a call that adds logs."""
    for status in (301, 400, 401, 403, 408, 413, 429, 500, 503):
        for document in ({"Ack": "Success"}, {"Ack": "Error", **ERROR}):
            body = json.dumps(document).encode()
            added = ADD_CUSTOMER_LOG.judge(status, {}, body, 1, now=NOW)
            assert added == judge(body, status=status), status


NAMES = st.sampled_from(["Ack", "CustomerLog", "LogID", "Messages", "Error", "Warning", "Message", "SeverityCode"])
NODES = st.recursive(
    st.sampled_from([None, True, 0, 7, 1.5, "", " ", "7", "Error", "Warning", "Success"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(NAMES, children, max_size=4),
    max_leaves=10,
)


@given(
    st.dictionaries(NAMES, NODES, max_size=5).map(lambda one: json.dumps(one).encode()) | st.binary(), st.integers(1, 3)
)
def test_any_reply_gives_a_verdict(body, records):
    """Whatever comes, there is a verdict, and UPDATED only for a document whose Ack is Success and that has no id."""
    verdict = judge(body, records=records)
    if verdict.kind is VerdictKind.UPDATED:
        assert "success" == json.loads(body)["Ack"].lower()
        assert b"LogID" not in body
        assert b"Message" not in body or b'"Message":' not in body
