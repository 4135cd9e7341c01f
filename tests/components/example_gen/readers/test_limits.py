"""Files that unpack to far more than they are."""

import bz2
import gzip
import zipfile
from pathlib import Path

import pytest

from components.example_gen.readers import opening
from components.example_gen.readers.blocks import column_names, find_pieces, read
from trainer_module.data.tables import TableFiles
from trainer_module.errors import DataError

TEXT = b"a,b\n" + b"1,2\n" * 500_000


def packed(directory: Path, suffix: str, text: bytes = TEXT) -> str:
    file = directory / f"f.csv{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("f.csv", text)
    else:
        file.write_bytes({".gz": gzip, ".bz2": bz2}[suffix].compress(text))
    return str(file)


def rows(file: str, table: TableFiles) -> int:
    return sum(len(raw.numbers) for piece in find_pieces([file], table) for raw, _ in read(piece, table, ["a"]))


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zip"])
def test_a_bomb_is_refused_with_the_key_that_lets_it_pass(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "UNPACKED_FREELY", 1 << 20)
    file = packed(tmp_path, suffix)
    with pytest.raises(DataError, match=r"unpacks to more than 1 MB, 100 times its size.* max_unpack_ratio for the"):
        rows(file, TableFiles(files=(file,)))
    assert rows(file, TableFiles(files=(file,), max_unpack_ratio=100_000)) == 500_000


def test_a_small_file_may_be_of_one_byte(tmp_path):
    file = packed(tmp_path, ".gz")
    assert rows(file, TableFiles(files=(file,))) == 500_000


def test_a_bomb_without_a_line_end_stops_at_the_longest_row(tmp_path):
    file = packed(tmp_path, ".gz", b"a,b\n" + b"0" * (40 << 20))
    with pytest.raises(DataError, match="a row of more than 1 MB"):
        rows(file, TableFiles(files=(file,), max_row_mb=1))
    assert column_names(file, TableFiles(files=(file,))) == ["a", "b"]
