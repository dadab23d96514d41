"""The quota: never over the limit at the store, and nearly at it."""

from __future__ import annotations

import asyncio
import gc
import random
from collections import deque
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Network, answers, client
from virtual import run

from neto_async.sending.quota import SharedCalls, Window, quota_for

WINDOW = 60.0


def most_in_a_window(moments: list[float]) -> int:
    """Count the calls in the fullest half-open window of 60 s; 1 µs is left for the rounding of floats."""
    moments = sorted(moments)
    first = 0
    most = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= WINDOW - 1e-6:
            first += 1
        most = max(most, last - first + 1)
    return most


CALLS = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 90), st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(calls=CALLS, limit=st.integers(1, 8))
def test_no_window_at_the_store_exceeds_the_quota(calls, limit):
    """Whatever the arrivals and latencies, and wherever between begin and end the store counts: never more than N."""
    quota = Window(limit)
    now, under_way, seen = 0.0, [], []
    for gap, latency, part, spaced in calls:
        now += gap
        while True:
            for end in sorted(end for end in under_way if end <= now):
                quota.end(end)
                under_way.remove(end)
            at = quota.earliest(now, spaced=spaced)
            if at is not None and at <= now:
                break
            now = min([end for end in under_way if end > now] + ([at] if at is not None else []))
        quota.begin(now, spaced=spaced)
        under_way.append(now + latency)
        seen.append(now + part * latency)

    assert most_in_a_window(seen) <= limit


class Clients:
    """Two quotas of one store, each with calls under way, on one clock that both are asked at."""

    def __init__(self, *limits):
        calls = SharedCalls()
        self.quotas = [Window(limit, calls) for limit in limits]
        self.under_way = []  # (end, quota)

    def begins(self, quota, now, latency, *, spaced):
        """Begin a call as soon as one may from now on, and give when."""
        while True:
            for end, of in sorted(self.under_way, key=lambda call: call[0]):
                if end <= now:
                    of.end(end)
                    self.under_way.remove((end, of))
            at = quota.earliest(now, spaced=spaced)
            if at <= now and quota.begin(now, spaced=spaced):
                self.under_way.append((now + latency, quota))
                return now
            now = at


TWO_CLIENTS = st.lists(
    st.tuples(st.booleans(), st.floats(0, 20), st.floats(0, 90), st.floats(0, 1), st.booleans()),
    min_size=1,
    max_size=60,
)


@given(calls=TWO_CLIENTS, limit=st.integers(1, 8), other=st.sampled_from([1, 0.4, 3, 8]))
def test_two_clients_of_a_store_share_one_quota(calls, limit, other):
    """However the calls of two clients interleave, no window at the store holds more than the larger limit allows."""
    clients = Clients(limit, other)
    now, seen = 0.0, []
    for second, gap, latency, part, spaced in calls:
        now = clients.begins(clients.quotas[second], now + gap, latency, spaced=spaced)
        seen.append(now + part * latency)

    assert most_in_a_window(seen) <= max(limit, other)


def test_a_place_that_another_client_took_is_refused():
    """Between the question and the call a client in another thread may take the last place: then the call must wait."""
    first, second = Clients(1, 1).quotas
    assert (0.0, 0.0) == (first.earliest(0.0, spaced=False), second.earliest(0.0, spaced=False))

    assert (True, False) == (first.begin(0.0, spaced=False), second.begin(0.0, spaced=False))
    assert 60.0 == second.earliest(0.0, spaced=False)


def test_a_pause_holds_all_clients():
    """What the store asked one client for, each client of that store keeps."""
    first, second = Clients(10, 10).quotas
    first.pause(0.0, 30.0)
    first.pause(0.0, 20.0)

    assert [30.0, 31.0] == [second.earliest(now, spaced=False) for now in (0.0, 31.0)]


def test_a_429_to_one_client_holds_the_others():
    """The store asked one client for a pause: another one of that store calls after it, and not before."""
    network = Network(script=deque([answers(429, Retry_After="30")]))
    calls = SharedCalls()

    async def work() -> Any:
        first, second = (client(network, quota=Window(10, calls)) for _ in range(2))
        async with first, second:
            limited = asyncio.ensure_future(first.add_customer_log({"notes": "first"}))
            await asyncio.sleep(1)
            await asyncio.gather(limited, second.add_customer_log({"notes": "second"}))

    run(work)
    assert network.sent[0].at + 30 <= min(sent.at for sent in network.sent[1:])


def test_a_client_of_less_than_one_call_a_minute_counts_the_others_as_long():
    """Each client counts all calls over its own window, which is longer than a minute below one call a minute."""
    slow, fast = Clients(0.5, 10).quotas
    fast.begin(0.0, spaced=False)
    fast.end(1.0)

    assert (90.0, 121.0) == (fast.earliest(90.0, spaced=False), slow.earliest(90.0, spaced=False))


def test_calls_of_a_client_that_is_gone_count_a_window_longer():
    """Nobody learns when a call of a client ends that was garbage-collected; its place comes free all the same."""
    first, second = Clients(1, 1).quotas
    first.begin(0.0, spaced=False)
    del first
    gc.collect()

    assert 65.0 == second.earliest(5.0, spaced=False)
    assert (0, 65.0) == (second.calls.under_way, second.earliest(65.0, spaced=False))


def test_a_loop_with_another_clock_begins_anew():
    """Where time goes back, as between the loops of tests, times of the other clock mean nothing."""
    quota = Window(1)
    quota.begin(1_000_000.0, spaced=True)
    quota.end(1_000_000.0)

    assert 5.0 == quota.earliest(5.0, spaced=True)


def test_the_clients_of_a_store_in_one_process_share(monkeypatch):
    """A client made beside another, or after it, goes on with its window; a fork and another store begin anew."""
    first = quota_for(10, store_url="https://shared.example")
    first.begin(0.0, spaced=False)
    others = [quota_for(10, store_url="https://shared.example"), quota_for(10, store_url="https://b.example")]
    monkeypatch.setattr("os.getpid", lambda: -1)
    others += [quota_for(10, store_url="https://shared.example"), quota_for(10)]

    assert [1, 0, 0, 0] == [quota.used for quota in others]


class Busy(Window):
    """A quota of which another client takes the place at first."""

    refusals = 3

    def begin(self, now, *, spaced):
        self.refusals -= 1
        return self.refusals < 0 and super().begin(now, spaced=spaced)


def test_a_call_without_a_place_goes_later():
    """Where the place was taken at the last moment, the records go with the next call, in their order."""
    network = Network()
    notes = [str(number) for number in range(5)]

    async def work() -> Any:
        async with client(network, batch_size=2, quota=Busy(1000)) as neto:
            return await neto.add_customer_logs([{"notes": text} for text in notes])

    assert 5 == len(run(work).added)
    assert notes == [text for sent in network.sent for text in sent.notes]


@pytest.mark.parametrize("limit", [0.25, 0.5, 1.5, 7.9])
def test_a_fraction_is_never_exceeded(limit):
    """A fraction below one stretches the window; above it is rounded down."""
    quota = Window(limit)
    now = 0.0
    begun = []
    while len(begun) < 20:
        now = max(now, quota.earliest(now, spaced=False))
        quota.begin(now, spaced=False)
        quota.end(now)
        begun.append(now)

    assert most_in_a_window(begun) <= max(1, int(limit))
    assert (begun[-1] - begun[0]) / 60 >= (len(begun) - max(1, int(limit))) / max(limit, 1) - 1


@pytest.mark.parametrize("limit", [30, 60, 6000])
@given(moments=st.lists(st.floats(0, 1), min_size=2, max_size=50))
def test_spaced_calls_keep_their_distance(limit, moments):
    """Spaced calls begin 60/N apart, less what a late timer may catch up with: a tenth, or 20 ms, or half."""
    quota, now, begun = Window(limit), 0.0, []
    for late in moments:
        now = quota.earliest(now, spaced=True) + late
        quota.begin(now, spaced=True)
        quota.end(now)
        begun.append(now)

    assert (
        min(later - earlier for earlier, later in pairwise(begun))
        >= 60 / limit - min(max(0.02, 6 / limit), 30 / limit) - 1e-9
    )


def test_a_late_call_is_caught_up_with_by_the_next():
    """A spaced call that begins a little late does not push back the next; one that is very late does, but for that."""
    quota = Window(30)
    due = []
    for at in (0.0, 2.1, 5.0, 10.0):
        quota.begin(at, spaced=True)
        quota.end(at)
        due.append(
            quota.calls.due_at + 2.0
        )  # white-box: what is left of the window would hold the next back a little more

    # The last was not late: there was nothing to send.
    assert [2.0, 4.0, 6.8, 12.0] == due


@pytest.mark.parametrize("ended", [True, False])
def test_spaced_calls_leave_places_until_the_next_comes_free(ended):
    """Where others hold places, what is left of the window is spread over the time until one of them is given back."""
    quota = Window(5)
    for _ in range(3):
        quota.begin(0.0, spaced=False)
    quota.begin(0.0, spaced=True)
    for _ in range(3 * ended):
        quota.end(0.5)

    # One place is left until a minute after the first call's end, or at the earliest after the last spaced one began.
    comes_free = 60.5 if ended else 60.0
    assert comes_free / 2 == pytest.approx(quota.earliest(0.5, spaced=True))
    assert 0.5 == quota.earliest(0.5, spaced=False)


def test_single_adds_do_not_push_back_an_import():
    """A call of a single add takes a place, and the pace of an import goes on from its own last call."""
    quota = Window(60)
    quota.begin(0.0, spaced=True)
    quota.begin(0.5, spaced=False)

    assert 60 / 59 == pytest.approx(quota.earliest(0.5, spaced=True))


def test_an_import_is_estimated_from_its_pace():
    """So many calls take that many times 60/N seconds."""
    assert [1.5, 240.0] == [Window(400).seconds_for(10), Window(0.5).seconds_for(2)]


def test_no_limit():
    """None means no quota, which never makes a call wait and can't foretell an end."""
    quota = quota_for(None)
    quota.begin(5.0, spaced=True)
    quota.end(5.0)

    assert (5.0, None, 0) == (quota.earliest(5.0, spaced=True), quota.seconds_for(10), quota.used)


@pytest.mark.parametrize("latency", [0.4, *(pytest.param(at, marks=pytest.mark.thorough) for at in (0.05, 0.99))])
def test_a_saturated_import_uses_the_quota(latency):
    """Ten saturated minutes with calls below a second use at least 98 % of 400 a minute, and never more than 400."""
    network = Network(latency=latency)
    draw = random.Random(latency).random
    moments: list[float] = []

    async def work() -> Any:
        async with client(network, requests_per_minute=400, max_concurrency=8, batch_size=1) as neto:
            async with neto.import_customer_logs({"Notes": str(number)} for number in range(4600)) as imported:
                async for _ in imported:
                    pass
            moments.extend(sent.at + draw() * latency for sent in network.sent)

    run(work)

    begun = [sent.at for sent in network.sent]
    # The first minute is left out: the first call goes alone.
    steady = [at for at in begun if begun[0] + 60 <= at < begun[0] + 660]
    assert len(steady) >= 0.98 * 4000
    assert most_in_a_window(moments) <= 400
