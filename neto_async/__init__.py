"""
Put customer logs into a Neto (Maropost Commerce Cloud) store, and know what became of each one.

Start with `AsyncNetoClient`. It is imported when it is first asked for: the pytest plugin and the sandbox do without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neto_async.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidRecordError,
    JournalError,
    NetoError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    RejectedError,
)
from neto_async.models import CustomerLog, CustomerLogStatus
from neto_async.outcomes import (
    Added,
    BulkReport,
    DrainReport,
    ImportProgress,
    Invalid,
    NotSent,
    Outcome,
    Rejected,
    Unknown,
)
from neto_async.settings import WireFormat

if TYPE_CHECKING:
    from neto_async.client import AsyncNetoClient

__all__ = [
    "Added",
    "AsyncNetoClient",
    "AuthenticationError",
    "BulkReport",
    "ConfigurationError",
    "CustomerLog",
    "CustomerLogStatus",
    "DrainReport",
    "ImportProgress",
    "Invalid",
    "InvalidRecordError",
    "JournalError",
    "NetoError",
    "NotSent",
    "NotSentError",
    "Outcome",
    "OutcomeUnknownError",
    "RateLimitedError",
    "Rejected",
    "RejectedError",
    "Unknown",
    "WireFormat",
]


def __getattr__(name: str) -> type[AsyncNetoClient]:
    if name != "AsyncNetoClient":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from neto_async.client import AsyncNetoClient  # noqa: PLC0415 - see above

    return AsyncNetoClient
