"""Files made to take a reader's time and memory: each is refused or read, in bounded memory and in linear time."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import time
import zipfile
from itertools import product
from pathlib import Path
from string import ascii_uppercase

import pytest

from neto_async import SourceError
from neto_async.files import workbooks
from neto_async.importing import ColumnMapping, make_plan, open_binary, open_rows

CONTENT = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
RELATIONS = '<Relationships><Relationship Id="{}" Type="http://x/{}" Target="{}"/>{}</Relationships>'
RELATION = '<Relationship Id="{}" Type="http://x/{}" Target="{}"/>'
SHEET = "<worksheet><sheetData>{}</sheetData>{}</worksheet>"
HEADER = '<row r="1"><c r="A1" t="str"><v>Notes</v></c><c r="B1" t="str"><v>Other</v></c></row>'
ROW = '<row r="2"><c r="A2" t="s"><v>0</v></c></row>'
MB = 1_000_000


def workbook(
    *,
    rows=HEADER,
    behind="",
    styles="<styleSheet/>",
    texts="<sst><si><t>a</t></si></sst>",
    book="",
    again="",
    tables="",
):
    """Write a workbook whose parts are as given; `again` and `tables` are further relationships of book and sheet."""
    parts = {
        "[Content_Types].xml": CONTENT,
        "_rels/.rels": RELATIONS.format("r1", "officeDocument", "book.xml", ""),
        "book.xml": f'<workbook xmlns:r="r"><sheets><sheet name="S" r:id="s1"/></sheets>{book}</workbook>',
        "_rels/book.xml.rels": RELATIONS.format(
            "s1",
            "worksheet",
            "s.xml",
            RELATION.format("s2", "styles", "y.xml") + RELATION.format("s3", "sharedStrings", "t.xml") + again,
        ),
        "_rels/s.xml.rels": RELATIONS.format("t1", "table", "b.xml", tables),
        "b.xml": "<table/>",
        "s.xml": SHEET.format(rows, behind),
        "y.xml": styles,
        "t.xml": texts,
    }
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in parts.items():
            packed.writestr(name, text)
    return written.getvalue()


def number_formats(code, count):
    formats = "".join(f'<numFmt numFmtId="{200 + n}" formatCode="{code}{n}"/>' for n in range(count))
    used = "".join(f'<xf numFmtId="{200 + n}"/>' for n in range(count))
    return f"<styleSheet><numFmts>{formats}</numFmts><cellXfs>{used}</cellXfs></styleSheet>"


def merged_columns(count):
    """Merge the cells of many columns beside those of the header, over as many rows."""
    names = ["".join(letters) for letters in product(ascii_uppercase, repeat=3)][: min(count, 15_000)]
    merged = "".join(f'<mergeCell ref="{name}2:{name}999999"/>' for name in names)
    return workbook(rows=HEADER + '<row><c t="str"><v>a</v></c></row>' * count, behind=merged)


def bombs(size):
    """Make hostile files of about `size` bytes once unpacked: their names and contents."""
    deep = "<a>" * (size // 3)
    nested = '{"Notes": ' + "[" * size
    yield "formats.xlsx", workbook(styles=number_formats("[" * 200, size // 250))
    yield "long-format.xlsx", workbook(styles=number_formats("[" * size, 1))
    yield "merged.xlsx", workbook(rows=HEADER + ROW, behind="<mergeCell " * (size // 11))
    yield "merged-again.xlsx", workbook(rows=HEADER + ROW, behind='<mergeCell ref="A1:A9"/>' * (size // 24))
    yield "merged-columns.xlsx", merged_columns(size // 80)
    yield "texts-again.xlsx", workbook(again=RELATION.format("s", "sharedStrings", "t.xml") * (size // 60))
    yield "styles-again.xlsx", workbook(again=RELATION.format("s", "styles", "y.xml") * (size // 60))
    yield "empty-tags.xlsx", workbook(book="<a/>" * (size // 4))
    yield "used-tags.xlsx", workbook(styles="<styleSheet><cellXfs>" + "<xf/>" * (size // 5) + "</cellXfs></styleSheet>")
    yield "one-tag.xlsx", workbook(book="<a " + " ".join(f'a{n}=""' for n in range(size // 10)) + "/>")
    yield "deep-book.xlsx", workbook(book=deep)
    yield "deep-texts.xlsx", workbook(texts=deep)
    yield "deep-sheet.xlsx", workbook(rows=HEADER + deep)
    yield "cells-in-cells.xlsx", workbook(rows=HEADER + '<row r="2">' + '<c r="A2">' * (size // 10))
    yield "long-text.xlsx", workbook(rows=HEADER + ROW, texts=f"<sst><si><t>{'x' * size}</t></si></sst>")
    yield "many-texts.xlsx", workbook(rows=HEADER + ROW, texts="<sst>" + "<si/>" * (size // 5) + "</sst>")
    yield "long-column.xlsx", workbook(rows=f'<row r="1"><c r="{"A" * size}1"/></row>')
    yield "wide.xlsx", workbook(rows='<row r="1"><c r="XFD1" t="str"><v>Notes</v></c></row>' + ROW)
    yield "bad-rows.csv.gz", gzip.compress(b"Notes,Other\n" + b"a,b,c\n" * (size // 6))
    yield "wide.csv", b"Notes" + b",a" * (size // 2)
    yield "quotes-in-header.csv", b'Notes,"' + b'"\n' * (size // 2)
    yield "never-closed.csv", b'Notes\n"' + b"a\n" * (size // 2)
    yield "one-line.csv", b"Notes\n" + b"a" * size
    yield "gzip-in-gzip.csv.gz", gzip.compress(gzip.compress(b"Notes\n" + b"a\n" * (size // 2)))
    yield "many-objects.json", b"[{" + b'"Notes": [' + b"{}," * (size // 3) + b"{}]}]"
    yield "many-lists.jsonl", b'{"Notes": [' + b"[]," * (size // 3) + b"[]]}"
    yield "deep.json", f"[{nested}".encode()
    yield "deep.jsonl", nested.encode()
    yield "wide.json", json.dumps([{f"n{n}": 0 for n in range(size // 10)}]).encode()
    yield "names.jsonl", b"\n".join(b'{"n%d": 0}' % n for n in range(size // 12))
    yield "open-string.json", b'[{"Notes": "' + b"x" * size
    yield "blanks.json", b" " * size + b"[]"
    yield "numbers.json", b"[" + b"9" * size + b"]"


def read_through(name, content):
    """Make the plan of a file as the command does; give what it came to."""
    try:
        plan = make_plan(open_rows(io.BytesIO(content), name=name), ColumnMapping(), import_unknown=False)
    except SourceError as error:
        return f"refused: {error}"
    return f"{plan.rows} rows"


@pytest.mark.parametrize(("name", "content"), [pytest.param(*bomb, id=bomb[0]) for bomb in bombs(20_000)])
def test_small_ones_are_read_or_refused(name, content):
    """Each kind of hostile file comes to rows or to an error that says which file it is."""
    came_to = read_through(name, content)
    assert name in came_to or came_to.endswith(" rows")
    assert len(came_to) < 3_000  # a text that a person can read


@pytest.mark.parametrize(
    ("limit", "value", "content"),
    [
        ("MAX_MERGED", 1, workbook(rows=HEADER + ROW, behind='<mergeCell ref="A1:A9"/>' * 3)),
        ("MAX_FORMATS", 2, workbook(styles=number_formats("0", 9))),
        ("MAX_TAGS", 3, workbook(styles="<styleSheet><cellXfs>" + "<xf/>" * 9 + "</cellXfs></styleSheet>")),
        ("MAX_PARTS", 40_000, workbook(tables=RELATION.format("t", "table", "b.xml") * 9)),
        ("MAX_TAG", 10, workbook(book="<a " + " ".join(f'a{n}=""' for n in range(99)) + "/>")),
    ],
)
def test_each_limit_of_a_workbook_holds(monkeypatch, limit, value, content):
    """A workbook over one of its limits is refused."""
    monkeypatch.setattr(workbooks, limit, value)
    monkeypatch.setattr(workbooks, "_CHUNK", 64)
    assert read_through("calls.xlsx", content).startswith("refused: calls.xlsx")


@pytest.mark.parametrize("kind", ["styles", "sharedStrings"])
def test_a_part_is_read_once(kind):
    """A workbook that points to its formats or its texts twice is refused: it could do so a thousand times."""
    twice = workbook(rows=HEADER + ROW, again=RELATION.format("s4", kind, {"styles": "y.xml"}.get(kind, "t.xml")))
    assert read_through("calls.xlsx", twice).startswith("refused: calls.xlsx: the workbook is damaged")


def test_merged_cells_beside_the_named_columns_cost_nothing():
    """Each merged cell of a named column is looked at in each row, so no others are kept."""
    behind = '<mergeCell ref="B2:B3"/><mergeCell ref="C2:C9"/><mergeCell ref="XFD2:XFD9"/>'
    sheet = open_rows(io.BytesIO(workbook(rows=HEADER + ROW, behind=behind)), name="calls.xlsx").sheet
    assert ((2, 3, 1),) == sheet.merged


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_without_a_bound_is_refused(method):
    """Of zip archives only the usual packing is read: others give hundreds of megabytes in one step."""
    table, book = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(table, "w", method) as rare:
        rare.writestr("calls.csv", "Notes\na\n")
    assert "a rare packing" in read_through("calls.csv", table.getvalue())
    with zipfile.ZipFile(io.BytesIO(workbook())) as usual, zipfile.ZipFile(book, "w", method) as rare:
        for name in usual.namelist():
            rare.writestr(name, usual.read(name))
    assert "the workbook is damaged, or written in a way" in read_through("calls.xlsx", book.getvalue())


@pytest.mark.thorough
def test_time_is_linear_in_the_size():
    """Eight times as much of anything takes at most 24 times the CPU: what is quadratic takes 64."""
    slow = {}
    for small, large in zip(bombs(MB // 4), bombs(2 * MB), strict=True):
        seconds = []
        for name, content in (small, large):
            began = time.process_time()
            read_through(name, content)
            seconds.append(time.process_time() - began)
        if seconds[1] > max(24 * seconds[0], 0.5):
            slow[small[0]] = seconds
    assert {} == slow


PEAK = 300_000
"""Kilobytes that a process may take."""

READ_ALL = """
import sys
from pathlib import Path

from neto_async import SourceError
from neto_async.importing import ColumnMapping, make_plan, open_rows

for path in map(Path, sys.argv[1:]):
    with path.open("rb") as file:
        try:
            make_plan(open_rows(file, name=path.name), ColumnMapping(), import_unknown=False)
        except SourceError:
            pass
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(path.name, peak.split()[1])
    Path("/proc/self/clear_refs").write_text("5")  # the peak of the next file is its own
"""


@pytest.mark.thorough
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_memory_is_bounded(tmp_path):
    """A process that reads such files, of 10 MB each once unpacked, never takes more than 300 MB."""
    for name, content in bombs(10 * MB):
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-c", READ_ALL, *sorted(map(str, tmp_path.iterdir()))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    peaks = {name: int(peak) for name, peak in map(str.split, ran.stdout.splitlines())}
    assert {} == {name: peak for name, peak in peaks.items() if peak > PEAK}


@pytest.mark.skipif(sys.platform == "win32", reason="there are no device files")
def test_a_device_is_refused():
    """A device may never end, so it is not copied like a pipe."""
    with pytest.raises(SourceError, match="device"):
        open_binary(Path("/dev/zero"))
