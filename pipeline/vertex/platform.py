"""The platform Vertex AI: locations, runners and machines for the pipeline's wiring."""

from typing import Any

from tfx import v1 as tfx
from tfx.dsl.components.base.base_component import BaseComponent

from components.example_gen.config import DataConfig
from components.vertex_deployer.component import VertexDeployer
from components.vertex_deployer.config import DeployConfig
from components.vertex_deployer.requests import DeploymentRequests
from components.vertex_deployer.version import PushedVersion
from pipeline.baseline import latest_blessed_model, latest_drift
from pipeline.beam import BeamConfig, BeamOptions
from pipeline.config import PipelineConfig
from pipeline.platforms import Deployer, Platform
from pipeline.vertex.config import TrainerMachine, VertexConfig
from pipeline.vertex.machines import check_fits, find_machine
from trainer_module import KERAS_SWITCH
from trainer_module.errors import ConfigError
from trainer_module.source_hash import source_hash


def vertex_platform(vertex: VertexConfig, config: PipelineConfig) -> Platform:
    """Returns the platform Vertex AI Pipelines.

    Args:
        vertex: The section `vertex` of `config`.
        config: The experiment.

    Raises:
        ConfigError: The Trainer's machine does not exist or cannot train this experiment, no container can reach Beam's
            job server, or an unchanged query would be answered with old rows.
    """
    name = config.pipeline_name
    check_fits(vertex, config.experiment)
    config.beam.check_on_vertex()
    training: dict[str, Any] = {}
    if vertex.trainer:
        training = {
            "trainer": tfx.extensions.google_cloud_ai_platform.Trainer,
            "trainer_config": custom_job(vertex, vertex.trainer, name),
        }
    return Platform(
        data=vertex.data or config.data.directory,
        artifacts=vertex.under_bucket("artifacts", name),
        checkpoints=vertex.under_bucket("checkpoints", name),
        serving=vertex.under_bucket("serving", name),
        # The service runs the resolver's query before this run blesses a model.
        baseline=lambda candidate: latest_blessed_model(),
        earlier_drift=lambda examples: latest_drift(),
        blessed_before=lambda examples: latest_blessed_model(),
        beam_args=lambda component: beam_args(vertex, config.beam, name, component),
        tables_state=lambda data: _fixed_state(data, config.cache),
        deployer=deployer(vertex, vertex.deploy, name) if vertex.deploy else None,
        **training,
    )


def _fixed_state(data: DataConfig, caches: bool) -> str:
    """The state of queried tables, which nobody asks for on the service: `@as_of` fixes it, or nothing is cached."""
    if caches and (changing := data.unpinned_queries):
        raise ConfigError(
            f"data.{next(iter(changing))}.query: on Vertex AI, nothing asks BigQuery whether its tables have changed, "
            "so that the cache would answer with old rows. Name @as_of in the query and set data.as_of, or set cache: "
            "false"
        )
    return ""


def deployer(vertex: VertexConfig, deploy: DeployConfig, pipeline_name: str) -> Deployer:
    """Returns a function that creates the component VertexDeployer.

    Args:
        vertex: The section `vertex`.
        deploy: The section `vertex.deploy`.
        pipeline_name: Default name of created resources.

    Raises:
        ConfigError: The section names no model id, and the pipeline's name is too long for one.
    """
    # Checks the id. The version's number and dimension are unknown before the push.
    _ = DeploymentRequests(vertex.target, deploy, PushedVersion("", pipeline_name)).model_id

    def make(pushed_model: tfx.types.BaseChannel) -> BaseComponent:
        return VertexDeployer(
            pushed_model=pushed_model,
            target=vertex.target.model_dump_json(),
            deploy=deploy.model_dump_json(),
            pipeline_name=pipeline_name,
            source_hash=source_hash("components.vertex_deployer.component"),
        )

    return make


def custom_job(vertex: VertexConfig, chosen: TrainerMachine, pipeline_name: str) -> dict[str, Any]:
    """Returns the part of the Trainer's custom config that describes its custom job to TFX.

    Args:
        vertex: The section `vertex`.
        chosen: The section `vertex.trainer`.
        pipeline_name: Prefix of the job's display name.

    Raises:
        ConfigError: Vertex AI has no such machine.
    """
    machine = find_machine(chosen)
    container = {
        "image_uri": vertex.tpu_image if machine.slice else vertex.image,
        # The Trainer's entry point imports TensorFlow before the product can select Keras 2.
        "env": [{"name": KERAS_SWITCH, "value": "1"}],
    }
    pool = {
        "machine_spec": machine.spec(),
        "replica_count": 1,
        "disk_spec": {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": chosen.boot_disk_gb},
        "container_spec": container,
    }
    # The first pool holds only the chief. The service sets TF_CONFIG on all machines.
    others = [pool | {"replica_count": chosen.workers - 1}] if chosen.workers > 1 else []
    access = {"service_account": vertex.service_account, "network": vertex.network}
    extension = tfx.extensions.google_cloud_ai_platform
    return {
        extension.ENABLE_VERTEX_KEY: True,
        extension.VERTEX_REGION_KEY: vertex.region,
        extension.TRAINING_ARGS_KEY: {
            "project": vertex.project,
            "display_name": f"{pipeline_name}-trainer",
            "labels": dict(sorted(vertex.labels.items())),
            "job_spec": {
                "worker_pool_specs": [pool, *others],
                **{name: value for name, value in access.items() if value},
            },
        },
    }


def beam_args(vertex: VertexConfig, beam: BeamConfig, pipeline_name: str, component: str) -> tuple[str, ...]:
    """Returns the Beam options of a component.

    Args:
        vertex: The section `vertex`.
        beam: The section `beam`.
        pipeline_name: Name of the folder for temporary files.
        component: Id of the component.
    """
    options = beam.of(component)
    return _dataflow_args(vertex, options, pipeline_name) if options.runner == "dataflow" else options.args()


def _dataflow_args(vertex: VertexConfig, options: BeamOptions, pipeline_name: str) -> tuple[str, ...]:
    temporary = vertex.under_bucket("dataflow", pipeline_name)
    chosen = {
        "num_workers": options.workers,
        "max_num_workers": options.max_workers,
        "machine_type": options.machine_type,
        "disk_size_gb": options.disk_gb,
        "service_account_email": vertex.service_account,
        "subnetwork": options.subnetwork,
        "setup_file": f"./{options.setup_file}" if options.setup_file else None,
    }
    return (
        "--runner=DataflowRunner",
        f"--project={vertex.project}",
        f"--region={vertex.region}",
        f"--temp_location={temporary}/temp",
        f"--staging_location={temporary}/staging",
        # The image contains the product. The option also stops TFX from shipping a package of its own source.
        f"--sdk_container_image={options.image}",
        "--sdk_location=container",
        "--experiments=use_runner_v2",
        f"--autoscaling_algorithm={'THROUGHPUT_BASED' if options.autoscaling == 'throughput' else 'NONE'}",
        *(f"--{name}={value}" for name, value in chosen.items() if value),
        *(() if options.public_ips else ("--no_use_public_ips",)),
        *(f"--labels={key}={value}" for key, value in sorted(vertex.labels.items())),
    )
