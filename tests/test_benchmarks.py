"""The benchmarks' commands and workloads still fit the product; what they measure is no matter of tests."""

from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.click_model import build, feature_spec, training_config
from benchmarks.workload import Workload, criteo_rows

BENCHMARKS = sorted(
    path.stem for path in (Path(__file__).parent.parent / "benchmarks").glob("*.py") if "typer.run(" in path.read_text()
)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_can_be_imported(name):
    assert import_module(f"benchmarks.{name}").main.__doc__


def test_the_workload_of_training_is_one_of_the_product_s(tmp_path):
    workload = Workload(str(tmp_path), criteo_rows(1e-4))
    assert len(feature_spec(workload).tables) == len(workload.rows)
    _, model, optimizer = build(workload, training_config(workload, 32))
    assert set(optimizer.of_table) == set(model.embedding.trainable_tables)
