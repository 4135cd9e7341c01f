"""Parsing of compiled pipelines, and what is refused before anything runs."""

import json

import pytest

from pipeline.job_options import with_parameters
from pipeline.rehearsal.spec import parse_plan, read_job
from trainer_module.errors import ConfigError

from .jobs import MODEL, JobBuilder, constant, container, container_of, resolver


def refusal(builder: JobBuilder) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_plan(builder.job)
    return str(caught.value)


def test_tasks_are_in_topological_order_then_by_name():
    builder = (
        JobBuilder()
        .task("a", container(), inputs={"model": "z.model"})
        .task("b", container(), dependentTasks=["a"])
        .task("c", container())
        .task("z", container(), outputs={"model": MODEL})
    )
    assert [task.name for task in parse_plan(builder.job).tasks] == ["c", "z", "a", "b"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("parameterIterator", {"itemInput": "x"}),
        ("artifactIterator", {"itemInput": "x"}),
        ("iteratorPolicy", {"parallelismLimit": 1}),
        ("retryPolicy", {"maxRetryCount": 1}),
        ("triggerPolicy", {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}),
        ("triggerPolicy", {"condition": "true"}),
    ],
)
def test_an_unsupported_field_of_a_task_is_refused(field, value):
    message = refusal(JobBuilder().task("odd", container(), **{field: value}))
    assert "nothing was run:" in message
    assert f"  pipelineSpec.root.dag.tasks.odd.{field} is not supported" in message


@pytest.mark.parametrize(
    ("parameter", "place"),
    [
        ({"taskOutputParameter": {"producerTask": "odd", "outputParameterKey": "n"}}, "taskOutputParameter"),
        ({"runtimeValue": {"constant": 7}}, "runtimeValue.constant"),
        ({"runtimeValue": {"runtimeParameter": "x"}}, "runtimeValue.runtimeParameter"),
        ({"taskFinalStatus": {"producerTask": "odd"}}, "taskFinalStatus"),
    ],
)
def test_an_unsupported_source_of_a_parameter_is_refused(parameter, place):
    message = refusal(JobBuilder().task("odd", container(), parameters={"p": parameter}))
    assert f"  pipelineSpec.root.dag.tasks.odd.inputs.parameters.p.{place} is not supported" in message


@pytest.mark.parametrize(
    ("executor", "place"),
    [
        ({"customJob": {"customJob": {"a": 1}}}, "customJob"),
        ({"importer": {"artifactUri": {"constantValue": {"stringValue": "x"}}}}, "importer"),
        ({"container": container_of("make") | {"env": [{"name": "A", "value": "b"}]}}, "container.env"),
        ({"container": container_of("make") | {"resources": {"cpuLimit": 4}}}, "container.resources"),
        (
            {"resolver": {"outputArtifactQueries": {"model": {"filter": "state=LIVE", "limit": 2}}}},
            "resolver.outputArtifactQueries.model.limit",
        ),
    ],
)
def test_an_unsupported_field_of_an_executor_is_refused(executor, place):
    message = refusal(JobBuilder().task("odd", executor))
    assert f"  pipelineSpec.deploymentSpec.executors.odd_executor.{place} is not supported" in message


@pytest.mark.parametrize(
    ("executor", "problem"),
    [
        ({}, "the executor is neither a container nor a resolver"),
        ({"container": {"image": "i", "command": ["sh", "-c", "true"]}}, "image i would run sh -c"),
        ({"container": {"image": "i"}}, "image i would run its entry point"),
        (
            {"container": container_of("{{$.pipeline_job_uuid}}")},
            "placeholder {{$.pipeline_job_uuid}} is not supported",
        ),
        (
            {
                "container": container_of("make")
                | {"args": ["--executor_class_path", "tfx.extensions.google_cloud_big_query.pusher.executor.Executor"]}
            },
            "tfx.extensions.google_cloud_big_query.pusher.executor.Executor calls a Google service",
        ),
    ],
)
def test_an_executor_that_cannot_run_here_is_refused(executor, problem):
    assert f"  task odd: {problem}" in refusal(JobBuilder().task("odd", executor))


def test_an_unsupported_query_is_refused():
    assert "  task odd, output model: term 'uri=1' of" in refusal(JobBuilder().task("odd", resolver("model", "uri=1")))


def test_a_value_artifact_is_refused():
    builder = JobBuilder().task("odd", container(), outputs={"value": {"instanceSchema": "title: tfx.Integer\n"}})
    assert "  task odd, output value: artifacts of type tfx.Integer are not supported" in refusal(builder)


def test_unsupported_fields_of_a_component_are_refused():
    builder = JobBuilder().task("odd", container())
    builder.spec["components"]["odd"] = {
        "dag": {"tasks": {}},
        "outputDefinitions": {"parameters": {"n": {"type": "INT"}}},
        "inputDefinitions": {"parameters": {"p": {"type": "INT", "defaultValue": 3}}},
    }
    message = refusal(builder)
    for place in ("dag", "outputDefinitions.parameters", "inputDefinitions.parameters.p.defaultValue"):
        assert f"  pipelineSpec.components.odd.{place} is not supported" in message
    assert "task odd" not in message


def test_unsupported_fields_of_the_pipeline_are_refused():
    builder = JobBuilder().task("a", container())
    builder.spec["root"]["dag"]["outputs"] = {"artifacts": {"x": {"artifactSelectors": []}}}
    builder.spec["root"]["outputDefinitions"] = {"artifacts": {"x": {"artifactType": MODEL}}}
    builder.spec["defaultPipelineRoot"] = "gs://another-bucket"
    builder.job["runtimeConfig"]["parameterValues"] = {"x": 1}
    message = refusal(builder)
    for place in (
        "pipelineSpec.root.dag.outputs",
        "pipelineSpec.root.outputDefinitions",
        "pipelineSpec.defaultPipelineRoot",
        "runtimeConfig.parameterValues",
    ):
        assert f"  {place} is not supported" in message


def test_all_problems_are_listed_at_once():
    message = refusal(JobBuilder().task("one", {}).task("two", container(), retryPolicy={"maxRetryCount": 1}))
    assert "task one" in message
    assert "tasks.two.retryPolicy" in message


def test_a_missing_task_is_refused():
    message = refusal(JobBuilder().task("odd", container(), dependentTasks=["nobody"]))
    assert "task odd needs task nobody, which the pipeline does not have" in message


def test_a_missing_component_or_executor_is_refused():
    builder = JobBuilder().task("a", container()).task("b", container())
    del builder.spec["components"]["a"], builder.spec["deploymentSpec"]["executors"]["b_executor"]
    message = refusal(builder)
    assert "  task a: component 'a' is not defined" in message
    assert "  task b: executor 'b_executor' is not defined" in message


def test_a_cycle_is_refused():
    message = refusal(
        JobBuilder().task("a", container(), dependentTasks=["b"]).task("b", container(), dependentTasks=["a"])
    )
    assert "the tasks form a cycle: a -> b -> a" in message or "the tasks form a cycle: b -> a -> b" in message


def test_an_unknown_field_is_refused():
    builder = JobBuilder()
    builder.spec["root"]["dag"]["task"] = {}
    assert 'no field named "task"' in refusal(builder)


@pytest.mark.parametrize("version", ["2.1.0", "3.0.0"])
def test_another_schema_version_is_refused(version):
    builder = JobBuilder()
    builder.spec["schemaVersion"] = version
    assert f"schema version '{version}', and a rehearsal supports only 2.0.0" in refusal(builder)


class TestRuntimeParameters:
    def builder(self) -> JobBuilder:
        builder = JobBuilder().task("a", container(), parameters={"x": {"componentInputParameter": "steps"}})
        builder.spec["root"]["inputDefinitions"] = {"parameters": {"steps": {"type": "INT"}}}
        return builder

    def test_a_missing_value_is_refused(self):
        assert "runtime parameter steps has no value; add --parameter steps=" in refusal(self.builder())

    def test_an_unknown_parameter_is_refused(self):
        message = refusal(JobBuilder().task("a", container(), parameters={"x": {"componentInputParameter": "steps"}}))
        assert "task a, parameter x: the pipeline has no runtime parameter steps" in message

    def test_a_given_value_replaces_the_compiled_one(self):
        job = self.builder().job
        job["runtimeConfig"]["parameters"] = {"steps": {"intValue": "1"}}
        assert parse_plan(job).parameters["steps"].int_value == 1
        assert parse_plan(with_parameters(job, {"steps": 5})).parameters["steps"].int_value == 5
        assert parse_plan(job).parameters["steps"].int_value == 1


class TestFile:
    def test_a_compiled_file_is_read(self, tmp_path):
        file = tmp_path / "pipeline.json"
        file.write_text(json.dumps(JobBuilder().task("a", container(), parameters={"x": constant(1)}).job))
        assert [task.name for task in parse_plan(read_job(file)).tasks] == ["a"]

    @pytest.mark.parametrize(("text", "expected"), [("{", "as JSON"), ("{}", "with pipelineSpec and runtimeConfig")])
    def test_any_other_file_is_refused(self, tmp_path, text, expected):
        (tmp_path / "pipeline.json").write_text(text)
        with pytest.raises(ConfigError, match=expected):
            read_job(tmp_path / "pipeline.json")
        with pytest.raises(ConfigError, match="cannot be read"):
            read_job(tmp_path / "missing.json")
