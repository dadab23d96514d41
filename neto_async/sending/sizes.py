"""
How many records fit into a body, estimated from earlier bodies. Pure. May import: models.

A batch is encoded whole, and cut only where it came out too long. After the first that did, the next are cut before
they are encoded: the number of their characters says nearly how many bytes they will take.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from attrs import define, field

from neto_async.models import CustomerLog

__all__ = ["Sizes"]

MARKUP = 100
"""Characters that count for the names of a log's fields, its times and its status: about what they take in JSON."""

MARGIN = 0.95
"""Part of the limit that a cut aims at: batches differ, and one that is too long again is encoded again."""


@define(eq=False)
class Sizes:
    """What bodies took; ``limit``, in bytes, is lowered when the store finds a body too large."""

    limit: int
    _bytes_a_character: float | None = field(init=False, default=None)  # of the last body, once one was too long

    def lower(self, too_large: int) -> None:
        """Allow half of what was too large for the store, at most."""
        self.limit = min(self.limit, max(too_large // 2, 1))

    def fitting(self, records: Sequence[CustomerLog]) -> int:
        """Estimate how many of the first records fit: all, as long as no body was too long."""
        if self._bytes_a_character is None or self.limit >= self._bytes_a_character * sum(map(_characters, records)):
            return len(records)
        return self._cut(records, self._bytes_a_character)

    def cut(self, records: Sequence[CustomerLog], size: int | None) -> int:
        """
        Say how many of the first records, of at least two, to keep: less than all, as the body of all was too long.

        ``size`` are the bytes of that body; None where it could not be made.
        """
        if size is None:
            return len(records) // 2
        # More than the limit for all of them, so that what fits into a part of it is less than all.
        self._bytes_a_character = size / sum(map(_characters, records))
        return self._cut(records, self._bytes_a_character)

    def note(self, records: Sequence[CustomerLog], size: int) -> None:
        """Learn from a body that fits."""
        if self._bytes_a_character is not None:
            self._bytes_a_character = size / sum(map(_characters, records))

    def _cut(self, records: Sequence[CustomerLog], bytes_a_character: float) -> int:
        room = MARGIN * self.limit / bytes_a_character
        return max(1, bisect_right(list(accumulate(map(_characters, records))), room))


def _characters(record: CustomerLog) -> int:
    texts = (record.notes, record.customer_name, record.username, record.allocated_to, record.follow_up_type)
    return MARKUP + sum(len(text) for text in texts if text)
