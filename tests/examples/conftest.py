"""The examples are no packages: they are found from the project's folder, as when they are run."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neto_async.sandbox import NetoSandbox

sys.path += [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from served import Service


@pytest.fixture
async def service(tmp_path: Path, store: NetoSandbox) -> AsyncIterator[Service]:
    """A service for the store, in a process of its own."""
    service = Service(store, tmp_path / "imports", {"MAX_UPLOAD": "100_000", "GRACE": "3"})
    await service.start()
    yield service
    await service.end(signal.SIGKILL)
