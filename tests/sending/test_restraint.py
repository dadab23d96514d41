"""What holds calls back, as arithmetic: the engine's own tests show what comes of it."""

from __future__ import annotations

import pytest

from neto_async.sending.restraint import NEVER, Restraint


@pytest.fixture
def restraint() -> Restraint:
    """Make one whose waits are as long as they can be."""
    return Restraint(lambda: 1.0)


def test_nothing_holds_back_at_first(restraint):
    """A client that has made no call yet is free."""
    assert (NEVER, NEVER, False, False) == (
        restraint.paused_until,
        restraint.probe_at,
        restraint.probing,
        restraint.halted,
    )
    assert restraint.takes_in(0.0)


def test_the_latest_end_of_a_pause_wins(restraint):
    """A shorter pause that is asked for later does not lift a longer one, and neither does a wait."""
    restraint.asked_to_pause(0.0, 30.0)
    restraint.asked_to_pause(10.0, 5.0)
    restraint.never_left(10.0)
    assert (30.0, 30.0) == (restraint.asked_until, restraint.paused_until)

    restraint.asked_to_pause(10.0, 40.0)
    assert 50.0 == restraint.paused_until


def test_calls_that_fail_together_are_one_failure(restraint):
    """Failures while a wait goes on neither count nor make it longer; one after its end does, until a call leaves."""
    waits = []
    for now in (0.0, 0.1, 0.5, 0.6, 1.5):
        restraint.never_left(now)
        waits.append((restraint.failures, restraint.backoff_until))
    assert [(1, 0.5), (1, 0.5), (2, 1.5), (2, 1.5), (3, 3.5)] == waits

    restraint.left(4.0)
    restraint.never_left(5.0)
    assert (1, 5.5) == (restraint.failures, restraint.backoff_until)


def test_three_in_doubt_slow_calls_down_until_one_ends_definitely(restraint):
    """The third call in a row that ended in doubt makes the next wait, each further one longer."""
    seen = []
    for _ in range(4):
        restraint.ended_in_doubt(10.0)
        seen.append((restraint.in_doubt, restraint.probing, restraint.probe_at))
    assert [(False, False, NEVER)] * 2 + [(True, True, 10.5), (True, True, 11.0)] == seen

    restraint.ended_definitely()
    assert (False, NEVER) == (restraint.probing, restraint.probe_at)
    restraint.ended_in_doubt(20.0)
    assert not restraint.in_doubt


def test_a_refused_key_lets_one_through_a_minute(restraint):
    """While the key is refused one record a minute is taken in, and one call a minute goes."""
    restraint.left(0.0)
    restraint.key_refused(5.0)
    assert (True, True, 60.0) == (restraint.halted, restraint.probing, restraint.probe_at)
    assert [False, True, False, True] == [restraint.takes_in(now) for now in (64.9, 65.0, 124.9, 125.0)]

    restraint.left(66.0)
    assert 126.0 == restraint.probe_at
    restraint.key_taken()
    assert (False, NEVER, True) == (restraint.halted, restraint.probe_at, restraint.takes_in(127.0))


def test_doubt_and_a_refused_key_hold_back_together(restraint):
    """Of two reasons to wait the longer one counts."""
    restraint.left(0.0)
    restraint.key_refused(0.0)
    for _ in range(3):
        restraint.ended_in_doubt(100.0)
    assert 100.5 == restraint.probe_at
    restraint.left(50.0)
    assert 110.0 == restraint.probe_at
