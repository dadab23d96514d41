"""
What becomes of a call that has left, over real sockets: the outcome is true of what arrived.

No text ever arrives twice: after each case the server's count of what came whole says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rawserver import Connection, RawServer, Script, answer_added, with_length

from neto_async import (
    AsyncNetoClient,
    CustomerLog,
    OutcomeUnknownError,
    RateLimitedError,
    RejectedError,
    Unknown,
)
from neto_async.outcomes import Phase
from neto_async.sending import calls

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
MORE_HEADERS_THAN_ANY_CLIENT_TAKES = 4000


def client(url: str, http_client: Any, **settings: Any) -> AsyncNetoClient:
    given = {"requests_per_minute": None, "timeout": 20.0, **settings}
    return AsyncNetoClient(url, api_key="key", http_client=http_client, **given)


@contextlib.asynccontextmanager
async def calling(library: Any, *scripts: Script, **settings: Any) -> AsyncIterator[tuple[AsyncNetoClient, RawServer]]:
    async with (
        RawServer(*scripts) as server,
        library() as http_client,
        client(server.url, http_client, **settings) as neto,
    ):
        yield neto, server


# --- In doubt ------------------------------------------------------------------------------------------------------


async def reset_before_body(call: Connection) -> None:
    call.reset()


async def reset_after_body(call: Connection) -> None:
    await call.body()
    call.reset()


async def close_after_body(call: Connection) -> None:
    await call.body()
    call.close()


def cut_after(sent: bytes) -> Script:
    async def cut(call: Connection) -> None:
        await call.body()
        await call.send(sent)
        call.close()

    return cut


async def content_length_too_long(call: Connection) -> None:
    answer = await call.body()
    await call.send(with_length(answer, length=len(answer) + 1))
    call.close()


async def content_length_too_short(call: Connection) -> None:
    answer = await call.body()
    await call.send(with_length(answer, length=len(answer) - 1))
    call.close()


async def chunks_cut(call: Connection) -> None:
    answer = await call.body()
    await call.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(answer), answer))
    call.close()


async def without_length_cut(call: Connection) -> None:
    answer = await call.body()
    await call.send(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + answer[:-1])
    call.close()


async def bad_gzip(call: Connection) -> None:
    await call.send(with_length(await call.body(), headers="Content-Encoding: gzip\r\n"))


async def too_long_by_length(call: Connection) -> None:
    await call.send(with_length((await call.body()).ljust(5_000_000)))


async def too_long_without_end(call: Connection) -> None:
    await call.body()
    await call.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        await call.send(b"10000\r\n%b\r\n" % bytes(0x10000))


async def two_lengths(call: Connection) -> None:
    await call.send(with_length(await call.body(), headers="Content-Length: 1\r\n"))


async def headers_without_end(call: Connection) -> None:
    await call.body()
    await call.send(HEAD)
    # Not for ever: aiohttp up to 3.13.3 keeps them all.
    for _ in range(MORE_HEADERS_THAN_ANY_CLIENT_TAKES):
        await call.send(b"X-More: " + b"a" * 4000 + b"\r\n")
    call.close()


BROKEN: dict[str, Script] = {
    "reset before the body was read": reset_before_body,
    "reset after saving": reset_after_body,
    "closed without an answer": close_after_body,
    "half a status line": cut_after(b"HTTP/1."),
    "half the headers": cut_after(HEAD + b"Content-Le"),
    "headers and no body": cut_after(HEAD + b"Content-Length: 90\r\n\r\n"),
    "a length that is too long": content_length_too_long,
    "a length that is too short": content_length_too_short,
    "two lengths": two_lengths,
    "chunks without an end": chunks_cut,
    "no length, and cut": without_length_cut,
    "a garbage status line": cut_after(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "an unreadable gzip": bad_gzip,
    "a body over the cap": too_long_by_length,
    "a body over the cap, without end": too_long_without_end,
    "headers without end": headers_without_end,
    "a promise to continue, and no answer": cut_after(b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("broken", list(BROKEN))
async def test_broken_answer_is_unknown(library, broken):
    """Once a call has left, whatever breaks puts it in doubt; it is never sent again, and the next one goes."""
    async with calling(library, BROKEN[broken]) as (neto, server):
        with pytest.raises(OutcomeUnknownError) as raised:
            await neto.add_customer_log(CustomerLog(notes="in doubt"))
        calls = server.calls
        added = await neto.add_customer_log(CustomerLog(notes="next"))

    fate = raised.value.fate
    assert isinstance(fate, Unknown)
    assert (1, False, 1) == (calls, fate.safe_to_resend, len(fate.attempts))
    assert added.log_id == server.ids["next"]
    assert 1 == server.received["next"]
    assert server.received["in doubt"] == (broken != "reset before the body was read")


# --- Late ----------------------------------------------------------------------------------------------------------


async def silence(call: Connection) -> None:
    await call.body()
    await call.gone()


async def drip_headers(call: Connection) -> None:
    await call.body()
    await call.drip(HEAD + b"X-Drip: " + b"a" * 5000)


async def drip_informational(call: Connection) -> None:
    await call.body()
    await call.drip(b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n" * 100, seconds=0.005)


async def drip_body(call: Connection) -> None:
    answer = await call.body()
    await call.send(HEAD + b"Content-Length: %d\r\n\r\n" % (len(answer) + 5000))
    await call.drip(answer + b" " * 5000)


LATE: dict[str, Script] = {
    "silence": silence,
    "headers byte by byte": drip_headers,
    "informational answers byte by byte": drip_informational,
    "a body byte by byte": drip_body,
}


@pytest.mark.parametrize("late", list(LATE))
async def test_late_answer_is_unknown(library, late, monkeypatch):
    """A call that has left ends at its deadline, in doubt, however the server trickles; it is never sent again."""
    monkeypatch.setattr(calls, "GRACE", 0.1)
    async with calling(library, LATE[late], timeout=0.1) as (neto, server):
        with pytest.raises(OutcomeUnknownError) as raised:
            await neto.add_customer_log(CustomerLog(notes="in doubt"))

    fate = raised.value.fate
    assert isinstance(fate, Unknown)
    # On a busy machine connecting can take longer than so short a deadline: that attempt never left.
    assert ([Phase.LEFT], {"in doubt": 1}, 1) == (
        [attempt.phase for attempt in fate.attempts if attempt.phase is not Phase.NEVER_LEFT],
        server.received,
        server.calls,
    )


async def test_body_that_is_not_read_is_unknown(library):
    """A call whose body is stuck on its way ends at its deadline, in doubt."""
    release = asyncio.Event()

    async def read_nothing(call: Connection) -> None:
        await release.wait()
        call.reset()

    async with calling(library, read_nothing, timeout=0.1, max_batch_bytes=50_000_000) as (neto, server):
        with pytest.raises(OutcomeUnknownError):
            await neto.add_customer_log(CustomerLog(notes="n" * 20_000_000))
        # aiohttp's own closing would wait for what is stuck.
        release.set()

    assert (1, {}) == (server.calls, server.received)


# --- Answered ------------------------------------------------------------------------------------------------------


async def informational_first(call: Connection) -> None:
    answer = await call.body()
    await call.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
    await call.send(with_length(answer))


async def old_http(call: Connection) -> None:
    answer = await call.body()
    await call.send(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + answer)
    call.close()


async def old_http_with_length(call: Connection) -> None:
    answer = await call.body()
    await call.send(with_length(answer).replace(b"HTTP/1.1", b"HTTP/1.0"))
    call.close()


async def in_chunks(call: Connection) -> None:
    answer = await call.body()
    await call.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for byte in answer:
        await call.send(b"1\r\n%c\r\n" % byte)
    await call.send(b"0\r\n\r\n")


async def told_to_close(call: Connection) -> None:
    await call.send(with_length(await call.body(), headers="Connection: close\r\n"))
    call.close()


ANSWERS: dict[str, Script] = {
    "informational answers before": informational_first,
    "HTTP/1.0": old_http,
    "HTTP/1.0 with a length": old_http_with_length,
    "chunks of one byte": in_chunks,
    "a connection that is closed after": told_to_close,
}


@pytest.mark.parametrize("answer", list(ANSWERS))
async def test_odd_but_whole_answers_add(library, answer):
    """However a whole answer is transmitted, the log is added, once, and so is the next."""
    async with calling(library, ANSWERS[answer]) as (neto, server):
        added = [await neto.add_customer_log(CustomerLog(notes=notes)) for notes in ("odd", "next")]

    assert {"odd": 1, "next": 1} == server.received
    assert [server.ids["odd"], server.ids["next"]] == [outcome.log_id for outcome in added]


def early(status: str, headers: str = "") -> Script:
    async def answer(call: Connection) -> None:
        await call.send(with_length(b"", status=status, headers=headers + "Connection: close\r\n"))
        await call.gone()

    return answer


async def test_early_413_is_rejected(library):
    """An answer that comes before the body was read counts: a log too large in a call of its own is rejected."""
    async with calling(library, early("413 Content Too Large"), timeout=5) as (neto, server):
        with pytest.raises(RejectedError):
            await neto.add_customer_log(CustomerLog(notes="large " * 2_000))

    assert (1, {}) == (server.calls, server.received)


async def test_early_429_is_not_sent(library):
    """A pause that is asked for before the body was read, and is longer than the add may wait: not sent."""
    async with calling(library, early("429 Too Many Requests", "Retry-After: 1000\r\n")) as (neto, server):
        with pytest.raises(RateLimitedError) as raised:
            await neto.add_customer_log(CustomerLog(notes="early"))

    assert (1, {}, True) == (server.calls, server.received, raised.value.safe_to_resend)
    assert 990 < (raised.value.retry_after or 0) <= 1000


# --- Connections kept alive ----------------------------------------------------------------------------------------


async def test_connection_that_the_store_closed_while_idle_is_not_used(library):
    """A connection that the store ended after its answer carries no further call: none is in doubt."""
    endings = [Connection.close, Connection.reset] * 3

    async def answer_and_end(call: Connection) -> None:
        await answer_added(call)
        endings.pop()(call)

    async with calling(library, *[answer_and_end] * len(endings)) as (neto, server):
        for number in range(6):
            await neto.add_customer_log(CustomerLog(notes=str(number)))
            await server.all_ended()

    assert {str(number): 1 for number in range(6)} == server.received


async def test_connection_idle_for_seconds_is_dropped(monkeypatch):
    """Our own client uses a connection again at once, and not after seconds in which a server may have forgotten it."""
    now, later = time.monotonic, 0.0
    async with RawServer() as server, client(server.url, None) as neto:
        for seconds in (0.0, 0.0, 2.0, 4.0):
            later += seconds
            monkeypatch.setattr(time, "monotonic", lambda at=later: now() + at)
            await neto.add_customer_log(CustomerLog(notes=str(server.calls)))

    assert (4, 2) == (server.calls, server.connections)
