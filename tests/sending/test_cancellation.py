"""Cancelling at every await point: what was not sealed is never sent, and no neighbour notices."""

from __future__ import annotations

import asyncio

import pytest
from scripted import Network, answers, client
from virtual import run

from neto_async import CustomerLog


@pytest.mark.parametrize("turns", [0, 1])
def test_a_single_add_cancelled_before_sealing_is_never_sent(turns):
    """Cancelled in any turn of the loop before its batch is sealed, a log never leaves."""
    network = Network()

    async def work() -> int:
        async with client(network) as neto:
            task = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="withdrawn")))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            report = await neto.flush()
            assert (True, True) == (task.cancelled(), report.drained)
            return neto.statistics().calls

    assert (0, 0) == (run(work), network.tried)


def test_what_was_withdrawn_waits_no_more():
    """A log whose call came back unsaved and whose caller was cancelled since does not count as waiting."""
    network = Network()
    network.script.append(answers(429, retry_after="30"))

    async def work() -> list[int]:
        waiting = []
        async with client(network) as neto:
            tasks = [asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes=text))) for text in "abc"]
            await asyncio.sleep(1)
            waiting.append(neto.statistics().waiting_single)
            tasks[1].cancel()
            await asyncio.wait({tasks[1]})
            waiting.append(neto.statistics().waiting_single)
            await asyncio.gather(tasks[0], tasks[2])
            waiting.append(neto.statistics().waiting_single)
        return waiting

    assert [3, 2, 0] == run(work)
    assert [(1, "a"), (2, "c")] == network.ledger
