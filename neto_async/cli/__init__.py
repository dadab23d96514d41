"""
The command ``neto-async``. May import: all of the package; nothing of the package imports it.

This file is all that runs where the extras are missing: it says what to install.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command; exits with 1 where an extra is missing."""
    if any(importlib.util.find_spec(name) is None for name in ("click", "rich")):
        sys.exit('neto-async needs its extra: pip install "neto_async[cli,sandbox]"')
    try:
        commands = importlib.import_module("neto_async.cli.commands")
    except KeyboardInterrupt:
        sys.exit("neto-async: stopped")
    commands.run()
