"""Names and texts that would take over a terminal, wherever the command prints any."""

from __future__ import annotations

import ast
import io
import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest  # noqa: TC002

from neto_async import InvalidRecordError, cli
from neto_async.cli.output import guard_streams
from neto_async.cli.screen import _state
from neto_async.escaping import escaped
from neto_async.results import ImportProgress
from neto_async.sandbox import NetoSandbox, ReplyShape
from neto_async.sending.observing import logger

BAD = "\x1b]0;x\x07\x1b[31m\x7f\x9b\u202e\u2066\u200b\u2028[link=x]:x:"


def raw(text: str) -> list[str]:
    """Give the characters that a terminal might obey; the line ends and colours of our own are none."""
    return [one for one in text.replace("\n", "") if unicodedata.category(one) in {"Cc", "Cf", "Zl", "Zp"}]


async def test_no_name_reaches_the_output_unescaped(run: Any, store: NetoSandbox, tmp_path: Path) -> None:
    """Columns, keys, files, folders, options, mappings, samples and stores: each is printed, and printed escaped."""
    folder = tmp_path / BAD
    folder.mkdir()
    table, objects, mapping, broken = (folder / f"{BAD}{end}" for end in (".csv", ".json", ".toml", ".csv.gz"))
    table.write_text(f'Notes,Status,"{BAD}\nStore  good"\n{BAD},{BAD},\n{BAD},,\n', encoding="utf-8")
    objects.write_text(json.dumps([{"Notes": BAD, BAD: 1}]), encoding="utf-8")
    mapping.write_text(f"{json.dumps(BAD)} = 1\n", encoding="utf-8")
    broken.write_bytes(b"\x1f\x8b")
    taken = folder / "taken"
    taken.mkdir()
    (taken / "added.csv").touch()
    ways = [
        ["import", str(table), "--sandbox"],
        ["import", str(table), "--dry-run"],
        ["import", str(table), "--report", str(folder / "out")],
        ["import", str(table), "--report", str(taken)],
        ["import", str(table), "--map", f"Notes={BAD}x"],
        ["import", str(table), "--map", f"{BAD}=Notes"],
        ["import", str(table), "--mapping", str(mapping)],
        ["import", str(table), f"--{BAD}"],
        ["import", str(table), "--sheet", BAD, "--input-format", "xlsx"],
        ["import", str(objects), "--sandbox", "--json"],
        ["import", str(broken)],
        ["import", str(folder)],
        ["status", str(folder / f"{BAD}.journal")],
        ["status", str(table)],
        [f"x{BAD}"],
    ]

    ran = [await run(*words, store=store) for words in ways]

    assert [[]] * len(ways) == [raw(one.out + one.err) for one in ran]
    # Nothing was left out instead: each way names what it was given, and a forged line begins no line.
    assert [] == [words for words, one in zip(ways, ran, strict=True) if "1b]0;x" not in one.out + one.err]
    assert not any(line.startswith("Store  good") for one in ran for line in one.out.splitlines())


async def test_warnings_are_escaped_at_a_terminal(run: Any, terminal: Any, tmp_path: Path) -> None:
    """What the store says is shown at a terminal, and escaped there."""
    file = tmp_path / "calls.csv"
    file.write_text("Notes\nx\n", encoding="utf-8")
    async with NetoSandbox(requests_per_minute=None, replies=ReplyShape(extra_warnings=(BAD,))) as store:
        await run("import", str(file), "--yes", store=store, terminal=terminal.name, TERM="xterm")
    await terminal.until("added  Neto gave them an id")

    assert "]0;x" in terminal.shown
    assert "\x1b]" not in terminal.written.decode()
    assert "\u202e" not in terminal.written.decode()


def test_errors_and_log_lines_are_escaped(caplog: pytest.LogCaptureFixture) -> None:
    """The library's own texts are escaped too, for the program that prints or logs them."""
    logger.warning("a column %s", BAD)
    assert [[], []] == [raw(str(InvalidRecordError((BAD,)))), raw(caplog.messages[0])]


def test_all_that_is_written_to_a_standard_stream_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own tracebacks and warnings, too, go through the guarded streams; their line ends stay."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stderr", stream)
    guard_streams()
    sys.stderr.write(f"a{BAD}\nb")
    sys.stderr.flush()
    written = stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert ([], 2) == (raw(written), 1 + written.count("\n"))


def test_what_is_escaped() -> None:
    """Letters of any script and spaces of any width stay; all else is an escape that JSON reads."""
    assert "Größe 数\u3000\xa0" == escaped("Größe 数\u3000\xa0")
    assert "\\u007f\\n\\ud800\\U000e0001" == escaped("\x7f\n\ud800\U000e0001")


def test_one_file_of_the_command_writes() -> None:
    """In the command's folder `output.py` alone prints; `click.confirm` asks a constant question."""
    writing = {"print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write", "error.show"}
    found = {
        path.name
        for path in Path(cli.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in writing and node.args
    }
    assert {"output.py"} == found


def test_the_progress_line_adds_up() -> None:
    """It names what is in doubt, invalid and left, and no time while the store can't be reached."""
    now = ImportProgress(added=1, invalid=2, unknown=10, not_sent=4, calls=3, seconds=1.0, seconds_left=1.0)
    shown = _state(now, 20, reachable=True)
    assert "1 added, 2 invalid, 10 in doubt, 7 left, 3 calls, 11 rows/s, 1 s to go" == shown
    assert "1 added, 2 invalid, 10 in doubt, 7 left, 3 calls, 11 rows/s" == _state(now, 20, reachable=False)
