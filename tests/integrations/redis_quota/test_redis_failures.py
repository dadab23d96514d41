"""A quota in Redis, whatever process or server is killed, stopped or restarted: no window exceeds it."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from members import HOLD, KEYS, Server, now, open_gate

from neto_async import NotSentError
from neto_async.integrations import redis as module
from neto_async.integrations.redis import RedisQuota
from neto_async.outcomes import NotSentCause
from neto_async.sandbox import NetoSandbox, faults

# -- a server that fails --------------------------------------------------------------------------------------------


async def restarted(server: Server, look: Any) -> None:
    server.kill()
    server.start()


async def flushed(server: Server, look: Any) -> None:
    await look.flushall()


async def evicted(server: Server, look: Any) -> None:
    await look.delete(KEYS["places"])


async def failed_over(server: Server, look: Any) -> None:
    """Another server has the keys, as a replica has, and its own run id."""
    scores = dict(await look.zrange(KEYS["places"], 0, -1, withscores=True))
    run = min(scores, key=scores.get)
    await look.zrem(KEYS["places"], run)
    await look.zadd(KEYS["places"], {"run:another": scores[run]})


async def set_back(server: Server, look: Any) -> None:
    """The server's clock is an hour behind what it was."""
    for name, score in await look.zrange(KEYS["places"], 1, -1, withscores=True):
        await look.zadd(KEYS["places"], {name: score + 3600e6})


MORE = [pytest.param(loss, marks=pytest.mark.thorough) for loss in (flushed, evicted, failed_over, set_back)]


@pytest.mark.parametrize("lose", [restarted, *MORE])
async def test_after_a_loss_no_call_begins_for_one_hold(member, server, look, caplog, lose):
    """Where nobody can know any more what counts, nobody sends until what counted before does so no more."""
    await open_gate(look)
    before, after = member(4), member(4)
    for _ in range(4):
        await before.call()
    await before.quota.aclose()  # reports them
    lost_at = now()
    await lose(server, look)
    waiting = asyncio.ensure_future(after.begin())
    await after.until(lambda: after.quota.waiting_on == "quota server")
    await waiting

    assert now() - lost_at >= HOLD
    assert "quota" == after.quota.waiting_on
    assert [True] == [record.neto_pause > 0 for record in caplog.records if "lost its state" in record.getMessage()]


@pytest.mark.parametrize("seconds", [-0.9, pytest.param(0.9, marks=pytest.mark.thorough)])
async def test_a_clock_that_is_set_is_seen_by_who_asked_before(member, look, seconds):
    """A process compares the server's clock with its own: set either way, no call begins for one hold."""
    await open_gate(look)
    one = member(4, leave_within=2.0)
    await one.call()
    clock = one.quota._clock
    one.quota._clock = lambda: clock() - seconds
    set_at = now()
    await one.begin(spaced=True)

    assert now() - set_at >= HOLD + 1.8


async def test_the_first_start_waits_for_one_hold(member, look):
    """A server that knows nothing might have known something; a person who knows better opens the gate."""
    first = member()
    began_at = now()
    await first.begin()

    assert now() - began_at >= HOLD


@pytest.mark.thorough
async def test_without_the_server_no_call_begins_until_it_is_back(member, server, caplog):
    """While the server is away nobody sends, one line says so, and calls go on by themselves when it is back."""
    server.kill()
    one = member()
    waiting = asyncio.ensure_future(one.begin())
    await one.until(lambda: one.quota._failures >= 3)
    began = waiting.done()
    server.start()
    await waiting

    assert not began
    assert [("the quota's server can't be used: ConnectionError", "ConnectionError")] == [
        (record.getMessage(), record.neto_failure) for record in caplog.records if hasattr(record, "neto_failure")
    ]


async def test_a_server_that_does_not_answer_is_away(member, server, look, monkeypatch):
    """A server that hangs counts as away within the time for an answer, and what was asked twice gets one place."""
    monkeypatch.setattr(module, "ANSWER_WITHIN", 0.05)
    await open_gate(look)
    one = member(4, window=5.0)
    await one.quota._step()  # it is connected
    server.process.send_signal(signal.SIGSTOP)
    waiting = asyncio.ensure_future(one.begin())
    await one.until(lambda: one.quota._failures >= 2)
    assert "quota server" == one.quota.waiting_on
    server.process.send_signal(signal.SIGCONT)
    await waiting
    await one.until(lambda: not one.quota._failures)

    assert 2 == await look.zcard(KEYS["places"])


async def test_a_server_that_became_a_replica_is_left(member, look):
    """A server that takes no writes any more counts as away, and each attempt looks its name up again."""
    await open_gate(look)
    one = member()
    await one.quota._step()
    await look.execute_command("REPLICAOF", "127.0.0.1", 1)
    before = (await look.info("stats"))["total_connections_received"]
    waiting = asyncio.ensure_future(one.begin())
    await one.until(lambda: one.quota._failures >= 3)
    assert "quota server" == one.quota.waiting_on
    await look.execute_command("REPLICAOF", "NO", "ONE")
    await waiting

    assert (await look.info("stats"))["total_connections_received"] >= before + 3


async def test_ends_and_pauses_are_reported_once_the_server_is_back(member, server, look):
    """What happened while the server was away reaches it later."""
    await open_gate(look)
    one = member(4)
    places = [await one.begin(), await one.begin()]
    server.kill()
    one.quota.end(now(), places[0])
    one.quota.pause(now(), now() + 60.0)
    await one.until(lambda: one.quota._failures >= 2)
    server.start()
    await one.until(lambda: not one.quota._failures)
    await look.connection_pool.disconnect()

    assert 2 == await look.zcard(KEYS["places"])  # the gate, and the end
    assert 50 < float(await look.hget(KEYS["state"], "paused")) / 1e6 - time.time() <= 60
    assert "quota server" == one.quota.waiting_on


# -- a client ---------------------------------------------------------------------------------------------------------


async def test_records_end_truly_while_the_server_is_away(server, look, connect, store):
    """A log that has left gets its true outcome; one that waits ends as not sent, and says what it waited for."""
    await open_gate(look, store.url)
    neto = await connect(store, quota=RedisQuota(server.url))
    answered = asyncio.Event()
    store.faults.next(faults.Late(until=answered))
    leaves = asyncio.ensure_future(neto.add_customer_log({"notes": "leaves"}))
    await store.until(lambda: store.call_count)
    server.kill()
    waits = asyncio.ensure_future(neto.add_customer_log({"notes": "waits"}, give_up_after=0.5))
    with pytest.raises(NotSentError) as raised:
        await waits
    answered.set()

    assert NotSentCause.QUOTA_SERVER == raised.value.outcome.cause
    assert [(await leaves).log_id] == [log.log_id for log in store.logs]


# -- processes ----------------------------------------------------------------------------------------------------


@pytest.mark.thorough
async def test_no_window_at_the_store_exceeds_the_quota(server, look):
    """
    A strict store refuses no call of several processes, while some are killed or stopped and the server is as well.

    The window is 2 s. Calls go on after each of these by themselves, and a process that was stopped makes some again.
    """
    calls, window = 40, 2.0
    async with NetoSandbox(requests_per_minute=calls, clock=lambda: time.monotonic() * 60 / window) as store:
        await open_gate(look, store.url)

        async def worker(lane: str) -> asyncio.subprocess.Process:
            program = Path(__file__).with_name("quota_worker.py")
            return await asyncio.create_subprocess_exec(
                sys.executable, program, store.url, server.url, str(calls), lane, stderr=asyncio.subprocess.DEVNULL
            )

        async def more(number: int, lane: str | None = None) -> None:
            def made() -> int:
                return sum(lane in {None, log.fields["Notes"]} for log in store.logs)

            target = made() + number
            await store.until(lambda: made() >= target)

        workers = [await worker(lane) for lane in ("singles", "imports", "imports")]
        try:
            await more(calls + 5)
            workers[1].kill()
            workers[2].send_signal(signal.SIGSTOP)
            await more(calls // 2)
            server.kill()
            server.start()
            workers[2].send_signal(signal.SIGCONT)
            await more(calls // 2)
            await more(5, "imports")
        finally:
            for one in workers:
                if one.returncode is None:
                    one.kill()
                await one.wait()
        made_at = sorted(call.received_at * window / 60 for call in store.calls)

    assert {"Success"} >= {call.outcome for call in store.calls} - {"broken off", ""}
    assert calls >= max(sum(at <= other < at + window for other in made_at) for at in made_at)
