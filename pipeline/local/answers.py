"""Withdraws cached answers whose files are gone or damaged.

TFX answers a step from the cache if an earlier execution has the same inputs and its outputs' directories exist. It
does not look into them. So each output's files are listed when a component has run, and compared before the next run;
an artifact that is damaged is marked as deleted, which makes TFX run the component again.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from components.pusher.layout import SUMMARY_FILE_NAME
from pipeline.local.file_lists import FileList

_PUSHED_TO = "pushed_destination"
# TensorBoard logs and training states: nothing reads them again, so that they may be removed to free space.
_NOT_CHECKED = ("ModelRun",)


@dataclass(frozen=True)
class Withdrawn:
    """An output that is no answer any more.

    Attributes:
        component: That wrote it.
        damage: What is wrong with it.
    """

    component: str
    damage: str


class Answers:
    """The outputs of a pipeline's earlier executions."""

    def __init__(self, store: mlmd.MetadataStore, pipeline_name: str, pipeline_root: Path):
        """Sets the pipeline.

        Args:
            store: The metadata store.
            pipeline_name: The pipeline's name.
            pipeline_root: Directory of its artifacts; the lists of files lie in `.files` there.
        """
        self._store = store
        self._name = pipeline_name
        self._root = pipeline_root
        self._lists = pipeline_root / ".files"

    def withdraw_damaged(self) -> list[Withdrawn]:
        """Marks outputs as deleted whose files are gone or damaged; lists those that have no list yet."""
        withdrawn = []
        for artifact in self._live():
            lists = self._read(artifact)
            if lists is None:
                # The run was killed before it could list them, or an older version of recspan made them.
                self._write(artifact)
            damage = next((damage for each in lists or () if (damage := each.damage())), None) or _summary_damage(
                artifact
            )
            if damage:
                artifact.state = metadata_store_pb2.Artifact.DELETED
                self._store.put_artifacts([artifact])
                self._path(artifact).unlink(missing_ok=True)
                withdrawn.append(Withdrawn(self._component(artifact), damage))
        return withdrawn

    def list_outputs(self, execution_id: int) -> None:
        """Lists the files of what an execution has just written."""
        events = self._store.get_events_by_execution_ids([execution_id])
        outputs = [event.artifact_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT]
        for artifact in self._store.get_artifacts_by_id(outputs):
            if self._is_checked(artifact):
                self._write(artifact)

    def _live(self) -> Iterator[metadata_store_pb2.Artifact]:
        context = self._store.get_context_by_type_and_name("pipeline", self._name)
        if context is None:
            return
        for artifact in self._store.get_artifacts_by_context(context.id):
            if artifact.state == metadata_store_pb2.Artifact.LIVE and self._is_checked(artifact):
                yield artifact

    def _is_checked(self, artifact: metadata_store_pb2.Artifact) -> bool:
        return "://" not in artifact.uri and artifact.type not in _NOT_CHECKED

    def _component(self, artifact: metadata_store_pb2.Artifact) -> str:
        """From the path that TFX gives to outputs: `<root>/<component>/<output>/<execution>`."""
        relative = os.path.relpath(artifact.uri, self._root)
        return relative.split(os.sep)[0]

    def _path(self, artifact: metadata_store_pb2.Artifact) -> Path:
        return self._lists / f"{artifact.id}.json"

    def _read(self, artifact: metadata_store_pb2.Artifact) -> list[FileList] | None:
        """The lists of an artifact; None if it has none, or one of another artifact that had the same number."""
        try:
            lists = [FileList.from_json(line) for line in self._path(artifact).read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError):
            return None
        return lists if lists and lists[0].directory == artifact.uri else None

    def _write(self, artifact: metadata_store_pb2.Artifact) -> None:
        lists = [FileList.of(artifact.uri)]
        if pushed_to := _pushed_to(artifact):
            # The run's summary replaces the Pusher's own when the run has ended.
            lists.append(FileList.of(pushed_to, digests=True, without=(SUMMARY_FILE_NAME,)))
        self._lists.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._lists, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(f"{each.to_json()}\n" for each in lists)
        os.replace(name, self._path(artifact))


def _pushed_to(artifact: metadata_store_pb2.Artifact) -> str | None:
    """Local directory of the version that a Pusher made; None if the artifact is of another kind."""
    found = artifact.custom_properties[_PUSHED_TO].string_value if _PUSHED_TO in artifact.custom_properties else ""
    return found if found and "://" not in found else None


def _summary_damage(artifact: metadata_store_pb2.Artifact) -> str | None:
    """What is wrong with the summary beside a pushed model."""
    pushed_to = _pushed_to(artifact)
    if pushed_to is None:
        return None
    path = Path(pushed_to, SUMMARY_FILE_NAME)
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if isinstance(json.loads(path.read_text(encoding="utf-8")), dict):
            return None
    return f"{path} is gone or damaged"
