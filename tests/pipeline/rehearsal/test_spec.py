"""What is read from a compiled pipeline, and what is refused before anything runs."""

import json

import pytest

from pipeline.rehearsal.spec import parse_plan, read_job, with_parameters
from trainer_module.errors import ConfigError

from .jobs import MODEL, JobBuilder, constant, container, container_of, resolver


def refusal(builder: JobBuilder) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_plan(builder.job)
    return str(caught.value)


def test_tasks_come_after_those_that_they_need_and_else_by_name():
    builder = (
        JobBuilder()
        .task("a", container(), inputs={"model": "z.model"})
        .task("b", container(), dependentTasks=["a"])
        .task("c", container())
        .task("z", container(), outputs={"model": MODEL})
    )
    assert [task.name for task in parse_plan(builder.job).tasks] == ["c", "z", "a", "b"]


def test_a_parameter_that_another_task_makes_comes_from_before():
    made = {"taskOutputParameter": {"producerTask": "z", "outputParameterKey": "number"}}
    builder = JobBuilder().task("a", container(), parameters={"number": made}).task("z", container())
    assert [task.name for task in parse_plan(builder.job).tasks] == ["z", "a"]


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("parameterIterator", {"itemInput": "x"}, "parameter_iterator"),
        ("artifactIterator", {"itemInput": "x"}, "artifact_iterator"),
        ("iteratorPolicy", {"parallelismLimit": 1}, "iterator_policy"),
        ("retryPolicy", {"maxRetryCount": 1}, "retry_policy"),
        ("triggerPolicy", {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}, "exit handler"),
        ("triggerPolicy", {"condition": "size(x) > 1"}, "condition 'size(x) > 1': 'size(x) > 1' is not understood"),
        ("dependentTasks", ["nobody"], "needs task nobody"),
    ],
)
def test_what_a_task_asks_for_is_refused_by_name(field, value, named):
    message = refusal(JobBuilder().task("odd", container(), **{field: value}))
    assert "nothing was run" in message
    assert "task odd" in message
    assert named in message


@pytest.mark.parametrize(
    ("executor", "named"),
    [
        ({"customJob": {"customJob": {"a": 1}}}, "executor of kind custom_job"),
        ({}, "executor of kind None"),
        ({"container": {"image": "i", "command": ["sh", "-c", "true"]}}, "its image i would run sh -c"),
        ({"container": {"image": "i"}}, "its image i would run its entry point"),
        ({"container": container_of("{{$.pipeline_job_uuid}}")}, "placeholder {{$.pipeline_job_uuid}}"),
        (resolver("model", "uri=1"), "'uri=1' is not understood"),
        ({"importer": {"artifactUri": {"constantValue": {"stringValue": "x"}}}}, "an importer with 0 outputs"),
        (
            {
                "container": container_of("make")
                | {"args": ["--executor_class_path", "tfx.extensions.google_cloud_big_query.pusher.executor.Executor"]}
            },
            "google_cloud_big_query.pusher.executor.Executor drives a service of Google's",
        ),
    ],
)
def test_what_an_executor_does_is_refused_by_name(executor, named):
    message = refusal(JobBuilder().task("odd", executor))
    assert "task odd" in message
    assert named in message


def test_sub_dags_are_refused_by_name():
    builder = JobBuilder().task("odd", container())
    builder.spec["components"]["odd"] = {"dag": {"tasks": {}}}
    assert "task odd: sub-DAG (component odd)" in refusal(builder)


def test_what_the_pipeline_asks_for_is_refused_by_name():
    builder = JobBuilder().task("a", container())
    builder.spec["root"]["dag"]["outputs"] = {"artifacts": {"x": {"artifactSelectors": []}}}
    builder.spec["defaultPipelineRoot"] = "gs://another-bucket"
    message = refusal(builder)
    assert "the pipeline: outputs" in message
    assert "the pipeline: default_pipeline_root" in message


def test_all_that_is_refused_is_named_at_once():
    message = refusal(JobBuilder().task("one", {}).task("two", container(), retryPolicy={"maxRetryCount": 1}))
    assert "task one" in message
    assert "task two" in message


def test_tasks_that_wait_for_each_other_are_refused():
    message = refusal(
        JobBuilder().task("a", container(), dependentTasks=["b"]).task("b", container(), dependentTasks=["a"])
    )
    assert "tasks wait for each other" in message


def test_what_is_no_job_is_refused():
    builder = JobBuilder()
    builder.spec["root"]["dag"]["task"] = {}
    assert 'no field named "task"' in refusal(builder)


def test_another_version_of_the_schema_is_refused():
    builder = JobBuilder()
    builder.spec["schemaVersion"] = "3.0.0"
    assert "schema version '3.0.0'" in refusal(builder)


class TestRuntimeParameters:
    def builder(self) -> JobBuilder:
        builder = JobBuilder().task("a", container(), parameters={"x": {"componentInputParameter": "steps"}})
        builder.spec["root"]["inputDefinitions"] = {"parameters": {"steps": {"type": "INT"}}}
        return builder

    def test_a_missing_value_is_refused_by_name(self):
        assert "runtime parameter steps has no value: give one, as in --parameter steps=" in refusal(self.builder())

    def test_an_unknown_one_is_refused_by_name(self):
        message = refusal(JobBuilder().task("a", container(), parameters={"x": {"componentInputParameter": "steps"}}))
        assert "task a, parameter x: the pipeline has no runtime parameter steps" in message

    def test_a_given_value_takes_the_place_of_the_compiled_one(self):
        job = self.builder().job
        job["runtimeConfig"]["parameters"] = {"steps": {"intValue": "1"}}
        assert parse_plan(job).parameters["steps"].int_value == 1
        assert parse_plan(with_parameters(job, {"steps": 5})).parameters["steps"].int_value == 5
        assert parse_plan(job).parameters["steps"].int_value == 1

    def test_values_of_the_newer_schema_are_plain(self):
        builder = self.builder()
        builder.spec["schemaVersion"] = "2.1.0"
        builder.spec["root"]["inputDefinitions"] = {
            "parameters": {"steps": {"parameterType": "NUMBER_INTEGER", "defaultValue": 3}}
        }
        assert parse_plan(builder.job).parameters["steps"].number_value == 3
        assert parse_plan(with_parameters(builder.job, {"steps": 5})).parameters["steps"].number_value == 5


class TestFile:
    def test_what_was_compiled_is_read(self, tmp_path):
        file = tmp_path / "pipeline.json"
        file.write_text(json.dumps(JobBuilder().task("a", container(), parameters={"x": constant(1)}).job))
        assert [task.name for task in parse_plan(read_job(file)).tasks] == ["a"]

    @pytest.mark.parametrize(("text", "expected"), [("{", "as JSON"), ("{}", "with pipelineSpec and runtimeConfig")])
    def test_anything_else_is_refused(self, tmp_path, text, expected):
        (tmp_path / "pipeline.json").write_text(text)
        with pytest.raises(ConfigError, match=expected):
            read_job(tmp_path / "pipeline.json")
        with pytest.raises(ConfigError, match="cannot be read"):
            read_job(tmp_path / "missing.json")
