"""What every journal remembers and refuses, whichever database holds it."""

from __future__ import annotations

import sys
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neto_async import ConfigurationError, JournalError, JournalInUseError
from neto_async.journals.events import Event, Head, Kind
from neto_async.journals.protocol import JournalCall, Known, PastCall, RowState, fold

sys.path.append(str(Path(__file__).parent))
from rows import (
    ABSENT,
    ADDED,
    REJECTED,
    STORE,
    UNKNOWN,
    WITHDRAWN,
    at,
    end,
    fill,
    intent,
    known,
    opened,
    read,
    ticking,
)  # tests are no packages


def filled(make: Any) -> list[Known]:
    journal = opened(make)
    expected = fill(journal)
    journal.close()
    return expected


def fail_at_ends(patch: pytest.MonkeyPatch) -> None:
    """Have a write fail when it comes to the end of a call."""
    followed_by = Head.followed_by

    def failing(head: Head, event: Any) -> Head:
        if event.kind == Kind.END:
            raise RuntimeError("planted")
        return followed_by(head, event)

    patch.setattr(Head, "followed_by", failing)


# -- what it remembers ------------------------------------------------------------------------------------------


def test_what_was_written_is_there_after_opening_again(make: Any):
    """Identity, salt and each row's state come back; a call without an end leaves its rows in doubt."""
    journal = opened(make)
    journal.write([intent(1, 5, 3), intent(2, 0)])
    journal.write([end(1, ADDED, REJECTED)])
    identity, salt = journal.identity, journal.salt
    journal.close()

    assert (identity, salt, [known(0, UNKNOWN), known(3, REJECTED), known(5, ADDED, 1)]) == read(make)
    assert 16 == len(salt)


def test_an_intent_and_its_end_may_share_a_write(make: Any):
    """One write takes the end of a call and the intent before it, in this order."""
    journal = opened(make)
    journal.write([intent(1, 0), end(1, ADDED), intent(2, 1)])
    journal.close()

    assert [known(0, ADDED, 1), known(1, UNKNOWN)] == read(make)[2]


def test_each_row_of_a_call_has_its_state(make: Any):
    """States that are not as many as the rows of their call are refused: they could not be matched later."""
    journal = opened(make)
    journal.write([intent(1, 0, 1)])
    with pytest.raises(JournalError, match="1 states were given for the 2 rows"):
        journal.write([end(1, ADDED)])
    journal.close()

    assert [known(0, UNKNOWN), known(1, UNKNOWN)] == read(make)[2]


def test_calls_are_numbered_anew_in_each_run(make: Any):
    """The same number in a later run is another call."""
    for position in range(3):
        journal = opened(make)
        journal.write([intent(1, position)])
        journal.write([end(1, ADDED)])
        journal.close()

    assert [known(position, ADDED, 1) for position in range(3)] == read(make)[2]


def test_what_is_written_meanwhile_does_not_show(make: Any):
    """A listing holds what was known when it was asked for, whatever is written before it has been read."""
    filled(make)
    journal = opened(make)
    listing = journal.known()
    before = list(journal.known())
    journal.write([intent(1, 50), intent(2, 3)])
    journal.write([end(1, ADDED)])

    assert before == list(listing)
    journal.close()


def test_listing_goes_over_many_pages(make: Any, monkeypatch: pytest.MonkeyPatch):
    """Calls that begin at the same row, more than are read at once, are all listed."""
    monkeypatch.setattr("neto_async.journals.sqlite.CALLS_AT_ONCE", 2)
    monkeypatch.setattr("neto_async.journals.postgres_tables.CALLS_AT_ONCE", 2)
    journal = opened(make)
    for call in range(7):
        journal.write([intent(call, 0, 10 + call)])
        journal.write([end(call, WITHDRAWN, ADDED)])
    journal.close()

    assert [known(10 + call, ADDED, call) for call in range(7)] == read(make)[2]


def test_a_write_is_all_or_nothing(make: Any, monkeypatch: pytest.MonkeyPatch):
    """Where one of several entries can't be written none is, and the journal goes on afterwards."""
    journal = opened(make)
    with pytest.raises(KeyError):
        journal.write([intent(1, 0), end(9, ADDED)])
    journal.write([intent(1, 1)])
    fail_at_ends(monkeypatch)
    with pytest.raises(RuntimeError, match="planted"):
        journal.write([intent(2, 2), end(1, ADDED)])
    monkeypatch.undo()
    journal.write([intent(2, 3)])
    journal.write([end(1, REJECTED), end(2, ADDED)])
    journal.close()

    assert [known(1, REJECTED), known(3, ADDED, 2)] == read(make)[2]


def test_a_marker_is_noted_for_the_rows_that_carry_it(make: Any):
    """It counts once its run has begun a call; what was noted before by a run without one is forgotten."""
    noted = []
    for form, calls in ((" ({})", 0), ("", 0), (" [#{}]", 1), (" {}", 0)):
        journal = opened(make)
        noted.append(journal.marker())
        journal.note_marker(form)
        if calls:
            journal.write([intent(1, 0)])
        journal.close()
    journal = opened(make)
    assert [None] * 3 + [" [#{}]"] == [*noted[:3], journal.marker()]
    journal.close()
    assert (" [#{}]", 5, 1) == (make().summary().marker, make().summary().runs, make().summary().in_doubt)


def test_calls_of_runs_that_note_no_marker(make: Any):
    """They are told apart where any run has noted one: what they sent may carry it or not."""
    noted = []
    for call, form in enumerate((None, "", " {}", None)):
        journal = opened(make)
        if form is not None:
            journal.note_marker(form)
        journal.write([intent(call, call)])
        noted.append([call.marker_known for call in journal.calls()])
        journal.close()
    assert [[True], [True] * 2, [False, True, True], [False, True, True, False]] == noted


def test_summary(make: Any):
    """A summary counts runs and rows, and knows the source's length only where the last run came to its end."""
    filled(make)
    journal = opened(make)
    journal.finish(9)
    journal.close()

    summary = make().summary()
    assert (STORE, 2, 2, 2, 2, 9) == (
        summary.store,
        summary.runs,
        summary.added,
        summary.rejected,
        summary.in_doubt,
        summary.rows,
    )
    assert 9 - 6 == summary.remaining
    assert summary.created_at.tzinfo is not None
    opened(make).close()
    summary = make().summary()
    assert (3, None, None) == (summary.runs, summary.rows, summary.remaining)
    journal = opened(make)
    journal.finish(3)  # rows below were removed
    journal.close()
    assert 0 == make().summary().remaining


# -- settling ---------------------------------------------------------------------------------------------------


def in_doubt(make: Any) -> None:
    """Leave rows 0 to 3 in doubt, of one call that nobody saw end, after a call that was seen to end."""
    journal = opened(make, now=ticking())
    journal.write([intent(1, 9), intent(2, 3, 0, 1, 2)])
    journal.write([end(1, ADDED)])
    journal.close()


def test_what_was_settled(make: Any):
    """A row that was found is added, with its id; one that is proven absent is not known any more, and may go again."""
    in_doubt(make)
    journal = opened(make)
    journal.settle([known(3, ABSENT), known(2, ADDED, 5), known(0, ABSENT)])
    expected = [known(1, UNKNOWN), known(2, ADDED, 5), known(9, ADDED, 1)]
    assert expected == list(journal.known())
    journal.write([intent(1, 0, 3)])
    journal.write([end(1, REJECTED, UNKNOWN)])
    journal.close()

    assert [known(0, REJECTED), expected[0], expected[1], known(3, UNKNOWN), expected[2]] == read(make)[2]
    summary = make().summary()
    assert (2, 1, 2) == (summary.added, summary.rejected, summary.in_doubt)


@pytest.mark.parametrize("state", [WITHDRAWN, REJECTED, UNKNOWN])
def test_settling_is_all_or_nothing(make: Any, state: RowState, monkeypatch: pytest.MonkeyPatch):
    """A state that settles nothing, and a write that fails in its middle, leave all rows as they were."""
    in_doubt(make)
    journal = opened(make)
    with pytest.raises(JournalError, match="proven to be added or absent"):
        journal.settle([known(0, ABSENT), known(1, state)])
    fail_at_ends(monkeypatch)
    with pytest.raises(RuntimeError, match="planted"):
        journal.settle([known(0, ABSENT), known(1, ADDED, 5)])
    monkeypatch.undo()
    assert [*(known(row, UNKNOWN) for row in range(4)), known(9, ADDED, 1)] == list(journal.known())
    journal.settle([known(1, ADDED, 5)])
    journal.close()

    assert [known(0, UNKNOWN), known(1, ADDED, 5)] == read(make)[2][:2]


def test_no_call_proves_a_row_absent(make: Any):
    """The end of a call with a state that only settling gives is refused."""
    journal = opened(make)
    journal.write([intent(1, 0)])
    with pytest.raises(JournalError, match="does not prove a row absent"):
        journal.write([end(1, ABSENT)])
    journal.close()


def test_opening_it_to_settle_is_no_run(make: Any):
    """A summary counts runs alone, and what the last of these said of the source stays true after settling."""
    journal = opened(make)
    journal.settle([])
    journal.close()
    summary = make().summary()
    assert (0, None, None) == (summary.runs, summary.rows, summary.remaining)
    journal = opened(make)
    journal.write([intent(1, 0, 1)])
    journal.finish(3)
    journal.close()

    for row in (known(0, ADDED, 5), known(1, ABSENT)):
        journal = opened(make)
        journal.settle([])
        journal.settle([row])
        journal.close()
    summary = make().summary()
    assert (1, 3, 1, 0, 2) == (summary.runs, summary.rows, summary.added, summary.in_doubt, summary.remaining)

    journal = opened(make)
    journal.settle([known(0, ADDED, 6)])  # as a run may
    journal.close()
    summary = make().summary()
    assert (2, None) == (summary.runs, summary.rows)


def test_calls(make: Any):
    """Each call is listed with its place, the moments around it and what became of its rows with it."""
    journal = opened(make, now=ticking())  # looked at first when the journal is made
    journal.write([intent(1, 5, 3), intent(2, 0)])
    journal.write([end(1, ADDED, REJECTED)])
    assert [None, None] == [call.over_at for call in journal.calls()]
    journal.close()
    journal = opened(make, now=lambda: at(50))
    journal.write([intent(1, 7, 8), intent(2, 9)])
    journal.write([end(2, WITHDRAWN), end(1, UNKNOWN, WITHDRAWN)])
    listing = journal.calls()
    journal.settle([known(0, ADDED, 4), known(7, ABSENT)])
    journal.write([intent(3, 7)])
    journal.finish(9)
    journal.close()

    journal.open(STORE)
    first = JournalCall(began=2, ended=4, began_at=at(2), over_at=at(3), rows=[known(5, ADDED, 1), known(3, REJECTED)])
    second = JournalCall(began=3, ended=None, began_at=at(2), over_at=at(3), rows=[known(0, UNKNOWN)])
    assert [first, second] == list(journal.calls())[:2]
    assert [
        (7, 10, at(50), at(50), [known(7, UNKNOWN)]),
        (8, 9, at(50), at(50), []),
        (14, None, at(50), at(50), [known(7, UNKNOWN)]),
    ] == [(call.began, call.ended, call.began_at, call.over_at, call.rows) for call in journal.calls()][2:]
    journal.close()
    with pytest.raises(JournalError, match="not open"):
        next(listing)


def test_calls_go_over_many_pages(make: Any, monkeypatch: pytest.MonkeyPatch):
    """More calls than are read at once are all listed, by their intents; what is written meanwhile is not."""
    monkeypatch.setattr("neto_async.journals.sqlite.CALLS_AT_ONCE", 2)
    monkeypatch.setattr("neto_async.journals.postgres_tables.CALLS_AT_ONCE", 2)
    journal = opened(make)
    for call in range(7):
        journal.write([intent(call, 10 - call)])
    listing = journal.calls()
    assert [known(10, UNKNOWN)] == next(listing).rows
    journal.write([end(5, ADDED), intent(8, 1)])

    assert [[known(10 - call, UNKNOWN)] for call in range(1, 7)] == [call.rows for call in listing]
    assert 8 == len(list(journal.calls()))
    journal.close()


def test_a_run_that_was_killed(make: Any):
    """A call of a run that noted no end was over when the next run began."""
    journal = opened(make, now=lambda: at(1))
    journal.write([intent(1, 0)])
    journal._over = True  # as if nothing could be written any more
    journal.close()

    journal = opened(make, now=lambda: at(50))
    assert [(at(1), at(50))] == [(call.began_at, call.over_at) for call in journal.calls()]
    journal.close()


def test_a_journal_without_moments(make: Any, monkeypatch: pytest.MonkeyPatch):
    """What was written before journals noted moments is read as ever; of its calls, only what is certain is said."""
    with monkeypatch.context() as patched:
        for module in ("sqlite", "postgres"):
            patched.setattr(f"neto_async.journals.{module}.began", lambda _: Event(Kind.BEGAN))
        finished = Event(Kind.FINISHED, body=b"\3" + bytes(7))
        patched.setattr("neto_async.journals.chained.finished", lambda *_: [finished])
        journal = opened(make)
        journal.write([intent(1, 0)])
        journal.write([end(1, ADDED)])
        journal.finish(3)
        assert [(None, None)] == [(call.began_at, call.over_at) for call in journal.calls()]
        journal.close()
    summary = make().summary()
    assert (1, 3, 2) == (summary.runs, summary.rows, summary.remaining)

    journal = opened(make, now=lambda: at(50))
    journal.write([intent(1, 1)])
    assert [(None, at(50)), (at(50), None)] == [(call.began_at, call.over_at) for call in journal.calls()]
    journal.close()
    assert [known(0, ADDED, 1), known(1, UNKNOWN)] == read(make)[2]


# -- fold -------------------------------------------------------------------------------------------------------

FATES = st.sampled_from([None, *RowState])


@given(st.lists(st.dictionaries(st.integers(0, 5), FATES, min_size=1, max_size=4), max_size=8), st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_journal_says_the_same_as_memory(make_new: Any, history: list[dict[int, Any]], data: Any):
    """Calls of several runs and settled rows, written in any grouping, come back from the database as from memory."""
    make = make_new()
    journal = opened(make)
    past = []
    for call, rows in enumerate(history):
        if ABSENT in rows.values():
            settled = [known(row, fate if fate is ADDED else ABSENT, call) for row, fate in rows.items()]
            journal.settle(settled)
            past.append(PastCall(min(rows), call, settled))
            continue
        journal.write([intent(call, *rows)])
        if None not in rows.values():
            journal.write([end(call, *rows.values())])
        fates = [UNKNOWN if None in rows.values() else fate for fate in rows.values()]
        past.append(PastCall(min(rows), call, [known(row, fate, call) for row, fate in zip(rows, fates, strict=True)]))
        if data.draw(st.booleans()):
            journal.close()
            journal.open(STORE)
    journal.close()

    assert list(fold(sorted(past, key=lambda call: call[:2]))) == read(make)[2]


# -- whom it refuses ----------------------------------------------------------------------------------------------


def test_another_store(make: Any):
    """Rows that went to one store are not taken for rows of another, and the journal stays as it was."""
    expected = filled(make)

    with pytest.raises(ConfigurationError, match=r"into https://www\.example\.com, not http://127\.0\.0\.1:8080"):
        opened(make, "http://127.0.0.1:8080")
    assert expected == read(make)[2]


def test_one_journal_one_run(make: Any):
    """While one has a journal open another is refused, in the same process too; afterwards it is not."""
    first = opened(make)

    with pytest.raises(JournalInUseError, match=r"this process is already using the journal import\.db"):
        opened(make)
    with pytest.raises(JournalInUseError, match="this process is already using"):
        first.open(STORE)
    first.write([intent(1, 0)])  # the refusals took nothing from the first
    with pytest.raises(JournalInUseError, match="this process is already using"):
        opened(make)
    first.close()
    assert [known(0, UNKNOWN)] == read(make)[2]


@pytest.mark.parametrize("use", ["open", "reading"])
def test_one_object_is_opened_once(make: Any, use: str):
    """An object is taken from the first moment of its opening, so that another thread can't open it in between."""
    refused = []

    def now() -> Any:
        with pytest.raises(JournalInUseError, match=r"this process is already using the journal import\.db") as error:
            journal.open(STORE) if use == "open" else journal.reading().__enter__()
        refused.append(error)
        return at(0)

    journal = make(now=now)
    journal.open(STORE)
    journal.write([intent(1, 0)])
    journal.close()
    assert len(refused) > 1
    assert [known(0, UNKNOWN)] == read(make)[2]


def test_an_opening_that_failed_lets_go(make: Any):
    """Whatever was wrong the first time, the object can be opened again."""
    moments = iter([RuntimeError("no time")])

    def now() -> Any:
        for error in moments:
            raise error
        return at(0)

    journal = make(now=now)
    with pytest.raises(RuntimeError, match="no time"):
        journal.open(STORE)
    journal.open(STORE)
    journal.close()


def test_a_clock_may_be_of_any_zone(make: Any):
    """The clock that a journal is given shows another zone than UTC: the moments are the same."""
    elsewhere = timezone(timedelta(hours=10))
    for _ in range(2):
        journal = opened(make, now=lambda: at(5).astimezone(elsewhere))
        assert [] == list(journal.known())
        journal.close()
    assert at(5).replace(microsecond=0) == make().summary().created_at.replace(microsecond=0)


def test_nothing_is_done_with_a_closed_journal(make: Any):
    """A journal that is not open says so; closing it twice is nothing."""
    journal = opened(make)
    journal.close()
    journal.close()

    for use in (lambda: journal.write([intent(1, 0)]), lambda: journal.finish(0), lambda: list(journal.known())):
        with pytest.raises(JournalError, match="not open"):
            use()
