"""The store's limit on calls is a sliding window."""

from __future__ import annotations

import pytest

from neto_async.sandbox.quota import SlidingWindow


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_no_more_than_the_limit_in_a_minute(clock):
    """Of the calls of 60 seconds the limit's number is within it; a place is free 60 s after its call."""
    window = SlidingWindow(2, clock)
    taken = []
    for clock.now in (0.0, 30.0, 59.9):
        taken.append(window.take())
    assert taken == [True, True, False]
    clock.now = 89.9
    assert not window.take(), "the calls at 30.0 and 59.9 count"
    clock.now = 119.9
    assert window.take(), "the call at 59.9 counts no more"


def test_a_call_over_the_limit_counts(clock):
    """Who keeps calling stays over the limit."""
    window = SlidingWindow(1, clock)
    for clock.now in range(0, 300, 30):
        window.take()
    assert not window.take()
    assert window.used == 1
    clock.now += 60
    assert window.used == 0
    assert window.take()


def test_no_limit(clock):
    """Without a limit every call is within it."""
    window = SlidingWindow(None, clock)
    assert all(window.take() for _ in range(1000))
    assert window.used == 0


def test_clear(clock):
    """Forgotten calls count no more."""
    window = SlidingWindow(1, clock)
    window.take()
    window.clear()
    assert window.take()
