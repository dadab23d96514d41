"""
Going on after an earlier run: which rows are settled, which are sent, and whether the source is still the same.

May import: recorder, journal, sending, wire, models, outcomes, errors.
"""

from __future__ import annotations

from collections import deque
from datetime import tzinfo
from enum import StrEnum
from typing import Any, NamedTuple

from neto_async.errors import ConfigurationError
from neto_async.importing.journal import Known, RowState
from neto_async.importing.recorder import Recorder
from neto_async.models import CustomerLog
from neto_async.outcomes import Added, Invalid, Outcome, Rejected, Unknown
from neto_async.sending.engine import UNENCODABLE
from neto_async.wire import Fields, fields_of, fingerprint

__all__ = ["InDoubt", "Resumption", "Send"]

READ_AT_ONCE = 2_000
"""Settled rows that are held in memory."""

IN_DOUBT = "an earlier run did not see what became of it"


class InDoubt(StrEnum):
    """What to do with rows of which an earlier run did not see the end."""

    HOLD = "hold"
    """They come out as `Unknown` and are not sent."""
    RESEND = "resend"
    """They are sent again: someone has looked in the store, or accepts that they may stand there twice."""


class Send(NamedTuple):
    """
    The record is to be sent.

    Attributes:
        log: The record.
        fields: The same, as it is sent.
        fingerprint: Of these.
        doubted: True where an earlier run may have added it.
    """

    log: CustomerLog
    fields: Fields
    fingerprint: bytes
    doubted: bool = False


class Resumption:
    """
    Compare a source with what earlier runs of it came to, row by row.

    Args:
        recorder: Open, with a journal.
        key: Of the journal's fingerprints.
        zone: The zone that times are sent in.
        in_doubt: What to do with rows in doubt.
        retry_rejected: Send rows again that were refused and have not changed since.
    """

    def __init__(
        self, recorder: Recorder, *, key: bytes, zone: tzinfo, in_doubt: InDoubt, retry_rejected: bool
    ) -> None:
        self._recorder = recorder
        self._key = key
        self._zone = zone
        self._in_doubt = in_doubt
        self._retry_rejected = retry_rejected
        self._known: deque[Known] = deque()
        self._all_read = False

    @property
    def must_read(self) -> bool:
        """Whether `read` is to be awaited before the next record can be looked up."""
        return not self._known and not self._all_read

    async def read(self) -> None:
        """Read what is known of the next rows; most records are then looked up without waiting."""
        self._known.extend(await self._recorder.known(READ_AT_ONCE))
        self._all_read = not self._known

    def look(self, index: int, log: CustomerLog | None, context: Any) -> Outcome | Send | None:
        """
        Say what to do with the next record.

        Args:
            index: Its position; one more than the last time.
            log: None where the source gave no valid one.
            context: As the source gave it.

        Returns:
            Its outcome, where it has one already; else to send it; None where there is no log to send.

        Raises:
            ConfigurationError: A record that was added, or may have been, is another one now.
        """
        known = self._known.popleft() if self._known and self._known[0].position == index else None
        fields = None if log is None else self._fields(log)
        own = None if fields is None else fingerprint(fields, key=self._key)
        if known is not None and known.state is not RowState.REJECTED and own != known.fingerprint:
            raise _changed(index, known.state)
        if log is None:
            return None
        if fields is None or own is None:
            return Invalid(index=index, record=log, context=context, errors=(UNENCODABLE,))
        if known is None or (known.state is RowState.REJECTED and self._may_go_again(known, own)):
            return Send(log, fields, own)
        if known.state is RowState.UNKNOWN and self._in_doubt is InDoubt.RESEND:
            return Send(log, fields, own, doubted=True)
        return _again(known, log, context)

    async def check_end(self, rows: int) -> None:
        """
        Look whether the source ended too early.

        Raises:
            ConfigurationError: An earlier run added records behind its end, or may have.
        """
        while True:
            if self.must_read:
                await self.read()
            if not self._known:
                return
            known = self._known.popleft()
            if known.position >= rows and known.state is not RowState.REJECTED:
                raise ConfigurationError(
                    f"the source has {rows:,} records now, and record {known.position + 1:,} {_SAID[known.state]}: "
                    "import the source as it was, or what is new in it with another journal"
                )

    def _may_go_again(self, known: Known, own: bytes) -> bool:
        return self._retry_rejected or own != known.fingerprint

    def _fields(self, log: CustomerLog) -> Fields | None:
        try:
            return fields_of(log, zone=self._zone)
        except Exception:  # noqa: BLE001
            # A caller's own tzinfo can raise anything. Such a log can't be encoded either.
            return None


_SAID = {RowState.ADDED: "was added by an earlier run", RowState.UNKNOWN: "may have been added by an earlier run"}


def _changed(index: int, state: RowState) -> ConfigurationError:
    return ConfigurationError(
        f"record {index + 1:,} of the source (counted from 1) {_SAID[state]}, and is another one now: import the "
        "source as it was, or what is new in it with another journal"
    )


def _again(known: Known, log: CustomerLog, context: Any) -> Outcome:
    index = known.position
    match known.state:
        case RowState.ADDED:
            return Added(index=index, record=log, context=context, replayed=True, log_id=known.log_id)
        case RowState.REJECTED:
            return Rejected(index=index, record=log, context=context, replayed=True)
        case _:
            return Unknown(index=index, record=log, context=context, replayed=True, reason=IN_DOUBT)
