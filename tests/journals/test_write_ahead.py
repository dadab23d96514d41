"""What is between the engine and the disk: which states a call's end has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from neto_async import Added, CustomerLog, JournalError, NotSent, Outcome, Rejected, Unknown
from neto_async.journals.protocol import End, JournalEvent, Known, RowState
from neto_async.journals.write_ahead import WriteAheadLog
from neto_async.outcomes import Attempt, NotSentCause, Phase
from neto_async.sending.records import PendingRecord

CALL = 7
ATTEMPTS = (Attempt(call=CALL, records=3, body_bytes=1, phase=Phase.ANSWERED, seconds=0.1),)
LOG = CustomerLog(notes="a")
RECORDS = [PendingRecord(index=index, record=LOG, fields={"Notes": "a"}) for index in (4, 5, 6)]


class Paper:
    """A journal that writes at once; where it is torn, it writes no intent."""

    identity, salt = "paper", b"salt"

    def __init__(self, *, torn: bool = False) -> None:
        self.torn = torn
        self.ends: list[End] = []

    def open(self, _: str) -> None: ...

    def known(self) -> Iterator[Known]:
        return iter(())

    def write(self, events: Sequence[JournalEvent]) -> None:
        if self.torn:
            raise JournalError("torn")
        self.ends += [event for event in events if isinstance(event, End)]

    def finish(self, rows: int) -> None: ...

    def close(self) -> None: ...


async def writing(paper: Paper) -> tuple[WriteAheadLog, list[Outcome]]:
    passed_on = list[Outcome]()
    log = WriteAheadLog(paper, None, pass_on=passed_on.extend, broken=lambda _: None)
    await log.open("here")
    return log, passed_on


def fate(kind: Any, index: int, **more: Any) -> Outcome:
    outcome: Outcome = kind(index=index, record=LOG, attempts=ATTEMPTS, **more)
    return outcome


async def test_states_belong_to_their_rows() -> None:
    """In whatever order records are settled, each row gets its own state and id; one that is left out may go again."""
    paper = Paper()
    log, passed_on = await writing(paper)
    assert await log.intend(CALL, RECORDS)

    log.settle([fate(Rejected, 6), fate(Added, 4, log_id=70)])
    log.ended(CALL)
    await log.close(rows=None)

    assert [
        End(call=CALL, states=((RowState.ADDED, 70), (RowState.WITHDRAWN, 0), (RowState.REJECTED, 0)))
    ] == paper.ends
    assert [6, 4] == [outcome.index for outcome in passed_on]


async def test_what_comes_of_doubts_and_of_rows_not_sent() -> None:
    """A row that was not sent may go again, unless an earlier run left it in doubt: then it stays so."""
    paper = Paper()
    log, passed_on = await writing(paper)
    log.doubt(5)
    await log.intend(CALL, RECORDS)
    not_sent = {"reason": "stopped", "cause": NotSentCause.STOPPED}

    log.settle([fate(NotSent, index, **not_sent) for index in (4, 5, 6)])
    log.ended(CALL)
    await log.close(rows=None)

    withdrawn = (RowState.WITHDRAWN, 0)
    assert [End(call=CALL, states=(withdrawn, (RowState.UNKNOWN, 0), withdrawn))] == paper.ends
    assert [NotSent, Unknown, NotSent] == [type(outcome) for outcome in passed_on]


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_call_that_does_not_leave(cancelled: Any) -> None:
    """An intent that may be on disk has an end, though nobody waited for it; one that is not needs none."""
    paper = Paper(torn=not cancelled)
    log, _ = await writing(paper)
    intending = asyncio.ensure_future(log.intend(CALL, RECORDS))
    await asyncio.sleep(0)
    if cancelled:
        intending.cancel()
    await asyncio.wait({intending})

    log.ended(CALL)
    await log.close(rows=None)

    assert [End(call=CALL, states=((RowState.WITHDRAWN, 0),) * 3)] * cancelled == paper.ends


async def test_a_call_that_was_cancelled_before_its_intent_has_no_end():
    """Where a loop that shuts down cancels a call before its first step, the journal learns nothing of it."""
    paper = Paper()
    log, _ = await writing(paper)

    log.ended(CALL)
    await log.close(rows=None)

    assert [] == paper.ends
