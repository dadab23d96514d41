"""
The credentials of a client: the key of a user, the keys of an add-on, or a bearer token. May import: errors.

Keys are held wrapped, and no frame that raises holds one in clear: a traceback may come with local variables.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

from attrs import evolve, field, frozen

from neto_async.errors import ConfigurationError

__all__ = ["AddOnKeys", "BearerToken", "Key", "KeySource", "Login", "Secret", "SecretValue", "login_of", "wrapped"]


class SecretValue(Protocol):
    """What holds a key without showing it, such as pydantic's ``SecretStr``."""

    def get_secret_value(self) -> str:
        """Give the key in clear."""


class Secret:
    """
    A key that no repr, and so no traceback with local variables, shows.

    Args:
        given: The key as text, or what has `get_secret_value`. It is checked by `Settings`.
    """

    __slots__ = ("_value",)

    def __init__(self, given: object) -> None:
        reveal = getattr(given, "get_secret_value", None)
        self._value: Any = given if reveal is None else reveal()

    def get_secret_value(self) -> str:
        """Give the key in clear."""
        return self._value  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return "Secret('**********')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


Key: TypeAlias = str | SecretValue
"""A key as text, or what holds it without showing it."""

KeySource: TypeAlias = Key | Callable[[], Key | Awaitable[Key]]
"""A key, or a function, plain or async, that gives the one that is valid now."""

HeldSource: TypeAlias = SecretValue | Callable[[], Key | Awaitable[Key]]
"""The same with a key wrapped."""


def _wrapped_key(given: Key) -> SecretValue:
    return Secret(given)


def _wrapped_source(given: KeySource) -> HeldSource:
    return given if callable(given) else Secret(given)


@frozen(kw_only=True)
class AddOnKeys:
    """
    The keys of an approved add-on, which logs in with the headers ``X_ACCESS_KEY`` and ``X_SECRET_KEY``.

    The vendor's page on authentication has the two (developers.maropost.com, read 2026-11). A key that is a function is
    asked for before the first call, and again when the store refuses what it gave; see `BearerToken`.

    Args:
        access_key: The client id of the add-on, as text or as what has ``get_secret_value()``.
        secret_key: The access token that a merchant's approval gave for this store, or a function that gives it.
    """

    access_key: SecretValue = field(repr=False, converter=_wrapped_key)
    secret_key: HeldSource = field(repr=False, converter=_wrapped_source)


@frozen
class BearerToken:
    """
    A token that goes out as ``Authorization: Bearer …``, to an address with a path of its own where it needs one.

    A function is asked for the token before the first call, and again when the store refuses what it gave: the calls
    that were refused saved nothing, and go once more with the new one. It is called, or awaited, in the event loop by
    one call at a time; a plain function must not wait. Where it fails, or gives what no header can carry, it is asked
    again with growing waits, until ``give_up_after`` ends the records as `NotSent`. What it raises is named by its
    class alone.

    Args:
        token: The token, as text or as what has ``get_secret_value()``; or a function that gives it.
        base_path: Path before that of the API, such as "/stores/1"; "" for none.
    """

    token: HeldSource = field(repr=False, converter=_wrapped_source)
    base_path: str = field(default="", kw_only=True)


@frozen(kw_only=True)
class Login:
    """
    The headers that log a call in.

    Attributes:
        headers: All of them, or all but one where a function gives the key in that one.
        source: The function; None where there is none.
        name: The parameter that the function was passed as.
        header: The header that its key goes out in.
        prefix: What goes before the key there.
        base_path: Path before that of the API.
    """

    headers: Mapping[str, Secret]
    source: Callable[[], Key | Awaitable[Key]] | None = field(default=None, repr=False)
    name: str = ""
    header: str = ""
    prefix: str = ""
    base_path: str = ""

    def headers_with(self, key: SecretValue) -> Mapping[str, Secret]:
        """Give all headers with a key in the last one, or raise `ConfigurationError` where no header can carry it."""
        key = _header_value(self.name, key, in_one_piece=True)
        return {**self.headers, self.header: Secret(self.prefix + key.get_secret_value())}


def wrapped(given: object) -> Any:
    """Wrap a key; what holds its keys wrapped already stays as it is."""
    return given if isinstance(given, AddOnKeys | BearerToken) else Secret(given)


def login_of(credentials: Secret | AddOnKeys | BearerToken, username: Secret | None) -> Login:
    """
    Check the credentials of a client, and say in which headers they go out.

    Raises:
        ConfigurationError: A part of it can't be used; the text names the part and never shows it.
    """
    if isinstance(credentials, Secret):
        headers = {"NETOAPI_KEY": _header_value("api_key", credentials)}
        if username is not None:
            headers["NETOAPI_USERNAME"] = _header_value("username", username)
        return Login(headers=headers)
    if username is not None:
        raise ConfigurationError("username belongs to an API key; leave it out with the credentials of an add-on")
    if isinstance(credentials, AddOnKeys):
        headers = {"X_ACCESS_KEY": _header_value("access_key", credentials.access_key, in_one_piece=True)}
        return _with_key(Login(headers=headers, name="secret_key", header="X_SECRET_KEY"), credentials.secret_key)
    path = _base_path(credentials.base_path)
    login = Login(headers={}, name="token", header="Authorization", prefix="Bearer ", base_path=path)
    return _with_key(login, credentials.token)


def _with_key(login: Login, key: HeldSource) -> Login:
    return evolve(login, source=key) if callable(key) else evolve(login, headers=login.headers_with(key))


def _header_value(name: str, secret: SecretValue, *, in_one_piece: bool = False) -> Secret:
    # Nothing here holds the value in clear: a traceback may come with local variables.
    if (fault := _fault_of(name, secret.get_secret_value(), in_one_piece=in_one_piece)) is not None:
        raise ConfigurationError(fault)
    # A key pasted with white space round it fails at the store.
    return Secret(secret.get_secret_value().strip())


def _fault_of(name: str, given: object, *, in_one_piece: bool) -> str | None:
    """Describe what is wrong with a credential. It raises nothing, since its frame holds the value in clear."""
    if not isinstance(given, str):
        return f"{name} must be text"
    value = given.strip()
    if not value:
        none = ", or None to send no user name" if name == "username" else ""
        source = "that was given to the add-on" if in_one_piece else "from the store's control panel"
        return f"{name} is empty; give the one {source}{none}"
    if not (value.isascii() and value.isprintable()):
        return f"{name} holds a character that an HTTP header can't carry; copy it again"
    if in_one_piece and " " in value:
        return f"{name} holds white space; copy it again"
    return None


def _base_path(given: object) -> str:
    if not (isinstance(given, str) and re.fullmatch(r"(/(?!\.{1,2}(/|$))[\w.~-]+)*/?", given, re.ASCII)):
        raise ConfigurationError('base_path must be a path, such as "/stores/1", or "" for none')
    return given.rstrip("/")
