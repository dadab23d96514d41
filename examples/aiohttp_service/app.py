"""
An aiohttp service with neto_async: single logs from handlers, and imports of uploads that survive a restart.

    python -m examples.aiohttp_service.app

From the environment: NETO_STORE_URL, NETO_USERNAME, NETO_API_KEY; IMPORTS, the folder of the imports; MAX_UPLOAD, in
bytes; REQUESTS_PER_MINUTE, this process's share of the store's limit; GRACE, seconds for the calls under way when the
server ends; SETTLE_AFTER, seconds after which nothing of a call in doubt is saved any more; HOSTS, the names under
which a proxy serves it; PORT. Without a store: see demo.py.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from aiohttp import web
from attrs import asdict

from examples import embedded
from examples.guard import (
    BODY_SECONDS,
    HEAD_SECONDS,
    MAX_BODY,
    SECURITY_HEADERS,
    STREAMS,
    TOO_MANY_STREAMS,
    foreign,
    heard,
    is_json,
    listening,
)
from examples.imports import KINDS, Imports, RefusedError, mapping_for
from examples.uploads import Limits
from neto_async import AsyncNetoClient
from neto_async.integrations.aiohttp import NETO, error_middleware, neto_context

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

IMPORTS = web.AppKey("imports", Imports)

MAX_UPLOAD = int(os.environ.get("MAX_UPLOAD", "100_000_000"))
GRACE = float(os.environ.get("GRACE", "5"))
REQUESTS_PER_MINUTE = float(os.environ.get("REQUESTS_PER_MINUTE", "400"))

routes = web.RouteTableDef()


def make_app() -> web.Application:
    """Put the application together."""
    app = web.Application(middlewares=[guard, error_middleware(), refusals], client_max_size=MAX_BODY)
    app.cleanup_ctx.extend([neto_context(open_client, grace=GRACE), importing])
    app.on_shutdown.append(end)
    app.on_response_prepare.append(add_headers)
    app.add_routes(routes)
    return app


def open_client() -> AsyncNetoClient:
    """Make the application's client."""
    return AsyncNetoClient.from_env(requests_per_minute=REQUESTS_PER_MINUTE)


async def importing(app: web.Application) -> AsyncIterator[None]:
    """Go on with the imports of the last process, and leave them so that the next can go on."""
    imports = app[IMPORTS] = await embedded.opened(app[NETO], Limits(upload_bytes=MAX_UPLOAD))
    yield
    await imports.aclose(GRACE)


async def end(app: web.Application) -> None:
    """
    Take no more rows and logs, and end the event streams.

    It comes before aiohttp waits for open answers, which it breaks off at last: so the handlers that wait are answered,
    added or certainly not sent.
    """
    app[IMPORTS].stop()
    await app[NETO].aclose(GRACE)


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what may come from another site's page, and one event stream too many."""
    if request.transport is not None:
        heard(request.transport.get_extra_info("peername"))  # aiohttp itself bounds the time to the next request
    reason = foreign(request.method, request.headers)
    if reason is not None:
        raise refusal(web.HTTPForbidden, reason)
    if not request.path.endswith("/events"):
        return await handler(request)
    if STREAMS.locked():
        raise refusal(web.HTTPServiceUnavailable, TOO_MANY_STREAMS, {"Retry-After": "10"})
    async with STREAMS:
        return await handler(request)


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add what each answer carries."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say why something is not done."""
    try:
        return await handler(request)
    except RefusedError as error:
        return web.json_response({"detail": str(error)}, status=error.status, headers=error.headers)


def refusal(kind: type[web.HTTPException], detail: str, headers: Mapping[str, str] | None = None) -> web.HTTPException:
    """Make an answer that says why not."""
    return kind(text=json.dumps({"detail": detail}), content_type="application/json", headers=headers)


# -- single logs ----------------------------------------------------------------------------------------------------


@routes.post("/customers/{username}/logs")
async def add_log(request: web.Request) -> web.Response:
    """Add a log and wait until its fate is known; handlers that do so at once share calls."""
    added = await request.app[NETO].add_customer_log(await new_log(request))
    return web.json_response({"log_id": added.log_id}, status=201)


async def new_log(request: web.Request) -> dict[str, Any]:
    """Read a log as a request brings it; what is wrong with it, the library says."""
    if not is_json(request.headers.get("Content-Type")):
        raise refusal(web.HTTPUnsupportedMediaType, "the body has to be application/json")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            fields = dict(await request.json())
        if (day := fields.get("date_required_follow_up")) is not None:
            fields["date_required_follow_up"] = date.fromisoformat(day)
    except TimeoutError:
        raise refusal(web.HTTPRequestTimeout, "the body took too long") from None
    except (TypeError, ValueError, RecursionError):
        raise refusal(web.HTTPBadRequest, "the body is no JSON object of a log's fields") from None
    return {**fields, "username": request.match_info["username"]}


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    """Say what the client does and waits for."""
    return web.json_response(asdict(request.app[NETO].statistics()))


# -- imports --------------------------------------------------------------------------------------------------------


@routes.get("/imports")
async def list_imports(request: web.Request) -> web.Response:
    """List the imports, newest first, and what can be chosen for a new one."""
    newest_first, problems = await request.app[IMPORTS].listed()
    listed = {"imports": newest_first, "kinds": list(KINDS), "max_bytes": MAX_UPLOAD}
    return web.json_response({**listed, "problems": problems})


@routes.post("/imports")
async def add_import(request: web.Request) -> web.Response:
    """Take the file that is the body in; with ``start=false`` nothing is sent before `start_import`."""
    imports, asked = request.app[IMPORTS], request.query
    if not asked.get("name"):
        raise refusal(web.HTTPUnprocessableEntity, "name the file: ?name=calls.csv")
    mapping = mapping_for(asked.get("kind", ""), asked.get("timezone", ""))
    id_ = await imports.add(asked["name"], request.content.iter_any(), mapping)
    start = asked.get("start", "true").lower() == "true"
    if start:
        await imports.start(id_)
    headers = {"Location": f"/imports/{id_}"}
    return web.json_response(await imports.status(id_), status=202 if start else 201, headers=headers)


@routes.get("/imports/{id}")
async def show_import(request: web.Request) -> web.Response:
    """Say how far it is."""
    return await status_of(request)


@routes.get("/imports/{id}/preview")
async def preview_import(request: web.Request) -> web.Response:
    """Say what it sends: columns, the first logs, the first invalid rows."""
    return web.json_response(await request.app[IMPORTS].preview(request.match_info["id"]))


@routes.post("/imports/{id}/start")
async def start_import(request: web.Request) -> web.Response:
    """Begin to send, or go on after a stop."""
    await request.app[IMPORTS].start(request.match_info["id"])
    return await status_of(request, answer=202)


@routes.post("/imports/{id}/cancel")
async def cancel_import(request: web.Request) -> web.Response:
    """Stop it: what is under way ends, and the rest is not sent before it is started again."""
    await request.app[IMPORTS].cancel(request.match_info["id"])
    return await status_of(request, answer=202)


@routes.post("/imports/{id}/settle")
async def settle_import(request: web.Request) -> web.Response:
    """Read the customers of its rows in doubt back; with ``sole_writer=true`` under the guarantee that this names."""
    sole_writer = request.query.get("sole_writer", "false").lower() == "true"
    await request.app[IMPORTS].settle(request.match_info["id"], sole_writer=sole_writer)
    return await status_of(request, answer=202)


async def status_of(request: web.Request, *, answer: int = 200) -> web.Response:
    """Answer with how far the import is that a path names."""
    return web.json_response(await request.app[IMPORTS].status(request.match_info["id"]), status=answer)


@routes.get("/imports/{id}/events")
async def watch_import(request: web.Request) -> web.StreamResponse:
    """Stream how far it is."""
    imports, id_ = request.app[IMPORTS], request.match_info["id"]
    await imports.status(id_)  # an answer that has begun can't be a 404 any more
    events = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await events.prepare(request)
    async for status in imports.follow(id_):
        await events.write(f"data: {json.dumps(status)}\n\n".encode())
    return events


@routes.get("/imports/{id}/reports/{name}")
async def download_report(request: web.Request) -> web.StreamResponse:
    """Return a report."""
    id_, name = request.match_info["id"], request.match_info["name"]
    pieces = await request.app[IMPORTS].report(id_, name)
    disposition = f'attachment; filename="{id_}-{name}"'
    report = web.StreamResponse(headers={"Content-Type": "text/csv", "Content-Disposition": disposition})
    await report.prepare(request)
    async for piece in pieces:
        await report.write(piece)
    return report


@routes.delete("/imports/{id}")
async def remove_import(request: web.Request) -> web.Response:
    """Delete an import that was never started, or has ended."""
    await request.app[IMPORTS].remove(request.match_info["id"])
    return web.Response(status=204)


def serve(app: web.Application) -> None:
    """Run it until SIGTERM or Ctrl-C."""
    sock = listening(int(os.environ.get("PORT", "8080")))
    web.run_app(app, sock=sock, shutdown_timeout=5, keepalive_timeout=HEAD_SECONDS, access_log=None)


if __name__ == "__main__":
    serve(make_app())
