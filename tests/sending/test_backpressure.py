"""What holds calls back, as arithmetic: the engine's own tests show what comes of it."""

from __future__ import annotations

import pytest

from neto_async.sending.backpressure import NEVER, Backpressure


@pytest.fixture
def backpressure() -> Backpressure:
    """Make one whose waits are as long as they can be."""
    return Backpressure(lambda: 1.0)


def test_nothing_holds_back_at_first(backpressure):
    """A client that has made no call yet is free."""
    assert (NEVER, NEVER, False, False) == (
        backpressure.paused_until,
        backpressure.probe_at,
        backpressure.probing,
        backpressure.halted,
    )
    assert backpressure.takes_in(0.0)


def test_the_latest_end_of_a_pause_wins(backpressure):
    """A shorter pause that is asked for later does not lift a longer one, and neither does a wait."""
    backpressure.asked_to_pause(0.0, 30.0)
    backpressure.asked_to_pause(10.0, 5.0)
    backpressure.never_left(10.0)
    assert (30.0, 30.0) == (backpressure.asked_until, backpressure.paused_until)

    backpressure.asked_to_pause(10.0, 40.0)
    assert 50.0 == backpressure.paused_until


def test_calls_that_fail_together_are_one_failure(backpressure):
    """Failures while a wait goes on neither count nor make it longer; one after its end does, until a call leaves."""
    waits = []
    for now in (0.0, 0.1, 0.5, 0.6, 1.5):
        backpressure.never_left(now)
        waits.append((backpressure.failures, backpressure.backoff_until))
    assert [(1, 0.5), (1, 0.5), (2, 1.5), (2, 1.5), (3, 3.5)] == waits

    backpressure.left(4.0)
    backpressure.never_left(5.0)
    assert (1, 5.5) == (backpressure.failures, backpressure.backoff_until)


def test_three_in_doubt_slow_calls_down_until_one_ends_definitely(backpressure):
    """The third call in a row that ended in doubt makes the next wait, each further one longer."""
    seen = []
    for _ in range(4):
        backpressure.ended_in_doubt(10.0)
        seen.append((backpressure.in_doubt, backpressure.probing, backpressure.probe_at))
    assert [(False, False, NEVER)] * 2 + [(True, True, 10.5), (True, True, 11.0)] == seen

    backpressure.ended_definitely(writes=True)
    assert (False, NEVER) == (backpressure.probing, backpressure.probe_at)
    backpressure.ended_in_doubt(20.0)
    assert not backpressure.in_doubt


def test_a_refused_key_lets_one_through_a_minute(backpressure):
    """While the key is refused one record a minute is taken in, and one call a minute goes."""
    backpressure.left(0.0)
    backpressure.key_refused(5.0)
    assert (True, True, 60.0) == (backpressure.halted, backpressure.probing, backpressure.probe_at)
    assert [False, True, False, True] == [backpressure.takes_in(now) for now in (64.9, 65.0, 124.9, 125.0)]

    backpressure.left(66.0)
    assert 126.0 == backpressure.probe_at
    backpressure.key_taken()
    assert (False, NEVER, True) == (backpressure.halted, backpressure.probe_at, backpressure.takes_in(127.0))


def test_doubt_and_a_refused_key_hold_back_together(backpressure):
    """Of two reasons to wait the longer one counts."""
    backpressure.left(0.0)
    backpressure.key_refused(0.0)
    for _ in range(3):
        backpressure.ended_in_doubt(100.0)
    assert 100.5 == backpressure.probe_at
    backpressure.left(50.0)
    assert 110.0 == backpressure.probe_at
