"""What `settle` shows, notes and answers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from neto_async import AsyncNetoClient, CustomerLog, Evidence, Unknown
from neto_async.cli import commands, import_flow, settle_flow
from neto_async.cli.doubts import show_doubts
from neto_async.cli.import_flow import ImportOptions
from neto_async.cli.screen import Screen
from neto_async.cli.stopping import Stopper
from neto_async.errors import JournalError, JournalInUseError, ReadError
from neto_async.importing import ColumnMapping, LogSource, make_plan, open_rows
from neto_async.journals.events import JournalSummary
from neto_async.journals.sqlite import SqliteJournal
from neto_async.reconciling.evidence import Doubt, DoubtfulCall, DoubtsAndKnown, Missing
from neto_async.reconciling.from_journal import JournalDoubts
from neto_async.results import ReconcileReport
from neto_async.sandbox import NetoSandbox, faults
from neto_async.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the processes of Linux")

CUSTOMERS = ["jsmith", "bob"]
NAMES = ("added", "unknown", "not_sent")
AT_ONCE = ("--settle-after", "0")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Five logs: of two customers, and one of nobody."""
    made = tmp_path / "calls.csv"
    lines = [f"{CUSTOMERS[row % 2]},note {row},Completed" for row in range(4)]
    made.write_text("\n".join(["Username,Notes,Status", *lines, ",note of nobody,Completed", ""]), encoding="utf-8")
    return made


async def in_doubt(run: Any, store: NetoSandbox, file: Path, *, saved: bool) -> None:
    """Import the file; all rows but the first end in doubt."""
    store.faults.next(None, faults.Reset(saves=saved))
    words = ("import", str(file), "--batch-size", "100", "--delimiter", ",", "--in-doubt=hold", "--yes")
    ran = await run(*(words if file.suffix == ".csv" else words[:2]), store=store)
    delimiter = " --delimiter ," if file.suffix == ".csv" else ""
    command = f"To find out what became of them:\n  neto-async settle {file}{delimiter}\n"
    assert (3, True) == (ran.code, command in ran.out)


async def test_what_was_saved_is_found(run: Any, file: Path) -> None:
    """With the guarantee the rows get their ids; the row of nobody is left, with what is missing."""
    async with NetoSandbox(customers=CUSTOMERS) as store:
        await in_doubt(run, store, file, saved=True)
        without = await run("settle", str(file), *AT_ONCE, store=store)
        settled = await run("settle", str(file), *AT_ONCE, "--sole-writer", store=store)
        status = await run("status", str(next(file.parent.glob("*.journal"))))
        looked_up = await run("settle", str(file), "--found", "5=1005", store=store)
        nothing = await run("settle", str(file), store=store)
        as_json = await run("settle", str(file), "--json", store=store)
        again = await run("import", str(file), store=store)
        count = store.log_count

    assert (3, 3, 0, 0, 0) == (without.code, settled.code, looked_up.code, nothing.code, again.code)
    assert "Doubt    4 rows" in without.out
    assert f"Store    {store.url}; nothing is sent\n" in without.out
    assert "2 customers in 4 calls or more, about 1 s at the limit\n" in without.out
    assert "1 row without a user name can't be read back" in without.out
    assert (
        "row 2 (line 3): logs that could be it, or were written by somebody else: 1; logs to look at: 1002"
        in without.out
    )
    assert "nobody else writes or edits such logs. If you can give it: --sole-writer." in without.out
    assert "3  added" in settled.out
    assert "note" not in settled.out.replace("not ", "").replace("certainly not", "")
    assert "4 added, 1 in doubt" in status.out
    assert "Noted: 1 found, 0 absent. In doubt: 0 rows." in looked_up.out
    assert "Nothing is in doubt." in nothing.out
    none = {"added": 0, "not_sent": 0, "unknown": 0, "rows_unknown": [], "error": None, "exit_code": 0}
    assert none == as_json.summary
    assert 5 == count


async def test_what_was_not_saved_is_sent_by_the_next_import(run: Any, file: Path) -> None:
    """What is proven absent goes again, once; the command that does so is shown with the file's options."""
    async with NetoSandbox(customers=CUSTOMERS) as store:
        await in_doubt(run, store, file, saved=False)
        words = ("--map", "Notes=Notes", *AT_ONCE, "--json")
        settled = await run("settle", str(file), *words, store=store)
        absent = await run("settle", str(file), "--map=Notes=Notes", "--absent=5", "--settle-after=0", store=store)
        again = await run("import", str(file), store=store)
        notes = sorted(str(log.notes) for log in store.logs)

    rows = [{"row": 5, "missing": "a user name, by which its customer could be read", "candidates": []}]
    expected = {"added": 0, "not_sent": 3, "unknown": 1, "rows_unknown": rows, "error": None, "exit_code": 3}
    assert expected == settled.summary
    assert f"neto-async import {file} --map Notes=Notes" in settled.err
    assert f"neto-async import {file} --map=Notes=Notes" in absent.out
    assert (3, 0, 0) == (settled.code, absent.code, again.code)
    assert ["note 0", "note 1", "note 2", "note 3", "note of nobody"] == notes


@pytest.mark.thorough
async def test_the_reports_are_written_anew(run: Any, file: Path) -> None:
    """Each row is in the report of its outcome as it is known now, and the next import goes on with them."""
    report = file.parent / "report"

    def rows() -> list[int]:
        return [len((report / f"{name}.csv").read_text("utf-8").splitlines()) - 1 for name in NAMES]

    async with NetoSandbox(customers=CUSTOMERS) as store:
        store.faults.next(None, faults.Reset(saves=True))
        await run("import", str(file), "--report", str(report), store=store)
        before = rows()
        words = ("--report", str(report), *AT_ONCE, "--sole-writer")
        settled = await run("settle", str(file), *words, store=store)
        after = rows()
        noted = await run("settle", str(file), "--absent", "5", "--report", str(report), store=store)
        last = rows()
        status = await run("status", str(next(file.parent.glob("*.journal"))))
        other = await run("settle", str(file), "--absent", "5", "--report", str(file.parent), store=store)
        calls = store.call_count
        again = await run("import", str(file), "--report", str(report), store=store)

    assert [[1, 4, 0], [4, 1, 0], [4, 0, 1]] == [before, after, last]
    assert (3, 0, 1, 0) == (settled.code, noted.code, other.code, again.code)
    assert f"Reports: {report}" in settled.out
    assert "1 run so far" in status.out
    assert "The last run came to the end of its file" in status.out
    assert (calls + 1, [5, 0, 0]) == (store.call_count, rows())


async def test_doubt_that_is_left_beside_what_was_seen(run: Any, file: Path) -> None:
    """Exit code 0 says that no doubt is left: what a person saw of one row leaves the others in doubt."""
    async with NetoSandbox(customers=CUSTOMERS) as store:
        await in_doubt(run, store, file, saved=True)
        seen = await run("settle", str(file), "--found", "2=1002", "--absent", "3", "--sure", store=store)
        more = await run("settle", str(file), "--absent", "4", "--sure", "--json", store=store)

    assert (3, ["  row 2 (line 3): log 1002", "  row 3 (line 4): not in the store"]) == (
        seen.code,
        seen.out.splitlines()[:2],
    )
    assert "Noted: 1 found, 1 absent. In doubt: 2 rows." == seen.out.splitlines()[2]
    assert {"found": 0, "absent": 1, "unknown": 1, "exit_code": 3} == more.summary


async def test_more_rows_in_doubt_than_are_shown(run: Any, tmp_path: Path) -> None:
    """The list is short, and says how much of it is left out."""
    file = tmp_path / "calls.csv"
    file.write_text("Notes\n" + "".join(f"note {row}\n" for row in range(23)), encoding="utf-8")
    async with NetoSandbox() as store:
        await in_doubt(run, store, file, saved=True)
        settled = await run("settle", str(file), *AT_ONCE, store=store)

    assert 20 == settled.out.count("it has no user name")
    assert "\n  2 more rows, which --json lists\nLook these up" in settled.out


async def test_an_import_can_settle_first(run: Any, file: Path, output: Any) -> None:
    """`--in-doubt settle` reads back before it sends; it says until when it waits, and can be stopped meanwhile."""
    async with NetoSandbox(customers=CUSTOMERS) as store:
        store.faults.next(None, faults.Reset())
        first = await run("import", str(file), "--in-doubt", "settle", store=store)
        calls = store.call_count
        await run.start("import", str(file), "--in-doubt", "settle", out=output.name, store=store)
        await output.until("Ctrl-C stops.")
        run.until_waiting()
        waited = store.call_count
        os.kill(run.process, signal.SIGTERM)
        stopped = await run.ended()
        sent = store.call_count

    assert (3, 3, calls, calls) == (first.code, stopped.code, waited, sent)
    assert "Reading back" not in first.out
    assert "Doubt    4 rows\nRead     2 customers in 4 calls or more, about 1 s at the limit\n" in output.shown
    (until,) = re.findall(r"Wait     until (\d\d:\d\d:\d\d UTC), when no call can be saved any more", output.shown)
    assert f"Reading back 4 rows in doubt after {until}. Ctrl-C stops." in output.shown


@pytest.mark.parametrize(("words", "settled"), [((), (0, 3, 1)), (("--sole-writer",), (3, 0, 1))])
async def test_what_an_import_says_of_what_it_has_settled(
    run: Any, file: Path, words: tuple[str, ...], settled: tuple[int, int, int]
) -> None:
    """How many rows are in the store, are not, and are left; the options of settling are the same as `settle` has."""
    async with NetoSandbox(customers=CUSTOMERS) as store:
        await in_doubt(run, store, file, saved=bool(words))
        ran = await run("import", str(file), "--in-doubt", "settle", *AT_ONCE, *words, store=store)
        notes = {log.notes for log in store.logs}
        count = store.log_count

    there, absent, left = settled
    assert f"Settled: {there} are in the store, {absent} are not, {left} are still in doubt." in ran.out
    assert (3, False) == (ran.code, "Wait" in ran.out)
    assert (5 if words else 4) == count == len(notes)


@pytest.mark.parametrize("words", [("--sole-writer",), AT_ONCE])
async def test_options_of_settling_belong_to_it(run: Any, file: Path, words: tuple[str, ...]) -> None:
    """An import that does not settle refuses them, instead of leaving them out silently."""
    ran = await run("import", str(file), *words)
    assert (1, True) == (ran.code, "--sole-writer and --settle-after need --in-doubt settle" in ran.err)


class Refused(AsyncNetoClient):
    """May not read customers."""

    async def reconcile(self, *_: Any, **__: Any) -> Any:
        raise ReadError("the store refused to give customers")


async def test_an_import_that_may_not_settle_sends_nothing(
    run: Any, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It stops as for any other trouble with the store: the summary and the object say why."""
    async with NetoSandbox(customers=CUSTOMERS) as store:
        await in_doubt(run, store, file, saved=False)
        journal = next(file.parent.glob("*.journal"))
        summary = SqliteJournal(journal).summary()
        options = ImportOptions(journal=journal, earlier=summary, in_doubt="settle", as_json=True)
        calls = store.call_count
        with file.open("rb") as binary:
            rows = open_rows(binary, name=file.name)
            plan = make_plan(rows, ColumnMapping(columns={}), import_unknown=False)
            source = LogSource(file=rows, plan=plan)
            async with Refused(store.url, username=store.username, api_key=store.api_key) as neto:
                stopper = Stopper(Screen(stderr=True), None, None)
                code = await import_flow._send(neto, source, None, options, stopper)

    said = json.loads(capsys.readouterr().out)
    assert (4, calls) == (code, store.call_count)
    assert ("the store refused to give customers", 4) == (said["error"], said["exit_code"])


def test_what_no_flow_has_caught_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """An error of ours shows no traceback, whichever part of the command it ends."""

    def fails(**_: Any) -> None:
        raise JournalError("the journal can't be written")

    monkeypatch.setattr(commands.neto_async, "main", fails)
    with pytest.raises(SystemExit) as ended:
        commands.run()
    assert (4, "neto-async: the journal can't be written\n") == (ended.value.code, capsys.readouterr().err)


async def test_a_marker_settles_without_a_guarantee(run: Any, file: Path) -> None:
    """The plan says what staff will see; by the markers the rows are found."""
    async with NetoSandbox(customers=CUSTOMERS) as store:
        store.faults.next(None, faults.Reset(saves=True))
        sent = await run("import", str(file), "--marker", " [#{}]", store=store)
        other = await run("settle", str(file), "--marker", " ({})", *AT_ONCE, store=store)
        settled = await run("settle", str(file), *AT_ONCE, store=store)
        status = await run("status", str(next(file.parent.glob("*.journal"))))
        refused = await run("import", str(file), "--marker", "{}", "--no-journal", store=store)
        wrong = await run("import", str(file), "--marker", "#", store=store)
        settling = await run("import", str(file), "--in-doubt", "settle", "--no-journal", store=store)

    assert 'each note ends in " [#{}]", a token in the place of {}; staff see it' in sent.out
    assert (1, True) == (other.code, 'were sent with the marker " [#{}]"' in other.err)
    assert 'Marker   " [#{}]"\n' in settled.out
    assert "3  added" in settled.out
    assert 'Marker   " [#{}]" ends each note\n' in status.out
    assert (1, 1) == (refused.code, wrong.code)
    assert "a --marker needs a journal" in refused.err
    assert (1, True) == (settling.code, "--in-doubt settle needs a journal" in settling.err)
    assert "one {} for its token" in wrong.err


async def test_a_log_that_a_person_saw_is_looked_up(run: Any, file: Path) -> None:
    """One that the row's customer does not have is refused; where that can't be read, the text says so."""
    with file.open("a", encoding="utf-8") as more:
        more.write("carol,note of carol,Completed\nbob,another,Completed\n")
    async with NetoSandbox(customers=CUSTOMERS) as store:
        await in_doubt(run, store, file, saved=True)
        settle = ("settle", str(file))
        calls = store.call_count
        early = await run(*settle, "--found", "2=1001", store=store)
        older = await run(*settle, "--found", "2=4", store=store)
        twice = await run(*settle, "--found", "2=1002", "--found", "4=1002", store=store)
        untouched = store.call_count
        other = await run(*settle, "--found", "2=1003", store=store)
        none = await run(*settle, "--found", "2=471100", store=store)
        right = await run(*settle, *("--found", "2=1002", "--found", "4=1004"), store=store)
        unread = await run(*settle, *("--found", "5=1005", "--found", "6=1006"), store=store)
        status = await run("status", str(file), "--json", store=store)

    assert [1] * 5 == [ran.code for ran in (early, older, twice, other, none)]
    assert calls == untouched
    assert "log 1001 belongs to another row; nothing was noted" in early.err
    assert "log 4 can't be row 2: the store had given ids up to 1001 before that row was sent" in older.err
    assert "one log was found for several rows; nothing was noted" in twice.err
    assert "log 1003 can't be row 2 (line 3): the store has 3 logs of the row's customer, and not this one" in other.err
    assert "log 471100 can't be row 2" in none.err
    assert (3, True) == (right.code, "Noted: 2 found, 0 absent." in right.out)
    assert unread.out.splitlines()[:2] == [
        f"Log {1000 + row} is taken to be row {row} (line {row + 1}) as you say; it can't be read back: {why}."
        for row, why in ((5, "the row has no user name"), (6, "the store has no customer with this user name"))
    ]
    assert (5, 2) == (status.summary["added"], status.summary["in_doubt"])


@pytest.mark.parametrize("marker", [pytest.param((), marks=pytest.mark.thorough), ("--marker", " [#{}]")])
async def test_a_row_that_may_be_there_is_not_taken_as_absent(run: Any, file: Path, marker: tuple[str, ...]) -> None:
    """A log with its text that is no other row's is named: either `--found` takes it, or `--sure` says it isn't."""
    with file.open("a", encoding="utf-8") as more:
        more.write("bob,note 3,Completed\n")
    settle = ("settle", str(file), *marker)
    async with NetoSandbox(customers=CUSTOMERS) as store:
        store.faults.next(None, faults.Reset(saves=True))
        await run("import", str(file), *marker, store=store)
        before = store.log_count
        refused = await run(*settle, "--absent", "2", store=store)
        equal = await run(*settle, "--absent", "4", store=store)
        status = await run("status", str(file), "--json", store=store)
        one = await run(*settle, "--found", "4=1004", "--found", "6=1006", "--absent", "2", "--sure", store=store)
        another = await run(*settle, "--absent", "3", store=store)

    alike = "1004" if marker else "1004, 1006"
    assert (1, 1, 1) == (refused.code, equal.code, another.code)
    assert (
        "row 2 (line 3) may be in the store: its customer has logs with its text that are no other row's: 1002; "
        "nothing was noted. If one is the row, give --found 2=1002; if all are somebody else's, add --sure"
    ) in refused.err
    assert f"no other row's: {alike}; nothing" in equal.err
    assert (6, 5) == (before, status.summary["in_doubt"])
    assert (3, True) == (one.code, "Noted: 2 found, 1 absent." in one.out)


async def test_a_row_that_is_not_there_is_taken_as_absent(run: Any, file: Path) -> None:
    """Logs that are older than its call, of other texts or of other rows are no reason against it."""
    with file.open("a", encoding="utf-8") as more:
        more.write("bob,note 3,Completed\n")
    async with NetoSandbox(customers=CUSTOMERS) as store:
        async with AsyncNetoClient(store.url, username=store.username, api_key=store.api_key) as neto:
            await neto.add_customer_log({"Username": "jsmith", "Notes": "note 2"})
        await in_doubt(run, store, file, saved=False)
        async with AsyncNetoClient(store.url, username=store.username, api_key=store.api_key) as neto:
            await neto.add_customer_log({"Username": "bob", "Notes": "note 3"})
        absent = await run("settle", str(file), "--absent=2", "--absent=3", "--absent=4", "--found=6=1003", store=store)
    assert (3, True) == (absent.code, "Noted: 1 found, 3 absent. In doubt: 1 row." in absent.out)


async def test_a_row_of_a_document_has_no_line(run: Any, tmp_path: Path) -> None:
    """All objects may be in one line, so rows are named by their numbers alone."""
    file = tmp_path / "calls.json"
    file.write_text(json.dumps([{"Notes": f"note {row}"} for row in range(3)]), encoding="utf-8")
    async with NetoSandbox() as store:
        await in_doubt(run, store, file, saved=False)
        absent = await run("settle", str(file), "--absent", "2", store=store)
    assert (
        3,
        ["Row 2 is absent as you say; it can't be read back: the row has no user name.", "  row 2: not in the store"],
    ) == (absent.code, absent.out.splitlines()[:2])


def test_a_wait_of_which_the_end_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    """After a crash nobody noted the end of a call: the wait begins when the journal is opened next."""
    sent = {"Username": "bob", "Notes": "note"}
    call = DoubtfulCall(number=1, began=1, left_at=float("inf"))
    given = DoubtsAndKnown(doubts=(Doubt(row=0, call=1, sent=sent),), calls=(call,))
    outcome = Unknown(index=0, record=CustomerLog(username="bob"), context=None, reason="", evidence=Evidence())
    settings = Settings(store_url="http://127.0.0.1:8765", api_key="key")
    until, at_once = (
        show_doubts(JournalDoubts(given, {0: outcome}), settings, Screen(), settle_after=seconds)
        for seconds in (600.0, 0.0)
    )
    assert ("about ", " UTC", "") == (until[:6], until[-4:], at_once)
    assert 1 == capsys.readouterr().out.count(f"Wait     until {until}, when no call")


def test_a_hint_at_the_marker() -> None:
    """Where known logs came back with other texts, and neither user nor journal says that their notes have a marker."""
    given = ((None, False), (None, True), (" {}", False))
    hints = [
        settle_flow._hint(Missing.KNOWN_LOGS, evolve(OPTIONS, marker=marker, marker_noted=noted))
        for marker, noted in given
    ]
    assert [" If the file was imported with a --marker, give the same.", "", ""] == hints


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--found", "2"], "write ROW=LOGID"),
        (["--found", "0=3"], "write ROW=LOGID"),
        (["--found", "2=3", "--found", "2=4"], "row 2 is given twice"),
        (["--absent", "0"], "--absent"),
        (["--found", "2=1002", "--absent", "2"], "row 2 is both --found and --absent"),
        (["--absent", "1"], "row 1 is not in doubt; nothing was noted"),
        (["--found", "2=1001"], "log 1001 belongs to another row; nothing was noted"),
        (["--journal", "other.journal"], "there is no journal other.journal"),
    ],
)
async def test_what_cannot_be_noted(run: Any, file: Path, words: list[str], says: str) -> None:
    """A wrong row, an id of another, no journal: exit code 1, a sentence, and nothing changed."""
    async with NetoSandbox(customers=CUSTOMERS) as store:
        await in_doubt(run, store, file, saved=True)
        ran = await run("settle", str(file), *words, store=store)
        status = await run("status", str(next(file.parent.glob("*.journal"))))

    assert 1 == ran.code
    assert says in ran.err
    assert "1 added, 4 in doubt" in status.out


async def test_standard_input_needs_its_journal_named(run: Any, tmp_path: Path) -> None:
    """A pipe has no journal beside it."""
    async with NetoSandbox() as store:
        ran = await run("settle", "-", stdin=b"Notes\nx\n", store=store)
    assert (1, True) == (ran.code, "give the --journal" in ran.err)


async def test_another_store_is_refused(run: Any, file: Path) -> None:
    """The journal of one store says nothing of another."""
    async with NetoSandbox(customers=CUSTOMERS) as store, NetoSandbox() as other:
        await in_doubt(run, store, file, saved=True)
        (journal,) = file.parent.glob("*.journal")
        ran = await run("settle", str(file), "--journal", str(journal), store=other)
        calls = other.call_count
    assert (1, 0) == (ran.code, calls)
    assert "the journal is of an import into" in ran.err


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_store_that_refuses_to_be_read(run: Any, file: Path, *, as_json: bool) -> None:
    """It stops with the cause; nothing is noted, and a later try may go on."""
    async with NetoSandbox(customers=CUSTOMERS) as store:
        await in_doubt(run, store, file, saved=True)
        store.faults.next(faults.Refuse("CANARY"))
        ran = await run("settle", str(file), *AT_ONCE, *(["--json"] if as_json else []), store=store)

    assert 4 == ran.code
    assert "the store refused to give customers" in (ran.summary["error"] if as_json else ran.out)
    assert "CANARY" not in ran.out + ran.err


async def test_a_file_that_changed_is_refused(run: Any, file: Path) -> None:
    """What is in doubt is another row now."""
    async with NetoSandbox(customers=CUSTOMERS) as store:
        await in_doubt(run, store, file, saved=True)
        change(file)
        ran = await run("settle", str(file), store=store)
    assert (1, True) == (ran.code, "row 3 (line 4) may have been added by an earlier run" in ran.err)


def change(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace("note 2", "note 2!"), encoding="utf-8")


async def test_ctrl_c_ends_the_waiting(run: Any, file: Path, output: Any) -> None:
    """Until no call can be saved any more it waits, says until when, and can be stopped."""
    async with NetoSandbox(customers=CUSTOMERS) as store:
        await in_doubt(run, store, file, saved=True)
        calls = store.call_count
        await run.start("settle", str(file), out=output.name, store=store)
        await output.until("Wait     until ")
        run.until_waiting()
        os.kill(run.process, signal.SIGINT)
        ran = await run.ended()

    assert (4, calls) == (ran.code, store.call_count)
    await output.until("Stopped. What was proven by then is noted")


def leave_out_the_last(file: Path) -> None:
    file.write_text("\n".join(file.read_text("utf-8").splitlines()[:5]), "utf-8")


async def test_nothing_left_in_doubt(run: Any, file: Path) -> None:
    """All rows have a customer: the exit code says that no doubt is left, and nobody has to look anything up."""
    leave_out_the_last(file)
    async with NetoSandbox(customers=CUSTOMERS) as store:
        await in_doubt(run, store, file, saved=False)
        settled = await run("settle", str(file), *AT_ONCE, store=store)
    assert (0, False) == (settled.code, "Look these up" in settled.out)


class Stub:
    """A client that settles as it is said to."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault

    async def reconcile(self, *, on_progress: Any = None, **_: Any) -> ReconcileReport:
        if self.fault is not None:
            raise self.fault
        for looked_at in (1, 10, 11, 20) if on_progress is not None else ():
            on_progress(looked_at, 100)
        return ReconcileReport(())


OPTIONS = settle_flow.SettleOptions(
    journal=None,
    found={},
    absent=frozenset(),
    sure=False,
    sole_writer=False,
    marker=None,
    settle_after=0,
    report=None,
    as_json=False,
)


async def test_progress_is_shown_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    """Not for each call."""
    assert 0 == await settle_flow._read_back(Stub(), None, OPTIONS, Screen())  # type: ignore[arg-type]
    shown = [line for line in capsys.readouterr().out.splitlines() if line.endswith("of 100 rows")]
    assert ["10 of 100 rows", "20 of 100 rows"] == shown


async def test_a_journal_that_was_taken_meanwhile_is_wrong_use() -> None:
    """Between the plan and the reading another run began: nothing was read, and the command says so."""
    with pytest.raises(JournalInUseError):
        await settle_flow._read_back(Stub(JournalInUseError("in use")), None, OPTIONS, Screen())  # type: ignore[arg-type]


async def test_what_settling_before_an_import_came_to_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there are doubts; otherwise nothing is read and said, and of a settling that was stopped no end is."""
    summary = JournalSummary(
        identity="x",
        store="",
        created_at=datetime(2026, 11, 5, tzinfo=timezone.utc),
        runs=1,
        added=0,
        rejected=0,
        in_doubt=3,
        rows=3,
        remaining=0,
    )
    options = import_flow.ImportOptions(journal=Path("x"), earlier=summary)
    stopper = Stopper(Screen(), None, None)
    await import_flow._settle(Stub(), None, options, stopper)  # type: ignore[arg-type]
    assert "Settled: 0 are in the store, 0 are not, 0 are still in doubt." in capsys.readouterr().out
    await import_flow._settle(Stub(), None, evolve(options, earlier=None), stopper)  # type: ignore[arg-type]
    assert "" == capsys.readouterr().out
    stopper._hear(signal.SIGTERM)
    await import_flow._settle(Stub(), None, options, stopper)  # type: ignore[arg-type]
    assert "Settled" not in capsys.readouterr().out


async def test_what_was_asked_to_stop_before_it_began_ends_at_once() -> None:
    """A request to stop ends what goes before the run; a cancelled program is no such request."""
    stopper = Stopper(Screen(), None, None)
    waiting = asyncio.ensure_future(stopper.before_the_run(asyncio.sleep(60)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    stopper._hear(signal.SIGTERM)
    assert None is await stopper.before_the_run(asyncio.sleep(60))
