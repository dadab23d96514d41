"""
The headers that log a call in, with a key that a function gives and the store may refuse.

A key is asked for when the first call needs it, and held for all calls until the store refuses it. May import:
exchange, credentials, errors.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping

from attrs import define, field

from neto_async.credentials import Key, Login, Secret
from neto_async.errors import ConfigurationError
from neto_async.sending.exchange import Failure

__all__ = ["Access", "NoKeyError"]


class NoKeyError(Exception):
    """No key was available; ``failure`` is what a call that needs one ends with."""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(kind)
        self.failure: Failure = Failure(name=name, kind=kind, no_key=True)


@define(eq=False)
class Access:
    """Hold the headers of a login until the store refuses them, where there may be others."""

    _login: Login
    _held: Mapping[str, Secret] | None = None  # None until the function was asked
    _asking: asyncio.Lock = field(factory=asyncio.Lock, repr=False)  # one call asks, and the others take what it got

    async def headers(self, deadline: float) -> Mapping[str, Secret]:
        """
        Give the headers, at the latest at a deadline in the loop's time.

        Raises:
            NoKeyError: The function failed, took too long, or gave what no header can carry.
        """
        source = self._login.source
        if source is None:
            return self._login.headers
        if self._held is not None:
            return self._held
        try:
            async with asyncio.timeout_at(deadline), self._asking:
                if self._held is None:
                    self._held = self._login.headers_with(await _ask(source))
                return self._held
        except TimeoutError:
            raise NoKeyError("deadline passed", "the function for the key took too long") from None
        except ConfigurationError as error:
            raise NoKeyError(type(error).__name__, str(error)) from None

    def refused(self, headers: Mapping[str, Secret]) -> bool:
        """Forget headers that the store refused, and say whether there may be others."""
        if self._login.source is None:
            return False
        if headers is self._held:  # and not what has come after it already
            self._held = None
        return True


async def _ask(source: Callable[[], Key | Awaitable[Key]]) -> Secret:
    try:
        given = Secret(source())  # wrapped at once, as no frame may hold it in clear
        if inspect.isawaitable(given.get_secret_value()):
            given = Secret(await given.get_secret_value())  # type: ignore[misc]
    except Exception as error:  # noqa: BLE001 - its text may hold a key
        name = type(error).__name__
        raise NoKeyError(name, f"the function for the key raised {name}") from None
    return given
