"""The journals of a database: shown, and pruned. May import: journal_places, output, screen, journals, errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve

from neto_async.cli.journal_places import DatabaseUrl, JournalPlace, journal_at, postgres
from neto_async.cli.output import write_json
from neto_async.cli.screen import Screen, remembered
from neto_async.errors import ConfigurationError
from neto_async.escaping import escaped
from neto_async.journals.events import JournalSummary

if TYPE_CHECKING:
    from neto_async.journals.postgres import ListedJournal

__all__ = ["holder_of", "prune_all", "show_all", "summary_in_json"]


def show_all(database: DatabaseUrl, *, as_json: bool) -> None:
    """List the journals of a database, or raise `ConfigurationError` where it can't be used."""
    counted = ((journal, _counted(evolve(database, name=journal.name))) for journal in _listed(database))
    if as_json:
        write_json({"journals": [_in_json(journal, counts) for journal, counts in counted]})
        return
    _table(
        ("Journal", "State", "Rows", "Last written"),
        (
            (journal.name, _state(journal), _rows(counts), f"{journal.written_at:%Y-%m-%d %H:%M} UTC")
            for journal, counts in counted
        ),
    )


def holder_of(place: JournalPlace) -> str | None:
    """Say which process is using a journal in a database; None if none is, or if the journal is a file."""
    if not isinstance(place, DatabaseUrl):
        return None
    return next((journal.holder for journal in _listed(place) if journal.name == place.name), None)


def prune_all(database: DatabaseUrl, *, days: int, as_json: bool) -> None:
    """
    Delete journals that are not needed any more, and say which, and why the others were kept.

    Raises:
        ConfigurationError: The database can't be used.
    """
    before = datetime.now(timezone.utc) - timedelta(days=days)
    pruned: list[ListedJournal] = postgres().prune_journals(
        database.conninfo, older_than=timedelta(days=days), **_schema(database)
    )
    kept = Counter(_why_kept(journal, before) for journal in _listed(database))
    if as_json:
        write_json({"pruned": [journal.name for journal in pruned], "kept": dict(kept)})
        return
    why = [f"{count:,} {reason}" for reason, count in kept.items()]
    also = f"; kept {kept.total():,}: {', '.join(why)}" if why else ""
    Screen().say(*(f"deleted {journal.name}" for journal in pruned), f"{len(pruned):,} deleted{also}")


def _why_kept(journal: ListedJournal, before: datetime) -> str:
    if journal.holder is not None:
        return "in use"
    if journal.written_at >= before:
        return "written to since"
    return "with rows in doubt" if journal.finished else "stopped before its end"


def summary_in_json(summary: JournalSummary) -> dict[str, Any]:
    """Give what a journal remembers, for a program."""
    said = asdict(summary, filter=lambda attribute, _: attribute.name != "identity")
    return {**said, "created_at": summary.created_at.isoformat()}


def _listed(database: DatabaseUrl) -> list[ListedJournal]:
    listed: list[ListedJournal] = postgres().list_journals(database.conninfo, **_schema(database))
    return listed


def _schema(database: DatabaseUrl) -> dict[str, str]:
    return {} if database.schema is None else {"schema": database.schema}


def _counted(place: DatabaseUrl) -> JournalSummary | str:
    """Count the rows of a journal; a text where it can't be used, so that the others are still shown."""
    try:
        return journal_at(place).summary()
    except ConfigurationError as error:
        return str(error)


def _state(journal: ListedJournal) -> str:
    if journal.holder is not None:
        return f"in use by {journal.holder}"
    return "finished" if journal.finished else "stopped"


def _rows(counts: JournalSummary | str) -> str:
    return counts if isinstance(counts, str) else remembered(counts)


def _in_json(journal: ListedJournal, counts: JournalSummary | str) -> dict[str, Any]:
    error = counts if isinstance(counts, str) else None
    return {
        "name": journal.name,
        "holder": journal.holder,
        "finished": journal.finished,
        "written_at": journal.written_at.isoformat(),
        "error": error,
        **({} if isinstance(counts, str) else summary_in_json(counts)),
    }


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    lines = [head, *(tuple(map(escaped, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    # Not broken into lines: a row is one line for other programs too.
    Screen().say(
        *("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines), wrap=False
    )
