"""Tunes an experiment: prepares the data once and trains trials until there are enough."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.bench.components import EXAMPLES, TRANSFORM_GRAPH, Outputs, run_until, trainer_arguments
from pipeline.config import Locations, PipelineConfig
from pipeline.console import ComponentProgress
from pipeline.tuning import messages
from pipeline.tuning.report import Result, trial_line
from pipeline.tuning.space import SearchSpace, Start, checked, held
from pipeline.tuning.study import DIVERGED, FAILED, PRUNED, REFUSED, Study
from pipeline.tuning.workers import Resources, run_search
from trainer_module.errors import ConfigError, RecspanError

# So many combinations in a row that the experiment refuses mean that hardly any is possible.
_REFUSED_IN_A_ROW = 200
# More steps than any training takes: a trial that is killed begins anew, so it writes no states.
_NEVER = 2**62

_OUTCOMES = {messages.STOPPED: PRUNED, messages.DIVERGED: DIVERGED, messages.FAILED: FAILED}


@dataclass(frozen=True)
class Order:
    """What is to be searched, and with what.

    Attributes:
        start: The experiment.
        space: What is tuned.
        trials: Number of trials in all, those of earlier calls included.
        jobs: Number of trials that train at the same time.
        resources: Of each of them.
        directory: What is kept of the search lies there.
    """

    start: Start
    space: SearchSpace
    trials: int
    jobs: int
    resources: Resources
    directory: Path


def search(order: Order, locations: Locations, progress: ComponentProgress) -> Result:
    """Trains trials until there are as many as ordered.

    Args:
        order: See there.
        locations: Where the data is read, and where components write what all trials share.
        progress: Shows how far the search is.

    Raises:
        ConfigError: The directory holds trials of another search, or hardly any combination is possible.
        RecspanError: The experiment as it is cannot be trained.
    """
    # Trials share what these components make, whatever the experiment says of its runs.
    config = order.start.config.model_copy(update={"cache": True})
    outputs = run_until(config, locations, "Transform", progress)
    values = dict(held(order.space, order.start))
    study = Study(order.directory, order.space, values, config.training.seed, _identity(order, outputs, locations.root))
    progress.started("trials")
    begun = time.monotonic()
    trials = _Trials(order, outputs, study, progress)
    if trials.wanted():
        run_search(trials, order.jobs, order.resources, order.directory)
    progress.finished("trials", time.monotonic() - begun, cached=False)
    return Result(order.start, order.space, tuple(study.trials()), study.metric, study.importances())


def _identity(order: Order, outputs: Outputs, root: Path) -> str:
    """A hash of all that makes trials comparable: the experiment as the Trainer sees it, the space, the data."""
    parts = [
        order.start.config.without_local_paths().experiment.model_dump_json(),
        order.space.model_dump_json(),
        *(os.path.relpath(outputs.uris[name], root) for name in (EXAMPLES, TRANSFORM_GRAPH)),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass
class _Running:
    """A trial that a worker trains."""

    scratch: Path
    begun: float
    evaluations: int = 0


class _Trials:
    """Makes jobs of a study's proposals and tells it what came of them. Implements `pipeline.tuning.workers.Search`."""

    def __init__(self, order: Order, outputs: Outputs, study: Study, progress: ComponentProgress):
        self._order, self._outputs, self._study, self._progress = order, outputs, study, progress
        self._running: dict[int, _Running] = {}

    def wanted(self) -> bool:
        """Whether trials are missing; combinations that the experiment refused were none."""
        trained = [trial for trial in self._study.trials() if trial.outcome != REFUSED]
        return len(trained) + len(self._running) < self._order.trials

    def next_job(self) -> tuple[int, Mapping[str, Any]] | None:
        if not self.wanted():
            return None
        for _ in range(_REFUSED_IN_A_ROW):
            proposal = self._study.propose()
            try:
                config = checked(self._order.start, proposal.values)
            except ConfigError as error:
                refusal = str(error)
                self._study.give_up(proposal.number, REFUSED, refusal, 0.0)
                continue
            scratch = Path(tempfile.mkdtemp(prefix=f"trial-{proposal.number}-"))
            self._running[proposal.number] = _Running(scratch, time.monotonic())
            return proposal.number, trainer_arguments(_without_states(config), self._outputs, scratch)
        raise ConfigError(
            f"the experiment refused {_REFUSED_IN_A_ROW} combinations of values in a row, the last one because: "
            f"{refusal}. Narrow the search space"
        )

    def evaluated(self, number: int, message: Mapping[str, Any]) -> bool:
        running = self._running[number]
        running.evaluations += 1
        self._study.metric = message["metric"]
        self._progress.progressed(f"trial {number}, step {message['step']}: {message['metric']} {message['value']:.4f}")
        return not self._study.report(number, running.evaluations, message["value"])

    def ended(self, number: int, message: Mapping[str, Any]) -> None:
        running = self._running.pop(number)
        shutil.rmtree(running.scratch)
        seconds = time.monotonic() - running.begun
        if message["kind"] == messages.FINISHED:
            trial = self._study.finish(number, message["value"], seconds)
        else:
            trial = self._study.give_up(number, _OUTCOMES[message["kind"]], message["reason"], seconds)
        self._progress.noted(trial_line(trial, self._study.trials()))
        if trial.is_start and trial.outcome == FAILED:
            raise RecspanError(f"the experiment cannot be trained as it is: {trial.reason}")


def _without_states(config: PipelineConfig) -> PipelineConfig:
    training = config.training.model_copy(update={"checkpoint_every": _NEVER})
    return config.model_copy(update={"training": training})
