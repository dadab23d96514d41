"""Runs on a journal: what a later one sends, holds and refuses, and what happens where something can't be written."""

from __future__ import annotations

import asyncio
import math
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any

import pytest

from neto_async import (
    Added,
    ConfigurationError,
    CustomerLog,
    JournalError,
    JournalInUseError,
    NotSent,
    Outcome,
)
from neto_async.files.rows import Row
from neto_async.importing.reports import Reports
from neto_async.journals import writer
from neto_async.journals.protocol import End, Intent, JournalEvent
from neto_async.journals.sqlite import SqliteJournal
from neto_async.journals.writer import JournalWriter, Note
from neto_async.outcomes import NotSentCause
from neto_async.sandbox import NetoSandbox, faults

Import = Callable[..., Any]


def notes(*texts: str) -> list[dict[str, str]]:
    return [{"Notes": text} for text in texts]


def names(outcomes: list[Outcome]) -> list[str]:
    return [type(outcome).__name__ for outcome in outcomes]


@pytest.fixture
async def bring(store: NetoSandbox, connect: Any, tmp_path: Path) -> Import:
    """Import rows with one journal, and give the outcomes in the order of the rows."""

    async def importing(rows: Any, *, wire_format: str = "json", **options: Any) -> list[Outcome]:
        neto = await connect(store, wire_format=wire_format, batch_size=2, max_concurrency=options.pop("calls", 2))
        options.setdefault("journal", tmp_path / "journal")
        async with neto.import_customer_logs(rows, **options) as run:
            outcomes = [outcome async for outcome in run]
        assert () == run.unread
        assert run.progress.replayed == sum(outcome.replayed for outcome in outcomes)
        return sorted(outcomes, key=lambda outcome: outcome.index)

    return importing


async def test_what_landed_is_a_set(store: NetoSandbox, bring: Import) -> None:
    """Where a row in the middle is left, a later run sends that one alone, in the other format too."""
    rows = notes("a", "b", "c", "d", "e")
    store.refuse_when(lambda fields: fields["Notes"] == "b")
    first = await bring(rows)
    store.refuse_nothing()
    rows[1] = {"Notes": "fixed"}

    second = await bring(rows, wire_format="xml")

    assert ["Added", "Rejected", "Added", "Added", "Added"] == names(first)
    assert ["Added"] * 5 == names(second)
    assert [True, False, True, True, True] == [outcome.replayed for outcome in second]
    assert ["a", "c", "d", "e", "fixed"] == sorted(log.notes or "" for log in store.logs)
    assert [first[0].log_id, first[2].log_id] == [second[0].log_id, second[2].log_id]  # type: ignore[union-attr]
    assert store.logs[-1].log_id == second[1].log_id  # type: ignore[union-attr]


async def test_a_call_costs_one_commit(bring: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call's end is handed to the thread together with the intent of the call that takes its slot."""
    handed: list[int] = []
    submit = JournalWriter.submit

    def counting(self: JournalWriter, *jobs: Any) -> None:
        handed.append(sum(isinstance(job, Note) for job in jobs))
        submit(self, *jobs)

    monkeypatch.setattr(JournalWriter, "submit", counting)
    # However slow the machine is, only turns of the loop count.
    monkeypatch.setattr("neto_async.journals.write_ahead.LINGER", math.inf)

    outcomes = await bring(notes(*map(str, range(41))), calls=1)

    assert ["Added"] * 41 == names(outcomes)
    # 21 calls, since the first carries one record. Its intent, and the last end, have no other to go with.
    assert [1, *[2] * 20, 1] == [notes for notes in handed if notes]


async def test_context_comes_back_when_replayed(bring: Import) -> None:
    """A replayed outcome carries this run's record and context."""
    await bring([(CustomerLog(notes="a"), "then")])

    (again,) = await bring([(CustomerLog(notes="a"), "now")])

    assert (True, "now", CustomerLog(notes="a")) == (again.replayed, again.context, again.record)


@pytest.mark.parametrize("asked", [False, True])
async def test_refused_rows_go_again_where_asked(store: NetoSandbox, bring: Import, asked: Any) -> None:
    """A refused row that has not changed stays refused without a call, unless the caller wants it sent."""
    store.refuse_when(lambda fields: fields["Notes"] == "b")
    await bring(notes("a", "b"))
    store.refuse_nothing()

    outcomes = await bring(notes("a", "b"), retry_rejected=asked)

    assert ["Added", "Added" if asked else "Rejected"] == names(outcomes)
    assert [True, not asked] == [outcome.replayed for outcome in outcomes]
    assert (2 if asked else 1) == store.log_count


BAD = [{"nope": "x"}] * 60
GOOD = notes(*(f"good {number}" for number in range(40)))


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("left", [[*BAD[:10], *GOOD], GOOD, GOOD[:30]])
async def test_invalid_rows_that_are_gone(store: NetoSandbox, bring: Import, left: Any, once: Any) -> None:
    """Where rows are gone that left no trace, those below were added from another place: not one is sent again."""
    await bring([*BAD, *GOOD])
    calls = store.call_count

    with pytest.raises(ConfigurationError, match="added by an earlier run"):
        await bring(iter(left) if once else left)

    assert (calls, 40) == (store.call_count, store.log_count)


async def test_rows_wait_until_the_place_of_the_next_known_one_is_sure(store: NetoSandbox, bring: Import) -> None:
    """Rows that were fixed go once the row behind them was found where it was; all of them, in their order."""
    await bring([*BAD, *GOOD])
    fixed = notes(*(f"fixed {number}" for number in range(60)))
    seen: list[int] = []

    def source() -> Any:
        for row in [*fixed, *GOOD[:1]]:
            seen.append(store.call_count)
            yield row
        yield from GOOD[1:]

    before = store.call_count
    outcomes = await bring(source(), calls=1)  # two at once may overtake each other

    assert ["Added"] * 100 == names(outcomes)
    assert {before} == set(seen)
    assert [f"fixed {number}" for number in range(60)] == [log.notes for log in store.logs[40:]]


@pytest.mark.parametrize("ending", ["raises", "stops", "is left"])
async def test_what_waits_at_an_early_end_was_not_sent(
    store: NetoSandbox, connect: Any, bring: Import, tmp_path: Path, ending: str
) -> None:
    """A source that raises, a run that is stopped or left while rows wait for a known one: they were not sent."""
    await bring([*BAD, *GOOD])
    calls = store.call_count

    async def source() -> Any:
        for row in notes("fixed", "fixed too"):
            yield row
        match ending:
            case "raises":
                raise LookupError
            case "stops":
                run.stop()
            case _:
                left.set()
        await asyncio.Event().wait()

    left = asyncio.Event()
    outcomes: list[Outcome] = []
    neto = await connect(store)
    run = neto.import_customer_logs(source(), journal=tmp_path / "journal")
    with suppress(LookupError):
        async with run:
            if ending == "is left":
                await left.wait()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0):
                        await anext(run)
            else:
                async for outcome in run:
                    outcomes.append(outcome)  # noqa: PERF401 - what came before the error counts
    outcomes += run.unread

    assert ["NotSent"] * 2 == names(outcomes)
    assert (calls, 40) == (store.call_count, store.log_count)


async def test_invalid_rows_can_be_fixed_in_place(store: NetoSandbox, bring: Import) -> None:
    """An invalid row leaves no trace in the journal: it may become valid, and the source may grow."""
    first = await bring([{"Notes": "a"}, {"nope": "b"}])

    second = await bring(notes("a", "b", "c"))

    assert ["Added", "Invalid"] == names(first)
    assert (["Added"] * 3, 3) == (names(second), store.log_count)


async def test_a_refused_row_may_become_invalid(store: NetoSandbox, bring: Import) -> None:
    """A refused row that is no log any more comes out as invalid."""
    store.refuse_when(lambda fields: fields["Notes"] == "b")
    await bring(notes("a", "b"))

    outcomes = await bring([{"Notes": "a"}, {"nope": "b"}])

    assert ["Added", "Invalid"] == names(outcomes)


async def test_same_row_twice_is_two_logs(store: NetoSandbox, bring: Import) -> None:
    """Rows are known by position and fingerprint, so equal rows are added as often as they are there."""
    await bring(notes("a", "a"))

    await bring(notes("a", "a", "a"))

    assert {"a": 3} == Counter(log.notes for log in store.logs)


async def test_a_batch_put_back_in_halves_keeps_its_rows_apart(
    store: NetoSandbox, connect: Any, bring: Import, tmp_path: Path
) -> None:
    """A batch refused whole after its run was stopped: what was in doubt stays so, and what was not is sent later."""
    rows = notes(*"abcdefgh")
    store.faults.next(None, faults.Reset(saves=False))
    assert ["Added", *["Unknown"] * 2] == names(await bring(rows[:3]))
    refused = asyncio.Event()
    store.faults.next(None, faults.Late(until=refused))
    store.refuse_when(lambda fields: fields["Notes"] == "h")
    neto = await connect(store, batch_size=6)

    async with neto.import_customer_logs(rows, journal=tmp_path / "journal", in_doubt="resend") as run:
        await store.until(lambda: store.call_count == 4)
        run.stop()
        refused.set()
        stopped = sorted([outcome async for outcome in run], key=lambda outcome: outcome.index)
    store.refuse_nothing()
    again = await bring(rows)

    assert ["Added", "Added", "Unknown", *["NotSent"] * 5] == names(stopped)
    assert ["Added", "Added", "Unknown", *["Added"] * 5] == names(again)
    assert Counter("abdefgh") == Counter(log.notes for log in store.logs)


async def leave_in_doubt(store: NetoSandbox, bring: Import, rows: list[dict[str, str]], *, saves: Any) -> None:
    """Leave the second call, with rows 1 and 2, in doubt."""
    store.faults.next(None, faults.Reset(saves=saves))
    outcomes = await bring(rows, calls=1)
    assert ["Added", "Unknown", "Unknown"] == names(outcomes)[:3]


@pytest.mark.parametrize("saves", [False, True])
async def test_rows_in_doubt_are_held(store: NetoSandbox, bring: Import, saves: Any) -> None:
    """Rows in doubt come out as unknown and are not sent, run after run."""
    rows = notes("a", "b", "c", "d")
    await leave_in_doubt(store, bring, rows, saves=saves)
    count = store.log_count

    for _ in range(2):
        outcomes = await bring(rows)
        assert ["Added", "Unknown", "Unknown", "Added"] == names(outcomes)
        assert all(outcome.replayed for outcome in outcomes)
    assert count == store.log_count


async def test_rows_in_doubt_are_sent_where_asked(store: NetoSandbox, bring: Import) -> None:
    """With "resend" they go again, and what is added then is in doubt no more."""
    rows = notes("a", "b", "c")
    await leave_in_doubt(store, bring, rows, saves=False)

    again = await bring(rows, in_doubt="resend")
    after = await bring(rows)

    assert ([True, False, False], ["Added"] * 3) == ([outcome.replayed for outcome in again], names(again))
    assert ([True] * 3, 3) == ([outcome.replayed for outcome in after], store.log_count)


async def test_doubt_outlives_a_refusal(store: NetoSandbox, bring: Import) -> None:
    """That the store refuses a row now does not say that it did not save it then: it stays in doubt."""
    rows = notes("a", "b", "c")
    await leave_in_doubt(store, bring, rows, saves=True)
    store.refuse_when(lambda fields: fields["Notes"] in ("b", "c"), "said now")

    again = await bring(rows, in_doubt="resend")
    held = await bring(rows)

    assert ["Added", "Unknown", "Unknown"] == names(again) == names(held)
    assert "was refused" in again[1].reason  # type: ignore[union-attr]
    assert "said now" in again[1].evidence.messages[0]  # type: ignore[union-attr]
    assert [True, True, True] == [outcome.replayed for outcome in held]


async def test_doubt_outlives_not_being_sent(store: NetoSandbox, bring: Import) -> None:
    """A row in doubt that could not be sent again is still in doubt, not certainly unsaved."""
    rows = notes("a", "b", "c")
    await leave_in_doubt(store, bring, rows, saves=True)
    store.faults.always(faults.RefuseKey())

    again = await bring(rows, in_doubt="resend")

    assert ["Added", "Unknown", "Unknown"] == names(again)
    assert "was not sent" in again[1].reason  # type: ignore[union-attr]


@pytest.mark.parametrize("rows", [notes("a", "secret", "c"), [{"Notes": "a"}, {"nope": "b"}, {"Notes": "c"}]])
@pytest.mark.parametrize("doubt", [False, True])
async def test_changed_sources(store: NetoSandbox, bring: Import, rows: list[dict[str, str]], doubt: Any) -> None:
    """A row that was added, or may have been, must be as it was; the first difference is named, not its text."""
    if doubt:
        await leave_in_doubt(store, bring, notes("a", "b", "c"), saves=True)
    else:
        await bring(notes("a", "b", "c"))
    calls = store.call_count

    with pytest.raises(ConfigurationError, match="record 2 of the source") as caught:
        await bring([*rows, {"Notes": "new"}])

    assert "secret" not in str(caught.value)
    assert calls == store.call_count


async def test_rows_before_a_change_are_not_sent(store: NetoSandbox, bring: Import) -> None:
    """New rows that were read before the difference was found do not go: they may be another source's."""
    store.refuse_when(lambda fields: fields["Notes"] == "a")
    await bring(notes("a", "b"))

    seen: list[Outcome] = []
    with pytest.raises(ConfigurationError):
        await bring(notes("fixed", "other"), reports=Sink(seen))

    assert [NotSentCause.SOURCE_CHANGED] == [outcome.cause for outcome in seen if isinstance(outcome, NotSent)]
    assert ["b"] == [log.notes for log in store.logs]


async def test_a_journal_whose_salt_is_too_long(bring: Import, tmp_path: Path) -> None:
    """A journal of the caller's own that gives no proper salt is closed before the error comes out."""

    class Salty(SqliteJournal):
        salt = bytes(17)  # type: ignore[assignment]

    with pytest.raises(ValueError, match="salt"):
        await bring(notes("a"), journal=Salty(tmp_path / "journal"))

    assert ["Added"] == names(await bring(notes("a")))


async def test_more_is_known_than_is_read_at_once(
    store: NetoSandbox, bring: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is known is read, a page at a time, with the source and behind its end, and asked for no more then."""
    monkeypatch.setattr(writer, "READ_AT_ONCE", 2)
    rows = notes(*(f"row {number}" for number in range(7)))
    await bring(rows)
    asked = 0
    known = JournalWriter.known

    def counted(self: JournalWriter) -> Any:
        nonlocal asked
        asked += 1
        return known(self)

    monkeypatch.setattr(JournalWriter, "known", counted)
    again = await bring([*rows, *notes("new", "newer", "newest")])

    assert [True] * 7 + [False] * 3 == [outcome.replayed for outcome in again]
    assert (10, 5) == (store.log_count, asked)
    with pytest.raises(ConfigurationError, match="the source has 3 records now, and record 4 was added"):
        await bring(rows[:3])


async def test_shrunk_sources(store: NetoSandbox, bring: Import) -> None:
    """A source that ends before an added row is refused; refused rows behind its end may go."""
    store.refuse_when(lambda fields: fields["Notes"] == "c")
    await bring(notes("a", "b", "c"))

    assert ["Added", "Added"] == names(await bring(notes("a", "b")))
    with pytest.raises(ConfigurationError, match="the source has 1 records now, and record 2 was added"):
        await bring(notes("a"))


async def test_another_store(bring: Import, connect: Any, tmp_path: Path) -> None:
    """A journal belongs to one address: a run into another store is refused before a call."""
    await bring(notes("a"))
    async with NetoSandbox() as other:
        neto = await connect(other)
        with pytest.raises(ConfigurationError, match="is the journal of an import into"):
            async with neto.import_customer_logs(notes("a"), journal=str(tmp_path / "journal")):
                pass
        assert 0 == other.call_count


async def test_wrong_words(store: NetoSandbox, connect: Any) -> None:
    """A word for rows in doubt that is none is refused at once."""
    neto = await connect(store)
    with pytest.raises(ConfigurationError, match="in_doubt"):
        neto.import_customer_logs([], in_doubt="perhaps")


class _Raising(tzinfo):
    """A zone that raises the first times it is asked."""

    def __init__(self, times: int) -> None:
        self._left = times

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        self._left -= 1
        if self._left >= 0:
            raise RuntimeError
        return timedelta(0)

    def dst(self, moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        return None


@pytest.mark.parametrize("times", [1, 99])
async def test_a_log_that_cannot_be_encoded(store: NetoSandbox, bring: Import, times: int) -> None:
    """A log whose own zone raises, if only once, is invalid, and its neighbours go."""
    log = CustomerLog(notes="a", last_contacted=datetime(2000, 1, 1, tzinfo=timezone.utc))
    object.__setattr__(log, "last_contacted", datetime(2001, 1, 1, tzinfo=_Raising(times)))

    assert ["Invalid", "Added"] == names(await bring([log, {"Notes": "b"}]))


async def test_a_log_that_was_added_and_cannot_be_encoded(store: NetoSandbox, bring: Import) -> None:
    """A log that was added, and whose zone raises now, can't be said to be the same: the source is refused."""
    log = CustomerLog(notes="a", last_contacted=datetime(2001, 1, 1, tzinfo=timezone.utc))
    await bring([log])
    other = CustomerLog(notes="a", last_contacted=datetime(2001, 1, 1, tzinfo=timezone.utc))
    object.__setattr__(other, "last_contacted", datetime(2001, 1, 1, tzinfo=_Raising(99)))

    with pytest.raises(ConfigurationError, match=r"record 1 of the source .* is different now"):
        await bring([other])
    assert 1 == store.log_count


# -- what can't be written ----------------------------------------------------------------------------------------


class Sink:
    """Keeps outcomes; raises at the nth write."""

    def __init__(self, seen: list[Outcome], fails_at: int = 0, error: Exception | None = None) -> None:
        self.seen = seen
        self.complete: bool | None = None
        self._left = fails_at
        self._error = error

    def added_before(self, _: str) -> dict[int, int]:
        return {}

    def open(self, journal: str | None) -> None:
        self.journal = journal

    def write(self, outcomes: Sequence[Outcome]) -> None:
        self._left -= 1
        if self._left == 0:
            assert self._error is not None
            raise self._error
        self.seen.extend(outcomes)

    def close(self, *, complete: bool) -> None:
        self.complete = complete


class FailingJournal(SqliteJournal):
    """Fails from the nth write of a kind on."""

    def __init__(self, path: Path, kind: type, fails_at: int) -> None:
        super().__init__(path)
        self._kind = kind
        self._left = fails_at

    def write(self, entries: Sequence[JournalEvent]) -> None:
        self._left -= any(isinstance(entry, self._kind) for entry in entries)
        if self._left <= 0:
            raise JournalError("the journal can't be written: disk full")
        super().write(entries)


async def broken(
    neto: Any, rows: Any, raises: type[Exception] = JournalError, **options: Any
) -> tuple[list[Outcome], Exception]:
    """Import until something can't be written or read; give the outcomes, and what was raised after them."""
    outcomes: list[Outcome] = []

    async def take() -> None:
        async with neto.import_customer_logs(rows, **options) as run:
            async for outcome in run:
                outcomes.append(outcome)  # noqa: PERF401 (those before the error count)

    with pytest.raises(raises) as caught:
        await take()
    return outcomes, caught.value


@pytest.mark.parametrize("kind", [Intent, End])
@pytest.mark.parametrize("fails_at", [1, 2, 4])
async def test_a_journal_that_fails(  # noqa: PLR0917 - fixtures
    store: NetoSandbox, connect: Any, bring: Import, tmp_path: Path, kind: type, fails_at: int
) -> None:
    """No call leaves any more, the outcomes are true, the error comes after them, and a later run goes on."""
    rows = notes(*(f"row {number}" for number in range(30)))
    journal = FailingJournal(tmp_path / "journal", kind, fails_at)

    outcomes, error = await broken(await connect(store, batch_size=2, max_concurrency=3), rows, journal=journal)

    assert "disk full" in str(error)
    assert {"Added", "NotSent"} >= set(names(outcomes))
    assert {NotSentCause.JOURNAL} >= {outcome.cause for outcome in outcomes if isinstance(outcome, NotSent)}
    assert store.log_count == names(outcomes).count("Added") < len(rows)
    again = await bring(rows)
    assert {"Added", "Unknown"} >= set(names(again))
    saved = Counter(log.notes for log in store.logs)
    for outcome, row in zip(again, rows, strict=True):
        assert saved[row["Notes"]] == 1 if isinstance(outcome, Added) else saved[row["Notes"]] <= 1


@pytest.mark.parametrize("fails_at", [1, 2, 4])
@pytest.mark.parametrize("reports_left", [True, False])
async def test_reports_complete_a_journal_that_failed(  # noqa: PLR0917 - fixtures
    store: NetoSandbox, connect: Any, bring: Import, tmp_path: Path, fails_at: int, reports_left: Any
) -> None:
    """What a full disk kept from the journal a later run takes from the reports; without them it stays in doubt."""
    rows = [
        (log, Row(line=at, columns=("Notes",), cells=(log["Notes"],)))
        for at, log in enumerate(notes(*(f"row {number}" for number in range(30))))
    ]
    folder = tmp_path / "reports"
    neto = await connect(store, batch_size=2, max_concurrency=3)
    journal = FailingJournal(tmp_path / "journal", End, fails_at)
    outcomes, _ = await broken(neto, rows, journal=journal, reports=Reports(folder, ("Notes",)))
    ids = {outcome.index: outcome.log_id for outcome in outcomes if isinstance(outcome, Added)}
    if not reports_left:
        shutil.rmtree(folder)

    for _ in range(2):
        again = await bring(rows, reports=Reports(folder, ("Notes",)))
        (folder / "added.csv").unlink()
        found = {outcome.index: outcome.log_id for outcome in again if isinstance(outcome, Added)}
        if reports_left:
            assert (30, 30, ids) == (len(found), store.log_count, {at: found[at] for at in ids})
        else:
            assert {at for at in ids if at not in found} == {at for at in range(30) if at not in found} != set()


async def test_a_source_and_a_journal_that_fail(store: NetoSandbox, connect: Any, tmp_path: Path) -> None:
    """Where the source had raised before, that is what is reported."""
    journal = FailingJournal(tmp_path / "journal", End, 1)

    def rows() -> Any:
        yield {"Notes": "a"}
        raise LookupError("gone")

    outcomes, error = await broken(await connect(store), rows(), LookupError, journal=journal)

    assert (["Added"], 1, "gone") == (names(outcomes), store.log_count, str(error))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (ZeroDivisionError("secret"), "ZeroDivisionError"),
        (JournalError("the reports can't be written"), "the reports can't be written"),
    ],
)
@pytest.mark.parametrize("with_journal", [False, True])
async def test_reports_that_fail(  # noqa: PLR0917
    store: NetoSandbox, connect: Any, bring: Import, tmp_path: Path, error: Exception, says: str, with_journal: Any
) -> None:
    """The run stops and says why, without a foreign text; the journal goes on, so nothing is in doubt afterwards."""
    rows = notes(*(f"row {number}" for number in range(30)))
    sink = Sink([], 2, error)
    journal = tmp_path / "journal" if with_journal else None

    outcomes, raised = await broken(await connect(store, batch_size=2), rows, journal=journal, reports=sink)

    assert says in str(raised)
    assert "secret" not in str(raised)
    assert {"Added", "NotSent"} >= set(names(outcomes))
    assert store.log_count == names(outcomes).count("Added") < len(rows)
    assert sink.complete is False
    if with_journal:
        assert ["Added"] * 30 == names(await bring(rows))
        assert 30 == store.log_count


@pytest.mark.parametrize("with_journal", [False, True])
async def test_reports_have_every_outcome(bring: Import, with_journal: Any) -> None:
    """A sink gets every outcome before the caller, of this run and of earlier ones, and learns that all are there."""
    options = {} if with_journal else {"journal": None}
    for _ in range(2):
        sink = Sink([])
        outcomes = await bring([{"Notes": "a"}, {"nope": "b"}, {"Notes": "c"}], reports=sink, **options)
        assert outcomes == sorted(sink.seen, key=lambda outcome: outcome.index)
        assert (with_journal, True) == (sink.journal is not None, sink.complete)


# -- callers that leave -------------------------------------------------------------------------------------------


async def test_a_caller_that_leaves_early(store: NetoSandbox, connect: Any, bring: Import, tmp_path: Path) -> None:
    """What was in flight is awaited and noted; a later run sends the rest, and nothing is in doubt."""
    rows = notes(*(f"row {number}" for number in range(30)))
    neto = await connect(store, batch_size=2)
    async with neto.import_customer_logs(rows, journal=tmp_path / "journal") as run:
        async for _ in run:
            break
    added = sum(isinstance(outcome, Added) for outcome in run.unread)
    assert store.log_count == added + 1 < 30

    assert ["Added"] * 30 == names(await bring(rows))
    assert 30 == store.log_count


async def test_a_caller_that_is_cancelled(store: NetoSandbox, connect: Any, bring: Import, tmp_path: Path) -> None:
    """A cancelled caller's calls run to their end and are noted."""
    rows = notes(*(f"row {number}" for number in range(10)))
    release = asyncio.Event()
    store.faults.next(None, faults.Late(until=release))
    neto = await connect(store, batch_size=2, max_concurrency=1)

    async def importing() -> None:
        async with neto.import_customer_logs(rows, journal=tmp_path / "journal") as run:
            async for _ in run:
                pass

    task = asyncio.ensure_future(importing())
    await store.until(lambda: store.call_count == 2)
    task.cancel()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    outcomes = await bring(rows)
    assert [True] * 3 + [False] * 7 == [outcome.replayed for outcome in outcomes]
    assert (["Added"] * 10, 10) == (names(outcomes), store.log_count)


async def test_cancelled_while_opening(store: NetoSandbox, connect: Any, bring: Import, tmp_path: Path) -> None:
    """A caller that is cancelled while its journal opens leaves no lock and no thread behind."""
    neto = await connect(store)

    async def importing() -> None:
        async with neto.import_customer_logs(notes("a"), journal=tmp_path / "journal") as run:
            async for _ in run:
                pass

    task = asyncio.ensure_future(importing())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 0 == store.call_count

    while True:
        try:
            assert ["Added"] == names(await bring(notes("a")))
            break
        except ConfigurationError as busy:  # the thread is still letting go
            assert "this process is already using" in str(busy)  # noqa: PT017


async def test_a_second_run_takes_nothing_from_the_first(store: NetoSandbox, connect: Any, tmp_path: Path) -> None:
    """Where the same objects are passed twice at once, the second run is refused, and the first one goes on."""
    rows = notes(*(f"row {number}" for number in range(30)))
    journal, sink = SqliteJournal(tmp_path / "journal"), Sink([])
    neto = await connect(store, batch_size=5, max_concurrency=1)
    async with neto.import_customer_logs(rows, journal=journal, reports=sink) as run:
        outcomes = [await anext(run)]
        with pytest.raises(JournalInUseError):
            await neto.import_customer_logs(rows, journal=journal, reports=sink).__aenter__()
        assert sink.complete is None
        outcomes += [outcome async for outcome in run]

    assert ["Added"] * 30 == names(outcomes)
    assert (30, 30) == (store.log_count, SqliteJournal(tmp_path / "journal").summary().added)


async def test_a_slow_caller_bounds_what_is_read(store: NetoSandbox, connect: Any, tmp_path: Path) -> None:
    """While the caller takes nothing, no more is read than fits the bounds, though all before is replayed."""
    read = 0

    def rows() -> Any:
        nonlocal read
        for number in range(300):
            read += 1
            yield {"Notes": f"row {number}"}

    neto = await connect(store, batch_size=5, max_concurrency=2)
    for _ in range(2):
        read = 0
        seen = 0
        async with neto.import_customer_logs(rows(), journal=tmp_path / "journal") as run:
            async for _ in run:
                seen += 1
                await asyncio.sleep(0)
                # Ready and in flight, each at most (2 + 2) batches of 5, and those read ahead.
                assert read - seen <= 3 * 4 * 5
        assert 300 == seen == store.log_count


async def test_an_own_journal(store: NetoSandbox, bring: Import) -> None:
    """Whatever does what `Journal` says will do: it gets intents before calls, and ends after."""
    journal = MemoryJournal(store)

    await bring(notes("a", "b", "c"), journal=journal, calls=1)

    assert [("intent", 0), ("end", 1), ("intent", 1), ("end", 3)] == journal.said
    assert 3 == journal.rows


class MemoryJournal:
    """Records what it got, and how many logs the store had then."""

    identity = "mine"
    salt = bytes(16)

    def __init__(self, store: NetoSandbox) -> None:
        self.said: list[tuple[str, int]] = []
        self.rows = 0
        self._store = store

    def open(self, store: str) -> None:
        pass

    def known(self) -> Any:
        return iter(())

    def write(self, entries: Sequence[JournalEvent]) -> None:
        self.said += [(type(entry).__name__.lower(), self._store.log_count) for entry in entries]

    def finish(self, rows: int) -> None:
        self.rows = rows

    def close(self) -> None:
        pass
