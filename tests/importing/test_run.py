"""A run: what it reads, when it stops, and that every row has its outcome."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from neto_async import CustomerLog, Invalid, NotSent, Rejected
from neto_async.sandbox import NetoSandbox


async def collect(neto: Any, source: Any, **options: Any) -> tuple[list[Any], Any]:
    async with neto.import_customer_logs(source, **options) as run:
        return [outcome async for outcome in run], run


async def test_invalid_rows_come_out_and_the_rest_goes_on(store: NetoSandbox, connect: Any):
    """A row that makes no log is Invalid with its mapping as the record, and its neighbours are added."""
    outcomes, run = await collect(await connect(store), [{"Notes": "a"}, {"nope": "x"}, ({"Notes": "b"}, "mine")])

    by_index = {outcome.index: outcome for outcome in outcomes}
    assert (Invalid, {"nope": "x"}, "mine") == (type(by_index[1]), by_index[1].record, by_index[2].context)
    assert (3, 3, 2, 1) == (run.progress.taken, run.progress.total, run.progress.added, run.progress.invalid)


@pytest.mark.parametrize("read_on", [False, True])
async def test_too_many_rejected_stops(store: NetoSandbox, connect: Any, read_on: Any):
    """Past max_rejected the run stops; with read_on every row has an outcome, otherwise the rest is not read."""
    store.refuse_when(lambda fields: True)
    rows = ({"Notes": str(number)} for number in range(100))

    outcomes, run = await collect(await connect(store, batch_size=2), rows, read_on=read_on, max_rejected=2)

    assert list(range(run.progress.taken)) == sorted(outcome.index for outcome in outcomes)
    assert {Rejected, NotSent} >= {type(outcome) for outcome in outcomes}
    assert 3 <= run.progress.rejected <= 3 + 4 * 2
    assert run.progress.stopped_at is not None
    assert read_on == (100 == len(outcomes))


async def test_async_source(store: NetoSandbox, connect: Any):
    """An async source is read like a synchronous one."""

    async def rows() -> Any:
        for number in range(5):
            yield CustomerLog(notes=str(number))

    outcomes, run = await collect(await connect(store), rows())

    assert (5, None, 5) == (len(outcomes), run.progress.total, len(store.logs))


async def test_a_run_is_entered_once(store: NetoSandbox, connect: Any):
    """A second block, and a loop outside the block, are refused with a sentence."""
    neto = await connect(store)
    run = neto.import_customer_logs([])
    with pytest.raises(RuntimeError, match="inside the block"):
        await anext(aiter(run))
    async with run:
        pass

    with pytest.raises(RuntimeError, match="only once"):
        await run.__aenter__()


async def test_what_a_run_shows(store: NetoSandbox, connect: Any):
    """Its repr counts, and holds no text."""
    _, run = await collect(await connect(store), [{"Notes": "secret"}, {"secret": "x"}])

    assert "ImportRun(taken=2, finished=2)" == repr(run)


async def test_a_client_that_is_halted(store: NetoSandbox, connect: Any):
    """Where the key was refused before, nothing is read, and the run says why it stopped."""
    neto = await connect(store, api_key="wrong")
    await collect(neto, [{"Notes": "a"}])

    outcomes, run = await collect(neto, iter([{"Notes": "b"}]))

    assert ([], 0, 0, 1) == (outcomes, run.progress.taken, run.progress.stopped_at, store.call_count)
    assert run.progress.stop_reason


async def test_a_source_that_is_cancelled(store: NetoSandbox, connect: Any):
    """A cancellation that comes out of the source itself is raised like any other of its errors."""

    async def rows() -> Any:
        yield {"Notes": "a"}
        raise asyncio.CancelledError("from below")

    with pytest.raises(asyncio.CancelledError, match="from below"):
        await collect(await connect(store), rows())

    assert ["a"] == [log.notes for log in store.logs]


async def test_a_source_that_stops_its_run(store: NetoSandbox, connect: Any):
    """Where reading a row stops the run, that row was not taken."""

    def rows() -> Any:
        yield {"Notes": "a"}
        run.stop()
        yield {"Notes": "b"}

    neto = await connect(store)
    async with neto.import_customer_logs(rows()) as run:
        outcomes = [outcome async for outcome in run]

    assert ([NotSent], 1, 1) == ([type(outcome) for outcome in outcomes], run.progress.taken, run.progress.stopped_at)


async def test_a_stopped_run_has_no_time_left(store: NetoSandbox, connect: Any):
    """How long is left is reckoned from the quota, and is not said of a run that sends no more."""
    neto = await connect(store, requests_per_minute=60, batch_size=1)

    async with neto.import_customer_logs([{"Notes": str(row)} for row in range(5)]) as run:
        await anext(aiter(run))
        left = run.progress.seconds_left
        run.stop()

    assert left is not None
    assert (True, None) == (0 < left < 60, run.progress.seconds_left)


class SlowJournal:
    """Knows nothing, and says so only when it may."""

    identity = "mine"
    salt = bytes(16)

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()

    def open(self, store: str) -> None:
        pass

    def known(self) -> Any:
        return self._rows()

    def _rows(self) -> Any:
        self.asked.set()
        self.may_answer.wait()
        yield from ()

    def write(self, entries: Any) -> None:
        pass

    def finish(self, rows: int) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize("stops", [False, True])
async def test_leaving_while_a_row_is_looked_up(store: NetoSandbox, connect: Any, stops: Any):
    """A row that is being looked up in the journal when its caller leaves was never taken, and nothing waits for it."""
    journal = SlowJournal()
    async with (await connect(store)).import_customer_logs([{"Notes": "a"}], journal=journal) as run:
        await asyncio.to_thread(journal.asked.wait)
        if stops:
            run.stop()
        asyncio.get_running_loop().call_soon(journal.may_answer.set)

    assert ((), 0, 0, 0) == (run.unread, run.progress.taken, run.progress.stopped_at, store.call_count)
