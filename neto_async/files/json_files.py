"""
Rows of JSON: one object a line (JSON Lines), or one array of objects. May import: errors, rows.

Both are read piece by piece. In JSON Lines a bad line costs only that line; in an array it makes the file unreadable.

A name that occurs twice in an object makes the row unreadable: JSON readers silently drop one of the two.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn, TextIO

from neto_async.errors import SourceError
from neto_async.files.rows import Row, some

__all__ = ["MAX_LINE", "document_rows", "line_rows", "path_of_rows", "refuse_array"]

MAX_LINE = 4_000_000
"""Characters of one object, at most: it takes some twenty times as much memory, and no log can be as long."""

MAX_INSIDE = 4  # objects inside one another that dotted names reach into

_PIECE = 1 << 20  # characters of an array that are read at a time

_BEYOND = "a number or a nesting too large, NaN or Infinity"

_BLANK = re.compile(r"[ \t\r\n]*")

_WRAPPER = re.compile(r'\{\s*(?:"CustomerLogs"\s*:\s*\{\s*)?"CustomerLog"\s*:\s*')
"""How the vendor's own request begins: ``{"CustomerLogs": {"CustomerLog": [`` …, or the inner object alone."""

_WRAPPER_FITS = 1000  # characters that hold it, blanks included


class _Repeated(dict[str, Any]):
    """An object that has a name more than once."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(found)


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=Decimal, parse_constant=_no_constant)


def line_rows(text: TextIO, *, name: str) -> Iterator[Row]:
    """Yield one row for each line that is not blank. A line too long for one object raises `SourceError`."""
    number = 0
    while line := text.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE:
            raise SourceError(
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
        return Row(line=number, fault="this object has a name more than once", raw=raw)
    if any(isinstance(value, dict) for value in found.values()):
        found = dict(_with_inner(found, ""))
    return Row(line=number, columns=tuple(found), cells=tuple(found.values()))


def _with_inner(found: dict[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    """Yield what an object holds, and with dotted names what is inside of its objects."""
    for name, value in found.items():
        yield f"{before}{name}", value
        if isinstance(value, dict) and before.count(".") < MAX_INSIDE:
            yield from _with_inner(value, f"{before}{name}.")


def refuse_array(text: TextIO, *, name: str) -> None:
    """Raise `SourceError` where a file of JSON Lines is one array, of whose lines some could be objects."""
    if _Document(text, name).follows("["):
        raise SourceError(f"{name}: this is a JSON array, not JSON Lines: --input-format json reads it")


def path_of_rows(text: TextIO, *, name: str, given: str | None = None) -> tuple[str, ...]:
    """
    Find the list of rows inside a document's objects: the one that is given, or the only list of objects.

    Returns:
        The names that lead there; none where the document is the list, or the vendor's own request.

    Raises:
        SourceError: The document is not well formed, or there are none or several.
    """
    document = _Document(text, name)
    if given is None and (not document.follows("{") or document.match(_WRAPPER)):
        return ()
    lists: Counter[tuple[str, ...]] = Counter(path for path, _ in _lists(document, (), count=True))
    document.skip_blank()
    if not document.at_end:
        if document.follows("{"):
            raise SourceError(f"{name}: this looks like JSON Lines, one object a line: --input-format jsonl reads it")
        raise document.error("expected the end of the file")
    if given is not None:
        wanted = tuple(given.split("."))
        if wanted in lists:
            return wanted
        wrong = f'no list of objects at "{given}"'
    elif len(lists) == 1:
        return next(iter(lists))
    else:
        wrong = "several lists of objects" if lists else "no list of objects"
    found = some([".".join(path) for path, _ in lists.most_common()])
    hint = f"; say which one holds the rows, as in --rows {found.split(', ')[0]} (there are: {found})" if found else ""
    single = "; if it is one object a line: --input-format jsonl" if not lists else ""
    raise SourceError(f"{name}: {wrong}{hint}{single}")


def _lists(document: _Document, path: tuple[str, ...], *, count: bool = False) -> Iterator[tuple[tuple[str, ...], Row]]:
    """Yield the elements of lists of objects inside of objects, each with where it is; of an empty one a row."""
    if len(path) > MAX_INSIDE or not (document.follows("{") or document.follows("[")):
        document.row()
    elif document.follows("["):
        document.take("[")
        objects = document.follows("{")
        if count and document.follows("]"):
            yield path, Row(line=0)
        for row in _array(document):
            if objects:
                yield path, row
    else:
        document.take("{")
        while not document.follows("}"):
            document.skip_blank()
            key = document.name()
            document.take(":")
            document.skip_blank()
            yield from _lists(document, (*path, key), count=count)
            if not document.follows("}"):
                document.take(",")
        document.take("}")


def document_rows(text: TextIO, *, name: str, path: tuple[str, ...] = ()) -> Iterator[Row]:
    """
    Yield one row for each object of an array, which may be in the vendor's own wrapper. It is read piece by piece.

    ``path`` are the names that lead to the array, as `path_of_rows` gives them.

    Raises:
        SourceError: The document is not well formed, is neither, or one of its objects is too large; the text names
            the line and the column.
    """
    document = _Document(text, name)
    document.skip_blank()
    if path:
        yield from (row for where, row in _lists(document, ()) if where == path)
        return
    wrapper = document.match(_WRAPPER)
    ends = "}" * wrapper.count("{")
    if document.follows("["):
        document.take("[")
        yield from _array(document)
    elif wrapper and document.follows("{"):
        yield document.row()
    else:
        raise document.error('expected an array of objects, or {"CustomerLogs": {"CustomerLog": [...]}}')
    for end in ends:
        document.take(end)
    document.skip_blank()
    if not document.at_end:
        raise document.error("expected the end of the file")


def _array(document: _Document) -> Iterator[Row]:
    if not document.follows("]"):
        yield document.row()
        while not document.follows("]"):
            document.take(",")
            document.skip_blank()
            yield document.row()
    document.take("]")


class _Document:
    """JSON text that is read piece by piece; only the current piece is held."""

    def __init__(self, text: TextIO, name: str) -> None:
        self._text = text
        self._name = name
        self._held = text.read(_PIECE).removeprefix("\ufeff")
        self._at = 0  # what was read of the piece that is held
        self._line = 1  # of the start of that piece
        self._column = 1  # of it too

    @property
    def at_end(self) -> bool:
        return self._at == len(self._held)

    def _read_on(self) -> bool:
        """Drop what was read, and hold as much again as is left; False at the end of the text."""
        more = self._text.read(max(_PIECE, len(self._held) - self._at))
        if more:
            self._line, self._column = self._place(self._at)
            self._held = self._held[self._at :] + more
            self._at = 0
        return bool(more)

    def _place(self, at: int) -> tuple[int, int]:
        breaks = self._held.count("\n", 0, at)
        column = at - self._held.rfind("\n", 0, at) if breaks else self._column + at
        return self._line + breaks, column

    def error(self, what: str, at: int | None = None) -> SourceError:
        line, column = self._place(self._at if at is None else at)
        return SourceError(f"{self._name}, line {line}, column {column}: this is not JSON that can be read: {what}")

    def skip_blank(self) -> None:
        while True:
            blank = _BLANK.match(self._held, self._at)
            self._at = blank.end() if blank else self._at
            if not self.at_end or not self._read_on():
                return

    def match(self, pattern: re.Pattern[str]) -> str:
        """Pass over what a pattern matches; give it."""
        while len(self._held) - self._at < _WRAPPER_FITS and self._read_on():
            pass
        found = pattern.match(self._held, self._at)
        self._at = found.end() if found else self._at
        return found[0] if found else ""

    def follows(self, mark: str) -> bool:
        self.skip_blank()
        return self._held.startswith(mark, self._at)

    def take(self, mark: str) -> None:
        if not self.follows(mark):
            raise self.error(f"expected {mark!r}")
        self._at += len(mark)

    def row(self) -> Row:
        """Read one element of the array."""
        found, end = self._decoded()
        while end == len(self._held) and self._read_on():
            found, end = self._decoded()  # a number goes on, perhaps
        if end - self._at > MAX_LINE:
            raise self._too_long()
        line, _ = self._place(self._at)
        row = _row(line, found, self._held[self._at : end])
        self._at = end
        return row

    def name(self) -> str:
        """Read the name of a value."""
        found, end = self._decoded()
        if not isinstance(found, str):
            raise self.error("expected a name in quotes")
        self._at = end
        return found

    def _too_long(self) -> SourceError:
        return self.error(f"not one object within {MAX_LINE:,} characters")

    def _decoded(self) -> tuple[Any, int]:
        while True:
            try:
                return _DECODER.raw_decode(self._held, self._at)
            except json.JSONDecodeError as error:
                if len(self._held) - self._at > MAX_LINE:
                    raise self._too_long() from None
                if not self._read_on():
                    raise self.error(error.msg, error.pos) from None
            except (ValueError, RecursionError):
                raise self.error(_BEYOND) from None
