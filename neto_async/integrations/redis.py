"""
A quota that all processes of an account share, kept in Redis. Needs redis-py: the extra ``redis``.

Theory. A call holds a place from the moment it may begin until a window after its end, by the server's clock; `Window`
says why that keeps every window at the store within the limit. Here the places are one sorted set, whose scores say
when each comes free. One Lua script does every step, so a step is atomic. What can go wrong, and what holds then:

    a process dies            its places come free a *hold* after their beginning: that is the longest time to the first
                              byte, the longest call, and a window
    a process is suspended    a grant that is not begun in time is given back. Its age is measured from before the
                              question, by a clock that counts suspension, and once more before the first byte
    the server loses state    the set holds the server's run id. Where that is missing or another one, nobody knows what
                              counts: no call begins for one hold, after which nothing from before counts
    the server's clock is set each process compares it with its own clock in every answer; the same follows

A grant may begin a little later than it is given, when a place is known to come free then, and says when an import is
to ask for its next call. So one question is all that most calls need: ends travel with the next one.

May import: sending, settings, errors.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from attrs import define, frozen

from neto_async.credentials import Secret, SecretValue
from neto_async.errors import ConfigurationError
from neto_async.sending.clock import boot_time
from neto_async.sending.observing import logger
from neto_async.sending.quota import QUOTA_SERVER, WINDOW, Quota, catch_up
from neto_async.settings import require_positive

try:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
except ImportError as _error:
    raise ImportError('the shared quota needs redis-py: pip install "neto_async[redis]"') from _error

__all__ = ["RedisQuota"]

USE_WITHIN = 2.0
"""Seconds in which a grant must be begun, at most."""

LEAVE_WITHIN = 10.0
"""Seconds from a question to the first byte of the call: a journal and a new connection are between them."""

END_WITHIN = 1.0
"""Seconds past its deadline in which the engine has seen the end of a call."""

AHEAD = 0.3
"""Seconds that a grant may begin later than it is given, at most. Single adds wait behind such a grant."""

REPORT_WITHIN = 15.0
"""Seconds for which the end of a call waits for a question that it can travel with, at most."""

BUSY = 1.0
"""Seconds between two calls of a lane under which the next grant is asked for ahead."""

ANSWER_WITHIN = 1.0
"""Seconds for an answer of the server."""

LONGEST_RETRY = 2.0
"""Seconds between two attempts to reach the server, at most."""

CLOCKS_AGREE = 0.2
DRIFT = 0.001
"""Seconds, and seconds a second, by which the server's clock may differ from ours since the last answer."""

MICRO = 1_000_000

GRANTED = 1
"""In an answer. Beside it are the seconds until the call may begin, and those until the next question is worth it."""

STEP = """
-- Times are microseconds on the server's clock. Lane 1 is single adds, lane 2 imports.
local places, state, overdue = KEYS[1], KEYS[2], KEYS[5]
local me, limit, window, hold = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local ahead, catch_up, claim, pause = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local tokens = {ARGV[9], ARGV[10]}
local spacing, grace, closed_look = window / limit, 1000000, 5000000
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- The gate: a member whose score is minus the time from which calls may begin. It is in the set of places, so that
-- neither can be lost without the other.
local gate_name = 'run:' .. string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local gate = redis.call('ZSCORE', places, gate_name)
local latest = redis.call('ZREVRANGE', places, 0, 0, 'WITHSCORES')[2]
if not gate or -tonumber(gate) == claim or tonumber(latest) > now + 2 * (ahead + hold) then
  gate = -(now + ahead + hold)
  redis.call('DEL', unpack(KEYS))
  redis.call('ZADD', places, gate, gate_name)
end

-- What this process reports: ended calls with their age, then grants that it will not use.
local at = 12
for _ = 1, tonumber(ARGV[11]) do
  redis.call('ZADD', places, now - tonumber(ARGV[at + 1]) + window, ARGV[at])
  at = at + 2
end
for i = at, #ARGV do redis.call('ZREM', places, ARGV[i]) end
local kept = redis.call('HMGET', state, 'paused', 'due', 'owed')
local paused, due, owed = tonumber(kept[1] or 0), tonumber(kept[2] or 0), tonumber(kept[3] or 0)
if pause > 0 then paused = math.max(paused, now + pause) end

redis.call('ZREMRANGEBYSCORE', places, 1, now)
for _, who in ipairs(redis.call('ZRANGEBYSCORE', overdue, '-inf', now)) do
  redis.call('ZREM', overdue, who)
  redis.call('ZREM', KEYS[2 + tonumber(string.sub(who, 1, 1))], string.sub(who, 2))
end

local open = math.max(-tonumber(gate), paused)
local used = redis.call('ZCARD', places) - 1

local function free_at(need)
  local missing = need - limit + used
  if missing <= 0 then return now end
  local score = redis.call('ZRANGE', places, missing, missing, 'WITHSCORES')[2]
  -- A call under way counts for a window from its end, at least.
  return score and math.min(tonumber(score), now + window) or now + window
end

local function wait(lane, until_then)
  redis.call('ZADD', overdue, until_then + grace, lane .. me)
  return {0, 0, math.max(math.ceil(until_then - now), 1000)}
end

-- When the first in the queue of a lane can begin, and when this process can.
local function turns(lane)
  local singles, imports = redis.call('ZCARD', KEYS[3]), redis.call('ZCARD', KEYS[4])
  local rank = redis.call('ZRANK', KEYS[2 + lane], me)
  -- Single adds leave what imports are owed; imports let single adds go first until they are owed a call.
  local before, before_me = 0, 0
  if lane == 1 and imports > 0 then before, before_me = math.floor(owed / 3), math.floor((owed + rank) / 3) end
  if lane == 2 and owed < 3 then before, before_me = singles, singles end
  local first, mine = free_at(before + 1), free_at(before_me + 1 + rank)
  if lane == 2 and due > 0 then
    local soonest = redis.call('ZRANGE', places, 1, 1, 'WITHSCORES')[2]
    local comes_free = math.min(soonest and tonumber(soonest) or due + window, due + window)
    first = math.max(first, due + spacing, due + (comes_free - due) / (math.max(limit - used, 0) + 1))
    mine = math.max(mine, first + rank * spacing)
  end
  return first, mine
end

-- When to ask for such a turn. Where the calls under way decide, more is known once some have ended.
local function ask_at(mine) return mine < now + window and mine - ahead / 2 or now + window / 4 end

local function ask(lane)
  local queue = KEYS[2 + lane]
  if now < open then return wait(lane, math.min(open, now + closed_look)) end
  local first, mine = turns(lane)
  if mine > now + ahead then return wait(lane, ask_at(mine)) end
  local start = math.ceil(math.max(first, now))
  redis.call('ZADD', places, start + hold, tokens[lane])
  used = used + 1
  if lane == 1 then
    redis.call('ZREM', queue, me)
    redis.call('ZREM', overdue, lane .. me)
    if owed < 3 or redis.call('ZCARD', KEYS[4]) > 0 then owed = owed + 1 end
    return {1, start - now, 0}
  end
  local late = start - due - spacing
  due = start - (late < spacing and math.min(late, catch_up) or 0)
  owed = math.max(0, owed - 3)
  -- It stays in the queue, as its last, until it asks for its next turn: when that comes is known already.
  redis.call('ZADD', queue, now, me)
  local _, next_turn = turns(lane)
  local again = math.max(math.min(ask_at(next_turn), now + window / 4), now)
  redis.call('ZADD', overdue, math.max(start, again) + grace, lane .. me)
  return {1, start - now, math.ceil(again - now)}
end

local singles, imports = {0, 0, 0}, {0, 0, 0}
for lane = 1, 2 do
  if tokens[lane] ~= '' then redis.call('ZADD', KEYS[2 + lane], 'NX', now, me) end
end
if tokens[1] ~= '' then singles = ask(1) end
if tokens[2] ~= '' then imports = ask(2) end
redis.call('HSET', state, 'paused', paused, 'due', due, 'owed', owed)
return {now, -tonumber(gate), paused, used, singles[1], singles[2], singles[3], imports[1], imports[2], imports[3]}
"""


@define(eq=False)
class _Place:
    """A grant in hand, or a call that has begun with one. Times are seconds on our clock."""

    token: str
    opens_at: float
    use_by: float
    leave_by: float
    ended_at: float = 0.0


@define(eq=False)
class _Lane:
    """
    What is asked for one kind of calls.

    Attributes:
        token: Name of the next grant. It stays until that is granted: a question that is asked twice gets one place.
        wanted: A call waits for a grant, or will soon.
        ask_at: From when on to ask.
        grant: In hand.
        began_at: When the last call began.
    """

    token: str
    wanted: bool = False
    ask_at: float = 0.0
    grant: _Place | None = None
    began_at: float = float("-inf")


@frozen
class _Seen:
    """An answer of the server: its time and from when on its gate is open, between two moments of our clock."""

    time: float
    open_at: int
    asked_at: float
    answered_at: float


class RedisQuota(Quota):
    """
    One quota for all processes and hosts, by a Redis server: ``AsyncNetoClient(…, quota=RedisQuota(url))``.

    No 60 seconds at the store see more calls than the quota, whatever process or server is killed, stopped or
    restarted. All processes pass the same numbers; each client gets its own `RedisQuota`. Single adds of any process go
    before imports of any process, which get at least a quarter of the calls while both wait; waiting processes take
    turns. A pause that the store asks one process for holds all.

    While the server can't be used no call begins: ``statistics().waiting_on`` is ``"quota server"``, and records wait
    for ``give_up_after``. After it was started, restarted, or its clock was set, no call begins for one hold:
    ``longest_call`` + 71 seconds and a fraction.

    Args:
        url: Address of the server, such as ``redis://:password@host:6379/0``, as text or as what has
            ``get_secret_value()``; or your own ``redis.asyncio`` client, which is not closed for you.
        calls_per_minute: Calls in any 60 seconds, at most, of all processes.
        longest_call: Seconds; no client's ``timeout`` may be above it.
        leave_within: Seconds from a grant to the first byte of its call.
        window: Seconds of the window, for tests.

    Raises:
        ConfigurationError: A value can't be used.
    """

    def __init__(
        self,
        url: str | SecretValue | Redis,
        *,
        calls_per_minute: int = 400,
        longest_call: float = 60.0,
        leave_within: float = LEAVE_WITHIN,
        window: float = WINDOW,
    ) -> None:
        url = Secret(url)  # first: a traceback may come with local variables
        self._limit = calls_per_minute
        self._used = 0
        if not isinstance(calls_per_minute, int) or calls_per_minute < 1:  # type: ignore[redundant-expr]
            raise ConfigurationError("calls_per_minute must be a whole number above 0")
        for name, seconds in (("longest_call", longest_call), ("leave_within", leave_within), ("window", window)):
            require_positive(name, seconds)
        self._redis, self._owned = _client_at(url)
        if not hasattr(self._redis, "register_script"):
            raise ConfigurationError('the quota\'s server needs an address such as "redis://localhost:6379/0"')
        self._step_script = self._redis.register_script(STEP)
        self._window = window
        self._longest_call = longest_call
        self._leave_within = leave_within
        self._use_within = min(USE_WITHIN, window / 10)
        self._spacing = window / calls_per_minute
        self._hold = leave_within + longest_call + END_WITHIN + window
        self._me = uuid.uuid4().hex
        numbers = itertools.count(1)
        self._new_token: Callable[[], str] = lambda: f"{self._me}:{next(numbers)}"
        self._lanes = {False: _Lane(self._new_token()), True: _Lane(self._new_token())}
        self._keys: list[str] = []  # empty until a client is attached
        self._wake: Callable[[], None] = lambda: None
        self._clock = boot_time
        self._task: asyncio.Task[None] | None = None  # asks and reports
        self._timer: asyncio.TimerHandle | None = None  # starts it when the next question or report is due
        self._closing = False

        self._ended: list[_Place] = []  # calls whose end is to be reported
        self._unused: list[str] = []  # grants to give back
        self._report_at = float("inf")
        self._pause_until: float | None = None  # a pause to be reported

        self._seen: _Seen | None = None  # the last answer
        self._paused = False
        self._failures = 0  # questions in a row without an answer
        self._retry_at = float("-inf")
        self._claim = 0  # the gate during which the server's clock was set, to be reported
        self._logged_gate = 0

    def __repr__(self) -> str:
        return f"RedisQuota(calls_per_minute={self._limit}, {self._used} used)"

    # -- what the client asks -------------------------------------------------------------------------------------

    @property
    def used(self) -> int:
        """Calls of all processes that count, as of the last answer; grants in hand are among them."""
        return self._used

    @property
    def waiting_on(self) -> str:
        """What a call that may not begin waits for, as of the last answer."""
        if self._failures or self._closed:
            return QUOTA_SERVER
        return "pause" if self._paused else "quota"

    @property
    def _closed(self) -> bool:
        return self._seen is not None and self._seen.open_at > self._seen.time * MICRO

    def attach(self, wake: Callable[[], None], *, store_url: str, timeout: float) -> None:
        """
        Serve a client.

        Raises:
            ConfigurationError: The quota serves a client already, or its calls may take too long.
        """
        if self._keys:
            raise ConfigurationError("a RedisQuota serves one client; make one for each")
        if timeout > self._longest_call:
            raise ConfigurationError("timeout is above the quota's longest_call: raise that, in all processes")
        self._wake = wake
        names = ("places", "state", "singles", "imports", "overdue")
        # In a cluster the name in braces decides which server has a key: all of a store are on one.
        self._keys = [f"neto_async:{{{store_url}}}:{name}" for name in names]

    def earliest(self, now: float, *, spaced: bool, leave: int = 0) -> float:  # noqa: ARG002 - the server leaves some
        """Say when a grant in hand may begin; without one, ask the server."""
        lane = self._lanes[spaced]
        self._give_back_late(lane)
        if lane.grant is not None:
            return now + max(lane.grant.opens_at - self._clock(), 0.0)
        lane.wanted = True
        self._look()
        return float("inf")

    def begin(self, now: float, *, spaced: bool) -> _Place | None:  # noqa: ARG002 - our clock counts suspension
        """Begin a call with the grant in hand; while calls follow each other soon, ask for the next one."""
        lane, at = self._lanes[spaced], self._clock()
        self._give_back_late(lane)
        grant = lane.grant
        if grant is None or grant.opens_at > at:
            return None
        lane.grant = None
        if at - lane.began_at < BUSY:
            lane.wanted = True
            self._look()
        lane.began_at = at
        return grant

    def may_leave(self, place: _Place) -> bool:
        """Say whether the server holds the place for long enough from now on."""
        return self._clock() <= place.leave_by

    def end(self, now: float, place: _Place) -> None:  # noqa: ARG002
        """Report the end of a call, with the next question or some seconds later."""
        place.ended_at = self._clock()
        self._ended.append(place)
        self._report(place.ended_at + min(REPORT_WITHIN, self._window / 4))

    def pause(self, now: float, until: float) -> None:
        """Hold all processes back."""
        self._pause_until = max(self._pause_until or 0.0, self._clock() + until - now)
        self._give_back_all()
        self._report(0.0)

    def seconds_for(self, calls: int) -> float:
        """Say how long so many spaced calls take at the least, where no other process makes any."""
        return calls * self._spacing

    async def aclose(self) -> None:
        """Report what has ended, give back what is held, and close the connections."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await asyncio.wait({self._task})
        self._give_back_all()
        if self._keys and not self._failures and (self._ended or self._unused):
            await self._step()
        if self._owned:
            await self._redis.aclose()

    # -- asking and reporting -------------------------------------------------------------------------------------

    def _give_back_late(self, lane: _Lane) -> None:
        """Give a grant back that was not begun in time."""
        if lane.grant is not None and lane.grant.use_by <= self._clock():
            self._give_back(lane.grant, lane)

    def _give_back_all(self) -> None:
        for lane in self._lanes.values():
            if lane.grant is not None:
                self._give_back(lane.grant, lane)

    def _give_back(self, grant: _Place, lane: _Lane) -> None:
        self._unused.append(grant.token)
        lane.grant = None
        self._report(0.0)

    def _report(self, at: float) -> None:
        self._report_at = min(self._report_at, at)
        self._look()

    def _due(self) -> float:
        """Say when the next step is due, on our clock."""
        due = self._report_at
        for lane in self._lanes.values():
            if lane.grant is not None:
                due = min(due, lane.grant.use_by)
            elif lane.wanted:
                due = min(due, lane.ask_at)
        return max(due, self._retry_at)

    def _look(self) -> None:
        """See to it that the next step is made when it is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closing or self._task is not None:
            return
        seconds = self._due() - self._clock()
        loop = asyncio.get_running_loop()
        if seconds <= 0:
            self._task = loop.create_task(self._work(), name="neto_async quota")
            self._task.add_done_callback(self._note_end)
        elif seconds < float("inf"):
            self._timer = loop.call_later(seconds, self._look)

    async def _work(self) -> None:
        while not self._closing and self._due() <= self._clock():
            await self._step()

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self._wake()  # where the task was cancelled, what the client asks makes another one
        if not task.cancelled():
            self._look()

    async def _step(self) -> None:
        """Ask and report, in one round trip."""
        for lane in self._lanes.values():
            self._give_back_late(lane)
        asked_at = self._clock()  # before it is sent: the server's hold begins later than this
        asking = [
            lane if lane.wanted and lane.grant is None and lane.ask_at <= asked_at and not self._closing else None
            for lane in self._lanes.values()
        ]
        ended, unused, pause_until = tuple(self._ended), tuple(self._unused), self._pause_until
        arguments = self._arguments(asking, ended, unused, asked_at)
        self._report_at = float("inf")
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                answer = await self._step_script(keys=self._keys, args=arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server can't be used
            self._note_failure(type(error).__name__)
            if self._owned:
                # The name may lead to another server now, as after a failover.
                with suppress(Exception):
                    await self._redis.connection_pool.disconnect()
            return
        self._failures = 0
        del self._ended[: len(ended)]
        del self._unused[: len(unused)]
        if self._pause_until == pause_until:
            self._pause_until = None
        self._take_answer([int(value) for value in answer], asking, asked_at)

    def _arguments(
        self, asking: list[_Lane | None], ended: tuple[_Place, ...], unused: tuple[str, ...], asked_at: float
    ) -> list[str | int]:
        pause = 0.0 if self._pause_until is None else max(self._pause_until - asked_at, 0.0)
        seconds = (self._window, self._hold, min(AHEAD, self._window / 20), catch_up(self._spacing))
        reported: list[str | int] = []
        for place in ended:
            reported += [place.token, int((asked_at - place.ended_at) * MICRO)]
        return [
            self._me,
            self._limit,
            *(int(value * MICRO) for value in seconds),
            self._claim,
            int(pause * MICRO),
            *("" if lane is None else lane.token for lane in asking),
            len(ended),
            *reported,
            *unused,
        ]

    def _note_failure(self, failure: str) -> None:
        """Ask again after a while. What was asked and reported stays, and may be both done twice."""
        self._failures += 1
        self._retry_at = self._clock() + min(LONGEST_RETRY, 0.05 * 2.0 ** min(self._failures, 10))
        self._report_at = self._clock() if self._ended or self._unused or self._pause_until else float("inf")
        if self._failures == 1:
            logger.warning("the quota's server can't be used: %s", failure, extra={"neto_failure": failure})

    def _take_answer(self, answer: list[int], asking: list[_Lane | None], asked_at: float) -> None:
        now, open_at, paused_until, self._used, *answers = answer
        last, self._seen = self._seen, _Seen(now / MICRO, open_at, asked_at, self._clock())
        self._paused = paused_until > now
        self._claim = open_at if last is not None and self._was_set(last, self._seen) else 0
        if self._closed and open_at != self._logged_gate:
            self._logged_gate, seconds = open_at, (open_at - now) / MICRO
            logger.warning(
                "the quota's server is new, lost its state or its clock was set: no call for %.0f s",
                seconds,
                extra={"neto_pause": seconds},
            )
        for lane, given, wait, again in zip(asking, answers[::3], answers[1::3], answers[2::3], strict=True):
            if lane is None:
                continue
            lane.ask_at = self._seen.answered_at + again / MICRO
            if given == GRANTED:
                opens = wait / MICRO
                # Where the answer took a while, the call begins later than it could, and is late as early.
                lane.grant = _Place(
                    token=lane.token,
                    opens_at=self._seen.answered_at + opens,
                    use_by=asked_at + opens + self._use_within,
                    leave_by=asked_at + opens + self._leave_within,
                )
                lane.token, lane.wanted = self._new_token(), False
        if self._paused or self._claim:
            self._give_back_all()
        if self._claim:
            self._report(0.0)
        self._wake()

    def _was_set(self, last: _Seen, seen: _Seen) -> bool:
        """Say whether the server's clock was set between two answers, as far as ours can show it."""
        if seen.open_at != last.open_at or seen.asked_at - last.answered_at > self._hold:
            return False  # that is taken care of, or too long ago to matter
        slack = CLOCKS_AGREE + DRIFT * (seen.answered_at - last.asked_at)
        shortest, longest = seen.asked_at - last.answered_at, seen.answered_at - last.asked_at
        return not shortest - slack <= seen.time - last.time <= longest + slack


def _client_at(url: Secret) -> tuple[Any, bool]:
    """Make a client, or take the one that was passed; None where the address can't be read."""
    if not isinstance(url.get_secret_value(), str):
        return url.get_secret_value(), False
    try:
        return Redis.from_url(url.get_secret_value(), retry=Retry(NoBackoff(), 1)), True
    except ValueError:
        return None, True  # what was raised holds the password in its frames
