"""Rows in doubt of an import that has ended: read back, and the import goes on with what is proven absent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from served import Service, lose, notes_in, pieces, saved, settling_in, table

from examples.embedded import EmbeddedImports, Job
from examples.imports import RefusedError, State
from neto_async.sandbox import NetoSandbox, faults

ROWS = 250  # a call with one, two with a hundred, and one with the rest


async def in_doubt(service: Service, store: NetoSandbox, lost: Mapping[int, bool]) -> str:
    """Import rows while the answers of the calls with some of them are lost, to the end."""
    lose(store, lost)
    job: str = (await service.upload("calls.csv", table(ROWS))).json()["id"]
    status = await service.settled(job)
    store.faults.clear()
    assert ("ended", 100 * len(lost), None) == (status["state"], status["progress"]["unknown"], status["settling"])
    return job


async def settle(service: Service, job: str, **options: Any) -> dict[str, Any]:
    answer = await service.http.post(f"/imports/{job}/settle", params=options)
    assert (202, "settling") == (answer.status_code, answer.json()["state"])
    return await service.settled(job)


async def test_rows_in_doubt_are_settled_and_what_is_absent_is_sent(service, store):
    """The settling adds nothing; after a start each row is in the store once, and no report has a row in doubt."""
    job = await in_doubt(service, store, {1: True, 101: False})
    before = store.log_count

    status = await settle(service, job, sole_writer="true")
    assert ("stopped", 100, 100, 0) == settling_in(status)
    assert ([], "", 200) == tuple(status["settling"][name] for name in ("rows", "error", "looked_at"))
    assert (150, 100, 0) == tuple(status["progress"][name] for name in ("added", "not_sent", "unknown"))
    assert before == store.log_count
    assert "go on to send them" in status["reason"]

    await service.http.post(f"/imports/{job}/start")
    assert ("ended", ROWS) == ((status := await service.settled(job))["state"], status["progress"]["added"])
    assert Counter({f"row {row}": 1 for row in range(ROWS)}) == saved(store)
    assert [] == await notes_in(service.http, job, "unknown.csv")
    assert ROWS == len(set(await notes_in(service.http, job, "added.csv")))


@pytest.mark.thorough
async def test_what_stays_in_doubt_has_its_reason(service, store):
    """Without the guarantee a text that is found proves nothing: lines, reasons and ids to look at are there."""
    job = await in_doubt(service, store, {1: True})

    status = await settle(service, job)

    assert ("ended", 0, 0, 100) == settling_in(status)
    ids = {log.log_id: log.notes for log in store.logs}
    assert 20 == len(status["settling"]["rows"])
    for row in status["settling"]["rows"]:
        assert row["reason"]
        assert row["missing"]
        assert f"row {row['line'] - 2}" in {ids[log_id] for log_id in row["candidates"]}
    assert ("ended", 100, 0, 0) == settling_in(await settle(service, job, sole_writer="true"))


@pytest.mark.thorough
async def test_where_all_were_added_the_reports_say_so(service, store):
    """Nothing is left to be sent, so nobody has to go on with it."""
    job = await in_doubt(service, store, {1: True})

    assert ("ended", 100, 0, 0) == settling_in(await settle(service, job, sole_writer="true"))

    assert [] == await notes_in(service.http, job, "unknown.csv")
    assert ROWS == len(set(await notes_in(service.http, job, "added.csv")))
    assert Counter({f"row {row}": 1 for row in range(ROWS)}) == saved(store)


@pytest.mark.thorough
async def test_a_settling_that_broke_off_is_reported_and_can_be_repeated(service, store):
    """Here the store refuses to give customers; the job is as it was."""
    job = await in_doubt(service, store, {1: False})
    store.faults.next(faults.Refuse())

    status = await settle(service, job)
    assert ("ended", 0, 0, 100) == settling_in(status)
    assert "refused" in status["settling"]["error"]

    assert ("stopped", 0, 100, 0) == settling_in(await settle(service, job, sole_writer="true"))


async def test_only_what_has_ended_in_doubt_can_be_settled(service, store):
    """Neither what was not started, nor what has no doubt; and there is no import of another name."""
    ready = (await service.upload("calls.csv", table(3), start=False)).json()["id"]
    assert 409 == (await service.http.post(f"/imports/{ready}/settle")).status_code
    await service.http.post(f"/imports/{ready}/start")
    await service.settled(ready)
    calls = store.call_count

    assert 409 == (await service.http.post(f"/imports/{ready}/settle")).status_code
    for what in ("settle", "start", "cancel"):
        assert 404 == (await service.http.post(f"/imports/0123456789abcdef/{what}")).status_code
    assert 404 == (await service.http.get("/imports/0123456789abcdef/events")).status_code
    assert 409 == (await service.http.post(f"/imports/{ready}/cancel")).status_code
    assert calls == store.call_count


# -- while it waits, and after a restart ----------------------------------------------------------------------------


async def last(imports: EmbeddedImports, job: Job) -> dict[str, Any]:
    async with asyncio.timeout(20):
        return [status async for status in imports.follow(job.id)][-1]


@pytest.fixture
async def waiting(store: NetoSandbox, connect: Any, tmp_path: Path) -> tuple[EmbeddedImports, Job]:
    """Begin a settling that waits for an hour."""
    imports = EmbeddedImports(await connect(store), tmp_path, settle_after=3600)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces(table(ROWS)))]
    lose(store, {1: True, 101: False})
    await imports.start(job.id)
    await last(imports, job)
    store.faults.clear()
    await imports.settle(job.id, sole_writer=True)
    return imports, job


async def test_one_thing_at_a_time_for_a_job(store, waiting):
    """While it is settled it is neither started nor deleted, and a second wish to settle it changes nothing."""
    imports, job = waiting
    settling, calls = job.settling, store.call_count

    await imports.settle(job.id)
    await imports.start(job.id)

    assert ("settling", settling, calls) == (job.status["state"], job.settling, store.call_count)
    with pytest.raises(RefusedError, match="not ended"):
        await imports.remove(job.id)
    await imports.aclose()


async def test_a_settling_goes_on_in_the_next_process(store, connect, tmp_path, waiting):
    """The end of a process ends the waiting at once, and the next begins it again with the same guarantee."""
    imports, job = waiting
    async with asyncio.timeout(10):
        await imports.aclose(timeout=60)

    later = EmbeddedImports(await connect(store), tmp_path, settle_after=0)
    await later.resume()
    assert ("stopped", 100, 100, 0) == settling_in(await last(later, later.jobs[job.id]))


async def test_what_was_proven_before_a_crash_counts(store, connect, tmp_path, waiting):
    """A process that dies after all was noted, and before that was written down, loses none of it."""
    imports, job = waiting
    await imports.aclose()
    neto = await connect(store)
    source = [{"Notes": f"row {row}", "Username": "ann"} for row in range(ROWS)]
    proven = await neto.reconcile(journal=job.folder / "journal", source=source, sole_writer=True, settle_after=0)
    assert (100, 100) == (len(proven.added), len(proven.not_sent))

    later = EmbeddedImports(neto, tmp_path, settle_after=0)
    await later.resume()
    taken_up = later.jobs[job.id]
    assert ("stopped", 100, 100, 0) == settling_in(await last(later, taken_up))
    await later.start(taken_up.id)
    assert "ended" == (await last(later, taken_up))["state"]
    assert Counter({f"row {row}": 1 for row in range(ROWS)}) == saved(store)


async def test_a_settling_waits_until_the_end_is_written_down(store, connect, tmp_path, slow_saves):
    """Who sees that an import has ended can settle it, however long the disk takes."""
    writing, may_write = slow_saves(State.ENDED)
    lose(store, {1: True})
    imports = EmbeddedImports(await connect(store), tmp_path, settle_after=3600)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces(table(ROWS)))]
    await imports.start(job.id)
    async with asyncio.timeout(20):
        await writing.wait()

    settling = asyncio.create_task(imports.settle(job.id))
    await asyncio.sleep(0)
    may_write.set()
    await settling

    assert "settling" == job.status["state"]
    await imports.aclose()


async def test_a_settling_that_cant_be_written_down_is_refused(store, connect, tmp_path, monkeypatch):
    """With a full disk nothing is read back, and the job can be started again."""
    imports = EmbeddedImports(await connect(store), tmp_path, settle_after=0)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces(table(ROWS)))]
    lose(store, {1: True})
    await imports.start(job.id)
    await last(imports, job)
    store.faults.clear()
    calls = store.call_count

    def full(_: Job) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Job, "save", full)
        with pytest.raises(RefusedError, match="No space left"):
            await imports.settle(job.id)

    assert ("stopped", calls) == ((await last(imports, job))["state"], store.call_count)
    await imports.start(job.id)
    assert ("ended", 100) == ((status := await last(imports, job))["state"], status["progress"]["unknown"])
