"""JSON and JSON Lines: one bad line costs that line, and nothing in a document is certain before its end."""

from __future__ import annotations

import io
import json
import re
from decimal import Decimal
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neto_async import ConfigurationError, SourceError
from neto_async.files import json_files
from neto_async.importing import open_rows


def read(text, name="calls.json"):
    return list(open_rows(io.BytesIO(text.encode()), name=name))


VALUES = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]))
OBJECTS = st.lists(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES), max_size=6)


@given(OBJECTS, st.sampled_from([None, 1]))
def test_what_was_written_is_read(objects, indent):
    """An array, the vendor's wrapper and JSON Lines all give the objects that were written."""
    wrapped = {"CustomerLogs": {"CustomerLog": objects}}
    lines = "\n".join(map(json.dumps, objects))

    for text, name in (
        (json.dumps(objects, indent=indent), "a.json"),
        (json.dumps(wrapped, indent=indent), "a.json"),
        (lines, "a.jsonl"),
    ):
        assert objects == [dict(row.values) for row in read(text, name)]


def test_positions_and_types():
    """Each row knows its line; numbers keep their digits."""
    rows = read('[\n{"a": 1.10},\n\n{"b": 12345678901234567890}\n]')

    assert [(2, {"a": Decimal("1.10")}), (4, {"b": 12345678901234567890})] == [(row.line, row.values) for row in rows]


def test_a_single_object_in_the_wrapper():
    """The vendor's own form for one log is one row."""
    assert [{"Notes": "x"}] == [row.values for row in read('{"CustomerLog": {"Notes": "x"}}')]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"a":', "not JSON: .*column"),
        ("[1]", "not a JSON object"),
        ('{"a": 1, "a": 2}', "more than once"),
        ('{"a": NaN}', "NaN"),
        ("[" * 100_000, "too large"),
        (f'{{"a": {"9" * 5000}}}', "too large"),
    ],
)
def test_a_bad_line_costs_that_line(line, fault):
    """What is no object is a fault that keeps its text; the next line is read."""
    _, bad, good = read(f'{{}}\n{line}\n\n{{"a": "x"}}\n', "a.ndjson")

    assert re.search(fault, bad.fault)
    assert ((2, line), (4, {"a": "x"})) == ((bad.line, bad.raw), (good.line, good.values))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected an array"),
        ('{"a": 1}', "no list of objects; if it is one object a line"),
        ('{"CustomerLog": 5}', "expected an array"),
        ("[{}", "line 1, column 4: .*expected ','"),
        ("[{},\n{]", "line 2, column 2"),
        ("[{}]\nx", "line 2, column 1: .*end of the file"),
        ('{"CustomerLogs": {"CustomerLog": [{}]}', "expected '}'"),
        ('[{"a": Infinity}]', "NaN or Infinity"),
    ],
)
def test_documents_that_are_refused(text, says):
    """A document that is not well formed is refused with its place."""
    with pytest.raises(ConfigurationError, match=says):
        read(text)


def test_rows_of_a_document_that_are_no_objects():
    """An element that is no object, or has a name twice, is a fault of its own."""
    assert ["this is not a JSON object", "this object has a name more than once", None] == [
        row.fault for row in read('[5, {"a": 1, "a": 2}, {}]')
    ]


def test_empty_documents():
    """No objects are no rows."""
    assert [] == read(" [ ] ") + read("\n \n", "a.jsonl")


def test_limits(monkeypatch):
    """One object over the limit is refused by its place, in an array and on a line."""
    monkeypatch.setattr(json_files, "MAX_LINE", 20)
    monkeypatch.setattr(json_files, "_PIECE", 8)
    monkeypatch.setattr(json_files, "_WRAPPER_FITS", 8)
    with pytest.raises(SourceError, match=r"line 2, column 1: .* within 20 characters"):
        read('[{"a": "x"},\n{"a": "' + "x" * 50 + '"}]')
    with pytest.raises(SourceError, match="line 2: more than 20"):
        read('{}\n{"a": "' + "x" * 20 + '"}\n', "a.jsonl")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
DOCUMENTS = st.lists(st.dictionaries(TEXTS, TEXTS | st.integers(), max_size=4), max_size=6)


@given(objects=DOCUMENTS, indent=st.sampled_from([None, 1]), piece=st.integers(1, 40))
def test_where_pieces_end_makes_no_difference(objects, indent, piece):
    """An array that is read in pieces of any length gives the same rows, at the same lines."""
    text = json.dumps(objects, indent=indent, ensure_ascii=False)
    whole = read(text)
    with mock.patch.object(json_files, "_PIECE", piece):
        assert whole == read(text)


@given(text=st.text(alphabet='[]{}",:1 a\n\\', max_size=40), piece=st.integers(1, 12))
def test_where_pieces_end_makes_no_difference_to_faults(text, piece):
    """Nor does a text that is no JSON give another error."""
    with mock.patch.object(json_files, "_PIECE", piece):
        in_pieces = outcome(text)
    assert outcome(text) == in_pieces


def outcome(text):
    try:
        return read(text)
    except ConfigurationError as error:
        return str(error)


def test_what_a_piece_may_hold(monkeypatch):
    """A number that continues in the next piece is read whole; a missing comma and a long object have places."""
    monkeypatch.setattr(json_files, "_WRAPPER_FITS", 0)
    monkeypatch.setattr(json_files, "_PIECE", 4)
    assert ["this is not a JSON object"] == [row.fault for row in read("[1234567890]")]
    with pytest.raises(SourceError, match="expected ','"):
        read('[{"a": 1} {"a": 2}]')
    monkeypatch.setattr(json_files, "_PIECE", 1000)
    monkeypatch.setattr(json_files, "MAX_LINE", 20)
    with pytest.raises(SourceError, match="not one object within 20 characters"):
        read('[{"a": "' + "x" * 50 + '"}]')
