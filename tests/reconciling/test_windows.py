"""Which ids a call's records can have."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from neto_async.reconciling.evidence import AnsweredCall, DoubtfulCall
from neto_async.reconciling.windows import Window, ids_ascend, windows_of

CALL = DoubtfulCall(number=1, began=10, left_at=100.0)


def answered(began, ended, lowest, highest, *, began_at=0.0):
    return AnsweredCall(began=began, answered=ended, began_at=began_at, lowest_id=lowest, highest_id=highest)


def test_a_window_without_neighbours_holds_every_id():
    """Where no id is known, each can be the call's."""
    (window,) = windows_of((CALL,), (), 60.0).values()
    assert all(log_id in window for log_id in (1, 10**12))
    assert 160.0 == window.settled_at


def test_a_window_lies_between_what_came_before_and_after():
    """It is above all ids answered before the call began, and below those of calls that began when it was over."""
    calls = (
        answered(1, 9, 3, 5),
        answered(2, 11, 7, 9),  # answered while the call was on its way
        answered(12, 13, 12, 14, began_at=159.9),  # began before the call was over
        answered(14, 15, 20, 22, began_at=160.0),
    )
    (window,) = windows_of((CALL,), calls, 60.0).values()
    assert list(range(6, 20)) == [log_id for log_id in range(30) if log_id in window]
    (window,) = windows_of((CALL,), (*calls, answered(16, 17, 1, 2)), 60.0).values()
    assert all(log_id in window for log_id in range(1, 30))


def test_ids_ascend_where_each_later_call_has_the_higher_ones():
    """Calls that overlap may have ids in any order; of two that don't, the later one has the higher ids."""
    assert ids_ascend(())
    assert ids_ascend((answered(1, 4, 5, 6), answered(2, 3, 1, 2)))
    assert not ids_ascend((answered(1, 2, 5, 6), answered(3, 4, 1, 2)))
    assert not ids_ascend((answered(1, 2, 5, 9), answered(3, 4, 7, 12)))


def test_ids_ascend_is_what_comparing_all_pairs_says():
    """The one pass finds what comparing each call with each other one finds."""
    rng = random.Random(7)
    said = set()
    for _ in range(2000):
        times = rng.sample(range(20), 8)
        calls = []
        for began, ended in zip(*[iter(times)] * 2, strict=True):
            low = min(began, ended) + rng.choice((10, 10, 10, 4))
            calls.append(answered(min(began, ended), max(began, ended), low, low + rng.randint(0, 2)))
        pairs = all(one.highest_id < two.lowest_id for one in calls for two in calls if one.answered < two.began)
        assert pairs == ids_ascend(calls)
        said.add(pairs)
    assert {True, False} == said


def test_a_window_is_what_comparing_with_each_call_says():
    """Looked up among many calls, floor and ceiling are those of all that ended before and that began after."""
    rng = random.Random(3)
    for _ in range(300):
        calls = [
            answered(2 * n, 2 * n + 1, 10 * n + 5, 10 * n + rng.randint(5, 9), began_at=float(n)) for n in range(9)
        ]
        doubtful = [DoubtfulCall(number=n, began=rng.randint(-1, 20), left_at=rng.randint(-1, 9)) for n in range(4)]
        rng.shuffle(calls)
        found = windows_of(doubtful, calls, 1.0)
        for call in doubtful:
            older = [other.highest_id for other in calls if other.answered < call.began]
            younger = [other.lowest_id for other in calls if other.began_at >= call.left_at + 1.0]
            expected = (max(older, default=None), min(younger, default=None))
            assert expected == (found[call.number].floor, found[call.number].ceiling)


@given(
    st.lists(st.integers(1, 30), unique=True).map(sorted).map(tuple),
    *[st.none() | st.integers(0, 31)] * 2,
)
def test_the_ids_in_a_window_are_those_that_it_holds(ids, floor, ceiling):
    """Cut from ids that ascend, or looked at one by one: the same ids."""
    window = Window(floor=floor, ceiling=ceiling, settled_at=0.0)
    assert tuple(log_id for log_id in ids if log_id in window) == window.of(ids)
