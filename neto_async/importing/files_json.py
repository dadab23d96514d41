"""
Rows of JSON: one object a line (JSON Lines), or one array of objects. May import: errors, files_rows.

JSON Lines is the form for long files: it is read line by line, and a bad line costs that line alone. An array is
read whole, since nothing in it is certain before its last bracket.

A name that stands twice in an object, of which JSON readers silently drop one, makes the row unreadable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from decimal import Decimal
from typing import Any, NoReturn, TextIO

from neto_async.errors import ConfigurationError
from neto_async.importing.files_rows import Row

__all__ = ["MAX_DOCUMENT", "document_rows", "line_rows"]

MAX_DOCUMENT = 64 * 1024 * 1024
"""Bytes of a JSON document, at most; it takes several times as much memory."""

MAX_LINE = 16_000_000
"""Characters in one line of JSON Lines, at most."""

_BEYOND = "a number or a nesting too large, NaN or Infinity"

_BLANK = re.compile(r"[ \t\r\n]*")

_WRAPPER = re.compile(r'\{\s*(?:"CustomerLogs"\s*:\s*\{\s*)?"CustomerLog"\s*:\s*')
"""How the vendor's own request begins: ``{"CustomerLogs": {"CustomerLog": [`` …, or the inner object alone."""


class _Repeated(dict[str, Any]):
    """An object in which a name stands more than once."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(found)


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=Decimal, parse_constant=_no_constant)


def line_rows(text: TextIO, *, name: str) -> Iterator[Row]:
    """
    Yield one row for each line that is not blank.

    Raises:
        ConfigurationError: A line is too long to be one object.
    """
    number = 0
    while line := text.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE:
            raise ConfigurationError(
                f"{name}, line {number}: more than {MAX_LINE:,} characters in one; JSON Lines has one object a line"
            )
        if line.strip(" \t\r\n\ufeff"):
            yield _line_row(number, line.strip(" \t\r\n\ufeff"))


def _line_row(number: int, line: str) -> Row:
    try:
        found = _DECODER.decode(line)
    except json.JSONDecodeError as error:
        return Row(line=number, fault=f"this is not JSON: {error.msg} (column {error.colno})", raw=line)
    except (ValueError, RecursionError):
        return Row(line=number, fault=f"this is not JSON that can be read: {_BEYOND}", raw=line)
    return _row(number, found, line)


def _row(number: int, found: object, raw: str) -> Row:
    if not isinstance(found, dict):
        return Row(line=number, fault="this is not a JSON object", raw=raw)
    if isinstance(found, _Repeated):
        return Row(line=number, fault="a name stands more than once in this object", raw=raw)
    return Row(line=number, columns=tuple(found), cells=tuple(found.values()))


def document_rows(text: TextIO, *, name: str) -> Iterator[Row]:
    """
    Yield one row for each object of an array, which may stand in the vendor's own wrapper.

    Raises:
        ConfigurationError: The document is not well formed, is neither, or is too large; the text names the line and
            the column.
    """
    document = text.read(MAX_DOCUMENT + 1)
    if len(document) > MAX_DOCUMENT:
        raise too_large(name)
    return _document_rows(document.removeprefix("\ufeff"), name)


def too_large(name: str) -> ConfigurationError:
    """Make the error for a document that is too long to be read whole."""
    return ConfigurationError(
        f"{name}: a JSON document of more than {MAX_DOCUMENT // 1024 // 1024} MiB is not read whole; write it as JSON "
        "Lines, one object a line, which has no limit"
    )


def _document_rows(document: str, name: str) -> Iterator[Row]:
    at = _skip_blank(document, 0)
    wrapper = _WRAPPER.match(document, at)
    ends = ""
    if wrapper:
        ends = "}" * wrapper[0].count("{")
        at = _skip_blank(document, wrapper.end())
    places = _Places(document, name)
    if document.startswith("[", at):
        at = yield from _array(document, at + 1, places)
    elif wrapper and document.startswith("{", at):
        at = yield from _element(document, at, places)
    else:
        raise places.error(at, 'expected an array of objects, or {"CustomerLogs": {"CustomerLog": [...]}}')
    for end in ends:
        at = _expect(document, at, end, places)
    if _skip_blank(document, at) < len(document):
        raise places.error(_skip_blank(document, at), "expected the end of the file")


def _array(document: str, at: int, places: _Places) -> Generator[Row, None, int]:
    at = _skip_blank(document, at)
    if document.startswith("]", at):
        return at + 1
    while True:
        at = yield from _element(document, at, places)
        at = _skip_blank(document, at)
        if document.startswith("]", at):
            return at + 1
        at = _skip_blank(document, _expect(document, at, ",", places))


def _element(document: str, at: int, places: _Places) -> Generator[Row, None, int]:
    line = places.line(at)
    try:
        found, end = _DECODER.raw_decode(document, at)
    except json.JSONDecodeError as error:
        raise places.error(error.pos, error.msg) from None
    except (ValueError, RecursionError):
        raise places.error(at, _BEYOND) from None
    yield _row(line, found, document[at:end])
    return end


def _expect(document: str, at: int, wanted: str, places: _Places) -> int:
    at = _skip_blank(document, at)
    if not document.startswith(wanted, at):
        raise places.error(at, f"expected {wanted!r}")
    return at + 1


def _skip_blank(document: str, at: int) -> int:
    blank = _BLANK.match(document, at)
    return blank.end() if blank else at


class _Places:
    """Lines and columns of a document, counted on as one goes through it."""

    def __init__(self, document: str, name: str) -> None:
        self._document = document
        self._name = name
        self._counted = 0
        self._line = 1

    def line(self, at: int) -> int:
        self._line += self._document.count("\n", self._counted, at)
        self._counted = at
        return self._line

    def error(self, at: int, what: str) -> ConfigurationError:
        line = self._document.count("\n", 0, at) + 1
        column = at - self._document.rfind("\n", 0, at)
        return ConfigurationError(
            f"{self._name}, line {line}, column {column}: this is not JSON that can be read: {what}"
        )
