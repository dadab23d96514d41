"""The aiohttp adapter on real servers: who gets which client, when it is opened and drained, and what is answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web

from neto_async import AsyncNetoClient, ConfigurationError, CustomerLog, NotSentError
from neto_async.integrations.aiohttp import NETO, error_middleware, neto_context
from neto_async.sandbox import NetoSandbox, faults

PERTH = web.AppKey("perth", AsyncNetoClient)


def application(*contexts) -> web.Application:
    """Make an application that adds a log for each path it is asked for."""

    async def add(request: web.Request) -> web.Response:
        log = CustomerLog(notes=request.match_info["notes"])
        return web.json_response({"log_id": (await request.config_dict[NETO].add_customer_log(log)).log_id})

    app = web.Application(middlewares=[error_middleware()])
    app.cleanup_ctx.extend(contexts)
    app.router.add_post("/logs/{notes}", add)
    return app


async def test_many_requests_share_few_calls(store, own, serve_aiohttp):
    """Of a hundred requests at once each gets the id of its own log, from far fewer calls."""
    async with serve_aiohttp(application(neto_context(own))) as url, httpx.AsyncClient(base_url=url) as http:
        answers = await asyncio.gather(*(http.post(f"/logs/{number}") for number in range(100)))

    ids = {answer.json()["log_id"]: str(number) for number, answer in enumerate(answers)}
    assert ids == {log.log_id: log.notes for log in store.logs}
    assert len(store.calls) < 50


async def test_your_context_runs_inside_that_of_the_client(store, own, serve_aiohttp):
    """A cleanup context that is appended after ours can use the client from its first line to its last."""

    async def mine(app: web.Application) -> AsyncIterator[None]:
        await app[NETO].add_customer_log(CustomerLog(notes="first line"))
        yield
        await app[NETO].add_customer_log(CustomerLog(notes="last line"))

    app = application(neto_context(own), mine)
    async with serve_aiohttp(app) as url, httpx.AsyncClient(base_url=url) as http:
        assert 200 == (await http.post("/logs/request")).status_code

    assert ["first line", "request", "last line"] == [log.notes for log in store.logs]


async def test_each_store_has_its_own_client(store, own, serve_aiohttp):
    """Of two contexts each gives its own key's client, and each log goes to its own store."""

    async def add(request: web.Request) -> web.Response:
        added = await request.app[PERTH].add_customer_log(CustomerLog(notes="to Perth"))
        return web.json_response(added.log_id)

    async with NetoSandbox() as perth:
        app = application(neto_context(own), neto_context(lambda: own(perth), key=PERTH))
        app.router.add_post("/perth", add)
        async with serve_aiohttp(app) as url, httpx.AsyncClient(base_url=url) as http:
            await http.post("/perth")
            await http.post("/logs/home")

        assert (["home"], ["to Perth"]) == ([log.notes for log in store.logs], [log.notes for log in perth.logs])


async def test_two_clients_of_one_key_do_not_start(own, serve_aiohttp):
    """Where a key is given twice the application does not start, and says why: a log would go to the wrong store."""
    with pytest.raises(ConfigurationError, match=r"neto.* is taken: give each neto_context a key of its own"):
        async with serve_aiohttp(application(neto_context(own), neto_context(own))):
            pytest.fail("it started")


async def test_a_nested_application_has_the_client(store, own, serve_aiohttp):
    """An application nested in another gets the client of the outer one, and answers its errors."""
    outer = web.Application()
    outer.cleanup_ctx.append(neto_context(own))
    outer.add_subapp("/inner", application())
    store.faults.next(None, faults.RefuseKey())
    async with serve_aiohttp(outer) as url, httpx.AsyncClient(base_url=url) as http:
        assert [200, 502] == [(await http.post("/inner/logs/a")).status_code for _ in range(2)]


async def test_a_client_that_cannot_be_made_ends_the_start(run_service):
    """Without credentials the server ends before it serves, and names the variables to set."""
    service = await run_service(SERVICE, NETO_STORE_URL="", NETO_API_KEY=" ")
    code, logged = await service.ended()
    assert 1 == code
    assert "ConfigurationError: set the environment variables NETO_STORE_URL and NETO_API_KEY" in logged


async def test_a_test_puts_its_own_client_in_place(store, own, serve_aiohttp):
    """A test sets the key itself, instead of the context."""
    app = application()
    async with own() as neto:
        app[NETO] = neto
        async with serve_aiohttp(app) as url, httpx.AsyncClient(base_url=url) as http:
            assert 200 == (await http.post("/logs/a")).status_code
    assert 1 == len(store.logs)


@pytest.mark.parametrize("pieces", [0, 1])
async def test_an_answer_that_has_begun_is_broken_off(own, serve_aiohttp, caplog, pieces):
    """An error after an answer's head, or head and a piece, has left breaks it off: nobody takes it for whole."""

    async def stream(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(pieces):
            await answer.write(b"begun")
        raise NotSentError("in the middle")

    app = application(neto_context(own))
    app.router.add_get("/stream", stream)
    async with serve_aiohttp(app) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /stream HTTP/1.1\r\nHost: here\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()

    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"5\r\nbegun\r\n" * pieces == body
    assert "in the middle" in caplog.text


async def test_head_is_answered_without_a_body(own, serve_aiohttp):
    """An error in a HEAD request has its status and type, and no body."""

    async def head(request: web.Request) -> web.Response:
        raise NotSentError("x")

    app = application(neto_context(own))
    app.router.add_head("/", head)
    async with serve_aiohttp(app) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.head("/")
        # The same connection goes on: no byte of a body was sent.
        assert 200 == (await http.post("/logs/a")).status_code

    found = (answer.status_code, answer.headers["Content-Type"].partition(";")[0], answer.content)
    assert (503, "application/problem+json", b"") == found


async def test_what_handlers_left_is_drained(store, own, serve_aiohttp):
    """A log that waits for the store when the server stops is still added, and its answer awaited."""
    late = asyncio.Event()
    store.faults.next(faults.Late(until=late))
    tasks = set()

    async def leave(request: web.Request) -> web.Response:
        tasks.add(asyncio.create_task(request.app[NETO].add_customer_log(CustomerLog(notes="left"))))
        return web.Response(status=202)

    app = application(neto_context(own))
    app.router.add_post("/", leave)
    async with serve_aiohttp(app) as url, httpx.AsyncClient(base_url=url) as http:
        assert 202 == (await http.post("/")).status_code
        await store.until(lambda: store.call_count == 1)
        asyncio.get_running_loop().call_soon(late.set)

    (task,) = tasks
    assert [task.result().log_id] == [log.log_id for log in store.logs]


async def test_past_its_grace_a_client_says_what_it_leaves(store, own, serve_aiohttp, caplog):
    """A call without an answer holds the shutdown for the grace alone, and is notified of in the log."""
    store.faults.always(faults.Silence(saves=True))
    app = application(neto_context(own, grace=0.01))
    async with httpx.AsyncClient() as http:
        async with serve_aiohttp(app, shutdown_timeout=0.01) as url:
            asking = asyncio.create_task(http.post(f"{url}/logs/a"))
            await store.until(lambda: store.log_count == 1)
        with pytest.raises(httpx.TransportError):
            await asking

    said = [(record.levelno, record.getMessage()) for record in caplog.records if record.name == "neto_async"]
    assert said == [
        (logging.WARNING, "closed with 1 records in calls that have not ended and 0 that were not sent"),
        (logging.WARNING, "a customer log ended as Unknown after its caller had been cancelled"),
    ]


SERVICE = """
import os

from aiohttp import web

from neto_async import AsyncNetoClient
from neto_async.integrations.aiohttp import NETO, error_middleware, neto_context


async def add(request):
    added = await request.app[NETO].add_customer_log({"notes": request.match_info["notes"]})
    return web.json_response({"log_id": added.log_id})


grace, wait = float(os.environ.get("GRACE", "20")), float(os.environ.get("WAIT", "20"))


def open_client():
    return AsyncNetoClient.from_env(batch_size=5, timeout=wait, give_up_after=wait)


app = web.Application(middlewares=[error_middleware()])
app.cleanup_ctx.append(neto_context(open_client, grace=grace))
app.router.add_post("/logs/{notes}", add)
web.run_app(app, sock=listening, shutdown_timeout=float(os.environ.get("PATIENCE", "20")), print=None)
"""


async def test_sigterm_in_the_middle_of_single_adds(run_service, asked_to_stop):
    """Each request under way at SIGTERM is answered with its log's fate, and the ledger agrees with every answer."""
    await asked_to_stop(await run_service(SERVICE), ends_with=0)


@pytest.mark.thorough
async def test_sigterm_with_a_store_that_does_not_answer(run_service, cut_off):
    """Where neither the requests nor the drain get the time they need, the log reports every record in doubt."""
    await cut_off(await run_service(SERVICE, PATIENCE="0.1", GRACE="0.1"), ends_with=0)


@pytest.mark.thorough
async def test_sigterm_with_the_time_that_the_page_asks_for(run_service, given_time):
    """Where requests get more time than their logs can take, each is answered with its fate, though no call was."""
    await given_time(await run_service(SERVICE, WAIT="2"))
