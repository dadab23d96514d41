"""What an import of a file is going to do, and the source that does it: off the event loop, row by row, in order."""

from __future__ import annotations

import asyncio
import io
import threading
from contextlib import aclosing

import pytest

from neto_async import ConfigurationError, CustomerLog, InvalidRecordError
from neto_async.importing import ColumnMapping, LogSource, Plan, make_plan, open_rows
from neto_async.importing.plan import CHUNK


def opened(text, name="calls.csv"):
    return open_rows(io.BytesIO(text.encode()), name=name)


def planned(text, name="calls.csv", mapping=None, *, import_unknown=False):
    file = opened(text, name)
    return file, make_plan(file, mapping or ColumnMapping(), import_unknown=import_unknown)


def source_of(text, name="calls.csv"):
    file, plan = planned(text, name)
    return LogSource(file=file, plan=plan)


def notes(count):
    return "Notes\n" + "".join(f"note {number}\n" for number in range(count))


def test_a_plan_says_what_is_there():
    """Columns matched and not, rows, the first logs and every fault; what a report added is no column."""
    _, plan = planned("Notes,neto_line,Other,Status\na,2,x,\nb,3,x,Bad\nc,4,x,\nd,5,x,\ne,6,x,\n")

    assert (("Notes", "Other", "Status"), ("Other",)) == (plan.columns, plan.ignored)
    assert (5, 4, ["a", "c", "d"]) == (plan.rows, plan.valid, [log.notes for log in plan.samples])
    assert [1] == [len(errors) for errors in plan.faults]
    assert {"notes": ("Notes",), "status": ("Status",)} == plan.mapping.columns


def test_objects_may_spell_their_names():
    """Each object of a JSON file may spell a name in its own way; a header that has it twice is refused."""
    file, plan = planned('{"Notes": "a"}\n{"notes": "b", "x": 1}\n{"NOTES": "c"}\n', "a.jsonl")

    assert ("Notes", "notes", "x", "NOTES") == plan.columns
    assert (("x",), 3) == (plan.ignored, plan.valid)
    assert ["a", "b", "c"] == [log.notes for log, _ in LogSource(file=file, plan=plan)]
    with pytest.raises(ConfigurationError, match="both give notes; rename one"):
        planned("Notes,Notes\na,b\n")


def test_columns_without_a_name():
    """A column without a name gives no field and is not listed."""
    assert (("Notes",), ()) == (planned("Notes,\na,b\n")[1].columns, planned("Notes,\na,b\n")[1].ignored)


@pytest.mark.parametrize(("text", "has"), [("A,B\n1,2\n", "A, B"), (",\n1,2\n", "no columns")])
def test_no_column_is_a_field(text, has):
    """A file none of whose columns is known is refused, with its columns, the fields and what to do."""
    with pytest.raises(ConfigurationError, match=f"The file has: {has}. The fields are: AllocatedTo.*--map"):
        planned(text)


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        ("Added", "line 2 was added already"),
        ("Unknown", "line 2 may be in the store already"),
        ("NotSent", "line 2 was not sent, and the import that wrote this file sends it when you run it again"),
    ],
)
def test_reports_that_are_not_imported_by_mistake(outcome, says):
    """A report of what was added, or may have been, or of what the same import will send, is refused."""
    with pytest.raises(ConfigurationError, match=says):
        planned(f"Notes,neto_outcome\na,{outcome}\n")


def test_a_report_in_doubt_that_was_looked_into():
    """Once someone looked in the store, an unknown.csv can be imported; nothing else is let through by it."""
    assert 1 == planned("Notes,neto_outcome\na,Unknown\n", import_unknown=True)[1].rows
    with pytest.raises(ConfigurationError, match="added already"):
        planned("Notes,neto_outcome\na,Added\n", import_unknown=True)


@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
async def test_both_loops_give_the_same(count):
    """``for`` and ``async for`` give each row once and in order, with its log or what is wrong with it, each time."""
    source = source_of(notes(count) + '"x"y\n')
    expected = [(log if isinstance(log, CustomerLog) else log.errors, row) for log, row in source]

    for _ in range(2):
        found = [(log if isinstance(log, CustomerLog) else log.errors, row) async for log, row in source]
        assert expected == found
    assert len(source) == count + 1 == len(expected)


async def test_rows_are_read_in_another_thread():
    """The event loop's own thread reads nothing, and no two threads read at once."""
    readers = []
    reading = threading.Lock()

    class Watched(io.BytesIO):
        def read(self, size=-1):
            assert reading.acquire(blocking=False)
            readers.append(threading.current_thread())
            try:
                return super().read(size)
            finally:
                reading.release()

    file = open_rows(Watched(notes(50_000).encode()), name="calls.csv")
    plan = make_plan(file, ColumnMapping(), import_unknown=False)
    readers.clear()

    assert 50_000 == len([row async for _, row in LogSource(file=file, plan=plan)])
    assert readers
    assert threading.current_thread() not in readers


async def test_what_the_file_raises_comes_out_as_it_is():
    """A disk that fails half-way: the rows before it come out, then the very error."""
    error = OSError(5, "Input/output error")

    class Failing:
        name = "calls.csv"
        columns = ("Notes",)

        def __iter__(self):
            yield from list(opened(notes(CHUNK + 5)))
            raise error

        def check_unchanged(self):
            pass

    rows = aiter(LogSource(file=Failing(), plan=planned(notes(1))[1]))
    found = [(await anext(rows))[1].line for _ in range(CHUNK + 5)]
    with pytest.raises(OSError, match="Input/output") as raised:
        await anext(rows)

    assert (error, list(range(2, CHUNK + 7))) == (raised.value, found)


@pytest.mark.parametrize("when", ["before the plan", "before the first row", "after the first chunk"])
async def test_a_file_that_is_written_to(tmp_path, when):
    """No row comes out that may have been read after a change; the plan of a file that changed is none."""
    path = tmp_path / "calls.csv"
    path.write_text(notes(2 * CHUNK), encoding="utf-8")
    found = []

    async def read():
        for moment in ("before the plan", "before the first row"):
            if when == moment:
                path.write_text("Notes\nother\n", encoding="utf-8")
            if moment == "before the plan":
                plan = make_plan(file, ColumnMapping(), import_unknown=False)
        async for _, row in LogSource(file=file, plan=plan):
            found.append(row.line)
            if len(found) == CHUNK:
                path.write_text("Notes\nother\n", encoding="utf-8")

    with path.open("rb") as binary:
        file = open_rows(binary, name=path.name)
        with pytest.raises(ConfigurationError, match=r"calls\.csv was written to while it was read"):
            await read()

    assert list(range(2, CHUNK + 2 if when == "after the first chunk" else 2)) == found


class Gated:
    """A file whose rows come once they are let through."""

    name = "calls.csv"
    columns = ("Notes",)

    def __init__(self):
        self.let_through = threading.Event()
        self.begun = threading.Event()
        self.ended = threading.Event()

    def __iter__(self):
        self.begun.set()
        self.let_through.wait(30)
        self.ended.set()
        yield from list(opened(notes(2 * CHUNK)))

    def check_unchanged(self):
        pass


async def test_a_loop_that_is_cancelled_leaves_no_thread():
    """Cancelled while a thread reads, the loop ends when the thread has: nothing reads on behind its back."""
    file = Gated()
    source = LogSource(file=file, plan=planned(notes(1))[1])

    async def consume():
        async for _ in source:
            pytest.fail("no row comes out of a cancelled loop")

    task = asyncio.create_task(consume())
    await asyncio.to_thread(file.begun.wait, 30)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=0)
    assert set() == done
    file.let_through.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert file.ended.is_set()


async def test_a_loop_that_is_left_early_leaves_no_thread():
    """Leaving the loop closes the source between two chunks, when no thread is reading."""
    file = Gated()
    file.let_through.set()
    source = LogSource(file=file, plan=planned(notes(1))[1])
    async with aclosing(aiter(source)) as rows:
        first = await anext(rows)

    assert (2, True) == (first[1].line, file.ended.is_set())
    with pytest.raises(StopAsyncIteration):
        await anext(rows)


async def test_an_import_fills_its_calls_from_a_file(store, connect):
    """A file read off the loop makes no more calls than its rows need: one log first, then full ones."""
    neto = await connect(store, batch_size=100)
    async with neto.import_customer_logs(source_of(notes(3000))) as run:
        outcomes = [outcome async for outcome in run]

    assert [outcome.index + 2 for outcome in outcomes] == [outcome.context.line for outcome in outcomes]
    assert (3000, 1 + 30) == (len(store.logs), len(store.calls))


def test_a_plan_shows_no_texts():
    """A plan's repr holds no customer's text."""
    _, plan = planned("Notes,Status\nCANARY,\nx,CANARY\n")

    assert isinstance(plan, Plan)
    assert "CANARY" not in repr(plan)
    assert [InvalidRecordError] == [type(log) for log, _ in source_of("Status\nCANARY\n")]


def test_a_plan_counts_a_few_words_of_a_status():
    """Words that are no status are counted for a person; of a column of free text, the first twenty."""
    _, plan = planned("Status,Notes\n" + "".join(f"word {row % 25},x\n" for row in range(50)))
    assert ({f"word {number}": 2 for number in range(20)}, 50) == (plan.unknown_status, plan.invalid)


def test_a_long_text_gets_no_hint():
    """A text far too long for a time is refused without a look at the forms of times."""
    _, plan = planned("LastContacted,Notes\n" + "9" * 1000 + ",x\n")
    assert "not a time that can be read for certain" in plan.faults[0][0]
