"""
Answers of a service to whose caller no log was added: one table for every web framework. May import: errors, outcomes.

The bodies are problem details (RFC 9457). An answer about one log has two members of our own: ``fate``, its outcome,
and ``safe_to_resend``. Every text is a constant or names a field, a limit and a position: neither a customer's text nor
Neto's messages, which echo it, are included, unless they are asked for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from itertools import groupby
from typing import Any

from attrs import field, frozen

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
from neto_async.outcomes import Rejected

__all__ = ["CONTENT_TYPE", "Problem", "gateway_titles", "problem_for"]

CONTENT_TYPE = "application/problem+json"

logger: logging.Logger = logging.getLogger("neto_async")


@frozen(kw_only=True)
class Problem:
    """An answer; ``headers`` are those besides the content type, which is `CONTENT_TYPE`."""

    status: int
    headers: Mapping[str, str] = field(factory=dict)
    body: Mapping[str, Any] = field(repr=False)


@frozen
class _Row:
    status: HTTPStatus
    name: str
    title: str
    detail: str
    fate: str | None = None


# The nearest class counts. 504 means doubt and nothing else, so that the status alone
# warns a client. Titles are our own: they belong to the type (RFC 9457, section 3.1.4), and Python's phrases change
# with its releases.
_ROWS: Mapping[type[BaseException], _Row] = {
    InvalidRecordError: _Row(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid-record",
        "Invalid log",
        "The log breaks a rule and was not sent. Correct it and send it again.",
        fate="invalid",
    ),
    RejectedError: _Row(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "rejected",
        "Log refused",
        "The store refused the log and saved nothing of it. Correct it and send it again.",
        fate="rejected",
    ),
    SourceError: _Row(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "unreadable-source",
        "File can't be imported",
        "The file can't be read as customer logs. Nothing of it was sent.",
    ),
    AuthenticationError: _Row(
        HTTPStatus.BAD_GATEWAY,
        "key-refused",
        "Key refused",
        "The store refuses this service's key. The log was certainly not saved.",
        fate="not_sent",
    ),
    RateLimitedError: _Row(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "rate-limited",
        "Too many calls",
        "The store takes no more calls for a while. The log was certainly not saved and can be sent again later.",
        fate="not_sent",
    ),
    NotSentError: _Row(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "not-sent",
        "Not sent",
        "The log was certainly not saved and can be sent again.",
        fate="not_sent",
    ),
    OutcomeUnknownError: _Row(
        HTTPStatus.GATEWAY_TIMEOUT,
        "outcome-unknown",
        "Outcome unknown",
        "The log may have been saved. It must not be sent again before somebody has looked in the store.",
        fate="unknown",
    ),
    ConfigurationError: _Row(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "configuration",
        "Not configured",
        "This service is not set up for this request. Its log says why.",
    ),
    JournalInUseError: _Row(
        HTTPStatus.CONFLICT,
        "journal-in-use",
        "Import is running",
        "Another run of this import uses its journal. Nothing was sent; try again later.",
    ),
    JournalError: _Row(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "journal",
        "Import stopped",
        "The outcomes can't be recorded any more, so the import stopped. Some of its logs may have been saved; go on "
        "with the same journal only.",
    ),
    BulkSourceError: _Row(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "bulk-source",
        "Reading failed",
        "Reading the logs failed part way. Those read before may have been saved, and must not simply be sent again.",
    ),
    ReadError: _Row(
        HTTPStatus.BAD_GATEWAY,
        "unreadable-customers",
        "Customers can't be read",
        "The store's customers could not be read. Nothing was changed.",
    ),
    NetoError: _Row(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "error",
        "Request failed",
        "The request could not be passed on to the store.",
    ),
}


def gateway_titles() -> dict[int, str]:
    """Give the titles of the answers 502, 503 and 504, by status: what an API's description lists."""
    rows = sorted((row.status, row.title) for row in _ROWS.values() if row.status > HTTPStatus.INTERNAL_SERVER_ERROR)
    return {int(status): "; ".join(title for _, title in group) for status, group in groupby(rows, lambda row: row[0])}


def problem_for(error: NetoError, *, show_messages: bool = False) -> Problem:
    """
    Give the answer that reports an error, and log those that are not the request's own fault.

    ``show_messages`` adds Neto's own messages to the answer for a refused log. They echo what was sent.
    """
    row = next(_ROWS[kind] for kind in type(error).__mro__ if kind in _ROWS)
    if row.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.warning("answered %d: %s", row.status, error)
    body: dict[str, Any] = {
        "type": f"urn:neto-async:{row.name}",
        "title": row.title,
        "status": int(row.status),
        "detail": row.detail,
    }
    if row.fate is not None:
        body |= {"fate": row.fate, "safe_to_resend": row.fate != "unknown"}
    if isinstance(error, InvalidRecordError):
        body["errors"] = list(error.errors)
    elif isinstance(error, SourceError):
        body["errors"] = [str(error)]
    if show_messages and isinstance(error.outcome, Rejected):
        body["messages"] = list(error.outcome.messages)
    return Problem(status=int(row.status), headers=_headers(error), body=body)


def _headers(error: NetoError) -> dict[str, str]:
    seconds = error.retry_after if isinstance(error, RateLimitedError) else None
    if seconds is None:
        return {}
    # Whole seconds, rounded up: a client that comes back early is refused again (RFC 9110, section 10.2.3).
    return {"Retry-After": str(max(math.ceil(seconds), 0))}
