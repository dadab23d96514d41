"""
Reading customers with their logs, page by page. May import: evidence, wire, sending, models, outcomes, errors, results.

A read changes nothing, so one that brought no answer is repeated. Customers that were not asked for are left out: a
store may ignore a filter that it does not know.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection

from attrs import frozen

from neto_async.errors import ReadError
from neto_async.models import StoredCustomer, StoredCustomerLog
from neto_async.outcomes import NotSent, Rejected, Unknown
from neto_async.reconciling.evidence import Reading, folded_name
from neto_async.results import error_for
from neto_async.sending.records import PageRead
from neto_async.wire import CustomerPage

__all__ = ["Ask", "Reader"]

Ask = Callable[[CustomerPage], Awaitable[PageRead | NotSent | Rejected | Unknown]]
"""Asks the store for one page."""

ATTEMPTS = 3
"""Times that a page is asked for which brings no answer that can be read."""


class _NoAnswerError(ReadError):
    """The store gave no answer that can be read, however often it was asked."""


@frozen
class Reader:
    """Reads customers: ``ask`` asks the store for one page, and ``now`` gives a moment in seconds."""

    _ask: Ask
    _now: Callable[[], float]

    async def read(self, usernames: Collection[str]) -> Reading:
        """
        Read some customers with all their logs.

        Returns:
            What came back of them; ``is_whole`` is False where a page brought no answer.

        Raises:
            ReadError: The store refused.
            NotSentError: It could not be asked.
        """
        began_at = self._now()
        customers: list[StoredCustomer] = []
        try:
            async for page in self._pages(usernames):
                customers += page
        except _NoAnswerError:
            return Reading(began_at=began_at, is_whole=False, customers=tuple(customers))
        return Reading(began_at=began_at, is_whole=True, customers=tuple(customers))

    async def logs(self, username: str) -> AsyncGenerator[StoredCustomerLog, None]:
        """
        Yield one customer's logs, in the order in which they come.

        Raises:
            ReadError: The store refused, gave no answer that can be read, or has no such customer.
            NotSentError: It could not be asked.
        """
        found = False
        given: set[int] = set()
        async for page in self._pages((username,)):
            found = found or bool(page)
            for log in (log for customer in page for log in customer.logs if log.log_id not in given):
                given.add(log.log_id)
                yield log
        if not found:
            raise ReadError("the store has no customer with this user name")

    async def _pages(self, usernames: Collection[str]) -> AsyncGenerator[list[StoredCustomer], None]:
        """Yield what is new on each page, up to one with nothing new: a short page is no end."""
        asked = {folded_name(name) for name in usernames}
        seen: set[tuple[str, frozenset[StoredCustomerLog]]] = set()
        number = 0
        while True:
            page = await self._page(CustomerPage(usernames=tuple(usernames), page=number))
            new = []
            for customer in page:
                key = (customer.username, frozenset(customer.logs))
                if key not in seen and folded_name(customer.username) in asked:
                    seen.add(key)
                    new.append(customer)
            if not new:
                return
            yield new
            number += 1

    async def _page(self, page: CustomerPage) -> tuple[StoredCustomer, ...]:
        outcome = await self._ask(page)
        for _ in range(ATTEMPTS - 1):
            if isinstance(outcome, Unknown):
                outcome = await self._ask(page)
        match outcome:
            case PageRead(customers=customers):
                return customers
            case Rejected(messages=messages):
                text = "the store refused to give customers; its words are in messages. May the key read them?"
                raise ReadError(text, messages=messages)
            case Unknown(reason=reason):
                raise _NoAnswerError(f"customers could not be read: {reason}")
        raise error_for(outcome)
