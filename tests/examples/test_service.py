"""Both services under their own servers: each route, against a store's ledger."""

from __future__ import annotations

import asyncio
import csv
import inspect
import json
import re
from collections import Counter

import pytest
from served import ROOT, ServiceProcess, aiohttp_app, fastapi_app, notes_in, saved, table

from examples import uploads
from examples.imports import RefusedError
from neto_async.sandbox import faults

# -- single logs ----------------------------------------------------------------------------------------------------


async def test_a_log_is_answered_with_its_id(service, store):
    """The answer comes when the store has saved it, with the id that the store gave."""
    answer = await service.http.post(
        "/customers/ann/logs",
        json={"notes": "Rang back.", "status": "Completed", "date_required_follow_up": "2026-12-01"},
    )

    (log,) = store.logs
    assert (201, {"log_id": log.log_id}) == (answer.status_code, answer.json())
    assert ("ann", "Rang back.", "Completed") == (log.username, log.notes, log.status)
    assert log.date_required_follow_up.startswith("2026-12-01")


async def test_handlers_share_calls(service, store):
    """Forty requests at once make far fewer calls, and each gets the id of its own log."""
    answers = await asyncio.gather(
        *(service.http.post("/customers/ann/logs", json={"notes": f"note {number}"}) for number in range(40))
    )

    ids = {answer.json()["log_id"]: f"note {number}" for number, answer in enumerate(answers)}
    assert ids == {log.log_id: log.notes for log in store.logs}
    assert store.call_count < 20


async def test_the_outcome_of_a_log_is_the_answer(service, store):
    """Each of the library's errors is an answer of its own, which says whether the log may be sent again."""
    reported = {
        (422, "rejected"): faults.Refuse(),
        (504, "unknown"): faults.Reset(saves=True),
        (503, "not_sent"): faults.TooManyCalls(900),
    }
    for (status, fate), fault in reported.items():
        store.faults.next(fault)
        answer = await service.http.post("/customers/ann/logs", json={"notes": "a secret"})

        assert (status, fate) == (answer.status_code, answer.json()["fate"])
        assert (fate != "unknown") is answer.json()["safe_to_resend"]
        assert (status == 503) is ("Retry-After" in answer.headers)
        assert "secret" not in answer.text


async def test_a_body_that_is_no_log_is_refused(service, store):
    """What is no JSON object of a log, or not JSON by its type, is refused and not sent."""
    json_type = {"Content-Type": "application/json"}
    for body in ("", "{", "[1]", "1", '{"notes": "n", "date_required_follow_up": "soon"}', "[" * 100_000):
        answer = await service.http.post("/customers/ann/logs", content=body, headers=json_type)
        assert answer.status_code in {400, 422}
    for kind in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        answer = await service.http.post("/customers/ann/logs", content='{"notes": "n"}', headers=kind)
        assert 415 == answer.status_code
    large = await service.http.post("/customers/ann/logs", json={"notes": "n" * 1_000_001})
    assert (413, 0) == (large.status_code, store.call_count)


async def test_a_log_that_breaks_a_rule_is_not_sent(service, store):
    """The answer names field and limit, and the store was not asked."""
    answer = await service.http.post("/customers/ann/logs", json={"notes": "n", "status": "Lost"})

    assert (422, "invalid", 0) == (answer.status_code, answer.json()["fate"], store.call_count)
    assert any("status" in error for error in answer.json()["errors"])


async def test_health_counts(service):
    """The client's counts, as JSON."""
    await service.http.post("/customers/ann/logs", json={"notes": "n"})

    health = (await service.http.get("/health")).json()

    assert (1, 1, 0, False) == (health["added"], health["calls"], health["in_flight"], health["halted"])


# -- imports --------------------------------------------------------------------------------------------------------

LINES = "".join(json.dumps({"notes": f"row {row}", "username": "ann"}) + "\n" for row in range(250))


@pytest.mark.parametrize(("name", "content"), [("calls.csv", table(250)), ("calls.ndjson", LINES)])
async def test_an_upload_is_imported(service, store, name, content):
    """202 with a place to look; the events count up to the end; each row is in the store once, and in added.csv."""
    answer = await service.upload(name, content)
    assert 202 == answer.status_code
    job = answer.json()["id"]
    assert f"/imports/{job}" == answer.headers["Location"]

    async with asyncio.timeout(30):
        statuses = [status async for status in service.statuses(job)]

    counts = [status["progress"]["added"] for status in statuses]
    assert sorted(counts) == counts
    assert ("ended", 250, 250) == (statuses[-1]["state"], counts[-1], statuses[-1]["progress"]["total"])
    assert statuses[-1] == (await service.http.get(f"/imports/{job}")).json()
    assert Counter({f"row {row}": 1 for row in range(250)}) == saved(store)
    report = await service.http.get(f"/imports/{job}/reports/added.csv")
    assert f'attachment; filename="{job}-added.csv"' == report.headers["Content-Disposition"]
    rows = list(csv.DictReader(report.text.splitlines()))
    assert {log.log_id: log.notes for log in store.logs} == {
        int(row["neto_log_id"]): row.get("Notes", row.get("notes")) for row in rows
    }


@pytest.mark.thorough
async def test_each_outcome_has_its_report(service, store):
    """A refused row and an invalid one are in rejected.csv, one in doubt in unknown.csv; the four are there."""
    store.refuse_when(lambda fields: fields["Notes"] == "row 2")
    store.faults.when(lambda request: len(request.records) == 1, faults.ServerBroke())
    job = (await service.upload("calls.csv", table(5) + f"late,{'x' * 99}\n")).json()["id"]

    status = await service.settled(job)

    assert ["added.csv", "rejected.csv", "unknown.csv", "not_sent.csv"] == status["reports"]
    notes = {}
    for name in status["reports"]:
        notes[name] = set(await notes_in(service.http, job, name))
    assert "late" in notes["rejected.csv"]
    assert "row 0" in notes["unknown.csv"]
    assert {f"row {row}" for row in range(5)} | {"late"} == set().union(*notes.values())
    assert 404 == (await service.http.get(f"/imports/{job}/reports/journal")).status_code
    assert 404 == (await service.http.get(f"/imports/{job}/reports/..%2Fjournal")).status_code


async def test_a_preview_sends_nothing(service, store):
    """With start=false the columns, the first logs and the first faults are reported; sending waits to be asked for."""
    content = "Notes,Status,Call started\nhello,Lost,\nhello,Completed,\n"
    answer = await service.upload("calls.csv", content, start=False, timezone="Australia/Sydney")
    job = answer.json()["id"]
    preview = (await service.http.get(f"/imports/{job}/preview")).json()

    assert (201, "ready", 0) == (answer.status_code, answer.json()["state"], store.call_count)
    assert {"notes": ["Notes"], "status": ["Status"]} == preview["columns"]
    assert ["Call started"] == preview["ignored"]
    assert [{"notes": "hello", "status": "Completed"}] == preview["samples"]
    assert (2, 1, 1) == (preview["rows"], preview["valid"], len(preview["faults"]))

    started = await service.http.post(f"/imports/{job}/start")
    assert (202, "running") == (started.status_code, started.json()["state"])
    assert (1, 1) == ((await service.settled(job))["progress"]["added"], store.log_count)


REFUSED = {
    "columns": (422, {"content": "Colour,Size\nred,2\n"}),
    "binary": (422, {"content": bytes(range(256)) * 20}),
    "ending": (422, {"content": "%PDF-1.7", "name": "calls.pdf"}),
    "empty": (422, {"content": ""}),
    "kind": (422, {"content": table(2), "kind": "fax"}),
    "zone": (422, {"content": table(2), "timezone": "Mars/Olympus"}),
    "size": (413, {"content": table(20_000)}),
}


@pytest.mark.thorough
async def test_a_refused_file_leaves_nothing(service, store):
    """The answer says in a sentence what is wrong; no job, no file and no call comes of it."""
    answers = {what: await service.upload(**{"name": "calls.csv", **upload}) for what, (_, upload) in REFUSED.items()}

    assert {what: status for what, (status, _) in REFUSED.items()} == {
        what: answer.status_code for what, answer in answers.items()
    }
    assert len(REFUSED) == len({answer.json()["detail"] for answer in answers.values()})
    assert [] == (await service.http.get("/imports")).json()["imports"]
    assert ([], 0) == (list(service.folder.iterdir()), store.call_count)


async def test_a_file_that_needs_a_mapping_is_answered_with_the_kinds(service):
    """Where the library names an option of its command, the answer names what a caller can ask for; else not."""
    answer = await service.upload("calls.csv", "Colour,Size\nred,2\n")
    assert "--map" in answer.json()["detail"]
    assert answer.json()["detail"].endswith("(kind=…) takes the place of such options: crm-export")
    assert "kind=" not in (await service.upload("calls.csv", "")).json()["detail"]


def test_openapi_says_what_an_upload_is_and_can_be_answered():
    """A binary body, and all that the guard, `Uploads` and the handler answer; see `served.is_declared` as well."""
    upload = fastapi_app.app.openapi()["paths"]["/imports"]["post"]
    refused = {RefusedError("").status, *map(int, re.findall(r"status=(\d+)", inspect.getsource(uploads)))}

    assert {201, 202, 403} | refused == set(map(int, upload["responses"]))
    assert {413, 422, 503} < refused
    (body,) = upload["requestBody"]["content"].values()
    assert {"type": "string", "format": "binary"} == body["schema"]


async def test_an_upload_that_breaks_off_leaves_nothing(service):
    """Where the sender goes away in the middle, half a file is no job and is not kept."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"POST /imports?name=calls.csv HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nNotes\nhalf")
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    # A second upload begins after the first has been noticed to be gone: the loop takes events in their order.
    await service.settled((await service.upload("calls.csv", table(3))).json()["id"])
    assert 1 == len(list(service.folder.iterdir()))
    assert reader.at_eof()


async def test_imports_are_listed_and_removed(service, store):
    """Newest first; one that was never started and one that is through can go, with all that is kept of them."""
    done = (await service.upload("done.csv", table(3))).json()["id"]
    await service.settled(done)
    ready = (await service.upload("ready.csv", table(3), start=False)).json()["id"]
    listed = (await service.http.get("/imports")).json()
    assert [ready, done] == [status["id"] for status in listed["imports"]]
    assert ["crm-export"] == listed["kinds"]

    for job in (done, ready):
        assert 204 == (await service.http.delete(f"/imports/{job}")).status_code
        assert 404 == (await service.http.get(f"/imports/{job}")).status_code
    assert [] == list(service.folder.iterdir())


async def test_a_running_import_is_not_removed(service, store):
    """Its journal is the only one who knows what was sent."""
    released = asyncio.Event()
    store.faults.always(faults.Late(until=released))
    job = (await service.upload("calls.csv", table(3))).json()["id"]

    assert 409 == (await service.http.delete(f"/imports/{job}")).status_code

    released.set()
    store.faults.clear()
    assert "ended" == (await service.settled(job))["state"]


async def test_there_is_no_import_of_another_name(service):
    """404, wherever it is asked for."""
    paths = ["", "/preview", "/events", "/reports/added.csv"]
    answers = [await service.http.get(f"/imports/0123456789abcdef{path}") for path in paths]
    assert {404} == {answer.status_code for answer in answers}


async def test_an_upload_needs_a_name(service):
    """Without a name nobody can tell what kind of file it is: 422, and nothing is kept."""
    answer = await service.http.post("/imports", content="Notes\nhello\n")
    assert (422, []) == (answer.status_code, list(service.folder.iterdir()))


# -- as they are run ------------------------------------------------------------------------------------------------


@pytest.mark.thorough
async def test_the_demo_brings_a_store_of_its_own(framework, store, tmp_path):
    """The demo imports the example file into a store of its own, and touches no other."""
    demo = ServiceProcess(tmp_path / "imports", store=store, framework=framework, program="demo")
    await demo.start()
    export = (ROOT / "examples" / "crm-export.csv").read_bytes()

    job = (await demo.upload("crm-export.csv", export, kind="crm-export")).json()["id"]
    status = await demo.settled(job)
    await demo.end()

    assert ("ended", 300, 0) == (status["state"], status["progress"]["added"], store.call_count)
    assert any(line.startswith("The store, as its staff see it: http://127.0.0.1:") for line in demo.said)
    assert not demo.folder.exists()


def test_the_readme_lists_every_route():
    """The table in the aiohttp service's README has a row for each route, and for no other."""
    readme = (ROOT / "examples" / "aiohttp_service" / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+ /[^`?]*)(?:\?name=…)?` \|", readme, re.MULTILINE))
    routes = {f"{route.method} {route.resource.canonical}" for route in aiohttp_app.make_app().router.routes()}
    assert listed == {route for route in routes if not route.startswith("HEAD")}
