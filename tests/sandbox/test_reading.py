"""The sandbox reads requests by itself, and refuses what is no call."""

from __future__ import annotations

import pytest

from neto_async.sandbox.reading import BodyError, format_asked_for, read_records

PLAIN = [{"Notes": "a"}, {"Status": "Completed", "Notes": 'Zoë & "Bob" <b>\n\ttab'}]


@pytest.mark.parametrize("wire_format", ["json", "xml"])
def test_both_formats_read_alike(encode, wire_format):
    """A record reads as the same texts from either format, in the order of the records."""
    assert [dict(record) for record in read_records(encode[wire_format](*PLAIN), wire_format)] == PLAIN


@pytest.mark.parametrize("wire_format", ["json", "xml"])
def test_no_records(encode, wire_format):
    """A call with no CustomerLog is a call with no records: the element is optional."""
    assert read_records(encode[wire_format](), wire_format) == ()


def test_a_single_json_object_is_a_record():
    """A single record may be an object instead of a list."""
    assert read_records(b'{"CustomerLogs": {"CustomerLog": {"Notes": "a", "Status": null}}}', "json") == (
        {"Notes": "a"},
    )


def test_an_empty_xml_element_is_empty_text():
    """An empty element is there, with no text; CDATA and character references are text."""
    body = b"<AddCustomerLog><CustomerLogs><CustomerLog><Status/><Notes>a<![CDATA[<b>]]>&#13;</Notes></CustomerLog>"
    body += b"</CustomerLogs></AddCustomerLog>"
    assert read_records(body, "xml") == ({"Status": "", "Notes": "a<b>\r"},)


def json_log(inner):
    return b'{"CustomerLogs": {"CustomerLog": %b}}' % inner


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<AddCustomerLog/>",
        b"[]",
        b'{"CustomerLogs": ',
        b'{"CustomerLogs": {}, "Filter": {}}',
        b'{"CustomerLogs": []}',
        b'{"CustomerLogs": {"CustomerLogs": []}}',
        json_log(b'"text"'),
        json_log(b'[["Notes"]]'),
        json_log(b'{"Notes": 1}'),
        json_log(b'{"Notes": true}'),
        json_log(b'{"Notes": {"Notes": "a"}}'),
        json_log(b'{"Notes": "a", "Notes": "b"}'),
        json_log(b'{"Notes": "\\ud800"}'),
        json_log(b'{"Notes": "\xff"}'),
        json_log(b"[" * 100_000),
    ],
)
def test_what_is_no_json_call(body):
    """What is no JSON, or no call, is a "JSON Error"."""
    with pytest.raises(BodyError) as caught:
        read_records(body, "json")
    assert caught.value.message == "JSON Error"


def xml_log(inner, before=b""):
    return (
        before + b"<AddCustomerLog><CustomerLogs><CustomerLog>%b</CustomerLog></CustomerLogs></AddCustomerLog>" % inner
    )


LAUGHS = b"<!DOCTYPE a [<!ENTITY l0 'ha'>%b]>" % b"".join(
    b"<!ENTITY l%d '%b'>" % (level, b"&l%d;" % (level - 1) * 10) for level in range(1, 10)
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<AddCustomerLog><CustomerLogs>",
        b"<AddCustomerLog/>",
        b"<AddCustomerLogs><CustomerLogs/></AddCustomerLogs>",
        b'<AddCustomerLog xmlns="urn:x"><CustomerLogs/></AddCustomerLog>',
        b"<AddCustomerLog><CustomerLogs/><CustomerLogs/></AddCustomerLog>",
        b"<AddCustomerLog><CustomerLogs/>stray</AddCustomerLog>",
        b"<AddCustomerLog><CustomerLogs><Log/></CustomerLogs></AddCustomerLog>",
        xml_log(b"stray<Notes>a</Notes>"),
        xml_log(b"<Notes>a</Notes><Notes>b</Notes>"),
        xml_log(b"<Notes><b>a</b></Notes>"),
        xml_log(b"<Notes>\x01</Notes>"),
        xml_log(b"<Notes>\xff</Notes>"),
        xml_log(b"<Notes>&unknown;</Notes>"),
        xml_log(b"<Notes>a</Notes>", before=b"<!DOCTYPE AddCustomerLog>"),
        xml_log(b"<Notes>&l9;</Notes>", before=LAUGHS),
        xml_log(b"<Notes>a</Notes>", before=b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'>"),
        xml_log(b"<Notes>a</Notes>", before=b"<?xml version='1.0' encoding='no-such'?>"),
    ],
)
def test_what_is_no_xml_call(body):
    """What is no XML, or no call, or has a document type, is an "XML Error"."""
    with pytest.raises(BodyError) as caught:
        read_records(body, "xml")
    assert caught.value.message == "XML Error"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json", "json"),
        ("Application/JSON;q=0.9", "json"),
        ("", "xml"),
        ("*/*", "xml"),
        ("text/xml", "xml"),
    ],
)
def test_accept_decides_the_format(accept, expected):
    """JSON is what names application/json; all else is XML."""
    assert expected == format_asked_for(accept)
