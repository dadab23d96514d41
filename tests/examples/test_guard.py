"""What every request and connection has to pass in both services, over real sockets."""

from __future__ import annotations

import asyncio

import pytest
from served import aiohttp_app, fastapi_app, table

from examples import guard

FOREIGN = [
    {"Host": "evil.example"},
    {"Host": "evil.example:80"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "localhost.evil.example"},
    {"Host": ""},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://["},
]


async def test_another_sites_page_is_refused(service, store):
    """By its own origin or by a name that points here, a page of another site reads, adds and uploads nothing."""
    for headers in FOREIGN:
        answers = [await service.http.get(path, headers=headers) for path in ("/", "/health", "/imports", "/nothing")]
        answers += [
            await service.http.post("/customers/ann/logs", json={"notes": "n"}, headers=headers),
            await service.http.post("/imports", params={"name": "a.csv"}, content=table(1), headers=headers),
            await service.http.post("/imports/0123456789abcdef/settle", headers=headers),
            await service.http.options("/imports", headers=headers),
        ]
        assert {403} == {answer.status_code for answer in answers}
    for site in ("cross-site", "same-site"):
        headers = {"Sec-Fetch-Site": site}
        answer = await service.http.post("/customers/ann/logs", json={"notes": "n"}, headers=headers)
        assert 403 == answer.status_code
        assert 200 == (await service.http.get("/health", headers=headers)).status_code, "a link may be followed"
    assert ([], 0) == ((await service.http.get("/imports")).json()["imports"], store.call_count)


async def test_its_own_page_is_served(service, store, monkeypatch):
    """By its address, as localhost, or under the name of a proxy that the operator gave."""
    monkeypatch.setattr(guard, "HOSTS", frozenset({"crm.example.com"}))
    own = [
        {"Origin": service.url, "Sec-Fetch-Site": "same-origin"},
        {"Host": "localhost:8000", "Origin": "http://localhost:8000"},
        {"Host": "crm.example.com", "Origin": "https://crm.example.com"},
        {"Host": "[::1]:8000", "Origin": "https://crm.example.com"},
    ]
    for headers in own:
        answer = await service.http.post("/customers/ann/logs", json={"notes": "n"}, headers=headers)
        assert 201 == answer.status_code
    assert len(own) == store.log_count


async def test_every_answer_has_its_security_headers(service):
    """No answer may be framed, sniffed or kept; refusals and answers of the framework included."""
    job = (await service.upload("calls.csv", table(1))).json()["id"]
    await service.settled(job)
    answers = [await service.http.get(path) for path in ("/health", "/nothing", f"/imports/{job}/reports/added.csv")]
    answers += [
        await service.http.get(f"/imports/{job}/events"),
        await service.http.get("/health", headers=FOREIGN[0]),
        await service.http.post("/customers/ann/logs", json={"status": "Lost", "notes": "n"}),
    ]
    for answer in answers:
        for name, value in guard.SECURITY_HEADERS.items():
            assert value == answer.headers[name]


async def test_a_body_that_drips_is_ended(service, monkeypatch):
    """A log whose body does not arrive in time is answered 408: connections can't be held for ever."""
    for app in (fastapi_app, aiohttp_app):
        monkeypatch.setattr(app, "BODY_SECONDS", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    head = b"POST /customers/ann/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(head + b"Content-Length: 1000\r\n\r\n{")
    assert b"HTTP/1.1 408 " == (await reader.readline())[:13]
    writer.close()


async def test_connections_over_the_bound_wait(service, monkeypatch):
    """At the bound a further connection is not taken, so that files are left for imports; later it is served."""
    monkeypatch.setattr(asyncio.constants, "ACCEPT_RETRY_DELAY", 0.01)
    monkeypatch.setattr(guard, "MAX_CONNECTIONS", 4)  # one is the client's
    loop, refused = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(lambda loop, context: refused.set())
    idle = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(4)]
    await refused.wait()
    last, writer = idle[-1]
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = asyncio.create_task(last.readline())
    assert 200 == (await service.http.get("/health")).status_code
    assert not answer.done()

    idle[0][1].close()
    assert b"HTTP/1.1 200 OK\r\n" == await answer
    for _, connection in idle:
        connection.close()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("application/json", True), ("Application/JSON; charset=utf-8", True), ("text/plain", False), (None, False)],
)
def test_json_by_its_type(kind, expected):
    """A media type is compared in any case and without its parameters."""
    assert expected is guard.is_json(kind)
