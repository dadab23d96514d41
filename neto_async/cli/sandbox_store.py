"""The store on this machine, as the command uses it. May import: output, screen, sandbox, errors."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from neto_async.cli.output import write_json
from neto_async.cli.screen import Screen
from neto_async.errors import ConfigurationError

if TYPE_CHECKING:
    from neto_async.sandbox import NetoSandbox

__all__ = ["make_sandbox", "serve"]


def make_sandbox(**options: Any) -> NetoSandbox:
    """Make a sandbox, or raise `ConfigurationError` where its extra is missing."""
    try:
        from neto_async.sandbox import NetoSandbox  # noqa: PLC0415 (an extra that an import into a store does not need)
    except ImportError as error:
        raise ConfigurationError(str(error)) from None
    return NetoSandbox(**options)


async def serve(port: int, faults: tuple[str, ...] = (), *, as_json: bool) -> None:
    """
    Run a sandbox until the task is cancelled, and print its address and credentials.

    Args:
        port: Where it listens.
        faults: What goes wrong with its second call, its third, and so on, by name.
        as_json: Print one JSON object.

    Raises:
        ConfigurationError: The port can't be used.
    """
    screen = Screen()
    store = make_sandbox(port=port)
    if faults:
        from neto_async.sandbox.faults import FAULTS  # noqa: PLC0415 (the extra is there: see above)

        if unknown := [name for name in faults if name not in FAULTS]:
            raise ConfigurationError(f'there is no fault "{unknown[0]}"; there are {", ".join(FAULTS)}')
        # The first call of an import carries one log alone.
        store.faults.next(None, *(FAULTS[name] for name in faults))
    try:
        await store.start()
    except OSError as error:
        raise ConfigurationError(f"port {port} can't be used: {error.strerror}") from None
    async with aclosing(store):
        if as_json:
            write_json({"url": store.url, "username": store.username, "api_key": store.api_key})
        else:
            screen.say(
                "A sandbox: nothing here reaches Neto.",
                "",
                f"  export NETO_STORE_URL={store.url}",
                f"  export NETO_USERNAME={store.username}",
                f"  export NETO_API_KEY={store.api_key}",
                "",
                f"Logs and calls: {store.url}/",
                "Ctrl-C ends it, and its logs are gone then.",
            )
        await asyncio.Event().wait()
