"""
Two clients that were written for live stores, against the sandbox: what works there has to work here.

`neto-api` comes from npm and `netoapi` from PyPI; ``nox -s other_clients`` installs both.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from neto_async.sandbox import NetoSandbox

pytestmark = pytest.mark.other_clients

DRIVER = Path(__file__).with_name("neto_api.js")
LOG = {"Username": "jsmith", "Status": "Recontacting", "Notes": "Zoë rang back."}
LOGS = [LOG, {"Username": "jsmith", "Notes": "Asked for a quote."}]
KEY_REFUSED = {"Error": {"Message": "Invalid API Key", "SeverityCode": "Error"}}


@pytest.fixture
async def store():
    async with NetoSandbox(access_key="client-id", secret_key="token") as sandbox:
        yield sandbox


async def npm(store: NetoSandbox, method: str, argument: Any, *selectors: str, **login: str) -> dict[str, Any]:
    """Make a call with the client from npm; give what its promise ended with."""
    login = login or {"user": store.username or "", "key": store.api_key}
    words = [{"url": store.url, **login}, method, argument, *([selectors] if selectors else [])]
    process = await asyncio.create_subprocess_exec(
        "node", "--no-deprecation", DRIVER, *map(json.dumps, words), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return json.loads(said)


async def pypi(store: NetoSandbox, action: str, payload: Any, key: str | None = None) -> dict[str, Any]:
    """Make a call with the client from PyPI; give what it returns."""
    from netoapi import NetoAPIClient  # noqa: PLC0415 - one session alone installs it

    client = NetoAPIClient(f"{store.url}/do/WS/NetoAPI", store.username, key or store.api_key)
    with closing(client._session):
        return await asyncio.to_thread(client.execute_api_call, action, payload)


def saved(store: NetoSandbox) -> list[dict[str, str]]:
    return [dict(log.fields) for log in store.logs]


@pytest.mark.parametrize("login", [{}, {"oauth_clientId": "client-id", "oauth_secret": "token"}], ids=["key", "add-on"])
async def test_npm_adds_changes_and_reads(store, login):
    """Logs that the client from npm adds are saved, changed and given back, with a key and as an add-on."""
    added = await npm(store, "addLog", LOGS, **login)
    assert [{"LogID": "1001"}, {"LogID": "1002"}] == added["resolved"]["CustomerLog"]
    assert LOGS == saved(store)

    changed = await npm(store, "updateLog", {"LogID": 1001, "Status": "Completed"}, **login)
    assert "Success" == changed["resolved"]["Ack"]
    assert [{**LOG, "Status": "Completed"}, LOGS[1]] == saved(store)

    found = await npm(store, "get", {"Username": ["jsmith"]}, "Username", "CustomerLog", **login)
    customer = found["resolved"]["Customer"]
    notes = [log["Notes"] for log in customer["CustomerLogs"]["CustomerLog"]]
    assert ("jsmith", [log["Notes"] for log in LOGS]) == (customer["Username"], notes)


async def test_npm_adds_one(store):
    """A single log, which that client sends in a list, has its id in an object."""
    added = await npm(store, "addLog", LOG)
    assert {"LogID": "1001"} == added["resolved"]["CustomerLog"]


@pytest.mark.parametrize(
    "login",
    [
        {"user": "sandbox", "key": "wrong"},
        {"key": "sandbox-key"},
        {"oauth_clientId": "client-id", "oauth_secret": "expired"},
    ],
    ids=["key", "user", "add-on"],
)
async def test_npm_with_a_wrong_login(store, login):
    """A wrong key, a user's key without its user and an expired token are refused in the words of live stores."""
    assert {"rejected": KEY_REFUSED} == await npm(store, "addLog", LOG, **login)
    assert [] == saved(store)


async def test_pypi_adds_changes_and_reads(store):
    """Logs that the client from PyPI adds are saved, changed and given back."""
    added = await pypi(store, "AddCustomerLog", {"CustomerLogs": {"CustomerLog": LOGS}})
    assert ("Success", [{"LogID": "1001"}, {"LogID": "1002"}]) == (added["Ack"], added["CustomerLog"])
    assert LOGS == saved(store)

    update = {"LogID": "1001", "Status": "Completed"}
    changed = await pypi(store, "UpdateCustomerLog", {"CustomerLogs": {"CustomerLog": update}})
    assert "Success" == changed["Ack"]

    wanted = {"Filter": {"Username": "jsmith", "Page": 0, "Limit": 5, "OutputSelector": ["CustomerLog"]}}
    found = await pypi(store, "GetCustomer", wanted)
    logs = found["Customer"]["CustomerLogs"]["CustomerLog"]
    assert ["Completed", ""] == [log["Status"] for log in logs]


async def test_pypi_with_a_wrong_key(store):
    """A wrong key is an answer of HTTP 200 that says so: that client, which looks at the status alone, returns it."""
    refused = await pypi(store, "AddCustomerLog", {"CustomerLogs": {"CustomerLog": LOG}}, key="wrong")
    assert ("Error", KEY_REFUSED) == (refused["Ack"], refused["Messages"])
    assert [] == saved(store)
