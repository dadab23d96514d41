"""
FastAPI: a client that opens and drains with the application, a dependency, and answers for our errors.

    app = FastAPI(lifespan=neto_lifespan())
    add_error_handlers(app)

    @app.post("/logs", status_code=201)
    async def add(log: LogIn, neto: Neto) -> dict[str, int]:
        added = await neto.add_customer_log(log.model_dump())
        return {"log_id": added.log_id}

May import: client, errors, the shared table of answers, FastAPI. Needs the extra ``fastapi``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, TypeAlias

from neto_async.client import AsyncNetoClient
from neto_async.errors import ConfigurationError, NetoError
from neto_async.integrations._problems import CONTENT_TYPE, gateway_titles, problem_for

try:
    from fastapi import Depends, FastAPI, Request
    from fastapi.requests import HTTPConnection  # noqa: TC002 - FastAPI reads annotations at run time
    from fastapi.responses import JSONResponse
except ImportError as _error:
    raise ImportError('the FastAPI adapter needs FastAPI: pip install "neto_async[fastapi]"') from _error

__all__ = ["ERROR_RESPONSES", "Lifespan", "Neto", "add_error_handlers", "get_neto", "neto_lifespan", "neto_named"]

Lifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any] | None]]
"""A lifespan of your own, with or without a state."""


def neto_lifespan(
    make_client: Callable[[], AsyncNetoClient] = AsyncNetoClient.from_env,
    *,
    name: str = "neto",
    grace: float = 20.0,
    lifespan: Lifespan | None = None,
) -> Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]:
    """
    Make a lifespan that opens a client, and drains it when the server shuts down.

    The client is ``request.state.neto`` in requests, mounted applications included, and ``app.state.neto`` elsewhere,
    for example in your own lifespan. The server ends its requests before draining begins: what is drained was left by
    cancelled handlers, background tasks and imports.

    Args:
        make_client: Makes the client, once for each start of the application. If it raises, the start fails.
        name: The client's name in both states; each store's client needs its own.
        grace: Seconds for draining; what still waits then is certainly not sent. Keep it below the time that a stopping
            process gets (by default 30 s in Kubernetes, 10 s for ``docker stop``), less the time for requests. Clients
            of several stores are drained one after the other.
        lifespan: Your own, or one for another store; it runs inside ours, so it can use the client from its first line
            to its last.
    """

    @asynccontextmanager
    async def opened(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        if hasattr(app.state, name):
            # Else the logs of one store would go to the other.
            raise ConfigurationError(f"app.state.{name} is taken: give each neto_lifespan a name of its own")
        async with make_client() as client:
            setattr(app.state, name, client)
            try:
                if lifespan is None:
                    yield {name: client}
                else:
                    async with lifespan(app) as state:
                        yield {**(state or {}), name: client}
            finally:
                delattr(app.state, name)
                await client.aclose(timeout=grace)

    return opened


def neto_named(name: str) -> Callable[[HTTPConnection], AsyncNetoClient]:
    """Make a dependency that returns the client of that name, for an application with several stores."""

    def get_client(connection: HTTPConnection) -> AsyncNetoClient:
        """
        Return the application's client.

        Raises:
            ConfigurationError: The application was not given `neto_lifespan`, or its server runs no lifespans.
        """
        client = getattr(connection.state, name, None)
        if not isinstance(client, AsyncNetoClient):
            raise ConfigurationError(f"there is no client {name}: give the application lifespan=neto_lifespan()")
        return client

    return get_client


get_neto: Callable[[HTTPConnection], AsyncNetoClient] = neto_named("neto")
"""The dependency behind `Neto`; use it in ``app.dependency_overrides`` to replace the client."""

Neto: TypeAlias = Annotated[AsyncNetoClient, Depends(get_neto)]
"""Annotate a parameter of a handler with it to get the client."""

ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": titles, "content": {CONTENT_TYPE: {"schema": {"type": "object"}}}}
    for status, titles in gateway_titles().items()
}
"""For ``responses=`` of a route that adds logs, so that OpenAPI lists 502, 503 and 504 too."""


def add_error_handlers(app: FastAPI, *, show_messages: bool = False) -> None:
    """
    Answer our errors with problem details (RFC 9457); your own handler for one of them goes first.

    422 invalid or refused · 503 certainly not saved, with Retry-After where the store gave one · 502 key refused ·
    504 may have been saved, must not be sent again blindly · 500 not configured, or a journal failed. A mounted
    application needs its own. Once an answer has begun, Starlette breaks it off.

    Args:
        app: The application.
        show_messages: Add Neto's own messages to the answer for a refused log. They echo what was sent.
    """

    async def answer(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 - Starlette's form
        assert isinstance(error, NetoError)  # noqa: S101
        problem = problem_for(error, show_messages=show_messages)
        return JSONResponse(dict(problem.body), problem.status, dict(problem.headers), CONTENT_TYPE)

    app.add_exception_handler(NetoError, answer)
