"""The data of all benchmarks: made up, and the same in every run, from one seed. May import: models."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from itertools import cycle, islice
from typing import Any

from neto_async import CustomerLog, CustomerLogStatus

SEED = 20261105
DISTINCT = 1000
"""Rows that differ; a longer source repeats them, so that making rows costs nothing while the clock runs."""

PHRASES = "rang about the order & asked for a quote, wants < 40 cm, café, kōwhai, back on Monday, paid, refund due"
FIRST_CONTACT = datetime(2026, 1, 5, 9, 0, tzinfo=timezone.utc)


def make_rows(count: int) -> list[dict[str, Any]]:
    """Make rows of all eight fields, under the names of `CustomerLog`, with notes of 10 to 60 words."""
    rng = random.Random(SEED)
    return [
        {
            "allocated_to": rng.choice(["Priya Raman", "Tom Hanlon", "Aroha Ngata"]),
            "follow_up_type": rng.choice(["Phone", "Email", "In store"]),
            "username": f"customer{position}",
            "customer_name": rng.choice(["Bellbird Landscapes", "Hēmi Parata", "D'Arcy & Sons"]),
            "last_contacted": FIRST_CONTACT + timedelta(minutes=rng.randrange(400_000)),
            "date_required_follow_up": date(2026, 11, 1) + timedelta(days=rng.randrange(60)),
            "status": rng.choice(list(CustomerLogStatus)).value,
            "notes": " ".join(rng.choices(PHRASES.split(), k=rng.randrange(10, 60))),
        }
        for position in range(count)
    ]


def make_logs(count: int) -> list[CustomerLog]:
    """Make the same rows as logs."""
    return [CustomerLog(**row) for row in make_rows(count)]


def stream_rows(count: int) -> Iterator[dict[str, Any]]:
    """Give so many rows one by one, holding `DISTINCT` of them."""
    return islice(cycle(make_rows(DISTINCT)), count)
