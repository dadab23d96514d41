"""Nothing secret is printed: no log record, text, repr or traceback holds a key, a text, Neto's words or a context."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from scripted import Network, answers, breaks, client, error, gives_ids, never_leaves, says
from virtual import run

from neto_async import CustomerLog, NetoError
from neto_async.outcomes import NotSentCause
from neto_async.sending import exchange, quota, records, stopping

CANARY = "s3cr3t"


class Context:
    """A caller's own object, whose repr would tell."""

    def __repr__(self) -> str:
        return f"{CANARY} context"


async def echoes(network: Network, body: Any) -> Any:
    """Refuse with words that echo what was sent, as Neto's do."""
    return error(", ".join(await network.receive(body)))


async def raises(network: Network, body: Any) -> Any:
    await network.receive(body)
    raise ValueError(f"{CANARY} in an exception's text")


async def refuses_key_once(network: Network, body: Any) -> Any:
    body.key_refused = lambda: True
    return await answers(401, **{CANARY: CANARY})(network, body)


FAULTS: dict[str, Any] = {
    "added": gives_ids(list),
    "warned": gives_ids(list, Messages={"Warning": {"Message": f"{CANARY} warning", "SeverityCode": "Warning"}}),
    "refused": echoes,
    "request error": says(f"Request Error {CANARY}"),
    "key refused": answers(401, **{CANARY: CANARY}),
    "key refused once": refuses_key_once,
    "paused": answers(429, retry_after="5000"),
    "too large": answers(413),
    "redirect": answers(302, location=f"https://{CANARY}/"),
    "blocked": answers(403),
    "broken": answers(502),
    "reset": breaks(saving=True),
    "fewer ids": gives_ids(lambda ids: ids[1:]),
    "more ids": gives_ids(lambda ids: [*ids, 99], Messages={"Error": {"Message": CANARY, "SeverityCode": "Error"}}),
    "never left": never_leaves,
    "raised": raises,
}
QUIET = {"neto_call", "neto_records", "neto_status", "neto_index", "neto_outcome", "neto_calls", "neto_pause"}
QUIET |= {"neto_cause", "neto_failure", "neto_in_flight", "neto_not_sent"}


def _shown(thing: Any) -> Iterator[str]:
    """Show an object in every way that a program might print it."""
    yield repr(thing)
    yield str(thing)
    if isinstance(thing, BaseException):
        yield from traceback.format_exception(thing)


def _logged(records: list[logging.LogRecord]) -> Iterator[str]:
    for record in records:
        yield record.getMessage()
        yield repr(record.args)
        yield repr(record.exc_info)
        yield repr({name: value for name, value in vars(record).items() if name.startswith("neto")})


async def _single(neto: Any, text: str, things: list[Any]) -> None:
    try:
        things.append(await neto.add_customer_log(CustomerLog(notes=text), context=Context(), give_up_after=40.0))
    except NetoError as raised:
        things.append(raised)
        things.append(raised.fate)


async def _everything(network: Network, things: list[Any]) -> None:
    async with client(network, api_key=f"{CANARY}-key", batch_size=3, give_up_after=40.0) as neto:
        cancelled = asyncio.ensure_future(_single(neto, f"{CANARY} cancelled", things))
        works = [_single(neto, f"{CANARY} {number}", things) for number in range(4)]
        rows = [({"Notes": f"{CANARY} {number}", "Username": CANARY}, Context()) for number in range(9)]
        bulk = asyncio.ensure_future(neto.add_customer_logs([*rows, {"Notes": 5, CANARY: CANARY}, CANARY]))
        await asyncio.sleep(0.1)
        cancelled.cancel()
        things += [neto, neto.statistics(), neto._settings, neto._engine, *neto._engine.unsettled()]
        await asyncio.gather(*works)
        report = await bulk
        things += [report, *report.outcomes, *(attempt for it in report.outcomes for attempt in it.attempts)]
        try:
            report.raise_for_problems()
        except ExceptionGroup as group:
            things.append(group)
        imported = neto.import_customer_logs(rows)
        async with imported:
            async for outcome in imported:
                things.append(outcome)
        things += [imported, imported.progress, imported._lane]
    things.append(await neto.aclose())


@pytest.mark.parametrize("fault", list(FAULTS))
def test_nothing_secret_is_printed(fault, caplog):
    """Over each fault, alone and after a success, everything printable is free of keys, texts, words and contexts."""
    caplog.set_level(logging.DEBUG)
    for script in ([], [FAULTS["added"]] * 2):
        things: list[Any] = []
        network = Network(always=FAULTS[fault])
        network.script += script
        run(lambda network=network, things=things: _everything(network, things))
        assert len(things) > 20
        assert [] == [text for thing in things for text in _shown(thing) if CANARY in text]
    assert [] == [text for text in _logged(caplog.records) if CANARY in text]
    assert caplog.records


@pytest.mark.parametrize("fault", list(FAULTS))
def test_log_records_carry_their_facts_as_fields(fault, caplog):
    """Each log record of the engine carries its facts as fields of known names, for programs that read logs."""
    caplog.set_level(logging.DEBUG)
    things: list[Any] = []

    run(lambda: _everything(Network(always=FAULTS[fault]), things))

    own = [record for record in caplog.records if record.name == "neto_async"]
    fields = [{name for name in vars(record) if name.startswith("neto")} for record in own]
    assert [] == [record.getMessage() for record, names in zip(own, fields, strict=True) if not names]
    assert set().union(*fields) <= QUIET
    assert any(record.levelno == logging.DEBUG and record.neto_call == 1 for record in own)


def test_the_engines_own_objects_show_no_texts():
    """Entries, parts, roots, stops, bodies and replies show no text in their repr."""
    pending = records.PendingRecord(index=0, record=CustomerLog(notes=CANARY), context=Context())
    batch = records.Batch(1, 1, texts={(CANARY,)})
    stop = stopping.Stop(cause=NotSentCause.REFUSED_WHOLE, reason=CANARY)
    reply = exchange.HttpReply(status=200, headers={CANARY: CANARY}, body=CANARY.encode())
    things = [pending, batch, stop, reply, exchange.OutgoingBody(CANARY.encode()), records.BatchPart([pending], batch)]

    assert "" == "".join(text for text in map(repr, [*things, quota.Window(5)]) if CANARY in text)
