"""The component on examples that ExampleGen has written."""

import json
from pathlib import Path

import numpy as np
import pytest
from tfx.types import channel_utils, standard_artifacts, standard_component_specs
from tfx.types.experimental import simple_artifacts

from components.drift.component import DriftFound, DriftGate
from components.drift.config import DriftConfig
from components.drift.layout import ACCEPTED, REPORT_FILE
from components.drift.report import DriftReport
from components.example_gen.component import TablesExampleGen
from components.example_gen.config import DataConfig
from components.example_gen.executor import Executor
from components.run_report.refusal import PageSettings
from trainer_module.errors import DataError


def write_day(directory, day: int, rows: int = 600, country=("us", "de", "fr")) -> None:
    random = np.random.default_rng(day)
    lines = ["user,item,country,price,clicked"]
    for _ in range(rows):
        user, item = random.integers(40), random.integers(20 + 5 * day)
        lines.append(f"u{user},i{item},{random.choice(country)},{random.normal():.3f},{int(random.random() < 0.3)}")
    (directory / f"day-{day}.csv").write_text("\n".join(lines) + "\n")


def shop(directory, **settings) -> DataConfig:
    interactions = {
        "files": str(directory / "day-{SPAN}.csv"),
        "user": "user",
        "item": "item",
        "label": "clicked",
        "categorical": ["country"],
        "numeric": ["price"],
    }
    return DataConfig.model_validate({"interactions": interactions, "task": "click", **settings})


def ingest(directory, data: DataConfig, last: int) -> standard_artifacts.Examples:
    component = TablesExampleGen(str(directory), data.portable())
    examples = standard_artifacts.Examples()
    examples.uri = str(directory / "examples" / str(last))
    properties = component.exec_properties | {"last_span": last}
    Executor().Do({}, {standard_component_specs.EXAMPLES_KEY: [examples]}, properties)
    return examples


@pytest.fixture(scope="module")
def days(tmp_path_factory) -> dict[int, standard_artifacts.Examples]:
    """The examples of four runs, each of two days (the first of one); on the fourth day, countries are spelt anew."""
    directory = tmp_path_factory.mktemp("shop")
    for day in (1, 2, 3):
        write_day(directory, day)
    write_day(directory, 4, country=("US", "de"))
    return {day: ingest(directory, shop(directory, window=2), day) for day in (1, 2, 3, 4)}


class Gate:
    """Runs the component, each time with its last output."""

    def __init__(self, directory):
        self.directory, self.outputs = directory, []
        self.data = shop(directory)

    def compare(self, examples, model=None, page="", accepted=None, **drift) -> DriftReport:
        output = simple_artifacts.Statistics()
        output.uri = str(self.directory / f"drift-{len(self.outputs)}-{drift.get('action', '')}")
        component = DriftGate(
            examples=channel_utils.as_channel([examples]),
            features=self.data.described().spec().features.for_preprocessing().model_dump_json(),
            config=DriftConfig.model_validate(drift).model_dump_json(),
            source_hash="",
            page=page,
        )
        inputs = {"examples": [examples], "earlier": self.outputs[-1:], "model": [model] if model else []}
        inputs["accepted"] = [accepted] if accepted else []
        component.executor_spec.executor_class().Do(inputs, {"drift": [output]}, component.exec_properties)
        self.outputs.append(output)
        return DriftReport.model_validate_json(Path(output.uri, REPORT_FILE).read_text())


@pytest.fixture
def gate(tmp_path) -> Gate:
    return Gate(tmp_path)


def test_a_changed_day_stops_and_is_no_reference(gate, days):
    for day in (1, 2, 3):
        assert not gate.compare(days[day], action="stop").drift
    with pytest.raises(DataError) as error:
        gate.compare(days[4], action="stop")
    message = str(error.value)
    assert "span 4 differs from earlier data" in message
    assert "country" in message and "history of 3 spans" in message and "span 3, the previous one" in message
    assert "--set validation.drift.action=warn, or in the loop --accept 4." in message
    assert "data.leave_out=[4]" in message
    assert [entry.span for entry in gate.compare(days[3]).entries] == [1, 2, 3]


def test_what_was_accepted_once_is_not_refused_later(gate, days):
    for day in (1, 2, 3):
        gate.compare(days[day], action="stop")
    before = list(gate.outputs)
    assert gate.compare(days[4], action="warn").drift
    (accepted,) = gate.outputs[3:]
    assert accepted.get_int_custom_property(ACCEPTED) == 1
    assert [each.get_int_custom_property(ACCEPTED) for each in before] == [0, 0, 0]
    # A repeated run is compared with the span before; it knows of the acceptance by the resolver, or by later entries.
    gate.outputs = before
    report = gate.compare(days[4], accepted=accepted, action="stop")
    assert report.drift and "span 4 was accepted by an earlier run" in report.notes[-1]
    assert gate.compare(days[4], action="stop").drift


def test_a_service_gets_the_page_of_a_stopped_run_from_the_component(gate, days):
    for day in (1, 2, 3):
        gate.compare(days[day])
    settings = PageSettings(
        title="shop",
        dataset=gate.data.described().spec(),
        experiment=json.dumps({"data": {"split": {"by": "random"}}, "model": {"type": "dcn"}}),
        data_dir="gs://bucket/raw",
        upstream={"ExampleGen": (), "DriftGate": ("ExampleGen",)},
    )
    with pytest.raises(DriftFound) as error:
        gate.compare(days[4], page=settings.model_dump_json(), action="stop")
    path = Path(str(error.value).rpartition("Report: ")[2])
    page = path.read_text()
    assert path.parent.name == "drift-3-stop"
    assert "stopped by drift" in page and "no model was trained: the run stopped in DriftGate" in page
    assert "span 3, the previous one" in page and "gs://bucket/raw" in page
    # Later runs do not take it for an accepted span.
    assert not (path.parent / REPORT_FILE).exists()


def test_profiles_without_a_common_column_are_no_comparison(gate, days, tmp_path, caplog):
    gate.compare(days[2])
    (profile,) = Path(gate.outputs[0].uri).glob("newest/profile.json")
    content = json.loads(profile.read_text())
    content["columns"] = {f"old_{name}": facts for name, facts in content["columns"].items()}
    profile.write_text(json.dumps(content))
    with caplog.at_level("WARNING"):
        report = gate.compare(days[3], action="stop")
    assert not report.compared_with
    assert "span 3 is not compared with span 2, the previous one: they have no column in common" in caplog.text


def test_in_a_window_the_newest_day_alone_is_compared(gate, days):
    gate.compare(days[3])
    report = gate.compare(days[4])
    assert (report.name, report.rows, report.entries[-1].window) == ("span 4", 600, "3-4")
    (new,) = [each for each in report.measured if (each.column, each.measure) == ("country", "new_tokens")]
    # Of the window's rows it would be a quarter.
    assert new.value == pytest.approx(0.5, abs=0.07)


def test_the_blessed_models_window_is_a_reference(gate, days, tmp_path):
    gate.compare(days[2])
    model = standard_artifacts.Model()
    model.uri = str(tmp_path)
    (tmp_path / "training.json").write_text(json.dumps({"examples": days[2].uri}))
    report = gate.compare(days[3], model)
    assert report.compared_with == ("span 2, the previous one", "spans 1-2, the blessed model's")
    # As an older version of the product wrote it.
    (tmp_path / "training.json").write_text("{}")
    assert gate.compare(days[4], model).compared_with == ("span 3, the previous one",)


def test_days_are_left_out_and_parted_where_users_are_gathered(gate, tmp_path):
    for day in (1, 2, 3):
        write_day(tmp_path, day, rows=300)
    gate.data = shop(tmp_path, window=3, leave_out=[2], missing_spans="error", task="retrieval")
    examples = ingest(tmp_path, gate.data, 3)
    assert examples.get_string_custom_property("spans") == "1,3"
    rows = sum(examples.get_int_custom_property(f"rows_{split}") for split in ("train", "eval", "test"))
    assert rows == 600
    assert gate.compare(examples).rows == 300
