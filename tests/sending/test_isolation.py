"""Whole-batch refusals: faulty records are isolated, neighbours are added, and all of it in bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Network, answers, bulk, client, error, logs, saves, says, with_ids
from virtual import run

from neto_async.outcomes import NotSentCause


async def tells_each_apart(network: Network, body: Any) -> Any:
    """Refuse a call for its first bad record, with words of that record's own."""
    notes = await network.receive(body)
    bad = [text for text in notes if "poison" in text]
    return error(f"no: {bad[0]}") if bad else with_ids(network.save(notes))


@settings(max_examples=40, deadline=None)
@given(size=st.integers(2, 40), draw=st.data())
def test_a_batch_is_taken_apart_within_2n_2_calls(size, draw):
    """Whichever records are bad, exactly they are rejected, and a batch of n costs at most 2n - 2 calls more."""
    poison = draw.draw(st.sets(st.integers(1, size)))
    network = Network(always=tells_each_apart, latency=0.0)

    report = bulk(network, logs(size + 1, poison), batch_size=size)

    assert sorted(poison) == [outcome.index for outcome in report.rejected]
    assert {f"log {number}" for number in range(size + 1) if number not in poison} == {t for _, t in network.ledger}
    assert network.tried <= 2 + 2 * size - 2


def test_a_run_spends_a_tenth_of_its_calls_and_200_on_isolation():
    """Where refusals go on and on, the run stops when taking apart has cost a tenth of its calls plus 200."""
    network = Network(always=tells_each_apart)

    report = bulk(network, logs(5000, range(1, 5000)))

    sizes = [len(sent.notes) for sent in network.sent]
    whole = 1 + sum(size == 100 for size in sizes)
    extra = len(sizes) - whole
    assert 200 <= extra + 2
    assert extra <= 0.1 * len(sizes) + 200
    assert {NotSentCause.REFUSED_WHOLE} == {outcome.cause for outcome in report.not_sent}
    assert 4999 == len(report.rejected) + len(report.not_sent)
    assert ["log 0"] == [text for _, text in network.ledger]


def test_what_was_not_taken_apart_says_why():
    """A record that its stopped run did not take apart is NotSent, with the refusal's own words as its reason."""
    network = Network(always=tells_each_apart)

    report = bulk(network, logs(5000, range(1, 5000)))

    assert all(outcome.reason.startswith(f"{NotSentCause.REFUSED_WHOLE}: no: poison") for outcome in report.not_sent)


@pytest.mark.parametrize(("size", "tried"), [(1, 3), (2, 7)])
def test_three_first_batches_refused_whole_with_the_same_words_stop_a_run(size, tried):
    """Three first batches refused to the last record with the same words: it is not the records' fault."""
    network = Network(always=says("the shop is closed for logs"))

    report = bulk(network, logs(2000), batch_size=size, max_concurrency=1)

    # The first batch holds one record; of each other the whole is refused, and then each half.
    assert (1 + 2 * size, tried) == (len(report.rejected), network.tried)
    assert {f"{NotSentCause.REFUSED_WHOLE}: the shop is closed for logs"} == {o.reason for o in report.not_sent}


def test_first_batches_refused_with_different_words_go_on():
    """Where the words differ it is the records' fault, and the run goes on."""
    report = bulk(Network(always=tells_each_apart), logs(20, range(20)), batch_size=1)

    assert 20 == len(report.rejected)


def test_one_added_record_in_the_first_batches_shows_that_it_is_the_records():
    """A first batch of which one record was added is not refused whole: the run goes on."""
    network = Network()

    report = bulk(network, logs(41, set(range(41)) - {3}), batch_size=4)

    assert (40, [3]) == (len(report.rejected), [outcome.index for outcome in report.added])


def test_later_batches_refused_whole_do_not_stop_a_run():
    """Only the first three batches tell of the address or the key: later ones are the records' fault."""
    network = Network()

    report = bulk(network, logs(61, range(21, 61)), batch_size=4)

    assert (21, 40) == (len(report.added), len(report.rejected))


@pytest.mark.parametrize("bound", [0, 3])
def test_a_failure_budget_stops_a_run(bound):
    """Past max_rejected the run stops; up to it, it goes on."""
    network = Network()

    async def work() -> Any:
        async with client(network, batch_size=1, max_concurrency=1) as neto:
            async with neto.import_customer_logs(logs(50, range(0, 50, 2)), max_rejected=bound) as imported:
                outcomes = [outcome async for outcome in imported]
            return outcomes, imported.progress

    outcomes, progress = run(work)
    causes = {outcome.cause for outcome in outcomes if type(outcome).__name__ == "NotSent"}
    assert (bound + 1, {NotSentCause.TOO_MANY_REJECTED}) == (progress.rejected, causes)
    assert bound == progress.added
    assert f"{NotSentCause.TOO_MANY_REJECTED}: {bound + 1}" == progress.stop_reason


def test_a_batch_of_single_adds_is_taken_apart_too():
    """Single adds that share a refused call are taken apart, and only the culprit's caller learns of it."""
    network = Network()

    async def work() -> Any:
        async with client(network) as neto:
            adds = [neto.add_customer_log(log) for log in logs(9, {4})]
            return await asyncio.gather(*adds, return_exceptions=True)

    assert [4] == [index for index, result in enumerate(run(work)) if isinstance(result, Exception)]
    assert 8 == len(network.ledger)


def test_a_firewall_that_dislikes_single_texts_rejects_them_alone():
    """403 for single adds after a success: each is rejected for itself, and none stops another."""
    network = Network(always=answers(403))
    network.script.append(saves)

    async def work() -> Any:
        async with client(network, batch_size=1, max_concurrency=1) as neto:
            results = []
            for log in logs(4):
                try:
                    results.append(await neto.add_customer_log(log))
                except Exception as raised:  # noqa: BLE001
                    results.append(raised)
            return [type(result).__name__ for result in results]

    assert ["Added", "RejectedError", "RejectedError", "RejectedError"] == run(work)
