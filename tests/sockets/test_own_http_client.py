"""What a caller's own HTTP client brings along (headers, hooks, time limits, transports), over real sockets."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx
import pytest
from libraries import Through
from proxy import HttpProxy
from rawserver import Connection, RawServer, with_length

from neto_async import AsyncNetoClient, ConfigurationError, CustomerLog, Outcome
from neto_async.outcomes import NotSentCause, Phase

ADDED = ("Added", None, [Phase.ANSWERED])
IN_DOUBT = ("Unknown", None, [Phase.LEFT])
GAVE_UP = ("NotSent", NotSentCause.GAVE_UP, [Phase.NEVER_LEFT])


async def fate_of_an_add(url: str, http_client: Any, **settings: Any) -> Outcome:
    given = {"timeout": 20.0, "give_up_after": 0.2, "requests_per_minute": None, **settings}
    async with AsyncNetoClient(url, api_key="CANARY-key", http_client=http_client, **given) as neto:
        report = await neto.add_customer_logs([CustomerLog(notes="kept")])
    return report.outcomes[0]


def how_it_ended(fate: Outcome) -> tuple[Any, ...]:
    """Give an outcome's name, cause and phases, each phase once."""
    phases = list(dict.fromkeys(attempt.phase for attempt in fate.attempts))
    return type(fate).__name__, getattr(fate, "cause", None), phases


# --- What is added to a call -----------------------------------------------------------------------------------------


async def test_defaults_of_a_shared_client_give_the_store_no_secrets(library):
    """Authorization, cookies, credentials and query of a client's defaults stay out of a call; our headers win."""
    defaults = {
        "headers": {
            "authorization": "Bearer CANARY",
            "netoapi_key": "another",
            "content-type": "text/plain",
            "accept": "text/html",
            "X-Gateway": "let me out",
        },
        "cookies": {"session": "CANARY"},
        "params": {"token": "CANARY"},
        "auth": ("CANARY", "CANARY"),
        "base_url": "https://elsewhere.example/api",
    }
    async with HttpProxy() as proxy, RawServer() as server, library(through=Through(proxy.url), **defaults) as http:
        fate = await fate_of_an_add(server.url, http)
        target = f"{server.url}/do/WS/NetoAPI"

    assert (ADDED, target) == (how_it_ended(fate), proxy.heads[0].split()[1])
    assert [[], [], ["CANARY-key"], ["application/json"], ["application/json"], ["let me out"]] == [
        proxy.header(name) for name in ("Authorization", "Cookie", "NETOAPI_KEY", "Content-Type", "Accept", "X-Gateway")
    ]
    assert 1 == proxy.heads[0].count("CANARY")


@pytest.mark.parametrize(
    "header", [("Transfer-Encoding", "chunked"), ("Expect", "100-continue"), ("Content-Length", "1")]
)
async def test_defaults_that_would_break_a_call_stay_out_of_it(library, header):
    """A default header that says something else of the body than is true does not reach the store."""
    async with (
        HttpProxy() as proxy,
        RawServer() as server,
        library(through=Through(proxy.url), headers=[header]) as http_client,
    ):
        fate = await fate_of_an_add(server.url, http_client)

    assert (ADDED, {"kept": 1}) == (how_it_ended(fate), server.received)
    assert ([], []) == (proxy.header("Transfer-Encoding"), proxy.header("Expect"))
    assert header[1] not in proxy.header("Content-Length")


async def test_cookies_are_neither_kept_nor_sent():
    """The store's cookies do not come back to it: some servers refuse headers that have grown to 8 KB."""
    sent: list[bytes | None] = []

    async def baked(call: Connection) -> None:
        sent.append(call.headers.get(b"cookie"))
        cookies = "".join(f"Set-Cookie: c{len(sent)}{number}={'x' * 1000}; Path=/\r\n" for number in range(4))
        await call.send(with_length(await call.body(), headers=cookies))

    async with RawServer(otherwise=baked) as server, httpx.AsyncClient(trust_env=False) as given:
        for http_client in (None, given):
            async with AsyncNetoClient(server.url, api_key="key", http_client=http_client) as neto:
                await neto.add_customer_log(CustomerLog(notes="first"))
                await neto.add_customer_log(CustomerLog(notes="second"))
                kept = len(neto._transport._client.cookies.jar)  # white-box: what our own client remembers
            assert (0 if http_client is None else 8) == kept

    assert [None] * 4 == sent


async def test_what_a_hook_adds_is_sent(library):
    """A header that an event hook sets at the last moment goes out: that is the way to add one on purpose."""

    async def sign(request: Any) -> None:
        request.headers["Authorization"] = "for the gateway"

    async with (
        HttpProxy() as proxy,
        RawServer() as server,
        library(through=Through(proxy.url), event_hooks={"request": [sign]}) as http_client,
    ):
        fate = await fate_of_an_add(server.url, http_client)

    assert (ADDED, ["for the gateway"]) == (how_it_ended(fate), proxy.header("Authorization"))


# --- Hooks -----------------------------------------------------------------------------------------------------------


async def fails(_: Any) -> None:
    raise ValueError("CANARY")


async def reads(message: Any) -> None:
    await message.aread()


async def reads_and_raises(response: Any) -> None:
    await response.aread()
    response.raise_for_status()


async def raises(response: Any) -> None:
    response.raise_for_status()


async def asks_elsewhere(_: Any) -> None:
    """Raise about another service's answer, as a hook does that fetches a token."""
    response = httpx.Response(401, request=httpx.Request("GET", "https://elsewhere.example"), content=b"")
    response.raise_for_status()


async def too_many(call: Connection) -> None:
    await call.body()
    await call.send(with_length(b"", status="429 Too Many Requests", headers="Retry-After: 1000\r\n"))


@pytest.mark.parametrize(
    ("hooks", "ended", "received"),
    [
        ({"request": [fails]}, GAVE_UP, 0),
        ({"request": [asks_elsewhere]}, GAVE_UP, 0),
        ({"request": [reads]}, ADDED, 1),
        ({"response": [reads]}, ADDED, 1),
        ({"response": [raises]}, ADDED, 1),
        ({"response": [fails]}, IN_DOUBT, 1),
        ({"response": [asks_elsewhere]}, IN_DOUBT, 1),
        ({"response": [reads, fails]}, IN_DOUBT, 1),
    ],
)
async def test_a_hook_learns_the_truth(library, hooks, ended, received):
    """A hook that raises before the call left means not sent, one that raises after it means in doubt."""
    async with RawServer() as server, library(event_hooks=hooks) as http_client:
        fate = await fate_of_an_add(server.url, http_client)

    assert (ended, received) == (how_it_ended(fate), server.received["kept"])


@pytest.mark.parametrize(
    ("hook", "ended"),
    [
        (reads_and_raises, ("NotSent", NotSentCause.RATE_LIMITED, [Phase.ANSWERED])),
        (raises, IN_DOUBT),
    ],
)
async def test_an_answer_that_a_hook_raises_about_counts_where_it_was_read(library, hook, ended):
    """raise_for_status in a hook hides no 429 where the hook has read the answer; unread, it leaves doubt."""
    async with RawServer(too_many) as server, library(event_hooks={"response": [hook]}) as http_client:
        fate = await fate_of_an_add(server.url, http_client)

    assert (ended, 1) == (how_it_ended(fate), server.calls)


async def test_a_hook_that_reads_the_body_leaves_doubt_where_nothing_left(library):
    """Once a hook has asked for the body, a call that could not be made counts as in doubt: the safe mistake."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        async with library(event_hooks={"request": [reads]}) as http_client:
            fate = await fate_of_an_add(url, http_client)

    assert IN_DOUBT == how_it_ended(fate)


# --- Time limits and redirects ---------------------------------------------------------------------------------------


async def silent(call: Connection) -> None:
    await call.body()
    await call.gone()


async def test_the_clients_own_time_limits_do_not_count(library):
    """A time limit of the client that was passed, shorter or none at all, is replaced by what remains of the call's."""
    async with RawServer() as server, library(timeout=1e-9) as http_client:
        in_time = await fate_of_an_add(server.url, http_client)
    async with RawServer(silent) as server, library(timeout=None) as http_client:
        too_late = await fate_of_an_add(server.url, http_client, timeout=0.1)

    assert [ADDED, IN_DOUBT] == [how_it_ended(in_time), how_it_ended(too_late)]


async def test_a_redirect_is_not_followed_even_by_a_client_that_follows(library):
    """A client that follows redirects carries the key nowhere."""

    async def elsewhere(call: Connection) -> None:
        await call.body()
        await call.send(with_length(b"", status="307 Temporary Redirect", headers="Location: /other\r\n"))

    async with RawServer(elsewhere) as server, library(follow_redirects=True) as http_client:
        fate = await fate_of_an_add(server.url, http_client)

    assert (("NotSent", NotSentCause.WRONG_ADDRESS, [Phase.ANSWERED]), 1) == (how_it_ended(fate), server.calls)


# --- Transports and pools --------------------------------------------------------------------------------------------


class Again(httpx.AsyncBaseTransport):
    """Sends again what failed, as transports with retries do."""

    def __init__(self) -> None:
        self.inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self.inner.handle_async_request(request)
        except httpx.TransportError:
            return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_a_transport_that_sends_again_can_not():
    """A transport below that would send a call twice gets its body once: the log is in the store once, in doubt."""

    async def reset(call: Connection) -> None:
        await call.body()
        call.reset()

    async with RawServer(reset) as server, httpx.AsyncClient(transport=Again()) as http_client:
        fate = await fate_of_an_add(server.url, http_client)

    assert (IN_DOUBT, {"kept": 1}) == (how_it_ended(fate), server.received)


async def test_a_pool_smaller_than_the_client_asks_for_holds_all_the_same(library):
    """With one connection for four calls at once, calls wait for it, and each log arrives once."""
    async with RawServer() as server, library(connections=1) as http_client:
        settings = {"http_client": http_client, "requests_per_minute": None, "batch_size": 1}
        async with AsyncNetoClient(server.url, api_key="key", **settings) as neto:
            report = await neto.add_customer_logs([{"Notes": str(number)} for number in range(20)])

    assert (20, {str(number): 1 for number in range(20)}) == (len(report.added), server.received)


async def test_one_client_serves_many(library):
    """Two stores and a request of the caller's own share a pool, and none gets another's key."""

    async def page(call: Connection) -> None:
        await call.send(with_length(b"the caller's own"))

    async with RawServer() as first, RawServer() as second, RawServer(page) as other, library() as http_client:
        fates = await asyncio.gather(fate_of_an_add(first.url, http_client), fate_of_an_add(second.url, http_client))
        own = await http_client.get(other.url, headers={"Content-Length": "0"})

    assert [ADDED, ADDED] == [how_it_ended(fate) for fate in fates]
    assert (b"the caller's own", False) == (own.content, "netoapi_key" in own.request.headers)
    assert ({"kept": 1}, {"kept": 1}) == (first.received, second.received)


@pytest.mark.parametrize("make", [httpx.Client, lambda: "httpx", object])
def test_another_kind_of_client_is_refused_at_once(make):
    """What can make no calls is refused where it is submitted, not after the patience of the first log."""
    with pytest.raises(ConfigurationError, match=r"httpx\.AsyncClient"):
        AsyncNetoClient("https://www.yournetosite.com.au", api_key="key", http_client=make())
