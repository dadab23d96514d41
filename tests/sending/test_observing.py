"""The hook for tracing: an observer is notified of each call, in the right context, and can't harm a record."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import pytest
from attrs import define, field
from scripted import Network, answers, breaks, client, error, gives_ids, never_leaves, saves, says
from virtual import run

from neto_async import CustomerLog, NetoError
from neto_async.outcomes import Attempt
from neto_async.sending.clock import LoopClock
from neto_async.wire import VerdictKind

WHERE: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="nowhere")


@define
class Notes:
    """Records what it learns."""

    began_with: list[tuple[int, tuple[Any, ...], int]] = field(factory=list)
    ended_with: list[tuple[int, Attempt, VerdictKind | None]] = field(factory=list)

    def handed_in(self) -> str:
        return WHERE.get()

    def began(self, number: int, origins: Sequence[Any], records: int, body_bytes: int, action: str) -> int:
        assert (True, "AddCustomerLog") == (body_bytes > 0, action)
        self.began_with.append((number, tuple(origins), records))
        return number

    def ended(self, began: int, attempt: Attempt, verdict: VerdictKind | None) -> None:
        self.ended_with.append((began, attempt, verdict))


class Broken:
    """Raises wherever it is asked."""

    def handed_in(self) -> None:
        raise ValueError("CANARY")

    def began(self, *arguments: object) -> None:
        raise ValueError("CANARY")

    def ended(self, *arguments: object) -> None:
        raise AssertionError("began gave nothing, so there is nothing to end")


def log(text: str) -> CustomerLog:
    return CustomerLog(notes=text)


def observed(network: Network, observer: Any = None, **settings: Any) -> tuple[Any, Notes]:
    notes = observer or Notes()
    neto = client(network, **settings)
    neto.observe(notes)
    return neto, notes


async def from_place(place: str, work: Any) -> Any:
    WHERE.set(place)
    return await work


def test_singles_bring_the_context_of_each_caller():
    """A shared call has an origin for each of its records: what was current where that record was submitted."""

    async def work() -> Notes:
        neto, notes = observed(Network())
        async with neto:
            await asyncio.gather(*(from_place(place, neto.add_customer_log(log(place))) for place in "abc"))
        return notes

    assert [(1, ("a", "b", "c"), 3)] == run(work).began_with


def test_an_attempt_says_when_it_was_sent(monkeypatch: pytest.MonkeyPatch):
    """An attempt has the time at which its call began, in UTC, however long the call took."""
    monkeypatch.setattr(LoopClock, "utcnow", lambda clock: datetime.fromtimestamp(clock.monotonic(), timezone.utc))

    async def slow(network: Network, body: Any) -> Any:
        await asyncio.sleep(5)
        return await saves(network, body)

    async def work() -> Notes:
        neto, notes = observed(Network(always=slow))
        async with neto:
            await neto.add_customer_log(log("text"))
        return notes

    ((_, attempt, _),) = run(work).ended_with
    assert 5 < attempt.seconds < 6
    assert 1000 <= attempt.sent_at.timestamp() < 1001


def test_a_run_brings_the_context_in_which_it_was_entered():
    """Every call of an import has one origin: what was current when the run was entered."""

    async def work() -> Notes:
        neto, notes = observed(Network(), batch_size=2)
        async with neto:
            WHERE.set("entered")
            async with neto.import_customer_logs([log("1"), log("2"), log("3")]) as imported:
                WHERE.set("later")
                assert 3 == len([outcome async for outcome in imported])
        return notes

    assert [(1, ("entered",), 1), (2, ("entered",), 2)] == run(work).began_with


@pytest.mark.parametrize(
    ("behaviour", "verdict"),
    [
        (saves, VerdictKind.ADDED),
        (says("no such user"), VerdictKind.REFUSED),
        (says("Invalid API Key"), VerdictKind.KEY_REFUSED),
        (answers(413), VerdictKind.TOO_LARGE),
        (answers(403), VerdictKind.BLOCKED),
        (answers(302), VerdictKind.WRONG_ADDRESS),
        (answers(429, retry_after="900"), VerdictKind.RATE_LIMITED),
        (answers(502), VerdictKind.UNKNOWN),
        (gives_ids(lambda ids: [*ids, 99]), VerdictKind.UNKNOWN),
        (breaks(saving=True), VerdictKind.UNKNOWN),
        (never_leaves, None),
    ],
)
def test_each_end_is_reported_once(behaviour, verdict):
    """Whatever became of a call, its end is reported once, with the attempt and what its answer meant."""

    async def work() -> Notes:
        neto, notes = observed(Network(always=behaviour), give_up_after=0.5)
        async with neto:
            with contextlib.suppress(NetoError):
                await neto.add_customer_log(log("text"))
        return notes

    notes = run(work)
    assert len(notes.began_with) == len(notes.ended_with) > 0
    assert {verdict} == {kind for _, _, kind in notes.ended_with}
    assert [number for number, _, _ in notes.began_with] == [attempt.call for _, attempt, _ in notes.ended_with]


def test_an_observer_that_raises_harms_no_record(caplog):
    """What an observer raises ends in the log, by its class alone, and the record is added all the same."""

    async def work() -> int:
        neto, _ = observed(Network(), Broken())
        async with neto:
            return (await neto.add_customer_log(log("text"))).log_id

    with caplog.at_level(logging.ERROR, "neto_async"):
        assert 1 == run(work)
    assert ["the observer of calls raised ValueError"] * 2 == caplog.messages


def test_context_set_at_the_beginning_reaches_the_transport():
    """What an observer sets when a call begins is current while the transport makes it, and nowhere else."""
    seen = []

    class Setting(Notes):
        def began(self, number, *arguments):
            WHERE.set(f"call {number}")
            return number

    async def watching(network, body):
        seen.append(WHERE.get())
        return await saves(network, body)

    async def work() -> None:
        neto, _ = observed(Network(always=watching), Setting())
        async with neto:
            await neto.add_customer_log(log("1"))
            await neto.add_customer_log(log("2"))
            seen.append(WHERE.get())

    run(work)
    assert ["call 1", "call 2", "nowhere"] == seen


def test_a_call_is_made_in_the_context_of_no_caller():
    """Whoever hands in the record that wakes the engine, calls run in the context in which the client was made."""
    seen = []

    async def watching(network, body):
        seen.append(WHERE.get())
        return await saves(network, body)

    async def work() -> None:
        WHERE.set("made")
        async with client(Network(always=watching)) as neto:
            await from_place("a request", neto.add_customer_log(log("1")))
            await asyncio.gather(*(from_place(place, neto.add_customer_log(log(place))) for place in "bc"))

    run(work)
    assert ["made", "made"] == seen


def test_what_is_logged_of_a_call_is_logged_in_its_context(caplog):
    """Lines about a call carry what its observer has set, and those after its end do not."""
    seen = []

    class Setting(Notes):
        def began(self, number, *arguments):
            self.token = WHERE.set(f"call {number}")
            return number

        def ended(self, *arguments):
            WHERE.reset(self.token)

    class Watching(logging.Handler):
        def emit(self, record):
            seen.append((record.getMessage(), WHERE.get()))

    async def work() -> None:
        neto, _ = observed(Network(always=says("no such user")), Setting())
        async with neto:
            with contextlib.suppress(NetoError):
                await neto.add_customer_log(log("1"))
            WHERE.set("a request")
            with contextlib.suppress(NetoError):
                await neto.add_customer_log(log("2"))

    handler = Watching()
    logging.getLogger("neto_async").addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG, "neto_async"):
            run(work)
    finally:
        logging.getLogger("neto_async").removeHandler(handler)
    assert [("call 1: REFUSED", "call 1"), ("call 2: REFUSED", "call 2")] == seen


def test_a_second_observer_is_refused():
    """A client has one observer: a second would count every call twice."""

    async def work() -> None:
        neto, _ = observed(Network())
        async with neto:
            with pytest.raises(RuntimeError, match="observed already"):
                neto.observe(Notes())

    run(work)


def test_an_observer_that_was_detached_hears_the_end_of_what_it_saw_begin():
    """Detached while a call is under way, an observer learns how that call ended and nothing of the next."""

    async def work() -> tuple[Notes, Notes]:
        left = asyncio.Event()

        async def telling(network, body):
            left.set()
            return await saves(network, body)

        neto = client(Network(always=telling))
        first, second = Notes(), Notes()
        async with neto:
            detach = neto.observe(first)
            adding = asyncio.ensure_future(neto.add_customer_log(log("1")))
            await left.wait()
            detach()
            neto.observe(second)
            detach()
            await adding
            await neto.add_customer_log(log("2"))
        return first, second

    first, second = run(work)
    assert [[1], [1]] == [[entry[0] for entry in said] for said in (first.began_with, first.ended_with)]
    assert [[2], [2]] == [[entry[0] for entry in said] for said in (second.began_with, second.ended_with)]


def test_an_observer_gets_no_answer():
    """The observer's interface has no place for Neto's words: an error of the store shows as a kind alone."""

    async def echoes(network, body):
        await network.receive(body)
        return error("CANARY")

    async def work() -> Notes:
        neto, notes = observed(Network(always=echoes))
        async with neto:
            await neto.add_customer_logs([log("CANARY")])
        return notes

    assert "CANARY" not in repr(run(work))


def test_the_end_of_a_call_that_closing_revokes_is_reported_in_its_own_context():
    """An observer of a call that closing ends before it left is notified in the context in which the call began."""
    said = []

    class Setting(Notes):
        def began(self, *call: Any) -> int:
            WHERE.set("the call")
            return super().began(*call)

        def ended(self, *call: Any) -> None:
            said.append(WHERE.get())

    async def connects_for_ever(network: Network, body: Any) -> Any:
        await asyncio.sleep(10_000)
        raise OSError

    async def work() -> None:
        neto, _ = observed(Network(always=connects_for_ever), Setting())
        adding = asyncio.ensure_future(neto.add_customer_log(log("x")))
        await asyncio.sleep(1)
        await neto.aclose(timeout=0)
        with pytest.raises(NetoError):
            await adding

    run(work)
    assert ["the call"] == said


@pytest.mark.parametrize("broken", ["handler", "filter"])
@pytest.mark.parametrize(
    "behaviour", [saves, never_leaves, answers(429, Retry_After="1"), answers(401), answers(302), says("bad")]
)
def test_a_log_handler_that_raises_harms_no_record(behaviour, broken, monkeypatch, capsys):
    """What handlers and filters of the program raise takes no record with it, and is shown where `logging` shows it."""
    monkeypatch.setattr(logging, "raiseExceptions", broken == "handler")

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("CANARY")

        def filter(self, record: logging.LogRecord) -> bool:
            return True if broken == "handler" else self.emit(record) is None

    async def work() -> list[str]:
        async with client(Network(always=behaviour), give_up_after=10.0) as neto:
            single = asyncio.ensure_future(neto.add_customer_log(log("x")))
            bulk = asyncio.ensure_future(neto.add_customer_logs([log("y")] * 5))
            await asyncio.wait([single, bulk])
            fates = [
                single.result() if single.exception() is None else single.exception().fate,
                *bulk.result().outcomes,
            ]
        return [type(fate).__name__ for fate in fates]

    expected = run(work)
    logger, handler = logging.getLogger("neto_async"), Broken()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        assert expected == run(work)
        assert (broken == "handler") == ("ValueError: CANARY" in capsys.readouterr().err)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
