"""Flushing and closing: every drain has a deadline, and says what is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scripted import Network, answers, client, logs, never_leaves, saves
from virtual import run

from neto_async import Added, ConfigurationError, CustomerLog, DrainReport, NotSentError
from neto_async.outcomes import NotSentCause


def adds(neto: Any, count: int) -> list[Any]:
    return [asyncio.ensure_future(neto.add_customer_log(log)) for log in logs(count)]


def test_closing_has_a_deadline_and_says_what_is_left():
    """Past its deadline a close gives up what waits, and counts apart what calls still carry."""
    network = Network(latency=100.0)

    async def work() -> Any:
        neto = client(network, batch_size=2, max_concurrency=1)
        tasks = adds(neto, 5)
        await asyncio.sleep(1)
        report = await neto.aclose(timeout=10.0)
        waiting = [type(task.exception()).__name__ for task in tasks[2:]]
        again = await neto.aclose(timeout=1.0)
        await asyncio.wait(tasks)
        return report, waiting, again

    report, waiting, again = run(work)
    assert DrainReport(drained=False, left_in_flight=2, left_waiting=3, seconds=10.0) == report == again
    assert ["NotSentError"] * 3 == waiting
    assert network.closed


def test_closing_what_is_idle_takes_no_time():
    """Nothing submitted: a close is drained at once."""

    async def work() -> Any:
        return await client(Network()).aclose()

    assert DrainReport(drained=True, seconds=0.0) == run(work)


def test_closing_logs_what_is_left(caplog):
    """What a close leaves behind is logged with its counts, and a drained one logs nothing."""

    async def work(timeout: float) -> None:  # noqa: ASYNC109
        neto = client(Network(latency=100.0), batch_size=2, max_concurrency=1)
        tasks = adds(neto, 3)
        await asyncio.sleep(1)
        await neto.aclose(timeout=timeout)
        await asyncio.gather(*tasks, return_exceptions=True)

    run(lambda: work(1000.0))
    assert [] == caplog.records
    run(lambda: work(10.0))
    (record,) = (record for record in caplog.records if "closed with" in record.getMessage())
    assert (2, 1) == (record.neto_in_flight, record.neto_not_sent)


@pytest.mark.parametrize(
    ("timeout", "left"),
    [(None, (True, 0, 0)), (1000.0, (True, 0, 0)), (10.0, (False, 2, 3)), (100.5, (False, 2, 1))],
)
def test_flush_says_what_is_left_at_its_deadline(timeout, left):
    """A flush covers what was submitted before; at its deadline it counts what is left, and nothing is given up."""
    network = Network(latency=100.0)

    async def work() -> Any:
        async with client(network, batch_size=2, max_concurrency=1, timeout=1_000.0, give_up_after=10_000.0) as neto:
            tasks = adds(neto, 5)
            await asyncio.sleep(0)
            report = await neto.flush(timeout=timeout)
            if timeout is not None and not report.drained:
                assert timeout == report.seconds
            assert [Added] * 5 == [type(added) for added in await asyncio.gather(*tasks)]
            return report.drained, report.left_in_flight, report.left_waiting

    assert left == run(work)


def test_flush_does_not_wait_for_what_comes_later():
    """What is submitted after a flush began does not hold it."""
    network = Network(latency=10.0)

    async def work() -> Any:
        async with client(network) as neto:
            first = adds(neto, 1)
            await asyncio.sleep(0)
            flush = asyncio.ensure_future(neto.flush())
            await asyncio.sleep(5)
            later = adds(neto, 1)
            report = await flush
            await asyncio.gather(*first, *later)
            return report.drained, report.seconds

    assert (True, 10.0) == run(work)


@pytest.mark.parametrize(("timeout", "expected"), [(None, (True, 0, 0)), (5000.0, (True, 0, 0)), (40.0, (False, 2, 4))])
def test_flush_waits_for_a_bulk_add_to_its_last_row(timeout, expected):
    """Rows that a bulk add has not read yet were submitted too; past its deadline a flush counts those read."""
    network = Network(latency=10.0)

    async def work() -> Any:
        async with client(network, batch_size=2, max_concurrency=1) as neto:
            bulk = asyncio.ensure_future(neto.add_customer_logs(logs(41)))
            await asyncio.sleep(0)
            report = await neto.flush(timeout=timeout)
            assert 41 == len((await bulk).added)
            return report.drained, report.left_in_flight, report.left_waiting

    assert expected == run(work)


def test_closing_waits_for_a_bulk_add_no_longer_than_its_deadline():
    """A bulk add that can't finish before the deadline of a close ends as NotSent from there on."""
    network = Network(latency=10.0)

    async def work() -> Any:
        neto = client(network, batch_size=2, max_concurrency=1)
        bulk = asyncio.ensure_future(neto.add_customer_logs(logs(41)))
        await asyncio.sleep(0)
        report = await neto.aclose(timeout=35.0)
        outcomes = (await bulk).outcomes
        return report.drained, [type(outcome).__name__ for outcome in outcomes].count("NotSent") > 30, len(outcomes)

    assert (False, True, 41) == run(work)


def test_what_comes_back_unsaved_after_the_deadline_is_not_sent_again():
    """A call that comes back unsaved once the client has given up sends nothing more, and its log is NotSent."""

    async def late(network: Network, body: Any) -> Any:
        await asyncio.sleep(50)
        return await never_leaves(network, body)

    network = Network()
    network.script += [late, late]

    async def work() -> Any:
        neto = client(network)
        (task,) = adds(neto, 1)
        bulk = asyncio.ensure_future(neto.add_customer_logs(logs(1)))
        await asyncio.sleep(1)
        await neto.aclose(timeout=10.0)
        with pytest.raises(NotSentError) as raised:
            await task
        return raised.value.fate.cause, [outcome.cause for outcome in (await bulk).not_sent]

    assert (NotSentCause.CLOSED, [NotSentCause.CLOSED]) == run(work)
    assert 2 == network.tried


def test_a_run_that_is_stopped_sends_no_piece_again():
    """Where a run is stopped while a call is under way, what comes back unsaved is NotSent."""
    network = Network(latency=10.0)
    network.script += [saves, answers(429, retry_after="1")]

    async def work() -> Any:
        async with client(network, batch_size=2, max_concurrency=1) as neto:
            async with neto.import_customer_logs(logs(9)) as imported:
                outcomes = [await anext(aiter(imported))]
                await asyncio.sleep(5)
                imported.stop()
                imported.stop()
                outcomes += [outcome async for outcome in imported]
            return sorted((outcome.index, type(outcome).__name__) for outcome in outcomes), imported.progress

    outcomes, progress = run(work)
    assert [(0, "Added"), *((index, "NotSent") for index in range(1, progress.taken))] == outcomes
    assert (2, "the program stopped the run") == (network.tried, progress.stop_reason)


def test_one_of_two_runs_may_leave():
    """A run that ends takes nothing from another, and leaving twice is harmless."""
    network = Network()

    async def work() -> Any:
        async with client(network, batch_size=2) as neto, neto.import_customer_logs(logs(30)) as long:
            async with neto.import_customer_logs(logs(2)) as short:
                assert 2 == len([outcome async for outcome in short])
            await short.__aexit__(None, None, None)
            return len([outcome async for outcome in long])

    assert 30 == run(work)


def test_a_closed_client_leaves_no_timer_behind():
    """A pause of a day that the store asked for does not hold a closed client for a day."""

    async def work() -> Any:
        neto = client(Network(always=answers(429, Retry_After="80000")), give_up_after=100_000.0)
        (adding,) = adds(neto, 1)
        await asyncio.sleep(1)
        await neto.aclose(timeout=0.0)
        await asyncio.wait([adding])
        return [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]

    assert [] == run(work)


class SlowToNote:
    """Notes a call after a minute."""

    async def intend(self, call: int, records: Any) -> bool:
        await asyncio.sleep(60.0)
        return True

    def may_leave(self) -> bool:
        return True

    def ended(self, call: int) -> None:
        pass


def test_what_is_noted_after_the_end_does_not_leave():
    """A call that is still being written down when closing gives up never reaches the connections."""
    network = Network()

    async def work() -> Any:
        neto = client(network)
        async with neto.import_customer_logs(logs(1)) as run:
            run._lane.write_ahead = SlowToNote()
            await asyncio.sleep(1.0)
            await neto.aclose(timeout=0.0)
            return [outcome async for outcome in run]

    (outcome,) = run(work)
    assert (0, NotSentCause.CLOSED) == (network.tried, outcome.cause)


# -- wherever it is called --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drain", ["flush", "aclose"])
def test_draining_in_the_loop_over_a_run_ends(drain):
    """Called by the loop that takes an import's outcomes, which its rows wait for, a drain without a deadline ends."""
    network = Network(latency=1.0)

    async def work() -> Any:
        async with client(network, batch_size=1, max_concurrency=1) as neto:
            async with neto.import_customer_logs({"Notes": str(row)} for row in range(30)) as imported:
                await anext(imported)
                await asyncio.sleep(10)  # the run has as many outcomes as it may hold, and reads no more
                (single,) = adds(neto, 1)
                await asyncio.sleep(0)
                await getattr(neto, drain)(timeout=None)
                saved = len(network.ledger)
                progress = await imported.finish()
            return Added is type(await single), saved < 10, progress.added, progress.complete

    done, early, added, complete = run(work)
    assert (True, True) == (done, early)
    assert ((30, True) if drain == "flush" else (added, False)) == (added, complete)


def test_a_flush_waits_for_an_imports_calls_under_way():
    """What an import's call carries has its outcome after a flush; what waits to be sent may wait on."""
    network = Network(latency=10.0)

    async def work() -> Any:
        async with client(network, batch_size=2) as neto, neto.import_customer_logs(logs(9)) as imported:
            await asyncio.sleep(1)
            report = await neto.flush()
            return report, imported.progress.finished, (await imported.finish()).added

    report, finished, added = run(work)
    assert (True, 9.0, 1, 9) == (report.drained, report.seconds, finished, added)


@pytest.mark.parametrize("drain", ["flush", "aclose"])
def test_the_source_of_a_bulk_add_may_drain(drain):
    """A source that waits for a drain is not waited for by it, even where two bulk adds do so at once."""

    async def work() -> Any:
        neto = client(Network())

        async def source() -> Any:
            yield CustomerLog(notes="a")
            await getattr(neto, drain)(timeout=None)
            yield CustomerLog(notes="b")

        reports = await asyncio.gather(neto.add_customer_logs(source()), neto.add_customer_logs(source()))
        await neto.aclose()
        return [[type(outcome) for outcome in report.outcomes] for report in reports]

    outcomes = run(work)
    assert [2, 2] == [len(of_one) for of_one in outcomes]
    assert drain == "aclose" or {Added} == {*outcomes[0], *outcomes[1]}


@pytest.mark.parametrize("timeout", ["3", float("nan"), float("inf"), -1, True, [], -0.5])
@pytest.mark.parametrize("drain", ["flush", "aclose"])
def test_a_timeout_that_is_none_closes_nothing(drain, timeout):
    """A deadline that is no number is refused with its name, and the client stays as it is."""
    network = Network()

    async def work() -> Any:
        async with client(network) as neto:
            with pytest.raises(ConfigurationError, match="timeout"):
                await getattr(neto, drain)(timeout=timeout)
            assert not network.closed
            return await asyncio.gather(*adds(neto, 1))

    (added,) = run(work)
    assert (1, True) == (added.log_id, network.closed)


def test_closing_without_a_deadline_waits_as_long_as_records_may():
    """`aclose(None)` waits for a log as long as its own give_up_after."""
    network = Network(always=never_leaves)

    async def work() -> Any:
        neto = client(network, give_up_after=500.0)
        (adding,) = adds(neto, 1)
        await asyncio.sleep(0)
        report = await neto.aclose(None)
        return report.drained, report.seconds > 400, type(adding.exception())

    assert (True, True, NotSentError) == run(work)


@pytest.mark.parametrize("turn", range(12))
@pytest.mark.parametrize("again", [False, True])
def test_closing_survives_a_cancellation_of_all_tasks(turn, again):
    """In whichever turn all tasks are cancelled, as at a shutdown: connections close, and a later close says so."""
    network = Network(latency=100.0)

    async def work() -> Any:
        neto = client(network, max_concurrency=1, batch_size=1)
        tasks = [*adds(neto, 2), asyncio.ensure_future(neto.add_customer_logs(logs(3)))]
        await asyncio.sleep(1)
        closing = asyncio.ensure_future(neto.aclose(timeout=5.0))
        for _ in range(turn):
            await asyncio.sleep(0)
        for _ in range(1 + again):
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait({closing, *tasks})
        return closing.cancelled(), await neto.aclose(), network.closed

    cancelled, report, closed = run(work)
    assert (True, True) == (cancelled, closed)
    assert 6.0 > report.seconds


@pytest.mark.parametrize("turn", range(10))
def test_leaving_a_run_survives_a_cancellation_of_all_tasks(turn):
    """In whichever turn all tasks are cancelled, a run that is left ends, with an outcome for each row it took."""
    network = Network(latency=0)

    async def work() -> Any:
        async with client(network, batch_size=2) as neto:
            imported = neto.import_customer_logs(logs(20))

            async def take() -> None:
                async with imported:
                    await anext(imported)

            taking = asyncio.ensure_future(take())
            for _ in range(6 + turn):
                await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.wait({taking})
            return imported

    imported = run(work)
    assert imported.progress.taken == imported.progress.finished
    assert imported.progress.finished - len(imported.unread) in {0, 1}
