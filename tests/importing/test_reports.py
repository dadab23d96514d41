"""Reports: a row's own cells to the letter, why, and to whose import a folder belongs."""

from __future__ import annotations

import csv
import io
import os
import stat
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from neto_async import Added, ConfigurationError, Invalid, JournalError, NotSent, Outcome, Rejected, Unknown
from neto_async.files.opening import open_rows
from neto_async.files.rows import Row
from neto_async.importing.reports import EARLIER, FILES, FORGOTTEN, OURS, OWNER, SEEN, WRITTEN, Reports
from neto_async.importing.resuming import IN_DOUBT
from neto_async.mapping.columns import ColumnMapping
from neto_async.outcomes import Attempt, Evidence, NotSentCause, Phase

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


# -- what is in them ----------------------------------------------------------------------------------------

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
    """A row is in one of the four files, its own cells first, then which row it is, what became of it and why."""
    outcome = evolve(outcome, index=3, context=row(9, "ann", "x"))
    write(tmp_path, outcome)

    (found,) = read(tmp_path, name)
    more = list(SEEN) if name == "unknown" else []
    assert (*COLUMNS, *OURS, *more) == tuple(found)
    assert ("ann", "x", "4", "9", *said, "", *[""] * len(more)) == tuple(found.values())
    assert [name] == [other for other in ("added", "rejected", "unknown", "not_sent") if read(tmp_path, other)]


def test_every_kind_has_a_file() -> None:
    """There is no outcome that reports have no file for."""
    assert set(get_args(Outcome)) == set(FILES) == {type(outcome) for outcome, _, _ in LOOKS}


def test_a_row_that_could_not_be_read_keeps_its_text(tmp_path: Path) -> None:
    """Its cells are empty, and its text is in a column of its own."""
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


REASONS = st.text(st.sampled_from("'=+-@ \t\n\uff1da;|"), max_size=4)


@settings(deadline=None)
@given(REASONS)
def test_a_spreadsheet_runs_no_reason(tmp_path_factory: Any, reason: str) -> None:
    """Neto's words never begin as a formula does, and come back unchanged in the next run."""
    folder = tmp_path_factory.mktemp("report")
    for _ in range(2):
        write(folder, rejected(0, reason))
        assert reasons(folder)["1"].lstrip()[:1] not in set("=+-@\uff1d")
    reports = Reports(folder, COLUMNS)
    reports.open("mine")
    reports.close(complete=False)
    expected = {("Rejected", 1): (reason, "", "")} if reason else {}
    assert expected == reports._reasons


def test_when_a_call_in_doubt_was_sent(tmp_path: Path) -> None:
    """A row in doubt has the time at which its call began, which later runs repeat."""
    began = datetime(2026, 11, 2, 22, 15, 7, tzinfo=timezone.utc)
    attempt = Attempt(call=1, records=1, body_bytes=9, phase=Phase.LEFT, seconds=60.0, sent_at=began)
    unknown = Unknown(index=0, record=None, context=row(2, "a", "x"), reason="no answer", attempts=(attempt,))
    for outcome in (unknown, evolve(unknown, reason=IN_DOUBT, attempts=(), replayed=True)):
        write(tmp_path, outcome)
        expected = [("2026-11-02 22:15:07+00:00", "no answer")]
        assert expected == [(line[SEEN[0]], line["neto_reason"]) for line in read(tmp_path, "unknown")]


def test_ids_that_the_store_had_given_before(tmp_path: Path) -> None:
    """A row in doubt has the highest id that was known before its call began, whatever was answered after that."""
    began = datetime(2026, 11, 2, 22, 15, tzinfo=timezone.utc)

    def added(index: int, log_id: int, seconds: float) -> Added:
        ended = began + timedelta(seconds=seconds)
        attempt = Attempt(call=1, records=1, body_bytes=9, phase=Phase.ANSWERED, seconds=1.0, ended_at=ended)
        return Added(index=index, record=None, context=row(2, "a", "x"), log_id=log_id, attempts=(attempt,))

    earlier = Added(index=0, record=None, context=row(2, "a", "x"), log_id=900, replayed=True)
    attempt = Attempt(call=1, records=1, body_bytes=9, phase=Phase.LEFT, seconds=60.0, sent_at=began)
    doubt = Unknown(index=9, record=None, context=row(2, "a", "x"), reason="no answer", attempts=(attempt,))
    for before, expected in (
        ((), ""),
        ((earlier,), "900"),
        ((earlier, added(1, 1000, -5), added(2, 1001, -5), added(3, 1003, 5), added(4, 1002, -1)), "1002"),
        ((added(1, 1003, 5),), ""),
    ):
        write(tmp_path, *before, doubt)
        assert [expected] == [line["neto_above_id"] for line in read(tmp_path, "unknown")]


def test_a_run_that_was_killed_keeps_its_ids(tmp_path: Path) -> None:
    """Each write notes its time, so that reports of a run which was killed later do not look edited."""
    reports = Reports(tmp_path, COLUMNS)
    reports.open("mine")
    past = (tmp_path / WRITTEN).stat().st_mtime_ns - 10**10
    os.utime(tmp_path / WRITTEN, ns=(past, past))  # the run began 10 seconds ago
    reports.write([Added(index=0, record=None, context=row(2, "a", "x"), log_id=1000)])

    assert {0: 1000} == Reports(tmp_path, COLUMNS).added_before("mine")
    reports.close(complete=False)


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%Y-%d-%m %H:%M", "%d/%m/%y %H:%M:%S"])
def test_a_workbooks_dates_import_again(tmp_path: Path, form: str) -> None:
    """A date or time cell of a workbook is read from the report, with the same mapping, as it was from the workbook."""
    names = {"last_contacted": "Called", "date_required_follow_up": "Next", "notes": "Text"}
    mapping = ColumnMapping(columns=names, date_formats=(form,), timezone="Australia/Sydney")
    columns = ("Called", "Next", "Text")
    for moment in (datetime(2026, 11, 2, 22, 15, 7), datetime(2026, 11, 2, 22, 15), date(2026, 11, 2)):  # noqa: DTZ001
        context = Row(line=2, columns=columns, cells=(moment, moment, moment))
        reports = Reports(tmp_path, columns, mapping=mapping)
        reports.open("mine")
        reports.write([Rejected(index=0, record=None, context=context)])
        reports.close(complete=True)

        (again,) = open_rows(io.BytesIO((tmp_path / "rejected.csv").read_bytes()), name="rejected.csv")
        assert mapping.log_from(context) == mapping.log_from(again)


# -- what people change in them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [False, True])
def test_corrections_are_kept(tmp_path: Path, killed: Any) -> None:
    """A later run keeps a report that a person has changed under another name; one as it was written it replaces."""
    for number in (1, 2):
        write(tmp_path, rejected(0, "no"), rejected(1, "no"), complete=False)
        if killed:
            (tmp_path / WRITTEN).write_bytes(b"")
        path = tmp_path / "rejected.csv"
        path.write_text(f"corrected {number}", encoding="utf-8")
        later = path.stat().st_mtime_ns + 10**9
        os.utime(path, ns=(later, later))

        write(tmp_path, rejected(1, replayed=True))
        write(tmp_path)

    edited = [(tmp_path / f"rejected-edited-{number}.csv").read_text(encoding="utf-8") for number in (1, 2)]
    assert ["corrected 1", "corrected 2"] == edited
    assert 2 == len(list(tmp_path.glob("*-edited-*")))


def test_ids_of_earlier_runs(tmp_path: Path) -> None:
    """Ids are given to the journal that owns the folder, only from an unchanged file, and from no line that was cut."""
    added = [Added(index=at, record=None, context=row(at + 2, "a", "x"), log_id=1000 + at) for at in (0, 3)]
    path = tmp_path / "added.csv"
    reports = Reports(tmp_path, COLUMNS)
    assert {} == reports.added_before("mine")
    write(tmp_path, *added)
    assert ({0: 1000, 3: 1003}, {}) == (reports.added_before("mine"), reports.added_before("other"))

    path.write_bytes(path.read_bytes() + b"a,x,6,7,Added,,10")
    assert {} == reports.added_before("mine")
    (tmp_path / WRITTEN).write_bytes(b"")  # as a run leaves it that was killed
    assert {0: 1000, 3: 1003} == reports.added_before("mine")
    (tmp_path / WRITTEN).unlink()
    path.unlink()
    path.mkdir()
    assert {} == reports.added_before("mine")


# -- whose they are ---------------------------------------------------------------------------------------------


def test_a_later_run_writes_them_anew(tmp_path: Path) -> None:
    """The reports of a journal are those of its last run."""
    write(tmp_path, rejected(0, "no"), rejected(1, "no"))
    write(tmp_path, rejected(1, "still no"))

    assert {"2": "still no"} == reasons(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="a file that is open can't be replaced there")
def test_an_earlier_run_that_still_writes_changes_none_of_a_later_one(tmp_path: Path) -> None:
    """What a process adds that was suspended while another took its import over is in no report of the other's."""
    suspended = Reports(tmp_path, COLUMNS)
    suspended.open("mine")
    suspended.write([rejected(0, "early")])
    later = Reports(tmp_path, COLUMNS)
    later.open("mine")
    later.write([rejected(0, "early", replayed=True)])
    later.close(complete=True)
    suspended.write([rejected(1, "late")])
    suspended.close(complete=False)
    assert {"1": "early"} == reasons(tmp_path)


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
    """What Neto said is in the reports of every later run, also where one between them was cut off or corrected it."""
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
    """What a run saw of a row in doubt is in later reports; what it said when it refused that row is not."""
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


# -- what others put there --------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="needs links and modes of POSIX")
def test_what_others_prepared_is_refused(tmp_path: Path) -> None:
    """No link in the folder is followed, and no folder is used in which every user can write."""
    folder, target = tmp_path / "report", tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "rejected.csv").symlink_to(target)
    with pytest.raises(ConfigurationError, match=r"rejected\.csv is no file"):
        write(folder, rejected(0, "no"))
    assert not target.exists()

    folder.chmod(0o777)
    for look in (Reports(folder, COLUMNS).check, lambda: Reports(folder, COLUMNS).open("mine")):
        with pytest.raises(ConfigurationError, match=r"every user of this machine can write to .*chmod o-w"):
            look()


@pytest.mark.skipif(os.name != "posix", reason="needs pipes of POSIX")
@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["added.csv", "rejected.csv", ".journal", WRITTEN, EARLIER])
def test_a_pipe_in_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    """Opening a pipe that nobody writes to would never end."""
    write(tmp_path, rejected(0, "no"))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    reports = Reports(tmp_path, COLUMNS)

    assert {} == reports.added_before("mine")
    for look in (lambda: reports.check("mine"), lambda: reports.open("mine")):
        with pytest.raises(ConfigurationError, match="is no file, but a link, a pipe or a folder"):
            look()


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
    Reports(tmp_path / "b", COLUMNS).check("mine")
    for other in (None, "another"):
        with pytest.raises(ConfigurationError, match="holds the reports of another import"):
            Reports(tmp_path / "b", COLUMNS).check(other)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """Writing says so; closing does not say it again, and leaves the words of earlier runs where they are."""
    write(tmp_path, rejected(0, "no"), complete=False)
    reports = Reports(tmp_path, COLUMNS)
    reports.open("mine")
    with Path("/dev/full").open("w", encoding="utf-8") as full, suppress(OSError):
        reports._handles["added"], reports._writers["added"] = full, csv.writer(full)

        with pytest.raises(JournalError, match="can't be written: No space left on device"):
            reports.write([Added(index=0, record=None, context=row(2, "a", "x"), log_id=1)])
        reports._files.push(full)
        reports.close(complete=True)

    assert (tmp_path / EARLIER).exists()


def test_a_plan_that_cannot_be_written(tmp_path: Path) -> None:
    """Where the plan's file can't be made, an error says so."""
    (tmp_path / "planned.csv").mkdir()
    with pytest.raises(ConfigurationError, match=r"planned\.csv can't be written"):
        Reports(tmp_path, COLUMNS).write_planned([], timezone.utc)  # type: ignore[arg-type]
