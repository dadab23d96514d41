"""Each row of the table of outcomes, through the client over a scripted network on virtual time."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from scripted import Network, answers, breaks, bulk, client, gives_ids, logs, never_leaves, saves, says, with_ids
from virtual import run

from neto_async import (
    Added,
    AuthenticationError,
    CustomerLog,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    Rejected,
    RejectedError,
    Unknown,
)
from neto_async.outcomes import NotSentCause
from neto_async.wire import Action


def single(network: Network, **settings: Any) -> Any:
    async def work() -> Any:
        async with client(network, **settings) as neto:
            return await neto.add_customer_log(CustomerLog(notes="one"))

    return run(work)


def kinds(report: Any) -> list[str]:
    return [type(outcome).__name__ for outcome in report.outcomes]


def test_ids_are_paired_by_position():
    """As many ids as records, and no error: every record is added, with the id that the store gave it."""
    network = Network()

    report = bulk(network, logs(250))

    assert dict(network.ledger) == {o.log_id: o.record.notes for o in report.added}
    assert 250 == len(report.added)


def test_an_import_feels_its_way():
    """The first call of an import carries one record, and the next go when it has ended."""
    network = Network(latency=1.0)

    bulk(network, logs(250))

    assert [1, 100, 100, 49] == [len(sent.notes) for sent in network.sent]
    assert network.sent[1].at >= network.sent[0].at + 1.0


@pytest.mark.parametrize(
    ("behaviour", "evidence"),
    [
        (answers(500), ()),
        (answers(408), ()),
        (answers(200), ()),
        (says("Request Error"), ()),
        (breaks(saving=True), ()),
        (breaks(saving=False), ()),
        (gives_ids(lambda ids: []), ()),
        (gives_ids(lambda ids: [*ids, 77]), (1, 77)),
        (gives_ids(list, Messages={"Error": {"Message": "x", "SeverityCode": "Error"}}), (1,)),
    ],
)
def test_doubt_is_unknown_and_never_sent_again(behaviour, evidence):
    """What may have been saved is unknown, with the ids as evidence, and is sent once only."""
    network = Network()
    network.script.append(behaviour)

    with pytest.raises(OutcomeUnknownError) as raised:
        single(network)

    assert (1, evidence) == (network.tried, raised.value.fate.evidence.log_ids)


def test_fewer_ids_than_records():
    """Ids, but not n: all are unknown; none is paired by guess."""
    network = Network()
    network.script += [saves, gives_ids(lambda ids: ids[:-1])]

    assert ["Added", *["Unknown"] * 10] == kinds(bulk(network, logs(11)))


@pytest.mark.parametrize("poison", [{5}, {1, 2, 3}, {1, 4, 9, 16, 17}, set(range(2, 34, 2))])
def test_faulty_records_are_isolated(poison):
    """Exactly the poisoned records are rejected, within 2n - 2 calls beside those of the clean import."""
    network = Network()

    report = bulk(network, logs(33, poison), batch_size=32)

    assert sorted(poison) == [outcome.index for outcome in report.rejected]
    assert 33 - len(poison) == len(report.added) == len(network.ledger)
    assert network.tried <= 2 + 2 * 32 - 2


def test_without_isolation_a_refusal_holds_for_all():
    """With isolate_rejections=False a refused batch is rejected as a whole, in one call."""
    network = Network()

    report = bulk(network, logs(11, {5}), isolate_rejections=False)

    assert (["Added", *["Rejected"] * 10], 2) == (kinds(report), network.tried)


def test_refused_alone():
    """An error for a single record rejects it."""
    network = Network(always=says("bad record"))

    with pytest.raises(RejectedError) as raised:
        single(network)

    assert isinstance(raised.value.fate, Rejected)
    assert ("bad record",) == raised.value.fate.messages


def test_too_large_is_cut_and_remembered():
    """413 cuts a batch, and no later call is as long as one that was too large."""
    network = Network()

    async def at_most_ten(network: Network, body: Any) -> Any:
        behaviour = answers(413) if len(body.content) > 400 else saves
        return await behaviour(network, body)

    network.always = at_most_ten

    report = bulk(network, logs(200), batch_size=50, max_concurrency=1)

    assert 200 == len(report.added) == len(network.ledger)
    assert 50 not in [len(sent.notes) for sent in network.sent[2:]]


def test_too_large_alone():
    """413 for a single record rejects it."""
    with pytest.raises(RejectedError):
        single(Network(always=answers(413)))


@pytest.mark.parametrize("status", [301, 302, 307, 403, 404, 405])
def test_wrong_address_stops(status):
    """A redirect, or a 4xx before the first success: one call, and nothing was sent."""
    network = Network(always=answers(status, location="https://elsewhere/"))

    report = bulk(network, logs(250))

    assert ({NotSentCause.WRONG_ADDRESS}, 1) == ({outcome.cause for outcome in report.not_sent}, network.tried)
    assert 250 == len(report.not_sent)


def test_firewall_after_success_isolates():
    """A 403 after the first success cuts like 413: single texts are rejected and their neighbours are added."""
    network = Network()

    async def firewall(network: Network, body: Any) -> Any:
        behaviour = answers(403) if b"poison" in body.content else saves
        return await behaviour(network, body)

    network.always = firewall

    report = bulk(network, logs(65, {20, 40}), max_concurrency=1)

    assert ([20, 40], 63) == ([outcome.index for outcome in report.rejected], len(report.added))


def test_firewall_against_everything_stops():
    """A second record alone that is answered 403, with no success between, stops the import."""
    network = Network(always=answers(403))
    network.script.append(saves)

    report = bulk(network, logs(65), max_concurrency=1)

    assert (1, 1, 63) == (len(report.added), len(report.rejected), len(report.not_sent))


@pytest.mark.parametrize("refusal", [answers(401), says("Invalid API Key")])
def test_refused_key_halts_and_probes(refusal):
    """A refused key fails later adds at once; after 60 s one probe goes, and lifts it when it is taken."""
    network = Network()
    network.script.append(refusal)

    async def work() -> list[int]:
        tried = []
        async with client(network) as neto:
            for pause in (0, 59):
                with pytest.raises(AuthenticationError):
                    await neto.add_customer_log(CustomerLog(notes="refused"))
                tried.append(network.tried)
                await asyncio.sleep(pause)
            assert neto.statistics().halted
            await asyncio.sleep(2)
            results = await asyncio.gather(
                *(neto.add_customer_log(CustomerLog(notes=str(number))) for number in range(3)), return_exceptions=True
            )
            assert [Added, AuthenticationError, AuthenticationError] == [type(result) for result in results]
            await neto.add_customer_log(CustomerLog(notes="again"))
            tried.append(network.tried)
        return tried

    assert [1, 1, 3] == run(work)


def test_refused_key_halfway_of_an_import():
    """A key that is refused half-way: what was not saved is NotSent, and no further call goes."""
    network = Network(always=answers(401))
    network.script += [saves, saves]

    report = bulk(network, logs(1000), max_concurrency=1)

    assert (101, 899, 3) == (len(report.added), len(report.not_sent), network.tried)


@pytest.mark.parametrize(("headers", "pause"), [({"retry_after": "7"}, 7), ({}, 60)])
def test_too_many_calls_pauses_everyone(headers, pause):
    """A 429 is sent again, and no call leaves before the pause is over."""
    network = Network()
    network.script.append(answers(429, **headers))

    assert isinstance(single(network), Added)
    assert network.sent[1].at - network.sent[0].at == pytest.approx(pause + network.latency)


def test_pause_longer_than_patience():
    """A pause beyond give_up_after fails at once with the time that the store asked for."""
    with pytest.raises(RateLimitedError) as raised:
        single(Network(always=answers(429, retry_after="500")))

    assert 500 == raised.value.retry_after


def test_never_left_is_tried_again():
    """A call that never left is tried again until it is taken."""
    network = Network()
    network.script += [never_leaves] * 5

    assert (True, 6) == (isinstance(single(network), Added), network.tried)


def test_never_left_until_given_up():
    """Past give_up_after a log whose calls never left is certainly not sent."""
    network = Network(always=never_leaves)

    with pytest.raises(NotSentError) as raised:
        single(network, give_up_after=20)

    assert (NotSentCause.GAVE_UP, []) == (raised.value.fate.cause, network.sent)


def test_an_import_gives_up():
    """An import whose batch never leaves stops, and each of its records is NotSent."""
    network = Network(always=never_leaves)
    network.script.append(saves)

    report = bulk(network, logs(300), give_up_after=20)

    assert (1, 299) == (len(report.added), len(report.not_sent))


def test_three_doubtful_calls_risk_one_record_at_a_time():
    """After three doubtful calls in a row one record goes at a time, until a call ends definitely."""
    network = Network()
    network.script += [saves, *[answers(502)] * 5]

    report = bulk(network, logs(1000), max_concurrency=1)

    assert [1, 100, 100, 100, 1, 1, 1, 100] == [len(sent.notes) for sent in network.sent[:8]]
    assert (302, 698) == (len(report.unknown), len(report.added))


def test_an_import_in_doubt_stops():
    """An import whose answers stay doubtful stops past give_up_after, with few records at risk."""
    report = bulk(Network(always=answers(502)), logs(1000), give_up_after=60)

    assert {NotSentCause.IN_DOUBT} == {outcome.cause for outcome in report.not_sent}
    assert len(report.unknown) < 12


def test_lanes_share_the_calls():
    """While both lanes wait, each gets at least a quarter of the calls."""
    network = Network()

    async def work() -> None:
        async with client(network, batch_size=5, max_concurrency=1) as neto:
            singles = [neto.add_customer_log(CustomerLog(notes=f"single {n}")) for n in range(200)]
            await asyncio.gather(neto.add_customer_logs(logs(100)), *singles)

    run(work)
    lanes = ["single" in sent.notes[0] for sent in network.sent[:24]]
    assert 6 <= sum(lanes) <= 18
    assert all(len({"single" in text for text in sent.notes}) == 1 for sent in network.sent)


def test_waiter_cancelled_before_sealing():
    """A caller cancelled before its log left withdraws it."""
    network = Network()

    async def work() -> None:
        async with client(network, batch_size=1, max_concurrency=1) as neto:
            first, second = (
                asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes=text))) for text in ("first", "second")
            )
            await asyncio.sleep(0.1)
            second.cancel()
            await first

    run(work)
    assert [(1, "first")] == network.ledger


def test_waiter_cancelled_after_sealing():
    """A caller cancelled after its log left disturbs no neighbour, and the outcome is counted."""
    network = Network()

    async def work() -> Any:
        async with client(network) as neto:
            tasks = [asyncio.ensure_future(neto.add_customer_log(log)) for log in logs(3)]
            await asyncio.sleep(0.1)
            tasks[1].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [Added, asyncio.CancelledError, Added] == [type(result) for result in results]
            return neto.statistics()

    assert {"Added": 1} == run(work).unawaited
    assert 3 == len(network.ledger)


@pytest.mark.parametrize("behaviour", [never_leaves, answers(429)])
def test_waiter_cancelled_before_its_call_came_back_unsaved(behaviour):
    """A record that nobody waits for any more is not sent again, and closing does not wait for it."""
    network = Network()
    network.script.append(behaviour)

    async def work() -> Any:
        async with client(network) as neto:
            task = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="left alone")))
            await asyncio.sleep(0.005)
            task.cancel()
            report = await neto.aclose()
            return report.drained, report.seconds < 1, neto.statistics().unawaited

    assert (True, True, {"NotSent": 1}) == run(work)
    assert 1 == network.tried


def test_closing_is_not_broken_by_cancelling():
    """task.cancel() during aclose: the drain goes on, and the outcomes are known when it ends."""
    network = Network(latency=5.0)

    async def work() -> None:
        neto = client(network)
        add = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="x")))
        await asyncio.sleep(1)
        closing = asyncio.ensure_future(neto.aclose())
        for _ in range(3):
            await asyncio.sleep(0.5)
            closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert (True, True) == (network.closed, add.done())

    run(work)
    assert 1 == len(network.ledger)


def test_closing_is_not_broken_by_an_anyio_scope():
    """A cancelled anyio scope neither breaks the drain nor spins in it."""
    network = Network(latency=5.0)

    async def work() -> None:
        neto = client(network)
        add = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="x")))
        await asyncio.sleep(1)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await neto.aclose()
        assert (True, True) == (network.closed, add.done())

    run(work)
    assert 1 == len(network.ledger)


def test_closing_waits_for_a_bulk_add():
    """A bulk add submitted before is finished within the deadline, though most of it was not read yet."""
    network = Network(latency=1.0)

    async def work() -> Any:
        neto = client(network)
        bulk_add = asyncio.ensure_future(neto.add_customer_logs(logs(2000)))
        await asyncio.sleep(0.5)
        report = await neto.aclose()
        return report.drained, len((await bulk_add).added)

    assert (True, 2000) == run(work)


def test_closing_under_an_import_leaves_no_doubt():
    """An import under way when the client closes has its calls awaited: added or not sent, none in doubt."""
    network = Network(latency=1.0)

    async def work() -> list[Any]:
        neto = client(network, batch_size=10)

        async def close_later() -> None:
            await asyncio.sleep(3.5)
            await neto.aclose()

        async with neto.import_customer_logs(logs(5000)) as imported:
            closing = asyncio.ensure_future(close_later())
            outcomes = [outcome async for outcome in imported]
            await closing
            assert len(outcomes) == imported.progress.stopped_at < 5000
            return outcomes

    outcomes = run(work)
    assert [] == [outcome for outcome in outcomes if isinstance(outcome, Unknown)]
    assert len(network.ledger) == sum(isinstance(outcome, Added) for outcome in outcomes)


@pytest.mark.parametrize(("warnings", "in_loop"), [(1, True), (5_000, False)])
def test_a_long_answer_is_judged_beside_the_loop(monkeypatch, warnings, in_loop):
    """An answer that takes long to read does not hold the event loop, and means what it says all the same."""
    judged_in, judge = [], Action.judge

    def noting(*args: Any, **more: Any) -> Any:
        judged_in.append(threading.get_ident())
        return judge(*args, **more)

    async def long(network: Network, body: Any) -> Any:
        texts = [{"Message": "a warning", "SeverityCode": "Warning"}] * warnings
        return with_ids(network.save(await network.receive(body)), Messages={"Warning": texts})

    async def work() -> int:
        async with client(Network(latency=0.0, always=long)) as neto:
            return len((await neto.add_customer_log(CustomerLog(notes="x"))).warnings)

    monkeypatch.setattr(Action, "judge", noting)
    assert warnings == asyncio.run(work())
    assert [in_loop] == [thread == threading.get_ident() for thread in judged_in]


@pytest.mark.parametrize("ending", [False, True])
def test_a_long_answer_needs_no_thread_of_the_loop(monkeypatch, ending):
    """A long answer is judged where all threads of the loop wait for it, and where the process starts none any more."""

    async def long(network: Network, body: Any) -> Any:
        texts = [{"Message": "a warning", "SeverityCode": "Warning"}] * 5_000
        return with_ids(network.save(await network.receive(body)), Messages={"Warning": texts})

    async def work() -> Any:
        loop = asyncio.get_running_loop()
        async with client(Network(latency=0.0, always=long)) as neto:

            def view() -> Any:
                add = neto.add_customer_log(CustomerLog(notes="x"))
                return asyncio.run_coroutine_threadsafe(add, loop).result(timeout=20)

            loop.set_default_executor(ThreadPoolExecutor(1))
            viewing = loop.run_in_executor(None, view)
            if ending:
                monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
            return await viewing

    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("cannot schedule new futures after shutdown")

    assert 5_000 == len(asyncio.run(work()).warnings)
