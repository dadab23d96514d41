"""
The API on the wire, pure: customer logs to the bytes of a call, the bytes of an answer to a verdict.

Nothing here opens a socket, reads a clock or needs an event loop. May import: models, outcomes, errors, and
`WireFormat` of settings. Each table says what is known of the vendor's formats, and how well:

    actions    the calls of the API, each a value that uses what is below
    encoding   customer logs -> request body
    bodies     answer -> the document in it: compression, encoding of characters, JSON or XML
    replies    document -> `ApiReply`: Ack, ids, messages, whatever shape they came in
    verdicts   `ApiReply` and HTTP status -> `Verdict`, by one table
    updates    the table of UpdateCustomerLog
    customers  GetCustomer: its request, its answers, its table
"""

from __future__ import annotations

from neto_async.wire.actions import ADD_CUSTOMER_LOG, GET_CUSTOMER, UPDATE_CUSTOMER_LOG, Action
from neto_async.wire.customers import CustomerPage, is_name
from neto_async.wire.encoding import (
    FIELD_AS_WRITTEN,
    FIELD_OF,
    VENDOR_NAMES,
    Fields,
    fields_of,
    make_fingerprint,
)
from neto_async.wire.verdicts import Verdict, VerdictKind

__all__ = [
    "ADD_CUSTOMER_LOG",
    "FIELD_AS_WRITTEN",
    "FIELD_OF",
    "GET_CUSTOMER",
    "UPDATE_CUSTOMER_LOG",
    "VENDOR_NAMES",
    "Action",
    "CustomerPage",
    "Fields",
    "Verdict",
    "VerdictKind",
    "fields_of",
    "is_name",
    "make_fingerprint",
]
