"""Records are found where Python's csv module finds them."""

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.example_gen.readers.records import Dialect, find_records, one_byte_delimiter, record_blocks
from trainer_module.errors import DataError

COMMA = Dialect(b",", quoted=True)
# Bytes that matter to the scanner, in any order: bare quotes, doubled ones, ones that are never closed.
TEXTS = st.lists(st.sampled_from(["a", "b", '"', '"', ",", "\n", "\r", "\r\n", '"a"', ',"']), max_size=30).map("".join)


def csv_rows(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


@settings(deadline=None, max_examples=500)
@given(TEXTS)
@example('"a""b"\r\n"c\rd",e\r')
@example('a"b,"c"d,"e\n')
def test_records_and_their_fields_are_those_of_pythons_csv_module(text):
    found = find_records(text.encode(), COMMA)
    # The csv module has no field for an empty line.
    assert found.num_fields().tolist() == [max(len(row), 1) for row in csv_rows(text)]
    assert [
        csv_rows(text[start:end])[0] if start < end else []
        for start, end in zip(found.starts.tolist(), found.ends.tolist(), strict=True)
    ] == csv_rows(text)
    lines = io.StringIO(text, newline=None).read().split("\n")
    assert found.num_lines == len(lines) - (lines[-1] == "")


@pytest.mark.parametrize(
    ("text", "lines", "malformed", "is_open"),
    [
        ('a,b\n"x\ny",c\r\nd,e', [0, 1, 3], [], False),
        ('"i"3,4\nb,"c"\n', [0, 1], [0], False),
        ('a"b"c,d\n', [0], [], False),
        ('a,"b\nc,d\n', [0], [], True),
        ("a\rb\r\r\n", [0, 1, 2], [], False),
        ("", [], [], False),
    ],
)
def test_lines_and_wrong_quotes_are_found(text, lines, malformed, is_open):
    found = find_records(text.encode(), COMMA)
    assert (found.lines.tolist(), found.malformed.tolist(), found.is_open) == (lines, malformed, is_open)


def test_quotes_are_plain_text_if_fields_are_not_quoted():
    found = find_records(b'"a\nb",c\n', Dialect(b",", quoted=False))
    assert found.lines.tolist() == [0, 1]
    assert found.num_fields().tolist() == [1, 2]


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.integers(1, 9), st.integers(1, 9), st.sampled_from([b",", b"::", b"aa"]))
def test_blocks_hold_whole_records_in_order(text, chunk_bytes, block_bytes, delimiter):
    data = text.replace(",", delimiter.decode()).encode()
    dialect = Dialect(delimiter, quoted=True)
    chunks = [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]
    translated, byte = one_byte_delimiter(data, delimiter)
    whole = find_records(translated, Dialect(byte, quoted=True))
    try:
        blocks = list(record_blocks(chunks, dialect, "f.csv", block_bytes))
    except DataError as error:
        assert whole.is_open
        assert f"f.csv, line {whole.lines[-1] + 1}: a double quote" in str(error)
        return
    assert not whole.is_open
    assert b"".join(block.data for block in blocks) == data
    lines = []
    for block in blocks:
        assert data[block.offset :].startswith(block.data)
        translated, byte = one_byte_delimiter(block.data, delimiter)
        found = find_records(translated, Dialect(byte, quoted=True))
        assert found.num_lines == block.num_lines
        lines += (block.first_line - 1 + found.lines).tolist()
    assert lines == whole.lines.tolist()


def test_a_row_without_end_is_named():
    chunks = [b"a,b\n", *[b'"' + b"x" * (1 << 19)] * 5]
    dialect = Dialect(b",", quoted=True, max_row_mb=1)
    with pytest.raises(DataError, match=r"f\.csv, line 2: a row of more than 1 MB\. Close .* set max_row_mb for"):
        list(record_blocks(chunks, dialect, "f.csv", 1))
    longer = Dialect(b",", quoted=True, max_row_mb=3)
    assert sum(len(block.data) for block in record_blocks(chunks, longer, "f.csv", 1)) == sum(map(len, chunks))


def test_data_without_a_free_control_byte_is_no_text():
    with pytest.raises(ValueError, match="every control byte"):
        one_byte_delimiter(bytes(range(256)), b"::")


def test_fields_are_counted_by_record_where_only_their_mean_is_a_whole_number():
    assert find_records(b"a,b,c\nd\n", COMMA).num_fields().tolist() == [3, 1]
    assert find_records(b"a,b,c\nd,e,f\n", COMMA).num_fields().tolist() == [3, 3]
