"""Measurements on the user's own data: their arithmetic, and how the commands refuse."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from pipeline.bench import serve
from pipeline.bench.components import Outputs, needed_for
from pipeline.bench.data import rows
from pipeline.bench.tables import print_rows, shown
from pipeline.bench.train import Speed
from pipeline.config import Locations, load_config
from pipeline.local.outcome import ComponentRun
from pipeline.platforms import local_platform
from pipeline.wiring import create_pipeline
from tests.launcher import recspan
from trainer_module.errors import ConfigError, ModelError

ROWS = [
    {"name": "one", "calls_per_second": 1234.5, "peak_gb": None},
    {"name": "two", "calls_per_second": 0.1234, "peak_gb": 3},
]


def printed(as_json: bool) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_rows(console, ROWS, {"rows_in_all": 7000}, as_json)
    return console.file.getvalue()


def test_a_table_shows_numbers_as_a_person_reads_them():
    text = printed(as_json=False)
    for cell in ("calls/s", "peak gb", "1,234", "0.123", " - ", "rows in all: 7,000"):
        assert cell in text
    assert shown(99.94) == "99.9"


def test_json_holds_the_numbers_as_they_are():
    assert json.loads(printed(as_json=True)) == {"rows_in_all": 7000, "measurements": ROWS}


def test_rates_of_components_are_those_of_all_rows():
    runs = (
        ComponentRun("CuratedSchema", 1.0, False, 1, 10**9, 0.0),
        ComponentRun("ExampleGen", 4.0, False, 2, 2 * 10**9, 1.0),
    )
    schema, examples, whole = rows(Outputs(runs, {}, 1000))
    assert schema == {"component": "CuratedSchema", "seconds": 1.0, "rows_per_second": None, "peak_memory_gb": 1.0}
    assert examples["rows_per_second"] == 250.0
    assert whole == {"component": "all", "seconds": 5.0, "rows_per_second": 200.0, "peak_memory_gb": 2.0}


@pytest.mark.parametrize(("whole", "percent"), [(75.0, 25.0), (100.0, 0.0), (120.0, 0.0)])
def test_the_input_costs_what_the_step_alone_would_not_take(whole, percent):
    speed = Speed(batch_size=10, first_batch_seconds=1.0, whole=whole, step=100.0)
    assert speed.input_percent == pytest.approx(percent)
    assert speed.row()["input_percent"] == speed.input_percent


def test_a_component_runs_with_all_that_it_needs_and_nothing_else(tmp_path):
    config = load_config(overrides={"data.dataset": "synthetic"})
    locations = Locations.resolve(config, tmp_path)
    whole = create_pipeline(config, local_platform(locations, config.pipeline_name, config.beam))
    ids = [component.id for component in needed_for("Transform", whole)]
    assert sorted(ids) == ["CuratedSchema", "ExampleGen", "ExampleValidator", "StatisticsGen", "Transform"]
    assert [component.id for component in needed_for("ExampleGen", whole)] == ["ExampleGen"]
    with pytest.raises(ConfigError, match=r"--until Transfrom: no such component; known: .*Transform"):
        needed_for("Transfrom", whole)


class _Model(tf.Module):
    def __init__(self):
        super().__init__()
        self.seen = tf.Variable(0, dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def by_example(self, examples):
        return {"answer": tf.strings.length(examples)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="user"),
            tf.TensorSpec([None, None], tf.int64, name="ids"),
        ]
    )
    def by_column(self, user, ids):
        return {"answer": tf.strings.length(user), "sums": tf.reduce_sum(ids, axis=1)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="user"),
            tf.TensorSpec([None, None], tf.string, name="exclude"),
            tf.TensorSpec([], tf.int32, name="k"),
        ]
    )
    def best(self, user, exclude, k):
        tf.debugging.assert_equal(k, 10)
        tf.debugging.assert_equal(tf.shape(exclude)[0], tf.shape(user)[0])
        return {"answer": tf.strings.length(user) + k}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def evaluate(self, examples):
        return {"answer": examples}


def test_every_signature_that_clients_call_is_measured(tmp_path):
    model = _Model()
    signatures = {
        "serving_default": model.by_example,
        "predict": model.by_column,
        "recommend": model.best,
        "evaluate": model.evaluate,
    }
    tf.saved_model.save(model, str(tmp_path), signatures=signatures)
    example = tf.train.Example()
    example.features.feature["user"].bytes_list.value.append(b"someone")
    example.features.feature["ids"].int64_list.value.extend([1, 2])
    measured = list(serve.measure(tmp_path, [example.SerializeToString()], [1, 5], seconds=0.01))
    assert [(row["signature"], row["batch_size"]) for row in measured] == [
        ("predict", 1),
        ("predict", 5),
        ("recommend", 1),
        ("recommend", 5),
        ("serving_default", 1),
        ("serving_default", 5),
    ]
    for row in measured:
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["examples_per_second"] == pytest.approx(row["requests_per_second"] * row["batch_size"])


def test_percentiles_and_rates_follow_from_latencies():
    row = serve._row("predict", 4, np.array([0.001] * 98 + [0.011] * 2))
    assert row["p50_ms"] == pytest.approx(1.0)
    assert row["p99_ms"] == pytest.approx(11.0)
    assert row["requests_per_second"] == pytest.approx(100 / 0.12)
    assert row["examples_per_second"] == pytest.approx(400 / 0.12)


def test_one_core_is_used_and_all_are_given_back():
    before = os.sched_getaffinity(0)
    with serve.one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_without_a_pushed_model_there_is_nothing_to_serve(tmp_path):
    with pytest.raises(ModelError, match="no pushed model in"):
        serve.pushed(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve"], "no pushed model in "),
        (["data", "--memory-gb", "0"], "memory_gb: expected a number of at least 2.5"),
        (["data", "--memory-gb", "1e6"], "memory_gb: 1e+06 GB is more than"),
        (["data", "--set", "data.dataset=synthetic", "--until", "Nothing"], "--until Nothing: no such component"),
        (["train", "--set", "training.epoch=1"], "training.epoch: unknown key"),
    ],
)
def test_mistakes_get_one_message_and_exit_code_1(tmp_path, arguments, message):
    process = recspan("bench", *arguments, cwd=tmp_path)
    assert process.returncode == 1
    assert f"error: {message}" in process.stderr
    assert "Traceback" not in process.stderr
    assert not process.stdout
    assert not list(Path(tmp_path).glob("recspan-bench-*"))
