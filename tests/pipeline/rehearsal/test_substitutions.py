import json

import pytest

from pipeline.beam import BeamOptions, in_process_args
from pipeline.rehearsal.spec import parse_plan
from pipeline.rehearsal.substitutions import commands, images
from trainer_module.errors import ConfigError

from .jobs import JobBuilder, constant

ENTRY_POINT = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
OWN = ["--executor_class_path", "mine.Executor", "--json_serialized_invocation_args", "{{$}}"]
DATAFLOW = ["--runner=DataflowRunner", "--project=my-project", "--labels=a=b", "--no_use_public_ips"]
DIRECT = list(in_process_args(3))
TRAINER = "tfx.extensions.google_cloud_ai_platform.trainer.executor.GenericExecutor"


def task(args, parameters=None, **fields):
    container = {"image": "registry/image:1", "command": ["python", "-m", ENTRY_POINT], "args": args} | fields
    builder = JobBuilder().task("one", {"container": container}, parameters=parameters)
    (parsed,) = parse_plan(builder.job).tasks
    return parsed


def test_a_command_with_the_direct_runner_is_kept():
    found = commands(task([*OWN, *DIRECT]))
    assert found.executor == ("python", "-m", ENTRY_POINT, *OWN, *DIRECT)
    assert not found.driver
    assert not found.replaced


def test_dataflow_and_its_options_are_replaced_in_driver_and_executor():
    lifecycle = {"preCacheCheck": {"command": ["python", "-m", "driver"], "args": [*OWN[2:], *DATAFLOW]}}
    found = commands(task([*OWN, *DATAFLOW], lifecycle=lifecycle))
    direct = list(in_process_args())
    assert found.executor == ("python", "-m", ENTRY_POINT, *OWN, *direct)
    assert found.driver == ("python", "-m", "driver", *OWN[2:], *direct)
    assert found.replaced == ("one: --runner=DataflowRunner and its options, by --runner=FnApiRunner",)


def test_a_cluster_is_replaced_too():
    flink = BeamOptions(runner="flink", job_endpoint="flink:8099", environment_config="localhost:50000", parallelism=4)
    found = commands(task([*OWN, *flink.args()]))
    assert found.executor == ("python", "-m", ENTRY_POINT, *OWN, *in_process_args())
    assert found.replaced == ("one: --runner=PortableRunner and its options, by --runner=FnApiRunner",)


def test_a_value_that_looks_like_an_option_is_kept():
    found = commands(task(["--json_serialized_inputs_spec_args", "--runner=DataflowRunner"]))
    assert found.executor[-1] == "--runner=DataflowRunner"


def custom_config(**fields):
    pool = {
        "replica_count": 1,
        "machine_spec": {"machine_type": "ct6e-standard-8t"},
        "container_spec": {"image_uri": "registry/tpu:1"},
    }
    config = {"ai_platform_training_args": {"job_spec": {"worker_pool_specs": [pool, pool | {"replica_count": 3}]}}}
    return {"custom_config": constant(json.dumps(config | fields))}


def test_a_custom_job_runs_locally():
    args = ["--executor_class_path", TRAINER, *OWN[2:]]
    found = commands(task(args, custom_config(ai_platform_enable_vertex=True)))
    assert found.executor == ("python", "-m", "pipeline.rehearsal.custom_job", ENTRY_POINT, *args)
    (line,) = found.replaced
    assert "1 x ct6e-standard-8t (registry/tpu:1) and 3 x ct6e-standard-8t (registry/tpu:1)" in line
    assert "on this machine's CPU" in line


def test_a_custom_job_without_worker_pools_is_refused():
    config = {"custom_config": constant('{"ai_platform_enable_vertex": true}')}
    with pytest.raises(ConfigError, match=r"task one: its custom_config has no 'ai_platform_training_args'"):
        commands(task(["--executor_class_path", TRAINER], config))


def test_a_job_of_ai_platform_is_refused():
    with pytest.raises(ConfigError, match="ai_platform_enable_vertex"):
        commands(task(["--executor_class_path", TRAINER], custom_config()))


def test_images_are_named_once():
    assert images([task(OWN), task(OWN)]) == ["registry/image:1"]
