"""Searches with trials that are runs of the compiled pipeline, up to the Trainer."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from pipeline.config import PipelineConfig
from pipeline.observer import Observer
from pipeline.tuning.cloud_runs import Runs, RunState
from pipeline.tuning.report import Result, trial_line
from pipeline.tuning.space import SearchSpace, Start, checked, held
from pipeline.tuning.study import DIVERGED, FAILED, REFUSED, Proposal, Study, Trial
from pipeline.vertex.compile import compile_job
from trainer_module.errors import ConfigError, RecspanError
from trainer_module.run_fn import TRAINING_REPORT

# So many combinations in a row that the experiment refuses mean that hardly any is possible.
_REFUSED_IN_A_ROW = 200


@dataclass(frozen=True)
class CloudOrder:
    """What is to be searched.

    Attributes:
        start: The experiment; its section `vertex` says where trials run.
        space: What is tuned. Nothing is pruned: a run shows its metric when it has ended.
        trials: Number of trials in all, those of earlier calls included.
        jobs: Number of runs at the same time.
        directory: The study lies there.
    """

    start: Start
    space: SearchSpace
    trials: int
    jobs: int
    directory: Path


def search_in_cloud(
    order: CloudOrder,
    runs: Runs,
    observer: Observer,
    noted: Callable[[str], None],
    wait: Callable[[], None],
) -> Result:
    """Submits trials until there are as many as ordered, and reads what came of them.

    A search that was interrupted goes on with the runs that it had started: their names follow from the study.

    Args:
        order: See there.
        runs: Starts the runs.
        observer: Is told of the search's begin and end.
        noted: Takes a line for each trial that has begun or ended.
        wait: Called between two looks at the runs.

    Raises:
        ConfigError: The directory holds trials of another search, the experiment cannot run on Vertex AI, or hardly any
            combination is possible.
        RecspanError: The experiment as it is cannot be trained, or the service did not answer.
    """
    values = dict(held(order.space, order.start))
    seed = order.start.config.training.seed
    study = Study(order.directory, order.space, values, seed, _identity(order), outlived=True)
    observer.started("trials")
    begun = time.monotonic()
    _Search(order, study, runs, noted).run(wait)
    observer.finished("trials", time.monotonic() - begun, cached=False)
    return Result(order.start, order.space, tuple(study.trials()), study.metric, study.importances())


def _identity(order: CloudOrder) -> str:
    """A hash of all that makes trials comparable: the experiment with its data and place, and the space."""
    parts = [order.start.config.model_dump_json(), order.space.model_dump_json()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class _Search:
    def __init__(self, order: CloudOrder, study: Study, runs: Runs, noted: Callable[[str], None]):
        self._order, self._study, self._runs, self._noted = order, study, runs, noted
        self._running: dict[int, Proposal] = {}

    def run(self, wait: Callable[[], None]) -> None:
        for proposal in self._study.under_way():
            # Also a run that this process did not live to start.
            self._begin(proposal, checked(self._order.start, proposal.values))
        while self._fill() or self._running:
            ended = [self._look(proposal) for proposal in list(self._running.values())]
            if not any(ended):
                wait()

    def _fill(self) -> bool:
        """Starts trials while there is room; returns whether any was started."""
        started = False
        while len(self._running) < self._order.jobs and self._wanted():
            self._begin(*self._next())
            started = True
        return started

    def _wanted(self) -> bool:
        tried = [trial for trial in self._study.trials() if trial.outcome != REFUSED]
        return len(tried) + len(self._running) < self._order.trials

    def _next(self) -> tuple[Proposal, PipelineConfig]:
        refusal = ""
        for _ in range(_REFUSED_IN_A_ROW):
            proposal = self._study.propose()
            try:
                return proposal, checked(self._order.start, proposal.values)
            except ConfigError as error:
                refusal = str(error)
                self._study.give_up(proposal.number, REFUSED, refusal, 0.0)
        raise ConfigError(
            f"the experiment refused {_REFUSED_IN_A_ROW} combinations of values in a row, the last one because: "
            f"{refusal}. Narrow the search space"
        )

    def _begin(self, proposal: Proposal, config: PipelineConfig) -> None:
        name = self._name(proposal.number)
        self._noted(f"trial {proposal.number}: run {name}")
        # Trials share what comes before the Trainer, whatever the experiment says of its runs.
        self._runs.ensure(name, compile_job(config.model_copy(update={"cache": True}), only_training=True))
        self._running[proposal.number] = proposal

    def _look(self, proposal: Proposal) -> bool:
        """Notes the end of a trial; returns whether it has ended."""
        state = self._runs.state(self._name(proposal.number))
        if not (state.model or state.failure):
            return False
        del self._running[proposal.number]
        trial = self._ended(proposal, state)
        self._noted(trial_line(trial, self._study.trials()))
        if trial.is_start and trial.outcome == FAILED:
            raise RecspanError(f"the experiment cannot be trained as it is: {trial.reason}")
        return True

    def _ended(self, proposal: Proposal, state: RunState) -> Trial:
        if state.failure:
            return self._study.give_up(proposal.number, FAILED, state.failure, state.seconds)
        with tf.io.gfile.GFile(os.path.join(state.model, TRAINING_REPORT)) as file:
            report = json.load(file)
        self._study.metric = report["selection_metric"]
        metric = float(report["metrics"][self._study.metric])
        if not math.isfinite(metric):
            reason = f"{self._study.metric} is not finite"
            return self._study.give_up(proposal.number, DIVERGED, reason, state.seconds)
        return self._study.finish(proposal.number, metric, state.seconds)

    def _name(self, number: int) -> str:
        return f"{self._order.start.config.pipeline_name}-tune-{self._study.token}-{number}"
