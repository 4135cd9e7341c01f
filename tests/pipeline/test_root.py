import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.local.root import occupied
from pipeline.roots import usable_root
from trainer_module.errors import ConfigError

LEFT = ("tmp/old/f", "serving/p/.incoming-x/saved_model.pb", "serving/p/1/tmpx.tmp", "runs/r/tmpx.tmp")
KEPT = ("serving/p/1/saved_model.pb", "serving/p/1/summary.json", "runs/r/summary.json", "artifacts/p/C/o/1/f")


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_what_killed_runs_left_is_removed_and_results_stay(tmp_path):
    make(tmp_path, *LEFT, *KEPT, "artifacts/p/C/.system/executor_execution/1/f")
    with occupied(tmp_path, "now"):
        assert not [name for name in LEFT if (tmp_path / name).exists()]
        assert not (tmp_path / "artifacts/p/C/.system").exists()
        assert all((tmp_path / name).exists() for name in KEPT)


def test_temporary_files_lie_below_the_root_and_go_with_the_run(tmp_path):
    before = tempfile.gettempdir(), os.environ.get("TMPDIR")
    with occupied(tmp_path / "runs", "now"):
        made = tempfile.mkdtemp()
        assert made.startswith(f"{tmp_path}/runs/tmp/now/")
        child = [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"]
        assert subprocess.check_output(child, text=True).strip() == f"{tmp_path}/runs/tmp/now"
    assert not (tmp_path / "runs" / "tmp").exists()
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == before


def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path):
    program = (
        "import sys; from pathlib import Path; from pipeline.local.root import occupied\n"
        "with occupied(Path(sys.argv[1]), 'first'): print('ready', flush=True); sys.stdin.read()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout.readline() == "ready\n"
    expected = rf"another run is using it \(run first, process {first.pid}\); wait for its end, or name another root"
    with pytest.raises(ConfigError, match=expected), occupied(tmp_path, "second"):
        pass
    assert (tmp_path / "tmp" / "first").is_dir()
    first.kill()
    first.communicate()
    with occupied(tmp_path, "second"):
        assert os.listdir(tmp_path / "tmp") == ["second"]


def test_a_root_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    expected = r"--root .*/file/runs: cannot be written \(Not a directory\)"
    with pytest.raises(ConfigError, match=expected), occupied(tmp_path / "file" / "runs", "now"):
        pass


@pytest.mark.parametrize("name", ["runs[v1]", "a*b", "what?", "back\\slash", "two\nlines", "[a]/[b]"])
def test_a_root_that_reads_as_a_pattern_is_reached_through_a_link(tmp_path, monkeypatch, name):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    root = usable_root(tmp_path / name)
    assert usable_root(tmp_path / name) == root
    assert root.parent == tmp_path / "state" / "recspan" / "roots"
    (root / "file").touch()
    assert os.listdir(tmp_path / name) == ["file"]
    assert usable_root(tmp_path / f"{name}2") != root


def test_a_root_that_reads_as_a_pattern_and_has_no_place_for_a_link(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "[state]"))
    with pytest.raises(ConfigError, match=r"--root .*runs\[1\]: its path reads as a pattern .* XDG_STATE_HOME"):
        usable_root(tmp_path / "runs[1]")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"name a directory without .* cannot be made: Not a directory"):
        usable_root(tmp_path / "runs[1]")
    with pytest.raises(ConfigError, match="is a file, not a directory"):
        usable_root(tmp_path / "file" / "[1]")


@pytest.mark.parametrize("place", ["roots", "link"])
def test_a_link_whose_name_is_taken_is_not_followed(tmp_path, monkeypatch, place):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    link = usable_root(tmp_path / "runs[1]")
    link.unlink()
    if place == "link":
        link.symlink_to(tmp_path)
    else:
        link.parent.rmdir()
        link.parent.touch()
    with pytest.raises(ConfigError, match=f"{link.name} cannot be made: (something else has its name|File exists)"):
        usable_root(tmp_path / "runs[1]")


def test_other_roots(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert usable_root(Path("~/runs")) == tmp_path / "runs"
    assert usable_root(Path("a b 'c' ü {d}")).name == "a b 'c' ü {d}"
    with pytest.raises(ConfigError, match="a URI, and a directory of this machine is expected"):
        usable_root(Path("gs://bucket/runs"))
