"""Raw servers and real HTTP libraries for the tests of this directory; tests are no packages, hence the path."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

from libraries import LIBRARIES


@pytest.fixture(params=list(LIBRARIES))
def library(request: Any) -> Any:
    """Make clients of one HTTP library after the other."""
    return LIBRARIES[request.param]


@pytest.fixture(autouse=True)
async def _nothing_left_open() -> AsyncIterator[None]:
    """Hold every test of this directory to leaving no task behind."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert [] == [repr(task) for task in left]
