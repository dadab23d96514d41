"""A run: what it reads, when it stops, and that every row has its outcome."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from contextlib import suppress
from typing import Any

import pytest

from neto_async import ConfigurationError, CustomerLog, Invalid, NotSent, Rejected
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


@pytest.mark.parametrize("drain_source", [False, True])
async def test_too_many_rejected_stops(store: NetoSandbox, connect: Any, drain_source: Any):
    """Past max_rejected the run stops; with drain_source every row has an outcome, otherwise the rest is not read."""
    store.refuse_when(lambda fields: True)
    rows = ({"Notes": str(number)} for number in range(100))

    outcomes, run = await collect(await connect(store, batch_size=2), rows, drain_source=drain_source, max_rejected=2)

    assert list(range(run.progress.taken)) == sorted(outcome.index for outcome in outcomes)
    assert {Rejected, NotSent} >= {type(outcome) for outcome in outcomes}
    assert 3 <= run.progress.rejected <= 3 + 4 * 2
    assert run.progress.stopped_at is not None
    assert drain_source == (100 == len(outcomes))


async def test_async_source(store: NetoSandbox, connect: Any):
    """An async source is read like a synchronous one."""

    async def rows() -> Any:
        for number in range(5):
            yield CustomerLog(notes=str(number))

    outcomes, run = await collect(await connect(store), rows())

    assert (5, None, 5) == (len(outcomes), run.progress.total, len(store.logs))


async def test_a_run_is_entered_once(store: NetoSandbox, connect: Any):
    """A second block, and a loop outside the block that could get nothing, are refused with a sentence."""
    neto = await connect(store)
    run = neto.import_customer_logs([{"Notes": "a"}, {"Notes": "b"}])
    with pytest.raises(RuntimeError, match="inside the block"):
        await anext(run)
    async with run:
        await anext(run)

    with pytest.raises(RuntimeError, match="only once"):
        await run.__aenter__()
    assert 1 == len(run.unread)
    with pytest.raises(RuntimeError, match="unread"):
        await run.finish()


async def test_what_a_run_shows(store: NetoSandbox, connect: Any):
    """Its repr counts, and holds no text."""
    neto = await connect(store)
    run = neto.import_customer_logs([{"Notes": "secret"}, {"secret": "x"}])
    assert 0.0 == run.progress.seconds
    async with run:
        await run.finish()

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


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_source_that_stops_its_run(store: NetoSandbox, connect: Any, asynchronous: Any):
    """Where reading a row stops the run, that row was not taken."""

    def rows() -> Any:
        yield {"Notes": "a"}
        run.stop()
        yield {"Notes": "b"}

    async def asynchronous_rows() -> Any:
        for row in rows():
            yield row

    neto = await connect(store)
    async with neto.import_customer_logs(asynchronous_rows() if asynchronous else rows()) as run:
        outcomes = [outcome async for outcome in run]

    assert ([NotSent], 1, 1) == ([type(outcome) for outcome in outcomes], run.progress.taken, run.progress.stopped_at)


async def test_a_stopped_run_has_no_time_left(store: NetoSandbox, connect: Any):
    """How long is left is calculated from the quota, and is not said of a run that sends no more."""
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
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await run.finish()

    assert ((), 0, 0, 0) == (run.unread, run.progress.taken, run.progress.stopped_at, store.call_count)


# -- to the end -------------------------------------------------------------------------------------------------------


async def test_finish_runs_an_import_to_its_end(store: NetoSandbox, connect: Any) -> None:
    """`finish` adds all that a loop has left, and says that the import is complete."""
    neto = await connect(store, batch_size=3)

    async with neto.import_customer_logs({"Notes": str(row)} for row in range(50)) as run:
        first = await anext(run)
        before = run.progress
        progress = await run.finish()
        again = await run.finish()

    assert (50, 50, True) == (store.log_count, progress.added, progress.complete)
    assert progress == again == run.progress
    assert (0, False, ()) == (first.index, before.complete, run.unread)


async def test_finish_raises_what_the_source_raises(store: NetoSandbox, connect: Any) -> None:
    """`finish` raises as a loop does, once, and the import is not complete."""

    def rows() -> Any:
        yield {"Notes": "a"}
        raise LookupError

    async with (await connect(store)).import_customer_logs(rows()) as run:
        with pytest.raises(LookupError):
            await run.finish()
        progress = await run.finish()

    assert (1, False) == (progress.added, progress.complete)


async def test_a_block_left_without_a_look_warns(store: NetoSandbox, connect: Any) -> None:
    """A run that nobody iterated over warns at the line of its block, once all is closed; an exception says enough."""
    neto = await connect(store)

    with pytest.warns(RuntimeWarning, match="finish") as warned:
        async with neto.import_customer_logs([{"Notes": "a"}]) as run:
            pass
    with pytest.raises(LookupError):
        async with neto.import_customer_logs([{"Notes": "a"}]):
            raise LookupError

    assert [__file__] == [warning.filename for warning in warned]
    assert (0, run.progress.taken) == (store.log_count, len(run.unread))


async def test_a_run_that_is_dropped_unentered_warns(store: NetoSandbox, connect: Any) -> None:
    """It warns at once, at the line that drops it, with no word of its rows; one that was stopped does not warn."""
    neto = await connect(store)

    with pytest.warns(RuntimeWarning, match="never entered") as warned:
        neto.import_customer_logs([{"Notes": "a customer's text"}])
    neto.import_customer_logs([{"Notes": "a"}]).stop()
    with pytest.raises(RuntimeError, match="inside the block"):
        await anext(neto.import_customer_logs([{"Notes": "a"}]))
    with pytest.raises(TypeError):
        neto.import_customer_logs("no source")
    async with neto.import_customer_logs([{"Notes": "a"}]) as run:
        await run.finish()

    assert [(__file__, False)] == [(warning.filename, "customer" in str(warning.message)) for warning in warned]
    assert 1 == store.log_count


async def test_two_loops_and_two_tasks_share_the_outcomes(store: NetoSandbox, connect: Any) -> None:
    """A second loop goes on where the first ended; of tasks that iterate at once, each outcome goes to one."""
    neto = await connect(store, batch_size=2)

    async with neto.import_customer_logs([{"Notes": str(row)} for row in range(40)]) as run:
        assert aiter(run) is run
        outcomes = []
        async for outcome in run:
            outcomes.append(outcome)
            if len(outcomes) == 5:
                break

        async def take() -> None:
            async for outcome in run:
                outcomes.append(outcome)
                await asyncio.sleep(0)

        await asyncio.gather(take(), take(), take())
        assert None is await anext(run, None)

    assert list(range(40)) == sorted(outcome.index for outcome in outcomes)


async def test_a_complete_run_stays_complete(store: NetoSandbox, connect: Any) -> None:
    """Neither `stop` nor the closing of the client turns a run that has come to its end into a stopped one."""
    neto = await connect(store)

    async with neto.import_customer_logs([{"Notes": "a"}]) as run:
        complete = await run.finish()
        run.stop()
        await neto.aclose()

    assert complete == run.progress
    assert (True, None, None) == (complete.complete, complete.stop_reason, complete.stopped_at)


async def test_a_stopped_run_is_not_complete(store: NetoSandbox, connect: Any) -> None:
    """Though the whole source was read, a run that was stopped is not complete."""
    async with (await connect(store)).import_customer_logs([{"Notes": "a"}, {"Notes": "b"}], drain_source=True) as run:
        run.stop()
        progress = await run.finish()

    assert (2, 2, False) == (progress.taken, progress.not_sent, progress.complete)


async def test_a_total_makes_the_time_left_known(store: NetoSandbox, connect: Any) -> None:
    """A source that has no length gets one by `total`, which goes before a length; a false one does no harm."""
    neto = await connect(store, requests_per_minute=6000, batch_size=1)

    async with neto.import_customer_logs(({"Notes": str(row)} for row in range(3)), total=2) as run:
        left = [run.progress.seconds_left async for _ in run]

    assert (2, True, 0.0) == (run.progress.total, run.progress.complete, run.progress.seconds_left)
    assert all(seconds is not None and seconds >= 0 for seconds in left)
    async with neto.import_customer_logs([], total=7) as run:
        assert 7 == (await run.finish()).total


async def test_the_last_progress_is_reported_once(store: NetoSandbox, connect: Any) -> None:
    """However long a caller stays in the block after the last outcome, a callback gets the final state once."""
    reported: list[Any] = []
    complete = asyncio.Event()

    def show(progress: Any) -> None:
        reported.append(progress)
        if progress.complete:
            complete.set()

    async with (await connect(store)).import_customer_logs([{"Notes": "a"}], on_progress=show) as run:
        await run.finish()
        await complete.wait()
    final = run.progress

    assert [final] == [progress for progress in reported if progress.complete]
    assert final == reported[-1]


@pytest.mark.parametrize("drains", [False, True])
async def test_a_run_that_is_left_hears_no_more_progress(store: NetoSandbox, connect: Any, drains: Any) -> None:
    """The last call of a callback is the one at the end of its block, however the run ended."""
    reported: list[Any] = []
    options = {"on_progress": reported.append, "drain_source": drains}
    async with (await connect(store)).import_customer_logs(iter([{"Notes": "a"}]), **options) as run:
        await anext(run)
        run.stop()
    await asyncio.sleep(0)
    timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]

    assert run.progress == reported[-1]
    assert "_report" not in str(timers)


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="eager tasks came with Python 3.12")
async def test_an_eager_task_factory_changes_nothing(store: NetoSandbox, connect: Any) -> None:
    """Where tasks begin at once, a source is read once its caller has the run, and the last progress is the last."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    neto = await connect(store, batch_size=1, requests_per_minute=1)
    reported: list[Any] = []

    async with neto.import_customer_logs([{"Notes": str(row)} for row in range(3)], on_progress=reported.append) as run:
        assert 0 == run.progress.taken
        await anext(run)
    for _ in range(3):
        await asyncio.sleep(0)
    timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]

    assert (run.progress, 1, 2) == (reported[-1], store.log_count, len(run.unread))
    assert "_report" not in str(timers)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
async def test_a_run_is_not_copied(store: NetoSandbox, connect: Any, way: Any) -> None:
    """A copy of a run is refused with a sentence."""
    async with (await connect(store)).import_customer_logs([]) as run:
        await run.finish()
        with pytest.raises(TypeError, match="can't be copied"):
            way(run)


NOT_POSITIVE = [0, -1, float("nan"), float("inf"), True, "5"]
WRONG = {
    "total": [-1, 1.5, "5", True],
    "max_rejected": [-1, 1.5, "5", True],
    "give_up_after": NOT_POSITIVE,
    "on_progress": [5],
    "journal": [5, b"path"],
    "reports": [5, "folder"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
async def test_arguments_of_a_wrong_kind_are_refused_at_the_call(
    store: NetoSandbox, connect: Any, name: str, value: Any
) -> None:
    """An argument that can't be used is named before anything is opened."""
    neto = await connect(store)
    with pytest.raises(ConfigurationError, match=name):
        neto.import_customer_logs([], **{name: value})
