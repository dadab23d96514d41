"""The folders of the servers that tests start themselves, and the PostgreSQL of all schedules."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "journals"))
sys.path.append(str(Path(__file__).parents[1] / "integrations" / "redis_quota"))


@pytest.fixture(scope="session")
def postgres(server: Any) -> Any:
    """Give the PostgreSQL of this test process, where there is a Redis too."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server on this machine's path")
    return server
