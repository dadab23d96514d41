"""Faults for the laws to find: each takes one of the things away that the quota and the journal stand on."""

from __future__ import annotations

import time
from typing import Any

from neto_async.integrations import redis as redis_quota
from neto_async.integrations.redis import RedisQuota
from neto_async.journals import postgres_tables as tables
from neto_async.journals.postgres import PostgresJournal

__all__ = ["PLANTED", "plant"]


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def no_fence() -> None:
    """Let whoever was taken over write on, and hold the lease again."""
    fence = "epoch = %(epoch)s"
    tables.APPEND = changed(tables.APPEND, f"({fence} OR %(late)s)", "true")
    tables.RENEW = changed(tables.RENEW, fence, "true")
    landed = PostgresJournal._landed

    def there(self: PostgresJournal, last: Any, *, late: bool) -> bool:
        return landed(self, last, late=True)

    PostgresJournal._landed = there  # type: ignore[method-assign]


def no_hold() -> None:
    """Let calls begin at once on a server that has lost its state."""
    redis_quota.STEP = changed(redis_quota.STEP, "gate = -(now + ahead + hold)", "gate = -now")


def freed_at_the_reply() -> None:
    """Let a place come free at the end of its call, and not a window later."""
    redis_quota.STEP = changed(redis_quota.STEP, "now - tonumber(ARGV[at + 1]) + window", "now")


def used_late() -> None:
    """Use a grant whatever its age."""
    RedisQuota._give_back_late = lambda self, lane: None  # type: ignore[method-assign]
    RedisQuota.may_leave = lambda self, place: True  # type: ignore[method-assign]


def clock_of_the_worker() -> None:
    """Take the time of day of whoever asks for the server's."""
    redis_quota.STEP = changed(redis_quota.STEP, "redis.call('TIME')", "{ARGV[#ARGV], 0}")
    arguments = RedisQuota._arguments

    def with_time(self: RedisQuota, *given: Any) -> list[str | int]:
        return [*arguments(self, *given), f"{time.time():.6f}"]

    RedisQuota._arguments = with_time  # type: ignore[method-assign]


PLANTED = {one.__name__: one for one in (no_fence, no_hold, freed_at_the_reply, used_late, clock_of_the_worker)}


def plant(name: str | None) -> None:
    if name is not None:
        PLANTED[name]()
