"""
Answer GetCustomer: whose logs are given back, and how (vendor's page, developers.maropost.com, read 2026-11).

What is not known of Neto is a setting of `ReadBack`. May import: reading, ledger.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from attrs import frozen

from neto_async.sandbox.ledger import Ledger, SavedLog
from neto_async.sandbox.reading import Query

__all__ = ["Customers", "ReadBack"]

_LOCAL = timedelta(hours=10)
"""How far the store's local time is ahead of UTC: that of Brisbane, which has no summer time."""


@frozen(kw_only=True)
class ReadBack:
    """
    How the store gives logs back. By default texts come back as they were sent, and pages are full.

    Attributes:
        trims: Whether white space at the edges of Notes is lost.
        strips_tags: Whether HTML tags in Notes are lost.
        line_ends: What line ends in Notes become, None to keep them.
        local_time: Whether LastContacted comes back in the store's local time, and not in UTC.
        short_pages: Whether a page holds half of the customers that it could, while more are to come.
        page_limit: Customers on a page at most, and where the call names no Limit.
    """

    trims: bool = False
    strips_tags: bool = False
    line_ends: str | None = None
    local_time: bool = False
    short_pages: bool = False
    page_limit: int = 1000

    def __str__(self) -> str:
        said = {
            "Notes trimmed": self.trims,
            "tags stripped": self.strips_tags,
            "line ends turned": self.line_ends is not None,
            "LastContacted in local time": self.local_time,
            "short pages": self.short_pages,
        }
        return ", ".join(words for words, is_so in said.items() if is_so) or "as they were sent"

    def notes(self, text: str) -> str:
        """Give Notes as they come back."""
        if self.strips_tags:
            text = re.sub("<[^<>]*>", "", text)
        if self.line_ends is not None:
            text = self.line_ends.join(re.split("\r\n|\r|\n", text))
        return text.strip() if self.trims else text


class Customers:
    """
    The store's customers.

    Args:
        names: Their user names; None if every user name that a call asks for, or a log has, is a customer's.
    """

    def __init__(self, ledger: Ledger, names: Iterable[str] | None, read_back: ReadBack) -> None:
        self._ledger = ledger
        self._names = None if names is None else sorted(set(names))
        self.read_back = read_back

    def find(self, query: Query) -> list[dict[str, Any]]:
        """Give the customers of one page: user name, and their logs where the call asks for these."""
        size = max(1, min(query.limit or self.read_back.page_limit, self.read_back.page_limit))
        size = (size + 1) // 2 if self.read_back.short_pages else size
        names = self._asked_for(query)[query.page * size : (query.page + 1) * size]
        if "CustomerLog" not in query.selectors:
            return [{"Username": name} for name in names]
        logs: dict[str, list[Mapping[str, str]]] = {name: [] for name in names}
        for log in self._ledger.logs:
            if log.username in logs:
                logs[log.username].append(self._given_back(log))
        return [{"Username": name, "CustomerLogs": found} for name, found in logs.items()]

    def _asked_for(self, query: Query) -> list[str]:
        asked = list(dict.fromkeys(query.usernames))
        if self._names is not None:
            return [name for name in asked if name in self._names] if asked else self._names
        return asked or sorted({log.username for log in self._ledger.logs if log.username})

    def _given_back(self, log: SavedLog) -> Mapping[str, str]:
        utc = log.last_contacted or ""
        local = _local(utc)
        return {
            "LogID": str(log.log_id),
            "Customer": log.username or "",
            "AllocatedTo": log.allocated_to or "",
            "Status": log.status or "",
            "DateRequiredFollowUp": (log.date_required_follow_up or "")[:10],
            "LastContacted": local if self.read_back.local_time else utc,
            "LastContactedLocal": local,
            "LastContactedUTC": utc,
            "Notes": self.read_back.notes(log.notes or ""),
        }


def _local(utc: str) -> str:
    try:
        return str(datetime.fromisoformat(utc) + _LOCAL)
    except (ValueError, OverflowError):  # none at all, MySQL's zero date, or the last day of all
        return utc
