"""The thread that writes: what shares a commit, in which order, and who is notified."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from neto_async import Added, ConfigurationError, CustomerLog, JournalError
from neto_async.journals.protocol import End, Intent, JournalEvent, Known
from neto_async.journals.sqlite import SqliteJournal
from neto_async.journals.write_ahead import LINGER, TURNS, WriteAheadLog
from neto_async.outcomes import Attempt, Phase
from neto_async.sending.records import PendingRecord

sys.path.append(str(Path(__file__).parent))
from rows import ADDED, STORE, UNKNOWN, intent, known  # tests are no packages


def records(index: int) -> list[PendingRecord]:
    return [PendingRecord(index=index, record=CustomerLog(notes="a"), fields={"Notes": "a"})]


def outcome(call: int) -> Added:
    attempt = Attempt(call=call, records=1, body_bytes=1, phase=Phase.ANSWERED, seconds=0.1)
    return Added(index=call, record=None, log_id=1, attempts=(attempt,))


class Run:
    """What a run has written: each call carries the one record of its number."""

    def __init__(self, journal: Any, sink: Any = None) -> None:
        self.ended: list[int] = []
        self.broken: list[BaseException] = []
        self.news = asyncio.Event()
        self.log = WriteAheadLog(journal, sink, pass_on=self.pass_on, broken=self.broken.append)

    def pass_on(self, outcomes: Sequence[Any]) -> None:
        self.ended += [outcome.index for outcome in outcomes]
        self.news.set()

    def intend(self, call: int) -> asyncio.Future[bool]:
        return asyncio.ensure_future(self.log.intend(call, records(call)))

    def end(self, call: int) -> None:
        self.log.settle([outcome(call)])
        self.log.ended(call)


async def opened(journal: Any, sink: Any = None) -> Run:
    run = Run(journal, sink)
    await run.log.open("here")
    return run


class Place:
    """A journal and a sink in one; records what it is asked, and writes nothing until it may."""

    identity = "mine"
    salt = bytes(16)

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.writing = threading.Event()
        self.may = threading.Event()
        self.failure: Exception | None = None

    def open(self, _: object) -> None:
        self.told.append("open")

    def added_before(self, _: str) -> dict[int, int]:
        return {}

    def known(self) -> Any:
        return iter(())

    def write(self, events: Sequence[JournalEvent | Added]) -> None:
        self.told.append([getattr(event, "call", "outcome") for event in events])
        self.writing.set()
        self.may.wait()
        if self.failure is not None:
            raise self.failure

    def finish(self, rows: int) -> None:
        self.told.append(rows)

    def close(self, **_: object) -> None:
        self.told.append("close")


class Found(Place):
    """It holds rows 0 and 1 in doubt, and its sink has the id of row 1."""

    def known(self) -> Any:
        return iter([known(0, UNKNOWN), known(1, UNKNOWN)])

    def added_before(self, _: str) -> dict[int, int]:
        return {1: 1005}

    def write(self, events: Sequence[Any]) -> None:
        self.told += events


class Settles(Found):
    """The same, of which doubts can be settled."""

    def settle(self, rows: Sequence[Known]) -> None:
        self.told += rows


async def test_ids_that_only_the_reports_have() -> None:
    """They are settled where the journal can do that, and else written as a call that added them."""
    for place in (Found(), Settles()):
        run = await opened(place, place)
        await run.log.close(rows=None)
        written = (
            [known(1, ADDED, 5)] if isinstance(place, Settles) else [intent(0, 1), End(call=0, states=((ADDED, 1005),))]
        )
        assert ["open", *written, "open", "close", "close"] == place.told


async def test_ids_of_the_reports_are_no_call(tmp_path: Path) -> None:
    """Where they are settled, the calls of a journal stay those that were made."""
    journal = SqliteJournal(tmp_path / "journal")
    journal.open(STORE)
    journal.write([intent(1, 0, 1)])
    journal.close()
    run = Run(journal, Found())
    await run.log.open(STORE)
    await run.log.close(rows=None)

    journal.open(STORE)
    assert [[known(0, UNKNOWN), known(1, UNKNOWN)]] == [call.rows for call in journal.calls()]
    assert [known(0, UNKNOWN), known(1, ADDED, 5)] == list(journal.known())
    journal.close()


async def test_what_gathers_shares_a_commit() -> None:
    """All that comes while it writes is written at once afterwards, in its order, and is passed on then."""
    place = Place()
    run = await opened(place)
    calls = [run.intend(0)]
    await asyncio.to_thread(place.writing.wait)
    for call in (1, 2, 3):
        calls.append(run.intend(call))
        await asyncio.sleep(0)
        run.end(call)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert ([], False) == (run.ended, any(call.done() for call in calls))
    place.may.set()

    assert [True] * 4 == await asyncio.gather(*calls)
    await run.log.close(rows=4)
    assert [1, 2, 3] == run.ended
    assert ["open", [0], [1, 1, 2, 2, 3, 3], 4, "close"] == place.told


async def test_a_commit_has_its_limit() -> None:
    """More than a hundred notes that gather go in several commits, in their order."""
    place = Place()
    run = await opened(place)
    calls = [run.intend(0)]
    await asyncio.to_thread(place.writing.wait)
    calls += [run.intend(call) for call in range(1, 151)]
    await asyncio.sleep(0)
    place.may.set()

    assert [True] * 151 == await asyncio.gather(*calls)
    await run.log.close(rows=None)
    assert ["open", [0], [*range(1, 101)], [*range(101, 151)], "close"] == place.told


async def test_an_end_waits_for_the_next_intent() -> None:
    """The end of a call goes with the intent of the call that takes its slot; without one it goes alone."""
    place = Place()
    place.may.set()
    run = await opened(place)

    await run.intend(1)
    run.end(1)
    for _ in range(TURNS - 2):
        await asyncio.sleep(0)
    await run.intend(2)
    assert [1] == run.ended
    run.news.clear()
    run.end(2)
    await run.news.wait()

    await run.log.close(rows=None)
    assert ["open", [1], [1, 2], [2], "close"] == place.told


async def test_an_end_does_not_wait_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others hold the loop, a few turns are a long time: an end goes once some milliseconds have passed."""
    place = Place()
    place.may.set()
    run = await opened(place)
    await run.intend(1)
    now = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)

    run.end(1)
    await asyncio.sleep(0)
    waiting = list(run.log._gathered)
    now = LINGER
    await asyncio.sleep(0)

    assert (1, []) == (len(waiting), run.log._gathered)
    monkeypatch.undo()
    await run.log.close(rows=None)
    assert ["open", [1], [1], "close"] == place.told


async def test_what_is_asked_for_alone_waits_for_its_turn() -> None:
    """The rows that are known come after all that was submitted before they were asked for, and before the rest."""
    place = Place()
    run = await opened(place)
    calls = [run.intend(call) for call in (0, 1)]
    await asyncio.to_thread(place.writing.wait)
    run.end(0)
    known = asyncio.ensure_future(run.log.known())
    await asyncio.sleep(0)
    run.end(1)
    place.may.set()

    assert ([], [True, True]) == (await known, await asyncio.gather(*calls))
    await run.log.close(rows=None)
    written = [events for events in place.told if isinstance(events, list)]
    assert ([0, 1, 0], [1]) == ([call for events in written[:-1] for call in events], written[-1])


@pytest.mark.parametrize("reports_fail", [False, True])
async def test_what_fails_is_said_once(reports_fail: Any) -> None:
    """After a failure no call may leave; where the reports failed, the journal still learns how calls ended."""
    journal, sink = Place(), Place()
    (sink if reports_fail else journal).failure = JournalError("full")
    journal.may.set()
    sink.may.set()
    run = await opened(journal, sink)

    assert reports_fail == await run.intend(1)
    run.end(1)
    await run.news.wait()
    assert not await run.intend(2)
    run.news.clear()
    run.end(2)
    await run.news.wait()
    await run.log.close(rows=2)

    assert (["full"], [1, 2]) == ([str(error) for error in run.broken], run.ended)
    # The end of a call without an intent would mean nothing.
    assert ["open", [1], *[[1]] * reports_fail, "close"] == journal.told
    assert ["open", ["outcome"], *[["outcome"]] * (not reports_fail), "close"] == sink.told


class TakenOver(Place):
    """Takes no intents any more, and still the ends of calls."""

    def write(self, events: Sequence[JournalEvent | Added]) -> None:
        super().write(events)
        if self.taken and any(isinstance(event, Intent) for event in events):
            raise JournalError("taken over")

    taken = False


async def test_ends_are_written_when_intents_can_not_be() -> None:
    """Where a write fails that holds intents, the ends in it are written alone, and later ends as they come."""
    place = TakenOver()
    place.may.set()
    run = await opened(place)
    assert [True, True, True] == [await run.intend(call) for call in (0, 1, 2)]
    place.taken = True

    run.end(0)
    assert not await run.intend(3)
    run.end(3)
    run.end(1)
    run.end(2)
    assert not await run.intend(4)
    await run.log.close(rows=5)

    assert ["taken over"] == [str(error) for error in run.broken]
    assert ["open", [0], [1], [2], [0, 3], [0], [1, 2], "close"] == place.told


async def test_a_waiter_that_leaves() -> None:
    """Whoever is cancelled while it waits takes nothing from those that share its commit."""
    place = Place()
    run = await opened(place)
    first = run.intend(0)
    await asyncio.to_thread(place.writing.wait)
    leaving, staying = run.intend(1), run.intend(2)
    await asyncio.sleep(0)
    leaving.cancel()
    place.may.set()

    assert [True, True] == await asyncio.gather(first, staying)
    await run.log.close(rows=None)
    assert ["open", [0], [1, 2], "close"] == place.told


class Refusing(Place):
    """Can't be used."""

    def open(self, _: object) -> None:
        raise ConfigurationError("taken")


class Unsalted(Place):
    """A journal whose salt is too long."""

    salt = bytes(17)


@pytest.mark.parametrize(
    ("journal", "sink", "error"), [(Place(), Refusing(), ConfigurationError), (Unsalted(), None, ValueError)]
)
async def test_what_was_opened_is_closed(journal: Any, sink: Any, error: Any) -> None:
    """Where reports or journal can't be used after all, the journal is closed again, and the thread ends."""
    run = Run(journal, sink)
    with pytest.raises(error):
        await run.log.open("here")

    assert ["open", "close"] == journal.told, "it may be opened again at once"
    await asyncio.to_thread(run.log._writer._thread.join)


async def test_what_is_opened_for_somebody_who_left_is_closed() -> None:
    """Whoever is cancelled while a journal is opened leaves at once; the journal is closed when it is open."""
    may_open = threading.Event()

    class Slow(Place):
        def open(self, store: object) -> None:
            may_open.wait()
            super().open(store)

    journal = Slow()
    run = Run(journal)
    opening = asyncio.ensure_future(run.log.open("here"))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait({opening})
    assert [] == journal.told
    may_open.set()
    await asyncio.to_thread(run.log._writer._thread.join)

    assert ["open", "close"] == journal.told


async def test_without_a_loop_nobody_waits() -> None:
    """A thread whose loop has gone ends all the same, when what it has is written."""
    place = Place()
    runs: list[Run] = []

    async def leave() -> None:
        runs.append(await opened(place))
        intending = runs[0].intend(0)
        await asyncio.to_thread(place.writing.wait)
        intending.cancel()

    await asyncio.to_thread(lambda: asyncio.run(leave()))
    runs[0].log._writer.submit(None)
    place.may.set()
    await asyncio.to_thread(runs[0].log._writer._thread.join)

    assert ["open", [0]] == place.told
