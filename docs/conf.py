"""How Sphinx makes the site; `nox -s docs` runs it. Nothing here needs a network."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any

import attrs
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.inspect import object_description

project = "neto_async"
author = "neto_async contributors"
copyright = f"%Y, {author}"  # noqa: A001 - Sphinx's name for it
version = release = metadata.version("neto_async")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
]

html_theme = "furo"
html_title = f"neto_async {release}"
html_show_sphinx = False

myst_heading_anchors = 3
smartquotes = False  # it makes a dash of --option

# A name in single backticks in a docstring is a link to what it names, if that is ours.
default_role = "any"
OTHERS = (
    "aiohttp asyncio collections contextlib datetime fastapi httpx opentelemetry os pathlib procrastinate redis "
    "starlette typing"
)
nitpick_ignore_regex = [
    ("py:.*|any", rf"({OTHERS.replace(' ', '|')})\..*"),
    ("py:class", r"InDoubt|Item|Journal|OutcomeSink|Middleware|.*\.T"),  # named for the type checker alone
]
add_module_names = False
python_maximum_signature_line_length = 80
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

SECTIONS = Config(napoleon_custom_sections=[("Attributes", "params_style")])


def read_signature(*seen: Any) -> tuple[str | None, str | None]:
    """Show the defaults of an attrs class, whose ``__init__`` is made and has no source to read them in."""
    _app, _what, _name, thing, _options, signature, returned = seen
    if isinstance(thing, type) and attrs.has(thing) and signature:
        given = sorted((field for field in attrs.fields(thing) if field.init), key=lambda field: field.kw_only)
        made = [f"{field.default.factory.__name__}()" for field in given if isinstance(field.default, attrs.Factory)]
        for call in made:
            signature = signature.replace("NOTHING", call, 1)
        for field in given:
            signature = signature.replace(f"attr_dict['{field.name}'].default", object_description(field.default))
    return signature, returned


def read_docstring(*seen: Any) -> None:
    """Make reStructuredText of a docstring."""
    app, what, name, thing, options, lines = seen
    if what == "module":
        # Examples in them are indented, and no more; what they may import is for those who change them.
        text = re.sub(r"May import:[^.]+\. ?", "", "\n".join(lines))
        lines[:] = re.sub(r"(?m)^(\S.*\n)\n(?=    \S)", r"\1\n::\n\n", text).splitlines()
    elif what not in {"attribute", "data", "property"}:
        # Of those each is a sentence, whose colon does not part a type from a text.
        lines[:] = GoogleDocstring(lines, SECTIONS, app, what, name, thing, options).lines()


def read_help(_app: Any, _context: Any, lines: list[str]) -> None:
    """Show the preformatted lines of a command's help (here ``| ``) as an example."""
    shown: list[str] = []
    for line in lines:
        if line.startswith("|") and not (shown and shown[-1].startswith("  ")):
            shown += ["::", ""]
        shown.append(line.replace("|", " ", 1) if line.startswith("|") else line)
    lines[:] = shown


def setup(app: Any) -> None:
    """Say how signatures, docstrings and helps are read."""
    app.connect("autodoc-process-signature", read_signature)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("sphinx-click-process-description", read_help)
