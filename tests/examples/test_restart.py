"""Each service ended in the middle of an import, and started again; the law is that of `served.check`."""

from __future__ import annotations

import asyncio
import signal
from contextlib import aclosing
from typing import Any

import pytest
import served
from served import ServiceProcess, saved, table

from neto_async.sandbox import NetoSandbox, faults

ROWS = 1200


async def began(service: ServiceProcess, store: NetoSandbox, logs: int = 201) -> str:
    """Begin an import, and wait until it is in the middle."""
    job = (await service.upload("calls.csv", table(ROWS))).json()["id"]
    async with asyncio.timeout(30):
        await store.until(lambda: store.log_count >= logs)
    assert store.log_count < ROWS
    return job


async def check(service: ServiceProcess, store: NetoSandbox, job: str) -> set[str]:
    """Watch an import to its end and hold it to the law; give the rows in doubt."""
    status = await service.settled(job)
    assert status["progress"]["replayed"] > 0
    return await served.check(service.http, status, store, ROWS)


async def test_a_restart_goes_on(process, store):
    """At SIGTERM no more rows are taken and what is under way is awaited: nothing is in doubt afterwards."""
    job = await began(process, store)
    code = await process.end(signal.SIGTERM)
    left = ROWS - store.log_count
    assert left > 0

    await process.start()
    assert set() == await check(process, store, job)

    assert code in {0, -signal.SIGTERM}
    assert not [line for line in process.said if "Traceback" in line or "ERROR" in line]


@pytest.mark.thorough
async def test_a_restart_awaits_the_call_under_way(process, store):
    """A call that the store answers only after SIGTERM is awaited, and its rows are known to be added."""
    answered = asyncio.Event()
    job = (await process.upload("calls.csv", table(ROWS), start=False)).json()["id"]
    store.faults.next(None, faults.Late(until=answered))
    await process.http.post(f"/imports/{job}/start")
    async with asyncio.timeout(30):
        await store.until(lambda: any(call.fault is not None for call in store.calls))

    ending = asyncio.create_task(process.end(signal.SIGTERM))
    async with asyncio.timeout(30):
        await process.stopped_taking()
    answered.set()
    await ending

    await process.start()
    assert set() == await check(process, store, job)


@pytest.mark.thorough
async def test_a_page_that_watches_does_not_hold_the_server(process, store):
    """At SIGTERM the event stream ends by itself, with the import still running, and no request is cancelled."""
    job = await began(process, store)
    async with asyncio.timeout(30), aclosing(process.statuses(job)) as statuses:
        await anext(statuses)
        ending = asyncio.create_task(process.end(signal.SIGTERM))
        last = [status async for status in statuses][-1]
    await ending

    assert "running" == last["state"]
    assert not [line for line in process.said if "Cancel" in line]


@pytest.mark.thorough
async def test_waiting_handlers_are_answered_at_the_end(process, store):
    """Of handlers whose logs wait at SIGTERM, here for a pause, each learns in time that its log was not sent."""

    async def health(name: str) -> Any:
        return (await process.http.get("/health")).json()[name]

    def handler() -> asyncio.Task[Any]:
        return asyncio.create_task(process.http.post("/customers/ann/logs", json={"notes": "waits"}))

    store.faults.next(faults.TooManyCalls(60))
    handlers = [handler()]
    async with asyncio.timeout(30):
        while await health("waiting_on") != "pause":
            pass
        handlers += [handler() for _ in range(29)]
        while await health("waiting_single") < 30:
            pass
    await process.end(signal.SIGTERM)
    answers = await asyncio.gather(*handlers)

    assert {(503, "not_sent")} == {(answer.status_code, answer.json()["fate"]) for answer in answers}
    assert 0 == store.log_count
    assert not [line for line in process.said if "Traceback" in line or "ERROR" in line]


@pytest.mark.thorough
async def test_a_call_that_never_ends_is_in_doubt_by_name(process, store):
    """Where the store does not answer within the grace, the server ends all the same, and names those rows."""
    job = (await process.upload("calls.csv", table(ROWS), start=False)).json()["id"]
    store.faults.next(None, faults.Silence())
    await process.http.post(f"/imports/{job}/start")
    async with asyncio.timeout(30):
        await store.until(lambda: any(call.fault is not None for call in store.calls))
    await process.end(signal.SIGTERM)

    await process.start()
    assert 100 == len(await check(process, store, job))


@pytest.mark.thorough
@pytest.mark.parametrize("saves_first", [True, False])
async def test_a_killed_service_names_what_is_in_doubt(process, store, saves_first):
    """After kill -9 the rows of calls that had no answer are in doubt, whether the store saved them or not."""
    job = (await process.upload("calls.csv", table(ROWS), start=False)).json()["id"]
    held: Any = faults.Late(until=asyncio.Event(), saves_first=saves_first)
    store.faults.next(None, None, held)
    await process.http.post(f"/imports/{job}/start")
    async with asyncio.timeout(30):
        await store.until(lambda: any(call.fault is not None for call in store.calls) and store.log_count > 500)
    assert -signal.SIGKILL == await process.end(signal.SIGKILL)

    await process.start()
    in_doubt = await check(process, store, job)

    assert len(in_doubt) >= 100
    assert (saved(store).keys() >= in_doubt) is saves_first


@pytest.mark.thorough
async def test_killed_again_and_again(process, store):
    """Three kills at whatever instant, and the law holds."""
    job = await began(process, store)
    for _ in range(3):
        await process.end(signal.SIGKILL)
        logs = store.log_count
        await process.start()
        async with asyncio.timeout(30):
            await store.until(lambda logs=logs: store.log_count > logs)

    await check(process, store, job)
