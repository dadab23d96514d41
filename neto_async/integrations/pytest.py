"""
pytest: a Neto store on loopback for tests of your own code, and time that needs no waiting.

    async def test_an_answer_that_is_lost(neto_store):
        neto_store.faults.next("answer lost")
        ...  # call your code, whose client is made by AsyncNetoClient.from_env()
        neto_store.assert_each_once([{"notes": "Rang back."}])

Installed with the package, so there is nothing to register. The fixtures are synchronous: they fit tests of any kind,
under pytest-asyncio, anyio or neither. This module is imported in every run of pytest, so it imports nothing of the
package before a fixture is asked for. May import, in this way: testing and the time beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from neto_async.integrations.testing import NetoStore, NetoTime

STORES: pytest.StashKey[list[NetoStore]] = pytest.StashKey()
"""The stores that a test's fixtures started."""


@pytest.fixture
def _neto_time(monkeypatch: pytest.MonkeyPatch) -> NetoTime:
    """Time that the test's stores and clients share. They always do: it must not matter which fixture comes first."""
    from neto_async.integrations._hurry import NetoTime  # noqa: PLC0415 - see above

    shared = NetoTime()
    monkeypatch.setattr("neto_async.client.Engine", shared.engine)
    return shared


@pytest.fixture
def neto_time(_neto_time: NetoTime) -> NetoTime:
    """Whatever clients wait for by themselves passes at once: pauses, spacing, backoff. A call takes its own time."""
    _neto_time.hurry()
    return _neto_time


@pytest.fixture
def make_neto_store(
    request: pytest.FixtureRequest, _neto_time: NetoTime, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., NetoStore]]:
    """Start stores with settings of `NetoSandbox`, such as partial=True; the environment leads to the newest."""
    try:
        from neto_async.integrations.testing import NetoStore  # noqa: PLC0415 - see above
    except ImportError as missing:
        raise pytest.fail.Exception(str(missing), pytrace=False) from None
    request.node.stash[STORES] = stores = []
    with ExitStack() as running:

        def make(**settings: Any) -> NetoStore:
            store = running.enter_context(NetoStore(**{"clock": _neto_time.monotonic, **settings}))
            stores.append(store)
            monkeypatch.setenv("NETO_STORE_URL", store.url)
            monkeypatch.setenv("NETO_USERNAME", store.username or "")
            monkeypatch.setenv("NETO_API_KEY", store.api_key)
            return store

        yield make


@pytest.fixture
def neto_store(make_neto_store: Callable[..., NetoStore]) -> NetoStore:
    """A Neto store on loopback; the environment (NETO_STORE_URL, NETO_USERNAME, NETO_API_KEY) leads to it."""
    return make_neto_store()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Add the calls that the stores saw to the report of a test that failed."""
    if call.when == "call" and call.excinfo is not None:
        for store in item.stash.get(STORES, ()):
            item.add_report_section("call", "neto_store", store.report())
