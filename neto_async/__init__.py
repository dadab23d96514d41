"""
Put customer logs into a Neto (Maropost Commerce Cloud) store, and know what became of each one.

Start with `AsyncNetoClient`. What costs time is imported when it is first asked for: the pytest plugin and the sandbox
do without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from neto_async.credentials import AddOnKeys, BearerToken, SecretValue
from neto_async.errors import (
    AuthenticationError,
    BulkSourceError,
    ConfigurationError,
    InvalidRecordError,
    JournalError,
    JournalInUseError,
    NetoError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    ReadError,
    RejectedError,
    SourceError,
)
from neto_async.models import CustomerLog, CustomerLogStatus, CustomerLogUpdate, StoredCustomerLog
from neto_async.outcomes import (
    Added,
    Attempt,
    Evidence,
    Invalid,
    NotSent,
    NotSentCause,
    Outcome,
    Phase,
    Rejected,
    Unknown,
    Updated,
)
from neto_async.results import BulkReport, DrainReport, ImportProgress, Reconciled, ReconcileReport, Statistics
from neto_async.settings import InDoubt, WireFormat

if TYPE_CHECKING:
    from neto_async.blocking import BlockingNetoClient
    from neto_async.client import AsyncNetoClient
    from neto_async.importing.items import Item, SourceItem
    from neto_async.importing.run import ImportRun
    from neto_async.journals.protocol import End, Intent, Journal, Known, RowState
    from neto_async.journals.writer import OutcomeSink
    from neto_async.parameters import ClientSettings, HttpClient, LogChanges, UpdateOptions
    from neto_async.sending.clock import Clock, Timer, use_clock
    from neto_async.sending.observing import CallObserver
    from neto_async.sending.quota import Quota
    from neto_async.wire import VerdictKind

__all__ = [
    "AddOnKeys",
    "Added",
    "AsyncNetoClient",
    "Attempt",
    "AuthenticationError",
    "BearerToken",
    "BlockingNetoClient",
    "BulkReport",
    "BulkSourceError",
    "CallObserver",
    "ClientSettings",
    "Clock",
    "ConfigurationError",
    "CustomerLog",
    "CustomerLogStatus",
    "CustomerLogUpdate",
    "DrainReport",
    "End",
    "Evidence",
    "HttpClient",
    "ImportProgress",
    "ImportRun",
    "InDoubt",
    "Intent",
    "Invalid",
    "InvalidRecordError",
    "Item",
    "Journal",
    "JournalError",
    "JournalInUseError",
    "Known",
    "LogChanges",
    "NetoError",
    "NotSent",
    "NotSentCause",
    "NotSentError",
    "Outcome",
    "OutcomeSink",
    "OutcomeUnknownError",
    "Phase",
    "Quota",
    "RateLimitedError",
    "ReadError",
    "ReconcileReport",
    "Reconciled",
    "Rejected",
    "RejectedError",
    "RowState",
    "SecretValue",
    "SourceError",
    "SourceItem",
    "Statistics",
    "StoredCustomerLog",
    "Timer",
    "Unknown",
    "UpdateOptions",
    "Updated",
    "VerdictKind",
    "WireFormat",
    "use_clock",
]

_LAZY = {
    "neto_async.blocking": ("BlockingNetoClient",),
    "neto_async.client": ("AsyncNetoClient",),
    "neto_async.parameters": ("ClientSettings", "HttpClient", "LogChanges", "UpdateOptions"),
    "neto_async.importing.items": ("Item", "SourceItem"),
    "neto_async.importing.run": ("ImportRun",),
    "neto_async.journals.protocol": ("End", "Intent", "Journal", "Known", "RowState"),
    "neto_async.journals.writer": ("OutcomeSink",),
    "neto_async.sending.clock": ("Clock", "Timer", "use_clock"),
    "neto_async.sending.observing": ("CallObserver",),
    "neto_async.sending.quota": ("Quota",),
    "neto_async.wire": ("VerdictKind",),
}
_MODULE_OF = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)
