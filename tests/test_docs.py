"""The pages: every example runs as it is, and what they tell of names and numbers is so."""

from __future__ import annotations

import asyncio
import html
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import attrs
import pytest

import neto_async
from neto_async import errors, settings
from neto_async.cli.screen import LABELS
from neto_async.files.options import CELL_OPTIONS, FILE_OPTIONS
from neto_async.importing import ColumnMapping
from neto_async.importing.plan import SAMPLES
from neto_async.importing.reports import OURS, SEEN
from neto_async.integrations import pytest as plugin
from neto_async.sandbox import NetoSandbox
from neto_async.sending import backpressure, quota, stopping, turns
from neto_async.wire import VENDOR_NAMES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLE = re.compile(r"^\s*```(python|sh)$", re.MULTILINE)
WITH_EXAMPLES = [page for page in PAGES if EXAMPLE.search(page.read_text(encoding="utf-8"))]
BLOCK_OR_TABLE = re.compile(r"^\s*```.*?^\s*```|^\|[^\n]*$", re.DOTALL | re.MULTILINE)
LONGEST_GUIDE = 700
BY_DEFAULT = {"README.md", "resume.md"}
"""Pages whose examples run by default; the others run with the thorough tests."""


@pytest.mark.skipif(sys.platform == "win32", reason="the pages speak to a POSIX shell")
@pytest.mark.parametrize(
    "page",
    [page if page.name in BY_DEFAULT else pytest.param(page, marks=pytest.mark.thorough) for page in WITH_EXAMPLES],
    ids=lambda page: str(page.relative_to(ROOT)),
)
async def test_examples_run_and_print_what_the_page_says(page, store, tmp_path):
    """The examples of a page run in their order, on a store of their own, and print what is below them."""
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "crm-export.csv", tmp_path / "examples")
    shutil.copytree(ROOT / "examples" / "mappings", tmp_path / "examples" / "mappings")
    player = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", Path(__file__).parent / "play.py", page),
        cwd=tmp_path,
        env=environment(store),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    said, _ = await player.communicate()

    if player.returncode or said:
        pytest.fail(said.decode(), pytrace=False)


def environment(store: NetoSandbox) -> dict[str, str]:
    """Give what a reader has set: the store, and the command on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    credentials = {"NETO_STORE_URL": store.url, "NETO_USERNAME": store.username, "NETO_API_KEY": store.api_key}
    return {**os.environ, **credentials, "PATH": path, "PYTHONWARNINGS": "error", "COLUMNS": "100"}


def test_every_public_name_is_in_the_reference():
    """What `neto_async` offers is described on a page, by itself or with its module."""
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    described = set(re.findall(r"^\.\. (?:auto\w+|py:data):: (?:\w+\.)*(\w+)", pages, re.MULTILINE))
    assert set() == set(neto_async.__all__) - described - set(errors.__all__)


def test_the_tables_name_all_that_there_is():
    """The reference's tables have every field, variable, column and attribute, and no other."""
    read = re.findall(r"NETO_[A-Z_]+", inspect.getsource(settings.credentials_from_env))
    fixtures = re.findall(r"@pytest\.fixture\ndef ([a-z]\w*)", inspect.getsource(plugin))
    outcomes = [{field.name for field in attrs.fields(kind)} for kind in get_args(neto_async.Outcome)]
    assert list(VENDOR_NAMES.values()) == said("customer-log", "What a source may yield")
    assert set(read) == set(said("client", "Environment variables"))
    assert [*OURS, *SEEN] == said("command", "Reports")
    assert set(fixtures) == {name for name in said("integrations", "pytest") if name.islower()}
    assert {*set.intersection(*outcomes), "safe_to_resend"} == set(said("outcomes", "Outcomes"))


def said(page: str, heading: str) -> list[str]:
    """Give the names in the first column of the tables between a heading of the reference and the next one."""
    text = (ROOT / "docs" / "reference" / f"{page}.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    first_cells = re.findall(r"^\|([^|]+)\|", section, re.MULTILINE)
    return re.findall(r"`([^`]+)`", "".join(first_cells))


@pytest.mark.parametrize("more", [["--dry-run"], ["--sandbox"]], ids=["dry run", "import"])
def test_the_page_on_the_command_names_every_key(more, tmp_path):
    """The object that `--json` writes has the keys of the page, in their order."""
    (tmp_path / "calls.csv").write_text("Notes\nRang back.\n", encoding="utf-8")
    program = [sys.executable, "-c", "from neto_async.cli import main; main()"]
    done = subprocess.run(
        [*program, "import", "calls.csv", "--json", *more],
        cwd=tmp_path,
        env={**os.environ, "NETO_STORE_URL": "https://store.invalid", "NETO_API_KEY": "none"},
        capture_output=True,
        check=True,
    )
    keys = list(json.loads(done.stdout))
    page = (ROOT / "docs" / "reference" / "command.md").read_text(encoding="utf-8")
    if "--dry-run" in more:
        assert keys == re.findall(r"`(\w+)`", re.search(r"After `--dry-run` it is (.*)", page)[1])
    else:
        assert keys == said("command", "One JSON object")


def test_the_page_on_the_engine_has_its_numbers():
    """The numbers on the page are those of the code."""
    page = " ".join((ROOT / "docs" / "explanation" / "engine.md").read_text(encoding="utf-8").split())
    quarter, tenth = 1 / (1 + turns.ADDS_TO_ANOTHER), stopping.EXTRA_SHARE
    assert (0.25, 0.1) == (quarter, tenth)
    for told_so in (
        "each gets at least a quarter of the calls",
        f"a tenth of its calls and {stopping.EXTRA_CALLS} more",
        f"its first {len(stopping.FIRST_BATCHES)} batches are refused",
        f"After {backpressure.DOUBTFUL_IN_A_ROW} calls in a row",
        f"Once in {backpressure.PROBE_INTERVAL:.0f} seconds",
        f"until {quota.WINDOW:.0f} seconds after its reply",
        f"{backpressure.DEFAULT_PAUSE:.0f} seconds ahead where it names none",
        f"up to {backpressure.LONGEST_WAIT:.0f} seconds",
    ):
        assert told_so in page


def test_every_guide_is_short():
    """A guide has less than 700 words, without its examples and tables."""
    words = {}
    for page in (ROOT / "docs" / "how-to").glob("*.md"):
        prose = BLOCK_OR_TABLE.sub("", page.read_text(encoding="utf-8"))
        words[page.name] = len(prose.split())
    assert {} == {page: count for page, count in words.items() if count >= LONGEST_GUIDE}


def test_the_mapping_file_of_the_guide_is_whole():
    """It can be read, and has each key; those that exclude another are in a comment."""
    page = (ROOT / "docs" / "how-to" / "import-a-file.md").read_text(encoding="utf-8")
    (example,) = re.findall("```toml\n(.*?)```", page, re.DOTALL)
    ColumnMapping.loads(example)
    top, _, file = example.partition("[file]")
    keys = [
        *(key for key in CELL_OPTIONS if f"\n{key} = " not in top),
        *(key for key in FILE_OPTIONS if f"{key} = " not in file),
    ]
    assert [] == keys


@pytest.mark.parametrize("page", sorted({*ROOT.glob("*.md"), *PAGES}), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_project_lead_somewhere(page):
    """A relative link names a file that is there. (The headings in it are looked at when the site is built.)"""
    targets = re.findall(r"\]\((?!\w+:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [] == [target for target in targets if not (page.parent / target).exists()]


def test_the_picture_of_the_demo_is_of_this_command():
    """What README's picture says is what the command says today; `nox -s picture` takes it anew."""
    drawn = html.unescape(re.sub(r"<[^>]+>", "", (ROOT / "docs" / "demo.svg").read_text(encoding="utf-8")))
    shown = drawn.replace("\xa0", " ")
    _, meaning = LABELS["added"]
    samples = [f"Log {number} as it will be sent:" for number in range(1, SAMPLES + 1)]
    assert [] == [text for text in [*samples, meaning, "240 rows in 25 calls"] if text not in shown]
