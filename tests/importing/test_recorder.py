"""The thread that writes: what shares a commit, in which order, and who is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from neto_async import Added, ConfigurationError, JournalError
from neto_async.importing.journal import End, Entry, Intent, RowState
from neto_async.importing.recorder import LINGER, TURNS, Recorder


def intent(call: int) -> Intent:
    return Intent(call=call, rows=((call, b"0" * 16),))


def end(call: int) -> End:
    return End(call=call, states=((RowState.ADDED, call),))


def outcome(index: int) -> Added:
    return Added(index=index, record=None, log_id=1)


class Place:
    """A journal and a sink in one; notes what it is told, and writes nothing on until it may."""

    identity = "mine"
    key = bytes(16)

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.writing = threading.Event()
        self.may = threading.Event()
        self.failure: Exception | None = None

    def open(self, _: object) -> None:
        self.told.append("open")

    def known(self) -> Any:
        return iter(())

    def write(self, entries: Sequence[Entry | Added]) -> None:
        self.told.append([getattr(entry, "call", "told") for entry in entries])
        self.writing.set()
        self.may.wait()
        if self.failure is not None:
            raise self.failure

    def finish(self, rows: int) -> None:
        self.told.append(rows)

    def close(self, **_: object) -> None:
        self.told.append("close")


async def test_what_gathers_shares_a_commit() -> None:
    """All that comes while it writes is written at once afterwards, in its order, and each is told then."""
    place = Place()
    recorder = Recorder(place, None, lambda _: None)
    await recorder.open("here")
    calls = [asyncio.ensure_future(recorder.intend(intent(0)))]
    await asyncio.to_thread(place.writing.wait)
    then: list[int] = []
    for call in (1, 2, 3):
        calls.append(asyncio.ensure_future(recorder.intend(intent(call))))
        await asyncio.sleep(0)
        recorder.record((), end(call), lambda call=call: then.append(call))
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert ([], False) == (then, any(call.done() for call in calls))
    place.may.set()

    assert [True] * 4 == await asyncio.gather(*calls)
    await recorder.close(rows=4)
    assert [1, 2, 3] == then
    assert ["open", [0], [1, 1, 2, 2, 3, 3], 4, "close"] == place.told


async def test_a_commit_has_its_bound() -> None:
    """More than a hundred notes that gather go in several commits, in their order."""
    place = Place()
    recorder = Recorder(place, None, lambda _: None)
    await recorder.open("here")
    calls = [asyncio.ensure_future(recorder.intend(intent(0)))]
    await asyncio.to_thread(place.writing.wait)
    calls += [asyncio.ensure_future(recorder.intend(intent(call))) for call in range(1, 151)]
    await asyncio.sleep(0)
    place.may.set()

    assert [True] * 151 == await asyncio.gather(*calls)
    await recorder.close(rows=None)
    assert ["open", [0], [*range(1, 101)], [*range(101, 151)], "close"] == place.told


async def test_an_end_waits_for_the_next_intent() -> None:
    """The end of a call goes with the intent of the call that takes its place; without one it goes by itself."""
    place = Place()
    place.may.set()
    recorder = Recorder(place, None, lambda _: None)
    await recorder.open("here")
    written = asyncio.Event()

    await recorder.intend(intent(1))
    recorder.record((), end(1), written.set)
    for _ in range(TURNS - 1):
        await asyncio.sleep(0)
    await recorder.intend(intent(2))
    assert written.is_set()
    written.clear()
    recorder.record((), end(2), written.set)
    await written.wait()

    await recorder.close(rows=None)
    assert ["open", [1], [1, 2], [2], "close"] == place.told


async def test_an_end_does_not_wait_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others hold the loop, a few turns are a long time: an end goes once some milliseconds have passed."""
    place = Place()
    place.may.set()
    recorder = Recorder(place, None, lambda _: None)
    await recorder.open("here")
    now = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)

    recorder.record((), end(1), lambda: None)
    await asyncio.sleep(0)
    waiting = list(recorder._gathered)
    now = LINGER
    await asyncio.sleep(0)

    assert (1, []) == (len(waiting), recorder._gathered)
    monkeypatch.undo()
    await recorder.close(rows=None)
    assert ["open", [1], "close"] == place.told


async def test_what_is_asked_for_alone_waits_for_its_turn() -> None:
    """The end comes after all that was handed in before it, in commits of their own."""
    place = Place()
    recorder = Recorder(place, None, lambda _: None)
    await recorder.open("here")
    first = asyncio.ensure_future(recorder.intend(intent(0)))
    await asyncio.to_thread(place.writing.wait)
    recorder.record((), end(0), lambda: None)
    known = asyncio.ensure_future(recorder.known())
    await asyncio.sleep(0)
    recorder.record((), end(1), lambda: None)
    place.may.set()

    assert ([], True) == (await known, await first)
    await recorder.close(rows=None)
    assert ["open", [0], [0], [1], "close"] == place.told


@pytest.mark.parametrize("reports_fail", [False, True])
async def test_what_fails_is_told_once(reports_fail: Any) -> None:
    """After a failure no call may leave; where the reports failed, the journal still learns how calls ended."""
    journal, sink = Place(), Place()
    (sink if reports_fail else journal).failure = JournalError("full")
    journal.may.set()
    sink.may.set()
    told: list[BaseException] = []
    recorder = Recorder(journal, sink, told.append)
    await recorder.open("here")

    done = asyncio.Event()
    assert reports_fail == await recorder.intend(intent(1))
    recorder.record([outcome(0)], end(1), done.set)
    await done.wait()
    assert not await recorder.intend(intent(2))
    done.clear()
    recorder.record([outcome(1)], end(2), done.set)
    await done.wait()
    await recorder.close(rows=2)

    assert ["full"] == [str(error) for error in told]
    # The end of a call without an intent would mean nothing.
    assert ["open", [1], *[[1]] * reports_fail, "close"] == journal.told
    assert ["open", ["told"], *[["told"]] * (not reports_fail), "close"] == sink.told


async def test_a_waiter_that_leaves() -> None:
    """Whoever is cancelled while it waits takes nothing from those that share its commit."""
    place = Place()
    recorder = Recorder(place, None, lambda _: None)
    await recorder.open("here")
    first = asyncio.ensure_future(recorder.intend(intent(0)))
    await asyncio.to_thread(place.writing.wait)
    leaving, staying = (asyncio.ensure_future(recorder.intend(intent(call))) for call in (1, 2))
    await asyncio.sleep(0)
    leaving.cancel()
    place.may.set()

    assert [True, True] == await asyncio.gather(first, staying)
    await recorder.close(rows=None)
    assert ["open", [0], [1, 2], "close"] == place.told


class Refusing(Place):
    """Can't be used."""

    def open(self, _: object) -> None:
        raise ConfigurationError("taken")


async def test_what_was_opened_is_let_go_of() -> None:
    """Where the reports can't be used, the journal is closed again, and the thread ends."""
    journal = Place()
    recorder = Recorder(journal, Refusing(), lambda _: None)
    with pytest.raises(ConfigurationError, match="taken"):
        await recorder.open("here")
    await asyncio.to_thread(recorder._thread.join)

    assert ["open", "close"] == journal.told


async def test_without_a_loop_nobody_waits() -> None:
    """A thread whose loop has gone ends all the same, when what it has is written."""
    place = Place()
    recorder: list[Recorder] = []

    async def leave() -> None:
        recorder.append(Recorder(place, None, lambda _: None))
        await recorder[0].open("here")
        recorder[0].record((), end(0), lambda: None)

    await asyncio.to_thread(lambda: asyncio.run(leave()))
    recorder[0]._jobs.put([None])
    place.may.set()
    await asyncio.to_thread(recorder[0]._thread.join)

    assert ["open", [0]] == place.told
