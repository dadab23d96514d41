"""Rows with any column names become logs, or say what is wrong without saying what they hold."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from neto_async import ConfigurationError, InvalidRecordError
from neto_async.files.rows import FaultyCell, Row
from neto_async.mapping.columns import ColumnMapping, field_named


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
    """A word of another system means what the mapping says, and * is every other word, not for an empty cell."""
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
    """What is wrong with a row's cells is reported with its line."""
    mapping = ColumnMapping(columns={"notes": ("n",)})

    with pytest.raises(InvalidRecordError, match="line 3: ragged"):
        mapping.log_from(Row(line=3, fault="ragged"))


def faults(mapping: ColumnMapping, cells: Row) -> tuple[str, ...]:
    with pytest.raises(InvalidRecordError) as raised:
        mapping.log_from(cells)
    return raised.value.errors


def test_all_faults_of_a_row_are_reported_at_once() -> None:
    """Times, lengths, words and cells: each fault of a row has its line, column and field, in the fields' order."""
    mapping = ColumnMapping(
        columns={
            "LastContacted": "When",
            "Username": "Who",
            "Status": "Stage",
            "Notes": "Text",
            "DateRequiredFollowUp": "Due",
        }
    )
    cells = row(
        When="05/06/2026", Who="x" * 26, Stage="Won", Text=FaultyCell(shown="#N/A", fault="shows #N/A"), Due="5"
    )

    assert ["Who", "When", "Due", "Stage", "Text"] == [fault.split('"')[1] for fault in faults(mapping, cells)]
    assert (
        'line 7, column "Who": username: 26 characters, and Neto takes at most 25',
        'line 7, column "Text": shows #N/A',
    ) == (faults(mapping, cells)[0], faults(mapping, cells)[-1])


def test_two_faults_of_one_field() -> None:
    """A text that is too long and holds what XML can't has both faults."""
    mapping = ColumnMapping(columns={"username": "Who"})

    assert 2 == len(faults(mapping, row(Who="\x01" * 26)))


def test_a_row_of_faults_is_not_called_empty_as_well() -> None:
    """A log that is empty only for its faulty cell is not called empty; one that is empty is."""
    mapping = ColumnMapping(columns={"last_contacted": "When", "notes": "Text"})

    assert ["When"] == [fault.split('"')[1] for fault in faults(mapping, row(When="x", Text=""))]
    assert ("line 7: the log is empty: give at least one field",) == faults(mapping, row(When="", Text=" "))


def test_a_faulty_cell_is_not_passed_over() -> None:
    """Of several columns a faulty one that comes first is a fault, though it shows nothing."""
    mapping = ColumnMapping(columns={"notes": ("a", "b")})

    assert ('line 7, column "a": never',) == faults(mapping, row(a=FaultyCell(shown="", fault="never"), b="x"))


def test_typed_cells() -> None:
    """Numbers, days and times of a workbook or of JSON become the texts, days and times that they show."""
    mapping = ColumnMapping(
        columns={"Username": "a", "FollowUpType": "b", "Notes": "c", "LastContacted": "d", "DateRequiredFollowUp": "e"},
        timezone="UTC",
        date_formats="%d/%m/%Y",
    )
    at = datetime(2026, 1, 5, 9, 30)  # noqa: DTZ001 (a workbook's times have no zone)

    log = mapping.log_from(row(a=7, b=Decimal("1.5"), c=date(2026, 1, 9), d=at, e=date(2026, 1, 9)))

    assert ("7", "1.5", "2026-01-09") == (log.username, log.follow_up_type, log.notes)
    assert (at.replace(tzinfo=timezone.utc), date(2026, 1, 9)) == (log.last_contacted, log.date_required_follow_up)


@pytest.mark.parametrize("cell", [["CANARY"], {"a": "CANARY"}])
def test_what_json_can_hold_and_a_log_can_not(cell: object) -> None:
    """Lists and objects are no texts, and are not made into some."""
    (fault,) = faults(ColumnMapping(columns={"notes": "n"}), row(n=cell))

    assert ("must be text, a number or nothing" in fault, "CANARY" in fault) == (True, False)


def test_blank_words_are_not_mapped() -> None:
    """A status of blanks is no status, and the star does not mean it."""
    mapping = ColumnMapping(columns={"status": ("s", "t"), "notes": "n"}, words={"status": {"*": "Completed"}})

    assert None is mapping.log_from(row(s=" ", t="", n="x")).status


def test_a_column_that_occurs_twice() -> None:
    """Of two columns with one name none is taken silently, in a header or in an object that spells it twice."""
    mapping = ColumnMapping(columns={"notes": "Text"})

    with pytest.raises(ConfigurationError, match='more than one column "text"'):
        mapping.completed(["Text", "Other", "text"])
    assert {"notes": ("Text",)} == mapping.completed(["Text", "Other", "other", "", ""]).columns
    twice = Row(line=7, columns=("Text", "text"), cells=("a", "b"))
    assert ('line 7: "Text" is there more than once; leave one of them',) == faults(mapping, twice)
    other = Row(line=7, columns=("Text", "Other", "other"), cells=("a", "b", "c"))
    assert "a" == mapping.log_from(other).notes


def test_no_such_field() -> None:
    """A name that is no field is refused with the names that are."""
    with pytest.raises(ConfigurationError, match=r'"Note" is no field .* AllocatedTo'):
        field_named("Note")


def test_missing_columns_of_a_file_without_any() -> None:
    """A file without a named column has none to propose."""
    with pytest.raises(ConfigurationError, match="it has none"):
        ColumnMapping(columns={"notes": "Text"}).completed(["", "neto_line"])


def test_one_faulty_cell_among_good_ones() -> None:
    """A row with one cell that can't be read is invalid for it alone, however good the rest is."""
    mapping = ColumnMapping(columns={"last_contacted": "When", "notes": "Text"})

    (fault,) = faults(mapping, row(When="05/06/2026", Text="fine"))
    assert fault.startswith('line 7, column "When": not a time that can be read for certain')
