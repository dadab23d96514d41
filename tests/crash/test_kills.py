"""
Importing processes that are killed at every step, and what the store holds when a later one has come to the end.

The law: each row is in the store exactly once, save those that are named in doubt, each of which is there at most once.
"""

from __future__ import annotations

import os
import random
import signal
from typing import Any

import pytest
from attrs import frozen

from neto_async.sandbox.faults import Exchange, Fault
from neto_async.sandbox.transmission import Ending, RawBytes, Transmission

KILLED = -signal.SIGKILL
FORMATS = ["json", "xml"]

STEPS = {
    # step: whether the batch is in doubt afterwards, and whether it is in the store
    "before the intent": (False, False),
    "after the intent": (True, False),
    "before the first byte": (True, False),
    "after the first byte": (True, False),
    "after the reply": (True, True),
    "before the end": (True, True),
    "after the end": (False, True),
}
BY_DEFAULT = ("after the intent", "after the reply", "after the end")


@frozen
class KillCaller(Fault):
    """Save all, and kill the process that called before it is answered."""

    importer: Any

    async def play(self, exchange: Exchange) -> Transmission:
        """Kill."""
        exchange.process()
        os.kill(self.importer.process, signal.SIGKILL)
        return RawBytes(ending=Ending.RESET, outcome="caller killed")


async def finish(importer: Any, *, once: bool = False) -> list[dict[str, Any]]:
    """Import to the end, compare with the store, and (unless ``once``) see that one more run sends nothing."""
    ended = await importer.run()
    assert 0 == ended.code
    importer.check(ended.outcomes)
    if once:
        return ended.outcomes
    logs = importer.store.log_count
    again = await importer.run()
    assert (0, logs) == (again.code, importer.store.log_count)
    assert {(row["index"], row["kind"], row["id"]) for row in ended.outcomes} == {
        (row["index"], row["kind"], row["id"]) for row in again.outcomes
    }
    assert all(row["again"] or row["kind"] == "Invalid" for row in again.outcomes)
    return ended.outcomes


@pytest.mark.parametrize("wire_format", [FORMATS[0], pytest.param(FORMATS[1], marks=pytest.mark.thorough)])
@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=[] if step in BY_DEFAULT else pytest.mark.thorough) for step in STEPS]
)
async def test_steps_of_one_call(importer: Any, step: str, wire_format: str) -> None:
    """Rows are in doubt exactly from the moment their intent is on disk until the end of their call is."""
    doubted, saved = STEPS[step]
    run = await importer(wire_format=wire_format, max_concurrency=1, batch_size=2)
    run.store.faults.clear()

    # The first call carries row 0 alone, the second one rows 1 and 2.
    assert KILLED == (await run.run(step, 2)).code
    assert (3 if saved else 1) == run.store.log_count
    outcomes = await finish(run)

    in_doubt = {row["index"] for row in outcomes if row["kind"] == "Unknown"}
    assert ({1, 2} if doubted else set()) == in_doubt & {1, 2}
    # The end of a call and the intent of the next one may share a commit.
    assert in_doubt <= {"before the intent": {0}, "after the end": {3, 4}}.get(step, {1, 2})
    assert [int(saved or not doubted)] * 2 == [run.saved(1), run.saved(2)]


@pytest.mark.parametrize("wire_format", FORMATS)
async def test_killed_between_saving_and_reply(importer: Any, wire_format: str) -> None:
    """Rows that were saved with no reply read are in doubt, in the store once, and not sent again."""
    run = await importer(wire_format=wire_format, max_concurrency=1, batch_size=2)
    run.store.faults.clear()
    run.store.faults.next(None, KillCaller(run))

    assert KILLED == (await run.run()).code
    outcomes = await finish(run)

    assert [1, 2] == sorted(row["index"] for row in outcomes if row["kind"] == "Unknown")
    assert [1, 1] == [run.saved(1), run.saved(2)]


@pytest.mark.thorough
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", [2, 6])
async def test_steps_among_calls_in_flight(importer: Any, step: str, number: int) -> None:
    """With several calls in flight, refusals taken apart and a call over the limit, the law holds at every step."""
    run = await importer(wire_format=random.Random(f"{step} {number}").choice(FORMATS))

    ended = await run.run(step, number)
    assert KILLED == ended.code
    await finish(run)


@pytest.mark.parametrize("step", ["before the finish", "after the finish"])
async def test_killed_at_the_end(importer: Any, step: str) -> None:
    """A process that dies when all is done leaves nothing to do, and nothing in doubt."""
    run = await importer()

    assert KILLED == (await run.run(step)).code
    calls = run.store.call_count
    assert 0 == run.check(await finish(run))
    assert calls == run.store.call_count


@pytest.mark.parametrize("step", ["before the journal is made", "opened"])
async def test_killed_while_opening(importer: Any, step: str) -> None:
    """A process that dies before its journal is ready has sent nothing, and leaves nothing in the way."""
    run = await importer()

    assert KILLED == (await run.run(step)).code
    assert 0 == run.store.call_count
    assert 0 == run.check(await finish(run))


async def killed_at_statements(importer: Any, statements: range) -> int:
    """Kill at each of these statements to the journal; give the number of them that there were."""
    for statement in statements:
        run = await importer(wire_format=FORMATS[statement % 2])
        killed = await run.run("statement", statement)
        if killed.code == 0:
            return statement - 1
        assert KILLED == killed.code
        await finish(run, once=True)
    return statements[-1]


@pytest.mark.thorough
async def test_killed_while_making_the_journal(importer: Any) -> None:
    """A journal that was cut off at any statement of its making opens as a new one, or as what it is."""
    assert 22 == await killed_at_statements(importer, range(1, 25, 3))


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_killed_at_every_statement(importer: Any) -> None:
    """At whatever statement to the journal a process dies, the law holds."""
    assert 60 < await killed_at_statements(importer, range(1, 400))


@pytest.mark.thorough
async def test_killed_while_replaying(importer: Any) -> None:
    """Processes that die while earlier outcomes come out again, one after the other, take nothing away."""
    run = await importer()
    assert KILLED == (await run.run("after the end", 4)).code

    for number in (1, 2, 5):
        assert KILLED == (await run.run("replay", number)).code
    assert KILLED == (await run.run("before the intent", 1)).code

    await finish(run)


async def test_killed_time_and_again(importer: Any) -> None:
    """A process that dies in each of its runs gets on with every one of them."""
    run = await importer(max_concurrency=1)

    runs = 0
    while (ended := await run.run("after the end", 2)).code == KILLED:
        runs += 1
        assert runs <= len(run.rows)

    assert 0 == ended.code
    # Each death can leave the batch in doubt whose intent shared the commit.
    assert run.check(ended.outcomes) <= 4 * runs


async def random_kills(importer: Any, seed: int, kills: int) -> int:
    """Kill at random instants, up to three times an import; give the number of processes that were killed."""
    draw = random.Random(seed)
    whole = (await (await importer()).run()).seconds
    killed = 0
    while killed < kills:
        run = await importer(
            wire_format=draw.choice(FORMATS), batch_size=draw.randint(1, 5), max_concurrency=draw.randint(1, 4)
        )
        for _ in range(draw.randint(1, 3)):
            ended = await run.run(seconds=draw.uniform(0, 1.2 * whole))
            assert ended.code in (0, KILLED)
            killed += ended.code == KILLED
        await finish(run, once=True)
    return killed


@pytest.mark.thorough
async def test_killed_at_random_instants(importer: Any) -> None:
    """At ten random instants the law holds."""
    assert 10 <= await random_kills(importer, 20261123, 10)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_killed_at_many_random_instants(importer: Any) -> None:
    """At two hundred random instants the law holds."""
    assert 200 <= await random_kills(importer, random.randrange(2**32), 200)
