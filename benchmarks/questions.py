"""The questions: a module each, with ``measure(*, quick) -> list[Answer]``. May import: measuring, those modules."""

from __future__ import annotations

import sys
from importlib import import_module

from benchmarks.measuring import Answer

QUESTIONS = {
    "quota": "is the limit used up, and never passed?",
    "shared_quota": "do many processes use one limit up, and what does it cost?",
    "encoding": "what does a body cost?",
    "replies": "what does an answer cost?",
    "imports": "what does a whole import cost?",
    "journal": "what does surviving a crash cost?",
    "single_add": "how long does one log take?",
    "burst": "how long do a thousand handlers wait?",
    "guest": "how late does the rest of the application run?",
    "growth": "do memory and CPU time stay flat?",
    "startup": "how long does the import statement take?",
}


def ask(question: str, *, quick: bool, orjson: bool) -> list[Answer]:
    """Measure one question in this process; without orjson as if it were not installed."""
    if not orjson:
        sys.modules["orjson"] = None  # type: ignore[assignment]
    answers: list[Answer] = import_module(f"benchmarks.{question}").measure(quick=quick)
    return answers
