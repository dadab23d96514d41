"""A mapping in a file: what was written is read, and what is wrong is reported with the key and the file."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neto_async import ConfigurationError
from neto_async.importing import ColumnMapping
from neto_async.mapping.columns import folded
from neto_async.wire import FIELD_OF

TEXT = """
timezone = "Australia/Brisbane"
date_formats = ["%d/%m/%Y", "%d/%m/%Y %H:%M"]

[columns]
AllocatedTo = "Agent name"
notes = ["Transcript", "Summary"]

[words.Status]
"In progress" = "Recontacting"
"*" = "Completed"

[file]
delimiter = ";"
encoding = "windows-1252"
"""

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
COLUMNS = WORDS.filter(folded)
FIELDS = st.sampled_from(sorted(set(FIELD_OF.values())))
MAPPINGS = st.builds(
    ColumnMapping,
    columns=st.dictionaries(FIELDS, st.lists(COLUMNS, min_size=1, max_size=3)),
    words=st.dictionaries(
        FIELDS, st.dictionaries(WORDS.map(lambda word: word.strip().casefold()), WORDS, min_size=1, max_size=3)
    ).filter(lambda words: all(len({w.strip().casefold() for w in known}) == len(known) for known in words.values())),
    timezone=st.sampled_from([None, "UTC", "Australia/Brisbane", timezone.utc]),
    date_formats=st.lists(st.sampled_from(["%d/%m/%Y", "%Y%m%d"])),
    file=st.dictionaries(st.sampled_from(["delimiter", "encoding", "sheet", "rows"]), WORDS),
    empty=st.lists(WORDS, max_size=2),
    any_year=st.booleans(),
    html=st.sampled_from([None, "text"]),
)


@given(MAPPINGS)
def test_what_was_written_is_read(mapping):
    """Any mapping comes back from its TOML as it was, its zone by name."""
    found = ColumnMapping.loads(mapping.to_toml())

    assert mapping.to_toml() == found.to_toml()
    assert (mapping.columns, mapping.words, mapping.date_formats, mapping.file) == (
        found.columns,
        found.words,
        found.date_formats,
        found.file,
    )
    assert str(mapping.timezone) == str(found.timezone)


def test_a_file(tmp_path):
    """A file says all that a mapping knows, and is the mapping that a program would make."""
    path = tmp_path / "calls.toml"
    path.write_text(TEXT, encoding="utf-8-sig")

    assert ColumnMapping.from_toml(path) == ColumnMapping(
        columns={"allocated_to": "Agent name", "Notes": ["Transcript", "Summary"]},
        words={"Status": {"In Progress": "Recontacting", "*": "Completed"}},
        timezone="Australia/Brisbane",
        date_formats=["%d/%m/%Y", "%d/%m/%Y %H:%M"],
        file={"delimiter": ";", "encoding": "windows-1252"},
    )
    assert ColumnMapping() == ColumnMapping.loads(ColumnMapping().to_toml())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = \nb = 1", "not valid TOML: .*line 1"),
        ("a = " + "[" * 10_000, "not valid TOML"),
        ("colums = 1", "unknown key .colums."),
        ("columns = 1", r"columns must be a table, as in \[columns\]"),
        ("[columns]\nNotes = 5", "columns.Notes must be a text"),
        ("[columns]\nNotes = ['a', 5]", "columns.Notes must be a text"),
        ("[columns]\nNotes = []", "notes needs the name of a column"),
        ("[columns]\nNotes = ' '", "notes needs the name of a column"),
        ("[columns]\nNotes = 'a'\nnotes = 'b'", "the columns of notes are given twice"),
        ("[columns]\nNote = 'a'", '"Note" is no field'),
        ("words = 1", "words must be a table"),
        ("[words]\nStatus = 1", r"words.Status must be a table, as in \[words.Status\]"),
        ("[words.Status]\nWon = true", "words.Status.Won must be a text"),
        ("[words.Status]\nWon = 'a'\nwon = 'b'", "a word of status has two meanings: won"),
        ("timezone = 10", "timezone must be a text"),
        ("timezone = 'Brisbane'", "no time zone has this name"),
        ("date_formats = 1", "date_formats must be a text"),
        ("date_formats = '%d'", "the year, the month and the day"),
        ("any_year = 1", "any_year must be true or false"),
        ("file = 1", "file must be a table"),
        ("[file]\ndelimiter = 1", "delimiter must be a text"),
        ("[file]\nqoute = 'x'", r"unknown key 'qoute' in \[file\]"),
        ("[file]\naccept = 1", r"unknown key 'accept' in \[file\]"),
    ],
)
def test_what_is_wrong_is_reported_with_key_and_file(text, says):
    """An unknown key, a value of the wrong kind, or one that means nothing: the text names key and file."""
    with pytest.raises(ConfigurationError, match=f"calls.toml.*{says}"):
        ColumnMapping.loads(text, name="calls.toml")


def test_files_that_can_not_be_read(tmp_path):
    """A file that is not there, or is no UTF-8, is named."""
    (tmp_path / "bad.toml").write_bytes(b"\xff")

    with pytest.raises(ConfigurationError, match=r"none\.toml: No such file"):
        ColumnMapping.from_toml(str(tmp_path / "none.toml"))
    with pytest.raises(ConfigurationError, match=r"bad\.toml: bytes that are not UTF-8"):
        ColumnMapping.from_toml(tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        (ColumnMapping(timezone=timezone(timedelta(hours=10))), "has a name"),
        (ColumnMapping(columns={"Notes": "half \ud800"}), "half a character"),
    ],
)
def test_what_can_not_be_written(mapping, says):
    """A zone without a name, and half a character, can't be kept in a file."""
    with pytest.raises(ConfigurationError, match=says):
        mapping.to_toml()
