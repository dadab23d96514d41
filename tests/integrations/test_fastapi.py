"""The FastAPI adapter on real servers: who gets which client, when it is opened and drained, and what is answered."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from neto_async import AsyncNetoClient, CustomerLog, NotSentError, RejectedError
from neto_async.integrations.fastapi import Neto, add_error_handlers, get_neto, neto_lifespan, neto_named
from neto_async.sandbox import NetoSandbox, faults

get_perth = neto_named("perth")
Perth = Annotated[AsyncNetoClient, Depends(get_perth)]


def application(lifespan: Any = None) -> FastAPI:
    """Make an application that adds a log for each path it is asked for."""
    app = FastAPI(lifespan=lifespan)
    add_error_handlers(app)

    @app.post("/logs/{notes}")
    async def add(notes: str, neto: Neto) -> dict[str, int]:
        return {"log_id": (await neto.add_customer_log(CustomerLog(notes=notes))).log_id}

    return app


async def test_many_requests_share_few_calls(store, own, serve_fastapi):
    """Of a hundred requests at once each gets the id of its own log, from far fewer calls."""
    async with serve_fastapi(application(neto_lifespan(own))) as url, httpx.AsyncClient(base_url=url) as http:
        answers = await asyncio.gather(*(http.post(f"/logs/{number}") for number in range(100)))

    ids = {answer.json()["log_id"]: str(number) for number, answer in enumerate(answers)}
    assert ids == {log.log_id: log.notes for log in store.logs}
    assert len(store.calls) < 50


async def test_your_lifespan_runs_inside_that_of_the_client(store, own, serve_fastapi):
    """Your lifespan can use the client from its first line to its last, and its state is beside the client's."""

    @asynccontextmanager
    async def mine(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        await app.state.neto.add_customer_log(CustomerLog(notes="first line"))
        yield {"colour": "red", "neto": "in our place"}
        await app.state.neto.add_customer_log(CustomerLog(notes="last line"))

    app = application(neto_lifespan(own, lifespan=mine))

    @app.get("/colour")
    async def colour(request: Request) -> str:
        return request.state.colour

    async with serve_fastapi(app) as url, httpx.AsyncClient(base_url=url) as http:
        assert "red" == (await http.get("/colour")).json()
        assert 200 == (await http.post("/logs/request")).status_code

    assert ["first line", "request", "last line"] == [log.notes for log in store.logs]
    assert not hasattr(app.state, "neto")


async def test_each_store_has_its_own_client(store, own, serve_fastapi):
    """Of two lifespans, one inside the other, each gives its own name's client, and each log goes to its own store."""
    async with NetoSandbox() as perth:
        inner = neto_lifespan(lambda: own(perth), name="perth")
        app = application(neto_lifespan(own, lifespan=inner))

        @app.post("/perth")
        async def add(neto: Perth) -> int:
            assert app.state.perth is neto
            return (await neto.add_customer_log(CustomerLog(notes="to Perth"))).log_id

        async with serve_fastapi(app) as url, httpx.AsyncClient(base_url=url) as http:
            await http.post("/perth")
            await http.post("/logs/home")

        assert (["home"], ["to Perth"]) == ([log.notes for log in store.logs], [log.notes for log in perth.logs])


async def test_two_clients_of_one_name_do_not_start(own, serve_fastapi, caplog):
    """Where a name is given twice the application does not start, and says why: a log would go to the wrong store."""
    app = application(neto_lifespan(own, lifespan=neto_lifespan(own)))
    with pytest.raises(SystemExit):
        await start(app)
    assert "app.state.neto is taken: give each neto_lifespan a name of its own" in caplog.text


async def start(app: FastAPI) -> None:
    """Run an application's startup and shutdown as a server does; one that fails exits."""
    import uvicorn  # noqa: PLC0415

    config = uvicorn.Config(app, log_config=None, lifespan="on")
    config.load()
    lifespan = config.lifespan_class(config)
    await lifespan.startup()
    await lifespan.shutdown()
    if lifespan.should_exit:
        raise SystemExit


async def test_a_mounted_application_has_the_client(store, own, serve_fastapi):
    """An application mounted into another gets the client of the outer one, and answers errors if it is asked to."""
    outer = FastAPI(lifespan=neto_lifespan(own))
    outer.mount("/inner", application())
    store.faults.next(None, faults.RefuseKey())
    async with serve_fastapi(outer) as url, httpx.AsyncClient(base_url=url) as http:
        assert [200, 502] == [(await http.post("/inner/logs/a")).status_code for _ in range(2)]


async def test_a_client_that_cannot_be_made_ends_the_start(run_service):
    """Without credentials the server ends before it serves, and names the variables to set."""
    service = await run_service(SERVICE, NETO_STORE_URL="", NETO_API_KEY=" ")
    code, logged = await service.ended()
    assert 3 == code
    assert "set the environment variables NETO_STORE_URL and NETO_API_KEY" in logged


async def test_without_the_lifespan_the_answer_says_wrongly_set_up(serve_fastapi, caplog):
    """An application without the lifespan answers 500 with a constant text; the log says what to do."""
    async with serve_fastapi(application()) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.post("/logs/CANARY")

    assert (500, "urn:neto-async:configuration") == (answer.status_code, answer.json()["type"])
    assert "there is no client neto: give the application lifespan=neto_lifespan()" in caplog.text
    assert "CANARY" not in answer.text + caplog.text


async def test_the_dependency_can_be_overridden(store, own, serve_fastapi):
    """A test puts a client of its own in the place of the application's, without its lifespan."""
    app = application()
    async with own() as neto:
        app.dependency_overrides[get_neto] = lambda: neto
        async with serve_fastapi(app) as url, httpx.AsyncClient(base_url=url) as http:
            assert 200 == (await http.post("/logs/a")).status_code
    assert 1 == len(store.logs)


async def test_your_own_handler_of_an_error_goes_first(store, own, serve_fastapi):
    """A handler for one of our errors, added before or after, answers it; the rest are answered by ours."""
    store.faults.next(faults.Refuse("no"), faults.RefuseKey())
    app = application(neto_lifespan(own))

    @app.exception_handler(RejectedError)
    async def answer(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"mine": True}, 409)

    async with serve_fastapi(app) as url, httpx.AsyncClient(base_url=url) as http:
        assert [409, 502] == [(await http.post("/logs/a")).status_code for _ in range(2)]


async def test_an_answer_that_has_begun_is_broken_off(own, serve_fastapi, caplog):
    """An error in the middle of a streamed answer breaks it off: the client can't take it for whole."""
    app = application(neto_lifespan(own))

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"begun"
            raise NotSentError("in the middle")

        return StreamingResponse(pieces())

    async with serve_fastapi(app) as url, httpx.AsyncClient(base_url=url) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/stream")
    assert "in the middle" in caplog.text


async def test_head_is_answered_without_a_body(own, serve_fastapi):
    """An error in a HEAD request has its status and type, and no body."""
    app = application(neto_lifespan(own))

    @app.head("/")
    async def head() -> None:
        raise NotSentError("x")

    async with serve_fastapi(app) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.head("/")
        assert (503, "application/problem+json", b"") == (
            answer.status_code,
            answer.headers["Content-Type"],
            answer.content,
        )


async def test_what_background_tasks_left_is_drained(store, own, serve_fastapi):
    """A log that waits for the store when the server stops is still added, and its answer awaited."""
    late = asyncio.Event()
    store.faults.next(faults.Late(until=late))
    app = FastAPI(lifespan=neto_lifespan(own))
    tasks = set()

    @app.post("/", status_code=202)
    async def add(neto: Neto, background: BackgroundTasks) -> None:
        background.add_task(leave, neto)

    async def leave(neto: AsyncNetoClient) -> None:
        tasks.add(asyncio.create_task(neto.add_customer_log(CustomerLog(notes="left"))))

    async with serve_fastapi(app) as url, httpx.AsyncClient(base_url=url) as http:
        assert 202 == (await http.post("/")).status_code
        await store.until(lambda: store.call_count == 1)
        asyncio.get_running_loop().call_soon(late.set)

    (task,) = tasks
    assert [task.result().log_id] == [log.log_id for log in store.logs]


async def test_past_its_grace_a_client_says_what_it_leaves(store, own, serve_fastapi, caplog):
    """A call without an answer holds the shutdown for the grace alone, and is notified of in the log."""
    store.faults.always(faults.Silence(saves=True))
    app = application(neto_lifespan(own, grace=0.01))
    async with serve_fastapi(app, timeout_graceful_shutdown=0) as url, httpx.AsyncClient(base_url=url) as http:
        asking = asyncio.create_task(http.post("/logs/a"))
        await store.until(lambda: store.log_count == 1)

    await asyncio.wait({asking})
    assert asking.exception() or asking.result().status_code == 500
    said = [(record.levelno, record.getMessage()) for record in caplog.records if record.name == "neto_async"]
    assert said == [
        (logging.WARNING, "closed with 1 records in calls that have not ended and 0 that were not sent"),
        (logging.WARNING, "a customer log ended as Unknown after its caller had been cancelled"),
    ]


SERVICE = """
import os

import uvicorn
from fastapi import FastAPI

from neto_async import AsyncNetoClient
from neto_async.integrations.fastapi import Neto, add_error_handlers, neto_lifespan

grace, wait = float(os.environ.get("GRACE", "20")), float(os.environ.get("WAIT", "20"))


def open_client():
    return AsyncNetoClient.from_env(batch_size=5, timeout=wait, give_up_after=wait)


app = FastAPI(lifespan=neto_lifespan(open_client, grace=grace))
add_error_handlers(app)


@app.post("/logs/{notes}")
async def add(notes: str, neto: Neto) -> dict[str, int]:
    return {"log_id": (await neto.add_customer_log({"notes": notes})).log_id}


patience = int(os.environ.get("PATIENCE", "20"))
server = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=patience))
server.run(sockets=[listening])
raise SystemExit(0 if server.started else 3)
"""


async def test_sigterm_in_the_middle_of_single_adds(run_service, asked_to_stop):
    """Each request under way at SIGTERM is answered with its log's fate, and the ledger agrees with every answer."""
    await asked_to_stop(await run_service(SERVICE), ends_with=-signal.SIGTERM)


@pytest.mark.thorough
async def test_sigterm_with_a_store_that_does_not_answer(run_service, cut_off):
    """Where neither the requests nor the drain get the time they need, the log reports every record in doubt."""
    await cut_off(await run_service(SERVICE, PATIENCE="0", GRACE="0.1"), ends_with=-signal.SIGTERM)


@pytest.mark.thorough
async def test_sigterm_with_the_time_that_the_page_asks_for(run_service, given_time):
    """Where requests get more time than their logs can take, each is answered with its fate, though no call was."""
    await given_time(await run_service(SERVICE, WAIT="2"))
