"""
pytest: a Neto store on loopback for tests of your own code, and time that needs no waiting.

    async def test_an_answer_that_is_lost(neto_store):
        neto_store.faults.next("answer lost")
        ...  # call your code, whose client is made by AsyncNetoClient.from_env()
        neto_store.assert_each_once([{"notes": "Rang back."}])

Installed with the package, so there is nothing to register. The fixtures are synchronous: they fit tests of any kind,
under pytest-asyncio, anyio or neither. This module is imported in every run of pytest, so it imports what it needs
when a fixture is asked for. May import, in this way, testing and the time beside it; at once only errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from neto_async.errors import NetoError

if TYPE_CHECKING:
    from neto_async.integrations.testing import NetoStore, NetoTime

STORES: pytest.StashKey[list[NetoStore]] = pytest.StashKey()
"""The stores that a test's fixtures started."""

PACKAGE = Path(__file__).parents[1]


@pytest.fixture
def _neto_time() -> Iterator[NetoTime]:
    """Time that the test's stores and clients always share, so that the order of fixtures does not matter."""
    from neto_async.integrations._test_clock import NetoTime  # noqa: PLC0415 - see above
    from neto_async.sending.clock import use_clock  # noqa: PLC0415

    shared = NetoTime()
    use_clock(shared)
    yield shared
    use_clock(None)


@pytest.fixture
def neto_time(_neto_time: NetoTime) -> NetoTime:
    """Pauses, spacing and backoff of clients pass at once. A call takes the time that it takes."""
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
            for another_login in ("NETO_ACCESS_KEY", "NETO_SECRET_KEY"):
                monkeypatch.delenv(another_login, raising=False)
            return store

        yield make


@pytest.fixture
def neto_store(make_neto_store: Callable[..., NetoStore]) -> NetoStore:
    """A Neto store on loopback; the environment (NETO_STORE_URL, NETO_USERNAME, NETO_API_KEY) leads to it."""
    return make_neto_store()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Where a test with a store failed, report its calls, and end tracebacks where the client was called."""
    if call.when != "call" or call.excinfo is None or STORES not in item.stash:
        return
    for store in item.stash[STORES]:
        item.add_report_section("call", "neto_store", store.report())
    if not item.config.getoption("fulltrace"):
        _shorten(call.excinfo.value)


def _shorten(error: BaseException | None) -> None:
    """Take the frames of the package out of what its own errors show: pytest would print logs and keys as arguments."""
    while error is not None:
        place = error.__traceback__ if isinstance(error, NetoError) else None
        while place is not None and place.tb_next is not None:
            if Path(place.tb_next.tb_frame.f_code.co_filename).is_relative_to(PACKAGE):
                place.tb_next = None
            place = place.tb_next
        error = error.__cause__ or error.__context__
