"""The sandbox is independent of the client, and says what it needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import neto_async.sandbox


def test_absent_aiohttp_is_reported_in_a_sentence():
    """Without aiohttp the import fails with what to install."""
    code = "import sys; sys.modules['aiohttp'] = None; import neto_async.sandbox"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'ImportError: the sandbox needs aiohttp: pip install "neto_async[sandbox]"' in ended.stderr


SOURCES = sorted(Path(neto_async.sandbox.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_imports_nothing_of_the_client(source):
    """No module of the sandbox imports anything of the library outside the sandbox, nor its XML or attrs converters."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    ours = {name for name in names if name.startswith("neto_async")}
    assert {name for name in ours if not name.startswith("neto_async.sandbox")} == set()
    assert names.isdisjoint({"httpx", "xmltodict", "cattrs"})


def test_public_names():
    """What is announced is there."""
    assert all(hasattr(neto_async.sandbox, name) for name in neto_async.sandbox.__all__)
