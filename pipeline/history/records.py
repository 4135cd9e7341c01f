"""Finds runs by their directories, with what they wrote there and what the metadata store knows about them."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from components.pusher.layout import SUMMARY_FILE_NAME
from components.run_report.layout import REPORT_FILE
from pipeline.history.layout import STOPPED_FILE
from trainer_module.errors import ConfigError

LAST = "last"

_LISTED_AT_MOST = 10
# The metrics that judge models, by name.
_MAIN_METRIC = re.compile(r"(\w+\.)?(rmse|log_loss|auc)|(ndcg|recall)_at_\d+")


@dataclass(frozen=True)
class Execution:
    """A component of a run, as the metadata store has it.

    Attributes:
        component: Its id in the pipeline.
        state: `complete`, `cached`, `failed`, `running` and others of ML Metadata.
        seconds: From its start to its end.
        outputs: URIs of its output artifacts, by key.
        facts: Properties of its output artifacts.
    """

    component: str
    state: str
    seconds: float
    outputs: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run of this machine.

    Attributes:
        id: Name of its directory and in the metadata store: when it began, in UTC.
        directory: With its log, and its summary if it came to its end.
        summary: Content of `summary.json`; None for a run that did not come to its end.
        pipeline: Name of the pipeline; empty where the metadata store does not know the run.
        executions: In the order in which they began; empty where the metadata store does not know the run.
        stopped: Content of `stopped.json`, of a run that a component has stopped; else None.
    """

    id: str
    directory: Path
    summary: dict[str, Any] | None
    pipeline: str = ""
    executions: tuple[Execution, ...] = ()
    stopped: dict[str, Any] | None = None

    @property
    def result(self) -> dict[str, Any]:
        """The summary, or what is known of a run that was stopped.

        Raises:
            ConfigError: Nothing is known, as of a run that was killed.
        """
        if self._facts is None:
            raise ConfigError(f"run {self.id}: {self.verdict}, so that it has no result")
        return self._facts

    @property
    def dataset(self) -> str:
        data = self._config.get("data", {})
        return data.get("dataset") or ("own" if data else "")

    @property
    def model(self) -> str:
        return self._config.get("model", {}).get("type", "")

    @property
    def verdict(self) -> str:
        """`pushed`, `not pushed`, what stopped the run, or how far it came."""
        if self.summary:
            return "pushed" if self.summary["blessing"]["push"] else "not pushed"
        if self.stopped:
            return self.stopped["verdict"]
        failed = [each.component for each in self.executions if each.state == "failed"]
        return f"failed in {failed[-1]}" if failed else "not finished"

    @property
    def reason(self) -> str:
        """Why, on one line."""
        if self.summary:
            return self.summary["blessing"]["reason"]
        return self.stopped["message"].partition("\n")[0] if self.stopped else self.verdict

    @cached_property
    def seconds(self) -> float:
        """Of all components."""
        if self._facts:
            return sum(row["seconds"] for row in self._facts.get("components", ()))
        return sum(each.seconds for each in self.executions)

    @property
    def metrics(self) -> dict[str, float | None]:
        """Over the whole test split, by name."""
        slices = (self._facts or {}).get("evaluation", {}).get("slices", [])
        return {name: value for name, value in slices[0].items() if name != "slice"} if slices else {}

    @property
    def main_metrics(self) -> dict[str, float | None]:
        """The metrics that judge the model."""
        return {name: value for name, value in self.metrics.items() if _MAIN_METRIC.fullmatch(name)}

    @property
    def report(self) -> Path | None:
        """The page of the run; None if there is none."""
        path = self.directory / REPORT_FILE
        return path if path.is_file() else None

    @property
    def _config(self) -> dict[str, Any]:
        return self._facts["config"] if self._facts else {}

    @property
    def _facts(self) -> dict[str, Any] | None:
        return self.summary or self.stopped

    def output(self, component: str, key: str) -> str | None:
        """URI of an output artifact; None if the metadata store does not know it."""
        return next((each.outputs.get(key) for each in self.executions if each.component == component), None)


def find_runs(root: Path) -> list[Run]:
    """All runs of a root, the earliest first.

    Args:
        root: Directory of runs, as `--root` gives it.
    """
    directories = sorted(path for path in (root / "runs").glob("*") if path.is_dir())
    known = _executions(root / "metadata.sqlite") if directories else {}
    runs: dict[str, Run] = {}
    for directory in directories:
        summary = _read(directory / SUMMARY_FILE_NAME)
        stopped = None if summary else _read(directory / STOPPED_FILE)
        pipeline, executions = known.get(directory.name, ("", ()))
        # A run that was answered from an earlier one has executed nothing itself.
        earlier = runs.get((summary or {}).get("answered_by", ""))
        if earlier and not executions:
            pipeline, executions = earlier.pipeline, earlier.executions
        runs[directory.name] = Run(directory.name, directory, summary, pipeline, executions, stopped)
    return list(runs.values())


def choose(runs: Iterable[Run], name: str) -> Run:
    """The run that a person means.

    Args:
        runs: To choose from, the earliest first.
        name: `last`, or any part of its id that no other run has.

    Raises:
        ConfigError: No run, or several, have that name.
    """
    runs = list(runs)
    if not runs:
        raise ConfigError("there are no runs yet; `recspan pipeline run` makes one, --root names their directory")
    if name == LAST:
        return runs[-1]
    found = [run for run in runs if name in run.id]
    if len(found) != 1:
        shown = ", ".join(run.id for run in (found or runs)[-_LISTED_AT_MOST:])
        what = "several runs have this in their names" if found else "no run has this in its name"
        raise ConfigError(f"{name}: {what}; give `{LAST}` or a part of one name, as of {shown}")
    return found[0]


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _executions(metadata: Path) -> dict[str, tuple[str, tuple[Execution, ...]]]:
    """Name of the pipeline and executions by run."""
    if not metadata.is_file():
        return {}
    # Takes a fraction of a second.
    import ml_metadata as mlmd
    from ml_metadata.proto import metadata_store_pb2 as pb

    connection = pb.ConnectionConfig()
    connection.sqlite.filename_uri = str(metadata)
    connection.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READONLY
    store = mlmd.MetadataStore(connection)
    types = {each.name for each in store.get_context_types()}
    if "pipeline_run" not in types:
        return {}
    artifacts = {each.id: each for each in store.get_artifacts()}
    pipelines = {
        execution.id: context.name
        for context in store.get_contexts_by_type("pipeline")
        for execution in store.get_executions_by_context(context.id)
    }
    components = {
        execution.id: context.name.rpartition(".")[2]
        for context in store.get_contexts_by_type("node")
        for execution in store.get_executions_by_context(context.id)
    }
    found = {}
    for context in store.get_contexts_by_type("pipeline_run"):
        executions = sorted(store.get_executions_by_context(context.id), key=lambda each: each.id)
        events = store.get_events_by_execution_ids([each.id for each in executions]) if executions else []
        made: dict[int, list[tuple[str, Any]]] = {}
        for event in events:
            if event.type == pb.Event.OUTPUT and event.artifact_id in artifacts:
                made.setdefault(event.execution_id, []).append((event.path.steps[0].key, artifacts[event.artifact_id]))
        runs = [
            Execution(
                component=components[each.id],
                state=pb.Execution.State.Name(each.last_known_state).lower(),
                seconds=max(0, each.last_update_time_since_epoch - each.create_time_since_epoch) / 1000,
                outputs={key: artifact.uri for key, artifact in made.get(each.id, [])},
                facts={
                    name: getattr(value, value.WhichOneof("value"))
                    for _, artifact in made.get(each.id, [])
                    for name, value in artifact.custom_properties.items()
                    if value.WhichOneof("value")
                },
            )
            for each in executions
        ]
        found[context.name] = (pipelines.get(executions[0].id, "") if executions else "", tuple(runs))
    return found
