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

__all__ = ["FILE_KEYS", "mapping_in", "toml_of"]

FILE_KEYS = ("file_format", "encoding", "delimiter", "sheet")
"""What a mapping may say about how its file is read."""

_KEYS = ("columns", "words", "timezone", "date_formats", "file")


def mapping_in(text: str, *, name: str) -> dict[str, Any]:
    """
    Read the values of a mapping.

    Raises:
        ConfigurationError: It is no TOML, holds an unknown key, or a value of the wrong kind.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name} is no TOML that can be read: {error}") from None
    except RecursionError:
        raise ConfigurationError(f"{name} is no TOML that can be read: too deep a nesting") from None
    for key in found:
        if key not in _KEYS:
            raise ConfigurationError(f"{name}: nothing in a mapping is called {key}; there are {', '.join(_KEYS)}")
    _check_values(found, name)
    return found


def _check_values(found: Mapping[str, Any], name: str) -> None:
    _check_text(found.get("timezone", ""), "timezone", name)
    _check_texts(found.get("date_formats", ""), "date_formats", name)
    for field, columns in _table(found, "columns", name).items():
        _check_texts(columns, f"columns.{field}", name)
    for field in _table(found, "words", name):
        for word, meaning in _table(found["words"], field, name, within="words.").items():
            _check_text(meaning, f"words.{field}.{word}", name)
    for key, value in _table(found, "file", name).items():
        _check_text(value, f"file.{key}", name)


def _table(found: Mapping[str, Any], key: str, name: str, *, within: str = "") -> dict[str, Any]:
    table = found.get(key, {})
    if not isinstance(table, dict):
        raise ConfigurationError(f"{name}: {within}{key} must be a table, as in [{within}{key}]")
    return table


def _check_text(value: object, key: str, name: str) -> None:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}: {key} must be a text in quotes")


def _check_texts(value: object, key: str, name: str) -> None:
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise ConfigurationError(f"{name}: {key} must be a text in quotes, or a list of them")


def toml_of(
    *,
    columns: Mapping[str, Sequence[str]],
    words: Mapping[str, Mapping[str, str]],
    timezone: tzinfo | None,
    date_formats: Sequence[str],
    file: Mapping[str, str],
) -> str:
    """
    Write the values of a mapping, fields under the names given.

    Raises:
        ConfigurationError: The time zone has no name, or a text is one that TOML can't hold.
    """
    top = []
    if timezone is not None:
        top.append(f"timezone = {_text(_zone_name(timezone))}")
    if date_formats:
        top.append(f"date_formats = {_texts(date_formats)}")
    tables = [
        _lines(
            "columns",
            ((field, _text(names[0]) if len(names) == 1 else _texts(names)) for field, names in columns.items()),
        ),
        *(
            _lines(f"words.{field}", ((_text(word), _text(ours)) for word, ours in known.items()))
            for field, known in words.items()
        ),
        _lines("file", ((key, _text(value)) for key, value in file.items())),
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


def _texts(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError("a text holds half a character (a lone surrogate), which TOML can't") from None
    # JSON's escapes are TOML's as well; it leaves out one that TOML wants.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
