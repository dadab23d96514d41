"""
The sending engine: it decides which records go with which call, when, and what became of each.

Theory of operation. Records wait in feeds: one lane for all single adds, and one feed for each bulk add or import. A
batch is sealed when a call slot and a place in the quota are both in hand, and not before: an idle client sends at
once, a busy one fills its calls by itself. All decisions are made in one synchronous step, `_pump`, which runs in the
next turn of the loop after anything has changed; no lock is held, and nothing waits inside it. What it waits for
instead (a place in the quota, the end of a pause) is one timer.

Each call runs in a task of its own, which is never cancelled. When it ends, the verdict on its answer decides the
fate of its records:

    added                     settled
    refused, one record       settled: rejected
    refused, several          nothing was saved (an inference): cut in two, to be sent again
    429, never left           nothing was saved: put back, and everyone pauses
    413                       cut in two, and later batches stay smaller
    403 or another 4xx        the wrong address before the first success; after it cut in two as above
    a redirect                the wrong address: settled as not sent, a run stops
    key refused               settled as not sent, and the client is halted, but for one probe a minute
    anything else             settled as unknown, and never sent again

May import: the rest of sending, wire, models, outcomes, errors, settings.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from attrs import define

from neto_async.models import CustomerLog
from neto_async.outcomes import (
    Added,
    Attempt,
    Evidence,
    Invalid,
    NotSent,
    NotSentCause,
    Outcome,
    Phase,
    Rejected,
    Statistics,
    Unknown,
)
from neto_async.sending.attempts import DEFAULT_PAUSE
from neto_async.sending.clock import Clock, LoopClock, Timer
from neto_async.sending.exchange import Failure, OutgoingBody, Reply, Transport
from neto_async.sending.feeds import Entry, Feed, Piece, Root, RunFeed, SingleEntry, SingleLane, Stop
from neto_async.sending.observing import CallObserver, Guarded, logger
from neto_async.sending.quota import Quota, quota_for
from neto_async.sending.restraint import Restraint
from neto_async.sending.sizes import Sizes
from neto_async.settings import Settings
from neto_async.wire import Verdict, VerdictKind, encode_fields, fields_of, judge

__all__ = ["Engine"]

SINGLES_TO_A_RUN = 3
"""Calls of the single lane for which a run that waits is owed one: each lane gets at least a quarter of them."""

EXTRA_CALLS = 200
EXTRA_SHARE = 0.1
"""Bounds on taking refused batches apart: so many calls a run, and so much of its calls besides."""

FIRST_ROOTS = (1, 2, 3)
"""The batches which, refused to the last record with the same words, show that it is not the records' fault."""


GRACE = 0.5
"""Seconds past its deadline after which a call is left to itself. The transport's own timeouts come first."""

TURNS_TO_END = 10
"""Turns of the loop in which a call ends whose connection was closed: HTTP libraries take up to four."""

_UNENCODABLE = "the log can't be encoded: look at its times and their zones"


@define(eq=False)
class _Call:
    """A call under way, or about to begin."""

    number: int
    feed: Feed
    piece: Piece
    body: OutgoingBody
    probe: bool  # it was let through although the client is halted
    context: contextvars.Context  # of its task
    began_at: float
    timer: asyncio.TimerHandle | None = None  # leaves the call to itself; set when the transport is given it
    abandoned: bool = False  # that was done
    ended: bool = False  # its task is at its end
    observer: Guarded | None = None  # who was told of it, and hears of its end
    observed: Any = None  # what that observer wants back then

    @property
    def entries(self) -> list[Entry]:
        return self.piece.entries


class Engine:
    """
    Take records in and settle each exactly once.

    Args:
        settings: The limits.
        transport: What makes a call.
        clock: Time.
        quota: Who says when a call may begin; by default the window of ``settings.requests_per_minute``.
        jitter: Draws a number from 0 to 1 for each wait.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        *,
        clock: Clock | None = None,
        quota: Quota | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or LoopClock()
        self.quota: Quota = quota or quota_for(settings.requests_per_minute)
        self._transport = transport
        self._restraint = Restraint(jitter)
        self._observer: Guarded | None = None
        # Deciding and calling is done in nobody's context: a call carries the records of many callers, and whoever's
        # record woke the engine must not lend it a trace, or a request's id for log lines.
        self._context = contextvars.copy_context()

        self._singles = SingleLane(settings.batch_size)
        self._runs: deque[RunFeed] = deque()  # the next to be served first
        self._tasks: dict[asyncio.Task[None], _Call] = {}  # one for each call that has not ended
        self._calls: set[_Call] = set()  # the same calls, less those that were left to themselves
        self._number = 0  # of the last call that began
        self._owed = 0  # calls of the single lane while runs waited, less `SINGLES_TO_A_RUN` for each call of a run

        self._expiry: Timer | None = None  # looks which single adds have run out of time
        self._expiry_at = float("inf")  # when it does; no single add that waits gives up before

        self._pump_due = False  # a pump stands in the loop's queue
        self._timer: Timer | None = None  # pumps when what the next call waits for has come
        self._waiting_on: str | None = None

        self._succeeded = False  # a record was added: address and key are right
        self._sizes = Sizes(settings.max_batch_bytes)
        self._counts: Counter[str] = Counter()
        self._unawaited: Counter[str] = Counter()
        self._unsettled: set[Entry] = set()
        self._on_settled: list[Callable[[Entry], None]] = []
        self._closed = False  # no more is taken in
        self._given_up = False  # what waited has been given up, and what comes back is too

    def observe(self, observer: CallObserver) -> Callable[[], None]:
        """
        Tell an observer of every call from now on.

        Returns:
            What ends this. Of calls under way then, it still hears the end.

        Raises:
            RuntimeError: There is one already.
        """
        if self._observer is not None:
            raise RuntimeError("the calls of this client are observed already")
        self._observer = guarded = Guarded(observer)
        return partial(self._observe_no_more, guarded)

    def _observe_no_more(self, guarded: Guarded) -> None:
        if self._observer is guarded:
            self._observer = None

    # -- taking in ----------------------------------------------------------------------------------------------

    def submit(self, record: CustomerLog, context: Any, give_up_after: float) -> SingleEntry:
        """Take in a single add; its outcome comes through ``waiter``."""
        now = self.clock.monotonic()
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        entry = SingleEntry(index=0, record=record, context=context, waiter=waiter, give_up_at=now + give_up_after)
        if self._observer is not None:
            entry.origin = self._observer.handed_in()
        self._unsettled.add(entry)
        if self._closed:
            self._settle_waiting(entry, _CLOSED)
        elif not self._restraint.takes_in(now):
            self._settle_waiting(entry, _KEY_REFUSED)
        elif entry.give_up_at < self._restraint.asked_until:
            self._settle_waiting(entry, self._rate_limited(now))
        else:
            self._singles.add(entry)
            self._expire_at(entry.give_up_at)
            self.wake()
        return entry

    def withdraw(self, entry: SingleEntry) -> None:
        """Let go of a single add whose caller was cancelled, unless a call carries it or it was settled already."""
        if not entry.in_call and entry in self._unsettled:
            self._singles.withdraw(entry)
            self._forget(entry)

    def unawaited(self, outcome: Outcome) -> None:
        """Count an outcome that its caller will not see, and say so in the log."""
        name = type(outcome).__name__
        self._unawaited[name] += 1
        logger.warning(
            "a customer log ended as %s after its caller had been cancelled", name, extra=_described(outcome)
        )

    def attach(self, feed: RunFeed) -> None:
        """Serve a bulk add or an import from now on."""
        now = self.clock.monotonic()
        if self._observer is not None:
            feed.origin = self._observer.handed_in()
        self._runs.append(feed)
        if self._closed:
            self.stop_run(feed, _CLOSED)
        elif not self._restraint.takes_in(now):
            self.stop_run(feed, _KEY_REFUSED)
        else:
            self._stop_if_pause_is_too_long(feed, now)

    def detach(self, feed: RunFeed) -> None:
        """Serve a run no more."""
        if feed in self._runs:
            self._runs.remove(feed)
        if not self._runs:
            self._owed = 0

    def offer(self, feed: RunFeed, entry: Entry) -> None:
        """Take in a record of a run."""
        if feed.stop is not None:
            feed.settle((self._count(_not_sent(entry, feed.stop)),))
            return
        self._unsettled.add(entry)
        feed.add(entry)
        self.wake()

    def stop_run(self, feed: RunFeed, stop: Stop) -> None:
        """Send no more of a run: what waits is settled as not sent, calls under way go on."""
        if feed.stop is not None:
            return
        feed.stop = stop
        logger.warning("a run stopped: %s", stop.cause, extra={"neto_cause": stop.cause.name})
        for entry in feed.clear():
            self._settle_waiting(entry, stop, feed)
        feed.stopped()

    def wake(self) -> None:
        """Look in the next turn of the loop whether a call can begin."""
        if not self._pump_due:
            self._pump_due = True
            asyncio.get_running_loop().call_soon(self._pump, context=self._context)

    # -- closing ------------------------------------------------------------------------------------------------

    def close_intake(self) -> None:
        """Take no more records."""
        self._closed = True

    def fail_waiting(self) -> None:
        """Settle all that waits as not sent; calls under way go on."""
        self._given_up = True
        self._fail_all(_CLOSED)
        if self._expiry is not None:
            self._expiry.cancel()
        self.wake()  # to find that nothing waits, and to let go of the timer

    def revoke_calls(self) -> None:
        """Let nothing leave any more: what a call carries that has not left by now is settled as not sent."""
        for call in tuple(self._calls):
            call.body.revoked = True
            # One that is not with the transport yet waits for whoever notes it, and has to be told of as ended.
            if call.timer is not None and not call.body.left:
                call.timer.cancel()
                call.context.run(self._abandon, call, "client closed")

    async def see_off_calls(self) -> None:
        """Wait for the end of calls whose connections have been closed: some turns of the loop."""
        for _ in range(TURNS_TO_END):
            if any(call.body.left for call in self._tasks.values()):
                await asyncio.sleep(0)

    def unsettled(self) -> frozenset[Entry]:
        """List the records taken in that have no outcome yet."""
        return frozenset(self._unsettled)

    async def wait_settled(self, entries: Iterable[Entry], timeout: float | None) -> bool:  # noqa: ASYNC109 - not raised: it is the answer
        """Wait until records have their outcomes; False where the timeout, in seconds, came first."""
        remaining = set(entries) & self._unsettled
        if not remaining:
            return True
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def note(entry: Entry) -> None:
            remaining.discard(entry)
            if not remaining:
                _answer(done, True)

        timer = None if timeout is None else self.clock.call_at(self.clock.monotonic() + timeout, _answer, done, False)
        self._on_settled.append(note)
        try:
            return await done
        finally:
            self._on_settled.remove(note)
            if timer is not None:
                timer.cancel()

    def records_in_flight(self) -> int:
        """Count the records that calls carry now."""
        return sum(len(call.entries) for call in self._calls)

    def statistics(self) -> Statistics:
        """Count what was done, and say what waits on what."""
        now = self.clock.monotonic()
        waiting_single = self._singles.waiting
        # A copy: another thread may read this while the loop serves the runs.
        waiting_import = sum(feed.waiting for feed in tuple(self._runs))
        return Statistics(
            calls=self._number,
            in_flight=len(self._calls),
            waiting_single=waiting_single,
            waiting_import=waiting_import,
            waiting_on=self._waiting_on if waiting_single or waiting_import else None,
            failing=self._restraint.failures,
            paused_for=max(0.0, self._restraint.paused_until - now),
            quota_used=self.quota.used,
            halted=self._restraint.halted,
            added=self._counts["Added"],
            rejected=self._counts["Rejected"],
            invalid=self._counts["Invalid"],
            not_sent=self._counts["NotSent"],
            unknown=self._counts["Unknown"],
            unawaited=dict(self._unawaited),
        )

    def count(self, outcome: Outcome) -> Outcome:
        """Count an outcome that was decided before the record reached the engine."""
        return self._count(outcome)

    # -- which call next ----------------------------------------------------------------------------------------

    def _pump(self) -> None:
        self._pump_due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (feed := self._next_feed()) is not None:
            self._begin(feed)
            # One batch a turn: encoding as many as slots are free would hold the loop that much longer.
            if self._ready_feeds():
                self.wake()

    def _next_feed(self) -> Feed | None:
        """Choose the feed whose batch goes now; where none may, note what for and when to look again."""
        self._waiting_on = None
        ready = self._ready_feeds()
        if not ready:
            return None
        if len(self._calls) >= (1 if self._restraint.probing else self.settings.max_concurrency):
            self._waiting_on = "slot"
            return None
        now, pause, probe_at = self.clock.monotonic(), self._restraint.paused_until, self._restraint.probe_at
        if now < max(pause, probe_at):
            self._wait_for("pause" if pause > probe_at else "probe", max(pause, probe_at))
            return None
        nearest: float | None = None
        for feed in ready:
            # What runs are owed is left for them, since they can't take it in a burst as single adds can.
            leave = 0 if feed.spaced or len(ready) == 1 else self._owed // SINGLES_TO_A_RUN
            at = self.quota.earliest(now, spaced=feed.spaced, leave=leave)
            if at is not None and at <= now:
                return feed
            if at is not None:
                nearest = at if nearest is None else min(nearest, at)
        self._wait_for("quota", nearest)
        return None

    def _wait_for(self, what: str, when: float | None) -> None:
        self._waiting_on = what
        if when is not None:
            self._timer = self.clock.call_at(when, self._pump)

    def _ready_feeds(self) -> list[Feed]:
        runs: list[Feed] = [feed for feed in self._runs if feed.ready()]
        if not self._singles.ready():
            return runs
        if runs and self._owed >= SINGLES_TO_A_RUN:
            return [*runs, self._singles]
        return [self._singles, *runs]

    # -- one call -----------------------------------------------------------------------------------------------

    def _begin(self, feed: Feed) -> None:
        piece = feed.take(1 if self._restraint.probing else feed.most)
        body = None if piece is None else self._seal(feed, piece)
        if piece is None or body is None:
            return
        now = self.clock.monotonic()
        self._number += 1
        probe = self._restraint.halted
        call = _Call(self._number, feed, piece, OutgoingBody(body), probe, self._context.copy(), now)
        self._note_turn(feed)
        self.quota.begin(now, spaced=feed.spaced)
        feed.in_flight += 1
        feed.calls += 1
        for entry in call.entries:
            if isinstance(entry, SingleEntry):
                entry.in_call = True
        self._calls.add(call)
        name = f"neto_async call {call.number}"
        task = asyncio.get_running_loop().create_task(self._run(call), name=name, context=call.context)
        self._tasks[task] = call
        task.add_done_callback(self._gone, context=call.context)

    def _note_turn(self, feed: Feed) -> None:
        if isinstance(feed, RunFeed):
            self._owed = max(0, self._owed - SINGLES_TO_A_RUN)
            self._runs.remove(feed)
            self._runs.append(feed)
        elif self._owed < SINGLES_TO_A_RUN or any(run.ready() for run in self._runs):
            # Where no run waits, the next one to come has the first turn, and no more.
            self._owed += 1

    def _seal(self, feed: Feed, piece: Piece) -> bytes | None:
        """Encode a piece; what does not fit into a call is taken back, what never can is settled as invalid."""
        while True:
            records = [entry.record for entry in piece.entries]
            if (fit := self._sizes.fitting(records)) < len(records):
                feed.shorten(piece, fit)
                del records[fit:]
            body = self._encode(piece.entries)
            if len(records) == 1:
                fault = _fault_alone(body, self.settings.max_batch_bytes)
                if fault is None:
                    return body
                self._settle(piece.entries, feed, [_invalid(piece.entries[0], fault)])
                return None
            if body is not None and len(body) <= self._sizes.limit:
                self._sizes.note(records, len(body))
                return body
            feed.shorten(piece, self._sizes.cut(records, None if body is None else len(body)))

    def _encode(self, entries: list[Entry]) -> bytes | None:
        try:
            for entry in entries:
                entry.fields = entry.fields or fields_of(entry.record, zone=self.settings.wire_timezone)
            return encode_fields([entry.fields for entry in entries], self.settings.wire_format)
        except Exception as error:  # noqa: BLE001
            # A caller's own tzinfo can raise anything; its neighbours must not notice.
            name = type(error).__name__
            described = {"neto_records": len(entries), "neto_failure": name}
            logger.warning("a batch of %d could not be encoded (%s)", len(entries), name, extra=described)
            return None

    async def _run(self, call: _Call) -> None:
        exchange: Reply | Failure = _CANCELLED
        try:
            if not await self._noted(call):
                exchange = _WITHHELD
            elif call.body.revoked:
                exchange = _REVOKED
            else:
                self._tell_observer(call)
                # The loop's own time, which the transport's deadline is in.
                given_up = partial(self._abandon, call, "deadline passed")
                longest = self.settings.timeout + GRACE
                call.timer = asyncio.get_running_loop().call_later(longest, given_up, context=call.context)
                exchange = await self._transport.call(call.body)
        except Exception as error:  # noqa: BLE001
            # A transport that breaks its contract must not take records with it. A traceback could show a text.
            exchange = Failure(name=type(error).__name__)
            described = {"neto_call": call.number, "neto_failure": exchange.name}
            logger.error("the transport raised %s", exchange.name, extra=described)
        finally:
            self._end(call, exchange)

    def _gone(self, task: asyncio.Task[None]) -> None:
        call = self._tasks.pop(task)
        if not call.ended:
            # A loop that is torn down cancelled it before its first step.
            self._end(call, _CANCELLED)

    async def _noted(self, call: _Call) -> bool:
        """Have a call noted before it leaves, where a run wants that; False where it must not leave."""
        ahead = call.feed.write_ahead if isinstance(call.feed, RunFeed) else None
        return ahead is None or await ahead.intend(call.number, call.entries)

    def _tell_observer(self, call: _Call) -> None:
        if self._observer is None:
            return
        feed = call.feed
        singles = [entry.origin for entry in call.entries if isinstance(entry, SingleEntry)]
        origins = [feed.origin] if isinstance(feed, RunFeed) else singles
        call.observer = self._observer
        call.observed = call.observer.began(call.number, origins, len(call.entries), len(call.body.content))

    def _abandon(self, call: _Call, why: str) -> None:
        """Leave a call to itself. Its place in the quota it keeps to its end, since the store may see it until then."""
        call.abandoned = True
        call.body.revoked = True  # what has not left by now never will
        self._conclude(call, Failure(name=why))
        self.wake()

    def _end(self, call: _Call, exchange: Reply | Failure) -> None:
        call.ended = True
        if call.timer is not None:
            call.timer.cancel()
        self.quota.end(self.clock.monotonic())
        if not call.abandoned:
            self._conclude(call, exchange)
        self.wake()

    def _conclude(self, call: _Call, exchange: Reply | Failure) -> None:
        now = self.clock.monotonic()
        self._calls.discard(call)
        call.feed.in_flight -= 1
        verdict = self._judge(call, exchange)
        attempt = _attempt(call, exchange, now - call.began_at)
        call.piece.spent += now - call.began_at
        for entry in call.entries:
            entry.attempts = (*entry.attempts, attempt) if entry.attempts else (attempt,)
            if isinstance(entry, SingleEntry):
                entry.in_call = False
        if logger.isEnabledFor(logging.DEBUG):
            ended = "never left" if verdict is None else verdict.kind.name
            described = {"neto_call": call.number, "neto_records": len(call.entries), "neto_status": attempt.status}
            logger.debug("call %d: %s", call.number, ended, extra=described)
        if exchange is _WITHHELD and isinstance(call.feed, RunFeed):
            self.stop_run(call.feed, _NOT_NOTED)
            self._put_back(call, call.piece)
        elif verdict is None:
            self._never_left(call)
        else:
            self._restraint.left(call.began_at)
            self._actions[verdict.kind](self, call, verdict)
        if isinstance(call.feed, RunFeed) and call.feed.write_ahead is not None:
            call.feed.write_ahead.ended(call.number)
        if call.observer is not None and call.observed is not None:
            # Last, so that what is logged of a call is logged where its observer put it.
            call.observer.ended(call.observed, attempt, None if verdict is None else verdict.kind)

    def _judge(self, call: _Call, exchange: Reply | Failure) -> Verdict | None:
        """Give the verdict on a call; None where it never left."""
        if isinstance(exchange, Reply):
            return judge(exchange.status, exchange.headers, exchange.body, len(call.entries), now=self.clock.utcnow())
        if not call.body.left:
            return None
        reason = f"the call had left when it failed ({exchange.name})"
        return Verdict(kind=VerdictKind.UNKNOWN, reason=reason, status=exchange.status)

    # -- what a verdict means -----------------------------------------------------------------------------------

    def _added(self, call: _Call, verdict: Verdict) -> None:
        self._note_definite(call)
        self._note_key_taken(call)
        self._succeeded = True
        if isinstance(call.feed, RunFeed):
            call.feed.alone_blocked = None
        added = [
            Added(
                index=entry.index,
                record=entry.record,
                context=entry.context,
                attempts=entry.attempts,
                log_id=log_id,
                warnings=verdict.warnings,
            )
            for entry, log_id in zip(call.entries, verdict.log_ids, strict=True)
        ]
        self._settle(call.entries, call.feed, added)

    def _refused(self, call: _Call, verdict: Verdict) -> None:
        self._note_definite(call)
        self._note_key_taken(call)
        if len(call.entries) == 1 or not self.settings.isolate_rejections:
            self._reject(call, verdict)
        else:
            self._cut(call, verdict)

    def _reject(self, call: _Call, verdict: Verdict) -> None:
        root = call.piece.root
        root.refused += len(call.entries)
        root.texts.add(verdict.messages)
        rejected = [
            Rejected(
                index=entry.index,
                record=entry.record,
                context=entry.context,
                attempts=entry.attempts,
                messages=verdict.messages or (verdict.reason,),
            )
            for entry in call.entries
        ]
        self._settle(call.entries, call.feed, rejected)
        if isinstance(call.feed, RunFeed):
            self._look_for_a_pattern(call.feed, root, len(call.entries))

    def _look_for_a_pattern(self, feed: RunFeed, root: Root, rejected: int) -> None:
        """Stop a run whose refusals are not the records' fault."""
        feed.rejected += rejected
        if feed.max_rejected is not None and feed.rejected > feed.max_rejected:
            cause = NotSentCause.TOO_MANY_REJECTED
            self.stop_run(feed, Stop(cause=cause, reason=f"{cause}: {feed.rejected}"))
            return
        if root.ordinal in FIRST_ROOTS and root.refused == root.size and len(root.texts) == 1:
            (feed.refused_roots[root.ordinal],) = root.texts
            texts = set(feed.refused_roots.values())
            if len(feed.refused_roots) == len(FIRST_ROOTS) and len(texts) == 1:
                self.stop_run(feed, _refused_whole(texts.pop()))

    def _cut(self, call: _Call, verdict: Verdict) -> None:
        """Send the halves of a batch again: nothing of it was saved."""
        feed, piece = call.feed, call.piece
        if isinstance(feed, RunFeed):
            if feed.extra_calls + 2 > EXTRA_SHARE * feed.calls + EXTRA_CALLS:
                self._settle_all(call, _refused_whole(verdict.messages))
                self.stop_run(feed, _refused_whole(verdict.messages))
                return
            feed.extra_calls += 2
        middle = (len(piece.entries) + 1) // 2
        self._put_back(call, Piece(piece.entries[middle:], piece.root, piece.spent))
        self._put_back(call, Piece(piece.entries[:middle], piece.root, piece.spent))

    def _too_large(self, call: _Call, verdict: Verdict) -> None:
        self._note_definite(call)
        if len(call.entries) == 1:
            self._reject(call, verdict)
        else:
            self._sizes.lower(len(call.body.content))
            self._cut(call, verdict)

    def _blocked(self, call: _Call, verdict: Verdict) -> None:
        if not self._succeeded:
            self._wrong_address(call, verdict)
            return
        self._note_definite(call)
        if len(call.entries) > 1:
            self._cut(call, verdict)
            return
        feed, entry = call.feed, call.entries[0]
        if isinstance(feed, RunFeed) and feed.alone_blocked not in {None, entry}:
            # Two records alone, and no success between them: it is not a text that a firewall dislikes.
            self._wrong_address(call, verdict)
            return
        self._reject(call, verdict)
        if isinstance(feed, RunFeed):
            feed.alone_blocked = entry

    def _wrong_address(self, call: _Call, verdict: Verdict) -> None:
        self._note_definite(call)
        stop = Stop(cause=NotSentCause.WRONG_ADDRESS, reason=f"{NotSentCause.WRONG_ADDRESS}: {verdict.reason}")
        self._settle_all(call, stop)
        if isinstance(call.feed, RunFeed):
            self.stop_run(call.feed, stop)

    def _rate_limited_call(self, call: _Call, verdict: Verdict) -> None:
        now = self.clock.monotonic()
        seconds = DEFAULT_PAUSE if verdict.retry_after is None else verdict.retry_after
        self._restraint.asked_to_pause(now, seconds)
        logger.warning("the store asked for a pause of %.0f s", seconds, extra={"neto_pause": seconds})
        for entry in self._singles.entries():
            if entry.give_up_at < self._restraint.asked_until:
                self._settle_waiting(entry, self._rate_limited(now))
        self._try_again(call, self._restraint.asked_until - now, self._rate_limited(now))
        for feed in list(self._runs):
            self._stop_if_pause_is_too_long(feed, now)

    def _stop_if_pause_is_too_long(self, feed: RunFeed, now: float) -> None:
        if self._restraint.asked_until - now > self.settings.give_up_after:
            self.stop_run(feed, self._rate_limited(now))

    def _rate_limited(self, now: float) -> Stop:
        cause, seconds = NotSentCause.RATE_LIMITED, self._restraint.asked_until - now
        return Stop(cause=cause, reason=f"{cause}: {seconds:.0f} s", retry_after=seconds)

    def _never_left(self, call: _Call) -> None:
        now = self.clock.monotonic()
        self._restraint.never_left(now)
        self._try_again(call, self._restraint.backoff_until - now, _GAVE_UP)

    def _try_again(self, call: _Call, wait: float, stop: Stop) -> None:
        """Put back what was certainly not saved, unless its time is over by then."""
        piece = call.piece
        piece.spent += max(wait, 0.0)
        if isinstance(call.feed, RunFeed) and piece.spent > self.settings.give_up_after:
            self._settle_all(call, stop)
            self.stop_run(call.feed, stop)
            return
        self._put_back(call, piece)

    def _put_back(self, call: _Call, piece: Piece) -> None:
        now = self.clock.monotonic()
        if isinstance(call.feed, RunFeed):
            stop = call.feed.stop
            if stop is None:
                call.feed.put_back(piece)
            else:
                for entry in piece.entries:
                    self._settle_waiting(entry, stop, call.feed)
            return
        for entry in list(piece.entries):
            assert isinstance(entry, SingleEntry)  # noqa: S101
            if (stop := self._why_not_again(entry, now, probe=call.probe)) is None:
                self._expire_at(entry.give_up_at)
            else:
                self._settle_waiting(entry, stop)
                piece.entries.remove(entry)
        if piece.entries:
            call.feed.put_back(piece)

    def _why_not_again(self, entry: SingleEntry, now: float, *, probe: bool) -> Stop | None:
        if entry.waiter.done():
            return _NOBODY_WAITS
        if self._given_up:
            return _CLOSED
        if self._restraint.halted and not probe:
            return _KEY_REFUSED
        if entry.give_up_at < self._restraint.asked_until:
            return self._rate_limited(now)
        if entry.give_up_at <= max(now, self._restraint.backoff_until):
            return _GAVE_UP
        return None

    def _key_refused(self, call: _Call, verdict: Verdict) -> None:  # noqa: ARG002
        if not self._restraint.halted:
            described = {"neto_call": call.number, "neto_cause": NotSentCause.KEY_REFUSED.name}
            logger.error("the store refused the API key; nothing is sent but one probe a minute", extra=described)
        self._restraint.key_refused(self.clock.monotonic())
        self._note_definite(call)
        self._settle_all(call, _KEY_REFUSED)
        self._fail_all(_KEY_REFUSED)

    def _in_doubt(self, call: _Call, verdict: Verdict) -> None:
        now = self.clock.monotonic()
        self._restraint.ended_in_doubt(now)
        evidence = Evidence(
            log_ids=verdict.log_ids, messages=(*verdict.messages, *verdict.warnings), status=verdict.status
        )
        unknown = [
            Unknown(
                index=entry.index,
                record=entry.record,
                context=entry.context,
                attempts=entry.attempts,
                reason=verdict.reason,
                evidence=evidence,
            )
            for entry in call.entries
        ]
        self._settle(call.entries, call.feed, unknown)
        if not self._restraint.in_doubt:
            return
        for feed in list(self._runs):
            if feed.doubtful_since is None:
                feed.doubtful_since = now
            if self._restraint.probe_at - feed.doubtful_since > self.settings.give_up_after:
                cause = NotSentCause.IN_DOUBT
                self.stop_run(feed, Stop(cause=cause, reason=f"{cause}: {verdict.reason}"))

    def _note_definite(self, call: _Call) -> None:
        """Note that the store answered in a way that leaves no doubt."""
        self._restraint.ended_definitely()
        for feed in self._runs:
            feed.doubtful_since = None
        if isinstance(call.feed, RunFeed):
            call.feed.feeling = False

    def _note_key_taken(self, call: _Call) -> None:
        if call.probe and self._restraint.halted:
            self._restraint.key_taken()
            logger.info("the store takes the API key again", extra={"neto_call": call.number})

    _actions: ClassVar[Mapping[VerdictKind, Callable[[Engine, _Call, Verdict], None]]] = {
        VerdictKind.ADDED: _added,
        VerdictKind.REFUSED: _refused,
        VerdictKind.TOO_LARGE: _too_large,
        VerdictKind.BLOCKED: _blocked,
        VerdictKind.WRONG_ADDRESS: _wrong_address,
        VerdictKind.RATE_LIMITED: _rate_limited_call,
        VerdictKind.KEY_REFUSED: _key_refused,
        VerdictKind.UNKNOWN: _in_doubt,
    }

    # -- settling -----------------------------------------------------------------------------------------------

    def _settle(self, entries: Sequence[Entry], feed: Feed, outcomes: Sequence[Outcome]) -> None:
        """Give records of one feed their outcomes."""
        for entry, outcome in zip(entries, outcomes, strict=True):
            self._count(outcome)
            self._forget(entry)
            if isinstance(entry, SingleEntry):
                self._answer_caller(entry, outcome)
        if isinstance(feed, RunFeed):
            feed.settle(outcomes)

    def _answer_caller(self, entry: SingleEntry, outcome: Outcome) -> None:
        if entry.waiter.done():
            self.unawaited(outcome)
        else:
            entry.waiter.set_result(outcome)

    def _settle_all(self, call: _Call, stop: Stop) -> None:
        self._settle(call.entries, call.feed, [_not_sent(entry, stop) for entry in call.entries])

    def _settle_waiting(self, entry: Entry, stop: Stop, feed: RunFeed | None = None) -> None:
        if isinstance(entry, SingleEntry):
            self._singles.withdraw(entry)
        self._settle((entry,), feed or self._singles, (_not_sent(entry, stop),))

    def _fail_all(self, stop: Stop) -> None:
        for entry in self._singles.entries():
            self._settle_waiting(entry, stop)
        for feed in list(self._runs):
            self.stop_run(feed, stop)

    def _expire_at(self, when: float) -> None:
        """Look at the latest then which single adds have run out of time: one timer for all, that is seldom moved."""
        if when >= self._expiry_at:
            return
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry, self._expiry_at = self.clock.call_at(when, self._expire), when

    def _expire(self) -> None:
        self._expiry, self._expiry_at = None, float("inf")
        now = self.clock.monotonic()
        for entry in self._singles.entries():
            if entry.give_up_at <= now:
                self._settle_waiting(entry, _GAVE_UP)
            else:
                self._expire_at(entry.give_up_at)

    def _forget(self, entry: Entry) -> None:
        self._unsettled.discard(entry)
        if self._on_settled:
            for note in list(self._on_settled):
                note(entry)

    def _count(self, outcome: Outcome) -> Outcome:
        self._counts[type(outcome).__name__] += 1
        return outcome


_WITHHELD = Failure(name="Withheld")
"""Stands for a call that was not made because it could not be noted before."""

_REVOKED = Failure(name="client closed")
"""Stands for a call that was not made because the client had been closed meanwhile."""

_CANCELLED = Failure(name="CancelledError")
"""Stands for a call whose task was cancelled, as only a loop does that is torn down."""

_NOT_NOTED = Stop(cause=NotSentCause.JOURNAL, reason=NotSentCause.JOURNAL)
_CLOSED = Stop(cause=NotSentCause.CLOSED, reason=NotSentCause.CLOSED)
_GAVE_UP = Stop(cause=NotSentCause.GAVE_UP, reason=NotSentCause.GAVE_UP)
_NOBODY_WAITS = Stop(cause=NotSentCause.STOPPED, reason="its caller was cancelled, and its call saved nothing")
_KEY_REFUSED = Stop(cause=NotSentCause.KEY_REFUSED, reason=NotSentCause.KEY_REFUSED)


def _answer(future: asyncio.Future[bool], answer: bool) -> None:  # noqa: FBT001 - a callback's
    if not future.done():
        future.set_result(answer)


def _refused_whole(messages: tuple[str, ...]) -> Stop:
    cause = NotSentCause.REFUSED_WHOLE
    return Stop(cause=cause, reason=": ".join((cause, *messages)))


def _not_sent(entry: Entry, stop: Stop) -> NotSent:
    return NotSent(
        index=entry.index,
        record=entry.record,
        context=entry.context,
        attempts=entry.attempts,
        reason=stop.reason,
        cause=stop.cause,
        retry_after=stop.retry_after,
    )


def _fault_alone(body: bytes | None, limit: int) -> str | None:
    if body is None:
        return _UNENCODABLE
    if len(body) > limit:
        return f"the log takes {len(body)} bytes in a call of its own, and max_batch_bytes is {limit}"
    return None


def _invalid(entry: Entry, fault: str) -> Invalid:
    return Invalid(index=entry.index, record=entry.record, context=entry.context, errors=(fault,))


def _attempt(call: _Call, exchange: Reply | Failure, seconds: float) -> Attempt:
    answered = isinstance(exchange, Reply)
    phase = Phase.ANSWERED if answered else Phase.LEFT if call.body.left else Phase.NEVER_LEFT
    return Attempt(
        call=call.number,
        records=len(call.entries),
        body_bytes=len(call.body.content),
        phase=phase,
        seconds=seconds,
        status=exchange.status,
        failure=None if isinstance(exchange, Reply) else exchange.name,
    )


def _described(outcome: Outcome) -> dict[str, object]:
    """Describe an outcome for a log record: its position and its calls, nothing of its contents."""
    calls = [attempt.call for attempt in outcome.attempts]
    return {"neto_index": outcome.index, "neto_outcome": type(outcome).__name__, "neto_calls": calls}
