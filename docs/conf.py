"""How Sphinx makes the site; `nox -s docs` runs it. Nothing here needs a network."""

from __future__ import annotations

from importlib import metadata

project = "neto_async"
author = "neto_async contributors"
copyright = f"%Y, {author}"  # noqa: A001 - Sphinx's name for it
version = release = metadata.version("neto_async")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
]

html_theme = "furo"
html_title = f"neto_async {release}"
html_show_sphinx = False

myst_heading_anchors = 3
smartquotes = False  # it makes a dash of --option

# A name in single backticks in a docstring is a link to what it names.
default_role = "py:obj"
add_module_names = False
python_maximum_signature_line_length = 80
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_typehints = "signature"
napoleon_custom_sections = [("Attributes", "params_style")]
