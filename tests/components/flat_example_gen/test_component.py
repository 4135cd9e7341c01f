"""The whole ExampleGen, through its executor, from files to examples."""

import itertools
import json
from pathlib import Path

import pytest
import tensorflow as tf
from pydantic import TypeAdapter
from tfx.types import standard_artifacts, standard_component_specs

from components.example_gen.packed_config import unpack
from components.example_gen.reporting import QUARANTINE_FILE
from components.flat_example_gen.component import FlatExampleGen
from components.flat_example_gen.config import FlatIngestConfig, TableIngestConfig
from components.flat_example_gen.executor import Executor
from trainer_module.errors import DataError

CONFIG = {
    "dataset": "csv",
    "files": "*.csv",
    "label": "clicked",
    "categorical": ["user"],
    "numeric": ["price"],
}


@pytest.fixture
def table(tmp_path) -> Path:
    directory = tmp_path / "table"
    directory.mkdir()
    for part in range(2):
        lines = [f"u{i % 9},{i},{i % 2}\n" for i in range(part, 400, 2)]
        (directory / f"part-{part}.csv").write_text("user,price,clicked\n" + "".join(lines))
    return directory


def ingest(table: Path, to: Path, **changes):
    config = FlatIngestConfig.model_validate(CONFIG | changes)
    component = FlatExampleGen(str(table), config)
    packed = component.exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY]
    assert TypeAdapter(TableIngestConfig).validate_json(unpack(packed)) == config
    artifact = standard_artifacts.Examples()
    artifact.uri = str(to)
    properties = {
        standard_component_specs.CUSTOM_CONFIG_KEY: packed,
        standard_component_specs.INPUT_BASE_KEY: str(table),
    }
    Executor().Do({}, {standard_component_specs.EXAMPLES_KEY: [artifact]}, properties)
    return artifact


def examples(artifact, split: str) -> list[tf.train.Example]:
    files = sorted(str(path) for path in Path(artifact.uri, f"Split-{split}").iterdir())
    return [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(files, "GZIP")]


def price(example: tf.train.Example) -> float:
    (value,) = example.features.feature["price"].float_list.value
    return value


def test_every_row_is_in_one_split(table, tmp_path):
    artifact = ingest(table, tmp_path / "out")
    by_split = {split: [price(e) for e in examples(artifact, split)] for split in ("train", "eval", "test")}
    assert sorted(itertools.chain(*by_split.values())) == list(range(400))
    for split, prices in by_split.items():
        assert artifact.get_int_custom_property(f"rows_{split}") == len(prices) > 0


def test_a_split_by_time_looks_at_all_files(table, tmp_path):
    split = {"by": "time", "column": "price", "test_fraction": 0.25, "eval_fraction": 0.2}
    artifact = ingest(table, tmp_path / "out", split=split)
    assert sorted(map(price, examples(artifact, "test"))) == list(range(300, 400))
    assert sorted(map(price, examples(artifact, "eval"))) == list(range(240, 300))


def test_a_key_keeps_its_rows_together(table, tmp_path):
    artifact = ingest(table, tmp_path / "out", split={"key": "user", "test_fraction": 0.4, "eval_fraction": 0.4})
    users = [
        {e.features.feature["user"].bytes_list.value[0] for e in examples(artifact, split)}
        for split in ("train", "eval", "test")
    ]
    assert sum(map(len, users)) == 9


def test_bad_rows_are_errors_or_set_aside(table, tmp_path):
    with (table / "part-1.csv").open("a") as file:
        file.write("u1,dear,1\n")
    with pytest.raises(DataError, match=r"part-1\.csv, line 202: column 'price': expected a number, found 'dear'"):
        ingest(table, tmp_path / "refused")
    artifact = ingest(table, tmp_path / "out", max_bad_rows=1)
    assert artifact.get_int_custom_property("bad_rows") == 1
    (line,) = Path(artifact.uri, QUARANTINE_FILE).read_text().splitlines()
    assert json.loads(line)["raw"] == "u1,dear,1"


def test_a_missing_column_is_named_with_those_that_are_there(table, tmp_path):
    with pytest.raises(DataError, match=r"part-0\.csv: no column 'cost'; it has 'user', 'price', 'clicked'"):
        ingest(table, tmp_path / "out", numeric=["cost"])


def test_an_empty_split_is_an_error(table, tmp_path):
    with pytest.raises(DataError, match=r"data\.split \(by random\) leaves eval without a row"):
        ingest(table, tmp_path / "out", split={"eval_fraction": 1e-9})
