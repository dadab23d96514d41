"""What waits, as the engine takes it and gives it back: nothing is lost, and what was tried before goes first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scripted import Network, client
from virtual import run

from neto_async import CustomerLog
from neto_async.sending.feeds import Entry, Piece, Root, RunFeed, SingleEntry, SingleLane


@pytest.fixture
def loop() -> Any:
    """Give a loop for futures that nobody waits for."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def single(loop: Any, index: int) -> SingleEntry:
    return SingleEntry(index=index, record=CustomerLog(notes="x"), waiter=loop.create_future(), give_up_at=0.0)


def lane_of(loop: Any, count: int, most: int = 4) -> SingleLane:
    lane = SingleLane(most)
    for index in range(count):
        lane.add(single(loop, index))
    return lane


def run_of(count: int, size: int = 4) -> RunFeed:
    feed = RunFeed(batch_size=size, settle=lambda _: None, room_made=lambda: None, stopped=lambda: None)
    feed.feeling = False
    feed.partial = True
    for index in range(count):
        feed.add(Entry(index=index, record=CustomerLog(notes="x")))
    return feed


def feed_of(kind: str, loop: Any, count: int) -> Any:
    return lane_of(loop, count) if kind == "lane" else run_of(count)


def indexes(entries: Any) -> list[int]:
    return [entry.index for entry in entries]


def taken(feed: Any, most: int) -> list[list[int]]:
    """Take all there is, and give the indexes of each piece."""
    pieces = []
    while feed.ready():
        pieces.append(indexes(feed.take(most).entries))
    return pieces


@pytest.mark.parametrize("kind", ["lane", "run"])
def test_what_comes_back_goes_first(kind, loop):
    """Pieces put back go before all that waits, the last one first, each by itself."""
    feed = feed_of(kind, loop, 6)
    first, second = feed.take(2), feed.take(2)
    feed.put_back(second)
    feed.put_back(first)

    assert 6 == feed.waiting
    assert [0, 1, 2, 3, 4, 5] == indexes(feed.entries())
    assert [[0, 1], [2, 3], [4, 5]] == taken(feed, 2)
    assert 0 == feed.waiting


@pytest.mark.parametrize("kind", ["lane", "run"])
@pytest.mark.parametrize(("most", "expected"), [(1, [[0], [1], [2]]), (2, [[0, 1], [2]]), (3, [[0, 1, 2]])])
def test_a_piece_is_cut_to_what_a_call_may_carry(kind, loop, most, expected):
    """Of a piece that is larger than the next call may be, the rest goes with the calls after it; no piece is empty."""
    feed = feed_of(kind, loop, 3)
    feed.put_back(feed.take(3))

    assert expected == taken(feed, most)


@pytest.mark.parametrize("kind", ["lane", "run"])
def test_what_does_not_fit_goes_next(kind, loop):
    """The rest of a batch that was too long waits in its old place."""
    feed = feed_of(kind, loop, 6)
    piece = feed.take(4)
    feed.shorten(piece, 1)

    assert [0] == indexes(piece.entries)
    assert [1, 2, 3, 4, 5] == indexes(feed.entries())


def test_the_rest_of_a_batch_that_never_went_fills_the_next():
    """In a run such a rest belongs to no batch yet; that of a piece remembers the batch that was refused."""
    feed = run_of(6)
    batch = feed.take(4)
    feed.shorten(batch, 1)
    assert (1, 1) == (batch.root.size, batch.root.ordinal)
    assert [[1, 2, 3, 4], [5]] == taken(feed, 4)

    feed = run_of(2)
    half = Piece([Entry(index=index, record=CustomerLog(notes="x")) for index in (7, 8)], Root(1, 4))
    feed.shorten(half, 1)
    assert 4 == half.root.size
    assert [[8], [0, 1]] == taken(feed, 4)


def test_who_was_answered_meanwhile_goes_with_no_call(loop):
    """Singles whose callers have their outcome, or are gone, are passed over, in a piece and in the queue."""
    lane = lane_of(loop, 6)
    lane.put_back(lane.take(2))
    everyone = lane.entries()
    for index in (0, 2, 3):
        everyone[index].waiter.cancel()
    lane.withdraw(everyone[4])

    assert 2 == lane.waiting
    assert [[1], [5]] == taken(lane, 4)

    everyone[1].waiter.cancel()
    lane.put_back(Piece([everyone[1]], Root(1, 1)))
    assert (False, 0) == (lane.ready(), lane.waiting)


def test_single_adds_that_do_not_fit_together_go_apart():
    """Handlers whose logs are too long for one call are served by several, and none is forgotten."""
    network = Network()

    async def work() -> None:
        async with client(network, max_batch_bytes=3_000) as neto:
            await asyncio.gather(*(neto.add_customer_log(CustomerLog(notes="x" * 900)) for _ in range(30)))

    run(work)
    assert (30, 3) == (len(network.ledger), max(len(sent.notes) for sent in network.sent))
