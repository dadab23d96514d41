"""The five outcomes, the errors made of them, and the reports that count them."""

from __future__ import annotations

import pickle

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neto_async import outcomes
from neto_async.errors import (
    AuthenticationError,
    InvalidRecordError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    RejectedError,
)
from neto_async.models import CustomerLog
from neto_async.outcomes import Added, Attempt, Evidence, Invalid, NotSent, NotSentCause, Phase, Rejected, Unknown
from neto_async.results import BulkReport, DrainReport, ImportProgress, Statistics, error_for

SECRET = "canary-7f3a"
LOG = CustomerLog(notes=SECRET, customer_name=SECRET)
CALL = Attempt(call=3, records=2, body_bytes=812, phase=Phase.LEFT, seconds=1.26, failure="ReadError")


def added(index=0, **more):
    return Added(index=index, record=LOG, context=SECRET, log_id=901 + index, warnings=(SECRET,), **more)


def rejected(index=0, **more):
    return Rejected(index=index, record=LOG, context=SECRET, messages=(SECRET,), **more)


def invalid(index=0, **more):
    return Invalid(index=index, record={"notes": SECRET}, context=SECRET, errors=("username: 26 characters",), **more)


def not_sent(index=0, cause=NotSentCause.GAVE_UP, **more):
    return NotSent(index=index, record=LOG, context=SECRET, reason=SECRET, cause=cause, **more)


def unknown(index=0, **more):
    evidence = Evidence(log_ids=(7,), messages=(SECRET,), status=200)
    return Unknown(index=index, record=LOG, context=SECRET, reason="no answer came back", evidence=evidence, **more)


MAKERS = [added, rejected, invalid, not_sent, unknown]


def of_another_source(index=0):
    cause = NotSentCause.SOURCE_CHANGED
    return NotSent(index=index, record=LOG, reason=cause, cause=cause)


@pytest.mark.parametrize(
    ("make", "safe"),
    [
        (added, False),
        (rejected, True),
        (invalid, True),
        (not_sent, True),
        (of_another_source, False),
        (unknown, False),
    ],
)
def test_safe_to_resend(make, safe):
    """Only what is in the store, or may be, is unsafe to send again; the error says the same."""
    outcome = make()
    assert safe is outcome.safe_to_resend
    error = error_for(outcome)
    assert error is None or error.safe_to_resend is safe


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (added(), None),
        (rejected(), RejectedError),
        (invalid(), InvalidRecordError),
        (unknown(), OutcomeUnknownError),
        *(
            (not_sent(cause=cause), NotSentError)
            for cause in NotSentCause
            if cause not in {NotSentCause.KEY_REFUSED, NotSentCause.RATE_LIMITED}
        ),
        (not_sent(cause=NotSentCause.KEY_REFUSED), AuthenticationError),
        (not_sent(cause=NotSentCause.RATE_LIMITED), RateLimitedError),
    ],
)
def test_each_outcome_has_its_error(outcome, kind):
    """The error of an outcome is of exactly one class, and carries the outcome as its fate."""
    error = error_for(outcome)
    assert (kind or type(None)) is type(error)
    assert error is None or error.fate is outcome


def test_error_says_what_is_known():
    """Errors carry the faults of an invalid log, and the seconds that the store asked for."""
    assert error_for(invalid()).errors == ("username: 26 characters",)
    assert error_for(not_sent(cause=NotSentCause.RATE_LIMITED, retry_after=42.0)).retry_after == 42.0


@pytest.mark.parametrize("make", [not_sent, unknown])
def test_error_says_of_the_last_attempt(make):
    """The text of an error ends with the call that decided it: its number, size, phase, end and duration."""
    first = attrs.evolve(CALL, call=2)
    said = "call 3 with 2 records: left, no answer, ReadError, after 1.3 s"
    assert said in str(error_for(make(attempts=(first, CALL))))


def test_attempt_says_the_status_of_an_answer():
    """An attempt that was answered is reported by its HTTP status."""
    answered = Attempt(call=1, records=1, body_bytes=9, phase=Phase.ANSWERED, seconds=0.02, status=503)
    assert "call 1 with 1 record: answered, HTTP 503, after 20 ms" == str(answered)


def test_attempt_says_a_broken_answer():
    """An answer that broke off is reported by its status and by what broke it."""
    broken = Attempt(
        call=7, records=2, body_bytes=9, phase=Phase.LEFT, seconds=1.0, status=200, failure="RemoteProtocolError"
    )
    assert "call 7 with 2 records: left, no answer, HTTP 200, RemoteProtocolError, after 1.0 s" == str(broken)


@pytest.mark.parametrize("make", [rejected, invalid, not_sent, unknown])
def test_each_call_makes_a_new_error(make):
    """Two waiters never raise the same object, whose traceback would grow."""
    outcome = make()
    assert error_for(outcome) is not error_for(outcome)


@pytest.mark.parametrize("make", MAKERS)
def test_no_text_holds_contents(make):
    """Neither the outcome's `repr`, nor its error's texts, nor a report's show logs, context or Neto's words."""
    outcome = make(attempts=(CALL,))
    error = error_for(outcome)
    report = BulkReport((outcome,))
    shown = f"{outcome!r} {outcome} {error} {error!r} {report!r} {report}"
    assert SECRET not in shown


@pytest.mark.parametrize("make", MAKERS)
def test_outcome_pickles_whole(make):
    """An outcome survives the way to another process, context and evidence included."""
    outcome = make(attempts=(CALL,))
    assert outcome == pickle.loads(pickle.dumps(outcome))


@pytest.mark.parametrize("make", MAKERS)
def test_outcome_is_final(make):
    """An outcome is reported once and never changed."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        make().index = 4


@given(st.lists(st.sampled_from(MAKERS), max_size=30))
def test_report_keeps_order_and_splits_without_loss(makers):
    """The five tuples of a report are its outcomes, each once, in the order of the input."""
    said = tuple(make(index) for index, make in enumerate(makers))
    report = BulkReport(said)
    parts = (report.added, report.rejected, report.invalid, report.not_sent, report.unknown)
    assert said == report.outcomes
    assert sorted(said, key=lambda o: o.index) == sorted((o for part in parts for o in part), key=lambda o: o.index)
    assert all([o.index for o in part] == sorted(o.index for o in part) for part in parts)
    assert [Added, Rejected, Invalid, NotSent, Unknown] == [
        type(part[0]) if part else kind
        for part, kind in zip(parts, (Added, Rejected, Invalid, NotSent, Unknown), strict=True)
    ]


def test_report_shows_counts():
    """A report of any size prints as its counts."""
    report = BulkReport((added(0), added(1), rejected(2), unknown(3)))
    assert "BulkReport(records=4, Added=2, Rejected=1, Invalid=0, NotSent=0, Unknown=1)" == repr(report)


def test_raise_for_problems_is_silent_without_any():
    """Where all was added, or nothing was given, nothing is raised."""
    BulkReport((added(0), added(1))).raise_for_problems()
    BulkReport(()).raise_for_problems()


def test_raise_for_problems_groups_one_error_a_problem():
    """The group holds an error for each record that was not certainly added, in order, and no contents."""
    said = (rejected(0), added(1), unknown(2), invalid(3), not_sent(4))
    with pytest.raises(ExceptionGroup) as caught:
        BulkReport(said).raise_for_problems()
    assert [0, 2, 3, 4] == [error.fate.index for error in caught.value.exceptions]
    assert caught.value.message == "4 of 5 customer logs were not certainly added"
    assert SECRET not in repr(caught.value)


def test_progress_counts_what_is_finished():
    """Finished are the records of all five outcomes, and those alone."""
    assert 15 == ImportProgress(taken=99, added=1, rejected=2, invalid=3, not_sent=4, unknown=5, calls=7).finished


@pytest.mark.parametrize(
    ("progress", "pace"),
    [
        (ImportProgress(), 0.0),
        (ImportProgress(added=30, unknown=2, invalid=7, not_sent=900, replayed=12, seconds=4.0), 5.0),
    ],
)
def test_the_pace_is_that_of_this_run(progress, pace):
    """What earlier runs settled, and what never went, does not count; before a run has begun there is no pace."""
    assert pace == progress.records_per_second


def test_no_repr_shows_a_stop_reason():
    """A stop reason may hold Neto's own words, so no `repr` shows it."""
    assert SECRET not in repr(ImportProgress(stop_reason=SECRET))


@pytest.mark.parametrize(
    "value", [CALL, Evidence(messages=(SECRET,)), ImportProgress(), DrainReport(drained=True), Statistics()]
)
def test_values_are_frozen_and_equal_by_content(value):
    """What crosses the border is a value: equal to its copy, and never changed."""
    assert value == attrs.evolve(value)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, attrs.fields(type(value))[0].name, 1)
    assert SECRET not in repr(value)


def test_all_names_what_is_public():
    """`__all__` is sorted and names every public class and function of the module, and nothing else."""
    public = {
        name
        for name, value in vars(outcomes).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == outcomes.__name__
    }
    assert sorted(public | {"Outcome"}) == outcomes.__all__
