"""
Parameters of the client's methods: their types, and checks of them.

May import: what the client may, except importing.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from datetime import date, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from neto_async.credentials import AddOnKeys, BearerToken, SecretValue
from neto_async.errors import ConfigurationError
from neto_async.models import CustomerLogStatus
from neto_async.outcomes import Outcome
from neto_async.sending.clock import Clock
from neto_async.sending.quota import Quota
from neto_async.settings import WireFormat

if TYPE_CHECKING:
    from neto_async.journals.protocol import Journal

__all__ = [
    "ClientSettings",
    "HttpClient",
    "LogChanges",
    "UpdateOptions",
    "checked_marker",
    "journal_of",
    "require_function",
    "require_methods",
]


class HttpClient(Protocol):
    """What is used of an HTTP client of your own; `httpx.AsyncClient` has it."""

    def build_request(
        self, method: str, url: Any, *, content: Any = None, headers: Any = None, extensions: Any = None
    ) -> Any:
        """Make a request."""

    async def send(self, request: Any, *, stream: bool = False, auth: Any = None, follow_redirects: Any = False) -> Any:
        """Send it."""

    async def aclose(self) -> None:
        """Close the connections."""


class UpdateOptions(TypedDict, total=False):
    """The options of an update, by name."""

    context: Any
    give_up_after: float | None
    repeat_after_doubt: bool


class LogChanges(TypedDict, total=False):
    """The fields of `CustomerLogUpdate` that can change, by name."""

    allocated_to: str
    follow_up_type: str
    customer_name: str
    last_contacted: datetime
    date_required_follow_up: date | datetime
    status: CustomerLogStatus | str
    notes: str


class ClientSettings(TypedDict, total=False):
    """The parameters of `AsyncNetoClient`, by name."""

    store_url: str
    api_key: str | SecretValue | AddOnKeys | BearerToken
    username: str | None
    wire_format: WireFormat | str
    wire_timezone: tzinfo
    batch_size: int
    max_batch_bytes: int
    max_concurrency: int
    requests_per_minute: float | None
    timeout: float
    keepalive_expiry: float
    give_up_after: float
    isolate_rejections: bool
    http_client: HttpClient | None
    allow_insecure_http: bool
    quota: Quota | None
    clock: Clock | None
    on_unawaited: Callable[[Outcome], object] | None


def require_function(name: str, given: object, takes: str) -> None:
    """Raise `ConfigurationError` unless something is a plain function, or None."""
    if inspect.iscoroutinefunction(given):
        raise ConfigurationError(f"{name} must be a plain function: it is called, and not awaited")
    if not (given is None or callable(given)):
        raise ConfigurationError(f"{name} must be a function that takes {takes}, or None")


def require_methods(name: str, given: object, methods: Iterable[str]) -> None:
    """Raise `ConfigurationError` unless something has some methods, or is None."""
    lacking = [method for method in methods if not callable(getattr(given, method, None))]
    if given is not None and lacking:
        raise ConfigurationError(f"{name} lacks {', '.join(lacking)}, so it can't be used as one")


def checked_marker(form: str | None, journal: object) -> str | None:
    """Give the form of a marker, where it can be used."""
    if form is None:
        return None
    if journal is None:
        raise ConfigurationError("a marker needs a journal, by which it can be made again")
    from neto_async.journals.marking import checked_form  # noqa: PLC0415 - most programs need none

    return checked_form(form)


def journal_of(journal: str | os.PathLike[str] | Journal | None) -> Journal | None:
    """Give the journal that is meant by a path, or the one that was passed."""
    if not isinstance(journal, str | os.PathLike):
        if not (journal is None or hasattr(journal, "known")):
            raise ConfigurationError("journal must be a path, a Journal, or None")
        return journal
    from neto_async.journals.sqlite import SqliteJournal  # noqa: PLC0415 - most programs never need SQLite

    return SqliteJournal(journal)
