"""A store on loopback, and a plain HTTP client that knows nothing of the library."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import httpx
import pytest

from neto_async.sandbox import NetoSandbox

PATH = "/do/WS/NetoAPI"


def as_json(*records):
    return json.dumps({"CustomerLogs": {"CustomerLog": list(records)}}).encode()


def as_xml(*records):
    root = ET.Element("AddCustomerLog")
    logs = ET.SubElement(root, "CustomerLogs")
    for record in records:
        log = ET.SubElement(logs, "CustomerLog")
        for name, text in record.items():
            ET.SubElement(log, name).text = text
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


class Caller:
    """Calls a store by plain HTTP."""

    def __init__(self, http, store):
        self.http = http
        self.store = store

    def headers(self, wire_format="json", **changes):
        headers = {
            "NETOAPI_ACTION": "AddCustomerLog",
            "NETOAPI_USERNAME": self.store.username,
            "NETOAPI_KEY": self.store.api_key,
            "Accept": "application/json" if wire_format == "json" else "text/xml",
            **changes,
        }
        return {name: value for name, value in headers.items() if value is not None}

    async def __call__(self, *records, wire_format="json", body=None, path=PATH, **headers):
        content = body if body is not None else (as_json if wire_format == "json" else as_xml)(*records)
        url = self.store.url + path
        return await self.http.post(url, headers=self.headers(wire_format, **headers), content=content)


@pytest.fixture
async def http():
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
async def store():
    async with NetoSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def call(http, store):
    """Call the store of the fixture."""
    return Caller(http, store)


@pytest.fixture
def caller(http):
    """Make a caller for another store."""
    return lambda store: Caller(http, store)


@pytest.fixture
def encode():
    """Encode records in one of the two formats."""
    return {"json": as_json, "xml": as_xml}
