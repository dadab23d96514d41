"""The common part of journals in databases: events appended in a chain. May import: events, protocol, errors."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from neto_async.errors import ConfigurationError
from neto_async.journals.events import Event, Head, OpenCalls, finished, marked, settled
from neto_async.journals.protocol import End, Journal, JournalEvent, Known

__all__ = ["ChainedJournal", "require_store"]


def require_store(name: str, known: str, given: str) -> None:
    """Raise `ConfigurationError` where a journal, known by its name, is of an import into another store."""
    if known != given:
        raise ConfigurationError(f"{name} is the journal of an import into {known}, not {given}; name another journal")


class ChainedJournal(Journal):
    """
    A journal whose events a subclass appends in its database.

    Args:
        now: Gives the time of day, aware.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._claimed = threading.Lock()  # held while one of the threads of this process has it open, or opens it
        self._calls = OpenCalls()
        self._identity = ""
        self._salt = b""
        self._head = Head(0, b"")
        self._over = True  # nothing was written since the moment at which a run ended

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def salt(self) -> bytes:
        return self._salt

    @abstractmethod
    def _append(self, events_after: Callable[[int], list[Event]], *, late: bool = False) -> int:
        """
        Write events, which are made from the number of the event before them, and give that number.

        Where ``late``, they are written even if another process has taken over.

        Raises:
            JournalError: They could not be written, or nobody knows whether they were.
        """

    def write(self, entries: Sequence[JournalEvent]) -> None:
        before = self._append(partial(self._calls.events, entries), late=all(isinstance(one, End) for one in entries))
        self._over = False
        self._calls.written(entries, before)

    def finish(self, rows: int) -> None:
        self._append(lambda _: finished(rows, self._now()))
        self._over = True

    def note_marker(self, form: str) -> None:
        """
        Note the form of the marker of this run's rows, empty for none.

        Raises:
            JournalError: It could not be written, or nobody knows whether it was.
        """
        self._append(lambda _: [marked(form)])

    def settle(self, rows: Sequence[Known]) -> None:
        """
        Write what was proven of rows, added or absent; when it returns it is on disk to stay.

        With no rows, just after opening, it notes that the journal was opened only to settle, which is no run.

        Raises:
            JournalError: It could not be written, or nobody knows whether it was; or a row has another state.
        """
        self._append(partial(settled, rows))
        self._over = False
