"""The service with a Neto store on this machine: python -m examples.fastapi_service.demo. Nothing reaches Neto."""

from __future__ import annotations

import asyncio
import os
import tempfile

import uvicorn

from neto_async.sandbox import NetoSandbox


async def main() -> None:
    """Run both until Ctrl-C; logs and imports are gone then."""
    async with NetoSandbox(latency=0.5) as store:
        with tempfile.TemporaryDirectory() as folder:
            os.environ.update(
                NETO_STORE_URL=store.url,
                NETO_USERNAME=store.username or "",
                NETO_API_KEY=store.api_key,
                IMPORTS=folder,
            )
            port = int(os.environ.get("PORT", "8000"))
            print(f"The service: http://127.0.0.1:{port}/\nThe store, as its staff see it: {store.url}/", flush=True)
            config = uvicorn.Config("examples.fastapi_service.app:app", port=port, timeout_graceful_shutdown=10)
            await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())
