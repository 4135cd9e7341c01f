"""Which files a table has."""

import fnmatch
import logging
import os

import pytest
from apache_beam.io.filesystem import FileMetadata, MatchResult
from apache_beam.io.filesystems import FileSystems

from components.example_gen.readers.files import find_files
from trainer_module.data.tables import TableFiles
from trainer_module.errors import DataError


def found(directory, *patterns):
    files = find_files(str(directory), TableFiles(files=patterns), "data.items")
    return [os.path.relpath(file, directory) for file in files]


@pytest.fixture
def folder(tmp_path):
    for name in ("b.csv", "a.csv", "day-1/x.csv", "day-2/x.csv", "data[1].csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("user\n")
    return tmp_path


def test_files_are_sorted_and_read_once(folder):
    (folder / "link.csv").symlink_to("a.csv")
    os.link(folder / "b.csv", folder / "second-name.csv")
    assert found(folder, "*.csv", "a.csv", str(folder / "b.csv")) == ["a.csv", "b.csv", "data[1].csv"]
    assert found(folder, "day-{SPAN}/*.csv") == ["day-1/x.csv", "day-2/x.csv"]


def test_brackets_in_names_and_folders(folder):
    assert found(folder, "data[1].csv") == ["data[1].csv"]
    (folder / "[x]").mkdir()
    (folder / "[x]" / "a.csv").write_text("user\n")
    assert found(folder / "[x]", "*.csv") == ["a.csv"]


def test_files_without_data_are_skipped_and_said(folder, caplog):
    for name in ("_SUCCESS", ".a.csv.crc", "part.crc", ".hidden", "_committed_7"):
        (folder / "day-1" / name).write_text("x")
    (folder / "day-1" / "empty.csv").write_text("")
    with caplog.at_level(logging.WARNING):
        assert found(folder, "day-1/*") == ["day-1/x.csv"]
    for name in ("_SUCCESS", ".a.csv.crc", "part.crc", ".hidden", "_committed_7", "empty.csv"):
        assert f"day-1/{name} skipped" in caplog.text


@pytest.mark.parametrize(
    ("name", "reason"),
    [("_SUCCESS", "a marker"), (".a.csv", "a hidden file"), ("e.csv", "empty"), ("a.crc", "a checksum")],
)
def test_a_file_without_data_that_is_named_is_refused(folder, name, reason):
    (folder / name).write_text("" if name == "e.csv" else "x")
    with pytest.raises(DataError, match=reason):
        found(folder, name)


@pytest.mark.parametrize("pattern", ["a.csv", "*"])
def test_what_is_no_regular_file_is_refused(tmp_path, pattern):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"a\.csv: a pipe, device or socket"):
        found(tmp_path, pattern)


@pytest.mark.parametrize("pattern", ["day-1", "day-*"])
def test_a_directory_is_refused(folder, pattern):
    with pytest.raises(DataError, match=r"day-1: a directory, and a file is expected; .*day-1/\*"):
        found(folder, pattern)


def test_a_link_to_nothing_is_named(folder):
    (folder / "gone.csv").symlink_to("nowhere.csv")
    with pytest.raises(DataError, match=r"gone\.csv: cannot be read \(No such file"):
        found(folder, "gone.csv")


def test_every_pattern_must_match_and_what_lies_there_is_named(folder):
    with pytest.raises(DataError, match=r"data\.items: no file matches .*nothing\.csv; .* holds a\.csv, b\.csv, data"):
        found(folder, "a.csv", "nothing.csv")
    with pytest.raises(DataError, match=r"no file matches .*day-1/\*\.pq; .*day-1 holds x\.csv"):
        found(folder, "day-1/*.pq")
    with pytest.raises(DataError, match="is empty or not there"):
        found(folder / "gone", "*.csv")


def test_files_without_data_alone_are_no_match(tmp_path):
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(DataError, match=r"matches only hidden or empty files, checksums or markers \(.*a\.csv\)"):
        found(tmp_path, "*.csv")


def test_remote_files_are_matched_by_beam(tmp_path, monkeypatch):
    sizes = {"gs://b/events/2.csv": 5, "gs://b/events/1.csv": 5, "gs://b/events/_SUCCESS": 0, "gs://b/events/3.csv": 0}

    def match(patterns):
        (pattern,) = patterns
        names = [name for name in sizes if fnmatch.fnmatch(name, pattern)]
        return [MatchResult(pattern, [FileMetadata(name, sizes[name]) for name in names])]

    monkeypatch.setattr(FileSystems, "match", staticmethod(match))
    expected = ["gs://b/events/1.csv", "gs://b/events/2.csv"]
    assert find_files("gs://b", TableFiles(files=("events/*",)), "data.items") == expected
    assert find_files(str(tmp_path), TableFiles(files=("gs://b/events/*.csv",)), "data.items") == expected
    with pytest.raises(DataError, match=r"no file matches gs://b/events/\*\.pq; .* gs://b/events holds 1\.csv, 2\.csv"):
        find_files("gs://b", TableFiles(files=("events/*.pq",)), "data.items")
