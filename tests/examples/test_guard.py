"""What every request and connection has to pass in both services, over real sockets."""

from __future__ import annotations

import asyncio
import socket

import pytest
from served import aiohttp_app, fastapi_app, half_of_an_upload, table

from examples import guard
from neto_async.sandbox import faults

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


@pytest.mark.thorough
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
    expected = {
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    for answer in answers:
        assert expected == {name: answer.headers.get(name) for name in expected}
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


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


async def test_a_full_service_asks_once_a_second(monkeypatch):
    """At the bound the loop looks once and then waits, with one line in the log, whatever its backlog."""
    monkeypatch.setattr(asyncio.constants, "ACCEPT_RETRY_DELAY", 3600)
    monkeypatch.setattr(guard, "MAX_CONNECTIONS", 0)
    loop, refused, listener = asyncio.get_running_loop(), asyncio.Queue(), guard.listening(0)
    loop.set_exception_handler(lambda loop, context: refused.put_nowait(context["exception"].strerror))
    listener.setblocking(False)
    server = await asyncio.start_server(lambda reader, writer: None, sock=listener, backlog=100)
    _, writer = await asyncio.open_connection(*listener.getsockname())

    assert "too many connections; further ones wait" == await refused.get()
    assert refused.empty()
    writer.close()
    server.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"POST /nothing HTTP/1.1\r\n"])
async def test_a_connection_without_a_request_makes_room(service, monkeypatch, sent):
    """Where others wait it is closed after a time; one with a request under way stays, however long that takes."""
    monkeypatch.setattr(asyncio.constants, "ACCEPT_RETRY_DELAY", 0.01)
    monkeypatch.setattr(guard, "HEAD_SECONDS", 0)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    reader, writer = await half_of_an_upload(service)
    silent = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(5)]
    for _, other in silent:
        other.write(sent)
    await service.http.get("/health")
    monkeypatch.setattr(guard, "MAX_CONNECTIONS", 4)
    last, other = await asyncio.open_connection("127.0.0.1", service.port)
    other.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"HTTP/1.1 200 OK\r\n" == await last.readline()

    writer.write(b"x" * 94)
    assert b"HTTP/1.1 202 " == (await reader.readline())[:13]
    for connection in (writer, other, *(other for _, other in silent)):
        connection.close()


def test_connections_that_ended_are_forgotten():
    """However many come and go, no more is kept of them than of those that are open."""
    with guard.listening(0) as listener:
        for _ in range(3):
            with socket.create_connection(listener.getsockname()):
                connection, peer = listener.accept()
                guard.heard(peer)
                connection.close()
                guard.answered(peer)  # as where its other side has broken off
        with socket.create_connection(listener.getsockname()):
            connection, peer = listener.accept()
            connection.close()
    assert {peer} == set(guard._silent)


async def test_streams_leave_connections_to_others(service, store, monkeypatch):
    """So many watch an import at once; a further one is told to come later, and others are served."""
    for app in (fastapi_app, aiohttp_app):
        monkeypatch.setattr(app, "STREAMS", asyncio.Semaphore(1))
    answered = asyncio.Event()
    store.faults.next(faults.Late(until=answered))
    job = (await service.upload("calls.csv", table(1))).json()["id"]
    async with service.http.stream("GET", f"/imports/{job}/events") as watched:
        assert 200 == watched.status_code
        refused = await service.http.get(f"/imports/{job}/events")
        assert (503, "10") == (refused.status_code, refused.headers["Retry-After"])
        assert 200 == (await service.http.get(f"/imports/{job}")).status_code
        answered.set()
        await watched.aread()
    assert "ended" == (await service.settled(job))["state"]


async def test_a_sender_that_breaks_off_is_no_fault(service, caplog):
    """An upload that ends before its stated length leaves nothing on the disk, and no traceback in the log."""
    _, writer = await half_of_an_upload(service)
    writer.close()
    async with asyncio.timeout(30):
        while list(service.folder.iterdir()):
            await service.http.get("/health")
    assert [] == [record for record in caplog.records if record.exc_info]


async def test_a_peer_that_reads_nothing_is_let_go(service):
    """Connections carry the system's limit on how long what was sent may lie there unread."""
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("only Linux has it")
    with guard.listening(0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert 60_000 == connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("application/json", True), ("Application/JSON; charset=utf-8", True), ("text/plain", False), (None, False)],
)
def test_json_by_its_type(kind, expected):
    """A media type is compared in any case and without its parameters."""
    assert expected is guard.is_json(kind)
