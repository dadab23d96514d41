"""What known logs teach of how the store gives a log back."""

from __future__ import annotations

import pytest

from neto_async.reconciling.calibration import Calibration, Text


def taught(*pairs):
    calibration = Calibration()
    for sent, stored in pairs:
        calibration = calibration.learn({"Notes": sent}, {"Notes": stored})
    return calibration


def could_be(calibration, sent, stored):
    ours, theirs = (Text.of({"Notes": notes}) for notes in (sent, stored))
    return not calibration.comes_whole(ours) or theirs.looks_like(ours)


def expected(calibration, notes):
    """Give the Notes that the store is expected to give back, None where that is not known."""
    key = calibration.key({"Notes": notes})
    return None if key is None else key[0]


@pytest.mark.parametrize(
    ("shown", "sent", "stored"),
    [
        (("a\n", "a\n"), "b\n", "b\n"),
        ((" <i>a</i>\nb ", " <i>a</i>\nb "), " <b>c</b>\n", " <b>c</b>\n"),
        ((" <i>a</i>\nb ", " a\nb "), " <b>c</b>\n", " c\n"),
        ((" <i>a</i>\nb ", "<i>a</i>\r\nb"), " <b>c</b>\nd", "<b>c</b>\r\nd"),
        ((" <i>a</i>\r\nb ", "a\nb"), " <b>c</b>\r\nd", "c\nd"),
    ],
)
def test_one_log_teaches_what_becomes_of_others(shown, sent, stored):
    """A known log shows whether tags, line ends and blanks at the edges come back."""
    assert stored == expected(taught(shown), sent)


def test_what_no_log_has_shown_is_not_known():
    """Plain texts are expected as they are; one that a store may change is expected in no form until it was shown."""
    calibration = taught(("plain", "plain"))
    assert "other" == expected(calibration, "other")
    assert [None] * 4 == [expected(calibration, notes) for notes in ("<b>a</b>", "a\nb", " a", "")]


def test_logs_that_contradict_each_other_leave_no_rule():
    """If blanks are once kept and once trimmed, no text is expected in any form."""
    assert expected(taught((" a", " a"), (" a", "a")), "b") is None


def test_an_edited_log_teaches_nothing():
    """A log that no rule explains shows that reading works, and nothing else."""
    calibration = taught(("a <b>", "zebra"))
    assert calibration == taught(("c", "d"))
    assert 1 == calibration.witnesses


def test_which_field_comes_back_is_learnt():
    """LastContacted comes back in three fields; the one that holds what was sent is compared, and no other."""
    utc = "2026-11-05 01:00:00"
    stored = {"LastContacted": "2026-11-05 11:00:00", "LastContactedUTC": utc}
    record = {"Notes": "a", "LastContacted": utc}
    fresh = Calibration()
    assert not fresh.agrees(record, stored | {"Notes": "a"})
    calibration = fresh.learn(record, stored | {"Notes": "a"})
    assert calibration.agrees(record, stored | {"Notes": "a"})
    assert not calibration.agrees(record, stored | {"Notes": "a", "LastContactedUTC": "2026-11-06 01:00:00"})


def test_a_day_comes_back_without_a_time():
    """DateRequiredFollowUp is compared as a date."""
    record = {"Notes": "a", "DateRequiredFollowUp": "2026-12-01 00:00:00"}
    assert Calibration().agrees(record, {"Notes": "a", "DateRequiredFollowUp": "2026-12-01"})
    assert not Calibration().agrees(record, {"Notes": "a", "DateRequiredFollowUp": "2026-12-02"})


@pytest.mark.parametrize(
    "stored",
    [
        "called back",
        " CALLED  BACK\r\n",
        "<p>called back</p>",
        "&lt;b&gt;called&lt;/b&gt; &amp;amp; back",
        "[x] called back: done",
    ],
)
def test_what_a_text_could_have_become(stored):
    """An altered text, and one that was added to, could be the record's."""
    calibration = taught(("a long text of a known log", "a long text of a known log"))
    assert could_be(calibration, "called back", stored)


@pytest.mark.parametrize("stored", ["called bac", "sent a parcel", ""])
def test_what_a_text_can_not_have_become(stored):
    """A text that lacks some of the words is another one, once longer texts were seen to come back whole."""
    calibration = taught(("a long text of a known log", "a long text of a known log"))
    assert not could_be(calibration, "called back", stored)


KINDS = ["called back " * 5, "café", "a & b", "a < b", "a\nb", "😀", "50%20 off", "C:\\new", "[@a@] b", "{a} b"]


@pytest.mark.parametrize("notes", KINDS)
def test_a_text_of_a_kind_that_was_not_seen_can_be_anything(notes):
    """A longer text, or one with characters that a store may change, is excluded by no log until it was seen."""
    calibration = taught(("a long text of a known log", "a long text of a known log"))
    assert could_be(calibration, notes, "zebra")
    assert (notes == "😀") == could_be(taught((notes, notes)), notes, "zebra"), "no ASCII letter distinguishes it"


@pytest.mark.parametrize("known", ["x" * 120, "é" * 10 + " & " + "x" * 80, "<p>" + "x" * 120])
def test_a_cut_may_count_bytes_or_escapes(known):
    """The text has fewer characters than a known one, and more bytes or escapes: a cut may take its last words."""
    calibration = taught((known, known), ("é & <", "é & <"))
    assert could_be(calibration, "é" * 40 + " & & & & & & & & & & & & & < called", "é" * 40)
    assert not could_be(calibration, "called back", "called")


def test_a_text_without_latin_letters_looks_like_itself_alone():
    """Where a text has no ASCII letter, only the very same text looks like it."""
    hello, more = Text.of({"Notes": "привет"}), Text.of({"Notes": "привет!"})
    assert hello.looks_like(hello)
    assert not more.looks_like(hello)
