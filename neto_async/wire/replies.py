"""
The document of an answer to one envelope, from whichever shape it came in. Pure; may import bodies, models.

What live stores send differs from the vendor's page, and from call to call: one record as an object and several as a
list, messages in five forms, ``Ack`` left out (read 2026-11). All of it is structured by cattrs into `ApiReply`. Where
a reply says two things at once, `ApiReply.doubt` says so: nothing is settled by a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from attrs import evolve, field, frozen
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, override

from neto_async.models import UNCARRIABLE, StoredCustomer
from neto_async.wire.bodies import branches_in, read_document

__all__ = [
    "Ack",
    "ApiReply",
    "Entries",
    "Message",
    "Severity",
    "log_id_in",
    "read_reply",
    "structure_reply",
]

MAX_LOG_ID = 2**63 - 1
"""The largest id that a database holds; a longer number is none."""

MAX_DIGITS = len(str(MAX_LOG_ID))


class Ack(Enum):
    """What a reply says of the call as a whole."""

    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"
    UNSAID = ""
    """Left out, or a word that is not known."""
    CONTRADICTORY = "…"
    """Several of them, or something else than a word."""


class Severity(Enum):
    """What kind a message is, by its element and by its SeverityCode."""

    ERROR = "error"
    WARNING = "warning"
    UNSAID = ""
    CONTRADICTORY = "…"
    """The element says one thing and the code another."""


_SEVERITY_WORDS = {
    "error": Severity.ERROR,
    "warning": Severity.WARNING,
    # So misspelt on a page of the vendor's (developers.maropost.com, read 2026-11).
    "waring": Severity.WARNING,
}


@frozen(kw_only=True)
class Message:
    """One of Neto's messages. Its text, the whole of a bare string, may echo what a customer wrote."""

    text: str = field(repr=False)
    description: str = field(default="", repr=False)
    severity: Severity

    def __str__(self) -> str:
        return ": ".join(part for part in (self.text, self.description) if part)


@frozen(kw_only=True)
class Entries:
    """
    The elements of a reply's ``CustomerLog``, one for each log that it speaks of.

    Attributes:
        ids: The ids in them that can be read, in their order.
        have_gaps: True where one of them has no id.
        are_legible: False where the id of one of them is neither a whole number above 0 nor empty.
    """

    ids: tuple[int, ...] = ()
    have_gaps: bool = False
    are_legible: bool = True


@frozen(kw_only=True)
class ApiReply:
    """
    An answer of the API, in one shape.

    Attributes:
        ack: What it says of the call as a whole.
        entries: What it says of the logs.
        messages: In the order of the document.
        has_stray_ids: True where a LogID is outside an entry.
        stray_ids: Those of them that can be read.
        customers: What it gives back; only for GetCustomer.
    """

    ack: Ack = Ack.UNSAID
    entries: Entries = Entries()
    messages: tuple[Message, ...] = ()
    has_stray_ids: bool = False
    stray_ids: tuple[int, ...] = ()
    customers: tuple[StoredCustomer, ...] = ()

    @property
    def log_ids(self) -> tuple[int, ...]:
        """Every id that can be read, those of the entries first."""
        return self.entries.ids + self.stray_ids

    @property
    def speaks_of_ids(self) -> bool:
        """True where it holds an id, legible or not."""
        return bool(self.log_ids) or self.has_stray_ids or not self.entries.are_legible

    @property
    def is_error(self) -> bool:
        """True where it says ``Ack: Error`` or has a message of that kind."""
        return self.ack is Ack.ERROR or any(message.severity is Severity.ERROR for message in self.messages)

    @property
    def is_clean(self) -> bool:
        """True where nothing in it is, or could be, an error."""
        return not self.is_error and all(message.severity is not Severity.CONTRADICTORY for message in self.messages)

    @property
    def doubt(self) -> str:
        """What makes it say two things at once, in our words; empty where it does not."""
        if self.has_stray_ids:
            return "an id is in a place where no reply has one"
        if not self.entries.are_legible:
            return "an id can't be read as a whole number above 0"
        if self.entries.ids and self.entries.have_gaps:
            return "some of its entries have an id and some have none"
        if len(set(self.entries.ids)) != len(self.entries.ids):
            return "an id occurs in it twice"
        if self.ack is Ack.CONTRADICTORY:
            return "its Ack is not one word"
        return ""


def read_reply(action: str, headers: Mapping[str, str], body: bytes) -> ApiReply:
    """
    Read an answer of the API; the arguments are those of `read_document`.

    Raises:
        UnreadableError: It is no whole document of the API.
    """
    document = read_document(action, headers, body)
    branches = branches_in(document)  # first: what follows walks through it by recursion
    reply = structure_reply(document)
    homes = set(map(id, _one_or_many(document.get("customerlog"))))
    strays = [node["logid"] for node in branches if type(node) is dict and "logid" in node and id(node) not in homes]
    if not strays:
        return reply
    return evolve(reply, has_stray_ids=True, stray_ids=tuple(log_id for value in strays for log_id in _ids_in(value)))


def structure_reply(document: dict[str, Any]) -> ApiReply:
    """Structure what is found at the top of a document; it must not nest too deeply, see `branches_in`."""
    return _converter.structure(document, ApiReply)


def _is_blank(node: object) -> bool:
    # A store says "nothing" as null, "", [], {} and 0; False is among them since it is a number to Python.
    return not node or (isinstance(node, str) and not node.strip())


def _one_or_many(node: Any) -> list[Any]:
    if _is_blank(node):
        return []
    return node if isinstance(node, list) else [node]


def log_id_in(value: object) -> int:
    """Return the id that a number or digits are; 0 where they, or anything else, are none."""
    if isinstance(value, str):
        # White space round the text of an element says nothing in XML; in JSON it is taken alike.
        digits = value.strip(" \t\r\n").lstrip("0")
        value = int(digits) if len(digits) <= MAX_DIGITS and digits.isascii() and digits.isdigit() else 0
    elif not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 < value <= MAX_LOG_ID else 0


def _ids_in(value: object) -> list[int]:
    """Return the ids in the value of a LogID: one, each of a list, or none."""
    values = value if isinstance(value, list) else [value]
    return [log_id for item in values if (log_id := log_id_in(item))]


def _says_no_id(value: object) -> bool:
    return _is_blank(value) or (isinstance(value, str) and not value.strip(" \t\r\n").strip("0"))


def _structure_entries(node: Any, _type: type[Entries]) -> Entries:
    logs = _one_or_many(node)
    ids = _plain_ids(logs)
    return Entries(ids=ids) if ids else _entries(logs)


def _entries(logs: list[Any]) -> Entries:
    ids: list[int] = []
    have_gaps, are_legible = False, True
    for log in logs:
        value = log.get("logid") if isinstance(log, dict) else log
        found = _ids_in(value)
        ids += found
        have_gaps = have_gaps or not found
        if isinstance(log, dict):
            are_legible = are_legible and (_says_no_id(value) or log_id_in(value) > 0)
        else:
            are_legible = are_legible and _is_blank(value)
    return Entries(ids=tuple(ids), have_gaps=have_gaps, are_legible=are_legible)


def _plain_ids(logs: list[Any]) -> tuple[int, ...]:
    """
    Return the ids of the usual answer: each entry has one, as digits, and nothing else. Of any other, nothing.

    `_entries` says the same of it. This takes a third of the time, for nearly all entries there are.
    """
    try:
        values = [log["logid"] for log in logs]
        kinds = set(map(type, values)) if max(map(len, logs)) == 1 else None
    except (TypeError, KeyError, ValueError):
        return ()
    if kinds == {int}:
        return tuple(values) if min(values) > 0 and max(values) <= MAX_LOG_ID else ()
    if kinds != {str} or not all(values) or max(map(len, values)) >= MAX_DIGITS:
        return ()
    digits = "".join(values)
    ids = tuple(map(int, values)) if digits.isdigit() and digits.isascii() else ()
    return ids if all(ids) else ()


_ACK_WORDS = {ack.value: ack for ack in (Ack.SUCCESS, Ack.WARNING, Ack.ERROR)}


def _structure_ack(node: Any, _type: type[Ack]) -> Ack:
    if _is_blank(node):
        return Ack.UNSAID
    if not isinstance(node, str):
        return Ack.CONTRADICTORY
    return _ACK_WORDS.get(node.strip().lower(), Ack.UNSAID)


def _structure_messages(node: Any, _type: Any) -> tuple[Message, ...]:
    return tuple(_messages_in(node, Severity.UNSAID))


def _messages_in(node: Any, place: Severity) -> Iterator[Message]:
    """Walk through any of the forms of Messages; ``place`` is what the element around says."""
    if _is_blank(node):
        return
    if isinstance(node, list):
        for item in node:
            yield from _messages_in(item, place)
    elif not isinstance(node, dict):
        yield Message(text=_text(node), severity=place)
    elif node.keys() & {"message", "severitycode", "description"}:
        code = _SEVERITY_WORDS.get(_text(node.get("severitycode")).lower(), Severity.UNSAID)
        yield Message(
            text=_text(node.get("message")),
            description=_text(node.get("description")),
            severity=_agreed(place, code),
        )
    else:
        for name, child in node.items():
            yield from _messages_in(child, _SEVERITY_WORDS.get(name, place))


def _agreed(place: Severity, code: Severity) -> Severity:
    said = {place, code} - {Severity.UNSAID}
    return said.pop() if len(said) == 1 else Severity.CONTRADICTORY if said else Severity.UNSAID


def _text(node: object) -> str:
    if isinstance(node, list | dict):
        return " ".join(filter(None, map(_text, node if isinstance(node, list) else node.values())))
    # JSON carries, by escapes, lone surrogates that no file takes, and codes that control a terminal.
    return "" if _is_blank(node) else UNCARRIABLE.sub("\ufffd", str(node)).strip()


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=False)
    converter.register_structure_hook(Ack, _structure_ack)
    converter.register_structure_hook(Entries, _structure_entries)
    converter.register_structure_hook_func(lambda kind: kind == tuple[Message, ...], _structure_messages)
    # What is found in the whole document, and not in one element of it, is added afterwards.
    later = override(omit=True)
    fields: dict[str, Any] = {
        "entries": override(rename="customerlog"),
        **dict.fromkeys(("has_stray_ids", "stray_ids", "customers"), later),
    }
    converter.register_structure_hook(ApiReply, make_dict_structure_fn(ApiReply, converter, **fields))
    return converter


_converter = _make_converter()
