"""What waits, as the engine takes it and gives it back: nothing is lost, and what was tried before goes first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scripted import Network, client
from virtual import run

from neto_async import CustomerLog, CustomerLogUpdate
from neto_async.sending.lanes import ImportLane, SingleLane, UpdateLane
from neto_async.sending.records import AwaitedRecord, Batch, BatchPart, PendingRecord
from neto_async.wire import UPDATE_CUSTOMER_LOG


@pytest.fixture
def loop() -> Any:
    """Give a loop for futures that nobody waits for."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def single(loop: Any, index: int) -> AwaitedRecord:
    return AwaitedRecord(index=index, record=CustomerLog(notes="x"), waiter=loop.create_future(), give_up_at=0.0)


def singles_of(loop: Any, count: int) -> SingleLane:
    lane = SingleLane(4, lambda _: None)
    for index in range(count):
        lane.add(single(loop, index))
    return lane


def run_of(count: int) -> ImportLane:
    lane = ImportLane(batch_size=4, settled=lambda _: None, room_made=lambda: None, stopped=lambda: None)
    lane.first_call_pending = False
    lane.partial = True
    for index in range(count):
        lane.add(PendingRecord(index=index, record=CustomerLog(notes="x")))
    return lane


def lane_of(kind: str, loop: Any, count: int) -> Any:
    return singles_of(loop, count) if kind == "singles" else run_of(count)


def indexes(records: Any) -> list[int]:
    return [pending.index for pending in records]


def taken(lane: Any, max_records: int) -> list[list[int]]:
    """Take all there is, and give the indexes of each part."""
    parts = []
    while lane.ready():
        parts.append(indexes(lane.take(max_records).records))
    return parts


@pytest.mark.parametrize("kind", ["singles", "run"])
def test_what_comes_back_goes_first(kind, loop):
    """Parts put back go before all that waits, the last one first, each by itself."""
    lane = lane_of(kind, loop, 6)
    first, second = lane.take(2), lane.take(2)
    lane.put_back(second)
    lane.put_back(first)

    assert 6 == lane.waiting
    assert [0, 1, 2, 3, 4, 5] == indexes(lane.records())
    assert [[0, 1], [2, 3], [4, 5]] == taken(lane, 2)
    assert 0 == lane.waiting


@pytest.mark.parametrize("kind", ["singles", "run"])
@pytest.mark.parametrize(("max_records", "expected"), [(1, [[0], [1], [2]]), (2, [[0, 1], [2]]), (3, [[0, 1, 2]])])
def test_a_part_is_cut_to_what_a_call_may_carry(kind, loop, max_records, expected):
    """Of a part that is larger than the next call may be, the rest goes with the calls after it; no part is empty."""
    lane = lane_of(kind, loop, 3)
    lane.put_back(lane.take(3))

    assert expected == taken(lane, max_records)


@pytest.mark.parametrize("kind", ["singles", "run"])
def test_what_does_not_fit_goes_next(kind, loop):
    """The rest of a batch that was too long waits in its old place."""
    lane = lane_of(kind, loop, 6)
    part = lane.take(4)
    lane.shorten(part, 1)

    assert [0] == indexes(part.records)
    assert [1, 2, 3, 4, 5] == indexes(lane.records())


def test_the_rest_of_a_batch_that_never_went_fills_the_next():
    """In a run such a rest belongs to no batch yet; that of a part remembers the batch that was refused."""
    lane = run_of(6)
    batch = lane.take(4)
    lane.shorten(batch, 1)
    assert (1, 1) == (batch.batch.size, batch.batch.ordinal)
    assert [[1, 2, 3, 4], [5]] == taken(lane, 4)

    lane = run_of(2)
    half = BatchPart([PendingRecord(index=index, record=CustomerLog(notes="x")) for index in (7, 8)], Batch(1, 4))
    lane.shorten(half, 1)
    assert 4 == half.batch.size
    assert [[8], [0, 1]] == taken(lane, 4)


def test_who_was_answered_meanwhile_goes_with_no_call(loop):
    """Singles whose callers have their outcome, or are gone, are passed over, in a part and in the queue."""
    lane = singles_of(loop, 6)
    lane.put_back(lane.take(2))
    everyone = lane.records()
    for index in (0, 2, 3):
        everyone[index].waiter.cancel()
    lane.withdraw(everyone[4])

    assert 2 == lane.waiting
    assert [[1], [5]] == taken(lane, 4)

    everyone[1].waiter.cancel()
    lane.put_back(BatchPart([everyone[1]], Batch(1, 1)))
    assert (False, 0) == (lane.ready(), lane.waiting)


def test_single_adds_that_do_not_fit_together_go_apart():
    """Handlers whose logs are too long for one call are served by several, and none is forgotten."""
    network = Network()

    async def work() -> None:
        async with client(network, max_batch_bytes=3_000) as neto:
            await asyncio.gather(*(neto.add_customer_log(CustomerLog(notes="x" * 900)) for _ in range(30)))

    run(work)
    assert (30, 3) == (len(network.ledger), max(len(sent.notes) for sent in network.sent))


def updates(loop: Any, *log_ids: int) -> tuple[UpdateLane, list[AwaitedRecord]]:
    lane = UpdateLane(UPDATE_CUSTOMER_LOG, 1)
    waiting = []
    for log_id in log_ids:
        record = CustomerLogUpdate(log_id=log_id, notes="x")
        waiting.append(AwaitedRecord(index=0, record=record, waiter=loop.create_future(), give_up_at=0.0))
        lane.add(waiting[-1])
    return lane, waiting


def test_the_end_of_an_earlier_call_lets_no_other_update_of_its_log_go(loop):
    """An abandoned call ends while its update goes again: the log is still being changed."""
    lane, _ = updates(loop, 7, 7)
    first = lane.take(1)
    lane.put_back(first)
    second = lane.take(1)
    lane.over(first)

    assert not lane.ready()
    lane.over(second)
    assert lane.ready()


def test_an_update_that_was_put_back_and_withdrawn_is_kept_nowhere(loop):
    """Its time was over, or its caller gave up, after a call of it had not left."""
    lane, (update, other) = updates(loop, 7, 8)
    lane.put_back(lane.take(1))
    lane.withdraw(update)

    assert not lane._parts
    assert [other] == lane.take(1).records
