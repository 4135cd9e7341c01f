"""Text files: rows, quotes, line ends, delimiters, encodings and what is wrong with a row."""

import csv
import io
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.example_gen.readers.records import TextBlock
from components.example_gen.readers.text import dialect_of, find_header, parse
from trainer_module.data.tables import TableFiles

NAMES = ["user", "item", "note"]


def parsed(data: bytes, names=NAMES, first_line: int = 2, **table):
    """Rows of fields, their lines, and (line, problem, raw) of the bad rows."""
    files = TableFiles(files=("f.csv",), **table)
    block = TextBlock(data, 0, first_line, data.count(b"\n"))
    rows, bad = parse(block, names, names, files, "f.csv", 3)
    assert (rows.file, rows.file_number) == ("f.csv", 3)
    columns = [rows.columns[name].to_pylist() for name in names]
    fields = [list(row) for row in zip(*columns, strict=True)]
    return fields, rows.numbers.tolist(), [(row.line, row.problem, row.raw) for row in bad]


FIELDS = st.text(
    st.one_of(st.sampled_from(':",|\n\r '), st.characters(codec="utf-8", exclude_characters="\0")), max_size=6
)
ROWS = st.lists(st.lists(FIELDS, min_size=3, max_size=3), max_size=6)


@settings(deadline=None, max_examples=200)
@given(ROWS, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_what_pythons_csv_module_writes_is_read_back(rows, end, quote_all):
    text = io.StringIO(newline="")
    # The module quotes only those line ends that its terminator holds.
    quoting = csv.QUOTE_ALL if quote_all or end != "\r\n" else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator=end, quoting=quoting).writerows(rows)
    fields, lines, bad = parsed(text.getvalue().encode(), missing_values=["<none>"])
    assert not bad
    assert fields == [[field.encode() for field in row] for row in rows]
    assert len(lines) == len(rows)


@settings(deadline=None, max_examples=200)
@given(ROWS, st.sampled_from(["::", "|", "||", "§", "þ", "\t", "->"]))
def test_a_delimiter_of_any_length_may_stand_inside_quotes(rows, delimiter):
    text = "".join(delimiter.join('"' + field.replace('"', '""') + '"' for field in row) + "\n" for row in rows)
    fields, _, bad = parsed(text.encode(), delimiter=delimiter, missing_values=["<none>"])
    assert not bad
    assert fields == [[field.encode() for field in row] for row in rows]


def test_lines_are_those_of_an_editor_whatever_the_quotes_hold():
    fields, lines, bad = parsed(b'u1,"a\nb",x\r\nu2,i,y\ru3,i\nu4,"i""j",z')
    assert fields == [[b"u1", b"a\nb", b"x"], [b"u2", b"i", b"y"], [b"u4", b'i"j', b"z"]]
    assert lines == [2, 4, 6]
    assert bad == [(5, "expected 3 fields, found 2", "u3,i")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"u,i", "expected 3 fields, found 2"),
        (b"u,i,n,m", "expected 3 fields, found 4"),
        (b'"i"3,4,5', "text follows the double quote that closes a field"),
        (b"u,caf\xe9,n", "column 'item': bytes that are not utf-8"),
        (b"u,i,n\0", "column 'note': a NUL byte"),
        (b"   ", "expected 3 fields, found 1"),
    ],
)
def test_a_bad_row_is_named_by_line_and_problem(line, problem):
    fields, lines, ((number, found, raw),) = parsed(b"a,b,c\n" + line + b"\nd,e,f\n")
    assert (number, raw) == (3, line.decode("utf-8", "backslashreplace"))
    assert problem in found
    assert (lines, fields[1]) == ([2, 4], [b"d", b"e", b"f"])


def test_the_raw_row_has_the_delimiters_of_the_file():
    _, _, bad = parsed(b"a::b::c\na::b\n", delimiter="::")
    assert bad == [(3, "expected 3 fields, found 2", "a::b")]


def test_empty_lines_are_skipped_unless_there_is_one_column():
    assert parsed(b"a,b,c\n\nd,e,f\n\n")[1:] == ([2, 4], [])
    fields, lines, _ = parsed(b"a\n\nb\n", names=["user"])
    assert (fields, lines) == ([[b"a"], [None], [b"b"]], [2, 3, 4])


def test_missing_values_are_null_whatever_spaces_surround_them():
    fields, _, _ = parsed(b'NA, NA ,"NA"\nNAN,,-\n', missing_values=["NA", "-", ""])
    assert fields == [[None, None, None], [b"NAN", None, None]]


def test_quotes_may_be_plain_text():
    fields, lines, bad = parsed(b'"a,b,c\nd,"e"f,g\n', quoted=False)
    assert (fields, lines, bad) == ([[b'"a', b"b", b"c"], [b"d", b'"e"f', b"g"]], [2, 3], [])


def test_a_delimiter_that_is_a_quote_or_a_line_end_is_refused():
    for delimiter, reason in (('"', "opens a quoted field"), ("\n", "ends a row"), ('","', "opens a quoted field")):
        with pytest.raises(ValueError, match=reason):
            TableFiles(files=("f.csv",), delimiter=delimiter)
    assert dialect_of("f.csv", TableFiles(files=("f.csv",), delimiter='"', quoted=False)).delimiter == b'"'


@pytest.mark.parametrize(
    ("data", "fields", "size", "num_lines"),
    [
        (b"a,b\n1,2\n", [b"a", b"b"], 4, 1),
        (b'\r\n\n"a\nb"::c\r\n1::2', [b"a\nb", b"c"], 13, 4),
        (b"a", [b"a"], 1, 1),
    ],
)
def test_the_header_is_the_first_record_with_text(data, fields, size, num_lines):
    delimiter = "::" if b"::" in data else ","
    header = find_header(data, dialect_of("f", TableFiles(files=("f.csv",), delimiter=delimiter)))
    assert header is not None
    assert (list(header.fields), header.size, header.num_lines) == (fields, size, num_lines)


def test_a_file_of_empty_lines_has_no_header():
    assert find_header(b"\n\r\n", dialect_of("f", TableFiles(files=("f.csv",)))) is None


@pytest.mark.parametrize("line", [b"u,i\n", b"u,\xe9,n\n", b'"i"3,4,5\n', b"u,\0,n\n"])
def test_many_bad_rows_take_linear_time(line):
    started = time.process_time()
    _, lines, bad = parsed((b"a,b,c\n" + line) * 46_000)
    assert (len(lines), len(bad)) == (46_000, 46_000)
    # A copy of the block for every bad row takes minutes.
    assert time.process_time() - started < 10
