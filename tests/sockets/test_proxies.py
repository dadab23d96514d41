"""Proxies and private authorities, over real sockets: what they hide, what they break, and what is notified of it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from libraries import Through
from proxy import HttpProxy
from rawserver import Connection, RawServer

from neto_async import AsyncNetoClient, CustomerLog, Outcome
from neto_async.outcomes import NotSentCause, Phase
from neto_async.sending.exchange import Failure, OutgoingBody
from neto_async.sending.transport import HttpTransport
from neto_async.settings import Settings

ADDED = ("Added", None, [Phase.ANSWERED])
IN_DOUBT = ("Unknown", None, [Phase.LEFT])
GAVE_UP = ("NotSent", NotSentCause.GAVE_UP, [Phase.NEVER_LEFT])
WRONG_ADDRESS = ("NotSent", NotSentCause.WRONG_ADDRESS, [Phase.ANSWERED])


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make an authority that only this company's machines know."""
    return trustme.CA()


@pytest.fixture
def ours(authority: trustme.CA) -> ssl.SSLContext:
    """Make the context of a server whose certificate that authority issued."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Make a client's context that trusts it."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def ends(url: str, http_client: Any = None, **settings: Any) -> tuple[Any, ...]:
    """Add a log, and give its outcome's name, its cause, and the phases of its attempts, each once."""
    given = {"timeout": 20.0, "give_up_after": 0.2, "requests_per_minute": None, **settings}
    async with AsyncNetoClient(url, api_key="CANARY-key", http_client=http_client, **given) as neto:
        fate: Outcome = (await neto.add_customer_logs([CustomerLog(notes="CANARY-text")])).outcomes[0]
    phases = list(dict.fromkeys(attempt.phase for attempt in fate.attempts))
    return type(fate).__name__, getattr(fate, "cause", None), phases


# --- Proxies ---------------------------------------------------------------------------------------------------------


# What httpx-aiohttp asks of aiohttp with a proxy's password.
@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The 'proxy_auth' parameter is deprecated:DeprecationWarning")
async def test_a_tunnel_shows_the_proxy_nothing(library, ours, trusting):
    """Through a proxy with a password to a store with TLS: added, and the proxy sees neither key nor text."""
    async with (
        HttpProxy(credentials="jsmith:secret") as proxy,
        RawServer(tls=ours) as server,
        library(verify=trusting, through=Through(proxy.url, auth=("jsmith", "secret"))) as http_client,
    ):
        assert ADDED == await ends(server.url, http_client)

    assert ("CONNECT", {"CANARY-text": 1}) == (proxy.heads[0].split()[0], server.received)
    assert b"CANARY" not in proxy.seen


async def test_a_proxy_that_speaks_tls_itself(library, ours, trusting):
    """The way to the proxy may be encrypted as well."""
    async with (
        HttpProxy(tls=ours) as proxy,
        RawServer(tls=ours) as server,
        library(verify=trusting, through=Through(proxy.url)) as http_client,
    ):
        assert ADDED == await ends(server.url, http_client)

    assert b"CANARY" not in proxy.seen


@pytest.mark.parametrize(
    "proxy",
    [{"credentials": "jsmith:secret"}, {"refusing": "502 Bad Gateway"}, {"refusing": "403 Forbidden"}],
    ids=str,
)
async def test_a_tunnel_that_is_refused_is_never_left(library, ours, trusting, proxy):
    """A proxy that opens no tunnel, for want of a password or of a store: the log is certainly not sent."""
    async with (
        HttpProxy(**proxy) as refusing,
        RawServer(tls=ours) as server,
        library(verify=trusting, through=Through(refusing.url)) as http_client,
    ):
        assert GAVE_UP == await ends(server.url, http_client)

    assert (0, False) == (server.connections, b"CANARY" in refusing.seen)


async def fails(url: str, http_client: Any) -> tuple[str | None, bool]:
    """Make a call that fails before it left, and give the kind of the failure, and whether it is for good."""
    body = OutgoingBody(b"{}")
    exchange = await HttpTransport(Settings(store_url=url, api_key="key", timeout=20.0), http_client).call(body)
    assert (True, False) == (isinstance(exchange, Failure), body.left)
    return exchange.kind, exchange.permanent


async def test_a_failure_is_named_by_its_kind(library, ours, trusting):
    """A certificate that is not trusted is one for good; a proxy that refuses is not, and is named as such."""
    async with RawServer(tls=ours) as server, HttpProxy(refusing="502 Bad Gateway") as refusing:
        async with library() as http_client:
            untrusted = await fails(server.url, http_client)
        async with library(verify=trusting, through=Through(refusing.url)) as http_client:
            refused = await fails(server.url, http_client)

    assert [("certificate not trusted", True), ("proxy refused", False)] == [untrusted, refused]


async def test_a_silent_proxy_is_never_left(library, ours, trusting):
    """A proxy that says nothing at all: the log is certainly not sent."""
    async with (
        HttpProxy(silent=True) as proxy,
        RawServer(tls=ours) as server,
        library(verify=trusting, through=Through(proxy.url)) as http_client,
    ):
        assert GAVE_UP == await ends(server.url, http_client, timeout=0.1)

    assert 0 == server.connections


async def test_a_proxy_that_is_not_there_is_never_left(library, ours, trusting):
    """A proxy at whose address nobody listens: the log is certainly not sent."""
    async with HttpProxy() as proxy:
        gone = Through(proxy.url)
    async with RawServer(tls=ours) as server, library(verify=trusting, through=gone) as http_client:
        assert GAVE_UP == await ends(server.url, http_client)


@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_proxy_that_dies_after_the_body_leaves_doubt(library, ours, trusting, encrypted):
    """A proxy that goes away while the store works on the call: in doubt, and not sent a second time."""

    async def cut(call: Connection) -> None:
        await call.body()
        proxy.cut()
        await call.gone()

    async with (
        HttpProxy() as proxy,
        RawServer(cut, tls=ours if encrypted else None) as server,
        library(verify=trusting, through=Through(proxy.url)) as http_client,
    ):
        assert IN_DOUBT == await ends(server.url, http_client)

    assert {"CANARY-text": 1} == server.received


async def test_a_forwarded_call_that_the_proxy_refuses_was_not_saved(library):
    """Without TLS a proxy reads the call and answers in the store's place: its 407 is taken as a wrong address."""
    async with (
        HttpProxy(credentials="jsmith:secret") as proxy,
        RawServer() as server,
        library(through=Through(proxy.url)) as http_client,
    ):
        assert WRONG_ADDRESS == await ends(server.url, http_client)

    assert 0 == server.connections


# --- Certificates ----------------------------------------------------------------------------------------------------


async def test_a_private_authority(library, ours, trusting):
    """A store, or a gateway that reads along, with a certificate of a company's own authority: trusted by a context."""
    async with RawServer(tls=ours) as server, library(verify=trusting) as http_client:
        assert ADDED == await ends(server.url, http_client)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
async def test_a_client_certificate(library, authority, ours, trusting, version):
    """A store that asks for a certificate gets the context's; where it is missing, only TLS 1.2 says so in time."""
    ours.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(ours)
    trusting.maximum_version = version
    async with RawServer(tls=ours) as server:
        async with library(verify=trusting) as http_client:
            without = await ends(server.url, http_client)
        authority.issue_cert("us@example.com").configure_cert(trusting)
        async with library(verify=trusting) as http_client:
            assert ADDED == await ends(server.url, http_client)

    # In TLS 1.3 the client has shaken hands and sent its call before it hears that its certificate was wanted.
    assert without == (GAVE_UP if version is ssl.TLSVersion.TLSv1_2 else IN_DOUBT)
    assert {"CANARY-text": 1} == server.received


# --- The environment, with a client of our own -----------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Start from an environment that names neither proxies nor certificates."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


async def test_our_own_client_heeds_the_environment(environment, authority, ours, tmp_path: Path):
    """With no client given, HTTPS_PROXY with its password and SSL_CERT_FILE count; NO_PROXY takes out a host."""
    # All is on this machine here, so the store is taken for one that is elsewhere.
    environment.setattr(Settings, "on_loopback", False)
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(bundle)
    async with HttpProxy(credentials="jsmith:p@ss") as proxy, RawServer(tls=ours) as server:
        environment.setenv("HTTPS_PROXY", proxy.url.replace("://", "://jsmith:p%40ss@"))
        untrusted = await ends(server.url)
        environment.setenv("SSL_CERT_FILE", str(bundle))
        through = await ends(server.url)
        passed = len(proxy.heads)
        environment.setenv("NO_PROXY", "127.0.0.1")
        around = await ends(server.url)

    assert [GAVE_UP, ADDED, ADDED] == [untrusted, through, around]
    assert (len(proxy.heads), 2) == (passed, server.received.total())


async def test_loopback_never_goes_through_a_proxy(environment):
    """With no client given, a store on this machine is reached directly, and no proxy sees the key or the log."""
    async with HttpProxy() as proxy, RawServer() as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            environment.setenv(name, proxy.url)
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            assert ADDED == await ends(url)

    assert ({"CANARY-text": 2}, b"") == (server.received, bytes(proxy.seen))
