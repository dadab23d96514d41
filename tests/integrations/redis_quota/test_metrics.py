"""Metrics of two processes that share a quota: what a dashboard sums, and of what it takes the largest."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from attrs import define, field
from members import Server, open_gate
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from neto_async import AsyncNetoClient, CustomerLog, RateLimitedError
from neto_async.integrations.opentelemetry import instrument
from neto_async.integrations.redis import RedisQuota
from neto_async.sandbox import faults

LOG = CustomerLog(notes="Rang back.")


@define
class Process:
    """A client with a meter provider of its own, as each process has one."""

    neto: AsyncNetoClient
    reader: InMemoryMetricReader = field(factory=InMemoryMetricReader)

    def __attrs_post_init__(self) -> None:
        instrument(self.neto, meter_provider=MeterProvider([self.reader], shutdown_on_exit=False))

    def values(self, name: str) -> dict[str, float]:
        """Give the values of a metric that are not 0, by the attribute that is not the server's."""
        ((scope,),) = [resource.scope_metrics for resource in self.reader.get_metrics_data().resource_metrics]
        (metric,) = [metric for metric in scope.metrics if metric.name == name]
        return {
            " ".join(
                str(value) for key, value in point.attributes.items() if not key.startswith("server.")
            ): point.value
            for point in metric.data.data_points
            if point.value
        }


async def two_processes(store: Any, connect: Any, server: Server, look: Any) -> list[Process]:
    """Start two with one quota, at a store that nobody has called before."""
    await open_gate(look, store.url)
    return [Process(await connect(store, quota=RedisQuota(server.url))) for _ in range(2)]


async def test_the_largest_number_of_used_places_is_the_account_s(store, connect, server, look):
    """Each process tells what its last answer said of all processes, and says so; a sum would count calls twice."""
    first, second = await two_processes(store, connect, server, look)
    await first.neto.add_customer_log(LOG)
    await second.neto.add_customer_log(LOG)

    used = [process.values("neto.client.quota.used") for process in (first, second)]
    assert {"account"} == {scope for values in used for scope in values}
    assert 2 == max(values["account"] for values in used)
    assert [1, 1] == [process.values("neto.client.calls")[""] for process in (first, second)]


async def test_a_pause_shows_where_it_was_asked_for_and_where_records_wait(store, connect, server, look):
    """One process was asked for the pause and knows how long it is; the other one's records wait on it."""
    first, second = await two_processes(store, connect, server, look)
    store.faults.next(faults.TooManyCalls(retry_after=900))
    with suppress(RateLimitedError):
        await first.neto.add_customer_log(LOG, give_up_after=1.0)
    waiting = asyncio.ensure_future(second.neto.add_customer_log(LOG))
    while second.neto.statistics().waiting_on != "pause":
        await asyncio.wait({waiting}, timeout=0)

    paused = [process.values("neto.client.paused_for") for process in (first, second)]
    assert 890 < max(values.get("", 0) for values in paused) <= 900
    assert {"pause": 1} == second.values("neto.client.waiting_on")
    assert {"single": 1} == second.values("neto.client.waiting")
    waiting.cancel()
