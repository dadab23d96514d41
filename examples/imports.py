"""
What the handlers of the example services ask of imports, whatever keeps them.

    embedded.py   in a folder, and sent by the service's own process: nothing else is to be run
    deployed.py   in PostgreSQL, and sent by workers: any web process shows any import, any worker goes on with it
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from attrs import evolve, frozen

from neto_async import ConfigurationError, ReconcileReport
from neto_async.importing import ColumnMapping
from neto_async.journals.sqlite import JournalSummary

__all__ = ["KINDS", "PROVEN_ABSENT", "REPORTS", "Imports", "RefusedError", "Settling", "State", "mapping_for"]

KINDS = {path.stem: ColumnMapping.from_toml(path) for path in sorted(Path(__file__).parent.glob("mappings/*.toml"))}
"""The kinds of file that a service knows, beside those whose columns are named as Neto's."""

REPORTS = ("added.csv", "rejected.csv", "unknown.csv", "not_sent.csv")

PROVEN_ABSENT = "some rows are certainly not in the store; go on to send them"
"""Reason in the status of an import that has stopped after its settling."""

MAX_DOUBTS = 20
"""Rows still in doubt that a status lists, and ids of logs to look at for each."""


class RefusedError(Exception):
    """
    What was asked for is not done; the text says why, and names no path.

    Attributes:
        status: HTTP status of the answer.
        retry_after: Seconds after which the same may work, None where it will not.
    """

    def __init__(self, reason: str, *, status: int = 422, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class State(StrEnum):
    """How far an import is."""

    READY = "ready"
    """Uploaded and read; nothing is sent before it is started."""
    RUNNING = "running"
    """Being sent, or waiting for its turn, also after the end of the process that sent it."""
    CANCELLED = "cancelled"
    """A person stopped it; it can be started again."""
    STOPPED = "stopped"
    """It could not go on, such as with a refused key: it can be started again."""
    ENDED = "ended"
    """Every row has its outcome."""
    SETTLING = "settling"
    """It had ended; customers are read back for its rows in doubt."""


@frozen(kw_only=True)
class Settling:
    """
    The settling of an import's rows in doubt.

    Attributes:
        sole_writer: The person's guarantee; see `AsyncNetoClient.reconcile`.
        until: When reading begins at about the latest: before, a call in doubt might still be saved. ISO 8601, in UTC.
        looked_at: Rows that were judged so far.
        added: Rows that are in the store, once it has ended, as the next.
        not_sent: Rows that are certainly not in the store.
        unknown: Rows still in doubt.
        rows: The first of those: line in the file, reason, what is missing, the first ids of logs to look at.
        error: Why it broke off, else empty.
    """

    sole_writer: bool
    until: str
    looked_at: int = 0
    added: int = 0
    not_sent: int = 0
    unknown: int = 0
    rows: Sequence[Mapping[str, Any]] = ()
    error: str = ""

    @classmethod
    def begun(cls, *, sole_writer: bool, settle_after: float) -> Settling:
        """Begin one now."""
        until = datetime.now(timezone.utc) + timedelta(seconds=settle_after)
        return cls(sole_writer=sole_writer, until=until.isoformat(timespec="seconds"))

    def ended(self, before: Mapping[str, Any], now: JournalSummary, report: ReconcileReport, error: str) -> Settling:
        """
        Say what came of it, from the counts of the import before and what its journal says now.

        An earlier process may have proven some rows, and so has a settling that broke off; then the report is empty.
        """
        added = now.added - before["added"]
        counts = {"added": added, "not_sent": before["unknown"] - added - now.in_doubt, "unknown": now.in_doubt}
        return evolve(self, **counts, rows=_still_in_doubt(report), error=error)


class Imports(Protocol):
    """
    All imports of a service; each is named by its id.

    A status says how far an import is, as JSON may carry it: ``id``, ``name``, ``created_at``, ``state`` (one of
    `State`), ``reason`` (why it stopped, or what it waits for before its first outcome where that is known, else
    empty), ``progress`` (the counts of `ImportProgress`), ``settling`` (None, or what `Settling` has) and ``reports``
    (the names of those that can be downloaded).

    Methods that name an import raise `RefusedError` (404) where there is none of this id, and all of them where what
    they are asked for can't be done now.
    """

    async def add(self, name: str, pieces: AsyncIterable[bytes], mapping: ColumnMapping = ...) -> str:
        """
        Take an upload in and have it read, and give the id of its import; nothing is sent before `start`.

        Args:
            name: Of the file; its ending says what kind it is.
            pieces: Its bytes.
            mapping: How its columns become logs.
        """

    async def listed(self) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Give the status of each import, newest first; and by id why some can't go on."""

    async def status(self, id_: str) -> dict[str, Any]:
        """Say how far an import is."""

    async def preview(self, id_: str) -> dict[str, Any]:
        """Say what it sends: columns, the first logs, the first invalid rows."""

    async def start(self, id_: str) -> None:
        """Begin to send, or go on after a stop; from here on the end of a process is no end of the import."""

    async def cancel(self, id_: str) -> None:
        """Have an import that is running stop: what is under way ends, and nothing more is sent before `start`."""

    async def settle(self, id_: str, *, sole_writer: bool = False) -> None:
        """
        Begin to read the customers of its rows in doubt back; nothing is sent.

        Rows that are proven absent wait for `start`.

        Args:
            id_: Of an import that has ended with rows in doubt; one that is being settled is left to it.
            sole_writer: The person's guarantee; see `AsyncNetoClient.reconcile`.
        """

    def follow(self, id_: str) -> AsyncIterator[dict[str, Any]]:
        """Give its status now, and again as it changes, until it neither runs nor is settled, or soon after `stop`."""

    async def report(self, id_: str, name: str) -> AsyncIterator[bytes]:
        """Give the content of one of `REPORTS`, in pieces."""

    async def remove(self, id_: str) -> None:
        """Delete an import that was never started, or has ended; of others the journal knows what was sent."""

    def stop(self) -> None:
        """Take no more uploads, and end what the process does for imports: it is going to end."""

    async def aclose(self, timeout: float) -> None:  # noqa: ASYNC109
        """Stop, and wait for the calls of this process, so that their outcome is known; at most ``timeout`` seconds."""


def mapping_for(kind: str, zone: str) -> ColumnMapping:
    """
    Give the mapping of a kind of file.

    Args:
        kind: One of `KINDS`, or empty where columns are named as Neto's.
        zone: Of times that name none, where the kind does not say; empty refuses such times.

    Raises:
        RefusedError: There is no such kind, or no such zone.
    """
    if kind and kind not in KINDS:
        raise RefusedError(f"there is no kind of file called {kind}")
    mapping = KINDS.get(kind, ColumnMapping())
    try:
        return mapping if mapping.timezone or not zone else evolve(mapping, timezone=zone)
    except ConfigurationError as error:
        raise RefusedError(str(error)) from None


def _still_in_doubt(report: ReconcileReport) -> list[dict[str, Any]]:
    """List the first rows that are left, as JSON may carry them; no reason holds a customer's text."""
    left = [record for record in report.records if record.missing is not None][:MAX_DOUBTS]
    return [
        {
            "line": record.outcome.context.line,
            "reason": record.reason,
            "missing": record.missing,
            "candidates": list(record.candidates[:MAX_DOUBTS]),
        }
        for record in left
    ]
