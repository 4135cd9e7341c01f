"""The trials of a search: Optuna's study in an SQLite file, which outlives the process."""

import json
import secrets
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.tuning.space import Choices, Range, SearchSpace
from trainer_module.errors import ConfigError

FILE_NAME = "study.sqlite"
_NAME = "tuning"

# Drawn at random before the sampler has results to go by; Optuna's own default.
_RANDOM_TRIALS = 10
# Nothing is pruned before this many trials have come to their end; Optuna's own default.
_UNPRUNED_TRIALS = 5
# Digits of sampled numbers, so that a person can read the experiment file.
_DIGITS = 4

FEWEST_FOR_IMPORTANCES = 10
"""Trials that must have finished for importances of parameters to say something."""

# Attributes of the study and of its trials.
_IDENTITY, _METRIC, _TOKEN = "identity", "metric", "token"
_START_KEYS, _REPLACES, _OUTCOME, _REASON, _SECONDS = "start_keys", "replaces", "outcome", "reason", "seconds"

FINISHED, PRUNED, DIVERGED, FAILED, REFUSED = "finished", "pruned", "diverged", "failed", "refused"


@dataclass(frozen=True)
class Proposal:
    """Values to try.

    Attributes:
        number: Of the trial.
        values: By dotted key; what is not named is as in the experiment that is tuned.
        is_start: Whether this is the experiment that is tuned, unchanged.
    """

    number: int
    values: Mapping[str, Any]
    is_start: bool


@dataclass(frozen=True)
class Trial:
    """A trial that has ended.

    Attributes:
        number: In the order of their beginnings.
        values: By dotted key.
        is_start: Whether it trained the experiment that is tuned, unchanged.
        outcome: `finished`, `pruned`, `diverged`, `failed`, or `refused` by the experiment's own checks.
        metric: Of the kept weights on the eval split; of the best evaluation where it was pruned, None where there was
            none.
        evaluations: How many it came to.
        seconds: How long it took.
        reason: Why it did not finish.
    """

    number: int
    values: Mapping[str, Any]
    is_start: bool
    outcome: str
    metric: float | None
    evaluations: int
    seconds: float
    reason: str


class Study:
    """Proposes values, is told what came of them, and remembers it.

    What is proposed follows from the seed and the trials that have ended, so that a search that was interrupted goes on
    as it would have without the interruption, as long as trials run one at a time.
    """

    def __init__(
        self,
        directory: Path,
        space: SearchSpace,
        start_values: Mapping[str, Any],
        seed: int,
        identity: str,
        outlived: bool = False,
    ):
        """Opens the study, or begins it with the experiment that is tuned.

        Trials that were under way when their process was killed are proposed again, with the same values.

        Args:
            directory: Holds the study's file.
            space: What is sampled.
            start_values: What the experiment has of that, as far as it lies in the space.
            seed: Of the sampler.
            identity: Of everything that makes trials comparable.
            outlived: Whether trials go on when this process is killed; they are then `under_way` rather than proposed
                again.

        Raises:
            ConfigError: The file holds trials of another experiment, data or space.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._seed = space, seed
        self._running: dict[int, optuna.Trial] = {}
        file = directory / FILE_NAME
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=_NAME,
            load_if_exists=True,
            direction="minimize",
            pruner=_make_pruner(space),
        )
        known = self._study.user_attrs.get(_IDENTITY)
        if known not in (None, identity):
            raise ConfigError(
                f"{file}: holds trials of another experiment, other data or another search space, and results are not "
                "comparable. Give the new search a name of its own with --name, or remove the directory"
            )
        if not self._study.trials:
            params = {key: _encoded(space.parameters[key], value) for key, value in start_values.items()}
            self._study.enqueue_trial(params, user_attrs={_START_KEYS: list(params)})
        self._study.set_user_attr(_IDENTITY, identity)
        if _TOKEN not in self._study.user_attrs:
            self._study.set_user_attr(_TOKEN, secrets.token_hex(4))
        if not outlived:
            self._repeat_killed()

    @property
    def metric(self) -> str:
        """Name of the selection metric, once a trial has been evaluated."""
        return self._study.user_attrs.get(_METRIC, "selection metric")

    @metric.setter
    def metric(self, name: str) -> None:
        if self.metric != name:
            self._study.set_user_attr(_METRIC, name)

    @property
    def token(self) -> str:
        """Tells this study apart from all others, also from one that was removed."""
        return self._study.user_attrs[_TOKEN]

    def under_way(self) -> list[Proposal]:
        """Trials that an earlier process began and that have not ended."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self._renew_sampler()
        study = self._storage.get_study_id_from_name(_NAME)
        ids = [self._storage.get_trial_id_from_study_id_trial_number(study, trial.number) for trial in running]
        return [self._proposal(optuna.Trial(self._study, trial)) for trial in ids]

    def propose(self) -> Proposal:
        """Values for the next trial."""
        self._renew_sampler()
        return self._proposal(self._study.ask())

    def _renew_sampler(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # A sampler that is made anew for each trial draws the same whether or not the process has begun anew.
            self._study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=_RANDOM_TRIALS, seed=self._seed_of_next(), constant_liar=True
            )

    def _proposal(self, trial: optuna.Trial) -> Proposal:
        self._running[trial.number] = trial
        is_start = _START_KEYS in trial.user_attrs
        keys = trial.user_attrs[_START_KEYS] if is_start else self._space.parameters
        values = {key: _suggested(trial, key, self._space.parameters[key]) for key in keys}
        return Proposal(trial.number, {} if is_start else values, is_start)

    def report(self, number: int, evaluation: int, value: float) -> bool:
        """Notes an evaluation.

        Args:
            number: Of the trial.
            evaluation: Counted from 1.
            value: Of the selection metric.

        Returns:
            Whether the trial should end here. That with the values of the experiment never should: what was found is
            compared with it.
        """
        trial = self._running[number]
        trial.report(value, evaluation)
        return trial.should_prune() and _START_KEYS not in trial.user_attrs

    def finish(self, number: int, metric: float, seconds: float) -> Trial:
        """Notes that a trial came to its end, with the metric of the weights that it would keep."""
        return self._end(number, FINISHED, "", seconds, metric)

    def give_up(self, number: int, outcome: str, reason: str, seconds: float) -> Trial:
        """Notes that a trial ended early; the sampler keeps away from such values.

        Args:
            number: Of the trial.
            outcome: `pruned`, `diverged`, `failed` or `refused`.
            reason: For people.
            seconds: How long it took.
        """
        return self._end(number, outcome, reason, seconds, None)

    def trials(self) -> list[Trial]:
        """All that have ended, but those that were killed and so repeated."""
        ended = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return [self._trial(each) for each in ended]

    def importances(self) -> dict[str, float]:
        """Shares of the parameters in what makes trials good, by dotted key; empty after few trials.

        PED-ANOVA (Watanabe et al., IJCAI 2023). The trial with the experiment's own values counts if it has one for
        every parameter.
        """
        keys = list(self._space.parameters)
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if sum(set(keys) <= set(trial.params) for trial in complete) < FEWEST_FOR_IMPORTANCES:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            return optuna.importance.get_param_importances(self._study, evaluator=evaluator, params=keys)

    def _end(self, number: int, outcome: str, reason: str, seconds: float, metric: float | None) -> Trial:
        trial = self._running.pop(number)
        for name, value in ((_OUTCOME, outcome), (_REASON, reason), (_SECONDS, seconds)):
            trial.set_user_attr(name, value)
        state = TrialState.PRUNED if metric is None else TrialState.COMPLETE
        return self._trial(self._study.tell(trial, metric, state=state))

    def _trial(self, trial: FrozenTrial) -> Trial:
        is_start = _START_KEYS in trial.user_attrs
        reported = trial.intermediate_values.values()
        outcome = trial.user_attrs[_OUTCOME]
        return Trial(
            number=trial.number,
            values={}
            if is_start
            else {key: _decoded(self._space.parameters[key], v) for key, v in trial.params.items()},
            is_start=is_start,
            outcome=outcome,
            metric=trial.value if outcome == FINISHED else min(reported, default=None),
            evaluations=len(reported),
            seconds=trial.user_attrs[_SECONDS],
            reason=trial.user_attrs[_REASON],
        )

    def _seed_of_next(self) -> int:
        # A trial that was killed has been proposed once more, and counts once.
        started = self._study.get_trials(deepcopy=False)
        drawn = sum(trial.state not in (TrialState.FAIL, TrialState.WAITING) for trial in started)
        return int(np.random.SeedSequence([self._seed, drawn]).generate_state(1)[0])

    def _repeat_killed(self) -> None:
        trials = self._study.get_trials(deepcopy=False)
        repeated = {trial.user_attrs.get(_REPLACES) for trial in trials}
        for trial in trials:
            if trial.state != TrialState.RUNNING:
                continue
            # In this order, no trial is lost if this process is killed in between.
            if trial.number not in repeated:
                attributes = {key: trial.user_attrs[key] for key in (_START_KEYS,) if key in trial.user_attrs}
                self._study.enqueue_trial(trial.params, user_attrs=attributes | {_REPLACES: trial.number})
            self._study.tell(trial.number, state=TrialState.FAIL)


def _make_pruner(space: SearchSpace) -> optuna.pruners.BasePruner:
    if space.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED_TRIALS, n_warmup_steps=space.prune_from)
    return optuna.pruners.HyperbandPruner() if space.pruner == "hyperband" else optuna.pruners.NopPruner()


def _suggested(trial: optuna.Trial, key: str, parameter: Range | Choices) -> Any:
    if not isinstance(parameter, Range):
        value: Any = trial.suggest_categorical(key, [json.dumps(choice) for choice in parameter])
    elif parameter.whole:
        value = trial.suggest_int(key, int(parameter.low), int(parameter.high), log=parameter.log)
    else:
        value = trial.suggest_float(key, parameter.low, parameter.high, log=parameter.log)
    return _decoded(parameter, value)


def _encoded(parameter: Range | Choices, value: Any) -> Any:
    """A value as Optuna takes it: it knows no lists and sections."""
    return value if isinstance(parameter, Range) else json.dumps(value)


def _decoded(parameter: Range | Choices, value: Any) -> Any:
    if not isinstance(parameter, Range):
        return json.loads(value)
    if parameter.whole:
        return value
    return min(max(float(f"{value:.{_DIGITS}g}"), parameter.low), parameter.high)
