"""Rows, calls and their ends, as the tests of journals write them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from neto_async.journals.protocol import End, Intent, Known, RowState

STORE = "https://www.example.com"
ADDED, REJECTED, UNKNOWN, WITHDRAWN = RowState.ADDED, RowState.REJECTED, RowState.UNKNOWN, RowState.WITHDRAWN
ABSENT = RowState.ABSENT


def at(second: int) -> datetime:
    return datetime(2026, 11, 27, tzinfo=timezone.utc) + timedelta(seconds=second, microseconds=7)


def ticking() -> Callable[[], datetime]:
    """Give a clock that shows the next second each time that it is looked at, from 1."""
    seconds = iter(range(1, 1000))
    return lambda: at(next(seconds))


def print_of(position: int, version: int = 0) -> bytes:
    return hashlib.blake2b(f"{position} {version}".encode(), digest_size=16).digest()


def intent(call: int, *positions: int, version: int = 0) -> Intent:
    return Intent(call=call, rows=tuple((position, print_of(position, version)) for position in positions))


def end(call: int, *states: RowState) -> End:
    return End(call=call, states=tuple((state, 1000 + call if state is ADDED else 0) for state in states))


def known(position: int, state: RowState, call: int = 0, version: int = 0) -> Known:
    return Known(position, print_of(position, version), state, 1000 + call if state is ADDED else 0)


def opened(make: Callable[..., Any], store: str = STORE, **more: Any) -> Any:
    """Make a journal object and open it."""
    journal = make(**more)
    journal.open(store)
    return journal


def read(make: Callable[..., Any]) -> tuple[str, bytes, list[Known]]:
    """Give what a journal holds: its identity, its salt and the known rows."""
    journal = opened(make)
    try:
        return journal.identity, journal.salt, list(journal.known())
    finally:
        journal.close()


def fill(journal: Any, calls: int = 3, size: int = 2) -> list[Known]:
    """Write calls of all fates to an open journal; give what is known afterwards."""
    expected = []
    for call in range(calls):
        positions = range(call * size, (call + 1) * size)
        state = (ADDED, REJECTED, UNKNOWN, WITHDRAWN)[call % 4]
        journal.write([intent(call, *positions)])
        if state is not UNKNOWN or call % 8 == 2:
            journal.write([end(call, *[state] * size)])
        expected += [known(position, state, call) for position in positions if state is not WITHDRAWN]
    return expected
