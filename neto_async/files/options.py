"""
Options for reading a file and its cells: one table for the API, the mapping file and the command.

May import: errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from neto_async.errors import ConfigurationError

__all__ = ["CELL_OPTIONS", "DOUBTS", "FILE_OPTIONS", "Option", "checked_options"]

DOUBTS = ("skipped-times", "day-order", "days-as-text", "cut-rows", "last-rows", "garbled-letters")
"""Names of what a plan doubts and no other option answers."""


@frozen
class Option:
    """
    One option.

    Attributes:
        name: Of the argument, and of the key in a mapping file; the command's option has hyphens.
        meaning: A sentence for ``--help``.
        choices: The texts that it may be; empty for any.
        kind: The type of its value; a tuple is any number of texts.
    """

    name: str
    meaning: str
    choices: tuple[str, ...] = ()
    kind: type = str


FILE_OPTIONS = {
    option.name: option
    for option in (
        Option("file_format", "File format (default: from the extension).", ("csv", "jsonl", "json", "xlsx")),
        Option("encoding", "Encoding (default: detected)."),
        Option("delimiter", "Cell delimiter (default: from the header)."),
        Option("sheet", "Sheet of a workbook (default: the first that is not hidden)."),
        Option("header_row", "Line or row that holds the names of the columns (default: found).", kind=int),
        Option("quote", "Whether a quote encloses a cell or is a character of it.", ("double", "none")),
        Option("short_rows", "Read the last cells that a row lacks as empty.", ("empty",)),
        Option("hidden_rows", "Whether rows that a workbook hides, as by a filter, are read.", ("skip", "send")),
        Option("rows", "Where the list of rows is in a JSON document, such as data.items (default: found)."),
    )
}
"""Arguments of `open_rows`, keys of a mapping file's ``[file]``."""

CELL_OPTIONS = {
    option.name: option
    for option in (
        Option("empty", "A word that means an empty cell, such as NULL. May be repeated.", kind=tuple),
        Option("escapes", r"Read \n, \t and \\ in cells as a database dump means them.", ("backslash",)),
        Option("html", "Make plain text of HTML in cells.", ("text",)),
        Option("control_characters", "Remove control characters, which no log can hold.", ("remove",)),
        Option("outer_blanks", "Whether blanks and invisible characters around cells are removed.", ("remove", "keep")),
        Option("any_year", "Take years before 1990 and after 2100.", kind=bool),
        Option("accept", "Send what the plan doubts under this name. May be repeated.", DOUBTS, kind=tuple),
    )
}
"""Arguments of `ColumnMapping`, keys at the top of a mapping file."""


def checked_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check values against the tables, or raise `ConfigurationError`; leave out what is None."""
    known = {**FILE_OPTIONS, **CELL_OPTIONS}
    for name, value in given.items():
        option = known[name]
        if value is None:
            continue
        values = value if option.kind is tuple and not isinstance(value, str) else (value,)
        if option.choices and not all(one in option.choices for one in values):
            raise ConfigurationError(f"{name} must be {' or '.join(option.choices)}")
        if option.kind is int and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigurationError(f"{name} must be a whole number from 1")
        if option.kind is bool and not isinstance(value, bool):
            raise ConfigurationError(f"{name} must be true or false")
        if option.kind is str and not isinstance(value, str):
            raise ConfigurationError(f"{name} must be a text")
    return {name: value for name, value in given.items() if value is not None}
