"""What does an answer cost? From the bytes of a whole reply to an outcome for each record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial

import msgspec

from benchmarks import by_hand, store
from benchmarks.measuring import Answer, Target, take_turns, timed_calls
from benchmarks.records import make_logs
from neto_async import Added, Outcome
from neto_async.wire import ADD_CUSTOMER_LOG

BATCH = 100
LIMITS = {"json": 1.6, "xml": 1.3}
NOW = datetime(2026, 11, 5, tzinfo=timezone.utc)


class Entry(msgspec.Struct):
    """One id of an answer, as msgspec reads it."""

    log_id: str = msgspec.field(name="LogID")


class Reply(msgspec.Struct):
    """An answer of the one shape that this benchmark's store sends."""

    ack: str = msgspec.field(name="Ack")
    entries: list[Entry] = msgspec.field(name="CustomerLog")


def ours(batch: Sequence[by_hand.Numbered], headers: dict[str, str], body: bytes) -> list[Outcome]:
    """Judge the answer, and make the outcomes as the engine does."""
    verdict = ADD_CUSTOMER_LOG.judge(200, headers, body, len(batch), now=NOW)
    return [
        Added(index=index, record=log, context=None, attempts=(), log_id=log_id, warnings=verdict.warnings)
        for (index, log), log_id in zip(batch, verdict.log_ids, strict=True)
    ]


def with_msgspec(batch: Sequence[by_hand.Numbered], body: bytes) -> list[Outcome]:
    """Read the answer into a class of its shape."""
    reply = msgspec.json.decode(body, type=Reply)
    return [
        Added(index=index, record=log, log_id=int(entry.log_id))
        for (index, log), entry in zip(batch, reply.entries, strict=True)
    ]


def measure(*, quick: bool) -> list[Answer]:
    """Read answers to calls of a hundred logs."""
    return [answer_in(codec, quick=quick) for codec in (by_hand.JSON, by_hand.XML)]


def answer_in(codec: by_hand.Codec, *, quick: bool) -> Answer:
    """Measure one format."""
    rounds, times = (2, 1) if quick else (31, 20)
    batch = list(enumerate(make_logs(BATCH)))
    whole = store.answer(BATCH, xml=codec is by_hand.XML)
    body = whole[whole.index(store.HEAD_END) + len(store.HEAD_END) :]
    readers: dict[str, Callable[[], list[Outcome]]] = {
        "neto_async": partial(ours, batch, {"Content-Type": f"application/{codec.name}"}, body),
        "parser, outcomes by hand": partial(by_hand.outcomes_of, batch, 200, body, codec),
    }
    if codec is by_hand.JSON:
        readers["msgspec, outcomes by hand"] = partial(with_msgspec, batch, body)
    if len({tuple(read()) for read in readers.values()}) != 1:
        raise RuntimeError("the outcomes differ, so their times can't be compared")
    what, peer = f"reply to outcomes, {codec.name}", "parser, outcomes by hand"
    return Answer(
        title=f"Read the answer to {BATCH} logs in {codec.name.upper()}",
        unit="µs CPU a record",
        samples=asyncio.run(
            take_turns({name: timed_calls(read, BATCH, times) for name, read in readers.items()}, rounds)
        ),
        targets=[Target(what=what, ours="neto_async", peer=peer, limit=LIMITS[codec.name])],
    )
