"""Rows with any column names become logs, or say what is wrong without saying what stands there."""

from __future__ import annotations

from datetime import date, datetime, timezone
from zoneinfo import ZoneInfo

import pytest

from neto_async import ConfigurationError, InvalidRecordError
from neto_async.importing.files_rows import Row
from neto_async.importing.mapping import ColumnMapping, field_named


def row(**cells: object) -> Row:
    return Row(line=7, columns=tuple(cells), cells=tuple(cells.values()))


def test_first_column_that_is_not_empty_gives_the_field() -> None:
    """Of several columns the first with something in it counts, for each row anew."""
    mapping = ColumnMapping(columns={"notes": ("long", "short")})

    assert ["a", "b"] == [
        mapping.log_from(row(long="a", short="x")).notes,
        mapping.log_from(row(long="  ", short="b")).notes,
    ]


def test_words_are_mapped_in_any_case() -> None:
    """A foreign word means what the mapping says, and * stands for every other word, not for an empty cell."""
    mapping = ColumnMapping(
        columns={"status": ("stage",), "notes": ("n",)},
        words={"status": {"in progress": "Recontacting", "*": "Completed"}},
    )

    assert ["Recontacting", "Completed", None] == [
        mapping.log_from(row(stage=stage, n="x")).status for stage in ("In Progress", "Won", "")
    ]


@pytest.mark.parametrize("name", ["AllocatedTo", "allocated_to", "ALLOCATED TO", "allocated-to"])
def test_fields_are_known_by_either_name(name: str) -> None:
    """The vendor's name and ours mean the same, in any case, with blanks, hyphens or underscores."""
    assert "allocated_to" == field_named(name)


def test_columns_are_found_by_themselves() -> None:
    """Columns with a known name need no mapping; what a report added is passed over."""
    mapping = ColumnMapping(columns={"notes": ("Text",)}).completed(["Text", "user name", "neto_line", "Other"])

    assert {"notes": ("Text",), "username": ("user name",)} == mapping.columns
    assert frozenset({"Text", "user name"}) == mapping.used()


def test_a_column_that_is_not_there_is_refused() -> None:
    """A mapping that names a column which the file lacks is wrong use."""
    with pytest.raises(ConfigurationError, match="Nowhere"):
        ColumnMapping(columns={"notes": ("Nowhere",)}).completed(["Notes"])


def test_no_field_is_guessed() -> None:
    """Of two columns that both mean one field neither is taken silently."""
    with pytest.raises(ConfigurationError, match="both give username"):
        ColumnMapping(columns={}).completed(["Username", "user_name"])


def test_times() -> None:
    """A time without a zone is in the mapping's; a day for the follow-up stays a day."""
    mapping = ColumnMapping(
        columns={"last_contacted": ("at",), "date_required_follow_up": ("due",)},
        timezone=ZoneInfo("Australia/Brisbane"),
    )

    log = mapping.log_from(row(at="2026-01-05 09:30", due="2026-01-09"))

    assert (datetime(2026, 1, 4, 23, 30, tzinfo=timezone.utc), date(2026, 1, 9)) == (
        log.last_contacted,
        log.date_required_follow_up,
    )


@pytest.mark.parametrize("cell", ["05/06/2026", "2026-02-30", "2026-01-05 09:30", "CANARY"])
def test_times_that_are_not_certain(cell: str) -> None:
    """A time that could be read two ways, or has no zone, is invalid; the text names line and column, never it."""
    mapping = ColumnMapping(columns={"last_contacted": ("Call started",)})

    with pytest.raises(InvalidRecordError) as raised:
        mapping.log_from(row(**{"Call started": cell}))

    assert 'line 7, column "Call started"' in str(raised.value)
    assert cell not in str(raised.value)


def test_a_row_that_can_not_be_read() -> None:
    """What is wrong with a row's cells is told with its line."""
    mapping = ColumnMapping(columns={"notes": ("n",)})

    with pytest.raises(InvalidRecordError, match="line 3: ragged"):
        mapping.log_from(Row(line=3, fault="ragged"))
