"""Imports as jobs, on a PostgreSQL server: what the store holds whatever happens to workers, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from procrastinate.exceptions import ConnectorException

from neto_async import ConfigurationError, ImportProgress
from neto_async.integrations import procrastinate as module
from neto_async.integrations.procrastinate import ImportState, ImportStatus, Upload
from neto_async.sandbox import faults

sys.path.append(str(Path(__file__).parent))
from importing import BATCH, make  # tests are no packages

IN_FLIGHT = 2 * BATCH
"""Rows in the calls that can be under way at once."""

PRIVATE = "Jane Roe's " + "complaint"


def others(service: Any, **other: Any) -> Any:
    """Make the imports of another process of the service."""
    return make(service.settings, **other)


async def end(worker: asyncio.Task[None]) -> None:
    worker.cancel()
    with suppress(asyncio.CancelledError):
        await worker


async def taken_over(service: Any) -> ImportStatus:
    """Let the time of a worker that no longer answers pass; another one puts its job back and ends it."""
    service.bury()
    service.lapse()
    app, _ = others(service, put_back_at="* * * * *")
    async with app.open_async():
        worker = service.worker(app)
        status = await service.until(ImportState.ENDED)
        await end(worker)
    assert IN_FLIGHT <= status.progress.unknown <= 2 * IN_FLIGHT
    return status


async def heard(process: asyncio.subprocess.Process, text: bytes) -> None:
    """Wait until a process has logged something."""
    async for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"it ended with {await process.wait()}")


async def in_the_middle(service: Any, answer: asyncio.Event) -> None:
    """Start an import; wait until 11 rows are in the store, and the next ten are held there."""
    service.store.faults.next(None, None, None)
    service.store.faults.always(faults.Late(until=answer))
    await service.imports.start("june", service.upload)
    await service.store.until(lambda: service.store.call_count == 5)


# -- an import --------------------------------------------------------------------------------------------------


async def test_an_upload_is_imported_and_another_process_sees_how_far_it_is(service):
    """Every row is added once; the numbers can be read in a process that is no worker."""
    assert await service.imports.status("june") is None
    await service.imports.start("june", service.upload)
    assert ImportStatus(name="june", state=ImportState.WAITING) == await service.status()
    await service.work()

    app, imports = others(service)
    async with app.open_async():
        (status,) = [status async for status in imports.follow("june")]
    assert (ImportState.ENDED, 30, 30, 30, "") == (
        status.state,
        status.progress.added,
        status.progress.taken,
        status.progress.total,
        status.reason,
    )
    service.check(status)


async def test_starting_twice_is_starting_once(service):
    """A second start changes nothing while a job of the import waits or runs, also where two processes start it."""
    await asyncio.gather(*(service.imports.start("june", service.upload) for _ in range(3)))
    assert [("todo", 0)] == service.jobs()
    answer = asyncio.Event()
    worker = service.worker()
    await in_the_middle(service, answer)
    await service.imports.start("june", service.upload)
    assert [("doing", 0)] == service.jobs()
    answer.set()
    service.check(await service.until(ImportState.ENDED))
    await end(worker)


@pytest.mark.thorough
async def test_a_second_job_waits_for_the_first(service, monkeypatch):
    """Where two processes start an import at once and a worker has the first job already, the second one waits."""
    answer = asyncio.Event()
    worker = service.worker(concurrency=2)
    await in_the_middle(service, answer)

    async def none(*_: object) -> list[object]:
        return []

    with monkeypatch.context() as patch:
        patch.setattr(service.imports, "_jobs", none)
        await service.imports.start("june", service.upload)
    await service.work(concurrency=2)
    assert [("doing", 0), ("todo", 0)] == service.jobs()
    assert ImportState.RUNNING is (await service.status()).state

    answer.set()
    while [("succeeded", 1)] * 2 != service.jobs():
        await service.status()
    await end(worker)
    assert 30 == (await service.status()).progress.replayed
    service.check(await service.status())


async def test_doubt_is_a_result(service):
    """Rows in doubt end no job and are not tried again; the import can be started again, and holds them back."""
    service.store.faults.next(None, faults.Close(saves=True))
    for _ in range(2):
        await service.imports.start("june", service.upload)
        await service.work()
        status = await service.status()
        assert (ImportState.ENDED, 25, BATCH) == (status.state, status.progress.added, status.progress.unknown)
        service.check(status)
    assert 30 == status.progress.replayed


def listeners(service: Any) -> list[int]:
    """Give the processes of the server that tell followers of changes."""
    rows = service.sql(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%neto_async_import%'"
        " AND state = 'idle'"
    )
    return [pid for (pid,) in rows]


async def listening(service: Any, *, other_than: int | None = None) -> int:
    """Wait until followers hear of changes; give the process of the server that tells them."""
    while True:
        pids = listeners(service)
        if pids and pids[0] != other_than:
            return pids[0]
        await asyncio.sleep(0)


def follow(service: Any, name: str = "june") -> tuple[list[ImportStatus], asyncio.Task[None]]:
    """Follow an import in the background; what is seen of it goes into a list."""
    seen: list[ImportStatus] = []

    async def see() -> None:
        async for status in service.imports.follow(name):
            seen.append(status)  # noqa: PERF401 - each as it comes

    return seen, asyncio.create_task(see())


STATES = [ImportState.WAITING, ImportState.RUNNING, ImportState.ENDED]


async def test_followers_hear_of_each_change_until_the_end(service, monkeypatch):
    """Nobody looks again by the clock: each follower gets each status of its own import once, over one connection."""
    monkeypatch.setattr(module, "LOOK_EVERY", 3600)
    await service.imports.start("june", service.upload)
    await service.imports.start("july", service.upload + ".gone")
    followed = [follow(service), follow(service), follow(service, "july")]
    await listening(service)
    while not all(seen for seen, _ in followed):  # noqa: ASYNC110
        await asyncio.sleep(0)
    await service.work()
    for _, follower in followed[:2]:
        await follower
    assert 1 == len(listeners(service))

    assert await service.imports.cancel("july")
    await followed[2][1]
    while listeners(service):  # noqa: ASYNC110
        await asyncio.sleep(0)
    for seen, _ in followed:
        assert len(seen) == len({str(status) for status in seen})
    assert STATES == list(dict.fromkeys(status.state for status in followed[0][0]))
    assert followed[0][0][-1] == followed[1][0][-1] == await service.status()
    assert ImportState.CANCELLED is followed[2][0][-1].state
    assert [] == [status async for status in service.imports.follow("august")]


async def test_a_follower_survives_the_end_of_its_connection(service, monkeypatch):
    """Where the server ends the connection, another one is made, and the rest is heard over it."""
    monkeypatch.setattr(module, "LOOK_EVERY", 3600)
    await service.imports.start("june", service.upload)
    seen, follower = follow(service)
    first = await listening(service)
    service.sql(f"SELECT pg_terminate_backend({first})")
    await listening(service, other_than=first)
    await service.work()
    await follower
    assert STATES == list(dict.fromkeys(status.state for status in seen))


async def test_what_nobody_was_notified_of_is_seen_at_the_next_look(service, monkeypatch):
    """Without notifications, here since the server takes no connection for them, a follower looks by itself."""
    monkeypatch.setattr(module, "LOOK_EVERY", 0.01)

    async def refused(*_: object) -> None:
        raise ConnectorException

    monkeypatch.setattr(service.app.connector, "listen_notify", refused)
    await service.imports.start("june", service.upload)
    seen, follower = follow(service)
    await service.work()
    await follower
    assert ImportState.ENDED is seen[-1].state


async def test_the_tables_can_be_made_again(service):
    """Also by several processes at once, and nothing is lost."""
    await service.imports.start("june", service.upload)
    await service.work()
    before = await service.status()
    app, imports = others(service)
    async with app.open_async():
        await asyncio.gather(service.imports.create_table(), imports.create_table())
    assert before == await service.status()


# -- workers that end -------------------------------------------------------------------------------------------


async def test_a_worker_is_killed(service):
    """After SIGKILL the job is put back, another worker goes on, and what was in flight is in doubt: nothing twice."""
    answer = asyncio.Event()
    first = await service.process()
    await in_the_middle(service, answer)
    first.kill()
    await first.communicate()
    service.store.faults.clear()
    answer.set()

    await taken_over(service)

    status = await service.status()
    assert ImportState.ENDED is status.state
    service.check(status)


async def test_a_worker_is_stopped(service):
    """On SIGTERM the calls under way end, nothing is in doubt, and the job goes back; another worker adds the rest."""
    answer = asyncio.Event()
    first = await service.process()
    await in_the_middle(service, answer)
    first.send_signal(signal.SIGTERM)
    await heard(first, b"Aborting them")
    answer.set()
    await first.communicate()
    assert (0, 5) == (first.returncode, service.store.call_count)
    assert [("todo", 1)] == service.jobs()

    await service.work()

    status = await service.status()
    assert (ImportState.ENDED, 30, 0) == (status.state, status.progress.added, status.progress.unknown)
    assert 21 == status.progress.replayed
    service.check(status)


async def test_a_job_is_delivered_beside_its_first_delivery(service):
    """If a worker is taken for dead too early, the journal refuses the second run, and the first one's counts stay."""
    answer = asyncio.Event()
    first = service.worker()
    await in_the_middle(service, answer)
    app, _ = others(service)
    async with app.open_async():
        service.bury()
        await app.configure_task(module.PUT_BACK).defer_async(timestamp=0)
        await service.work(app)

        status = await service.status()
        assert ImportState.WAITING is status.state
        assert "using the journal june" in status.reason
        assert 5 == service.store.call_count

        answer.set()
        await service.until(ImportState.ENDED)
        await end(first)
        await service.work(app)
    status = await service.status()
    assert (ImportState.ENDED, 30, "") == (status.state, status.progress.added, status.reason)
    service.check(status)


@pytest.mark.thorough
async def test_a_worker_is_suspended_and_taken_over(service):
    """Awake again it sends nothing, changes neither numbers nor state, and settles what it had in flight."""
    answer = asyncio.Event()
    first = await service.process()
    await in_the_middle(service, answer)
    first.send_signal(signal.SIGSTOP)
    service.store.faults.clear()
    answer.set()
    status = await taken_over(service)
    calls = service.store.call_count

    first.send_signal(signal.SIGCONT)
    await heard(first, b"Error, to retry")
    first.terminate()
    await first.communicate()

    assert (calls, status) == (service.store.call_count, await service.status())
    await service.imports.start("june", service.upload)
    await service.work()
    status = await service.status()
    assert (ImportState.ENDED, 30, 0) == (status.state, status.progress.added, status.progress.unknown)
    service.check(status)


async def test_who_was_taken_over_writes_no_progress(service):
    """The numbers are those of the latest delivery, though an earlier one writes after it."""
    await service.imports.start("june", service.upload)
    await service.work()
    (job,) = await service.app.job_manager.list_jobs_async(task=module.TASK)
    late = module._Delivery(service.app, "june", job.evolve(attempts=0))
    late.run = SimpleNamespace(progress=ImportProgress())
    service.sql("UPDATE neto_async_import SET attempt = 1")
    await late.write(reason="late")
    status = await service.status()
    assert (30, "") == (status.progress.added, status.reason)
    late.run = None
    await late.write(reason="late")
    assert status == await service.status()


@pytest.mark.thorough
async def test_a_job_that_ends_worker_after_worker_is_given_up(service):
    """What stalled too often is not put back: it may be what kills the workers."""
    await service.imports.start("june", service.upload)
    service.sql(f"UPDATE procrastinate_jobs SET status = 'doing', attempts = {module.ATTEMPTS}")
    await service.put_back()
    assert ImportState.STOPPED is (await service.status()).state
    await service.imports.start("june", service.upload)
    await service.work()
    assert ImportState.ENDED is (await service.status()).state


# -- cancelling -------------------------------------------------------------------------------------------------


async def test_an_import_is_cancelled(service, caplog):
    """The calls under way end, the rest is not sent, and nothing is in doubt; a new start adds the rest."""
    answer = asyncio.Event()
    worker = service.worker()
    await in_the_middle(service, answer)
    caplog.set_level(logging.DEBUG, "procrastinate")
    assert await service.imports.cancel("june")
    while "Cancelling asyncio task" not in caplog.text:
        await service.status()
    answer.set()
    await service.until(ImportState.CANCELLED)
    assert [("aborted", 1)] == service.jobs()
    assert not await service.imports.cancel("june")
    assert 5 == service.store.call_count

    await service.imports.start("june", service.upload)
    status = await service.until(ImportState.ENDED)
    await end(worker)
    assert (30, 21, 0) == (status.progress.added, status.progress.replayed, status.progress.unknown)
    service.check(status)


@pytest.mark.thorough
async def test_what_no_worker_has_is_cancelled(service):
    """An import that waits is cancelled at once, and one whose worker died as soon as that shows."""
    await service.imports.start("june", service.upload)
    assert await service.imports.cancel("june")
    assert ImportState.CANCELLED is (await service.status()).state
    await service.imports.start("june", service.upload)
    service.sql("UPDATE procrastinate_jobs SET status = 'doing' WHERE status = 'todo'")
    assert await service.imports.cancel("june")
    assert ImportState.RUNNING is (await service.status()).state
    await service.put_back()
    assert ImportState.CANCELLED is (await service.status()).state
    assert 0 == service.store.call_count


# -- trouble ----------------------------------------------------------------------------------------------------


async def test_what_a_person_must_see_to_stops_an_import(service):
    """With a refused key the job fails at once and says why; a new start goes on."""
    service.store.faults.always(faults.RefuseKey())
    await service.imports.start("june", service.upload)
    await service.work()
    status = await service.status()
    assert (ImportState.STOPPED, 0) == (status.state, status.progress.added)
    assert status.reason.startswith("not sent: the store refused the API key")
    assert [("failed", 1)] == service.jobs()

    service.store.faults.clear()
    await service.imports.start("june", service.upload)
    await service.work()
    status = await service.status()
    assert (ImportState.ENDED, "") == (status.state, status.reason)
    service.check(status)


async def test_another_upload_is_refused(service):
    """An import whose upload has changed stops at once, names the row, and sends nothing."""
    await service.imports.start("june", service.upload)
    await service.work()
    service.write(["another row"] * 30)
    await service.imports.start("june", service.upload)
    await service.work()
    status = await service.status()
    assert ImportState.STOPPED is status.state
    assert status.reason.startswith("record 1 of the source (counted from 1) was added by an earlier run")
    assert [("succeeded", 1), ("failed", 1)] == service.jobs()
    assert 30 == len(service.store.logs)


async def test_what_may_pass_is_tried_again_and_not_for_ever(service):
    """A store that can't be reached and an upload that can't be opened are tried again, up to a number of times."""
    await service.imports.start("june", service.upload)
    await service.imports.start("july", service.upload + ".gone")
    await service.store.aclose()
    await service.work()
    for name, reason in (("june", "not sent: the call could not be made"), ("july", "FileNotFoundError")):
        status = await service.status(name)
        assert ImportState.WAITING is status.state
        assert status.reason.startswith(reason)
    waits = "SELECT extract(epoch FROM scheduled_at - now()) FROM procrastinate_jobs"
    assert [True] * 2 == [module.FIRST_WAIT - 3 < wait <= module.FIRST_WAIT for (wait,) in service.sql(waits)]

    service.sql(f"UPDATE procrastinate_jobs SET attempts = {module.ATTEMPTS - 1}")
    service.at_once()
    await service.work()
    assert [True] * 2 == [module.LONGEST_WAIT - 3 < wait <= module.LONGEST_WAIT for (wait,) in service.sql(waits)]
    service.at_once()
    await service.work()
    assert {ImportState.STOPPED} == {(await service.status(name)).state for name in ("june", "july")}


async def test_what_others_say_is_not_passed_on(service, caplog):
    """An error of the program's own source is logged by its class, with where it was raised and none of its text."""
    caplog.set_level(logging.DEBUG)

    @asynccontextmanager
    async def open_upload(reference):
        def rows():
            yield {"Notes": PRIVATE}
            raise ValueError(PRIVATE)

        yield Upload(rows=rows())

    app, imports = others(service, open_upload=open_upload)
    async with app.open_async():
        await imports.start("june", "upload 1")
        await service.work(app)
    status = await service.status()
    assert (ImportState.STOPPED, "ValueError", 1) == (status.state, status.reason, status.progress.added)
    assert "an import broke off: ValueError" in caplog.text
    assert "in rows" in caplog.text
    assert PRIVATE not in caplog.text
    tables = service.sql("SELECT job::text, kept::text FROM procrastinate_jobs AS job, neto_async_import AS kept")
    assert PRIVATE not in str(tables)


@pytest.mark.thorough
async def test_neto_s_words_are_not_written(service, caplog):
    """The store's own words, which can repeat a customer's, are neither in the reason nor in the log."""
    caplog.set_level(logging.DEBUG)
    service.store.faults.always(faults.Refuse(PRIVATE))
    await service.imports.start("june", service.upload)
    await service.work()
    status = await service.status()
    assert (ImportState.STOPPED, None) == (status.state, status.progress.stop_reason)
    assert status.reason.startswith("not sent: the store refuses whole batches")
    assert PRIVATE not in caplog.text + str(service.sql("SELECT neto_async_import::text FROM neto_async_import"))


@pytest.mark.thorough
async def test_an_import_goes_on_where_its_progress_can_t_be_written(service, caplog):
    """Without its table an import runs to its end; the log says so by the class of the error."""
    service.sql("DROP TABLE neto_async_import")
    await service.imports.start("june", service.upload)
    await service.work()
    assert 30 == len(service.saved())
    assert [("succeeded", 1)] == service.jobs()
    assert "the progress of an import could not be written: ConnectorException" in caplog.messages


@pytest.mark.thorough
async def test_a_deleted_job_leaves_what_it_came_to(service):
    """Where workers delete jobs, the table of progress still says whether an import ended."""
    await service.imports.start("june", service.upload)
    await service.imports.start("july", service.upload + ".gone")
    service.sql(f"UPDATE procrastinate_jobs SET attempts = {module.ATTEMPTS}")
    await service.work(delete_jobs="always")
    assert [] == service.jobs()
    assert ImportState.ENDED is (await service.status()).state
    assert ImportState.STOPPED is (await service.status("july")).state


async def test_a_name_that_no_journal_can_have_is_refused(service):
    """A name is checked before there is a job."""
    with pytest.raises(ConfigurationError, match="a journal needs a name"):
        await service.imports.start("", service.upload)


def test_without_procrastinate_an_error_says_what_to_install(monkeypatch):
    """Where the extra is missing, importing the module names it."""
    monkeypatch.setitem(sys.modules, "procrastinate", None)
    monkeypatch.delitem(sys.modules, "neto_async.integrations.procrastinate")
    with pytest.raises(ImportError, match=r'pip install "neto_async\[jobs\]"'):
        __import__("neto_async.integrations.procrastinate")
