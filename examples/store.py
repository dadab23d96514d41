"""A Neto store as a program of its own, for compose.yaml; LISTEN and PORT in the environment say where."""

from __future__ import annotations

import asyncio
import os

from neto_async.sandbox import NetoSandbox


def make_store() -> NetoSandbox:
    """Make one that takes its time and limits no calls."""
    host, port = os.environ.get("LISTEN", "127.0.0.1"), int(os.environ.get("PORT", "0"))
    return NetoSandbox(host=host, port=port, latency=0.5, requests_per_minute=None)


async def main() -> None:
    """Run it until it is ended."""
    async with make_store() as store:
        print(f"The store, as its staff see it: {store.url}/", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
