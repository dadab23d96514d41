"""What the calls of several runs come to for each row."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from hypothesis import given, settings, strategies

from neto_async.journals.protocol import End, Intent, Known, PastCall, RowState, fold
from neto_async.journals.sqlite import SqliteJournal

STATES = strategies.sampled_from(RowState)
CALLS = strategies.lists(
    strategies.dictionaries(strategies.integers(0, 30), STATES, min_size=1, max_size=6), max_size=20
)


def past(calls: list[dict[int, RowState]]) -> list[PastCall]:
    """Give calls in the order that `fold` asks for; a row's fingerprint and id say which call it went with."""
    made = [
        PastCall(min(states), order, [Known(row, bytes([order]), states[row], order) for row in sorted(states)])
        for order, states in enumerate(calls, start=1)
    ]
    return sorted(made)


def expected(calls: list[dict[int, RowState]]) -> dict[int, tuple[RowState, int]]:
    """Say what is known of each row, by looking at all its calls at once; those before it was absent say nothing."""
    history: dict[int, list[tuple[RowState, int]]] = defaultdict(list)
    for order, states in enumerate(calls, start=1):
        for row, state in states.items():
            if state is not RowState.WITHDRAWN:
                history[row].append((state, order))
    known = {}
    for row, events in history.items():
        absent = max((order for state, order in events if state is RowState.ABSENT), default=0)
        for state in (RowState.ADDED, RowState.UNKNOWN, RowState.REJECTED):
            since = 0 if state is RowState.ADDED else absent
            if found := [event for event in events if event[0] is state and event[1] > since]:
                known[row] = found[-1]
                break
    return known


@given(CALLS)
def test_fold(calls: list[dict[int, RowState]]) -> None:
    """Added outweighs in doubt, in doubt outweighs refused, the last of a kind counts, and rows come in order."""
    known = list(fold(past(calls)))

    assert [row.position for row in known] == sorted({row.position for row in known})
    assert expected(calls) == {row.position: (row.state, row.log_id) for row in known}


@given(CALLS)
def test_fold_holds_overlapping_calls_alone(calls: list[dict[int, RowState]]) -> None:
    """A row comes out before a call that begins behind it is read."""
    begun: list[int] = []

    def reading() -> object:
        for call in past(calls):
            begun.append(call.first)
            yield call

    for known in fold(reading()):  # type: ignore[arg-type]
        assert all(first <= known.position for first in begun[:-1])


@settings(max_examples=12, deadline=None)
@given(CALLS)
def test_a_journal_gives_back_what_was_written(tmp_path_factory: Any, calls: object) -> None:
    """A file says of each row what its calls came to, in a later run as well."""
    path = tmp_path_factory.mktemp("journal") / "journal"
    store = "http://127.0.0.1:1"
    journal = SqliteJournal(path)
    journal.open(store)
    assert isinstance(calls, list)
    for number, states in enumerate(calls, start=1):
        absent = [row for row in states if states[row] is RowState.ABSENT]
        journal.settle([Known(row, bytes([number]) * 16, RowState.ABSENT, 0) for row in absent])
        if rows := sorted(states.keys() - absent):
            journal.write(
                [
                    Intent(call=number, rows=tuple((row, bytes([number]) * 16) for row in rows)),
                    End(call=number, states=tuple((states[row], number) for row in rows)),
                ]
            )
    assert [] != calls or [] == list(journal.known())
    journal.close()

    journal.open(store)
    said = {row.position: (row.state, row.log_id) for row in journal.known()}
    journal.close()

    assert expected(calls) == said


def test_an_intent_without_an_end_is_in_doubt(tmp_path: Path) -> None:
    """Rows of a call that nobody saw end are in doubt, in order of position, whatever became of later calls."""
    journal = SqliteJournal(tmp_path / "journal")
    journal.open("http://127.0.0.1:1")
    journal.write([Intent(call=1, rows=((2, b"b" * 16), (0, b"a" * 16)))])
    journal.write([Intent(call=2, rows=((2, b"b" * 16),)), End(call=2, states=((RowState.REJECTED, 0),))])

    assert [(0, b"a" * 16, RowState.UNKNOWN), (2, b"b" * 16, RowState.UNKNOWN)] == [row[:3] for row in journal.known()]
    journal.close()
