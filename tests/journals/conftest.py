"""Journals of each kind."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neto_async.journals.postgres import PostgresJournal
from neto_async.journals.sqlite import SqliteJournal

schemas = itertools.count()


def new_schema() -> str:
    """Give the name of a schema that nothing uses yet."""
    return f'test "{next(schemas)}"'


@pytest.fixture
def schema() -> str:
    """Give the name of a schema that no other test uses."""
    return new_schema()


@pytest.fixture(params=["sqlite", "postgres"])
def make_new(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Callable[..., Any]]:
    """Give what gives what makes journal objects: of a new journal, of each kind in turn."""
    if request.param == "sqlite":
        folders = (tmp_path / str(number) for number in itertools.count())

        def in_a_file() -> Callable[..., Any]:
            folder = next(folders)
            folder.mkdir()
            return lambda **more: SqliteJournal(folder / "import.db", **more)

        return in_a_file
    server = request.getfixturevalue("server")

    def in_a_schema() -> Callable[..., Any]:
        schema = new_schema()
        return lambda **more: PostgresJournal(server.conninfo, "import.db", schema=schema, **more)

    return in_a_schema


@pytest.fixture
def make(make_new: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """Make journal objects of one journal, of each kind in turn."""
    return make_new()
