"""GetCustomer: what a call asks for, and which logs are read from each reply."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from datetime import date, datetime, timezone
from xml.etree import ElementTree as ET

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neto_async.models import CustomerLogStatus, StoredCustomer, StoredCustomerLog
from neto_async.sandbox.reading import read_query
from neto_async.sandbox.replies import Answer, ReplyShape, print_answer
from neto_async.settings import WireFormat
from neto_async.wire import ADD_CUSTOMER_LOG, GET_CUSTOMER, CustomerPage, VerdictKind
from neto_async.wire.bodies import MAX_REPLY_BYTES
from neto_async.wire.customers import MAX_PAGE_BYTES

NOW = datetime(2026, 11, 2, 7, 30, tzinfo=timezone.utc)
FIELDS = (
    *("Customer", "AllocatedTo", "Status", "DateRequiredFollowUp"),
    *("LastContacted", "LastContactedLocal", "LastContactedUTC", "Notes"),
)
CARRIABLE = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
TEXTS = st.lists(CARRIABLE | st.sampled_from(["\n", "\t", " ", "&", "<", "]]>", "&amp;", "\x85"]), max_size=15).map(
    "".join
)
USERNAMES = TEXTS.filter(str.strip)
CUSTOMERS = st.lists(
    st.tuples(USERNAMES, st.lists(st.dictionaries(st.sampled_from(FIELDS), TEXTS), max_size=3)), max_size=4
)
SHAPES = st.builds(
    ReplyShape,
    **{
        name: st.sampled_from(values)
        for name, values in {
            "records": ("object", "list"),
            "customer_logs": ("wrapped", "bare", "list"),
            "no_records": ("absent", "text", "list", "object", "null"),
            "no_messages": ("absent", "object", "text", "list", "null"),
            "xml_root": (None, "GetCustomer"),
            "xml_namespace": (None, "urn:x"),
            "ack": ("title", "upper", "lower"),
            "log_ids": ("text", "number"),
            "current_time": (True, False),
        }.items()
    },
)


def judge(body, *, status=200, headers=None):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return GET_CUSTOMER.judge(status, headers or {}, body, 1, now=NOW)


def number(customers):
    """Give each log of the generated customers its id."""
    ids = itertools.count(5001)
    return [
        (name, [(next(ids), {key: text for key, text in log.items() if text}) for log in logs])
        for name, logs in customers
    ]


def as_values(numbered):
    return tuple(
        StoredCustomer(username=name, logs=tuple(StoredCustomerLog(log_id=one, fields=log) for one, log in logs))
        for name, logs in numbered
    )


def printed(numbered, shape, wire_format):
    """Print customers as a store does."""
    as_id = str if shape.log_ids == "text" else int
    customers = tuple(
        {"Username": name, "CustomerLogs": [{"LogID": as_id(one), **log} for one, log in logs]}
        for name, logs in numbered
    )
    return print_answer(Answer(action="GetCustomer", customers=customers), shape, wire_format.value, NOW)


def element(name, node):
    if isinstance(node, list):
        return "".join(element(name, child) for child in node)
    inner = (
        "".join(itertools.starmap(element, node.items())) if isinstance(node, dict) else ("" if node is None else node)
    )
    return f"<{name}>{inner}</{name}>"


# --- the request -------------------------------------------------------------------------------------------------


@given(
    st.lists(USERNAMES, min_size=1, max_size=4),
    st.integers(0, 10**6),
    st.integers(1, 1000),
    st.sampled_from(WireFormat),
)
def test_a_request_asks_for_all_names_and_their_logs(usernames, page, limit, wire_format):
    """Each name arrives to the character, with page, limit, and the selectors for user name and logs."""
    asked = CustomerPage(usernames=tuple(usernames), page=page, limit=limit)
    query = read_query(GET_CUSTOMER.encode([asked], wire_format), wire_format.value)
    assert (tuple(usernames), page, limit) == (query.usernames, query.page, query.limit)
    assert ("Username", "CustomerLog") == query.selectors


def test_the_body_is_the_vendors():
    """One request in both formats, byte by byte."""
    asked = [CustomerPage(usernames=("a&b", "c"), page=2, limit=50)]
    assert (
        b'{"Filter":{"Username":["a&b","c"],"Page":2,"Limit":50,"OutputSelector":["Username","CustomerLog"]}}'
    ) == GET_CUSTOMER.encode(asked, WireFormat.JSON)
    assert (
        b'<?xml version="1.0" encoding="utf-8"?>\n<GetCustomer><Filter>'
        b"<Username>a&amp;b</Username><Username>c</Username><Page>2</Page><Limit>50</Limit><OutputSelector>Username</OutputSelector>"
        b"<OutputSelector>CustomerLog</OutputSelector></Filter></GetCustomer>"
    ) == GET_CUSTOMER.encode(asked, WireFormat.XML)
    assert "GetCustomer" == GET_CUSTOMER.headers(WireFormat.XML)["NETOAPI_ACTION"]
    assert GET_CUSTOMER.may_repeat is True


@pytest.mark.parametrize(
    "values",
    [
        {"usernames": ()},
        {"usernames": "canary"},
        {"usernames": ["canary"]},
        {"usernames": ("canary", " ")},
        {"usernames": ("canary\0",)},
        {"usernames": ("canary", None)},
        {"usernames": ("canary",), "page": -1},
        {"usernames": ("canary",), "limit": 0},
    ],
)
def test_a_request_without_a_name_is_refused(values):
    """Without a name the store would give all its customers; a refusal shows no name."""
    with pytest.raises(ValueError, match=r"usernames|page|limit") as caught:
        CustomerPage(**values)
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(CustomerPage(usernames=("canary",)))


# --- what is written is read back --------------------------------------------------------------------------------


@given(CUSTOMERS, SHAPES, st.sampled_from(WireFormat))
def test_customers_are_read_from_every_shape(customers, shape, wire_format):
    """Whatever shape a store prints customers in, all come back, in order, with every text to the character."""
    numbered = number(customers)
    verdict = judge(printed(numbered, shape, wire_format))
    assert (VerdictKind.READ, as_values(numbered)) == (verdict.kind, verdict.customers), verdict.reason


EMPTY = ("", " \n", [], {}, None)
LOG = {"LogID": "5001", "Notes": "a"}
LOGS = [LOG, {"LogID": 5002}]
WRAPPERS = [
    *((0, empty) for empty in EMPTY),
    *((0, {"CustomerLog": empty}) for empty in EMPTY),
    *((0, [{"CustomerLog": empty}]) for empty in EMPTY),
    (1, LOG),
    (1, [LOG]),
    (2, LOGS),
    *((1, wrapped) for logs in (LOG, [LOG]) for wrapped in ({"CustomerLog": logs}, [{"CustomerLog": logs}])),
    (2, {"CustomerLog": LOGS}),
    (2, [{"CustomerLog": LOGS}]),
]


def test_each_wrapper_of_a_collection():
    """All wrappers that sibling calls are known to use are read, also beside another customer, without an Ack."""
    for count, wrapper in [*WRAPPERS, (0, ...)]:
        customer = {"Username": "a"} if wrapper is ... else {"Username": "a", "CustomerLogs": wrapper}
        for customers in (customer, [customer], [customer, {"Username": "b"}]):
            verdict = judge({"Customer": customers})
            assert VerdictKind.READ is verdict.kind, (wrapper, verdict.reason)
            assert ("a", count) == (verdict.customers[0].username, len(verdict.customers[0].logs)), wrapper
    for empty in EMPTY:
        verdict = judge({"Customer": empty, "Ack": "Success"})
        assert (VerdictKind.READ, ()) == (verdict.kind, verdict.customers), empty


def user(**members):
    return {"Ack": "Success", "Customer": {"Username": "a", **members}}


UNKNOWN_SHAPES = [
    {},
    {"Customer": ""},
    {"Ack": "Pending"},
    {"status": "ok"},
    {"Ack": ["Success"]},
    {"Ack": "Success", "Customer": "a"},
    {"Ack": "Success", "Customer": 0},
    {"Ack": "Success", "Customer": [{}]},
    {"Ack": "Success", "Customer": [[{"Username": "a"}]]},
    {"Ack": "Success", "Customer": {"Username": " "}},
    {"Ack": "Success", "Customer": {"CustomerLogs": ""}},
    {"Ack": "Success", "Customer": {"Username": ["a", "b"]}},
    {"Ack": "Success", "Customer": {"Customer": {"Username": "a"}}},
    {"Ack": "Success", "Customers": {"Customer": {"Username": "a"}}},
    {"Ack": "Success", "CustomerLog": [{"Notes": "a"}]},
    {"Ack": "Success", "CustomerLogs": "a"},
    {"Ack": "Success", "Customer": {"Username": "a"}, "LogID": "5001"},
    {"Ack": "Success", "Customer": {"Username": "a"}, "Log": {"LogID": "5001"}},
    user(CustomerLogs="a"),
    user(CustomerLogs=0),
    user(CustomerLogs=False),
    user(CustomerLogs=[""]),
    user(CustomerLogs=[{}]),
    user(CustomerLogs=[[LOG]]),
    user(CustomerLogs=["5001"]),
    user(CustomerLogs={"Notes": "a"}),
    user(CustomerLogs={"LogID": ""}),
    user(CustomerLogs={"LogID": ["5001", "5002"]}),
    user(CustomerLogs={"LogID": "0"}),
    user(CustomerLogs={"LogID": "-1"}),
    user(CustomerLogs={"LogID": "50.1"}),
    user(CustomerLogs={"LogID": True}),
    user(CustomerLogs={"CustomerLog": LOG, "Count": 1}),
    user(CustomerLogs=[{"CustomerLog": LOG}, {"CustomerLog": {"LogID": "5002"}}]),
    user(CustomerLogs={"CustomerLogs": LOG}),
    user(CustomerLogs={"CustomerLog": {"CustomerLog": LOG}}),
    user(CustomerLogs={"CustomerLog": "5001"}),
    user(CustomerLogs={"CustomerLog": [LOG, ""]}),
    user(CustomerLogs=[LOG, LOG]),
    user(CustomerLogs={**LOG, "Notes": ["a", "b"]}),
    user(CustomerLogs={**LOG, "Notes": {"a": "b"}}),
    user(CustomerLogs={**LOG, "Notes": 1.5}),
    user(CustomerLogs={**LOG, "CustomerLog": ""}),
    user(CustomerLogs={**LOG, "Extra": {"LogID": "5002"}}),
    user(CustomerLog=LOG),
    user(CustomerLog="a"),
    user(LogID="5001"),
    user(Logs={"CustomerLog": LOG}),
    user(Logs=[{"LogID": "5001"}]),
    {"Ack": "Success", "Customer": [user(CustomerLogs=LOG)["Customer"], user(CustomerLogs=LOG)["Customer"]]},
]


def test_no_other_shape_is_read():
    """An answer in any other shape is unknown, and gives no customers: a log that is overlooked could prove absence."""
    for document in UNKNOWN_SHAPES:
        verdict = judge(document)
        assert (VerdictKind.UNKNOWN, ()) == (verdict.kind, verdict.customers), (document, verdict.reason)
        assert verdict.reason, document


def fits_xml(node):
    """Say whether XML can carry a document as JSON does: it has texts alone, and no list of one or none."""
    if isinstance(node, list):
        return len(node) > 1 and all(isinstance(child, dict | str) and fits_xml(child) for child in node)
    return all(map(fits_xml, node.values())) if isinstance(node, dict) else isinstance(node, str)


def test_xml_must_have_the_same_shapes():
    """A document that both formats can carry has the same meaning in both, known or not."""
    known = [user(CustomerLogs=wrapper) for _, wrapper in WRAPPERS]
    documents = [document for document in [*UNKNOWN_SHAPES, *known] if fits_xml(document)]
    for document in documents:
        as_xml = f"<GetCustomerResponse>{''.join(itertools.starmap(element, document.items()))}</GetCustomerResponse>"
        said = [(one.kind, one.customers) for one in (judge(document), judge(as_xml.encode()))]
        assert said[0] == said[1], document
    assert len(documents) > 30


def test_blanks_of_a_text_are_kept_in_xml():
    """A text comes back with the blanks at its ends, however the elements around it are indented."""
    body = (
        b"<GetCustomerResponse>\n <Customer>\n  <Username>a</Username>\n  <CustomerLogs>\n   <CustomerLog>\n"
        b"    <LogID> 5001 </LogID>\n    <Notes> a\n b </Notes>\n   </CustomerLog>\n  </CustomerLogs>\n </Customer>\n"
        b" <Ack>Success</Ack>\n</GetCustomerResponse>"
    )
    log = StoredCustomerLog(log_id=5001, fields={"Notes": " a\n b "})
    assert (StoredCustomer(username="a", logs=(log,)),) == judge(body).customers


def test_numbers_and_half_characters_are_read_as_texts():
    """JSON may give a text as a number; half of a surrogate pair becomes the replacement character."""
    body = b'{"Customer": {"Username": 12, "CustomerLogs": {"LogID": 5001, "Notes": "a\\ud800b", "Status": 0}}}'
    log = StoredCustomerLog(log_id=5001, fields={"Notes": "a\ufffdb", "Status": "0"})
    assert (StoredCustomer(username="12", logs=(log,)),) == judge(body).customers


# --- what the reply says beside the customers --------------------------------------------------------------------


def message(text, kind="Error"):
    return {"Ack": kind, "Messages": {kind: {"Message": text, "SeverityCode": kind}}}


@pytest.mark.parametrize(
    ("kind", "beside"),
    [
        (VerdictKind.REFUSED, message("No permission")),
        (VerdictKind.REFUSED, {"Ack": "Error"}),
        (VerdictKind.KEY_REFUSED, message("Invalid API Key")),
        (VerdictKind.UNKNOWN, message("Request Error")),
        (VerdictKind.UNKNOWN, {"Messages": {"Warning": {"Message": "a", "SeverityCode": "Error"}}}),
        (VerdictKind.READ, message("slow", "Warning")),
    ],
)
def test_an_error_beside_customers_gives_none(kind, beside):
    """Beside an error, or what may be one, nothing is read; a warning is passed on."""
    for customers in ({}, {"Customer": {"Username": "a", "CustomerLogs": LOG}}):
        verdict = judge({**beside, **customers})
        assert kind is verdict.kind
        if kind is VerdictKind.READ:
            assert (("slow",), len(customers)) == (verdict.warnings, len(verdict.customers))
        else:
            assert () == verdict.customers


def test_http_decides_as_it_does_for_logs_that_are_added():
    """Under a status that is no success nothing is read; the verdict is the one on a call that adds logs."""
    for status in (301, 400, 401, 403, 408, 413, 429, 500, 503):
        for beside in ({"Ack": "Success"}, message("Invalid API Key")):
            body = json.dumps({**beside, "Customer": {"Username": "a"}}).encode()
            assert ADD_CUSTOMER_LOG.judge(status, {}, body, 1, now=NOW) == judge(body, status=status), status


def test_a_page_may_be_longer_than_the_answer_to_a_write():
    """16 MiB are read, plain or decompressed, and not a byte more."""
    assert 16 * MAX_REPLY_BYTES == MAX_PAGE_BYTES
    start, end = b'{"Ack":"Success","Customer":{"Username":"a","CustomerLogs":{"LogID":"5001","Notes":"', b'"}}}'
    notes = b"a" * (MAX_PAGE_BYTES - len(start) - len(end))
    for headers, pack in (({}, bytes), ({"Content-Encoding": "gzip"}, gzip.compress)):
        assert VerdictKind.READ is judge(pack(start + notes + end), headers=headers).kind
        assert VerdictKind.UNKNOWN is judge(pack(start + notes + b"a" + end), headers=headers).kind


# --- any bytes ---------------------------------------------------------------------------------------------------


def ids_by_another_reader(body):
    """Find all that is called LogID, by readers that the package does not use."""
    if body.lstrip()[:1] == b"{":
        found = []
        json.loads(
            body.decode(), object_pairs_hook=lambda pairs: found.extend(v for k, v in pairs if k.lower() == "logid")
        )
    else:
        root = ET.fromstring(body.decode().strip())
        found = [node.text for node in root.iter() if node.tag.rpartition("}")[2].rpartition(":")[2].lower() == "logid"]
    return [int(value) for value in found]


def check(body):
    """Judge, and hold the verdict to the law: it has every id in the document, each once, or no customers at all."""
    verdict = judge(body)
    if verdict.kind is VerdictKind.READ:
        assert ids_by_another_reader(body) == [log.log_id for one in verdict.customers for log in one.logs]
    else:
        assert () == verdict.customers
    return verdict.kind


NAMES = st.sampled_from(["Customer", "CustomerLogs", "CustomerLog", "LogID", "Username", "Notes", "Ack", "logid", "x"])
NODES = st.recursive(
    st.sampled_from([None, True, 0, 5001, 5002, -1, 1.5, "", " ", "5001", "5003", "a", "Success", "Error"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(NAMES, children, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, NODES, max_size=4))
def test_any_document_gives_a_verdict(document):
    """Documents of the right names in any shape, in both formats: no log is overlooked, and no error is raised."""
    check(json.dumps(document).encode())
    as_xml = "".join(itertools.starmap(element, document.items()))
    check(f"<GetCustomerResponse>{as_xml}</GetCustomerResponse>".encode())


@given(st.binary())
def test_any_bytes_give_a_verdict(body):
    """Whatever comes, there is a verdict."""
    assert judge(body).kind is VerdictKind.UNKNOWN


TOKENS = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"<",
    b">",
    b"/",
    b"\0",
    b"\xff",
    b"null",
    b'"LogID": "5009",',
    b"Customer",
)
TOKENS += (b"<LogID>5009</LogID>", b"<CustomerLog>", b"</CustomerLog>", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"Error")


def test_damaged_pages_give_a_verdict():
    """Some thousands of damaged pages: no log is overlooked, nothing is raised; cut short, a page is never read."""
    rng = random.Random(20261102)
    numbered = [("a", [(5001, {"Notes": "one"}), (5002, {"Notes": "two"})]), ("b", []), ("c", [(5003, {"Notes": "x"})])]
    wholes = [
        printed(numbered, ReplyShape(customer_logs=logs, records=records), wire_format)
        for logs in ("wrapped", "bare", "list")
        for records in ("object", "list")
        for wire_format in WireFormat
    ]
    kinds = dict.fromkeys((VerdictKind.READ, VerdictKind.UNKNOWN), 0)
    for turn in range(8_000):
        whole = rng.choice(wholes)
        start = rng.randrange(len(whole))
        end = min(len(whole), start + rng.choice((0, 1, 2, 5, 20, 80)))
        body = whole[:start] + rng.choice((b"", whole[start:end] * 2, rng.choice(TOKENS))) + whole[end:]
        try:
            kind = check(body)
        except Exception as error:
            error.add_note(f"turn {turn}: {body!r}")
            raise
        kinds[kind] = kinds.get(kind, 0) + 1
    assert min(kinds.values()) > 500, kinds
    for whole in wholes:
        for end in range(len(whole)):
            assert VerdictKind.UNKNOWN is judge(whole[:end]).kind, whole[:end]


# --- what a reader gets ------------------------------------------------------------------------------------------


def stored(**fields):
    return StoredCustomerLog(log_id=5001, fields=fields)


def test_a_stored_log_has_types():
    """Texts are read as what they mean: a status, a moment in UTC, a calendar day."""
    log = stored(
        AllocatedTo="Jo",
        Status="Completed",
        DateRequiredFollowUp="2026-11-05",
        LastContactedUTC="2026-11-04 23:00:00",
        Notes=" a ",
    )
    assert ("Jo", CustomerLogStatus.COMPLETED, " a ") == (log.allocated_to, log.status, log.notes)
    assert date(2026, 11, 5) == log.date_required_follow_up
    assert datetime(2026, 11, 4, 23, tzinfo=timezone.utc) == log.last_contacted
    assert date(2026, 11, 5) == stored(DateRequiredFollowUp="2026-11-05 00:00:00").date_required_follow_up


@pytest.mark.parametrize("time", [None, "0000-00-00 00:00:00", "0000-00-00", "soon", "2026-11-05T07:30:00+10:00"])
def test_what_can_not_be_read_is_none(time):
    """What is empty or not readable as its type is None, and there as it came."""
    fields = {} if time is None else {"LastContactedUTC": time}
    log = stored(Status="Lost", **fields)
    assert (None, None, None, None) == (log.status, log.last_contacted, log.notes, log.allocated_to)
    assert {"Status": "Lost", **fields} == log.fields
    if time is None or not time.startswith("2026"):
        assert stored(DateRequiredFollowUp=time or "").date_required_follow_up is None


def test_stored_logs_show_no_texts():
    """Neither repr shows a name or a text of a customer; equal logs have equal hashes."""
    customer = StoredCustomer(username="canary", logs=(stored(Notes="canary"),))
    assert "canary" not in repr(customer)
    assert 1 == len({customer, attrs.evolve(customer)})
