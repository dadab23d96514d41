"""The service with a Neto store on this machine: python -m examples.fastapi_service.demo. Nothing reaches Neto."""

from __future__ import annotations

import asyncio
import os
import tempfile

from examples.fastapi_service.app import serve
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
                SETTLE_AFTER="0",  # this store, unlike Neto, saves a call at once or never
            )
            print(f"The store, as its staff see it: {store.url}/", flush=True)
            await serve(int(os.environ.get("PORT", "8000")))


if __name__ == "__main__":
    asyncio.run(main())
