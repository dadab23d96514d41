"""
Verdicts on records in doubt, by one pure function over a table that can be read.

May import: evidence, calibration, matching, windows. docs/explanation/reconciling.md says what each proof
assumes about Neto.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from attrs import frozen

from neto_async.models import StoredCustomerLog
from neto_async.reconciling.calibration import Calibration
from neto_async.reconciling.evidence import (
    Doubt,
    Evidence,
    KnownLog,
    Missing,
    Reading,
    Settled,
    Verdict,
    by_customer,
    customer_of,
    folded_name,
)
from neto_async.reconciling.matching import NO_LOG, Case, Customer
from neto_async.reconciling.windows import Window

__all__ = ["reconcile"]

_Logs: TypeAlias = tuple[StoredCustomerLog, ...]


@frozen(eq=False)
class _Row:
    """One row of the table; ``why`` may hold counts of the case in braces."""

    applies: Callable[[Case], bool]
    settled: Settled
    why: str
    missing: Missing | None = None


def _unread(reason: Missing, why: str) -> _Row:
    return _Row(lambda case: case.unread is reason, Settled.UNKNOWN, why, reason)


def _unpaired(reason: Missing, why: str) -> _Row:
    return _Row(lambda case: case.paired is reason, Settled.UNKNOWN, why, reason)


# The first row that applies decides.
_TABLE = (
    _unread(Missing.USERNAME, "it has no user name, so it can't be read back"),
    _unread(Missing.WHOLE_READING, "its customer's logs were not read to their end"),
    _unread(Missing.CUSTOMER, "the store did not give exactly one customer with its user name"),
    _unread(Missing.SAME_TWICE, "two readings of its customer's logs differ"),
    _unread(Missing.KNOWN_LOGS, "a log known to be its customer's is missing, or came back with another text"),
    # Its marker was found …
    _Row(lambda c: c.marked == (c.paired,), Settled.ADDED, "its marker is in this log alone"),
    _Row(
        lambda c: bool(c.marked),
        Settled.UNKNOWN,
        "its marker is in several logs, or in one that can't be its own",
        Missing.MARKER_ONCE,
    ),
    # … or no log could be it …
    _Row(
        lambda c: not c.free and c.is_conclusive,
        Settled.NOT_SENT,
        "its call is over, and all logs that it could have saved belong to other records",
    ),
    _Row(
        lambda c: not c.candidates and c.trusts_texts and c.is_conclusive,
        Settled.NOT_SENT,
        "its call is over, and no log without a known record has its text; such logs: {free}",
    ),
    _Row(
        lambda c: not c.candidates and not c.is_witnessed,
        Settled.UNKNOWN,
        "no log was found, but no known log came back to show that reading works",
        Missing.WITNESS,
    ),
    _Row(
        lambda c: not c.candidates and not c.is_over,
        Settled.UNKNOWN,
        "no log was found, but the call may still be saved",
        Missing.TIME,
    ),
    _Row(
        lambda c: not c.candidates and bool(c.elsewhere),
        Settled.UNKNOWN,
        "logs with its text have ids that its call can't have, if ids ascend: {elsewhere}",
        Missing.NO_EQUAL,
    ),
    _Row(
        lambda c: not c.candidates,
        Settled.UNKNOWN,
        "logs without a known record have other texts, but may have been edited: {free}",
        Missing.SOLE_WRITER,
    ),
    # … or some could.
    _Row(
        lambda c: not c.sole_writer,
        Settled.UNKNOWN,
        "logs that could be it, or were written by somebody else: {candidates}",
        Missing.SOLE_WRITER,
    ),
    _Row(
        lambda c: not c.has_floor,
        Settled.UNKNOWN,
        "logs that could be it, or are older than its call: {candidates}",
        Missing.FLOOR,
    ),
    _unpaired(Missing.CALIBRATION, "how the store gives such a text back is not known from other logs"),
    _unpaired(Missing.SAME_RECORD, "logs that could be it, one of which does not hold what was sent: {candidates}"),
    _unpaired(Missing.COUNT, "there are not as many logs ({candidates}) as records that they could be ({alike})"),
    _unpaired(Missing.WHICH, "nothing says which log belongs to which of several records ({alike})"),
    _Row(
        lambda c: c.paired != NO_LOG,
        Settled.ADDED,
        "as many logs hold its text as records were sent with it: {alike}",
    ),
    _Row(
        lambda c: c.is_conclusive,
        Settled.NOT_SENT,
        "its call is over, and saved fewer ({candidates}) of its equal records than it held ({alike})",
    ),
    _Row(
        lambda c: bool(c.elsewhere),
        Settled.UNKNOWN,
        "fewer logs ({candidates}) than equal records ({alike}) have ids that their call can have, if ids ascend",
        Missing.NO_EQUAL,
    ),
    _Row(
        lambda _: True,
        Settled.UNKNOWN,
        "fewer logs ({candidates}) than equal records ({alike}) were found, but the call may still be saved",
        Missing.TIME,
    ),
)


def reconcile(
    evidence: Evidence, windows: Mapping[int, Window], *, sole_writer: bool = False
) -> tuple[tuple[Verdict, ...], Calibration]:
    """
    Say what became of each record in doubt, in their order; see `AsyncNetoClient.reconcile`.

    Args:
        evidence: What is known about some customers.
        windows: What `windows_of` gives for the calls.
        sole_writer: Whether nobody else writes or edits such logs.

    Returns:
        The verdicts, and what these readings and those before them teach of how the store gives logs back.
    """
    customers = _agreed(evidence)
    calibration = _learnt(evidence, customers)
    known = by_customer(evidence.known)
    doubts: dict[str, dict[int, Doubt]] = defaultdict(dict)
    for place, doubt in enumerate(evidence.doubts):
        doubts[customer_of(doubt.sent)][place] = doubt
    cases: dict[int, Case] = {}
    for name, of_customer in doubts.items():
        logs = _usable(name, customers, known[name], calibration)
        if isinstance(logs, Missing):
            cases |= dict.fromkeys(of_customer, Case(unread=logs))
        else:
            cases |= Customer(
                doubts=of_customer,
                logs=logs,
                known=frozenset(log.log_id for log in known[name]),
                windows=windows,
                calibration=calibration,
                read_at=evidence.first.began_at,
                sole_writer=sole_writer,
            ).cases()
    return tuple(_verdict(doubt, cases[place]) for place, doubt in enumerate(evidence.doubts)), calibration


def _verdict(doubt: Doubt, case: Case) -> Verdict:
    row = next(row for row in _TABLE if row.applies(case))
    is_added = row.settled is Settled.ADDED
    return Verdict(
        doubt=doubt,
        settled=row.settled,
        log_id=case.paired if is_added and isinstance(case.paired, int) else None,
        reason=row.why.format(
            free=len(case.free),
            candidates=len(case.candidates),
            elsewhere=len(case.elsewhere),
            alike=case.alike,
        ),
        missing=row.missing,
        candidates=case.marked or case.candidates or case.elsewhere or case.free
        if row.settled is Settled.UNKNOWN
        else (),
    )


# --- What was read ---------------------------------------------------------------------------------------------------


def _learnt(evidence: Evidence, customers: Mapping[str, _Logs | Missing]) -> Calibration:
    calibration = evidence.calibration
    sent = {log.log_id: log.sent for log in evidence.known}
    for logs in customers.values():
        for log in () if isinstance(logs, Missing) else logs:
            if log.log_id in sent:
                calibration = calibration.learn(sent[log.log_id], log.fields)
    return calibration


def _usable(
    name: str, customers: Mapping[str, _Logs | Missing], known: Sequence[KnownLog], calibration: Calibration
) -> _Logs | Missing:
    """Give all logs of a customer, or what is missing to rely on them."""
    if not name:
        return Missing.USERNAME
    logs = customers[name]
    if isinstance(logs, Missing):
        return logs
    stored = {log.log_id: log.fields for log in logs}
    is_intact = all(log.log_id in stored and calibration.explains(log.sent, stored[log.log_id]) for log in known)
    return logs if is_intact else Missing.KNOWN_LOGS


def _agreed(evidence: Evidence) -> dict[str, _Logs | Missing]:
    """Give the logs of each customer that both readings agree on, by ascending id, or what is missing."""
    first, second = _customers(evidence.first), _customers(evidence.second)
    is_whole = evidence.first.is_whole and evidence.second.is_whole
    names = {*first, *second, *(customer_of(doubt.sent) for doubt in evidence.doubts)}
    return {
        name: _same_twice(first.get(name, []), second.get(name, [])) if is_whole else Missing.WHOLE_READING
        for name in names
    }


def _customers(reading: Reading) -> dict[str, list[_Logs]]:
    found: dict[str, list[_Logs]] = defaultdict(list)
    for customer in reading.customers:
        logs = tuple(sorted(customer.logs, key=lambda log: log.log_id))
        found[folded_name(customer.username)].append(logs)
    return found


def _same_twice(first: list[_Logs], second: list[_Logs]) -> _Logs | Missing:
    if len(first) != 1 or len(second) != 1:
        return Missing.CUSTOMER
    (logs,) = first
    is_clear = first == second and len({log.log_id for log in logs}) == len(logs)
    return logs if is_clear else Missing.SAME_TWICE
