"""What all tests share: a store on loopback, and clients for it over the HTTP library that is under test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import HealthCheck, settings

from neto_async import AsyncNetoClient
from neto_async.sandbox import NetoSandbox

OTHER_HTTP = os.environ.get("NETO_ASYNC_TEST_HTTP") == "httpx2"
"""True where `nox -s httpx2` asks for the other HTTP library."""

# How fast the machine is says nothing about the code.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture
async def store() -> AsyncIterator[NetoSandbox]:
    """A store without a limit on calls."""
    async with NetoSandbox(requests_per_minute=None) as sandbox:
        yield sandbox


@pytest.fixture
async def connect() -> AsyncIterator[Any]:
    """Open clients for a store."""
    library = httpx2 if OTHER_HTTP else httpx
    async with AsyncExitStack() as stack:

        async def open_client(store: NetoSandbox, **settings: Any) -> AsyncNetoClient:
            if "http_client" not in settings:
                settings["http_client"] = await stack.enter_async_context(library.AsyncClient())
            given = {"username": store.username, "api_key": store.api_key, "requests_per_minute": None, **settings}
            return await stack.enter_async_context(AsyncNetoClient(store.url, **given))

        open_client.enter = stack.enter_async_context  # type: ignore[attr-defined]
        yield open_client


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With the other HTTP library run what it makes a difference to."""
    if OTHER_HTTP:
        items[:] = [item for item in items if "connect" in getattr(item, "fixturenames", ())]
