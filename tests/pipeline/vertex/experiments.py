"""Experiments that name a place on Vertex AI."""

from typing import Any

from pipeline.config import PipelineConfig, load_config

IMAGE = "us-central1-docker.pkg.dev/my-project/recspan/pipeline:1.0"
TPU_IMAGE = "us-central1-docker.pkg.dev/my-project/recspan/tpu:1.0"

SECTION: dict[str, Any] = {
    "project": "my-project",
    "region": "us-central1",
    "bucket": "gs://my-bucket/recspan",
    "data": "gs://my-bucket/raw",
    "image": IMAGE,
}

# A section `beam` with every key of its runner but `autoscaling` and `setup_file`.
DATAFLOW: dict[str, Any] = {
    "runner": "dataflow",
    "image": "us-central1-docker.pkg.dev/my-project/recspan/dataflow:1.0",
    "workers": 2,
    "max_workers": 20,
    "machine_type": "n1-highmem-4",
    "disk_gb": 50,
    "subnetwork": "regions/us-central1/subnetworks/mine",
    "public_ips": False,
}

# Overrides that make retrieval of the synthetic ratings.
TWO_TOWERS: dict[str, Any] = {
    "data": {"dataset": "synthetic", "task": "retrieval", "split": {"by": "leave-last-out"}},
    "model": {"type": "two_tower"},
    "embeddings": {},
    "evaluation": {},
}


def experiment(vertex: dict[str, Any] | None = None, **overrides: Any) -> PipelineConfig:
    """The synthetic ratings on Vertex AI.

    Args:
        vertex: Added to the section `vertex`.
        overrides: Of other keys; `__` stands for the dot.
    """
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return load_config(
        overrides={"data.dataset": "synthetic", "name": "small"} | keys | {"vertex": SECTION | (vertex or {})}
    )
