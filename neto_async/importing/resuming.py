"""
Continuing an earlier run: which rows are settled, which are sent, and whether the source is still the same.

May import: files, journals, items, wire, models, outcomes, errors, settings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import tzinfo
from itertools import islice
from typing import Any

from neto_async.errors import ConfigurationError
from neto_async.files.rows import Row
from neto_async.importing.items import read_item
from neto_async.journals.protocol import READ_AT_ONCE, Journal, Known, RowState
from neto_async.models import CustomerLog
from neto_async.outcomes import Added, Evidence, Invalid, NotSent, NotSentCause, Outcome, Rejected, Unknown
from neto_async.settings import InDoubt
from neto_async.wire import fields_of, make_fingerprint

__all__ = ["IN_DOUBT", "EarlierRuns", "check_source", "outcomes_so_far"]

IN_DOUBT = "an earlier run never learned its outcome"


class EarlierRuns:
    """
    Compare a source, row by row, with the outcomes of earlier runs.

    If rows above were deleted, an already added record can appear at a new position and look unsent. So rows that the
    journal does not know may not be sent before the next row that it knows is found at its own position.

    Args:
        in_doubt: What to do with rows in doubt.
        retry_rejected: Send rows again that were refused and have not changed since.
        doubt: Called with the index of each record that is sent although it is in doubt.

    Attributes:
        in_place: True where the last record that was looked up is known and the same, so that no row above it was
            deleted.
    """

    def __init__(
        self,
        *,
        salt: bytes,
        zone: tzinfo,
        in_doubt: InDoubt,
        retry_rejected: bool,
        doubt: Callable[[int], None],
    ) -> None:
        self._fingerprint_of = make_fingerprint(salt)
        self._zone = zone
        self._in_doubt = in_doubt
        self._retry_rejected = retry_rejected
        self._doubt = doubt
        self._known: deque[Known] = deque()
        self.in_place: bool = False

    @property
    def must_learn(self) -> bool:
        """Whether `learn` is to be called before the next record can be looked up."""
        return not self._known

    def learn(self, known: Iterable[Known]) -> bool:
        """Take in the known state of the next rows; False where no more are known, and all that follow are new."""
        self._known.extend(known)
        return bool(self._known)

    def look(self, index: int, log: CustomerLog | None, context: Any) -> Outcome | None:
        """
        Look up the outcome of the next record, at this position, in earlier runs; None where this run has to find it.

        ``log`` is None where the source gave no valid one.

        Raises:
            ConfigurationError: A record that was added, or may have been, is another one now.
        """
        self.in_place = False
        if not self._known or self._known[0].position != index:
            return None
        known = self._known.popleft()
        same = self.in_place = log is not None and self._fingerprint(log) == known.fingerprint
        if known.state is RowState.REJECTED and (self._retry_rejected or not same):
            return None
        if log is None or not same:
            raise _changed(index, known.state, context)
        if known.state is RowState.UNKNOWN and self._in_doubt is InDoubt.RESEND:
            self._doubt(index)
            return None
        return _again(known, log, context)

    def check_end(self, rows: int) -> None:
        """
        Forget what was learnt of records behind the source's end.

        An earlier run that added one of them, or may have, raises `ConfigurationError`.
        """
        while self._known:
            known = self._known.popleft()
            if known.position >= rows and known.state is not RowState.REJECTED:
                raise ConfigurationError(
                    f"the source has {rows:,} records now, and record {known.position + 1:,} {_SAID[known.state]}: "
                    "import the source as it was, with new records at its end"
                )

    def _fingerprint(self, log: CustomerLog) -> bytes | None:
        try:
            return self._fingerprint_of(fields_of(log, zone=self._zone))
        except Exception:  # noqa: BLE001
            # A caller's own tzinfo can raise anything. Such a log can't be encoded either.
            return None


def check_source(source: Iterable[object], journal: Journal, *, zone: tzinfo) -> None:
    """
    Check whether a run of a source could continue from its journal, which is open for reading.

    Raises:
        ConfigurationError: What the run would raise: a record that was added, or may have been, is gone or another one.
    """
    for *_, more in _compared(source, journal, zone):
        if not more:
            return


def outcomes_so_far(source: Iterable[object], journal: Journal, *, zone: tzinfo) -> Iterator[Outcome]:
    """
    Yield the outcome of each record of a source as it is known now: from earlier runs, else `Invalid` or `NotSent`.

    It takes what `check_source` takes, and raises the same.
    """
    for index, (log, record, context, errors), outcome, _ in _compared(source, journal, zone):
        if outcome is not None:
            yield outcome
        elif log is None:
            yield Invalid(index=index, record=record, context=context, errors=errors)
        else:
            cause = NotSentCause.STOPPED
            yield NotSent(index=index, record=log, context=context, reason=cause, cause=cause)


def _compared(
    source: Iterable[object], journal: Journal, zone: tzinfo
) -> Iterator[tuple[int, tuple[CustomerLog | None, object, Any, tuple[str, ...]], Outcome | None, bool]]:
    """Yield each record's position, what was read, its outcome if it has one, and whether more may be known."""
    known = journal.known()
    earlier = EarlierRuns(
        salt=journal.salt, zone=zone, in_doubt=InDoubt.HOLD, retry_rejected=False, doubt=lambda _: None
    )
    more, taken = True, 0
    for item in source:
        more = more and (not earlier.must_learn or earlier.learn(islice(known, READ_AT_ONCE)))
        read = read_item(item)
        log, _, context, _ = read
        yield taken, read, earlier.look(taken, log, context), more
        taken += 1
    while earlier.learn(islice(known, READ_AT_ONCE)):
        earlier.check_end(taken)


_SAID = {RowState.ADDED: "was added by an earlier run", RowState.UNKNOWN: "may have been added by an earlier run"}


def _changed(index: int, state: RowState, context: Any) -> ConfigurationError:
    rows, source = ("rows", "file") if isinstance(context, Row) else ("records", "source")
    which = f"record {index + 1:,} of the source (counted from 1)"
    if isinstance(context, Row):
        which = f"row {index + 1:,} (line {context.line:,})"
    return ConfigurationError(
        f"{which} {_SAID[state]}, and is different now. Most likely {rows} were sorted, or inserted or removed above "
        f"it; or the {source} or its mapping (columns, words, zone, date formats) has changed. Import it as it was, "
        f"with new {rows} at its end"
    )


def _again(known: Known, log: CustomerLog, context: Any) -> Outcome:
    index = known.position
    match known.state:
        case RowState.ADDED:
            return Added(index=index, record=log, context=context, replayed=True, log_id=known.log_id)
        case RowState.REJECTED:
            return Rejected(index=index, record=log, context=context, replayed=True)
        case _:
            evidence = Evidence(earlier_run=True)
            return Unknown(index=index, record=log, context=context, replayed=True, reason=IN_DOUBT, evidence=evidence)
