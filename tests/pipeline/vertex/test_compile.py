"""The compiled pipeline, as text and as what the service reads from it."""

import json
import re
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.dsl.component.experimental import decorators
from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.orchestration.kubeflow.decorators import FinalStatusStr
from tfx.orchestration.kubeflow.v2 import pipeline_builder
from tfx.types import standard_artifacts

from components.run_report.refusal import PageSettings
from pipeline.config import Locations, PipelineConfig, load_config, vertex_section
from pipeline.job_options import new_run_name, parse_parameters
from pipeline.platforms import local_platform
from pipeline.rehearsal.spec import ROOT_FIELDS, SUPPORTED_FIELDS, parse_messages, parse_plan, set_fields
from pipeline.run_page.added import Settings
from pipeline.vertex.compile import compile_job, to_json
from pipeline.vertex.leaks import Machine
from pipeline.vertex.platform import vertex_platform
from pipeline.wiring import create_pipeline
from tests.presets import PRESETS_OF_ONE_MODEL
from trainer_module.data.schema import derive_schema
from trainer_module.errors import ConfigError

from .experiments import DATAFLOW, IMAGE, SECTION, TPU_IMAGE, TWO_TOWERS, experiment

BEAM = DATAFLOW | {"components": {"Transform": {"max_workers": 100}, "Evaluator": {"runner": "local"}}}
CLOUD = {
    "service_account": "runs@my-project.iam.gserviceaccount.com",
    "network": "projects/12345/global/networks/mine",
    "labels": {"team": "recommenders", "cost-center": "7"},
    "tpu_image": TPU_IMAGE,
    "trainer": {"machine": "v6e-8"},
}


@pytest.fixture(scope="module")
def plain():
    return compile_job(experiment())


@pytest.fixture(scope="module")
def cloud():
    return compile_job(experiment(CLOUD, beam=BEAM))


@pytest.fixture(scope="module")
def retrieval():
    return compile_job(experiment(**TWO_TOWERS, name=""))


@pytest.fixture(scope="module")
def spans(tmp_path_factory):
    return compile_job(of_table(tmp_path_factory.mktemp("spans"), files="day-{SPAN}/*.csv", window=7))


def container(job, component: str):
    return job["pipelineSpec"]["deploymentSpec"]["executors"][f"{component}_executor"]["container"]


def parameter(job, component: str, name: str):
    inputs = job["pipelineSpec"]["root"]["dag"]["tasks"][component]["inputs"]["parameters"]
    return inputs[name]["runtimeValue"]["constantValue"]["stringValue"]


def flags(job, component: str) -> dict[str, str]:
    """Options of Beam."""
    args = container(job, component)["args"]
    options = args[args.index("{{$}}") + 1 :]
    return dict(option.removeprefix("--").partition("=")[::2] for option in options)


def test_it_is_a_pipeline_job_of_the_services_protos(cloud):
    json_format.ParseDict(cloud, pipeline_spec_pb2.PipelineJob())
    spec = json_format.ParseDict(cloud["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    assert spec.pipeline_info.name == "small"
    json_format.ParseDict(cloud["pipelineSpec"]["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())


def test_the_same_input_gives_the_same_bytes(cloud):
    assert to_json(compile_job(experiment(CLOUD, beam=BEAM))) == to_json(cloud)


def test_the_components_are_those_of_a_local_run(plain, tmp_path):
    config = experiment()
    local = create_pipeline(config, local_platform(Locations(tmp_path / "data", tmp_path), "small", config.beam))
    ours = {component.id for component in local.components}
    tasks = set(plain["pipelineSpec"]["root"]["dag"]["tasks"])
    # The service asks twice: for the blessing, then for the model that it blesses.
    assert tasks == ours - {"Baseline"} | {"Baseline-model-blessing-resolver", "Baseline-model-resolver"}


def test_everything_lies_below_the_bucket(plain):
    assert plain["runtimeConfig"]["gcsOutputDirectory"] == "gs://my-bucket/recspan/artifacts/small"
    assert json.loads(parameter(plain, "Trainer", "custom_config"))["checkpoints"] == (
        "gs://my-bucket/recspan/checkpoints/small"
    )
    assert parameter(plain, "Pusher", "base_directory") == "gs://my-bucket/recspan/serving/small"
    assert parameter(plain, "ExampleGen", "input_base") == "gs://my-bucket/raw"
    assert container(plain, "Trainer")["image"] == IMAGE


def test_nothing_tells_of_this_machine_or_of_a_local_run(cloud):
    text = to_json(cloud)
    machine = Machine.this()
    for name in (*machine.names, *machine.directories, "sqlite", "file://", "localhost"):
        assert name not in text
    assert not re.search(r"(?<![\w/:.])/(?:usr|etc|var|opt|tmp|work|mnt)/", text)
    for component in ("ExampleGen", "StatisticsGen", "Transform"):
        assert not [flag for flag in flags(cloud, component) if flag.startswith("direct")]


def test_beam_components_run_on_dataflow_as_asked(cloud):
    common = {
        "runner": "DataflowRunner",
        "project": "my-project",
        "region": "us-central1",
        "temp_location": "gs://my-bucket/recspan/dataflow/small/temp",
        "staging_location": "gs://my-bucket/recspan/dataflow/small/staging",
        "sdk_container_image": DATAFLOW["image"],
        "autoscaling_algorithm": "THROUGHPUT_BASED",
        "service_account_email": "runs@my-project.iam.gserviceaccount.com",
        "subnetwork": "regions/us-central1/subnetworks/mine",
        "no_use_public_ips": "",
    }
    statistics = flags(cloud, "StatisticsGen")
    assert statistics.items() >= common.items()
    assert statistics.items() >= {"num_workers": "2", "max_num_workers": "20", "machine_type": "n1-highmem-4"}.items()
    assert flags(cloud, "ExampleGen") == statistics
    transform = flags(cloud, "Transform")
    assert transform == statistics | {"max_num_workers": "100"}
    assert flags(cloud, "Evaluator") == {
        "runner": "FnApiRunner",
        "direct_running_mode": "in_memory",
        "direct_num_workers": "1",
        "sdk_container_image": "none",
    }
    assert not flags(cloud, "Trainer")


def test_jobs_go_from_the_container_to_a_job_server_as_asked():
    flink = {
        "runner": "flink",
        "job_endpoint": "flink.example.org:8099",
        "environment": "process",
        "environment_config": '{"command": "/opt/apache/beam/boot"}',
        "parallelism": 16,
        "components": {"Evaluator": {"runner": "local", "workers": 2}},
    }
    config = experiment(beam=flink)
    job = compile_job(config)
    for component in ("ExampleGen", "StatisticsGen", "Transform"):
        args = container(job, component)["args"]
        assert tuple(args[args.index("{{$}}") + 1 :]) == config.beam.args()
    assert flags(job, "Transform")["job_endpoint"] == "flink.example.org:8099"
    assert flags(job, "Evaluator").items() >= {"runner": "FnApiRunner", "direct_num_workers": "2"}.items()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0"])
def test_a_job_server_in_the_container_itself_is_refused(host):
    flink = {"runner": "flink", "job_endpoint": f"{host}:8099", "environment_config": "localhost:50000"}
    with pytest.raises(ConfigError, match=rf"^beam\.job_endpoint: {host}:8099 would be the component's own container"):
        compile_job(experiment(beam=flink))
    with pytest.raises(ConfigError, match=r"^beam\.components\.Transform\.job_endpoint"):
        compile_job(experiment(beam={"components": {"Transform": flink}}))


def test_the_section_beam_changes_nothing_but_beams_options(cloud):
    plain = compile_job(experiment(CLOUD))
    for job, other in ((plain, cloud), (cloud, plain)):
        tasks, others = (each["pipelineSpec"]["root"]["dag"]["tasks"] for each in (job, other))
        assert tasks == others


def test_beam_takes_every_option(cloud):
    from apache_beam.options.pipeline_options import PipelineOptions

    args = container(cloud, "StatisticsGen")["args"]
    options = PipelineOptions(args[args.index("{{$}}") + 1 :])
    known = options.get_all_options(drop_default=True)
    assert known["labels"] == ["cost-center=7", "team=recommenders"]
    assert known["use_public_ips"] is False
    assert set(flags(cloud, "StatisticsGen")) - {"no_use_public_ips"} <= set(known)


def test_the_trainer_is_a_custom_job_on_a_tpu(cloud):
    assert "google_cloud_ai_platform.trainer" in " ".join(container(cloud, "Trainer")["args"])
    config = json.loads(parameter(cloud, "Trainer", "custom_config"))
    job = config["ai_platform_training_args"]
    (pool,) = job["job_spec"]["worker_pool_specs"]
    assert pool["machine_spec"] == {"machine_type": "ct6e-standard-8t", "tpu_topology": "2x4"}
    assert pool["container_spec"]["image_uri"] == TPU_IMAGE
    assert pool["container_spec"]["env"] == [{"name": "TF_USE_LEGACY_KERAS", "value": "1"}]
    assert (job["project"], job["labels"]["team"]) == ("my-project", "recommenders")
    assert job["job_spec"]["service_account"] == "runs@my-project.iam.gserviceaccount.com"
    assert config["ai_platform_enable_vertex"] is True
    assert config["ai_platform_vertex_region"] == "us-central1"


def test_tfx_makes_a_custom_job_of_the_api_from_it(cloud, monkeypatch):
    from google.cloud.aiplatform_v1 import types
    from tfx.extensions.google_cloud_ai_platform import training_clients

    monkeypatch.setattr(training_clients.VertexJobClient, "create_client", lambda self: None)
    args = json.loads(parameter(cloud, "Trainer", "custom_config"))["ai_platform_training_args"]
    assert args.pop("project") == "my-project"
    made = training_clients.VertexJobClient("us-central1").create_training_job(
        {}, {}, {}, "an.Executor", args, None, {}
    )
    job = types.CustomJob(made)
    (pool,) = job.job_spec.worker_pool_specs
    assert pool.machine_spec.tpu_topology == "2x4"
    assert (pool.container_spec.image_uri, pool.replica_count) == (TPU_IMAGE, 1)
    assert list(pool.container_spec.command[:3]) == ["python", "-m", "tfx.scripts.run_executor"]
    assert job.display_name == "small-trainer"


def test_machines_that_train_together_are_a_chief_and_workers():
    config = experiment({"trainer": {"machine": "n1-standard-8", "accelerator": "NVIDIA_TESLA_T4", "workers": 3}})
    trainer = json.loads(parameter(compile_job(config), "Trainer", "custom_config"))
    chief, workers = trainer["ai_platform_training_args"]["job_spec"]["worker_pool_specs"]
    assert (chief["replica_count"], workers["replica_count"]) == (1, 2)
    assert chief["machine_spec"] == workers["machine_spec"]
    assert chief["machine_spec"]["accelerator_type"] == "NVIDIA_TESLA_T4"


def test_the_number_of_steps_is_a_parameter_of_the_run(plain):
    root = plain["pipelineSpec"]["root"]
    assert root["inputDefinitions"]["parameters"] == {"train_args": {"type": "STRING"}}
    assert root["dag"]["tasks"]["Trainer"]["inputs"]["parameters"]["train_args"] == {
        "componentInputParameter": "train_args"
    }
    assert json.loads(plain["runtimeConfig"]["parameters"]["train_args"]["stringValue"]) == {"splits": ["train"]}


def test_caching_and_labels_are_those_of_the_experiment(cloud):
    assert cloud["labels"].items() >= CLOUD["labels"].items()
    assert cloud["pipelineSpec"]["root"]["dag"]["tasks"]["Trainer"]["cachingOptions"] == {"enableCache": True}
    fresh = compile_job(experiment(cache=False))
    assert "cachingOptions" not in fresh["pipelineSpec"]["root"]["dag"]["tasks"]["Trainer"]


def test_retrieval_compiles_with_its_index(retrieval):
    assert retrieval["pipelineSpec"]["pipelineInfo"]["name"] == "synthetic-leave-last-out-two-tower"
    tasks = retrieval["pipelineSpec"]["root"]["dag"]["tasks"]
    assert tasks["RetrievalIndex"]["dependentTasks"] == ["ExampleGen", "Trainer"]
    producer = tasks["Evaluator"]["inputs"]["artifacts"]["model"]["taskOutputArtifact"]["producerTask"]
    assert producer == "RetrievalIndex"


def test_the_files_of_a_table_are_named_without_their_directory(tmp_path):
    data = {"dataset": "csv", "files": f"{tmp_path}/raw/*.csv", "label": "clicked", "categorical": ["city"]}
    schema, dcn = tmp_path / "mine.pbtxt", {"model": {"type": "dcn"}, "embeddings": {}, "evaluation": {}}
    schema.write_text(str(derive_schema(experiment(data=data, **dcn).dataset)))
    config = experiment(data=data | {"schema_file": str(schema)}, **dcn)
    job = compile_job(config)
    assert str(tmp_path) not in to_json(job)
    assert '"pattern": "*.csv"' in parameter(job, "ExampleGen", "input_config")
    # The schema was read here, and what it says travels.
    assert '"city"' in parameter(job, "CuratedSchema", "schema_text")


def test_a_local_path_is_refused_with_its_place(tmp_path):
    for name in ("best", "graph"):
        (tmp_path / name).mkdir()
    (tmp_path / "best" / "checkpoint.index").touch()
    warm = {"checkpoint": f"{tmp_path}/best/checkpoint", "transform_graph": f"{tmp_path}/graph"}
    with pytest.raises(
        ConfigError, match=r"would name .*/best/checkpoint of this machine at .*warm_start\.checkpoint.*gs://"
    ):
        compile_job(experiment(training__warm_start=warm))
    remote = {"checkpoint": "gs://my-bucket/best/checkpoint", "transform_graph": "gs://my-bucket/graph"}
    compile_job(experiment(training__warm_start=remote))


def test_without_a_section_the_message_says_what_is_needed():
    with pytest.raises(ConfigError, match=r"vertex: the experiment has no such section\. It needs at least project"):
        compile_job(experiment().model_copy(update={"vertex": None}))


def test_a_name_that_no_run_can_have_is_refused():
    with pytest.raises(ConfigError, match=r"name: '7-days' .* must begin with a letter .* as in days"):
        compile_job(experiment(name="7-days"))


@pytest.mark.parametrize("preset", PRESETS_OF_ONE_MODEL)
def test_the_names_of_all_presets_are_names_of_runs(preset):
    config = load_config(Path(preset), {"vertex": SECTION})
    assert vertex_section(config) == config.vertex
    assert len(new_run_name(config.pipeline_name)) <= 128


def of_table(tmp_path, **data) -> PipelineConfig:
    """Clicks in a table of one's own."""
    fields = {"dataset": "csv", "label": "clicked", "categorical": ["user"]} | data
    tree = {"name": "small", "data": fields, "model": {"type": "dcn"}, "vertex": SECTION}
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(tree))
    return load_config(file)


def test_the_window_of_spans_is_a_parameter_of_the_run(spans):
    assert spans["runtimeConfig"]["parameters"]["window"] == {"intValue": "7"}
    assert spans["runtimeConfig"]["parameters"]["last_span"] == {"intValue": "-1"}
    assert parse_parameters(spans, ["window=0", "last_span=5"]) == {"window": 0, "last_span": 5}
    inputs = spans["pipelineSpec"]["root"]["dag"]["tasks"]["ExampleGen"]["inputs"]["parameters"]
    assert inputs["window"] == {"componentInputParameter": "window"}
    assert json.loads(inputs["input_config"]["runtimeValue"]["constantValue"]["stringValue"])["splits"] == [
        {"name": "interactions_0", "pattern": "day-*/*.csv"}
    ]


def test_spans_are_compared_with_what_the_service_can_find(spans, plain):
    spec = spans["pipelineSpec"]
    query = spec["deploymentSpec"]["executors"]["EarlierDrift_executor"]["resolver"]["outputArtifactQueries"]["drift"]
    assert query["filter"] == 'schema_title="tfx.Statistics" AND state=LIVE'
    made = [
        component
        for component in spec["components"].values()
        if "container" in spec["deploymentSpec"]["executors"][component["executorLabel"]]
        for output in component.get("outputDefinitions", {}).get("artifacts", {}).values()
        if "tfx.Statistics" in output["artifactType"]["instanceSchema"]
    ]
    # The query knows types alone, so that no other component may make this one.
    assert [component["executorLabel"] for component in made] == ["DriftGate_executor"]
    inputs = spec["root"]["dag"]["tasks"]["DriftGate"]["inputs"]["artifacts"]
    assert inputs["model"]["taskOutputArtifact"]["producerTask"] == "BlessedBefore-model-resolver"
    assert "DriftGate" in spec["root"]["dag"]["tasks"]["Transform"]["dependentTasks"]
    assert "DriftGate" not in plain["pipelineSpec"]["root"]["dag"]["tasks"]


def test_components_that_refuse_write_the_page_of_the_run(spans, plain):
    tasks = spans["pipelineSpec"]["root"]["dag"]["tasks"]
    for component, after in (
        ("ExampleValidator", "StatisticsGen"),
        ("DriftGate", "ExampleValidator"),
        ("Pusher", "Evaluator"),
    ):
        settings = PageSettings.model_validate_json(parameter(spans, component, "page"))
        assert list(settings.upstream)[-1] == component
        assert settings.upstream[component] == (after,)
        assert "examples" in tasks[component]["inputs"]["artifacts"]
    assert set(tasks["Pusher"]["inputs"]["artifacts"]) >= {"statistics", "anomalies", "drift", "model_run"}
    assert "drift" not in plain["pipelineSpec"]["root"]["dag"]["tasks"]["Pusher"]["inputs"]["artifacts"]
    # Trials have no page, and with it no reason to run a gate anew for each of them.
    trial = compile_job(experiment(), only_training=True)
    assert "page" not in trial["pipelineSpec"]["root"]["dag"]["tasks"]["ExampleValidator"]["inputs"]["parameters"]


def test_another_text_about_the_model_runs_nothing_but_the_report(plain):
    card = {"model_card": {"intended_use": "movie nights"}}
    other = compile_job(experiment(**card))
    tasks, others = (job["pipelineSpec"]["root"]["dag"]["tasks"] for job in (plain, other))
    assert [name for name in tasks if tasks[name] != others[name]] == ["RunReport"]


def test_the_report_knows_what_each_component_waited_for(spans):
    upstream = json.loads(parameter(spans, "RunReport", "upstream"))
    assert upstream["StatisticsGen"] == ["ExampleGen"]
    assert "DriftGate" in upstream["Transform"] and "ExampleValidator" in upstream["DriftGate"]
    # Resolvers take no time of their own.
    assert not {"EarlierDrift", "Baseline", "RunReport"} & set(upstream)
    settings = Settings.model_validate_json(parameter(spans, "RunReport", "added_settings"))
    assert [table.name for table in settings.workload.tables] == ["user"]


@decorators.component
def Page(examples: InputArtifact[standard_artifacts.Examples], final_status: Parameter[str]):  # noqa: N802
    """An exit handler that would write the page of a run."""
    del examples, final_status


def test_an_exit_handler_would_have_neither_artifacts_nor_run_parameters():
    """Why the page of a stopped run is written by the component that stops it: what TFX's compiler does."""
    config = experiment()
    pipeline = create_pipeline(config, vertex_platform(vertex_section(config), config))
    (example_gen,) = [each for each in pipeline.components if each.id == "ExampleGen"]
    handler = Page(examples=example_gen.outputs["examples"], final_status=FinalStatusStr())
    spec = pipeline_builder.PipelineBuilder(pipeline, IMAGE, exit_handler=handler).build()
    assert not spec.root.dag.tasks["Page"].inputs.artifacts
    (name,) = [name for name in spec.root.dag.tasks if name != "Page"]
    inner = spec.components[spec.root.dag.tasks[name].component_ref.name]
    trainer = inner.dag.tasks["Trainer"].inputs.parameters["train_args"]
    assert trainer.component_input_parameter == "train_args"
    # The DAG that the Trainer is in has no such parameter, and is given none.
    assert not inner.input_definitions.parameters
    assert not spec.root.dag.tasks[name].inputs.parameters


def test_files_without_spans_have_no_window(tmp_path):
    job = compile_job(of_table(tmp_path, files="clicks/*.csv"))
    assert set(job["runtimeConfig"]["parameters"]) == {"train_args"}


def test_a_rehearsal_supports_exactly_the_fields_that_these_pipelines_have(plain, cloud, retrieval, spans):
    deploy = {"endpoint": {"machine": "n1-standard-4"}}
    deployed = compile_job(experiment({"deploy": deploy}, training__warm_start="last_blessed", cache=False))
    used = set()
    for job in (plain, cloud, retrieval, spans, deployed):
        assert parse_plan(job).tasks
        used |= {(message, field) for _, message, field in set_fields(parse_messages(job))}
    supported = {(message, field) for message, fields in SUPPORTED_FIELDS.items() for field in fields}
    supported |= {("ComponentSpec", field) for field in ROOT_FIELDS}
    assert {each for each in used if each[0] in SUPPORTED_FIELDS} == supported
