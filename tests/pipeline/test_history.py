"""Runs as they are found on disk, listed and compared."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from components.evaluation.row_files import row_schema
from pipeline.history.comparison import compare
from pipeline.history.printing import began, print_comparison, print_run, print_runs, sentence
from pipeline.history.records import Execution, Run, choose, find_runs
from trainer_module.errors import ConfigError

FIRST, SECOND = "20261129T120000.000001", "20261130T120000.000001"


def summary(rmse: float, dim: int = 8, push: bool = True, train: int = 80) -> dict:
    return {
        "config": {
            "data": {"dataset": "synthetic"},
            "model": {"type": "rating"},
            "embeddings": {"dim": dim},
            "evaluation": {"cutoffs": [10]},
        },
        "blessing": {"push": push, "reason": "because"},
        "evaluation": {
            "slices": [{"slice": "overall", "rmse": rmse, "example_count": 4.0}],
            "baselines": [],
            "failures": [],
        },
        "training": {"vocabularies": "0123456789abcdef"},
        "examples": {"rows": {"train": train, "test": 4}, "bad_rows": 0},
        "data_dir": "data",
        "components": [{"component": "Trainer", "seconds": 2.5, "cached": False}],
        "log": "log.txt",
    }


def write_rows(evaluation: Path, errors, keys) -> None:
    (evaluation / "rows").mkdir(parents=True)
    schema = row_schema("rating", ("user", "item"), ())
    values = {"row": keys, "loss": np.square(np.asarray(errors, float))}
    arrays = [pa.array(values.get(field.name, [None] * len(keys)), field.type) for field in schema]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), evaluation / "rows" / "rows.parquet")


def run(tmp_path: Path, name: str, result: dict | None, errors=(1, 2, 3, 4), keys=(1, 2, 3, 4)) -> Run:
    write_rows(tmp_path / name, errors, list(keys))
    evaluator = Execution("Evaluator", "complete", 1.0, {"evaluation": str(tmp_path / name)})
    return Run(name, tmp_path, result, "small", (evaluator,))


def text(show, *arguments) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        show(*arguments, console)
    return captured.get()


def test_runs_are_found_in_the_order_in_which_they_began(tmp_path):
    for name, result in ((SECOND, None), (FIRST, summary(0.9))):
        (tmp_path / "runs" / name).mkdir(parents=True)
        if result:
            (tmp_path / "runs" / name / "summary.json").write_text(json.dumps(result))
    first, second = find_runs(tmp_path)
    assert (first.id, first.dataset, first.model, first.verdict, first.seconds) == (
        FIRST, "synthetic", "rating", "pushed", 2.5,
    )  # fmt: skip
    assert (second.id, second.verdict, second.metrics) == (SECOND, "not finished", {})
    listed = text(print_runs, [first, second])
    assert "rmse 0.9000" in listed and "not finished" in listed and "2026-11-29 12:00" in listed


def test_no_runs_are_no_error(tmp_path):
    assert find_runs(tmp_path) == []
    assert "no runs yet" in text(print_runs, [])


def test_a_run_is_named_by_any_part_that_no_other_has(tmp_path):
    runs = [Run(FIRST, tmp_path, None), Run(SECOND, tmp_path, None)]
    assert choose(runs, "1129").id == FIRST
    assert choose(runs, "last").id == SECOND
    with pytest.raises(ConfigError, match=f"2026: several runs .* as of {FIRST}, {SECOND}"):
        choose(runs, "2026")
    with pytest.raises(ConfigError, match="x: no run has this in its name"):
        choose(runs, "x")
    with pytest.raises(ConfigError, match="there are no runs yet"):
        choose([], "last")


def test_a_failed_run_names_the_component(tmp_path):
    failed = Run(FIRST, tmp_path, None, "small", (Execution("Transform", "failed", 3.0, {}),))
    assert failed.verdict == "failed in Transform"
    assert "Transform" in text(print_run, failed)
    with pytest.raises(ConfigError, match=f"run {FIRST}: failed in Transform"):
        compare([failed, failed])


def test_a_stopped_run_is_listed_shown_and_compared(tmp_path):
    directory = tmp_path / "runs" / SECOND
    directory.mkdir(parents=True)
    (directory / "report.html").write_text("page")
    facts = {
        "verdict": "stopped by drift",
        "component": "DriftGate",
        "message": "span 4 differs\ncountry  l_infinity",
        "refused_data": True,
        "config": summary(0.9, dim=16)["config"],
        "examples": {"rows": {"train": 90, "test": 4}, "bad_rows": 0},
        "data_dir": "data",
        "components": [{"component": "DriftGate", "seconds": 1.5, "cached": False, "stopped": True}],
    }
    (directory / "stopped.json").write_text(json.dumps(facts))
    (stopped,) = find_runs(tmp_path)
    assert (stopped.dataset, stopped.model, stopped.verdict, stopped.reason) == (
        "synthetic", "rating", "stopped by drift", "span 4 differs",
    )  # fmt: skip
    assert (stopped.seconds, stopped.metrics) == (1.5, {})
    assert "stopped by drift" in text(print_runs, [stopped])
    shown = text(print_run, stopped)
    assert "country  l_infinity" in shown and str(directory / "report.html") in shown.replace("\n", "")
    comparison = compare([run(tmp_path, FIRST, summary(0.9)), stopped])
    assert [(row.name, row.values) for row in comparison.config] == [("embeddings.dim", (8, 16))]
    assert ("rows of train", (80, 90)) in [(row.name, row.values) for row in comparison.data]
    assert [row.values for row in comparison.metrics if row.name == "rmse"] == [(0.9, None)]
    printed = text(print_comparison, comparison)
    assert f"run {SECOND} judged no model: stopped by drift" in printed
    assert f"report of {SECOND}: {directory / 'report.html'}" in printed.replace("\n", "")


def test_what_differs_is_shown_and_nothing_else(tmp_path):
    result = compare([run(tmp_path, FIRST, summary(0.9)), run(tmp_path, SECOND, summary(0.8, dim=16, train=90))])
    assert [(row.name, row.values) for row in result.config] == [("embeddings.dim", (8, 16))]
    assert [(row.name, row.values) for row in result.data] == [("rows of train", (80, 90))]
    assert [row.values for row in result.metrics if row.name == "rmse"] == [(0.9, 0.8)]
    shown = text(print_comparison, result)
    assert "embeddings.dim" in shown and "data.dataset" not in shown


def test_small_settings_and_long_times_are_told_apart(tmp_path):
    slow, fast = summary(0.9), summary(0.9)
    slow["config"]["training"], fast["config"]["training"] = {"learning_rate": 1e-5}, {"learning_rate": 2.5e-5}
    slow["components"][0]["seconds"] = 41.67
    shown = text(print_comparison, compare([run(tmp_path, FIRST, slow), run(tmp_path, SECOND, fast)]))
    (rates,) = [line for line in shown.splitlines() if "learning_rate" in line]
    assert "1e-05" in rates and "2.5e-05" in rates
    (seconds,) = [line for line in shown.splitlines() if "seconds" in line]
    assert "41.7 " in seconds and "2.5000" in seconds


def test_an_interval_comes_from_the_rows_of_both(tmp_path):
    first = run(tmp_path, FIRST, summary(0.9), errors=(2, 3, 4, 5))
    second = run(tmp_path, SECOND, summary(0.8), errors=(1, 2, 3, 4))
    (significance,) = compare([first, second]).significance
    mae = {each.metric: each for each in significance.differences}["mae"]
    assert (mae.difference, mae.low, mae.high, mae.verdict) == (-1, -1, -1, "better")
    assert any("4 test rows): better" in line for line in sentence(significance, first))


def test_other_test_rows_have_no_interval_and_a_reason(tmp_path):
    first = run(tmp_path, FIRST, summary(0.9))
    (significance,) = compare([first, run(tmp_path, SECOND, summary(0.8), keys=(1, 2, 3, 9))]).significance
    assert not significance.differences
    assert f"no interval for {SECOND} beside {FIRST}: the test rows differ" in sentence(significance, first)[0]


def test_models_of_several_goals_are_compared_by_head(tmp_path):
    heads = {"clicked": "click", "dwell": "rating"}
    runs = []
    for name, loss in ((FIRST, 4.0), (SECOND, 1.0)):
        schema = row_schema("click", ("user", "item"), (), "clicked", heads)
        values = {"row": [1, 2], "head.clicked.loss": [0.5, 0.5], "head.dwell.loss": [loss, None]}
        arrays = [pa.array(values.get(field.name, [None] * 2), field.type) for field in schema]
        (tmp_path / name / "rows").mkdir(parents=True)
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), tmp_path / name / "rows" / "rows.parquet")
        evaluator = Execution("Evaluator", "complete", 1.0, {"evaluation": str(tmp_path / name)})
        runs.append(Run(name, tmp_path, summary(0.9), "small", (evaluator,)))
    (significance,) = compare(runs).significance
    assert [(each.metric, each.difference, each.units) for each in significance.differences] == [
        ("clicked.log_loss", 0, 2), ("dwell.rmse", -1, 1), ("dwell.mae", -1, 1),
    ]  # fmt: skip
    assert any("dwell.rmse" in line and "1 test rows): better" in line for line in sentence(significance, runs[0]))


def test_a_name_that_is_no_time_has_no_beginning(tmp_path):
    assert began(Run("mine", tmp_path, None)) == ""
