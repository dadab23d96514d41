"""What each command answers to options, kinds of journals, warnings and trouble."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neto_async import AsyncNetoClient, CustomerLog, cli
from neto_async.cli import commands, import_flow, sandbox_store
from neto_async.cli.screen import Screen
from neto_async.errors import ConfigurationError
from neto_async.importing import ColumnMapping, LogSource, make_plan, open_rows
from neto_async.journals.protocol import End, Intent, RowState
from neto_async.journals.sqlite import SqliteJournal
from neto_async.sandbox import NetoSandbox, ReplyShape, faults


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of nine logs."""
    made = tmp_path / "calls.csv"
    made.write_text("Notes\n" + "".join(f"note {row}\n" for row in range(9)), encoding="utf-8")
    return made


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the processes of Linux")

# -- options ----------------------------------------------------------------------------------------------------

WRONG = [
    (["--map", "Notes"], 'write Field="…"'),
    (["--map", "Notes="], 'write Field="…"'),
    (["--map-value", "Status=Open"], 'write Field="their word=our word"'),
    (["--map-value", "Status= =Completed"], 'write Field="their word=our word"'),
    (["--requests-per-minute", "many"], 'give a number, or "none" for no limit'),
    (["--requests-per-minute", "0"], "requests_per_minute"),
    (["--batch-size", "0"], "batch_size"),
    (["--date-format", "%Q"], "date"),
    (["--encoding", "zip"], "no encoding has this name"),
    (["--delimiter", ";;"], "a delimiter is one character"),
    (["--sheet", "One"], "only a workbook has sheets"),
    (["--header-row", "0"], "header_row must be a whole number from 1"),
    (["--timezone", "EST"], "did you mean Australia/Sydney"),
    (["--mapping", "missing.toml"], "missing.toml: No such file or directory"),
]


@pytest.mark.parametrize(("words", "says"), WRONG)
async def test_wrong_words(run: Any, store: NetoSandbox, file: Path, words: list[str], says: str) -> None:
    """An option that can't be is refused with what it has to be, before a row is read or shown."""
    ran = await run("import", str(file), *words, store=store)

    assert (1, "", 0) == (ran.code, ran.out, store.call_count)
    assert says in ran.err
    assert "Traceback" not in ran.err


CONTENTS = {
    ".csv": b"Notes\na\n",
    ".tsv": b"Notes\na\n",
    ".jsonl": b'{"Notes": "a"}\n',
    ".ndjson": b'{"Notes": "a"}\n',
    ".json": b'[{"Notes": "a"}]',
}


async def test_the_help_names_what_can_be_read(run: Any) -> None:
    """What ``--help`` says of files is so: each ending that it names is read, packed too where it says so."""
    words = " ".join((await run("import", "--help")).out.split())
    (said,) = re.findall("It reads (.*), all but .xlsx packed with gzip too, or - for standard input", words)

    assert [*CONTENTS, ".xlsx"] == said.split()
    for ending, content in CONTENTS.items():
        for name, stored in ((ending, content), (f"{ending}.gz", gzip.compress(content))):
            assert ["a"] == [row.value("Notes") for row in open_rows(io.BytesIO(stored), name=f"calls{name}")]


async def test_all_commands_have_help(run: Any) -> None:
    """The command without words, and each of its words, says what it does and exits as asked."""
    shown = await run("--help")
    for word in ("import", "status", "demo", "sandbox"):
        assert word in shown.out
        assert (0, "") == ((reported := await run(word, "-h")).code, reported.err)
    assert 0 == (await run("--version")).code
    assert 1 == (await run("nothing")).code


async def test_the_help_of_an_import_is_grouped(run: Any) -> None:
    """Options are under headings, the ten that matter first; ports show their default; an old name is hidden."""
    shown = (await run("import", "--help")).out
    first, _, rest = shown.partition("Reading the file:")
    _, _, main = first.partition("Main options:")

    assert 10 == len(re.findall("^  --", main, re.MULTILINE))
    assert [True] * 3 == [f"{name}:\n" in rest for name in ("Going on after a stop", "Sending", "Help")]
    assert ["--input-format", "--wire-format"] == re.findall(r"^  (--[\w-]*format)", rest, re.MULTILINE)
    assert "  --port INTEGER" in (reported := (await run("sandbox", "--help")).out)
    assert "[default: 0]" in reported


async def test_ctrl_c_while_a_file_comes(run: Any, store: NetoSandbox, output: Any) -> None:
    """Ctrl-C while it waits for its input ends it at once, as wrong use, without a word of Python's."""
    await run.start("import", "-", store=store, stdin=f"/proc/{os.getpid()}/fd/{output.reading}")
    run.until_waiting()
    os.kill(run.process, signal.SIGINT)
    ran = await run.ended()

    assert (1, "", "neto-async: stopped", 0) == (ran.code, ran.out, ran.err.strip(), store.call_count)


def test_ctrl_c_while_the_command_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with a word, and no traceback."""

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupted)
    with pytest.raises(SystemExit, match=r"^neto-async: stopped$"):
        cli.main()


def test_without_what_the_command_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an extra is missing, it is said what to install."""
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(SystemExit, match=r'pip install "neto_async\[cli,sandbox\]"'):
        cli.main()


def test_without_what_the_sandbox_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for the store on this machine, which an import into a real one does not need."""
    monkeypatch.delitem(sys.modules, "neto_async.sandbox")
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ConfigurationError, match=r'pip install "neto_async\[sandbox\]"'):
        sandbox_store.make_sandbox()


def test_the_demo_says_what_is_next(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """It ends as its import did, and names the commands to try next."""
    monkeypatch.setattr(commands, "import_file", lambda *_: 7)
    assert 7 == commands.demo.callback()  # type: ignore[misc]

    shown = capsys.readouterr().out
    assert [True, True] == [
        f"  neto-async {words}\n" in shown for words in ("import FILE --dry-run --sandbox", "sandbox")
    ]


RATES = [
    ("none", "9; the first"),
    ("400", "about 1 s at"),
    ("12", "about 45 s at"),
    ("1", "9 min"),
    ("0.1", "1 h 30 min"),
]


@pytest.mark.parametrize(("rate", "says"), RATES)
async def test_how_long_it_takes(run: Any, store: NetoSandbox, file: Path, rate: str, says: str) -> None:
    """The plan says how many calls there will be, and how long they take at the limit."""
    words = ("--batch-size", "1", "--requests-per-minute", rate, "--dry-run")
    ran = await run("import", str(file), *words, store=store)

    (calls,) = re.findall("^Calls +(9.*)$", ran.out, re.MULTILINE)
    assert says in calls


async def test_many_invalid_rows(run: Any, store: NetoSandbox, file: Path) -> None:
    """Before it sends it names each fault once with its lines, the first five, and says how to see all."""
    with file.open("a", encoding="utf-8") as end:
        end.write("a,b\n" * 3 + f"{'n' * 26}\na,b,c\n" + "a,b\n" * 4 + "fine\na,b\n")
        end.writelines(",".join("a" * cells) + "\n" for cells in range(4, 9))
    ran = await run("import", str(file), store=store)
    looked = await run("import", str(file), "--dry-run", store=store)

    assert (2, 4, 2, 6) == (ran.code, ran.out.count("  line "), looked.code, looked.out.count("  line "))
    assert "  … and 2 other faults; --dry-run lists them all\n" in ran.out
    for shown in (ran.out, looked.out):
        assert re.search(r"^  lines 11-13, 16-19, 21 \(8 rows\): ", shown, re.MULTILINE)


async def test_more_invalid_rows_than_a_plan_keeps(run: Any, store: NetoSandbox, file: Path) -> None:
    """Of very many invalid rows the plan says how many there are, and of how many it shows the faults."""
    with file.open("a", encoding="utf-8") as end:
        end.write("a,b\n" * 1_002)
    looked = await run("import", str(file), "--dry-run", store=store)

    assert "  lines 11-1010 (1,000 rows): " in looked.out
    assert "  These are the faults of the first 1,000 invalid rows of 1,002.\n" in looked.out


# -- the sandbox ------------------------------------------------------------------------------------------------


async def test_a_store_with_a_fault_to_practise(run: Any, output: Any) -> None:
    """The fault that is named happens to the second call; a name that is none is refused with those that are."""
    await run.start("sandbox", "--fault", "answer lost", out=output.name)
    await output.until("Ctrl-C ends it")
    said = dict(re.findall(r"export (\w+)=(\S+)", output.shown))
    async with AsyncNetoClient(
        said["NETO_STORE_URL"], username=said["NETO_USERNAME"], api_key=said["NETO_API_KEY"]
    ) as neto:
        report = await neto.add_customer_logs([{"Notes": str(number)} for number in range(3)])
    os.kill(run.process, signal.SIGINT)
    await run.ended()
    refused = await run("sandbox", "--fault", "rain")

    assert (1, 2) == (len(report.added), len(report.unknown))
    assert (1, True) == (refused.code, 'no fault "rain"; there are answer lost' in refused.err)


async def test_a_store_to_play_with(run: Any, output: Any) -> None:
    """It says where it is and which key it takes, takes a log, and ends at Ctrl-C."""
    await run.start("sandbox", out=output.name)
    await output.until("Ctrl-C ends it")
    said = dict(re.findall(r"export (\w+)=(\S+)", output.shown))
    async with AsyncNetoClient(
        said["NETO_STORE_URL"], username=said["NETO_USERNAME"], api_key=said["NETO_API_KEY"]
    ) as neto:
        added = await neto.add_customer_log(CustomerLog(notes="x"))
    os.kill(run.process, signal.SIGINT)
    ended = await run.ended()

    assert (1001, 0, "stopped") == (added.log_id, ended.code, ended.err.strip())


async def test_a_port_that_is_taken(run: Any, store: NetoSandbox) -> None:
    """A port in use is named."""
    port = store.url.rpartition(":")[2]
    ran = await run("sandbox", "--port", port)

    assert 1 == ran.code
    assert ran.err.startswith(f"neto-async: port {port} can't be used: ")


# -- journals ---------------------------------------------------------------------------------------------------

ROW = b"0" * 16


def empty(path: Path) -> None:
    path.touch()


def begun(path: Path, *, finished: bool = False) -> None:
    """A row of each fate; the last call has no end."""
    journal = SqliteJournal(path)
    journal.open("https://www.example.com")
    for call, state in enumerate((RowState.ADDED, RowState.REJECTED, RowState.WITHDRAWN, RowState.UNKNOWN)):
        journal.write([Intent(call=call, rows=((call, ROW),)), End(call=call, states=((state, call),))])
    journal.write([Intent(call=9, rows=((1_000, ROW), (1_001, ROW)))])
    if finished:
        journal.finish(1_002)
    journal.close()


def finished(path: Path) -> None:
    begun(path, finished=True)


def alien(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()


def bent(path: Path) -> None:
    begun(path)
    path.write_bytes(path.read_bytes().replace(b"www.example.com", b"www.example.net"))


JOURNALS = [
    (
        begun,
        0,
        ["https://www.example.com", "1 run so far", "1 added, 1 refused, 3 in doubt", "did not come to the end"],
    ),
    (finished, 0, ["1 added, 1 refused, 3 in doubt", "The last run came to the end of its file, of 1,002 rows."]),
    (empty, 1, ["the journal it.journal is empty: no import has begun with it"]),
    (alien, 1, ["it.journal is not a journal of neto_async; name another file"]),
    (bent, 1, ["the journal it.journal is damaged, so what it says can't be trusted"]),
    (Path.mkdir, 1, ["it.journal can't be a journal, since it is no file"]),
    (lambda _: None, 1, ["there is no journal it.journal"]),
]


@pytest.mark.parametrize(("make", "code", "says"), JOURNALS)
@pytest.mark.parametrize("as_json", [False, True])
async def test_status(  # noqa: PLR0917
    run: Any, tmp_path: Path, make: Callable[[Path], None], code: int, says: list[str], as_json: Any
) -> None:
    """Of each kind of journal it says what it remembers or what is wrong, and leaves it as it is."""
    path = tmp_path / "it.journal"
    make(path)
    before = path.read_bytes() if path.is_file() else None

    ran = await run("status", str(path), *["--json"] * as_json)

    assert code == ran.code
    assert before == (path.read_bytes() if path.is_file() else None)
    if as_json and code == 0:
        assert (1, 1, 1, 3) == tuple(ran.summary[name] for name in ("runs", "added", "rejected", "in_doubt"))
    else:
        assert all(text in ran.out + ran.err for text in says), ran


async def test_status_of_a_journal_in_use(run: Any, tmp_path: Path) -> None:
    """While an import has it open, it says so."""
    journal = SqliteJournal(tmp_path / "it.journal")
    journal.open("https://www.example.com")
    ran = await run("status", str(tmp_path / "it.journal"))
    journal.close()

    assert (1, "") == (ran.code, ran.out)
    assert "another process is using the journal it.journal" in ran.err


# -- a file that breaks off -------------------------------------------------------------------------------------


class Failing(io.BytesIO):
    """A file on a disk that, from some moment on, can't be read behind its middle."""

    broken = False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.broken and self.tell() > len(self.getbuffer()) // 2:
            raise OSError(5, "Input/output error")
        return super().read(size)


async def test_a_file_that_can_not_be_read_any_more(store: NetoSandbox, capsys: Any, tmp_path: Path) -> None:
    """Where its disk fails half-way, what was read is sent, the file is named, and the import can be gone on with."""
    file = Failing(b"Notes\n" + b"".join(b"note %d%s\n" % (row, b"-" * 2000) for row in range(900)))
    rows = open_rows(file, name="calls.csv")
    source = LogSource(file=rows, plan=make_plan(rows, ColumnMapping(), import_unknown=False))
    client = {"store_url": store.url, "username": store.username, "api_key": store.api_key}
    options = import_flow.ImportOptions(journal=tmp_path / "it.journal")

    async def bring() -> int:
        return await import_flow._connect(
            {**client, "requests_per_minute": None}, None, source, None, options, Screen()
        )

    file.broken = True
    failed, shown, sent = await bring(), capsys.readouterr().out, store.log_count
    file.broken = False
    again = await bring()

    assert (4, True, True) == (failed, 0 < sent < 900, "Stopped: calls.csv can't be read: Input/output error" in shown)
    assert "To go on with what is left, nothing twice:" in shown
    assert (0, 900, 900) == (again, store.log_count, len({log.notes for log in store.logs}))


# -- warnings and trouble ---------------------------------------------------------------------------------------


async def test_warnings(run: Any, file: Path, terminal: Any) -> None:
    """Neto's warnings are shown once a call, with what they may concern; where nobody reads at once, without texts."""
    async with NetoSandbox(requests_per_minute=None, replies=ReplyShape(extra_warnings=("mind the gap",))) as store:
        shown = await run(
            "import", str(file), "--no-journal", "--yes", store=store, terminal=terminal.name, TERM="xterm"
        )
        logged = await run("import", str(file), store=store)

    await terminal.until("added  Neto gave them an id")
    assert (0, 0) == (shown.code, logged.code)
    assert "Neto warns on call 1 (1 row):\n" in terminal.shown
    assert "Neto warns on call 2 (8 rows; they may concern any of its rows):\n" in terminal.shown
    assert 2 == terminal.shown.count("mind the gap")
    assert "Neto warns on call 2 (8 rows; they may concern any of its rows). What it says is in added.csv" in logged.out
    assert "mind the gap" not in logged.out + logged.err


async def unreachable(store: NetoSandbox, taken: socket.socket) -> None:
    """End the store, and let nobody else listen at its port: other tests run beside this one."""
    port = int(store.url.rpartition(":")[2])
    await store.aclose()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))


TROUBLES = [
    (unreachable, "The store can't be reached."),
    (lambda store, _: store.faults.always(faults.TooManyCalls(60)), "The store asked for a pause"),
    (lambda store, _: store.faults.always(faults.HtmlPage()), "The store's answers can't be read; trying one row at a"),
]


@pytest.mark.parametrize(("begin", "says"), TROUBLES)
async def test_trouble(  # noqa: PLR0917
    run: Any, store: NetoSandbox, output: Any, file: Path, begin: Callable[..., Any], says: str
) -> None:
    """While nothing goes on it is said why, and that Ctrl-C stops, which it does without waiting for the store."""
    url = store.url
    with socket.socket() as taken:
        if (waits := begin(store, taken)) is not None:
            await waits
        await run.start("import", str(file), "--batch-size", "1", store=store, out=output.name, NETO_STORE_URL=url)
        await output.until(says)
        os.kill(run.process, signal.SIGINT)
        ran = await run.ended()
        await output.until("To go on with what is left")

    assert 4 == ran.code
    # A call may just be trying to connect; then it says as well that it awaits one.
    assert "Stopping: no more rows are sent" in output.shown


async def test_a_guess_and_a_moment_are_shown_as_they_are_read(run: Any, tmp_path: Path) -> None:
    """A dry run shows words that a guessed encoding changes, and a moment with its own zone in UTC."""
    file = tmp_path / "calls.csv"
    file.write_bytes(b"Notes,LastContacted\nCaf\xe9 rang,2026-01-01T00:00:00Z\n")
    ran = await run("import", str(file), "--dry-run", "--sandbox")

    assert "Café" in ran.out
    assert "LastContacted: 2026-01-01 00:00:00 UTC\n" in ran.out


async def test_a_dry_run_writes_what_would_be_sent(run: Any, tmp_path: Path) -> None:
    """With a folder, the valid rows are written as they would go out, and can't be imported by mistake."""
    file = tmp_path / "calls.csv"
    file.write_text("Notes,LastContacted,Status\n=1+1,2026-02-02 09:00,closed\nbad,soon,closed\n", encoding="utf-8")
    words = ("--timezone", "Australia/Brisbane", "--map-value", "Status=closed=Completed", "--sandbox")
    ran = await run("import", str(file), *words, "--dry-run", "--report", str(tmp_path / "out"))
    planned = tmp_path / "out" / "planned.csv"
    again = await run("import", str(planned), "--sandbox")

    rows = list(csv.DictReader(planned.read_text(encoding="utf-8-sig").splitlines()))
    assert [("2", "=1+1", "2026-02-01 23:00:00", "Completed")] == [
        (row["neto_line"], row["Notes"], row["LastContacted"], row["Status"]) for row in rows
    ]
    assert (2, True, 0o600) == (ran.code, str(planned) in ran.out, planned.stat().st_mode & 0o777)
    assert (1, True) == (again.code, "is from the plan of a file" in again.err)
