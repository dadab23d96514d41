# ruff: noqa: FAST003 (`OneJob` takes it from the path)
"""
A FastAPI service with neto_async: single logs from handlers, imports of uploads that survive a restart, and a page.

    uvicorn examples.fastapi_service.app:app --timeout-graceful-shutdown 10

From the environment: NETO_STORE_URL, NETO_USERNAME, NETO_API_KEY; IMPORTS, the folder of the imports; MAX_UPLOAD, in
bytes; REQUESTS_PER_MINUTE, this process's share of the store's limit; GRACE, seconds for the calls under way when the
server ends. Without a store: see demo.py.
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
from typing import Annotated, Any

from attrs import asdict
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from examples.jobs import KINDS, Imports, Job, RefusedFileError, TooLargeError, mapping_for
from neto_async import AsyncNetoClient
from neto_async.integrations.fastapi import Neto, add_error_handlers, neto_lifespan

PAGE = Path(__file__).parent / "page"
MAX_UPLOAD = int(os.environ.get("MAX_UPLOAD", "100_000_000"))
GRACE = float(os.environ.get("GRACE", "5"))
REQUESTS_PER_MINUTE = float(os.environ.get("REQUESTS_PER_MINUTE", "400"))


def open_client() -> AsyncNetoClient:
    """Make the application's client."""
    return AsyncNetoClient.from_env(requests_per_minute=REQUESTS_PER_MINUTE)


@asynccontextmanager
async def importing(app: FastAPI) -> AsyncIterator[dict[str, Imports]]:
    """Go on with the imports of the last process, and leave them so that the next can go on."""
    neto: AsyncNetoClient = app.state.neto
    imports = Imports(neto, Path(os.environ.get("IMPORTS", "imports")), max_bytes=MAX_UPLOAD)
    ending = asyncio.Event()

    async def end() -> None:
        await ending.wait()
        imports.stop()
        await neto.aclose(GRACE)  # handlers that wait are answered: added, or certainly not sent
        await imports.aclose(GRACE)

    await imports.resume()
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
    imports, and handlers, which it breaks off at last without a word on what became of their logs.
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


async def not_for_other_sites(request: Request) -> None:
    """Refuse what a page of another site sends in a person's browser: nobody is asked who they are here."""
    if request.method != "GET" and request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        raise HTTPException(403, "another site's page may not do this")


app = FastAPI(
    title="Customer logs",
    lifespan=neto_lifespan(open_client, lifespan=importing),
    dependencies=[Depends(not_for_other_sites)],
)
add_error_handlers(app)
app.mount("/page", StaticFiles(directory=PAGE))


@app.exception_handler(RefusedFileError)
def refused(_request: Request, error: RefusedFileError) -> JSONResponse:
    """Say why an upload is not taken."""
    return JSONResponse({"detail": str(error)}, 413 if isinstance(error, TooLargeError) else 422)


# -- single logs ----------------------------------------------------------------------------------------------------


class NewLog(BaseModel):
    """A log as a request brings it; what is wrong with it, the library says."""

    notes: str
    customer_name: str | None = None
    status: str | None = None
    follow_up_type: str | None = None
    allocated_to: str | None = None
    date_required_follow_up: date | None = None


@app.post("/customers/{username}/logs", status_code=201)
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
    """Hand out the imports."""
    imports: Imports = request.state.imports
    return imports


AllImports = Annotated[Imports, Depends(get_imports)]


def get_job(job_id: str, imports: AllImports) -> Job:
    """Find the import that a path names."""
    if job_id not in imports.jobs:
        raise HTTPException(404, "there is no such import")
    return imports.jobs[job_id]


OneJob = Annotated[Job, Depends(get_job)]


@app.get("/imports")
async def list_imports(imports: AllImports) -> dict[str, Any]:
    """List the imports, newest first, and what can be chosen for a new one."""
    newest_first = [job.status for job in reversed(list(imports.jobs.values()))]
    return {"imports": newest_first, "kinds": list(KINDS), "max_bytes": MAX_UPLOAD}


@app.post("/imports")
async def add_import(
    request: Request, imports: AllImports, name: str, kind: str = "", timezone: str = "", *, start: bool = True
) -> JSONResponse:
    """Take the file that is the body in; with ``start=false`` nothing is sent before `start_import`."""
    job = await imports.add(name, request.stream(), mapping_for(kind, timezone))
    if start:
        await imports.start(job)
    return JSONResponse(job.status, 202 if start else 201, {"Location": f"/imports/{job.id}"})


@app.get("/imports/{job_id}")
async def show_import(job: OneJob) -> dict[str, Any]:
    """Say how far it is."""
    return job.status


@app.get("/imports/{job_id}/preview")
async def preview_import(job: OneJob, imports: AllImports) -> dict[str, Any]:
    """Say what it sends: columns, the first logs, the first invalid rows."""
    return await imports.preview(job)


@app.post("/imports/{job_id}/start", status_code=202)
async def start_import(job: OneJob, imports: AllImports) -> dict[str, Any]:
    """Begin to send, or go on after a stop."""
    await imports.start(job)
    return job.status


@app.get("/imports/{job_id}/events")
async def watch_import(job: OneJob, imports: AllImports) -> StreamingResponse:
    """Tell how far it is, as it goes."""
    events = (f"data: {json.dumps(status)}\n\n" async for status in imports.statuses(job))
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@app.get("/imports/{job_id}/reports/{name}")
async def download_report(job: OneJob, name: str) -> FileResponse:
    """Hand out a report."""
    path = job.report(name)
    if path is None:
        raise HTTPException(404, "there is no such report")
    return FileResponse(path, media_type="text/csv", filename=f"{job.id}-{name}")


@app.delete("/imports/{job_id}", status_code=204)
async def remove_import(job: OneJob, imports: AllImports) -> Response:
    """Delete an import that was never started, or is through."""
    if not imports.remove(job):
        raise HTTPException(409, "it is not through: its journal knows what was sent")
    return Response(status_code=204)


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Show the page."""
    return FileResponse(PAGE / "index.html")
