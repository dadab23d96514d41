"""
Run the examples of one page in their order, in this folder: ``python play.py PAGE``.

* ``python`` blocks share one namespace; a bare ``await`` works as it does in ``python -m asyncio``.
* ``sh`` blocks run where one of their lines begins with ``neto-async`` or ``cat``; each command must succeed.
* The ``text`` block that follows an example right away is all that it prints. There ``...`` means lines or words
  left out, and times and the sandbox's port may differ. Without one a ``python`` block prints nothing, and a command
  what it likes.
* A block with more than the language in its first line is not run here: ``python no-run`` is for reading alone, and
  one with a ``title`` is a file that another test runs.

The exit code is 0 where all went as the page says; otherwise it says what did not.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
import itertools
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

VARYING = re.compile(r"\d+(\.\d+)? m?s\b|(?<=127\.0\.0\.1)[:_]\d+|\d{4}-\d\d-\d\d \d\d:\d\d(?= UTC)")
"""What no two runs have in common: seconds, the sandbox's port, the moment of the run."""

SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def play(page: Path) -> list[str]:
    """Run all examples of a page; give a text for each that did not do what is there."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    wrong = []
    with asyncio.Runner() as runner:
        for block, following in itertools.pairwise([*tokens, Token("", "", 0)]):
            expected = following.content if (following.type, following.info) == ("fence", "text") else None
            match block.info.split() if block.type == "fence" else []:
                case ["python"]:
                    printed = run_python(block, page, namespace, runner)
                case ["sh"] if re.search(r"^(neto-async|cat) ", block.content, re.MULTILINE):
                    printed = run_command(block)
                    expected = "..." if expected is None else expected
                case _:
                    continue
            if difference := differs(expected or "", printed):
                wrong.append(f"{page.name}, line {block.map[0] + 1}: {difference}")
    return wrong


def run_python(block: Token, page: Path, namespace: dict[str, Any], runner: asyncio.Runner) -> str:
    """Run a block as part of the page's program; give what it prints."""
    # The lines above keep a traceback's numbers those of the page.
    source = "\n" * (block.map[0] + 1) + block.content
    code = compile(source, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        result = eval(code, namespace)
        if inspect.iscoroutine(result):
            runner.run(result)
    return printed.getvalue()


def run_command(block: Token) -> str:
    """Run a block in a shell, up to a command that fails; give what it prints."""
    done = subprocess.run(
        ["sh", "-ec", block.content], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"exit code {done.returncode} of\n{block.content}, which printed\n{done.stdout}")
    return done.stdout


def differs(expected: str, printed: str) -> str:
    """Compare a page's text with what was printed; give the differences, or nothing."""
    said, seen = (VARYING.sub("…", text) for text in (expected, printed))
    checker = doctest.OutputChecker()
    if checker.check_output(said, seen, SAME):
        return ""
    return checker.output_difference(doctest.Example("", said), seen, SAME | doctest.REPORT_UDIFF)


if __name__ == "__main__":
    sys.exit("\n".join(play(Path(sys.argv[1]))) or 0)
