"""A callback that hears how far a run is: how often, what it may do, and what becomes of its errors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from attrs import define, field

from neto_async import ConfigurationError, ImportProgress, NotSent
from neto_async.importing.progress import REPORT_EVERY, ProgressCallback
from neto_async.sandbox import NetoSandbox, faults


@define(eq=False)
class Timer:
    """Something to do at a time."""

    when: float
    callback: Callable[[], object]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@define
class Clock:
    """Time that a test moves."""

    now: float = 100.0
    timers: list[Timer] = field(factory=list)

    def monotonic(self) -> float:
        return self.now

    def utcnow(self) -> datetime:
        return datetime.now(timezone.utc)

    def call_at(self, when: float, callback: Callable[..., object], *_: object) -> Timer:
        self.timers.append(Timer(when, callback))
        return self.timers[-1]

    def move(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer.when <= self.now]
        self.timers = [timer for timer in self.timers if timer not in due]
        for timer in due:
            if not timer.cancelled:
                timer.callback()


def test_changes_are_reported_now_and_then() -> None:
    """The first change is reported in the next turn, those that follow together, when their time has come."""
    clock, said = Clock(), []
    teller = ProgressCallback(clock, ImportProgress, lambda _: said.append(clock.now))

    for _ in range(3):
        teller.changed()
    assert [] == said
    clock.move(0)
    for _ in range(3):
        teller.changed()
        clock.move(REPORT_EVERY / 4)
    clock.move(REPORT_EVERY)
    clock.move(REPORT_EVERY)

    assert [100.0, pytest.approx(100.0 + REPORT_EVERY * 1.75)] == said


def test_the_end_is_reported_once() -> None:
    """The end is reported at once, and not again: neither by a change before it nor by a second end."""
    clock, said = Clock(), []
    teller = ProgressCallback(clock, ImportProgress, said.append)

    teller.changed()
    teller.end()
    clock.move(REPORT_EVERY)
    assert [ImportProgress()] == said

    teller.end()
    assert 1 == len(said)


async def test_the_last_word_is_the_whole(store: NetoSandbox, connect: Any) -> None:
    """The last call says what `progress` says after the run: every record and a final time."""
    said: list[ImportProgress] = []
    neto = await connect(store, batch_size=2)

    async with neto.import_customer_logs([{"Notes": str(row)} for row in range(5)], on_progress=said.append) as run:
        async for _ in run:
            pass

    assert (5, 5, 3) == (said[-1].added, said[-1].total, said[-1].calls)
    assert said[-1] == run.progress
    assert 0 < said[-1].seconds
    assert 0 < said[-1].records_per_second


async def test_a_callback_may_stop_the_run(store: NetoSandbox, connect: Any) -> None:
    """What it hears, it may act on: a run that it stops ends as any that is stopped."""
    store.faults.always(faults.Late(seconds=0.01))
    neto = await connect(store, batch_size=1, max_concurrency=1)

    def stop(_: ImportProgress) -> None:
        run.stop()

    run = neto.import_customer_logs(({"Notes": str(row)} for row in range(1_000_000)), on_progress=stop)
    async with run:
        outcomes = [outcome async for outcome in run]

    assert any(isinstance(outcome, NotSent) for outcome in outcomes)
    assert run.progress.stopped_at == len(outcomes) < 1_000_000


async def test_an_error_of_a_callback_harms_nothing(
    store: NetoSandbox, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends in the log, by its class and without its text; every record is added."""

    def fail(_: ImportProgress) -> None:
        raise ValueError("CANARY")

    neto = await connect(store)
    async with neto.import_customer_logs([{"Notes": "a"}, {"Notes": "b"}], on_progress=fail) as run:
        async for _ in run:
            pass

    assert 2 == run.progress.added == store.log_count
    said = {(record.levelno, record.getMessage()) for record in caplog.records}
    assert {(logging.ERROR, "the callback for the progress of a run raised ValueError")} == said
    assert "CANARY" not in caplog.text


async def test_a_callback_is_not_awaited(store: NetoSandbox, connect: Any) -> None:
    """A coroutine function would never run, so it is refused at once."""

    async def tell(_: ImportProgress) -> None: ...

    neto = await connect(store)
    with pytest.raises(ConfigurationError, match="plain function"):
        neto.import_customer_logs([], on_progress=tell)
