"""Reports: a row's own cells to the letter, why, and to whose import a folder belongs."""

from __future__ import annotations

import csv
import io
import os
import stat
from pathlib import Path
from typing import Any, get_args

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from neto_async import Added, ConfigurationError, Invalid, JournalError, NotSent, Outcome, Rejected, Unknown
from neto_async.importing.files import open_rows
from neto_async.importing.files_rows import Row
from neto_async.importing.reports import EARLIER, FILES, FORGOTTEN, OURS, OWNER, Reports
from neto_async.importing.resuming import IN_DOUBT
from neto_async.outcomes import Evidence, NotSentCause

COLUMNS = ("Name", "Text")


def row(line: int, *cells: Any, **more: Any) -> Row:
    return Row(line=line, columns=COLUMNS, cells=cells, **more)


def rejected(index: int, *messages: str, replayed: bool = False) -> Rejected:
    context = row(index + 2, f"n{index}", "x")
    return Rejected(index=index, record=None, context=context, messages=messages, replayed=replayed)


def read(folder: Path, name: str, delimiter: str = ",") -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def reasons(folder: Path) -> dict[str, str]:
    return {found["neto_row"]: found["neto_reason"] for found in read(folder, "rejected")}


def write(
    folder: Path, *outcomes: Outcome, journal: str | None = "mine", complete: bool = True, **options: Any
) -> None:
    """Write the reports of a run."""
    reports = Reports(folder, COLUMNS, **options)
    reports.open(journal)
    reports.write(outcomes)
    reports.close(complete=complete)


# -- what stands in them ----------------------------------------------------------------------------------------

EVIDENCE = Evidence(log_ids=(7, 8), messages=("odd", "very odd"))
LOOKS = [
    # outcome, its file, its name, reason and id there
    (Added(index=0, record=None, log_id=5), "added", ("Added", "", "5")),
    (Added(index=0, record=None, log_id=5, warnings=("a", "b")), "added", ("Added", "a; b", "5")),
    (Rejected(index=0, record=None, messages=("no", "never")), "rejected", ("Rejected", "no; never", "")),
    (Invalid(index=0, record=None, errors=("long", "odd")), "rejected", ("Invalid", "long; odd", "")),
    (NotSent(index=0, record=None, reason="why", cause=NotSentCause.STOPPED), "not_sent", ("NotSent", "why", "")),
    (Unknown(index=0, record=None, reason="why"), "unknown", ("Unknown", "why", "")),
    (
        Unknown(index=0, record=None, reason="why", evidence=EVIDENCE),
        "unknown",
        ("Unknown", "why; odd; very odd; ids in the answer: 7, 8", ""),
    ),
]


@pytest.mark.parametrize(("outcome", "name", "said"), LOOKS)
def test_each_outcome_has_its_place(tmp_path: Path, outcome: Any, name: str, said: tuple[str, ...]) -> None:
    """A row stands in one of the four files, its own cells first, then which row it is, what became of it and why."""
    outcome = evolve(outcome, index=3, context=row(9, "ann", "x"))
    write(tmp_path, outcome)

    (found,) = read(tmp_path, name)
    assert (*COLUMNS, *OURS) == tuple(found)
    assert ("ann", "x", "4", "9", *said, "") == tuple(found.values())
    assert [name] == [other for other in ("added", "rejected", "unknown", "not_sent") if read(tmp_path, other)]


def test_every_kind_has_a_file() -> None:
    """There is no outcome that reports have no file for."""
    assert set(get_args(Outcome)) == set(FILES) == {type(outcome) for outcome, _, _ in LOOKS}


def test_a_row_that_could_not_be_read_keeps_its_text(tmp_path: Path) -> None:
    """Its cells are empty, and its text stands in a column of its own."""
    torn = Row(line=2, columns=COLUMNS, fault="torn", raw='ann,"x')
    write(tmp_path, Invalid(index=0, record=None, context=torn, errors=("torn",)))

    (found,) = read(tmp_path, "rejected")
    assert ("", "", 'ann,"x') == (found["Name"], found["Text"], found["neto_raw"])


def test_cells_that_are_no_texts(tmp_path: Path) -> None:
    """Nothing is empty, a number is its digits, and a lone surrogate is its escape."""
    write(tmp_path, Added(index=0, record=None, context=row(2, None, 12), log_id=1))
    write(tmp_path / "b", Added(index=0, record=None, context=row(2, "\ud800", True), log_id=1))

    assert ("", "12") == tuple(read(tmp_path, "added")[0].values())[:2]
    assert (r"\ud800", "True") == tuple(read(tmp_path / "b", "added")[0].values())[:2]


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1)


@settings(deadline=None)
@given(CELLS, CELLS, st.sampled_from(",;\t|"), st.booleans())
def test_a_report_reads_as_the_file_did(tmp_path_factory: Any, name: str, text: str, delimiter: str, mark: Any) -> None:
    """Cells come back to the letter, with the delimiter and the mark of the file they are from."""
    folder = tmp_path_factory.mktemp("report")
    refused = Rejected(index=0, record=None, context=row(2, name, text), messages=("no",))
    write(folder, refused, delimiter=delimiter, mark=mark)

    content = (folder / "rejected.csv").read_bytes()
    again = open_rows(io.BytesIO(content), name="rejected.csv")
    (found,) = again
    assert (delimiter, (name, text), mark) == (again.delimiter, found.cells[:2], content.startswith(b"\xef\xbb\xbf"))


def test_they_are_their_owners_alone(tmp_path: Path) -> None:
    """Nobody else can read the files or the folder, which is made with those above it."""
    before = os.umask(0)
    try:
        write(tmp_path / "a" / "b", rejected(0, "no"), complete=False)
        write(tmp_path / "a" / "b", complete=False)
    finally:
        os.umask(before)

    folder = tmp_path / "a" / "b"
    assert {0o600} == {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)


def test_a_refusal_is_on_disk_when_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neto's words, which no journal has, are synced before `write` returns; nothing else is waited for."""
    synced: list[str] = []

    def sync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").read_text(encoding="utf-8"))

    reports = Reports(tmp_path, COLUMNS)
    reports.open(None)
    monkeypatch.setattr(os, "fsync", sync)
    reports.write([Added(index=0, record=None, context=row(2, "a", "x"), log_id=1)])
    assert [] == synced
    reports.write([rejected(1, "their words")])
    reports.close(complete=True)

    assert [True] == ["their words" in text for text in synced]


# -- whose they are ---------------------------------------------------------------------------------------------


def test_a_later_run_writes_them_anew(tmp_path: Path) -> None:
    """The reports of a journal are those of its last run."""
    write(tmp_path, rejected(0, "no"), rejected(1, "no"))
    write(tmp_path, rejected(1, "still no"))

    assert {"2": "still no"} == reasons(tmp_path)


@pytest.mark.parametrize("journal", ["other", None])
@pytest.mark.parametrize("owner", ["mine", None])
def test_other_imports_are_refused(tmp_path: Path, owner: str | None, journal: str | None) -> None:
    """A folder with the reports of one import takes no other's, and none without a journal; they stay as they are."""
    write(tmp_path, rejected(0, "no"), journal=owner)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    with pytest.raises(ConfigurationError, match="holds the reports of another import; name another folder"):
        Reports(tmp_path, COLUMNS).open(journal)

    assert before == {file.name: file.read_bytes() for file in tmp_path.iterdir()}


def test_a_run_that_got_no_further(tmp_path: Path) -> None:
    """A folder that was begun by a run that died before it could say whose it is takes the next one."""
    (tmp_path / OWNER).touch()
    write(tmp_path, rejected(0, "no"))

    assert ("mine", {"1": "no"}) == ((tmp_path / OWNER).read_text(encoding="ascii"), reasons(tmp_path))


def test_of_two_that_begin_at_once_one_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another import claims the folder after one has looked, that one is refused."""
    holds = Reports._holds_reports

    def overtaken(self: Reports) -> bool:
        monkeypatch.setattr(Reports, "_holds_reports", holds)
        write(tmp_path, journal="other")
        return False

    monkeypatch.setattr(Reports, "_holds_reports", overtaken)
    with pytest.raises(ConfigurationError, match="another import"):
        Reports(tmp_path, COLUMNS).open("mine")
    assert "other" == (tmp_path / OWNER).read_text(encoding="ascii")


# -- Neto's words of earlier runs -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"delimiter": ";"}, {"delimiter": "\t", "mark": True}])
def test_words_outlive_runs(tmp_path: Path, options: dict[str, Any]) -> None:
    """What Neto said stands in the reports of every later run, also where one between them was cut off or mended it."""
    write(tmp_path, rejected(0, 'no; "never"\n'), rejected(1, "not so"), **options)
    write(tmp_path, complete=False, **options)  # cut off before it came to the rows
    write(tmp_path, rejected(1, "new words"), complete=False, **options)
    assert (tmp_path / EARLIER).exists()
    write(tmp_path, rejected(0, replayed=True), rejected(1, replayed=True), rejected(2, replayed=True), **options)

    found = {
        line["neto_row"]: line["neto_reason"] for line in read(tmp_path, "rejected", options.get("delimiter", ","))
    }
    assert {"1": 'no; "never"\n', "2": "new words", "3": FORGOTTEN} == found
    assert not (tmp_path / EARLIER).exists()


def test_evidence_outlives_runs(tmp_path: Path) -> None:
    """What a run saw of a row in doubt stands in later reports; what it said when it refused that row does not."""
    context = row(2, "n0", "x")
    again = [Unknown(index=at, record=None, context=context, replayed=True, reason=IN_DOUBT) for at in (0, 1)]
    write(tmp_path, rejected(1, "no"), complete=False)
    write(tmp_path, Unknown(index=0, record=None, context=context, reason="a web page", evidence=EVIDENCE))
    write(tmp_path, complete=False)
    write(tmp_path, *again, complete=False)
    write(tmp_path, *again)

    found = {line["neto_row"]: line["neto_reason"] for line in read(tmp_path, "unknown")}
    assert {"1": "a web page; odd; very odd; ids in the answer: 7, 8", "2": IN_DOUBT} == found


def test_what_was_never_said_is_not_kept(tmp_path: Path) -> None:
    """That a reason is forgotten, or that a row was invalid, are no words of Neto's."""
    invalid = Invalid(index=1, record=None, context=row(3, "b", "x"), errors=("long",))
    write(tmp_path, rejected(0, replayed=True), invalid)
    write(tmp_path, rejected(0, replayed=True), rejected(1, replayed=True))

    assert {"1": FORGOTTEN, "2": FORGOTTEN} == reasons(tmp_path)


@pytest.mark.parametrize(
    "cut", [b"n1,x,2,3", b"n1,x,2,3,Rejected", b'n1,"x', b"n1,x,2", b"n1,x,two,3,Rejected,odd,,", b"\0", b"\xff\xff"]
)
def test_a_report_that_was_cut_off(tmp_path: Path, cut: bytes) -> None:
    """A last line that a crash has cut takes nothing away from those above it."""
    write(tmp_path, rejected(0, "no"), complete=False)
    with (tmp_path / "rejected.csv").open("ab") as file:
        file.write(cut)
    write(tmp_path, rejected(0, replayed=True), rejected(1, replayed=True))

    assert {"1": "no", "2": FORGOTTEN} == reasons(tmp_path)


def test_long_cells_and_names_with_line_breaks(tmp_path: Path) -> None:
    """Neither a header of several lines nor a cell longer than csv reads by itself hides the words behind it."""
    columns = ("Na\nme", "Text")
    for outcomes in ([("x" * 200_000, "no")], [("x", "")]):
        reports = Reports(tmp_path, columns, delimiter=";")
        reports.open("mine")
        for text, said in outcomes:
            context = Row(line=2, columns=columns, cells=("a", text))
            messages = (said,) if said else ()
            refused = Rejected(index=0, record=None, context=context, messages=messages, replayed=not said)
            reports.write([refused])
        reports.close(complete=True)

    assert ["no"] == [line["neto_reason"] for line in read(tmp_path, "rejected", ";")]


# -- what fails -------------------------------------------------------------------------------------------------


def test_looking_changes_nothing(tmp_path: Path) -> None:
    """A folder that could be made is not made by looking; what could not is refused in a sentence."""
    Reports(tmp_path / "a" / "b", COLUMNS).check()
    assert [] == list(tmp_path.iterdir())
    (tmp_path / "file").touch()

    for folder in (tmp_path / "file", tmp_path / "file" / "b"):
        with pytest.raises(ConfigurationError, match=r"can't hold reports: .*file is no folder"):
            Reports(folder, COLUMNS).check()
        with pytest.raises(ConfigurationError, match="can't be written to: "):
            Reports(folder, COLUMNS).open(None)
    write(tmp_path / "a", journal=None)
    with pytest.raises(ConfigurationError, match="holds the reports of another import"):
        Reports(tmp_path / "a", COLUMNS).check()
    write(tmp_path / "b")
    Reports(tmp_path / "b", COLUMNS).check()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """Writing says so; closing does not say it again, and leaves the words of earlier runs where they are."""
    write(tmp_path, rejected(0, "no"), complete=False)
    (tmp_path / "added.csv").unlink()
    (tmp_path / "added.csv").symlink_to("/dev/full")
    reports = Reports(tmp_path, COLUMNS)
    reports.open("mine")

    with pytest.raises(JournalError, match="can't be written: No space left on device"):
        reports.write([Added(index=0, record=None, context=row(2, "a", "x"), log_id=1)])
    reports.close(complete=True)

    assert (tmp_path / EARLIER).exists()
