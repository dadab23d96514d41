"""The sandbox checks records against the vendor's page."""

from __future__ import annotations

import pytest

from neto_async.sandbox.checking import problems_of


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"AllocatedTo": "é" * 255, "FollowUpType": "a" * 50, "Username": "a" * 25, "CustomerName": "a" * 100},
        {"Notes": "a" * 1_000_000},
        {"Status": "Require Recontact"},
        {"Status": "Recontacting"},
        {"Status": "Completed"},
        {"Status": ""},
        {"LastContacted": "2024-02-29 23:59:59"},
        {"LastContacted": "", "DateRequiredFollowUp": "0000-00-00 00:00:00"},
    ],
)
def test_what_the_page_allows(record):
    """What the vendor's page allows is saved."""
    assert problems_of(record) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AllocatedTo", "a" * 256),
        ("FollowUpType", "a" * 51),
        ("Username", "a" * 26),
        ("CustomerName", "a" * 101),
        ("Status", "completed"),
        ("Status", "Lost"),
        ("LastContacted", "2024-02-30 00:00:00"),
        ("LastContacted", "2023-02-29 00:00:00"),
        ("LastContacted", "2024-02-01 24:00:00"),
        ("DateRequiredFollowUp", "2024-02-01"),
        ("DateRequiredFollowUp", "2024-2-1 00:00:00"),
        ("DateRequiredFollowUp", "2024-02-01T00:00:00"),
        ("DateRequiredFollowUp", "2024-02-01 00:00:00 "),
        ("DateRequiredFollowUp", "2024-02-01 00:00:00+10:00"),
        ("DateRequiredFollowUp", "٢٠٢٤-02-01 00:00:00"),
    ],
)
def test_what_breaks_a_rule(name, text):
    """What breaks a rule is one problem, whose words echo the text."""
    (problem,) = problems_of({name: text})
    assert text in problem
    assert name in problem


def test_unknown_elements_are_a_setting():
    """An element that the page does not have is refused, or ignored if asked to."""
    record = {"Note": "a"}
    assert len(problems_of(record)) == 1
    assert problems_of(record, unknown_elements="ignore") == []
