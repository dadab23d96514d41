"""
The pages of the store: its front page for a person, the state as JSON, and the answer to a wrong path.

Everything that came from outside is escaped here, once: the script on the page inserts it unchanged.
May import: checking, credentials, customers, ledger, quota, transmission.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from html import escape
from importlib import resources
from string import Template
from typing import Any

from neto_async.sandbox.checking import FIELDS
from neto_async.sandbox.credentials import Credentials
from neto_async.sandbox.customers import ReadBack
from neto_async.sandbox.ledger import Call, Ledger, SavedLog
from neto_async.sandbox.quota import SlidingWindow
from neto_async.sandbox.transmission import HttpReply

__all__ = ["Pages"]

_SHOWN_LOGS = 200
_SHOWN_CALLS = 100
_EXCERPT = 120
"""Characters of a note that the table shows; the rest unfolds."""
_NAMED = 3
"""Customers that a call is shown to have read."""

_ASSETS = {"/sandbox/page.css": "text/css", "/sandbox/page.js": "text/javascript"}
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
_NOTHING = '<span class="nothing">&ndash;</span>'


class Pages:
    """Answers every path but the API's."""

    def __init__(self, ledger: Ledger, quota: SlidingWindow, credentials: Credentials, read_back: ReadBack) -> None:
        self._ledger = ledger
        self._quota = quota
        self._credentials = credentials
        self._read_back = read_back

    def answer(self, url: str, path: str, query: Mapping[str, str]) -> HttpReply:
        """Find the page for a path of the store at this address."""
        if path in _ASSETS:
            return HttpReply(content_type=f"{_ASSETS[path]}; charset=utf-8", headers=_HEADERS, body=_asset(path))
        if path == "/sandbox/state.json":
            return _json(self._state(url, query.get("limit", "")))
        return _html(self._front_page(url)) if path == "/" else _shop_page(path)

    def _state(self, url: str, limit: str) -> dict[str, Any]:
        shown = min(int(limit), _SHOWN_LOGS) if limit.isascii() and limit.isdigit() and len(limit) < 9 else _SHOWN_LOGS  # noqa: PLR2004
        return {
            "revision": self._ledger.revision,
            "url": url,
            "log_count": self._ledger.log_count,
            "call_count": self._ledger.call_count,
            "calls_in_last_minute": self._quota.used,
            "requests_per_minute": self._quota.limit,
            "logs": [_log_state(log) for log in self._ledger.newest_logs(shown)],
            "calls": [_call_state(call) for call in self._ledger.newest_calls(min(shown, _SHOWN_CALLS))],
        }

    def _front_page(self, url: str) -> str:
        logs = self._ledger.newest_logs(_SHOWN_LOGS)
        calls = self._ledger.newest_calls(_SHOWN_CALLS)
        used, limit = self._quota.used, self._quota.limit
        return Template(_resource("page.html")).substitute(
            revision=self._ledger.revision,
            url=escape(url),
            credentials="".join(_row_of(name, value) for name, value in _credentials(self._credentials)),
            read_back=escape(str(self._read_back)),
            command=escape(_command(url, self._credentials)),
            log_count=f"{self._ledger.log_count:,}",
            call_count=f"{self._ledger.call_count:,}",
            problem_count=f"{self._ledger.problem_count:,}",
            used=f"{used:,}",
            of_limit=f"of {limit:,} a minute" if limit else "no limit set",
            meter=f'<meter min="0" max="{limit}" value="{min(used, limit)}">{used} of {limit}</meter>' if limit else "",
            shown_logs=_shown(len(logs), self._ledger.log_count),
            shown_calls=_shown(len(calls), self._ledger.call_count),
            logs=_table(_LOG_COLUMNS, [_log_row(log) for log in logs], "Customer logs, newest first", _NO_LOGS),
            calls=_table(_CALL_COLUMNS, [_call_row(call) for call in calls], "Calls, newest first", _NO_CALLS),
        )


def _shop_page(path: str) -> HttpReply:
    """Answer as a real store does: a login page for its control panel, and a page with 200 for every unknown path."""
    if path.startswith("/_cpanel") and path != "/_cpanel/login":
        return HttpReply(status=302, headers=(("Location", "/_cpanel/login"),))
    title = "Sign in" if path == "/_cpanel/login" else "Page not found"
    return _html(
        f'<!DOCTYPE html><html lang="en"><head><title>{title}</title></head><body><h1>{title}</h1>'
        '<p>This is a page of a sandbox store. <a href="/">Its logs and calls</a></p></body></html>'
    )


def _html(text: str) -> HttpReply:
    return HttpReply(headers=_HEADERS, body=text.encode("utf-8"))


def _json(state: dict[str, Any]) -> HttpReply:
    return HttpReply(content_type="application/json", headers=_HEADERS, body=json.dumps(state).encode())


@cache
def _resource(name: str) -> str:
    return resources.files("neto_async.sandbox").joinpath(name).read_text(encoding="utf-8")


def _asset(path: str) -> bytes:
    return _resource(path.rpartition("/")[2]).encode("utf-8")


def _log_state(log: SavedLog) -> dict[str, Any]:
    texts = {ours: getattr(log, ours) for ours in FIELDS.values()}
    return {"log_id": log.log_id, "call": log.call, "saved_at": log.saved_at.isoformat(), **texts}


def _call_state(call: Call) -> dict[str, Any]:
    return {
        "number": call.number,
        "at": call.at.isoformat(),
        "action": call.action,
        "format": call.format,
        "records": call.records,
        "customers": len(call.customers),
        "body_bytes": call.body_bytes,
        "status": call.status,
        "ack": call.ack,
        "outcome": call.outcome,
        "fault": call.fault,
        "saved": len(call.log_ids),
        "seconds": call.seconds,
    }


def _credentials(known: Credentials) -> list[tuple[str, str]]:
    """List what a caller can log in with; an empty user name is any, or none."""
    addon = {"X_ACCESS_KEY": known.access_key, "X_SECRET_KEY": known.secret_key, "Bearer token": known.bearer_token}
    given = {"User name": known.username or "", "API key": known.api_key}
    return [*given.items(), *((name, value) for name, value in addon.items() if value is not None)]


def _row_of(name: str, value: str) -> str:
    shown = f"<code>{escape(value)}</code>" if value else "<em>any, or none</em>"
    return f"<div><dt>{name}</dt><dd>{shown}</dd></div>"


def _command(url: str, known: Credentials) -> str:
    settings = {"NETO_STORE_URL": url, "NETO_USERNAME": known.username, "NETO_API_KEY": known.api_key}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items() if value is not None]
    return "\n".join([*lines, "neto-async import calls.csv"])


def _shown(shown: int, count: int) -> str:
    return f"the newest {shown:,} of {count:,}" if shown < count else f"{count:,}"


# --- Tables ------------------------------------------------------------------------------------------------------

_LOG_COLUMNS = ("Log ID", "Customer", "Status", "Follow up", "Last contacted", "Staff member", "Notes")
_CALL_COLUMNS = ("Call", "Time", "Action", "Format", "Records", "Size", "Outcome", "Saved", "Duration")
_NO_LOGS = "No customer logs yet. Connect to this store as described below, and they appear here automatically."
_NO_CALLS = "No calls yet."


def _table(columns: tuple[str, ...], rows: list[tuple[str, tuple[str, ...]]], caption: str, empty: str) -> str:
    if not rows:
        return f'<p class="empty">{empty}</p>'
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "".join(_row(columns, identity, cells) for identity, cells in rows)
    return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _row(columns: tuple[str, ...], identity: str, cells: tuple[str, ...]) -> str:
    first, *rest = zip(columns, cells, strict=True)
    inner = "".join(f'<td data-label="{column}"><div>{cell}</div></td>' for column, cell in rest)
    return f'<tr id="{identity}"><th scope="row" data-label="{first[0]}">{first[1]}</th>{inner}</tr>'


def _log_row(log: SavedLog) -> tuple[str, tuple[str, ...]]:
    cells = (
        str(log.log_id),
        _two_lines(log.customer_name, log.username),
        _status(log),
        _date(log.date_required_follow_up, day=True),
        _date(log.last_contacted, day=False),
        _text(log.allocated_to),
        _notes(log),
    )
    return f"log-{log.log_id}", cells


def _call_row(call: Call) -> tuple[str, tuple[str, ...]]:
    cells = (
        str(call.number),
        _time(call.at),
        _action(call),
        call.format.upper(),
        f"{len(call.customers) or call.records:,}",
        _size(call.body_bytes),
        _outcome(call),
        f"{len(call.log_ids):,}",
        _NOTHING if call.seconds is None else _duration(call.seconds),
    )
    return f"call-{call.number}", cells


def _text(text: str | None) -> str:
    return _NOTHING if text is None else escape(text)


def _two_lines(first: str | None, second: str | None) -> str:
    lines = [escape(text) for text in (first, second) if text is not None]
    return '<br><span class="second">'.join(lines) + "</span>" * (len(lines) - 1) if lines else _NOTHING


_STATUS_TONES = {"Require Recontact": "attention", "Recontacting": "active", "Completed": "good"}


def _badge(tone: str, text: str) -> str:
    return f'<span class="badge {tone}">{escape(text)}</span>'


def _status(log: SavedLog) -> str:
    badge = _NOTHING if log.status is None else _badge(_STATUS_TONES.get(log.status, "plain"), log.status)
    return (
        badge if log.follow_up_type is None else f'{badge}<br><span class="second">{escape(log.follow_up_type)}</span>'
    )


def _date(text: str | None, *, day: bool) -> str:
    """Show a time in UTC, in which it was sent; where ``day`` says so, midnight is a calendar day."""
    if text is None or text.startswith("0000-00-00"):
        return _NOTHING
    at = datetime.fromisoformat(text)  # what was saved has been checked
    if day and not (at.hour or at.minute or at.second):
        return f'<time datetime="{at:%Y-%m-%d}">{at:%Y-%m-%d}</time>'
    return _time(at)


def _time(at: datetime) -> str:
    return f'<time datetime="{at:%Y-%m-%dT%H:%M:%S}Z">{at:%Y-%m-%d %H:%M:%S} UTC</time>'


def _notes(log: SavedLog) -> str:
    if log.notes is None:
        return _NOTHING
    if len(log.notes) <= _EXCERPT:
        return f'<p class="notes">{escape(log.notes)}</p>'
    return (
        f'<details id="notes-{log.log_id}"><summary><span class="excerpt">{escape(log.notes[:_EXCERPT].rstrip())}… '
        f'</span><span class="more"></span></summary><p class="notes">{escape(log.notes)}</p></details>'
    )


def _outcome(call: Call) -> str:
    badge = _badge(_tone(call), call.outcome)
    return badge if call.fault is None else f'{badge}<br><span class="second">fault: {escape(call.fault)}</span>'


def _action(call: Call) -> str:
    read = ", ".join(call.customers[:_NAMED]) + (", …" if len(call.customers) > _NAMED else "")
    return _two_lines(call.action or None, read or None)


def _tone(call: Call) -> str:
    tones = {"Success": "good", "Warning": "attention", "in flight": "active"}
    return tones.get(call.outcome, "bad")


def _size(count: int) -> str:
    kilobyte = 1000
    if count < kilobyte:
        return f"{count} B"
    return f"{count / kilobyte:,.1f} kB" if count < kilobyte**2 else f"{count / kilobyte**2:,.1f} MB"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms" if seconds < 1 else f"{seconds:,.1f} s"
