"""A launcher of importing processes, and the store that they import into."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field, frozen

from neto_async.sandbox import NetoSandbox, faults

PROGRAM = Path(__file__).with_name("importer.py")
REFUSED = "refuse me"


@frozen
class Ended:
    """How a process ended; outcomes where it came to its end."""

    code: int
    seconds: float
    outcomes: list[dict[str, Any]]


@define(eq=False)
class Importer:
    """One import, tried as often as it takes, each time in a process of its own."""

    launcher: subprocess.Popen[bytes]
    store: NetoSandbox
    folder: Path
    rows: list[dict[str, str]]
    settings: dict[str, Any]
    process: int = field(init=False, default=0)

    async def run(self, step: str | None = None, number: int = 1, seconds: float | None = None) -> Ended:
        """Import in a process, which dies at the nth time of a step, or after some seconds."""
        assert self.launcher.stdin is not None
        assert self.launcher.stdout is not None
        result = self.folder / "outcomes.json"
        result.unlink(missing_ok=True)
        order = {
            "url": self.store.url,
            "settings": {"username": self.store.username, "api_key": self.store.api_key, **self.settings},
            "rows": self.rows,
            "journal": str(self.folder / "journal"),
            "result": str(result),
            "step": step,
            "number": number,
            "seconds": seconds,
        }
        self.launcher.stdin.write(json.dumps(order).encode() + b"\n")
        self.launcher.stdin.flush()
        self.process = int(await asyncio.to_thread(self.launcher.stdout.readline))
        ended = json.loads(await asyncio.to_thread(self.launcher.stdout.readline))
        outcomes = json.loads(result.read_text(encoding="ascii")) if ended["code"] == 0 else []
        return Ended(ended["code"], ended["seconds"], outcomes)

    def saved(self, index: int) -> int:
        """Count the logs of a row in the store."""
        return sum(log.notes == self.rows[index]["Notes"] for log in self.store.logs)

    def check(self, outcomes: list[dict[str, Any]]) -> int:
        """Compare what a whole run said with what the store holds; give the number of rows in doubt."""
        assert list(range(len(self.rows))) == sorted(outcome["index"] for outcome in outcomes)
        by_id = {log.log_id: log.notes for log in self.store.logs}
        kinds: dict[str, Counter[str]] = {}
        ids = []
        for outcome in outcomes:
            notes = self.rows[outcome["index"]]["Notes"]
            kinds.setdefault(notes, Counter())[outcome["kind"]] += 1
            if outcome["kind"] == "Added":
                assert notes == by_id[outcome["id"]]
                ids.append(outcome["id"])
        assert len(ids) == len(set(ids))
        saved = Counter(log.notes for log in self.store.logs)
        assert set(saved) <= set(kinds)
        for notes, kind in kinds.items():
            # Once where it is added, at most once where it is in doubt, and else never.
            assert kind["Added"] <= saved[notes] <= kind["Added"] + kind["Unknown"], notes
            assert not kind["NotSent"]
        return sum(kind["Unknown"] for kind in kinds.values())


@pytest.fixture(scope="session")
def rows() -> list[dict[str, str]]:
    """Rows of all kinds: good, refused by the store, invalid, and the same one twice."""
    made = [{"Notes": f"row {number}", "Username": "ann"} for number in range(24)]
    made[5]["Notes"] = made[17]["Notes"] = f"{REFUSED} 5"
    made[9]["Username"] = "far too long for a user name"
    made[20] = dict(made[3])
    return made


@pytest.fixture(scope="session")
def launcher() -> Iterator[subprocess.Popen[bytes]]:
    """Start the program that makes the processes."""
    with subprocess.Popen([sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
async def importer(
    tmp_path: Path, rows: list[dict[str, str]], launcher: subprocess.Popen[bytes]
) -> AsyncIterator[Callable[..., Any]]:
    """Begin imports, each into a store of its own with refusals and a call over the limit."""
    stores: list[NetoSandbox] = []

    async def begin(**settings: Any) -> Importer:
        store = NetoSandbox(requests_per_minute=None)
        await store.start()
        stores.append(store)
        store.refuse_when(lambda fields: fields.get("Notes", "").startswith(REFUSED))
        store.faults.next(None, None, None, faults.TooManyCalls(0))
        folder = tmp_path / str(len(stores))
        folder.mkdir()
        return Importer(launcher, store, folder, rows, {"batch_size": 4, "max_concurrency": 3, **settings})

    yield begin
    for store in stores:
        await store.aclose()
