"""The service with a Neto store on this machine: python -m examples.aiohttp_service.demo. Nothing reaches Neto."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from examples.aiohttp_service.app import make_app, serve
from neto_async.sandbox import NetoSandbox

if TYPE_CHECKING:
    from aiohttp import web


async def with_a_store(app: web.Application) -> AsyncIterator[None]:  # noqa: ARG001 - aiohttp's form
    """Run the store while the service runs, and set its variables; logs and imports are gone at the end."""
    async with NetoSandbox(latency=0.5) as store:
        with tempfile.TemporaryDirectory() as folder:
            os.environ.update(
                NETO_STORE_URL=store.url,
                NETO_USERNAME=store.username or "",
                NETO_API_KEY=store.api_key,
                IMPORTS=folder,
                SETTLE_AFTER="0",  # this store, unlike Neto, saves a call at once or never
            )
            print(f"The store, as its staff see it: {store.url}/")
            yield


if __name__ == "__main__":
    app = make_app()
    app.cleanup_ctx.insert(0, with_a_store)
    serve(app)
