import pytest

from pipeline import roots
from pipeline.roots import require_place, require_writable
from trainer_module.errors import ConfigError


def test_a_directory_is_made_and_left_empty(tmp_path):
    require_writable(tmp_path / "a" / "b", "--root")
    assert not list((tmp_path / "a" / "b").iterdir())


@pytest.mark.parametrize("below", ["", "x", "x/y"])
def test_a_file_in_the_way_is_named(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file is a file, not a directory; name a directory .* with --root"):
        require_writable(tmp_path / "file" / below, "--root")


def test_a_dangling_link_is_named(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="link is a file, not a directory"):
        require_writable(tmp_path / "link", "--root")


@pytest.mark.parametrize("path", ["/proc/recspan", "/sys/kernel"])
def test_a_directory_that_takes_no_files_is_refused(path, tmp_path):
    with pytest.raises(ConfigError, match=rf"^--root {path}: cannot be written to \(.*\); name a directory"):
        require_writable(tmp_path / path, "--root")


def test_a_full_disk_is_refused(tmp_path, monkeypatch):
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(roots.tempfile, "TemporaryFile", lambda dir: full)
        with pytest.raises(ConfigError, match=r"cannot be written to \(no space left on device"):
            require_writable(tmp_path, "--root")


def test_a_name_with_a_nul_byte_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a path cannot hold a NUL byte"):
        require_writable(tmp_path / "a\0b", "--root")


def test_a_place_for_data_is_checked_and_not_made(tmp_path):
    require_place(tmp_path / "data", "--data-dir")
    assert not (tmp_path / "data").exists()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(ConfigError, match="--data-dir"):
            require_place(path, "--data-dir")
