"""The page on imports as jobs: its three files and its worker, as a reader would run them."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from pathlib import Path

import httpx
import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "imports-as-jobs.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'^```python title="([\w.]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.thorough
async def test_the_page_s_files_import_an_upload(service, empty_database, tmp_path, monkeypatch):
    """Tables, a worker and a web process, of nothing but what is on the page, import a file and say so."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    folder = tmp_path / "17"
    folder.mkdir()
    (folder / "upload.csv").write_text("Notes\nRang back.\nPaid.\n", encoding="utf-8")
    settings = {
        "IMPORTS_DATABASE": empty_database,
        "IMPORTS_UPLOADS": str(tmp_path),
        "NETO_STORE_URL": service.store.url,
        "NETO_USERNAME": service.store.username,
        "NETO_API_KEY": service.store.api_key,
        "PYTHONPATH": str(tmp_path),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(tmp_path))
    tables = await asyncio.create_subprocess_exec(sys.executable, str(tmp_path / "tables.py"))
    assert 0 == await tables.wait()
    (command,) = re.findall(r"^procrastinate (.*)$", PAGE, re.MULTILINE)
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "procrastinate", *shlex.split(command)),
        env=os.environ,
        stderr=asyncio.subprocess.DEVNULL,
    )

    web = __import__("web").web
    transport = httpx.ASGITransport(app=web)
    async with (
        web.router.lifespan_context(web),
        httpx.AsyncClient(transport=transport, base_url="http://web") as client,
    ):
        assert 404 == (await client.get("/imports/june")).status_code
        assert 202 == (await client.put("/imports/june", params={"upload": "17"})).status_code
        while (status := (await client.get("/imports/june")).json())["state"] != "ended":
            assert status["state"] in {"waiting", "running"}
        assert 202 == (await client.delete("/imports/june")).status_code
    del sys.modules["web"], sys.modules["imports"]
    worker.terminate()
    assert 0 == await worker.wait()

    assert 2 == status["progress"]["added"]
    assert {"Rang back.", "Paid."} == set(service.saved())
    assert "Rang back.,1,2,Added" in (folder / "reports" / "added.csv").read_text(encoding="utf-8-sig")
