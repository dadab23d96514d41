# ruff: noqa: DTZ001 (a workbook's times have no zone)
"""What other systems export in their own ways: read as its owner sees it, or refused with what reads it."""

from __future__ import annotations

import bz2
import csv
import datetime as dt
import io
import json
import lzma
import re
import zipfile
from functools import partial

import openpyxl
import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.worksheet.table import Table

from neto_async import ConfigurationError, InvalidRecordError
from neto_async.importing import ColumnMapping, LogSource, make_plan, open_rows
from neto_async.mapping.columns import field_named

ZONE = "Australia/Sydney"


def planned(content, name="calls.csv", mapping=None, **reading):
    file = open_rows(io.BytesIO(content if isinstance(content, bytes) else content.encode()), name=name, **reading)
    return file, make_plan(file, ColumnMapping(**(mapping or {})), import_unknown=False)


def sent(content, name="calls.csv", mapping=None, **reading):
    """Give what each row becomes: its fields in their order, or its faults."""
    file, plan = planned(content, name, mapping, **reading)
    found = []
    for log, _ in LogSource(file=file, plan=plan):
        if isinstance(log, InvalidRecordError):
            found.append("; ".join(log.errors))
        else:
            fields = (log.username, log.customer_name, log.status, log.notes)
            found.append([str(value) for value in fields if value is not None])
    return found


def book_of(*rows, change=lambda sheet: None):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    change(book.active)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("text", "mapping", "reading", "expected"),
    [
        ('Username,Notes\n="007",a\n"=""08""",b\n', {}, {}, [["007", "a"], ["08", "b"]]),
        ('Username,Notes\nmia, "a, b"\nzed,  c\n', {}, {}, [["mia", "a, b"], ["zed", "  c"]]),
        ('Username, Notes\nmia, "a\nb",\nzed, " ""x"""\n', {}, {}, [["mia", "a\nb"], ["zed", ' "x"']]),
        ('Username,Notes\n x, "y",  "a\n"\n', {}, {}, ["line 2: the row has 3 cells, and the header has 2"]),
        ('Username,Notes\nx, "a,",b\nc",d\n', {}, {}, ["left out with it"]),
        ('Username,Notes\n"a\nb", "c"\n"d", e\n', {}, {}, [["a\nb", "c"], ["d", " e"]]),
        ("Username,Notes\nmia,a,\nzed,b,,  \n", {}, {}, [["mia", "a"], ["zed", "b"]]),
        ("Username,Notes\r\nmia,a\r\n,b\r\n\x1a", {}, {}, [["mia", "a"], ["b"]]),
        ("Notes\na\n\0\0\0", {}, {}, [["a"]]),
        ("Username,Notes\n\x1a,a\n", {}, {}, ["--control-characters remove"]),
        ("Notes\n0,\n", {}, {}, ["the row has 2 cells, and the header has 1"]),
        ("Notes,\n0,\n", {}, {}, [["0"]]),
        ("Notes\r\nx\r\ny\r", {}, {}, [["x"], "may be a part of a row"]),
        ("Username,Notes,Status\nmia,a\n", {}, {"short_rows": "empty"}, [["mia", "a"]]),
        ('Username\tNotes\na\t15" x\nb\t"c\n', {}, {"quote": "none", "delimiter": "\t"}, [["a", '15" x'], ["b", '"c']]),
        ('"sep=|"\nUsername|Notes\na|b;c\n', {}, {}, [["a", "b;c"]]),
        ("Calls of May\n\nUsername;Notes\na;b\n", {}, {"header_row": 3}, [["a", "b"]]),
        ("A,B\nnull,x\n-,\n", {"columns": {"notes": ("A", "B")}, "empty": ["NULL", "-"]}, {}, [["x"], "empty"]),
        ("A,B\nNil,x\n", {"columns": {"notes": ("A", "B")}, "words": {"notes": {"nil": ""}}}, {}, [["x"]]),
        (
            "A,B\n#N/A,x\n#ref!,y\n",
            {"columns": {"notes": "A"}, "words": {"notes": {"#N/A": "-"}}},
            {},
            [["-"], "#ref!"],
        ),
        ("A,B\n#N/A,x\n", {"columns": {"notes": ("A", "B")}, "empty": "#N/A"}, {}, [["x"]]),
        ("A,B\n#N/A,x\n", {"columns": {"notes": ("A", "B")}, "words": {"notes": {"#n/a": ""}}}, {}, [["x"]]),
        ("Notes\nx\\ty\\\\\n\\N\n", {"escapes": "backslash"}, {}, [["x\ty\\"], "empty"]),
        ("Notes\nx < y\n<p>a&nbsp;b</p><ul><li>c</li></ul>\n", {"html": "text"}, {}, [["x < y"], ["a b\n- c"]]),
        ("Notes\n<style>x</style>a<br>b<td>c\n", {"html": "text"}, {}, [["a\nb c"]]),
        ("Notes\nx\x01y\n", {"control_characters": "remove"}, {}, [["xy"]]),
        ("Notes\nx\x01y\n", {}, {}, ["--control-characters remove"]),
        ("First,Last\nMia,Ray\n,Zed\n", {"columns": {"customer_name": "First + Last"}}, {}, [["Mia Ray"], ["Zed"]]),
        ("A + B\nx\n", {"columns": {"notes": "a + b"}}, {}, [["x"]]),
        ("First,Last\nMia,#N/A\n", {"columns": {"customer_name": "First + Last"}}, {}, ["#N/A"]),
        ("Username,Notes\na,b\nUsername,Notes\n", {}, {}, [["a", "b"], "repeats the header"]),
        ("Username,Notes\n4.15e+10,b\n4711.0,c\n", {}, {}, ["scientific notation", "ends in .0"]),
        ('Username,Notes\n"4,711",b\n4711.00,c\n=A1,d\n', {}, {}, ["commas", "ends in .0", "a formula"]),
        ("Username,Notes\n'007,\u200ba\n", {"outer_blanks": "remove"}, {}, [["007", "a"]]),
        ("Username,Notes\nmia,###\nzed,Err:502\nkim,Erin\n", {}, {}, ["shows ###", "shows Err:502", ["kim", "Erin"]]),
        (
            "A,Username,Notes\n1,mia,a\nGrand total,2,\n,Total,3.50\nTotal,mia,b\n",
            {},
            {},
            [["mia", "a"], "totals of a table", "totals of a table", ["mia", "b"]],
        ),
        (
            (
                "Username,Notes\nSumme,7\nTotal général,\nann Totale,3\nTotal of May: 4,\nI alt,9\n合計:,9\n"
                "Total,2026-02-02\nThe grand total was asked for,\nTotal calls for all of May and June,4\nmia,\n"
            ),
            {},
            {},
            [*["totals of a table"] * 6, ["Total", "2026-02-02"], "at most 25", "at most 25", ["mia"]],
        ),
        (
            "Username,Notes\n--------,-----\nmia,a\n-,-\n(1 row affected)\n2 rows in set (0.01 sec),\n3 calls,x\n",
            {},
            {},
            [
                "a rule between rows",
                ["mia", "a"],
                ["-", "-"],
                "number of rows below a table",
                "number of rows below a table",
                ["3 calls", "x"],
            ],
        ),
        ("Notes\n3 calls\nTotal: 3\n", {}, {}, [["3 calls"], "totals of a table"]),
        (
            "Username,Notes,A\nmia,a,\nnotes , USERNAME,\nNotes,b,\nNotes,,\n",
            {},
            {},
            [["mia", "a"], "repeats the header", ["Notes", "b"], ["Notes"]],
        ),
        (
            "Username,Notes\nmia,a\\\nb\nzed,c\\\nkim,d\n",
            {},
            {},
            ["part of a row", "part of a row", ["zed", "c\\"], ["kim", "d"]],
        ),
        ("Notes\na\\\nb\nc\n", {}, {}, ["part of a row", "part of a row", ["c"]]),
        ("Username,Notes\r\nmia,a\nzed,b\nkim,c\r\n", {}, {}, [["mia", "a"], ["zed", "b"], ["kim", "c"]]),
        ("Username,Notes\r\nmia,a\nb\r\nzed,c", {}, {}, ["part of a row", "part of a row", ["zed", "c"]]),
        (
            "Username,Notes\r\nmia,a\nb\r\nzed,c",
            {},
            {"short_rows": "empty"},
            ["part of a row", "part of a row", ["zed", "c"]],
        ),
        ("Username,Notes\nmia,a\rzed,b\nkim,c\n", {}, {}, ["part of a row", "part of a row", ["kim", "c"]]),
        ('Notes\ra\nb\r"c\nd"\r', {}, {}, ["part of a row", "part of a row", ["c\nd"]]),
        ("Notes\ra\r\nb\r\n\rc\rd", {}, {}, ["part of a row"] * 3 + [["d"]]),
        ('Notes,A\rx,y\n"z"w,\r', {}, {}, ["part of a row", "text follows a closing quote"]),
        (
            'Username,Notes\n"","\\""\n"","x\ny,z"\nmia,a\n"","\\""\nzed,"""b"\n',
            {},
            {},
            ["lines 2 to 6 are left out", ["zed", '"b']],
        ),
        ("Username,Notes\r\r\nmia,a\r\r\nzed,b\r\r\n", {}, {}, [["mia", "a"], ["zed", "b"]]),
        ('Username,Notes\na,"b\nc,d\ne,f"\n', {}, {}, ["lines 2 to 4.*--quote none"]),
        ('Username,Notes\na,"b\nc, d"\n', {}, {}, [["a", "b\nc, d"]]),
        ('Username,Notes\na,"b\nc,d"\n', {}, {"quote": "double"}, [["a", "b\nc,d"]]),
    ],
)
def test_tables_of_text(text, mapping, reading, expected):
    """Each way of other programs is read as its owner sees it, or the row is refused with what to do."""
    found = sent(text, mapping=mapping, **reading)

    assert len(expected) == len(found)
    for right, is_there in zip(expected, found, strict=True):
        assert re.search(right, is_there) if isinstance(right, str) else right == is_there


DOCUMENTS = {
    "wrapped": ({"page": 1, "tags": ["x"], "results": [{"Notes": "a"}, {"Notes": "b"}]}, {}, {}, [["a"], ["b"]]),
    "nested": (
        {"data": {"items": [{"Notes": "a", "from": {"name": "Mia", "id": {"x": 1}}}], "others": [{"x": 1}]}},
        {"columns": {"customer_name": "from.name", "notes": "Notes"}},
        {"rows": "data.items"},
        [["Mia", "a"]],
    ),
    "truth": (
        [{"Notes": "a", "Done": True}],
        {"columns": {"status": "Done"}, "words": {"status": {"true": "Completed"}}},
        {},
        [["Completed", "a"]],
    ),
    "ids": ([{"Username": 2**60 + 1}, {"Username": 4711.0}], {}, {}, [[str(2**60 + 1)], ["4711"]]),
}


@pytest.mark.parametrize("case", sorted(DOCUMENTS))
def test_documents(case):
    """Rows under a key are found, dotted names reach into objects, and a truth is what a workbook shows."""
    document, mapping, reading, expected = DOCUMENTS[case]

    assert expected == sent(json.dumps(document), "calls.json", mapping, **reading)


@pytest.mark.parametrize(
    ("text", "name", "reading", "says"),
    [
        ('{"a": 1}\n{"a": 2}\n', "a.json", {}, "looks like JSON Lines.*--input-format jsonl"),
        ('[{"Notes": "a"},\n{"Notes": "b"}]', "a.jsonl", {}, "JSON array.*--input-format json"),
        ('{"a": [{}], "b": [{}]}', "a.json", {}, "several lists.*--rows a .there are: a, b"),
        ('{"a": [{}]}', "a.json", {"rows": "b"}, 'no list of objects at "b".*--rows a'),
        ('{"a": []}', "a.json", {}, "there are no rows in it"),
        ('{"a": [{}], "b": [{}, {}]}', "a.json", {}, "as in --rows b .there are: b, a"),
        ('{"Notes": "a"},\n', "a.jsonl", {}, "line 1: this is not JSON: Extra data"),
        ("Notes\n".encode("utf-16-be"), "a.csv", {}, "--encoding utf-16-be"),
        (
            book_of(["Calls of May"], change=lambda sheet: sheet.parent.create_sheet("All")),
            "a.xlsx",
            {},
            "are: All; --sh",
        ),
        ('{"a": [{}]} x', "a.json", {}, "expected the end of the file"),
        ("{1: [{}]}", "a.json", {}, "expected a name in quotes"),
        ('{"a" [{}]}', "a.json", {}, "expected ':'"),
        ("Top\n\nUsername,Notes\n", "a.csv", {}, "Line 3 looks like the header: --header-row 3"),
        ("Top\n\nUsername;Notes\n", "a.csv", {}, "Line 3 looks like the header: --header-row 3"),
        ("Notes,Notes\na,b\nNotes,Notes\n", "a.csv", {}, "both give notes; rename one$"),
        ("Top,\n1,\n", "a.csv", {"header_row": 9}, "the file is empty"),
        (lzma.compress(b"Notes\na\n"), "a.csv", {}, "this is an xz file: unpack it"),
        (bz2.compress(b"Notes\na\n"), "a.csv", {}, "this is a bzip2 file: unpack it"),
        ("Notes\na\n", "a.csv", {"header_row": 0}, "header_row must be a whole number from 1"),
        ("Notes\na\n", "a.csv", {"rows": 1}, "rows must be a text"),
        ("Notes\na\n", "a.csv", {"quote": "single"}, "quote must be double or none"),
    ],
)
def test_files_that_are_refused(text, name, reading, says):
    """A file that is not what its name says is refused with what it is and how it is read."""
    with pytest.raises(ConfigurationError, match=says):
        planned(text, name, **reading)


def zipped(**files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("_dot_", "."), text)
    return content.getvalue()


def test_zip_archives():
    """A zip archive is read where it holds one table, and else, or if damaged, refused."""
    one = zipped(calls_dot_csv="Notes\na\nb\n")

    assert [["a"], ["b"]] == sent(one, "calls.zip") == sent(one, "calls.csv")
    damaged = bytearray(one)
    damaged[45] ^= 0xFF
    encrypted = bytearray(one)
    encrypted[one.index(b"PK\x01\x02") + 8] |= 1
    for content, name, says in (
        (zipped(a_dot_csv="Notes\n", b_dot_csv="Notes\n"), "a.zip", "not just one"),
        (zipped(a_dot_csv="Notes\n", b_dot_csv="Notes\n"), "a.csv", "zip archive"),
        (zipped(mimetype="x"), "a.zip", "only .xlsx"),
        (bytes(damaged), "a.csv", "zip archive is damaged"),
        (bytes(encrypted), "a.csv", "password"),
        (one[:30], "a.csv", "Excel workbook or a zip"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            sent(content, name)


def test_rows_that_a_workbook_hides_or_adds_up():
    """Hidden rows are counted, and read or not as was said; a table's totals are none of its rows."""

    def change(sheet, totals=1):
        sheet.row_dimensions[3].hidden = True
        table = Table(displayName="Calls", ref="A1:B4", totalsRowCount=totals)
        table._initialise_columns()
        for column, name in zip(table.tableColumns, ("Username", "Notes"), strict=True):
            column.name = name
        sheet.add_table(table)

    content = book_of(["Username", "Notes"], ["mia", "a"], ["zed", "b"], ["Total", 2], change=change)

    assert [["mia", "a"], ["zed", "b"]] == sent(content, "a.xlsx") == sent(content, "a.xlsx", hidden_rows="send")
    assert [["mia", "a"]] == sent(content, "a.xlsx", hidden_rows="skip")
    plain = book_of(["Username", "Notes"], ["mia", "a"], ["zed", "b"], ["kim", 2], change=partial(change, totals=0))
    assert 3 == len(sent(plain, "a.xlsx", hidden_rows="send"))
    again = book_of(["Notes"], ["a"], ["Notes"], change=lambda sheet: setattr(sheet.row_dimensions[3], "hidden", True))
    assert [["a"]] == sent(again, "a.xlsx", hidden_rows="skip")
    assert "repeats the header" in sent(again, "a.xlsx", hidden_rows="send")[1]
    totals = "Left out as the totals of a table: 1 row (first: line 4)"
    for said, notices, doubts in (
        (None, (totals,), ("hidden, as by a filter: 1 row (first: line 3); give --hidden-rows skip or send",)),
        ("skip", (totals, "Left out as hidden: 1 row (first: line 3)"), ()),
        ("send", (totals, "Read though hidden: 1 row (first: line 3)"), ()),
    ):
        _, plan = planned(content, "a.xlsx", hidden_rows=said)
        assert (notices, doubts) == (plan.notices, plan.doubts)


def test_headers_of_workbooks():
    """A header further down is proposed and can be said; a row that repeats it, and cells beside it, are reported."""
    content = book_of(["Person", "Talk"], ["Username", "Notes"], ["mia", "a", "x"], ["Username", "Notes"])

    with pytest.raises(ConfigurationError, match="Line 2 looks like the header: --header-row 2"):
        planned(content, "a.xlsx")
    _, plan = planned(content, "a.xlsx", header_row=2)
    assert ((1, 1), "repeats the header") == ((plan.valid, plan.invalid), plan.faults[0][0][-18:])
    assert ("Column C, without a name, is not read: 1 cell",) == plan.notices
    with pytest.raises(ConfigurationError, match="is empty"):
        planned(content, "a.xlsx", header_row=9)
    wide = book_of(["Notes", "B"], ["a", "b", *[None] * 25, "y"])
    assert "Column AB, without a name, is not read: 1 cell" == planned(wide, "a.xlsx")[1].notices[-1]


def test_parts_of_a_workbook_in_another_case():
    """The names of a workbook's parts are compared without their case."""
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(book_of(["Username", "Notes"], ["mia", "a"]))) as old,
        zipfile.ZipFile(content, "w") as new,
    ):
        for name in old.namelist():
            new.writestr(name.replace("sheet1", "Sheet1"), old.read(name).replace(b"sheet1.xml", b"SHEET1.xml"))

    assert [["mia", "a"]] == sent(content.getvalue(), "a.xlsx")


def test_a_day_and_a_time_in_two_columns():
    """A day and a time are joined, in a workbook too; an alternative that leaves the time behind is a doubt."""
    rows = [
        ["Notes", "Day", "Time"],
        ["a", dt.date(2026, 2, 2), dt.time(10, 37)],
        ["b", dt.datetime(2026, 2, 3, 9), None],
    ]
    mapping = {"columns": {"last_contacted": "Day + Time"}, "timezone": ZONE}

    file, plan = planned(book_of(*rows), "a.xlsx", mapping)
    assert ["10:37", "09:00"] == [f"{log.last_contacted:%H:%M}" for log, _ in LogSource(file=file, plan=plan)]
    assert "LastContacted from Day + Time: 1 row (first: line 2)" in plan.notices
    file, plan = planned(book_of(*rows), "a.xlsx", {"columns": {"notes": "Notes + Day"}})
    assert ["a 2026-02-02", "b 2026-02-03 09:00:00"] == [log.notes for log, _ in LogSource(file=file, plan=plan)]
    text = "Notes,Day,Time\na,2026-02-02,10:37\n"
    _, plan = planned(text, mapping={**mapping, "columns": {"last_contacted": ("Day", "Time")}})
    assert ['--map LastContacted="Day + Time"'] == [doubt[-32:] for doubt in plan.doubts]


def test_objects_of_many_shapes():
    """However many shapes objects have, and whichever of its columns one lacks, each field is found."""
    lines = "".join(json.dumps({f"x{at}": 1, "BA"[at % 2]: str(at), "C": ""}) + "\n" for at in range(600))
    mapping = {"columns": {"notes": ("A", "B"), "username": "C + D", "customer_name": "A"}}

    found = sent(lines.replace('"C"', '"D": null, "C"'), "calls.jsonl", mapping)
    assert [[str(at)] * (1 + at % 2) for at in range(600)] == found


def test_how_times_are_read_is_said_where_texts_were():
    """Not of a workbook's dates, and not where no time could be read."""
    zone = {"timezone": ZONE}
    dates = [["Notes", "LastContacted"], ["a", None], ["b", dt.datetime(2026, 2, 2, 10, 37)]]
    plans = [
        planned("Notes,LastContacted\na,3/11/2026\n", mapping=zone),
        planned(book_of(*dates), "a.xlsx", zone),
        planned(book_of(*dates, ["c", "2026-02-03 10:37"]), "a.xlsx", zone),
    ]
    assert [False, False, True] == ["Times: year, month, day" in plan.notices for _, plan in plans]


def test_what_a_plan_says():
    """Zone and offsets, placeholders, words for nothing, HTML, escapes, and columns without a name are counted."""
    text = (
        "Username,Notes,LastContacted,\n"
        "NULL,<p>a</p>,2026-07-01 10:00,\nmia,x\\ny,2026-01-01 10:00,left\nN/A,c,1970-01-01,\nzed,d,1899-12-30,\n"
        "x,y,2026-03-01 10:00,\n"
    )
    _, plan = planned(text, mapping={"timezone": ZONE})

    assert (
        "Encoding: UTF-8, as all of it is valid",
        "Times: year, month, day",
        "Zone of times without one: Australia/Sydney, UTC+11:00 on 2026-01-01, UTC+10:00 on 2026-07-01",
        "Taken for no time, as they hold a placeholder such as 1970-01-01: 2 rows (first: line 4)",
        "HTML in cells, sent as it is (--html text makes plain text of it): 1 row (first: line 2)",
        (
            r"Backslash escapes such as \n in cells, sent as they are (--escapes backslash reads them): "
            "1 row (first: line 3)"
        ),
        "Column 4, without a name, is not read: 1 cell",
    ) == plan.notices
    assert (
        (
            "cells with the word NULL: 1 cell (first: line 2); give --empty 'NULL', or --map-value Field='NULL=NULL' "
            "if it is meant"
        ),
        (
            "Username is the word N/A: 1 row (first: line 4); give --empty 'N/A', or --map-value Username='N/A=N/A' if "
            "it is meant"
        ),
    ) == plan.doubts
    for mapping in ({"empty": ["null", "n/a"]}, {"words": {"username": {"NULL": "Null", "N/A": "N/A"}}}):
        assert () == planned(text, mapping={"timezone": ZONE, **mapping})[1].doubts
    assert () == planned("Notes,Username\n\\N,a\n", mapping={"escapes": "backslash"})[1].doubts
    _, plan = planned(
        "Notes,LastContacted\na,1/2/2026\nb,1/2/2026\n", mapping={"date_formats": "%d/%m/%Y", "timezone": ZONE}
    )
    assert "Times: of the form %d/%m/%Y, as given" in plan.notices


def test_rows_of_a_document_are_counted():
    """A JSON document is often one line, so its rows are named by their number."""
    _, plan = planned('[{"Notes": "a"}, {"Notes": "<p>"}, {"Notes": []}]', "a.json")

    assert [("row 3, column",)] == [(fault[:13],) for (fault,) in plan.faults]
    assert plan.notices[-1].endswith("1 row (first: row 2)")


def doubts_of(content, name="calls.csv", **mapping):
    return planned(content, name, {"timezone": ZONE, **mapping})[1].doubts


def test_times_that_a_clock_skips_or_shows_twice():
    """A time that the zone does not have is a doubt, one that it has twice a notice; an offset makes both certain."""
    text = (
        "Notes,DateRequiredFollowUp,LastContacted\na,2026-10-04,2026-10-04 02:30\nb,,2026-04-05 02:30\n"
        "c,,2026-04-05 05:00\nd,,2026-04-05T02:30+10:00\n"
    )
    _, plan = planned(text, mapping={"timezone": ZONE})

    assert (
        (
            "times that the clock of the zone skips: 1 row (first: line 2); is the zone right? give another "
            "--timezone, correct them, or give --accept skipped-times"
        ),
    ) == plan.doubts
    _, accepted = planned(text, mapping={"timezone": ZONE, "accept": "skipped-times"})
    assert () == accepted.doubts
    assert "Accepted: times that the clock of the zone skips: 1 row (first: line 2)" == accepted.notices[-1]
    assert "Times that the clock of the zone shows twice, read as the first: 1 row (first: line 3)" in plan.notices
    assert () == doubts_of(text, timezone="Australia/Brisbane")


def test_days_and_months_in_the_other_order():
    """Days that only the other order can read are a doubt, in a workbook too, whose dates Excel may have swapped."""
    text = "Notes,LastContacted\na,04/05/2026\nb,04/25/2026\nc,what\n"
    (doubt,) = doubts_of(text, date_formats="%d/%m/%Y")
    assert "times that %d/%m/%Y can't read, and %m/%d/%Y can: 1 row (first: line 3)" in doubt
    joined = "Notes,Day,Time\na,04/05/2026,9:00\nb,04/25/2026,9:00\n"
    columns = {"last_contacted": "Day + Time"}
    assert "can: 1 row (first: line 3)" in doubts_of(joined, columns=columns, date_formats="%d/%m/%Y %H:%M")[0]
    assert doubt.endswith(", or give --accept day-order")
    assert () == doubts_of(text, date_formats="%d/%m/%Y", accept=["day-order"])
    assert () == doubts_of(text, date_formats="%m/%d/%Y") == doubts_of(text, date_formats=("%d/%m/%Y", "%m/%d/%Y"))

    rows = [["Notes", "LastContacted"], ["a", "04/25/2026"], ["b", dt.date(2026, 5, 4)]]
    (doubt,) = doubts_of(book_of(*rows), "a.xlsx")
    assert (
        "beside dates: Excel may have read day and month of the dates in the wrong order: 1 row (first: line 2)"
        in doubt
    )
    assert () == doubts_of(book_of(*rows), "a.xlsx", accept="days-as-text") == doubts_of(book_of(*rows[:2]), "a.xlsx")
    with_time = "Notes,LastContacted\na,1022026\nb,01022026\n"
    (first, second) = sent(with_time, mapping={"date_formats": "%d%m%Y", "timezone": ZONE})
    assert ("not a time of the date format" in first, ["b"]) == (True, second)


def test_rows_that_may_be_cut_or_are_below_the_table():
    """A single cell below a full row is a doubt; a row with one cell, odd ids and odd letters are notices."""
    text = "Username,Notes\nmia,a\nand so on\nand on\nzed,b\n"
    (doubt,) = doubts_of(text)
    assert () == doubts_of(text, accept="cut-rows")
    assert "a single cell below a full row" in doubt
    assert "1 row (first: line 3); correct both, give --short-rows empty" in doubt

    text = "Username,Notes,Status\n mia,a,\n'zed,caf\u00c3\u00a9,\nkim\u200b,b\ufffd,\nPrinted by Jo,,\nkim,c,\n"
    _, plan = planned(text)
    around = "Username with a blank, an apostrophe or an invisible character at its start or end"
    assert (
        f"{around}: 3 rows (first: line 2); give --outer-blanks remove or keep",
        (
            "cells with letters that another program has lost or changed: 2 rows (first: line 3); export them again as "
            "UTF-8, or give --accept garbled-letters"
        ),
    ) == plan.doubts
    assert ("Rows with a single cell, as a line below a table has: 1 row (first: line 5)",) == plan.notices[1:]
    _, plan = planned(text, mapping={"outer_blanks": "keep", "accept": "garbled-letters"})
    assert () == plan.doubts
    assert f"{around}, sent with it: 3 rows (first: line 2)" in plan.notices
    assert ["mia", "zed", "kim"] == [log[0] for log in sent(text, mapping={"outer_blanks": "remove"})[:3]]


@pytest.mark.parametrize(
    ("below", "said"),
    [
        ("Min,2,\n", "1 row (first: line 4)"),
        ("Min,2,\nOf all,,3\n", "2 rows (first: line 4)"),
        ("Printed by Jo,,\n", "1 row (first: line 4)"),
        ("kim,2,c\n", None),
        ("2,kim,\n", None),
        ("kim,2026-02-02 10:00,\n", None),
        ("a,1,\n" * 6, None),
    ],
)
def test_what_is_below_a_table(below, said):
    """Rows at the end that have one text, where the first ones have two, are a doubt, however they are called."""
    table = "Username,Notes,A\nmia,a,\nzed,b,\n"

    doubts = doubts_of(table + below)
    assert (said is not None) == bool(doubts)
    assert all(f"lines below the table: {said}" in doubt for doubt in doubts)
    assert () == doubts_of(table + below, accept="last-rows") == doubts_of("Username,Notes,A\nmia,a,\nMin,2,\n")


def test_words_for_nothing_as_a_person():
    """A word for nothing, or a formula's zero, as a person is a doubt; in a note it is one to look at."""
    doubts = doubts_of(book_of(["Username", "Notes"], [0, "None"], [None, " n/a "], ["mia", 0]), "a.xlsx")
    assert ["Username is the word 0: 1 row (first: line 2)"] == [doubt.partition(";")[0] for doubt in doubts]
    assert () == doubts_of("Username,Notes\nmia,a\n\n0x,b\n")


def test_rows_below_a_blank_one():
    """They may be another table's, and are counted; a line break in a cell is no blank row."""
    blank = "Rows below a blank one, as a second table has"
    _, plan = planned('Username,Notes\n\nmia,"a\nb"\nzed,"c\r\nd\re"\n"x\ny"z,\nkim,d\n\nAgent,Calls\nJo,3\n')
    assert f"{blank}: 1 row (first: line 12)" in plan.notices
    _, plan = planned(book_of(["Username", "Notes"], ["mia", "a\nb"], [], ["zed", "b"]), "a.xlsx")
    assert (f"{blank}: 1 row (first: line 4)",) == plan.notices


def test_a_guessed_encoding():
    """A guess is a doubt, and names the words that it changes; an encoding that is given is none."""
    content = "Notes\ncafé\ncafé\nnaïve\n".encode("cp1252")

    file, plan = planned(content)
    assert (("café", "naïve"), 1) == (file.encoding.words, len(plan.doubts))
    assert () == planned(content, encoding="cp1252")[1].doubts


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8) | st.sampled_from(
    [
        'a "b"',
        ' "x"',
        "a,b;c",
        "x\ny",
        "x\r\ny,z",
        "x\ry",
        "\nx",
        "x\\",
        'a\\"b',
        "  ",
        "-",
        "0012",
        '"',
        "\t",
        "=1",
        "'7",
        "<b>",
        "\\n",
        "Notes",
        "NULL",
        "\\N",
        "1E5",
        "12345678901234567",
        "#N/A",
        "Total",
        "12.0",
        "a | b",
    ]
)
# A text that a spreadsheet writes as a formula is read as what it shows.
CELLS = TEXTS.filter(lambda text: not text.startswith(('="', "\ufeff")) and "_x" not in text)
HEADER = ["AllocatedTo", "FollowUpType", "Ref", "Username", "CustomerName", "Notes"]
IGNORED = {"Ref"}


def as_csv(rows, draw, escape=None):
    line_end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    content = io.StringIO(newline="")
    writer = csv.writer(
        content,
        delimiter=draw(st.sampled_from(",;\t|")),
        quoting=draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])),
        # Quotes a cell with a character of this line end. With "\r" alone, a cell that begins with "\n" would come
        # unquoted after the line before it, and the file would be the same as one whose lines end with both.
        lineterminator="\r\n",
        escapechar=escape,
        doublequote=escape is None or draw(st.booleans()),
    )
    text = ""
    for row in rows:
        content.seek(0)
        content.truncate()
        writer.writerow(row)
        text += content.getvalue().removesuffix("\r\n") + line_end
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))


def as_xlsx(rows, draw, _escape):
    if draw(st.booleans()):
        return book_of(*rows)
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True}) as book:
        sheet = book.add_worksheet()
        for at, row in enumerate(rows):
            for column, cell in enumerate(row):
                sheet.write_string(at, column, cell)
    return content.getvalue()


def as_written(cell):
    """Give what a log holds of a cell."""
    return cell if cell.strip() else None


@given(st.data(), st.lists(st.lists(CELLS, min_size=6, max_size=6), max_size=6), st.integers(1, 6))
def test_what_is_sent_is_what_was_written(data, rows, width):
    """
    Of a table in any dialect each log that is sent is a row as it was written, in order; others are refused.

    Where none is refused all rows are sent, but blank ones.
    """
    kind = data.draw(st.sampled_from(["csv", "xlsx"]))
    if kind == "xlsx":
        rows = [[cell.replace("\r", "") for cell in row] for row in rows]
        rows = [[f"'{cell}" if cell.startswith("=") else cell for cell in row] for row in rows]
    columns = HEADER[-width:]
    rows = [row[:width] for row in rows]
    escape = data.draw(st.sampled_from([None, "\\"])) if kind == "csv" else None
    content = (as_csv if kind == "csv" else as_xlsx)([columns, *rows], data.draw, escape)

    try:
        file, plan = planned(content, f"calls.{kind}", {"escapes": "backslash" if escape else None})
    except ConfigurationError:
        return
    used = [at for at, name in enumerate(columns) if name not in IGNORED]
    written = [tuple(as_written(row[at]) for at in used) for row in rows]
    found = [log for log, _ in LogSource(file=file, plan=plan)]
    logs = [log for log in found if not isinstance(log, InvalidRecordError)]
    sent_logs = [tuple(getattr(log, field_named(columns[at])) for at in used) for log in logs]
    left = iter(written)
    for fields in sent_logs:
        assert fields in left, "a log that nobody wrote, or out of order"
    if len(logs) == len(found):
        assert [fields for fields in written if any(fields)] == sent_logs, "a row was lost without a word"


def test_a_cell_that_could_not_be_read_is_refused_in_a_report_too():
    """A row whose formula was never calculated, or whose cell is merged away, is not sent from its report as it is."""
    book = book_of(
        ["Username", "Notes"],
        ["ann", "=1+1"],
        ["bob", "ok"],
        ["cat", None],
        change=lambda sheet: sheet.merge_cells("B3:B4"),
    )
    rows = [[str(cell) for cell in row.cells] for row in open_rows(io.BytesIO(book), name="calls.xlsx")]
    report = io.StringIO()
    csv.writer(report).writerows([["Username", "Notes"], *rows])

    for found in (sent(book, "calls.xlsx"), sent(report.getvalue())):
        assert [False, True, False] == [isinstance(row, list) for row in found], found
