"""The program that loads the example services: what they answer under load is true of the store."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT

import pytest
from served import ROOT


@pytest.mark.parametrize("framework", ["aiohttp", "fastapi"])
async def test_every_fate_is_true_under_load(framework):
    """Beside an import, with a call reset now and then, each answer and each row agrees with the ledger."""
    words = ["tests/examples/load.py", framework, "--users", "40", "--rows", "1500"]
    load = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=ROOT, stdout=PIPE, stderr=STDOUT)
    printed, _ = await load.communicate()
    assert (0, True) == (load.returncode, b"with this library" in printed), printed.decode()
