"""The window of spans on Vertex AI: what is compiled, and what TFX's driver and executor make of it in a container."""

import json

import pytest
from tfx import v1 as tfx
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor
from tfx.orchestration.kubeflow.v2.file_based_example_gen import driver

from components.example_gen.component import TablesExampleGen
from components.example_gen.config import DataConfig


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    directory = tmp_path_factory.mktemp("days")
    for day in (1, 2, 3):
        rows = [f"{row % 2},u{row % 9}\n" for row in range(100 * day)]
        (directory / f"day-{day}.csv").write_text("clicked,user\n" + "".join(rows))
    return directory


@pytest.fixture(scope="module")
def compiled(days, tmp_path_factory) -> dict:
    clicks = {"files": f"{days}/day-{{SPAN}}.csv", "label": "clicked", "categorical": ["user"]}
    data = DataConfig.model_validate({"interactions": clicks, "task": "click"})
    example_gen = TablesExampleGen(str(days), data.portable(), window=RuntimeParameter("window", int)).with_id(
        "ExampleGen"
    )
    to = tmp_path_factory.mktemp("compiled") / "pipeline.json"
    config = tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(default_image="image")
    runner = tfx.orchestration.experimental.KubeflowV2DagRunner(config, output_filename=str(to))
    runner.run(tfx.dsl.Pipeline(pipeline_name="spans", pipeline_root=str(to.parent), components=[example_gen]))
    return json.loads(to.read_text())


def task(compiled: dict) -> dict:
    return compiled["pipelineSpec"]["root"]["dag"]["tasks"]["ExampleGen"]


def call(compiled: dict, root, **given) -> tuple[dict, dict]:
    """Runs driver and executor as the service would, with some runtime parameters."""
    (executor,) = compiled["pipelineSpec"]["deploymentSpec"]["executors"].values()
    values = {
        name: {"intValue": given[source["componentInputParameter"]]}
        if "componentInputParameter" in source
        else source["runtimeValue"]["constantValue"]
        for name, source in task(compiled)["inputs"]["parameters"].items()
    }
    output = root / "task" / "output.json"
    output.parent.mkdir(parents=True)
    schema = "title: tfx.Examples\ntype: object\n"
    artifact = {"name": "examples/1", "uri": str(root / "examples"), "type": {"instanceSchema": schema}}
    invocation = {
        "inputs": {"parameters": values},
        "outputs": {"artifacts": {"examples": {"artifacts": [artifact]}}, "outputFile": str(output)},
    }
    hook = executor["container"]["lifecycle"]["preCacheCheck"]
    assert hook["command"] == ["python", "-m", driver.__name__]
    replies = []
    for module, arguments in ((driver, hook["args"]), (kubeflow_v2_run_executor, executor["container"]["args"])):
        filled = [json.dumps(invocation) if argument == "{{$}}" else argument for argument in arguments]
        flags = module._parse_flags(["program", *filled])
        module.main(flags)
        replies.append(json.loads(output.read_text()))
    return replies[0], replies[1]


def test_the_window_is_a_parameter_of_the_pipeline(compiled):
    assert task(compiled)["inputs"]["parameters"]["window"] == {"componentInputParameter": "window"}
    assert compiled["pipelineSpec"]["root"]["inputDefinitions"]["parameters"]["window"] == {"type": "INT"}


def test_the_driver_sees_all_spans_and_the_executor_reads_the_window(compiled, tmp_path):
    checked, done = call(compiled, tmp_path, window=2)
    assert "num_files:3" in checked["parameterValues"]["input_fingerprint"]
    (examples,) = done["artifacts"]["examples"]["artifacts"]
    found = examples["metadata"]
    assert (found["spans"], found["span"]) == ("2-3", 3)
    assert sum(found[f"rows_{split}"] for split in ("train", "eval", "test")) == 500


def test_another_window_is_given_when_the_job_is_submitted(compiled, tmp_path):
    _, done = call(compiled, tmp_path, window=0)
    (examples,) = done["artifacts"]["examples"]["artifacts"]
    assert examples["metadata"]["spans"] == "1-3"
