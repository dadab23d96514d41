"""The pages on tracing and logging name all there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import neto_async
from neto_async.integrations import opentelemetry

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def test_every_metric_is_on_the_page():
    """The page's tables name every metric, and every attribute of our own."""
    measures = [*opentelemetry.COUNTERS, *opentelemetry.SUMS, *opentelemetry.GAUGES]
    source = Path(opentelemetry.__file__).read_text(encoding="utf-8")
    named = {measure.name for measure in measures} | set(re.findall(r'"((?:neto|http|messaging)\.[\w.]+)"', source))
    assert set() == named - set(re.findall(r"`([\w.]+)`", page("trace")))
    assert set(opentelemetry.OUTCOMES.values()) <= set(re.findall(r"`(\w+)`", page("trace")))


SOURCES = [source.read_text(encoding="utf-8") for source in Path(neto_async.__file__).parent.rglob("*.py")]
LOGGING = [source for source in SOURCES if "logger." in source]


def logged() -> set[tuple[str, str]]:
    """Give level and text of every line that the package logs."""
    lines = set()
    for source in LOGGING:
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="logger"), attr=level), args=[ast.Constant(text), *_]
                ):
                    lines.add((level.upper(), text))
    return lines


def test_the_page_lists_every_line_that_is_logged():
    """Level and text of each line in the code are in a row of the table, and no row names another."""
    rows = re.findall(r"^\| ([A-Z]+) \| `(.+?)` \|", page("logging"), re.MULTILINE)
    assert logged() == set(rows)
    assert len(rows) == len(set(rows))


def test_the_page_lists_every_key_of_a_line():
    """The keys that lines carry for a formatter are those in the table."""
    in_code = {key for source in LOGGING for key in re.findall(r'"(neto_\w+)":', source)}
    assert in_code == set(re.findall(r"`(neto_(?!async)\w+)`", page("logging")))
