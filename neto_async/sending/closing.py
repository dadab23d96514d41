"""Draining an engine, and closing it with its transport. May import: the rest of sending, results."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from neto_async.results import DrainReport
from neto_async.sending.engine import Engine
from neto_async.sending.observing import logger
from neto_async.sending.transport import HttpTransport

__all__ = ["close", "drain"]


async def drain(engine: Engine, timeout: float | None, sources: Iterable[asyncio.Future[None]] = ()) -> DrainReport:  # noqa: ASYNC109
    """
    Wait until what callers wait for and all calls under way have ended, or a timeout in seconds is over.

    ``sources`` are the ends of bulk adds: what they have not read yet was submitted as well.
    """
    began = engine.clock.monotonic()
    drained = await engine.wait_settled(engine.submitted(), timeout)
    if drained and sources:
        _, running = await asyncio.wait(sources, timeout=_left(engine, began, timeout))
        drained = not running
    in_flight = 0 if drained else engine.records_in_flight()
    waiting = 0 if drained else len(engine.unsettled()) - in_flight
    seconds = engine.clock.monotonic() - began
    return DrainReport(drained=drained, left_in_flight=in_flight, left_waiting=waiting, seconds=seconds)


async def close(
    engine: Engine,
    transport: HttpTransport,
    timeout: float | None,  # noqa: ASYNC109
    sources: Iterable[asyncio.Future[None]],
) -> DrainReport:
    """Take no more records, drain, settle what still waits as not sent, and close the connections."""
    began = engine.clock.monotonic()
    engine.close_intake()
    await drain(engine, timeout, sources)
    waiting = len(engine.unsettled()) - engine.records_in_flight()
    engine.fail_waiting()
    # Imports may have begun calls since: closing the connections now would put their records in doubt.
    await drain(engine, _left(engine, began, timeout))
    carried = engine.records_in_flight()
    engine.revoke_calls()
    in_flight = engine.records_in_flight()
    waiting += carried - in_flight
    await asyncio.sleep(0)
    if waiting or in_flight:
        logger.warning(
            "closed with %d records in calls that have not ended and %d that were not sent",
            in_flight,
            waiting,
            extra={"neto_in_flight": in_flight, "neto_not_sent": waiting},
        )
    await transport.aclose()
    if transport.closed:
        await engine.wait_for_closed_calls()
    await engine.quota.aclose()
    seconds, drained = engine.clock.monotonic() - began, not (waiting or in_flight)
    return DrainReport(drained=drained, left_in_flight=in_flight, left_waiting=waiting, seconds=seconds)


def _left(engine: Engine, began: float, timeout: float | None) -> float | None:
    return None if timeout is None else max(timeout - (engine.clock.monotonic() - began), 0.0)
