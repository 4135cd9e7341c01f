"""The whole ExampleGen, through its executor, from files to examples."""

import itertools
import json
from datetime import date
from pathlib import Path

import pytest
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts, standard_component_specs

from components.example_gen.component import TablesExampleGen
from components.example_gen.config import DataConfig
from components.example_gen.executor import LAST_SPAN, NEWEST_SPAN, WINDOW, Executor
from components.example_gen.output.reporting import QUARANTINE_FILE
from components.example_gen.packed_config import unpack
from components.pusher.summary import ingest_summary
from tests.examples_on_disk import read_split
from trainer_module.errors import ConfigError, DataError

INTERACTIONS = {"files": "*.csv", "label": "clicked", "categorical": ["user"], "numeric": ["price"]}


@pytest.fixture
def table(tmp_path) -> Path:
    directory = tmp_path / "table"
    directory.mkdir()
    for part in range(2):
        lines = [f"u{i % 9},{i},{i % 2}\n" for i in range(part, 400, 2)]
        (directory / f"part-{part}.csv").write_text("user,price,clicked\n" + "".join(lines))
    return directory


def ingest(table: Path, to: Path, interactions: dict | None = None, **changes):
    described = INTERACTIONS | (interactions or {})
    described["files"] = str(table / described["files"])
    config = DataConfig.model_validate({"interactions": described, "task": "click"} | changes)
    component = TablesExampleGen(str(table), config.portable())
    packed = component.exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY]
    assert DataConfig.model_validate_json(unpack(packed)) == config.portable()
    artifact = standard_artifacts.Examples()
    artifact.uri = str(to)
    Executor().Do({}, {standard_component_specs.EXAMPLES_KEY: [artifact]}, component.exec_properties)
    return artifact


def add_day(table: Path, name: str, first_price: int) -> None:
    (table / name).parent.mkdir(parents=True, exist_ok=True)
    rows = [f"u{i % 9},{i},{i % 2}\n" for i in range(first_price, first_price + 100)]
    (table / name).write_text("user,price,clicked\n" + "".join(rows))


def hundreds(artifact) -> list[int]:
    """Which of the days made by `add_day` the examples are from."""
    read = [price(example) for split in ("train", "eval", "test") for example in examples(artifact, split)]
    days = [first for first in range(0, 1000, 100) if first in read]
    assert sorted(read) == [value for first in days for value in range(first, first + 100)]
    return [first // 100 for first in days]


def examples(artifact, split: str) -> list[dict[str, list]]:
    return read_split(Path(artifact.uri, f"Split-{split}"))


def price(example: dict[str, list]) -> float:
    (value,) = example["price"]
    return value


def test_every_row_is_in_one_split(table, tmp_path):
    artifact = ingest(table, tmp_path / "out")
    by_split = {split: [price(e) for e in examples(artifact, split)] for split in ("train", "eval", "test")}
    assert sorted(itertools.chain(*by_split.values())) == list(range(400))
    for split, prices in by_split.items():
        assert artifact.get_int_custom_property(f"rows_{split}") == len(prices) > 0


def test_a_split_by_time_looks_at_all_files(table, tmp_path):
    split = {"by": "time", "test_fraction": 0.25, "eval_fraction": 0.2}
    artifact = ingest(table, tmp_path / "out", {"time": {"name": "price", "unit": "s", "feature": "when"}}, split=split)
    assert sorted(map(price, examples(artifact, "test"))) == list(range(300, 400))
    assert sorted(map(price, examples(artifact, "eval"))) == list(range(240, 300))


def test_a_key_keeps_its_rows_together(table, tmp_path):
    artifact = ingest(table, tmp_path / "out", split={"key": "user", "test_fraction": 0.4, "eval_fraction": 0.4})
    users = [{e["user"][0] for e in examples(artifact, split)} for split in ("train", "eval", "test")]
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
    with pytest.raises(DataError, match=r"part-0\.csv: no column 'cost'.* It has 'user', 'price', 'clicked'"):
        ingest(table, tmp_path / "out", {"numeric": ["cost"]})


def test_an_empty_split_is_an_error(table, tmp_path):
    with pytest.raises(DataError, match=r"data\.split \(by random\) leaves eval without a row"):
        ingest(table, tmp_path / "out", split={"eval_fraction": 1e-9})


def test_the_latest_spans_are_read_in_their_newest_versions(tmp_path):
    table = tmp_path / "table"
    for number, name in enumerate(["day-8/v1/a.csv", "day-9/v2/a.csv", "day-9/v10/a.csv", "day-10/v3/a.csv"]):
        add_day(table, name, number * 100)
    files = {"files": "day-{SPAN}/v{VERSION}/*.csv"}
    artifact = ingest(table, tmp_path / "two", files, window=2)
    assert hundreds(artifact) == [2, 3]
    assert artifact.get_string_custom_property("spans") == "9-10"
    assert (artifact.span, artifact.version) == (10, 3)
    assert artifact.get_int_custom_property("span") == 10
    assert artifact.get_int_custom_property("version") == 3
    assert ingest_summary(artifact)["spans"] == "9-10"
    assert ingest_summary(artifact)["version_of_last_span"] == 3
    backfill = ingest(table, tmp_path / "backfill", files, window=2, last_span=9)
    assert hundreds(backfill) == [0, 2]
    assert hundreds(ingest(table, tmp_path / "all", files)) == [0, 2, 3]


def test_a_split_by_time_looks_at_the_window_alone(tmp_path):
    table = tmp_path / "table"
    for day in range(3):
        add_day(table, f"2024-02-{27 + day}.csv", day * 100)
    split = {"by": "time", "test_fraction": 0.25, "eval_fraction": 0.2}
    files = {"files": "{YYYY}-{MM}-{DD}.csv", "time": {"name": "price", "unit": "s", "feature": "when"}}
    artifact = ingest(table, tmp_path / "out", files, split=split, window=2, last_span=date(2024, 2, 28))
    assert artifact.get_string_custom_property("spans") == "2024-02-27/2024-02-28"
    assert sorted(map(price, examples(artifact, "test"))) == list(range(150, 200))
    assert sorted(map(price, examples(artifact, "eval"))) == list(range(120, 150))


def test_rows_of_the_same_number_in_files_of_the_same_name_are_not_split_alike(tmp_path):
    table = tmp_path / "table"
    for day in range(2):
        add_day(table, f"day-{day}/part.csv", day * 100)
    artifact = ingest(table, tmp_path / "out", {"files": "day-{SPAN}/*.csv"}, split={"test_fraction": 0.5})
    test = {price(example) for example in examples(artifact, "test")}
    assert {value % 100 for value in test if value < 100} != {value % 100 for value in test if value >= 100}


def test_spans_that_are_missing_are_a_warning_or_an_error(tmp_path, caplog):
    table = tmp_path / "table"
    for day in (1, 3):
        add_day(table, f"day-{day}.csv", day * 100)
    files = {"files": "day-{SPAN}.csv"}
    with caplog.at_level("WARNING"):
        ingest(table, tmp_path / "out", files, window=3)
    assert "of the window of spans 1-3, 1 missing: 2" in caplog.text
    with pytest.raises(DataError, match=r"1 missing: 2.*set data\.missing_spans=warning"):
        ingest(table, tmp_path / "refused", files, window=3, missing_spans="error")


def test_no_span_at_all_names_the_pattern_and_what_is_there(table, tmp_path):
    with pytest.raises(DataError, match=r"no file matches .*/day-\*\.csv; .* holds part-0\.csv, part-1\.csv"):
        ingest(table, tmp_path / "out", {"files": "day-{SPAN}.csv"})


def test_criteos_days_are_spans_if_a_window_is_set(tmp_path):
    table = tmp_path / "criteo"
    table.mkdir()
    for day in range(3):
        rows = ["\t".join([str(row % 2), str(day), *["1"] * 12, *["a"] * 26]) for row in range(100)]
        (table / f"day_{day}").write_text("\n".join(rows) + "\n")
    data = DataConfig(dataset="criteo", window=1, last_span=1)
    component = TablesExampleGen(str(table), data)
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path / "out")
    Executor().Do({}, {standard_component_specs.EXAMPLES_KEY: [artifact]}, component.exec_properties)
    assert artifact.get_string_custom_property("spans") == "1"
    assert sum(ingest_summary(artifact)["rows"].values()) == 100


def test_the_window_may_be_a_runtime_parameter(table):
    described = {"interactions": INTERACTIONS | {"files": str(table / "part-{SPAN}.csv")}, "task": "click"}
    window = RuntimeParameter(name="window", ptype=int, default=7)
    component = TablesExampleGen(str(table), DataConfig.model_validate(described), window=window)
    assert component.exec_properties[WINDOW].name == "window"
    assert component.exec_properties[LAST_SPAN] == NEWEST_SPAN
    without = DataConfig.model_validate({"interactions": INTERACTIONS, "task": "click"})
    with pytest.raises(ConfigError, match=r"no file pattern has a marker of spans"):
        TablesExampleGen(str(table), without, window=window)
