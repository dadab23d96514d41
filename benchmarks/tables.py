"""Tables of what was measured, for people and as JSON. May import: measuring."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.measuring import Answer, Target, spread_of

LIBRARIES = (
    *("httpx", "httpx2", "httpx-aiohttp", "aiohttp", "attrs", "cattrs", "xmltodict"),
    *("orjson", "msgspec", "lxml", "sniffio", "aiolimiter", "aiodataloader"),
)


def machine() -> dict[str, Any]:
    """Say what the figures were taken on."""
    return {
        "at": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def as_json(answer: Answer) -> dict[str, Any]:
    """Give a table with all its samples."""
    return {
        "title": answer.title,
        "unit": answer.unit,
        "samples": {name: list(samples) for name, samples in answer.samples.items()},
        "targets": [target_as_json(answer, target) for target in answer.targets],
    }


def target_as_json(answer: Answer, target: Target) -> dict[str, Any]:
    """Compare what was measured with what is asked."""
    spread = spread_of(answer.ratios(target.ours, target.peer))
    met = spread.middle >= target.limit if target.at_least else spread.middle <= target.limit
    return {
        "what": target.what,
        "ours": target.ours,
        "peer": target.peer,
        "unit": "ratio" if target.peer else answer.unit,
        "figure": spread.middle,
        "quartiles": [spread.low, spread.high],
        "limit": target.limit,
        "sense": "at least" if target.at_least else "at most",
        "met": met,
    }


def table_of(answer: Answer) -> str:
    """Give the median and quartiles of each candidate; beside them the ratio to the peer of the first target."""
    peer = next((target.peer for target in answer.targets if target.peer), None)
    lines = [f"{answer.title}\n", f"  {answer.unit:34}{'median':>10}{'quartiles':>22}"]
    lines[-1] += f"   of {peer}" if peer else ""
    for name, samples in answer.samples.items():
        spread = spread_of(samples)
        line = f"  {name:34}{number(spread.middle):>10}{between(spread.low, spread.high):>22}"
        lines.append(line + (f"   {spread_of(answer.ratios(name, peer)).middle:.2f}" if peer else ""))
    return "\n".join(lines)


def table_of_targets(targets: Sequence[Mapping[str, Any]], unmeasured: Mapping[str, str]) -> str:
    """Give every target with what was measured, and what was not measured with the reason."""
    lines = [f"  {'target':54}{'figure':>9}{'quartiles':>18}  {'asked':15}"]
    for row in targets:
        figure, between_ = number(row["figure"]), between(*row["quartiles"])
        asked = f"{row['sense']} {row['limit']:g}"
        lines.append(f"  {row['what']:54}{figure:>9}{between_:>18}  {asked:15}{'met' if row['met'] else 'MISSED'}")
    lines += [f"  {question:54}not measured: {reason}" for question, reason in unmeasured.items()]
    return "\n".join(lines)


def number(value: float) -> str:
    """Give three digits that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004


def between(low: float, high: float) -> str:
    """Give a range."""
    return f"{number(low)} to {number(high)}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
