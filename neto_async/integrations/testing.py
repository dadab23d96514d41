"""
For tests of your own code: a Neto store in a thread, and time that needs no waiting.

The fixtures are in `neto_async.integrations.pytest`; this module is for annotations, and for other frameworks:

    with NetoStore() as store:
        ...  # store.url, store.username, store.api_key

May import: sandbox, importing, wire, settings, and the time beside it. Needs the extra ``sandbox``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timezone
from types import TracebackType
from typing import Any, Self, TypeVar

from neto_async.importing.items import SourceItem, read_item
from neto_async.integrations._test_clock import NetoTime
from neto_async.sandbox import Call, NetoSandbox, SandboxRequest, SavedLog
from neto_async.sandbox.faults import FAULTS, Fault
from neto_async.wire import Fields, fields_of

__all__ = ["FAULTS", "NetoFaults", "NetoStore", "NetoTime"]

T = TypeVar("T")

CALLS_SHOWN = 20
"""Newest calls that the report of a failed test shows."""


class NetoFaults:
    """What is to go wrong at a store, by a name of `FAULTS` or as an object of `neto_async.sandbox.faults`."""

    def __init__(self, store: NetoStore) -> None:
        self._store = store
        self._script = store.sandbox.faults

    def next(self, *faults: Fault | str | None) -> None:
        """Let each of these happen to one coming call, in order of arrival; None lets a call pass."""
        self._store.call(self._script.next, *map(_fault, faults))

    def when(self, predicate: Callable[[SandboxRequest], bool], fault: Fault | str) -> None:
        """Let it happen to every call for which the predicate holds; it is asked in the store's thread."""
        self._store.call(self._script.when, predicate, _fault(fault))

    def always(self, fault: Fault | str | None) -> None:
        """Let it happen to every call that nothing else is set for; None ends it."""
        self._store.call(self._script.always, _fault(fault))

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._store.call(self._script.clear)


class NetoStore:
    """
    A `NetoSandbox` in its own thread and event loop: it answers even while the test's thread is blocked.

    ``with`` starts and stops it. Everything here can be used from any thread.

    Args:
        settings: Those of `NetoSandbox`.

    Attributes:
        sandbox: The sandbox itself. It belongs to its thread: touch it by `call` alone.
        faults: What is to go wrong.
    """

    def __init__(self, **settings: Any) -> None:
        self.sandbox: NetoSandbox = NetoSandbox(**settings)
        self.faults: NetoFaults = NetoFaults(self)
        self._loop: asyncio.AbstractEventLoop | None = None  # while the store answers
        self._thread: threading.Thread | None = None  # of that loop
        self._end: asyncio.Event = asyncio.Event()  # ends them

    def __repr__(self) -> str:
        return self.call(repr, self.sandbox).replace("NetoSandbox", "NetoStore")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """
        Begin to answer; after `stop` at the same address, with the same logs.

        Raises:
            OSError: The port is taken.
            RuntimeError: It answers already.
        """
        started: Future[None] = Future()
        thread = threading.Thread(target=self._live, args=(started,), name="neto_async store", daemon=True)
        thread.start()
        if started.exception() is not None:
            thread.join()
        started.result()

    def stop(self) -> None:
        """Stop answering: connections are refused."""
        loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    def _live(self, started: Future[None]) -> None:
        # Not the loop of a policy: the sandbox resets connections in a way that not every loop lets one do.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            try:
                runner.run(self._serve(started))
            except Exception as error:  # noqa: BLE001 - raised where the store is started
                started.set_exception(error)

    async def _serve(self, started: Future[None]) -> None:
        async with self.sandbox:
            self._loop, self._thread = asyncio.get_running_loop(), threading.current_thread()
            self._end = asyncio.Event()
            started.set_result(None)
            await self._end.wait()

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the store's thread, and give what it returns or raise what it raises."""
        if self._loop is None or threading.current_thread() is self._thread:
            return function(*args)

        async def called() -> T:
            return function(*args)

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result()

    @property
    def url(self) -> str:
        """The store's address, such as "http://127.0.0.1:8080"."""
        return self.sandbox.url

    @property
    def username(self) -> str | None:
        """The user name that belongs to the key."""
        return self.sandbox.username

    @property
    def api_key(self) -> str:
        """The key."""
        return self.sandbox.api_key

    @property
    def logs(self) -> tuple[SavedLog, ...]:
        """The saved logs, oldest first: the truth to compare with."""
        return self.call(lambda: self.sandbox.logs)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls in the order of arrival, those in flight included."""
        return self.call(lambda: self.sandbox.calls)

    def refuse_when(self, predicate: Callable[[Mapping[str, str]], bool], message: str | None = None) -> None:
        """
        Refuse every record that the predicate holds for.

        Args:
            predicate: Is asked, in the store's thread, with the record's fields under the vendor's names.
            message: The error's text; without one it echoes what the record says.
        """
        self.call(self.sandbox.refuse_when, predicate, message)

    async def until(self, condition: Callable[[], bool], timeout: float = 5.0) -> None:  # noqa: ASYNC109
        """
        Wait until a condition holds, such as ``lambda: len(neto_store.logs) == 3``.

        Args:
            condition: Is asked, in the store's thread, whenever logs or calls change.
            timeout: Seconds.

        Raises:
            TimeoutError: It did not come to hold.
            RuntimeError: The store was stopped.
        """
        if self._loop is None:
            raise RuntimeError("the store was stopped: nothing can change any more")
        coming = asyncio.run_coroutine_threadsafe(self.sandbox.until(condition), self._loop)
        try:
            await asyncio.wait_for(asyncio.wrap_future(coming), timeout)
        except TimeoutError:
            raise TimeoutError(f"the condition did not hold within {timeout:g} s: {self!r}") from None

    def assert_each_once(self, logs: Iterable[SourceItem]) -> None:
        """
        Assert that each of these logs is in the store once, and that no other is.

        It compares the fields that at least one of them has, as they are sent in UTC. A log that is given twice is
        expected twice. The text of the error names positions and ids, no contents.

        Args:
            logs: The expected logs: logs, mappings, or (log, context) pairs, as for the client.

        Raises:
            AssertionError: One is missing, is there more often, or was not expected.
            ValueError: One of ``logs`` is no valid log.
        """
        __tracebackhide__ = True
        sent = [_fields_of(position, item) for position, item in enumerate(logs)]
        names = sorted({name for fields in sent for name in fields})
        expected = _grouped((_compared(fields, names), position) for position, fields in enumerate(sent))
        found = _grouped((_compared(log.fields, names), log.log_id) for log in self.logs)
        problems = [
            _told(positions, found.get(contents, []))
            for contents, positions in expected.items()
            if len(positions) != len(found.get(contents, []))
        ]
        problems += [f"not expected: log {_listed(ids)}" for contents, ids in found.items() if contents not in expected]
        if problems:
            raise AssertionError("\n".join(["the store does not hold each log once:", *problems]))

    def report(self) -> str:
        """Describe the newest calls, without their contents, for the report of a failed test."""
        calls, waiting = self.calls, self.sandbox.faults.waiting
        lines = [f"{self!r}"]
        lines += [f"({len(calls) - CALLS_SHOWN} earlier calls)"] if len(calls) > CALLS_SHOWN else []
        lines += [
            f"call {call.number}: {call.records} records, {len(call.log_ids)} saved, {call.outcome}"
            + ("" if call.fault is None else f" (fault: {call.fault})")
            for call in calls[-CALLS_SHOWN:]
        ]
        lines += [f"{waiting} faults wait for a call"] if waiting else []
        return "\n".join(lines)


def _fault(fault: Fault | str | None) -> Fault | None:
    if not isinstance(fault, str):
        return fault
    if fault not in FAULTS:
        raise ValueError(f"there is no fault of that name; there are {', '.join(map(repr, FAULTS))}")
    return FAULTS[fault]


def _fields_of(position: int, item: SourceItem) -> Fields:
    record, _, _, errors = read_item(item)
    if record is None:
        raise ValueError(f"logs[{position}] is no valid log: {'; '.join(errors)}")
    return fields_of(record, zone=timezone.utc)


def _compared(fields: Mapping[str, str], names: Iterable[str]) -> tuple[str, ...]:
    return tuple(fields.get(name, "") for name in names)


def _grouped(pairs: Iterable[tuple[tuple[str, ...], int]]) -> dict[tuple[str, ...], list[int]]:
    groups: dict[tuple[str, ...], list[int]] = {}
    for contents, number in pairs:
        groups.setdefault(contents, []).append(number)
    return groups


def _told(positions: Sequence[int], ids: Sequence[int]) -> str:
    which = ", ".join(f"logs[{position}]" for position in positions)
    if not ids:
        return f"missing: {which}"
    return f"{len(ids)} times instead of {len(positions)}: {which} as log {_listed(ids)}"


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids))
