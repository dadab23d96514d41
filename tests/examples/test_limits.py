"""What hostile uploads, many of them at once and a full disk do to the imports beside them: nothing."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
import itertools
import json
import marshal
import os
import resource
import shutil
import signal
import sys
import types
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import ROOT, environment_of, half_of_an_upload, pieces, saved, serving, table

from examples import embedded, reading, uploads
from examples.embedded import EmbeddedImports, Job
from examples.imports import RefusedError, State
from examples.uploads import Limits
from neto_async.importing import ColumnMapping, Plan, make_plan, open_rows
from neto_async.sandbox import faults

READER = f"""
import signal, sys
sys.path.insert(0, {str(ROOT)!r})
from examples import reading

def endless(*args, **options):
    while True:
        pass

def waiting(*args, **options):
    signal.pause()

def greedy(*args, **options):
    return [bytearray(1 << 20) for _ in range(1 << 20)]

def broken(*args, **options):
    raise ZeroDivisionError("a customer's text")

def disk_full(*args, **options):
    raise OSError({errno.ENOSPC}, "No space left on device", "/srv/secret")

reading.open_rows = locals()[sys.argv.pop(1)]
sys.exit(reading.main())
"""


def reader(kind: str) -> tuple[str, ...]:
    """Give a command for the service's own reader, with a library that does not do well."""
    return sys.executable, "-c", READER, kind


async def settled(imports: EmbeddedImports, job: Job) -> dict[str, Any]:
    return [status async for status in imports.follow(job.id)][-1]


async def refusal(imports: EmbeddedImports, name: str = "calls.csv", content: str = "Notes\nhello\n") -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        await imports.add(name, pieces(content))
    return refused.value


# -- hostile files --------------------------------------------------------------------------------------------------


async def test_a_reader_that_never_ends_holds_nothing(store, connect, tmp_path):
    """While an upload is read without end an import beside it ends with no row in doubt; SIGTERM ends the reader."""
    neto = await connect(store)
    hostile = EmbeddedImports(neto, tmp_path / "hostile", reader=reader("endless"))
    await hostile.resume()
    reading_on = asyncio.create_task(refusal(hostile))
    imports = EmbeddedImports(neto, tmp_path / "imports")
    await imports.resume()

    job = imports.jobs[await imports.add("calls.csv", pieces(table(500)))]
    await imports.start(job.id)
    status = await settled(imports, job)

    assert ("ended", 500, 0) == (status["state"], status["progress"]["added"], status["progress"]["unknown"])
    assert not reading_on.done()
    hostile.stop()
    assert (503, []) == ((await reading_on).status, list(hostile._folder.iterdir()))


@pytest.mark.parametrize(
    ("kind", "limits", "status", "words"),
    [
        ("waiting", Limits(reader_seconds=1), 422, "more time or memory"),
        ("greedy", Limits(), 422, "more memory"),
        ("broken", Limits(), 422, "can't be read (ZeroDivisionError)"),
        ("disk_full", Limits(), 503, "No space left"),
    ],
)
async def test_a_reader_comes_to_its_end(store, connect, tmp_path, *, kind, limits, status, words):
    """Time, memory or a fault end the process that reads, with an answer that names no path and no text."""
    imports = EmbeddedImports(await connect(store), tmp_path, limits=limits, reader=reader(kind))
    await imports.resume()

    error = await refusal(imports)

    assert (status, []) == (error.status, list(tmp_path.iterdir()))
    assert words in str(error)
    assert [] == [text for text in ("customer", "secret", str(tmp_path)) if text in str(error)]
    assert limits.reader_bytes <= 300_000_000


@pytest.mark.thorough
async def test_a_reader_leaves_no_module_cut_short(store, connect, tmp_path, monkeypatch):
    """What a reader compiles is whole for all that import it later, however short its files must be."""
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "compiled"))
    imports = EmbeddedImports(await connect(store), tmp_path / "imports", limits=Limits(upload_bytes=300))
    await imports.resume()
    await imports.add("calls.csv", pieces("Notes\nhello\n"))

    compiled = [path.read_bytes() for path in (tmp_path / "compiled").rglob("*.pyc")]
    assert {types.CodeType} == {type(marshal.loads(module[16:])) for module in compiled}


async def test_a_file_of_much_output_is_refused(store, connect, tmp_path):
    """What unpacks to many times its size, very wide files, long rows and long names are refused, not stored."""
    imports = EmbeddedImports(await connect(store), tmp_path, limits=Limits(upload_bytes=3_000))
    await imports.resume()
    many = await refusal(imports, content="Notes,a,b,c,d,e,f,g\n" + "x\n" * 900)
    named = await refusal(imports, name="n" * 300 + ".csv")
    roomy = EmbeddedImports(await connect(store), tmp_path)
    wide = await refusal(roomy, content="Notes," + ",".join(f"column {number}" for number in range(70_000)) + "\nx\n")
    long = await refusal(
        roomy, "calls.jsonl", json.dumps({"Notes": "é" * (reading.MAX_ROW // 6)}, ensure_ascii=False) + "\n"
    )

    assert {422} == {error.status for error in (many, named, wide, long)}
    assert "holds more" in str(many)
    assert "255 characters" in str(named)
    assert "columns" in str(wide)
    assert "line 1 is longer" in str(long)
    assert [] == list(tmp_path.iterdir())


async def test_a_ready_job_keeps_nothing_of_its_file(store, connect, tmp_path):
    """What was found out of an upload is on disk; the service holds no plan, no row and no fault of it."""
    others = [kept for kept in gc.get_objects() if isinstance(kept, Plan)]  # of earlier tests of this process
    imports = EmbeddedImports(await connect(store), tmp_path)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces("Notes,Status\n" + "x,Lost\n" * 5_000))]

    preview = await imports.preview(job.id)

    assert (5_000, 0, reading.FIRST_FAULTS) == (preview["rows"], preview["valid"], len(preview["faults"]))
    assert [] == [
        kept for kept in gc.get_objects() if isinstance(kept, Plan) and not any(kept is other for other in others)
    ]
    assert {"_jobs", "_unreadable", "_arriving", "_uploads"} <= vars(imports).keys()
    assert (set(), 0, set()) == (imports._arriving, imports._uploads._arriving, imports._uploads._readers)


def test_rows_are_restored_as_they_were_read(tmp_path):
    """A stored line gives the same log, faults, line, cells and raw text; JSON's types, days and times included."""
    lines = [
        {"Notes": "n", "LastContacted": "2026-11-02T09:15:00+11:00", "DateRequiredFollowUp": "2026-12-01"},
        {"Notes": 3, "Status": "Lost", "Extra": {"deep": [1, None]}},
        {"DateRequiredFollowUp": "2026-12-01T10:00:00Z", "Notes": "\ud83d\ude00"},
    ]
    content = "\n".join([*map(json.dumps, lines), "{broken"]).encode()
    (tmp_path / "upload").write_bytes(content)
    (tmp_path / "mapping.toml").write_text(ColumnMapping().to_toml(), encoding="utf-8")
    reading.read(tmp_path, "calls.jsonl")
    rows = open_rows(io.BytesIO(content), name="calls.jsonl")
    plan = make_plan(rows, ColumnMapping(), import_unknown=False)

    stored = [reading.restored(line) for line in (tmp_path / "rows").read_bytes().splitlines()]

    source = list(reading.LogSource(file=rows, plan=plan))
    assert [row for _, row in source] == [row for _, row in stored]
    assert [str(log) for log, _ in source] == [str(log) for log, _ in stored]
    assert {"CustomerLog", "InvalidRecordError"} == {type(log).__name__ for log, _ in stored}
    shown = json.loads((tmp_path / "plan.json").read_text(encoding="ascii"))["samples"][0]["last_contacted"]
    assert "2026-11-01 22:15:00 UTC" == shown


# -- many at once ---------------------------------------------------------------------------------------------------


async def test_uploads_over_the_bound_are_to_come_later(store, connect, tmp_path):
    """With all places taken an upload is answered 503 at once, with the seconds to wait; a slow one is given up."""
    imports = EmbeddedImports(await connect(store), tmp_path, limits=Limits(uploads=1, upload_seconds=0.5))
    await imports.resume()
    begun = asyncio.Event()

    async def dripping() -> AsyncIterator[bytes]:
        begun.set()
        yield b"Notes\n"
        await asyncio.Event().wait()

    slow = asyncio.create_task(imports.add("slow.csv", dripping()))
    await begun.wait()
    error = await refusal(imports)
    assert (503, {"Retry-After": "10"}) == (error.status, error.headers)

    with pytest.raises(RefusedError, match="too long") as refused:
        await slow
    assert (408, []) == (refused.value.status, list(tmp_path.iterdir()))
    assert 1 == len((await imports.preview(await imports.add("calls.csv", pieces(table(1)))))["samples"])


async def test_imports_over_the_bound_wait_their_turn(store, connect, tmp_path):
    """So many are sent at once, and the others are sent after them; each holds files of its own."""
    answered = asyncio.Event()
    store.faults.next(faults.Late(until=answered))
    imports = EmbeddedImports(await connect(store), tmp_path, limits=Limits(imports=1))
    await imports.resume()
    first, second = [imports.jobs[await imports.add("calls.csv", pieces(table(3)))] for _ in range(2)]
    await imports.start(first.id)
    await imports.start(second.id)
    await store.until(lambda: store.call_count == 1)
    assert (True, False) == (first.run is not None, second.run is not None)
    answered.set()
    assert {"ended"} == {(await settled(imports, job))["state"] for job in (first, second)}
    assert 6 == store.log_count


@pytest.mark.timeout(240)  # 350 uploads take their time on a busy machine
@pytest.mark.thorough
async def test_hundreds_of_uploads_leave_the_import_its_files(process, store):
    """With few descriptors and far more uploads than places, the import that runs ends, and no answer names a path."""
    resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (420, 420))
    answered = asyncio.Event()
    store.faults.next(None, faults.Late(until=answered))
    job = (await process.upload("calls.csv", table(600))).json()["id"]
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=process.url, timeout=60, limits=limits, trust_env=False) as http:
        posts = [
            asyncio.create_task(
                http.post("/imports", params={"name": f"{number}.csv", "start": False}, content=table(100))
            )
            for number in range(350)
        ]
        # Amid the uploads, and not after them all: a call that waits for its answer too long is in doubt.
        for post in itertools.islice(asyncio.as_completed(posts), 50):
            await post
        answered.set()
        answers = await asyncio.gather(*posts, return_exceptions=True)
        status = await process.settled(job)

    assert ("ended", 600, 0) == (status["state"], status["progress"]["added"], status["progress"]["unknown"])
    kinds = Counter(answer.status_code for answer in answers if isinstance(answer, httpx.Response))
    assert {201, 503} == set(kinds)
    assert not [answer for answer in answers if not isinstance(answer, httpx.Response)]
    assert not [answer for answer in answers if str(process.folder) in answer.text or "open files" in answer.text]
    assert {"10"} == {answer.headers["Retry-After"] for answer in answers if answer.status_code == 503}


# -- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(monkeypatch, tmp_path, store):
    """A disk that is full from the time that it is asked to be, with the folder of a service on it."""
    patched = pytest.MonkeyPatch()
    for name, value in environment_of(store, tmp_path / "imports").items():
        monkeypatch.setenv(name, value)

    def full(file: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)

    class Disk:
        folder = tmp_path / "imports"

        def fill(self) -> None:
            for module in (embedded, uploads):
                patched.setattr(module, "sync", full)

        def free(self) -> None:
            patched.undo()

    yield Disk()
    patched.undo()


async def test_a_service_starts_on_a_full_disk(framework, store, connect, disk, caplog):
    """It adds single logs, says which imports it could not go on with, and goes on with them when there is room."""
    folder = disk.folder
    earlier = EmbeddedImports(await connect(store, batch_size=1, max_concurrency=1), folder)
    await earlier.resume()
    job = earlier.jobs[await earlier.add("calls.csv", pieces(table(30)))]
    await earlier.start(job.id)
    await store.until(lambda: store.log_count >= 2)
    await earlier.aclose()
    (folder / "0123").mkdir()
    (folder / "0123" / "job.json").write_text("{", encoding="ascii")
    disk.fill()

    async with serving(framework, folder) as service:
        assert 201 == (await service.http.post("/customers/ann/logs", json={"notes": "n"})).status_code
        listed = (await service.http.get("/imports")).json()
        started = await service.http.post(f"/imports/{job.id}/start")
        uploaded = await service.upload("more.csv", table(1))
        assert {job.id, "0123"} == set(listed["problems"])
        assert "No space left" in listed["problems"][job.id]
        assert [(503, "60")] * 2 == [
            (answer.status_code, answer.headers["Retry-After"]) for answer in (started, uploaded)
        ]
        assert str(folder.parent) not in f"{listed} {started.text} {uploaded.text}"
        assert {job.id, "0123"} == {id_ for id_ in listed["problems"] if id_ in caplog.text}
        assert {job.id, "0123"} == {path.name for path in folder.iterdir()}

        disk.free()
        assert 202 == (await service.http.post(f"/imports/{job.id}/start")).status_code
        assert "ended" == (await service.settled(job.id))["state"]
    assert Counter({"n": 1, **{f"row {row}": 1 for row in range(30)}}) == saved(store)


async def test_what_can_not_be_removed_goes_later(store, connect, tmp_path, monkeypatch):
    """A folder that stays behind, of a refused upload or a deleted import, is removed with the next upload."""
    imports = EmbeddedImports(await connect(store), tmp_path)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces(table(1)))]
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda *args, **options: None)
        await refusal(imports, content="")
        await imports.remove(job.id)
    assert [".part", ".part"] == [path.suffix for path in tmp_path.iterdir()]
    assert {} == dict(imports.jobs)

    job = imports.jobs[await imports.add("calls.csv", pieces(table(1)))]
    assert [job.folder] == list(tmp_path.iterdir())

    monkeypatch.setattr(Path, "rename", lambda *args: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only", "/srv")))
    with pytest.raises(RefusedError, match=r"Read-only$"):
        await imports.remove(job.id)


async def test_a_folder_that_can_not_be_made_or_read_is_no_end(store, connect, tmp_path, caplog):
    """The service starts where its folder is a file, or a plan has gone; answers say so without a path."""
    (tmp_path / "file").touch()
    imports = EmbeddedImports(await connect(store), tmp_path / "file" / "imports")
    await imports.resume()
    assert 503 == (await refusal(imports)).status
    assert "can't be made" in caplog.text

    imports = EmbeddedImports(await connect(store), tmp_path)
    await imports.resume()
    job = imports.jobs[await imports.add("calls.csv", pieces(table(1)))]
    (job.folder / "plan.json").unlink()
    with pytest.raises(RefusedError, match=r"No such file or directory$"):
        await imports.preview(job.id)
    await imports.start(job.id)
    status = await settled(imports, job)
    assert (State.STOPPED, 0) == (status["state"], store.call_count)
    assert str(tmp_path) not in status["reason"]


@pytest.mark.thorough
async def test_a_service_ends_while_an_upload_comes_in(process):
    """SIGTERM ends the process while a file comes in, whose sender is answered 503, and leaves no half of it."""
    reader, writer = await half_of_an_upload(process)

    assert await process.end(signal.SIGTERM) in {0, -signal.SIGTERM}

    assert b"HTTP/1.1 503 " == (await reader.readline())[:13]
    assert [] == list(process.folder.iterdir())
    writer.close()
