"""What a call carried is freed at its end, and need not wait for the garbage collector."""

from __future__ import annotations

import gc
import weakref

from neto_async import AsyncNetoClient, CustomerLog
from neto_async.sandbox import NetoSandbox


async def test_what_a_call_carried_is_freed_at_its_end():
    """A cycle would keep customers' texts, and have the collector hold the loop for milliseconds at a time."""
    async with (
        NetoSandbox() as store,
        AsyncNetoClient(store.url, username=store.username, api_key=store.api_key) as neto,
    ):
        await neto.add_customer_log(CustomerLog(notes="a"))
        gc.collect()
        gc.disable()
        try:
            log = CustomerLog(notes="b")
            freed = weakref.ref(log)
            await neto.add_customer_log(log)
            del log
            await neto.add_customer_log(CustomerLog(notes="c"))
            assert None is freed()
        finally:
            gc.enable()
