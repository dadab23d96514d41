"""What a customer log may hold, by the vendor's rules, and what its texts may show."""

from __future__ import annotations

import pickle
import sys
from datetime import date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neto_async.errors import InvalidRecordError
from neto_async.models import MAX_LENGTHS, CustomerLog, CustomerLogStatus
from neto_async.outcomes import Invalid

TEXTS = ("allocated_to", "follow_up_type", "username", "customer_name", "notes")
BRISBANE = ZoneInfo("Australia/Brisbane")


def errors_of(**values):
    """Give the faults that a log of these values is refused for."""
    with pytest.raises(InvalidRecordError) as caught:
        CustomerLog(**values)
    return caught.value.errors


def test_fields_are_in_the_vendors_order():
    """The eight fields come in the order of the vendor's page, which is the order on the wire."""
    assert [
        "allocated_to",
        "follow_up_type",
        "username",
        "customer_name",
        "last_contacted",
        "date_required_follow_up",
        "status",
        "notes",
    ] == [attribute.name for attribute in attrs.fields(CustomerLog)]


def test_lengths_are_the_vendors():
    """The limits are those of the vendor's page: 255, 50, 25 and 100 characters; Notes has none."""
    assert {"allocated_to": 255, "follow_up_type": 50, "username": 25, "customer_name": 100} == MAX_LENGTHS


@pytest.mark.parametrize("name", MAX_LENGTHS)
def test_text_at_the_limit_is_taken(name):
    """A text of exactly the longest length is valid, and stays as it is."""
    text = "ā" * MAX_LENGTHS[name]
    assert text == getattr(CustomerLog(**{name: text}), name)


@pytest.mark.parametrize("name", MAX_LENGTHS)
def test_text_over_the_limit_is_refused(name):
    """One character more is refused, with field, length and limit in the text and the value not."""
    limit = MAX_LENGTHS[name]
    assert (f"{name}: {limit + 1} characters, and Neto takes at most {limit}",) == errors_of(
        **{name: "q" * (limit + 1)}
    )


def test_length_counts_characters_and_not_bytes():
    """25 emoji are 25 characters, though 100 bytes."""
    assert CustomerLog(username="🌿" * 25).username == "🌿" * 25


def test_notes_have_no_limit():
    """The vendor's page gives Notes no length, so none is made up."""
    assert len(CustomerLog(notes="n" * 1_000_000).notes) == 1_000_000


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("value", [7, b"seven", ["seven"], CustomerLogStatus])
def test_text_of_another_type_is_refused(name, value):
    """A text field takes text alone; the refusal names the type."""
    assert (f"{name}: must be text, not {type(value).__name__}",) == errors_of(**{name: value})


@pytest.mark.parametrize("name", [*TEXTS, "status", "last_contacted", "date_required_follow_up"])
@pytest.mark.parametrize("blank", ["", " ", "\t\r\n "])
def test_blank_is_absent(name, blank):
    """A text of white space alone is the same as none, in every field."""
    other = "notes" if name != "notes" else "username"
    assert getattr(CustomerLog(**{name: blank, other: "x"}), name) is None


class NaTType(datetime):
    """Plays pandas' NaT: a datetime that differs from itself, and whose methods raise."""

    def __ne__(self, other):
        return True

    def __hash__(self):
        return 0

    def utcoffset(self):
        raise ValueError


class NAType:
    """Plays pandas' NA: comparing it gives itself, and it is neither true nor false."""

    def __ne__(self, other):
        return self

    def __hash__(self):
        return 0

    def __bool__(self):
        raise TypeError


@pytest.mark.parametrize("name", [attribute.name for attribute in attrs.fields(CustomerLog)])
@pytest.mark.parametrize("missing", [float("nan"), NaTType(1, 1, 1), NAType()])
def test_a_missing_value_of_a_data_frame_is_absent(name, missing):
    """NaN, and pandas' NaT and NA, mean that there is no value, in every field."""
    other = "notes" if name != "notes" else "username"
    assert CustomerLog(**{other: "x"}) == CustomerLog(**{other: "x", name: missing})


def test_text_keeps_its_white_space():
    """What is not blank is kept to the character, white space at both ends included."""
    assert CustomerLog(notes=" \tcalled\r\n ").notes == " \tcalled\r\n "


def test_no_break_space_is_not_blank():
    """Only the white space of XML counts as blank, so that both formats carry the same."""
    assert CustomerLog(notes="\u00a0").notes == "\u00a0"


@pytest.mark.parametrize("values", [{}, {"notes": ""}, dict.fromkeys(TEXTS, " ")])
def test_empty_log_is_refused(values):
    """A log without a single field says nothing and is refused."""
    assert ("the log is empty: give at least one field",) == errors_of(**values)


@pytest.mark.parametrize("status", CustomerLogStatus)
def test_status_takes_member_or_word(status):
    """Each of the three words is taken as the member and as its text, and is the member afterwards."""
    assert CustomerLog(status=status).status is status
    assert CustomerLog(status=str(status)).status is status


def test_status_words_are_the_vendors():
    """The words are those of the vendor's page, spelt as there."""
    assert ["Require Recontact", "Recontacting", "Completed"] == [str(status) for status in CustomerLogStatus]


@pytest.mark.parametrize("status", ["completed", "Done", " Completed", 3, ["Completed"]])
def test_another_status_is_refused(status):
    """Any other status is refused, with the three words in the text."""
    assert ("status: must be one of Require Recontact, Recontacting, Completed",) == errors_of(status=status)


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x0b", "\x1f", "\ud800", "\udfff", "\ufffe", "\uffff"])  # noqa: PT014
@pytest.mark.parametrize("name", TEXTS)
def test_character_that_xml_cannot_carry_is_refused(name, character):
    """A control character, a surrogate or a noncharacter is refused with its position, counted from 1."""
    (error,) = errors_of(**{name: f"ab{character}cd"})
    assert error.startswith(f"{name}: character 3 is one that XML 1.0 can't carry")


@pytest.mark.parametrize(
    "character", ["\t", "\n", "\r", " ", "\x7f", "\x85", "\ud7ff", "\ue000", "\ufffd", "\U0010ffff"]
)
def test_character_that_xml_can_carry_is_taken(character):
    """The edges of what XML 1.0 (section 2.2) allows are valid."""
    assert CustomerLog(notes=f"a{character}b").notes == f"a{character}b"


@pytest.mark.parametrize("name", ["last_contacted", "date_required_follow_up"])
def test_aware_time_is_taken_as_it_is(name):
    """An aware datetime is kept, with its zone."""
    at = datetime(2026, 11, 5, 9, 30, tzinfo=BRISBANE)
    assert at is getattr(CustomerLog(**{name: at}), name)


@pytest.mark.parametrize("name", ["last_contacted", "date_required_follow_up"])
def test_naive_time_is_refused_with_the_way_out(name):
    """A time without a zone is refused, and the text says how to give it one."""
    (error,) = errors_of(**{name: datetime(2026, 11, 5, 9, 30)})  # noqa: DTZ001
    assert error.startswith(f"{name}: the time has no zone")
    assert 'value.replace(tzinfo=ZoneInfo("Australia/Brisbane"))' in error


def test_day_is_taken_for_the_follow_up_alone():
    """A date is a calendar day for the follow-up, and no time at all for the last contact."""
    assert CustomerLog(date_required_follow_up=date(2026, 11, 5)).date_required_follow_up == date(2026, 11, 5)
    (error,) = errors_of(last_contacted=date(2026, 11, 5))
    assert error.startswith("last_contacted: a date has no time and no zone")


@pytest.mark.parametrize("name", ["last_contacted", "date_required_follow_up"])
@pytest.mark.parametrize("value", ["2026-11-05", 1_780_000_000, timedelta(1)])
def test_time_of_another_type_is_refused(name, value):
    """Times are not parsed here: a text or a number is refused by its type."""
    (error,) = errors_of(**{name: value})
    assert error.startswith(f"{name}: must be ")
    assert error.endswith(f"not {type(value).__name__}")


@pytest.mark.parametrize("at", [datetime.min, datetime.max])  # noqa: DTZ901
def test_time_that_no_zone_could_convert_is_refused(at):
    """A time at the very edge of the calendar is refused here, so that no conversion can fail later."""
    assert ("last_contacted: the time is outside the years 1 to 9999",) == errors_of(
        last_contacted=at.replace(tzinfo=timezone.utc)
    )


def test_every_fault_is_named_at_once():
    """A log with several faults is refused once, with all of them."""
    errors = errors_of(username="u" * 26, status="Lost", notes="a\x00", last_contacted=date(2026, 1, 1))
    assert ["username", "status", "notes", "last_contacted"] == sorted(
        (error.partition(":")[0] for error in errors), key=["username", "status", "notes", "last_contacted"].index
    )


def test_refusal_is_a_value_error_with_its_outcome():
    """`except ValueError` catches it; its fate holds what was given, as an `Invalid` that can be resent."""
    with pytest.raises(ValueError, match="username: 26 characters") as caught:
        CustomerLog(username="u" * 26, notes=" ")
    assert Invalid(index=0, record={"username": "u" * 26}, errors=caught.value.errors) == caught.value.fate


def test_fields_are_named_and_final():
    """A log is made by names alone and never changed."""
    with pytest.raises(TypeError):
        CustomerLog("Priya")
    log = CustomerLog(notes="called")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        log.notes = "changed"
    assert CustomerLog(notes="called") == log
    assert hash(CustomerLog(notes="called")) == hash(log)


def test_a_change_is_validated_too():
    """`attrs.evolve` makes a new log, under the same rules."""
    with pytest.raises(InvalidRecordError):
        attrs.evolve(CustomerLog(notes="called"), username="u" * 26)


def test_repr_names_fields_and_shows_no_value():
    """Printing a log shows which fields are set, and nothing that people wrote in them."""
    assert "CustomerLog(customer_name=…, notes=…)" == repr(CustomerLog(customer_name="Ngaire", notes="private"))


def test_log_pickles_whole():
    """A log survives the way to another process."""
    log = CustomerLog(notes="called", status="Completed", last_contacted=datetime(2026, 1, 5, tzinfo=timezone.utc))
    assert log == pickle.loads(pickle.dumps(log))


ANY_TEXT = st.one_of(st.none(), st.text(max_size=300), st.text(st.characters(codec=None), max_size=60))
ANY_TIME = st.one_of(
    st.none(),
    st.dates(),
    st.datetimes(timezones=st.one_of(st.none(), st.timezones())),
    st.sampled_from(["2026-11-05", 5]),
)
ANY_VALUES = st.fixed_dictionaries(
    {
        **dict.fromkeys(TEXTS, ANY_TEXT),
        "status": st.one_of(st.none(), st.sampled_from(CustomerLogStatus), st.text(max_size=20)),
        "last_contacted": ANY_TIME,
        "date_required_follow_up": ANY_TIME,
    }
)


@given(ANY_VALUES)
def test_any_values_make_a_log_or_one_kind_of_error(values):
    """Whatever is given, the result is a valid log or an `InvalidRecordError`, and times convert to UTC."""
    try:
        log = CustomerLog(**values)
    except InvalidRecordError:
        return
    for at in (log.last_contacted, log.date_required_follow_up):
        if isinstance(at, datetime):
            at.astimezone(timezone.utc).astimezone(BRISBANE)
    assert log == CustomerLog(**attrs.asdict(log, recurse=False))


@given(st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), min_size=256, max_size=300))
def test_no_text_of_a_refusal_holds_the_value(value):
    """Errors, their `repr` and their fate's `repr` never hold what was given, for any value."""
    with pytest.raises(InvalidRecordError) as caught:
        CustomerLog(**dict.fromkeys(TEXTS, f"{value}\x00"), status=value)
    shown = f"{caught.value} {caught.value!r} {caught.value.fate!r} {caught.value.errors}"
    assert not set(value) & set(shown)


def test_every_character_is_judged_as_xml_10_does():
    """Over all of Unicode, what is taken is exactly the Char production of XML 1.0 (section 2.2)."""
    allowed = {0x9, 0xA, 0xD, *range(0x20, 0xD800), *range(0xE000, 0xFFFE), *range(0x10000, 0x110000)}
    refused = set(range(sys.maxunicode + 1)) - allowed
    assert CustomerLog(notes="".join(map(chr, sorted(allowed)))).notes is not None
    assert all(errors_of(notes=f"a{chr(code)}") for code in sorted(refused))


def test_a_zone_that_raises_makes_no_log():
    """A zone that raises is a fault of its field like others, said by the exception's class alone."""

    class Zone(tzinfo):
        def utcoffset(self, when):
            raise OSError("CANARY")

    assert ("last_contacted: its zone fails (OSError)",) == errors_of(
        last_contacted=datetime(2026, 11, 5, tzinfo=Zone())
    )
