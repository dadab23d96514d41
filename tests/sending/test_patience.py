"""How long records wait: `give_up_after` in both its meanings, pauses, and a refused key."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Any

import pytest
from scripted import Network, answers, breaks, client, logs, never_leaves, saves, says
from virtual import run

from neto_async import AuthenticationError, CustomerLog, NetoError, NotSent, NotSentError, RateLimitedError
from neto_async.outcomes import NotSentCause, Phase
from neto_async.sending.exchange import Failure, OutgoingBody


def now() -> float:
    return asyncio.get_running_loop().time()


async def fate(add: Any) -> tuple[Any, float]:
    """Await a single add that fails; give its error and when it was raised."""
    try:
        await add
    except NotSentError as error:
        return error, now()
    raise AssertionError("it was added")


def test_a_single_add_gives_up_while_it_waits_for_a_slot():
    """For a single add the time runs from hand-in: one that waits behind a slow call gives up when it is over."""
    network = Network(latency=100.0)

    async def work() -> Any:
        async with client(network, batch_size=1, max_concurrency=1, timeout=1_000.0) as neto:
            began = now()
            first = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="first")))
            await asyncio.sleep(0)
            error, at = await fate(neto.add_customer_log(CustomerLog(notes="second"), give_up_after=30.0))
            await first
            return error.fate.cause, at - began, neto.statistics().not_sent

    assert (NotSentCause.GAVE_UP, 30.0, 1) == run(work)
    assert [(1, "first")] == network.ledger


def test_a_single_add_gives_up_while_it_waits_for_the_quota():
    """The queue for the quota counts for a single add, too."""
    network = Network()

    async def work() -> Any:
        async with client(network, requests_per_minute=1) as neto:
            await neto.add_customer_log(CustomerLog(notes="first"))
            assert (1, None) == (neto.statistics().quota_used, neto.statistics().waiting_on)
            add = asyncio.ensure_future(fate(neto.add_customer_log(CustomerLog(notes="late"), give_up_after=59.0)))
            await asyncio.sleep(1)
            assert "quota" == neto.statistics().waiting_on
            error, _ = await add
            return error.fate.cause

    assert NotSentCause.GAVE_UP == run(work)
    assert 1 == network.tried


def test_a_call_under_way_is_not_given_up():
    """A record that has left when its time is over gets the fate that its call brings."""
    network = Network(latency=50.0)

    async def work() -> int:
        async with client(network) as neto:
            return (await neto.add_customer_log(CustomerLog(notes="slow"), give_up_after=10.0)).log_id

    assert 1 == run(work)


def test_a_batch_of_an_import_waits_for_slot_and_quota_as_long_as_it_takes():
    """For an import the time runs from a batch's first attempt: a quota of hours does not stop it."""
    network = Network()

    async def work() -> Any:
        async with client(network, requests_per_minute=0.05, give_up_after=30.0) as neto:
            return len((await neto.add_customer_logs(logs(301))).added)

    assert 301 == run(work)
    assert network.sent[-1].at - network.sent[0].at >= 3 * 60 / 0.05


def test_a_batch_of_an_import_gives_up_after_its_attempts_and_the_waits_between():
    """Attempts and the waits between them count for a batch; then the run stops, and what waits is NotSent."""
    network = Network(always=never_leaves)
    network.script.append(saves)

    async def work() -> Any:
        async with client(network, give_up_after=100.0) as neto:
            report = await neto.add_customer_logs(logs(500))
            assert {NotSentCause.GAVE_UP} == {outcome.cause for outcome in report.not_sent}
            return now() - network.sent[0].at, {outcome.attempts[-1].phase for outcome in report.not_sent[:100]}

    seconds, phases = run(work)
    assert 60 <= seconds <= 110
    assert {Phase.NEVER_LEFT} == phases


@pytest.mark.parametrize(("pause", "added"), [("99", 300), ("102", 1)])
def test_a_pause_counts_for_a_batch_of_an_import(pause, added):
    """A pause longer than give_up_after stops an import with the time that the store asked for; a shorter one not."""
    network = Network()
    network.script += [saves, answers(429, retry_after=pause)]

    async def work() -> Any:
        async with client(network, give_up_after=100.0, max_concurrency=1) as neto:
            return await neto.add_customer_logs(logs(300))

    report = run(work)
    assert added == len(report.added) == len(network.ledger)
    for outcome in report.not_sent:
        assert (NotSentCause.RATE_LIMITED, float(pause)) == (outcome.cause, pytest.approx(outcome.retry_after, abs=1))


def test_a_long_pause_reaches_all_that_wait():
    """A pause longer than they may wait fails queued adds, later adds and later imports at once; patient ones wait."""
    network = Network()
    network.script.append(answers(429, retry_after="500"))

    async def work() -> Any:
        async with client(network, batch_size=1, max_concurrency=1) as neto:
            began = now()
            first = asyncio.ensure_future(fate(neto.add_customer_log(CustomerLog(notes="first"))))
            queued = asyncio.ensure_future(fate(neto.add_customer_log(CustomerLog(notes="queued"))))
            patient = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="patient"), give_up_after=1000.0))
            fates = [await first, await queued]
            fates.append(await fate(neto.add_customer_log(CustomerLog(notes="later"))))
            report = await neto.add_customer_logs(logs(3))
            assert {NotSentCause.RATE_LIMITED} == {outcome.cause for outcome in report.not_sent}
            assert now() - began < 1
            assert ("pause", 500) == (neto.statistics().waiting_on, round(neto.statistics().paused_for))
            await patient
            return fates

    for error, _ in run(work):
        assert (RateLimitedError, 500) == (type(error), pytest.approx(error.retry_after, abs=1))
    assert [(1, "patient")] == network.ledger


def test_the_latest_pause_wins():
    """Of two pauses asked for, no call leaves before the later end."""
    network = Network()
    network.script += [answers(429, retry_after="50"), answers(429, retry_after="5")]

    async def work() -> None:
        async with client(network, batch_size=1) as neto:
            await asyncio.gather(*(neto.add_customer_log(CustomerLog(notes=text)) for text in "ab"))

    run(work)
    assert network.sent[2].at == pytest.approx(network.sent[0].at + 0.2 + 50)


def test_what_was_withdrawn_is_not_counted_when_a_pause_comes():
    """A log withdrawn, or out of time, while its part waits is counted once, and not again when a pause comes."""
    network = Network(latency=1.0)

    async def slow(network: Network, body: Any) -> Any:
        await asyncio.sleep(5)
        return await answers(429, retry_after="4000")(network, body)

    network.script += [answers(429, retry_after="20"), slow]

    async def work() -> Any:
        neto = client(network, batch_size=2, max_concurrency=2)
        adds = [
            asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes=text), give_up_after=seconds))
            for text, seconds in (("withdrawn", 300.0), ("out of time", 21.5), ("last", 300.0))
        ]
        await asyncio.sleep(3)
        adds[0].cancel()
        results = await asyncio.gather(*adds, return_exceptions=True)
        await neto.aclose()
        return [type(result) for result in results], neto.statistics()

    kinds, statistics = run(work)
    assert [asyncio.CancelledError, RateLimitedError, RateLimitedError] == kinds
    assert (2, {}, 0) == (statistics.not_sent, statistics.unawaited, statistics.waiting_single)


def test_a_refused_key_stops_imports_and_refuses_the_next():
    """While the key is refused, waiting adds and runs end at once, and a run that comes is not begun."""
    network = Network(always=answers(401))

    async def work() -> Any:
        async with client(network, batch_size=1, max_concurrency=1) as neto:
            waiting = [asyncio.ensure_future(neto.add_customer_log(log)) for log in logs(3)]
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert [AuthenticationError] * 3 == [type(result) for result in results]
            return await neto.add_customer_logs(logs(5))

    assert [NotSentCause.KEY_REFUSED] * 5 == [outcome.cause for outcome in run(work).not_sent]
    assert 1 == network.tried


@pytest.mark.parametrize("answer", [answers(429), never_leaves])
def test_a_call_that_comes_back_to_a_halted_client(answer):
    """What comes back unsaved after the key was refused is not sent again."""
    network = Network()

    async def refused(network: Network, body: Any) -> Any:
        return await answers(401)(network, body)

    async def later(network: Network, body: Any) -> Any:
        await asyncio.sleep(1)
        return await answer(network, body)

    network.script += [refused, later]

    async def work() -> Any:
        async with client(network, batch_size=1, max_concurrency=2) as neto:
            return await asyncio.gather(*(neto.add_customer_log(log) for log in logs(2)), return_exceptions=True)

    assert [AuthenticationError] * 2 == [type(result) for result in run(work)]
    assert 2 == network.tried


def test_answers_of_calls_under_way_do_not_lift_a_halt():
    """A call that began before the key was refused lifts nothing when it is added afterwards: only a probe does."""
    network = Network()

    async def later(network: Network, body: Any) -> Any:
        await asyncio.sleep(1)
        return await saves(network, body)

    network.script += [answers(401), later]

    async def work() -> bool:
        async with client(network, batch_size=1, max_concurrency=2) as neto:
            await asyncio.gather(*(neto.add_customer_log(log) for log in logs(2)), return_exceptions=True)
            return neto.statistics().halted

    assert run(work)


def test_after_three_doubtful_calls_single_adds_are_probed_one_by_one():
    """Three calls in doubt: single adds go one at a time, with waits, until a call ends definitely."""
    network = Network()
    network.script += [breaks(saving=False)] * 4

    async def work() -> Any:
        async with client(network, batch_size=2, max_concurrency=1) as neto:
            adds = [asyncio.ensure_future(neto.add_customer_log(log)) for log in logs(11)]
            await asyncio.sleep(0.7)
            assert "probe" == neto.statistics().waiting_on
            return await asyncio.gather(*adds, return_exceptions=True)

    results = run(work)
    assert [2, 2, 2, 1, 1, 2, 1] == [len(sent.notes) for sent in network.sent]
    assert 7 == sum(isinstance(result, Exception) for result in results)
    waits = [later.at - earlier.at for earlier, later in zip(network.sent[2:4], network.sent[3:5], strict=True)]
    assert [pytest.approx(0.2 + 0.375), pytest.approx(0.2 + 0.75)] == waits


def test_doubt_in_a_row_is_forgotten_after_a_definite_answer():
    """Two doubtful calls, one definite, two doubtful: nothing is slowed down."""
    network = Network()
    network.script += [breaks(saving=False)] * 2 + [saves] + [breaks(saving=False)] * 2

    async def work() -> None:
        async with client(network, batch_size=2, max_concurrency=1) as neto:
            await asyncio.gather(*(neto.add_customer_log(log) for log in logs(12)), return_exceptions=True)

    run(work)
    assert [2] * 6 == [len(sent.notes) for sent in network.sent]


def test_an_import_in_doubt_stops_after_its_patience():
    """An import whose answers stay in doubt stops when the next probe would come past give_up_after, not before."""
    network = Network(always=answers(502))

    async def work() -> Any:
        async with client(network, give_up_after=60.0, max_concurrency=1) as neto:
            began = now()
            report = await neto.add_customer_logs(logs(1000))
            return report, now() - began

    report, seconds = run(work)
    assert 20 <= seconds <= 62
    assert 4 <= len(report.unknown) <= 12
    assert {NotSentCause.IN_DOUBT} == {outcome.cause for outcome in report.not_sent}


def test_the_time_of_attempts_counts_for_a_batch():
    """A batch of an import gives up after so many seconds of attempts and waits, however few the attempts are."""

    async def leaves_late(network: Network, body: Any) -> Any:
        await asyncio.sleep(100.0)
        return await never_leaves(network, body)

    network = Network(always=leaves_late)

    async def work() -> Any:
        async with client(network, give_up_after=250.0, timeout=1_000.0) as neto:
            return await neto.add_customer_logs(logs(1))

    (outcome,) = run(work).outcomes
    assert (3, NotSentCause.GAVE_UP) == (network.tried, outcome.cause)


async def hangs(network: Network, body: Any) -> Any:
    """Leave, and end long after the deadline."""
    await network.receive(body)
    await asyncio.sleep(10_000.0)
    raise ConnectionError


def test_a_call_left_to_itself_gives_up_its_slot():
    """Half a second past its deadline a call makes room for the next, though it has not ended."""
    network = Network()
    network.script.append(hangs)

    async def work() -> float:
        neto = client(network, batch_size=1, max_concurrency=1, timeout=5.0)
        began = now()
        first, second = (asyncio.ensure_future(neto.add_customer_log(log)) for log in logs(2))
        await second
        with contextlib.suppress(NetoError):
            await first
        await neto.aclose()
        return network.sent[1].at - began

    assert 5.5 == pytest.approx(run(work))


@pytest.mark.parametrize("definite", [saves, says("bad"), answers(413), answers(403), answers(302)], ids=range(5))
def test_any_definite_answer_ends_the_count_of_doubts(definite):
    """Three calls in doubt count only in a row: whatever is certain between them, a refusal too, begins anew."""
    network = Network()
    lost = breaks(saving=False)
    network.script += [saves, lost, lost, definite, lost]

    async def work() -> None:
        async with client(network) as neto:
            for log in logs(5):
                with contextlib.suppress(NetoError):
                    await neto.add_customer_log(log)
            await asyncio.gather(*(neto.add_customer_log(log) for log in logs(3)))

    run(work)
    assert 3 == len(network.sent[-1].notes)


def test_a_key_that_is_refused_is_logged_once(caplog):
    """The log reports a refused key when that is new, and one that is taken again."""
    network = Network()
    network.script += [answers(401), answers(401), saves]

    async def work() -> None:
        async with client(network) as neto:
            for log in logs(3):
                with contextlib.suppress(NetoError):
                    await neto.add_customer_log(log)
                await asyncio.sleep(61.0)

    with caplog.at_level(logging.INFO, "neto_async"):
        run(work)
    assert [(logging.ERROR, 1), (logging.INFO, 3)] == [(line.levelno, line.neto_call) for line in caplog.records]


def test_an_outcome_without_a_waiting_caller_is_logged(caplog):
    """Whose caller was cancelled after the log had left finds its outcome in the log and in the counts."""
    network = Network(latency=10.0)

    async def work() -> Any:
        async with client(network) as neto:
            adding = asyncio.ensure_future(neto.add_customer_log(logs(1)[0]))
            await asyncio.sleep(1.0)
            adding.cancel()
            await asyncio.wait([adding])
            await neto.flush()
            return neto.statistics().unawaited

    assert {"Added": 1} == run(work)
    assert ["a customer log ended as Added after its caller had been cancelled"] == caplog.messages


def test_a_refusal_without_a_message_has_our_reason():
    """What the store refuses by a status alone is rejected with our own words for that."""
    network = Network()
    network.script += [saves, answers(413)]

    async def work() -> Any:
        async with client(network) as neto:
            return await neto.add_customer_logs(logs(2))

    (rejected,) = run(work).rejected
    assert ("the call is too large for the store (HTTP 413)",) == rejected.messages


PATIENCE = [
    (answers(429, retry_after="60"), NotSentCause.RATE_LIMITED),
    (never_leaves, NotSentCause.GAVE_UP),
    (answers(502), NotSentCause.IN_DOUBT),
]


@pytest.mark.parametrize(("behaviour", "cause"), PATIENCE)
@pytest.mark.parametrize("own", [5.0, 1000.0])
def test_an_import_may_have_its_own_give_up_after(behaviour, cause, own):
    """An import's own give_up_after, shorter or longer than its client's, says how long its batches are tried."""

    async def work() -> Any:
        network = Network(script=deque([behaviour] * 12), latency=0.0)
        async with client(network, give_up_after=100.0 if own < 100.0 else 5.0) as neto:
            async with neto.import_customer_logs(logs(30), give_up_after=own) as imported:
                outcomes = [outcome async for outcome in imported]
            return {outcome.cause for outcome in outcomes if isinstance(outcome, NotSent)}, imported.progress

    causes, progress = run(work)
    assert ({cause} if own < 100.0 else set()) == causes
    assert (own > 100.0) == progress.complete


@pytest.mark.parametrize("asked", ["0", "-5", "Thu, 01 Jan 2026 00:00:00 GMT"])
def test_a_pause_of_nothing_has_a_floor_that_grows(asked):
    """A store that asks for no pause, call after call, is asked a few times, within give_up_after."""

    async def work() -> tuple[int, Any, bool, Any, bool]:
        network = Network(always=answers(429, retry_after=asked), latency=0.01)
        now = asyncio.get_running_loop().time
        async with client(network, give_up_after=5.0) as neto:
            began = now()
            report = await neto.add_customer_logs([CustomerLog(notes="x")])
            bulk_in_time = now() - began <= 5.0
            calls = network.tried
        network.closed = False
        async with client(network, give_up_after=5.0) as neto:
            began = now()
            with pytest.raises(NotSentError) as raised:
                await neto.add_customer_log(CustomerLog(notes="x"))
            return calls, report.not_sent[0].cause, bulk_in_time, raised.value.fate.cause, now() - began <= 5.0

    limited = NotSentCause.RATE_LIMITED
    assert (4, limited, True, limited, True) == run(work)


def test_what_waiting_cannot_fix_ends_soon(caplog):
    """A certificate that is not trusted ends bulk and single adds after three attempts; one warning names the kind."""

    async def untrusted(network: Network, body: OutgoingBody) -> Failure:
        return Failure(name="ConnectError", kind="certificate not trusted", permanent=True)

    async def work() -> tuple[int, str, str]:
        network = Network(always=untrusted)
        async with client(network) as neto:
            report = await neto.add_customer_logs([CustomerLog(notes="x")] * 5)
            tried = network.tried
            with pytest.raises(NotSentError) as raised:
                await neto.add_customer_log(CustomerLog(notes="x"))
        return tried, report.not_sent[-1].reason, raised.value.fate.reason

    reason = f"{NotSentCause.UNREACHABLE} (certificate not trusted)"
    assert (3, reason, reason) == run(work)
    assert 1 == sum("certificate not trusted" in text and "reached" in text for text in caplog.messages)
