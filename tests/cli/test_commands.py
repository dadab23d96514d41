"""The command, run as a person runs it: in a process of its own, against a store on loopback."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from neto_async.sandbox import NetoSandbox, faults

PROGRAM = "import sys; sys.argv[0] = 'neto-async'; from neto_async.cli import main; main()"
HEADER = "Username,Status,Notes\n"


@frozen
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        """The object on standard output."""
        return json.loads(self.out)


async def run(*words: str, store: NetoSandbox | None = None, stdin: bytes = b"", **environment: str) -> Ran:
    given = {name: value for name, value in os.environ.items() if not name.startswith("NETO_")}
    if store is not None:
        given |= {"NETO_STORE_URL": store.url, "NETO_USERNAME": store.username or "", "NETO_API_KEY": store.api_key}
    given |= environment
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, *words), env=given, stdin=-1, stdout=-1, stderr=-1
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A file of three logs."""
    file = tmp_path / "calls.csv"
    file.write_text(f'{HEADER}ann,Completed,"one, two"\nbob,recontacting,"a\nb"\ncy,,fine\n', encoding="utf-8")
    return file


async def test_demo() -> None:
    """The demo adds every log of its sample, and exits with 0."""
    ran = await run("demo")

    assert (0, "") == (ran.code, ran.err)
    assert "240  added" in ran.out


@pytest.mark.parametrize("wire_format", ["json", "xml"])
async def test_import(store: NetoSandbox, calls: Path, wire_format: str) -> None:
    """Every row arrives to the character, in either format, and the summary counts it."""
    ran = await run("import", str(calls), "--format", wire_format, "--json", store=store)

    assert (0, 3, 0) == (ran.code, ran.summary["added"], ran.summary["unknown"])
    assert [("ann", "Completed", "one, two"), ("bob", "Recontacting", "a\nb"), ("cy", None, "fine")] == [
        (log.username, log.status, log.notes) for log in store.logs
    ]


ENCODINGS = [("utf-8", ","), ("utf-8-sig", ";"), ("cp1252", ";"), ("utf-16", "\t")]


@pytest.mark.parametrize(("encoding", "delimiter"), ENCODINGS)
async def test_encodings(store: NetoSandbox, tmp_path: Path, encoding: str, delimiter: str) -> None:
    """Files in the encodings that people have arrive to the character."""
    file = tmp_path / "calls.csv"
    file.write_text(f"Username{delimiter}Notes\nzoë{delimiter}café \u2013 5 €\n", encoding=encoding)

    ran = await run("import", str(file), store=store)

    assert (0, [("zoë", "café \u2013 5 €")]) == (ran.code, [(log.username, log.notes) for log in store.logs])


async def test_standard_input(store: NetoSandbox) -> None:
    """A file can come through standard input, as JSON Lines too; a bad line is invalid and the rest goes on."""
    lines = b'{"Notes": "a"}\n{"Notes": \n{"Notes": "b"}\n'

    ran = await run("import", "-", "--input-format", "jsonl", "--json", store=store, stdin=lines)

    assert (2, 2, 1) == (ran.code, ran.summary["added"], ran.summary["invalid"])
    assert ["a", "b"] == [log.notes for log in store.logs]


async def test_dry_run_sends_nothing(store: NetoSandbox, tmp_path: Path) -> None:
    """A dry run names the line of every invalid row, and makes no call."""
    file = tmp_path / "calls.csv"
    file.write_text(f"{HEADER}ann,Done,x\nbob,Completed,fine\n{'c' * 26},,secret\nragged,row\n", encoding="utf-8")

    ran = await run("import", str(file), "--dry-run", store=store)

    assert (2, 0) == (ran.code, len(store.calls))
    assert [True, False, True, True] == [f"line {line}" in ran.out for line in (2, 3, 4, 5)]
    assert "secret" not in ran.out


async def test_foreign_columns_and_words(store: NetoSandbox, tmp_path: Path) -> None:
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


async def test_reports_can_be_mended(store: NetoSandbox, tmp_path: Path) -> None:
    """``rejected.csv`` holds what was refused or invalid with its own columns, and imports once it is mended."""
    store.refuse_when(lambda fields: fields.get("Notes") == "refused")
    file = tmp_path / "calls.csv"
    file.write_text(f"{HEADER}a,,refused\nb,Bad,x\nc,,fine\n", encoding="utf-8")
    report = tmp_path / "report"

    ran = await run("import", str(file), "--report", str(report), store=store)
    rejected = report / "rejected.csv"
    with rejected.open(encoding="utf-8", newline="") as lines:
        rows = sorted(csv.DictReader(lines), key=lambda row: row["neto_line"])
    mended = rejected.read_text(encoding="utf-8").replace(",,refused,", ",,mended,").replace(",Bad,", ",Completed,")
    rejected.write_text(mended, encoding="utf-8")
    again = await run("import", str(rejected), store=store)
    added_again = await run("import", str(report / "added.csv"), store=store)
    in_use = await run("import", str(file), "--report", str(report), store=store)

    assert [("a", "2", "Rejected"), ("b", "3", "Invalid")] == [
        (row["Username"], row["neto_line"], row["neto_outcome"]) for row in rows
    ]
    assert 0o600 == stat.S_IMODE(rejected.stat().st_mode)
    assert (2, 0, 1, 1) == (ran.code, again.code, added_again.code, in_use.code)
    assert {"fine", "mended", "x"} == {log.notes for log in store.logs}


async def test_records_in_doubt(store: NetoSandbox, tmp_path: Path) -> None:
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


async def test_refused_key(store: NetoSandbox, calls: Path) -> None:
    """A refused key leaves every row not sent, and is printed nowhere."""
    ran = await run("import", str(calls), "--json", store=store, NETO_API_KEY="CANARY-key")

    assert (4, 3, 0) == (ran.code, ran.summary["not_sent"], len(store.logs))
    assert "CANARY" not in ran.out + ran.err


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
        (["book.xlsx"], "CSV UTF-8"),
    ],
)
async def test_wrong_use(calls: Path, words: list[str], says: str) -> None:
    """Wrong use exits with 1 and says what to do."""
    (calls.parent / "other.csv").write_text("A,B\n1,2\n", encoding="utf-8")
    (calls.parent / "book.xlsx").write_bytes(b"PK")

    ran = await run("import", str(calls.parent / words[0]), *words[1:])

    assert (1, "") == (ran.code, ran.out)
    assert says in ran.err
    assert "Traceback" not in ran.err
