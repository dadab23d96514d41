"""Each row of the table, with the least evidence that leads to it."""

from __future__ import annotations

import pytest
from attrs import evolve

from neto_async.models import StoredCustomer, StoredCustomerLog
from neto_async.reconciling.evidence import (
    AnsweredCall,
    Doubt,
    DoubtfulCall,
    Evidence,
    KnownLog,
    Missing,
    Reading,
    Settled,
)
from neto_async.reconciling.verdicts import reconcile
from neto_async.reconciling.windows import windows_of
from neto_async.settings import SETTLE_AFTER

ADDED, NOT_SENT, UNKNOWN = Settled.ADDED, Settled.NOT_SENT, Settled.UNKNOWN


def sent(notes="called about order 17", **fields):
    return {"Username": "jane", "Notes": notes, **fields}


def log(log_id, notes="called about order 17", **fields):
    return StoredCustomerLog(log_id=log_id, fields={"Notes": notes, **fields})


WITNESS = "called about the late order 5 [#k1]"
KNOWN = KnownLog(log_id=10, sent=sent(WITNESS))
BEFORE = AnsweredCall(began=1, answered=2, began_at=1.0, lowest_id=10, highest_id=10)


def evidence(*logs, doubts=({},), known=(KNOWN,), answered=(BEFORE,), at=1000.0, left_at=100.0):
    """Give the evidence of one customer whose one known log came back, beside these."""
    customers = (StoredCustomer(username="Jane", logs=(log(10, WITNESS), *logs)),)
    made = tuple(Doubt(**{"row": row, "call": 1, "sent": sent()} | given) for row, given in enumerate(doubts))
    return Evidence(
        doubts=made,
        calls=tuple(DoubtfulCall(number=n, began=2 * n + 1, left_at=left_at) for n in {one.call for one in made}),
        answered=answered,
        known=known,
        first=Reading(began_at=at, is_whole=True, customers=customers),
        second=Reading(began_at=at + 5, is_whole=True, customers=customers),
    )


def judged(given, **switches):
    """Give the verdicts."""
    found, _ = reconcile(given, windows_of(given.calls, given.answered, SETTLE_AFTER), **switches)
    return found


def verdicts(given, **switches):
    """Give what each verdict says, in short."""
    return [(one.settled, one.log_id or one.missing) for one in judged(given, **switches)]


def test_nothing_of_the_customer_is_unaccounted_for():
    """Without a log that the call could have saved, its record was not saved, whoever writes what."""
    assert [(NOT_SENT, None)] == verdicts(evidence())


def test_a_younger_log_is_not_the_calls():
    """A log above the ids of a call that began when this one was over is another's."""
    after = AnsweredCall(began=9, answered=10, began_at=800.0, lowest_id=20, highest_id=20)
    assert [(NOT_SENT, None)] == verdicts(evidence(log(21, "sent a parcel"), answered=(BEFORE, after)))
    soon = evolve(after, began_at=600.0)
    assert [(UNKNOWN, Missing.SOLE_WRITER)] == verdicts(evidence(log(21, "sent a parcel"), answered=(BEFORE, soon)))


def test_an_older_log_is_not_the_calls():
    """A log below an id that was known before the call is an older one."""
    assert [(NOT_SENT, None)] == verdicts(evidence(log(9, "sent a parcel")))


def test_absence_is_not_proven_by_ids_alone():
    """A log with the record's text, below or above the ids that its call can have, leaves what has no log unknown."""
    older = evidence(log(9))
    assert [(UNKNOWN, Missing.NO_EQUAL)] == verdicts(older) == verdicts(older, sole_writer=True)
    assert (9,) == judged(older)[0].candidates
    equal = evidence(log(9), log(11), doubts=[{}, {}])
    assert [(ADDED, 11), (UNKNOWN, Missing.NO_EQUAL)] == verdicts(equal, sole_writer=True)
    assert [(ADDED, 11)] == verdicts(evidence(log(9), log(11)), sole_writer=True)


def test_ids_that_go_back_narrow_no_window():
    """Where a later call has a lower id, no log is older or younger by its id."""
    parcel = log(9, "sent a parcel")
    back = AnsweredCall(began=3, answered=4, began_at=3.0, lowest_id=5, highest_id=5)
    assert [(UNKNOWN, Missing.SOLE_WRITER)] == verdicts(evidence(parcel, answered=(BEFORE, back)))
    assert [(UNKNOWN, Missing.FLOOR)] == verdicts(evidence(log(9), answered=(BEFORE, back)), sole_writer=True)
    together = evolve(back, began=2)
    assert [(NOT_SENT, None)] == verdicts(evidence(parcel, answered=(BEFORE, together)))


@pytest.mark.parametrize(("at", "expected"), [(700.0, (NOT_SENT, None)), (699.9, (UNKNOWN, Missing.TIME))])
def test_a_call_needs_time_to_be_over(at, expected):
    """A record is not given up before ten minutes after the last byte of its call."""
    assert [expected] == verdicts(evidence(at=at))


def test_reading_must_be_seen_to_work():
    """If no known log came back, nothing shows that a customer without logs has none."""
    assert [(UNKNOWN, Missing.WITNESS)] == verdicts(evidence(known=()), sole_writer=True)


def test_a_log_with_another_text():
    """A log with another text is another log only by the caller's guarantee, since people edit logs."""
    given = evidence(log(11, "sent a parcel"))
    assert [(UNKNOWN, Missing.SOLE_WRITER)] == verdicts(given)
    assert [(NOT_SENT, None)] == verdicts(given, sole_writer=True)
    assert (11,) == judged(given)[0].candidates


def test_a_log_with_the_same_text():
    """A log with the same text is the record's only by the caller's guarantee, and if an older id is known."""
    assert [(UNKNOWN, Missing.SOLE_WRITER)] == verdicts(evidence(log(11)))
    assert [(ADDED, 11)] == verdicts(evidence(log(11)), sole_writer=True)
    assert [(UNKNOWN, Missing.FLOOR)] == verdicts(evidence(log(11), answered=()), sole_writer=True)


def test_a_found_record_is_added_at_once():
    """What was found needs no delay."""
    assert [(ADDED, 11)] == verdicts(evidence(log(11), at=101.0), sole_writer=True)


def test_fields_that_differ():
    """A log with the same Notes and another Status is not taken for the record, nor for nothing."""
    given = evidence(log(11, Status="Completed"), doubts=[{"sent": sent(Status="Recontacting")}])
    assert [(UNKNOWN, Missing.SAME_RECORD)] == verdicts(given, sole_writer=True)


def test_more_logs_than_records():
    """Two equal logs for one record are both candidates."""
    given = evidence(log(12), log(11))
    assert [(UNKNOWN, Missing.COUNT)] == verdicts(given, sole_writer=True)
    assert (11, 12) == judged(given, sole_writer=True)[0].candidates


def test_equal_records_of_one_call():
    """They are paired in their order where all were saved; where fewer were, the first ones are taken as saved."""
    equal = [{}, {}]
    assert [(ADDED, 11), (ADDED, 12)] == verdicts(evidence(log(12), log(11), doubts=equal), sole_writer=True)
    assert [(ADDED, 11), (NOT_SENT, None)] == verdicts(evidence(log(11), doubts=equal), sole_writer=True)
    early = evidence(log(11), doubts=equal, at=101.0)
    assert [(ADDED, 11), (UNKNOWN, Missing.TIME)] == verdicts(early, sole_writer=True)


def test_records_that_differ_in_what_does_not_come_back():
    """Where fewer logs than records were saved, a FollowUpType that differs leaves all of them unknown."""
    hidden = [{"sent": sent(FollowUpType="a")}, {"sent": sent(FollowUpType="b")}]
    assert [(UNKNOWN, Missing.COUNT)] * 2 == verdicts(evidence(log(11), doubts=hidden), sole_writer=True)


def test_equal_records_of_several_calls():
    """Which log is whose is not known, unless another field says so, or only one call can have the id."""
    two = [{"call": 1}, {"call": 2}]
    assert [(UNKNOWN, Missing.WHICH)] * 2 == verdicts(evidence(log(11), log(12), doubts=two), sole_writer=True)
    differ = [{"sent": sent(Status="Completed"), "call": 1}, {"sent": sent(Status="Recontacting"), "call": 2}]
    logs = log(11, Status="Recontacting"), log(12, Status="Completed")
    assert [(ADDED, 12), (ADDED, 11)] == verdicts(evidence(*logs, doubts=differ), sole_writer=True)
    between = AnsweredCall(began=3, answered=4, began_at=50.0, lowest_id=12, highest_id=12)
    apart = evidence(log(11), log(13), doubts=differ, answered=(BEFORE, between))
    assert [(UNKNOWN, Missing.SAME_RECORD)] * 2 == verdicts(apart, sole_writer=True)


def test_a_log_that_its_call_can_not_have():
    """A log that holds what was sent, with an id that its call can't have, is not given to the record."""
    differ = [{"sent": sent(Status="Completed"), "call": 1}, {"sent": sent(Status="Recontacting"), "call": 2}]
    between = AnsweredCall(began=3, answered=4, began_at=50.0, lowest_id=12, highest_id=12)
    # The first call may have both, the second one only 13, which holds what the first one sent.
    given = evidence(
        log(11, Status="Recontacting"), log(13, Status="Completed"), doubts=differ, answered=(BEFORE, between)
    )
    assert [(UNKNOWN, Missing.WHICH)] * 2 == verdicts(given, sole_writer=True)


def test_one_log_for_two_kinds_of_record():
    """A log that could be either of two records is neither's."""
    either = [{"sent": sent()}, {"sent": sent(Status="Completed")}]
    given = evidence(log(11, Status="Completed"), doubts=either)
    assert [(UNKNOWN, Missing.WHICH)] * 2 == verdicts(given, sole_writer=True)


def test_a_text_that_may_come_back_changed():
    """While no known log shows what becomes of tags, a text with tags can be any log, and no log is it."""
    tagged = [{"sent": sent("<b>late</b>")}]
    given = evidence(log(11, "late"), doubts=tagged)
    assert [(UNKNOWN, Missing.CALIBRATION)] == verdicts(given, sole_writer=True)
    shown = KnownLog(log_id=12, sent=sent("<i>late</i>"))
    taught = evidence(log(11, "late"), log(12, "late"), doubts=tagged, known=(KNOWN, shown))
    assert [(ADDED, 11)] == verdicts(taught, sole_writer=True)


def test_a_text_that_can_be_anything_does_not_hide_another():
    """Where a log holds exactly what another record sent, a text of unknown fate has become that only if cut to it."""
    strange = "é" * 3 + " wants a refund"
    two = [{"sent": sent(strange)}, {"sent": sent()}]
    assert [(NOT_SENT, None), (ADDED, 11)] == verdicts(evidence(log(11), doubts=two), sole_writer=True)
    cut = [{"sent": sent("called about order 17, é")}, {"sent": sent()}]
    assert [(UNKNOWN, Missing.COUNT)] * 2 == verdicts(evidence(log(11), doubts=cut), sole_writer=True)


def test_a_record_without_notes():
    """Any log can be such a record, so no log proves it, and none disproves it."""
    bare = [{"sent": {"Username": "jane", "Status": "Completed"}}]
    assert [(UNKNOWN, Missing.CALIBRATION)] == verdicts(evidence(log(11), doubts=bare), sole_writer=True)
    assert [(NOT_SENT, None)] == verdicts(evidence(doubts=bare))


MARKED = ({"sent": sent("called [#k7]"), "marker": "[#k7]"},)


def test_a_marker():
    """A marker in one log shows the record, and in none shows that it is not there, whoever else writes."""
    assert [(ADDED, 12)] == verdicts(evidence(log(11, "called"), log(12, "called [#k7] twice"), doubts=MARKED))
    assert [(NOT_SENT, None)] == verdicts(evidence(log(11, "called"), doubts=MARKED))


@pytest.mark.parametrize(
    "logs",
    [
        (log(11, "called [#k7]"), log(12, "copied: called [#k7]")),
        (log(9, "called [#k7]"),),
    ],
    ids=["twice", "below the window"],
)
def test_a_marker_that_contradicts(logs):
    """A marker in two logs, or in one that is older than the call, settles nothing."""
    given = evidence(*logs, doubts=MARKED)
    assert [(UNKNOWN, Missing.MARKER_ONCE)] == verdicts(given, sole_writer=True)
    assert tuple(one.log_id for one in logs) == judged(given)[0].candidates


def test_two_markers_in_one_log():
    """A log that carries the markers of two records is given to neither."""
    two = (*MARKED, {"sent": sent("called [#k8]"), "marker": "[#k8]"})
    given = evidence(log(11, "called [#k7] [#k8]"), doubts=two)
    assert [(UNKNOWN, Missing.MARKER_ONCE)] * 2 == verdicts(given)


def test_a_marker_that_two_records_have():
    """A record that left with two calls has one marker, which then says nothing."""
    again = (MARKED[0], MARKED[0] | {"row": 0, "call": 2})
    given = evidence(log(11, "called [#k7]"), doubts=again)
    assert [(UNKNOWN, Missing.SOLE_WRITER)] * 2 == verdicts(given)


@pytest.mark.parametrize("name", [None, "  "])
def test_no_user_name(name):
    """A record without a user name can't be read back."""
    given = evidence(doubts=[{"sent": {"Notes": "a"} | ({"Username": name} if name else {})}])
    assert [(UNKNOWN, Missing.USERNAME)] == verdicts(given)


def test_a_customer_that_does_not_come_back():
    """A user name that gives no customer, or two that differ in case, settles nothing."""
    given = evidence(doubts=[{"sent": sent() | {"Username": "omar"}}])
    assert [(UNKNOWN, Missing.CUSTOMER)] == verdicts(given)
    both = evidence()
    twice = (*both.first.customers, StoredCustomer(username="JANE"))
    assert [(UNKNOWN, Missing.CUSTOMER)] == verdicts(evolve(both, second=evolve(both.second, customers=twice)))


def test_a_reading_that_stopped_early():
    """A short page is no end: what it lacks may be on the next one."""
    given = evidence()
    assert [(UNKNOWN, Missing.WHOLE_READING)] == verdicts(evolve(given, first=evolve(given.first, is_whole=False)))


def test_two_readings_that_differ():
    """A log in one reading alone, or one id twice, settles nothing; the order of logs means nothing."""
    given, more = evidence(log(11)), evidence()
    assert [(UNKNOWN, Missing.SAME_TWICE)] == verdicts(evolve(given, second=more.second))
    assert [(UNKNOWN, Missing.SAME_TWICE)] == verdicts(evidence(log(11), log(11)))
    turned = evidence(log(12), log(11)).second
    assert [(UNKNOWN, Missing.COUNT)] == verdicts(evolve(evidence(log(11), log(12)), second=turned), sole_writer=True)


def test_a_known_log_that_is_not_there():
    """If a customer's known log is missing, or has another text, the customer's logs can't be relied on."""
    lost = KnownLog(log_id=12, sent=sent("called"))
    assert [(UNKNOWN, Missing.KNOWN_LOGS)] == verdicts(evidence(known=(KNOWN, lost)))
    assert [(UNKNOWN, Missing.KNOWN_LOGS)] == verdicts(evidence(log(12, "done"), known=(KNOWN, lost)))


def test_a_known_log_belongs_to_one_record():
    """A log that belongs to a record by its answer is no candidate."""
    other = KnownLog(log_id=12, sent=sent())
    assert [(NOT_SENT, None)] == verdicts(evidence(log(12), known=(KNOWN, other)))


def test_what_was_learnt_is_kept():
    """What one customer's logs teach counts for the next, which has no known log."""
    first = evidence()
    _, taught = reconcile(first, windows_of(first.calls, first.answered, SETTLE_AFTER))
    next_one = evolve(evidence(known=()), calibration=taught)
    assert [(NOT_SENT, None)] == verdicts(next_one)


def test_words_without_texts():
    """Every verdict has a reason for a person, which shows nothing of a customer's text."""
    for switches in ({}, {"sole_writer": True}):
        for logs in ((), (log(11),), (log(11, "zebra"),), (log(11), log(12))):
            (verdict,) = judged(evidence(*logs), **switches)
            assert verdict.reason
            assert "{" not in verdict.reason
            assert not any(text in repr(verdict) for text in ("order 17", "zebra", "jane"))
