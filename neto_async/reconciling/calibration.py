"""
How the store gives a log back, learnt from logs known to be added. Pure; imports nothing of the package.

Whether Notes come back as sent is not known of Neto. So several rules are possible at first, and each known log that
comes back rules out those that it contradicts. A text is compared only where all rules that are left expect the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import unescape
from itertools import product

import attrs
from attrs import field, frozen

__all__ = ["Calibration", "Text"]

_TAG = re.compile(r"<[^<>]*>")
_LINE_END = re.compile(r"\r\n|\r|\n")
_SPECIAL = re.compile(r"[<&\r\n]|[^\x00-\x7f]")

_TEXT_CHANGES: tuple[tuple[Callable[[str], str], ...], ...] = (
    (lambda text: text, lambda text: _TAG.sub("", text)),
    (lambda text: text, lambda text: _LINE_END.sub("\n", text), lambda text: _LINE_END.sub("\r\n", text)),
    (lambda text: text, str.strip),
)
"""What may happen to a text, in this order: tags stripped, line ends turned, blanks trimmed, or none of it."""

_RULES = tuple(product(*_TEXT_CHANGES))

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
        longest_sent: Characters of the longest text, as it was sent, that came back as a rule expects it.
        longest_back: Characters of the longest of such texts, as it came back.
        specials: Characters of such texts that a store may do something to; "<>" for tags.
        rules: What may happen to Notes, as far as no known log contradicts it.
        fields: Under which names other fields come back, as far as no known log contradicts it.
    """

    witnesses: int = 0
    longest_sent: int = 0
    longest_back: int = 0
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
            longest_sent=max(self.longest_sent, len(notes)),
            longest_back=max(self.longest_back, len(given)),
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
        length = max((len(_apply(rule, sent.notes)) for rule in self.rules), default=len(sent.notes))
        is_seen = len(sent.notes) <= self.longest_sent and length <= self.longest_back
        return bool(sent.words) and is_seen and _specials(sent.notes) <= self.specials


def _specials(text: str) -> frozenset[str]:
    plain = _TAG.sub("", text)
    return frozenset(_SPECIAL.findall(plain)) | ({"<>"} if plain != text else frozenset())


def _differs(pair: tuple[str, str], sent: Mapping[str, str], stored: Mapping[str, str]) -> bool:
    ours, theirs = (fields.get(name, "") for fields, name in zip((sent, stored), pair, strict=True))
    if pair[1] == "DateRequiredFollowUp":  # comes back as a date
        ours, theirs = ours[:10], theirs[:10]
    return bool(ours) and ours != theirs
