"""Random schedules of use and of faults, each replayable by its seed; outcomes are compared with the store's ledger."""

from __future__ import annotations

from collections import Counter

import pytest
from simulate import simulate

from neto_async import Added, Invalid, NotSent, Rejected, Unknown

SEEDS = 300
BY_DEFAULT = 60
SLOW_SEEDS = 20_000
AT_ONCE = 30
KINDS = tuple(kind.__name__ for kind in (Added, Rejected, Invalid, NotSent, Unknown))


@pytest.mark.parametrize(
    "first",
    [
        first if first < BY_DEFAULT else pytest.param(first, marks=pytest.mark.thorough)
        for first in range(0, SEEDS, AT_ONCE)
    ],
)
def test_every_outcome_is_true(first):
    """Whatever network and callers do, each record has one outcome, and it is true of the store's ledger."""
    total: Counter[str] = Counter()
    for seed in range(first, first + AT_ONCE):
        total += simulate(seed)

    # A network on which nothing works, or all does, would hold nothing.
    assert min(total[kind] for kind in KINDS) > 0
    assert 0.1 <= total["Added"] / sum(total[kind] for kind in KINDS) <= 0.9


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_outcome_is_true_for_long():
    """The same law over many more schedules."""
    for seed in range(SEEDS, SLOW_SEEDS):
        simulate(seed)
