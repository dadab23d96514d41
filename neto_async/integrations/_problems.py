"""
What a service answers where a log was not added: one table for every web framework. May import: errors, outcomes.

The bodies are problem details (RFC 9457). Where one log is concerned they have two members of our own: ``fate``, which
says what became of it, and ``safe_to_resend``. Every text in them is a constant or names a field, a limit and a
position: neither what a customer wrote nor Neto's words, which echo it, are in them, unless they are asked for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from attrs import field, frozen

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
from neto_async.outcomes import Rejected

__all__ = ["CONTENT_TYPE", "Problem", "problem_for"]

CONTENT_TYPE = "application/problem+json"

logger: logging.Logger = logging.getLogger("neto_async")


@frozen(kw_only=True)
class Problem:
    """
    An answer.

    Attributes:
        status: HTTP status.
        headers: Headers besides the content type, which is `CONTENT_TYPE`.
        body: What the JSON says.
    """

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


# The nearest class counts. 504 stands for nothing but doubt, so that the status alone warns a client. Titles are our
# own: they belong to the type (RFC 9457, section 3.1.4), and Python's phrases change with its releases.
_ROWS: Mapping[type[NetoError], _Row] = {
    InvalidRecordError: _Row(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid-record",
        "Invalid log",
        "The log breaks a rule and was not sent. It can be sent once it is mended.",
        fate="invalid",
    ),
    RejectedError: _Row(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "rejected",
        "Log refused",
        "The store refused the log and saved nothing of it. It can be sent once it is mended.",
        fate="rejected",
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
        "Wrongly set up",
        "This service is not set up to reach the store. Nothing was sent.",
    ),
    JournalError: _Row(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "journal",
        "Import stopped",
        "What became of the logs can't be written down any more, so the import stopped. A part of it may have been "
        "saved; only a run on the same journal may go on.",
    ),
    NetoError: _Row(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "error",
        "Not handed on",
        "The request could not be handed on to the store.",
    ),
}


def problem_for(error: NetoError, *, show_messages: bool = False) -> Problem:
    """
    Give the answer that tells of an error, and log those that are not the request's own fault.

    Args:
        error: What `AsyncNetoClient` raised.
        show_messages: Add Neto's own words to the answer for a refused log. They echo what was sent.
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
    if show_messages and isinstance(error.fate, Rejected):
        body["messages"] = list(error.fate.messages)
    return Problem(status=int(row.status), headers=_headers(error), body=body)


def _headers(error: NetoError) -> dict[str, str]:
    seconds = error.retry_after if isinstance(error, RateLimitedError) else None
    if seconds is None:
        return {}
    # Whole seconds, rounded up: a client that comes back early is refused again (RFC 9110, section 10.2.3).
    return {"Retry-After": str(max(math.ceil(seconds), 0))}
