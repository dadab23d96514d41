"""A quota of the program's own that raises, or answers with nonsense: each record gets its outcome all the same."""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import Any

import pytest
from scripted import Network, answers, client
from virtual import run

from neto_async import NotSentError
from neto_async.outcomes import NotSentCause
from neto_async.sending.quota import Quota, Window
from neto_async.sending.safe_quota import safe


class Sound(Quota):
    """A quota that lets every call go."""

    used = 0

    def earliest(self, now: float, *, spaced: bool, leave: int = 0) -> float:
        return now

    def begin(self, now: float, *, spaced: bool) -> Any:
        return True

    def may_leave(self, place: Any) -> bool:
        return super().may_leave(place)

    def end(self, now: float, place: Any) -> None:
        """Count nothing."""

    def pause(self, now: float, until: float) -> None:
        """Keep none."""

    def seconds_for(self, calls: int) -> float | None:
        """Know nothing."""

    async def aclose(self) -> None:
        await super().aclose()


def failing(*methods: str, times: float = math.inf, answer: Any = None) -> Quota:
    """Give a quota of which some methods raise, or give an answer, so many times."""

    class Failing(Sound):
        pass

    left = dict.fromkeys(methods, times)

    def broken(method: str) -> Any:
        def ask(self: Quota, *args: Any, **named: Any) -> Any:
            left[method] -= 1
            if left[method] < 0:
                return getattr(Sound, method)(self, *args, **named)
            if answer is None:
                raise LookupError("CANARY")
            return answer

        return property(ask) if isinstance(getattr(Quota, method), property) else ask

    for method in methods:
        setattr(Failing, method, broken(method))
    return Failing()


ALL = ("used", "waiting_on", "earliest", "begin", "may_leave", "end", "pause", "seconds_for", "aclose")


async def add_five_in_two_ways(quota: Quota, *, give_up_after: float = 300.0) -> tuple[Any, Any, Network]:
    network = Network(script=deque([answers(429, retry_after="1")]))
    async with client(network, quota=quota, batch_size=2, give_up_after=give_up_after) as neto:
        try:
            single: Any = await neto.add_customer_log({"notes": "one"})
        except NotSentError as error:
            single = error.outcome
        report = await neto.add_customer_logs([{"notes": f"bulk {number}"} for number in range(5)])
        assert 0 == neto.statistics().quota_used
        async with neto.import_customer_logs([{"notes": "last"}], total=1) as imported:
            assert imported.progress.seconds_left is None
            await imported.finish()
    return single, report, network


@pytest.mark.parametrize("answer", [None, math.nan, "soon"])
def test_a_quota_that_fails_for_a_while_costs_no_record(answer, caplog):
    """After a few failures of any method all is sent, once; the log names the error's class and not its text."""
    methods = ALL if answer is None else ("earliest",)
    _, report, network = run(lambda: add_five_in_two_ways(failing(*methods, times=2, answer=answer)))
    assert (5, 7) == (len(report.added), len(network.ledger))
    assert 7 == len({note for _, note in network.ledger})
    assert (answer is None) == ("the quota raised LookupError" in caplog.messages)
    assert "CANARY" not in caplog.text


@pytest.mark.parametrize(
    ("method", "answer"),
    [("earliest", None), ("earliest", math.nan), ("begin", None), ("begin", 0), ("may_leave", None)],
)
def test_a_quota_that_never_works_ends_records_as_not_sent(method, answer, caplog):
    """A quota that raises, gives no time, or forgets to return a place holds no record for longer than its time."""
    caplog.set_level(logging.CRITICAL)
    single, report, network = run(lambda: add_five_in_two_ways(failing(method, answer=answer), give_up_after=20.0))
    expected = NotSentCause.GAVE_UP if method == "may_leave" else NotSentCause.QUOTA_SERVER
    assert [expected] * 6 == [outcome.cause for outcome in (single, *report.outcomes)]
    assert [] == network.ledger


def test_our_own_quota_is_used_as_it_is():
    """Only a quota of the program's own is guarded."""
    window = Window(5)
    assert safe(window) is window
    assert safe(Sound()).quota is not None
