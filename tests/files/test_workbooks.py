# ruff: noqa: DTZ001 (a workbook's times have no zone)
"""Excel workbooks: what two other libraries write is read, and what a person would not see is never sent."""

from __future__ import annotations

import datetime as dt
import io
import random
import re
import zipfile

import openpyxl
import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from neto_async import ConfigurationError
from neto_async.files import gzip_files, workbooks
from neto_async.files.csv_files import MAX_CELL
from neto_async.files.rows import FaultyCell
from neto_async.importing import FileFormat, open_rows


def saved(book):
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def workbook(rows, change=lambda sheet: None):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    change(book.active)
    return saved(book)


def read(content, name="calls.xlsx", **options):
    return open_rows(io.BytesIO(content), name=name, **options)


def repacked(content, part, change):
    """Give a workbook with one part's text changed."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            text = old.read(name)
            new.writestr(name, change(text.decode()).encode() if name == part else text)
    return changed.getvalue()


SHEET = "xl/worksheets/sheet1.xml"
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).filter(lambda text: "_x" not in text)
VALUES = TEXTS | st.integers(-(10**14), 10**14) | st.dates(dt.date(1900, 3, 1)) | st.booleans() | st.none()


def seen(value):
    """Say what a person sees of a value."""
    if value == "":
        return None
    return str(value).upper() if isinstance(value, bool) else value


def write_with_openpyxl(rows):
    return workbook([["a", "b"], *rows])


def write_with_xlsxwriter(rows, header=("a", "b")):
    content = io.BytesIO()
    with xlsxwriter.Workbook(
        content, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    ) as book:
        sheet = book.add_worksheet()
        date = book.add_format({"num_format": "dd/mm/yyyy"})
        sheet.write_row(0, 0, header)
        for number, row in enumerate(rows, start=1):
            for column, value in enumerate(row):
                if isinstance(value, dt.date):
                    sheet.write_datetime(number, column, value, date)
                elif value is not None:
                    sheet.write(number, column, value)
    return content.getvalue()


@settings(max_examples=40)
@given(st.lists(st.tuples(VALUES, VALUES), max_size=5), st.sampled_from([write_with_openpyxl, write_with_xlsxwriter]))
def test_what_others_write_is_read(rows, write):
    """Texts, numbers, days and truths that either library writes are read back, from the row they are in."""
    rows = [tuple(f"={cell}"[1:].lstrip("=") if isinstance(cell, str) else cell for cell in row) for row in rows]
    expected = [
        (number, tuple(map(seen, row)))
        for number, row in enumerate(rows, start=2)
        if any(cell is not None and str(cell).strip() for cell in row)
    ]

    found = [(row.line, row.cells) for row in read(write(rows))]

    assert [(line, tuple(map(str, cells))) for line, cells in expected] == [
        (line, tuple(str(seen(cell)) for cell in cells)) for line, cells in found
    ]


def test_kinds_of_cells():
    """A date stays a date, a time of day a time, a number without its point; what is empty is nothing."""
    row = [dt.datetime(2026, 1, 5, 9, 30), dt.date(2026, 1, 5), dt.time(9, 30), dt.timedelta(hours=30), 5.0, None, True]
    file = read(workbook([["at", "day", "time", "long", "n", "none", "yes"], row]))

    assert (dt.datetime(2026, 1, 5, 9, 30), dt.date(2026, 1, 5), "09:30:00", "30:00:00", 5, None, "TRUE") == (
        next(iter(file)).cells
    )
    assert (FileFormat.XLSX, None, None) == (file.format, file.encoding, file.delimiter)
    assert list(file) == list(file)


def test_the_format_that_makes_a_text_of_a_number():
    """A number format's leading zeros are part of what a person sees; the workbook's other formats are looked up."""

    def pad(sheet):
        sheet["A2"].number_format = "00000"
        sheet["B2"].number_format = "[h]:mm"

    assert [("00123", "36:00:00")] == [row.cells for row in read(workbook([["Username", "Long"], [123, 1.5]], pad))]


def test_errors_and_formulas():
    """An error and a formula that was never calculated are faults of their cells, never empty ones."""
    (row,) = read(workbook([["a", "b", "c"], ["x", "#N/A", "=1+1"]]))

    assert ("x", "#N/A") == (row.cells[0], str(row.cells[1]))
    assert ["the cell shows #N/A", True] == [row.cells[1].fault, "never calculated" in row.cells[2].fault]


def test_rich_and_phonetic_texts():
    """A text in several formats is one text, and how it is pronounced is no part of it, shared or inline."""
    strings = "xl/sharedStrings.xml"
    rich = '<r><t>be</t></r><r><rPr><b/></rPr><t>st</t></r><rPh sb="0" eb="1"><t>CANARY</t></rPh>'
    content = repacked(
        write_with_xlsxwriter([["best"]], ["Notes"]), strings, lambda text: text.replace("<t>best</t>", rich)
    )
    assert b"CANARY" in zipfile.ZipFile(io.BytesIO(content)).read(strings)
    inline = repacked(
        content,
        SHEET,
        lambda text: re.sub(r'<c r="A2".*?</c>', f'<c r="A2" t="inlineStr"><is>{rich}</is></c>', text),
    )

    assert [("best",)] == [row.cells for row in read(content)] == [row.cells for row in read(inline)]


def test_prefixes_and_places_left_out():
    """Tags may have a prefix, and rows and cells may leave out their place."""
    content = workbook([["a", "b"], ["x", "y"], ["z"]])
    bare = repacked(content, SHEET, lambda text: re.sub(r' r="[A-Z]*\d+"', "", text))
    prefixed = repacked(
        content, SHEET, lambda text: re.sub(r"<(/?)(\w)", r"<\1x:\2", text).replace("xmlns=", "xmlns:x=", 1)
    )

    assert [(2, ("x", "y")), (3, ("z", None))] == [(row.line, row.cells) for row in read(bare)]
    assert [(2, ("x", "y")), (3, ("z", None))] == [(row.line, row.cells) for row in read(prefixed)]


@pytest.mark.parametrize(
    ("rows", "columns", "line"),
    [
        ([["Username", "Notes"], ["a", "b"]], ("Username", "Notes"), 2),
        ([[], ["Username", None, "Notes"], ["a", "b"]], ("Username", "", "Notes"), 3),
        ([["Calls of May"], [], ["Username", "Notes"], ["a", "b"]], ("Username", "Notes"), 4),
        ([["Notes"], ["a"], ["b"]], ("Notes",), 2),
        ([["Notes"], ["a", 5]], ("Notes",), 2),
        ([["Notes"], *([["a"]] * 30), ["b", "c"]], ("Notes",), 2),
        ([["Username", 2026], ["a", "b"]], ("Username", "2026"), 2),
    ],
)
def test_the_header_is_found(rows, columns, line):
    """The header is the first row that is not empty, below titles in single cells where there are any."""
    file = read(workbook(rows))

    assert (columns, line) == (file.columns, next(iter(file)).line)


def test_blank_rows_and_stray_cells():
    """Rows without anything below the header's names are none; a cell beside the table is no part of it."""

    def stray(sheet):
        sheet["XFD1048576"] = "stray"
        sheet["D3"] = "beside"

    file = read(workbook([["a", "b"], ["x"], [], [None, "  "], ["y"]], stray))

    assert [(2, ("x", None)), (5, ("y", None))] == [(row.line, row.cells) for row in file]


def test_merged_cells():
    """A cell merged with the one above is a fault, since a person sees a value there; one merged sideways is empty."""

    def merge(sheet):
        for cells in ("A2:A3", "B4:C4", "A5:C6", "B8:B9"):
            sheet.merge_cells(cells)

    rows = [
        ["a", "b", "c"],
        ["x", 1, 2],
        [None, 3, 4],
        ["y", "wide"],
        ["tall"],
        [],
        ["z", 5, 6],
        ["v", None, 7],
        ["w", None, 8],
    ]
    found = list(read(workbook(rows, merge)))

    assert [2, 3, 4, 5, 7, 8, 9] == [row.line for row in found]
    assert ["x", "merged", "y"] == [
        "merged" if isinstance(row.cells[0], FaultyCell) and "unmerge" in row.cells[0].fault else row.cells[0]
        for row in found[:3]
    ]
    assert (("y", "wide", None), ("tall", None, None)) == (found[2].cells, found[3].cells)


def test_merged_cells_over_the_reading_of_chunks(monkeypatch):
    """Wherever the pieces are cut that a sheet is read in, each merged cell is found, and once."""

    def merge(sheet):
        for number in range(2, 60, 2):
            sheet.merge_cells(f"A{number}:A{number + 1}")

    content = workbook([["a", "b"], *([["x", "y"]] * 60)], merge)
    expected = list(read(content))
    for size in (61, 250, 1000):
        monkeypatch.setattr(workbooks, "_CHUNK", size)
        assert expected == list(read(content))
    assert 29 == sum(isinstance(row.cells[0], FaultyCell) for row in expected)


def sheets(*names):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name in names:
        book.create_sheet(name).append([f"Notes {name}"])
    return book


def test_sheets():
    """The first sheet that is not hidden is read, or the one that was asked for; a chart is none."""
    book = sheets("Old", "Calls", "More")
    book["Old"].sheet_state = "hidden"
    book.create_chartsheet("Chart", 0)
    content = saved(book)

    assert ("Notes Calls",) == read(content).columns
    assert ("Notes Old",) == read(content, sheet=" old ").columns
    assert "Excel workbook, sheet Calls, not More" == read(content).read_as
    assert "Excel workbook, sheet Old" == read(saved(sheets("Old"))).read_as
    with pytest.raises(ConfigurationError, match='no sheet "May"; it has "Old", "Calls", "More"'):
        read(content, sheet="May")


def test_a_workbook_without_a_sheet_to_read():
    """Only hidden sheets, or an empty one, are reported; the others are named."""
    hidden = repacked(workbook([["a"]]), "xl/workbook.xml", lambda text: text.replace('"visible"', '"hidden"'))
    book = sheets("Calls")
    book.create_sheet("Empty", 0)

    with pytest.raises(ConfigurationError, match="not hidden"):
        read(hidden)
    with pytest.raises(ConfigurationError, match=r'"Empty" is empty; .*also has "Calls"'):
        read(saved(book))
    with pytest.raises(
        ConfigurationError, match=r'"Sheet" is empty; its first row must hold the names of the columns$'
    ):
        read(workbook([]))


def test_days_counted_from_1904():
    """Old workbooks of Macs count their days from another year."""
    book = openpyxl.Workbook()
    book.epoch = openpyxl.utils.datetime.CALENDAR_MAC_1904
    book.active.append(["day"])
    book.active.append([dt.date(2026, 1, 5)])

    assert [(dt.date(2026, 1, 5),)] == [row.cells for row in read(saved(book))]


def test_raw_rows_of_a_report():
    """A report that was saved as a workbook keeps its rows that nobody has fixed."""
    (row,) = read(workbook([["Notes", "neto_raw"], [None, "a,b,c"]]))

    assert ("fill in the cells from neto_raw", "a,b,c") == (row.fault, row.raw)


def test_a_workbook_without_styles_or_texts():
    """What a workbook need not have is not missed."""
    content = repacked(
        workbook([[1, 2], [3, 4]]),
        "xl/_rels/workbook.xml.rels",
        lambda text: re.sub(r'<Relationship [^>]*/(?:styles|sharedStrings)"[^>]*/>', "", text),
    )

    assert [(3, 4)] == [row.cells for row in read(content)]


# With shared texts, which openpyxl does not write.
SMALL = write_with_xlsxwriter([[f"note {number}", dt.date(2026, 1, 5)] for number in range(30)], ["Notes", "Day"])


@settings(max_examples=150)
@given(st.integers(0, 2**32))
def test_damage_is_reported(seed):
    """A workbook that is cut or altered anywhere is read as it was or refused with a sentence; nothing else happens."""
    chance = random.Random(seed)
    altered = bytearray(SMALL)
    for _ in range(chance.randrange(1, 4)):
        altered[chance.randrange(4, len(altered))] = chance.randrange(256)
    with pytest.raises(ConfigurationError, match="damaged"):
        read(SMALL[: chance.randrange(4, len(SMALL) - 1)])
    try:
        found = list(read(bytes(altered)))
    except ConfigurationError as error:
        found = str(error)
    assert found == list(read(SMALL)) or "calls.xlsx: " in found


def drop(pattern, into=""):
    return lambda text: re.sub(pattern, into, text, count=1)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        (SHEET, lambda text: text.replace("<worksheet", '<!DOCTYPE x [<!ENTITY a "b">]><worksheet', 1)),
        (SHEET, drop("</row>")),
        (SHEET, drop('r="2"', 'r="1"')),
        (SHEET, drop('r="2"', 'r="1048577"')),
        (SHEET, drop('r="A2"', 'r="XFE2"')),
        (SHEET, drop('r="A2"', 'r="2"')),
        (SHEET, drop(r' s="\d+"', ' s="99"')),
        ("xl/workbook.xml", drop("name=", "nom=")),
        ("xl/_rels/workbook.xml.rels", drop("worksheets/sheet1.xml", "worksheets/sheet9.xml")),
        ("_rels/.rels", lambda text: "<Relationships/>"),
    ],
)
def test_what_no_workbook_holds(part, change):
    """A part that is not as the standard has it refuses the workbook."""
    content = repacked(SMALL, part, change)
    assert content != SMALL
    with pytest.raises(ConfigurationError, match="damaged"):
        list(read(content))


def test_limits(monkeypatch):
    """A workbook that takes too much to be read is refused: its texts, its parts, what it unpacks to."""
    with monkeypatch.context() as patch:
        patch.setattr(workbooks, "MAX_TEXTS", 1000)
        with pytest.raises(ConfigurationError, match="more text than is read at once"):
            read(SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(workbooks, "MAX_PARTS", 10_000)
        with pytest.raises(ConfigurationError, match="damaged"):
            read(SMALL)
    monkeypatch.setattr(gzip_files, "MAX_FREELY", 10_000)
    with pytest.raises(ConfigurationError, match="200 times"):
        read(repacked(SMALL, SHEET, lambda text: text.replace("<sheetData>", f"{' ' * 3_000_000}<sheetData>")))


def test_a_cell_that_is_too_long():
    """A cell over the limit is a fault of its own, and its text is not kept."""
    content = repacked(
        workbook([["a", "b"], [1, 2]]), SHEET, lambda text: text.replace("<v>1</v>", f"<v>{'1' * (MAX_CELL + 9)}</v>")
    )
    (row,) = read(content)

    assert ("longer than 1,000,000 characters", 2) == (row.cells[0].fault, row.cells[1])
