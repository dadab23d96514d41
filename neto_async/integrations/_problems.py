"""
What a service answers where a log was not added: one table for every web framework. May import: errors, outcomes.

The bodies are problem details (RFC 9457) with two members of our own: ``fate``, which says what became of the log, and
``safe_to_resend``. Every text in them is a constant or names a field, a limit and a position: neither what a customer
wrote nor Neto's words, which echo it, are in them, unless they are asked for.
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
    fate: str | None
    detail: str


# The nearest class counts. 504 stands for nothing but doubt, so that the status alone warns a client.
_ROWS: Mapping[type[NetoError], _Row] = {
    InvalidRecordError: _Row(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid-record",
        "invalid",
        "The log breaks a rule and was not sent. It can be sent once it is mended.",
    ),
    RejectedError: _Row(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "rejected",
        "rejected",
        "The store refused the log and saved nothing of it. It can be sent once it is mended.",
    ),
    AuthenticationError: _Row(
        HTTPStatus.BAD_GATEWAY,
        "key-refused",
        "not_sent",
        "The store refuses this service's key. The log was certainly not saved.",
    ),
    RateLimitedError: _Row(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "rate-limited",
        "not_sent",
        "The store takes no more calls for a while. The log was certainly not saved and can be sent again later.",
    ),
    NotSentError: _Row(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "not-sent",
        "not_sent",
        "The log was certainly not saved and can be sent again.",
    ),
    OutcomeUnknownError: _Row(
        HTTPStatus.GATEWAY_TIMEOUT,
        "outcome-unknown",
        "unknown",
        "The log may have been saved. It must not be sent again before somebody has looked in the store.",
    ),
    ConfigurationError: _Row(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "configuration",
        None,
        "This service is not set up to reach the store. Nothing was sent.",
    ),
    NetoError: _Row(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "error",
        None,
        "The log could not be handed on.",
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
        "title": row.status.phrase,
        "status": int(row.status),
        "detail": row.detail,
        "fate": row.fate,
        "safe_to_resend": error.safe_to_resend,
    }
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
