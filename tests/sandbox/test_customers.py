"""The store gives logs back, and updates them, as the vendor's pages on GetCustomer and UpdateCustomerLog say."""

from __future__ import annotations

import asyncio
import json
from xml.etree import ElementTree as ET

import httpx
import pytest

from neto_async.sandbox import NetoSandbox, ReadBack, ReplyShape, faults

FORMATS = pytest.mark.parametrize("wire_format", ["json", "xml"])
LOGS = ["Username", "CustomerLog"]


def query_json(**filters):
    return json.dumps({"Filter": filters}).encode()


def query_xml(**filters):
    root = ET.Element("GetCustomer")
    parent = ET.SubElement(root, "Filter")
    for name, values in filters.items():
        for value in values if isinstance(values, list) else [values]:
            ET.SubElement(parent, name).text = str(value)
    return ET.tostring(root)


def as_tree(element):
    """Give an XML reply as its JSON would be: texts, objects, and lists where a name is repeated."""
    if not len(element):
        return element.text or ""
    tree = {}
    for child in element:
        tree.setdefault(child.tag, []).append(as_tree(child))
    return {name: values[0] if len(values) == 1 else values for name, values in tree.items()}


async def get(call, wire_format="json", **filters):
    """Read customers; give the reply as a tree."""
    body = (query_json if wire_format == "json" else query_xml)(**filters)
    reply = await call(wire_format=wire_format, body=body, NETOAPI_ACTION="GetCustomer")
    if wire_format == "json":
        return reply.json()
    root = ET.fromstring(reply.text)
    assert root.tag == "GetCustomerResponse"
    return as_tree(root)


async def update(call, *records, wire_format="json", **headers):
    if wire_format == "json":
        body = json.dumps({"CustomerLogs": {"CustomerLog": list(records)}}).encode()
    else:
        logs = "".join(
            f"<CustomerLog>{''.join(f'<{name}>{text}</{name}>' for name, text in record.items())}</CustomerLog>"
            for record in records
        )
        body = f"<UpdateCustomerLog><CustomerLogs>{logs}</CustomerLogs></UpdateCustomerLog>".encode()
    return await call(wire_format=wire_format, body=body, NETOAPI_ACTION="UpdateCustomerLog", **headers)


def names(reply):
    """Give the user names of the customers in a reply."""
    customers = reply.get("Customer", [])
    return [customer["Username"] for customer in (customers if isinstance(customers, list) else [customers])]


def logs_in(reply):
    """Give the logs of the one customer in a reply; a single one as it is."""
    return reply["Customer"]["CustomerLogs"]["CustomerLog"]


@FORMATS
async def test_a_customers_logs(call, wire_format):
    """A customer comes back with the fields of the vendor's page, of which FollowUpType and CustomerName are none."""
    full = {
        "AllocatedTo": "Priya",
        "FollowUpType": "Phone",
        "Username": "jane",
        "CustomerName": "Jane Smith",
        "LastContacted": "2026-11-05 07:30:10",
        "DateRequiredFollowUp": "2026-12-01 00:00:00",
        "Status": "Recontacting",
        "Notes": "a & b\nc",
    }
    await call(full, {"Username": "omar", "Notes": "d"}, {"Notes": "nobody's"})
    reply = await get(call, wire_format, Username="jane", OutputSelector=LOGS)
    assert "Success" == reply["Ack"]
    assert {
        "Username": "jane",
        "CustomerLogs": {
            "CustomerLog": {
                "LogID": "1001",
                "Customer": "jane",
                "AllocatedTo": "Priya",
                "Status": "Recontacting",
                "DateRequiredFollowUp": "2026-12-01",
                "LastContacted": "2026-11-05 07:30:10",
                "LastContactedLocal": "2026-11-05 17:30:10",
                "LastContactedUTC": "2026-11-05 07:30:10",
                "Notes": "a & b\nc",
            }
        },
    } == reply["Customer"]


@FORMATS
async def test_several_user_names(call, wire_format):
    """A filter takes several user names, each once, and a call without one gets every customer that has a log."""
    await call(*({"Username": name, "Notes": "a"} for name in ("jane", "omar", "jane", "ada")))
    reply = await get(call, wire_format, Username=["omar", "jane", "omar"], OutputSelector=LOGS)
    assert ["omar", "jane"] == names(reply)
    assert ["1001", "1003"] == [log["LogID"] for log in reply["Customer"][1]["CustomerLogs"]["CustomerLog"]]
    assert ["ada", "jane", "omar"] == names(await get(call, wire_format, Page=0, OutputSelector="Username"))


async def test_only_what_is_asked_for(call):
    """Without the selector CustomerLog no logs come back."""
    await call({"Username": "jane", "Notes": "a"})
    assert {"Username": "jane"} == (await get(call, Username="jane", OutputSelector=["Username"]))["Customer"]


@FORMATS
@pytest.mark.parametrize(("short", "pages"), [(False, [3, 2, 0]), (True, [2, 2, 1, 0])])
async def test_pages(caller, wire_format, short, pages):
    """Pages count from 0, and an empty one is the end; a short one need not be."""
    everyone = [f"user {number}" for number in range(5)]
    async with NetoSandbox(customers=everyone, read_back=ReadBack(short_pages=short)) as store:
        replies = [
            await get(caller(store), wire_format, Page=page, Limit="3", OutputSelector="Username")
            for page in range(len(pages))
        ]
    assert pages == [len(names(reply)) for reply in replies]
    assert everyone == [name for reply in replies for name in names(reply)]


async def test_the_store_bounds_a_page(caller):
    """A page holds no more customers than the store gives, whatever the call asks for."""
    async with NetoSandbox(customers=["a", "b", "c"], read_back=ReadBack(page_limit=2)) as store:
        for limit in ({}, {"Limit": 100}):
            assert ["a", "b"] == names(await get(caller(store), OutputSelector="Username", **limit))


async def test_a_customer_that_does_not_exist(caller):
    """A store that knows its customers gives no other one back, and saves the others' logs nevertheless."""
    async with NetoSandbox(customers=["jane"]) as store:
        await caller(store)({"Username": "omar", "Notes": "a"})
        reply = await get(caller(store), Username=["omar", "jane"], OutputSelector=LOGS)
        assert (["jane"], 1) == (names(reply), store.log_count)


@pytest.mark.parametrize(
    ("read_back", "notes", "given"),
    [
        ({}, " <b>a</b>\nb ", " <b>a</b>\nb "),
        ({"trims": True}, " <b>a</b>\nb ", "<b>a</b>\nb"),
        ({"strips_tags": True}, " <b>a</b>\nb ", " a\nb "),
        ({"line_ends": "\r\n"}, "a\nb\r\nc\rd", "a\r\nb\r\nc\r\nd"),
        ({"trims": True, "strips_tags": True, "line_ends": "\n"}, "<p>a\r\n</p>", "a"),
    ],
)
async def test_a_store_that_alters_texts(caller, read_back, notes, given):
    """Notes can come back other than they were sent; the ledger keeps what was sent."""
    async with NetoSandbox(read_back=ReadBack(**read_back)) as store:
        await caller(store)({"Username": "jane", "Notes": notes})
        reply = await get(caller(store), Username="jane", OutputSelector=LOGS)
        assert given == reply["Customer"]["CustomerLogs"]["CustomerLog"]["Notes"]
        assert notes == store.logs[0].notes


async def test_local_time(caller):
    """LastContacted can come back in the store's time; what was empty stays empty."""
    async with NetoSandbox(read_back=ReadBack(local_time=True)) as store:
        await caller(store)({"Username": "jane", "LastContacted": "2026-11-05 20:00:00"}, {"Username": "jane"})
        logs = (await get(caller(store), Username="jane", OutputSelector=LOGS))["Customer"]["CustomerLogs"][
            "CustomerLog"
        ]
    assert ["2026-11-06 06:00:00", ""] == [log["LastContacted"] for log in logs]


@pytest.mark.parametrize("time", ["0000-00-00 00:00:00", "9999-12-31 23:59:59"])
async def test_a_time_without_a_local_one(call, time):
    """A time that has no local time, such as MySQL's zero date, comes back as it was sent."""
    await call({"Username": "jane", "LastContacted": time, "DateRequiredFollowUp": time})
    log = logs_in(await get(call, Username="jane", OutputSelector=LOGS))
    assert (time, time, time[:10]) == (log["LastContacted"], log["LastContactedLocal"], log["DateRequiredFollowUp"])


@pytest.mark.parametrize(
    ("shape", "one", "none"),
    [
        ({}, {"CustomerLog": "log"}, "absent"),
        ({"records": "list", "no_records": "list"}, {"CustomerLog": ["log"]}, []),
        ({"customer_logs": "bare", "no_records": "text"}, "log", ""),
        ({"customer_logs": "list", "no_records": "null"}, [{"CustomerLog": "log"}], None),
    ],
)
async def test_shapes_of_a_customers_logs(caller, shape, one, none):
    """A customer's logs come in as many wrappers as other collections do, and so does none at all."""
    async with NetoSandbox(replies=ReplyShape(**shape)) as store:
        await caller(store)({"Username": "jane", "Notes": "a"})
        reply = await get(caller(store), Username=["jane", "omar"], OutputSelector=LOGS)
        jane, omar = reply["Customer"]
        text = json.dumps(jane["CustomerLogs"])
        log = text[text.index('{"LogID"') : text.index('"}') + 2]
        assert one == json.loads(text.replace(log, '"log"'))
        assert none == omar.get("CustomerLogs", "absent")


@FORMATS
@pytest.mark.parametrize(
    "filters",
    [
        {"Username": "jane"},
        {"OutputSelector": "Username", "Email": "jane@example.com"},
        {"OutputSelector": "Username", "Page": "first"},
        {"OutputSelector": "Username", "Limit": ["1", "2"]},
    ],
)
async def test_a_query_that_the_store_can_not_answer(call, store, wire_format, filters):
    """No selector, a filter that the sandbox does not have and a page that is no number are errors."""
    reply = await get(call, wire_format, **filters)
    assert ("Error", f"{wire_format.upper()} Error") == (reply["Ack"], reply["Messages"]["Error"]["Message"])


@pytest.mark.parametrize(
    ("wire_format", "body"),
    [
        ("json", b"[]"),
        ("json", b'{"Filter": []}'),
        ("json", b'{"Filter": {"Username": {"a": "b"}}}'),
        ("xml", b"<GetCustomer/>"),
        ("xml", b"<GetItem><Filter/></GetItem>"),
        ("xml", b"<GetCustomer><Filter>stray</Filter></GetCustomer>"),
        ("xml", b"<GetCustomer><Filter><Username><b>a</b></Username></Filter></GetCustomer>"),
    ],
)
async def test_a_body_that_is_no_query(call, wire_format, body):
    """What is no GetCustomer call is answered with an error."""
    reply = await call(wire_format=wire_format, body=body, NETOAPI_ACTION="GetCustomer")
    assert f"{wire_format.upper()} Error" in reply.text


@FORMATS
async def test_an_update(call, store, wire_format):
    """An update changes the fields that it names, in the ledger and for who reads; its reply has no id."""
    await call({"Username": "jane", "Notes": "a", "Status": "Recontacting"}, {"Username": "jane", "Notes": "b"})
    reply = await update(call, {"LogID": "1001", "Status": "Completed"}, wire_format=wire_format)
    assert "LogID" not in reply.text
    assert "Success" in reply.text
    assert "UpdateCustomerLogResponse" in reply.text or wire_format == "json"
    assert [("a", "Completed"), ("b", None)] == [(log.notes, log.status) for log in store.logs]
    assert ("UpdateCustomerLog", (1001,)) == (store.calls[-1].action, store.calls[-1].log_ids)
    logs = logs_in(await get(call, Username="jane", OutputSelector=LOGS))
    assert ["Completed", ""] == [log["Status"] for log in logs]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"Notes": "z"}, "LogID does not exist"),
        ({"LogID": "1003", "Notes": "z"}, "LogID 1003 does not exist"),
        ({"LogID": "1000", "Notes": "z"}, "LogID 1000 does not exist"),
        ({"LogID": "-1", "Notes": "z"}, "LogID -1 does not exist"),
        ({"LogID": 1001, "Username": "omar"}, "Element Username is not known"),
        ({"LogID": "1001", "AllocatedTo": "x" * 101}, f"AllocatedTo {'x' * 101} is longer than 100 characters"),
        ({"LogID": "1001", "Status": "Done"}, "Status Done does not exist"),
    ],
)
async def test_an_update_that_is_refused(call, store, change, problem):
    """An update of no known log, or against the vendor's limits, changes nothing."""
    await call({"Username": "jane", "Notes": "a"}, {"Notes": "b"})
    reply = (await update(call, change)).json()
    assert ("Error", problem) == (reply["Ack"], reply["Messages"]["Error"]["Message"])
    assert ["a", "b"] == [log.notes for log in store.logs]


async def test_an_update_in_part(caller):
    """A store that saves in part updates the good ones, and warns of the others."""
    async with NetoSandbox(partial=True) as store:
        await caller(store)({"Notes": "a"})
        reply = (await update(caller(store), {"LogID": 1001, "Notes": "b"}, {"LogID": 7})).json()
        assert ("Warning", "b") == (reply["Ack"], store.logs[0].notes)
        assert "CustomerLog" not in reply


async def test_an_update_of_more_than_it_can_change(caller):
    """A store that ignores unknown elements leaves a log with its customer."""
    async with NetoSandbox(unknown_elements="ignore") as store:
        await caller(store)({"Username": "jane", "Notes": "a"})
        await update(caller(store), {"LogID": "1001", "Username": "omar", "Colour": "red", "Notes": "b"})
        assert {"Username": "jane", "Notes": "b"} == dict(store.logs[0].fields)


async def test_a_log_that_is_no_longer_kept(caller):
    """What the store has dropped, or was asked to forget, can't be updated; what it keeps can."""
    async with NetoSandbox(keep=2) as store:
        await caller(store)(*({"Notes": text} for text in "abc"))
        acks = [(await update(caller(store), {"LogID": log_id, "Notes": "z"})).json()["Ack"] for log_id in (1001, 1002)]
        assert (["Error", "Success"], ["z", "c"]) == (acks, [log.notes for log in store.logs])
        store.clear()
        assert "Error" == (await update(caller(store), {"LogID": 1003, "Notes": "z"})).json()["Ack"]


async def test_a_log_that_is_saved_late(store, call):
    """After a reset a store can still save: who reads too early finds nothing."""
    later = asyncio.Event()
    store.faults.next(faults.SavedLater(until=later))
    with pytest.raises(httpx.ReadError):
        await call({"Username": "jane", "Notes": "a"})
    assert "CustomerLogs" not in (await get(call, Username="jane", OutputSelector=LOGS))["Customer"]
    later.set()
    await store.until(lambda: store.log_count == 1)
    assert "CustomerLogs" in (await get(call, Username="jane", OutputSelector=LOGS))["Customer"]
    assert ("reset", (1001,)) == (store.calls[0].outcome, store.calls[0].log_ids)


async def test_a_store_that_closes_before_it_has_saved(caller):
    """What was to be saved later is not, once the store is closed."""
    async with NetoSandbox() as store:
        store.faults.next(faults.SavedLater(3600))
        with pytest.raises(httpx.ReadError):
            await caller(store)({"Notes": "a"})
    assert 0 == store.log_count


@pytest.mark.parametrize(
    ("headers", "ack"),
    [
        ({"X_ACCESS_KEY": "access", "X_SECRET_KEY": "secret"}, "Success"),
        ({"X_ACCESS_KEY": "access", "X_SECRET_KEY": "other"}, "Error"),
        ({"X_ACCESS_KEY": "access"}, "Error"),
        ({"Authorization": "Bearer token"}, "Success"),
        ({"Authorization": "Bearer other"}, "Error"),
        ({"Authorization": "Basic token"}, "Error"),
        ({}, "Error"),
    ],
)
@pytest.mark.parametrize("path", ["/do/WS/NetoAPI", "/stores/1/do/WS/NetoAPI"])
async def test_an_add_ons_credentials(caller, headers, ack, path):
    """An add-on's two headers, or a bearer token, are taken instead of the key pair, on either path."""
    credentials = {"access_key": "access", "secret_key": "secret", "bearer_token": "token"}
    async with NetoSandbox(**credentials, base_path="/stores/1") as store:
        nothing = {"NETOAPI_USERNAME": None, "NETOAPI_KEY": None}
        reply = await caller(store)({"Notes": "a"}, path=path, **nothing, **headers)
        assert ack == reply.json()["Ack"]


async def test_a_store_without_add_ons(call):
    """Where the store knows no add-on, headers that are missing or empty open nothing."""
    nothing = {"NETOAPI_USERNAME": None, "NETOAPI_KEY": None}
    for headers in ({"X_ACCESS_KEY": "", "X_SECRET_KEY": ""}, {"Authorization": "Bearer None"}):
        assert "Error" == (await call({"Notes": "a"}, **nothing, **headers)).json()["Ack"]


async def test_a_token_that_expires(caller):
    """Credentials can be changed while the store runs, and no text of the store shows them."""
    async with NetoSandbox(bearer_token="first") as store:
        nothing = {"NETOAPI_USERNAME": None, "NETOAPI_KEY": None}
        store.credentials.bearer_token = "second"
        acks = [
            (await caller(store)({"Notes": "a"}, Authorization=f"Bearer {token}", **nothing)).json()["Ack"]
            for token in ("first", "second")
        ]
        assert ["Error", "Success"] == acks
        assert "second" not in repr(store.credentials) + repr(store)


async def test_what_the_page_shows(caller, http):
    """The page names the action of each call, the customers that were read, and how texts come back; all escaped."""
    odd = {"bearer_token": "<token>", "read_back": ReadBack(trims=True, short_pages=True, page_limit=8)}
    async with NetoSandbox(access_key="access", secret_key="secret", **odd) as store:
        await get(caller(store), Username=["<b>", "b", "c", "d"], OutputSelector="Username")
        page = (await http.get(store.url + "/")).text
        for text in (
            "GetCustomer",
            "&lt;b&gt;, b, c, …",
            "X_ACCESS_KEY",
            "&lt;token&gt;",
            "Notes trimmed, short pages",
        ):
            assert text in page
        state = (await http.get(store.url + "/sandbox/state.json")).json()
        assert ("GetCustomer", 4) == (state["calls"][0]["action"], state["calls"][0]["customers"])
