"""Runs of the compiled pipeline that train trials: on Vertex AI, or rehearsed on this machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from google.cloud.aiplatform_v1.types import PipelineState

from pipeline.job_options import Job, with_parameters
from pipeline.observer import Observer
from pipeline.rehearsal.rehearse import prepare, rehearse
from pipeline.vertex.config import VertexConfig
from pipeline.vertex.requests import run_request
from pipeline.vertex.service import VertexService
from pipeline.wiring_names import TRAINER
from trainer_module.errors import RecspanError

_MODEL = "model"
_ENDED_BADLY = (PipelineState.PIPELINE_STATE_FAILED, PipelineState.PIPELINE_STATE_CANCELLED)


@dataclass(frozen=True)
class RunState:
    """How far a run is.

    Attributes:
        model: URI of the Trainer's model once the run has succeeded; empty until then, and if it failed.
        failure: Why it failed; empty if it did not.
        seconds: From its start to its end; 0 until it has ended.
    """

    model: str = ""
    failure: str = ""
    seconds: float = 0.0


class Runs(Protocol):
    """What starts runs and says how far they are."""

    def ensure(self, name: str, job: Job) -> None:
        """Starts a run unless there is one of this name."""
        ...

    def state(self, name: str) -> RunState:
        """How far a run is."""
        ...


class VertexRuns:
    """Runs on Vertex AI. Implements `Runs`."""

    def __init__(self, vertex: VertexConfig, service: VertexService):
        """Takes the section `vertex` and its client."""
        self._vertex, self._service = vertex, service

    def ensure(self, name: str, job: Job) -> None:
        self._service.ensure_run(run_request(self._vertex, job, name, {}))

    def state(self, name: str) -> RunState:
        run = self._service.get_run(name)
        seconds = (run.end_time - run.create_time).total_seconds() if run.end_time else 0.0
        if run.state in _ENDED_BADLY:
            reason = run.error.message or run.state.name.removeprefix("PIPELINE_STATE_").lower()
            return RunState(failure=f"{reason} ({self._vertex.run_url(name)})", seconds=seconds)
        if run.state != PipelineState.PIPELINE_STATE_SUCCEEDED:
            return RunState()
        for task in run.job_detail.task_details:
            if task.task_name == TRAINER and task.outputs[_MODEL].artifacts:
                return RunState(model=task.outputs[_MODEL].artifacts[0].uri, seconds=seconds)
        raise RecspanError(f"run {name} succeeded, but its details name no output {_MODEL!r} of the task {TRAINER}")


class RehearsedRuns:
    """Runs each compiled pipeline on this machine before it returns from `ensure`. Implements `Runs`."""

    def __init__(self, root: Path, data: Path, observer: Observer):
        """Takes what a rehearsal needs; see `pipeline.rehearsal`."""
        self._root, self._data, self._observer = root, data, observer
        self._ended: dict[str, RunState] = {}

    def ensure(self, name: str, job: Job) -> None:
        prepared = prepare(with_parameters(job, {}), self._root, self._data)
        try:
            outcome = rehearse(prepared, name, self._observer)
        except RecspanError as error:
            self._ended[name] = RunState(failure=str(error))
            return
        (model,) = outcome.outputs[TRAINER][_MODEL]
        self._ended[name] = RunState(model=model.uri, seconds=sum(outcome.tasks.values()))

    def state(self, name: str) -> RunState:
        return self._ended[name]
