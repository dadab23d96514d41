"""
The store itself: an HTTP server on loopback that takes AddCustomerLog, UpdateCustomerLog and GetCustomer calls.

May import: everything of the sandbox, nothing else of neto_async.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from neto_async.sandbox.checking import UnknownElements
from neto_async.sandbox.connection import ask_for_body, response_for
from neto_async.sandbox.credentials import Credentials
from neto_async.sandbox.customers import Customers, ReadBack
from neto_async.sandbox.exchange import ACTIONS, Application, Exchange
from neto_async.sandbox.faults import too_many_calls
from neto_async.sandbox.ledger import Call, Ledger, SavedLog
from neto_async.sandbox.origins import is_foreign
from neto_async.sandbox.page import Pages
from neto_async.sandbox.quota import SlidingWindow
from neto_async.sandbox.reading import (
    BodyError,
    Record,
    SandboxRequest,
    format_asked_for,
    read_query,
    read_records,
)
from neto_async.sandbox.replies import ReplyShape
from neto_async.sandbox.script import FaultScript
from neto_async.sandbox.transmission import HttpReply, RawBytes, Transmission

__all__ = ["NetoSandbox"]

_API_PATH = "/do/WS/NetoAPI"

_READ_ON = 10_000_000
"""Bytes past the limit that are still read: a client reads its answer once its body has left."""


class NetoSandbox:
    """
    A Neto store on loopback: real HTTP, both formats, credentials, validation, a limit on calls, faults by script.

    ``async with`` starts and stops it; so do `start` and `aclose`. Its answers follow the vendor's pages on
    AddCustomerLog, UpdateCustomerLog and GetCustomer, and what is known of replies to other calls (read 2026-11).
    Behaviour of Neto that is not known is a setting (``partial``, ``unknown_elements``, ``replies``, ``retry_after``,
    ``max_body_bytes``, ``customers``, ``read_back``) or decided as follows: calls over the limit count against it; ids
    come in the order of the records; a call with no records is answered ``Success`` without an id; a log with no field
    is saved; an update leaves the fields that it does not name, and needs a LogID that exists; user names differ by
    case; the body is read in the format that Accept asks for, whatever Content-Type says; numbers and booleans instead
    of text are refused.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        username: The user name that belongs to the key. None makes it the store's global key, for which any user name,
            or none, is taken.
        api_key: The key, compared to the character. (Blanks round a header's value are no part of it in HTTP, so a key
            pasted with one can't be detected here.)
        access_key: An add-on's ``X_ACCESS_KEY``, accepted with ``secret_key`` instead of the key; None for no add-on.
        secret_key: The add-on's ``X_SECRET_KEY``.
        bearer_token: A token that is accepted as ``Authorization: Bearer`` instead of the key; None for none.
        base_path: A path, such as "/stores/1", below which the API answers too.
        requests_per_minute: Calls in any 60 seconds; over it the answer is 429. None for no limit.
        retry_after: Seconds for the header Retry-After of these answers, None to leave it out.
        clock: Gives the seconds in which the limit is counted; the monotonic clock if none is given.
        latency: Seconds between a call's arrival and its processing, or a function that gives them.
        replies: How replies are printed.
        partial: True saves the good records of a call beside bad ones and answers a warning for each bad one; False
            saves nothing of a call with a bad one in it.
        unknown_elements: Whether a record with an element that the vendor's page does not have is refused.
        max_body_bytes: Bytes of a body; a longer one is answered 413.
        customers: User names of the customers that can be read; None takes every user name for a customer's.
        read_back: How logs are given back by GetCustomer.
        first_log_id: The id of the first log; the rest count up.
        keep: Newest logs and newest calls to keep, None for all.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        username: str | None = "sandbox",
        api_key: str = "sandbox-key",
        access_key: str | None = None,
        secret_key: str | None = None,
        bearer_token: str | None = None,
        base_path: str = "",
        requests_per_minute: int | None = 500,
        retry_after: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        latency: float | Callable[[], float] = 0.0,
        replies: ReplyShape | None = None,
        partial: bool = False,
        unknown_elements: UnknownElements = "refuse",
        max_body_bytes: int = 20_000_000,
        customers: Iterable[str] | None = None,
        read_back: ReadBack | None = None,
        first_log_id: int = 1001,
        keep: int | None = None,
    ) -> None:
        if requests_per_minute is not None and requests_per_minute < 1:
            raise ValueError("requests_per_minute must be a whole number above 0, or None for no limit")
        self.credentials: Credentials = Credentials(
            username=username,
            api_key=api_key,
            access_key=access_key,
            secret_key=secret_key,
            bearer_token=bearer_token,
        )
        self.read_back: ReadBack = read_back or ReadBack()
        self.requests_per_minute = requests_per_minute
        self.faults: FaultScript = FaultScript()
        self._host = host
        self._port = port
        self._paths = {_API_PATH, base_path + _API_PATH}
        self._retry_after = retry_after
        self._clock = clock
        self._latency = latency
        self._max_body_bytes = max_body_bytes
        self._quota = SlidingWindow(requests_per_minute, clock)
        self._ledger = Ledger(first_log_id=first_log_id, keep=keep)
        self._application = Application(
            credentials=self.credentials,
            partial=partial,
            unknown_elements=unknown_elements,
            replies=replies or ReplyShape(),
            ledger=self._ledger,
            customers=Customers(self._ledger, customers, self.read_back),
        )
        self._pages = Pages(self._ledger, self._quota, self.credentials, self.read_back)
        self._runner: web.ServerRunner | None = None
        # Set when the store closes: waits inside of calls then end.
        self._closing = asyncio.Event()

    def __repr__(self) -> str:
        state = f"at {self.url}" if self._runner else "not started"
        return f"<NetoSandbox {state}: {self.log_count} logs, {self.call_count} calls>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """
        Begin to listen. A store that was closed listens on the same port again, with the same ledger.

        Raises:
            RuntimeError: It listens already.
            OSError: The port is taken.
        """
        if self._runner is not None:
            raise RuntimeError("the sandbox is running already")
        self._closing = asyncio.Event()
        # No lingering: a body that a fault left unread must not hold its connection.
        server = web.Server(self._handle, access_log=None, lingering_time=0)
        runner = web.ServerRunner(server, shutdown_timeout=2.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port, reuse_address=True)
            await site.start()
        except BaseException:
            await runner.cleanup()
            raise
        self._port = runner.addresses[0][1]
        self._runner = runner

    async def aclose(self) -> None:
        """Stop listening and end every connection; calls that wait are not processed any more."""
        self._closing.set()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        await asyncio.gather(*self._application.late)

    @property
    def username(self) -> str | None:
        """The user name that belongs to the key; None where the key is the store's global one."""
        return self.credentials.username

    @property
    def api_key(self) -> str:
        """The key."""
        return self.credentials.api_key

    @property
    def url(self) -> str:
        """The store's address, such as "http://127.0.0.1:8080"."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def logs(self) -> tuple[SavedLog, ...]:
        """The saved logs, oldest first: the truth to compare with."""
        return self._ledger.logs

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls at the endpoint in the order of arrival, those in flight included."""
        return self._ledger.calls

    @property
    def log_count(self) -> int:
        """Number of logs saved so far, those no longer kept included."""
        return self._ledger.log_count

    @property
    def call_count(self) -> int:
        """Number of calls so far, those no longer kept included."""
        return self._ledger.call_count

    @property
    def calls_in_last_minute(self) -> int:
        """Calls that count against the limit now."""
        return self._quota.used

    def refuse_when(self, predicate: Callable[[Record], bool], message: str | None = None) -> None:
        """
        Refuse every record that the predicate holds for.

        Args:
            predicate: Is asked with the record's fields under the vendor's names.
            message: The error's text; without one it echoes what the record says.
        """
        self._application.refuse_when(predicate, message)

    def refuse_nothing(self) -> None:
        """Forget the rules of `refuse_when`."""
        self._application.refuse_nothing()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is asked again whenever logs or calls change."""
        while not condition():
            await self._ledger.change()

    def clear(self) -> None:
        """Forget logs, calls, faults, refusals and the calls of the last minute; ids and numbers continue."""
        self._ledger.clear()
        self._quota.clear()
        self.faults.clear()
        self.refuse_nothing()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        transmission: Transmission
        if is_foreign(request.headers, self._host):
            transmission = HttpReply(status=403, content_type="text/plain", body=b"Open the sandbox by its address.")
        elif request.path in self._paths and request.method == "POST":
            transmission = await self._take_call(request)
        elif request.path in self._paths:
            transmission = HttpReply(status=405, headers=(("Allow", "POST"),))
        else:
            transmission = self._pages.answer(self.url, request.path, request.query)
        return response_for(transmission, self._pause)

    async def _take_call(self, http: web.BaseRequest) -> Transmission:
        began = time.perf_counter()
        number = self._ledger.begin(
            action=_header(http, "NETOAPI_ACTION") or "",
            wire_format=format_asked_for(http.headers.get("Accept", "")),
            received_at=self._clock(),
        )
        try:
            transmission = await self._answer(number, http)
        except (ConnectionError, aiohttp.ClientPayloadError, web.RequestPayloadError):
            # The client went away, or the store closes: there is no one to answer.
            transmission = RawBytes(outcome="broken off")
        except BaseException:
            self._ledger.note(number, outcome="sandbox failed", seconds=time.perf_counter() - began)
            raise
        self._ledger.end(number, transmission, seconds=time.perf_counter() - began)
        return transmission

    async def _answer(self, number: int, http: web.BaseRequest) -> Transmission:
        if not self._quota.take():
            self._request(number, http, await self._body(number, http))
            return too_many_calls(self._retry_after)
        settled, fault = self.faults.on_arrival()
        body = await self._body(number, http) if fault is None or fault.reads_body else b""
        request = self._request(number, http, body)
        if body is None:
            return HttpReply(status=413, content_type="text/plain", body=b"Request Entity Too Large")
        if not settled:
            fault = self.faults.on_request(request)
        await self._pause(self._latency() if callable(self._latency) else self._latency)
        exchange = Exchange(request, self._application, self._pause)
        if fault is None:
            return exchange.reply(exchange.process())
        self._ledger.note(number, fault=fault.name)
        return await fault.play(exchange)

    async def _body(self, number: int, http: web.BaseRequest) -> bytes | None:
        """Read a body; None for one over the limit, of which `_READ_ON` more bytes are read and dropped."""
        ask_for_body(http)
        pieces, size = [], 0
        async for piece in http.content.iter_any():
            size += len(piece)
            if size <= self._max_body_bytes:
                pieces.append(piece)
            elif size > self._max_body_bytes + _READ_ON:
                break
        self._ledger.note(number, body_bytes=size)
        return b"".join(pieces) if size <= self._max_body_bytes else None

    def _request(self, number: int, http: web.BaseRequest, body: bytes | None) -> SandboxRequest:
        wire_format = format_asked_for(http.headers.get("Accept", ""))
        action = _header(http, "NETOAPI_ACTION") or ""
        records: tuple[Record, ...] = ()
        query = error = None
        try:
            if action == "GetCustomer":
                query = read_query(body or b"", wire_format)
            else:
                records = read_records(body or b"", wire_format, action if action in ACTIONS else "AddCustomerLog")
        except BodyError as unreadable:
            error = unreadable
        self._ledger.note(number, records=len(records))
        return SandboxRequest(
            number=number,
            action=action,
            username=_header(http, "NETOAPI_USERNAME"),
            api_key=_header(http, "NETOAPI_KEY"),
            access_key=_header(http, "X_ACCESS_KEY"),
            secret_key=_header(http, "X_SECRET_KEY"),
            authorization=_header(http, "Authorization"),
            format=wire_format,
            content_type=http.headers.get("Content-Type", ""),
            body=body or b"",
            records=records,
            query=query,
            error=error,
        )

    async def _pause(self, seconds: float | None, *, until: asyncio.Event | None = None) -> None:
        """Wait; a store that closes ends the wait and the call with it."""
        if seconds is not None and seconds <= 0:
            await asyncio.sleep(0)
            return
        waits = [asyncio.ensure_future(event.wait()) for event in (self._closing, until) if event is not None]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._closing.is_set():
            raise ConnectionAbortedError("the sandbox is closing")


def _header(http: web.BaseRequest, name: str) -> str | None:
    # Blanks round a value are no part of it (RFC 9110, section 5.5); some releases of aiohttp leave those at its end.
    value = http.headers.get(name)
    return None if value is None else value.strip(" \t")
