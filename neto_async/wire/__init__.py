"""
The API on the wire, pure: customer logs to the bytes of a call, the bytes of an answer to a verdict.

Nothing here opens a socket, reads a clock or needs an event loop. May import: models, outcomes, errors, and
`WireFormat` of settings. What is known of the vendor's formats, and how well, stands beside each table:

    encoding   customer logs -> request body and headers
    bodies     answer -> the document in it: compression, encoding of characters, JSON or XML
    replies    document -> `Reply`: Ack, ids, messages, whatever shape they came in
    verdicts   `Reply` and HTTP status -> `Verdict`, by one table
"""

from __future__ import annotations

from neto_async.wire.bodies import MAX_REPLY_BYTES
from neto_async.wire.encoding import (
    VENDOR_NAMES,
    Fields,
    encode_batch,
    encode_fields,
    fields_of,
    make_fingerprint,
    request_headers,
)
from neto_async.wire.verdicts import Verdict, VerdictKind, judge

__all__ = [
    "MAX_REPLY_BYTES",
    "VENDOR_NAMES",
    "Fields",
    "Verdict",
    "VerdictKind",
    "encode_batch",
    "encode_fields",
    "fields_of",
    "judge",
    "make_fingerprint",
    "request_headers",
]
