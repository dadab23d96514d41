"""
aiohttp: a client that opens and drains with the application, its key, and answers for our errors.

    app = web.Application(middlewares=[error_middleware()])
    app.cleanup_ctx.append(neto_context())

    async def add(request: web.Request) -> web.Response:
        added = await request.config_dict[NETO].add_customer_log(await request.json())
        return web.json_response({"log_id": added.log_id}, status=201)

May import: client, errors, the shared table of answers, aiohttp. Needs the extra ``aiohttp``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from neto_async.client import AsyncNetoClient
from neto_async.errors import ConfigurationError, NetoError
from neto_async.integrations._problems import CONTENT_TYPE, problem_for

try:
    from aiohttp import web
except ImportError as _error:
    raise ImportError('the aiohttp adapter needs aiohttp: pip install "neto_async[aiohttp]"') from _error

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

__all__ = ["NETO", "error_middleware", "neto_context"]

NETO: web.AppKey[AsyncNetoClient] = web.AppKey("neto", AsyncNetoClient)
"""The client's key: ``request.app[NETO]``, or ``request.config_dict[NETO]`` in a nested application."""


def neto_context(
    make_client: Callable[[], AsyncNetoClient] = AsyncNetoClient.from_env,
    *,
    key: web.AppKey[AsyncNetoClient] = NETO,
    grace: float = 20.0,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """
    Make a cleanup context that opens a client, and drains it when the application is cleaned up.

    Append it to ``app.cleanup_ctx`` before the contexts that use the client: they are left in the reverse order.

    Args:
        make_client: Makes the client, once for each start of the application. If it raises, the start fails.
        key: The client's key; each store's client needs its own.
        grace: Seconds for draining; what still waits then is certainly not sent. It follows the time for requests,
            which is up to twice the runner's ``shutdown_timeout`` (60 by default; observed with 3.14). Keep the sum
            below the time that a stopping process gets (by default 30 s in Kubernetes, 10 s for ``docker stop``).
            Clients of several stores are drained one after the other.
    """

    async def opened(app: web.Application) -> AsyncIterator[None]:
        if key in app:
            # Else the logs of one store would go to the other.
            raise ConfigurationError(f"{key!r} is taken: give each neto_context a key of its own")
        async with make_client() as client:
            app[key] = client
            try:
                yield
            finally:
                await client.aclose(timeout=grace)

    return opened


def error_middleware(*, show_messages: bool = False) -> Middleware:
    """
    Make a middleware that answers our errors with problem details (RFC 9457).

    422 invalid or refused · 503 certainly not saved, with Retry-After where the store gave one · 502 key refused ·
    504 may have been saved, must not be sent again blindly · 500 not configured, or a journal failed. Once an answer
    has begun, aiohttp breaks it off.

    Args:
        show_messages: Add Neto's own messages to the answer for a refused log. They echo what was sent.
    """

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except NetoError as error:
            if request.writer.output_size > 0:
                raise  # A second answer inside the first would read as a part of it.
            problem = problem_for(error, show_messages=show_messages)
        return web.json_response(
            dict(problem.body), status=problem.status, headers=problem.headers, content_type=CONTENT_TYPE
        )

    return answer
