"""The pages: every example runs as it stands, and what is told of names and numbers is so."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from neto_async.sandbox import NetoSandbox

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
EXAMPLE = re.compile(r"^\s*```(python|sh)$", re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if EXAMPLE.search(page.read_text(encoding="utf-8"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
async def test_examples_run_and_print_what_the_page_says(page, store, tmp_path):
    """The examples of a page run in their order, on a store of their own, and print what stands below them."""
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "crm-export.csv", tmp_path / "examples")
    player = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", Path(__file__).parent / "play.py", page),
        cwd=tmp_path,
        env=environment(store),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    told, _ = await player.communicate()

    if player.returncode or told:
        pytest.fail(told.decode(), pytrace=False)


def environment(store: NetoSandbox) -> dict[str, str]:
    """Give what a reader has set: the store, and the command on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    credentials = {"NETO_STORE_URL": store.url, "NETO_USERNAME": store.username, "NETO_API_KEY": store.api_key}
    return {**os.environ, **credentials, "PATH": path, "PYTHONWARNINGS": "error", "COLUMNS": "100"}
