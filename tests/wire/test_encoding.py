"""What a call carries: both formats, read back by readers that share nothing with the encoder."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import date, datetime, timedelta, timezone, tzinfo
from enum import Enum
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import attrs
import orjson
import pytest
import xmltodict
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from neto_async.journals import sqlite
from neto_async.models import CustomerLog, CustomerLogStatus
from neto_async.settings import WireFormat
from neto_async.wire import ADD_CUSTOMER_LOG, VENDOR_NAMES, fields_of, make_fingerprint
from neto_async.wire import encoding as with_orjson


def encoding_without(missing):
    """Load the module anew, as it is where a package is not installed."""
    spec = importlib.util.spec_from_file_location("encoding_without", with_orjson.__file__)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, missing, None)
        spec.loader.exec_module(module)
    return module


without_orjson = encoding_without("orjson")


def encode_batch(logs, wire_format, *, zone=timezone.utc, encoding=with_orjson):
    """Encode the body of a call that adds logs."""
    return encoding.encode_logs(ADD_CUSTOMER_LOG.name, [fields_of(log, zone=zone) for log in logs], wire_format)


CARRIABLE = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
AWKWARD = st.sampled_from(
    [
        *("\r", "\n", "\r\n", "\t", " ", "]]>", "<![CDATA[", "&", "&#13;", "<", ">", '"', "'", "--", "<?", "\\", "\\r"),
        *("\x85", "\u2028", "\u2029", "\ufeff", "\u200b", "\x7f", "\x9f", "\ud7ff", "\ue000", "\ufffd"),
        *("\U00010000", "\U0001f600", "\U0010ffff", "e\u0301", "\u202e"),
    ]
)
TEXTS = st.lists(CARRIABLE | AWKWARD, max_size=25).map("".join)
ZONES = st.sampled_from(
    [timezone.utc, ZoneInfo("Australia/Brisbane"), ZoneInfo("America/St_Johns"), timezone(timedelta(hours=-11))]
)
TIMES = st.datetimes(min_value=datetime(1, 1, 4), max_value=datetime(9999, 12, 27), timezones=ZONES)  # noqa: DTZ001
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "allocated_to": TEXTS,
        "follow_up_type": TEXTS.map(lambda text: text[:50]),
        "username": TEXTS.map(lambda text: text[:25]),
        "customer_name": TEXTS,
        "last_contacted": TIMES,
        "date_required_follow_up": st.dates() | TIMES,
        "status": st.sampled_from(CustomerLogStatus),
        "notes": TEXTS,
    },
)


def log_or_none(values):
    """Make a log where the values make one; an empty log is refused by the model."""
    given_values = [value for value in values.values() if not isinstance(value, str) or value.strip(" \t\r\n")]
    return CustomerLog(**values) if given_values else None


LOGS = FIELDS.map(log_or_none).filter(lambda log: log is not None)


def read_json(body):
    """Read a JSON body with the standard library."""
    return json.loads(body.decode())["CustomerLogs"]["CustomerLog"]


def read_etree(body):
    """Read an XML body with ElementTree."""
    (logs,) = ET.fromstring(body)
    return [{element.tag: element.text for element in log} for log in logs]


def read_lxml(body):
    """Read an XML body with libxml2."""
    (logs,) = etree.fromstring(body)
    return [{element.tag: element.text for element in log} for log in logs]


def expected(log, zone=timezone.utc):
    """Say by hand what a log looks like on the wire."""
    rows = {}
    for name, vendor in VENDOR_NAMES.items():
        value = getattr(log, name)
        if isinstance(value, datetime):
            value = value.astimezone(zone).replace(microsecond=0, tzinfo=None).isoformat(" ")
        elif isinstance(value, date):
            value = f"{value.isoformat()} 00:00:00"
        if value is not None:
            rows[vendor] = str(value)
    return rows


@given(st.lists(LOGS, min_size=1, max_size=4), ZONES)
@example([CustomerLog(notes=" a\r\nb\rc\n\t]]>&#13;\x85\u2028\U0001f600 ")], timezone.utc)
def test_both_formats_carry_the_same_text(logs, zone):
    """What a model accepts arrives to the character, in JSON and in XML alike, whoever reads it."""
    rows = [expected(log, zone) for log in logs]
    as_xml = encode_batch(logs, WireFormat.XML, zone=zone)
    assert rows == read_json(encode_batch(logs, WireFormat.JSON, zone=zone))
    assert rows == read_etree(as_xml)
    assert rows == read_lxml(as_xml)


@given(st.lists(LOGS, min_size=1, max_size=4), ZONES)
@example([CustomerLog(notes="\r&\n<\t>\"'\x7f\x85]]>&#13;")], timezone.utc)
def test_xml_is_what_xmltodict_writes_and_reads(logs, zone):
    """The XML is to the byte what xmltodict writes, carriage returns as references, and what it reads back."""
    rows = [expected(log, zone) for log in logs]
    written = xmltodict.unparse({"AddCustomerLog": {"CustomerLogs": {"CustomerLog": rows}}}).replace("\r", "&#13;")
    body = encode_batch(logs, WireFormat.XML, zone=zone)
    assert written.encode() == body
    read = xmltodict.parse(body, strip_whitespace=False, force_list=("CustomerLog",))
    assert rows == read["AddCustomerLog"]["CustomerLogs"]["CustomerLog"]


@given(st.lists(LOGS, min_size=1, max_size=4), ZONES)
@example([CustomerLog(notes='\r\n\t\x7f\x85\u2028\U0001f600/\\"')], timezone.utc)
def test_json_means_the_same_from_both_libraries(logs, zone):
    """With orjson installed and without it a JSON body has the same meaning, in the same order, and no blanks."""
    with_it = encode_batch(logs, WireFormat.JSON, zone=zone)
    without_it = encode_batch(logs, WireFormat.JSON, zone=zone, encoding=without_orjson)
    for read in (json.loads, orjson.loads):
        assert repr(read(without_it)) == repr(read(with_it))
    assert len(with_it) == len(without_it)


def test_orjson_is_used_where_installed():
    """The library that writes JSON is orjson, and the standard library's json where orjson is missing."""
    assert orjson.dumps is with_orjson.dump_json
    assert without_orjson._dump_with_json is without_orjson.dump_json


@given(LOGS, LOGS, st.sampled_from(WireFormat))
def test_fields_are_in_the_vendors_order(one, other, wire_format):
    """Fields come in the order of the vendor's page, whichever are set, and records in the order given."""
    read = read_json if wire_format is WireFormat.JSON else read_etree
    rows = read(encode_batch([one, other], wire_format))
    assert [list(expected(log)) for log in (one, other)] == [list(row) for row in rows]


def test_names_are_the_vendors():
    """The names map every field of a log to the one on the vendor's page, in its order."""
    assert [
        "AllocatedTo",
        "FollowUpType",
        "Username",
        "CustomerName",
        "LastContacted",
        "DateRequiredFollowUp",
        "Status",
        "Notes",
    ] == list(VENDOR_NAMES.values())
    assert [attribute.name for attribute in attrs.fields(CustomerLog)] == list(VENDOR_NAMES)


@pytest.mark.parametrize("encoding", [with_orjson, without_orjson], ids=["orjson", "json"])
def test_json_to_the_byte(encoding):
    """A JSON body is compact UTF-8, its records always a list."""
    body = encode_batch([CustomerLog(notes="Grüße", status="Completed")], WireFormat.JSON, encoding=encoding)
    assert '{"CustomerLogs":{"CustomerLog":[{"Status":"Completed","Notes":"Grüße"}]}}'.encode() == body


def test_xml_to_the_byte():
    """An XML body has the vendor's declaration and root, no namespace, and carriage returns as references."""
    body = encode_batch([CustomerLog(notes="Grüße\r\n"), CustomerLog(username="a&b")], WireFormat.XML)
    assert (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        "<AddCustomerLog><CustomerLogs>"
        "<CustomerLog><Notes>Grüße&#13;\n</Notes></CustomerLog>"
        "<CustomerLog><Username>a&amp;b</Username></CustomerLog>"
        "</CustomerLogs></AddCustomerLog>"
    ).encode() == body


@pytest.mark.parametrize(
    ("moment", "zone", "on_the_wire"),
    [
        (datetime(2026, 11, 5, 9, 0, tzinfo=ZoneInfo("Australia/Brisbane")), timezone.utc, "2026-11-04 23:00:00"),
        (datetime(2026, 11, 5, 9, 0, 59, 999999, tzinfo=timezone.utc), timezone.utc, "2026-11-05 09:00:59"),
        (datetime(33, 1, 2, 3, 4, 5, tzinfo=timezone.utc), timezone.utc, "0033-01-02 03:04:05"),
        (datetime(2026, 11, 4, 23, 0, tzinfo=timezone.utc), ZoneInfo("Australia/Brisbane"), "2026-11-05 09:00:00"),
        (datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")), timezone.utc, "2026-10-25 00:30:00"),
        (datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")), timezone.utc, "2026-10-25 01:30:00"),
    ],
    ids=["to-utc", "whole-seconds", "four-digits", "other-zone", "first-half-past-two", "second-half-past-two"],
)
@pytest.mark.parametrize("wire_format", WireFormat)
@pytest.mark.parametrize("name", ["last_contacted", "date_required_follow_up"])
def test_times_go_out_in_the_zone_of_the_wire(name, wire_format, moment, zone, on_the_wire):
    """A time is converted to the zone of the wire and written without one, in whole seconds."""
    read = read_json if wire_format is WireFormat.JSON else read_etree
    body = encode_batch([CustomerLog(**{name: moment})], wire_format, zone=zone)
    assert [{VENDOR_NAMES[name]: on_the_wire}] == read(body)


@pytest.mark.parametrize("wire_format", WireFormat)
def test_a_calendar_day_is_sent_unchanged(wire_format):
    """A date goes out as midnight of that day in any zone: a conversion would move the day that staff see."""
    read = read_json if wire_format is WireFormat.JSON else read_etree
    log = CustomerLog(date_required_follow_up=date(2026, 11, 5))
    body = encode_batch([log], wire_format, zone=ZoneInfo("Pacific/Auckland"))
    assert [{"DateRequiredFollowUp": "2026-11-05 00:00:00"}] == read(body)


class Unhashable(tzinfo):
    """A zone as dateutil makes them: comparable, without a hash."""

    __hash__ = None

    def __eq__(self, other):
        return isinstance(other, Unhashable)

    def utcoffset(self, moment):
        return timedelta(hours=10)

    def dst(self, moment):
        return timedelta(0)


def test_a_zone_needs_no_hash():
    """Zones that can't be hashed, such as dateutil's, work for the wire as well."""
    log = CustomerLog(last_contacted=datetime(2026, 11, 5, tzinfo=timezone.utc))
    assert [{"LastContacted": "2026-11-05 10:00:00"}] == read_json(
        encode_batch([log], WireFormat.JSON, zone=Unhashable())
    )


class Agent(str, Enum):  # noqa: UP042 - the very kind that StrEnum is not
    """A caller's own constants, whose str() is their name and not their text."""

    SAM = "Sam O'Hara"


class Loud(str):
    """A subclass of str that shows itself otherwise."""

    __slots__ = ()

    def __str__(self):
        return "LOUD"


@pytest.mark.parametrize("text", [Agent.SAM, Loud("Sam O'Hara")], ids=["enum", "subclass"])
def test_subclasses_of_str_are_their_text(text):
    """The content of a str's subclass is sent, not what its __str__ says, in both formats alike."""
    log = CustomerLog(allocated_to=text)
    assert [{"AllocatedTo": "Sam O'Hara"}] == read_json(encode_batch([log], WireFormat.JSON))
    assert [{"AllocatedTo": "Sam O'Hara"}] == read_etree(encode_batch([log], WireFormat.XML))


@given(st.lists(LOGS, min_size=2, max_size=5), st.sampled_from(WireFormat), st.data())
def test_batches_concatenate(logs, wire_format, data):
    """A batch cut in two carries the same records as the whole one."""
    read = read_json if wire_format is WireFormat.JSON else read_etree
    cut = data.draw(st.integers(1, len(logs) - 1))
    whole = read(encode_batch(logs, wire_format))
    assert whole == read(encode_batch(logs[:cut], wire_format)) + read(encode_batch(logs[cut:], wire_format))


class Moment(datetime):
    """A caller's own kind of datetime, which shows itself otherwise."""

    def isoformat(self, *_args, **_kwargs):
        return "soon"


def test_subclasses_of_datetime_are_their_time():
    """The time of a datetime's subclass is sent, not what its isoformat says."""
    log = CustomerLog(last_contacted=Moment(2026, 11, 5, 9, 0, tzinfo=timezone.utc))
    assert [{"LastContacted": "2026-11-05 09:00:00"}] == read_json(encode_batch([log], WireFormat.JSON))


print_of = make_fingerprint(bytes(range(16)))


@st.composite
def pairs_of_logs(draw):
    """Draw two logs that differ in a field or two, or in none."""
    values = draw(FIELDS.filter(lambda values: log_or_none(values) is not None))
    log = log_or_none(values)
    other = log_or_none(values | draw(FIELDS)) if draw(st.booleans()) else log
    # Blank values in the place of the only one make no log.
    return log, other or log


@given(pairs_of_logs(), ZONES)
@example((CustomerLog(notes="a", username="b"), CustomerLog(notes="b", username="a")), timezone.utc)
@example((CustomerLog(notes="ab"), CustomerLog(customer_name="ab")), timezone.utc)
@example((CustomerLog(username="aNotesb"), CustomerLog(username="a", notes="b")), timezone.utc)
@example((CustomerLog(username="a", notes=" "), CustomerLog(username="a")), timezone.utc)
@example((CustomerLog(notes="x\r"), CustomerLog(notes="x\n")), timezone.utc)
def test_fingerprints_are_equal_where_the_bodies_are(pair, zone):
    """Two logs have one fingerprint if, and only if, they make the same body, in JSON and in XML alike."""
    one, other = pair
    same = print_of(fields_of(one, zone=zone)) == print_of(fields_of(other, zone=zone))
    for wire_format in WireFormat:
        assert same == (encode_batch([one], wire_format, zone=zone) == encode_batch([other], wire_format, zone=zone))


def test_a_fingerprint_is_of_the_log_as_sent():
    """Another way to write the same moment is the same log; another zone of the wire, where it has a time, is not."""
    moment = datetime(2026, 11, 5, 9, 0, tzinfo=ZoneInfo("Australia/Brisbane"))
    log = CustomerLog(last_contacted=moment, status="Completed")
    same = CustomerLog(last_contacted=moment.astimezone(timezone.utc), status=CustomerLogStatus.COMPLETED)
    day = CustomerLog(date_required_follow_up=date(2026, 11, 5))
    assert print_of(fields_of(log, zone=timezone.utc)) == print_of(fields_of(same, zone=timezone.utc))
    assert print_of(fields_of(log, zone=timezone.utc)) != print_of(fields_of(log, zone=moment.tzinfo))
    assert print_of(fields_of(day, zone=timezone.utc)) == print_of(fields_of(day, zone=moment.tzinfo))


WHOLE = CustomerLog(
    allocated_to="Notes",
    follow_up_type="Phone",
    username="jsmith",
    customer_name="Jo Smith",
    last_contacted=datetime(2026, 11, 5, 9, 0, tzinfo=timezone.utc),
    date_required_follow_up=date(2026, 11, 5),
    status="Completed",
    notes="Grüße\r\n",
)
PARTIAL = CustomerLog(notes="Grüße\r\n", status="Completed", date_required_follow_up=date(2026, 11, 5))


@pytest.mark.parametrize(
    ("log", "expected"),
    [(WHOLE, "d8f3b37f250e4f710f57f780de5c54af"), (PARTIAL, "a0487891b5b5c417070d37e55d307e7b")],
)
def test_a_fingerprint_does_not_change_with_releases(log, expected):
    """Journals keep fingerprints: these are 16 bytes that stay as they are, or the form's number changes."""
    assert (3, bytes.fromhex(expected)) == (sqlite.VERSION, print_of(fields_of(log, zone=timezone.utc)))


def test_a_whole_log_is_no_other_one():
    """The names of fields, which a whole log leaves out of its fingerprint, make no other log the same."""
    names = list(fields_of(WHOLE, zone=timezone.utc))
    four = dict.fromkeys(names[:4], "x")
    eight = dict(zip(names, [*four, *four.values()], strict=True))

    assert print_of(four) != print_of(eight)


def test_a_fingerprint_takes_its_salt():
    """Under another salt the same log has another fingerprint."""
    log = CustomerLog(notes="rang back")
    fields = fields_of(log, zone=timezone.utc)
    assert print_of(fields) != make_fingerprint(b"another")(fields)


def test_headers_of_a_json_call():
    """A JSON call names the action, asks for JSON, and wants no compression; no credentials are here."""
    assert {
        "NETOAPI_ACTION": "AddCustomerLog",
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
    } == ADD_CUSTOMER_LOG.headers(WireFormat.JSON)


def test_headers_of_an_xml_call():
    """An XML call does not ask for JSON."""
    assert {
        "NETOAPI_ACTION": "AddCustomerLog",
        "Accept": "application/xml",
        "Content-Type": "application/xml",
        "Accept-Encoding": "identity",
    } == ADD_CUSTOMER_LOG.headers(WireFormat.XML)


def test_headers_are_the_callers_own():
    """What a caller adds to the headers does not show up in the next call's."""
    ADD_CUSTOMER_LOG.headers(WireFormat.JSON)["NETOAPI_KEY"] = "canary"
    assert "NETOAPI_KEY" not in ADD_CUSTOMER_LOG.headers(WireFormat.JSON)
