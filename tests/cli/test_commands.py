"""The command, run as a person runs it: in a process of its own, against a store on loopback."""

from __future__ import annotations

import asyncio
import csv
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from neto_async import NotSent
from neto_async.cli import watching
from neto_async.outcomes import NotSentCause
from neto_async.sandbox import NetoSandbox, faults

HEADER = "Username,Status,Notes\n"


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A file of three logs."""
    file = tmp_path / "calls.csv"
    file.write_text(f'{HEADER}ann,Completed,"one, two"\nbob,recontacting,"a\nb"\ncy,,fine\n', encoding="utf-8")
    return file


def rewrite(file: Path, before: str, after: str) -> None:
    """Change a file in place."""
    file.write_text(file.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")


def make_unreadable(file: Path) -> None:
    """Take all rights from a file."""
    file.chmod(0)


async def test_demo(run: Any) -> None:
    """The demo adds every log of its sample, and exits with 0."""
    ran = await run("demo")

    assert (0, "") == (ran.code, ran.err)
    assert "240  added" in ran.out


@pytest.mark.thorough
async def test_a_store_on_this_machine_is_reached_past_a_proxy(run: Any, calls: Path) -> None:
    """With a company's proxy in the environment, neither the demo nor an import into a sandbox goes through it."""
    asked = []
    proxy = await asyncio.start_server(lambda _, writer: (asked.append(1), writer.close()), "127.0.0.1", 0)
    address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    async with proxy:
        demo = await run("demo", **dict.fromkeys(names, address))
        sent = await run("import", str(calls), "--sandbox", "--json", **dict.fromkeys(names, address))

    assert (0, 0, 3, []) == (demo.code, sent.code, sent.summary["added"], asked)


@pytest.mark.parametrize("wire_format", ["json", "xml"])
async def test_import(run: Any, store: NetoSandbox, calls: Path, wire_format: str) -> None:
    """Every row arrives to the character, in either format, and the summary counts it."""
    ran = await run("import", str(calls), "--format", wire_format, "--json", store=store)

    assert (0, 3, 0) == (ran.code, ran.summary["added"], ran.summary["unknown"])
    assert [("ann", "Completed", "one, two"), ("bob", "Recontacting", "a\nb"), ("cy", None, "fine")] == [
        (log.username, log.status, log.notes) for log in store.logs
    ]


ENCODINGS = [("utf-8", ","), ("utf-8-sig", ";"), ("cp1252", ";"), ("utf-16", "\t")]


@pytest.mark.parametrize(("encoding", "delimiter"), ENCODINGS)
async def test_encodings(run: Any, store: NetoSandbox, tmp_path: Path, encoding: str, delimiter: str) -> None:
    """Files in the encodings that people have arrive to the character."""
    file = tmp_path / "calls.csv"
    file.write_text(f"Username{delimiter}Notes\nzoë{delimiter}café \u2013 5 €\n", encoding=encoding)

    given = ["--encoding", encoding] if encoding == "cp1252" else []
    ran = await run("import", str(file), *given, store=store)

    assert (0, [("zoë", "café \u2013 5 €")]) == (ran.code, [(log.username, log.notes) for log in store.logs])


async def test_a_doubt_stops_an_unattended_command(run: Any, store: NetoSandbox, tmp_path: Path) -> None:
    """What is most likely wrong is not sent unattended; the option that the text names answers it."""
    file = tmp_path / "calls.csv"
    file.write_text("Username,Notes\nNULL,a\n", encoding="utf-8")

    dry = await run("import", str(file), "--dry-run", store=store)
    stopped = await run("import", str(file), store=store)
    answered = await run("import", str(file), "--empty", "NULL", store=store)

    assert (1, 1, 0) == (dry.code, stopped.code, answered.code)
    assert "--empty 'NULL'" in stopped.err
    assert dry.out.splitlines()[-1].startswith("The import would be refused: an unattended import")
    assert [(None, "a")] == [(log.username, log.notes) for log in store.logs]


async def test_standard_input(run: Any, store: NetoSandbox) -> None:
    """A file can come through standard input, as JSON Lines too; a bad line is invalid and the rest goes on."""
    lines = b'{"Notes": "a"}\n{"Notes": \n{"Notes": "b"}\n'

    ran = await run("import", "-", "--input-format", "jsonl", "--json", store=store, stdin=lines)

    assert (2, 2, 1) == (ran.code, ran.summary["added"], ran.summary["invalid"])
    assert ["a", "b"] == [log.notes for log in store.logs]


async def test_dry_run_sends_nothing(run: Any, store: NetoSandbox, tmp_path: Path) -> None:
    """A dry run names the line of every invalid row, and makes no call."""
    file = tmp_path / "calls.csv"
    file.write_text(f"{HEADER}ann,Done,x\nbob,Completed,fine\n{'c' * 26},,secret\nragged,row\n", encoding="utf-8")

    ran = await run("import", str(file), "--dry-run", store=store)

    assert (2, 0) == (ran.code, len(store.calls))
    assert [True, False, True, True] == [f"line {line}" in ran.out for line in (2, 3, 4, 5)]
    assert "secret" not in ran.out


async def test_the_json_output_has_what_the_plan_says(run: Any, store: NetoSandbox, tmp_path: Path) -> None:
    """Notices and doubts of the plan are in the JSON object, of a dry run and of an import, without a cell's text."""
    file = tmp_path / "calls.csv"
    file.write_text("Username,Notes\nann,<p>secret</p>\nbob,NULL\n", encoding="utf-8")

    dry = await run("import", str(file), "--dry-run", "--json", store=store)
    sent = await run("import", str(file), "--json", "--empty", "NULL", store=store)

    (doubt,) = dry.summary["doubts"]
    assert (1, 1, 0) == (dry.code, dry.summary["exit_code"], sent.code)
    assert "cells with the word NULL: 1 cell (first: line 3); give --empty 'NULL'" in doubt
    assert ([], dry.summary["notices"]) == (sent.summary["doubts"], sent.summary["notices"])
    assert ["Encoding: UTF-8, as all of it is valid", "HTML in cells"] == [
        sent.summary["notices"][0],
        sent.summary["notices"][1][:13],
    ]
    assert "secret" not in dry.out + sent.out


CHANGED = [
    (["ann,,x", "bob,,y"], 0, "2 added"),
    (["ann,,x", "bob,,y", "cyd,,z"], 0, "2 added"),
    (["bob,,y"], 1, "row 1 (line 2) was added by an earlier run, and is different now. Most likely rows were sorted"),
    (["ann,,x", "bob,Completed,y"], 1, "row 2 (line 3) was added by an earlier run"),
    (["ann,,x"], 1, "the source has 1 records now, and record 2 was added by an earlier run"),
]


@pytest.mark.parametrize(("rows", "code", "says"), CHANGED)
async def test_dry_run_of_a_file_that_a_journal_knows(  # noqa: PLR0917
    run: Any, store: NetoSandbox, tmp_path: Path, rows: list[str], code: int, says: str
) -> None:
    """A dry run says what the run would say: that it goes on, or why it refuses to. The journal stays as it was."""
    file = tmp_path / "calls.csv"
    file.write_text(f"{HEADER}ann,,x\nbob,,y\n", encoding="utf-8")
    journal = tmp_path / "it.journal"
    command = ("import", str(file), "--journal", str(journal))
    await run(*command, store=store)
    before = journal.read_bytes()
    file.write_text("\n".join([HEADER.strip(), *rows, ""]), encoding="utf-8")

    looked = await run(*command, "--dry-run", store=store)

    assert (code, 2, before) == (looked.code, len(store.calls), journal.read_bytes())
    assert says in looked.out + looked.err
    ran = await run(*command, store=store)
    assert code == ran.code


def contents(folder: Path, file: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (*folder.iterdir(), file)}


async def test_a_file_that_is_refused_leaves_all_as_it_was(run: Any, store: NetoSandbox, tmp_path: Path) -> None:
    """Where the journal knows another file, nothing is shown, the reports of before stay, and no run is counted."""
    file, report, journal = (tmp_path / name for name in ("calls.csv", "out", "it.journal"))
    command = ("import", str(file), "--journal", str(journal), "--report", str(report))
    file.write_text(f"{HEADER}ann,Nonsense,a\nann,,b\nann,,c\n", encoding="utf-8")
    await run(*command, store=store)
    before = contents(report, journal)
    file.write_text(f"{HEADER}ann,,b\nann,,c\n", encoding="utf-8")

    ran = await run(*command, store=store)

    assert (1, "", 2) == (ran.code, ran.out, store.log_count)
    assert "row 2 (line 3) was added by an earlier run" in ran.err
    assert before == contents(report, journal)


async def test_what_a_plan_shows_on_going_on(run: Any, store: NetoSandbox, tmp_path: Path) -> None:
    """Rows that were added are not said to be about to be sent; where none is left, none is shown."""
    file = tmp_path / "calls.csv"
    command = ("import", str(file), "--journal", str(tmp_path / "it.journal"))
    file.write_text(f"{HEADER}ann,,first\n", encoding="utf-8")
    shown = [(await run(*command, "--dry-run", store=store)).out]
    await run(*command, store=store)
    shown.append((await run(*command, "--dry-run", store=store)).out)
    with file.open("a", encoding="utf-8") as end:
        end.write("ann,,second\n")
    shown.append((await run(*command, "--dry-run", store=store)).out)

    assert [True, False, False] == ["Log 1 as it will be sent:" in out for out in shown]
    assert [True, False, True] == ["first" in out for out in shown]
    assert "Log 1 of the file as it is sent:" in shown[2]


async def test_texts_in_a_log(run: Any, store: NetoSandbox, tmp_path: Path) -> None:
    """Where nobody sits before a terminal, no customer's text is written, unless it was asked for."""
    file = tmp_path / "calls.csv"
    file.write_text(f"{HEADER}ann,,secret\n", encoding="utf-8")

    asked = [await run("import", str(file), option, store=store) for option in ("--dry-run", "--sandbox")]
    # Which says that the log takes colours, and not that it is a terminal.
    ran = [await run("import", str(file), store=store, **more) for more in ({}, {"FORCE_COLOR": "1"})]

    assert [0] * 4 == [one.code for one in (*asked, *ran)]
    assert [True, True, False, False] == ["secret" in one.out + one.err for one in (*asked, *ran)]


async def test_foreign_columns_and_words(run: Any, store: NetoSandbox, tmp_path: Path) -> None:
    """Columns and words of another system are mapped; a day stays a day, a time goes out in UTC."""
    file = tmp_path / "export.csv"
    file.write_text(
        "Agent,Stage,When,Due,Long,Short\nSam,Won,2026-01-05 09:30,2026-01-09,,brief\nSam,open,,,long,\n",
        encoding="utf-8",
    )

    ran = await run(
        *("import", str(file), "--timezone", "Australia/Brisbane", "--map", "allocated to=Agent"),
        *("--map", "Notes=Long|Short", "--map", "LastContacted=When", "--map", "DateRequiredFollowUp=Due"),
        *("--map", "Status=Stage", "--map-value", "Status=Open=Require Recontact", "--map-value", "Status=*=Completed"),
        store=store,
    )

    assert 0 == ran.code
    assert [
        ("Sam", "Completed", "2026-01-04 23:30:00", "2026-01-09 00:00:00", "brief"),
        ("Sam", "Require Recontact", None, None, "long"),
    ] == [
        (log.allocated_to, log.status, log.last_contacted, log.date_required_follow_up, log.notes) for log in store.logs
    ]


async def test_a_fixed_report_can_be_imported(run: Any, store: NetoSandbox, tmp_path: Path) -> None:
    """``rejected.csv`` holds what was refused or invalid with its own columns, and imports once it is fixed."""
    store.refuse_when(lambda fields: fields.get("Notes") == "refused")
    file = tmp_path / "calls.csv"
    file.write_text(f"{HEADER}a,,refused\nb,Bad,x\nc,,fine\n", encoding="utf-8")
    report = tmp_path / "report"

    ran = await run("import", str(file), "--report", str(report), store=store)
    rejected = report / "rejected.csv"
    with rejected.open(encoding="utf-8", newline="") as lines:
        rows = sorted(csv.DictReader(lines), key=lambda row: row["neto_line"])
    fixed = rejected.read_text(encoding="utf-8").replace(",,refused,", ",,fixed,").replace(",Bad,", ",Completed,")
    rejected.write_text(fixed, encoding="utf-8")
    again = await run("import", str(rejected), store=store)
    added_again = await run("import", str(report / "added.csv"), store=store)
    other = tmp_path / "other.csv"
    other.write_text(f"{HEADER}d,,other\n", encoding="utf-8")
    in_use = await run("import", str(other), "--report", str(report), store=store)

    assert [("a", "2", "Rejected"), ("b", "3", "Invalid")] == [
        (row["Username"], row["neto_line"], row["neto_outcome"]) for row in rows
    ]
    assert 0o600 == stat.S_IMODE(rejected.stat().st_mode)
    assert (2, 0, 1, 1) == (ran.code, again.code, added_again.code, in_use.code)
    assert {"fine", "fixed", "x"} == {log.notes for log in store.logs}


async def test_records_in_doubt(run: Any, store: NetoSandbox, tmp_path: Path) -> None:
    """A row in doubt makes the exit code 3, and its report is not imported by mistake."""
    store.faults.always(faults.Reset(saves=True))
    file = tmp_path / "calls.csv"
    file.write_text(f"{HEADER}a,,x\n", encoding="utf-8")
    report = tmp_path / "report"

    ran = await run("import", str(file), "--report", str(report), store=store)
    by_mistake = await run("import", str(report / "unknown.csv"), store=store)

    assert (3, 1) == (ran.code, by_mistake.code)
    assert "--import-unknown" in by_mistake.err
    assert 1 == len(store.logs)


async def test_why_rows_are_in_doubt(run: Any, store: NetoSandbox, calls: Path) -> None:
    """The summary says what was wrong with the answers: a wrong address shows itself by a web page."""
    store.faults.always(faults.HtmlPage())

    ran = await run("import", str(calls), "--batch-size", "1", store=store)

    assert 3 == ran.code
    assert "\nIn doubt: the answer looks like a web page; is the store's address right?\n" in ran.out


@pytest.mark.parametrize(
    ("cause", "says"),
    [
        (
            NotSentCause.KEY_REFUSED,
            "the store refused the API key: check NETO_API_KEY and NETO_USERNAME, or an add-on's NETO_SECRET_KEY",
        ),
        (NotSentCause.GAVE_UP, "the store could not be reached, however often it was tried"),
        (NotSentCause.IN_DOUBT, "what was wrong with the answers"),
        (NotSentCause.WRONG_ADDRESS, "what was wrong with the answers"),
        (NotSentCause.REFUSED_WHOLE, NotSentCause.REFUSED_WHOLE),
    ],
)
def test_why_rows_were_not_sent(cause: NotSentCause, says: str) -> None:
    """In a person's words, and what was wrong with answers where those are ours; Neto's own stay in the reports."""
    outcome = NotSent(index=0, record=None, cause=cause, reason="what was wrong with the answers")
    assert says == watching._why(outcome)


async def test_refused_key(run: Any, store: NetoSandbox, calls: Path) -> None:
    """A refused key leaves every row not sent, and is printed nowhere."""
    ran = await run("import", str(calls), "--json", store=store, NETO_API_KEY="CANARY-key")

    assert (4, 3, 0) == (ran.code, ran.summary["not_sent"], len(store.logs))
    assert "CANARY" not in ran.out + ran.err


async def test_the_keys_of_an_add_on(run: Any, store: NetoSandbox, calls: Path) -> None:
    """An add-on's keys in the environment replace user name and key; a key of another kind beside them is refused."""
    store.credentials.access_key, store.credentials.secret_key = "a", "CANARY-key"
    keys = {"NETO_USERNAME": "", "NETO_ACCESS_KEY": "a", "NETO_SECRET_KEY": "CANARY-key"}

    ran = await run("import", str(calls), "--json", store=store, NETO_API_KEY="", **keys)
    both = await run("import", str(calls), "--json", store=store, NETO_API_KEY="CANARY", **keys)

    assert (0, 3, 3) == (ran.code, ran.summary["added"], len(store.logs))
    assert 1 == both.code
    assert "set either NETO_API_KEY, or NETO_ACCESS_KEY and NETO_SECRET_KEY" in both.err
    assert "CANARY" not in ran.out + ran.err + both.out + both.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["missing.csv"], "missing.csv"),
        (["calls.csv", "--map", "Notes=Nowhere"], "Nowhere"),
        (["calls.csv", "--map", "Nothing=Notes"], "Nothing"),
        (["calls.csv", "--timezone", "Brisbane"], "Australia/Brisbane"),
        (["calls.csv", "--no-such-option"], "--no-such-option"),
        (["calls.csv"], "NETO_STORE_URL"),
        (["other.csv"], "AllocatedTo"),
        (["book.xlsx"], "Excel"),
    ],
)
async def test_wrong_use(run: Any, calls: Path, words: list[str], says: str) -> None:
    """Wrong use exits with 1 and says what to do."""
    (calls.parent / "other.csv").write_text("A,B\n1,2\n", encoding="utf-8")
    (calls.parent / "book.xlsx").write_bytes(b"PK")

    ran = await run("import", str(calls.parent / words[0]), *words[1:])

    assert (1, "") == (ran.code, ran.out)
    assert says in ran.err
    assert "Traceback" not in ran.err


async def test_a_finished_import_sends_nothing_again(run: Any, store: NetoSandbox, calls: Path) -> None:
    """A second run of a finished file says what the first added, sends nothing and ends as the first."""
    first = await run("import", str(calls), store=store)
    second = await run("import", str(calls), store=store)
    summary = (await run("import", str(calls), "--json", store=store)).summary

    assert (0, 0, 3) == (first.code, second.code, len(store.logs))
    assert "3 were sent by an earlier run and not sent again. This run sent nothing.\n" in second.out
    assert (3, 3, 0) == (summary["added"], summary["replayed"], summary["calls"])


async def test_rows_in_doubt_are_held(run: Any, store: NetoSandbox, calls: Path) -> None:
    """What an earlier run left in doubt is not sent unless asked for; fixed and new rows are."""
    store.faults.next(faults.Reset(saves=True))
    report = calls.parent / "report"

    doubtful = await run("import", str(calls), "--batch-size", "1", "--report", str(report), store=store)
    held = await run("import", str(calls), "--report", str(report), store=store)
    with (report / "unknown.csv").open(encoding="utf-8", newline="") as lines:
        unknown = [row["neto_row"] for row in csv.DictReader(lines)]
    resent = await run("import", str(calls), "--in-doubt", "resend", store=store)

    assert (3, 3, 0) == (doubtful.code, held.code, resent.code)
    assert [True, True, False] == ["neto-async settle" in ran.out for ran in (doubtful, held, resent)]
    assert ["1"] == unknown
    assert ["ann", "ann", "bob", "cy"] == sorted(str(log.username) for log in store.logs)


async def test_reasons_outlive_the_run(run: Any, store: NetoSandbox, calls: Path) -> None:
    """A row that stays refused keeps Neto's words in its report, though the journal holds no texts."""
    store.refuse_when(lambda fields: fields.get("Notes") == "fine")
    report = calls.parent / "report"

    await run("import", str(calls), "--report", str(report), store=store)
    before = (report / "rejected.csv").read_text(encoding="utf-8")
    again = await run("import", str(calls), "--report", str(report), store=store)

    assert 2 == again.code
    assert before == (report / "rejected.csv").read_text(encoding="utf-8")
    assert "Rejected" in before
    assert {"added.csv", "not_sent.csv", "rejected.csv", "unknown.csv", ".journal", ".written"} == {
        file.name for file in report.iterdir()
    }


async def test_a_renamed_report_is_named(run: Any, store: NetoSandbox, calls: Path) -> None:
    """The report that a person had edited keeps its text under another name, and the summary gives that name."""
    report = calls.parent / "report"
    await run("import", str(calls), "--report", str(report), store=store)
    (report / "rejected.csv").write_text("edited by hand\n", encoding="utf-8")

    again = await run("import", str(calls), "--report", str(report), store=store)

    assert "edited by hand\n" == (report / "rejected-edited-1.csv").read_text(encoding="utf-8")
    assert "The report that you had edited was renamed to rejected-edited-1.csv." in again.out


async def test_refused_rows_go_again_when_fixed_or_asked_for(run: Any, store: NetoSandbox, calls: Path) -> None:
    """A refused row is sent again once it has changed, or where the user wants it."""
    store.refuse_when(lambda fields: fields.get("Notes") == "fine")
    await run("import", str(calls), store=store)
    asked = await run("import", str(calls), "--retry-rejected", "--json", store=store)
    rewrite(calls, "fine", "fixed")
    fixed = await run("import", str(calls), "--json", store=store)

    assert (2, 1) == (asked.code, asked.summary["calls"])
    assert (0, 1, 2) == (fixed.code, fixed.summary["calls"], fixed.summary["replayed"])


async def test_another_source_or_store_is_refused(run: Any, store: NetoSandbox, calls: Path) -> None:
    """A file whose added rows have changed, and another store, are refused before anything is sent."""
    journal = str(calls.parent / "it.journal")
    await run("import", str(calls), "--journal", journal, store=store)
    rewrite(calls, "fine\n", "other\ndee,,new\n")

    changed = await run("import", str(calls), "--journal", journal, store=store)
    async with NetoSandbox(requests_per_minute=None) as other:
        elsewhere = await run("import", str(calls), "--journal", journal, store=other)
        assert [] == list(other.logs)

    assert (1, 1) == (changed.code, elsewhere.code)
    assert "row 3 (line 5) was added by an earlier run" in changed.err
    assert "journal of an import into" in elsewhere.err
    assert 3 == len(store.logs)


async def test_status(run: Any, store: NetoSandbox, calls: Path) -> None:
    """``status`` says what a journal remembers, to people and programs; what is none is refused."""
    journal = calls.parent / "it.journal"
    await run("import", str(calls), "--journal", str(journal), store=store)

    shown = await run("status", str(journal))
    reported = await run("status", str(journal), "--json")
    wrong = await run("status", str(Path(__file__)))

    assert (0, 0, 1) == (shown.code, reported.code, wrong.code)
    assert "3 added" in shown.out
    assert (3, 3, 0) == (reported.summary["added"], reported.summary["rows"], reported.summary["in_doubt"])
    assert "no import of test_commands.py has kept a journal beside it\n" in wrong.err


async def test_status_of_a_file(run: Any, store: NetoSandbox, calls: Path) -> None:
    """It finds the journal that `import` would go on with; without a store in the environment, the only one there."""
    await run("import", str(calls), store=store)
    (journal,) = calls.parent.glob("*.journal")
    shown = await run("status", str(calls), store=store)
    alone = await run("status", str(calls), "--json")
    elsewhere = await run("status", str(calls), NETO_STORE_URL="https://other.example.com")
    calls.with_name("calls.csv.other.journal").write_bytes(journal.read_bytes())
    several = await run("status", str(calls))
    gone = await run("status", str(calls.with_name("gone.csv")))
    make_unreadable(calls)
    closed = await run("status", str(calls), bound_by_modes=True)

    assert (0, f"Journal  {journal}\n") == (shown.code, shown.out.splitlines(keepends=True)[0])
    assert (0, 3) == (alone.code, alone.summary["added"])
    assert [1] * 4 == [ran.code for ran in (elsewhere, several, gone, closed)]
    assert "beside it (looked for calls.csv.other.example.com.journal)" in elsewhere.err
    assert f"{journal.name}, calls.csv.other.journal; name one" in several.err
    assert "there is no journal gone.csv" in gone.err
    assert "the journal calls.csv can't be used: unable to open database file" in closed.err


async def test_no_journal(run: Any, store: NetoSandbox, calls: Path) -> None:
    """Without a journal nothing is remembered, and the summary says so."""
    ran = await run("import", str(calls), "--no-journal", store=store)
    both = await run("import", str(calls), "--no-journal", "--journal", "x", store=store)

    assert (0, 1) == (ran.code, both.code)
    assert "importing the file again adds every row again" in ran.out
    assert ["calls.csv"] == [file.name for file in calls.parent.iterdir()]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
async def test_interrupted(run: Any, store: NetoSandbox, tmp_path: Path, how: signal.Signals) -> None:
    """Broken off in the middle, the next run sends what is left, and each row is in the store once or in doubt."""
    file = tmp_path / "calls.csv"
    file.write_text(HEADER + "".join(f"u{row},,note {row}\n" for row in range(60)), encoding="utf-8")
    release = asyncio.Event()
    store.faults.next(None, None, None, None, faults.Late(until=release))
    words = ("import", str(file), "--batch-size", "2", "--max-concurrency", "1", "--requests-per-minute", "none")
    await run.start(*words, store=store)
    await store.until(lambda: store.log_count == 9)
    os.kill(run.process, how)
    if how is signal.SIGKILL:
        assert -how == (await run.ended()).code
    release.set()
    if how is not signal.SIGKILL:
        ran = await run.ended()
        assert 4 == ran.code
        assert "To go on with what is left" in ran.out

    again = await run(*words, "--json", store=store)

    assert (3 if how is signal.SIGKILL else 0) == again.code
    notes = [log.notes for log in store.logs]
    assert len(notes) == len(set(notes))
    assert 60 == again.summary["added"] + again.summary["unknown"]
    assert again.summary["added"] <= len(notes)


async def test_a_kept_mapping(run: Any, store: NetoSandbox, tmp_path: Path) -> None:
    """A mapping in a TOML file replaces the options, and an option beside it overrides it."""
    file = tmp_path / "calls.csv"
    file.write_text("Text;Other;Stage\na;b;Open\n", encoding="utf-8")
    kept = tmp_path / "crm.toml"
    kept.write_text(
        '[columns]\nNotes = "Text"\nStatus = "Stage"\n[words.Status]\nOpen = "Completed"\n[file]\ndelimiter = ";"\n',
        encoding="utf-8",
    )

    as_kept = await run("import", str(file), "--mapping", str(kept), "--no-journal", store=store)
    stronger = await run(
        *("import", str(file), "--mapping", str(kept), "--map", "Notes=Other", "--no-journal"), store=store
    )

    assert (0, 0) == (as_kept.code, stronger.code), as_kept.err + stronger.err
    assert [("a", "Completed"), ("b", "Completed")] == [(log.notes, log.status) for log in store.logs]
