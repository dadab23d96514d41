"""Imports that survive the process, without a web framework: in one process that forgets, into a real store."""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from served import pieces

from examples import imports as examples_imports
from examples.embedded import EmbeddedImports, Job
from examples.imports import RefusedError, State, mapping_for
from examples.uploads import Limits
from neto_async.importing import ColumnMapping
from neto_async.sandbox import faults

MAPPING = ColumnMapping(timezone="Australia/Sydney")


def table(rows: Iterable[int]) -> str:
    return "Notes,Username,Colour\n" + "".join(f"row {row},ann,blue\n" for row in rows)


async def settled(imports: EmbeddedImports, job: Job) -> dict[str, Any]:
    """Give the last status that a watcher sees."""
    async with asyncio.timeout(20):
        return [status async for status in imports.follow(job.id)][-1]


def report(job: Job, name: str) -> list[dict[str, str]]:
    path = job.report(name)
    assert path is not None
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


async def test_an_upload_is_looked_through_before_anything_is_sent(store, connect, tmp_path):
    """The preview names columns, samples and faults; no call is made, and the file is what was sent in pieces."""
    imports = EmbeddedImports(await connect(store), tmp_path / "jobs")
    await imports.resume()
    text = table(range(5)) + f"{'x' * 4},{'far too long for a user name' * 2},red\n"

    job = imports.jobs[await imports.add("calls.csv", pieces(text[:31], text[31:]), MAPPING)]

    preview = await imports.preview(job.id)
    assert (6, 5) == (preview["rows"], preview["valid"])
    assert {"notes": ["Notes"], "username": ["Username"]} == preview["columns"]
    assert ["Colour"] == preview["ignored"]
    assert {"notes": "row 0", "username": "ann"} == preview["samples"][0]
    assert 1 == len(preview["faults"])
    assert "line 7" in preview["faults"][0]
    assert "ready" == job.status["state"]
    assert 0 == store.call_count
    assert text == (job.folder / "upload").read_text(encoding="utf-8")


async def test_an_import_comes_to_its_end_with_reports(store, connect, tmp_path):
    """Every row has its outcome in the counts and in one of the reports, and the store holds each added one once."""
    store.refuse_when(lambda fields: fields["Notes"] == "row 3")
    imports = EmbeddedImports(await connect(store), tmp_path)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces(table(range(8))), MAPPING)]

    await imports.start(job.id)
    status = await settled(imports, job)

    assert "ended" == status["state"]
    assert (7, 1, 8) == (status["progress"]["added"], status["progress"]["rejected"], status["progress"]["total"])
    assert ["added.csv", "rejected.csv", "unknown.csv", "not_sent.csv"] == status["reports"]
    assert {"row 3"} == {row["Notes"] for row in report(job, "rejected.csv")}
    assert Counter({f"row {row}": 1 for row in range(8) if row != 3}) == Counter(log.notes for log in store.logs)
    await imports.aclose()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("calls.csv", "Colour,Size\nred,2\n"),
        ("calls.pdf", "%PDF-1.7"),
        ("calls.csv", b"\x00\x01\x02\xff" * 50),
        ("calls.csv", ""),
    ],
)
async def test_a_file_that_is_none_is_refused_whole(store, connect, tmp_path, name, content):
    """What can't be imported is refused with the library's own words, and nothing of it is kept."""
    imports = EmbeddedImports(await connect(store), tmp_path)
    await imports.resume()

    with pytest.raises(RefusedError, match=name):
        await imports.add(name, pieces(content), MAPPING)

    assert ([], {}) == (list(tmp_path.iterdir()), dict(imports.jobs))


async def test_a_file_over_the_bound_is_refused_while_it_comes(store, connect, tmp_path):
    """No more is read than the bound and the piece that goes over it, and nothing is kept."""
    imports = EmbeddedImports(await connect(store), tmp_path, limits=Limits(upload_bytes=100))
    await imports.resume()
    read = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            read.append(40)
            yield b"x" * 40

    with pytest.raises(RefusedError, match="100 bytes"):
        await imports.add("calls.csv", endless(), MAPPING)

    assert (3, []) == (len(read), list(tmp_path.iterdir()))


async def test_an_import_goes_on_in_the_next_process(store, connect, tmp_path):
    """Left in the middle, it is taken up without being asked, with its name and mapping, and each row is sent once."""
    first = EmbeddedImports(await connect(store, batch_size=2, max_concurrency=1), tmp_path)
    await first.resume()
    job = first.jobs[await first.add("calls.csv", pieces(table(range(40))), MAPPING)]
    await first.start(job.id)
    async with asyncio.timeout(10):
        await store.until(lambda: store.log_count >= 9)
    await first.aclose()
    assert "running" == job.status["state"]
    assert store.log_count < 40

    second = EmbeddedImports(await connect(store), tmp_path)
    await second.resume()
    taken_up = second.jobs[job.id]
    status = await settled(second, taken_up)

    assert ("calls.csv", MAPPING, "ended") == (taken_up.name, taken_up.mapping, status["state"])
    assert 40 == status["progress"]["added"]
    assert 9 <= status["progress"]["replayed"] < 40
    assert Counter({f"row {row}": 1 for row in range(40)}) == Counter(log.notes for log in store.logs)
    assert 40 == len(report(taken_up, "added.csv"))


async def test_watchers_see_the_end_of_the_service(store, connect, tmp_path):
    """`stop` ends what watches a running import, though the call under way has no answer yet."""
    store.faults.next(faults.Silence())
    imports = EmbeddedImports(await connect(store, timeout=1), tmp_path)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces(table(range(4))), MAPPING)]
    await imports.start(job.id)
    async with asyncio.timeout(10):
        await store.until(lambda: store.call_count == 1)

        watcher = asyncio.create_task(settled(imports, job))
        imports.stop()
        status = await watcher

    assert "running" == status["state"]
    await imports.aclose(timeout=0.01)


async def test_a_stopped_import_can_be_started_again(store, connect, tmp_path):
    """A refused key stops it with the reason; once the store takes the key it goes on where it was."""
    store.faults.next(faults.RefuseKey())
    imports = EmbeddedImports(await connect(store), tmp_path)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces(table(range(3))), MAPPING)]
    await imports.start(job.id)
    status = await settled(imports, job)
    assert ("stopped", 3, 0) == (status["state"], status["progress"]["not_sent"], store.log_count)
    assert "key" in status["reason"]
    with pytest.raises(RefusedError, match="not ended"):
        await imports.remove(job.id)

    again = EmbeddedImports(await connect(store), tmp_path)
    await again.resume()
    job = again.jobs[job.id]
    assert ("ended", 3) == ((await settled(again, job))["state"], store.log_count)

    await again.start(job.id)
    assert "ended" == job.status["state"]


async def test_a_cancelled_import_waits_to_be_started_again(store, connect, tmp_path):
    """The call under way ends and the rest is not sent, by the next process neither; a start sends it."""
    answered = asyncio.Event()
    store.faults.next(None, faults.Late(until=answered))
    imports = EmbeddedImports(await connect(store, batch_size=2, max_concurrency=1), tmp_path)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces(table(range(9))), MAPPING)]
    with pytest.raises(RefusedError, match="running"):
        await imports.cancel(job.id)
    await imports.start(job.id)
    async with asyncio.timeout(10):
        await store.until(lambda: store.call_count == 2)
    await imports.cancel(job.id)
    answered.set()
    status = await settled(imports, job)
    assert ("cancelled", 3, 0) == (status["state"], status["progress"]["added"], status["progress"]["unknown"])

    later = EmbeddedImports(await connect(store), tmp_path)
    await later.resume()
    assert ("cancelled", 3) == ((await later.status(job.id))["state"], store.log_count)
    await later.start(job.id)
    assert "ended" == (await settled(later, later.jobs[job.id]))["state"]
    assert Counter({f"row {row}": 1 for row in range(9)}) == Counter(log.notes for log in store.logs)


async def test_an_import_that_waits_for_its_turn_is_cancelled_at_once(store, connect, tmp_path):
    """It need not wait for the end of those before it."""
    answered = asyncio.Event()
    store.faults.next(faults.Late(until=answered))
    imports = EmbeddedImports(await connect(store), tmp_path, limits=Limits(imports=1))
    await imports.resume()
    first, second = [imports.jobs[await imports.add("calls.csv", pieces(table(range(3))), MAPPING)] for _ in "12"]
    await imports.start(first.id)
    await imports.start(second.id)
    await store.until(lambda: store.call_count == 1)
    await imports.cancel(second.id)
    assert "cancelled" == (await settled(imports, second))["state"]
    answered.set()
    assert "ended" == (await settled(imports, first))["state"]
    assert 3 == store.log_count


async def test_a_start_waits_until_the_stop_is_written_down(store, connect, tmp_path, slow_saves):
    """Who sees that an import has stopped can start it, however long the disk takes."""
    writing, may_write = slow_saves(State.STOPPED)
    store.faults.next(faults.TooManyCalls(900))
    imports = EmbeddedImports(await connect(store, give_up_after=1), tmp_path)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces(table(range(3))), MAPPING)]
    await imports.start(job.id)
    async with asyncio.timeout(20):
        await writing.wait()

    starting = asyncio.create_task(imports.start(job.id))
    await asyncio.sleep(0)
    may_write.set()
    await starting

    assert "running" == job.status["state"]
    await imports.aclose()


async def test_what_was_broken_off_is_gone_and_what_is_through_stays(store, connect, tmp_path):
    """The next process drops half an upload, and knows an ended import by its counts without a further call."""
    imports = EmbeddedImports(await connect(store), tmp_path)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces(table(range(3))), MAPPING)]
    await imports.start(job.id)
    await settled(imports, job)
    calls = store.call_count
    (tmp_path / "half.part").mkdir()
    (tmp_path / "half.part" / "upload").write_bytes(b"Notes\nhal")
    (tmp_path / "strange").mkdir()

    later = EmbeddedImports(await connect(store), tmp_path)
    await later.resume()

    assert [job.id] == list(later.jobs)
    assert (job.status, calls) == (later.jobs[job.id].status, store.call_count)
    await later.remove(job.id)
    assert ([tmp_path / "strange"], {}) == (list(tmp_path.iterdir()), dict(later.jobs))


async def test_another_stores_journal_is_reported_in_the_status(store, connect, tmp_path):
    """An import that was begun with another store stops with a sentence, and the others go on."""
    imports = EmbeddedImports(await connect(store, batch_size=1, max_concurrency=1), tmp_path)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces(table(range(30))), MAPPING)]
    await imports.start(job.id)
    async with asyncio.timeout(10):
        await store.until(lambda: store.log_count >= 2)
    await imports.aclose()

    async with type(store)() as other:
        elsewhere = EmbeddedImports(await connect(other), tmp_path)
        await elsewhere.resume()
        status = await settled(elsewhere, elsewhere.jobs[job.id])

    assert (State.STOPPED, 0) == (status["state"], other.call_count)
    assert "journal" in status["reason"]


def test_a_job_keeps_to_its_reports(tmp_path: Path):
    """No name but the four leads to a file."""
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "added.csv").touch()
    job = Job(tmp_path, "calls.csv", MAPPING)
    assert tmp_path / "reports" / "added.csv" == job.report("added.csv")
    (tmp_path / "journal").touch()
    assert [None] * 3 == [job.report(name) for name in ("../journal", "rejected.csv", ".journal")]


async def test_the_export_that_is_beside_the_examples_is_a_kind(store, connect, tmp_path):
    """Every row of crm-export.csv makes a log with the mapping of its name, whatever zone the browser is in."""
    imports = EmbeddedImports(await connect(store), tmp_path)
    await imports.resume()
    export = Path(examples_imports.__file__).with_name("crm-export.csv")

    job = imports.jobs[
        await imports.add(export.name, pieces(export.read_bytes()), mapping_for("crm-export", "Europe/Berlin"))
    ]

    preview = await imports.preview(job.id)
    assert (300, 300, 8) == (preview["rows"], preview["valid"], len(preview["columns"]))


@pytest.mark.parametrize(("kind", "zone", "words"), [("fax", "", "kind"), ("", "Mars/Olympus", "zone")])
def test_a_kind_or_zone_that_is_not_there_is_refused(kind, zone, words):
    """The text says which of the two; without either, times need a zone of their own."""
    with pytest.raises(RefusedError, match=words):
        mapping_for(kind, zone)

    assert (ColumnMapping(), MAPPING) == (mapping_for("", ""), mapping_for("", "Australia/Sydney"))


async def test_what_was_not_started_waits_in_the_next_process_too(store, connect, tmp_path):
    """It is sent when it is started and not before, with the same preview; two who start it at once start it once."""
    imports = EmbeddedImports(await connect(store), tmp_path)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces(table(range(30))), MAPPING)]
    preview = await imports.preview(job.id)

    later = EmbeddedImports(await connect(store), tmp_path)
    await later.resume()
    same = later.jobs[job.id]
    assert ("ready", preview, 0) == (same.status["state"], await later.preview(same.id), store.call_count)

    await asyncio.gather(later.start(same.id), later.start(same.id))
    assert ("ended", 30, 30) == (
        (await settled(later, same))["state"],
        same.status["progress"]["added"],
        store.log_count,
    )
