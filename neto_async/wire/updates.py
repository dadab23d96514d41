"""
Verdicts on answers to UpdateCustomerLog. Pure; may import: verdicts, replies.

The answer holds messages alone (UpdateCustomerLog page, developers.maropost.com, read 2026-11): no id says which log
was changed, and no message names one. So only a bare success of the call is `VerdictKind.UPDATED`, and an error refuses
one record alone. A warning says nothing: the API warns beside records that it changed, and beside others that it did
not (answers of live stores to UpdateItem, in public code, read 2026-11).
"""

from __future__ import annotations

from functools import partial

from neto_async.wire.replies import Ack
from neto_async.wire.verdicts import KEY_REFUSED, SERVER_BROKE, UNREADABLE, Row, Verdict, VerdictKind, judge

__all__ = ["judge_update"]

_ROWS = (
    *UNREADABLE,
    # It may be the id of a new log.
    Row(lambda a: a.reply.speaks_of_ids, VerdictKind.UNKNOWN, "the answer holds an id, as none to an update should"),
    SERVER_BROKE,
    KEY_REFUSED,
    Row(lambda a: a.reply.is_error and a.records == 1, VerdictKind.REFUSED, "the store reported an error"),
    Row(
        lambda a: a.reply.is_error,
        VerdictKind.UNKNOWN,
        "the store reported an error, and does not say for which of {records} logs",
    ),
    Row(
        lambda a: bool(a.reply.messages),
        VerdictKind.UNKNOWN,
        "the store gave a warning, and does not say whether it changed the log",
    ),
    Row(lambda a: a.reply.ack is Ack.SUCCESS, VerdictKind.UPDATED, "the store reported success"),
    Row(lambda _: True, VerdictKind.UNKNOWN, "the answer reports neither success nor an error"),
)

judge_update: partial[Verdict] = partial(judge, rows=_ROWS)
"""Say what an answer means for the updates of its call; see `neto_async.wire.verdicts.judge`. Never raises."""
