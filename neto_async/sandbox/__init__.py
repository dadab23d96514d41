"""
A Neto store on loopback, for people, demos and tests: real HTTP over a real socket, and nothing reaches Neto.

    async with NetoSandbox() as store:
        ...  # store.url, store.username, store.api_key, store.logs, store.calls

It has its own reading of the API and imports nothing of the client, so that a fault of the one can't hide in the
other. Needs aiohttp: the extra ``sandbox``.
"""

from __future__ import annotations

try:
    import aiohttp  # noqa: F401 - imported here, so that its absence gives one clear error
except ImportError as _error:
    raise ImportError('the sandbox needs aiohttp: pip install "neto_async[sandbox]"') from _error

from neto_async.sandbox import faults
from neto_async.sandbox.credentials import Credentials
from neto_async.sandbox.customers import ReadBack
from neto_async.sandbox.ledger import Call, SavedLog
from neto_async.sandbox.reading import Query, SandboxRequest
from neto_async.sandbox.replies import ReplyShape
from neto_async.sandbox.store import NetoSandbox
from neto_async.sandbox.transmission import Ending, HttpReply, RawBytes

__all__ = [
    "Call",
    "Credentials",
    "Ending",
    "HttpReply",
    "NetoSandbox",
    "Query",
    "RawBytes",
    "ReadBack",
    "ReplyShape",
    "SandboxRequest",
    "SavedLog",
    "faults",
]
