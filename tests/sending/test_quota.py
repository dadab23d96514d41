"""The quota: never over the limit at the store, and nearly at it."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Network, client
from virtual import run

from neto_async.sending.quota import Unlimited, Window, quota_for

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


@given(moments=st.lists(st.floats(0, 1), min_size=2, max_size=50))
def test_spaced_calls_keep_their_distance(moments):
    """Spaced calls begin 60/N apart, less a tenth of that which a late timer may catch up with."""
    quota, now, begun = Window(60), 0.0, []
    for late in moments:
        now = quota.earliest(now, spaced=True) + late
        quota.begin(now, spaced=True)
        quota.end(now)
        begun.append(now)

    assert min(later - earlier for earlier, later in pairwise(begun)) >= 0.9 - 1e-9


def test_no_limit():
    """None means no quota, which never makes a call wait and can't foretell an end."""
    quota = quota_for(None)
    quota.begin(5.0, spaced=True)
    quota.end(5.0)

    assert (Unlimited(), 5.0, None) == (quota, quota.earliest(5.0, spaced=True), quota.seconds_for(10))


@pytest.mark.parametrize("latency", [0.05, 0.4, 0.99])
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
