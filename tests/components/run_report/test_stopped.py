"""Pages of runs that did not come to a verdict, and what components took where a service runs them."""

import os

import pytest

from components.drift.findings import Measured
from components.drift.report import DriftReport
from components.example_validator.anomalies import Finding
from components.run_report.artifacts import RunArtifacts, Uris
from components.run_report.card import ModelCard
from components.run_report.compose import compose
from components.run_report.data_flow import Task
from components.run_report.page import Page, Section, Table, Text
from components.run_report.sections import data, drift, flow, lineage, verdict
from components.run_report.stop import Stop
from components.run_report.tasks import finished_tasks
from trainer_module.data.datasets.criteo import DATASETS as CRITEO

CLICKS = CRITEO[0].spec()
SUMMARY = {
    "config": {"data": {"split": {"by": "random"}}, "model": {"type": "dcn"}},
    "data_dir": "data",
    "packages": {"recspan": "1"},
}
EXAMPLES = {"examples": {"rows": {"train": 80, "eval": 0, "test": 20}, "bad_rows": 0}}
DRIFT = DriftReport(
    name="span 4",
    rows=100,
    action="stop",
    compared_with=("span 3, the previous one",),
    notes=(),
    measured=(
        Measured(
            column="country",
            measure="l_infinity",
            value=0.5,
            threshold=0.1,
            origin="history of 3 spans",
            may_stop=True,
            reference="previous",
            against="span 3, the previous one",
            change="'us': 0% of the rows, now 50%",
        ),
    ),
    drawings=(),
    entries=(),
)
MESSAGE = "span 4 differs from earlier data\ncolumn  measure\ncountry  l_infinity\nMend its files and run again"


def stopped(stop: Stop, uris: Uris, **facts) -> RunArtifacts:
    return RunArtifacts(CLICKS, SUMMARY | facts, ModelCard(), uris, stop=stop)


def by_drift() -> RunArtifacts:
    stop = Stop("DriftGate", "stopped by drift", MESSAGE, drift=DRIFT)
    return stopped(stop, Uris(anomalies={"train": "there"}), **EXAMPLES)


def absent(page: Page) -> dict[str, str]:
    (section,) = [each for each in page.sections if each.id == "absent"]
    (table,) = section.blocks
    assert isinstance(table, Table)
    return dict(table.rows)  # type: ignore[arg-type]


def test_the_verdict_says_what_stopped_the_run_and_what_to_do():
    tiles, first, last, whole = verdict.section(by_drift()).blocks
    assert [(tile.value, tile.tone) for tile in tiles.tiles] == [("stopped by drift", "bad"), ("80", "")]
    assert tiles.tiles[0].note == "in DriftGate; no model was pushed"
    assert (first.text, last.text) == ("span 4 differs from earlier data", "Mend its files and run again")
    assert whole.text == MESSAGE


def test_the_drift_that_stopped_the_run_is_shown():
    section = drift.section(by_drift())
    assert section is not None
    text, table = section.blocks[0], section.blocks[1]
    assert isinstance(text, Text) and "The run was stopped" in text.text and text.tone == "bad"
    assert isinstance(table, Table) and table.rows[0][:2] == ("country", "l_infinity")


def test_anomalies_that_stopped_the_run_are_shown():
    found = (Finding("train", "age", "ERROR", "Out-of-range values", "Unexpectedly large value: 990."),)
    run = stopped(Stop("ExampleValidator", "stopped by anomalies", "no", findings=found), Uris(), **EXAMPLES)
    (table,) = [block for block in data.section(run).blocks if isinstance(block, Table)]
    assert table.rows[0][1] == "age"


def test_rows_that_nobody_has_validated_do_not_fit_by_default():
    run = stopped(Stop("StatisticsGen", "failed in StatisticsGen", "no"), Uris(), **EXAMPLES)
    texts = [block.text for block in data.section(run).blocks if isinstance(block, Text)]
    assert texts == ["Whether the rows fit the schema was not looked at."]


@pytest.mark.parametrize(
    ("component", "uris", "facts", "reasons"),
    [
        ("ExampleGen", Uris(), {}, {"Data": "no rows were taken in", "Metrics": "no model was trained"}),
        (
            "Evaluator",
            Uris(examples={"train": "x/Split-train"}, model_run="there", model="there"),
            {"training": {"vocabularies": "abc"}},
            {"Metrics": "no model was judged", "Columns": "no statistics were computed"},
        ),
    ],
)
def test_sections_that_are_not_there_say_why(component, uris, facts, reasons, monkeypatch):
    from components.run_report import compose as module

    shown = {"Verdict", "Lineage"}
    parts = tuple(
        part if part.title in shown else module.Part(part.title, lambda run: None, part.needs, part.tasks)
        for part in module.PARTS
    )
    monkeypatch.setattr(module, "PARTS", parts)
    page = compose(stopped(Stop(component, "stopped", "no"), uris, **facts), "small")
    assert [section.id for section in page.sections] == ["verdict", "absent", "lineage"]
    found = absent(page)
    assert {name: found[name] for name in reasons} == {
        name: f"{reason}: the run stopped in {component}" for name, reason in reasons.items()
    }
    # Those of other tasks are no loss, and what has no needs is there.
    assert not {"Lists", "Residuals", "Drift", "Lineage", "Model card"} & set(found)


def test_the_lineage_of_a_stopped_run_names_what_it_has_made():
    facts, packages, experiment = lineage.section(by_drift()).blocks
    assert [name for name, _ in facts.facts] == ["pushed to", "raw files"]
    assert packages.facts == (("recspan", "1"),)
    assert "dcn" in experiment.text


def leave(run, task: str, ended: float) -> None:
    file = run / f"{task}_-123" / "executor_output.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    os.utime(file, (ended, ended))


def test_seconds_run_from_the_end_of_what_a_component_waited_for(tmp_path):
    run = tmp_path / "123" / "small-1"
    for task, ended in (("ExampleGen", 100), ("CuratedSchema", 50), ("StatisticsGen", 130), ("Validator", 142)):
        leave(run, task, ended)
    upstream = {
        "ExampleGen": (),
        "CuratedSchema": (),
        "StatisticsGen": ("ExampleGen",),
        "Validator": ("CuratedSchema", "StatisticsGen", "a-resolver"),
        "Transform": ("Validator",),
    }
    own = str(run / "RunReport_77" / "report")
    assert finished_tasks(own, upstream) == (
        Task("ExampleGen", None),
        Task("CuratedSchema", None),
        Task("StatisticsGen", 30.0),
        Task("Validator", 12.0),
        Task("Transform", None, cached=True),
    )


def test_the_component_that_stops_the_run_has_not_ended(tmp_path, monkeypatch):
    run = tmp_path / "123" / "small-1"
    leave(run, "ExampleGen", 100)
    monkeypatch.setattr("time.time", lambda: 160.0)
    own = str(run / "DriftGate_77" / "drift")
    tasks = finished_tasks(own, {"ExampleGen": (), "DriftGate": ("ExampleGen",)}, "DriftGate")
    assert tasks[-1] == Task("DriftGate", 60.0, stopped=True)


def test_the_flow_of_a_service_says_what_its_seconds_are():
    tasks = (Task("ExampleGen", None), Task("Schema", None, cached=True), Task("Gate", 60.0, stopped=True))
    section = flow.section(RunArtifacts(CLICKS, SUMMARY | EXAMPLES, ModelCard(), Uris(), tasks))
    assert section is not None
    tiles, bars, note = section.blocks
    assert [tile.value for tile in tiles.tiles] == ["60.0", "3", "100"]
    assert [bar.text for bar in bars.bars] == ["unknown", "cached", "60.0 s, stopped the run"]
    assert "found a machine" in note.text
    assert flow.section(RunArtifacts(CLICKS, SUMMARY, ModelCard(), Uris())) is None


def test_a_section_goes_before_the_first_that_is_there():
    page = Page(title="", subtitle="", sections=tuple(Section(id=name, title="", blocks=()) for name in "abc"))
    new = Section(id="new", title="", blocks=())
    assert [each.id for each in page.with_section(new, "x", "b").sections] == ["a", "new", "b", "c"]
    assert [each.id for each in page.with_section(new, "x").sections] == ["a", "b", "c", "new"]
