"""The client's own promises: who may use it when, and what it says of itself."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from typing import Any

import httpx
import pytest

from neto_async import AsyncNetoClient, ConfigurationError, CustomerLog, InvalidRecordError, NotSentError
from neto_async.sandbox import NetoSandbox


def test_repr_and_environment(monkeypatch):
    """A client made from the environment shows its address, and neither key nor user name."""
    monkeypatch.setenv("NETO_STORE_URL", "https://www.yournetosite.com.au")
    monkeypatch.setenv("NETO_API_KEY", "CANARY-key")
    monkeypatch.setenv("NETO_USERNAME", "CANARY-user")

    assert "AsyncNetoClient('https://www.yournetosite.com.au', json, open)" == repr(AsyncNetoClient.from_env())


@pytest.mark.parametrize("given", ["https://WWW.yournetosite.com.au/", "https://www.yournetosite.com.au/do/WS/NetoAPI"])
def test_the_address_is_told_as_it_is_used(given):
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


async def test_a_client_left_open_is_told_of():
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
    """A closed http_client is told at the first use, and not as an outcome."""
    http_client = httpx.AsyncClient()
    await http_client.aclose()
    neto = AsyncNetoClient("http://localhost", api_key="key", http_client=http_client)

    with pytest.raises(ConfigurationError):
        await neto.add_customer_log(CustomerLog(notes="x"))
    await neto.aclose()


async def test_invalid_log_raises_with_its_fate(store: NetoSandbox, connect: Any):
    """A mapping that makes no log raises before anything is sent, with context on its fate."""
    neto = await connect(store)

    with pytest.raises(InvalidRecordError) as raised:
        await neto.add_customer_log({"Notes": "\x00"}, context="mine")

    assert ("mine", 0) == (raised.value.fate.context, len(store.calls))


async def test_flush_waits_for_what_was_handed_in(store: NetoSandbox, connect: Any):
    """After flush, what was handed in before has its outcome."""
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
