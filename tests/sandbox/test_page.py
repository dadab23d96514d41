"""The page at `/` shows logs and calls, escaped, and only to who opened it by its address."""

from __future__ import annotations

import asyncio
import html.parser
import json
import shlex

import httpx
import pytest

from neto_async.sandbox import NetoSandbox, faults

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"' onmouseover='alert(1)"
VOID = {"meta", "link", "input", "br", "img"}


class Outline(html.parser.HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self.ids, self._open = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


async def outline(http, store):
    return Outline((await http.get(store.url + "/")).text)


async def test_an_empty_store(http, store):
    """Before the first call the page says what it is, and how to connect."""
    page = await outline(http, store)
    assert "This is a sandbox. Nothing here reaches Neto" in page.text
    assert "No customer logs yet" in page.text
    assert f"export NETO_STORE_URL={store.url}" in page.text
    assert "export NETO_API_KEY=sandbox-key" in page.text
    assert "neto-async import calls.csv" in page.text


async def test_logs_and_calls(http, store, call):
    """A log is shown with status, follow-up date, staff member, customer and notes, a call with size and outcome."""
    log = {
        "AllocatedTo": "Priya Nair",
        "Username": "jsmith",
        "CustomerName": "Jane Smith",
        "FollowUpType": "Phone call",
        "LastContacted": "2026-11-05 07:30:10",
        "DateRequiredFollowUp": "2026-12-01 00:00:00",
        "Status": "Require Recontact",
        "Notes": "First line\nsecond line",
    }
    await call(log)
    store.faults.next(faults.Status(503, saves=True))
    await call(log, wire_format="xml")
    page = await outline(http, store)
    for text in ("Priya Nair", "jsmith", "Jane Smith", "Phone call", "Require Recontact", "2026-11-05 07:30:10 UTC"):
        assert text in page.text
    assert "2026-12-01" in page.text
    assert "2026-12-01 00:00" not in page.text, "a day, and no time"
    assert "First line\nsecond line" in "".join(page.texts)
    for text in ("JSON", "XML", "Success", "HTTP 503", "fault: 503 after saving"):
        assert text in page.text
    assert page.text.index("1002") < page.text.index("1001"), "newest first"


@pytest.mark.parametrize("wire_format", ["json", "xml"])
async def test_everything_is_escaped(http, caller, wire_format):
    """No text from outside becomes a tag or an attribute, on the page and in the state."""
    async with NetoSandbox(username=EVIL.replace("\n", ""), unknown_elements="ignore") as store:
        harmless = set((await outline(http, store)).tags) | {"table", "caption", "thead", "tbody", "tr", "th", "td"}
        names = ("AllocatedTo", "FollowUpType", "Username", "CustomerName", "Notes")
        record = {name: EVIL[:25] if name == "Username" else EVIL[:50] for name in names}
        await caller(store)(record, {"Notes": EVIL * 30}, wire_format=wire_format)
        assert len(store.logs) == 2
        page = await outline(http, store)
        assert page.tags.count("script") == 1, "the page's own"
        assert set(page.tags) <= harmless | {"details", "summary", "br", "time"}
        assert not [attribute for _, attribute, _ in page.attributes if attribute.startswith("on")]
        assert EVIL in "".join(page.texts)
        state = await http.get(store.url + "/sandbox/state.json")
        assert (state.headers["Content-Type"], state.headers["X-Content-Type-Options"]) == (
            "application/json",
            "nosniff",
        )
        assert state.json()["logs"][0]["notes"] == EVIL * 30


async def test_odd_texts(http, caller):
    """Half-filled logs, dates that are none and notes of a page's length are shown too."""
    async with NetoSandbox(username=None, requests_per_minute=None) as store:
        await caller(store)({}, {"Username": "only"}, {"DateRequiredFollowUp": "0000-00-00 00:00:00"})
        await caller(store)({"Notes": "\x01 " + "long " * 100})
        store.faults.next(faults.Silence())
        waiting = asyncio.create_task(caller(store)())
        await store.until(lambda: store.call_count == 3)
        page = await outline(http, store)
        assert "any, or none" in page.text
        assert "no limit set" in page.text
        assert page.tags.count("details") == 1
        assert "NETO_USERNAME" not in page.text
        assert "in flight" in page.text
    with pytest.raises(httpx.RemoteProtocolError):
        await waiting


async def test_only_the_newest(http, caller):
    """The page and the state stay small, whatever the store holds, and say so."""
    async with NetoSandbox(requests_per_minute=None) as store:
        for _ in range(101):
            await caller(store)(*({"Notes": "a"} for _ in range(3)))
        page = await outline(http, store)
        assert len([name for name in page.ids if name.startswith("log-")]) == 200
        assert len([name for name in page.ids if name.startswith("call-")]) == 100
        assert "the newest 200 of 303" in page.text
        assert "the newest 100 of 101" in page.text
        state = (await http.get(store.url + "/sandbox/state.json")).json()
        assert (len(state["logs"]), len(state["calls"]), state["log_count"], state["call_count"]) == (
            200,
            100,
            303,
            101,
        )
        assert state["logs"][0]["log_id"] == 1303


async def test_the_state(http, store, call):
    """The state has counts, logs and calls, and a revision that changes when they do."""
    before = (await http.get(store.url + "/sandbox/state.json")).json()
    await call({"Notes": "a", "Status": "Completed"})
    after = (await http.get(store.url + "/sandbox/state.json")).json()
    assert before["revision"] != after["revision"]
    assert (before["log_count"], after["log_count"], after["calls_in_last_minute"]) == (0, 1, 1)
    assert (after["logs"][0]["notes"], after["logs"][0]["allocated_to"]) == ("a", None)
    assert (after["calls"][0]["outcome"], after["calls"][0]["saved"]) == ("Success", 1)


@pytest.mark.parametrize(
    ("limit", "expected"), [("0", 0), ("1", 1), ("999999999999", 2), ("-1", 2), ("x", 2), ("", 2), ("²", 2)]
)
async def test_the_states_limit(http, store, call, limit, expected):
    """Who needs no logs gets none; a limit that is no number is no limit."""
    await call({"Notes": "a"}, {"Notes": "b"})
    state = await http.get(store.url + "/sandbox/state.json", params={"limit": limit})
    assert len(state.json()["logs"]) == expected


async def test_only_by_its_address(http, store, call):
    """A stranger's page gets nothing and adds nothing, from its own origin or by a name that points here."""
    own = store.url.removeprefix("http://")
    for host in (own, "localhost", "store.localhost:8080", "LOCALHOST:1", "[::1]:80", "[::1]"):
        assert (await http.get(store.url, headers={"Host": host})).status_code == 200
        assert (await call({"Notes": "a"}, Host=host, Origin=f"http://{host}")).status_code == 200
    count = store.call_count
    foreign = [{"Host": f"{name}{port}"} for name in ("evil.example", "127.0.0.1.evil.example") for port in ("", ":80")]
    foreign += [{"Host": ""}, *({"Origin": origin} for origin in ("http://evil.example", "null", "http://[", ""))]
    for headers in foreign:
        for path in ("/", "/sandbox/state.json", "/sandbox/page.css", "/elsewhere"):
            reply = await http.get(store.url + path, headers=headers)
            assert (reply.status_code, "sandbox-key" in reply.text) == (403, False)
        assert (await call({"Notes": "a"}, **headers)).status_code == 403
    assert (store.call_count, store.log_count) == (count, count)


async def test_a_name_to_listen_on_is_its_own(http, caller):
    """A sandbox that is given a name, as in a network of containers, answers to it."""
    async with NetoSandbox(host="localhost") as listening:
        listening._host = "sandbox"  # white box: the name need not resolve here
        reply = await http.get(f"http://localhost:{listening._port}", headers={"Host": "sandbox:8080"})
    assert reply.status_code == 200


async def test_assets_come_from_the_store(http, store):
    """Style and script are the store's own, and the page may load nothing else."""
    page = await http.get(store.url + "/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert "http" not in page.text.replace(store.url, "")
    for path, kind in (("/sandbox/page.css", "text/css"), ("/sandbox/page.js", "text/javascript")):
        assert path in page.text
        asset = await http.get(store.url + path)
        assert (asset.status_code, asset.headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")


@pytest.mark.parametrize("path", ["/no/such/page", "/do/WS", "/do/ws/netoapi", "/sandbox/none"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_wrong_path(http, store, call, method, path):
    """A wrong path is an HTML page with 200, as at a real store, and no call."""
    reply = await http.request(method, store.url + path, headers=call.headers())
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert store.calls == ()
    Outline(reply.text)


async def test_the_control_panel(http, store):
    """The control panel leads to a login page."""
    reply = await http.post(store.url + "/_cpanel/anything")
    assert (reply.status_code, reply.headers["Location"]) == (302, "/_cpanel/login")
    assert "Sign in" in (await http.get(store.url + "/_cpanel/login")).text


async def test_get_at_the_endpoint(http, store):
    """The endpoint takes POST alone; another method is no call."""
    reply = await http.get(store.url + "/do/WS/NetoAPI")
    assert (reply.status_code, reply.headers["Allow"], store.calls) == (405, "POST", ())


async def test_the_command_survives_a_shell(http):
    """What is copied into a shell is quoted."""
    async with NetoSandbox(api_key="it's $HOME") as store:
        page = await outline(http, store)
    command = page.text.rpartition("export ")[2].partition("neto-async")[0]
    assert ["NETO_API_KEY=it's $HOME"] == shlex.split(command)


async def test_the_state_is_json_without_a_key(http, store):
    """The state, which scripts read, holds no key."""
    state = await http.get(store.url + "/sandbox/state.json")
    assert "sandbox-key" not in json.dumps(state.json())
