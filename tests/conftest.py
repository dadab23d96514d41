"""What all tests share: a store on loopback, and clients for it over the HTTP library that is under test."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import HealthCheck, settings

from neto_async import AsyncNetoClient
from neto_async.sandbox import NetoSandbox

OTHER_HTTP = os.environ.get("NETO_ASYNC_TEST_HTTP") == "httpx2"
"""True where `nox -s httpx2` asks for the other HTTP library."""

# Stores are on loopback, and a client is refused that would send their calls to a proxy of this machine's network.
for name in [name for name in os.environ if name.lower() in {"http_proxy", "https_proxy", "all_proxy"}]:
    del os.environ[name]

# Many tests start interpreters. Each would compile all that it imports where the environment has bytecode thrown away.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How fast the machine is says nothing about the code. A change that is judged gets the same examples each time; whoever
# runs the tests by hand gets new ones.
settings.register_profile(
    "unhurried",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="NETO_ASYNC_TEST_SAME_EXAMPLES" in os.environ,
    print_blob=True,
)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _quota_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test's calls count against another's: many use one address."""
    monkeypatch.setattr("neto_async.sending.quota._SHARED", {})


@pytest.fixture
async def store() -> AsyncIterator[NetoSandbox]:
    """A store without a limit on calls."""
    async with NetoSandbox(requests_per_minute=None) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """Start a PostgreSQL server of our own, or skip the test."""
    sys.path.append(str(Path(__file__).parent / "journals"))  # tests are no packages
    from server import Server, binaries  # noqa: PLC0415 - needed by few

    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed here: there is no initdb on the path or in /usr/lib/postgresql")
    made = Server(programs)
    try:
        made.make()
        yield made
    finally:
        made.remove()


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


@pytest.hookimpl(wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Start one process more than there are cores: in a quarter of their time tests wait."""
    return (yield) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With the other HTTP library run what it makes a difference to."""
    if OTHER_HTTP:
        items[:] = [item for item in items if "connect" in getattr(item, "fixturenames", ())]
