"""What a source may yield, and the log it means."""

from __future__ import annotations

import pytest

from neto_async import CustomerLog, InvalidRecordError, Item
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


LOG = CustomerLog(notes="x")


@pytest.mark.parametrize("context", ["mine", {}, {"id": 5}, ("a", "b"), None])
def test_pairs_carry_their_context(context):
    """A pair is a record and its context, where that can't be a record itself."""
    assert (LOG, LOG, context, ()) == read_item((LOG, context)) == read_item(Item(LOG, context))


@pytest.mark.parametrize(
    "second", [LOG, Item(LOG), {"Notes": "b"}, {"id": 5, "customer_name": "b"}, InvalidRecordError(("wrong",))]
)
def test_a_pair_of_two_records_is_invalid(second):
    """A context that could be a log is refused with the remedy, and what it says is taken by `Item`."""
    log, record, context, errors = read_item((LOG, second))

    assert (None, LOG, second, 1) == (log, record, context, len(errors))
    assert "Item(record, context)" in errors[0]
    assert (LOG, LOG, second, ()) == read_item(Item(LOG, second))


def test_an_item_holds_its_texts_back():
    """Its repr shows neither record nor context, and an item in an item is no record."""
    assert "Item()" == repr(Item({"Notes": "CANARY"}, "CANARY"))
    assert None is read_item(Item(Item(LOG)))[0]


def test_a_row_found_invalid_before_keeps_its_errors():
    """An InvalidRecordError in a source is a row that is invalid already."""
    assert (None, None, 7, ("wrong",)) == read_item((InvalidRecordError(("wrong",)), 7))


@pytest.mark.parametrize("item", [None, 5, "CANARY", ["Notes"]])
def test_what_is_no_record_is_invalid(item):
    """Anything else is invalid, with its type and not its value in the text."""
    log, record, _, errors = read_item(item)

    assert (None, None, 1) == (log, record, len(errors))
    assert "CANARY" not in errors[0]
