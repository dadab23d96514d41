"""Keys that a function gives: asked for once, again after a refusal, and what happens where there is none."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from scripted import Network, answers, client, never_leaves, saves
from virtual import run

from neto_async import (
    AddOnKeys,
    AsyncNetoClient,
    AuthenticationError,
    BearerToken,
    ConfigurationError,
    CustomerLog,
    NotSent,
    NotSentCause,
    NotSentError,
)
from neto_async.sandbox import NetoSandbox, faults
from neto_async.sending.exchange import Failure

CANARY = "s3cr3t"
PATH = "/stores/1"


class Tokens:
    """Gives one token after the other, the last one for ever; an exception among them is raised."""

    def __init__(self, *tokens: Any) -> None:
        self.tokens = list(tokens)
        self.asked = 0

    def __call__(self) -> Any:
        self.asked += 1
        token = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        if isinstance(token, Exception):
            raise token
        return token


class AsyncTokens(Tokens):
    """The same, after so many turns of the loop that other calls come to ask as well."""

    async def __call__(self) -> Any:  # type: ignore[override]
        for _ in range(20):
            await asyncio.sleep(0)
        return super().__call__()


@pytest.fixture
async def add_on():
    async with NetoSandbox(
        requests_per_minute=None, access_key="a", secret_key="new", bearer_token="new", base_path=PATH
    ) as sandbox:
        yield sandbox


def bearer(token: Any) -> BearerToken:
    return BearerToken(token, base_path=PATH)


def keys(token: Any) -> AddOnKeys:
    return AddOnKeys(access_key="a", secret_key=token)


EACH_KIND: Any = pytest.mark.parametrize("credentials", [keys, bearer])
REFUSALS: Any = pytest.mark.parametrize("refusal", [None, 401])


def notes(store: NetoSandbox) -> Counter[str]:
    return Counter(log.notes for log in store.logs)


async def added(connect: Any, store: NetoSandbox, credentials: Any, count: int = 1, **settings: Any) -> Any:
    neto = await connect(store, username=None, api_key=credentials, **settings)
    report = await neto.add_customer_logs([CustomerLog(notes=str(number)) for number in range(count)])
    report.raise_for_problems()
    return neto


@EACH_KIND
@pytest.mark.parametrize("wire_format", ["json", "xml"])
async def test_an_add_on_logs_in(connect, add_on, credentials, wire_format):
    """The keys of an add-on, and a bearer token at its path, log in without a user name, in both formats."""
    await added(connect, add_on, credentials("new"), wire_format=wire_format)
    assert 1 == add_on.log_count


async def test_a_tokens_header_takes_the_place_of_a_shared_clients(connect, add_on):
    """What a client that is shared has in Authorization stays out, and the token goes."""
    async with httpx.AsyncClient(headers={"authorization": "Bearer another"}) as http:
        await added(connect, add_on, bearer("new"), http_client=http)
    assert 1 == add_on.log_count


@EACH_KIND
@pytest.mark.parametrize("kind", [Tokens, AsyncTokens])
@REFUSALS
async def test_a_token_that_expired_is_asked_for_again(connect, add_on, credentials, kind, refusal):
    """A refused call goes once more with the next token; what its records are is known, and each is there once."""
    if refusal is not None:
        add_on.faults.next(faults.Status(refusal))
    tokens = kind("old", "new")
    neto = await added(connect, add_on, credentials(tokens), 5, batch_size=5)
    assert (2, Counter("01234")) == (tokens.asked, notes(add_on))
    assert not neto.statistics().halted
    # … and the next time too.
    add_on.credentials.bearer_token = add_on.credentials.secret_key = "newer"
    tokens.tokens = ["newer"]
    await neto.add_customer_log({"Notes": "last"})
    assert (3, Counter([*"01234", "last"])) == (tokens.asked, notes(add_on))


async def test_many_calls_ask_for_one_token(connect, add_on):
    """Calls that begin together, and those that are refused together, ask once; nothing is there twice."""
    tokens = AsyncTokens("old", "new")
    neto = await connect(add_on, username=None, api_key=bearer(tokens), batch_size=1, max_concurrency=8)
    await asyncio.gather(*(neto.add_customer_log({"Notes": str(number)}) for number in range(40)))
    assert (2, Counter(map(str, range(40)))) == (tokens.asked, notes(add_on))


@REFUSALS
async def test_a_token_is_asked_for_again_once(connect, add_on, refusal):
    """Where the next token is refused as well, the client halts: two calls, two tokens, and nothing is saved."""
    if refusal is not None:
        add_on.faults.always(faults.Status(refusal))
    tokens = Tokens("old")
    neto = await connect(add_on, username=None, api_key=bearer(tokens))
    with pytest.raises(AuthenticationError) as caught:
        await neto.add_customer_log({"Notes": "x"})
    assert NotSentCause.KEY_REFUSED is caught.value.outcome.cause
    assert (2, 2, 0, True) == (tokens.asked, add_on.call_count, add_on.log_count, neto.statistics().halted)


async def test_a_token_that_is_text_is_not_sent_again(connect, add_on):
    """A token that can't change halts the client at its first refusal."""
    neto = await connect(add_on, username=None, api_key=bearer("old"))
    with pytest.raises(AuthenticationError):
        await neto.add_customer_log({"Notes": "x"})
    assert 1 == add_on.call_count


async def test_an_import_goes_on_over_an_expiry(connect, add_on, tmp_path: Path):
    """A token that expires in the middle of a journaled run costs a call and no record."""
    tokens = AsyncTokens("old", "new")
    neto = await connect(add_on, username=None, api_key=bearer(tokens), batch_size=10)
    rows = [{"Notes": str(number)} for number in range(100)]
    async with neto.import_customer_logs(rows, journal=tmp_path / "journal") as imported:
        progress = await imported.finish()
    assert (100, Counter(map(str, range(100)))) == (progress.added, notes(add_on))
    async with neto.import_customer_logs(rows, journal=tmp_path / "journal") as again:
        assert 100 == (await again.finish()).replayed
    assert 100 == add_on.log_count


# --- On virtual time, over a scripted network ------------------------------------------------------------------------


def refuses(*, again: bool = True) -> Any:
    """Refuse the key, with another to be had or not."""

    async def behaviour(network: Network, body: Any) -> Any:
        body.key_refused = lambda: again
        return await answers(401)(network, body)

    return behaviour


def test_a_probe_is_not_sent_again():
    """While the client is halted, a refused probe ends as not sent, although another key could be asked for."""
    network = Network(always=refuses())

    async def work() -> list[int]:
        async with client(network) as neto:
            tried = []
            for wait in (0, 0, 61):
                await asyncio.sleep(wait)
                with pytest.raises(AuthenticationError):
                    await neto.add_customer_log({"Notes": "x"})
                tried.append(network.tried)
            return tried

    assert [2, 2, 3] == run(work)


def test_a_refused_batch_counts_as_no_refusal_of_its_records():
    """What was refused for its key and then added is Added, with both calls among its attempts."""
    network = Network(always=saves)
    network.script += [refuses()]

    async def work() -> Any:
        async with client(network) as neto:
            return await neto.add_customer_log({"Notes": "x"})

    outcome = run(work)
    assert [401, 200] == [attempt.status for attempt in outcome.attempts]
    assert 1 == len(network.ledger)


@pytest.mark.parametrize("between", [answers(429), never_leaves])
def test_a_key_may_expire_again_during_a_pause(between):
    """A record whose key was refused, and that was held up then, gets another key once more."""
    network = Network(always=saves)
    network.script += [refuses(), between, refuses()]

    async def work() -> Any:
        async with client(network) as neto:
            added = await neto.add_customer_log({"Notes": "x"})
            return added, neto.statistics().halted

    outcome, halted = run(work)
    assert (4, False) == (len(outcome.attempts), halted)
    assert 1 == len(network.ledger)


# --- No token --------------------------------------------------------------------------------------------------------


async def never() -> str:
    await asyncio.Event().wait()
    raise AssertionError


def unconnected(source: Callable[[], Any], **settings: Any) -> AsyncNetoClient:
    """Make a client that opens no socket, since it has no token to go with."""
    given = {"timeout": 5.0, "give_up_after": 20.0, **settings}
    return AsyncNetoClient("http://localhost", api_key=bearer(source), **given)


FAILURES = {
    "raises": (Tokens(ValueError(CANARY)), "the function for the key raised ValueError"),
    "raises later": (AsyncTokens(ValueError(CANARY)), "the function for the key raised ValueError"),
    "raises ours": (Tokens(ConfigurationError(CANARY)), "the function for the key raised ConfigurationError"),
    "times out": (Tokens(TimeoutError(CANARY)), "the function for the key raised TimeoutError"),
    "never ends": (never, "the function for the key took too long"),
    "gives nothing": (Tokens(None), "token must be text"),
    "gives a strange token": (AsyncTokens(f"{CANARY}\n{CANARY}"), "token holds a character that an HTTP header"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_without_a_token_nothing_is_sent(failure, caplog):
    """Single adds, bulk adds and runs end as NotSent with the cause, and no text shows what the function raised."""
    source, said = FAILURES[failure]

    async def work() -> list[NotSent]:
        async with unconnected(source) as neto:
            with pytest.raises(NotSentError) as caught:
                await neto.add_customer_log({"Notes": "x"})
            report = await neto.add_customer_logs([{"Notes": "y"}, {"Notes": "z"}])
            assert not isinstance(caught.value, AuthenticationError)
            return [caught.value.outcome, *report.not_sent]

    outcomes = run(work)
    assert [NotSentCause.NO_KEY] * 3 == [outcome.cause for outcome in outcomes]
    assert [True] * 3 == [outcome.safe_to_resend for outcome in outcomes]
    assert [] == [outcome.reason for outcome in outcomes if said not in outcome.reason]
    assert CANARY not in repr([*outcomes, *(outcome.attempts for outcome in outcomes)]) + caplog.text
    assert "there is no key to log in with: " in caplog.text


async def test_a_function_that_works_again_is_enough(connect, add_on, caplog):
    """A token that could not be had is asked for again, as a store is that can't be reached."""
    caplog.set_level(logging.WARNING)
    tokens = AsyncTokens(OSError(CANARY), "new")
    await added(connect, add_on, bearer(tokens), 3)
    assert (2, 3) == (tokens.asked, add_on.log_count)


def test_what_gives_up_for_another_reason_says_so():
    """The cause is that of the last failure: a store that can't be reached after a token was had."""

    def fails(*, no_key: bool) -> Any:
        async def behaviour(network: Network, body: Any) -> Failure:
            return Failure(name="OSError", kind="why", no_key=no_key)

        return behaviour

    async def work() -> NotSent:
        network = Network(always=fails(no_key=False))
        network.script += [fails(no_key=True)]
        async with client(network, give_up_after=20.0) as neto:
            with pytest.raises(NotSentError) as caught:
                await neto.add_customer_log({"Notes": "x"})
            return caught.value.outcome

    assert NotSentCause.GAVE_UP is run(work).cause
