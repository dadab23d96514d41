"""
The settings of a client, checked once, when it is made. May import: credentials, errors.

All float-based time parameters are in seconds. Nothing here opens a socket or needs an event loop.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from datetime import timezone, tzinfo
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, urlsplit

from attrs import field, frozen

from neto_async.credentials import AddOnKeys, BearerToken, Login, Secret, login_of, wrapped
from neto_async.errors import ConfigurationError

__all__ = [
    "API_PATH",
    "SETTLE_AFTER",
    "InDoubt",
    "Settings",
    "WireFormat",
    "credentials_from_env",
]

API_PATH = "/do/WS/NetoAPI"
"""Path of the one endpoint that every store has (AddCustomerLog page, developers.maropost.com, read 2026-11)."""

SETTLE_AFTER = 600.0
"""Seconds after which a call is taken to be over at the store. Neto does not document how long one can last there."""

_ADD_ON = ("NETO_ACCESS_KEY", "NETO_SECRET_KEY")


class WireFormat(StrEnum):
    """The two formats that the API speaks."""

    JSON = "json"
    XML = "xml"


class InDoubt(StrEnum):
    """What to do with rows whose outcome an earlier run never learned."""

    HOLD = "hold"
    """They come out as `Unknown` and are not sent."""
    RESEND = "resend"
    """They are sent again: someone has looked in the store, or accepts that they may be there twice."""


@frozen(kw_only=True)
class Settings:
    """
    The settings of a client; see `AsyncNetoClient` for what each means.

    Raises:
        ConfigurationError: A value can't be used; the text names it and says what to give, never a key.
    """

    store_url: str
    api_key: Secret | AddOnKeys | BearerToken = field(repr=False, converter=wrapped)
    username: str | None = field(default=None, repr=False)
    wire_format: WireFormat = WireFormat.JSON
    wire_timezone: tzinfo = timezone.utc
    batch_size: int = 100
    max_batch_bytes: int = 1_000_000
    max_concurrency: int = 4
    requests_per_minute: float | None = 400
    timeout: float = 60.0
    keepalive_expiry: float = 3.0
    give_up_after: float = 300.0
    isolate_rejections: bool = True
    allow_insecure_http: bool = False
    login: Login = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        # The class is frozen: normalised values are set once, here.
        put = object.__setattr__
        for name in ("isolate_rejections", "allow_insecure_http"):
            require_flag(name, getattr(self, name))
        store_url = _store_url(self.store_url, allow_insecure_http=self.allow_insecure_http)
        put(self, "login", login_of(self.api_key, None if self.username is None else Secret(self.username)))
        if isinstance(self.api_key, Secret):
            put(self, "api_key", self.login.headers["NETOAPI_KEY"])
        if self.username is not None:
            put(self, "username", self.login.headers["NETOAPI_USERNAME"].get_secret_value())
        # With its path: the stores of one host have their own quotas and journals.
        put(self, "store_url", store_url + self.login.base_path)
        try:
            put(self, "wire_format", WireFormat(self.wire_format))
        except ValueError:
            raise ConfigurationError('wire_format must be "json" or "xml"') from None
        if not isinstance(self.wire_timezone, tzinfo):
            raise ConfigurationError('wire_timezone must be a tzinfo, such as ZoneInfo("Australia/Sydney")')
        for name in ("batch_size", "max_batch_bytes", "max_concurrency"):
            _require_count(name, getattr(self, name))
        for name in ("timeout", "give_up_after"):
            require_positive(name, getattr(self, name))
        if self.keepalive_expiry != 0 or isinstance(self.keepalive_expiry, bool):
            require_positive("keepalive_expiry", self.keepalive_expiry, otherwise=", or 0 for a connection a call")
        if self.requests_per_minute is not None:
            require_positive("requests_per_minute", self.requests_per_minute, otherwise=", or None for no limit")

    @property
    def endpoint(self) -> str:
        """Address of the API, without a query."""
        return self.store_url + API_PATH

    @property
    def on_loopback(self) -> bool:
        """True where the store is on this machine, such as the sandbox."""
        return _is_loopback(urlsplit(self.store_url).hostname or "")


def credentials_from_env(environ: Mapping[str, str] | None = None, *, with_key: bool = True) -> dict[str, Any]:
    """
    Read NETO_STORE_URL, NETO_USERNAME (optional) and NETO_API_KEY, or NETO_ACCESS_KEY and NETO_SECRET_KEY.

    Args:
        environ: Where to read them; the process's environment if it is not given.
        with_key: False leaves the keys out, where the caller has them.

    Raises:
        ConfigurationError: One that is needed is missing or empty, or both ways to log in are there.
    """
    variables = os.environ if environ is None else environ
    names = ("NETO_STORE_URL", "NETO_USERNAME", "NETO_API_KEY", *_ADD_ON)
    found = {name: Secret(variables.get(name, "").strip()) for name in names}
    del environ, variables  # the frame of an error holds nothing in clear
    there = {name for name in names if found[name].get_secret_value()}
    keys = () if not with_key else ("NETO_API_KEY",) if there.isdisjoint(_ADD_ON) else _ADD_ON
    if missing := [name for name in ("NETO_STORE_URL", *keys) if name not in there]:
        raise ConfigurationError(f"set the environment variable{'s' * (len(missing) > 1)} {' and '.join(missing)}")
    if keys == _ADD_ON and "NETO_API_KEY" in there:
        raise ConfigurationError(f"set either NETO_API_KEY, or {' and '.join(_ADD_ON)}, and not all of them")
    where: dict[str, Any] = {
        "store_url": found["NETO_STORE_URL"].get_secret_value(),
        "username": found["NETO_USERNAME"].get_secret_value() or None,
    }
    if keys == _ADD_ON:
        where["api_key"] = AddOnKeys(access_key=found["NETO_ACCESS_KEY"], secret_key=found["NETO_SECRET_KEY"])
    elif keys:
        where["api_key"] = found["NETO_API_KEY"]
    return where


def _store_url(given: object, *, allow_insecure_http: bool) -> str:
    # No text below repeats the address: a person may have pasted a key or a password into it.
    example = 'such as "https://www.yournetosite.com.au"'
    if not isinstance(given, str):
        raise ConfigurationError(f"the store's address must be text, {example}")
    text = given.strip()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(f"the store's address can't be read; give one {example}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ConfigurationError(f"the store's address must begin with https:// and name a host, {example}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError(f"the store's address must be scheme and host alone, {example}")
    if not host.isascii() or any(character.isspace() or not character.isprintable() for character in text):
        raise ConfigurationError(f"the store's address holds a character that no host name has; give one {example}")
    path = parts.path.rstrip("/")
    if path not in {"", API_PATH}:
        raise ConfigurationError(
            f"the store's address must have no path; {API_PATH} is added to it: give one {example}"
        )
    if parts.scheme == "http" and not (allow_insecure_http or _is_loopback(host)):
        raise ConfigurationError(
            "plain http:// would send the key unencrypted; use https://, or pass allow_insecure_http=True"
        )
    # Clients of one store share a quota, and runs a journal, by its address: each store has one.
    usual = port in {None, {"http": 80, "https": 443}[parts.scheme]}
    place = parts.netloc.lower() if not usual else f"[{host}]" if ":" in host else host
    return SplitResult(parts.scheme, place, "", "", "").geturl()


def _is_loopback(host: str) -> bool:
    host = host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number above 0")


def require_flag(name: str, value: object) -> None:
    """Raise `ConfigurationError` unless a value is True or False: ``"false"`` of a file would count as true."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False")


def require_not_below_zero(name: str, value: object, *, otherwise: str = ", or None") -> None:
    """
    Raise `ConfigurationError` unless a value is a finite number of at least 0.

    None is allowed too, unless ``otherwise`` is empty; it ends the sentence.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max
    if not (is_number or (value is None and otherwise)):
        raise ConfigurationError(f"{name} must be a number that is not below 0{otherwise}")


def require_positive(name: str, value: object, *, otherwise: str = "") -> None:
    """Raise `ConfigurationError` unless a value is a finite number above 0; ``otherwise`` ends its sentence."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= sys.float_info.max:
        raise ConfigurationError(f"{name} must be a number above 0{otherwise}")
