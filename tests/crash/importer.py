"""
Imports in processes of their own, that die where the test says.

Run as a program it takes one order a line from standard input. For each it makes a process that imports, says its
number, and says how it ended. The processes are forked from one that has everything imported and has no thread and no
event loop yet, since most of the time of a fresh one would go into its imports.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from neto_async import AsyncNetoClient
from neto_async.journals.protocol import End, Intent
from neto_async.journals.sqlite import SqliteJournal
from neto_async.sending.exchange import OutgoingBody
from neto_async.sending.transport import HttpTransport


class Death:
    """Counts how often a step is reached, and kills the process at the one it was ordered."""

    def __init__(self, step: str | None, number: int) -> None:
        self._step = step
        self._left = number

    def at(self, step: str) -> None:
        if step == self._step:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def plant(death: Death) -> None:
    """Have every step of the write-ahead order pass by the one who kills."""
    _around_the_journal(death)
    _around_the_call(death)


def _around_the_journal(death: Death) -> None:
    connect, opens, write, finish = (
        SqliteJournal._connect,
        SqliteJournal.open,
        SqliteJournal.write,
        SqliteJournal.finish,
    )

    def connecting(self: SqliteJournal, *, create: bool) -> None:
        death.at("before the journal is made")
        connect(self, create=create)
        assert self._connection is not None
        self._connection.set_trace_callback(lambda _: death.at("statement"))

    def opening(self: SqliteJournal, store: str) -> None:
        opens(self, store)
        death.at("opened")

    def writing(self: SqliteJournal, entries: Any) -> None:
        kinds = {type(entry) for entry in entries}
        for kind, step in ((Intent, "before the intent"), (End, "before the end")):
            if kind in kinds:
                death.at(step)
        write(self, entries)
        for kind, step in ((Intent, "after the intent"), (End, "after the end")):
            if kind in kinds:
                death.at(step)

    def finishing(self: SqliteJournal, rows: int) -> None:
        death.at("before the finish")
        finish(self, rows)
        death.at("after the finish")

    SqliteJournal._connect = connecting  # type: ignore[method-assign]
    SqliteJournal.open = opening  # type: ignore[method-assign]
    SqliteJournal.write = writing  # type: ignore[method-assign]
    SqliteJournal.finish = finishing  # type: ignore[method-assign]


def _around_the_call(death: Death) -> None:
    call = HttpTransport.call

    async def calling(self: HttpTransport, body: OutgoingBody) -> Any:
        death.at("before the first byte")
        answer = await call(self, body)
        death.at("after the reply")
        return answer

    async def pieces(self: OutgoingBody) -> Any:
        self.left = True
        yield self.content[:1]
        death.at("after the first byte")
        yield self.content[1:]

    HttpTransport.call = calling  # type: ignore[method-assign]
    OutgoingBody.__aiter__ = pieces  # type: ignore[method-assign]


CONTEXT = httpx.create_ssl_context()
"""Made once: it takes longer than an import of a few rows, which needs none."""


async def bring(order: dict[str, Any], replayed: Callable[[], None]) -> list[dict[str, Any]]:
    """Import, and list what became of each row."""
    listed = []
    async with (
        httpx.AsyncClient(verify=CONTEXT) as http_client,
        AsyncNetoClient(order["url"], requests_per_minute=None, http_client=http_client, **order["settings"]) as neto,
        neto.import_customer_logs(order["rows"], journal=order["journal"]) as run,
    ):
        async for outcome in run:
            if outcome.replayed:
                replayed()
            log_id = getattr(outcome, "log_id", None)
            listed.append(
                {"index": outcome.index, "kind": type(outcome).__name__, "id": log_id, "again": outcome.replayed}
            )
    return listed


def _import(order: dict[str, Any]) -> None:
    death = Death(order["step"], order["number"])
    plant(death)
    outcomes = asyncio.run(bring(order, lambda: death.at("replay")))
    Path(order["result"]).write_text(json.dumps(outcomes), encoding="ascii")


def _child(order: dict[str, Any]) -> None:
    code = 1
    try:
        _import(order)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def _orders() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def main() -> None:
    """Carry out orders until there are no more."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for order in _orders():
        began = time.monotonic()
        if not (process := os.fork()):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            _child(order)
        print(process, flush=True)  # noqa: T201
        if order["seconds"] is not None and signal.sigtimedwait({signal.SIGCHLD}, order["seconds"]) is None:
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        signal.sigtimedwait({signal.SIGCHLD}, 0)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps({"code": code, "seconds": time.monotonic() - began}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
