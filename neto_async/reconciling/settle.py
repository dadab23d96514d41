"""
Settling doubts: read their customers, a few at a time, and say what became of each record.

May import: the rest of reconciling, sending.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from functools import partial

from neto_async.reconciling.calibration import Calibration
from neto_async.reconciling.evidence import (
    Doubt,
    DoubtsAndKnown,
    Evidence,
    Missing,
    Reading,
    Settled,
    Verdict,
    by_customer,
    customer_of,
)
from neto_async.reconciling.from_outcomes import NO_CALL
from neto_async.reconciling.reading import Reader
from neto_async.reconciling.verdicts import reconcile
from neto_async.reconciling.windows import windows_of
from neto_async.sending.waiting import in_own_thread

__all__ = ["CUSTOMERS_A_CALL", "calls_needed", "customers_in", "over_at", "settle"]

CUSTOMERS_A_CALL = 50
"""Customers that are read together. How long a filter the store takes is not known; several names are documented."""

CALLS_A_READING = 2
"""Calls to read so many: their page, and the one after it with nothing new."""

NOTHING = Reading(began_at=0.0, is_whole=True, customers=())


def customers_in(given: DoubtsAndKnown) -> set[str]:
    """List the folded names of the customers in doubt."""
    return {customer_of(doubt.sent) for doubt in given.doubts} - {""}


def calls_needed(given: DoubtsAndKnown) -> int:
    """Say how many calls reading all customers in doubt takes, where each page holds all that were asked for."""
    return 2 * CALLS_A_READING * -(-len(customers_in(given)) // CUSTOMERS_A_CALL)


def over_at(given: DoubtsAndKnown, settle_after: float) -> float:
    """Give the moment after which nothing of the calls in doubt is saved any more, where their ends are known."""
    return max((call.left_at for call in given.calls if call.left_at < float("inf")), default=0.0) + settle_after


async def settle(
    given: DoubtsAndKnown, reader: Reader, *, sole_writer: bool, settle_after: float
) -> AsyncGenerator[tuple[Verdict, ...], None]:
    """
    Yield what became of the records in doubt, those of some customers at a time; see `AsyncNetoClient.reconcile`.

    Raises:
        ReadError: The store refused to give customers.
        NotSentError: It could not be asked.
    """
    doubts, known = by_customer(given.doubts), by_customer(given.known)
    windows = windows_of(given.calls, given.answered, settle_after)
    calibration = Calibration()
    for names in _groups(doubts):
        usernames = {doubt.sent["Username"].strip(): None for name in names if name for doubt in doubts[name]}
        evidence = Evidence(
            doubts=tuple(doubt for name in names for doubt in doubts[name]),
            calls=given.calls,
            answered=given.answered,
            known=tuple(log for name in names for log in known[name]),
            first=await reader.read(usernames) if usernames else NOTHING,
            second=await reader.read(usernames) if usernames else NOTHING,
            calibration=calibration,
        )
        judge = partial(reconcile, evidence, windows, sole_writer=sole_writer)
        # It takes seconds where a customer has thousands of logs.
        verdicts, calibration = await in_own_thread(judge, "neto_async judge")
        yield tuple(map(_with_its_call, verdicts))


def _groups(doubts: Mapping[str, Sequence[Doubt]]) -> Iterator[list[str]]:
    if "" in doubts:
        yield [""]
    names = [name for name in doubts if name]
    for start in range(0, len(names), CUSTOMERS_A_CALL):
        yield names[start : start + CUSTOMERS_A_CALL]


def _with_its_call(verdict: Verdict) -> Verdict:
    """Say that the journal is missing where a doubt's call is not known."""
    if verdict.doubt.call != NO_CALL or verdict.settled is not Settled.UNKNOWN or verdict.missing is Missing.USERNAME:
        return verdict
    return Verdict(
        doubt=verdict.doubt,
        settled=Settled.UNKNOWN,
        reason="an earlier run may have added it, and only its journal knows of the call",
        missing=Missing.JOURNAL,
        candidates=verdict.candidates,
    )
