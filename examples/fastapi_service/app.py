"""
A FastAPI service with neto_async: single logs from handlers, imports of uploads that survive a restart, and a page.

    python -m examples.fastapi_service.app

From the environment: NETO_STORE_URL, NETO_USERNAME, NETO_API_KEY; IMPORTS, the folder of the imports; MAX_UPLOAD, in
bytes; REQUESTS_PER_MINUTE, this process's share of the store's limit; GRACE, seconds for the calls under way when the
server ends; SETTLE_AFTER, seconds after which nothing of a call in doubt is saved any more; HOSTS, the names under
which a proxy serves it; PORT; LISTEN, an address other than loopback's. Without a store: see demo.py.

With IMPORTS_DATABASE it is one web process of many, and workers send the imports: see `examples.deployed`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import date
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import uvicorn
from attrs import asdict
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect

from examples import embedded
from examples.guard import (
    BODY_SECONDS,
    MAX_BODY,
    SECURITY_HEADERS,
    STREAMS,
    TOO_MANY_STREAMS,
    answered,
    foreign,
    heard,
    is_json,
    listening,
)
from examples.imports import KINDS, Imports, RefusedError, mapping_for
from examples.uploads import Limits
from neto_async import AsyncNetoClient
from neto_async.integrations.fastapi import ERROR_RESPONSES, Neto, add_error_handlers, neto_lifespan

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE = Path(__file__).parent / "page"
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
MAX_UPLOAD = int(os.environ.get("MAX_UPLOAD", "100_000_000"))
GRACE = float(os.environ.get("GRACE", "5"))
DEPLOYED = "IMPORTS_DATABASE" in os.environ
"""Whether imports are in a database and sent by workers; else in a folder, and sent by this process."""

REQUESTS_PER_MINUTE = float(os.environ.get("REQUESTS_PER_MINUTE", "400"))


def open_client() -> AsyncNetoClient:
    """Make the application's client."""
    if DEPLOYED:
        from examples import deployed  # noqa: PLC0415 - needs what one process does not

        return deployed.open_client()
    return AsyncNetoClient.from_env(requests_per_minute=REQUESTS_PER_MINUTE)


@asynccontextmanager
async def opened_imports(neto: AsyncNetoClient) -> AsyncIterator[Imports]:
    """Open the imports, those of an earlier process too."""
    limits = Limits(upload_bytes=MAX_UPLOAD)
    if DEPLOYED:
        from examples import deployed  # noqa: PLC0415

        async with deployed.opened(limits) as deployed_imports:
            yield deployed_imports
        return
    yield await embedded.opened(neto, limits)


@asynccontextmanager
async def importing(app: FastAPI) -> AsyncIterator[dict[str, Imports]]:
    """Go on with the imports of the last process, and leave them so that the next can go on."""
    neto: AsyncNetoClient = app.state.neto
    ending = asyncio.Event()
    async with opened_imports(neto) as imports:

        async def end() -> None:
            await ending.wait()
            imports.stop()
            await neto.aclose(GRACE)  # handlers that wait are answered: added, or certainly not sent
            await imports.aclose(GRACE)

        task = asyncio.create_task(end())
        try:
            with set_by_signals(ending):
                yield {"imports": imports}
        finally:
            ending.set()
            await task


@contextmanager
def set_by_signals(ending: asyncio.Event) -> Iterator[None]:
    """
    Set an event as soon as the server is asked to end.

    uvicorn ends the lifespan only after all open answers: event streams, which would go on for as long as their
    imports, and handlers, which it cancels in the end without reporting the outcome of their logs.
    """
    if threading.current_thread() is not threading.main_thread():  # as in Starlette's test client
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def heard(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(ending.set)
        servers_own = before[signal.Signals(number)]
        if callable(servers_own):
            servers_own(number, frame)

    for number in before:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Guard:
    """What `examples.guard` asks of each request, and the headers of each answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or let the application answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        heard(scope["client"])
        try:
            await self._answer(scope, receive, send_guarded)
        finally:
            answered(scope["client"])

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = foreign(scope["method"], Headers(scope=scope))
        if reason is not None:
            await JSONResponse({"detail": reason}, 403)(scope, receive, send)
        elif scope["path"] == "/imports":  # bounded by `Imports`
            await self._app(scope, receive, send)
        elif not scope["path"].endswith("/events"):
            await self._app(scope, bounded(receive), send)
        elif STREAMS.locked():
            await JSONResponse({"detail": TOO_MANY_STREAMS}, 503, {"Retry-After": "10"})(scope, receive, send)
        else:
            async with STREAMS:
                await self._app(scope, bounded(receive), send)


def bounded(receive: Receive) -> Receive:
    """Bound a body in bytes and in time."""
    deadline = asyncio.get_running_loop().time() + BODY_SECONDS
    size, more = 0, True

    async def receive_bounded() -> Message:
        nonlocal size, more
        if not more:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, "the body took too long") from None
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
        if size > MAX_BODY:
            raise HTTPException(413, f"the body is larger than {MAX_BODY:,} bytes")
        return message

    return receive_bounded


def json_only(request: Request) -> None:
    """Refuse a body that is not JSON by its type, such as the form of another site's page."""
    if not is_json(request.headers.get("Content-Type")):
        raise HTTPException(415, "the body has to be application/json")


class Refusal(BaseModel):
    """Why something is not done; where a parameter or a field is wrong, FastAPI lists what."""

    detail: str | list[Any]


REASONS = {
    400: "the body can't be read",
    403: "another site's page may not do this, or the service's name is not in HOSTS",
    404: "there is no such import or report",
    408: "the body took too long to arrive",
    409: "not in the state that the import is in",
    413: "the body is too large",
    415: "the body is not application/json",
    422: "a parameter is missing or wrong, or the file can't be imported",
    503: "too much at once, the service is ending, or its disk or database fails; Retry-After says when to try again",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Give what OpenAPI says of these answers."""
    return {status: {"model": Refusal, "description": REASONS[status]} for status in statuses}


UPLOAD = {
    "requestBody": {
        "description": "The file itself: CSV, NDJSON, JSON or XLSX, whatever its Content-Type; not a form.",
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""What OpenAPI says of an upload, which `add_import` reads as it comes."""

app = FastAPI(title="Customer logs", lifespan=neto_lifespan(open_client, lifespan=importing), responses=refusals(403))
app.add_middleware(Guard)
add_error_handlers(app)
app.mount("/page", StaticFiles(directory=PAGE))


@app.exception_handler(ClientDisconnect)
def gone(_request: Request, _error: ClientDisconnect) -> Response:
    """Let a sender go that has broken off: nobody reads this answer."""
    return Response(status_code=400)


@app.exception_handler(RefusedError)
def refused(_request: Request, error: RefusedError) -> JSONResponse:
    """Say why something is not done."""
    return JSONResponse({"detail": str(error)}, error.status, error.headers)


# -- single logs ----------------------------------------------------------------------------------------------------


class NewLog(BaseModel):
    """A log as a request brings it; what is wrong with it, the library says."""

    notes: str
    customer_name: str | None = None
    status: str | None = None
    follow_up_type: str | None = None
    allocated_to: str | None = None
    date_required_follow_up: date | None = None


@app.post(
    "/customers/{username}/logs",
    status_code=201,
    responses={**refusals(400, 408, 413, 415), **ERROR_RESPONSES},
    dependencies=[Depends(json_only)],
)
async def add_log(username: str, log: NewLog, neto: Neto) -> dict[str, int]:
    """Add a log and wait until its fate is known; handlers that do so at once share calls."""
    added = await neto.add_customer_log({"username": username, **log.model_dump()})
    return {"log_id": added.log_id}


@app.get("/health")
async def health(neto: Neto) -> dict[str, Any]:
    """Say what the client does and waits for."""
    return asdict(neto.statistics())


# -- imports --------------------------------------------------------------------------------------------------------


def get_imports(request: Request) -> Imports:
    """Return the imports."""
    imports: Imports = request.state.imports
    return imports


AllImports = Annotated[Imports, Depends(get_imports)]


@app.get("/imports", responses=refusals(503))
async def list_imports(imports: AllImports) -> dict[str, Any]:
    """List the imports, newest first, and what can be chosen for a new one."""
    newest_first, problems = await imports.listed()
    return {"imports": newest_first, "kinds": list(KINDS), "max_bytes": MAX_UPLOAD, "problems": problems}


@app.post(
    "/imports",
    status_code=202,
    responses={201: {"description": "Kept; with start=false"}, **refusals(408, 413, 422, 503)},
    openapi_extra=UPLOAD,
)
async def add_import(
    request: Request, imports: AllImports, name: str, kind: str = "", timezone: str = "", *, start: bool = True
) -> JSONResponse:
    """Take the file that is the body in, and begin to send; ``start=false`` leaves that to `start_import`."""
    id_ = await imports.add(name, request.stream(), mapping_for(kind, timezone))
    if start:
        await imports.start(id_)
    return JSONResponse(await imports.status(id_), 202 if start else 201, {"Location": f"/imports/{id_}"})


@app.get("/imports/{id_}", responses=refusals(404, 503))
async def show_import(id_: str, imports: AllImports) -> dict[str, Any]:
    """Say how far it is."""
    return await imports.status(id_)


@app.get("/imports/{id_}/preview", responses=refusals(404, 503))
async def preview_import(id_: str, imports: AllImports) -> dict[str, Any]:
    """Say what it sends: columns, the first logs, the first invalid rows."""
    return await imports.preview(id_)


@app.post("/imports/{id_}/start", status_code=202, responses=refusals(404, 503))
async def start_import(id_: str, imports: AllImports) -> dict[str, Any]:
    """Begin to send, or go on after a stop."""
    await imports.start(id_)
    return await imports.status(id_)


@app.post("/imports/{id_}/cancel", status_code=202, responses=refusals(404, 409, 503))
async def cancel_import(id_: str, imports: AllImports) -> dict[str, Any]:
    """Stop it: what is under way ends, and the rest is not sent before it is started again."""
    await imports.cancel(id_)
    return await imports.status(id_)


@app.post("/imports/{id_}/settle", status_code=202, responses=refusals(404, 409, 503))
async def settle_import(id_: str, imports: AllImports, *, sole_writer: bool = False) -> dict[str, Any]:
    """Read the customers of its rows in doubt back; with ``sole_writer=true`` under the guarantee that this names."""
    await imports.settle(id_, sole_writer=sole_writer)
    return await imports.status(id_)


@app.get("/imports/{id_}/events", responses=refusals(404, 503))
async def watch_import(id_: str, imports: AllImports) -> StreamingResponse:
    """Stream how far it is."""
    await imports.status(id_)  # an answer that has begun can't be a 404 any more
    events = (f"data: {json.dumps(status)}\n\n" async for status in imports.follow(id_))
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@app.get("/imports/{id_}/reports/{name}", responses=refusals(404, 503))
async def download_report(id_: str, name: str, imports: AllImports) -> StreamingResponse:
    """Return a report."""
    pieces = await imports.report(id_, name)
    headers = {"Content-Disposition": f'attachment; filename="{id_}-{name}"'}
    return StreamingResponse(pieces, media_type="text/csv", headers=headers)


@app.delete("/imports/{id_}", status_code=204, responses=refusals(404, 409, 503))
async def remove_import(id_: str, imports: AllImports) -> Response:
    """Delete an import that was never started, or has ended."""
    await imports.remove(id_)
    return Response(status_code=204)


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Show the page."""
    return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": PAGE_POLICY})


async def serve(port: int) -> None:
    """Run it until SIGTERM or Ctrl-C."""
    # The peer of a connection, as `guard` has to know it, and not whom a proxy names.
    config = uvicorn.Config(app, loop="asyncio", timeout_graceful_shutdown=10, access_log=False, proxy_headers=False)
    listener = listening(port)
    print(f"Running on http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(serve(int(os.environ.get("PORT", "8000"))))
