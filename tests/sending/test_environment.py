"""Proxies and certificates that the environment names, without a socket."""

from __future__ import annotations

import ssl
import traceback
from typing import Any

import httpx
import httpx2
import pytest

from neto_async import AsyncNetoClient, ConfigurationError
from neto_async.sending.environment import proxy_for
from neto_async.sending.exchange import OutgoingBody
from neto_async.sending.transport import HttpTransport
from neto_async.settings import Settings

STORE = "https://www.yournetosite.com.au"
PROXY = "http://proxy.example:3128"
SECRET = "CANARY"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Start from an environment that names neither proxies nor certificates."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def made(url: str = STORE, **more: Any) -> AsyncNetoClient:
    return AsyncNetoClient(url, api_key="key", **more)


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, STORE, None),
        ({"HTTPS_PROXY": PROXY}, STORE, PROXY),
        ({"https_proxy": "proxy.example:3128"}, STORE, PROXY),
        ({"HTTP_PROXY": PROXY}, STORE, None),
        ({"HTTP_PROXY": PROXY}, "http://10.0.0.7", PROXY),
        ({"ALL_PROXY": PROXY}, STORE, PROXY),
        ({"ALL_PROXY": PROXY, "HTTPS_PROXY": "https://other.example"}, STORE, "https://other.example"),
    ],
)
def test_the_proxy_is_the_schemes_or_the_one_for_all(environment, variables, url, proxy):
    """A proxy for the store's scheme comes before the one for all, and one without a scheme is taken for http."""
    for name, value in variables.items():
        environment.setenv(name, value)
    assert proxy == proxy_for(url, httpx.URL)


@pytest.mark.parametrize(
    ("exception", "excepted"),
    [
        ("shop.example.com", True),
        (" other.com , SHOP.example.com:8443 ", True),
        ("example.com", True),
        (".example.com", True),
        ("*.example.com", True),
        ("https://shop.example.com", True),
        ("*", True),
        ("shop.example.com:443", False),
        ("ample.com", False),
        ("10.0.0.0/8", False),
        ("", False),
    ],
)
def test_no_proxy_takes_out_hosts_and_domains(environment, exception, excepted):
    """An entry is a host, a domain with or without a dot or a star, with or without a port, or a star for all."""
    environment.setenv("ALL_PROXY", PROXY)
    environment.setenv("NO_PROXY", exception)
    assert excepted == (proxy_for("https://shop.example.com:8443", httpx.URL) is None)


def test_no_proxy_takes_out_networks(environment):
    """An entry may be an address or a network, of either kind."""
    environment.setenv("ALL_PROXY", PROXY)
    environment.setenv("NO_PROXY", "10.0.0.0/8,192.168.1.7,fd00::/8,[::2]")
    taken_out = ["10.9.8.7", "192.168.1.7", "[fd00::1]", "[::2]"]
    assert [None] * 4 == [proxy_for(f"http://{host}", httpx.URL) for host in taken_out]
    assert [PROXY] * 3 == [proxy_for(f"http://{host}", httpx.URL) for host in ("11.0.0.1", "192.168.1.8", "[fe00::1]")]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HTTPS_PROXY", f"http://user:{SECRET}/x@proxy.example:3128", "can't be read as a proxy's address"),
        ("HTTPS_PROXY", f"http://user:1{SECRET}#x@proxy.example", "can't be read as a proxy's address"),
        ("HTTPS_PROXY", f"http://user:80/{SECRET}@proxy.example", "can't be read as a proxy's address"),
        ("https_proxy", f"http://user:{SECRET}@", "can't be read as a proxy's address"),
        ("HTTPS_PROXY", f"http://user:{SECRET}@[::1", "can't be read as a proxy's address"),
        ("HTTPS_PROXY", f"http://user:{SECRET}@proxy.example:99999", "can't be read as a proxy's address"),
        ("HTTPS_PROXY", f"http://user:{SECRET}@999.1.1.1", "can't be read as a proxy's address"),
        ("ALL_PROXY", f"gopher://{SECRET}.example", "a kind of proxy that can't be used"),
        ("ALL_PROXY", f"socks5://{SECRET}.example:1080", "pip install 'httpx[socks]'"),
        ("SSL_CERT_FILE", f"/nowhere/{SECRET}.pem", "names no file that is there"),
        ("SSL_CERT_DIR", f"/nowhere/{SECRET}", "names no folder that is there"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(environment, name, value, said):
    """What can't be used is refused when a client is made, by the variable's name; its value is in no text."""
    environment.setenv(name, value)
    with pytest.raises(ConfigurationError, match=rf"^the environment variable {name} ") as caught:
        made()
    assert said in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_exception_that_is_no_network_is_refused(environment):
    """An entry of NO_PROXY with a slash that is no network can't be meant."""
    environment.setenv("ALL_PROXY", PROXY)
    environment.setenv("no_proxy", f"10.0.0.0/33{SECRET}")
    with pytest.raises(ConfigurationError, match=r"^the environment variable no_proxy has an entry") as caught:
        made()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_what_the_system_names_has_no_variable(monkeypatch):
    """On macOS and Windows the system's settings count, and are named as such."""
    monkeypatch.setattr("neto_async.sending.environment.getproxies", lambda: {"https": "gopher://proxy.example"})
    with pytest.raises(ConfigurationError, match=r"^the system's proxy setting names a kind"):
        made()


async def test_certificates_that_cannot_be_read_are_named(environment, tmp_path):
    """A file that holds no certificates is refused when a client is entered; a call without that fails for good."""
    bundle = tmp_path / "authority.pem"
    bundle.write_text(SECRET)
    environment.setenv("SSL_CERT_FILE", str(bundle))
    neto = made()
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE names can't be read as certificates"):
        await neto.__aenter__()

    failure = await HttpTransport(Settings(store_url=STORE, api_key="key")).call(OutgoingBody(b"{}"))
    assert ("ConfigurationError", True, True) == (failure.name, "SSL_CERT_FILE" in failure.kind, failure.permanent)

    environment.delenv("SSL_CERT_FILE")
    environment.setattr(httpx, "create_ssl_context", lambda: ssl.create_default_context(cafile=str(bundle)))
    with pytest.raises(ConfigurationError, match="the certificates that come with httpx can't be read"):
        await made().__aenter__()


def test_a_proxy_that_speaks_tls_needs_a_trusted_certificate(environment):
    """A proxy that is reached by TLS is given the certificates of the environment, a plain one none."""
    clients: list[dict[str, Any]] = []
    environment.setattr(httpx, "AsyncClient", lambda **given: clients.append(given))
    for proxy in (PROXY, "https://proxy.example", ""):
        environment.setenv("ALL_PROXY", proxy)
        HttpTransport(Settings(store_url=STORE, api_key="key")).open()

    plain, encrypted, none = (given["proxy"] for given in clients)
    assert (None, clients[1]["verify"], None) == (plain.ssl_context, encrypted.ssl_context, none)


async def test_a_store_on_loopback_needs_nothing_of_the_environment(environment):
    """For a store on this machine neither proxies nor certificates are asked for, broken or not."""
    for name in ("ALL_PROXY", "HTTP_PROXY", "SSL_CERT_FILE"):
        environment.setenv(name, f"gopher://{SECRET}")
    for host in ("localhost:8020", "127.0.0.2", "[::1]"):
        async with made(f"http://{host}"):
            pass


@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_a_client_that_would_send_loopback_to_a_proxy_is_refused(environment, library):
    """A given client that heeds the environment's proxies is refused for a store on this machine, but for NO_PROXY."""
    environment.setenv("HTTP_PROXY", PROXY)
    environment.setenv("NO_PROXY", "127.0.0.0/8")  # which httpx does not understand
    url = "http://127.0.0.1:8020"
    async with library.AsyncClient() as heeding, library.AsyncClient(trust_env=False) as heedless:
        with pytest.raises(ConfigurationError, match="trust_env=False"):
            made(url, http_client=heeding)
        made(url, http_client=heedless)
        made("http://10.0.0.1", http_client=heeding, allow_insecure_http=True)
        environment.setenv("NO_PROXY", "127.0.0.1")
        made(url, http_client=heeding)
