"""
A client for code without an event loop: Celery, Django, Flask, scripts. May import: the client, and what is below it.

One thread runs one event loop with one `AsyncNetoClient`. It starts with the first call and not with the object, so an
object made at import time works in each process of a server that forks.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Self, TypeAlias, TypeVar, Unpack

from attrs import define, field

from neto_async.client import AsyncNetoClient
from neto_async.errors import ConfigurationError
from neto_async.importing.items import SourceItem
from neto_async.models import CustomerLog
from neto_async.outcomes import Added
from neto_async.parameters import ClientSettings
from neto_async.results import BulkReport, DrainReport

__all__ = ["BlockingNetoClient"]

T = TypeVar("T")
_Running: TypeAlias = tuple[AsyncNetoClient, asyncio.AbstractEventLoop, threading.Thread, asyncio.Event]
"""The client, its loop, the loop's thread, and the event that ends that thread."""


@define(eq=False)
class _Process:  # the client of one process
    lock: threading.Lock = field(factory=threading.Lock)  # held while a call is submitted, and while it is closed
    running: _Running | None = None
    report: DrainReport | None = None  # of its closing


class BlockingNetoClient:
    """
    Add customer logs from any thread, without an event loop. Make one for a process, and share it.

    A call blocks its thread until the outcome of its records is known. ``with`` closes the client, and so does the end
    of the process. A forked process starts with a new client; calls under way stay with its parent.

    Args:
        make: Makes the client, at the first call in each process: ``BlockingNetoClient(lambda: AsyncNetoClient(…))``.
    """

    def __init__(self, make: Callable[[], AsyncNetoClient]) -> None:
        self._make = make
        self._processes: dict[int, _Process] = {}  # by id; a fork must not wait for a lock that its parent holds

    @classmethod
    def from_env(cls, **settings: Unpack[ClientSettings]) -> Self:
        """Make one from NETO_STORE_URL, NETO_USERNAME and NETO_API_KEY, which are read at the first call."""
        return cls(lambda: AsyncNetoClient.from_env(**settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_customer_log(
        self, log: CustomerLog | Mapping[str, Any], *, context: Any = None, give_up_after: float | None = None
    ) -> Added:
        """Add one log and wait until its outcome is known; raises as `AsyncNetoClient.add_customer_log` does."""
        return self._run(lambda neto: neto.add_customer_log(log, context=context, give_up_after=give_up_after))

    def add_customer_logs(self, logs: Iterable[SourceItem]) -> BulkReport:
        """Add logs and report, as `AsyncNetoClient.add_customer_logs` does; the loop's thread reads ``logs``."""
        return self._run(lambda neto: neto.add_customer_logs(logs))

    def flush(self, timeout: float | None = None) -> DrainReport:
        """Wait until all that any thread has submitted before has ended, at most ``timeout`` seconds."""
        return self._run(lambda neto: neto.flush(timeout))

    def close(self, timeout: float | None = 30.0) -> DrainReport:
        """Take no more records, wait for those under way, at most ``timeout`` seconds, and end the loop's thread."""
        process = self._process()
        with process.lock:
            if process.report is None and process.running is not None:
                client, loop, thread, end = process.running
                process.report = asyncio.run_coroutine_threadsafe(client.aclose(timeout), loop).result()
                loop.call_soon_threadsafe(end.set)
                thread.join()
                atexit.unregister(self.close)
            process.report = process.report or DrainReport(drained=True)
        return process.report

    def _process(self) -> _Process:
        process = self._processes.setdefault(os.getpid(), _Process())
        if process.running is not None and process.running[2] is threading.current_thread():
            raise ConfigurationError("called in the client's own event loop, which this would block for ever")
        return process

    def _run(self, call: Callable[[AsyncNetoClient], Coroutine[Any, Any, T]]) -> T:
        process = self._process()
        with process.lock:
            if process.report is not None:
                raise ConfigurationError("the client was closed; make a new one")
            process.running = process.running or self._start()
            coming = asyncio.run_coroutine_threadsafe(call(process.running[0]), process.running[1])
        try:
            return coming.result()
        except BaseException:
            coming.cancel()  # where a signal broke off the wait: the client counts and logs the outcome
            raise

    def _start(self) -> _Running:
        started: Future[_Running] = Future()
        atexit.register(self.close)

        async def live() -> None:
            try:
                client = await self._make().__aenter__()
            except BaseException as error:  # noqa: BLE001 - the first call raises it
                started.set_exception(error)
                return
            end = asyncio.Event()
            started.set_result((client, asyncio.get_running_loop(), threading.current_thread(), end))
            await end.wait()

        # A daemon: at its exit the process would wait for any other thread before `close` runs.
        threading.Thread(target=lambda: asyncio.run(live()), name="neto_async", daemon=True).start()
        return started.result()
