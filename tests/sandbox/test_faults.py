"""Each fault does on a real socket what its name says, and the ledger knows what was saved."""

from __future__ import annotations

import asyncio
import gzip
import time
import xml.etree.ElementTree as ET
import zlib

import httpx
import pytest

from neto_async.sandbox import NetoSandbox, ReplyShape, faults
from neto_async.sandbox.transmission import Ending, HttpReply

TWO = ({"Notes": "a"}, {"Notes": "b"})


def ids(reply):
    """Ids in a JSON reply of the default shape."""
    found = reply.json().get("CustomerLog", [])
    return [int(one["LogID"]) for one in (found if isinstance(found, list) else [found])]


def kinds(reply, kind):
    """Messages of a kind in a JSON reply of the default shape."""
    found = reply.json().get("Messages", {}).get(kind, [])
    return found if isinstance(found, list) else [found]


# --- The application answers


@pytest.mark.parametrize("wire_format", ["json", "xml"])
@pytest.mark.parametrize(
    ("fault", "texts"),
    [
        (faults.Refuse(), ["Customer log could not be added"]),
        (faults.Refuse("No.", description="Because."), ["No.", "Because."]),
        (faults.RefuseKey(), ["Invalid API Key"]),
        (faults.ServerBroke(), ["Request Error", "Internal server error."]),
        (faults.ServerBroke(saves=True), ["Request Error", "Internal server error."]),
    ],
)
async def test_refusals(store, call, wire_format, fault, texts):
    """A refusal is `Ack: Error` with HTTP 200 and no ids, in both formats, and only a broken server may have saved."""
    store.faults.next(fault)
    reply = await call(*TWO, wire_format=wire_format)
    assert reply.status_code == 200
    assert all(text in reply.text for text in [*texts, "Error"])
    assert "LogID" not in reply.text
    assert (store.calls[0].ack, store.calls[0].fault) == ("Error", fault.name)
    assert len(store.logs) == (2 if fault == faults.ServerBroke(saves=True) else 0)


@pytest.mark.parametrize(
    ("positions", "kept", "warnings"),
    [
        ((-1,), ["a", "b"], 1),
        ((0, 2), ["b"], 2),
        ((0, 1, 2), [], 3),
        ((0, -3), ["b", "c"], 1),
        ((7,), ["a", "b", "c"], 0),
    ],
)
async def test_partly_refused(store, call, positions, kept, warnings):
    """Some records are saved and some are not: ids for the saved, a warning for each of the rest, no index."""
    store.faults.next(faults.PartlyRefused(positions))
    reply = await call({"Notes": "a"}, {"Notes": "b"}, {"Notes": "c"})
    assert [log.notes for log in store.logs] == kept
    assert ids(reply) == [log.log_id for log in store.logs]
    assert len(kinds(reply, "Warning")) == warnings
    assert reply.json()["Ack"] == ("Warning" if warnings else "Success")


async def test_partly_refused_xml(store, call):
    """In XML too."""
    store.faults.next(faults.PartlyRefused())
    root = ET.fromstring((await call(*TWO, wire_format="xml")).content)
    assert [element.text for element in root.iter("LogID")] == ["1001"]
    assert [element.text for element in root.iterfind("Messages/Warning/Message")] == ["Cannot add customer log b"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.FewerIds(), [1001]),
        (faults.FewerIds(5), []),
        (faults.MoreIds(), [1001, 1002, 1_001_002]),
        (faults.DuplicateIds(), [1001, 1001]),
        (faults.IdsBesideError(), [1001, 1002]),
    ],
)
async def test_ids_that_are_not_what_was_saved(store, call, fault, expected):
    """All is saved, and the reply's ids tell another story."""
    store.faults.next(fault)
    reply = await call(*TWO)
    assert ids(reply) == expected
    assert reply.json()["Ack"] == ("Error" if isinstance(fault, faults.IdsBesideError) else "Success")
    assert [log.log_id for log in store.logs] == [1001, 1002] == list(store.calls[0].log_ids)


async def test_duplicate_id_of_one_record(store, call):
    """One record gets its id twice."""
    store.faults.next(faults.DuplicateIds())
    assert ids(await call({"Notes": "a"})) == [1001, 1001]


async def test_shaped(store, call):
    """One call can be answered in a shape of its own."""
    store.faults.next(faults.Shaped(ReplyShape(records="list", ack="absent")))
    shaped, usual = await call({"Notes": "a"}), await call({"Notes": "b"})
    assert (shaped.json()["CustomerLog"], "Ack" in shaped.json()) == ([{"LogID": "1001"}], False)
    assert usual.json()["CustomerLog"] == {"LogID": "1002"}


async def test_a_fault_does_not_make_a_bad_call_good(store, call):
    """A fault that saves saves only what the store would take."""
    store.faults.always(faults.Reset(saves=True))
    for headers in ({"NETOAPI_KEY": "wrong"}, {"NETOAPI_ACTION": "GetCustomer"}):
        with pytest.raises(httpx.ReadError):
            await call({"Notes": "a"}, **headers)
    with pytest.raises(httpx.ReadError):
        await call({"Status": "Lost"})
    assert (store.logs, [entry.log_ids for entry in store.calls]) == ((), [(), (), ()])


# --- HTTP answers


@pytest.mark.parametrize("saves", [False, True])
@pytest.mark.parametrize("status", [403, 404, 408, 413, 500, 502, 503, 520])
async def test_any_status(store, call, status, saves):
    """A gateway's status comes with an HTML page, before saving or after it."""
    store.faults.next(faults.Status(status, saves=saves))
    reply = await call(*TWO)
    assert (reply.status_code, reply.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert str(status) in reply.text
    assert len(store.logs) == (2 if saves else 0)
    assert (store.calls[0].status, store.calls[0].ack) == (status, None)


@pytest.mark.parametrize("retry_after", [None, 7, "Thu, 05 Nov 2026 07:30:10 GMT"])
async def test_too_many_calls(store, call, retry_after):
    """429 says when to come back in seconds, as a date, or not at all, and saves nothing."""
    store.faults.next(faults.TooManyCalls(retry_after))
    reply = await call(*TWO)
    assert (reply.status_code, store.logs) == (429, ())
    assert reply.headers.get("Retry-After") == (None if retry_after is None else str(retry_after))


@pytest.mark.parametrize("saves", [False, True])
async def test_html_page(store, call, saves):
    """A page with 200 is no reply of the API."""
    store.faults.next(faults.HtmlPage(saves=saves))
    reply = await call(*TWO)
    assert (reply.status_code, reply.text[:9], len(store.logs)) == (200, "<!DOCTYPE", 2 if saves else 0)
    assert store.calls[0].outcome == "no API reply"


@pytest.mark.parametrize("saves", [False, True])
async def test_redirect(store, call, saves):
    """A redirect leads where the test says."""
    store.faults.next(faults.Redirect(saves=saves), faults.Redirect("https://elsewhere.example/", status=307))
    first, second = await call(*TWO), await call(*TWO)
    assert (first.status_code, first.headers["Location"]) == (302, "/_cpanel/login")
    assert (second.status_code, second.headers["Location"]) == (307, "https://elsewhere.example/")
    assert len(store.logs) == (2 if saves else 0)


@pytest.mark.parametrize("saves", [False, True])
async def test_answer_with(store, call, saves):
    """Any bytes can be the answer."""
    fault = faults.AnswerWith(b"\x00\xff", status=201, content_type="x/y", headers=(("X-A", "b"),), saves=saves)
    store.faults.next(fault)
    reply = await call(*TWO)
    assert (reply.status_code, reply.content, reply.headers["Content-Type"], reply.headers["X-A"]) == (
        201,
        b"\x00\xff",
        "x/y",
        "b",
    )
    assert len(store.logs) == (2 if saves else 0)


async def test_empty_body(store, call):
    """200 and no body."""
    store.faults.next(faults.EmptyBody())
    reply = await call(*TWO)
    assert (reply.status_code, reply.content, len(store.logs)) == (200, b"", 2)


@pytest.mark.parametrize("wire_format", ["json", "xml"])
async def test_oversized(store, call, wire_format):
    """The reply is right and far too long; without saving it claims ids all the same."""
    store.faults.next(faults.Oversized(3_000_000), faults.Oversized(3_000_000, saves=False))
    for _ in range(2):
        reply = await call(*TWO, wire_format=wire_format)
        assert len(reply.content) == 3_000_000
        assert reply.text.count("LogID") == (2 if wire_format == "json" else 4)
    assert len(store.logs) == 2


async def test_gzip_bomb(http, store, call):
    """A small reply unpacks to a large one, which is right."""
    store.faults.next(faults.GzipBomb(5_000_000))
    request = http.build_request("POST", store.url + "/do/WS/NetoAPI", headers=call.headers(), content=b"{}")
    reply = await http.send(request, stream=True)
    packed = b"".join([piece async for piece in reply.aiter_raw()])
    assert reply.headers["Content-Encoding"] == "gzip"
    assert len(packed) < 50_000
    unpacked = gzip.decompress(packed)
    assert (len(unpacked), unpacked[:1]) == (5_000_000, b"{")
    assert len(zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(packed)) == 5_000_000, (
        "one member: all decoders read it"
    )


async def test_broken_gzip(store, call):
    """The header says gzip and the body is not."""
    store.faults.next(faults.BrokenGzip())
    with pytest.raises(httpx.DecodingError):
        await call(*TWO)
    assert len(store.logs) == 2


@pytest.mark.parametrize("wire_format", ["json", "xml"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
async def test_wrong_encoding(store, call, wire_format, encoding):
    """The reply declares UTF-8 and is in something else."""
    store.faults.next(faults.WrongEncoding(encoding))
    reply = await call(*TWO, wire_format=wire_format)
    with pytest.raises(UnicodeDecodeError):
        reply.content.decode("utf-8")
    assert "Café Zürich" in reply.content.decode(encoding)
    assert len(store.logs) == 2


# --- The connection breaks


@pytest.mark.parametrize("saves", [False, True])
@pytest.mark.parametrize(
    ("fault", "error"), [(faults.Reset, httpx.ReadError), (faults.Close, httpx.RemoteProtocolError)]
)
async def test_reset_and_close(store, call, fault, error, saves):
    """RST and FIN instead of an answer, before saving or after it."""
    store.faults.next(fault(saves=saves))
    with pytest.raises(error):
        await call(*TWO)
    assert len(store.logs) == (2 if saves else 0)
    assert (store.calls[0].status, store.calls[0].fault) == (None, fault(saves=saves).name)
    assert store.calls[0].log_ids == ((1001, 1002) if saves else ())


async def read_all(store, body):
    """Call by a bare socket, and say how the connection ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(store.url.rpartition(":")[2]))
    writer.write(b"POST /do/WS/NetoAPI HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    try:
        return await reader.read()
    finally:
        writer.transport.abort()


async def test_reset_is_rst_and_close_is_fin(store):
    """On the socket itself the one is "connection reset", the other the end of the stream."""
    store.faults.next(faults.Reset(), faults.Close())
    with pytest.raises(ConnectionResetError):
        await read_all(store, b"x")
    assert await read_all(store, b"x") == b""


async def test_reset_unread(store):
    """The connection is reset when the head has come, while the body is still on its way."""
    store.faults.next(faults.ResetUnread())
    reader, writer = await asyncio.open_connection("127.0.0.1", int(store.url.rpartition(":")[2]))
    writer.write(b"POST /do/WS/NetoAPI HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.transport.abort()
    assert (store.calls[0].body_bytes, store.calls[0].outcome) == (0, "reset")


async def test_reset_unread_always(store, call):
    """It can be played on every call, and beside rules that look at the body it waits for them."""
    store.faults.always(faults.ResetUnread())
    with pytest.raises((httpx.ReadError, httpx.WriteError)):
        await call({"Notes": "a"})
    store.faults.when(lambda request: request.contains("b"), faults.Refuse())
    assert (await call({"Notes": "b"})).status_code == 200
    with pytest.raises((httpx.ReadError, httpx.WriteError)):
        await call({"Notes": "a"})
    assert store.logs == ()


@pytest.mark.parametrize("saves", [False, True])
async def test_silence(store, http, call, saves):
    """No answer comes; the client's patience ends it."""
    store.faults.next(faults.Silence(saves=saves))
    http.timeout = httpx.Timeout(20, read=0.05)
    with pytest.raises(httpx.ReadTimeout):
        await call(*TWO)
    assert (len(store.logs), store.calls[0].outcome) == (2 if saves else 0, "in flight")


async def test_late_by_an_event(store, call):
    """The answer waits for an event; the records are saved before."""
    release = asyncio.Event()
    store.faults.next(faults.Late(until=release))
    sending = asyncio.create_task(call(*TWO))
    await store.until(lambda: len(store.logs) == 2)
    assert not sending.done()
    release.set()
    assert ids(await sending) == [1001, 1002]
    assert len(store.logs) == 2


async def test_late_saving(store, call):
    """Saving can wait with the answer."""
    release = asyncio.Event()
    store.faults.next(faults.Late(until=release, saves_first=False))
    sending = asyncio.create_task(call(*TWO))
    await store.until(lambda: store.call_count == 1 and store.calls[0].fault == "Late")
    assert store.logs == ()
    release.set()
    assert ids(await sending) == [1001, 1002]


async def test_late_by_seconds(store, call):
    """The answer is late by seconds, and no longer."""
    store.faults.next(faults.Late(0.02))
    began = time.perf_counter()
    assert ids(await call(*TWO)) == [1001, 1002]
    assert time.perf_counter() - began >= 0.02


@pytest.mark.parametrize("saves", [False, True])
async def test_late_then_another_fault(store, call, saves):
    """Another fault can follow the wait, and it alone decides what is saved."""
    release = asyncio.Event()
    release.set()
    store.faults.next(faults.Late(until=release, then=faults.Reset(saves=saves)))
    with pytest.raises(httpx.ReadError):
        await call(*TWO)
    assert len(store.logs) == (2 if saves else 0)
    assert store.calls[0].fault == f"Late, then Reset {'after' if saves else 'before'} saving"


def test_late_needs_an_end():
    """Without seconds and event there is a better name for it."""
    with pytest.raises(ValueError, match="Silence"):
        faults.Late()


@pytest.mark.parametrize("ending", list(Ending))
@pytest.mark.parametrize("after", [None, 0, 10])
async def test_cut_short(store, http, call, after, ending):
    """A part of the body comes, and then the end; the head promised the whole."""
    store.faults.next(faults.CutShort(after, ending=ending))
    url = store.url + "/do/WS/NetoAPI"
    request = http.build_request("POST", url, headers=call.headers(), content=b'{"CustomerLogs": {}}')
    reply = await http.send(request, stream=True)
    with pytest.raises({Ending.CLOSE: httpx.RemoteProtocolError, Ending.RESET: httpx.ReadError}[ending]):
        await reply.aread()
    assert (reply.status_code, store.calls[0].status) == (200, 200)
    assert int(reply.headers["Content-Length"]) > 20


def test_endings_by_name():
    """How a connection ends can be given as a word, and a wrong word is refused."""
    assert faults.CutShort(ending="reset") == faults.CutShort(ending=Ending.RESET)
    with pytest.raises(ValueError, match="rst"):
        faults.CutShort(ending="rst")


async def test_cut_short_sends_just_as_much(store):
    """The bytes that arrive are those asked for."""
    store.faults.next(faults.CutShort(10))
    _, _, body = (await read_all(store, b"x")).partition(b"\r\n\r\n")
    assert body == b"<?xml vers"


@pytest.mark.parametrize("head", [False, True])
async def test_drip(store, call, head):
    """A byte at a time, and right in the end."""
    store.faults.next(faults.Drip(0, head=head))
    assert ids(await call(*TWO)) == [1001, 1002]
    assert store.calls[0].outcome == "dripped"


async def test_drip_ends_with_the_client(store, http, call):
    """When the client is gone the dripping stops, and closing the store does not wait for it."""
    store.faults.next(faults.Drip(3600), faults.Drip(3600, head=True))
    request = http.build_request("POST", store.url + "/do/WS/NetoAPI", headers=call.headers(), content=b"{}")
    reply = await http.send(request, stream=True)
    assert reply.status_code == 200
    sending = asyncio.create_task(call({"Notes": "a"}))
    await store.until(lambda: len(store.logs) == 1)
    await store.aclose()
    with pytest.raises(httpx.RemoteProtocolError):
        await sending
    await reply.aclose()


async def test_garbage_status_line(store, call):
    """What comes is no HTTP."""
    store.faults.next(faults.GarbageStatusLine(saves=True), faults.GarbageStatusLine(b"\x00\r\n\r\n"))
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            await call(*TWO)
    assert (len(store.logs), store.calls[0].outcome) == (2, "garbage")


# --- The script


async def test_next_in_order_of_arrival(store, call):
    """Faults that are lined up meet one call each, None being no fault."""
    store.faults.next(faults.Status(503), None)
    store.faults.next(faults.Status(502))
    assert [(await call()).status_code for _ in range(4)] == [503, 200, 502, 200]
    assert store.faults.waiting == 0


async def test_always_and_next(store, call):
    """What is lined up goes before what is always played, None included."""
    store.faults.always(faults.Status(500))
    store.faults.next(None)
    assert [(await call()).status_code for _ in range(3)] == [200, 500, 500]
    store.faults.always(None)
    assert (await call()).status_code == 200


@pytest.mark.parametrize("wire_format", ["json", "xml"])
async def test_when(store, call, wire_format):
    """A rule sees the call as it was read, and the first that matches counts."""
    store.faults.when(lambda request: request.contains("poison"), faults.Status(403))
    store.faults.when(lambda request: len(request.records) > 1, faults.Status(413))
    store.faults.always(faults.Status(500))
    store.faults.next(None, None, None, faults.Status(502))
    assert [(await call({"Notes": "poison"})).status_code for _ in range(5)] == [200, 200, 200, 502, 403]
    assert (await call({"Notes": "poison"}, {}, wire_format=wire_format)).status_code == 403
    assert (await call({}, {}, wire_format=wire_format)).status_code == 413
    assert (await call({}, wire_format=wire_format)).status_code == 500


async def test_what_a_rule_sees(store, call):
    """A rule can look at headers, format, bytes and records."""
    seen = []
    store.faults.when(lambda request: bool(seen.append(request)), faults.Refuse())
    await call({"Notes": "a"}, NETOAPI_USERNAME=None)
    await call(body=b"{", **{"Content-Type": "x/y"})
    good, bad = seen
    assert (good.number, good.action, good.username, good.api_key) == (1, "AddCustomerLog", None, "sandbox-key")
    assert (good.format, good.records, good.error) == ("json", ({"Notes": "a"},), None)
    assert (bad.number, bad.content_type, bad.body, bad.records) == (2, "x/y", b"{", ())
    assert bad.error.message == "JSON Error"


def test_a_rule_can_not_look_at_what_is_not_read(store):
    """A fault before the body is read can't hang on a rule that reads it."""
    with pytest.raises(ValueError, match="use next"):
        store.faults.when(lambda request: True, faults.ResetUnread())


async def test_clear(store, call):
    """A script can be forgotten."""
    store.faults.next(faults.Status(500))
    store.faults.when(lambda request: True, faults.Status(501))
    store.faults.always(faults.Status(502))
    store.faults.clear()
    assert (await call()).status_code == 200


def test_every_fault_is_announced():
    """What is a fault is in `__all__`, has a docstring, and says what it is called."""
    kinds_of = [kind for kind in vars(faults).values() if isinstance(kind, type) and issubclass(kind, faults.Fault)]
    assert {kind.__name__ for kind in kinds_of} <= set(faults.__all__)
    assert all(kind.__doc__ and "Method generated" not in kind.__doc__ for kind in kinds_of)


def test_a_fault_says_what_it_does():
    """A fault of one's own has to be playable."""
    with pytest.raises(TypeError, match="abstract"):
        faults.Fault()


async def test_a_fault_of_ones_own(store, call):
    """A test can bring a fault of its own."""

    class Teapot(faults.Fault):
        async def play(self, exchange):
            return HttpReply(status=418, body=f"{len(exchange.request.records)}".encode())

    store.faults.next(Teapot())
    reply = await call(*TWO)
    assert (reply.status_code, reply.text, store.calls[0].fault) == (418, "2", "Teapot")


async def test_faults_over_the_limit(caller):
    """Faults count against the limit like every call."""
    async with NetoSandbox(requests_per_minute=2) as store:
        store.faults.always(faults.Status(503))
        assert [(await caller(store)()).status_code for _ in range(3)] == [503, 503, 429]
