"""The section `beam` and the Beam options that follow from it."""

import json
import re

import pytest
import yaml

from pipeline.beam import BeamConfig, BeamOptions, in_process_args, moved_to
from pipeline.commands import bench, prediction
from pipeline.commands.tuning import tune
from pipeline.config import Locations, PipelineConfig, load_config
from pipeline.continuous.start import watch
from pipeline.local.run import run_locally
from pipeline.platforms import local_platform
from pipeline.wiring import create_pipeline
from tests.pipeline.vertex import experiments as vertex
from trainer_module.errors import ConfigError

FLINK = {"beam.runner": "flink", "beam.job_endpoint": "localhost:8099", "beam.environment_config": "localhost:50000"}
DATAFLOW = {f"beam.{key}": value for key, value in vertex.DATAFLOW.items()}
IMAGE = vertex.DATAFLOW["image"]


def section(overrides: dict) -> dict:
    """The section as it stands in a file."""
    return {key.removeprefix("beam."): value for key, value in overrides.items()}


def read(tmp_path, beam: dict, **overrides) -> PipelineConfig:
    """Reads a file with the section; `__` in an override stands for the dot."""
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"name": "small", "data": {"dataset": "synthetic"}, "beam": beam}))
    return load_config(file, {key.replace("__", "."): value for key, value in overrides.items()})


def test_without_the_section_beam_runs_in_this_process():
    assert load_config().beam.args() == in_process_args(1)


def test_flink_is_reached_through_the_job_server():
    args = load_config(overrides=FLINK | {"beam.parallelism": 4}).beam.args()
    assert {
        "--runner=PortableRunner",
        "--job_endpoint=localhost:8099",
        "--environment_type=EXTERNAL",
        "--environment_config=localhost:50000",
        "--parallelism=4",
    } < set(args)


def test_workers_are_processes_of_this_machine():
    assert load_config(overrides={"beam.workers": 3}).beam.args() == in_process_args(3)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"beam.runner": "dataflow"}, "runner dataflow needs image, an image that starts Apache Beam's worker"),
        ({"beam.runner": "dataflow"}, "for a run on this machine, add --set beam.runner=local"),
        ({"beam.runner": "flink"}, "needs job_endpoint"),
        ({"beam.runner": "flink", "beam.job_endpoint": "localhost:8099"}, "needs environment_config"),
        (
            FLINK | {"beam.workers": 2},
            "workers: runner flink has no such option (workers is for local and dataflow). It takes job_endpoint,",
        ),
        (FLINK | {"beam.runner": "spark", "beam.parallelism": 2}, "parallelism: runner spark"),
        ({"beam.parallelism": 2}, "parallelism: runner local has no such option (parallelism is for flink)"),
        (
            {"beam.max_workers": 3, "beam.public_ips": False},
            "max_workers, public_ips: runner local has no such option (max_workers is for dataflow; public_ips is for "
            "dataflow). It takes workers. Remove the key, or choose another runner",
        ),
        (FLINK | {"beam.image": IMAGE}, "image: runner flink has no such option (image is for dataflow)"),
        (DATAFLOW | {"beam.job_endpoint": "flink:8099"}, "job_endpoint: runner dataflow has no such option"),
        (FLINK | {"beam.job_endpoint": "localhost"}, "beam.job_endpoint"),
        ({"beam.runer": "flink"}, "Did you mean beam.runner?"),
        ({"beam.runner": "direct"}, "runner: direct is now called local"),
        ({"beam.runner": "prism"}, "beam.runner: expected 'local', 'flink', 'spark' or 'dataflow', got 'prism'"),
        (
            {"beam.runner": "dataflow", "beam.image": IMAGE, "beam.autoscaling": "none"},
            "autoscaling: none needs workers",
        ),
        (DATAFLOW | {"beam.autoscaling": "none"}, "max_workers needs autoscaling: throughput"),
        (DATAFLOW | {"beam.workers": 21}, "workers (21) exceeds max_workers (20)"),
        (DATAFLOW | {"beam.subnetwork": ""}, "public_ips: false needs subnetwork"),
        (DATAFLOW | {"beam.image": "image:latest"}, "beam.image: expected an image with registry and tag"),
        (
            {"beam.components": {"Transform": {"runner": "dataflow"}}},
            "beam.components.Transform: runner dataflow needs image",
        ),
        (
            {"beam.components": {"Transform": {"machine_type": "n1-standard-4"}}},
            "beam.components.Transform: machine_type: runner local has no such option",
        ),
        ({"beam.components": {"Trainer": {"workers": 2}}}, "beam.components.Trainer"),
        ({"beam.components": {"Transform": {"worker": 2}}}, "Did you mean beam.components.Transform.workers?"),
    ],
)
def test_what_does_not_fit_the_runner_is_refused(overrides, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_config(overrides=overrides)


def test_the_runner_is_no_part_of_what_components_are_told():
    told = load_config().without_local_paths()
    for overrides in (FLINK, DATAFLOW, {"beam.components": {"Transform": {"workers": 2}}}):
        assert load_config(overrides=overrides).without_local_paths() == told


def test_an_entry_with_the_sections_runner_changes_single_keys():
    entries = {"Transform": {"max_workers": 99}, "StatisticsGen": {"runner": "dataflow", "disk_gb": None}}
    beam = BeamConfig.model_validate({**section(DATAFLOW), "components": entries})
    whole = BeamOptions.model_validate(section(DATAFLOW))
    assert beam.of("ExampleGen").model_dump() | {"components": {}} == beam.model_dump() | {"components": {}}
    assert beam.of("Transform") == whole.model_copy(update={"max_workers": 99})
    assert beam.of("StatisticsGen") == whole.model_copy(update={"disk_gb": None})


def test_an_entry_with_another_runner_takes_no_key_of_the_section():
    entries = {"Evaluator": {"runner": "local"}, "Transform": {"runner": "flink", **section(FLINK)}}
    beam = BeamConfig.model_validate({**section(DATAFLOW), "components": entries})
    assert beam.of("Evaluator") == BeamOptions()
    assert beam.of("Transform") == BeamOptions.model_validate(section(FLINK))
    assert (beam.place("Evaluator"), beam.place("ExampleGen")) == ("beam.components.Evaluator", "beam")


def test_components_of_a_local_run_may_differ(tmp_path):
    beam = BeamConfig.model_validate({**section(FLINK), "components": {"Evaluator": {"runner": "local", "workers": 2}}})
    platform = local_platform(Locations(str(tmp_path), tmp_path), "small", beam)
    assert platform.beam_args("Evaluator") == in_process_args(2)
    assert platform.beam_args("Transform") == BeamOptions.model_validate(section(FLINK)).args()


@pytest.mark.parametrize(
    "beam",
    [
        section(DATAFLOW),
        {**section(DATAFLOW), "components": {"Evaluator": {"runner": "local"}}},
        {"components": {"Transform": section(DATAFLOW)}},
        section(FLINK),
        {},
    ],
    ids=["dataflow", "dataflow but for one", "one on dataflow", "flink", "none"],
)
def test_one_assignment_moves_all_jobs_of_a_file_to_this_machine(tmp_path, beam):
    config = read(tmp_path, beam, beam__runner="local")
    assert config.beam == BeamConfig()
    config.beam.check_local()


def test_what_else_the_command_line_says_holds_for_the_runner_that_it_names(tmp_path):
    assert read(tmp_path, section(DATAFLOW), beam__workers=3, beam__runner="local").beam == BeamConfig(workers=3)
    assert read(tmp_path, {"workers": 8}, beam__runner="local").beam == BeamConfig(workers=8)
    evaluator = {"components": {"Evaluator": {"runner": "local"}}}
    assert read(tmp_path, section(DATAFLOW) | evaluator, beam__runner="dataflow").beam == BeamConfig(
        **section(DATAFLOW)
    )
    # Without a runner, single keys of the file's section change.
    assert read(tmp_path, section(DATAFLOW), beam__workers=3).beam.image == IMAGE


def test_keys_go_with_their_runner():
    file = {"runner": "flink", "parallelism": 2, "components": {"Evaluator": {"runner": "local"}}}
    assert moved_to("flink", file) == {"runner": "flink", "parallelism": 2}
    assert moved_to("local", file) == {}
    assert moved_to("local", {"workers": 2, "components": {}}) == {"workers": 2}


def test_a_section_that_is_none_is_refused_as_such(tmp_path):
    with pytest.raises(ConfigError, match=r"beam\.runner: beam is a value, not a section"):
        read(tmp_path, 5, beam__runner="local")
    with pytest.raises(ConfigError, match=r"beam\.components: expected a section|beam\.components: expected"):
        read(tmp_path, {"components": 5})


@pytest.mark.parametrize(
    ("overrides", "place"),
    [(DATAFLOW, "beam"), ({"beam.components": {"Transform": section(DATAFLOW)}}, "beam.components.Transform")],
)
def test_dataflow_is_refused_before_a_local_run_writes_anything(tmp_path, overrides, place):
    config = load_config(overrides={"data.dataset": "synthetic"} | overrides)
    locations = Locations(str(tmp_path / "data"), tmp_path / "runs")
    message = rf"^{re.escape(place)}\.runner: dataflow is for runs on Vertex AI\..*Add --set beam\.runner=local"
    assignments = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    for start in (
        lambda: run_locally(config, locations),
        lambda: watch(config, locations, [], {}, None, 0.0, True),
        lambda: tune(assignments=assignments, root=tmp_path / "runs"),
        lambda: bench.data(assignments=assignments),
    ):
        with pytest.raises(ConfigError, match=message):
            start()
    assert not list(tmp_path.iterdir())


def test_no_component_is_wired_to_dataflow_in_a_local_run(tmp_path):
    config = load_config(overrides={"data.dataset": "synthetic"} | DATAFLOW)
    platform = local_platform(Locations(str(tmp_path), tmp_path), "small", config.beam)
    with pytest.raises(ConfigError, match="dataflow is for runs on Vertex AI"):
        create_pipeline(config, platform)


def test_recommend_takes_the_section_of_one_job():
    assert prediction._runner(["beam.workers=2"]) == BeamConfig(workers=2)
    with pytest.raises(ConfigError, match=r"^beam\.runner: dataflow is for runs on Vertex AI"):
        prediction._runner(["beam.runner=dataflow", f"beam.image={IMAGE}"])
    with pytest.raises(ConfigError, match=r"for a run on this machine, add --set beam\.runner=local"):
        prediction._runner(["beam.runner=dataflow"])
    with pytest.raises(ConfigError, match=r"--set beam\.components: recommend is one job"):
        prediction._runner(["beam.components={Evaluator: {runner: local}}"])
