"""
What a client is told when it is made, checked once. May import: errors.

All float-based time parameters are in seconds. Nothing here opens a socket or needs an event loop.
"""

from __future__ import annotations

import ipaddress
import math
import os
from collections.abc import Mapping
from datetime import timezone, tzinfo
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from attrs import field, frozen

from neto_async.errors import ConfigurationError

__all__ = ["API_PATH", "InDoubt", "Settings", "WireFormat", "credentials_from_env"]

API_PATH = "/do/WS/NetoAPI"
"""Path of the one endpoint that every store has (AddCustomerLog page, developers.maropost.com, read 2026-11)."""


class WireFormat(StrEnum):
    """The two formats that the API speaks."""

    JSON = "json"
    XML = "xml"


class InDoubt(StrEnum):
    """What to do with rows of which an earlier run did not see the end."""

    HOLD = "hold"
    """They come out as `Unknown` and are not sent."""
    RESEND = "resend"
    """They are sent again: someone has looked in the store, or accepts that they may stand there twice."""


@frozen(kw_only=True)
class Settings:
    """
    The settings of a client; see `AsyncNetoClient` for what each means.

    Raises:
        ConfigurationError: A value can't be used; the text names it and says what to give, never a key.
    """

    store_url: str
    api_key: str = field(repr=False)
    username: str | None = field(default=None, repr=False)
    wire_format: WireFormat = WireFormat.JSON
    wire_timezone: tzinfo = timezone.utc
    batch_size: int = 100
    max_batch_bytes: int = 1_000_000
    max_concurrency: int = 4
    requests_per_minute: float | None = 400
    timeout: float = 60.0
    give_up_after: float = 300.0
    isolate_rejections: bool = True
    allow_insecure_http: bool = False

    def __attrs_post_init__(self) -> None:
        # Frozen: what is normalised is put in place once, here.
        put = object.__setattr__
        put(self, "store_url", _store_url(self.store_url, allow_insecure_http=self.allow_insecure_http))
        put(self, "api_key", _header_value("api_key", self.api_key))
        if self.username is not None:
            put(self, "username", _header_value("username", self.username))
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
        if self.requests_per_minute is not None:
            require_positive("requests_per_minute", self.requests_per_minute, otherwise=", or None for no limit")

    @property
    def endpoint(self) -> str:
        """Address of the API, without a query."""
        return self.store_url + API_PATH


def credentials_from_env(environ: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """
    Read NETO_STORE_URL, NETO_USERNAME (optional) and NETO_API_KEY.

    Raises:
        ConfigurationError: One of the two that are needed is missing or empty.
    """
    environ = os.environ if environ is None else environ
    missing = [name for name in ("NETO_STORE_URL", "NETO_API_KEY") if not environ.get(name, "").strip()]
    if missing:
        raise ConfigurationError(f"set the environment variable{'s' * (len(missing) > 1)} {' and '.join(missing)}")
    return {
        "store_url": environ["NETO_STORE_URL"].strip(),
        "username": environ.get("NETO_USERNAME", "").strip() or None,
        "api_key": environ["NETO_API_KEY"],
    }


def _store_url(given: object, *, allow_insecure_http: bool) -> str:
    # No text below repeats the address: a person may have pasted a key or a password into it.
    example = 'such as "https://www.yournetosite.com.au"'
    if not isinstance(given, str):
        raise ConfigurationError(f"the store's address must be text, {example}")
    text = given.strip()
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
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
    return SplitResult(parts.scheme, parts.netloc.lower(), "", "", "").geturl()


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _header_value(name: str, given: object) -> str:
    if not isinstance(given, str):
        raise ConfigurationError(f"{name} must be text")
    # A key pasted with white space round it fails at the store.
    value = given.strip()
    if not value:
        none = ", or None to send no user name" if name == "username" else ""
        raise ConfigurationError(f"{name} is empty; give the one from the store's control panel{none}")
    if not (value.isascii() and value.isprintable()):
        raise ConfigurationError(f"{name} holds a character that an HTTP header can't carry; copy it again")
    return value


def _require_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number above 0")


def require_positive(name: str, value: object, *, otherwise: str = "") -> None:
    """
    Check that a value is a finite number above 0.

    Raises:
        ConfigurationError: It is not; ``otherwise`` ends the sentence.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value <= 0:
        raise ConfigurationError(f"{name} must be a number above 0{otherwise}")
