"""Runs the tasks of a compiled pipeline on this machine."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from pipeline.job_options import Job
from pipeline.observer import Observer
from pipeline.rehearsal import queries
from pipeline.rehearsal.answers import QueryAnswers, find_answers
from pipeline.rehearsal.artifacts import ArtifactRecord, schema_title
from pipeline.rehearsal.bigquery import LocalBigQuery
from pipeline.rehearsal.buckets import Buckets, link_data
from pipeline.rehearsal.executor_input import (
    Artifacts,
    Run,
    executor_input,
    input_artifacts,
    output_artifacts,
    with_driver_output,
)
from pipeline.rehearsal.placeholders import fill
from pipeline.rehearsal.processes import image_environment, run
from pipeline.rehearsal.spec import Plan, Task, parse_plan
from pipeline.rehearsal.substitutions import Commands, commands, images
from trainer_module.errors import RecspanError

RECORD_FILE = "artifacts.jsonl"

_PUSHED_MODEL = "tfx.PushedModel"
_PUSHED_TO = "pushed_destination"


@dataclass(frozen=True)
class Prepared:
    """A rehearsal that can start.

    Attributes:
        plan: The pipeline, with directories instead of buckets.
        commands: Local commands by container task.
        replaced: One line for each replacement.
        root: Directory of the buckets, the logs and the record of artifacts.
        answers: Answers of the pipeline's queries to BigQuery; None if it has none.
    """

    plan: Plan
    commands: Mapping[str, Commands]
    replaced: tuple[str, ...]
    root: Path
    answers: QueryAnswers | None = None

    def logs(self, run_id: str) -> Path:
        """Returns the directory of a run. It has one directory per task, with the task's input and log."""
        return self.root / "runs" / run_id


@dataclass(frozen=True)
class Rehearsed:
    """Outcome of a rehearsal.

    Attributes:
        tasks: Seconds of each task, in the order in which the tasks ran.
        pushed_model: Output of the Pusher; None if the pipeline has no Pusher.
        outputs: Output artifacts by task and key.
    """

    tasks: Mapping[str, float]
    pushed_model: pb.RuntimeArtifact | None
    outputs: Mapping[str, Artifacts]

    @property
    def pushed_to(self) -> Path | None:
        """Directory of the pushed model; None if no model was pushed."""
        if self.pushed_model is None or _PUSHED_TO not in self.pushed_model.metadata:
            return None
        return Path(self.pushed_model.metadata[_PUSHED_TO])


def prepare(job: Job, root: Path, data: Path | None, answers: Path | None = None) -> Prepared:
    """Checks a job, links the raw files and reads the answers of queries. No task runs.

    Args:
        job: Compiled job with the values of its runtime parameters.
        root: Directory of everything that rehearsals write.
        data: Directory of the raw files; None if they are in the bucket's directory already.
        answers: Directory with a file for each table that is a query.

    Raises:
        ConfigError: The job uses unsupported features (the message lists all of them), or the raw files or answers are
            missing.
        DataError: An answer cannot be read.
    """
    buckets = Buckets(root / "buckets")
    plan = parse_plan(buckets.local(job))
    local_commands = {task.name: commands(task) for task in plan.tasks if task.executor.HasField("container")}
    read = link_data(plan.tasks, data)
    replaced = [
        *(f"bucket gs://{bucket}, by {buckets.directory_of(bucket)}" for bucket in sorted(buckets.replaced)),
        *(f"image {image}, by this environment" for image in images(plan.tasks)),
        *(line for task in plan.tasks if task.name in local_commands for line in local_commands[task.name].replaced),
    ]
    if data is not None:
        replaced.append(f"raw files in {read}, by a link to {data}")
    found = find_answers(plan.tasks, answers)
    if found:
        replaced.append(f"BigQuery, by a service on this machine that answers with {', '.join(map(str, found.files))}")
    return Prepared(plan, local_commands, tuple(replaced), root, found)


def rehearse(prepared: Prepared, run_id: str, observer: Observer) -> Rehearsed:
    """Runs all tasks.

    Args:
        prepared: The rehearsal.
        run_id: Id of the run.
        observer: Receives the start and end of each task.

    Raises:
        RecspanError: A task failed; the message ends with the log's path.
    """
    if prepared.answers is None:
        return _run_tasks(prepared, run_id, observer, {})
    with LocalBigQuery(prepared.answers).running() as service:
        return _run_tasks(prepared, run_id, observer, service.environment)


def _run_tasks(prepared: Prepared, run_id: str, observer: Observer, added: Mapping[str, str]) -> Rehearsed:
    """Runs all tasks, with `added` among their environment variables."""
    plan = prepared.plan
    record = ArtifactRecord(prepared.root / RECORD_FILE)
    this_run = Run(run_id, plan.pipeline_root, plan.parameters)
    done: dict[str, Artifacts] = {}
    seconds: dict[str, float] = {}
    for task in plan.tasks:
        observer.started(task.name)
        started = time.monotonic()
        if task.executor.HasField("resolver"):
            done[task.name] = _resolve(task, done, record.of(plan.pipeline_name))
        else:
            local_commands = prepared.commands[task.name]
            done[task.name] = _execute(task, this_run, done, local_commands, prepared.logs(run_id) / task.name, added)
            for artifact in (each for artifacts in done[task.name].values() for each in artifacts):
                record.add(plan.pipeline_name, artifact)
        seconds[task.name] = time.monotonic() - started
        observer.finished(task.name, seconds[task.name], cached=False)
    return Rehearsed(seconds, _pushed_model(done), done)


def _resolve(task: Task, done: Mapping[str, Artifacts], recorded: list[pb.RuntimeArtifact]) -> Artifacts:
    inputs = input_artifacts(task, done)
    asked = task.executor.resolver.output_artifact_queries
    return {key: queries.latest(query.filter, inputs, recorded) for key, query in asked.items()}


def _execute(
    task: Task,
    this_run: Run,
    done: Mapping[str, Artifacts],
    local_commands: Commands,
    directory: Path,
    added: Mapping[str, str],
) -> Artifacts:
    """Runs the driver, if there is one, and the executor of a container task; returns the output artifacts."""
    container_input = executor_input(task, this_run, done)
    output_file = Path(container_input.outputs.output_file)
    _make_directories(container_input)
    directory.mkdir(parents=True)
    log, work = directory / "log.txt", directory / "work"
    work.mkdir()
    environment = image_environment(work) | dict(added)
    try:
        if local_commands.driver:
            text = _write(container_input, directory / "driver_input.json")
            run(fill(local_commands.driver, text), environment, work, log)
            container_input = with_driver_output(container_input, _read_output(output_file))
        text = _write(container_input, directory / "executor_input.json")
        run(fill(local_commands.executor, text), environment, work, log)
        return output_artifacts(container_input, _read_output(output_file))
    except RecspanError as error:
        raise type(error)(f"{task.name} failed: {error}") from None


def _make_directories(container_input: pb.ExecutorInput) -> None:
    """Makes the directories of the outputs. A bucket needs none, so components that write to one do not make them."""
    Path(container_input.outputs.output_file).parent.mkdir(parents=True)
    for artifacts in container_input.outputs.artifacts.values():
        for artifact in artifacts.artifacts:
            Path(artifact.uri).mkdir()


def _write(container_input: pb.ExecutorInput, file: Path) -> str:
    text = json_format.MessageToJson(container_input, indent=None)
    file.write_text(text + "\n", encoding="utf-8")
    return text


def _read_output(file: Path) -> pb.ExecutorOutput:
    """Reads a container's output. The file is optional, as on Vertex AI.

    Raises:
        RecspanError: The file does not hold an `ExecutorOutput`.
    """
    if not file.exists():
        return pb.ExecutorOutput()
    try:
        return json_format.Parse(file.read_text(encoding="utf-8"), pb.ExecutorOutput())
    except (ValueError, json_format.ParseError) as error:
        raise RecspanError(f"the output in {file} is not an ml_pipelines.ExecutorOutput ({error})") from None


def _pushed_model(done: Mapping[str, Artifacts]) -> pb.RuntimeArtifact | None:
    made = [artifact for outputs in done.values() for artifacts in outputs.values() for artifact in artifacts]
    return next((artifact for artifact in made if schema_title(artifact.type) == _PUSHED_MODEL), None)
