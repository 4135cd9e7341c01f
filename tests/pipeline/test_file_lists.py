import os
import shutil

import pytest

from pipeline.local.file_lists import FileList


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "3"
    (made / "Split-train").mkdir(parents=True)
    (made / "Split-train" / "data").write_bytes(b"12345")
    (made / "empty").touch()
    return made


def flip(file) -> None:
    """Changes a byte and keeps size and modification time."""
    found = file.stat()
    file.write_bytes(b"X" + file.read_bytes()[1:])
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "damage"),
    [
        (lambda d: (d / "Split-train" / "data").unlink(), "/3/Split-train/data is gone"),
        (lambda d: (d / "empty").unlink(), "/3/empty is gone"),
        (lambda d: shutil.rmtree(d), "/3/Split-train/data is gone"),
        (lambda d: (d / "Split-train" / "data").write_bytes(b"1"), "/data has 1 bytes, and 5 were written"),
        (lambda d: (d / "empty").write_bytes(b"1"), "/empty has 1 bytes, and 0 were written"),
        (lambda d: flip(d / "Split-train" / "data"), "/data holds other bytes than were written"),
        (lambda d: (shutil.rmtree(d / "Split-train"), (d / "Split-train").touch()), "/data cannot be read (not a dir"),
    ],
)
def test_files_that_are_not_as_they_were_are_named(directory, change, damage):
    listed = FileList.from_json(FileList.of(str(directory), digests=True).to_json())
    assert listed.damage() is None
    change(directory)
    assert damage in listed.damage()


def test_without_digests_only_presence_and_size_count(directory):
    listed = FileList.of(str(directory))
    flip(directory / "Split-train" / "data")
    (directory / "new").touch()
    assert listed.damage() is None


def test_a_file_that_may_change_is_not_listed(directory):
    listed = FileList.of(str(directory), digests=True, without=("empty",))
    (directory / "empty").write_bytes(b"1")
    os.chmod(directory / "Split-train" / "data", 0o600)
    assert listed.damage() is None


@pytest.mark.parametrize("text", ["", "5", "{}", '{"directory": "a", "files": {"b": {"x": 1}}}', "[" * 100])
def test_what_is_no_list_is_refused(text):
    with pytest.raises(ValueError):
        FileList.from_json(text)
