"""Components that write files, run by the product's runner with TFX's cache."""

import json
import os
import shutil
from pathlib import Path

import pytest
from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import OutputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration import metadata

from pipeline.local.answers import Answers
from pipeline.local.file_lists import FileList
from pipeline.local.runner import ObservedLocalRunner

_DATA = b"examples" * 100


class Silent:
    """An observer that shows nothing."""

    def started(self, component: str) -> None:
        """Nothing is shown."""

    def finished(self, component: str, seconds: float, cached: bool) -> None:
        """Nothing is shown."""

    def failed(self, component: str) -> None:
        """Nothing is shown."""


@component
def Make(examples: OutputArtifact[tfx.types.standard_artifacts.Examples]):  # noqa: N802
    """Writes a file in a directory of the artifact, as ExampleGen does."""
    split = Path(examples.uri, "Split-train")
    split.mkdir()
    (split / "data.gz").write_bytes(_DATA)
    (split / "empty").touch()


@component
def Push(  # noqa: N802
    pushed_model: OutputArtifact[tfx.types.standard_artifacts.PushedModel],
    run: OutputArtifact[tfx.types.standard_artifacts.ModelRun],
    serving: tfx.dsl.components.Parameter[str],
):
    """Pushes a model with a summary, as the Pusher does."""
    version = Path(serving, str(len(os.listdir(serving)) + 1))
    version.mkdir()
    (version / "saved_model.pb").write_bytes(_DATA)
    (version / "summary.json").write_text("{}")
    Path(pushed_model.uri, "summary.json").write_text("{}")
    Path(run.uri, "log").write_text("log")
    pushed_model.set_string_custom_property("pushed_destination", str(version))


class Project:
    """A pipeline of both components, the directory of its runs, and the messages of its last run."""

    def __init__(self, directory: Path, caplog):
        self.root = directory / "artifacts"
        self.serving = directory / "serving"
        self.serving.mkdir()
        self._metadata = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(directory / "db.sqlite"))
        self._caplog = caplog
        self._runs = 0

    def run(self) -> list[str]:
        """Names of the components that were not answered from the cache."""
        self._caplog.clear()
        pipeline = tfx.dsl.Pipeline(
            pipeline_name="files",
            pipeline_root=str(self.root),
            components=[Make(), Push(serving=str(self.serving))],
            metadata_connection_config=self._metadata,
            enable_cache=True,
        )
        self._runs += 1
        runs = ObservedLocalRunner(f"run-{self._runs}", Silent()).run(pipeline)
        return [each.component for each in runs if not each.cached]

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records if record.name.startswith("pipeline")]


@pytest.fixture
def project(tmp_path, caplog) -> Project:
    made = Project(tmp_path, caplog)
    assert made.run() == ["Make", "Push"]
    return made


def flip(file: Path) -> None:
    """Changes a byte and keeps size and modification time."""
    found = file.stat()
    file.write_bytes(b"X" + file.read_bytes()[1:])
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_a_component_whose_files_are_gone_runs_again_and_says_why(project):
    (project.root / "Make/examples/1/Split-train/data.gz").unlink()
    assert project.run() == ["Make"]
    (message,) = project.messages
    assert message.startswith("Make: an earlier result cannot be used again: ")
    assert message.endswith("Split-train/data.gz is gone")
    assert project.run() == [] and not project.messages


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (shutil.rmtree, "saved_model.pb is gone"),
        (lambda version: flip(version / "saved_model.pb"), "saved_model.pb holds other bytes than were written"),
        (lambda version: (version / "summary.json").write_text('{"a'), "summary.json is gone or damaged"),
    ],
    ids=["gone", "changed", "summary"],
)
def test_a_pushed_version_that_is_gone_or_changed_is_pushed_again(project, damage, reason):
    damage(project.serving / "1")
    assert project.run() == ["Push"]
    assert [reason in message for message in project.messages] == [True]


def test_summaries_that_are_replaced_and_logs_that_are_removed_do_not_count(project):
    (project.serving / "1" / "summary.json").write_text(json.dumps({"components": []}))
    shutil.rmtree(project.root / "Push/run/2")
    (project.root / "Push/run/2").mkdir()
    os.utime(project.serving / "1" / "saved_model.pb")
    assert project.run() == [] and not project.messages


def test_a_killed_run_that_has_listed_nothing_is_listed_later(project):
    shutil.rmtree(project.root / ".files")
    assert project.run() == [] and not project.messages
    (project.root / "Make/examples/1/Split-train/data.gz").unlink()
    assert project.run() == ["Make"]


def test_a_list_of_another_artifact_with_the_same_number_is_not_believed(project):
    for file in (project.root / ".files").iterdir():
        file.write_text(FileList("/elsewhere", {}).to_json())
    assert project.run() == []
    (project.root / "Make/examples/1/Split-train/data.gz").unlink()
    assert project.run() == ["Make"]


def test_a_pipeline_that_never_ran_has_no_answers(tmp_path):
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(tmp_path / "db.sqlite"))
    with metadata.Metadata(connection) as handle:
        assert Answers(handle.store, "none", tmp_path).withdraw_damaged() == []
