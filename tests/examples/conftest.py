"""The examples are no packages: they are found from the project's folder, as when they are run."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from neto_async.sandbox import NetoSandbox

sys.path += [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from served import Service, ServiceProcess, aiohttp_app, environment_of, fastapi_app, serving

from examples.embedded import Job
from examples.imports import State


@pytest.fixture(params=["fastapi", pytest.param("aiohttp", marks=pytest.mark.thorough)])
def framework(request: pytest.FixtureRequest) -> str:
    """Both services keep the same laws."""
    name: str = request.param
    return name


@pytest.fixture
async def service(
    framework: str, tmp_path: Path, store: NetoSandbox, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    """A service for the store, in the test's loop."""
    for name, value in environment_of(store, tmp_path / "imports").items():
        monkeypatch.setenv(name, value)
    for app in (fastapi_app, aiohttp_app):
        monkeypatch.setattr(app, "MAX_UPLOAD", 100_000)
        monkeypatch.setattr(app, "GRACE", 3)
    async with serving(framework, tmp_path / "imports") as service:
        yield service


@pytest.fixture
async def process(framework: str, tmp_path: Path, store: NetoSandbox) -> AsyncIterator[ServiceProcess]:
    """A service for the store, in a process of its own, as it is run."""
    settings = {"MAX_UPLOAD": "100_000", "GRACE": "3"}
    service = ServiceProcess(tmp_path / "imports", store=store, framework=framework, settings=settings)
    try:
        await service.start()
        yield service
    finally:
        await service.end(signal.SIGKILL)


@pytest.fixture
def slow_saves(monkeypatch: pytest.MonkeyPatch) -> Callable[[State], tuple[asyncio.Event, threading.Event]]:
    """Let a job be written down slowly in a state; the first event says that it has begun, the second lets it end."""

    def make(state: State) -> tuple[asyncio.Event, threading.Event]:
        writing, may_write, save = asyncio.Event(), threading.Event(), Job.save
        loop = asyncio.get_running_loop()

        def slow(job: Job) -> None:
            if job.state is state:
                loop.call_soon_threadsafe(writing.set)
                assert may_write.wait(20)
            save(job)

        monkeypatch.setattr(Job, "save", slow)
        return writing, may_write

    return make


@pytest.fixture
async def browser() -> AsyncIterator[Any]:
    """Chromium, in which every name ending with .test leads to this machine."""
    playwright = pytest.importorskip("playwright.async_api", reason="Playwright is missing: pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium on the path")
    options = ["--no-sandbox", "--host-resolver-rules=MAP *.test 127.0.0.1"]
    async with playwright.async_playwright() as driver:
        yield await driver.chromium.launch(executable_path=chromium, args=options)
