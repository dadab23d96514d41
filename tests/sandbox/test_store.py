"""The store takes calls as Neto does, and its ledger says what it saved."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from contextlib import suppress
from datetime import timezone

import httpx
import pytest

from neto_async.sandbox import NetoSandbox, ReplyShape, faults

FULL = {
    "AllocatedTo": "Priya",
    "FollowUpType": "Phone",
    "Username": "jsmith",
    "CustomerName": "Jane Smith",
    "LastContacted": "2026-11-05 07:30:10",
    "DateRequiredFollowUp": "2026-11-06 00:00:00",
    "Status": "Recontacting",
    "Notes": "Zoë 😀 <b>&amp;\n second line",
}
BAD = {"Status": "Lost", "Notes": "bad"}


def errors(reply):
    """Messages of the kind Error in a JSON reply of the default shape."""
    found = reply.json()["Messages"]["Error"]
    return [one["Message"] for one in (found if isinstance(found, list) else [found])]


@pytest.mark.parametrize("wire_format", ["json", "xml"])
async def test_saves_the_texts_to_the_character(store, call, wire_format):
    """Every field is in the ledger as it was sent, under the vendor's names and ours."""
    reply = await call(FULL, wire_format=wire_format)
    (log,) = store.logs
    assert reply.status_code == 200
    assert dict(log.fields) == FULL
    assert [*FULL.values()] == [
        log.allocated_to,
        log.follow_up_type,
        log.username,
        log.customer_name,
        log.last_contacted,
        log.date_required_follow_up,
        log.status,
        log.notes,
    ]
    assert (log.call, log.saved_at.tzinfo) == (1, timezone.utc)


@pytest.mark.parametrize("wire_format", ["json", "xml"])
async def test_empty_is_none(store, call, wire_format):
    """A field that is empty or absent is None in the ledger, and `fields` still distinguishes them."""
    await call({"Notes": "", "Status": "Completed"}, wire_format=wire_format)
    assert store.logs[0].notes is None
    assert store.logs[0].username is None
    assert dict(store.logs[0].fields) == {"Notes": "", "Status": "Completed"}


async def test_ids_count_up_in_the_order_of_the_records(store, call):
    """Ids are given in the order of the records, from call to call."""
    first = await call({"Notes": "a"}, {"Notes": "b"})
    second = await call({"Notes": "c"})
    assert first.json()["CustomerLog"] == [{"LogID": "1001"}, {"LogID": "1002"}]
    assert second.json()["CustomerLog"] == {"LogID": "1003"}
    assert [(log.log_id, log.notes, log.call) for log in store.logs] == [
        (1001, "a", 1),
        (1002, "b", 1),
        (1003, "c", 2),
    ]


async def test_the_ledger_of_calls(store, call, encode):
    """A call is entered with its size, format, status, Ack, ids and time."""
    await call(FULL, FULL, wire_format="xml")
    (entry,) = store.calls
    assert (entry.number, entry.format, entry.records, entry.status, entry.ack) == (1, "xml", 2, 200, "Success")
    assert entry.body_bytes == len(encode["xml"](FULL, FULL))
    assert (entry.outcome, entry.fault, entry.log_ids) == ("Success", None, (1001, 1002))
    assert entry.seconds >= 0
    assert entry.at.tzinfo is timezone.utc


async def test_xml_replies(call):
    """Who does not ask for JSON is answered in XML."""
    reply = await call({"Notes": "a"}, wire_format="xml")
    root = ET.fromstring(reply.content)
    assert (root.tag, root.findtext("Ack"), root.findtext("CustomerLog/LogID")) == (
        "AddCustomerLogResponse",
        "Success",
        "1001",
    )
    assert reply.headers["content-type"] == "text/xml; charset=utf-8"


@pytest.mark.parametrize(
    "headers",
    [
        {"NETOAPI_KEY": "wrong"},
        {"NETOAPI_KEY": "SANDBOX-KEY"},
        {"NETOAPI_KEY": None},
        {"NETOAPI_USERNAME": "wrong"},
        {"NETOAPI_USERNAME": ""},
        {"NETOAPI_USERNAME": None},
    ],
)
async def test_wrong_credentials(store, call, headers):
    """A wrong key, and a user key without its user name, is "Invalid API Key" with HTTP 200, and saves nothing."""
    reply = await call({"Notes": "a"}, **headers)
    assert (reply.status_code, reply.json()["Ack"], errors(reply)) == (200, "Error", ["Invalid API Key"])
    assert store.logs == ()


async def raw_call(store, key):
    """Send a call over a bare socket, for what a client library refuses to send."""
    body = b'{"CustomerLogs": {"CustomerLog": {"Notes": "a"}}}'
    reader, writer = await asyncio.open_connection("127.0.0.1", int(store.url.rpartition(":")[2]))
    head = b"POST /do/WS/NetoAPI HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\nConnection: close\r\n"
    head += b"NETOAPI_ACTION: AddCustomerLog\r\nNETOAPI_USERNAME: sandbox\r\nNETOAPI_KEY:%b\r\n" % key
    writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    ("key", "right"),
    [(b"sandbox-key", True), (b" sandbox-key ", True), (b"sandbox-key\xa0", False), (b'"sandbox-key"', False)],
)
async def test_white_space_round_the_key(store, key, right):
    """A key pasted with anything round it fails, apart from the blanks that HTTP strips before a server sees them."""
    answer = await raw_call(store, key)
    assert right is (b"Invalid API Key" not in answer)
    assert right is (len(store.logs) == 1)


@pytest.mark.parametrize("username", [None, "", "anyone"])
async def test_the_global_key_needs_no_user_name(caller, username):
    """For the global key the user name is ignored."""
    async with NetoSandbox(username=None) as store:
        reply = await caller(store)({"Notes": "a"}, NETOAPI_USERNAME=username)
        assert reply.json()["Ack"] == "Success"


@pytest.mark.parametrize("action", ["AddCustomerlog", "GetCustomer", "", None])
async def test_another_action(store, call, action):
    """Another action is an error."""
    reply = await call({"Notes": "a"}, NETOAPI_ACTION=action)
    assert (reply.status_code, reply.json()["Ack"]) == (200, "Error")
    assert store.logs == ()


@pytest.mark.parametrize(("wire_format", "expected"), [("json", "JSON Error"), ("xml", "XML Error")])
async def test_a_malformed_body(store, call, wire_format, expected):
    """A body that can't be read is answered with the vendor's words for it, with HTTP 200."""
    reply = await call(body=b'{"CustomerLogs', wire_format=wire_format)
    assert reply.status_code == 200
    assert expected in reply.text
    assert (store.calls[0].records, store.calls[0].ack) == (0, "Error")


async def test_accept_decides_how_the_body_is_read(store, call, encode):
    """An XML body in a call that asks for JSON is a "JSON Error", whatever Content-Type says."""
    reply = await call(body=encode["xml"](FULL), **{"Content-Type": "text/xml"})
    assert errors(reply) == ["JSON Error"]
    assert store.logs == ()


@pytest.mark.parametrize("wire_format", ["json", "xml"])
async def test_no_records(store, call, wire_format):
    """A call with no records is a success without an id."""
    reply = await call(wire_format=wire_format)
    assert "Success" in reply.text
    assert "LogID" not in reply.text
    assert store.logs == ()


async def test_a_bad_record_fails_its_call(store, call):
    """One bad record, and nothing of the call is saved; the message echoes it and names no position."""
    reply = await call({"Notes": "good"}, BAD)
    assert (reply.json()["Ack"], errors(reply)) == ("Error", ["Status Lost does not exist"])
    assert store.logs == ()


async def test_partial(caller):
    """A partial store saves the good ones, gives their ids in order, and warns of each bad one."""
    async with NetoSandbox(partial=True) as store:
        reply = await caller(store)({"Notes": "a"}, BAD, {"Notes": "b"}, BAD)
        assert reply.json()["CustomerLog"] == [{"LogID": "1001"}, {"LogID": "1002"}]
        assert reply.json()["Ack"] == "Warning"
        assert len(reply.json()["Messages"]["Warning"]) == 2
        assert [log.notes for log in store.logs] == ["a", "b"]
        nothing = await caller(store)(BAD)
        assert (nothing.json()["Ack"], nothing.json().get("CustomerLog")) == ("Warning", None)


async def test_unknown_elements(caller):
    """An element that the vendor's page does not have fails the call, unless the store is asked to ignore it."""
    async with NetoSandbox() as strict, NetoSandbox(unknown_elements="ignore") as lax:
        assert "Element Note is not known" in (await caller(strict)({"Note": "a"})).text
        assert (await caller(lax)({"Note": "a"})).json()["Ack"] == "Success"
        assert [len(strict.logs), len(lax.logs)] == [0, 1]


async def test_refuse_when(store, call):
    """A poison record fails its call with a message that echoes it, until the rules are forgotten."""
    store.refuse_when(lambda fields: "poison" in fields.get("Notes", ""))
    store.refuse_when(lambda fields: fields.get("Username") == "banned", "This customer is closed")
    echoed = await call({"Notes": "good"}, {"Notes": "poison 7"})
    said = await call({"Username": "banned"})
    assert "poison 7" in errors(echoed)[0]
    assert errors(said) == ["This customer is closed"]
    assert (await call({"Notes": "good"})).json()["Ack"] == "Success"
    store.refuse_nothing()
    assert (await call({"Notes": "poison 7"})).json()["Ack"] == "Success"
    assert [log.notes for log in store.logs] == ["good", "poison 7"]


async def test_over_the_limit(caller):
    """Calls over the limit are answered 429 and save nothing; a minute later the store takes calls again."""
    now = [1000.0]
    async with NetoSandbox(requests_per_minute=2, retry_after=30, clock=lambda: now[0]) as store:
        call = caller(store)
        store.faults.next(None, None, faults.Refuse())
        replies = [await call({"Notes": "a"}) for _ in range(3)]
        assert [reply.status_code for reply in replies] == [200, 200, 429]
        assert replies[2].headers["Retry-After"] == "30"
        assert (store.calls_in_last_minute, store.faults.waiting) == (2, 1), "the fault waits for a call that is taken"
        now[0] += 60
        assert (await call({"Notes": "a"})).json()["Ack"] == "Error"
        assert (await call({"Notes": "a"}, NETOAPI_KEY="wrong")).status_code == 200, "a call counts, whatever it is"
        assert (await call({"Notes": "a"})).status_code == 429
        assert len(store.logs) == 2
        assert [entry.received_at for entry in store.calls] == [1000.0] * 3 + [1060.0] * 3


async def test_no_retry_after_by_default(caller):
    """Whether Neto says when to come back is not known: by default the store does not."""
    async with NetoSandbox(requests_per_minute=1) as store:
        await caller(store)()
        assert "Retry-After" not in (await caller(store)()).headers


async def test_no_limit(caller):
    """A store without a limit takes every call."""
    async with NetoSandbox(requests_per_minute=None) as store:
        assert {(await caller(store)()).status_code for _ in range(30)} == {200}


def test_a_limit_that_is_none():
    """A limit below one is refused with what to give."""
    with pytest.raises(ValueError, match="requests_per_minute must be"):
        NetoSandbox(requests_per_minute=0)


async def test_a_body_over_the_limit(caller, encode):
    """A longer body is answered 413 and not saved; one of just that length is taken."""
    body = encode["json"]({"Notes": "a" * 300_000})
    async with NetoSandbox(max_body_bytes=len(body)) as store:
        call = caller(store)
        assert (await call(body=body)).status_code == 200
        assert (await call(body=body + b" ")).status_code == 413
        assert [entry.body_bytes for entry in store.calls] == [len(body), len(body) + 1]
        assert (len(store.logs), store.calls[1].outcome) == (1, "HTTP 413")


async def test_a_body_without_an_end(store):
    """Past its bound a body is neither kept nor read to its end: the call is answered 413 while it still comes."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(store.url.rpartition(":")[2]))
    writer.write(b"POST /do/WS/NetoAPI HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n")
    with suppress(ConnectionError):
        while not store.calls or store.calls[0].status is None:
            writer.write(b" " * 1_000_000)
            await writer.drain()
    assert (store.calls[0].status, store.log_count) == (413, 0)
    writer.close()


async def test_a_large_body(store, call):
    """A body of megabytes is taken."""
    reply = await call({"Notes": "a" * 5_000_000})
    assert reply.json()["Ack"] == "Success"
    assert len(store.logs[0].notes) == 5_000_000


async def test_expect_continue(store):
    """A client that waits for leave to go on gets it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(store.url.rpartition(":")[2]))
    writer.write(
        b"POST /do/WS/NetoAPI HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    answer = asyncio.create_task(reader.readline())
    await store.until(lambda: store.call_count == 1)
    assert await answer == b"HTTP/1.1 100 Continue\r\n"
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_leaves_within_its_body(store, caplog):
    """A client that goes away before its body is whole saves nothing, and the store goes on without a fuss."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(store.url.rpartition(":")[2]))
    writer.write(b"POST /do/WS/NetoAPI HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 200\r\n\r\n<AddCustomerLog>")
    await store.until(lambda: store.call_count == 1)
    writer.close()
    await writer.wait_closed()
    await store.until(lambda: store.calls[0].seconds is not None)
    assert (store.calls[0].outcome, store.logs) == ("broken off", ())
    assert caplog.records == []


async def test_a_shape_for_all_replies(caller):
    """The store's replies have the shape that it was given."""
    shape = ReplyShape(records="list", ack="upper", extra_warnings=("Careful",))
    async with NetoSandbox(replies=shape) as store:
        reply = await caller(store)({"Notes": "a"})
        assert reply.json()["CustomerLog"] == [{"LogID": "1001"}]
        assert reply.json()["Ack"] == "WARNING"
        assert reply.json()["Messages"] == {"Warning": {"Message": "Careful", "SeverityCode": "Warning"}}
        assert store.calls[0].ack == "Warning"


async def test_latency(caller):
    """Latency may be a number of seconds or a function that gives one, asked for every call."""
    asked = []
    async with NetoSandbox(latency=lambda: asked.append(1) or 0.001) as drawn, NetoSandbox(latency=0.001) as fixed:
        await caller(drawn)({"Notes": "a"})
        await caller(drawn)({"Notes": "b"})
        await caller(fixed)({"Notes": "c"})
        assert asked == [1, 1]
        assert [len(drawn.logs), len(fixed.logs)] == [2, 1]
        assert fixed.calls[0].seconds >= 0.001


async def test_keep_bounds_the_ledger(caller):
    """A bounded ledger keeps the newest logs and calls, and still counts all."""
    async with NetoSandbox(keep=2) as store:
        for text in "abc":
            await caller(store)({"Notes": text})
        assert [log.notes for log in store.logs] == ["b", "c"]
        assert [entry.number for entry in store.calls] == [2, 3]
        assert (store.log_count, store.call_count) == (3, 3)


async def test_clear(store, call):
    """A cleared store has no logs, calls, faults or refusals, and gives no id twice."""
    await call({"Notes": "a"})
    store.faults.always(faults.Refuse())
    store.refuse_when(lambda fields: True)
    store.clear()
    assert (store.logs, store.calls, store.log_count, store.calls_in_last_minute) == ((), (), 0, 0)
    assert (await call({"Notes": "b"})).json()["CustomerLog"] == {"LogID": "1002"}


async def test_clear_with_a_call_in_flight(store, call):
    """A call from before is not entered again, and what it still saves is in the ledger."""
    release = asyncio.Event()
    store.faults.next(faults.Late(until=release, saves_first=False))
    sending = asyncio.create_task(call({"Notes": "a"}))
    await store.until(lambda: store.call_count == 1 and store.calls[0].fault is not None)
    store.clear()
    release.set()
    assert (await sending).json()["Ack"] == "Success"
    assert (store.calls, len(store.logs), store.call_count) == ((), 1, 0)


async def test_until(store, call):
    """A test can wait for what it expects, instead of sleeping."""
    release = asyncio.Event()
    store.faults.next(faults.Late(until=release))
    sending = asyncio.create_task(call({"Notes": "a"}))
    await store.until(lambda: len(store.logs) == 1)
    assert (store.calls[0].outcome, store.calls[0].seconds, sending.done()) == ("in flight", None, False)
    release.set()
    assert (await sending).json()["Ack"] == "Success"


async def test_closing_does_not_wait_for_calls(caller):
    """A store that closes ends the calls that wait in it, and what was not processed is not saved."""
    async with NetoSandbox(latency=3600) as slow, NetoSandbox() as silent:
        silent.faults.always(faults.Silence(saves=True))
        tasks = [asyncio.create_task(caller(store)({"Notes": "a"})) for store in (slow, silent)]
        await slow.until(lambda: slow.call_count == 1)
        await silent.until(lambda: len(silent.logs) == 1)
    for task in tasks:
        with pytest.raises(httpx.RemoteProtocolError):
            await task
    assert (slow.logs, slow.calls[0].outcome) == ((), "broken off")


async def test_a_store_comes_back(caller):
    """A closed store refuses connections; started again it has its old address and its ledger."""
    store = NetoSandbox()
    assert "not started" in repr(store)
    await store.start()
    url = store.url
    await caller(store)({"Notes": "a"})
    with pytest.raises(RuntimeError, match="running already"):
        await store.start()
    await store.aclose()
    await store.aclose()
    with pytest.raises(httpx.ConnectError):
        await caller(store)({"Notes": "b"})
    await store.start()
    async with httpx.AsyncClient(trust_env=False) as fresh:
        await fresh.get(store.url)
    assert (store.url, len(store.logs)) == (url, 1)
    await store.aclose()


async def test_a_port_that_is_taken(store):
    """A port that is taken is an OSError, and the store can be started when it is free."""
    second = NetoSandbox(port=int(store.url.rpartition(":")[2]))
    with pytest.raises(OSError, match="in use"):
        await second.start()
    await store.aclose()
    async with second:
        assert second.url == store.url


async def test_a_predicate_that_raises(store, call, caplog):
    """A fault of the test's own function is reported loudly: 500, a traceback, and a word in the ledger."""
    store.refuse_when(lambda fields: fields["Notes"] == "a")
    reply = await call({"Status": "Completed"})
    assert (reply.status_code, store.calls[0].outcome) == (500, "sandbox failed")
    assert "KeyError" in caplog.text


async def test_keys_and_texts_stay_out_of_reprs(store, call):
    """Neither the store nor what it keeps shows a key or a customer's text."""
    await call(FULL)
    seen = []
    store.faults.when(lambda request: bool(seen.append(request)), faults.Refuse())
    await call(FULL)
    text = repr(store) + repr(store.logs) + repr(store.calls) + repr(seen)
    assert "sandbox-key" not in text
    assert "Jane" not in text
    assert "second line" not in text


async def test_many_calls_at_once(store, call):
    """Calls that overlap are each saved once."""
    await asyncio.gather(*(call({"Notes": f"{number}"}) for number in range(50)))
    assert {log.notes for log in store.logs} == {f"{number}" for number in range(50)}
    assert len({log.log_id for log in store.logs}) == 50


async def test_ipv6(caller):
    """The store listens on the other loopback too."""
    async with NetoSandbox(host="::1") as store:
        assert store.url.startswith("http://[::1]:")
        assert (await caller(store)({"Notes": "a"})).json()["Ack"] == "Success"
