"""Run the questions, each in a fresh process, and print the tables. May import: questions, measuring, tables."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import T, in_fresh_process
from benchmarks.questions import QUESTIONS, ask
from benchmarks.tables import as_json, machine, table_of, table_of_targets


def main() -> None:
    """Measure what was asked for, everything by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed beside peers.")
    parser.add_argument("questions", nargs="*", choices=[*QUESTIONS, []], metavar="question", help=", ".join(QUESTIONS))
    parser.add_argument(
        "--quick", action="store_true", help="only try whether everything runs: the figures say nothing"
    )
    parser.add_argument("--orjson", action="store_true", help="let package and peers use orjson, of the extra `speed`")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    options = parser.parse_args()
    tables, unmeasured = [], {}
    run = _in_this_process if options.quick else in_fresh_process
    about = machine()
    print(f"Python {about['python']}, {about['cores']} cores, load {about['load']}\n")
    for name in options.questions or QUESTIONS:
        print(f"{name}: {QUESTIONS[name]}\n", flush=True)
        try:
            answers = run(ask, name, quick=options.quick, orjson=options.orjson)
        except ModuleNotFoundError as missing:
            unmeasured[name] = f"needs {missing.name}, of the dependency group `bench`"
            continue
        for answer in answers:
            unmeasured |= answer.left_out
            print(table_of(answer), end="\n\n", flush=True)
            tables.append(as_json(answer))
    targets = [target for table in tables for target in table["targets"]]
    print(table_of_targets(targets, unmeasured))
    if options.quick:
        print("\nA quick run: the figures say nothing.")
    if options.json:
        told = {
            "machine": about,
            "quick": options.quick,
            "orjson": options.orjson,
            "tables": tables,
            "unmeasured": unmeasured,
        }
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _in_this_process(work: Callable[..., T], *arguments: Any, **options: Any) -> T:
    return work(*arguments, **options)


if __name__ == "__main__":
    main()
