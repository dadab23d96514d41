"""
The actions of the API, each a value: its name, how records become a body, how an answer is judged.

The engine and the transport take an action and never ask which one it is. May import: settings, and all of wire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from attrs import frozen

from neto_async.settings import WireFormat
from neto_async.wire.bodies import MAX_REPLY_BYTES
from neto_async.wire.customers import MAX_PAGE_BYTES, CustomerPage, encode_page, judge_customers
from neto_async.wire.encoding import encode_logs, fields_of
from neto_async.wire.updates import judge_update
from neto_async.wire.verdicts import Verdict, judge

__all__ = ["ADD_CUSTOMER_LOG", "GET_CUSTOMER", "UPDATE_CUSTOMER_LOG", "Action"]

_MEDIA_TYPES = {WireFormat.JSON: "application/json", WireFormat.XML: "application/xml"}


@frozen(kw_only=True, eq=False)
class Action:
    """
    One action of the API.

    Attributes:
        name: The vendor's name: a header in both formats, and the root element in XML.
        may_repeat: True where a call may be sent again although the store may have carried it out.
        max_reply_bytes: The longest answer that is read.
    """

    name: str
    may_repeat: bool
    max_reply_bytes: int = MAX_REPLY_BYTES
    _prepare: Callable[..., Any] = fields_of
    _encode: Callable[[str, Sequence[Any], WireFormat], bytes]
    _judge: Callable[..., Verdict]

    def headers(self, wire_format: WireFormat) -> dict[str, str]:
        """
        Return the headers that every call of this format carries; credentials are not among them.

        Without ``Accept: application/json`` the store answers in XML (AddCustomerLog page, read 2026-11).
        """
        media_type = _MEDIA_TYPES[wire_format]
        return {
            "NETOAPI_ACTION": self.name,
            "Accept": media_type,
            "Content-Type": media_type,
            # A reply is a few kilobytes: compression gains nothing, and can hide gigabytes.
            "Accept-Encoding": "identity",
        }

    def prepare(self, record: Any, *, zone: tzinfo) -> Any:
        """Convert a record to what `encode` takes, with times in a zone."""
        return self._prepare(record, zone=zone)

    def encode(self, records: Sequence[Any], wire_format: WireFormat) -> bytes:
        """Encode records, as `prepare` returns them, as the body of one call, in UTF-8; for GetCustomer one alone."""
        return self._encode(self.name, records, wire_format)

    def judge(self, status: int, headers: Mapping[str, str], body: bytes, records: int, *, now: datetime) -> Verdict:
        """Say what an answer means for so many records of its call; see `neto_async.wire.judge`. Never raises."""
        return self._judge(self.name, status, headers, body, records, now=now)


def _as_it_is(page: CustomerPage, *, zone: tzinfo) -> CustomerPage:  # noqa: ARG001 - it holds no times
    return page


ADD_CUSTOMER_LOG = Action(name="AddCustomerLog", may_repeat=False, encode=encode_logs, judge=judge)
"""Adds logs. It has no idempotency key, and no action deletes a log (developers.maropost.com, read 2026-11)."""

UPDATE_CUSTOMER_LOG = Action(name="UpdateCustomerLog", may_repeat=False, encode=encode_logs, judge=judge_update)
"""
Changes logs that are in the store.

Sent twice, it sets the same fields again; but it overwrites what somebody else set in between. So the caller decides.
"""

GET_CUSTOMER = Action(
    name="GetCustomer",
    may_repeat=True,
    max_reply_bytes=MAX_PAGE_BYTES,
    prepare=_as_it_is,
    encode=encode_page,
    judge=judge_customers,
)
"""Reads customers with their logs, and changes nothing."""
