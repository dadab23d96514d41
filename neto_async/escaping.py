"""Escaping texts of files, folders and stores before they reach a terminal or a log. May import: nothing."""

from __future__ import annotations

import unicodedata

__all__ = ["escaped"]

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escaped(text: str) -> str:
    r"""
    Return the text with each character that can't be seen written as its escape, such as ``\u001b``.

    These are control characters (a terminal obeys ESC and C1 controls), line ends (a forged log line), format
    characters (text direction, zero width), and lone surrogates. Spaces of any width stay as they are. For whatever
    `json.dumps` leaves unescaped the escapes are JSON's as well.
    """
    return text if text.isprintable() else "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    number = ord(character)
    return _SHORT.get(character) or (f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}")  # noqa: PLR2004
