"""
Where the user keeps journals: in a file, or in a database named by a URL. May import: journals, errors.

The system shows the arguments of a command to everyone on the machine, and the command shows them where it says how to
continue. So a URL with a password is refused before any of it is shown.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit

import click
from attrs import frozen

from neto_async.errors import ConfigurationError
from neto_async.journals.sqlite import SqliteJournal

if TYPE_CHECKING:
    from neto_async.journals.postgres import PostgresJournal

__all__ = ["DatabaseUrl", "JournalPlace", "beside", "journal_at", "journal_of", "journal_place", "postgres"]

OURS = {"name", "schema", "accept_timeline"}
"""Parameters of a URL that say which journal is meant; libpq gets all others."""

SECRETS = {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
"""libpq's parameters that must stay secret."""

TOO_VISIBLE = (
    "a password does not belong in the URL, where others can see it: set PGPASSWORD, or use a password file or a "
    "service file. Before the @ is a role's name alone; write @ as %40 elsewhere"
)

SQLITE = b"SQLite format 3\0"
"""The first bytes of each of SQLite's files, once something is in it."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_POSTGRES = {"postgresql://", "postgres://"}
_ROLE = re.compile(r"[^:/?@]*")


@frozen
class DatabaseUrl:
    """
    A database that holds journals, and maybe one of them.

    Attributes:
        shown: The URL as the user gave it. It has no secrets.
        conninfo: What libpq gets of it.
        name: Of the journal.
        schema: Of the tables; None for the usual one.
        accept_timeline: As of `PostgresJournal`.
    """

    shown: str
    conninfo: str
    name: str | None = None
    schema: str | None = None
    accept_timeline: int | None = None

    def __str__(self) -> str:
        return self.shown

    @classmethod
    def parsed(cls, url: str) -> DatabaseUrl:
        """
        Read a URL.

        Raises:
            ValueError: It is none of a database, or holds a password; the text has no piece of it.
        """
        scheme = url.partition("://")[0] + "://"
        if scheme not in _POSTGRES:
            raise ValueError("give a file, or a URL that begins with postgresql://")
        # As libpq reads it: it does not know "+" for a space.
        address, _, query = url.partition("?")
        pieces = [(unquote(piece.partition("=")[0]), piece) for piece in query.split("&") if piece]
        role, at, _ = url.removeprefix(scheme).rpartition("@")
        if (at and not _ROLE.fullmatch(role)) or any(name in SECRETS for name, _ in pieces):
            raise ValueError(TOO_VISIBLE)
        ours = {name: unquote(piece.partition("=")[2]) for name, piece in pieces if name in OURS}
        theirs = "&".join(piece for name, piece in pieces if name not in OURS)
        timeline = ours.pop("accept_timeline", None)
        if timeline is not None and not re.fullmatch("[0-9]{1,10}", timeline):
            raise ValueError("accept_timeline must be a number")
        return cls(
            shown=url,
            conninfo=f"{address}?{theirs}" if theirs else address,
            accept_timeline=None if timeline is None else int(timeline),
            **{name: value for name, value in ours.items() if value},
        )


JournalPlace: TypeAlias = Path | DatabaseUrl
"""Both have a ``name``, and are shown by ``str``."""


def journal_place(_context: Any, _parameter: Any, value: str | None) -> JournalPlace | None:
    """Read what was given for an option or an argument."""
    if value is None or not _SCHEME.match(value):
        return None if value is None else Path(value)
    try:
        return DatabaseUrl.parsed(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def beside(file: str) -> Path:
    """Name the journal that an import of a file keeps beside it, for the store of the environment."""
    host = urlsplit(_store()).netloc.rpartition("@")[2].lower().replace(":", "_")
    return Path(f"{file}.{host or 'store'}.journal")


def journal_of(file: Path) -> Path:
    """
    Give the journal that an import of a file keeps beside it; a journal itself, and what is not there, as it is.

    Without a store in the environment it is the only one that is there.

    Raises:
        ConfigurationError: There is none, or more than one.
    """
    if not file.is_file() or _is_journal(file):
        return file
    if _store():
        found = [path for path in (beside(str(file)),) if path.exists()]
    else:
        found = sorted(file.parent.glob(f"{glob.escape(file.name)}.*.journal"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ConfigurationError(f"imports of {file.name} have kept more than one journal: {names}; name one")
    if not found:
        where = f" (looked for {beside(file.name)})" if _store() else ""
        raise ConfigurationError(f"no import of {file.name} has kept a journal beside it{where}")
    return found[0]


def _is_journal(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(SQLITE)) in {SQLITE, b""}
    except OSError:
        return True  # which says why it can't be read


def _store() -> str:
    return os.environ.get("NETO_STORE_URL", "").strip()


def journal_at(place: JournalPlace) -> SqliteJournal | PostgresJournal:
    """Give the journal at a place, or raise `ConfigurationError` where it has no name, or psycopg is missing."""
    if isinstance(place, Path):
        return SqliteJournal(place)
    if place.name is None:
        raise ConfigurationError(
            'a journal in PostgreSQL needs a name: end its URL in "?name=…", such as '
            "postgresql://host/db?name=complaints-2026-11"
        )
    module = postgres()
    journal: PostgresJournal = module.PostgresJournal(
        place.conninfo, place.name, schema=place.schema or module.SCHEMA, accept_timeline=place.accept_timeline
    )
    return journal


def postgres() -> Any:
    """Import what keeps journals in PostgreSQL, or raise `ConfigurationError` where its extra is missing."""
    try:
        from neto_async.journals import postgres as module  # noqa: PLC0415 - most users need no database
    except ImportError as error:
        raise ConfigurationError(str(error)) from None
    return module
