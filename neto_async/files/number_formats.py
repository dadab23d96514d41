"""Number formats of a workbook, and the text that each shows (ECMA-376 part 1, 18.8.30). May import: rows."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from attrs import frozen

from neto_async.files.rows import FaultyCell

__all__ = ["NUMBER", "NumberFormat", "format_of"]

# Numbers of the formats that no workbook writes down (18.8.30, East Asian ones included).
_TIMES = {18, 19, 20, 21, 45, 47}
_DATES = {14, 15, 16, 17, 22, *range(27, 37), *range(50, 59)}
_BUILT_IN = {9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?", 13: "# ??/??", 46: "[h]:mm:ss", 48: "##0.0E+0"}

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"?|\\(?P<escaped>.)|(?P<space>_).|(?P<fill>\*).|\[(?P<bracket>[^\[\]]*)\]|(?P<end>;)|'
    r"(?P<general>General)|(?P<digit>[0#?])|(?P<point>\.)|(?P<comma>,)|(?P<percent>%)|(?P<text>@)"
    r"|(?P<plain>[-$+/():!^&'~{}<>= ])|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)

_KINDS = {"digit": "d", "point": ".", "comma": ",", "percent": "%", "other": "x", "condition": "x", "general": "g"}
_SHAPE = re.compile(r"[l%]*(?:d(?:[ld,]*d)?[l%]*(?:\.[ld]*)?)?[l%]*|l*gl*")
"""Sections that are read: letters are kinds of their parts, and ``l`` all others, which are shown as they are."""

_COLOUR = re.compile("black|blue|cyan|green|magenta|red|white|yellow|color ?[0-9]{1,2}", re.IGNORECASE)
_ELAPSED = re.compile("h+|m+|s+", re.IGNORECASE)

_LONGEST = 255  # characters of a number format, at most (Excel's specifications and limits)
_EXACT = Context(prec=2 * _LONGEST + 40, rounding=ROUND_HALF_UP)
_UNKNOWN = "a number format that is too special to be read; format the column as text, or as plain numbers"

_Section = list[tuple[str, str]]


@frozen
class NumberFormat:
    """
    How a cell is shown.

    Attributes:
        shows: ``number``, ``day`` (with or without a time), ``time`` or ``elapsed``.
        sections: The parts of a number's format: for positive ones, negative ones, zero and texts.
        since_1904: Whether days are counted from 1904, as old workbooks of Macs do.
    """

    shows: str = "number"
    sections: tuple[_Section, ...] = ()
    since_1904: bool = False

    def number(self, value: int | Decimal) -> Any:
        """Give what the cell shows of a number; the number itself where that is all."""
        numeric = [section for section in self.sections if ("text", "@") not in section]
        at = 1 if value < 0 and len(numeric) > 1 else 2 if value == 0 and len(numeric) > 2 else 0  # noqa: PLR2004
        if not numeric or (at == 0 and _is_plain(numeric[0])):
            return value
        shown = _rendered(numeric[at], abs(Decimal(value)))
        if not shown:
            return FaultyCell(shown=str(value), fault=_UNKNOWN)
        return f"-{shown}" if value < 0 and at == 0 and re.search("[1-9]", shown) else shown

    def text(self, text: str) -> str:
        """Give what the cell shows of a text."""
        section = self.sections[-1]
        return "".join(text if kind == "text" else mark for kind, mark in section) if ("text", "@") in section else text


NUMBER = NumberFormat()


def format_of(number: int, codes: dict[int, str], *, since_1904: bool = False) -> NumberFormat:
    """Say what the number format with this number shows; `codes` are those that the workbook writes down."""
    code = codes.get(number, _BUILT_IN.get(number))
    if code is None:
        shows = "time" if number in _TIMES else "day" if number in _DATES else "number"
        return NumberFormat(shows, since_1904=since_1904)
    if len(code) > _LONGEST:
        raise ValueError("a number format longer than Excel's")
    sections = _sections(code)
    kinds = {kind for kind, _ in sections[0]}
    letters = "".join(mark for kind, mark in sections[0] if kind == "other")
    if "elapsed" in kinds:
        return NumberFormat("elapsed")
    if "general" not in kinds and re.search("[dmyhs]", letters, re.IGNORECASE):
        return NumberFormat("day" if re.search("[dy]", letters, re.IGNORECASE) else "time", since_1904=since_1904)
    return NumberFormat("number", tuple(sections))


def _sections(code: str) -> list[_Section]:
    sections: list[_Section] = [[]]
    for found in _TOKEN.finditer(code):
        kind, mark = str(found.lastgroup), found[str(found.lastgroup)]
        if kind == "bracket":
            if mark.startswith("$"):
                kind, mark = "literal", mark[1:].partition("-")[0]
            else:
                kind = "elapsed" if _ELAPSED.fullmatch(mark) else "fill" if _COLOUR.fullmatch(mark) else "condition"
        elif kind in {"quoted", "escaped", "plain"}:
            kind = "literal"
        if kind == "end":
            sections.append([])
        elif kind != "fill":
            sections[-1].append((kind, " " if kind == "space" else mark))
    return sections


def _is_plain(section: _Section) -> bool:
    """Whether a section shows a number and no more, if rounded or with marks between thousands."""
    marks = "".join("l" * bool(mark) if kind == "literal" else mark for kind, mark in section if kind != "space")
    return bool(re.fullmatch(r"general|(?=.)[#?,]*0?(?:\.[0#?]*)?", marks, re.IGNORECASE))


def _rendered(section: _Section, value: Decimal) -> str | None:
    """Put the digits of a number into the places of a section; None where that takes more than digits."""
    kinds = "".join(_KINDS.get(kind, "l") for kind, _ in section)
    if not _SHAPE.fullmatch(kinds) or {("literal", "/"), ("digit", "?")} <= set(section):
        return None
    if "d" not in kinds:
        return "".join(str(value) if kind == "general" else mark for kind, mark in section).strip()
    end = kinds.find(".") if "." in kinds else len(kinds)
    number = _EXACT.scaleb(value, 2 * kinds.count("%")).quantize(
        Decimal(1).scaleb(-kinds.count("d", end)), None, _EXACT
    )
    whole, _, part = f"{number:f}".partition(".")
    before = _whole(section[:end], list(whole.lstrip("0")), grouped="," in kinds)
    marks = "".join(mark for kind, mark in section[end:] if kind == "digit")
    digits = iter(part[: max(len(part.rstrip("0")), marks.rfind("0") + 1)])
    after = [next(digits, "") if kind == "digit" else mark for kind, mark in section[end:]]
    return f"{before}{''.join(after)}".strip()


def _whole(section: _Section, digits: list[str], *, grouped: bool) -> str:
    """Put digits into places from the right; the first place takes all that are left."""
    shown: list[str] = []
    places = sum(kind == "digit" for kind, _ in section)
    count = 0
    for kind, mark in reversed(section):
        if kind != "digit":
            shown.append(mark if kind != "comma" else "")
            continue
        places -= 1
        for _ in range(1 if places else max(1, len(digits))):
            digit = digits.pop() if digits else "0" if mark == "0" else ""
            shown += ["," if grouped and digit and count and count % 3 == 0 else "", digit]
            count += 1
    return "".join(reversed(shown))
