"""
Write demo.svg: the terminal after `neto-async demo`, as it looked.

Run it with ``nox -s picture`` after a change to what the command prints; tests/test_docs.py compares the words.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

COLUMNS, LINES = 92, 50
PICTURE = Path(__file__).with_name("demo.svg")


def recorded() -> pyte.Screen:
    """Run the demo in a terminal of its own, and give its screen."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    size = {"COLUMNS": str(COLUMNS), "LINES": str(LINES), "TERM": "xterm-256color"}
    command = [str(Path(sys.executable).with_name("neto-async")), "demo"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **size}):
        os.close(theirs)
        while True:
            try:
                stream.feed(os.read(ours, 1 << 16))
            except OSError:  # the end of the program
                return screen


def as_text(screen: pyte.Screen) -> Text:
    """Give what stands on a screen, with its colours."""
    text = Text("$ neto-async demo\n")
    for number in range(screen.cursor.y):
        cells = [screen.buffer[number][column] for column in range(COLUMNS)]
        line = Text()
        for (colour, bold), run in groupby(cells, lambda cell: (cell.fg, cell.bold)):
            named = f"#{colour}" if re.fullmatch("[0-9a-f]{6}", colour) else colour
            line.append("".join(cell.data for cell in run), Style(color=named, bold=bold))
        line.rstrip()
        text.append_text(line).append("\n")
    return text


def main() -> None:
    """Write the picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(as_text(recorded()), end="")
    svg = console.export_svg(title="neto-async demo", unique_id="demo")
    # No font is loaded from elsewhere: the reader's own monospace one does.
    svg = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL).replace("Fira Code, ", "")
    PICTURE.write_text(svg.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
