"""
Hold two type checkers to what users write; nox runs this: python tests/typing/check.py.

Each must accept accepted.py, and refuse each marked line of refused.py and no other.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict", "--config-file", ""],
    "pyright": [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--project", str(HERE)],
}


def lines_refused(command: list[str], name: str) -> tuple[set[int], str]:
    """Give the lines of a file that a checker finds errors in, and what it said."""
    done = subprocess.run([*command, str(HERE / name)], capture_output=True, text=True, check=False, cwd=HERE)
    found = re.findall(rf"{re.escape(name)}:(\d+):(?:\d+)?[ -]*(?::\d+: )?error", done.stdout)
    return {int(line) for line in found}, done.stdout + done.stderr


def main() -> int:
    """Compare, and print what differs."""
    refused = (HERE / "refused.py").read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(refused, 1) if line.endswith("# refused")}
    failed = 0
    for checker, command in CHECKERS.items():
        for name, expected in (("accepted.py", set[int]()), ("refused.py", marked)):
            lines, said = lines_refused(command, name)
            print(f"{checker}: {name}: {len(lines)} of {len(expected)} lines refused")
            if lines != expected:
                failed = 1
                print(f"not refused: {sorted(expected - lines)}; refused: {sorted(lines - expected)}\n{said}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
