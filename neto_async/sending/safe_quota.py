"""
A quota of the program's own, whose errors end in the log. May import: quota, observing.

What such a quota raises must not take records with it: while it fails no call begins, and it is asked again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from attrs import define

from neto_async.sending.observing import logger
from neto_async.sending.quota import QUOTA_SERVER, Quota, Unlimited, Window

__all__ = ["SafeQuota", "safe"]

T = TypeVar("T")

ASK_AGAIN = 1.0
"""Seconds until a quota that failed is asked again."""

REFUSALS = 10
"""Places in a row that a quota may refuse after it said that a call may begin. One that forgets to return a place would
otherwise be asked in every turn of the loop, for ever."""


def safe(quota: Quota) -> Quota:
    """Guard a quota, unless it is one of our own."""
    return quota if isinstance(quota, Window | Unlimited) else SafeQuota(quota)


@define(eq=False)
class SafeQuota(Quota):
    """
    Guard a quota.

    While it fails, it counts as a server that can't be used: records give up after their time.
    """

    quota: Quota
    _fails: bool = False
    _ask_again_at: float = -math.inf
    _refused: int = 0  # places in a row

    @property
    def used(self) -> int:
        return self._ask(lambda: self.quota.used, otherwise=0)

    @property
    def waiting_on(self) -> str:
        return QUOTA_SERVER if self._fails else self._ask(lambda: self.quota.waiting_on, otherwise=QUOTA_SERVER)

    def attach(self, wake: Callable[[], None], *, store_url: str, timeout: float) -> None:
        """Serve a client; what is raised reaches the program, before any record."""
        self.quota.attach(wake, store_url=store_url, timeout=timeout)

    def earliest(self, now: float, *, spaced: bool, leave: int = 0) -> float:
        """Ask from when on a call may begin; a little later where there was no such time."""
        if now < self._ask_again_at:
            return self._ask_again_at
        at: Any = self._ask(lambda: self.quota.earliest(now, spaced=spaced, leave=leave), otherwise=math.nan)
        self._fails = not isinstance(at, int | float) or math.isnan(at)
        return self._fail(now) if self._fails else at

    def begin(self, now: float, *, spaced: bool) -> Any:
        place = self._ask(lambda: self.quota.begin(now, spaced=spaced), otherwise=None)
        self._refused = 0 if place else self._refused + 1
        if self._refused >= REFUSALS:
            self._fail(now)
        return place

    def _fail(self, now: float) -> float:
        self._fails, self._ask_again_at = True, now + ASK_AGAIN
        logger.error("the quota gives no time or no place; no call begins")
        return self._ask_again_at

    def may_leave(self, place: Any) -> bool:
        return self._ask(lambda: self.quota.may_leave(place), otherwise=False)

    def end(self, now: float, place: Any) -> None:
        self._ask(lambda: self.quota.end(now, place), otherwise=None)

    def pause(self, now: float, until: float) -> None:
        self._ask(lambda: self.quota.pause(now, until), otherwise=None)

    def seconds_for(self, calls: int) -> float | None:
        return self._ask(lambda: self.quota.seconds_for(calls), otherwise=None)

    async def aclose(self) -> None:
        try:
            await self.quota.aclose()
        except Exception as error:  # noqa: BLE001
            _log(error)

    def _ask(self, question: Callable[[], T], *, otherwise: T) -> T:
        try:
            return question()
        except Exception as error:  # noqa: BLE001
            _log(error)
            return otherwise


def _log(error: Exception) -> None:
    # Only the class: a program's text could say anything.
    name = type(error).__name__
    logger.error("the quota raised %s", name, extra={"neto_failure": name})
