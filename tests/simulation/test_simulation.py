"""Random schedules of use and of faults, each replayable by its seed; outcomes are compared with the store's ledger."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
from scripted import Network, answers, client, error, never_leaves, reply, saves, says, with_ids
from virtual import run

from neto_async import Added, CustomerLog, Invalid, NetoError, NotSent, Outcome, Rejected, Unknown
from neto_async.sending.exchange import Failure, OutgoingBody, Reply

FAULTS = ("never", "drop", "drop saved", "429", "500", "500 saved", "fewer", "unreadable", "413", "403", "key")
SEEDS = 200
SLOW_SEEDS = 20_000


class FaultyNetwork(Network):
    """A network that draws a fault for some of its calls, and notes whose fate it made unknowable."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self.draw = draw
        self.share = draw.choice([0.0, 0.05, 0.3, 0.7])
        self.faults = draw.sample(FAULTS, draw.randint(1, len(FAULTS)))
        self.slowest = draw.choice([0.01, 1.0, 40.0])

    async def call(self, body: OutgoingBody) -> Reply | Failure:
        self.tried += 1
        self.latency = self.draw.random() * self.slowest
        if self.draw.random() >= self.share:
            return await saves(self, body)
        return await self.fail(self.draw.choice(self.faults), body)

    async def fail(self, fault: str, body: OutgoingBody) -> Reply | Failure:
        plain = {
            "never": never_leaves,
            "429": answers(429, **self.draw.choice([{}, {"retry_after": "3"}, {"retry_after": "4000"}])),
            "413": answers(413),
            "403": answers(403),
            "key": says("Invalid API Key"),
        }
        if fault in plain:
            return await plain[fault](self, body)
        notes = await self.receive(body)
        if any("poison" in text for text in notes):
            return error("bad record")
        self.doubt.update(notes)
        ids = self.save(notes) if fault in {"drop saved", "500 saved", "fewer", "unreadable"} else []
        if fault.startswith("drop"):
            return Failure(name="ReadError")
        if fault.startswith("500"):
            return reply({}, 500)
        return with_ids(ids[1:]) if fault == "fewer" else Reply(status=200, headers={}, body=b"<html>")


class Schedule:
    """One random program over one random network."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.network = FaultyNetwork(self.draw)
        self.outcomes: dict[str, list[Outcome]] = {}
        self.cancelled: set[str] = set()
        self.made = 0

    def text(self) -> str:
        self.made += 1
        text = f"{'poison' if self.draw.random() < 0.04 else 'fine'} {self.made}"
        self.outcomes[text] = []
        return text

    def texts(self) -> list[str]:
        return [self.text() for _ in range(self.draw.choice([1, 3, 20, 150]))]

    async def single(self, neto: Any, text: str) -> None:
        await asyncio.sleep(self.draw.random() * 5)
        try:
            outcome = await neto.add_customer_log(CustomerLog(notes=text), give_up_after=self.draw.choice([1, 30, 500]))
        except NetoError as raised:
            assert raised.fate is not None  # noqa: PT017
            outcome = raised.fate
        self.outcomes[text].append(outcome)

    async def cancelled_single(self, neto: Any, text: str) -> None:
        self.cancelled.add(text)
        task = asyncio.ensure_future(self.single(neto, text))
        await asyncio.sleep(self.draw.random() * 8)
        task.cancel()
        await asyncio.wait({task})

    async def bulk(self, neto: Any, texts: list[str]) -> None:
        await asyncio.sleep(self.draw.random() * 5)
        report = await neto.add_customer_logs([{"Notes": text} for text in texts])
        self.note(texts, report.outcomes)

    async def imported(self, neto: Any, texts: list[str]) -> None:
        taken = []
        enough = self.draw.choice([5, 10_000])
        async with neto.import_customer_logs([{"Notes": text} for text in texts]) as run:
            async for outcome in run:
                taken.append(outcome)
                await asyncio.sleep(self.draw.choice([0, 0, 0.2]))
                if len(taken) >= enough:
                    break
        taken += run.unread
        assert list(range(run.progress.taken)) == sorted(outcome.index for outcome in taken)
        for text in texts[run.progress.taken :]:
            del self.outcomes[text]  # never read
        self.note(texts, taken)

    def note(self, texts: list[str], outcomes: Any) -> None:
        for outcome in outcomes:
            self.outcomes[texts[outcome.index]].append(outcome)

    async def play(self) -> None:
        neto = client(
            self.network,
            batch_size=self.draw.choice([1, 7, 100]),
            max_concurrency=self.draw.choice([1, 2, 4]),
            requests_per_minute=self.draw.choice([None, 30, 400]),
            isolate_rejections=self.draw.random() < 0.8,
            give_up_after=self.draw.choice([5, 100]),
        )
        works = []
        for _ in range(self.draw.randint(1, 30)):
            kind = self.draw.choice(["single", "single", "cancelled", "bulk", "import"])
            if kind in {"single", "cancelled"}:
                works.append((self.single if kind == "single" else self.cancelled_single)(neto, self.text()))
            else:
                works.append((self.bulk if kind == "bulk" else self.imported)(neto, self.texts()))
        tasks = [asyncio.ensure_future(work) for work in works]
        if self.draw.random() < 0.5:
            await asyncio.sleep(self.draw.random() * 20)
            await neto.aclose(timeout=self.draw.choice([0.5, 30.0]))
        await asyncio.gather(*tasks)
        await neto.aclose()

    def check(self) -> None:
        saved = Counter(notes for _, notes in self.network.ledger)
        ids = {notes: log_id for log_id, notes in self.network.ledger}
        assert [] == [text for text, count in saved.items() if count > 1], "saved twice"
        for text, outcomes in self.outcomes.items():
            assert len(outcomes) == 1 or (not outcomes and text in self.cancelled), f"{text}: {outcomes}"
            for outcome in outcomes:
                self.check_one(text, outcome, ids.get(text))

    def check_one(self, text: str, outcome: Outcome, log_id: int | None) -> None:
        match outcome:
            case Added():
                assert log_id == outcome.log_id, text
            case Rejected() | Invalid() | NotSent():
                assert log_id is None, f"{text}: {outcome}, and yet it was saved"
            case Unknown():
                assert text in self.network.doubt, f"{text}: {outcome}, and yet it could be known"


def simulate(seed: int) -> None:
    schedule = Schedule(seed)
    try:
        run(schedule.play)
        schedule.check()
    except BaseException:
        print(f"replay it: simulate({seed})")  # noqa: T201 - shown by pytest for a failing test alone
        raise


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_every_outcome_is_true(first):
    """Whatever the network does, each record has one outcome and it is true of the store's ledger."""
    for seed in range(first, first + 20):
        simulate(seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_outcome_is_true_for_long():
    """The same law over many more schedules."""
    for seed in range(SEEDS, SLOW_SEEDS):
        simulate(seed)
