"""
How figures are taken, and what a question answers with. May import: nothing of the package.

Candidates take turns, in an order that turns as well, so that a slow moment of the machine hits all alike. A ratio is
the median of the rounds' own ratios: both halves of each were measured in the same moment.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median, quantiles
from typing import Any, TypeVar

from attrs import field, frozen

T = TypeVar("T")


@frozen(kw_only=True)
class Effort:
    """CPU time of this process, and time on the wall, in seconds; of one record where divided by their number."""

    cpu: float
    wall: float


@frozen(kw_only=True)
class Target:
    """
    What a row of the table has to reach.

    Attributes:
        what: What is measured.
        ours: The candidate that has to reach it.
        peer: The candidate it is divided by; None takes the figure itself.
        limit: The largest figure that meets it, or the smallest where ``at_least``.
    """

    what: str
    ours: str
    peer: str | None = None
    limit: float
    at_least: bool = False


@frozen(kw_only=True)
class Answer:
    """
    One table: samples of several candidates in one unit.

    Attributes:
        title: What was measured, and on how much.
        unit: Of all samples.
        samples: By candidate, one for each round, in the order of the rounds.
        targets: What is asked of them.
        left_out: What this machine can't measure, each with the reason.
    """

    title: str
    unit: str
    samples: Mapping[str, Sequence[float]]
    targets: Sequence[Target] = field(default=())
    left_out: Mapping[str, str] = field(factory=dict)

    def ratios(self, ours: str, peer: str | None) -> list[float]:
        """Divide each round's sample by the peer's of the same round."""
        if peer is None:
            return list(self.samples[ours])
        return [ours / theirs for ours, theirs in zip(self.samples[ours], self.samples[peer], strict=True)]


@frozen(kw_only=True)
class Spread:
    """Median and quartiles."""

    low: float
    middle: float
    high: float


def spread_of(samples: Sequence[float]) -> Spread:
    """Give median and quartiles; of one sample, the sample."""
    low, _, high = quantiles(samples, method="inclusive") if len(samples) > 1 else [samples[0]] * 3
    return Spread(low=low, middle=median(samples), high=high)


async def take_turns(candidates: Mapping[str, Callable[[], Awaitable[T]]], rounds: int) -> dict[str, list[T]]:
    """Run every candidate once to warm up, and then once in each round."""
    samples: dict[str, list[T]] = {name: [] for name in candidates}
    names = list(candidates)
    for name in names:
        await candidates[name]()
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            gc.collect()
            samples[name].append(await candidates[name]())
    return samples


def timed(work: Callable[[], Awaitable[object]], records: int) -> Callable[[], Awaitable[Effort]]:
    """Make a candidate that gives the effort of one record."""

    async def run() -> Effort:
        cpu, wall = time.process_time(), time.perf_counter()
        await work()
        return Effort(cpu=(time.process_time() - cpu) / records, wall=(time.perf_counter() - wall) / records)

    return run


def timed_calls(work: Callable[[], object], records: int, times: int) -> Callable[[], Awaitable[float]]:
    """Make a candidate that gives µs of CPU time a record, of a pure function called so many times."""

    async def run() -> float:
        began = time.process_time()
        for _ in range(times):
            work()
        return (time.process_time() - began) / records / times * 1e6

    return run


def in_microseconds(samples: Mapping[str, Sequence[Effort]], *, wall: bool = False) -> dict[str, list[float]]:
    """Take CPU time, or time on the wall, out of the samples."""
    return {
        name: [(effort.wall if wall else effort.cpu) * 1e6 for effort in efforts] for name, efforts in samples.items()
    }


def in_fresh_process(work: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call a function of a module in a new interpreter, so that nothing that ran before can be seen."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(work, *arguments, **options).result()
