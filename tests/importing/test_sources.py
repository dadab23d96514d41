"""What a source may be, and that its iterator is made, read and closed in one task."""

from __future__ import annotations

import asyncio
import gc
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from neto_async import AsyncNetoClient, BulkSourceError, CustomerLog, InvalidRecordError, Item
from neto_async.sandbox import NetoSandbox


def rows(count: int = 100_000) -> Any:
    return ({"Notes": str(row)} for row in range(count))


async def coroutine() -> None:
    """Give a coroutine where a generator was meant."""


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "mapping": (lambda: {"Notes": "a"}, "wrap it in a list"),
    "log": (lambda: CustomerLog(notes="a"), "wrap it in a list"),
    "item": (lambda: Item({"Notes": "a"}), "wrap it in a list"),
    "error": (lambda: InvalidRecordError(("a",)), "wrap it in a list"),
    "text": (lambda: "calls.csv", "open_rows"),
    "bytes": (lambda: b"calls.csv", "open_rows"),
    "bytearray": (lambda: bytearray(b"a"), "open_rows"),
    "path": (lambda: Path("calls.csv"), "open_rows"),
    "file": (lambda: io.StringIO("a"), "open_rows"),
    "number": (lambda: 5, "not int"),
    "nothing": (lambda: None, "not NoneType"),
    "function": (lambda: rows, "call the function"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_is_no_source_is_refused_at_the_call(wrong: str) -> None:
    """A source that can't mean an iterable of logs raises TypeError at once, with a text that says what to give."""
    make, text = WRONG[wrong]
    neto = AsyncNetoClient("http://localhost:9", api_key="key")

    with pytest.raises(TypeError, match=text):
        neto.import_customer_logs(make())
    with pytest.raises(TypeError, match=text):
        await neto.add_customer_logs(make())
    assert (await neto.aclose()).drained


async def test_an_old_style_sequence_is_a_source(store: NetoSandbox, connect: Any) -> None:
    """What Python iterates over by position alone is an iterable as well."""

    class Sequence:
        def __getitem__(self, position: int) -> dict[str, str]:
            return [{"Notes": "a"}, {"Notes": "b"}][position]

    assert 2 == len((await (await connect(store)).add_customer_logs(Sequence())).added)  # type: ignore[arg-type]


class Source:
    """Generators of each kind that note the task in which they began and ended."""

    def __init__(self, *, failing: bool = False) -> None:
        self.began: Any = None
        self.ended: Any = None
        self.failing = failing

    def plain(self) -> Any:
        self.began = asyncio.current_task()
        try:
            yield from rows()
        finally:
            self.ended = asyncio.current_task()
            if self.failing:
                raise LookupError("CANARY")

    async def asynchronous(self) -> Any:
        for row in self.plain():
            yield row

    async def with_task_group(self) -> Any:
        self.began = asyncio.current_task()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                for row in rows():
                    yield row
        finally:
            await asyncio.sleep(0)
            self.ended = asyncio.current_task()

    async def waiting(self) -> Any:
        self.began = asyncio.current_task()
        try:
            yield {"Notes": "a"}
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.ended = asyncio.current_task()


@pytest.mark.parametrize("kind", ["plain", "with_task_group", "waiting"])
@pytest.mark.parametrize("ending", ["breaks", "stops", "stops and leaves", "raises", "is cancelled"])
async def test_a_source_is_closed_by_its_reader(
    store: NetoSandbox, connect: Any, caplog: pytest.LogCaptureFixture, kind: str, ending: str
) -> None:
    """However a block is left early: its source ends before that, in the task that began it, with nothing logged."""
    neto, source = await connect(store), Source()

    async def work() -> None:
        async with neto.import_customer_logs(getattr(source, kind)()) as run:
            await anext(run)
            match ending:
                case "stops" | "stops and leaves":
                    run.stop()
                    if ending == "stops":
                        await run.finish()
                case "raises":
                    raise LookupError
                case "is cancelled":
                    asyncio.current_task().cancel()  # type: ignore[union-attr]
                    await asyncio.sleep(0)

    result = await asyncio.gather(work(), return_exceptions=True)
    assert (source.began, True) == (source.ended, source.began is not None)
    expected = {"raises": LookupError, "is cancelled": asyncio.CancelledError}.get(ending, type(None))
    assert expected is type(result[0])
    assert [] == [record for record in caplog.records if "closing" in record.getMessage()]


@pytest.mark.parametrize("stops", [False, True])
async def test_what_closing_raises_is_logged_by_its_class(
    store: NetoSandbox, connect: Any, caplog: pytest.LogCaptureFixture, stops: Any
) -> None:
    """A source of a stopped run that fails when it is closed: its class is logged, and no outcome is lost."""
    neto, source = await connect(store), Source(failing=True)

    async with neto.import_customer_logs(source.plain()) as run:
        outcomes = [await anext(run)]
        if stops:
            run.stop()
            outcomes += [outcome async for outcome in run]
    outcomes += run.unread

    assert list(range(run.progress.taken)) == sorted(outcome.index for outcome in outcomes)
    assert "closing the source of a stopped run raised LookupError" in caplog.messages
    assert "CANARY" not in caplog.text
    assert source.began is source.ended


async def test_a_source_that_fails_unseen_is_logged(
    store: NetoSandbox, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What a source raised before its caller left, and nobody's loop came to, is logged by its class."""

    def source() -> Any:
        yield {"Notes": "a"}
        raise LookupError("CANARY")

    async with (await connect(store)).import_customer_logs(source()) as run:
        await anext(run)

    assert "a run raised LookupError after its caller had left it" in caplog.messages
    assert "CANARY" not in caplog.text


async def test_a_failing_task_group_in_a_source_is_the_sources_error(store: NetoSandbox, connect: Any) -> None:
    """Where a task of the source's own group fails, the run raises that error and what was read has its outcome."""
    fail = asyncio.Event()

    async def failing() -> None:
        await fail.wait()
        raise LookupError

    async def source() -> Any:
        async with anyio.create_task_group() as group:
            group.start_soon(failing)
            for row in rows():
                yield row

    neto = await connect(store)
    with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012
        async with neto.import_customer_logs(source()) as run:
            await anext(run)
            fail.set()
            await run.finish()

    assert [LookupError] == [type(error) for error in raised.value.exceptions]
    assert run.progress.taken == run.progress.finished < 100_000


async def test_a_source_that_was_never_read_is_left_alone(store: NetoSandbox, connect: Any) -> None:
    """A run that is left before its reader's first step begins no source, and leaves nothing to the collector."""
    neto, source = await connect(store), Source()

    async with neto.import_customer_logs(source.with_task_group()) as run:
        run.stop()
    gc.collect()

    assert (None, 0, ()) == (source.began, run.progress.taken, run.unread)


class Stream:
    """An asynchronous iterator of its own class."""

    def __init__(self) -> None:
        self.left = 3

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> dict[str, str]:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return {"Notes": "a"}


class ClosingStream(Stream):
    """The same, with an `aclose` that fails."""

    async def aclose(self) -> None:
        raise LookupError


async def test_an_iterator_of_another_kind_is_closed_where_it_can_be(store: NetoSandbox, connect: Any) -> None:
    """An iterator without `aclose` is left alone; what `aclose` raises after the last row is the source's error."""
    neto = await connect(store)
    assert 3 == len((await neto.add_customer_logs(Stream())).added)

    with pytest.raises(LookupError):
        async with neto.import_customer_logs(ClosingStream()) as run:
            await run.finish()
    assert (3, False) == (run.progress.added, run.progress.complete)


async def test_a_sync_iterator_of_the_program_stays_open(store: NetoSandbox, connect: Any) -> None:
    """A synchronous iterator that is no generator, such as a cursor, is the program's own to close."""

    class Cursor:
        closed = False

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> Any:
            raise StopIteration

        def close(self) -> None:
            self.closed = True

    cursor = Cursor()
    assert () == (await (await connect(store)).add_customer_logs(cursor)).outcomes
    assert not cursor.closed


async def test_a_source_that_raises_the_end_of_another_kind_of_loop_has_failed(
    store: NetoSandbox, connect: Any
) -> None:
    """A synchronous source that raises StopAsyncIteration has failed: rows may be missing."""

    def source() -> Any:
        yield {"Notes": "a"}
        raise StopAsyncIteration

    neto = await connect(store)
    with pytest.raises(BulkSourceError) as raised:
        await neto.add_customer_logs(source())
    assert 1 == len(raised.value.report.added)
    with pytest.raises(RuntimeError, match="the source raised StopAsyncIteration"):
        async with neto.import_customer_logs(source()) as run:
            await run.finish()
    assert not run.progress.complete
