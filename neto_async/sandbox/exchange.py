"""
The store's application: it processes a call that reached it, and makes the answer.

May import: reading, checking, credentials, customers, replies, ledger, transmission.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime, timezone
from typing import Protocol

import attrs
from attrs import define, field

from neto_async.sandbox.checking import FIELDS, UPDATABLE, UnknownElements, problems_of
from neto_async.sandbox.credentials import Credentials
from neto_async.sandbox.customers import Customers
from neto_async.sandbox.ledger import Ledger
from neto_async.sandbox.reading import Record, SandboxRequest
from neto_async.sandbox.replies import Answer, Message, ReplyShape, print_answer
from neto_async.sandbox.transmission import HttpReply

__all__ = ["ACTIONS", "Application", "Exchange", "Pause"]

ACTIONS = ("AddCustomerLog", "UpdateCustomerLog", "GetCustomer")
"""What the store can be asked to do."""

_DIGITS = 10
"""Digits of a LogID, at most (UpdateCustomerLog page)."""


class Pause(Protocol):
    """What a call waits with."""

    async def __call__(self, seconds: float | None, *, until: asyncio.Event | None = None) -> None:
        """Wait for seconds (None: without end) or until an event is set, and at most until the store closes."""


def _error(text: str, description: str | None = None) -> Answer:
    return Answer(errors=(Message(text=text, description=description),))


@define(kw_only=True)
class Application:
    """
    Checks calls and saves their records.

    Attributes:
        partial: Whether good records are saved beside bad ones.
        unknown_elements: Whether records with unknown elements are refused.
        late: Work that continues after its call was answered.
    """

    credentials: Credentials
    partial: bool
    unknown_elements: UnknownElements
    replies: ReplyShape
    ledger: Ledger
    customers: Customers
    late: set[asyncio.Task[None]] = field(factory=set, init=False)
    _refusals: list[tuple[Callable[[Record], bool], str | None]] = field(factory=list, init=False)

    def refuse_when(self, predicate: Callable[[Record], bool], message: str | None) -> None:
        """Refuse every record that the predicate holds for."""
        self._refusals.append((predicate, message))

    def refuse_nothing(self) -> None:
        """Forget the rules of `refuse_when`."""
        self._refusals.clear()

    def process(self, request: SandboxRequest, *, refusing: Collection[int]) -> Answer:
        """Check a call and save what can be saved of it."""
        if not self.credentials.allow(request):
            return _error("Invalid API Key")
        if request.action not in ACTIONS:
            return _error(f"Invalid action {request.action}".rstrip())
        if request.error is not None:
            return _error(request.error.message, request.error.description)
        if request.query is not None:
            found = tuple(self.customers.find(request.query))
            self.ledger.note(request.number, customers=tuple(customer["Username"] for customer in found))
            return Answer(customers=found)
        is_update = request.action == "UpdateCustomerLog"
        problems = [self._problems(record, is_update=is_update) for record in request.records]
        for position in refusing:
            problems[position] = problems[position] or [_echo(request.records[position])]
        # A record that a fault refuses is refused beside its neighbours, even where the store would refuse all.
        if any(problems) and not (self.partial or refusing):
            return Answer(errors=_messages(problems))
        good = [record for record, faults in zip(request.records, problems, strict=True) if not faults]
        if is_update:
            self.ledger.update(request.number, [_update(record) for record in good])
            return Answer(warnings=_messages(problems))
        return Answer(log_ids=self.ledger.save(request.number, good), warnings=_messages(problems))

    def _problems(self, record: Record, *, is_update: bool) -> list[str]:
        problems = problems_of(record, unknown_elements=self.unknown_elements, is_update=is_update)
        if is_update and not self._is_kept(record.get("LogID", "")):
            problems.append(f"LogID {record.get('LogID', '')}".rstrip() + " does not exist")
        problems += [message or _echo(record) for predicate, message in self._refusals if predicate(record)]
        return problems

    def _is_kept(self, log_id: str) -> bool:
        return log_id.isascii() and log_id.isdigit() and len(log_id) <= _DIGITS and self.ledger.keeps(int(log_id))


def _update(record: Record) -> tuple[int, Record]:
    return int(record["LogID"]), {name: text for name, text in record.items() if name in UPDATABLE}


def _messages(problems: list[list[str]]) -> tuple[Message, ...]:
    return tuple(Message(text=text) for texts in problems for text in texts)


def _echo(record: Record) -> str:
    said = " ".join(record[name] for name in FIELDS if record.get(name))
    return f"Cannot add customer log {said}"


class Exchange:
    """One call that the store is working on; what a fault is given to play with."""

    def __init__(self, request: SandboxRequest, application: Application, pause: Pause) -> None:
        self._request = request
        self._application = application
        self._answer: Answer | None = None
        self.pause = pause

    @property
    def request(self) -> SandboxRequest:
        """The call as it arrived."""
        return self._request

    def process(self, *, refusing: Collection[int] = ()) -> Answer:
        """
        Do the store's work, once; a second time gives the same answer.

        ``refusing`` are positions of records, from 0, that are refused while their neighbours are saved.
        """
        if self._answer is None:
            self._answer = self._application.process(self._request, refusing=refusing)
        return self._answer

    def process_later(self, seconds: float | None, *, until: asyncio.Event | None = None) -> None:
        """Do the store's work after seconds, or when an event is set, even if the call ends meanwhile."""
        late = self._application.late
        task = asyncio.create_task(self._process_after(seconds, until))
        late.add(task)
        task.add_done_callback(late.discard)

    async def _process_after(self, seconds: float | None, until: asyncio.Event | None) -> None:
        with suppress(ConnectionAbortedError):  # the store closes
            await self.pause(seconds, until=until)
            self.process()

    def reply(self, answer: Answer, *, shape: ReplyShape | None = None) -> HttpReply:
        """Print an answer, in the store's shape if none is given, and enter its Ack."""
        shape = shape or self._application.replies
        extra = tuple(Message(text=text) for text in shape.extra_warnings)
        action = self._request.action if self._request.action in ACTIONS else answer.action
        answer = attrs.evolve(answer, action=action, warnings=(*answer.warnings, *extra))
        self._application.ledger.note(self._request.number, ack=answer.ack)
        body = print_answer(answer, shape, self._request.format, datetime.now(timezone.utc))
        content_type = "application/json" if self._request.format == "json" else "text/xml"
        return HttpReply(content_type=f"{content_type}; charset=utf-8", body=body)
