"""The search for better settings: what a space may name, what is proposed, and what outlives a killed process."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.config import load_config
from pipeline.tuning import workers
from pipeline.tuning.defaults import default_space
from pipeline.tuning.report import (
    EXPERIMENT,
    Result,
    figures_of_test,
    trial_line,
    write_experiment,
    write_result,
    write_trials,
)
from pipeline.tuning.space import Range, SearchSpace, Start, check_space, held, read_space
from pipeline.tuning.study import DIVERGED, FINISHED, PRUNED, REFUSED, Study, Trial
from pipeline.tuning.workers import Resources, run_search
from tests.launcher import recspan
from tests.presets import PRESETS_OF_ONE_MODEL
from trainer_module.errors import ConfigError, RecspanError
from trainer_module.memory import GIGABYTE, MemoryBudget

RATE = "training.embedding_optimizer.learning_rate"
SPACE = SearchSpace(parameters={RATE: Range(low=1e-4, high=1e-1, log=True), "embeddings.dim": (8, 16, 32)})


def start(**overrides) -> Start:
    """The synthetic preset with other values; `__` stands for a dot."""
    return Start.read(Path("synthetic"), {key.replace("__", "."): value for key, value in overrides.items()})


def space_file(directory: Path, text: str) -> Path:
    file = directory / "space.yaml"
    file.write_text(text)
    return file


def test_a_space_names_keys_of_the_experiment(tmp_path):
    text = "parameters:\n  training.embedding_optimizer.learning_rate: {low: 1e-4, high: 1e-1, log: true}\n"
    space = read_space(space_file(tmp_path, text + "  embeddings.dim: [8, 16, 32]\n"), start())
    assert space == SPACE


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"training.batchsize": [1, 2]}, "value 1: training.batchsize: unknown key. Did you mean training.batch_size?"),
        ({"trainig.epochs": [1, 2]}, "trainig: unknown key. Did you mean training?"),
        ({"embeddings.dim": [8, "wide"]}, 'embeddings.dim, value "wide": embeddings.dim: expected a whole number'),
        ({"embeddings.dim": {"low": 8, "high": 64}}, "embeddings.dim: expected a whole number"),
        ({"model.dropout": {"low": 0, "high": 2}}, "model.dropout: expected a number below 1"),
        ({"model.dropout": {"low": 0.5, "high": 0.1}}, "low 0.5 is not below high 0.1"),
        ({"model.dropout": {"low": 0, "high": 0.5, "log": True}}, "low 0 has no logarithm"),
        ({"model.dropout": {"low": 0, "high": 0.5, "step": 1}}, "parameters.model.dropout.step: unknown key"),
        ({"embeddings.dim": {"low": 1.5, "high": 8, "whole": True}}, "whole numbers end at whole numbers"),
        ({"embeddings.dim": 8}, "embeddings.dim: expected a list of values, or the keys low and high, got 8"),
        ({"embeddings.dim": [8]}, "expected at least 2 entries, found 1"),
        ({"embeddings.dim": [8, 8]}, "the value 8 stands twice"),
        ({"model": [{"mlp": [8]}, {"mlp": [9]}], "model.mlp": [[8], [9]]}, "model.mlp is part of model"),
        ({"data.split.by": ["random", "user"]}, "trials share the examples that are ingested"),
        ({"evaluation.max_rmse": [0.5, 0.6]}, "tuned are keys of the sections model, embeddings, training"),
        ({"training.seed": [1, 2]}, "the best of several seeds is luck"),
        ({"training.keep": ["best", "last"]}, "must be the same for all"),
        (
            {"embeddings.tables.movie_id.vocabulary": [{"min_frequency": 1}, {"min_frequency": 3}]},
            "what Transform computes",
        ),
        ({}, "expected at least 1 entries, found 0"),
    ],
)
def test_what_cannot_be_tuned_is_refused_when_the_space_is_read(tmp_path, parameters, message):
    file = space_file(tmp_path, yaml.safe_dump({"parameters": parameters}))
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        read_space(file, start())
    assert str(error.value).startswith(f"{file}: ")


def test_goals_are_weighed_alike_in_all_trials():
    given = Start.read(Path("synthetic-goals"), {})
    other = [{"label": "clicked", "loss_weight": 9.0}, {"label": "seconds"}]
    space = SearchSpace(parameters={"model.heads": (given.value("model.heads"), other)})
    with pytest.raises(ConfigError, match=r"parameters.model.heads: .*clicked.* changes the heads"):
        check_space(space, given)
    # What another model calls heads may be tuned.
    mlp = start(model={"type": "final_mlp"})
    check_space(SearchSpace(parameters={"model.heads": (2, 4)}), mlp)


def test_values_that_only_go_together_with_others_are_left_to_the_trials():
    space = SearchSpace(parameters={"model.biases": ("fitted", "learned"), "embeddings.dim": (1, 8)})
    check_space(space, start())


def test_a_training_that_starts_from_other_weights_is_not_tuned():
    with pytest.raises(ConfigError, match=r"training.warm_start: trials start from new weights"):
        start(training__warm_start="last_blessed")


def test_a_key_of_a_default_section_keeps_the_rest_of_that_section():
    given = start()
    assert "embedding_optimizer" not in given.tree.get("training", {})
    tree = given.changed({RATE: 0.5, "model.dropout": 0.1})
    assert tree["training"]["embedding_optimizer"]["name"] == "adam"
    assert tree["training"]["embedding_optimizer"]["learning_rate"] == 0.5
    assert tree["model"] == {**given.tree["model"], "dropout": 0.1}
    assert given.changed({}) == given.tree


@pytest.mark.parametrize("preset", PRESETS_OF_ONE_MODEL)
def test_every_preset_has_a_space_that_it_accepts(preset):
    # No trial starts with the weights of an earlier model.
    given = Start.read(Path(preset), {"training.warm_start": None})
    space = default_space(given)
    check_space(space, given)
    # The search begins with the experiment, which lies in the space as a whole.
    assert dict(held(space, given)).keys() == space.parameters.keys()
    assert {"embeddings.dim", "model.dropout"} <= space.parameters.keys()


def test_the_default_space_follows_schedules_penalties_and_widths():
    scheduled = {"name": "adam", "learning_rate": {"peak": 0.02, "shape": "linear", "floor": 0.01}}
    space = default_space(start(training__embedding_optimizer=scheduled, model__mlp=[8, 4], model__table_l2=0.1))
    assert space.parameters[f"{RATE}.peak"] == Range(low=0.01, high=0.2, log=True)
    assert space.parameters["model.table_l2"] == Range(low=0.01, high=1.0, log=True)
    assert space.parameters["model.mlp"] == ([4, 2], [8, 4], [16, 8])
    assert "model.ignore" not in space.parameters


def loss(values) -> float:
    return abs(values[RATE] - 0.01) + 0.1 / values["embeddings.dim"] if values else 1.0


def make_study(directory: Path, space: SearchSpace = SPACE, seed: int = 7, identity: str = "this") -> Study:
    return Study(directory, space, {RATE: 0.002}, seed, identity)


def tried(study: Study, trials: int) -> list[dict]:
    """Tries so many values, each at once."""
    values = []
    for _ in range(trials):
        proposal = study.propose()
        values.append(dict(proposal.values))
        study.finish(proposal.number, loss(proposal.values), 1.0)
    return values


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> list[dict]:
    return tried(make_study(tmp_path_factory.mktemp("study")), 14)


def test_the_first_trial_is_the_experiment_and_later_ones_lie_in_the_space(uninterrupted):
    first, *others = uninterrupted
    assert first == {}
    for values in others:
        assert 1e-4 <= values[RATE] <= 1e-1 and values["embeddings.dim"] in (8, 16, 32)
        assert values[RATE] == float(f"{values[RATE]:.4g}")
    assert len({json.dumps(values) for values in others}) == len(others)


def test_the_seed_decides_on_the_values(tmp_path, uninterrupted):
    for name, seed, same in (("same", 7, True), ("other", 8, False)):
        (tmp_path / name).mkdir()
        assert (tried(make_study(tmp_path / name, seed=seed), 4) == uninterrupted[:4]) is same


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.pipeline.test_tuning import make_study, tried
study = make_study(Path(sys.argv[1]))
tried(study, 11)
print(dict(study.propose().values), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_search_goes_on_as_if_nothing_had_happened(tmp_path, uninterrupted):
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    study = make_study(tmp_path)
    assert len(study.trials()) == 11
    assert tried(study, 3) == uninterrupted[11:]
    assert process.stdout.strip() == repr(uninterrupted[11])
    # The trial that was killed is no result; opening the study once more repeats nothing.
    assert [trial.outcome for trial in make_study(tmp_path).trials()] == [FINISHED] * 14
    assert make_study(tmp_path).propose().values not in uninterrupted


def test_importances_need_trials_that_finished(tmp_path, uninterrupted):
    study = make_study(tmp_path)
    tried(study, 10)
    # That of the experiment has no width.
    assert study.importances() == {}
    tried(study, 4)
    found = study.importances()
    assert found.keys() == SPACE.parameters.keys()
    assert sum(found.values()) == pytest.approx(1) and min(found.values()) >= 0


def test_trials_of_another_search_are_not_mixed_in(tmp_path):
    make_study(tmp_path)
    with pytest.raises(ConfigError, match=r"study.sqlite: holds trials of another experiment.* --name"):
        make_study(tmp_path, identity="that")


def pruned_at(study: Study, number: int, value: float) -> int | None:
    """Reports the same value five times; returns the evaluation at which the trial was pruned."""
    for evaluation in range(1, 6):
        if study.report(number, evaluation, value):
            study.give_up(number, PRUNED, "worse", 1.0)
            return evaluation
    study.finish(number, value, 1.0)
    return None


def test_a_trial_worse_than_the_median_is_pruned_but_never_the_experiment_itself(tmp_path):
    study = make_study(tmp_path, SPACE.model_copy(update={"prune_from": 3}))
    experiment = study.propose()
    assert [pruned_at(study, study.propose().number, value) for value in (0.4, 0.5, 0.6, 0.7, 0.8)] == [None] * 5
    assert pruned_at(study, study.propose().number, 0.9) == 3
    assert pruned_at(study, study.propose().number, 0.3) is None
    assert pruned_at(study, experiment.number, 9.0) is None
    (pruned,) = [trial for trial in study.trials() if trial.outcome == PRUNED]
    assert (pruned.metric, pruned.evaluations, pruned.reason) == (0.9, 3, "worse")


def test_without_a_pruner_every_trial_comes_to_its_end(tmp_path):
    study = make_study(tmp_path, SPACE.model_copy(update={"pruner": "none"}))
    values = (0.1, 0.5, 0.6, 0.7, 0.8, 99.0)
    assert [pruned_at(study, study.propose().number, value) for value in values] == [None] * 6


TRIALS = (
    Trial(0, {}, True, FINISHED, 0.95, 4, 2.0, ""),
    Trial(1, {RATE: 0.03, "embeddings.dim": 16}, False, FINISHED, 0.91, 4, 3.0, ""),
    Trial(2, {RATE: 0.09, "embeddings.dim": 8}, False, PRUNED, 0.90, 2, 1.0, "stopped at step 20"),
    Trial(3, {RATE: 0.1, "embeddings.dim": 8}, False, DIVERGED, None, 0, 1.0, "the loss\nis not finite"),
    Trial(4, {RATE: 0.1, "embeddings.dim": 32}, False, REFUSED, None, 0, 0.0, "does not fit"),
)


def test_the_best_experiment_runs_as_it_is_written(tmp_path):
    given = start(training__epochs=3)
    result = Result(given, SPACE, TRIALS, "rmse")
    # A pruned trial is not the best one: its training has not come to its end.
    assert result.best == TRIALS[1] and result.unchanged == TRIALS[0]
    write_experiment(result, result.best, tmp_path / EXPERIMENT)
    text = (tmp_path / EXPERIMENT).read_text()
    assert f"# {RATE}: 0.002 -> 0.03" in text
    assert "0.9500 with the experiment as it is, 0.9100 (trial 1) the best of 4 tries" in text
    written = load_config(tmp_path / EXPERIMENT)
    assert (written.training.epochs, written.embeddings.dim) == (3, 16)
    assert written.training.embedding_optimizer.learning_rate == 0.03
    assert written.data == given.config.data and written.model == given.config.model


def test_the_table_and_the_figures_say_what_was_tried(tmp_path):
    result = Result(start(), SPACE, TRIALS, "rmse")
    write_trials(result, tmp_path / "trials.md")
    rows = [line for line in (tmp_path / "trials.md").read_text().splitlines() if line.startswith("|")]
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| 1", "| 0", "| 2", "| 3", "| 4"]
    assert "| 2 | 0.9000 | pruned | 2 | 1.0 | 0.09 | 8 |" in rows
    assert "- trial 3 (diverged): the loss is not finite" in (tmp_path / "trials.md").read_text()
    write_result(result, {"rmse": 0.93}, tmp_path / "result.json")
    figures = json.loads((tmp_path / "result.json").read_text())
    assert (figures["eval_before"], figures["eval_best"], figures["tries"]) == (0.95, 0.91, 4)
    assert figures["test"] == {"rmse": 0.93}
    assert trial_line(TRIALS[2], TRIALS[:3]).startswith(
        "trial 2: 0.9000, best 0.9100, pruned after 2 evaluations, 1.0 s"
    )


@pytest.mark.parametrize(
    ("metric", "overall", "figures"),
    [
        ("rmse", {"rmse": 0.9, "mae": 0.7}, {"rmse": 0.9}),
        ("softmax_loss", {"ndcg_at_10": 0.4, "ndcg_at_20": 0.5}, {"ndcg_at_10": 0.4}),
        ("loss", {"a.log_loss": 0.3, "a.auc": 0.8, "b.rmse": 2.0}, {"a.log_loss": 0.3, "b.rmse": 2.0}),
    ],
    ids=["the same metric", "lists", "heads"],
)
def test_the_figure_of_the_test_split_is_the_tasks(metric, overall, figures):
    summary = {"evaluation": {"slices": [{"slice": "overall"} | overall]}}
    assert figures_of_test(summary, Result(start(), SPACE, TRIALS, metric)) == figures


def test_memory_and_cores_are_divided_among_the_processes():
    budget = MemoryBudget(12 * GIGABYTE)
    assert Resources.of_each(1, budget, cores=8) == Resources(10.0, None)
    assert Resources.of_each(4, budget, cores=8) == Resources(2.5, 2)
    with pytest.raises(ConfigError, match=r"--jobs 5: .* the budget is 12.0. To go on, give at most 4"):
        Resources.of_each(5, budget, cores=8)
    with pytest.raises(ConfigError, match=r"--jobs 1: .* To go on, raise memory_gb"):
        Resources.of_each(1, MemoryBudget(4 * GIGABYTE), cores=8)


# Speaks as a worker does; dies in the job of that name.
WORKER = """
import json, os, sys
def exchange(message):
    print(json.dumps(message), flush=True)
    return json.loads(sys.stdin.readline() or "null")
job = exchange({"kind": "ready"})
while job is not None:
    if job == "dies":
        os.abort()
    goes_on = exchange({"kind": "evaluated", "value": len(job)})
    job = exchange({"kind": "finished" if goes_on else "stopped"})
"""


class Script:
    """Hands out jobs by name and notes what came of them."""

    def __init__(self, jobs: list[str]):
        self.jobs, self.outcomes = list(enumerate(jobs)), {}

    def next_job(self):
        return self.jobs.pop(0) if self.jobs else None

    def evaluated(self, number, message):
        return message["value"] < 10

    def ended(self, number, message):
        self.outcomes[number] = message["kind"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_process_that_dies_fails_its_trial_and_is_replaced(tmp_path, monkeypatch, jobs):
    monkeypatch.setattr(workers, "COMMAND", (sys.executable, "-c", WORKER))
    script = Script(["short", "dies", "a name of some length", "last"])
    run_search(script, jobs, Resources(2.5, 1), tmp_path)
    assert script.outcomes == {0: "finished", 1: "failed", 2: "stopped", 3: "finished"}


def test_processes_that_cannot_start_end_the_search(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "COMMAND", (sys.executable, "-c", "import sys; sys.exit('no such library')"))
    with pytest.raises(RecspanError, match=r"ended with code 1 \(log: .*worker-0.log\) before its first"):
        run_search(Script(["one"]), 1, Resources(2.5, None), tmp_path)
    assert "no such library" in (tmp_path / "worker-0.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "1000"], "--jobs 1000: each process needs at least 2.5 GB"),
        (["--name", "../elsewhere"], "--name ../elsewhere: take up to 200 lower-case letters"),
        (["--set", "training.epoch=1"], "synthetic: training.epoch: unknown key"),
        (["--space", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_mistakes_get_one_message_and_exit_code_1(tmp_path, arguments, message):
    process = recspan("tune", "--config", "synthetic", *arguments, cwd=tmp_path)
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: {message}")
    assert "Traceback" not in process.stderr
