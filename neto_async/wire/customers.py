"""
Ask for customers with their logs, and read what the store gives back. Pure.

May import: models, settings, bodies, encoding, replies, verdicts.

A log that is overlooked could make a record in doubt count as not sent. So an answer is read if it has one of the
shapes that sibling calls of the API are known to have (public code, read 2026-11), and is unreadable in any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from attrs import evolve, field, frozen
from attrs.validators import ge

from neto_async.models import UNCARRIABLE, StoredCustomer, StoredCustomerLog
from neto_async.settings import WireFormat
from neto_async.wire.bodies import UnreadableError, branches_in, read_document
from neto_async.wire.encoding import dump_json, escape_xml, xml_document
from neto_async.wire.replies import Ack, ApiReply, log_id_in, structure_reply
from neto_async.wire.verdicts import KEY_REFUSED, SERVER_BROKE, UNREADABLE, Row, Verdict, VerdictKind, judge

__all__ = ["MAX_PAGE_BYTES", "CustomerPage", "encode_page", "is_name", "judge_customers", "read_customers"]

MAX_PAGE_BYTES = 16 * 1024 * 1024
"""Bytes of a page of customers, inflated, that are read at most."""

_SELECTORS = ("Username", "CustomerLog")

_SURROGATE = re.compile("[\ud800-\udfff]")

_FIELDS = {
    name.lower(): name
    for name in (
        *("Customer", "AllocatedTo", "Status", "DateRequiredFollowUp"),
        *("LastContacted", "LastContactedLocal", "LastContactedUTC", "Notes"),
    )
}
"""What comes back of a log beside LogID (GetCustomer page, developers.maropost.com, read 2026-11)."""


def _are_names(_page: object, _attribute: object, names: Any) -> None:
    # A text is a sequence of texts as well.
    if not isinstance(names, tuple) or not names or not all(map(is_name, names)):
        raise ValueError("usernames: must be a tuple of texts, at least one, none blank or with a control character")


def is_name(name: Any) -> bool:
    """Say whether this can be a user name."""
    return isinstance(name, str) and bool(name.strip()) and not UNCARRIABLE.search(name)


@frozen(kw_only=True)
class CustomerPage:
    """
    A request for one page of some customers with all their logs.

    A short page is no end: stores may give fewer customers than the limit while more are to come (public code, read
    2026-11). Only a page with nothing new is.

    Attributes:
        usernames: Whom to read; at least one, because without any the store gives all its customers.
        page: Number of the page, from 0.
        limit: The most customers on a page. Pages of 200 to 1,000 are in use; large ones are slow.

    Raises:
        ValueError: One of them is not so.
    """

    usernames: tuple[str, ...] = field(validator=_are_names, repr=False)
    page: int = field(default=0, validator=ge(0))
    limit: int = field(default=200, validator=ge(1))


def encode_page(action: str, pages: Sequence[CustomerPage], wire_format: WireFormat) -> bytes:
    """Encode the request for one page as the body of a call, in UTF-8; ``pages`` holds nothing else."""
    (page,) = pages
    asked = {"Username": page.usernames, "Page": page.page, "Limit": page.limit, "OutputSelector": _SELECTORS}
    if wire_format is WireFormat.JSON:
        return dump_json({"Filter": asked})
    elements = "".join(
        f"<{name}>{escape_xml(str(value))}</{name}>"
        for name, values in asked.items()
        for value in (values if isinstance(values, tuple) else (values,))
    )
    return xml_document(action, f"<Filter>{elements}</Filter>")


def read_customers(action: str, headers: Mapping[str, str], body: bytes) -> ApiReply:
    """
    Read an answer to GetCustomer; the arguments are those of `read_document`.

    Raises:
        UnreadableError: It is no whole document of the API, or not in a shape that is known.
    """
    document = read_document(action, headers, body, max_bytes=MAX_PAGE_BYTES)
    branches = branches_in(document)  # first: what follows walks through it by recursion
    read: set[int] = set()
    members = _object(document, read, "the document", {"customerlogs", "customerlog", "logid"})
    customers = tuple(_customer(node, read) for node in _listed(members.get("customer")))
    if any(id(node) not in read and type(node) is dict and node.keys() & _KEYS for node in branches):
        raise UnreadableError("the answer holds customers or logs in a place that is not known")
    ids = [log.log_id for customer in customers for log in customer.logs]
    if len(set(ids)) != len(ids):
        raise UnreadableError("an id occurs twice in the answer")
    return evolve(structure_reply(document), customers=customers)


_KEYS = frozenset({"customer", "customerlogs", "customerlog", "logid"})
"""A branch with one of these must have been read."""


def _is_empty(node: Any) -> bool:
    return node in (None, [], {}) or (isinstance(node, str) and not node.strip())


def _listed(node: Any) -> list[Any]:
    if _is_empty(node):
        return []
    return node if isinstance(node, list) else [node]


def _object(node: Any, read: set[int], what: str, strange: set[str]) -> dict[str, Any]:
    if not isinstance(node, dict) or node.keys() & strange:
        raise UnreadableError(f"{what} in the answer has a shape that is not known")
    read.add(id(node))
    return node


def _customer(node: Any, read: set[int]) -> StoredCustomer:
    members = _object(node, read, "a customer", {"customer", "customerlog", "logid"})
    username = _text(members.get("username"))
    if not username.strip():
        raise UnreadableError("a customer in the answer has no user name")
    return StoredCustomer(username=username, logs=tuple(_log(log, read) for log in _logs(members, read)))


def _logs(members: Mapping[str, Any], read: set[int]) -> list[Any]:
    """List a customer's logs: each in CustomerLogs itself, or all in the one CustomerLog of it."""
    found = _listed(members.get("customerlogs"))
    if len(found) == 1 and isinstance(found[0], dict) and found[0].keys() == {"customerlog"}:
        read.add(id(found[0]))
        return _listed(found[0]["customerlog"])
    return found


def _log(node: Any, read: set[int]) -> StoredCustomerLog:
    members = _object(node, read, "a log", {"customerlogs", "customerlog"})
    log_id = log_id_in(members.get("logid"))
    if not log_id:
        raise UnreadableError("a log in the answer has no id that can be read")
    texts = {name: text for key, name in _FIELDS.items() if (text := _text(members.get(key)))}
    return StoredCustomerLog(log_id=log_id, fields=texts)


def _text(node: Any) -> str:
    if isinstance(node, str):
        # Half of a surrogate pair is no character, and no file takes it.
        return _SURROGATE.sub("\ufffd", node)
    if type(node) is int:
        return str(node)
    if not _is_empty(node):
        raise UnreadableError("a field in the answer is no text")
    return ""


_ROWS = (
    *UNREADABLE,
    SERVER_BROKE,
    KEY_REFUSED,
    Row(lambda a: a.reply.is_error, VerdictKind.REFUSED, "the store reported an error"),
    Row(lambda a: not a.reply.is_clean, VerdictKind.UNKNOWN, "the answer may report an error"),
    Row(
        lambda a: bool(a.reply.customers) or a.reply.ack is not Ack.UNSAID,
        VerdictKind.READ,
        "the answer holds a page of customers",
    ),
    # Any other JSON answer must not count as an empty page, which would end the reading.
    Row(lambda _: True, VerdictKind.UNKNOWN, "the answer holds neither customers nor an Ack"),
)

judge_customers: partial[Verdict] = partial(judge, rows=_ROWS, read=read_customers)
"""Say what an answer means, with the customers in it; see `neto_async.wire.verdicts.judge`. Never raises."""
