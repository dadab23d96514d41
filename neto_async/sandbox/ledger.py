"""
The store's ledger: the logs that it saved and the calls that it took. Tests compare with it.

May import: reading, transmission.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import attrs
from attrs import field, frozen

from neto_async.sandbox.reading import Format, Record
from neto_async.sandbox.transmission import RawBytes, Transmission

__all__ = ["Call", "Ledger", "SavedLog"]


@frozen(kw_only=True)
class SavedLog:
    """
    A log that the store saved. Each of the eight fields is its text as sent, None where it was empty or absent.

    Attributes:
        log_id: The id that the store gave it.
        call: Number of the call that brought it.
        saved_at: When, in UTC.
        fields: What was sent, under the vendor's names, and since updated.
    """

    log_id: int
    call: int
    saved_at: datetime
    fields: Record = field(repr=False)

    @property
    def allocated_to(self) -> str | None:
        """The vendor's AllocatedTo: the staff member the log is for."""
        return self.fields.get("AllocatedTo") or None

    @property
    def follow_up_type(self) -> str | None:
        """The vendor's FollowUpType."""
        return self.fields.get("FollowUpType") or None

    @property
    def username(self) -> str | None:
        """The vendor's Username: the customer's."""
        return self.fields.get("Username") or None

    @property
    def customer_name(self) -> str | None:
        """The vendor's CustomerName."""
        return self.fields.get("CustomerName") or None

    @property
    def last_contacted(self) -> str | None:
        """The vendor's LastContacted."""
        return self.fields.get("LastContacted") or None

    @property
    def date_required_follow_up(self) -> str | None:
        """The vendor's DateRequiredFollowUp."""
        return self.fields.get("DateRequiredFollowUp") or None

    @property
    def status(self) -> str | None:
        """The vendor's Status."""
        return self.fields.get("Status") or None

    @property
    def notes(self) -> str | None:
        """The vendor's Notes."""
        return self.fields.get("Notes") or None


@frozen(kw_only=True)
class Call:
    """
    A call at the store's endpoint.

    Attributes:
        number: From 1, in the order of arrival.
        received_at: When its head arrived, in seconds of the store's clock (monotonic, if none was given).
        at: The same as a time of day, in UTC.
        action: The header NETOAPI_ACTION, "" without one.
        format: The format that it asked for, "json" or "xml".
        records: Number of logs in it; 0 where its body was not read or can't be.
        customers: User names of the customers that it read.
        body_bytes: Length of its body.
        status: The HTTP status that was answered, None without one.
        ack: The Ack of the reply that was made for it, None where none was made.
        outcome: How it ended, in a word or two, for a person.
        fault: Name of the fault that was played, None without one.
        log_ids: Ids of the logs that it saved or updated, whatever was answered.
        seconds: How long until the answer began to leave, None while it has not.
    """

    number: int
    received_at: float
    at: datetime
    action: str
    format: Format
    records: int = 0
    customers: tuple[str, ...] = field(default=(), repr=False)
    body_bytes: int = 0
    status: int | None = None
    ack: str | None = None
    outcome: str = "in flight"
    fault: str | None = None
    log_ids: tuple[int, ...] = ()
    seconds: float | None = None


class Ledger:
    """
    Keeps logs and calls, and wakes those who wait for a change.

    Args:
        first_log_id: The id of the first log; the rest count up.
        keep: Newest logs and calls to keep, None for all.
    """

    def __init__(self, *, first_log_id: int, keep: int | None) -> None:
        self._next_log_id = first_log_id
        self._next_call = 1
        self._logs: deque[SavedLog] = deque(maxlen=keep)
        self._calls: dict[int, Call] = {}
        self._keep = keep
        self._changed = asyncio.Event()
        self.log_count: int = 0
        self.call_count: int = 0
        self.problem_count: int = 0
        self.revision: int = 0

    @property
    def logs(self) -> tuple[SavedLog, ...]:
        """The saved logs, oldest first."""
        return tuple(self._logs)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls in the order of arrival, those in flight included."""
        return tuple(self._calls.values())

    def newest_logs(self, count: int) -> list[SavedLog]:
        """Give the newest logs, newest first."""
        return [self._logs[-1 - offset] for offset in range(min(count, len(self._logs)))]

    def newest_calls(self, count: int) -> list[Call]:
        """Give the newest calls, newest first."""
        newest = reversed(self._calls.values())
        return [call for _, call in zip(range(count), newest, strict=False)]

    def begin(self, *, action: str, wire_format: Format, received_at: float) -> int:
        """Enter a call, and give its number."""
        self.call_count += 1
        number = self._next_call
        self._next_call += 1
        self._calls[number] = Call(number=number, received_at=received_at, at=_now(), action=action, format=wire_format)
        if self._keep is not None and len(self._calls) > self._keep:
            del self._calls[next(iter(self._calls))]
        self._notify()
        return number

    def note(self, number: int, **known: Any) -> None:
        """Enter what has become known of a call."""
        if number in self._calls:  # and not dropped, or cleared away
            self._calls[number] = attrs.evolve(self._calls[number], **known)
        self._notify()

    def end(self, number: int, transmission: Transmission, *, seconds: float) -> None:
        """Enter how a call was answered."""
        if number in self._calls:
            outcome = _outcome(self._calls[number], transmission)
            self.problem_count += outcome != "Success"
            self.note(number, status=transmission.status, outcome=outcome, seconds=seconds)

    def save(self, number: int, records: Iterable[Record]) -> tuple[int, ...]:
        """Save the records of a call, and give their ids."""
        saved_at = _now()
        ids = []
        for record in records:
            self._logs.append(SavedLog(log_id=self._next_log_id, call=number, saved_at=saved_at, fields=record))
            ids.append(self._next_log_id)
            self._next_log_id += 1
        self.log_count += len(ids)
        self.note(number, log_ids=tuple(ids))
        return tuple(ids)

    def keeps(self, log_id: int) -> bool:
        """Say whether it has a log with this id."""
        return 0 <= self._place(log_id) < len(self._logs)

    def update(self, number: int, changes: Sequence[tuple[int, Record]]) -> None:
        """Change fields of logs that it keeps, by their ids; fields that are not named stay as they are."""
        for log_id, fields in changes:
            log = self._logs[self._place(log_id)]
            self._logs[self._place(log_id)] = attrs.evolve(log, fields=MappingProxyType({**log.fields, **fields}))
        self.note(number, log_ids=tuple(log_id for log_id, _ in changes))

    def _place(self, log_id: int) -> int:
        # Ids count up by one, and the last one is that before the next.
        return log_id - (self._next_log_id - len(self._logs))

    async def change(self) -> None:
        """Wait for the next change."""
        await self._changed.wait()

    def clear(self) -> None:
        """Forget logs and calls; ids and numbers continue."""
        self._logs.clear()
        self._calls.clear()
        self.log_count = 0
        self.call_count = 0
        self.problem_count = 0
        self._notify()

    def _notify(self) -> None:
        self.revision += 1
        self._changed.set()
        self._changed = asyncio.Event()


def _outcome(call: Call, transmission: Transmission) -> str:
    if isinstance(transmission, RawBytes):
        return transmission.outcome
    if transmission.status != HTTPStatus.OK:
        return f"HTTP {transmission.status}"
    return call.ack or "no API reply"


def _now() -> datetime:
    return datetime.now(timezone.utc)
