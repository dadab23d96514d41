"""Time that needs no waiting: what is skipped, in which order, and what never is."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import partial
from importlib.metadata import entry_points

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from neto_async import AsyncNetoClient, AuthenticationError, NotSentError, OutcomeUnknownError
from neto_async.integrations.testing import NetoStore
from neto_async.sandbox import faults
from neto_async.sending.waiting import wait_through_cancellation

if not entry_points(group="pytest11", name="neto_async"):  # pragma: no cover
    pytest.skip("the project was installed before it had a plugin: install it again", allow_module_level=True)

LOG = {"notes": "Rang back."}


async def turns(count: int) -> None:
    """Let the loop turn: more often than anything takes that is due."""
    for _ in range(count):
        await asyncio.sleep(0)


async def comes(condition: Callable[[], bool]) -> None:
    """Let the loop turn until a condition holds."""
    while not condition():  # noqa: ASYNC110 - turns of the loop, no time
        await asyncio.sleep(0)


def in_an_hour() -> str:
    return format_datetime(datetime.now(timezone.utc) + timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize(("retry_after", "seconds"), [(60, 60), (299, 299), (None, 60), (in_an_hour, 3600)])
async def test_a_pause_is_waited_through_without_waiting(neto_store, neto_time, retry_after, seconds):
    """A 429 is obeyed to the second, and takes none."""
    neto_store.faults.next(faults.TooManyCalls(retry_after() if callable(retry_after) else retry_after))
    async with AsyncNetoClient.from_env(give_up_after=4000) as neto:
        await neto.add_customer_log(LOG)
    first, second = (call.received_at for call in neto_store.calls)
    assert seconds - 5 < neto_time.skipped <= seconds
    assert neto_time.skipped < second - first
    neto_store.assert_each_once([LOG])


async def test_without_the_fixture_time_is_the_machines(neto_store):
    """Unless neto_time is asked for, a pause is a pause."""
    neto_store.faults.next("rate limited")
    async with AsyncNetoClient.from_env() as neto:
        adding = asyncio.create_task(neto.add_customer_log(LOG))
        await neto_store.until(lambda: [call.outcome for call in neto_store.calls] == ["HTTP 429"])
        await comes(lambda: neto.statistics().waiting_on is not None)
        await turns(20)
        assert neto.statistics().paused_for > 50
        adding.cancel()


async def test_the_fixture_may_come_after_the_wait_began(neto_store, request):
    """A client that was made and has begun to wait before neto_time is asked for is hurried all the same."""
    neto_store.faults.next("rate limited")
    async with AsyncNetoClient.from_env() as neto:
        adding = asyncio.create_task(neto.add_customer_log(LOG))
        await comes(lambda: neto.statistics().waiting_on is not None)
        await turns(20)
        request.getfixturevalue("neto_time")
        await adding


async def test_what_gives_up_first_gives_up_first(neto_store, neto_time):
    """Timers run out in their order: a log that waits 10 s at most does not see the place that comes in 60 s."""
    async with AsyncNetoClient.from_env(requests_per_minute=1) as neto:
        await neto.add_customer_log(LOG)
        patient = asyncio.create_task(neto.add_customer_log({"notes": "Paid."}))
        with pytest.raises(NotSentError):
            await neto.add_customer_log({"notes": "Left."}, give_up_after=10)
        assert 9 < neto_time.skipped <= 10
        await patient
    assert 59 < neto_time.skipped <= 60
    neto_store.assert_each_once([LOG, {"notes": "Paid."}])


async def test_an_import_keeps_to_the_limit_without_waiting(make_neto_store, neto_time):
    """Three minutes' worth of calls go to a store with the same limit: none is refused, and nobody waits."""
    store = make_neto_store(requests_per_minute=20)
    logs = [{"notes": f"{number}"} for number in range(60)]
    async with AsyncNetoClient.from_env(requests_per_minute=20, batch_size=1) as neto:
        report = await neto.add_customer_logs(logs)
    assert (60, 60) == (len(report.added), len(store.calls))
    assert 170 < neto_time.skipped < 190
    store.assert_each_once(logs)


async def test_a_refused_key_is_tried_again_a_minute_later(neto_store, neto_time):
    """A halted client sends nothing, hurried or not; after a minute that the test skips, it tries."""
    neto_store.faults.next("key refused")
    async with AsyncNetoClient.from_env() as neto:
        for _ in range(2):
            with pytest.raises(AuthenticationError):
                await neto.add_customer_log(LOG)
        assert (0, 1) == (neto_time.skipped, len(neto_store.calls))
        neto_time.skip(61)
        await neto.add_customer_log(LOG)
    assert "<NetoTime: 61.000 s skipped>" == repr(neto_time)
    neto_store.assert_each_once([LOG])


async def test_a_record_beside_a_slow_call_is_given_its_time(neto_store, neto_time):
    """While a call is under way nothing is skipped: what waits for its slot must not give up for that."""
    answer = asyncio.Event()
    neto_store.faults.next(faults.Late(until=answer))
    async with AsyncNetoClient.from_env(max_concurrency=1) as neto:
        slow = asyncio.create_task(neto.add_customer_log(LOG))
        await neto_store.until(lambda: len(neto_store.calls) == 1)
        beside = asyncio.create_task(neto.add_customer_log({"notes": "Paid."}, give_up_after=20))
        await comes(lambda: neto.statistics().waiting_single == 1)
        await turns(20)
        assert (0, False) == (neto_time.skipped, beside.done())
        neto_store.call(answer.set)
        await asyncio.gather(slow, beside)
    neto_store.assert_each_once([LOG, {"notes": "Paid."}])


class Deaf(httpx.AsyncBaseTransport):
    """Takes a call and heeds neither deadline nor cancellation."""

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        await wait_through_cancellation(self.end.wait())
        raise httpx.ReadError("ended")


async def test_a_call_that_was_left_to_itself_is_still_under_way(neto_store, neto_time):
    """A call past its deadline gives its place back when it ends: what waits for that must not give up for a skip."""
    deaf = Deaf()
    async with (
        httpx.AsyncClient(transport=deaf) as http,
        AsyncNetoClient.from_env(http_client=http, timeout=0.01, requests_per_minute=1) as neto,
    ):
        with pytest.raises(OutcomeUnknownError):
            await neto.add_customer_log(LOG)
        waiting = asyncio.create_task(neto.add_customer_log(LOG, give_up_after=20))
        await comes(lambda: neto.statistics().waiting_on == "quota")
        await turns(20)
        assert (0, False) == (neto_time.skipped, waiting.done())
        deaf.end.set()
        with pytest.raises(NotSentError):
            await waiting
    assert 19 < neto_time.skipped <= 20


async def test_a_pause_of_one_client_waits_for_the_call_of_another(make_neto_store, neto_time):
    """Time is one for all: it is not skipped for the client that waits while another's call is under way."""
    answer = asyncio.Event()
    slow, pausing = make_neto_store(), make_neto_store()
    slow.faults.next(faults.Late(until=answer))
    pausing.faults.next("rate limited")
    async with (
        AsyncNetoClient(slow.url, username=slow.username, api_key=slow.api_key) as one,
        AsyncNetoClient(pausing.url, username=pausing.username, api_key=pausing.api_key) as other,
    ):
        calling = asyncio.create_task(one.add_customer_log(LOG))
        await slow.until(lambda: len(slow.calls) == 1)
        waiting = asyncio.create_task(other.add_customer_log(LOG))
        await comes(lambda: other.statistics().waiting_on == "pause")
        await turns(20)
        assert 0 == neto_time.skipped
        slow.call(answer.set)
        await asyncio.gather(calling, waiting)
    assert 59 < neto_time.skipped <= 60


def test_a_service_in_another_thread(neto_store, neto_time):
    """A service under Starlette's test client, which runs it in a thread of its own, is hurried from the test's."""
    app = FastAPI()

    @app.post("/calls")
    async def note() -> int:
        async with AsyncNetoClient.from_env() as neto:
            return (await neto.add_customer_log(LOG)).log_id

    neto_store.faults.next("rate limited", "rate limited")
    with TestClient(app) as http:
        assert 1001 == http.post("/calls").json()
    assert 118 < neto_time.skipped <= 120


def test_clients_in_two_threads_wait_together(make_neto_store, request):
    """A minute is a minute for all: two clients that wait for it in loops of their own have it skipped once."""
    stores = [make_neto_store(), make_neto_store()]
    clients = []

    async def main(store: NetoStore) -> None:
        store.faults.next("rate limited")
        async with AsyncNetoClient(store.url, username=store.username, api_key=store.api_key) as neto:
            clients.append(neto)
            await neto.add_customer_log(LOG)

    threads = [threading.Thread(target=asyncio.run, args=(main(store),)) for store in stores]
    for thread in threads:
        thread.start()
    while [neto.statistics().waiting_on for neto in clients] != ["pause", "pause"]:
        pass
    neto_time = request.getfixturevalue("neto_time")
    for thread in threads:
        thread.join()
    assert 59 < neto_time.skipped < 61
    for store in stores:
        store.assert_each_once([LOG])


def test_each_loop_is_left_to_its_thread(neto_time):
    """What is skipped reaches each loop in its own thread; in debug mode one that is touched from another says so."""
    waiting, errors = threading.Semaphore(0), []

    async def wait(seconds: float) -> None:
        done = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        neto_time.call_at(neto_time.monotonic() + seconds, done.set)
        waiting.release()
        await done.wait()

    threads = [threading.Thread(target=partial(asyncio.run, wait(seconds), debug=True)) for seconds in (1000, 2000)]
    for thread in threads:
        thread.start()
        waiting.acquire()
    neto_time.skip(500)
    neto_time.skip(2500)
    for thread in threads:
        thread.join()
    assert [] == errors


def test_a_loop_that_is_gone_does_not_hold_up_others(neto_store, neto_time):
    """A wait that was left behind in a loop that has ended is forgotten."""

    async def leave() -> None:
        neto_time.call_at(neto_time.monotonic() + 10, print)

    async def main() -> None:
        async with AsyncNetoClient.from_env() as neto:
            await neto.add_customer_log(LOG)

    asyncio.run(leave())
    neto_store.faults.next("rate limited")
    asyncio.run(main())
    assert 59 < neto_time.skipped <= 60


async def test_a_timer_keeps_its_own_context(neto_time):
    """What a timer calls runs in the context it was set in, whoever skips; several run in the order of their times."""
    where: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="nowhere")
    said = []
    done = asyncio.Event()

    def tell(number: int) -> None:
        said.append((number, where.get()))

    where.set("set here")
    now = neto_time.monotonic()
    for number in (30, 10, 60.01, 20):
        neto_time.call_at(now + number, tell, number)
    neto_time.call_at(now + 60.02, done.set)
    where.set("skipped here")
    contextvars.Context().run(neto_time.skip, 60)
    await done.wait()
    assert [(number, "set here") for number in (10, 20, 30, 60.01)] == said
