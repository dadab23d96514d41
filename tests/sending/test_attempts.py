"""How long to wait: numbers that are promised, and a wait that neither grows without bound nor falls in step."""

from __future__ import annotations

import pytest

from neto_async.sending.backpressure import DEFAULT_PAUSE, backoff


@pytest.mark.parametrize(
    ("failures", "jitter", "seconds"),
    [
        *((1, 0.0, 0.25), (1, 1.0, 0.5), (2, 1.0, 1.0), (3, 0.5, 1.5), (6, 1.0, 16.0)),
        *((7, 0.0, 15.0), (7, 1.0, 30.0), (1_000_000, 1.0, 30.0)),
    ],
)
def test_waits_double_up_to_half_a_minute(failures, jitter, seconds):
    """The wait after a number of failures in a row lies between half of what doubling makes of it and the whole."""
    assert seconds == backoff(failures, jitter=jitter)


def test_a_429_that_names_no_time_means_a_minute():
    """The vendor's page on limits asks for a minute without calls."""
    assert 60.0 == DEFAULT_PAUSE
