"""
Going on after an earlier run: which rows are settled, which are sent, and whether the source is still the same.

May import: journal, items, wire, models, outcomes, errors, settings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from datetime import tzinfo
from itertools import islice
from typing import Any

from neto_async.errors import ConfigurationError
from neto_async.importing.items import read_item
from neto_async.importing.journal import Journal, Known, RowState
from neto_async.models import CustomerLog
from neto_async.outcomes import Added, Outcome, Rejected, Unknown
from neto_async.settings import InDoubt
from neto_async.wire import fields_of, make_fingerprint

__all__ = ["IN_DOUBT", "Resumption", "check_source"]

READ_AT_ONCE = 2_000
"""Settled rows that are held in memory."""

IN_DOUBT = "an earlier run did not see what became of it"


class Resumption:
    """
    Compare a source with what earlier runs of it came to, row by row.

    Args:
        known: Gives the next rows that earlier runs have settled, at most so many, by ascending position.
        salt: Of the journal's fingerprints.
        zone: The zone that times are sent in.
        in_doubt: What to do with rows in doubt.
        retry_rejected: Send rows again that were refused and have not changed since.
        doubt: Called with the index of each record that is sent although it is in doubt.
    """

    def __init__(
        self,
        known: Callable[[int], Awaitable[list[Known]]],
        *,
        salt: bytes,
        zone: tzinfo,
        in_doubt: InDoubt,
        retry_rejected: bool,
        doubt: Callable[[int], None],
    ) -> None:
        self._read = known
        self._fingerprint_of = make_fingerprint(salt)
        self._zone = zone
        self._in_doubt = in_doubt
        self._retry_rejected = retry_rejected
        self._doubt = doubt
        self._known: deque[Known] = deque()

    @property
    def must_read(self) -> bool:
        """Whether `read` is to be awaited before the next record can be looked up."""
        return not self._known

    async def read(self) -> bool:
        """Read what is known of the next rows; False where nothing more is, and all that follows is new."""
        self._known.extend(await self._read(READ_AT_ONCE))
        return bool(self._known)

    def look(self, index: int, log: CustomerLog | None, context: Any) -> Outcome | None:
        """
        Say what became of the next record before this run.

        Args:
            index: Its position; one more than the last time.
            log: None where the source gave no valid one.
            context: As the source gave it.

        Returns:
            Its outcome, where it has one already; None where this run has to find it.

        Raises:
            ConfigurationError: A record that was added, or may have been, is another one now.
        """
        if not self._known or self._known[0].position != index:
            return None
        known = self._known.popleft()
        same = log is not None and self._fingerprint(log) == known.fingerprint
        if known.state is RowState.REJECTED and (self._retry_rejected or not same):
            return None
        if log is None or not same:
            raise _changed(index, known.state)
        if known.state is RowState.UNKNOWN and self._in_doubt is InDoubt.RESEND:
            self._doubt(index)
            return None
        return _again(known, log, context)

    async def check_end(self, rows: int) -> None:
        """
        Look whether the source ended too early.

        Raises:
            ConfigurationError: An earlier run added records behind its end, or may have.
        """
        while self._known or await self.read():
            known = self._known.popleft()
            if known.position >= rows and known.state is not RowState.REJECTED:
                raise ConfigurationError(
                    f"the source has {rows:,} records now, and record {known.position + 1:,} {_SAID[known.state]}: "
                    "import the source as it was; what is new goes to its end"
                )

    def _fingerprint(self, log: CustomerLog) -> bytes | None:
        try:
            return self._fingerprint_of(fields_of(log, zone=self._zone))
        except Exception:  # noqa: BLE001
            # A caller's own tzinfo can raise anything. Such a log can't be encoded either.
            return None


async def check_source(source: Iterable[object], journal: Journal, *, zone: tzinfo) -> None:
    """
    Look whether a run of a source would go on from its journal or refuse to.

    Args:
        source: All of it, as an import takes it.
        journal: Open for reading.
        zone: The zone that times are sent in.

    Raises:
        ConfigurationError: What the run would raise: a record that was added, or may have been, is gone or another one.
    """
    rows = journal.known()

    async def known(most: int) -> list[Known]:
        return list(islice(rows, most))

    resumption = Resumption(
        known, salt=journal.salt, zone=zone, in_doubt=InDoubt.HOLD, retry_rejected=False, doubt=lambda _: None
    )
    taken = 0
    for item in source:
        if resumption.must_read and not await resumption.read():
            return
        log, _, context, _ = read_item(item)
        resumption.look(taken, log, context)
        taken += 1
    await resumption.check_end(taken)


_SAID = {RowState.ADDED: "was added by an earlier run", RowState.UNKNOWN: "may have been added by an earlier run"}


def _changed(index: int, state: RowState) -> ConfigurationError:
    return ConfigurationError(
        f"record {index + 1:,} of the source (counted from 1) {_SAID[state]}, and is another one now: the source "
        "has changed, or how it is mapped (its columns, words, zone or date formats). Import it as it was; what is new "
        "goes to its end"
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
