"""
A column mapping as TOML. May import: errors.

The shape is checked here, key by key; what the values mean is the mapping's to check.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import timezone as utc_offset
from datetime import tzinfo
from typing import Any

from neto_async.errors import ConfigurationError
from neto_async.files.options import CELL_OPTIONS

__all__ = ["mapping_in", "toml_of"]

_KEYS = ("columns", "words", "timezone", "date_formats", *CELL_OPTIONS, "file")


def mapping_in(text: str, *, name: str) -> dict[str, Any]:
    """Read the values of a mapping; see `ColumnMapping.loads`."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigurationError(f"{name} is not valid TOML: nested too deeply") from None
    for key in found:
        if key not in _KEYS:
            raise ConfigurationError(f"{name}: unknown key {key!r}; expected one of {', '.join(_KEYS)}")
    _check_values(found, name)
    return found


def _check_values(found: Mapping[str, Any], name: str) -> None:
    _check_texts(found.get("timezone", ""), "timezone", name, several=False)
    for key in ("date_formats", "empty", "accept"):
        _check_texts(found.get(key, ""), key, name)
    for field, columns in _table(found, "columns", name).items():
        _check_texts(columns, f"columns.{field}", name)
    for field in _table(found, "words", name):
        for word, meaning in _table(found["words"], field, name, within="words.").items():
            _check_texts(meaning, f"words.{field}.{word}", name, several=False)
    _table(found, "file", name)


def _table(found: Mapping[str, Any], key: str, name: str, *, within: str = "") -> dict[str, Any]:
    table = found.get(key, {})
    if not isinstance(table, dict):
        raise ConfigurationError(f"{name}: {within}{key} must be a table, as in [{within}{key}]")
    return table


def _check_texts(value: object, key: str, name: str, *, several: bool = True) -> None:
    texts = value if several and isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise ConfigurationError(f"{name}: {key} must be a text in quotes{', or a list of them' if several else ''}")


def toml_of(
    *,
    columns: Mapping[str, Sequence[str]],
    words: Mapping[str, Mapping[str, str]],
    timezone: tzinfo | None,
    date_formats: Sequence[str],
    cells: Mapping[str, Any],
    file: Mapping[str, Any],
) -> str:
    """Write the values of a mapping, fields under the names given; see `ColumnMapping.to_toml`."""
    top = []
    if timezone is not None:
        top.append(f"timezone = {_text(_zone_name(timezone))}")
    if date_formats:
        top.append(f"date_formats = {_texts(date_formats)}")
    top += [f"{key} = {_value(value)}" for key, value in cells.items() if value]
    tables = [
        _lines(
            "columns",
            ((field, _text(names[0]) if len(names) == 1 else _texts(names)) for field, names in columns.items()),
        ),
        *(
            _lines(f"words.{field}", ((_text(word), _text(ours)) for word, ours in known.items()))
            for field, known in words.items()
        ),
        _lines("file", ((key, _value(value)) for key, value in file.items())),
    ]
    return "\n".join(part for part in ("".join(f"{line}\n" for line in top), *tables) if part)


def _lines(table: str, pairs: Iterable[tuple[str, str]]) -> str:
    lines = [f"{key} = {value}\n" for key, value in pairs]
    return "".join([f"[{table}]\n", *lines]) if lines else ""


def _zone_name(zone: tzinfo) -> str:
    if zone is utc_offset.utc:
        return "UTC"
    name = getattr(zone, "key", None)
    if not isinstance(name, str):
        raise ConfigurationError("only a time zone that has a name can be written, such as Australia/Brisbane")
    return name


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    return _texts(value) if isinstance(value, list) else json.dumps(value)


def _texts(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError("a text holds half a character (a lone surrogate), which TOML can't") from None
    # JSON's escapes are TOML's as well; it leaves out one that TOML wants.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
