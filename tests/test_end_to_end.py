"""The whole, over real sockets: what the client says became of a log is what the store's ledger says."""

from __future__ import annotations

import asyncio
import logging
import pickle
import traceback
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from httpx_aiohttp import AiohttpTransport

from neto_async import (
    Added,
    AuthenticationError,
    BulkSourceError,
    CustomerLog,
    NetoError,
    OutcomeUnknownError,
    RejectedError,
    Unknown,
)
from neto_async.sandbox import NetoSandbox, faults

OWN_LINES = {line.strip() for line in Path(__file__).read_text(encoding="utf-8").splitlines()}
FORMATS = pytest.mark.parametrize("wire_format", ["json", "xml"])
TEXT = " lead,\r\n\ttrail\r <b>&amp;]]> 𝄞 \u0085\u2028 "


@FORMATS
async def test_text_arrives_to_the_character(store: NetoSandbox, connect: Any, wire_format: str) -> None:
    """The store holds what was submitted, whichever format carried it."""
    neto = await connect(store, wire_format=wire_format)

    added = await neto.add_customer_log(CustomerLog(notes=TEXT), context="mine")

    assert ((TEXT, added.log_id), "mine") == ((store.logs[0].notes, store.logs[0].log_id), added.context)


async def test_concurrent_adds_share_calls(store: NetoSandbox, connect: Any) -> None:
    """A thousand adds at once leave as at most 14 calls, and each learns its own id."""
    neto = await connect(store)
    logs = [CustomerLog(notes=f"number {number}") for number in range(1000)]

    added = await asyncio.gather(*map(neto.add_customer_log, logs))

    assert {log.log_id: log.notes for log in store.logs} == {outcome.log_id: outcome.record.notes for outcome in added}
    assert len(store.calls) <= 14


@FORMATS
async def test_faulty_records_are_isolated(store: NetoSandbox, connect: Any, wire_format: str) -> None:
    """A record that the store refuses takes none of its neighbours with it."""
    store.refuse_when(lambda fields: "poison" in (fields.get("Notes") or ""))
    neto = await connect(store, wire_format=wire_format)
    texts = [f"poison {number}" if number in {3, 77} else f"fine {number}" for number in range(120)]

    report = await neto.add_customer_logs([CustomerLog(notes=text) for text in texts])

    assert [3, 77] == [outcome.index for outcome in report.rejected]
    assert [text for text in texts if "fine" in text] == sorted(
        (log.notes for log in store.logs), key=lambda text: int(text.split()[1])
    )
    assert [outcome.record.notes for outcome in report.added] == [
        {log.log_id: log.notes for log in store.logs}[outcome.log_id] for outcome in report.added
    ]


def _clients() -> dict[str, Any]:
    return {
        "httpx": httpx.AsyncClient,
        "httpx2": httpx2.AsyncClient,
        "httpx over aiohttp": lambda: httpx.AsyncClient(transport=AiohttpTransport()),
    }


@pytest.mark.parametrize("library", list(_clients()))
@pytest.mark.parametrize("fault", ["reset_after_saving", "close_after_saving"])
async def test_lost_answer_is_unknown(store: NetoSandbox, connect: Any, library: str, fault: str) -> None:
    """A log that was saved before the connection broke is in doubt, and is never sent again."""
    store.faults.next(_fault(fault))
    async with _clients()[library]() as http_client:
        neto = await connect(store, http_client=http_client)
        with pytest.raises(OutcomeUnknownError) as raised:
            await neto.add_customer_log(CustomerLog(notes="once"))

    assert isinstance(raised.value.fate, Unknown)
    assert ["once"] == [log.notes for log in store.logs]


def _fault(name: str) -> Any:
    if name == "reset_after_saving":
        return faults.Reset(saves=True)
    return faults.Close(saves=True)


async def test_refused_key_halts(store: NetoSandbox, connect: Any) -> None:
    """After one refusal of the key nothing more is sent."""
    neto = await connect(store, api_key="wrong")

    for _ in range(3):
        with pytest.raises(AuthenticationError):
            await neto.add_customer_log(CustomerLog(notes="x"))

    assert (1, True, 0) == (len(store.calls), neto.statistics().halted, len(store.logs))


async def test_import_streams_with_bounded_memory(store: NetoSandbox, connect: Any) -> None:
    """A source is never read more than a few batches ahead of the outcomes that were taken."""
    neto = await connect(store, batch_size=10, max_concurrency=2)
    read = 0

    def source() -> Any:
        nonlocal read
        for read in range(2000):
            yield {"Notes": str(read)}

    ahead = []
    async with neto.import_customer_logs(source()) as run:
        taken = 0
        async for outcome in run:
            assert isinstance(outcome, Added)
            taken += 1
            ahead.append(read - taken)

    assert (2000, 2000) == (taken, len(store.logs))
    assert max(ahead) <= 10 * (2 + 2 + 2 + 2)


async def test_leaving_early_keeps_what_is_known(store: NetoSandbox, connect: Any) -> None:
    """After the block is left, every record that was read has its outcome: taken, or in ``unread``."""
    neto = await connect(store, batch_size=5)

    async with neto.import_customer_logs({"Notes": str(number)} for number in range(500)) as run:
        first = await anext(aiter(run))
    outcomes = [first, *run.unread]

    assert list(range(run.progress.taken)) == sorted(outcome.index for outcome in outcomes)
    assert {log.log_id for log in store.logs} == {o.log_id for o in outcomes if isinstance(o, Added)}


async def test_source_that_raises(store: NetoSandbox, connect: Any) -> None:
    """An exception of a bulk add's source is raised with a report on what was read; it pickles."""
    neto = await connect(store)

    def source() -> Any:
        yield from ({"Notes": str(number)} for number in range(7))
        raise LookupError("gone")

    with pytest.raises(BulkSourceError, match="LookupError") as raised:
        await neto.add_customer_logs(source())

    assert (7, 7) == (len(store.logs), len(raised.value.report.added))
    assert ("gone", False) == (*raised.value.__cause__.args, raised.value.safe_to_resend)
    assert raised.value.report == pickle.loads(pickle.dumps(raised.value)).report


@FORMATS
async def test_nothing_secret_leaks(connect: Any, wire_format: str, caplog: pytest.LogCaptureFixture) -> None:
    """Key, notes, context and Neto's own words appear in no log record, error text, repr or traceback."""
    caplog.set_level(logging.DEBUG)
    store = await connect.enter(NetoSandbox(api_key="CANARY-key", requests_per_minute=None))
    store.refuse_when(lambda fields: "refused" in (fields.get("Notes") or ""))
    neto = await connect(store, wire_format=wire_format)
    wrong_key = await connect(store, wire_format=wire_format, api_key="CANARY-wrong")
    store.faults.when(lambda request: request.contains("broken"), faults.Reset(saves=True))
    seen = [repr(neto), repr(wrong_key)]

    for client, text in [(neto, "refused"), (neto, "broken"), (wrong_key, "fine"), (neto, "bad\x00")]:
        with pytest.raises(NetoError) as raised:
            await client.add_customer_log({"Notes": f"CANARY {text}"}, context="CANARY")
        seen += [repr(raised.value), repr(raised.value.fate), "".join(traceback.format_exception(raised.value))]
    with pytest.raises(RejectedError):
        await neto.add_customer_log(CustomerLog(notes="CANARY refused"))

    printed = "\n".join([*seen, caplog.text, *(str(record.__dict__) for record in caplog.records)])
    # A traceback shows the lines of this test, which has the word.
    assert [] == [line for line in printed.splitlines() if "CANARY" in line and line.strip() not in OWN_LINES]


async def test_flush_covers_bulk_adds(store: NetoSandbox, connect: Any) -> None:
    """A flush waits for all that a bulk add was handed, read or not, and for no longer than it may."""
    neto = await connect(store, batch_size=5)
    adding = asyncio.create_task(neto.add_customer_logs([{"Notes": str(number)} for number in range(300)]))
    await asyncio.sleep(0)

    too_short = await neto.flush(timeout=0.0)
    report = await neto.flush()

    assert (False, True, 300) == (too_short.drained, report.drained, len(store.logs))
    assert 300 == len((await adding).added)
