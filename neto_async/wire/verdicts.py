"""
Verdicts: the meaning of an answer for the records of its call, by one pure function over a table that can be read.

The tables of other actions are in `updates` and `customers`. May import: bodies, replies, models. `judge` never raises,
whatever came back: an answer that no row of the table knows, or that can't be read, leaves the records unknown, and
says so.
"""

# ruff: noqa: PLR2004 - HTTP's status codes are names in themselves

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum

from attrs import field, frozen

from neto_async.models import StoredCustomer
from neto_async.wire.bodies import UnreadableError, fold_headers
from neto_async.wire.replies import ApiReply, Message, Severity, read_reply

__all__ = [
    "KEY_REFUSED",
    "MAX_RETRY_AFTER",
    "SERVER_BROKE",
    "UNREADABLE",
    "Row",
    "Verdict",
    "VerdictKind",
    "judge",
]

MAX_RETRY_AFTER = 86_400.0
"""Seconds of pause that an answer may ask for; a longer one is taken as a day."""


class VerdictKind(Enum):
    """What an answer means for all records of its call."""

    ADDED = "added"
    """Each has an id, paired by position."""
    UPDATED = "updated"
    """The store changed each as asked; only for UpdateCustomerLog."""
    READ = "read"
    """The answer holds a page of customers; only for GetCustomer."""
    REFUSED = "refused"
    """The API says that something is wrong, and gave no id: nothing was saved (an inference)."""
    UNKNOWN = "unknown"
    """They may have been saved."""
    KEY_REFUSED = "key refused"
    """Nothing was saved, and nothing will be with this key."""
    RATE_LIMITED = "rate limited"
    """Too many calls: nothing was saved (an inference)."""
    TOO_LARGE = "too large"
    """The body is longer than the store takes."""
    WRONG_ADDRESS = "wrong address"
    """A redirect: the API is not here, or not any more."""
    BLOCKED = "blocked"
    """A wrong address, or a firewall that refused this call."""


@frozen(kw_only=True)
class Verdict:
    """
    What an answer means for the records of its call.

    Attributes:
        kind: The meaning.
        reason: Why, in our own words; holds nothing of the answer's text.
        log_ids: The ids in the answer, in its order. For ADDED one for each record; otherwise evidence.
        messages: Neto's own words, errors first. Empty for ADDED and READ.
        warnings: Neto's own words beside ids that are all there, or beside customers; only for ADDED and READ.
        customers: What the store gave back, in its order; only for READ.
        status: The HTTP status; None where a call that had left brought no answer.
        retry_after: Seconds until the store takes calls again; None where it does not say.
    """

    kind: VerdictKind
    reason: str
    log_ids: tuple[int, ...] = ()
    messages: tuple[str, ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = field(default=(), repr=False)
    customers: tuple[StoredCustomer, ...] = field(default=(), repr=False)
    status: int | None
    retry_after: float | None = None


class _Says(Enum):
    """What a message's text says, where the text decides."""

    KEY_REFUSED = "key refused"
    SERVER_BROKE = "server broke"


_TEXTS: tuple[tuple[_Says, str, bool, str], ...] = (
    # Says, the whole text (folded), whether as a Description too, source. A Description may be nothing but the echo of
    # a customer's text, and must not halt a client.
    (_Says.KEY_REFUSED, "invalid api key", False, "replies of live stores, in public code, read 2026-11"),
    (_Says.SERVER_BROKE, "request error", False, "developers.maropost.com, read 2026-11"),
    (_Says.SERVER_BROKE, "internal server error", True, "developers.maropost.com, read 2026-11"),
    (_Says.SERVER_BROKE, "request error: internal server error", False, "the two above in one string"),
)


@frozen(kw_only=True, eq=False)
class _Answer:
    """An answer as the table sees it: what is not readable has an empty `ApiReply`."""

    status: int
    records: int
    reply: ApiReply
    unreadable: str

    @property
    def ids(self) -> int:
        return len(self.reply.log_ids)

    def says(self, what: _Says) -> bool:
        return any(_says(message, what) for message in self.reply.messages)


@frozen(eq=False)
class Row:
    """One row of a table; ``why`` may name fields of the answer in braces."""

    applies: Callable[[_Answer], bool]
    kind: VerdictKind
    why: str


# The first row that applies decides: for every other status than 2xx in this table …
_REFUSED_BY_HTTP = (
    Row(
        lambda a: 300 <= a.status < 500 and a.reply.speaks_of_ids,
        VerdictKind.UNKNOWN,
        "HTTP {status} refuses the call, and yet the answer holds an id",
    ),
    Row(lambda a: a.status == 429, VerdictKind.RATE_LIMITED, "too many calls (HTTP 429)"),
    Row(lambda a: a.status == 413, VerdictKind.TOO_LARGE, "the call is too large for the store (HTTP 413)"),
    Row(
        lambda a: a.status == 408,
        VerdictKind.UNKNOWN,
        "the store gave up waiting for the call (HTTP 408)",
    ),
    Row(
        lambda a: 300 <= a.status < 400,
        VerdictKind.WRONG_ADDRESS,
        "the store answered with a redirect (HTTP {status}); is its address right?",
    ),
    Row(
        lambda a: 400 <= a.status < 500 and a.says(_Says.SERVER_BROKE),
        VerdictKind.UNKNOWN,
        "the store says that it broke while it worked on the call (HTTP {status})",
    ),
    Row(lambda a: a.status == 401, VerdictKind.KEY_REFUSED, "the store refused the API key (HTTP 401)"),
    Row(
        lambda a: 400 <= a.status < 500 and a.says(_Says.KEY_REFUSED),
        VerdictKind.KEY_REFUSED,
        "the store refused the API key (HTTP {status})",
    ),
    Row(
        lambda a: 400 <= a.status < 500,
        VerdictKind.BLOCKED,
        "the call was refused before it reached the API (HTTP {status})",
    ),
    Row(lambda a: a.status >= 500, VerdictKind.UNKNOWN, "the server failed (HTTP {status})"),
    Row(lambda _: True, VerdictKind.UNKNOWN, "the status is none of HTTP's (HTTP {status})"),
)

UNREADABLE = (
    Row(lambda a: bool(a.unreadable), VerdictKind.UNKNOWN, "{unreadable}"),
    Row(lambda a: bool(a.reply.doubt), VerdictKind.UNKNOWN, "the answer contradicts itself: {reply.doubt}"),
)
SERVER_BROKE = Row(
    lambda a: a.reply.is_error and a.says(_Says.SERVER_BROKE),
    VerdictKind.UNKNOWN,
    "the store says that it broke while it worked on the call",
)
KEY_REFUSED = Row(
    lambda a: a.reply.is_error and a.says(_Says.KEY_REFUSED),
    VerdictKind.KEY_REFUSED,
    "the store refused the API key",
)

# … and for a 2xx, by what the API says, in the table of the action. This one is for logs that are added.
_SAID_OF_ADDED = (
    *UNREADABLE,
    Row(lambda a: a.ids > 0 and a.ids == a.records and a.reply.is_clean, VerdictKind.ADDED, "an id for each record"),
    Row(
        lambda a: a.ids > 0 and a.ids == a.records,
        VerdictKind.UNKNOWN,
        "the answer holds an id for each of {records} records beside an error",
    ),
    Row(lambda a: a.ids > 0, VerdictKind.UNKNOWN, "the answer holds {ids} ids for {records} records"),
    SERVER_BROKE,
    KEY_REFUSED,
    Row(lambda a: a.reply.is_error, VerdictKind.REFUSED, "the store reported an error and gave no id"),
    Row(lambda _: True, VerdictKind.UNKNOWN, "the answer holds neither an id nor an error"),
)


def judge(
    action: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    records: int,
    *,
    now: datetime,
    rows: tuple[Row, ...] = _SAID_OF_ADDED,
    read: Callable[[str, Mapping[str, str], bytes], ApiReply] = read_reply,
) -> Verdict:
    """
    Say what an answer means for the records of its call. Never raises.

    Args:
        action: The vendor's name of the call.
        status: The HTTP status.
        headers: The answer's headers, names in any case.
        body: The bytes as they came over the wire, still compressed where they were.
        records: Number of records in the call.
        now: The moment at which it came, aware; a date in ``Retry-After`` is counted from the answer's own ``Date``,
            and from this if it has none.
        rows: The action's table for a 2xx; its last row applies to every answer.
        read: Reads the action's answers.
    """
    folded = fold_headers(headers)
    reply, unreadable = _read(read, action, folded, body)
    answer = _Answer(status=status, records=records, reply=reply, unreadable=unreadable)
    table = rows if 200 <= status < 300 else _REFUSED_BY_HTTP
    row = next(row for row in table if row.applies(answer))
    texts = _texts(reply)
    is_done = row.kind in {VerdictKind.ADDED, VerdictKind.READ}
    return Verdict(
        kind=row.kind,
        reason=row.why.format(status=status, records=records, ids=answer.ids, unreadable=unreadable, reply=reply),
        log_ids=reply.log_ids,
        messages=() if is_done else texts,
        warnings=texts if is_done else (),
        customers=reply.customers if is_done else (),
        status=status,
        retry_after=_retry_after(folded["retry-after"], _http_date(folded.get("date", "")) or now)
        if "retry-after" in folded
        else None,
    )


def _read(
    read: Callable[[str, Mapping[str, str], bytes], ApiReply], action: str, headers: Mapping[str, str], body: bytes
) -> tuple[ApiReply, str]:
    try:
        return read(action, headers, body), ""
    except UnreadableError as error:
        return ApiReply(), str(error)
    except Exception:  # noqa: BLE001 - an answer that trips the reader can't be read; raising would lose its records
        return ApiReply(), "the answer can't be read"


def _texts(reply: ApiReply) -> tuple[str, ...]:
    errors_first = sorted(reply.messages, key=lambda message: message.severity is not Severity.ERROR)
    return tuple(text for message in errors_first if (text := str(message)))


def _says(message: Message, what: _Says) -> bool:
    text, description = _folded(message.text), _folded(message.description)
    return any(
        known == text or (known == description and (also_described or not text))
        for says, known, also_described, _source in _TEXTS
        if says is what
    )


def _folded(text: str) -> str:
    # The whole text counts and never a part of it: messages echo what customers wrote.
    return " ".join(text.lower().split()).rstrip(".!?:;, ")


def _retry_after(value: str, now: datetime) -> float | None:
    """Read Retry-After, in seconds or as a date (RFC 9110, section 10.2.3); None where it can't be read."""
    if re.fullmatch(r"[+-]?[0-9]{1,300}(\.[0-9]{0,300})?", value):
        seconds = float(value)
    elif (moment := _http_date(value)) is not None:
        seconds = (moment - _aware(now)).total_seconds()
    else:
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _http_date(value: str) -> datetime | None:
    try:
        return _aware(parsedate_to_datetime(value[:100]))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _aware(moment: datetime) -> datetime:
    # HTTP's dates are in GMT, and one of its three forms does not say so.
    return moment if moment.utcoffset() is not None else moment.replace(tzinfo=timezone.utc)
