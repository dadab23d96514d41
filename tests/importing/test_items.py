"""What a source may yield, and the log it means."""

from __future__ import annotations

import pytest

from neto_async import CustomerLog, InvalidRecordError
from neto_async.importing.items import log_from_mapping, read_item


@pytest.mark.parametrize("name", ["Notes", "notes", "NOTES"])
def test_names_in_any_case(name):
    """The vendor's names and ours mean the same field, in any case of letters."""
    assert CustomerLog(notes="x", follow_up_type="y") == log_from_mapping({name: "x", "FollowUpType": "y"})


@pytest.mark.parametrize(
    "mapping", [{"CANARY": "x"}, {"Notes": "x", "notes": "CANARY"}, {5: "x"}, {}, {"Status": "CANARY"}]
)
def test_faults_name_no_value(mapping):
    """A mapping that makes no log is refused, with texts that show neither its values nor its names."""
    with pytest.raises(InvalidRecordError) as raised:
        log_from_mapping(mapping)

    assert "CANARY" not in str(raised.value)


def test_pairs_carry_their_context():
    """A pair is a record and its context."""
    log = CustomerLog(notes="x")

    assert (log, log, "mine", ()) == read_item((log, "mine"))


def test_a_row_found_invalid_before_keeps_its_errors():
    """An InvalidRecordError in a source is a row that is invalid already."""
    assert (None, None, 7, ("wrong",)) == read_item((InvalidRecordError(("wrong",)), 7))


@pytest.mark.parametrize("item", [None, 5, "CANARY", ["Notes"]])
def test_what_is_no_record_is_invalid(item):
    """Anything else is invalid, with its type and not its value in the text."""
    log, record, _, errors = read_item(item)

    assert (None, None, 1) == (log, record, len(errors))
    assert "CANARY" not in errors[0]
