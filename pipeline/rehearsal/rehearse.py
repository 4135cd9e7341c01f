"""Runs a compiled pipeline on this machine, task after task."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from pipeline.observer import Observer
from pipeline.rehearsal import conditions, queries
from pipeline.rehearsal.artifacts import ArtifactRecord, is_value, schema_title
from pipeline.rehearsal.buckets import Buckets, link_data
from pipeline.rehearsal.executor_input import (
    Outputs,
    Run,
    artifact_name,
    executor_input,
    finished,
    input_artifacts,
    input_parameters,
    runtime_value,
    updated,
)
from pipeline.rehearsal.placeholders import fill
from pipeline.rehearsal.processes import image_environment, run
from pipeline.rehearsal.spec import Job, Plan, Task, parse_plan, producers
from pipeline.rehearsal.substitutions import Commands, commands, images
from trainer_module.errors import RecspanError

RECORD_FILE = "artifacts.jsonl"

_PUSHED_MODEL = "tfx.PushedModel"
_PUSHED_TO = "pushed_destination"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A rehearsal that can begin.

    Attributes:
        plan: What to run, with directories in the place of buckets.
        commands: What runs here, by container task.
        replaced: What was replaced, a line each.
        root: Holds buckets, logs and the record of artifacts.
    """

    plan: Plan
    commands: Mapping[str, Commands]
    replaced: tuple[str, ...]
    root: Path

    def logs(self, run_id: str) -> Path:
        """Directory of a run: for each task a directory with what it was told and what it printed."""
        return self.root / "runs" / run_id


@dataclass(frozen=True)
class Rehearsed:
    """What a rehearsal came to.

    Attributes:
        tasks: Seconds of each task, in the order of their running; those that were not triggered are not among them.
        pushed_model: What the Pusher has made; None if no Pusher ran.
    """

    tasks: Mapping[str, float]
    pushed_model: pb.RuntimeArtifact | None

    @property
    def pushed_to(self) -> Path | None:
        """Where the pushed model lies, as TFX's Pushers say it; None if none was pushed."""
        if self.pushed_model is None or _PUSHED_TO not in self.pushed_model.metadata:
            return None
        return Path(self.pushed_model.metadata[_PUSHED_TO])


def prepare(job: Job, root: Path, data: Path | None) -> Prepared:
    """Looks through a job and puts the raw files in place; no task has been run after this.

    Args:
        job: As compiled, with the values of its runtime parameters.
        root: For everything that rehearsals leave behind.
        data: Directory of the raw files; None if they lie in the bucket's directory.

    Raises:
        ConfigError: The job holds what cannot be rehearsed (names all of it), or the raw files are missing.
    """
    buckets = Buckets(root / "buckets")
    plan = parse_plan(buckets.local(dict(job)))
    chosen = {task.name: commands(task) for task in plan.tasks if task.executor.HasField("container")}
    read = link_data(plan.tasks, data)
    replaced = [
        *(f"bucket gs://{bucket}, by {buckets.directory_of(bucket)}" for bucket in sorted(buckets.replaced)),
        *(f"image {image}, by this environment" for image in images(plan.tasks)),
        *(line for task in plan.tasks if task.name in chosen for line in chosen[task.name].replaced),
    ]
    if data is not None:
        replaced.append(f"raw files in {read}, by a link to {data}")
    return Prepared(plan, chosen, tuple(replaced), root)


def rehearse(prepared: Prepared, run_id: str, observer: Observer) -> Rehearsed:
    """Runs all tasks.

    Args:
        prepared: What to run.
        run_id: Of the run.
        observer: Is told of each task.

    Raises:
        RecspanError: A task failed; the message ends with the log's path.
    """
    plan = prepared.plan
    record = ArtifactRecord(prepared.root / RECORD_FILE)
    this = Run(run_id, plan.pipeline_root, plan.parameters)
    done: dict[str, Outputs] = {}
    skipped: set[str] = set()
    seconds: dict[str, float] = {}
    for task in plan.tasks:
        if producers(task.spec) & skipped or not _triggered(task, this, done):
            skipped.add(task.name)
            _log.warning("%s is not triggered", task.name)
            continue
        observer.started(task.name)
        started = time.monotonic()
        match task.executor.WhichOneof("spec"):
            case "resolver":
                outputs = _resolve(task, done, record.of(plan.pipeline_name))
            case "importer":
                outputs = _import(task, this, done, record.of(plan.pipeline_name))
            case _:
                outputs = _execute(task, this, done, prepared.commands[task.name], prepared.logs(run_id) / task.name)
        done[task.name] = outputs
        # What a resolver found, or an importer imported before, is on record already.
        known = {artifact.name for artifact in record.of(plan.pipeline_name)}
        for artifact in (each for artifacts in outputs.artifacts.values() for each in artifacts):
            if artifact.name not in known:
                record.add(plan.pipeline_name, artifact)
        seconds[task.name] = time.monotonic() - started
        observer.finished(task.name, seconds[task.name], cached=False)
    return Rehearsed(seconds, _pushed_model(done))


def _triggered(task: Task, this: Run, done: Mapping[str, Outputs]) -> bool:
    condition = task.spec.trigger_policy.condition
    return not condition or conditions.holds(condition, executor_input(task, this, done).inputs)


def _resolve(task: Task, done: Mapping[str, Outputs], recorded: list[pb.RuntimeArtifact]) -> Outputs:
    inputs = input_artifacts(task, done)
    asked = task.executor.resolver.output_artifact_queries
    return Outputs({key: queries.latest(query, inputs, recorded) for key, query in asked.items()})


def _import(task: Task, this: Run, done: Mapping[str, Outputs], recorded: list[pb.RuntimeArtifact]) -> Outputs:
    """The artifact that stands for what lies at a URI: that of an earlier import, unless it is to be imported anew."""
    importer = task.executor.importer
    # TFX names the task's own parameter here, not the pipeline's.
    value = runtime_value(importer.artifact_uri, input_parameters(task, this, done))
    if value is None:
        raise RecspanError(f"{task.name}: no URI is given for what it imports")
    (key,) = task.component.output_definitions.artifacts
    artifact = pb.RuntimeArtifact(
        name=artifact_name(this.id, task.name, key),
        uri=value.string_value,
        type=importer.type_schema,
        metadata=importer.metadata,
    )
    earlier = [
        known
        for known in recorded
        if (known.uri, known.type, known.metadata) == (artifact.uri, artifact.type, artifact.metadata)
    ]
    return Outputs({key: [artifact if importer.reimport or not earlier else earlier[-1]]})


def _execute(task: Task, this: Run, done: Mapping[str, Outputs], chosen: Commands, directory: Path) -> Outputs:
    """Runs the container's commands with the input that the service would send; reads the output that it would read."""
    told = executor_input(task, this, done)
    output_file = Path(told.outputs.output_file)
    _make_directories(told)
    directory.mkdir(parents=True)
    log, work = directory / "log.txt", directory / "work"
    work.mkdir()
    variables = {variable.name: variable.value for variable in task.executor.container.env}
    environment = image_environment(work) | variables
    try:
        if chosen.driver:
            text = _write(told, directory / "driver_input.json")
            run(fill(chosen.driver, text), environment, work, log)
            told = updated(told, _read_output(output_file))
        text = _write(told, directory / "executor_input.json")
        run(fill(chosen.executor, text), environment, work, log)
        return finished(told, _read_output(output_file))
    except RecspanError as error:
        raise type(error)(f"{task.name} failed: {error}") from None


def _make_directories(told: pb.ExecutorInput) -> None:
    """Makes those of the outputs. A bucket has none, so components that write to one need not make them either."""
    Path(told.outputs.output_file).parent.mkdir(parents=True)
    for parameter in told.outputs.parameters.values():
        Path(parameter.output_file).parent.mkdir(exist_ok=True)
    for artifacts in told.outputs.artifacts.values():
        for artifact in artifacts.artifacts:
            if not is_value(artifact):
                Path(artifact.uri).mkdir()


def _write(told: pb.ExecutorInput, file: Path) -> str:
    text = json_format.MessageToJson(told, indent=None)
    file.write_text(text + "\n", encoding="utf-8")
    return text


def _read_output(file: Path) -> pb.ExecutorOutput:
    """What a container answered; nothing if it has left the file out, which it may.

    Raises:
        RecspanError: The file holds something else.
    """
    if not file.exists():
        return pb.ExecutorOutput()
    try:
        return json_format.Parse(file.read_text(encoding="utf-8"), pb.ExecutorOutput())
    except (ValueError, json_format.ParseError) as error:
        raise RecspanError(f"its answer in {file} is no ml_pipelines.ExecutorOutput ({error})") from None


def _pushed_model(done: Mapping[str, Outputs]) -> pb.RuntimeArtifact | None:
    made = [artifact for outputs in done.values() for artifacts in outputs.artifacts.values() for artifact in artifacts]
    return next((artifact for artifact in made if schema_title(artifact.type) == _PUSHED_MODEL), None)
