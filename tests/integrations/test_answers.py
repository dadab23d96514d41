"""The two web adapters over the sandbox: the same answers, and nothing secret in them."""

from __future__ import annotations

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fastapi import FastAPI

from neto_async import AsyncNetoClient, CustomerLog
from neto_async.integrations.aiohttp import NETO, error_middleware, neto_context
from neto_async.integrations.fastapi import Neto, add_error_handlers, neto_lifespan
from neto_async.sandbox import faults

CANARY = CustomerLog(notes="CANARY")


def with_fastapi(make):
    app = FastAPI(lifespan=neto_lifespan(make))
    add_error_handlers(app)

    @app.post("/")
    async def add(neto: Neto) -> dict[str, bool]:
        return {"added": (await neto.add_customer_log(CANARY)).log_id > 0}

    return app


def with_aiohttp(make):
    async def add(request):
        return web.json_response({"added": (await request.app[NETO].add_customer_log(CANARY)).log_id > 0})

    app = web.Application(middlewares=[error_middleware()])
    app.cleanup_ctx.append(neto_context(make))
    app.router.add_post("/", add)
    return app


async def ask_fastapi(app):
    async with app.router.lifespan_context(app) as state:

        async def served(scope, receive, send):
            await app({**scope, "state": dict(state)}, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://service") as http:
            answer = await http.post("/")
    return answer.status_code, answer.headers.get("Retry-After"), answer.headers["Content-Type"], answer.json()


async def ask_aiohttp(app):
    async with TestClient(TestServer(app)) as http:
        answer = await http.post("/")
        body = await answer.json(content_type=None)
        return answer.status, answer.headers.get("Retry-After"), answer.content_type, body


@pytest.mark.parametrize(
    ("fault", "status", "retry_after", "fate"),
    [
        (faults.Refuse("CANARY"), 422, None, "rejected"),
        (faults.RefuseKey(), 502, None, "not_sent"),
        (faults.TooManyCalls(900.5), 503, "901", "not_sent"),
        (faults.Status(503), 504, None, "unknown"),
    ],
)
async def test_both_answer_alike(store, fault, status, retry_after, fate):
    """Each fate has one answer, the same in both frameworks: a problem that says it, and says nothing secret."""
    store.faults.next(fault, fault)

    def make():
        return AsyncNetoClient(store.url, username=store.username, api_key=store.api_key)

    one, two = await ask_fastapi(with_fastapi(make)), await ask_aiohttp(with_aiohttp(make))
    assert one == two
    assert (status, retry_after, "application/problem+json") == one[:3]
    assert (fate, fate != "unknown") == (one[3]["fate"], one[3]["safe_to_resend"])
    assert "CANARY" not in str(one)


async def test_both_hand_out_a_client(store):
    """A handler of either framework adds a log through the client that its application opened."""

    def make():
        return AsyncNetoClient(store.url, username=store.username, api_key=store.api_key)

    assert {"added": True} == (await ask_fastapi(with_fastapi(make)))[3]
    assert {"added": True} == (await ask_aiohttp(with_aiohttp(make)))[3]
    assert 2 == len(store.logs)
