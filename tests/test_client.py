"""The client's own promises: who may use it when, and what it says of itself."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import inspect
import os
import pickle
import subprocess
import sys
import typing
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from neto_async import (
    AsyncNetoClient,
    ClientSettings,
    ConfigurationError,
    CustomerLog,
    InvalidRecordError,
    Item,
    NotSentError,
)
from neto_async.integrations.testing import NetoStore
from neto_async.outcomes import Added, Invalid, NotSentCause
from neto_async.sandbox import NetoSandbox, faults
from neto_async.sending.clock import LoopClock, use_clock
from neto_async.sending.quota import Window


def test_repr_and_environment(monkeypatch):
    """A client made from the environment shows its address, and neither key nor user name."""
    monkeypatch.setenv("NETO_STORE_URL", "https://www.yournetosite.com.au")
    monkeypatch.setenv("NETO_API_KEY", "CANARY-key")
    monkeypatch.setenv("NETO_USERNAME", "CANARY-user")

    assert "AsyncNetoClient('https://www.yournetosite.com.au', json, open)" == repr(AsyncNetoClient.from_env())


def test_a_client_that_was_not_made_has_a_repr():
    """What a traceback shows of a client whose making failed is no second error."""
    unfinished = AsyncNetoClient.__new__(AsyncNetoClient)
    with pytest.raises(ConfigurationError):
        unfinished.__init__("https://www.yournetosite.com.au", api_key="")
    assert "AsyncNetoClient(not made)" == repr(unfinished)


@pytest.mark.parametrize("given", ["https://WWW.yournetosite.com.au/", "https://www.yournetosite.com.au/do/WS/NetoAPI"])
def test_the_address_is_reported_as_it_is_used(given):
    """However it was written, the store's address is scheme and host."""
    assert "https://www.yournetosite.com.au" == AsyncNetoClient(given, api_key="key").store_url


def test_a_second_loop_is_refused():
    """A client belongs to the loop of its first use."""
    neto = AsyncNetoClient("http://localhost", api_key="key")
    asyncio.run(_use_and_close(neto))

    with pytest.raises(ConfigurationError):
        asyncio.run(_use_and_close(neto))


async def _use_and_close(neto: AsyncNetoClient) -> None:
    async with neto:
        pass


async def test_a_client_left_open_is_reported():
    """A client that was used and not closed gives a ResourceWarning."""
    neto = AsyncNetoClient("http://localhost", api_key="key")
    await neto.__aenter__()

    with pytest.warns(ResourceWarning, match="was not closed"):  # noqa: PT031
        del neto
        gc.collect()


async def test_closed_takes_no_more(store: NetoSandbox):
    """After closing, a single add and each record of a bulk add end as NotSent, and closing again is harmless."""
    neto = AsyncNetoClient(store.url, api_key=store.api_key, username=store.username)
    assert (await neto.aclose()).drained

    with pytest.raises(NotSentError):
        await neto.add_customer_log(CustomerLog(notes="x"))
    assert 2 == len((await neto.add_customer_logs([{"Notes": "a"}, {"Notes": "b"}])).not_sent)
    assert (await neto.aclose()).drained
    assert [] == list(store.calls)


async def test_a_closed_http_client_is_refused():
    """A closed http_client is reported at the first use, and not as an outcome."""
    http_client = httpx.AsyncClient()
    await http_client.aclose()
    neto = AsyncNetoClient("http://localhost", api_key="key", http_client=http_client)

    with pytest.raises(ConfigurationError):
        await neto.add_customer_log(CustomerLog(notes="x"))
    await neto.aclose()


async def test_invalid_log_raises_with_its_outcome(store: NetoSandbox, connect: Any):
    """A mapping that makes no log raises before anything is sent, with context on its fate."""
    neto = await connect(store)

    with pytest.raises(InvalidRecordError) as raised:
        await neto.add_customer_log({"Notes": "\x00"}, context="mine")

    assert ("mine", 0) == (raised.value.fate.context, len(store.calls))


async def test_flush_waits_for_what_was_submitted(store: NetoSandbox, connect: Any):
    """After flush, what was submitted before has its outcome."""
    neto = await connect(store)
    add = asyncio.ensure_future(neto.add_customer_log(CustomerLog(notes="x")))
    await asyncio.sleep(0)

    report = await neto.flush()

    assert (True, 1, 1) == (report.drained, len(store.logs), neto.statistics().added)
    await add


async def test_statistics_can_be_read_in_any_thread(store, connect):
    """A synchronous handler, which runs in a thread of its own, may ask what waits on what while imports run."""
    neto = await connect(store, batch_size=3)
    adding = asyncio.ensure_future(neto.add_customer_logs([CustomerLog(notes=str(number)) for number in range(200)]))

    def read() -> int:
        return max(neto.statistics().added for _ in range(300))

    seen = [await asyncio.to_thread(read)]
    while not adding.done():
        seen.append(await asyncio.to_thread(read))

    assert 200 == await asyncio.to_thread(read)
    assert sorted(seen) == seen


# -- where a client may be used ---------------------------------------------------------------------------------------


async def _import(neto: AsyncNetoClient) -> None:
    async with neto.import_customer_logs([{"Notes": "x"}]):
        pass


USES: dict[str, Any] = {
    "single add": lambda neto: neto.add_customer_log(CustomerLog(notes="x")),
    "bulk add": lambda neto: neto.add_customer_logs([{"Notes": "x"}]),
    "import": _import,
    "flush": lambda neto: neto.flush(),
    "close": lambda neto: neto.aclose(),
    "block": lambda neto: neto.__aenter__(),
}


@pytest.mark.parametrize("use", list(USES))
def test_every_use_in_a_second_loop_is_refused(use):
    """Whatever is asked of a client in another event loop than its first: a sentence says so, and nothing is sent."""
    neto = AsyncNetoClient("http://localhost:9", api_key="key")

    async def second() -> None:
        with pytest.raises(ConfigurationError, match="another event loop"):
            await USES[use](neto)

    with asyncio.Runner() as first:
        first.run(neto.flush())
        asyncio.run(second())
        first.run(neto.aclose())
    assert 0 == neto.statistics().calls


@pytest.mark.parametrize("use", list(USES))
async def test_every_use_in_another_process_is_refused(use, monkeypatch):
    """Whatever is asked of a client in another process than its first: a sentence says so."""
    neto = AsyncNetoClient("http://localhost:9", api_key="key")
    monkeypatch.setattr(os, "getpid", lambda: -1)

    with pytest.raises(ConfigurationError, match="before a fork"):
        await USES[use](neto)


FORKED = """
import asyncio, os, warnings
warnings.simplefilter("error")
from neto_async import AsyncNetoClient, ConfigurationError
neto = AsyncNetoClient("http://localhost:9", api_key="key")
asyncio.run(neto.flush())
child = os.fork()
if child == 0:
    seen = []
    for use in (lambda: neto.add_customer_log({"Notes": "x"}), neto.flush, neto.aclose):
        try:
            asyncio.run(use())
        except ConfigurationError as error:
            seen.append("before a fork" in str(error))
    del use, neto
    os._exit(0 if seen == [True] * 3 else 1)
_, status = os.waitpid(child, 0)
neto._closing = "closed as far as this program is concerned"
print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_client_is_refused_after_a_fork():
    """A client that a fork copied refuses every use in the child with a sentence, and warns of nothing there."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True)

    assert ("0\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize("closed", [False, True])
def test_no_warning_without_cause(recwarn, closed):
    """A client that was never used, or was closed, goes without a warning."""
    neto = AsyncNetoClient("http://localhost:9", api_key="key")
    if closed:
        asyncio.run(neto.aclose())
        assert repr(neto).endswith("closed)")

    del neto
    gc.collect()

    assert [] == recwarn.list


def test_a_client_that_could_not_be_made_warns_of_nothing(recwarn):
    """Where a setting is refused there is nothing to close."""
    with pytest.raises(ConfigurationError):
        AsyncNetoClient("ftp://localhost", api_key="key")
    gc.collect()

    assert [] == recwarn.list


async def test_a_wish_for_doubt_that_is_none_is_refused():
    """in_doubt takes two words, and says which."""
    neto = AsyncNetoClient("http://localhost:9", api_key="key")

    with pytest.raises(ConfigurationError, match='"hold" or "resend"'):
        neto.import_customer_logs([], in_doubt="CANARY")
    await neto.aclose()


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), True, "5"])
async def test_patience_must_be_a_number_above_zero(seconds):
    """give_up_after of a single add is checked as the client's own is."""
    neto = AsyncNetoClient("http://localhost:9", api_key="key")

    with pytest.raises(ConfigurationError, match="give_up_after"):
        await neto.add_customer_log({"Notes": "x"}, give_up_after=seconds)
    await neto.aclose()


async def test_a_path_is_a_journal(store, connect, tmp_path):
    """A path given as journal is that of a file which keeps what became of the rows: a second run sends none again."""
    neto = await connect(store)
    replayed = []
    for _ in range(2):
        async with neto.import_customer_logs([{"Notes": "x"}], journal=tmp_path / "import.db") as run:
            replayed += [outcome.replayed async for outcome in run]

    assert ([False, True], 1) == (replayed, len(store.logs))


# -- a client is one ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_client_is_not_copied(way):
    """A second handle on the same connections, or a client in another process, is refused with a sentence."""
    with pytest.raises(TypeError, match="can't be copied"):
        way(AsyncNetoClient("http://localhost:9", api_key="CANARY"))


async def test_a_closed_client_is_not_entered(store: NetoSandbox):
    """A block around a client that was closed is refused, and the client keeps its report of the close."""
    neto = AsyncNetoClient(store.url, api_key=store.api_key, username=store.username)
    async with neto:
        await neto.add_customer_log({"Notes": "a"})
    report = await neto.aclose()

    with pytest.raises(ConfigurationError, match="was closed"):
        async with neto:
            pass
    assert report == await neto.aclose()


async def test_every_method_of_a_closed_client_says_so(store: NetoSandbox):
    """What takes records reports them as not sent, an import is stopped, and what asks for the state answers."""
    neto = AsyncNetoClient(store.url, api_key=store.api_key, username=store.username)
    await neto.aclose()

    async with neto.import_customer_logs([{"Notes": "a"}], drain_source=True) as run:
        (outcome,) = [outcome async for outcome in run]
    assert (NotSentCause.CLOSED, False) == (outcome.cause, run.progress.complete)
    assert ((await neto.flush()).drained, 1, 0) == (True, neto.statistics().not_sent, store.call_count)


@pytest.mark.parametrize("log", [None, 5, "CANARY", b"CANARY", ["CANARY"], ("CANARY", 1), Item({"Notes": "CANARY"})])
async def test_a_single_add_takes_one_log(log):
    """What is no log is InvalidRecordError, with its type and not its value in the text."""
    neto = AsyncNetoClient("http://localhost:9", api_key="key")
    with pytest.raises(InvalidRecordError, match="must be a CustomerLog or a mapping") as raised:
        await neto.add_customer_log(log)
    await neto.aclose()
    assert "CANARY" not in str(raised.value)


def test_two_clients_in_two_threads_share_the_limit():
    """Clients of one store make no more calls than one may, whatever their event loops."""

    async def add(store):
        async with AsyncNetoClient(
            store.url, username=store.username, api_key=store.api_key, requests_per_minute=3, give_up_after=0.3
        ) as neto:
            for _ in range(4):
                with contextlib.suppress(NotSentError):
                    await neto.add_customer_log({"notes": "Rang back."})

    with NetoStore() as store, ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: asyncio.run(add(store)), range(2)))
        assert 3 == len(store.calls)


def test_a_quota_and_a_clock_of_ones_own_are_used():
    """What is passed is what the engine asks; a clock of one's own has a quota of its own as well."""
    quota, clock = Window(1), LoopClock()
    made = [
        AsyncNetoClient("http://localhost", api_key="key", **given) for given in ({"quota": quota}, {"clock": clock})
    ]
    use_clock(clock)
    try:
        made.append(AsyncNetoClient("http://localhost", api_key="key"))
    finally:
        use_clock(None)

    assert made[0]._engine.quota is quota
    assert [clock, clock] == [neto._engine.clock for neto in made[1:]]
    assert 2 == len({id(neto._engine.quota.calls) for neto in made[1:]})


async def test_an_outcome_whose_caller_is_gone_is_reported(store, caplog):
    """`on_unawaited` gets each outcome of adds whose caller was cancelled; what it raises is logged by its class."""
    seen = []

    def note(outcome):
        seen.append((type(outcome), outcome.context))
        raise ValueError("CANARY")

    store.faults.always(faults.Late(0.2))
    async with AsyncNetoClient(store.url, username=store.username, api_key=store.api_key, on_unawaited=note) as neto:
        single = asyncio.create_task(neto.add_customer_log({"notes": "a"}, context="single"))
        await store.until(lambda: len(store.calls) == 1)
        bulk = asyncio.create_task(neto.add_customer_logs([Item({"notes": "b"}, "bulk"), Item({}, "invalid")]))
        await store.until(lambda: len(store.calls) == 2)
        single.cancel()
        bulk.cancel()
        await asyncio.gather(single, bulk, return_exceptions=True)

    assert {(Added, "single"), (Added, "bulk"), (Invalid, "invalid")} == set(seen)
    assert 3 == len(seen)
    assert 3 == sum(record.message == "on_unawaited raised ValueError" for record in caplog.records)
    assert "CANARY" not in caplog.text


def test_the_settings_of_from_env_are_those_of_the_client():
    """`ClientSettings` names the parameters of a client, with their types."""
    parameters = dict(inspect.signature(AsyncNetoClient).parameters)
    assert ClientSettings.__annotations__.keys() == parameters.keys()
    for name, hint in typing.get_type_hints(ClientSettings).items():
        assert hint == typing.get_type_hints(AsyncNetoClient.__init__)[name]


def test_what_can_not_be_called_back_is_refused():
    """`on_unawaited` is a plain function or None."""
    for given in (_use_and_close, "print"):
        with pytest.raises(ConfigurationError, match="on_unawaited must be a"):
            AsyncNetoClient("http://localhost", api_key="key", on_unawaited=given)


@pytest.mark.parametrize(
    ("name", "given", "lacking"), [("quota", 3, "attach, earliest"), ("clock", object(), "monotonic, utcnow, call_at")]
)
def test_a_quota_or_clock_that_is_none_is_refused(name, given, lacking):
    """What lacks the methods of one is refused when the client is made, and not by an error from the inside later."""
    with pytest.raises(ConfigurationError, match=f"{name} lacks {lacking}"):
        AsyncNetoClient("http://localhost", api_key="key", **{name: given})


async def test_an_observer_that_is_none_is_refused():
    """An observer that lacks a method would raise in the adds of others."""
    async with AsyncNetoClient("http://localhost", api_key="key") as neto:
        with pytest.raises(ConfigurationError, match="observer lacks handed_in, began, ended"):
            neto.observe(print)


@pytest.mark.parametrize("address", ["https://256.1.1.1", "https://xn--a.example"])
def test_a_host_that_can_not_exist_is_refused(address):
    """What the HTTP library can't read as a host is found when the client is made, and not tried for minutes."""
    with pytest.raises(ConfigurationError, match="a host that can't exist") as caught:
        AsyncNetoClient(address, api_key="key")
    assert address[8:] not in str(caught.value)


@pytest.mark.parametrize("name", ["retry_rejected", "drain_source", "read_on"])
async def test_a_flag_of_an_import_is_true_or_false(name):
    """A text such as "no" would count as true."""
    async with AsyncNetoClient("http://localhost", api_key="key") as neto:
        with pytest.raises(ConfigurationError, match=f"{name} must be True or False"):
            neto.import_customer_logs([], **{name: "no"})


def test_two_spellings_of_an_address_are_one_store():
    """Clients of one store share their calls, however its usual port is written."""
    first = AsyncNetoClient("https://shared-port.example", api_key="key")
    second = AsyncNetoClient("https://Shared-Port.example:443/", api_key="key")
    assert first._engine.quota.calls is second._engine.quota.calls
