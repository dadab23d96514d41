"""What stands between the engine and the disk: which states a call's end has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from neto_async import Added, CustomerLog, NotSent, Outcome, Rejected, Unknown
from neto_async.importing.journal import End, RowState
from neto_async.importing.recorder import Recorder
from neto_async.importing.recording import Recording
from neto_async.outcomes import Attempt, NotSentCause, Phase
from neto_async.sending.feeds import Entry

CALL = 7
ATTEMPTS = (Attempt(call=CALL, records=3, body_bytes=1, phase=Phase.ANSWERED, seconds=0.1),)
LOG = CustomerLog(notes="a")
ENTRIES = [Entry(index=index, record=LOG, fields={"Notes": "a"}) for index in (4, 5, 6)]


class Paper:
    """Writes at once, if it writes at all."""

    def __init__(self) -> None:
        self.may: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.ends: list[End | None] = []

    async def intend(self, _: object) -> bool:
        return await self.may

    def record(self, _: Sequence[Outcome], end: End | None, then: Callable[[], None]) -> None:
        self.ends.append(end)
        then()


def noting() -> tuple[Paper, Recording, list[Outcome]]:
    paper, told = Paper(), list[Outcome]()
    return paper, Recording(cast("Recorder", paper), b"salt", told.extend), told


def fate(kind: Any, index: int, **more: Any) -> Outcome:
    outcome: Outcome = kind(index=index, record=LOG, attempts=ATTEMPTS, **more)
    return outcome


async def test_states_belong_to_their_rows() -> None:
    """In whatever order records are settled, each row gets its own state and id; one that is left out may go again."""
    paper, recording, told = noting()
    paper.may.set_result(True)
    assert await recording.intend(CALL, ENTRIES)

    recording.settle([fate(Rejected, 6), fate(Added, 4, log_id=70)])
    recording.ended(CALL)

    assert [
        End(call=CALL, states=((RowState.ADDED, 70), (RowState.WITHDRAWN, 0), (RowState.REJECTED, 0)))
    ] == paper.ends
    assert [6, 4] == [outcome.index for outcome in told]


async def test_what_comes_of_doubts_and_of_rows_not_sent() -> None:
    """A row that was not sent may go again, unless an earlier run left it in doubt: then it stays so."""
    paper, recording, told = noting()
    paper.may.set_result(True)
    recording.doubt(5)
    await recording.intend(CALL, ENTRIES)
    not_sent = {"reason": "stopped", "cause": NotSentCause.STOPPED}

    recording.settle([fate(NotSent, index, **not_sent) for index in (4, 5, 6)])
    recording.ended(CALL)

    withdrawn = (RowState.WITHDRAWN, 0)
    assert [End(call=CALL, states=(withdrawn, (RowState.UNKNOWN, 0), withdrawn))] == paper.ends
    assert [NotSent, Unknown, NotSent] == [type(outcome) for outcome in told]


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_call_that_does_not_leave(cancelled: Any) -> None:
    """An intent that may be on disk has an end, though nobody waited for it; one that is not needs none."""
    paper, recording, _ = noting()
    intending = asyncio.ensure_future(recording.intend(CALL, ENTRIES))
    await asyncio.sleep(0)
    if cancelled:
        intending.cancel()
    else:
        paper.may.set_result(False)
    await asyncio.wait({intending})

    recording.ended(CALL)

    assert [End(call=CALL, states=((RowState.WITHDRAWN, 0),) * 3)] * cancelled == paper.ends
