"""Pieces of files hold all rows once, whatever the format, packing and encoding."""

import bz2
import codecs
import gzip
import io
import warnings
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.example_gen.readers import blocks
from components.example_gen.readers.blocks import check_columns, column_names, find_files, find_pieces, read
from trainer_module.data.tables import TableFiles
from trainer_module.errors import DataError

HEADER = "user , item,note\n"
LINES = [f'u{i % 7},"i{i}","{"a,é" if i % 3 else "line" + chr(10) + "end"}"\n' for i in range(50)]
TEXT = HEADER + "".join(LINES)
ROWS = [(f"u{i % 7}", f"i{i}", "a,é" if i % 3 else "line\nend") for i in range(50)]
# A note with a line end takes two lines.
NUMBERS = (2 + np.cumsum([0, *(1 if i % 3 else 2 for i in range(49))])).tolist()
WANTED = ["note", "item", "user"]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 100)


def zipped(*contents: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"inner-{number}.csv", content)
        archive.writestr("__MACOSX/._inner-0.csv", b"x")
        archive.writestr("folder/", b"")
    return file.getvalue()


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def read_all(tmp_path, name, content: bytes, wanted=WANTED, **table):
    (tmp_path / name).write_bytes(content)
    files_of = TableFiles(files=(name,), **table)
    files = find_files(str(tmp_path), files_of, "data.interactions")
    check_columns(files, files_of, wanted, "data.interactions")
    pieces = find_pieces(files, files_of)
    assert [piece.index for piece in pieces] == list(range(len(pieces)))
    rows, numbers, bad = [], [], []
    for piece in pieces:
        for block, bad_rows in read(piece, files_of, wanted):
            columns = [block.columns[column].to_pylist() for column in wanted]
            rows += list(zip(*columns, strict=True))
            numbers += block.numbers.tolist()
            bad += [(row.line, row.problem) for row in bad_rows]
    return rows, numbers, bad, len(pieces)


@pytest.mark.parametrize(
    ("name", "content", "table"),
    [
        ("a.csv", TEXT.encode(), {}),
        ("a.csv", codecs.BOM_UTF8 + TEXT.encode(), {}),
        ("a.csv", TEXT.encode().rstrip(b"\n"), {}),
        ("a.csv", TEXT.encode("utf-16"), {}),
        ("a.csv", codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), {}),
        ("a.csv", TEXT.encode("utf-16-le"), {"encoding": "utf-16-le"}),
        ("a.csv", TEXT.encode("utf-32"), {}),
        ("a.csv", TEXT.encode("latin-1"), {"encoding": "latin-1"}),
        ("a.csv", TEXT.encode("cp1252"), {"encoding": "cp1252"}),
        ("a.csv.gz", gzip.compress(TEXT.encode()), {}),
        ("a.csv.gz", gzip.compress(TEXT[:300].encode()) + gzip.compress(TEXT[300:].encode()), {}),
        ("a.csv.GZ", gzip.compress(TEXT.encode("utf-16")), {}),
        ("a.csv.bz2", bz2.compress(TEXT.encode()), {}),
        ("a.csv.zst", zstd(TEXT.encode()), {}),
        ("a.csv.zip", zipped(TEXT.encode()), {}),
    ],
)
def test_packing_and_encoding_change_nothing(tmp_path, name, content, table):
    rows, numbers, bad, num_pieces = read_all(tmp_path, name, content, **table)
    assert rows == [(note.encode(), item.encode(), user.encode()) for user, item, note in ROWS]
    assert numbers == NUMBERS
    assert not bad
    is_plain = name == "a.csv" and (content.startswith(codecs.BOM_UTF8) or (b"u1" in content and not table))
    assert (num_pieces > 5) == is_plain


def test_of_several_members_with_one_name_the_last_counts(tmp_path):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(file, "w") as archive:
            for text in ("user,item\nold,old\n", "user,item\nnew,i\n"):
                archive.writestr("events.csv", text)
    rows, *_ = read_all(tmp_path, "a.csv.zip", file.getvalue(), ["user", "item"])
    assert rows == [(b"new", b"i")]


def test_a_delimiter_of_two_bytes_and_no_header(tmp_path):
    text = "".join(f'{user}::{item}::"{note}::"\n' for user, item, note in ROWS)
    table = {"delimiter": "::", "column_names": ["user", "item", "note"]}
    rows, numbers, bad, num_pieces = read_all(tmp_path, "r.dat", text.encode(), **table)
    assert rows == [(f"{note}::".encode(), item.encode(), user.encode()) for user, item, note in ROWS]
    assert numbers == [number - 1 for number in NUMBERS]
    assert (bad, num_pieces > 5) == ([], True)


def test_lone_carriage_returns_end_lines(tmp_path):
    text = "user,item\r" + "".join(f"u{i},i{i}\r" for i in range(50))
    rows, numbers, _, num_pieces = read_all(tmp_path, "a.csv", text.encode(), ["item"])
    assert rows == [(f"i{i}".encode(),) for i in range(50)]
    assert numbers == list(range(2, 52))
    assert num_pieces > 3


def test_other_formats(tmp_path):
    lines = "".join(f'{{"user": "{user}", "item": {i}}}\n' for i, (user, _, _) in enumerate(ROWS))
    rows, numbers, _, num_pieces = read_all(tmp_path, "a.jsonl", lines.encode(), ["user", "item"])
    assert (rows, numbers) == ([(user, i) for i, (user, _, _) in enumerate(ROWS)], list(range(1, 51)))
    assert num_pieces > 10
    packed = read_all(tmp_path, "a.jsonl.gz", gzip.compress(lines.encode()), ["user", "item"])
    assert packed == (rows, numbers, [], 1)
    file = io.BytesIO()
    pq.write_table(pa.table({"user": [user for user, _, _ in ROWS], "item": range(50)}), file, row_group_size=20)
    assert read_all(tmp_path, "a.parquet", file.getvalue(), ["user", "item"]) == (rows, numbers, [], 3)


def test_files_are_numbered_and_may_order_their_columns_differently(tmp_path):
    (tmp_path / "a.csv").write_text("user,item\nu,i\n")
    (tmp_path / "b.csv").write_text("\nitem,user\ni,u\n")
    table = TableFiles(files=("*.csv",))
    pieces = find_pieces(find_files(str(tmp_path), table, "data.items"), table)
    found = [rows for piece in pieces for rows, _ in read(piece, table, ["user"])]
    assert [(rows.file_number, rows.columns["user"].to_pylist(), rows.numbers.tolist()) for rows in found] == [
        (0, [b"u"], [2]),
        (1, [b"u"], [3]),
    ]


def test_a_header_alone_is_a_table_without_rows(tmp_path):
    assert read_all(tmp_path, "a.csv", b"user,item", ["user"]) == ([], [], [], 0)
    assert read_all(tmp_path, "a.csv.gz", gzip.compress(b"user,item\n"), ["user"]) == ([], [], [], 1)


def test_bytes_of_another_encoding_are_bad_rows(tmp_path):
    _, numbers, ((line, problem),), _ = read_all(tmp_path, "a.csv", b"user,item\nu,i\nu,\xe9\nu,j\n", ["user"])
    assert (numbers, line) == ([2, 4], 3)
    assert "column 'item': bytes that are not utf-8; expected text in that encoding" in problem
    content = "user,item\nu,".encode("utf-16-le") + b"\x00\xd8" + "\nv,j\n".encode("utf-16-le")
    _, numbers, ((line, problem),), _ = read_all(tmp_path, "a.csv", content, ["user"], encoding="utf-16-le")
    assert (numbers, line) == ([3], 2)
    assert "column 'item': bytes that are not utf-16-le" in problem


GZ = gzip.compress(TEXT.encode())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv.gz", GZ[:-6], r"a\.csv\.gz: is damaged or cut short"),
        ("a.csv.gz", GZ[:40] + b"\xff" * 20 + GZ[60:], r"a\.csv\.gz: is damaged or cut short"),
        ("a.csv.gz", TEXT.encode(), r"a\.csv\.gz: is damaged or cut short"),
        ("a.csv.bz2", bz2.compress(TEXT.encode())[:-4], r"a\.csv\.bz2: is damaged or cut short"),
        ("a.csv.zst", zstd(TEXT.encode())[:-4], r"a\.csv\.zst: is damaged or cut short"),
        ("a.csv.zip", zipped(TEXT.encode())[:-30], r"a\.csv\.zip: is damaged or cut short"),
        ("a.csv.zip", zipped(b"a", b"b"), r"holds 2 files \(inner-0\.csv, inner-1\.csv\); expected one"),
        ("a.csv.zip", zipped(), "holds 0 files; expected one"),
        ("a.csv", GZ, r"its first bytes are those of gzip; end its name with \.gz"),
        ("a.csv", b"PAR1\x15", "those of Parquet"),
        ("a.csv", TEXT.encode("utf-16-le"), r"a\.csv: looks like UTF-16; set encoding: utf-16-le"),
        ("a.csv", TEXT.encode("utf-16-be"), "set encoding: utf-16-be"),
        ("a.csv", b"user,item\na,\0\n", r"a\.csv, line 2: a NUL byte"),
        ("a.csv", b'user,item\na,"b\nc,d\n', r"a\.csv, line 2: a double quote opens a field and is never closed"),
        ("a.csv", b"us\xe9r,item\n", r"a\.csv, line 1: the header is not utf-8"),
        ("a.csv", b"\n\r\n", r"a\.csv: no header"),
        ("a.csv", b"user,item, user\n", r"a\.csv: columns 1 and 3 are both called 'user'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        read_all(tmp_path, name, content, ["user"])


def test_an_encrypted_archive_is_refused(tmp_path):
    content = bytearray(zipped(b"user\n"))
    # The flag of encryption, in the central directory's entry of the first file.
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match=r"a\.csv\.zip: the archive is encrypted; unpack it"):
        read_all(tmp_path, "a.csv.zip", bytes(content), ["user"])


def test_a_missing_column_is_named_with_the_nearest(tmp_path):
    with pytest.raises(
        DataError, match=r"a\.csv: no column 'itm'\. Did you mean item\? It has 'user', 'item', 'note'\. Mend data\.i"
    ):
        read_all(tmp_path, "a.csv", TEXT.encode(), ["user", "itm"])


def test_columns_without_a_name_may_repeat(tmp_path):
    rows, *_ = read_all(tmp_path, "a.csv", b",,user\n1,2,u\n", ["user"])
    assert rows == [(b"u",)]


def test_names_of_columns_come_from_the_header_or_the_experiment(tmp_path):
    (tmp_path / "a.csv").write_text(TEXT)
    file = str(tmp_path / "a.csv")
    assert column_names(file, TableFiles(files=("a.csv",))) == ["user", "item", "note"]
    assert column_names(file, TableFiles(files=("a.csv",), column_names=("x", "y", "z"))) == ["x", "y", "z"]


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv: cannot be opened"):
        column_names(str(tmp_path / "gone.csv"), TableFiles(files=("gone.csv",)))
