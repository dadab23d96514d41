"""
The doubts of a journal, with the logs of its source.

May import: calibration, evidence, windows, importing, journals, models, outcomes, wire. Order numbers are those of the
journal's events. All of this runs in the journal's thread.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from attrs import field, frozen

from neto_async.errors import ConfigurationError
from neto_async.importing.resuming import check_source, outcomes_so_far
from neto_async.journals.marking import Marking, marker_of
from neto_async.journals.protocol import JournalCall, Known, RowState
from neto_async.models import CustomerLog, StoredCustomerLog
from neto_async.outcomes import Added, Unknown
from neto_async.reconciling.calibration import Text
from neto_async.reconciling.evidence import (
    AnsweredCall,
    Doubt,
    DoubtfulCall,
    DoubtsAndKnown,
    KnownLog,
    Settled,
    Verdict,
    customer_of,
    folded_name,
)
from neto_async.reconciling.windows import windows_of
from neto_async.wire import fields_of

__all__ = ["JournalDoubts", "as_seen", "as_settled", "combined", "doubts_of", "looking_like", "require_readable_twice"]


@frozen
class JournalDoubts:
    """
    The rows of a journal that are in doubt.

    Attributes:
        given: What is known of them; a doubt's ``row`` is its position, and a row that went with several calls has one
            for each. So has a row that was sent again while it was in doubt, and added: logs that its earlier calls
            saved could be taken for those of an equal row.
        outcomes: What was known of each row, by position.
        fingerprints: Those of the rows, by position.
    """

    given: DoubtsAndKnown
    outcomes: dict[int, Unknown] = field(factory=dict, repr=False)
    fingerprints: dict[int, bytes] = field(factory=dict, repr=False)


def doubts_of(journal: Any, source: Iterable[object], *, zone: tzinfo, marker: str | None = None) -> JournalDoubts:
    """
    Gather what is known of the rows that a journal has in doubt.

    Args:
        journal: Open, with ``calls`` and ``settle``; see `Journal`.
        source: All of it, as it was imported; it is read several times.
        zone: The zone that times are sent in.
        marker: The form of the marker that all records were sent with; None is what the journal remembers, or none.

    Raises:
        ConfigurationError: The source is not the one that the journal knows, or the journal remembers another marker.
    """
    marker = marker_of(journal, marker)
    marking = None if marker is None else Marking(marker, journal.salt)

    def sent_of(position: int, log: CustomerLog) -> Mapping[str, str]:
        fields = fields_of(log, zone=zone)
        return fields if marking is None else marking.marked(position, fields)

    fingerprints = {row.position: row.fingerprint for row in journal.known() if row.state is RowState.UNKNOWN}
    if not fingerprints:
        return JournalDoubts(DoubtsAndKnown())
    so_far = outcomes_so_far(source, journal, zone=zone)
    outcomes = {outcome.index: outcome for outcome in so_far if isinstance(outcome, Unknown)}
    sent: dict[int, Mapping[str, str]] = {
        position: sent_of(position, outcome.record) for position, outcome in outcomes.items()
    }
    markers = {
        position: marking.marker(position, fields_of(outcome.record, zone=zone))
        for position, outcome in outcomes.items()
        if marking is not None
    }
    names = set(map(customer_of, sent.values()))
    known = {
        outcome.index: KnownLog(log_id=outcome.log_id, sent=sent_of(outcome.index, outcome.record))
        for outcome in outcomes_so_far(source, journal, zone=zone)
        if isinstance(outcome, Added) and folded_name(outcome.record.username or "") in names
    }
    calls, answered, carried = [], [], []
    added: set[int] = set()
    for call in journal.calls():
        answered += _answered(call)
        added.update(row.position for row in call.rows if row.state is RowState.ADDED and row.position in known)
        doubtful = [row.position for row in call.rows if row.state is RowState.UNKNOWN]
        if any(position in sent or position in known for position in doubtful):
            # Without a known marker it is not known what was sent, so nothing proves the rows absent.
            left_at = _moment(call.over_at if call.marker_known else None, otherwise=float("inf"))
            calls.append(DoubtfulCall(number=call.began, began=call.began, left_at=left_at))
            carried += [(position, call.began) for position in doubtful]
    # A row with one call in doubt that is known now was settled: its log is that call's.
    times = Counter(position for position, _ in carried)
    sent |= {position: log.sent for position, log in known.items() if position in added or times[position] > 1}
    doubts = tuple(
        Doubt(row=row, call=call, sent=sent[row], marker=markers.get(row)) for row, call in carried if row in sent
    )
    in_doubt = {doubt.call for doubt in doubts}
    return JournalDoubts(
        DoubtsAndKnown(
            doubts=doubts,
            calls=tuple(call for call in calls if call.number in in_doubt),
            answered=tuple(answered),
            known=tuple(known.values()),
        ),
        outcomes,
        fingerprints,
    )


def combined(verdicts: Iterable[Verdict], doubts: JournalDoubts) -> list[Verdict]:
    """Give one verdict for each row in doubt: one that went with several calls is absent only if all say so."""
    of_row: dict[int, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.doubt.row in doubts.outcomes:
            of_row[verdict.doubt.row].append(verdict)
    return [_of_all(found) for found in of_row.values()]


def _of_all(verdicts: Sequence[Verdict]) -> Verdict:
    order = (Settled.ADDED, Settled.UNKNOWN, Settled.NOT_SENT)
    return min(verdicts, key=lambda verdict: order.index(verdict.settled))


def as_settled(doubts: JournalDoubts, verdicts: Iterable[Verdict]) -> list[Known]:
    """Give what a journal is to note of some verdicts."""
    states = {Settled.ADDED: RowState.ADDED, Settled.NOT_SENT: RowState.ABSENT}
    return [
        Known(verdict.doubt.row, doubts.fingerprints[verdict.doubt.row], states[verdict.settled], verdict.log_id or 0)
        for verdict in verdicts
        if verdict.settled in states
    ]


def as_seen(
    journal: Any, source: Iterable[object], found: Mapping[int, int], absent: Collection[int], *, zone: tzinfo
) -> list[Known]:
    """
    Give what a journal is to note of rows in doubt that a person looked up: log ids by position, and absent positions.

    Raises:
        ConfigurationError: A row is not in doubt, an id is another row's or older than the row's call, or the source is
            not the one that the journal knows.
    """
    check_source(source, journal, zone=zone)
    if len(set(found.values())) < len(found):
        raise ConfigurationError("one log was found for several rows; nothing was noted")
    rows = {**found, **dict.fromkeys(absent, 0)}
    noted, taken = [], set()
    for row in journal.known():
        taken.add(row.log_id)
        if row.state is RowState.UNKNOWN and row.position in rows:
            log_id = rows.pop(row.position)
            noted.append(Known(row.position, row.fingerprint, RowState.ADDED if log_id else RowState.ABSENT, log_id))
    if rows:
        raise ConfigurationError(f"row {min(rows) + 1:,} is not in doubt; nothing was noted")
    if twice := taken.intersection(found.values()):
        raise ConfigurationError(f"log {min(twice)} belongs to another row; nothing was noted")
    for position, floor in _floors(journal, found).items():
        if found[position] <= floor:
            raise ConfigurationError(
                f"log {found[position]} can't be row {position + 1:,}: the store had given ids up to {floor} before "
                "that row was sent; nothing was noted"
            )
    return noted


def looking_like(position: int, doubts: JournalDoubts, logs: Iterable[StoredCustomerLog]) -> list[int]:
    """Give the ids of a customer's logs that hold the text of its row in doubt, could be it, and are no known row's."""
    given = doubts.given
    windows = windows_of(given.calls, given.answered, float("inf"))
    own = [(windows[doubt.call], Text.of(doubt.sent)) for doubt in given.doubts if doubt.row == position]
    taken = {log.log_id for log in given.known}
    return [
        log.log_id
        for log in logs
        if log.log_id not in taken
        and any(log.log_id in window and Text.of(log.fields).looks_like(sent) for window, sent in own)
    ]


def _floors(journal: Any, rows: Collection[int]) -> dict[int, int]:
    """Give the highest id that the store had given before a row was sent first, as far as ids ascend."""
    answered: list[AnsweredCall] = []
    first: dict[int, int] = {}
    for call in journal.calls():
        answered += _answered(call)
        for row in call.rows:
            if row.state is RowState.UNKNOWN and row.position in rows:
                first.setdefault(row.position, call.began)
    calls = [DoubtfulCall(number=began, began=began, left_at=float("inf")) for began in first.values()]
    windows = windows_of(calls, answered, 0.0)
    return {row: floor for row, began in first.items() if (floor := windows[began].floor) is not None}


def _answered(call: JournalCall) -> list[AnsweredCall]:
    ids = [row.log_id for row in call.rows if row.state is RowState.ADDED]
    if not ids or call.ended is None:
        return []
    began_at = _moment(call.began_at, otherwise=float("-inf"))
    return [
        AnsweredCall(began=call.began, answered=call.ended, began_at=began_at, lowest_id=min(ids), highest_id=max(ids))
    ]


def _moment(at: datetime | None, *, otherwise: float) -> float:
    return otherwise if at is None else at.timestamp()


def require_readable_twice(source: object) -> None:
    """Refuse what can be read only once."""
    if not isinstance(source, Iterable) or iter(source) is source:
        raise ConfigurationError("source must be what can be read several times, such as a list or a LogSource")
