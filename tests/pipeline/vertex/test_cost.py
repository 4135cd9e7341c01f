"""Tests the cost of a run by arithmetic that a reader can redo by hand."""

import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

import pipeline.vertex
from pipeline.config import read_settings
from pipeline.vertex.compile import compile_job
from pipeline.vertex.cost import (
    CostEstimate,
    Prices,
    Use,
    container_components,
    estimate,
    hours_like,
    parse_hours,
    print_estimate,
    uses_after_run,
    uses_of_run,
)
from trainer_module.errors import ConfigError

from .experiments import IMAGE, TPU_IMAGE, TWO_TOWERS, experiment

EXAMPLE = Path(pipeline.vertex.__file__).parent / "prices.example.yaml"
# Round numbers of nobody's price list.
PRICES = Prices(
    region="us-central1",
    source="made up",
    run=0.5,
    machines={"e2-standard-4": 0.1, "n1-standard-16": 2.0, "a2-highgpu-2g": 9.0},
    gpus={"NVIDIA_TESLA_T4": 0.25},
    tpu_chips={"v5e": 1.5},
    dataflow_workers={"n1-standard-4": 0.4},
    serving={"n1-standard-4": 0.3, "e2-standard-2": 0.2},
)
FILE = Path("prices.yaml")
DATAFLOW = {"runner": "dataflow", "image": IMAGE, "max_workers": 10, "machine_type": "n1-standard-4"}


def small_job(*components: str) -> dict:
    """Returns the part of a compiled job that the estimate reads, with one resolver."""
    names = [*components, "Baseline"]
    return {
        "pipelineSpec": {
            "root": {"dag": {"tasks": {name: {"componentRef": {"name": name}} for name in names}}},
            "components": {name: {"executorLabel": f"{name}_executor"} for name in names},
            "deploymentSpec": {
                "executors": {f"{name}_executor": {"container": {}} for name in components}
                | {"Baseline_executor": {"resolver": {}}}
            },
        }
    }


def cost(vertex: dict, hours: dict[str, float], **overrides) -> CostEstimate:
    return estimate(experiment(vertex, **overrides), small_job(*hours), PRICES, FILE, hours)


def test_components_pay_for_their_containers_and_the_run():
    found = cost({}, {"ExampleGen": 2.0, "Trainer": 3.0})
    # 2 h x 0.1 + 3 h x 0.1, and 0.5 for the run
    assert [line.cost for line in found.lines] == pytest.approx([0.2, 0.3])
    assert found.total == pytest.approx(1.0)


def test_the_trainer_pays_for_all_machines_and_their_gpus():
    trainer = {"machine": "n1-standard-16", "accelerator": "NVIDIA_TESLA_T4", "accelerator_count": 4, "workers": 3}
    found = cost({"trainer": trainer}, {"Trainer": 2.0})
    assert [(line.use.machine, line.use.count) for line in found.lines] == [
        ("e2-standard-4", 1),
        ("n1-standard-16", 3),
        ("NVIDIA_TESLA_T4", 12),
    ]
    # 2 h x (1 x 0.1 + 3 x 2.0 + 12 x 0.25) = 18.2, and 0.5
    assert found.total == pytest.approx(18.7)


def test_gpus_that_come_with_a_machine_are_in_its_price():
    found = cost({"trainer": {"machine": "a2-highgpu-2g"}}, {"Trainer": 1.0})
    assert found.total == pytest.approx(0.5 + 0.1 + 9.0)


def test_a_tpu_is_paid_by_the_chip():
    found = cost({"trainer": {"machine": "v5e-8"}, "tpu_image": TPU_IMAGE}, {"Trainer": 2.0})
    # 2 h x (0.1 + 8 x 1.5), and 0.5
    assert found.total == pytest.approx(24.7)


def test_dataflow_is_paid_by_the_worker():
    beam = DATAFLOW | {"components": {"Evaluator": {"runner": "local"}}}
    found = cost({}, {"Transform": 0.5, "Evaluator": 0.5}, beam=beam)
    # Transform: 0.5 h x (0.1 + 10 x 0.4) = 2.05; Evaluator stays in its container: 0.05; 0.5
    assert found.total == pytest.approx(2.6)


@pytest.mark.parametrize("key", ["max_workers", "machine_type"])
def test_what_dataflow_chooses_itself_is_not_guessed(key):
    beam = {name: value for name, value in DATAFLOW.items() if name != key}
    for section, place in ((beam, "beam"), ({"components": {"Transform": beam}}, "beam.components.Transform")):
        with pytest.raises(
            ConfigError, match=rf"^{place}\.{key}: Dataflow chooses for Transform.*--set {place}\.{key}="
        ):
            cost({}, {"Transform": 1.0}, beam=section)


def test_clusters_of_ones_own_are_in_no_estimate():
    flink = {"runner": "flink", "job_endpoint": "flink:8099", "environment_config": "localhost:50000"}
    found = cost({}, {"Transform": 1.0}, beam=flink)
    assert found.lines == cost({}, {"Transform": 1.0}).lines
    console = Console(width=100)
    with console.capture() as shown:
        print_estimate(found, console)
    assert "Not included: disks of custom jobs, clusters of Flink and Spark" in " ".join(shown.get().split())


def test_what_stays_deployed_costs_on():
    deploy = {"endpoint": {"machine": "n1-standard-4", "min_replicas": 2, "max_replicas": 9}}
    found = cost({"deploy": deploy}, {"Trainer": 1.0})
    assert [line.cost for line in found.per_hour] == pytest.approx([0.6])
    assert found.total == pytest.approx(0.6)  # 0.1 for the container and 0.5: the endpoint is no part of the run
    search = {"vector_search": {"endpoint": {"machine": "e2-standard-2"}}}
    two_towers = experiment({"deploy": search}, **TWO_TOWERS)
    assert uses_after_run(two_towers.vertex) == [Use("index endpoint", "serving", "e2-standard-2", 1)]


def test_unknown_prices_are_named_all_at_once():
    config = experiment({"trainer": {"machine": "n1-standard-8"}})
    prices = PRICES.model_copy(update={"machines": {"e2-standard-4": None}, "run": None})
    message = (
        r"prices\.yaml: no price for run \(per run\), machines\.e2-standard-4 \(for Trainer\), "
        r"machines\.n1-standard-8 \(for Trainer\)\. .*prices\.example\.yaml says where to look prices up"
    )
    with pytest.raises(ConfigError, match=message):
        estimate(config, small_job("Trainer"), prices, FILE, {"Trainer": 1.0})


def test_prices_of_another_region_are_refused():
    with pytest.raises(ConfigError, match=r"region: the prices are for us-central1, .* runs in europe-west4"):
        cost({"region": "europe-west4"}, {"Trainer": 1.0})


def test_hours_that_are_given_go_before_those_of_another_run():
    found = estimate(
        experiment(), small_job("Trainer"), PRICES, FILE, {"Trainer": 5.0}, {"Trainer": 1.0, "Baseline": 1.0}
    )
    assert found.total == pytest.approx(1.0)


def test_missing_hours_are_named():
    with pytest.raises(ConfigError, match=r"no hours for ExampleGen, Transform: give --hours COMPONENT=HOURS for"):
        estimate(experiment(), small_job("Trainer", "Transform", "ExampleGen"), PRICES, FILE, {"Trainer": 1.0})


def test_hours_of_no_component_are_refused():
    with pytest.raises(ConfigError, match=r"--hours Tarnsform: .*\. Known: ExampleGen, Trainer, Transform"):
        estimate(
            experiment(),
            small_job("Trainer", "Transform", "ExampleGen"),
            PRICES,
            FILE,
            {"Trainer": 1.0, "Tarnsform": 1.0},
        )


def test_hours_come_from_a_local_run_but_for_the_cached(tmp_path):
    rows = [
        {"component": "Trainer", "seconds": 1800.0, "cached": False},
        {"component": "Transform", "seconds": 0.1, "cached": True},
    ]
    (tmp_path / "summary.json").write_text(json.dumps({"components": rows}))
    assert hours_like(tmp_path / "summary.json", 10.0) == {"Trainer": pytest.approx(5.0)}


@pytest.mark.parametrize("text", [None, "{}", "[]", "no json"])
def test_a_file_that_is_no_summary_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "summary.json").write_text(text)
    with pytest.raises(ConfigError, match=r"--like .*: expected the summary\.json of a local run"):
        hours_like(tmp_path / "summary.json", 1.0)


def test_hours_are_read():
    assert parse_hours(["Trainer=2.5", "Pusher=0"]) == {"Trainer": 2.5, "Pusher": 0.0}
    for text in ("Trainer", "=2", "Trainer=long", "Trainer=-1", "Trainer=nan", "Trainer=inf"):
        with pytest.raises(ConfigError, match=r"expected COMPONENT=HOURS, as in --hours Trainer=2\.5"):
            parse_hours([text])


def test_the_table_shows_machines_hours_and_the_total(capsys):
    console = Console(width=100)
    with console.capture() as shown:
        print_estimate(cost({"trainer": {"machine": "n1-standard-16"}}, {"Trainer": 2.0}), console)
    rows = [line.split() for line in shown.get().splitlines() if line.strip()]
    assert ["Trainer", "n1-standard-16", "1", "2.000", "2", "4.00"] in rows
    assert ["total", "4.70"] in rows


def test_the_components_are_those_of_the_compiled_spec():
    names = container_components(compile_job(experiment()))
    assert {"ExampleGen", "Trainer", "Pusher"} < set(names)
    assert "Baseline" not in names


def test_the_example_shows_every_key_and_no_price():
    tree = yaml.safe_load(EXAMPLE.read_text())
    assert set(tree) == set(Prices.model_fields)
    assert tree["run"] is None
    for key in ("machines", "gpus", "tpu_chips", "dataflow_workers", "serving"):
        assert set(tree[key].values()) == {None}
    with pytest.raises(ConfigError, match=r"source: expected at least 1 characters"):
        read_settings(Prices, EXAMPLE, {}, where="")


def test_uses_name_the_components_own_machine():
    config = experiment()
    (use,) = uses_of_run(config.vertex, config.beam, ["Pusher"], "e2-highmem-2")
    assert use == Use("Pusher", "machines", "e2-highmem-2", 1)


def test_the_command_prints_the_estimate(command_line, tmp_path):
    config = experiment()
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    (tmp_path / "prices.yaml").write_text(yaml.safe_dump(PRICES.model_dump()))
    names = ["CuratedSchema", "Evaluator", "ExampleGen", "ExampleValidator", "Pusher", "RunReport"]
    names += ["StatisticsGen", "Transform"]
    rows = [{"component": name, "seconds": 360.0, "cached": False} for name in names]
    (tmp_path / "summary.json").write_text(json.dumps({"components": rows}))
    command = "pipeline cost --config mine.yaml --prices prices.yaml --like summary.json --scale 10 --hours Trainer=3"
    process = command_line(*command.split(), cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    # eight components for 1 h and the Trainer for 3 h, at 0.1, and 0.5
    assert "total" in process.stdout and "1.60" in process.stdout
