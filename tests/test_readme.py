"""README's example runs as it stands, and its other claims hold."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_example_runs(tmp_path: Path) -> None:
    """The first program in the README prints what it says."""
    (program, *_) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(program, encoding="utf-8")

    finished = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, check=False)

    assert (0, "saved as log 1001\n2 added, 0 in doubt\n", "") == (
        finished.returncode,
        finished.stdout,
        finished.stderr,
    )


def test_file_example_imports_every_row(tmp_path: Path) -> None:
    """The README's import of another system's export adds every row."""
    command = re.search(r"^neto-async (import examples/crm-export.csv.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert command is not None
    words = command[1].replace("\\\n", " ").strip()
    program = "import sys; from neto_async.cli import main; sys.argv[0] = 'neto-async'; main()"

    finished = subprocess.run(
        f'"{sys.executable}" -c "{program}" {words} --json',
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )

    assert 0 == finished.returncode, finished.stderr
    assert '"added": 300' in finished.stdout
