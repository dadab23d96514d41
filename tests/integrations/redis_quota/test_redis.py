"""A quota in Redis: places, grants, lanes, pauses; its keys, its secrets and what it refuses."""

from __future__ import annotations

import asyncio
import heapq
import re
import sys
import time
import traceback
from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from members import HOLD, KEYS, STORE, WINDOW, Member, Server, now, open_gate

from neto_async import AsyncNetoClient, ConfigurationError
from neto_async.integrations import redis as module
from neto_async.integrations.redis import RedisQuota

# -- places -------------------------------------------------------------------------------------------------------


async def test_a_place_counts_until_a_window_after_the_end_of_its_call(member, look):
    """The next call on a place, of any process, begins a window after the last one has ended, and not before."""
    await open_gate(look)
    first, second = member(1), member(1)
    place = await first.begin()
    waiting = asyncio.ensure_future(second.begin())
    await second.until(lambda: second.quota.used == 1)
    ended_at = now()
    first.quota.end(ended_at, place)
    await waiting

    assert now() - ended_at >= WINDOW
    assert "quota" == second.quota.waiting_on


async def test_the_places_of_a_dead_process_come_free_a_hold_later(member, look):
    """A process that never says how its call ended keeps the place for a hold, and no longer."""
    await open_gate(look)
    dead, alive = member(1), member(1)
    began_at = now()
    await dead.begin()
    await alive.begin()

    assert now() - began_at >= HOLD


async def test_a_grant_not_begun_in_time_is_given_back(member, look):
    """A process that was suspended does not use what it was granted before, and others get it."""
    await open_gate(look)
    suspended, other = (member(1, longest_call=3600.0) for _ in range(2))  # a place that does not go back stays taken
    suspended.quota.earliest(now(), spaced=False)
    await suspended.until(lambda: suspended.quota.earliest(now(), spaced=False) < float("inf"))
    clock = suspended.quota._clock
    suspended.quota._clock = lambda: clock() + 100.0

    assert suspended.quota.begin(now(), spaced=False) is None
    suspended.quota._clock = clock  # or the server's clock would seem to be set, which opens all places a hold later
    await other.begin()


async def test_a_grant_ages_from_before_it_was_asked_for(member, look):
    """An answer that comes late brings a grant that is too old to be used; it goes back."""
    await open_gate(look)
    slow = member(1, window=5.0)
    ask, clock, late = slow.quota._step_script, slow.quota._clock, [0.0]
    slow.quota._clock = lambda: clock() + late[0]

    async def asked(**how: Any) -> Any:
        answer = await ask(**how)
        late[0] += 1.0
        return answer

    slow.quota._step_script = asked
    slow.quota.earliest(now(), spaced=False)
    await slow.until(lambda: slow.quota.used)
    slow.quota._step_script = ask

    assert slow.quota.begin(now(), spaced=False) is None
    await slow.until(lambda: not slow.quota.used)


async def test_a_body_leaves_only_while_its_place_is_held_long_enough(member, look):
    """Where a journal or a connection took too long, the call does not leave any more."""
    await open_gate(look)
    one = member()
    place = await one.begin()
    clock = one.quota._clock
    before = one.quota.may_leave(place)
    one.quota._clock = lambda: clock() + 0.2

    assert (True, False) == (before, one.quota.may_leave(place))


async def test_a_busy_lane_asks_ahead(member, look):
    """While calls follow each other, the next grant is in hand before anybody asks for it; unused, it goes back."""
    await open_gate(look)
    busy = member(40)
    await busy.call()
    await busy.call()
    await busy.until(lambda: busy.quota.used == 3)
    await busy.until(lambda: busy.quota.used == 2)


async def test_what_is_held_goes_back_at_the_end(member, look):
    """A quota that is closed reports what has ended and keeps no grant."""
    await open_gate(look)
    one = member(40)
    ended = [await one.call() for _ in range(3)]
    await one.until(lambda: one.quota.used == 4)
    await one.quota.aclose()
    await one.quota.aclose()
    scores = [score / 1e6 - time.time() for name, score in await look.zrange(KEYS["places"], 1, -1, withscores=True)]

    assert 3 == len(scores)
    assert max(scores) <= WINDOW + 0.1, ended


# -- lanes and turns ----------------------------------------------------------------------------------------------


class Simulated:
    """Saturated processes, on the server's own script and a clock of the test: each asks when it was said to."""

    def __init__(self, look: Any, limit: int) -> None:
        # What the script reads as the time is a key that is set here.
        self._step = look.register_script(module.STEP.replace("redis.call('TIME')", "{redis.call('GET', 'now'), 0}"))
        self._look = look
        self._limit = limit
        self.begun: list[tuple[float, str]] = []
        self.steps = 0

    async def run(self, names: list[str], seconds: float, latency: float = 0.25) -> None:
        """Run processes, whose names begin with their lane, for some seconds from when the gate is open."""
        micro, began = module.MICRO, 1_000_000.0
        await open_gate(self._look)
        under_way: dict[str, list[float]] = {name: [] for name in names}
        due = [(began + number / 1000, name) for number, name in enumerate(names)]
        while due[0][0] < began + seconds:
            at, name = heapq.heappop(due)
            ended = [start for start in under_way[name] if start + latency <= at]
            under_way[name] = [start for start in under_way[name] if start + latency > at]
            reported = [word for start in ended for word in (f"{name} {start}", int((at - start - latency) * micro))]
            spaced = name.startswith("imports")
            times = (60.0, 130.0, 0.3, 0.02)
            arguments = [name, self._limit, *(int(value * micro) for value in times), 0, 0]
            arguments += ["", "next"] if spaced else ["next", ""]
            await self._look.set("now", f"{at:.6f}")
            answer = await self._step(keys=list(KEYS.values()), args=[*arguments, len(ended), *reported])
            self.steps += 1
            given, opens, again = answer[7:10] if spaced else answer[4:7]
            begins = at + opens / micro
            if given == module.GRANTED:
                self.begun.append((begins, name))
                under_way[name].append(begins)
                await self._look.zrem(KEYS["places"], "next")
                await self._look.zadd(KEYS["places"], {f"{name} {begins}": (begins + 130.0) * micro})
            heapq.heappush(due, (max(begins, at + again / micro) + 0.001, name))


MORE = [
    pytest.param(*processes, marks=pytest.mark.thorough) for processes in ((1, 4), (4, 1), (0, 16), (16, 0), (8, 8))
]


@pytest.mark.parametrize(("singles", "imports"), [(2, 2), *MORE])
async def test_lanes_share_and_processes_take_turns(look, singles, imports):
    """
    While all wait, the quota is used and never exceeded, and no lane and no process starves.

    Imports get a quarter of the calls at least, single adds all but a little more; no process of a lane gets much less
    than another, though all ask at once; a call costs two questions at most, and of imports alone hardly more than one.
    """
    limit = 200
    names = [f"singles {n}" for n in range(singles)] + [f"imports {n}" for n in range(imports)]
    account = Simulated(look, limit)
    await account.run(names, 180.0)
    moments = sorted(at for at, _ in account.begun)
    counted = Counter(name for at, name in account.begun if at > moments[0] + 60.0)
    lanes = Counter(name.split()[0] for name in counted.elements())

    assert limit >= max(bisect_left(moments, at + 60.0) - first for first, at in enumerate(moments))
    assert counted.total() >= 0.97 * limit * (moments[-1] - moments[0] - 60.0) / 60.0
    if singles and imports:
        assert 0.24 <= lanes["imports"] / counted.total() <= 0.35, lanes
    for lane in lanes:
        shares = [counted[name] for name in names if name.startswith(lane)]
        assert min(shares) >= 0.6 * max(shares), counted
    assert account.steps <= (2.0 if singles else 1.1) * len(account.begun)


async def test_a_single_add_goes_before_imports(member, look):
    """A place that comes free goes to a single add of any process, though imports of others wait for longer."""
    await open_gate(look)
    one = member(1)
    place = await one.begin()
    importing = [member(1) for _ in range(3)]
    imports = [asyncio.ensure_future(other.begin(spaced=True)) for other in importing]
    for other in importing:
        await other.until(lambda other=other: other.quota.used)
    adding = member(1)
    add = asyncio.ensure_future(adding.begin())
    await adding.until(lambda: adding.quota.used)
    one.quota.end(now(), place)
    done, waiting = await asyncio.wait([add, *imports], return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()

    assert {add} == done


# -- pauses -------------------------------------------------------------------------------------------------------


async def test_a_pause_of_one_holds_all(member, look):
    """A pause that the store asked one process for holds all, grants in hand too; a shorter one later ends nothing."""
    await open_gate(look)
    limited, other = member(20), member(20)
    other.quota.earliest(now(), spaced=True)
    await other.until(lambda: other.quota.earliest(now(), spaced=True) < float("inf"))
    paused_until = now() + 1.0
    limited.quota.pause(now(), paused_until)
    await limited.until(lambda: limited.quota.waiting_on == "pause")
    limited.quota.pause(now(), now() + 0.1)
    add = asyncio.ensure_future(other.begin())
    await other.until(lambda: other.quota.waiting_on == "pause")
    spaced = await other.begin(spaced=True)
    await add

    assert spaced.opens_at + now() - other.quota._clock() >= paused_until


async def test_a_pause_during_a_question_is_reported_too(member, look):
    """A pause that comes while another one is being reported follows it."""
    await open_gate(look)
    one = member()
    ask = one.quota._step_script

    async def asked(**how: Any) -> Any:
        one.quota._step_script = ask
        one.quota.pause(now(), now() + 60.0)
        return await ask(**how)

    one.quota._step_script = asked
    one.quota.pause(now(), now() + 10.0)
    await one.until(lambda: one.quota._pause_until is None)

    assert 50 < float(await look.hget(KEYS["state"], "paused")) / 1e6 - time.time() <= 60


# -- keys, secrets, settings ----------------------------------------------------------------------------------------


async def test_a_call_costs_two_round_trips_at_most_and_keys_stay_few(member, look):
    """Calls that follow each other cost a question and at most a report; keys do not grow, and none is searched for."""
    await open_gate(look)
    one = member(100)
    await look.config_resetstat()
    for number in range(300):
        await one.call(spaced=bool(number % 2))
    commands = await look.info("commandstats")

    assert commands["cmdstat_evalsha"]["calls"] <= 600
    assert "cmdstat_keys" not in commands
    assert set(KEYS.values()) >= set(await look.keys())
    assert 104 >= await look.zcard(KEYS["places"])
    assert 2 >= sum([await look.zcard(KEYS[name]) for name in ("singles", "imports", "overdue")])


@pytest.mark.thorough
async def test_all_keys_of_a_store_are_on_one_server_of_a_cluster(tmp_path, monkeypatch):
    """A cluster refuses a script whose keys belong to different servers: these belong to one."""
    monkeypatch.setattr(module, "END_WITHIN", 0.1)
    server = Server(tmp_path, "--cluster-enabled", "yes")
    server.start()
    async with redis.asyncio.Redis.from_url(server.url) as look:
        await look.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    async with redis.asyncio.RedisCluster.from_url(server.url) as cluster:
        quota = RedisQuota(cluster, window=WINDOW, longest_call=0.2, leave_within=0.2)
        await Member(quota).begin()
        await quota.aclose()
        await cluster.ping()  # the client that was passed is still open
    server.kill()


async def test_a_user_needs_no_more_than_the_page_says(server, look):
    """The rights that the guide lists are enough for a quota."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "several-processes.md"
    (rights,) = re.findall(r"^ACL SETUSER (.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    await look.execute_command("ACL", "SETUSER", *rights.split())
    await open_gate(look)
    quota = RedisQuota(server.url.replace("://", "://neto:password@"))
    one = Member(quota)
    quota.end(now(), await one.begin())
    quota.pause(now(), now() + 1.0)
    await one.until(lambda: quota.waiting_on == "pause")
    await quota.aclose()


async def test_the_password_is_shown_nowhere(server, look, caplog):
    """No repr, log line, error or traceback with local variables has the password of the server's address."""
    password = "CAN" + "ARY"
    await look.config_set("requirepass", "another")
    quota = RedisQuota(server.url.replace("://", f"://:{password}@"))
    one = Member(quota)
    quota.earliest(now(), spaced=False)
    await one.until(lambda: quota.waiting_on == "quota server")
    await quota.aclose()
    with pytest.raises(ConfigurationError) as raised:
        RedisQuota(f"rodis://:{password}@host")
    ours = raised.value.__traceback__.tb_next  # without this frame
    shown = traceback.TracebackException(ConfigurationError, raised.value, ours, capture_locals=True)

    assert "CANARY" not in "".join(shown.format()) + repr(quota) + caplog.text
    assert raised.value.__context__ is None
    assert "AuthenticationError" in caplog.text
    assert "RedisQuota(calls_per_minute=400, 0 used)" == repr(quota)


@pytest.mark.parametrize(
    "settings", [{"calls_per_minute": 0}, {"window": 0}, {"longest_call": -1}, {"url": "localhost"}, {"url": 5}]
)
async def test_what_cant_be_used_is_refused(settings):
    """A setting that can't be used is named when the quota is made."""
    with pytest.raises(ConfigurationError):
        RedisQuota(**{"url": "redis://localhost", **settings})


async def test_a_quota_serves_one_client_whose_calls_are_short_enough(server):
    """A second client, and one whose calls may outlast their places, are refused when they are first used."""
    quota = RedisQuota(server.url, longest_call=30.0)
    for timeout, refused in ((31.0, True), (30.0, False), (30.0, True)):
        neto = AsyncNetoClient(STORE, api_key="key", quota=quota, timeout=timeout)
        if refused:
            with pytest.raises(ConfigurationError):
                await neto.aclose()
        else:
            await neto.aclose()
    assert pytest.approx(0.3) == quota.seconds_for(2)


async def test_a_cancelled_task_is_made_again(member, look):
    """A cancel-all cancels the task that asks, too; the client is woken, and asks again."""
    await open_gate(look)
    one = member()
    waiting = asyncio.ensure_future(one.begin())
    await asyncio.sleep(0)
    one.quota._task.cancel()
    await waiting


def test_without_redis_py_an_error_says_what_to_install(monkeypatch):
    """Where the extra is missing, importing the module names it."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    monkeypatch.delitem(sys.modules, "neto_async.integrations.redis")
    with pytest.raises(ImportError, match=r'pip install "neto_async\[redis\]"'):
        __import__("neto_async.integrations.redis")
