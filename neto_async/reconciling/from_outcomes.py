"""
The doubts among a program's outcomes. Pure; may import: evidence, models, outcomes, wire.

Order numbers are moments, in microseconds: a call began when its attempt did, and was answered at the end of it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import tzinfo

from neto_async.models import CustomerLog
from neto_async.outcomes import Added, Attempt, Outcome, Unknown
from neto_async.reconciling.evidence import (
    AnsweredCall,
    Doubt,
    DoubtfulCall,
    DoubtsAndKnown,
    KnownLog,
    customer_of,
    folded_name,
)
from neto_async.wire import fields_of

__all__ = ["NO_CALL", "doubts_in"]

NO_CALL = 0
"""Number of the call of doubts whose call is not known: it may have begun at any time, and may not be over."""


def doubts_in(outcomes: Sequence[Outcome], *, zone: tzinfo) -> DoubtsAndKnown:
    """
    Gather what is known of the doubts among some outcomes; a doubt's ``row`` is its place among them.

    Outcomes that say nothing about a doubt are ignored. Which place a record had in its call is known from its index
    alone, and not for single adds: all have the same. Such records count as records of several calls that went
    together.
    """
    numbers: dict[tuple[float, int, int], int] = {}
    rows = sorted(range(len(outcomes)), key=lambda row: outcomes[row].index)
    times = Counter[tuple[float, int, int]]()
    calls = {NO_CALL: DoubtfulCall(number=NO_CALL, began=0, left_at=float("inf"))}
    doubts = []
    for row in rows:
        outcome = outcomes[row]
        if isinstance(outcome, Unknown) and isinstance(outcome.record, CustomerLog):
            attempt = _doubtful(outcome)
            number = NO_CALL
            if attempt is not None:
                began, ended = _moments(attempt)
                times[began, attempt.call, outcome.index] += 1
                call = (began, attempt.call, times[began, attempt.call, outcome.index])
                number = numbers.setdefault(call, len(numbers) + 1)
                calls[number] = DoubtfulCall(number=number, began=_order(began), left_at=ended)
            doubts.append(Doubt(row=row, call=number, sent=fields_of(outcome.record, zone=zone)))
    names = {customer_of(doubt.sent) for doubt in doubts}
    added = [outcome for outcome in outcomes if isinstance(outcome, Added)]
    return DoubtsAndKnown(
        doubts=tuple(doubts),
        calls=tuple(calls.values()),
        answered=_answered(added),
        known=tuple(
            KnownLog(log_id=outcome.log_id, sent=fields_of(outcome.record, zone=zone))
            for outcome in added
            if folded_name(outcome.record.username or "") in names
        ),
    )


def _doubtful(outcome: Unknown) -> Attempt | None:
    """Give the one call that may have saved a record, None where it is not known: earlier ones have saved nothing."""
    return None if outcome.evidence.earlier_run or not outcome.attempts else _timed(outcome.attempts[-1])


def _timed(attempt: Attempt) -> Attempt | None:
    return None if attempt.sent_at is None or attempt.ended_at is None else attempt


def _answered(added: Iterable[Added]) -> tuple[AnsweredCall, ...]:
    ids: dict[tuple[float, float, int], list[int]] = defaultdict(list)
    for outcome in added:
        attempt = _timed(outcome.attempts[-1]) if outcome.attempts else None
        if attempt is not None:
            ids[*_moments(attempt), attempt.call].append(outcome.log_id)
    return tuple(
        AnsweredCall(
            began=_order(began), answered=_order(ended), began_at=began, lowest_id=min(found), highest_id=max(found)
        )
        for (began, ended, _), found in ids.items()
    )


def _moments(attempt: Attempt) -> tuple[float, float]:
    assert attempt.sent_at is not None  # noqa: S101 - `_timed` has looked
    assert attempt.ended_at is not None  # noqa: S101
    return attempt.sent_at.timestamp(), attempt.ended_at.timestamp()


def _order(moment: float) -> int:
    return round(moment * 1_000_000)
