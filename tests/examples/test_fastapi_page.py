"""The FastAPI service's page, as far as it needs no browser: see test_page.py."""

from __future__ import annotations

import re

from served import table


async def test_the_page_comes_with_all_it_names(service):
    """Its style and script are there, and nothing in it comes from elsewhere or stands in the markup."""
    page = (await service.http.get("/")).text
    named = re.findall(r'(?:src|href)="(/page/[^"]+)"', page)
    assert {"/page/page.css", "/page/page.js"} == set(named)
    assert {200} == {(await service.http.get(path)).status_code for path in named}
    assert [] == re.findall(r"https?://| on\w+=| style=|<style|<script>", page)


async def test_another_sites_page_is_refused(service, store):
    """What a browser sends for a page of another site changes nothing; a link from there may be followed."""
    foreign = {"Sec-Fetch-Site": "cross-site"}
    answer = await service.http.post("/imports", params={"name": "a.csv"}, content=table(1), headers=foreign)
    assert (403, 0) == (answer.status_code, store.call_count)
    assert 403 == (await service.http.post("/customers/ann/logs", json={"notes": "n"}, headers=foreign)).status_code
    assert 200 == (await service.http.get("/", headers=foreign)).status_code
