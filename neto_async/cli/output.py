"""
How the command writes: all that goes to a terminal, a file or a pipe goes through here, and is escaped.

`guard_streams` covers whatever writes to the standard streams (click, tracebacks, warnings); `Output` writes lines with
colours of its own. May import: escaping.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any

from attrs import frozen
from rich.console import Console
from rich.text import Text

from neto_async.escaping import escaped

__all__ = ["Output", "OutputError", "complain", "guard_streams", "write_json", "writing"]


class OutputError(Exception):
    """The output, a screen, file or pipe, can't be written any more."""


@frozen
class _EscapingStream:
    """A text stream that escapes each line written to it."""

    raw: TextIOWrapper

    def write(self, text: str) -> int:
        """Write text; the line ends in it stay."""
        return self.raw.write("\n".join(map(escaped, text.split("\n"))))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def guard_streams() -> None:
    """Escape all that is written to standard output and standard error from now on."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a log file's encoding may lack a customer's letters
            setattr(sys, name, _EscapingStream(stream))


class _Console(Console):
    """A console that reports a closed pipe like any other write error."""

    def on_broken_pipe(self) -> None:
        """Raise the error that is being handled; rich itself would end the process."""
        raise  # noqa: PLE0704


@contextmanager
def writing() -> Iterator[None]:
    """Raise `OutputError` where the block can't write."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"the output can't be written: {error.strerror}") from None


class Output:
    """
    Writes lines to standard output or, where that is for a program, to standard error.

    All its methods raise `OutputError` where that is not possible.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        self.console: _Console = _Console(file=getattr(stream, "raw", stream))

    @property
    def at_a_terminal(self) -> bool:
        """Whether a person reads what is written, at once."""
        # What rich says may come from the environment, as for a log that takes colours.
        return self.console.file.isatty()

    def say(self, *lines: str, wrap: bool = True, style: str = "") -> None:
        """
        Write lines; without any, an empty one.

        Args:
            lines: Each is one line: a line end in it is escaped too.
            wrap: Break long lines at a terminal, between words.
            style: Colour.
        """
        for line in lines or ("",):
            with writing():
                self.console.print(
                    Text(escaped(line).rstrip(), style=style), soft_wrap=not (wrap and self.console.is_terminal)
                )


def write_json(value: dict[str, object]) -> None:
    """Write an object for a program as one line of standard output, or raise `OutputError`."""
    with writing():
        print(escaped(json.dumps(value)), flush=True)


def complain(*lines: str) -> None:
    """Write to standard error. Drop what a broken standard output still holds: it would change the exit code."""
    with suppress(OSError):
        print(*map(escaped, lines), sep="\n", file=sys.stderr, flush=True)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
