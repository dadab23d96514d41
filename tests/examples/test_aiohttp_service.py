"""
The aiohttp service in its own process: it keeps every law that the FastAPI service keeps, route by route.

The tests are those of the FastAPI service, its restarts included; the fixture below puts the other one in its place.
"""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from served import ROOT, Service
from test_fastapi_restart import (  # noqa: F401
    test_a_call_that_never_ends_is_in_doubt_by_name,
    test_a_killed_service_names_what_is_in_doubt,
    test_a_page_that_watches_does_not_hold_the_server,
    test_a_restart_awaits_the_call_under_way,
    test_a_restart_goes_on,
    test_killed_again_and_again,
    test_waiting_handlers_are_answered_at_the_end,
)
from test_fastapi_service import (  # noqa: F401
    test_a_log_is_answered_with_its_id,
    test_a_log_that_breaks_a_rule_is_not_sent,
    test_a_preview_sends_nothing,
    test_a_refused_file_leaves_nothing,
    test_a_running_import_is_not_removed,
    test_an_upload_is_imported_and_told_of,
    test_an_upload_that_breaks_off_leaves_nothing,
    test_each_outcome_has_its_report,
    test_handlers_share_calls,
    test_health_counts,
    test_imports_are_listed_and_removed,
    test_there_is_no_import_of_another_name,
    test_what_became_of_a_log_is_the_answer,
)

from examples.aiohttp_service.app import make_app
from neto_async.sandbox import NetoSandbox


class AiohttpService(Service):
    """The same, run with aiohttp's own server."""

    def words(self, app: str) -> list[str]:
        """Give the command's words after the interpreter."""
        self.settings["PORT"] = str(self.port)
        return ["-m", "examples.aiohttp_service.app"]


@pytest.fixture
async def service(tmp_path: Path, store: NetoSandbox) -> AsyncIterator[Service]:
    """A service for the store, in a process of its own."""
    service = AiohttpService(store, tmp_path / "imports", {"MAX_UPLOAD": "100_000", "GRACE": "3"})
    await service.start()
    yield service
    await service.end(signal.SIGKILL)


@pytest.mark.parametrize("body", ["", "{", "[1]", "1", '{"notes": "n", "date_required_follow_up": "soon"}'])
async def test_a_body_that_is_no_log_is_refused(service, store, body):
    """What is no JSON object, or has no day where one belongs, is answered 400 and not sent."""
    answer = await service.http.post("/customers/ann/logs", content=body)
    assert (400, 0) == (answer.status_code, store.call_count)
    assert "JSON object" in answer.json()["detail"]


async def test_an_upload_needs_a_name(service):
    """Without a name nobody can tell what kind of file it is: 422, and nothing is kept."""
    answer = await service.http.post("/imports", content="Notes\nhello\n")
    assert (422, []) == (answer.status_code, list(service.folder.iterdir()))


class Demo(AiohttpService):
    """The service with a store of its own."""

    def words(self, app: str) -> list[str]:
        """Give the command's words after the interpreter."""
        return [*super().words(app)[:-1], "examples.aiohttp_service.demo"]


async def test_the_demo_brings_a_store_of_its_own(store, tmp_path):
    """The demo imports the example file into a store of its own, and touches no other."""
    demo = Demo(store, tmp_path / "imports")
    await demo.start()
    export = (ROOT / "examples" / "crm-export.csv").read_bytes()

    job = (await demo.upload("crm-export.csv", export, kind="crm-export")).json()["id"]
    status = await demo.settled(job)
    await demo.end()

    assert ("ended", 300, 0) == (status["state"], status["progress"]["added"], store.call_count)
    assert any(line.startswith("The store, as its staff see it: http://127.0.0.1:") for line in demo.said)
    assert not demo.folder.exists()


def test_the_readme_lists_every_route():
    """The table in the service's README has a row for each route, and for no other."""
    readme = (ROOT / "examples" / "aiohttp_service" / "README.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(\w+ /[^`?]*)(?:\?name=…)?` \|", readme, re.MULTILINE))
    there = {
        f"{route.method} {route.resource.canonical.replace('{job_id}', '{id}')}" for route in make_app().router.routes()
    }
    assert told == {route for route in there if not route.startswith("HEAD")}
