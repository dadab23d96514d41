"""A quota whose answers come later, from a server: what the client asks of it, and what it does without."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scripted import Network, client, saves_or_fails
from virtual import run

from neto_async import NotSentError
from neto_async.outcomes import NotSentCause
from neto_async.sending.quota import QUOTA_SERVER, Quota

FOREVER = float("inf")


class Gate(Quota):
    """A quota that is opened and shut by hand, and wakes its client."""

    used = 0

    def __init__(self, *, shut: bool = False) -> None:
        self.shut = shut
        self.server_away = False
        self.asked = 0
        self.refuses = 0  # the number of the question whether a call may leave that is answered no
        self.calls: list[Any] = []

    @property
    def waiting_on(self) -> str:
        return QUOTA_SERVER if self.server_away else super().waiting_on

    def attach(self, wake, *, store_url, timeout):
        super().attach(wake, store_url=store_url, timeout=timeout)
        self.wake = wake
        self.calls.append(("attach", store_url, timeout))

    def earliest(self, now, *, spaced, leave=0):
        return FOREVER if self.shut else now

    def begin(self, now, *, spaced):
        return ("place", len(self.calls))

    def may_leave(self, place):
        self.asked += 1
        return self.asked != self.refuses and super().may_leave(place)

    def end(self, now, place):
        self.calls.append(("end", place))

    def pause(self, now, until):
        """Keep none."""

    def seconds_for(self, calls):
        """Know nothing."""

    async def aclose(self):
        await super().aclose()
        self.calls.append(("aclose",))


def test_a_quota_is_attached_once_gets_its_places_back_and_is_closed():
    """A quota learns of its client first, gets the very place back that it gave, and is closed with the client."""
    gate = Gate()

    async def work() -> None:
        async with client(Network(), quota=gate, timeout=7.0) as neto:
            await neto.add_customer_log({"notes": "first"})
            await neto.add_customer_log({"notes": "second"})

    run(work)
    first, second = ("end", ("place", 1)), ("end", ("place", 2))
    assert [("attach", "http://localhost", 7.0), first, second, ("aclose",)] == gate.calls


def test_a_quota_that_says_infinity_wakes_its_client():
    """A client that waits for its quota without a time sends as soon as it is woken."""
    network, gate = Network(), Gate(shut=True)

    async def work() -> float:
        async with client(network, quota=gate) as neto:
            add = asyncio.ensure_future(neto.add_customer_log({"notes": "waits"}))
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(20)
            assert ("quota", 0) == (neto.statistics().waiting_on, network.tried)
            gate.shut = False
            gate.wake()
            await add
            return network.sent[0].at - began

    assert pytest.approx(20) == run(work)


@pytest.mark.parametrize(("refuses", "tried"), [(1, 1), (2, 2)], ids=["before its head", "before its body"])
def test_a_call_whose_place_lapsed_does_not_leave(caplog, refuses, tried):
    """
    Where the place no longer counts, nothing of the call leaves, and its records go later.

    Before its head, which the store may count, and once more when its body is asked for.
    """
    network, gate = Network(always=saves_or_fails), Gate()
    gate.refuses = refuses

    async def work() -> Any:
        async with client(network, quota=gate) as neto:
            return await neto.add_customer_log({"notes": "once"})

    first, second = run(work).attempts
    assert ["never left", "answered"] == [first.phase, second.phase]
    assert "its place in the quota, or its journal's lease, had lapsed" == first.kind
    assert [] == caplog.messages, "nothing is wrong with the store"
    assert ([(1, "once")], tried) == (network.ledger, network.tried)


def test_a_single_add_gives_up_on_the_quotas_server():
    """A log whose quota's server was away until its time was over says so, and was not sent."""
    network, gate = Network(), Gate(shut=True)
    gate.server_away = True

    async def work() -> Any:
        async with client(network, quota=gate) as neto:
            add = asyncio.ensure_future(neto.add_customer_log({"notes": "waits"}, give_up_after=30.0))
            await asyncio.sleep(1)
            assert "quota server" == neto.statistics().waiting_on
            with pytest.raises(NotSentError) as raised:
                await add
            return raised.value.outcome.cause

    assert NotSentCause.QUOTA_SERVER == run(work)
    assert 0 == network.tried


@pytest.mark.parametrize(("away", "added"), [([99.0], 5), ([99.0, 99.0], 5), ([101.0], 0)])
def test_a_run_gives_up_on_the_quotas_server_after_its_time(away, added):
    """A run waits for the quota's server for give_up_after at a stretch; then it stops, and says why."""
    network, gate = Network(), Gate(shut=True)

    async def work() -> Any:
        async with client(network, quota=gate, give_up_after=100.0) as neto:
            bulk = asyncio.ensure_future(neto.add_customer_logs([{"notes": "waits"}] * 5))
            for seconds in away:
                gate.server_away = True
                gate.wake()
                await asyncio.sleep(seconds)
                gate.server_away = False
                gate.wake()
                await asyncio.sleep(1)
            gate.shut = False
            gate.wake()
            return await bulk

    report = run(work)
    assert (added, {NotSentCause.QUOTA_SERVER} if not added else set()) == (
        len(report.added),
        {outcome.cause for outcome in report.not_sent},
    )
