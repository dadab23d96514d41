"""Random programs: what they submit, from which sources, when they are cancelled, and what they learn."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any

from attrs import define, field
from faulty_store import StrangeError, now

from neto_async import AsyncNetoClient, BulkSourceError, ConfigurationError, CustomerLog, NetoError, Outcome
from neto_async.sending.calls import GRACE
from neto_async.settings import Settings

if TYPE_CHECKING:
    from watch import Watch

__all__ = ["Callers", "Handed"]

PATIENCE = 1e-3
"""Seconds that floats and turns of the loop may add to a deadline."""


class Moody(tzinfo):
    """A zone that answers when its log is made, and now and then not when it is sent."""

    def __init__(self, fails: Any) -> None:
        self.fails = fails
        self.armed = False

    def utcoffset(self, moment: datetime | None) -> timedelta:
        if self.armed and self.fails():
            raise StrangeError
        return timedelta(0)

    def tzname(self, moment: datetime | None) -> str:
        return "moody"

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)


@define(eq=False)
class Handed:
    """
    A record that a program has for the client.

    Attributes:
        text: What its notes are; None for one that makes no valid log.
        item: As the source yields it.
        context: What comes back with its outcome.
        flaw: What is wrong with it, "" for nothing.
        handed_in: It reached the client.
        outcomes: What the program learned.
        unheard: Its caller was cancelled, or got an exception: it may have been said nothing.
        ran_out: Its caller's patience was over when it learned of it.
    """

    text: str | None
    item: Any
    context: Any
    flaw: str
    handed_in: bool = False
    outcomes: list[Outcome] = field(factory=list)
    unheard: bool = False
    ran_out: bool = False

    def said(self, outcome: Outcome) -> None:
        assert self.context is outcome.context
        if isinstance(outcome.record, CustomerLog):
            assert self.text == outcome.record.notes
        self.outcomes.append(outcome)


class Listed:
    """A source that knows its length, as a list does, and notes what was read of it."""

    def __init__(self, records: list[Handed]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Any]:
        for handed in self.records:
            handed.handed_in = True
            yield handed.item


INVALID: tuple[Any, ...] = ({"Notes": 5}, {"Bogus": "x"}, {}, {"notes": "\x00"}, {"Notes": "a", "notes": "b"}, 42, None)


class Callers:
    """
    One program: some callers of one client, and what became of their records.

    Args:
        draw: Decides.
        settings: Those of the client.
        rough: Callers break off and close early, and hand in much that is bad; else they do as in a week of use.
    """

    def __init__(self, draw: random.Random, settings: Settings, *, rough: bool) -> None:
        self.draw = draw
        self.rough = rough
        self.settings = settings
        self.watch: Watch
        self.neto: AsyncNetoClient
        self.records: list[Handed] = []
        self.runs = 0
        self.left_early: set[str] = set()  # runs that were broken off or stopped by their callers
        self.singles: dict[Any, Handed] = {}  # by the task that adds it
        self.rates = {
            "poison": draw.choice([0, 0.02] + [0, 0.3, 1.0] * rough) if draw.random() < 0.5 else 0,
            "firewalled": draw.choice([0, 0, 0.02] + [0.3] * rough),
            "long": draw.choice([0, 0, 0.05]),
            "moody": draw.choice([0, 0, 0.05] + [0.5] * rough),
            "invalid": draw.choice([0, 0.1]),
        }

    # -- what is submitted --------------------------------------------------------------------------------------

    def record(self, owner: str) -> Handed:
        flaw = next((flaw for flaw, rate in self.rates.items() if self.draw.random() < rate), "")
        context = self.draw.choice([None, object()])
        text = None if flaw == "invalid" else f"{owner}/{len(self.records)} {flaw or 'fine'} <&é>"
        if flaw == "long":
            text = f"{text} {'x' * self.settings.max_batch_bytes}"
        item = self.draw.choice(INVALID) if text is None else self.item(text, flaw)
        handed = Handed(text, item if context is None else (item, context), context, flaw)
        self.records.append(handed)
        return handed

    def item(self, text: str, flaw: str) -> Any:
        if flaw == "moody":
            always = self.draw.random() < 0.5
            # Not through self: the garbage collector passes datetimes by, and would never see the cycle.
            draw = self.draw
            zone = Moody(lambda: always or draw.random() < 0.5)
            log = CustomerLog(notes=text, last_contacted=datetime(2026, 11, 5, tzinfo=zone))
            zone.armed = True
            return log
        more = {"last_contacted": datetime(2026, 11, 5, tzinfo=timezone.utc)} if self.draw.random() < 0.1 else {}
        mappings = [{"Notes": text}, {"notes": text, "Status": "Completed"}]
        return self.draw.choice([CustomerLog(notes=text, **more), *mappings])

    def some(self, owner: str) -> list[Handed]:
        size = self.settings.batch_size
        return [self.record(owner) for _ in range(self.draw.choice([0, 1, 2, 5, 20, 70, 3 * size, 9 * size]))]

    def source(self, records: list[Handed], *, finite: bool) -> tuple[Any, type[BaseException] | None]:
        """Give a source of the records, and what it raises at last."""
        raises = self.draw.choice([StrangeError, OSError]) if self.draw.random() < self.seldom(0.15) else None
        kind = self.draw.choice(["list", "sync", "async", "slow"] + ([] if finite else ["idle"]))
        if kind == "list":
            return Listed(records), None
        if kind == "sync":
            return self.pulled(records, raises), raises
        return self.awaited(records, raises, kind), raises

    def pulled(self, records: list[Handed], raises: type[BaseException] | None) -> Iterator[Any]:
        for handed in records:
            handed.handed_in = True
            yield handed.item
        if raises is not None:
            raise raises

    async def awaited(self, records: list[Handed], raises: Any, kind: str) -> AsyncIterator[Any]:
        longest = self.draw.choice([0.0, 0.05, 2.0]) if kind == "slow" else 0.0
        try:
            for handed in records:
                await asyncio.sleep(self.draw.random() * longest)
                handed.handed_in = True
                yield handed.item
            if kind == "idle":
                await asyncio.get_running_loop().create_future()
        finally:
            if self.draw.random() < 0.2:
                await asyncio.sleep(self.draw.random())
        if raises is not None:
            raise raises

    def seldom(self, rate: float) -> float:
        return rate if self.rough else rate / 10

    async def wait_to_begin(self) -> None:
        await asyncio.sleep(self.draw.random() * self.draw.choice([0, 0, 1, 5, 5 if self.rough else 600]))

    # -- single adds --------------------------------------------------------------------------------------------

    async def single(self) -> None:
        handed = self.record("s")
        await self.wait_to_begin()
        give_up_after = self.draw.choice([None, 30, 500] + [0.05, 1] * self.rough)
        item = handed.item if handed.context is None else handed.item[0]
        handed.handed_in = True
        self.singles[asyncio.current_task()] = handed
        began = now()
        try:
            handed.said(await self.neto.add_customer_log(item, context=handed.context, give_up_after=give_up_after))
        except NetoError as raised:
            assert raised.fate is not None  # noqa: PT017
            handed.said(raised.fate)
        except asyncio.CancelledError:
            handed.unheard = True
            raise
        patience = give_up_after or self.settings.give_up_after
        handed.ran_out = now() - began > patience - PATIENCE
        allowed = patience + self.settings.timeout + GRACE
        assert now() - began <= allowed + PATIENCE, f"{handed.text}: waited {now() - began:.1f} s, allowed {allowed} s"

    def note_cancelled(self, task: Any) -> None:
        """Note from when on a single add must not go with a call any more."""
        if task in self.singles and not self.singles[task].outcomes:
            self.watch.cancelled.setdefault(self.singles[task].text or "", self.watch.tick())

    # -- bulk adds and imports ----------------------------------------------------------------------------------

    def named(self) -> str:
        self.runs += 1
        return f"r{self.runs}"

    async def bulk(self) -> None:
        records = self.some(self.named())
        source, raises = self.source(records, finite=True)
        await self.wait_to_begin()
        for handed in records:
            handed.unheard = True
        try:
            report = await self.neto.add_customer_logs(source)
        except BulkSourceError as raised:
            assert type(raised.__cause__) is raises, "an exception that the source did not raise"  # noqa: PT017
            report = raised.report
            records = records[: len(report.outcomes)]
        else:
            assert raises is None, "what the source raised was swallowed"
        assert list(range(len(records))) == [outcome.index for outcome in report.outcomes]
        for handed, outcome in zip(records, report.outcomes, strict=True):
            handed.unheard = False
            handed.said(outcome)

    async def imported(self) -> None:
        name = self.named()
        records = self.some(name)
        source, raises = self.source(records, finite=False)
        await self.wait_to_begin()
        max_rejected = self.draw.choice([None, None, None, 0, 3])
        run = self.neto.import_customer_logs(source, read_on=self.draw.random() < 0.2, max_rejected=max_rejected)
        taken: list[Outcome] = []
        ended = False
        try:
            async with (
                asyncio.timeout(self.draw.choice([0.0, 3.0, 60.0, 600.0] if self.rough else [60.0, 9_000.0])),
                run,
            ):
                ended = await self.iterate(run, taken)
        except TimeoutError:
            pass
        except (StrangeError, OSError) as raised:
            assert type(raised) in {raises, StrangeError}, "an exception that nobody raised"  # noqa: PT017
        finally:
            if not ended:
                self.left_early.add(name)
            self.note(run, records, [*taken, *run.unread])

    async def iterate(self, run: Any, taken: list[Outcome]) -> bool:
        """Take the outcomes of a run; True where it came to its end by itself."""
        enough = self.draw.choice([1, 5, 100_000] if self.rough else [5, *[100_000] * 9])
        waits = self.draw.choice([None, 0.0, 0.3])
        size, calls = self.settings.batch_size, self.settings.max_concurrency
        async for outcome in run:
            taken.append(outcome)
            if waits is not None:
                await asyncio.sleep(waits)
            ahead = run.progress.taken - len(taken)
            assert ahead <= (2 * calls + 5) * size, f"{ahead} records read ahead"
            if len(taken) >= enough:
                match self.draw.choice(["break", "raise", "stop"]):
                    case "break":
                        break
                    case "raise":
                        raise StrangeError
                run.stop()
        return len(taken) < enough

    def note(self, run: Any, records: list[Handed], outcomes: list[Outcome]) -> None:
        progress = run.progress
        assert list(range(progress.taken)) == sorted(outcome.index for outcome in outcomes), "a row without its outcome"
        assert progress.finished == progress.taken
        assert progress.in_flight == 0
        for handed in records[progress.taken :]:
            handed.handed_in = False
        for outcome in outcomes:
            records[outcome.index].said(outcome)

    # -- closing and flushing -----------------------------------------------------------------------------------

    async def flushed(self) -> None:
        await asyncio.sleep(self.draw.random() * 10)
        before = [handed for handed in self.records if handed.handed_in and (handed.text or "").startswith("s/")]
        timeout = self.draw.choice([None, 0.01, 5.0])
        began = now()
        report = await self.neto.flush(timeout)
        assert timeout is None or now() - began <= timeout + PATIENCE, "a flush that went on past its timeout"
        for _ in range(3):
            await asyncio.sleep(0)
        late = [handed.text for handed in before if report.drained and not (handed.outcomes or handed.unheard)]
        assert [] == late, "a flush that did not wait for what was submitted before"

    async def closed(self) -> None:
        await asyncio.sleep(self.draw.random() * self.draw.choice([1, 20, 200] if self.rough else [20, 900, 9_000]))
        await self.close(self.draw.choice([0.0, 0.5, 5.0, 30.0, 500.0]))

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - that of `aclose`
        began, first = now(), self.neto._closing is None
        self.watch.closing = True
        try:
            await self.neto.aclose(timeout=timeout)
        finally:
            self.watch.closed = True
            assert not first or now() - began <= timeout + PATIENCE, f"closing took {now() - began:.2f} of {timeout} s"

    async def body_raises(self) -> None:
        """Leave the client's own block by an exception."""
        await asyncio.sleep(self.draw.random() * (30 if self.rough else 900))
        closed = self.neto._closing is not None
        try:
            async with self.neto:
                assert not closed, "a closed client was entered"
                self.watch.closing = True
                raise StrangeError  # noqa: TRY301
        except StrangeError:
            self.watch.closed = True
        except ConfigurationError:
            assert closed, "a client that was not closed could not be entered"

    def works(self) -> list[Any]:
        kinds = [self.single] * 6 + [self.bulk] * 2 + [self.imported] * 3 + [self.flushed]
        works = [self.draw.choice(kinds) for _ in range(self.draw.choice([1, 3, 8, 20]))]
        if self.draw.random() < 0.3:
            # Both lanes at once, and for long.
            works += [self.single] * self.draw.choice([10, 30, 100]) + [self.imported, self.bulk]
        if self.draw.random() < (0.4 if self.rough else 0.2):
            works += self.draw.choices([self.closed, self.body_raises], weights=[4, 1], k=self.draw.choice([1, 1, 2]))
        return works
