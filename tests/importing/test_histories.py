"""
Any history of an import: runs that are killed, stores that fail in every way, sources that are fixed and grow.

The law: no run sends a row that may have been saved; what is said of each row is true; the last run finishes.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from attrs import Factory, define, frozen
from hypothesis import event, given, settings
from hypothesis import strategies as st

from neto_async import AsyncNetoClient, ConfigurationError
from neto_async.importing import run as importing_run
from neto_async.journals.protocol import Intent, JournalEvent, RowState
from neto_async.journals.sqlite import SqliteJournal
from neto_async.sending.clock import LoopClock
from neto_async.sending.engine import Engine
from neto_async.sending.exchange import Failure, HttpReply, OutgoingBody

STORE = "http://localhost"
KINDS = ["saves", "saves and breaks", "breaks", "never leaves", "too many", "refuses the key"]


@define
class World:
    """The store, what the network knows of each row, and whether the importing process lives."""

    ledger: dict[int, str] = Factory(dict)
    open: set[str] = Factory(set)  # rows that left and of which no answer said that they were not saved
    sent_again: set[str] = Factory(set)
    intended: set[str] = Factory(set)  # rows of this run that were about to leave
    doubted: set[str] = Factory(set)  # such rows of runs that were killed: nobody may have seen their calls end
    reported: set[str] = Factory(set)  # rows that the store refused
    dies_at: int = -1  # steps that the process still lives; below zero it is not killed
    alive: bool = True
    stop: Any = None  # stops the run that is under way

    def step(self) -> bool:
        """Pass a step, at which the process may die; say whether it lives."""
        if self.dies_at == 0:
            self.alive = False
        self.dies_at -= 1
        return self.alive


@define
class Wire:
    """A network that plays a script, then saves; nothing leaves a dead process."""

    world: World
    script: list[str]
    stops_at: int = -1  # the call during which the run is stopped
    calls: int = 0

    async def call(self, body: OutgoingBody) -> HttpReply | Failure:
        self.calls += 1
        await asyncio.sleep(0)
        kind = self.script.pop(0) if self.script else "saves"
        if kind == "never leaves" or not self.world.step():
            return Failure(name="ConnectError")
        notes = [
            log["Notes"] for log in json.loads(b"".join([piece async for piece in body]))["CustomerLogs"]["CustomerLog"]
        ]
        self.world.sent_again |= self.world.open & set(notes)
        first_time = set(notes) - self.world.open
        self.world.open |= set(notes)
        answer = self._answer(kind, notes, first_time)
        if self.calls == self.stops_at:
            self.world.stop()
        if not self.world.step():
            return Failure(name="ReadError")
        await asyncio.sleep(0)
        return answer

    def _answer(self, kind: str, notes: list[str], first_time: set[str]) -> HttpReply | Failure:
        # What a call of before may have saved, no refusal of now takes back.
        world = self.world
        if kind == "too many":
            world.open -= first_time
            return HttpReply(status=429, headers={"retry-after": "0"}, body=b"")
        if kind == "refuses the key":
            world.open -= first_time
            return HttpReply(status=401, headers={}, body=b"")
        if kind == "breaks":
            return Failure(name="ReadError")
        if any("poison" in text for text in notes):
            world.open -= first_time
            world.reported |= set(notes) if len(notes) == 1 else set()
            message = {"Message": "bad", "SeverityCode": "Error"}
            return _reply({"Ack": "Error", "Messages": {"Error": message}})
        ids = range(len(world.ledger) + 1, len(world.ledger) + 1 + len(notes))
        world.ledger.update(zip(ids, notes, strict=True))
        if kind == "saves and breaks":
            return Failure(name="ReadError")
        return _reply({"Ack": "Success", "CustomerLog": [{"LogID": log_id} for log_id in ids]})

    async def aclose(self) -> None:
        """Nothing is open."""


def _reply(document: object) -> HttpReply:
    return HttpReply(status=200, headers={}, body=json.dumps(document).encode())


class Mortal(SqliteJournal):
    """Writes nothing once the process is dead, which may be before or after any write."""

    def __init__(self, path: Path, world: World, notes: list[str]) -> None:
        super().__init__(path)
        self._world = world
        self._notes = notes

    def write(self, entries: Sequence[JournalEvent]) -> None:
        if self._world.step():
            super().write(entries)
            for entry in entries:
                if isinstance(entry, Intent):
                    self._world.intended |= {self._notes[position] for position, _ in entry.rows}
            self._world.step()

    def finish(self, rows: int) -> None:
        if self._world.alive:
            super().finish(rows)


class NoWaiting(LoopClock):
    """A clock on which every wait is over at once."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def utcnow(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=timezone.utc)

    def call_at(self, when: float, callback: Any, *args: object) -> Any:
        def come() -> None:
            self._now = max(self._now, when)
            callback(*args)

        return asyncio.get_running_loop().call_soon(come)


async def run_once(world: World, path: Path, notes: list[str], plan: Run, *, once: bool = False) -> list[Any] | None:
    """Import in a process that may die; None where it did, or gave up. ``once``: from what can be read but once."""
    world.alive, world.dies_at, world.intended = True, plan.dies_at, set()
    settings = {"batch_size": plan.batch_size, "max_concurrency": plan.calls, "requests_per_minute": None}
    async with AsyncNetoClient(STORE, api_key="key", **settings) as neto:
        wire = Wire(world, list(plan.script), plan.stops_at)
        neto._engine = Engine(neto._settings, wire, clock=NoWaiting(), jitter=lambda: 0.0)
        rows = [{"Notes": text} if text else {"nope": "x"} for text in notes]
        outcomes: list[Any] = []
        async with neto.import_customer_logs(
            iter(rows) if once else rows,
            journal=Mortal(path, world, notes),
            retry_rejected=plan.retry_rejected,
            in_doubt="resend" if plan.resends else "hold",
            read_on=True,
        ) as run:
            world.stop = run.stop
            async for outcome in run:
                outcomes += [outcome] if world.alive else []
                if len(outcomes) == plan.leaves_after:
                    break
        outcomes += run.unread if world.alive else ()
    if not world.alive:
        # Only now: while the process dies in the loop, its thread may be writing.
        world.doubted |= world.intended
    check(world, notes, outcomes)
    if world.alive:
        compare(path, outcomes)
    return outcomes if world.alive and len(outcomes) == len(notes) else None


def check(world: World, notes: list[str], outcomes: list[Any]) -> None:
    """Compare what was said, whatever happened afterwards, with the store."""
    saved = list(world.ledger.values())
    assert len({outcome.index for outcome in outcomes}) == len(outcomes)
    for outcome in outcomes:
        text = notes[outcome.index]
        match type(outcome).__name__:
            case "Added":
                assert text == world.ledger[outcome.log_id]
            case "Unknown":
                assert text in world.open | world.doubted
            case "Rejected":
                assert text in world.reported
                assert text not in saved
            case "NotSent":
                assert text not in world.open
            case _:
                assert not text


def compare(path: Path, outcomes: list[Any]) -> None:
    """Compare what was said with what the journal holds then, row by row."""
    journal = SqliteJournal(path)
    journal.open(STORE)
    known = {row.position: row for row in journal.known()}
    journal.close()
    for outcome in outcomes:
        row = known.get(outcome.index)
        match type(outcome).__name__:
            case "Added":
                assert (RowState.ADDED, outcome.log_id) == (row and row.state, row and row.log_id)
            case "Rejected" | "Unknown" as name:
                assert RowState[name.upper()] == (row and row.state)
            case _:
                # An earlier run may have seen it refused; this one did not send it.
                assert row is None or row.state is RowState.REJECTED


@frozen
class Run:
    """How one run goes."""

    script: tuple[str, ...]
    dies_at: int
    leaves_after: int
    batch_size: int
    calls: int
    retry_rejected: bool
    stops_at: int = -1
    resends: bool = False


A_RUN: dict[str, Any] = dict(  # noqa: C408 - as it is handed on
    script=st.lists(st.sampled_from(KINDS), max_size=8).map(tuple),
    dies_at=st.one_of(st.just(-1), st.integers(0, 20)),
    leaves_after=st.one_of(st.just(-1), st.integers(1, 6)),
    batch_size=st.integers(1, 4),
    calls=st.integers(1, 3),
    retry_rejected=st.booleans(),
    stops_at=st.one_of(st.just(-1), st.integers(1, 6)),
)
RUNS = st.builds(Run, **A_RUN)
# Of what may go wrong with sending again: calls that carry rows in doubt beside others, and are refused at a stop.
RESENDING = st.builds(
    Run,
    **A_RUN
    | {
        "script": st.lists(st.sampled_from(["saves", "breaks"]), max_size=3).map(lambda rest: ("saves", *rest)),
        "dies_at": st.just(-1),
        "leaves_after": st.just(-1),
        "batch_size": st.integers(2, 6),
        "calls": st.just(1),
        "stops_at": st.sampled_from([-1, 2, 2, 3]),
        "resends": st.just(True),
    },
)
ROWS = st.lists(st.sampled_from(["good", "good", "good", "poison", ""]), min_size=1, max_size=12)
LAST = Run((), -1, -1, 3, 2, retry_rejected=False)


@given(rows=ROWS, runs=st.lists(RUNS, min_size=1, max_size=4), fixes=st.data())
@settings(max_examples=30, deadline=None)
def test_any_history(tmp_path_factory: Any, rows: list[str], runs: list[Run], fixes: Any) -> None:
    """No row that may be in the store is ever sent again, all that is said is true, and a last run finishes."""
    path = tmp_path_factory.mktemp("history") / "import.db"
    notes = [kind and f"{kind} {number}" for number, kind in enumerate(rows)]
    world = World()
    for number, plan in enumerate(runs):
        if asyncio.run(run_once(world, path, notes, plan)) is None:
            event("a run that was killed, or left")
        # What was never saved for certain may be fixed in place, and the source may grow.
        for place, text in enumerate(notes):
            # Drawn in any case: which rows are open depends on how threads took turns.
            if fixes.draw(st.integers(0, 3)) == 0 and text not in world.open | world.doubted:
                notes[place] = f"fixed {place} {number}"
        notes += [f"grown {number}" for _ in range(fixes.draw(st.integers(0, 1)))]

    outcomes = asyncio.run(run_once(world, path, notes, LAST))
    calls = len(world.ledger)
    again = asyncio.run(run_once(world, path, notes, LAST))

    assert outcomes is not None
    assert again is not None
    assert {"Added", "Unknown", "Rejected", "Invalid"} >= {type(outcome).__name__ for outcome in outcomes}
    assert all(outcome.replayed or type(outcome).__name__ == "Invalid" for outcome in again)
    assert calls == len(world.ledger) == len(set(world.ledger.values()))
    assert set() == world.sent_again


@pytest.mark.thorough
@given(
    rows=st.lists(st.sampled_from(["good", "good", "poison"]), min_size=4, max_size=12),
    runs=st.lists(RESENDING, min_size=2, max_size=4),
)
@settings(max_examples=70, deadline=None)
def test_what_is_said_is_what_is_noted(tmp_path_factory: Any, rows: list[str], runs: list[Run]) -> None:
    """Where rows in doubt are sent again, too, and runs are stopped, the journal says of each row what its run said."""
    path = tmp_path_factory.mktemp("history") / "import.db"
    notes = [kind and f"{kind} {number}" for number, kind in enumerate(rows)]
    world = World()
    for plan in runs:
        asyncio.run(run_once(world, path, notes, plan))


@pytest.mark.thorough
@given(
    rows=st.lists(st.sampled_from(["good", "good", "poison", "", ""]), min_size=2, max_size=40),
    plan=RUNS,
    gone=st.sets(st.integers(0, 39), min_size=1, max_size=20),
    once=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_rows_that_are_gone(tmp_path_factory: Any, rows: list[str], plan: Run, gone: set[int], once: Any) -> None:
    """Whichever rows are gone from a source, invalid ones above rows that were added too, none is ever sent again."""
    path = tmp_path_factory.mktemp("history") / "import.db"
    notes = [kind and f"{kind} {number}" for number, kind in enumerate(rows)]
    world = World()
    asyncio.run(run_once(world, path, notes, plan))
    doubted = world.open | world.doubted

    left = [text for place, text in enumerate(notes) if place not in gone]
    # A call may leave after each row.
    with suppress(ConfigurationError), mock.patch.object(importing_run, "READ_IN_A_TURN", 1):
        asyncio.run(run_once(world, path, left, LAST, once=once))

    assert set() == world.sent_again
    saved = Counter(world.ledger.values())
    assert all(saved[text] <= 1 for text in doubted)


@given(rows=ROWS, plan=RUNS, which=st.integers(0, 99), cut=st.booleans())
@settings(max_examples=25, deadline=None)
def test_changed_where_it_may_be_in_the_store(
    tmp_path_factory: Any, rows: list[str], plan: Run, which: int, cut: Any
) -> None:
    """A source in which a row was changed that is in the store, or may be, is refused, and that row is not sent."""
    path = tmp_path_factory.mktemp("history") / "import.db"
    notes = [kind and f"{kind} {number}" for number, kind in enumerate(rows)]
    world = World()
    asyncio.run(run_once(world, path, notes, plan))
    standing = [place for place, text in enumerate(notes) if text in world.open]
    if not standing:
        return
    place = standing[which % len(standing)]
    changed = f"other {place}"
    notes = notes[:place] if cut else [*notes[:place], changed, *notes[place + 1 :]]

    refused = False
    try:
        asyncio.run(run_once(world, path, notes, LAST))
    except ConfigurationError as error:
        refused = f"record {place + 1}" in str(error) or len(notes) == place
    assert refused
    assert changed not in world.ledger.values()
    assert set() == world.sent_again
