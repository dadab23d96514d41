"""Random schedules of use and of faults, each replayable by its seed; outcomes are compared with the store's ledger."""

from __future__ import annotations

import pytest
from simulate import simulate

SEEDS = 300
SLOW_SEEDS = 20_000
AT_ONCE = 30


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_every_outcome_is_true(first):
    """Whatever network and callers do, each record has one outcome, and it is true of the store's ledger."""
    for seed in range(first, first + AT_ONCE):
        simulate(seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_outcome_is_true_for_long():
    """The same law over many more schedules."""
    for seed in range(SEEDS, SLOW_SEEDS):
        simulate(seed)
