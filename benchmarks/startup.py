"""How long does the import statement take? In fresh interpreters without extras, beside its four dependencies."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from benchmarks.measuring import Answer, Target

STATEMENTS = {
    "import neto_async": "from neto_async import AsyncNetoClient",
    "its four dependencies": "import httpx, attrs, cattrs, xmltodict",
    "httpx alone": "import httpx",
}
PROGRAM = """
import sys, time
sys.modules["orjson"] = None
began = time.process_time()
{}
print(time.process_time() - began)
"""


def measure(*, quick: bool) -> list[Answer]:
    """Take turns between the statements; the first round warms the disk, and compiles what was never imported."""
    samples: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    with tempfile.TemporaryDirectory() as compiled:
        # As where packages were installed: a checkout may be run without leaving compiled files.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(0 if quick else -1, 1 if quick else 21):
            for name, statement in STATEMENTS.items():
                taken = import_time(statement, environment)
                if turn >= 0:
                    samples[name].append(taken * 1000)
    ours, peer = "import neto_async", "its four dependencies"
    return [
        Answer(
            title="Import in a fresh interpreter",
            unit="ms CPU",
            samples=samples,
            targets=[Target(what="import neto_async", ours=ours, peer=peer, limit=1.3)],
        )
    ]


def import_time(statement: str, environment: Mapping[str, str]) -> float:
    """Give seconds of CPU time."""
    program = PROGRAM.format(statement)
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment)  # noqa: S603
    return float(ran.stdout)
