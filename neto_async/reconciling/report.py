"""Verdicts to outcomes, which a program sees. May import: evidence, outcomes, results."""

from __future__ import annotations

from neto_async.outcomes import Added, NotSent, NotSentCause, Unknown
from neto_async.reconciling.evidence import Settled, Verdict
from neto_async.results import Reconciled

__all__ = ["reconciled"]


def reconciled(verdict: Verdict, doubt: Unknown) -> Reconciled:
    """Say what became of a record that was in doubt."""
    outcome: Added | NotSent | Unknown = doubt
    # What is proven is not replayed: an earlier run did not know it.
    shared = {"index": doubt.index, "record": doubt.record, "context": doubt.context}
    if verdict.settled is Settled.ADDED:
        assert verdict.log_id is not None  # noqa: S101 - each such verdict has one
        # Without attempts: none of them was answered with the id, which may have been given later.
        outcome = Added(**shared, log_id=verdict.log_id)
    elif verdict.settled is Settled.NOT_SENT:
        cause = NotSentCause.READ_BACK
        outcome = NotSent(**shared, attempts=doubt.attempts, reason=f"{cause}; {verdict.reason}", cause=cause)
    return Reconciled(
        outcome=outcome,
        reason=verdict.reason,
        missing=None if verdict.missing is None else str(verdict.missing),
        candidates=verdict.candidates,
    )
