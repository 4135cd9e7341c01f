"""Vertex AI as the wiring needs to know it."""

from tfx import v1 as tfx

from pipeline.config import PipelineConfig
from pipeline.platforms import Platform
from pipeline.vertex.config import VertexConfig


def vertex_platform(vertex: VertexConfig, config: PipelineConfig) -> Platform:
    """Vertex AI Pipelines.

    Args:
        vertex: The section `vertex` of `config`.
        config: The experiment.
    """
    name = config.pipeline_name
    return Platform(
        data=vertex.data,
        artifacts=vertex.under_bucket("artifacts", name),
        checkpoints=vertex.under_bucket("checkpoints", name),
        serving=vertex.under_bucket("serving", name),
        baseline=_latest_blessed_model,
        beam_args=lambda component: beam_args(vertex, name, component),
    )


def beam_args(vertex: VertexConfig, pipeline_name: str, component: str) -> tuple[str, ...]:
    """Options of Apache Beam for a component.

    Args:
        vertex: The section `vertex`.
        pipeline_name: Names the folders of temporary files.
        component: Its id.
    """
    beam, options = vertex.beam, vertex.beam.of(component)
    if options.runner == "direct":
        workers = options.workers or 1
        mode = "in_memory" if workers == 1 else "multi_processing"
        return ("--runner=DirectRunner", f"--direct_running_mode={mode}", f"--direct_num_workers={workers}")
    temporary = vertex.under_bucket("dataflow", pipeline_name)
    chosen = {
        "num_workers": options.workers,
        "max_num_workers": options.max_workers,
        "machine_type": options.machine_type,
        "disk_size_gb": options.disk_gb,
        "service_account_email": vertex.service_account,
        "subnetwork": beam.subnetwork,
        "setup_file": f"./{beam.setup_file}" if beam.setup_file else None,
    }
    return (
        "--runner=DataflowRunner",
        f"--project={vertex.project}",
        f"--region={vertex.region}",
        f"--temp_location={temporary}/temp",
        f"--staging_location={temporary}/staging",
        # The workers' code is the image's. Naming it also keeps TFX from packing its own, which has none of ours.
        f"--sdk_container_image={beam.image or vertex.image}",
        "--sdk_location=container",
        "--experiments=use_runner_v2",
        f"--autoscaling_algorithm={'THROUGHPUT_BASED' if options.autoscaling == 'throughput' else 'NONE'}",
        *(f"--{name}={value}" for name, value in chosen.items() if value),
        *(() if beam.public_ips else ("--no_use_public_ips",)),
        *(f"--labels={key}={value}" for key, value in sorted(vertex.labels.items())),
    )


def _latest_blessed_model(candidate: tfx.types.BaseChannel) -> tfx.dsl.Resolver:
    """The service finds it by a query of its own, before anything of this run is blessed; `candidate` has no part."""
    del candidate
    return tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    )
