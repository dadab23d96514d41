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
from test_fastapi_restart import *  # noqa: F403
from test_fastapi_service import *  # noqa: F403

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


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 201)])
async def test_another_sites_page_adds_nothing(service, store, site, status):
    """What a browser sends for a page of another site is refused: the person did not ask for it."""
    answer = await service.http.post("/customers/ann/logs", json={"notes": "n"}, headers={"Sec-Fetch-Site": site})
    assert (status, int(status == 201)) == (answer.status_code, store.log_count)


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
