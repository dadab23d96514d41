"""The benchmarks run, whatever their figures are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parent.parent
TARGETS = {
    "quota": {"quota: % used", "quota: calls refused"},
    "shared_quota": {
        "shared quota: % used, 1 process",
        "shared quota: calls refused, 1 process",
        "shared quota: round trips a call, 1 process",
        "shared quota: beside one in the process",
    },
    "encoding": {"JSON encode", "XML encode"},
    "replies": {"reply to outcomes, json", "reply to outcomes, xml"},
    "imports": {
        f"whole import, {wire_format}, {library}"
        for wire_format in ("json", "xml")
        for library in ("httpx", "httpx2", "httpx over aiohttp")
    },
    "journal": {"with a journal", "with a journal in PostgreSQL"},
    "single_add": {"single add, idle"},
    "burst": {"1,000 adds at once"},
    "guest": {"guest: ms late, p99, json", "guest: ms late, p99, xml"},
    "growth": {"memory: 1,000,000 over 10,000", "growth: CPU of 1,000,000 over 100,000"},
    "startup": {"import neto_async"},
}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What a quick run of everything writes."""
    written = tmp_path_factory.mktemp("benchmarks") / "said.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--json", str(written)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(written.read_text(encoding="utf-8"))


def test_every_target_is_a_row(said):
    """Each target has its figure and its verdict, unless the library or the server that it needs is not installed."""
    asked = {what for question, names in TARGETS.items() if question not in said["unmeasured"] for what in names}
    asked -= said["unmeasured"].keys()
    rows = [target for table in said["tables"] for target in table["targets"]]
    assert asked == {row["what"] for row in rows}
    assert {True, False} >= {row["met"] for row in rows}
    assert all("dependency group" in reason or "on the path" in reason for reason in said["unmeasured"].values())


def test_verdicts_are_computed(said):
    """A target is met exactly where its figure is on the right side of its limit."""
    for row in (target for table in said["tables"] for target in table["targets"]):
        reached = row["figure"] >= row["limit"] if row["sense"] == "at least" else row["figure"] <= row["limit"]
        assert reached is row["met"], row["what"]


def test_every_candidate_has_as_many_samples(said):
    """Candidates of one table took part in the same rounds, so that their ratios are of one moment."""
    for table in said["tables"]:
        assert 1 == len({len(samples) for samples in table["samples"].values()}), table["title"]
