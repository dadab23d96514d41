"""Tables of text: what was written is read, and what is not well formed is found, never guessed at."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neto_async import ConfigurationError
from neto_async.files.csv_files import MAX_CELL, MAX_LINE
from neto_async.importing import open_rows


def opened(text, name="calls.csv", **options):
    return open_rows(io.BytesIO(text.encode()), name=name, **options)


def read(text, **options):
    return list(opened(text, **options))


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=12)


# Where lines end in "\n" alone, Python's csv leaves a lone "\r" outside of quotes unless it is asked to quote all.
STYLES = [("\r\n", csv.QUOTE_MINIMAL), ("\r\n", csv.QUOTE_ALL), ("\n", csv.QUOTE_ALL)]


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=8), st.sampled_from(",;\t|"), st.sampled_from(STYLES))
def test_what_was_written_is_read_cell_by_cell(rows, delimiter, style):
    """What Python's csv writes is read back to the character, blank rows left out, from the line it is on."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=style[0], quoting=style[1])
    writer.writerow(["a", "b", "c"])
    expected = []
    for row in rows:
        line = len(io.StringIO(text.getvalue(), newline="").readlines()) + 1
        writer.writerow(row)
        if any(cell and not cell.isspace() for cell in row):
            expected.append((line, row))

    assert expected == [(row.line, row.cells) for row in read(text.getvalue(), delimiter=delimiter)]


@given(st.text(st.sampled_from('ab",;\n\r '), max_size=40))
def test_nothing_is_lost_between_the_lines(text):
    """Whatever is below the header: no row is read twice, none of another, and each fault keeps its own text."""
    found = read(f"a,b\n{text}\n", delimiter=",")

    assert sorted(row.line for row in found) == [row.line for row in found]
    assert all((row.fault is None) == bool(row.cells) for row in found)
    assert all(row.raw is not None for row in found if row.fault)


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [("a,b", ","), ("a;b;c", ";"), ("a\tb", "\t"), ("a|b", "|"), ("a", ","), ('"a,b";c', ";"), ("\ufeffa;b", ";")],
)
def test_delimiter_is_the_most_frequent_outside_quotes(header, delimiter):
    """The header says what separates cells."""
    assert delimiter == opened(f"{header}\n").delimiter


def test_hint_of_excel():
    """A first line ``sep=;`` says what separates cells, unless it was given; blank lines are passed over."""
    file = opened("sep=;\n\na,b;c\n1;2\n")

    assert (";", ("a,b", "c")) == (file.delimiter, file.columns)
    assert [(4, ("1", "2"))] == [(row.line, row.cells) for row in file]
    assert "," == opened("sep=;\na,b\n", delimiter=",").delimiter


def test_header_over_several_lines():
    """A name may hold a line break; the rows are counted on from there."""
    file = opened('"Follow\nup",Notes\nx,y\n')

    assert ("Follow\nup", "Notes") == file.columns
    assert [3] == [row.line for row in file]


def test_tsv_is_parted_by_tabs():
    """The ending .tsv decides, packed or not."""
    assert "\t" == opened("a,b,c\td\n", name="calls.tsv").delimiter


def test_lone_quote_in_a_name():
    """A quote inside a name does not make the rows part of the header."""
    file = opened('a,5" pipe\n1,2\n3,4\n')

    assert (("a", '5" pipe'), 2) == (file.columns, len(list(file)))


@pytest.fixture(params=[MAX_CELL, 16 * MAX_CELL])
def limit_of_csv(request):
    """Set the limit of the module csv, which anything in the process may have raised."""
    before = csv.field_size_limit(request.param)
    yield
    csv.field_size_limit(before)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        ("a,b;c\n", "comma and semicolon|semicolon and comma"),
        ('"a"x,b\n', "line 1, column 4: .*text follows a closing quote"),
        ('a,"b\n', "line 1, column 3: .*never closed"),
        ("a\0,b\n", "NUL"),
        (f'"a",{"x" * (MAX_CELL + 1)}\n', "not well formed"),
        ("a" * MAX_LINE, "characters in one line"),
    ],
)
@pytest.mark.usefixtures("limit_of_csv")
def test_headers_that_are_refused(text, says):
    """A file without a header that can be read for certain is refused, with the place of the fault."""
    with pytest.raises(ConfigurationError, match=says):
        opened(text)


def test_a_header_that_never_ends():
    """A quote never closed in the header does not take in the whole file."""
    with pytest.raises(ConfigurationError, match="never closed"):
        opened('"a\n' + ("x" * 999 + "\n") * (MAX_CELL // 500))


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("1", "1 cell, and the header has 2"),
        ("1,2,3", "3 cells, and the header has 2"),
        ('1,"2"x', r"twice \(line 2, column 6\)"),
        ('"1"2,"3"', r"twice \(line 2, column 4\)"),
        ('"1","a""b"2', r"twice \(line 2, column 11\)"),
        ('1,"2\n3"x', r"twice \(line 3, column 3\); lines 2 to 3"),
    ],
)
def test_one_bad_row_costs_that_row_alone(row, fault):
    """A row that is not well formed is a fault with its own text, and the next one is read."""
    bad, good = read(f"a,b\n{row}\nx,y\n")

    assert (2, row) == (bad.line, bad.raw)
    assert re.search(fault, bad.fault)
    assert (("x", "y"), None) == (good.cells, good.fault)


def test_a_quote_that_is_never_closed():
    """It takes the rest of the file with it, says from where to where, and keeps the text."""
    (bad,) = read('a,b\n1,"2\n3,4\n')

    assert ('1,"2\n3,4', True) == (bad.raw, "lines 2 to 3 are left out" in bad.fault)


def test_quotes_behind_a_backslash_that_can_be_read_in_two_ways():
    """Does the text go on behind the quote, or is the quote escaped and the cell at its end? The row is refused."""
    first, refused, *_ = read('Notes\n"x"\n"\\""\n"\nx"\n')
    same_in_both, backslash = read('a,b\n"say \\"" so",1\n"C:\\",2\n')

    assert (None, "the row is not well formed (line 3, column 1)") == (first.fault, refused.fault.partition(";")[0])
    assert [('say \\" so', "1"), ("C:\\", "2")] == [same_in_both.cells, backslash.cells]


@pytest.mark.usefixtures("limit_of_csv")
def test_a_cell_that_is_too_long():
    """A cell over our limit is a fault, whatever csv's is, and what is kept of it is bounded."""
    bad, good = read(f"a,b\n1,{'x' * (MAX_CELL + 1)}\n3,4\n")
    (torn,) = read('a,b\n1,"' + ("y" * 99_999 + "\n") * 40)

    assert ("longer than" in bad.fault, ("3", "4")) == (True, good.cells)
    assert ("longer than" in torn.fault, True) == (True, len(torn.raw) <= 2 * MAX_CELL)


def test_a_line_that_is_too_long():
    """A line that no table has refuses the file."""
    with pytest.raises(ConfigurationError, match="line 2: more than"):
        read("a,b\n" + "x" * MAX_LINE)


def test_raw_rows_of_a_report():
    """A row that a report kept as raw text has to be filled in before it is read."""
    still_broken, fixed = read('Notes,neto_raw\n,"a,b,c"\nb,"a,b,c"\n')

    assert ("fill in the cells from neto_raw", "a,b,c") == (still_broken.fault, still_broken.raw)
    assert None is fixed.fault
