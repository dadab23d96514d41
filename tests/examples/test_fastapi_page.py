"""The FastAPI service's page, as far as it needs no browser: see test_page.py."""

from __future__ import annotations

import re

import pytest


@pytest.fixture
def framework() -> str:
    """It alone has a page."""
    return "fastapi"


async def test_the_page_comes_with_all_it_names(service):
    """Its style and script are there, and nothing in it comes from elsewhere or is in the markup."""
    answer = await service.http.get("/")
    named = re.findall(r'(?:src|href)="(/page/[^"]+)"', answer.text)
    assert {"/page/page.css", "/page/page.js"} == set(named)
    assert {200} == {(await service.http.get(path)).status_code for path in named}
    assert [] == re.findall(r"https?://| on\w+=| style=|<style|<script>", answer.text)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


async def test_openapi_lists_what_a_log_may_be_answered(service):
    """What the guard answers, what FastAPI does for a body that is no log, and the outcomes of one."""
    described = (await service.http.get("/openapi.json")).json()
    answers = described["paths"]["/customers/{username}/logs"]["post"]["responses"]
    assert {"201", "400", "403", "408", "413", "415", "422", "502", "503", "504"} == set(answers)
