"""
How the store gives a log back, learnt from logs known to be added. Pure; imports nothing of the package.

Whether Notes come back as sent is not known of Neto. So several rules are possible at first, and each known log that
comes back rules out those that it contradicts. A text is compared only where all rules that are left expect the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from html import escape, unescape
from itertools import product
from operator import le
from typing import TypeAlias

import attrs
from attrs import field, frozen

__all__ = ["Calibration", "Text"]

_TAG = re.compile(r"<[^<>]*>")
_LINE_END = re.compile(r"\r\n|\r|\n")
_SPECIAL = re.compile(r"[<&\r\n\[{]|%[0-9A-Fa-f]{2}|\\[abefnrtuvx0-9]|[^\x00-\x7f]")
"""What a store may take for more than itself: markup, line ends, fields of a template, escapes as in URLs and in C."""

_TEXT_CHANGES: tuple[tuple[Callable[[str], str], ...], ...] = (
    (lambda text: text, lambda text: _TAG.sub("", text)),
    (lambda text: text, lambda text: _LINE_END.sub("\n", text), lambda text: _LINE_END.sub("\r\n", text)),
    (lambda text: text, str.strip),
)
"""What may happen to a text, in this order: tags stripped, line ends turned, blanks trimmed, or none of it."""

_RULES = tuple(product(*_TEXT_CHANGES))

_Lengths: TypeAlias = tuple[int, ...]
"""Of a text; see `_lengths`."""

_NO_LENGTHS = (0, 0, 0, 0)

_FIELDS = (
    ("AllocatedTo", "AllocatedTo"),
    ("Status", "Status"),
    ("LastContacted", "LastContacted"),
    ("LastContacted", "LastContactedLocal"),
    ("LastContacted", "LastContactedUTC"),
    ("DateRequiredFollowUp", "DateRequiredFollowUp"),
)
"""Under which name a field that was sent may come back (GetCustomer page, developers.maropost.com, read 2026-11)."""


def _apply(rule: tuple[Callable[[str], str], ...], text: str) -> str:
    for change in rule:
        text = change(text)
    return text


@frozen
class Text:
    """
    Notes, as they were sent or as they came back.

    ``words`` has what no store changes: ASCII letters and digits outside of tags, in lower case.
    """

    notes: str = field(repr=False)
    words: str = field(repr=False)

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> Text:
        """Take the Notes of a log; entities in them may be escaped twice."""
        notes = fields.get("Notes", "")
        plain = _TAG.sub("", unescape(unescape(notes))).lower()
        return cls(notes, "".join(re.findall("[a-z0-9]+", plain)))

    def looks_like(self, sent: Text) -> bool:
        """Say whether it has all words of what was sent, or is the same text."""
        return sent.words in self.words if sent.words else sent.notes == self.notes

    def may_become(self, stored: Text) -> bool:
        """Say whether it can have become another record's text, which must then be its beginning."""
        return not self.words or self.words.startswith(stored.words)


@frozen(kw_only=True)
class Calibration:
    """
    How the store gives logs back, as far as it is known.

    Attributes:
        witnesses: Known logs that came back.
        longest_sent: Lengths of the longest texts, as they were sent, that came back as a rule expects it.
        longest_back: Lengths of the longest of such texts, as they came back.
        specials: What such texts held that a store may do something to; "<>" for tags.
        rules: What may happen to Notes, as far as no known log contradicts it.
        fields: Under which names other fields come back, as far as no known log contradicts it.
    """

    witnesses: int = 0
    longest_sent: _Lengths = _NO_LENGTHS
    longest_back: _Lengths = _NO_LENGTHS
    specials: frozenset[str] = frozenset()
    rules: tuple[tuple[Callable[[str], str], ...], ...] = field(default=_RULES, repr=False)
    fields: tuple[tuple[str, str], ...] = field(default=_FIELDS, repr=False)

    def learn(self, sent: Mapping[str, str], stored: Mapping[str, str]) -> Calibration:
        """Take in a known log that came back; one whose Notes no rule explains teaches nothing but that it is there."""
        if not self.explains(sent, stored):
            return attrs.evolve(self, witnesses=self.witnesses + 1)
        notes, given = sent.get("Notes", ""), stored.get("Notes", "")
        return Calibration(
            witnesses=self.witnesses + 1,
            longest_sent=_longest((self.longest_sent, _lengths(notes))),
            longest_back=_longest((self.longest_back, _lengths(given))),
            specials=self.specials | _specials(notes),
            rules=tuple(rule for rule in self.rules if _apply(rule, notes) == given),
            fields=tuple(pair for pair in self.fields if not _differs(pair, sent, stored)),
        )

    def explains(self, sent: Mapping[str, str], stored: Mapping[str, str]) -> bool:
        """Say whether Notes came back as any rule expects, so that nobody has edited them."""
        notes, given = sent.get("Notes", ""), stored.get("Notes", "")
        return any(_apply(rule, notes) == given for rule in _RULES)

    def key(self, sent: Mapping[str, str]) -> tuple[str, ...] | None:
        """
        Return what distinguishes a record from others once it comes back: first its Notes, as they come back.

        None for a record without Notes, and where the rules that are left do not expect the same Notes.
        """
        notes = {_apply(rule, sent.get("Notes", "")) for rule in self.rules}
        if len(notes) != 1 or "" in notes:
            return None
        return (*notes, *(sent.get(name, "") for name, _ in self.fields))

    def agrees(self, sent: Mapping[str, str], stored: Mapping[str, str]) -> bool:
        """Say whether the fields beside Notes that come back hold what was sent."""
        return not any(_differs(pair, sent, stored) for pair in self.fields)

    def comes_whole(self, sent: Text) -> bool:
        """
        Say whether all words of a text come back, so that a log without them is another one.

        That is so if a text as long, and with such characters, was seen to come back. Otherwise the log can hold
        anything, as it can for a text without words.
        """
        sent_lengths = _lengths(sent.notes)
        back_lengths = _longest(_lengths(_apply(rule, sent.notes)) for rule in self.rules) or sent_lengths
        is_seen = _within(sent_lengths, self.longest_sent) and _within(back_lengths, self.longest_back)
        return bool(sent.words) and is_seen and _specials(sent.notes) <= self.specials


def _lengths(text: str) -> _Lengths:
    """Measure a text in all ways in which a store may count before it cuts one: as it is, in bytes, and escaped."""
    escaped = escape(text)
    return len(text), len(text.encode()), len(escaped), len(escaped.encode("ascii", "xmlcharrefreplace"))


def _longest(lengths: Iterable[_Lengths]) -> _Lengths:
    return tuple(map(max, zip(*lengths, strict=True)))


def _within(lengths: _Lengths, limits: _Lengths) -> bool:
    return all(map(le, lengths, limits))


def _specials(text: str) -> frozenset[str]:
    plain = _TAG.sub("", text)
    return frozenset(_SPECIAL.findall(plain)) | ({"<>"} if plain != text else frozenset())


def _differs(pair: tuple[str, str], sent: Mapping[str, str], stored: Mapping[str, str]) -> bool:
    ours, theirs = (fields.get(name, "") for fields, name in zip((sent, stored), pair, strict=True))
    if pair[1] == "DateRequiredFollowUp":  # comes back as a date
        ours, theirs = ours[:10], theirs[:10]
    return bool(ours) and ours != theirs
