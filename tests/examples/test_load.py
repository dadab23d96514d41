"""The load program, on a small scale: what it finds is held by hand on a large one."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from load import FRAMEWORKS, Load, untrue

PROGRAM = str(Path(__file__).with_name("load.py"))
SMALL = ["--users", "60", "--rows", "600", "--per-minute", "100000"]


@pytest.mark.thorough
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_under_load_every_fate_is_true(framework):
    """With handlers and an import at once, and answers lost after saving, the service says what the ledger says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, PROGRAM, framework, *SMALL), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()

    assert 0 == process.returncode, said.decode()
    assert "the import ended" in said.decode()


@pytest.mark.parametrize(
    ("answers", "rows", "words"),
    [
        ({"a": (201, {"log_id": 1}), "b": (504, {})}, [], None),
        ({"a": (201, {"log_id": 2}), "b": (504, {})}, [], "a was said to be 2"),
        ({"a": (201, {"log_id": 1}), "b": (503, {})}, [], "b is there, and nobody said so"),
        ({"a": (201, {"log_id": 1}), "b": (504, {}), "c": (201, {"log_id": 3})}, [], "c was said to be 3"),
        ({"a": (201, {"log_id": 1})}, [{"Notes": "b", "neto_log_id": "2"}], None),
        ({"a": (201, {"log_id": 1})}, [{"Notes": "b", "neto_log_id": "4"}], "b was said to be 4"),
    ],
)
def test_an_untrue_fate_is_found(answers, rows, words):
    """An id of another log, one of none, and a saved log that was said not to be: each is named."""
    load = Load(None)
    load.answers = answers
    store = SimpleNamespace(logs=[SimpleNamespace(notes="a", log_id=1), SimpleNamespace(notes="b", log_id=2)])
    assert ([] if words is None else [words]) == untrue(load, rows, [], store)


def test_a_log_that_is_there_twice_is_found():
    """Whoever learned of one of the two."""
    load = Load(None)
    load.answers = {"a": (201, {"log_id": 2})}
    store = SimpleNamespace(logs=[SimpleNamespace(notes="a", log_id=1), SimpleNamespace(notes="a", log_id=2)])
    assert ["a is there 2 times"] == untrue(load, [], [], store)
