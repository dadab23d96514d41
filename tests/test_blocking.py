"""The client for code without an event loop, over a store on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from neto_async import AsyncNetoClient, BlockingNetoClient, ConfigurationError, RejectedError
from neto_async.integrations.testing import NetoStore
from neto_async.sandbox import faults


@pytest.fixture
def shop(monkeypatch):
    """A store in a thread of its own, with its address and key in the environment."""
    with NetoStore() as store:
        monkeypatch.setenv("NETO_STORE_URL", store.url)
        monkeypatch.setenv("NETO_USERNAME", store.username)
        monkeypatch.setenv("NETO_API_KEY", store.api_key)
        yield store


def test_threads_share_one_client(shop):
    """Each thread gets its own outcome, all share calls, and nothing is left behind."""
    with BlockingNetoClient.from_env() as neto, ThreadPoolExecutor(8) as threads:
        added = list(threads.map(lambda number: neto.add_customer_log({"notes": str(number)}), range(40)))
        report = neto.add_customer_logs([{"notes": "a"}, {}])
        drained = neto.flush()
    assert {log.log_id: log.fields["Notes"] for log in shop.logs if log.fields["Notes"] != "a"} == {
        outcome.log_id: str(number) for number, outcome in enumerate(added)
    }
    assert (1, 1, True) == (len(report.added), len(report.invalid), drained.drained)
    assert len(shop.calls) < 41
    assert [] == [thread for thread in threading.enumerate() if thread.name == "neto_async"]


def test_errors_are_those_of_the_client(shop):
    """What the client raises is raised where the log was added, with its outcome."""
    shop.faults.next("refused")
    with BlockingNetoClient.from_env() as neto, pytest.raises(RejectedError) as raised:
        neto.add_customer_log({"notes": "a"}, context="mine")
    assert "mine" == raised.value.outcome.context


def test_a_closed_client_is_refused(shop):
    """Closing twice is one closing, before the first call too; after it nothing is added."""
    neto, unused = BlockingNetoClient.from_env(), BlockingNetoClient.from_env()
    neto.add_customer_log({"notes": "a"})
    assert neto.close() is neto.close()
    assert unused.close().drained
    for closed in (neto, unused):
        with pytest.raises(ConfigurationError, match="closed"):
            closed.add_customer_log({"notes": "b"})
    assert 1 == len(shop.logs)


def test_a_client_that_can_not_be_made_is_asked_again(shop, monkeypatch):
    """What is wrong with the settings is raised at the call; once it is right, the same object works."""
    neto = BlockingNetoClient.from_env()
    monkeypatch.delenv("NETO_API_KEY")
    with pytest.raises(ConfigurationError, match="NETO_API_KEY"):
        neto.add_customer_log({"notes": "a"})
    monkeypatch.setenv("NETO_API_KEY", shop.api_key)
    with neto:
        assert neto.add_customer_log({"notes": "a"}).log_id


def test_a_call_in_its_own_loop_is_refused(shop):
    """A source that adds logs itself would wait for the loop that reads it."""

    def source():
        yield {"notes": str(neto.add_customer_log({"notes": "inner"}).log_id)}

    with BlockingNetoClient.from_env() as neto, pytest.raises(Exception, match="ConfigurationError"):
        neto.add_customer_logs(source())
    assert () == shop.logs


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals")
def test_a_wait_that_a_signal_breaks_off_is_reported(shop):
    """What a signal handler raises, as task queues have it, ends the wait; `on_unawaited` gets the outcome."""

    def past_the_limit(*_):
        raise TimeoutError

    seen = []
    shop.faults.next(faults.Late(0.3))
    before = signal.signal(signal.SIGALRM, past_the_limit)
    try:
        with BlockingNetoClient(lambda: AsyncNetoClient.from_env(on_unawaited=seen.append)) as neto:
            signal.setitimer(signal.ITIMER_REAL, 0.15)
            with pytest.raises(TimeoutError):
                neto.add_customer_log({"notes": "a"}, context="mine")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ["mine"] == [outcome.context for outcome in seen]


FORKS = """
import os, threading
from neto_async import BlockingNetoClient

neto = BlockingNetoClient.from_env()
neto.add_customer_log({"notes": "parent"})
process = os.fork()
neto.add_customer_log({"notes": "parent again" if process else "child"})
if process:
    assert 0 == os.waitpid(process, 0)[1]
    read = threading.Event()
    logs = ({"notes": "at the end", "username": read.set()} for _ in range(1))
    threading.Thread(target=neto.add_customer_logs, args=(logs,), daemon=True).start()
    read.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_starts_anew_and_the_end_of_a_process_drains(shop):
    """A forked process adds its own logs; what is under way when a process ends is awaited."""
    shop.faults.when(lambda request: b"at the end" in request.body, faults.Late(0.3))
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORKS], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    assert {"parent", "parent again", "child", "at the end"} == {log.fields["Notes"] for log in shop.logs}
    assert 4 == len(shop.logs)
