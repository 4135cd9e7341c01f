"""Reading samples of files whose format is not known beforehand."""

import bz2
import gzip
import io
import zipfile

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inspection.sample import expand, find_format, read_sample
from trainer_module.errors import DataError


@pytest.mark.parametrize(
    ("head", "delimiter", "has_header"),
    [
        ("user,item\na,b\nc,d", ",", True),
        ("1::1193::5::978300760\n1::661::3::978302109", "::", False),
        ("196\t242\t3\t881250949\n186\t302\t3\t891717742", "\t", False),
        ("user;item;price\na;b;1,5\nc;d;2,5", ";", True),
        ("1|24|M\n2|53|F", "|", False),
        ("user,item,tags\nu1,i1,a|b\nu2,i2,a|b", ",", True),
        ("196 242 3\n186 302 3", " ", False),
        ("user\nu1\nu2", ",", True),
        ("a,b\nb,c\na,d", ",", False),
        ("u1,red\nu2,blue\nu13,green", ",", False),
        ("key1,colour\nu2,blue\nu13,green", ",", True),
    ],
)
def test_delimiter_and_header_are_found(head, delimiter, has_header):
    found = find_format(head, "utf-8")
    assert (found.delimiter, found.has_header) == (delimiter, has_header)


def test_quotes_that_do_not_enclose_fields_belong_to_the_text():
    assert find_format('id,title\n1,"Red, a film"\n2,Blue', "utf-8").quoted
    assert not find_format('id,title\n1,"Red" a film\n2,Blue', "utf-8").quoted


@given(
    st.sampled_from(["::", ",", "\t", ";", "|"]),
    st.lists(st.tuples(st.integers(1, 999), st.integers(1, 999)), min_size=1, max_size=20),
)
def test_any_delimiter_is_told_from_numbers(delimiter, pairs):
    lines = [delimiter.join(["user", "item"]), *(delimiter.join(map(str, pair)) for pair in pairs)]
    found = find_format("\n".join(lines), "utf-8")
    assert (found.delimiter, found.has_header) == (delimiter, True)


ROWS = "user,name\n1, Zoë \n2,\n3,Ann\n"
COMPRESSED = {
    "plain.csv": lambda data: data,
    "a.csv.gz": gzip.compress,
    "a.csv.bz2": bz2.compress,
    "a.csv.zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_compression_and_encoding_are_found(name, encoding, tmp_path):
    (tmp_path / name).write_bytes(COMPRESSED[name](ROWS.encode(encoding)))
    sample = read_sample(str(tmp_path / name))
    assert sample.frame.to_dict(as_series=False) == {"user": ["1", "2", "3"], "name": ["Zoë", None, "Ann"]}
    assert sample.is_whole
    assert sample.rows == 3


def test_an_archive_of_one_file_is_read_and_of_several_refused(tmp_path):
    for names in (["a.csv"], ["a.csv", "b.csv"]):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in names:
                archive.writestr(name, ROWS)
        (tmp_path / "a.csv.zip").write_bytes(buffer.getvalue())
        if len(names) == 1:
            assert read_sample(str(tmp_path / "a.csv.zip")).rows == 3
        else:
            with pytest.raises(DataError, match=r"a\.csv\.zip.*holds 2 files; expected one"):
                read_sample(str(tmp_path / "a.csv.zip"))


def test_carriage_returns_end_lines(tmp_path):
    for ending in ("\r\n", "\r"):
        (tmp_path / "a.csv").write_bytes(ROWS.replace("\n", ending).encode())
        assert read_sample(str(tmp_path / "a.csv")).frame["user"].to_list() == ["1", "2", "3"]


def test_json_lines_and_parquet_keep_their_types(tmp_path):
    frame = pl.DataFrame({"user": [1, 2], "tags": [["a", "b"], ["a"]], "name": ["", "x"]})
    frame.write_ndjson(tmp_path / "a.jsonl")
    frame.write_parquet(tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        sample = read_sample(str(tmp_path / name))
        assert sample.text is None
        assert sample.frame.schema["tags"] == pl.List(pl.String)
        assert sample.frame["name"].to_list() == [None, "x"]


def test_a_large_file_is_read_in_blocks_that_are_spread_over_it(tmp_path):
    (tmp_path / "a.csv").write_text("user,item\n" + "".join(f"{n},{n % 7}\n" for n in range(100_000)))
    sample = read_sample(str(tmp_path / "a.csv"), max_bytes=160_000)
    users = [int(user) for user in sample.frame["user"]]
    assert not sample.is_whole
    assert users[0] == 0
    assert users[-1] == 99_999
    assert len(users) < 30_000
    assert sample.rows == pytest.approx(100_000, rel=0.2)


def test_a_large_parquet_file_is_read_in_slices(tmp_path):
    pl.DataFrame({"user": range(10_000)}).write_parquet(tmp_path / "a.parquet")
    sample = read_sample(str(tmp_path / "a.parquet"), max_rows=160)
    assert (sample.frame.height, sample.rows, sample.is_whole) == (160, 10_000, False)
    assert sample.frame["user"][-1] == 9_999


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.csv.gz", b"not compressed", "a.csv.gz: cannot be read as text"),
        ("a.parquet", b"nothing of the kind", "a.parquet: cannot be read as Parquet"),
        ("a.jsonl", b"{broken\n", "a.jsonl: cannot be read as JSON lines"),
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"user,item\n", "has no rows"),
        ("a.csv", b"user,user\n1,2\n", "names the column 'user' twice"),
    ],
)
def test_an_unreadable_file_is_named_with_the_reason(name, data, reason, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=reason):
        read_sample(str(tmp_path / name))


def test_patterns_are_expanded(tmp_path):
    for name in ("b.csv", "a.csv"):
        (tmp_path / name).write_text("x\n1\n")
    ((pattern, files),) = expand([f"{tmp_path}/*.csv"])
    assert pattern == f"{tmp_path}/*.csv"
    assert files == [f"{tmp_path}/a.csv", f"{tmp_path}/b.csv"]
    with pytest.raises(DataError, match="no such file"):
        expand([f"{tmp_path}/*.parquet"])
    with pytest.raises(DataError, match="is a directory; name its files"):
        expand([str(tmp_path)])
