"""The command at a terminal of 80 columns: what a person reads, and what their keys do."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from neto_async import NotSent
from neto_async.cli.screen import Screen
from neto_async.cli.stopping import Stopper
from neto_async.sandbox import NetoSandbox, faults

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the terminals and processes of Linux")

CTRL_C, CTRL_D, ENTER = "\x03", "\x04", "\r"
QUICKLY = ("--batch-size", "2", "--max-concurrency", "1", "--requests-per-minute", "none")
ROWS = 60


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give a file of logs."""
    made = tmp_path / "calls.csv"
    made.write_text("Notes\n" + "".join(f"note {row}\n" for row in range(ROWS)), encoding="utf-8")
    return made


def notes_in(store: NetoSandbox) -> list[str]:
    """Give the notes in the store, in order."""
    return sorted((str(log.notes) for log in store.logs), key=lambda note: int(note.split()[1]))


ANSWERS = [
    # keys, exit code, rows in the store, what is said afterwards
    (f"y{ENTER}", 0, ROWS, "60  added"),
    (f"n{ENTER}", 1, 0, "Nothing was sent."),
    (ENTER, 1, 0, "Nothing was sent."),
    (CTRL_C, 1, 0, "Nothing was sent."),
    (CTRL_D, 1, 0, "Nothing was sent."),
]


@pytest.mark.parametrize(("keys", "code", "sent", "says"), ANSWERS)
async def test_the_question(  # noqa: PLR0917
    run: Any, store: NetoSandbox, terminal: Any, file: Path, keys: str, code: int, sent: int, says: str
) -> None:
    """At a terminal it asks before it sends, and sends for a yes alone; Ctrl-C, pressed once, is a no."""
    await run.start("import", str(file), *QUICKLY, store=store, terminal=terminal.name, TERM="xterm")
    await terminal.until("Send them? What is added can't be deleted through the API [y/N]: ")
    run.until_waiting()
    assert 0 == store.call_count
    terminal.type(keys)
    ran = await run.ended()
    await terminal.until(says)

    assert (code, sent) == (ran.code, store.log_count)
    assert "Traceback" not in terminal.shown


async def test_no_question(run: Any, store: NetoSandbox, terminal: Any, file: Path) -> None:
    """It does not ask where ``--yes`` answers already, where nothing is left to send, or for a sandbox."""
    for words in (["--yes"], [], ["--sandbox"]):
        ran = await run("import", str(file), *words, *QUICKLY, store=store, terminal=terminal.name, TERM="xterm")
        assert (0, ROWS) == (ran.code, store.log_count)

    assert "Send them?" not in terminal.shown


async def test_what_is_too_long_for_a_line(run: Any, store: NetoSandbox, terminal: Any, tmp_path: Path) -> None:
    """On a screen no letter of the plan is lost; the command that goes on is one line, whatever its length."""
    file = tmp_path / f"{'long ' * 20}.csv"
    file.write_text("Notes\n" + "x\n" * 3, encoding="utf-8")
    store.faults.always(faults.RefuseKey())

    await run("import", str(file), "--yes", store=store, terminal=terminal.name, TERM="xterm")
    await terminal.until(f"\n  neto-async import {shlex.quote(str(file))} --yes\n")

    plan, _, _ = terminal.shown.partition("Columns")
    assert all(len(line) <= 80 for line in plan.splitlines())
    assert "".join(f"{file}.".split()) in "".join(plan.split())


async def test_an_unknown_status_comes_with_its_remedy(
    run: Any, store: NetoSandbox, terminal: Any, tmp_path: Path
) -> None:
    """At a terminal the plan names the words, their rows and the option; off it, where a log may keep it, no word."""
    file = tmp_path / "calls.csv"
    file.write_text("Status,Notes\nsolved,a\nsolved,b\nCompleted,c\nparked,d\n", encoding="utf-8")

    await run("import", str(file), "--dry-run", store=store, terminal=terminal.name, TERM="xterm")
    await terminal.until("A dry run")
    off = await run("import", str(file), "--dry-run", store=store)

    shown = " ".join(terminal.shown.split())
    assert '2 rows say "solved": --map-value Status="solved=Completed"' in shown
    assert '1 row says "parked": --map-value Status="parked=Completed"' in shown
    assert "To translate" not in shown
    remedy = 'To translate a status: --map-value Status="THEIRS=Completed", or [words.Status] in a mapping file.'
    assert (1, False) == (off.out.count(remedy), "solved" in off.out)
    assert ("solved" in off.out, "parked" in off.out) == (False, False)


async def test_a_dry_run_that_a_person_watches(run: Any, store: NetoSandbox, terminal: Any, tmp_path: Path) -> None:
    """A doubt is the person's to decide, so the exit code is 0; the last line says what becomes of it unattended."""
    file = tmp_path / "calls.csv"
    file.write_text("Username,Notes\nNULL,a\n", encoding="utf-8")
    ran = await run("import", str(file), "--dry-run", store=store, terminal=terminal.name, TERM="xterm")
    last = "An unattended import would be refused because of the doubts.\n"
    await terminal.until(last)
    assert (0, True) == (ran.code, terminal.shown.endswith(last))


async def test_the_bar(run: Any, store: NetoSandbox, terminal: Any, file: Path) -> None:
    """A bar says how far it is, at the end that all is done, and leaves the cursor to be seen."""
    await run("import", str(file), "--yes", *QUICKLY, store=store, terminal=terminal.name, TERM="xterm")
    await terminal.until("60  added")

    assert re.search(r"60/60 60 added, 31 calls, [\d,.]+ rows/s\n", terminal.shown)
    assert terminal.written.rfind(b"\x1b[?25l") < terminal.written.rfind(b"\x1b[?25h")


async def begun(run: Any, store: NetoSandbox, file: Path, *words: str, **options: Any) -> asyncio.Event:
    """Start an import whose fifth call is answered when it may be, and wait until it is under way."""
    release = asyncio.Event()
    store.faults.next(None, None, None, None, faults.Late(until=release))
    await run.start("import", str(file), "--yes", *QUICKLY, *words, store=store, **options)
    await store.until(lambda: store.log_count == 9)
    return release


async def gone_on_with(run: Any, store: NetoSandbox, file: Path, *words: str) -> int:
    """Import what is left; see that every row is in the store once, and give the number of those in doubt."""
    ran = await run("import", str(file), *QUICKLY, "--json", *words, store=store)
    assert [f"note {row}" for row in range(ROWS)] == notes_in(store)
    assert ROWS == ran.summary["added"] + ran.summary["unknown"]
    return ran.summary["unknown"]


async def test_ctrl_c(run: Any, store: NetoSandbox, terminal: Any, file: Path) -> None:
    """Ctrl-C stops: the call under way is awaited, then it is said what is left, and which command goes on."""
    release = await begun(run, store, file, terminal=terminal.name, TERM="xterm")
    terminal.type(CTRL_C)
    await terminal.until("no more rows are sent; awaiting 1 call under way. Ctrl-C again")
    release.set()
    ran = await run.ended()
    await terminal.until("To go on with what is left, nothing twice:\n  neto-async import ")

    assert 4 == ran.code
    assert [True, True] == [said in terminal.shown for said in (" 9  added", "51  not sent")]
    assert 0 == await gone_on_with(run, store, file)


async def test_a_request_before_the_run(store: NetoSandbox, connect: Any, capsys: Any) -> None:
    """What is asked for while the client is made stops the run as soon as there is one. White-box."""
    stopper = Stopper(Screen(), None, None)
    with stopper.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        while not stopper._asked:  # noqa: ASYNC110 - the loop hears of it in its own time
            await asyncio.sleep(0)
        run = (await connect(store)).import_customer_logs([{"Notes": "a"}], read_on=True)
        stopper.take(run)
        async with run:
            outcomes = [outcome async for outcome in run]

    assert ([NotSent], 0) == ([type(outcome) for outcome in outcomes], store.call_count)
    assert "Stopping: no more rows are sent.\n" == capsys.readouterr().out


async def test_a_request_before_the_reading_back(capsys: Any) -> None:
    """What was asked for while the client is made ends what comes before the run. White-box."""
    stopper = Stopper(Screen(), None, None)
    stopper._asked = True
    assert await stopper.before_the_run(asyncio.sleep(3600)) is None
    assert not capsys.readouterr().out


async def test_work_before_the_run_that_somebody_else_cancels() -> None:
    """Only a request to stop is taken for one: any other cancellation goes on. White-box."""
    stopper = Stopper(Screen(), None, None)
    waiting = asyncio.create_task(stopper.before_the_run(asyncio.sleep(3600)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_ctrl_c_twice(run: Any, store: NetoSandbox, terminal: Any, file: Path) -> None:
    """A second Ctrl-C ends at once, says so and which command goes on; the rows of the call under way are in doubt."""
    release = await begun(run, store, file, terminal=terminal.name, TERM="xterm")
    terminal.type(CTRL_C)
    await terminal.until("Stopping: ")
    terminal.type(CTRL_C)
    ran = await run.ended()
    await terminal.until("To go on with what is left, nothing twice:\n  neto-async import ")
    release.set()

    assert 4 == ran.code
    assert "Ended at once: the rows of the calls under way may be in the store or not." in terminal.shown
    assert terminal.written.rfind(b"\x1b[?25l") < terminal.written.rfind(b"\x1b[?25h"), "the cursor is shown again"
    assert 2 == await gone_on_with(run, store, file)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_twice_without_a_terminal(
    run: Any, store: NetoSandbox, output: Any, file: Path, first: signal.Signals
) -> None:
    """The same where the output is a pipe, and where a supervisor had asked for the end before."""
    release = await begun(run, store, file, out=output.name)
    os.kill(run.process, first)
    await output.until("Stopping: no more rows are sent; awaiting 1 call under way. Ctrl-C again ends at once")
    os.kill(run.process, signal.SIGINT)
    ran = await run.ended()
    release.set()
    await output.until("Ended at once")
    await output.until(
        f"To go on with what is left, nothing twice:\n  neto-async import {file} --yes {' '.join(QUICKLY)}\n"
    )

    assert (4, "") == (ran.code, ran.err)
    assert 2 == await gone_on_with(run, store, file)


async def test_requests_to_end(run: Any, store: NetoSandbox, file: Path) -> None:
    """However often a supervisor asks for the end, the calls under way are awaited, and nothing is in doubt."""
    release = await begun(run, store, file)
    for request in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
        os.kill(run.process, request)
    os.kill(run.process, signal.SIGCONT)
    release.set()
    ran = await run.ended()

    assert (4, 1) == (ran.code, ran.out.count("Stopping: "))
    assert "To go on with what is left" in ran.out
    assert 0 == await gone_on_with(run, store, file)


async def test_ctrl_c_without_a_journal(run: Any, store: NetoSandbox, terminal: Any, file: Path) -> None:
    """Where nothing is remembered, no command is said to go on; reports are said not to be whole."""
    words = ("--no-journal", "--report", str(file.with_name("out")))
    await begun(run, store, file, *words, terminal=terminal.name, TERM="xterm")
    for waits_for in ("Stopping: ", "Ended at once"):
        terminal.type(CTRL_C)
        await terminal.until(waits_for)
    ran = await run.ended()

    assert 4 == ran.code
    assert "To go on" not in terminal.shown
    assert "as far as it came; rows without an outcome are in none of them." in " ".join(terminal.shown.split())
