"""A server for each test, in a folder of its own, and members of a quota in it."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

sys.path.append(str(Path(__file__).parent))

from members import WINDOW, Member, Server

from neto_async.integrations import redis as module
from neto_async.integrations.redis import RedisQuota


@pytest.fixture
def server(tmp_path):
    """Run a server."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server on this machine's path")
    running = Server(tmp_path)
    running.start()
    yield running
    running.kill()


@pytest.fixture
async def look(server) -> AsyncIterator[Any]:
    """Look into the server, as a person would."""
    async with redis.asyncio.Redis.from_url(server.url, decode_responses=True) as client:
        yield client


@pytest.fixture
async def member(server, monkeypatch):
    """Make members of a quota with a short window."""
    monkeypatch.setattr(module, "END_WITHIN", 0.1)
    quotas = []

    def make(calls: int = 4, *, url: Any = server.url, **settings: Any) -> Member:
        times = {"window": WINDOW, "longest_call": 0.2, "leave_within": 0.2}
        quotas.append(RedisQuota(url, calls_per_minute=calls, **{**times, **settings}))
        return Member(quotas[-1])

    yield make
    for quota in quotas:
        await quota.aclose()


@pytest.fixture(autouse=True)
def _log(caplog):
    caplog.set_level(logging.INFO, "neto_async")
