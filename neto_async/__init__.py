"""
Put customer logs into a Neto (Maropost Commerce Cloud) store, and know what became of each one.

Start with `AsyncNetoClient`.
"""

from __future__ import annotations

from neto_async.client import AsyncNetoClient
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
