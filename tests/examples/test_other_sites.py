"""A page of another site in a real browser: it adds nothing to the services and the sandbox, and reads nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from aiohttp import web

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

ATTACK = """async ([address, key]) => {
  const log = JSON.stringify({ notes: "owned" });
  const call = JSON.stringify({ CustomerLogs: { CustomerLog: [{ Notes: "owned" }] } });
  const accept = { Accept: "application/json" };
  const neto = { NETOAPI_ACTION: "AddCustomerLog", NETOAPI_KEY: key, NETOAPI_USERNAME: "sandbox", ...accept };
  const asked = [
    ["/customers/ann/logs", { method: "POST", body: log, headers: { "Content-Type": "application/json" } }],
    ["/customers/ann/logs", { method: "POST", body: log, mode: "no-cors" }],
    ["/customers/ann/logs", { method: "POST", body: new Blob([log]), mode: "no-cors" }],
    ["/imports?name=a.csv", { method: "POST", body: "Notes\\nowned", mode: "no-cors" }],
    ["/do/WS/NetoAPI", { method: "POST", body: call, headers: neto }],
    ["/do/WS/NetoAPI", { method: "POST", body: call, mode: "no-cors" }],
    ["/imports", {}],
    ["/sandbox/state.json", {}],
    ["/", {}],
  ];
  const seen = [];
  for (const [path, options] of asked) {
    const answer = await fetch(address + path, options).catch(() => null);
    if (answer?.ok) seen.push(path);
  }
  const frame = document.createElement("iframe");
  frame.src = address;
  document.body.append(frame);
  await new Promise((loaded) => { frame.onload = loaded; });
  return seen;
}"""

FORM = """(address) => {
  document.body.innerHTML = '<form method="post" enctype="text/plain"><input name="Notes" value="\\nowned"></form>';
  document.forms[0].action = address;
  document.forms[0].submit();
}"""


@pytest.fixture
async def elsewhere() -> AsyncIterator[int]:
    """Serve an empty page; give its port."""

    async def empty(request: web.Request) -> web.Response:
        return web.Response(text="<!DOCTYPE html><body></body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", empty)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_another_sites_page_can_do_nothing(service, store, browser, elsewhere):
    """Neither from its own origin, to an address or a name, nor as a name that now points here (DNS rebinding)."""
    for victim in (service.url, store.url):
        port = urlsplit(victim).port
        page = await browser.new_page()
        # By rebinding: a document of that very origin, as it was before its name moved.
        rebound = f"http://rebound.test:{port}"
        await page.route("**/before", lambda route: route.fulfill(content_type="text/html", body="<body></body>"))
        for origin in (f"http://elsewhere.test:{elsewhere}/", f"http://127.0.0.1:{elsewhere}/", f"{rebound}/before"):
            for address in (victim, f"http://localhost:{port}", rebound):
                await page.goto(origin)
                assert [] == await page.evaluate(ATTACK, [address, store.api_key])
                (frame,) = page.frames[1:]
                assert "ustomer logs" not in await frame.content()
                for path in ("/imports?name=a.csv", "/customers/ann/logs", "/do/WS/NetoAPI"):
                    await page.goto(origin)
                    async with page.expect_navigation() as answer:
                        await page.evaluate(FORM, address + path)
                    assert 403 == (await answer.value).status
        assert 403 == (await page.goto(rebound)).status
        await page.close()

    assert (0, 0) == (store.call_count, store.log_count)
    assert [] == (await service.http.get("/imports")).json()["imports"]
