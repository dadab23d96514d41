"""A process of an account: it adds logs without end, singly or by an import, within a quota in Redis."""

from __future__ import annotations

import asyncio
import itertools
import sys

from neto_async import AsyncNetoClient
from neto_async.integrations import redis as module


async def main(store_url: str, quota_url: str, calls: int, lane: str) -> None:
    module.END_WITHIN = 0.1
    quota = module.RedisQuota(quota_url, calls_per_minute=calls, window=2.0, longest_call=1.0, leave_within=0.5)
    keys = {"api_key": "sandbox-key", "username": "sandbox"}
    async with AsyncNetoClient(store_url, **keys, quota=quota, timeout=1.0, batch_size=1) as neto:
        if lane == "imports":
            async with neto.import_customer_logs({"notes": lane} for _ in itertools.count()) as run:
                await run.finish()
        while True:
            await neto.add_customer_log({"notes": lane})


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
