"""Escapes, HTML and control characters in the cells of other systems. May import: nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

__all__ = ["BACKSLASH_ESCAPES", "BLANKS", "CONTROL_CHARACTERS", "GARBLED", "HTML", "html_as_text", "unescaped"]

CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Those that XML 1.0, and so a log, can't hold."""

BLANKS = " \t\r\n\xa0\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
"""Characters around a text that are hardly a part of it: blanks, and invisible ones."""

BACKSLASH_ESCAPES = re.compile(r"\\[ntr\\](?![a-z]*\\)")
"""Escapes of a database dump; a path of Windows has a further backslash behind a name."""

HTML = re.compile(
    r"</?(?:p|div|br|hr|span|ul|ol|li|b|i|u|a|strong|em|font|table|tr|t[dh]|h\d|img|pre|blockquote|body|html)\b"
    r"[^<>]{0,500}>|&(?:nbsp|amp|[lg]t|quot|apos|#\d{2,5}|#x[0-9a-f]{2,4});",
    re.IGNORECASE,
)
"""Marks of HTML that people don't write."""

GARBLED = re.compile("\ufffd|\u00c3[\u0080-\u00bf\u0152-\u2122]|\u00e2\u20ac")
"""Letters that another program lost, or UTF-8 that it read as Windows-1252: an e with an acute, a curly quote."""

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MEANINGS = {"n": "\n", "t": "\t", "r": "\r", "0": "", "b": "", "Z": ""}

_BREAKING = {"p", "div", "br", "ul", "ol", "table", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote"}
_UNSHOWN = {"script", "style", "head", "title"}


def unescaped(text: str) -> str:
    r"""Read the escapes that MySQL and PostgreSQL write into text files; ``\N`` alone is nothing."""
    if "\\" not in text:
        return text
    if text.strip() == r"\N":
        return ""
    return _ESCAPE.sub(lambda found: _MEANINGS.get(found[1], found[1]), text)


def html_as_text(text: str) -> str:
    """Give the text of HTML, paragraphs on lines of their own; a text without HTML as it is."""
    if not HTML.search(text):
        return text
    reader = _TextOfHtml()
    reader.feed(text)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.pieces).split("\n"))
    return "\n".join(line for line in lines if line)


class _TextOfHtml(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._unshown = 0

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        self._unshown += tag in _UNSHOWN
        if tag in _BREAKING:
            self.pieces.append("\n")
        elif tag == "li":
            self.pieces.append("\n- ")
        elif tag in {"td", "th"}:
            self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._unshown -= tag in _UNSHOWN and self._unshown > 0
        if tag in _BREAKING or tag == "li":
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unshown:
            self.pieces.append(data if self.pieces else data.lstrip())
