"""The section `beam` and the Beam options that follow from it."""

import pytest

from pipeline.beam import in_process_args
from pipeline.config import load_config
from trainer_module.errors import ConfigError

FLINK = {"beam.runner": "flink", "beam.job_endpoint": "localhost:8099", "beam.environment_config": "localhost:50000"}


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
        ({"beam.runner": "dataflow"}, "vertex.beam.runner"),
        ({"beam.runner": "flink"}, "needs job_endpoint"),
        ({"beam.runner": "flink", "beam.job_endpoint": "localhost:8099"}, "needs environment_config"),
        (FLINK | {"beam.workers": 2}, "workers: runner flink has no such option"),
        (FLINK | {"beam.runner": "spark", "beam.parallelism": 2}, "parallelism: runner spark"),
        ({"beam.parallelism": 2}, "parallelism: runner local"),
        (FLINK | {"beam.job_endpoint": "localhost"}, "beam.job_endpoint"),
        ({"beam.runer": "flink"}, "Did you mean beam.runner?"),
    ],
)
def test_what_does_not_fit_the_runner_is_refused(overrides, words):
    with pytest.raises(ConfigError, match=words.replace(".", r"\.").replace("?", r"\?")):
        load_config(overrides=overrides)


def test_the_runner_is_no_part_of_what_components_are_told():
    assert load_config(overrides=FLINK).without_local_paths() == load_config().without_local_paths()
