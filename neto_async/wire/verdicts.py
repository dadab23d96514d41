"""
What an answer means for the records of its call: one pure function over a table that can be read.

May import: bodies, replies. `judge` never raises, whatever came back: an answer that no row of the table knows, or that
can't be read, leaves the records' fate unknown, and says so.
"""

# ruff: noqa: PLR2004 - HTTP's status codes are names in themselves

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum

from attrs import field, frozen

from neto_async.wire.bodies import UnreadableError, fold_headers
from neto_async.wire.replies import Message, Reply, Severity, read_reply

__all__ = ["MAX_RETRY_AFTER", "Verdict", "VerdictKind", "judge"]

MAX_RETRY_AFTER = 86_400.0
"""Seconds of pause that an answer may ask for; a longer one is taken as a day."""


class VerdictKind(Enum):
    """What an answer means for all records of its call."""

    ADDED = "added"
    """Each has an id, paired by position."""
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
        messages: Neto's own words, errors first. Empty for ADDED.
        warnings: Neto's own words beside ids that are all there; only for ADDED.
        status: The HTTP status; None where a call that had left brought no answer.
        retry_after: Seconds until the store takes calls again; None where it does not say.
    """

    kind: VerdictKind
    reason: str
    log_ids: tuple[int, ...] = ()
    messages: tuple[str, ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = field(default=(), repr=False)
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
    """An answer as the table sees it: what is not readable has an empty `Reply`."""

    status: int
    records: int
    reply: Reply
    unreadable: str

    @property
    def ids(self) -> int:
        return len(self.reply.log_ids)

    def says(self, what: _Says) -> bool:
        return any(_says(message, what) for message in self.reply.messages)


@frozen(eq=False)
class _Row:
    """One row of the table; ``why`` may name fields of the answer in braces."""

    applies: Callable[[_Answer], bool]
    kind: VerdictKind
    why: str


# The first row that applies decides: for every other status than 2xx in this table …
_REFUSED_BY_HTTP = (
    _Row(
        lambda a: 300 <= a.status < 500 and a.reply.speaks_of_ids,
        VerdictKind.UNKNOWN,
        "HTTP {status} refuses the call, and yet the answer holds an id",
    ),
    _Row(lambda a: a.status == 429, VerdictKind.RATE_LIMITED, "too many calls (HTTP 429)"),
    _Row(lambda a: a.status == 413, VerdictKind.TOO_LARGE, "the call is too large for the store (HTTP 413)"),
    _Row(
        lambda a: a.status == 408,
        VerdictKind.UNKNOWN,
        "the store gave up waiting for the call (HTTP 408)",
    ),
    _Row(
        lambda a: 300 <= a.status < 400,
        VerdictKind.WRONG_ADDRESS,
        "the store answered with a redirect (HTTP {status}); is its address right?",
    ),
    _Row(
        lambda a: 400 <= a.status < 500 and a.says(_Says.SERVER_BROKE),
        VerdictKind.UNKNOWN,
        "the store says that it broke while it worked on the call (HTTP {status})",
    ),
    _Row(lambda a: a.status == 401, VerdictKind.KEY_REFUSED, "the store refused the API key (HTTP 401)"),
    _Row(
        lambda a: 400 <= a.status < 500 and a.says(_Says.KEY_REFUSED),
        VerdictKind.KEY_REFUSED,
        "the store refused the API key (HTTP {status})",
    ),
    _Row(
        lambda a: 400 <= a.status < 500,
        VerdictKind.BLOCKED,
        "the call was refused before it reached the API (HTTP {status})",
    ),
    _Row(lambda a: a.status >= 500, VerdictKind.UNKNOWN, "the server failed (HTTP {status})"),
    _Row(lambda _: True, VerdictKind.UNKNOWN, "the status is none of HTTP's (HTTP {status})"),
)

# … and for a 2xx, by what the API says, in this one.
_SAID_BY_THE_API = (
    _Row(lambda a: bool(a.unreadable), VerdictKind.UNKNOWN, "{unreadable}"),
    _Row(lambda a: bool(a.reply.doubt), VerdictKind.UNKNOWN, "the answer contradicts itself: {reply.doubt}"),
    _Row(lambda a: a.ids > 0 and a.ids == a.records and a.reply.is_clean, VerdictKind.ADDED, "an id for each record"),
    _Row(
        lambda a: a.ids > 0 and a.ids == a.records,
        VerdictKind.UNKNOWN,
        "the answer holds an id for each of {records} records beside an error",
    ),
    _Row(lambda a: a.ids > 0, VerdictKind.UNKNOWN, "the answer holds {ids} ids for {records} records"),
    _Row(
        lambda a: a.reply.is_error and a.says(_Says.SERVER_BROKE),
        VerdictKind.UNKNOWN,
        "the store says that it broke while it worked on the call",
    ),
    _Row(
        lambda a: a.reply.is_error and a.says(_Says.KEY_REFUSED),
        VerdictKind.KEY_REFUSED,
        "the store refused the API key",
    ),
    _Row(lambda a: a.reply.is_error, VerdictKind.REFUSED, "the store reported an error and gave no id"),
    _Row(lambda _: True, VerdictKind.UNKNOWN, "the answer holds neither an id nor an error"),
)


def judge(status: int, headers: Mapping[str, str], body: bytes, records: int, *, now: datetime) -> Verdict:
    """
    Say what an answer means for the records of its call. Never raises.

    Args:
        status: The HTTP status.
        headers: The answer's headers, names in any case.
        body: The bytes as they came over the wire, still compressed where they were.
        records: Number of records in the call.
        now: The moment at which it came, aware; what a date in ``Retry-After`` is counted from.
    """
    folded = fold_headers(headers)
    reply, unreadable = _read(folded, body)
    answer = _Answer(status=status, records=records, reply=reply, unreadable=unreadable)
    table = _SAID_BY_THE_API if 200 <= status < 300 else _REFUSED_BY_HTTP
    row = next(row for row in table if row.applies(answer))
    texts = _texts(reply)
    is_added = row.kind is VerdictKind.ADDED
    return Verdict(
        kind=row.kind,
        reason=row.why.format(status=status, records=records, ids=answer.ids, unreadable=unreadable, reply=reply),
        log_ids=reply.log_ids,
        messages=() if is_added else texts,
        warnings=texts if is_added else (),
        status=status,
        retry_after=_retry_after(folded["retry-after"], now) if "retry-after" in folded else None,
    )


def _read(headers: Mapping[str, str], body: bytes) -> tuple[Reply, str]:
    try:
        return read_reply(headers, body), ""
    except UnreadableError as error:
        return Reply(), str(error)
    except Exception:  # noqa: BLE001 - an answer that trips the reader can't be read; raising would lose its records
        return Reply(), "the answer can't be read"


def _texts(reply: Reply) -> tuple[str, ...]:
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
