"""The plan of settling, shown before anything is read, and its command. May import: screen, reconciling, settings."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from datetime import datetime, timezone

from neto_async.cli.screen import Screen, counted
from neto_async.reconciling.from_journal import JournalDoubts
from neto_async.reconciling.settle import calls_needed, customers_in, over_at
from neto_async.settings import Settings

__all__ = ["command_like_this", "show_doubts"]


def command_like_this(name: str, *, without: Mapping[str, int]) -> str:
    """
    Write another command for the same file, with the options of this one.

    Args:
        name: Of the command.
        without: Options that it does not have, and how many words follow each.
    """
    kept, skip = [], 0
    for word in sys.argv[2:]:
        option, equals, _ = word.partition("=")
        if skip:
            skip -= 1
        elif option in without:
            skip = 0 if equals else without[option]
        else:
            kept.append(word)
    return shlex.join(["neto-async", name, *kept])


def show_doubts(doubts: JournalDoubts, settings: Settings, screen: Screen, *, settle_after: float) -> str:
    """
    Show how many rows are in doubt, of at least one, what is going to be read, and until when it waits before.

    Return that moment in words; empty where it does not wait.
    """
    given = doubts.given
    nameless = sum(not (outcome.record.username or "").strip() for outcome in doubts.outcomes.values())
    calls, rate = calls_needed(given), settings.requests_per_minute
    seconds = "" if rate is None else f", about {max(1, round(60 * calls / rate))} s at the limit"
    until = _until(doubts, settle_after)
    screen.list(
        {
            "Doubt": counted(len(doubts.outcomes), "row"),
            "Read": f"{counted(len(customers_in(given)), 'customer')} in {calls:,} calls or more{seconds}",
            "Notice": f"{counted(nameless, 'row')} without a user name can't be read back" if nameless else None,
            "Wait": f"until {until}, when no call can be saved any more (--settle-after)" if until else None,
        }
    )
    return until


def _until(doubts: JournalDoubts, settle_after: float) -> str:
    now = datetime.now(timezone.utc).timestamp()
    until, about = over_at(doubts.given, settle_after), ""
    if settle_after and any(call.left_at == float("inf") for call in doubts.given.calls):
        # Its end was not noted: the next opening of the journal counts as its end.
        until, about = max(until, now + settle_after), "about "
    return f"{about}{datetime.fromtimestamp(until, timezone.utc):%H:%M:%S} UTC" if until > now else ""
