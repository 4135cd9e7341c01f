"""The row parser: both of its paths, on good, bad and hostile input."""

import pyarrow as pa
import pytest
from components.example_gen.ratings import parse_exactly, parse_ratings, split_lines
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.example_gen import ratings

RANGE = (1.0, 5.0)
GOOD = b"196\t242\t3\t881250949\n186\t302\t3.5\t891717742\n"

FIELDS = st.one_of(
    st.sampled_from(
        ["", "1", "5", "0", "6", "3.5", "5.", ".5", "1.5.2", "-1", "+3", "1e0", "nan", "inf", "1_0", " 3", "0003", "٣",
         "9223372036854775807", "9223372036854775808", "0" * 30 + "7", "9" * 5000, '"1"', "'", "a", "\ufeff1", "\x00"]
    ).map(str.encode),
    st.binary(max_size=4),
    st.text(max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass")),
)  # fmt: skip
LINES = st.lists(FIELDS, min_size=1, max_size=6).map(b"\t".join)
FILES = st.builds(
    lambda lines, ends, tail: b"".join(line + end for line, end in zip(lines, ends, strict=False)) + tail,
    st.lists(st.one_of(LINES, st.just(b"1\t2\t3\t4")), max_size=8),
    st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"]), min_size=8, max_size=8),
    st.one_of(st.just(b""), LINES),
)


def good_lines(batch: pa.RecordBatch) -> list[int]:
    return batch.column("line").to_pylist()


@settings(max_examples=400, deadline=None)
@given(FILES)
@example(b"")
@example(b"\n")
@example(b"1\t2\t3\t4\r")
@example(b"1\t2\t3\t4\r\r\n")
@example(b"1\t2\t3.\t4\n1\t2\t.5\t4")
@example(b"..\t2\t3\t4\n")
@example(b"1\t2\t3\t99999999999999999999\n")
@example(b"\t2\t3\t4\n")
def test_every_line_is_good_or_bad_and_both_paths_agree(data: bytes):
    batch, bad = parse_ratings(data, 11, RANGE)
    exact, exactly_bad = parse_exactly(data, 11, RANGE)
    assert sorted(good_lines(batch) + [row.line for row in bad]) == list(range(11, 11 + len(split_lines(data))))
    assert batch.equals(exact)
    assert bad == exactly_bad


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 10**9),
            st.integers(1, 10**9),
            st.decimals(min_value=1, max_value=5, places=4),
            st.integers(0, 2**63 - 1),
        ),
        min_size=1,
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_plain_rows_take_the_columnar_path_and_keep_their_values(rows, end, last_end):
    data = end.join("\t".join(map(str, row)) for row in rows).encode() + (end.encode() if last_end else b"")
    batch = ratings._parse_plain(data, 1, RANGE)
    assert batch is not None, "a flawless block fell back to the slow path"
    assert batch.column("user").to_pylist() == [str(row[0]) for row in rows]
    assert batch.column("rating").to_pylist() == [float(row[2]) for row in rows]
    assert batch.column("timestamp").to_pylist() == [row[3] for row in rows]
    assert batch.equals(parse_exactly(data, 1, RANGE)[0])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"196\t242\t3", "3 column(s); expected 4"),
        (b"196,242,3,881250949", "1 column(s)"),
        (b"196\t242\tthree\t881250949", "rating 'three' is not a plain decimal number; expected 1 to 5"),
        (b"196\t242\tnan\t881250949", "rating 'nan' is not a plain decimal number"),
        (b"196\t242\t7\t881250949", "rating '7' is out of range; expected 1 to 5"),
        (b"196\t242\t3\t12.5", "timestamp '12.5' is not a whole number"),
        (b"196\t242\t3\t" + b"9" * 19, "does not fit 64 bits"),
        (b"\t242\t3\t881250949", "user is empty"),
        (b"196\t \t3\t881250949", "item is empty"),
        (b"19\xff\t242\t3\t881250949", "not UTF-8"),
        (b"", "1 column(s)"),
    ],
)
def test_a_bad_row_is_named_by_line_and_problem(line: bytes, problem: str):
    batch, (bad,) = parse_ratings(GOOD + line + b"\n" + GOOD, 101, RANGE)
    assert (bad.file, bad.line) == ("u.data", 103)
    assert problem in bad.problem
    assert bad.raw == line.decode("utf-8", "backslashreplace")
    assert good_lines(batch) == [101, 102, 104, 105]
