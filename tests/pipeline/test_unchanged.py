"""The last run answers the next one only while nothing has changed."""

import json
import os
from pathlib import Path

import pytest

from pipeline.config import Locations, PipelineConfig, load_config
from pipeline.local import unchanged
from pipeline.local.file_lists import FileList

EXPERIMENT = """\
name: mine
data:
  interactions: {files: raw/rows-*.csv, user: user, item: item, label: rating}
  items: {files: raw/items.csv, key: item}
  task: rating
"""


class LastRun:
    """A run that ended, as far as the next one looks at it."""

    def __init__(self, directory: Path):
        self.directory = directory
        (directory / "experiment.yaml").write_text(EXPERIMENT)
        for name in ("rows-1.csv", "items.csv"):
            self.write(directory / "raw" / name)
        self.config = load_config(directory / "experiment.yaml")
        self.locations = Locations.resolve(self.config, directory / "runs")
        self.output = self.write(self.locations.artifacts("mine") / "Trainer" / "model" / "7" / "saved_model.pb")
        lists = self.locations.artifacts("mine") / ".files" / "7.json"
        self.write(lists, FileList.of(str(self.output.parent), digests=True).to_json() + "\n")
        self.pushed = self.write(self.locations.serving("mine") / "1" / "summary.json", "{}")
        self.write(self.locations.metadata)
        self.run_dir = self.locations.root / "runs" / "20260101"
        self.write(self.run_dir / "summary.json", json.dumps({"pushed_to": str(self.pushed.parent), "metric": 1}))

    @staticmethod
    def write(path: Path, text: str = "some text") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def remember(self, config: PipelineConfig | None = None, begun: str | None = None) -> None:
        config = config or self.config
        unchanged.remember(config, self.locations, self.run_dir, begun or unchanged.read_state(config, self.locations))

    def answer(self, config: PipelineConfig | None = None) -> dict | None:
        return unchanged.answer(config or self.config, self.locations)


@pytest.fixture
def last_run(tmp_path, monkeypatch) -> LastRun:
    monkeypatch.chdir(tmp_path)
    return LastRun(tmp_path)


def test_a_run_is_answered_by_the_last_one(last_run):
    assert last_run.answer() is None
    last_run.remember()
    found = last_run.answer()
    assert found is not None and found["metric"] == 1


def test_what_changed_while_a_run_was_under_way_is_not_taken_for_what_it_read(last_run):
    begun = unchanged.read_state(last_run.config, last_run.locations)
    last_run.write(last_run.directory / "raw" / "rows-1.csv", "a later delivery")
    last_run.remember(begun=begun)
    assert last_run.answer() is None


def test_a_link_to_nowhere_among_the_raw_files_does_no_harm(last_run):
    (last_run.directory / "raw" / "rows-9.csv").symlink_to(last_run.directory / "nowhere")
    last_run.remember()
    assert last_run.answer()


CHANGES = {
    "raw file": lambda run: run.write(run.directory / "raw" / "rows-1.csv", "other text"),
    "raw file of the same size and time": lambda run: rewrite(run.directory / "raw" / "rows-1.csv"),
    "new raw file": lambda run: run.write(run.directory / "raw" / "rows-2.csv"),
    "raw file that is gone": lambda run: (run.directory / "raw" / "items.csv").unlink(),
    "metadata store": lambda run: run.write(run.locations.metadata, "another run"),
    "output": lambda run: run.write(run.output, "other"),
    "output that is gone": lambda run: run.output.unlink(),
    "list of outputs": lambda run: run.write(run.locations.artifacts("mine") / ".files" / "7.json", "{"),
    "summary": lambda run: run.write(run.run_dir / "summary.json", "{}"),
    "pushed version": lambda run: run.pushed.unlink(),
    "record": lambda run: run.write(run.locations.artifacts("mine") / ".files" / "last_run.json", "[]"),
}


def rewrite(path: Path) -> None:
    """Other content of the same size, with the times of before."""
    before = path.stat()
    path.write_text(path.read_text()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_noticed(last_run, change):
    last_run.remember()
    CHANGES[change](last_run)
    assert last_run.answer() is None


def test_settings_and_code_are_compared(last_run, monkeypatch, tmp_path):
    last_run.remember()
    assert last_run.answer(load_config(last_run.directory / "experiment.yaml", {"training.epochs": 3})) is None
    assert last_run.answer(load_config(last_run.directory / "experiment.yaml", {"cache": False})) is None
    package = last_run.write(tmp_path / "product" / "pipeline" / "run.py")
    monkeypatch.setattr(unchanged, "_PRODUCT", tmp_path / "product")
    last_run.remember()
    assert last_run.answer()
    package.write_text("changed")
    assert last_run.answer() is None


def test_what_the_last_blessed_model_changes_is_not_remembered(last_run):
    config = load_config(last_run.directory / "experiment.yaml", {"training.warm_start": "last_blessed"})
    last_run.remember(config)
    assert last_run.answer(config) is None


def test_remote_files_are_left_to_tfx(last_run):
    changed = {"data.items.files": "gs://bucket/items.csv", "data.interactions.files": "gs://bucket/rows.csv"}
    config = load_config(last_run.directory / "experiment.yaml", changed)
    last_run.remember(config)
    assert last_run.answer(config) is None
