"""What a search found: lines for the terminal, a table, figures for programs, and the best experiment as a file."""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline.tuning.space import SearchSpace, Start, shown
from pipeline.tuning.study import FINISHED, REFUSED, Trial

EXPERIMENT, TRIALS, RESULT, PAGE = "best.yaml", "trials.md", "result.json", "report.html"


@dataclass(frozen=True)
class Result:
    """Trials of one search.

    Attributes:
        start: The experiment that was tuned.
        space: What was tuned.
        trials: All that have ended.
        metric: Name of the metric that they are judged by, on the eval split; the lower the better.
        importances: Shares of the parameters in what makes trials good, by dotted key; empty after few trials.
    """

    start: Start
    space: SearchSpace
    trials: tuple[Trial, ...]
    metric: str
    importances: Mapping[str, float] = field(default_factory=dict)

    @property
    def tried(self) -> tuple[Trial, ...]:
        """Those that began to train."""
        return tuple(trial for trial in self.trials if trial.outcome != REFUSED)

    @property
    def best(self) -> Trial | None:
        """The best one that finished; the earliest of equals."""
        return min(_finished(self.trials), key=lambda trial: (trial.metric, trial.number), default=None)

    @property
    def unchanged(self) -> Trial | None:
        """That with the values of the experiment; None if it did not finish."""
        return next((trial for trial in _finished(self.trials) if trial.is_start), None)

    @property
    def ranked(self) -> list[Trial]:
        """The best first; then those that did not finish."""
        return sorted(
            self.trials,
            key=lambda trial: (trial.outcome != FINISHED, trial.metric is None, trial.metric or 0.0, trial.number),
        )

    def summary(self) -> str:
        """The figures of the eval split, and how many tries the best one took."""
        best, unchanged = self.best, self.unchanged
        outcomes = Counter(trial.outcome for trial in self.trials)
        counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        before = f"{unchanged.metric:.4f}" if unchanged else "none (it did not finish)"
        after = f"{best.metric:.4f} (trial {best.number})" if best else "none (no trial finished)"
        return (
            f"eval {self.metric}: {before} with the experiment as it is, {after} the best of {len(self.tried)} tries "
            f"({counted})"
        )


def trial_line(trial: Trial, trials: Sequence[Trial]) -> str:
    """A trial that has ended, and the best so far."""
    metric = "-" if trial.metric is None else f"{trial.metric:.4f}"
    values = "as it is" if trial.is_start else " ".join(f"{key}={shown(value)}" for key, value in trial.values.items())
    best = min((each.metric for each in _finished(trials) if each.metric is not None), default=None)
    so_far = "" if best is None else f", best {best:.4f}"
    how = trial.outcome if trial.outcome == FINISHED else f"{trial.outcome} after {trial.evaluations} evaluations"
    return f"trial {trial.number}: {metric}{so_far}, {how}, {trial.seconds:.1f} s: {values}"


def write_experiment(result: Result, best: Trial, file: Path) -> None:
    """Writes the best experiment as `recspan pipeline run --config` takes it."""
    write_text(file, experiment_text(result, best))


def experiment_text(result: Result, best: Trial) -> str:
    """The best experiment in YAML, with what changed in comments."""
    lines = [f"# {result.summary()}.", *_changes(result, best)]
    tree = result.start.changed(best.values)
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    return "\n".join([*lines, text])


def write_trials(result: Result, file: Path) -> None:
    """Writes all trials, the best first, as Markdown."""
    keys = list(result.space.parameters)
    header = ["trial", f"eval {result.metric}", "outcome", "evaluations", "seconds", *keys]
    ranked = result.ranked
    rows = [_row(trial, keys, result.start) for trial in ranked]
    table = [header, ["---"] * len(header), *rows]
    reasons = [
        f"- trial {trial.number} ({trial.outcome}): {' '.join(trial.reason.split())}"
        for trial in ranked
        if trial.reason
    ]
    lines = [
        f"# Search for {result.start.config.pipeline_name}",
        "",
        f"{result.summary()}. The best of many tries on the eval split looks better there than it is; the test split "
        "says how good it is.",
        "",
        *("| " + " | ".join(cells) + " |" for cells in table),
        *(["", "## Trials that did not finish", "", *reasons] if reasons else []),
        "",
    ]
    write_text(file, "\n".join(lines))


def write_result(result: Result, test: Mapping[str, float | None] | None, file: Path) -> None:
    """Writes the figures for programs.

    Args:
        result: Of the search.
        test: Metrics on the test split, by name; None if it was not read.
        file: JSON.
    """
    best, unchanged = result.best, result.unchanged
    content = {
        "metric": result.metric,
        "eval_before": unchanged and unchanged.metric,
        "eval_best": best and best.metric,
        "best_trial": best and best.number,
        "best_values": best and best.values,
        "tries": len(result.tried),
        "outcomes": Counter(trial.outcome for trial in result.trials),
        "trial_seconds": sum(trial.seconds for trial in result.trials),
        "test": test,
    }
    write_text(file, json.dumps(content, indent=2) + "\n")


def figures_of_test(summary: Mapping[str, Any], result: Result) -> dict[str, float | None]:
    """The metrics of a run's summary that stand for the search's: the same, nDCG where items are retrieved, or those of
    each head for a model of several goals.

    Args:
        summary: Of the run; a metric of a head has the head's label before its name.
        result: Of the search.
    """
    overall = summary["evaluation"]["slices"][0]
    cutoff = result.start.config.evaluation.list_lengths[0]
    for name in (result.metric, f"ndcg_at_{cutoff}"):
        if name in overall:
            return {name: overall[name]}
    return {name: value for name, value in overall.items() if name.rpartition(".")[2] in ("rmse", "log_loss")}


def _finished(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.outcome == FINISHED]


def _changes(result: Result, best: Trial) -> list[str]:
    if not best.values:
        return ["# No try was better than the experiment as it is."]
    return [f"# {key}: {shown(result.start.value(key))} -> {shown(value)}" for key, value in best.values.items()]


def _row(trial: Trial, keys: Sequence[str], start: Start) -> list[str]:
    values = {key: start.value(key) for key in keys} if trial.is_start else trial.values
    metric = "" if trial.metric is None else f"{trial.metric:.4f}"
    outcome = f"{trial.outcome} (as it is)" if trial.is_start else trial.outcome
    cells = [shown(values[key]) if key in values else "" for key in keys]
    return [str(trial.number), metric, outcome, str(trial.evaluations), f"{trial.seconds:.1f}", *cells]


def write_text(file: Path, text: str) -> None:
    """Writes a file that appears complete or not at all."""
    handle, name = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(name, 0o644)
    os.replace(name, file)
