"""Replies can be printed in every shape that Neto's are known to have."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from xml.etree import ElementTree as ET

import pytest

from neto_async.sandbox.replies import Answer, Message, ReplyShape, print_answer

NOW = datetime(2026, 11, 5, 7, 30, 10, tzinfo=timezone.utc)
ERROR = Message(text="Bad <text>", description="why")
WARNING = Message(text="So so")


def printed(answer, wire_format="json", **shape):
    body = print_answer(answer, ReplyShape(**shape), wire_format, NOW)
    return json.loads(body) if wire_format == "json" else body.decode("utf-8")


def test_one_record_by_default():
    """A single record is an object with its id as text, beside Ack and CurrentTime and no Messages."""
    expected = {"CustomerLog": {"LogID": "7"}, "CurrentTime": "2026-11-05 07:30:10", "Ack": "Success"}
    assert expected == printed(Answer(log_ids=(7,)))


@pytest.mark.parametrize(
    ("shape", "ids", "expected"),
    [
        ({}, (7, 8), [{"LogID": "7"}, {"LogID": "8"}]),
        ({"records": "list"}, (7,), [{"LogID": "7"}]),
        ({"log_ids": "number"}, (7,), {"LogID": 7}),
        ({}, (), "absent"),
        ({"no_records": "null"}, (), None),
        ({"no_records": "text"}, (), ""),
        ({"no_records": "list"}, (), []),
        ({"no_records": "object"}, (), {}),
    ],
)
def test_records(shape, ids, expected):
    """Records are printed as the shape says."""
    assert expected == printed(Answer(log_ids=ids), **shape).get("CustomerLog", "absent")


FULL = {"Message": "Bad <text>", "SeverityCode": "Error", "Description": "why"}
SO_SO = {"Message": "So so", "SeverityCode": "Warning"}


@pytest.mark.parametrize(
    ("shape", "answer", "expected"),
    [
        ({}, Answer(errors=(ERROR,)), {"Error": FULL}),
        ({}, Answer(errors=(ERROR, ERROR), warnings=(WARNING,)), {"Error": [FULL, FULL], "Warning": SO_SO}),
        ({"messages": "list"}, Answer(warnings=(WARNING,)), {"Warning": [SO_SO]}),
        ({"messages": "wrapped"}, Answer(errors=(ERROR,), warnings=(WARNING,)), [{"Error": FULL}, {"Warning": SO_SO}]),
        ({"messages": "text"}, Answer(errors=(ERROR,)), {"Error": "Bad <text>"}),
        (
            {"description": False},
            Answer(errors=(ERROR,)),
            {"Error": {"Message": "Bad <text>", "SeverityCode": "Error"}},
        ),
        (
            {"severity": "misspelt"},
            Answer(warnings=(WARNING,)),
            {"Warning": {"Message": "So so", "SeverityCode": "Waring"}},
        ),
        ({}, Answer(), "absent"),
        ({"no_messages": "object"}, Answer(), {}),
        ({"no_messages": "text"}, Answer(), ""),
        ({"no_messages": "list"}, Answer(), []),
        ({"no_messages": "null"}, Answer(), None),
    ],
)
def test_messages(shape, answer, expected):
    """Messages are printed as the shape says."""
    assert expected == printed(answer, **shape).get("Messages", "absent")


@pytest.mark.parametrize(("ack", "expected"), [("title", "Warning"), ("upper", "WARNING"), ("lower", "warning")])
def test_case_of_ack(ack, expected):
    """Ack is printed in the case asked for."""
    assert expected == printed(Answer(warnings=(WARNING,)), ack=ack)["Ack"]


def test_parts_can_be_left_out():
    """Ack and CurrentTime can be absent."""
    assert printed(Answer(), ack="absent", current_time=False) == {}


def test_xml_by_default():
    """XML has the root of live replies, no namespace, an element for each record, and escaped texts."""
    expected = (
        '<?xml version="1.0" encoding="utf-8"?>\n<AddCustomerLogResponse>'
        "<CustomerLog><LogID>7</LogID></CustomerLog><CustomerLog><LogID>8</LogID></CustomerLog>"
        "<CurrentTime>2026-11-05 07:30:10</CurrentTime><Ack>Error</Ack>"
        "<Messages><Error><Message>Bad &lt;text&gt;</Message><SeverityCode>Error</SeverityCode>"
        "<Description>why</Description></Error></Messages></AddCustomerLogResponse>"
    )
    assert expected == printed(Answer(log_ids=(7, 8), errors=(ERROR,)), "xml")


def test_xml_root_and_namespace():
    """The root's name and namespace are the shape's."""
    text = printed(Answer(log_ids=(7,)), "xml", xml_root="AddCustomerLog", xml_namespace='urn:"x"')
    root = ET.fromstring(text)
    assert root.tag == '{urn:"x"}AddCustomerLog'


@pytest.mark.parametrize(
    ("shape", "answer", "expected"),
    [
        ({"no_records": "null"}, Answer(), "<CustomerLog />"),
        ({"no_messages": "list"}, Answer(), "<Messages />"),
        ({"messages": "text"}, Answer(errors=(WARNING, WARNING)), "<Error>So so</Error><Error>So so</Error>"),
        (
            {"messages": "wrapped"},
            Answer(errors=(ERROR,), warnings=(WARNING,)),
            "</Error></Messages><Messages><Warning>",
        ),
    ],
)
def test_xml_shapes(shape, answer, expected):
    """What JSON prints as empty or as a list has its form in XML."""
    assert expected in printed(answer, "xml", **shape)


def test_words_that_no_shape_has():
    """A shape that is misspelt is refused when it is made."""
    with pytest.raises(ValueError, match="records"):
        ReplyShape(records="single")


def test_texts_stay_out_of_reprs():
    """What the store says, which echoes its customers, is in no repr."""
    assert "So so" not in repr(Answer(warnings=(WARNING,)))
