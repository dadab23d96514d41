"""
One random schedule of use and of faults for each seed, and the comparison of all outcomes with the store's ledger.

``python tests/simulation/simulate.py SEED`` replays one and shows what happened; with a second number it plays all
from the first up to that one, and counts.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "sending"))

from callers import Callers, Handed
from faulty_store import Fate, FaultyStore, OddError, utcnow
from virtual import run
from watch import Watch, owner_of

from neto_async import Added, AsyncNetoClient, Invalid, NotSent, Outcome, Rejected, Unknown
from neto_async.outcomes import NotSentCause
from neto_async.sending.clock import LoopClock
from neto_async.sending.engine import Engine
from neto_async.sending.quota import quota_for

__all__ = ["simulate"]


class _Clock(LoopClock):
    """The virtual loop's seconds, and a time of day that goes with them."""

    def utcnow(self) -> Any:
        return utcnow()


class Schedule:
    """One random program over one random network."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(f"{seed} settings")
        self.chance = random.Random(f"{seed} cancelling")
        rough_store, self.rough = self.draw.random() < 0.2, self.draw.random() < 0.2
        wire_format = self.draw.choice(["json", "xml"])
        self.store = FaultyStore(random.Random(f"{seed} network"), wire_format, rough=rough_store)
        self.neto = self.client(seed)
        self.callers = Callers(random.Random(f"{seed} callers"), self.neto._settings, rough=self.rough)
        self.callers.neto, self.callers.watch = self.neto, self.watch
        self.errors: list[Any] = []  # what reached the loop's handler
        self.tasks: list[asyncio.Task[None]] = []
        self.cancelled: set[asyncio.Task[None]] = set()
        self.victims: list[asyncio.Task[None]] = []  # those that may be cancelled
        self.cancelling = self.draw.choice([0.0, 0.0, 0.1, 0.5] if self.rough else [0.0, 0.0, 0.0, 0.01])

    def client(self, seed: int) -> AsyncNetoClient:
        """Make a real client whose engine runs on virtual time, and whose calls and quota are watched."""
        draw = self.draw
        neto = AsyncNetoClient(
            "http://localhost",
            api_key="key",
            wire_format=self.store.wire_format,
            http_client=self.store.client(),
            batch_size=draw.choice([1, 2, 3, 7, 25, 100]),
            max_batch_bytes=draw.choice([300, 700, 3_000, 1_000_000]),
            max_concurrency=draw.choice([1, 2, 4, 9]),
            requests_per_minute=draw.choice([None, 400, 60, 7] + [1, 0.4] * self.rough),
            timeout=draw.choice([20.0, 60.0] + [1.0] * self.rough),
            give_up_after=draw.choice([100.0, 300.0] + [2.0] * self.rough),
            isolate_rejections=draw.random() < 0.8,
        )
        neto._transport._owned = draw.random() < 0.5  # closing it breaks its calls, as with a client of its own
        quota = quota_for(neto._settings.requests_per_minute)
        self.watch = Watch(random.Random(f"{seed} transport"), neto._settings, self.store, neto._transport, quota)
        jitter = random.Random(f"{seed} jitter").random
        neto._engine = Engine(neto._settings, self.watch, clock=_Clock(), quota=self.watch, jitter=jitter)
        return neto

    # -- playing ------------------------------------------------------------------------------------------------

    async def play(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.watch.on_end = self.at_the_end_of_a_call
        for work in self.callers.works():
            task = loop.create_task(self.program(work()))
            self.tasks.append(task)
            if self.chance.random() < 0.5 and self.cancelling:
                self.victims.append(task)
                if self.chance.random() < 0.6:
                    loop.call_later(self.chance.choice([0, 1, 10, 100]) * self.chance.random(), self.cancel, task)
        await asyncio.wait(self.tasks)
        await self.callers.close(30.0)
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(left)
        self.counted = self.neto.statistics()
        for task in self.tasks:
            if not task.cancelled():
                task.result()

    async def program(self, work: Any) -> None:
        try:
            await work
        except asyncio.CancelledError:
            if asyncio.current_task() not in self.cancelled:
                raise AssertionError("a caller got a cancellation that nobody asked for") from None

    def at_the_end_of_a_call(self) -> None:
        """Cancel someone now and then, up to some turns of the loop from the end of a call."""
        if self.victims and self.chance.random() < self.cancelling:
            self.after_turns(self.chance.randrange(5), self.chance.choice(self.victims))

    def after_turns(self, turns: int, task: asyncio.Task[None]) -> None:
        if turns == 0:
            self.cancel(task)
        else:
            asyncio.get_running_loop().call_soon(self.after_turns, turns - 1, task)

    def cancel(self, task: asyncio.Task[None]) -> None:
        self.cancelled.add(task)
        self.callers.note_cancelled(task)
        task.cancel()

    # -- comparing ----------------------------------------------------------------------------------------------

    def check(self) -> Counter[str]:
        odd = [context for context in self.errors if not isinstance(context.get("exception"), OddError)]
        assert [] == odd, "an exception that reached the event loop"
        for broken in self.store.broken:
            raise broken
        assert 0 == self.watch.under_way
        twice = [text for text, ids in self.store.ledger.items() if len(ids) > 1]
        assert [] == twice, "saved twice"
        self.watch.hold_window()
        for handed in self.callers.records:
            self.check_record(handed)
        return self.check_statistics()

    def check_record(self, handed: Handed) -> None:
        reported = handed.outcomes
        assert len(reported) == 1 or (not reported and (handed.unheard or not handed.handed_in)), (
            f"{handed.text}: {reported}"
        )
        if not handed.handed_in:
            assert not self.watch.attempts[handed.text], f"{handed.text}: sent, and was never read"
        for outcome in reported:
            self.check_outcome(handed, outcome)

    def check_outcome(self, handed: Handed, outcome: Outcome) -> None:
        """Compare an outcome with what the store did in the last call that left with the record."""
        text = handed.text or ""
        log_ids = self.store.ledger.get(text, [])
        said = f"{text}: reported {outcome}; the store: {log_ids}, {self.known(text)}"
        match outcome:
            case Added():
                assert [outcome.log_id] == log_ids, said
                assert self.known(text) is Fate.ADDED, said
            case Unknown():
                assert self.known(text) is Fate.UNKNOWABLE, said
            case Invalid():
                assert not log_ids, said
                never_left = handed.flaw in {"invalid", "long"} and not self.watch.left[text]
                assert handed.flaw == "moody" or never_left, said
            case Rejected():
                assert not log_ids, said
                self.check_rejected(text, said)
            case NotSent(cause=cause):
                assert not log_ids, said
                assert handed.flaw != "invalid", said
                self.check_not_sent(text, said)
                assert self.explains(cause, handed), said
                assert (outcome.retry_after is not None) == (cause is NotSentCause.RATE_LIMITED), said
        assert outcome.safe_to_resend is not bool(log_ids) or isinstance(outcome, Unknown), said
        assert not (outcome.safe_to_resend and self.known(text) is Fate.UNKNOWABLE), said
        if not isinstance(outcome, Invalid):
            assert self.watch.attempts[text] == len(outcome.attempts), said

    def known(self, text: str) -> Fate | None:
        last = self.watch.last.get(text)
        return None if last is None else last.fate

    def check_rejected(self, text: str, said: str) -> None:
        fate, alone = self.known(text), len(self.watch.last[text].texts) == 1 if text in self.watch.last else False
        if fate is Fate.REFUSED:
            assert alone or not self.neto._settings.isolate_rejections, said
        else:
            assert alone, said
            assert fate in {Fate.TOO_LARGE, Fate.BLOCKED}, said

    def check_not_sent(self, text: str, said: str) -> None:
        fate, alone = self.known(text), len(self.watch.last[text].texts) == 1 if text in self.watch.last else False
        assert fate not in {Fate.ADDED, Fate.UNKNOWABLE}, said
        if fate is Fate.REFUSED:
            assert not alone, said
            assert self.neto._settings.isolate_rejections, said
        if fate is Fate.TOO_LARGE:
            assert not alone, said

    def explains(self, cause: NotSentCause, handed: Handed) -> bool:
        """Say whether what happened is a reason of this kind for a record not to be sent."""
        owner = owner_of(handed.text or "")
        seen = Counter(delivery.fate for delivery in self.watch.deliveries)
        mine = {delivery.fate for delivery in self.watch.deliveries if owner_of(delivery.texts[0]) == owner}
        return {
            NotSentCause.CLOSED: self.watch.closing,
            NotSentCause.KEY_REFUSED: Fate.KEY_REFUSED in seen,
            NotSentCause.RATE_LIMITED: Fate.LIMITED in seen,
            NotSentCause.GAVE_UP: Fate.NEVER_LEFT in mine
            if owner != "s"
            else handed.ran_out or Fate.NEVER_LEFT in seen,
            NotSentCause.WRONG_ADDRESS: bool(mine & {Fate.BLOCKED, Fate.REDIRECTED}),
            NotSentCause.REFUSED_WHOLE: bool(mine & {Fate.REFUSED, Fate.TOO_LARGE, Fate.BLOCKED}),
            NotSentCause.IN_DOUBT: owner != "s" and seen[Fate.UNKNOWABLE] >= 3,
            NotSentCause.TOO_MANY_REJECTED: bool(mine & {Fate.REFUSED, Fate.TOO_LARGE, Fate.BLOCKED}),
            NotSentCause.STOPPED: owner in self.callers.left_early,
        }[cause]

    def check_statistics(self) -> Counter[str]:
        """Hold that the client's own counts are those of its callers and of the store."""
        counted = self.counted
        assert (0, 0, 0, None) == (
            counted.in_flight,
            counted.waiting_single,
            counted.waiting_import,
            counted.waiting_on,
        )
        assert len(self.watch.deliveries) == counted.calls
        reported = Counter(type(outcome).__name__ for handed in self.callers.records for outcome in handed.outcomes)
        counts = Counter(
            Added=counted.added,
            Rejected=counted.rejected,
            Invalid=counted.invalid,
            NotSent=counted.not_sent,
            Unknown=counted.unknown,
        )
        fates = Counter(self.known(handed.text) for handed in self.callers.records if handed.text)
        assert (fates[Fate.ADDED], fates[Fate.UNKNOWABLE]) == (counted.added, counted.unknown), "counts not the store's"
        unheard = sum(1 for handed in self.callers.records if handed.handed_in and not handed.outcomes)
        for name in reported.keys() | counts.keys():
            heard = reported[name] + counted.unawaited.get(name, 0)
            assert heard <= counts[name] <= heard + unheard, f"{name}: reported {reported}, counted {counted}"
        for name, fate in (("Added", Fate.ADDED), ("Unknown", Fate.UNKNOWABLE)):
            lost = [
                handed
                for handed in self.callers.records
                if not handed.outcomes and self.known(handed.text or "") is fate
            ]
            assert len(lost) == counted.unawaited.get(name, 0), f"{name}: an outcome that nobody counted"
        causes = [
            outcome.cause.name
            for handed in self.callers.records
            for outcome in handed.outcomes
            if hasattr(outcome, "cause")
        ]
        return reported + Counter(causes)


def simulate(seed: int, *, aloud: bool = False) -> Counter[str]:
    """Play one schedule, compare, and count outcomes and causes; where it fails, say how to play it again."""
    log = logging.getLogger("neto_async")
    level = log.level
    log.setLevel(logging.CRITICAL)
    schedule = Schedule(seed)
    try:
        run(schedule.play)
        reported = schedule.check()
    except BaseException:
        print(*schedule.watch.tape[-60:], sep="\n")  # noqa: T201 - shown by pytest for a failing test alone
        print(f"replay it: python tests/simulation/simulate.py {seed}")  # noqa: T201
        raise
    finally:
        log.setLevel(level)
    if aloud:
        print(*schedule.watch.tape, sep="\n")  # noqa: T201
    return reported + Counter(calls=len(schedule.watch.deliveries))


def main(first: int, last: int | None = None) -> None:
    began = time.perf_counter()
    total: Counter[str] = Counter()
    for seed in range(first, first + 1 if last is None else last):
        total += simulate(seed, aloud=last is None)
    records = sum(total[kind.__name__] for kind in (Added, Rejected, Invalid, NotSent, Unknown))
    for name, count in total.most_common():
        print(f"{name:18} {count:9}" + ("" if name == "calls" else f" {count / records:7.1%}"))  # noqa: T201
    print(f"{time.perf_counter() - began:.1f} s")  # noqa: T201


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
