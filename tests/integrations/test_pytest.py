"""The fixtures of the pytest plugin, used as a user's tests use them."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import datetime, timedelta, timezone
from importlib.metadata import entry_points

import pytest

from neto_async import (
    AsyncNetoClient,
    AuthenticationError,
    CustomerLog,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    RejectedError,
)
from neto_async.integrations.testing import FAULTS, NetoStore
from neto_async.sandbox import faults

if not entry_points(group="pytest11", name="neto_async"):  # pragma: no cover
    pytest.skip("the project was installed before it had a plugin: install it again", allow_module_level=True)

LOG = {"notes": "Rang back."}


# --- The environment -----------------------------------------------------------------------------------------------


def test_the_environment_leads_to_the_store(neto_store):
    """What a client is made from leads to neto_store, and nowhere else."""
    said = (os.environ["NETO_STORE_URL"], os.environ["NETO_USERNAME"], os.environ["NETO_API_KEY"])
    assert (neto_store.url, neto_store.username, neto_store.api_key) == said


async def test_the_environment_leads_to_the_newest_store(neto_store, make_neto_store):
    """A store made with settings of its own takes the place of the one before, one without a user name too."""
    newer = make_neto_store(username=None)
    assert (newer.url, "") == (os.environ["NETO_STORE_URL"], os.environ["NETO_USERNAME"])
    async with AsyncNetoClient.from_env() as neto:
        await neto.add_customer_log(LOG)
    newer.assert_each_once([LOG])
    neto_store.assert_each_once([])


async def test_the_environment_has_one_login(make_neto_store, monkeypatch):
    """The keys of an add-on that a developer has in the environment are not used beside the store's."""
    monkeypatch.setenv("NETO_ACCESS_KEY", "a")
    monkeypatch.setenv("NETO_SECRET_KEY", "b")
    store = make_neto_store()
    async with AsyncNetoClient.from_env() as neto:
        await neto.add_customer_log(LOG)
    store.assert_each_once([LOG])


# --- Faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "saved"),
    [
        ("answer lost", OutcomeUnknownError, [LOG]),
        ("call lost", OutcomeUnknownError, []),
        ("server error", OutcomeUnknownError, [LOG]),
        ("rate limited", RateLimitedError, []),
        ("key refused", AuthenticationError, []),
        ("refused", RejectedError, []),
    ],
)
async def test_each_name_does_what_it_says(neto_store, fault, error, saved):
    """What the caller learns of each fault is true of what the store saved."""
    neto_store.faults.next(fault)
    async with AsyncNetoClient.from_env() as neto:
        with pytest.raises(error):
            await neto.add_customer_log(LOG, give_up_after=30)
    neto_store.assert_each_once(saved)


def test_every_name_is_tried():
    """The table above has all names."""
    (mark,) = (m for m in test_each_name_does_what_it_says.pytestmark if m.name == "parametrize")
    assert set(FAULTS) == {case[0] for case in mark.args[1]}


async def test_faults_come_in_their_order(neto_store):
    """A named fault, one as an object, and a call that passes: each meets one call, and the rest pass."""
    neto_store.faults.next("refused", None, faults.Refuse())
    async with AsyncNetoClient.from_env() as neto:
        kinds = [type((await neto.add_customer_logs([LOG])).outcomes[0]).__name__ for _ in range(4)]
    assert ["Rejected", "Added", "Rejected", "Added"] == kinds


async def test_faults_by_rule_and_for_ever(neto_store):
    """A rule goes before what is always so; both can be ended."""
    neto_store.faults.when(lambda request: request.contains("bad"), "refused")
    neto_store.faults.always("server error")

    async def added(notes: str) -> str:
        async with AsyncNetoClient.from_env() as neto:
            return type((await neto.add_customer_logs([{"notes": notes}])).outcomes[0]).__name__

    assert ["Rejected", "Unknown"] == [await added("bad"), await added("good")]
    neto_store.faults.always(None)
    assert ["Rejected", "Added"] == [await added("bad"), await added("good")]
    neto_store.faults.clear()
    assert "Added" == await added("bad")


@pytest.mark.parametrize("name", ["", "Refused", "no answer"])
def test_an_unknown_name_is_answered_with_those_that_there_are(neto_store, name):
    """A name that is none of the table's is refused where it is given, with the table."""
    for give in (neto_store.faults.next, neto_store.faults.always):
        with pytest.raises(ValueError, match=r"'answer lost', 'call lost', .* 'refused'"):
            give(name)
    with pytest.raises(ValueError, match="'answer lost'"):
        neto_store.faults.when(lambda request: True, name)


async def test_one_record_is_refused_among_others(neto_store):
    """A rule on records refuses those, and the client takes their call apart."""
    neto_store.refuse_when(lambda fields: fields["Username"] == "nobody", "no such customer")
    logs = [CustomerLog(username=name) for name in ("jsmith", "nobody", "mjones")]
    async with AsyncNetoClient.from_env() as neto:
        report = await neto.add_customer_logs(logs)
    assert [(1, ("no such customer",))] == [(outcome.index, outcome.messages) for outcome in report.rejected]
    neto_store.assert_each_once([logs[0], logs[2]])


# --- The store -----------------------------------------------------------------------------------------------------


def test_a_test_without_a_loop(neto_store):
    """A plain test calls code that runs loops of its own, one after the other."""

    async def main(notes: str) -> int:
        async with AsyncNetoClient.from_env() as neto:
            return (await neto.add_customer_log({"notes": notes})).log_id

    assert [1001, 1002] == [asyncio.run(main("one")), asyncio.run(main("two"))]
    assert [("one", 1001), ("two", 1002)] == [(log.notes, log.log_id) for log in neto_store.logs]
    assert [1, 1] == [call.records for call in neto_store.calls]


async def test_a_shared_store_is_emptied(neto_store):
    """What one test left, logs, faults and rules, is gone for the next; ids go on."""
    neto_store.refuse_when(lambda fields: True)
    async with AsyncNetoClient.from_env() as neto:
        await neto.add_customer_logs([LOG])
        neto_store.faults.next("refused")
        neto_store.call(neto_store.sandbox.clear)
        assert 1001 == (await neto.add_customer_log(LOG)).log_id
    assert 1 == len(neto_store.calls)


async def test_waiting_until_something_is_in_the_store(neto_store):
    """What a background task adds is waited for without sleeping; the condition may ask the store itself."""
    async with AsyncNetoClient.from_env() as neto:
        background = asyncio.create_task(neto.add_customer_logs([LOG] * 3))
        await neto_store.until(lambda: len(neto_store.logs) == 3)
        await background


def test_waiting_in_a_test_without_a_loop(neto_store):
    """A plain test waits for what another thread adds."""

    async def main() -> None:
        async with AsyncNetoClient.from_env() as neto:
            await neto.add_customer_log(LOG)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    asyncio.run(neto_store.until(lambda: len(neto_store.logs) == 1))
    thread.join()


async def test_waiting_ends_with_a_sentence(neto_store):
    """What does not come in time is an error that says what there is."""
    with pytest.raises(TimeoutError, match=r"did not hold within 0\.01 s: <NetoStore at http.*: 0 logs, 0 calls>"):
        await neto_store.until(lambda: False, timeout=0.01)


async def test_a_store_that_cannot_be_reached(neto_store, neto_time):
    """A stopped store takes no calls; started again it is where it was, with what it had."""
    url = neto_store.url
    async with AsyncNetoClient.from_env() as neto:
        await neto.add_customer_log(LOG)
        neto_store.stop()
        with pytest.raises(NotSentError):
            await neto.add_customer_log({"notes": "Paid."})
        assert 200 < neto_time.skipped <= 300
        neto_store.assert_each_once([LOG])
        with pytest.raises(RuntimeError, match="stopped"):
            await neto_store.until(lambda: True)
        neto_store.start()
        await neto.add_customer_log({"notes": "Paid."})
    assert url == neto_store.url
    neto_store.assert_each_once([LOG, {"notes": "Paid."}])


def test_a_port_that_is_taken(neto_store):
    """A store that can't listen says so where it is started, and can be left alone."""
    port = int(neto_store.url.rpartition(":")[2])
    second = NetoStore(port=port)
    with pytest.raises(OSError, match=str(port)):
        second.start()
    second.stop()


def test_a_store_that_answers_already(neto_store):
    """Starting it again is an error that leaves it as it is."""
    with pytest.raises(RuntimeError, match="running already"):
        neto_store.start()
    neto_store.assert_each_once([])
    neto_store.stop()
    assert "neto_async store" not in {thread.name for thread in threading.enumerate()}


def test_a_store_without_the_plugin():
    """The store is a context manager for other frameworks; stopped it can still be asked, and its thread is gone."""
    with NetoStore() as store:
        assert store.username == "sandbox"
        assert repr(store) == f"<NetoStore at {store.url}: 0 logs, 0 calls>"
    assert repr(store) == "<NetoStore not started: 0 logs, 0 calls>"
    assert "neto_async store" not in {thread.name for thread in threading.enumerate()}


def test_what_is_called_in_the_stores_thread_raises_in_the_tests(neto_store):
    """`call` runs a function beside the store, where it may touch the sandbox, and gives its result or its error."""
    assert "neto_async store" == neto_store.call(lambda: threading.current_thread().name)
    assert ["neto_async store"] == neto_store.call(lambda: [neto_store.call(threading.current_thread).name])
    with pytest.raises(ZeroDivisionError):
        neto_store.call(lambda: 1 / 0)


# --- assert_each_once ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        (["a", "b", "b"], []),
        (["b", "a", "b"], []),
        (["a", "b"], ["2 times instead of 1: logs[1] as log 1002, 1003"]),
        (["a", "b", "b", "b"], ["2 times instead of 3: logs[1], logs[2], logs[3] as log 1002, 1003"]),
        (["a", "b", "b", "c"], ["missing: logs[3]"]),
        (["b", "b"], ["not expected: log 1001"]),
        (["c"], ["missing: logs[0]", "not expected: log 1001", "not expected: log 1002, 1003"]),
        ([], ["not expected: log 1001, 1002, 1003"]),
    ],
)
async def test_each_once(neto_store, given, problems):
    """What is missing, too many or not expected is reported by position and id, in any order of the logs."""
    async with AsyncNetoClient.from_env() as neto:
        await neto.add_customer_logs([{"notes": notes} for notes in ("a", "b", "b")])

    said = []
    try:
        neto_store.assert_each_once({"notes": notes} for notes in given)
    except AssertionError as error:
        said = str(error).splitlines()
    assert (["the store does not hold each log once:", *problems] if problems else []) == said


async def test_logs_are_compared_as_they_are_sent(neto_store):
    """Logs, mappings with either kind of names, pairs, times of any zone: what is sent alike is alike."""
    brisbane = timezone(timedelta(hours=10))
    log = CustomerLog(username="jsmith", last_contacted=datetime(2026, 11, 24, 9, 30, tzinfo=brisbane), notes="x")
    async with AsyncNetoClient.from_env(wire_format="xml") as neto:
        await neto.add_customer_log(log)

    at = datetime(2026, 11, 23, 23, 30, tzinfo=timezone.utc)
    neto_store.assert_each_once([log])
    neto_store.assert_each_once([({"Username": "jsmith", "LastContacted": at}, "a context")])
    with pytest.raises(AssertionError, match="missing"):
        neto_store.assert_each_once([{"last_contacted": at + timedelta(seconds=1)}])
    with pytest.raises(AssertionError, match="missing"):
        neto_store.assert_each_once([{"username": "jsmith", "status": "Completed"}])


def test_an_expected_log_must_be_a_log(neto_store):
    """A log that no client would send is the test's mistake, said without its text."""
    with pytest.raises(ValueError, match=r"logs\[1\] is no valid log: status: ") as raised:
        neto_store.assert_each_once([LOG, {"status": "CANARY"}])
    assert "CANARY" not in str(raised.value)


# --- The report ----------------------------------------------------------------------------------------------------


async def test_the_report_lists_the_newest_calls(neto_store):
    """Numbers, what became of the newest calls, faults that were met and not met; no text of a log."""
    neto_store.faults.next(*[None] * 23, "answer lost", "refused")
    async with AsyncNetoClient.from_env() as neto:
        for _ in range(23):
            await neto.add_customer_log({"notes": "CANARY"})
        one, other = (neto.add_customer_log({"notes": "CANARY"}) for _ in range(2))
        await asyncio.gather(one, other, return_exceptions=True)

    said = neto_store.report().splitlines()
    assert [f"<NetoStore at {neto_store.url}: 25 logs, 24 calls>", "(4 earlier calls)"] == said[:2]
    assert ["call 5: 1 records, 1 saved, Success"] == said[2:3]
    assert ["call 24: 2 records, 2 saved, reset (fault: Reset after saving)", "1 faults wait for a call"] == said[-2:]
    assert "CANARY" not in "".join(said)
