"""Tracebacks with local variables, as error trackers keep them: none shows a key, or the password of a proxy."""

from __future__ import annotations

import io
import os
import socket
import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
import sentry_sdk
from rich.console import Console
from rich.traceback import Traceback

from neto_async import AddOnKeys, AsyncNetoClient, BearerToken, ConfigurationError, NetoError
from neto_async.credentials import Secret
from neto_async.sandbox import NetoSandbox, faults
from neto_async.settings import Settings, credentials_from_env

# Put together, so that lines of this file, which a tracker shows, do not hold it.
KEY = "CAN" + "ARY"
STRAY = f"{KEY}\u2003key"
STORE = "https://www.yournetosite.com.au"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the key into the environment."""
    monkeypatch.setenv("NETO_STORE_URL", STORE)
    monkeypatch.setenv("NETO_API_KEY", KEY)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)


class Kept(sentry_sdk.transport.Transport):
    """Keeps events instead of sending them."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.events += [event] if (event := envelope.get_event()) else []


def shown(error: BaseException) -> Iterator[tuple[str, str]]:
    """Show an error as trackers and tracebacks with local variables do."""
    yield "traceback", "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    yield (
        "traceback of what was handled",
        "".join(
            "".join(traceback.TracebackException.from_exception(handled, capture_locals=True).format())
            for handled in (error.__context__, error.__cause__)
            if handled is not None
        ),
    )
    console = Console(file=io.StringIO(), width=4000)
    everything = {"show_locals": True, "locals_max_length": None, "locals_max_string": None}
    console.print(Traceback.from_exception(type(error), error, error.__traceback__, **everything))
    yield "rich", console.file.getvalue()
    kept = Kept()
    with sentry_sdk.isolation_scope() as scope:
        options = {"dsn": "https://public@sentry.example/1", "default_integrations": False}
        scope.set_client(sentry_sdk.Client(transport=kept, **options))
        scope.capture_exception(error)
    (event,) = kept.events
    assert any("vars" in frame for frame in event["exception"]["values"][-1]["stacktrace"]["frames"])
    yield "sentry", repr(event)


def env(**variables: str) -> None:
    os.environ.update(variables)


ADD_ON = {"NETO_API_KEY": "", "NETO_ACCESS_KEY": KEY, "NETO_SECRET_KEY": KEY}


def without_address() -> None:
    os.environ.pop("NETO_STORE_URL")
    AsyncNetoClient.from_env()


def behind(address: str, **variables: str) -> None:
    env(HTTPS_PROXY=address.replace("PASSWORD", KEY), **variables)
    AsyncNetoClient(STORE, api_key=KEY)


MAKING: dict[str, Callable[[], object]] = {
    "a stray character": lambda: AsyncNetoClient(STORE, api_key=STRAY),
    "a stray character in a secret": lambda: AsyncNetoClient(STORE, api_key=Secret(STRAY)),
    "a stray character in the environment": lambda: (env(NETO_API_KEY=STRAY), AsyncNetoClient.from_env()),
    "a stray character in the settings": lambda: Settings(**{**credentials_from_env(), "api_key": Secret(STRAY)}),
    "no text": lambda: AsyncNetoClient(STORE, api_key=KEY.encode()),
    "a stray character in an access key": lambda: AsyncNetoClient(
        STORE, api_key=AddOnKeys(access_key=STRAY, secret_key=KEY)
    ),
    "a stray character in a secret key": lambda: AsyncNetoClient(
        STORE, api_key=AddOnKeys(access_key=KEY, secret_key=STRAY)
    ),
    "a stray character in a token": lambda: AsyncNetoClient(STORE, api_key=BearerToken(STRAY)),
    "a wrong path beside a token": lambda: AsyncNetoClient(STORE, api_key=BearerToken(KEY, base_path="..")),
    "a user name beside a token": lambda: AsyncNetoClient(STORE, username="u", api_key=BearerToken(KEY)),
    "a wrong argument beside a token": lambda: AsyncNetoClient.from_env(api_key=BearerToken(KEY), timeout=-1),
    "a stray character in an add-on's environment": lambda: (
        env(**{**ADD_ON, "NETO_SECRET_KEY": STRAY}),
        AsyncNetoClient.from_env(),
    ),
    "half an add-on in the environment": lambda: (env(**{**ADD_ON, "NETO_SECRET_KEY": ""}), AsyncNetoClient.from_env()),
    "two logins in the environment": lambda: (env(**{**ADD_ON, "NETO_API_KEY": KEY}), AsyncNetoClient.from_env()),
    "a wrong address": lambda: AsyncNetoClient("www.yournetosite.com.au", api_key=KEY),
    "an address that can't be read": lambda: AsyncNetoClient("https://[::1", api_key=KEY),
    "a wrong argument": lambda: AsyncNetoClient(STORE, api_key=KEY, batch_size=0),
    "a wrong argument beside the environment": lambda: AsyncNetoClient.from_env(api_key=KEY, timeout=-1),
    "another kind of HTTP client": lambda: AsyncNetoClient(STORE, api_key=KEY, http_client=object()),
    "no address in the environment": without_address,
    "a proxy that can't be read": lambda: behind("http://user:PASSWORD/x@proxy.example"),
    "a proxy of another kind": lambda: behind("gopher://user:PASSWORD@proxy.example"),
    "an exception that is no network": lambda: behind("http://user:PASSWORD@proxy.example", NO_PROXY="a/b"),
    "no such certificates": lambda: behind("http://user:PASSWORD@proxy.example", SSL_CERT_FILE="none.pem"),
}


@pytest.mark.parametrize("make", MAKING.values(), ids=MAKING)
def test_a_client_that_cannot_be_made_shows_no_key(make, monkeypatch):
    """Where making a client fails, no frame of ours holds the key or a password in clear."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert [] == [tool for tool, text in shown(caught.value) if KEY in text]


async def _enter(store: NetoSandbox) -> None:
    env(HTTPS_PROXY=f"http://user:{KEY}@proxy.example", SSL_CERT_FILE=__file__)
    await AsyncNetoClient(STORE, api_key=KEY).__aenter__()


async def _add(url: str, **more: Any) -> None:
    neto = AsyncNetoClient(url, **{"api_key": KEY, "give_up_after": 0.1, **more})
    try:
        await neto.add_customer_log({"Notes": "x"})
    finally:
        await neto.aclose()


async def _refused_key(store: NetoSandbox) -> None:
    await _add(store.url)


async def _refused_keys(store: NetoSandbox) -> None:
    await _add(store.url, api_key=AddOnKeys(access_key=KEY, secret_key=KEY))


async def _refused_tokens(store: NetoSandbox) -> None:
    await _add(store.url, api_key=BearerToken(lambda: KEY), give_up_after=5.0)


async def _stray_token(store: NetoSandbox) -> None:
    async def token() -> str:
        return STRAY

    await _add(store.url, api_key=BearerToken(token))


async def _no_token(store: NetoSandbox) -> None:
    def token() -> str:
        raise ConfigurationError(KEY)

    await _add(store.url, api_key=BearerToken(token))


async def _reset(store: NetoSandbox) -> None:
    store.faults.next(faults.Reset(saves=True))
    await _add(store.url)


async def _nobody_listens(store: NetoSandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    await _add(f"http://127.0.0.1:{port}")


async def _no_proxy_listens(store: NetoSandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    env(HTTPS_PROXY=f"http://user:{KEY}@127.0.0.1:{port}")
    await _add(STORE)


async def _hook_fails(store: NetoSandbox) -> None:
    async def fail(request: httpx.Request) -> None:
        raise ValueError

    async with httpx.AsyncClient(event_hooks={"request": [fail]}) as client:
        await _add(store.url, http_client=client)


async def _closed(store: NetoSandbox) -> None:
    async with httpx.AsyncClient() as client:
        pass
    await _add(store.url, http_client=client)


@pytest.mark.parametrize(
    "fail",
    [
        _enter,
        _refused_key,
        _refused_keys,
        _refused_tokens,
        _stray_token,
        _no_token,
        _reset,
        _nobody_listens,
        _no_proxy_listens,
        _hook_fails,
        _closed,
    ],
)
async def test_a_call_that_fails_shows_no_key(store, fail: Callable[[NetoSandbox], Awaitable[None]], monkeypatch):
    """Where entering or calling fails, no frame of ours or of the HTTP library's that holds the key can be seen."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with pytest.raises(NetoError) as caught:
        await fail(store)
    assert [] == [tool for tool, text in shown(caught.value) if KEY in text]
