"""The section `beam` of the experiment file, and the options of Apache Beam that follow from it.

This module imports neither Beam nor TensorFlow, because `recspan --help` reads it too.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from trainer_module.frozen import Frozen

# Keys that each runner takes beside `runner`, and those of them that it needs.
_KEYS_OF_RUNNER: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "local": (("workers",), ()),
    "flink": (("job_endpoint", "environment", "environment_config", "parallelism"), ("job_endpoint",)),
    "spark": (("job_endpoint", "environment", "environment_config"), ("job_endpoint",)),
}


class LocalBeamConfig(Frozen):
    """Where a local run and `recommend --all-users` execute their Beam jobs; on Vertex AI, `vertex.beam` says so.

    Attributes:
        runner: `local` runs in this process, `flink` and `spark` submit jobs to a cluster through Beam's job server.
        workers: For `local`: number of worker processes; 1 is a thread of this process, and so is None.
        job_endpoint: For `flink` and `spark`: address of Beam's job server.
        environment: For `flink` and `spark`: how Python workers start. `external`: worker pools that are already
            running; `docker`: containers; `process`: a command. None is `external`.
        environment_config: Address of the worker pool for `external`, image for `docker`, JSON for `process`.
        parallelism: For `flink`: number of parallel tasks; None takes the cluster's default.
    """

    runner: Literal["local", "flink", "spark"] = "local"
    workers: int | None = Field(default=None, ge=1)
    job_endpoint: str = Field(default="", pattern=r"^([\w.-]+:\d+)?$")
    environment: Literal["external", "docker", "process"] | None = None
    environment_config: str = ""
    parallelism: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _refuse_dataflow(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("runner") == "dataflow":
            raise ValueError(
                "runner: dataflow cannot read the artifacts of a local run, which lie on this machine. Run on Vertex "
                "AI with vertex.beam.runner: dataflow (docs/vertex.md), or take local, flink or spark"
            )
        return values

    @model_validator(mode="after")
    def _check(self) -> "LocalBeamConfig":
        taken, needed = _KEYS_OF_RUNNER[self.runner]
        given = {name for name in type(self).model_fields if getattr(self, name)}
        if foreign := sorted(given - {"runner", *taken}):
            raise ValueError(
                f"{', '.join(foreign)}: runner {self.runner} has no such option. It takes {', '.join(taken)}; remove "
                "the key, or choose another runner"
            )
        if missing := [name for name in needed if not getattr(self, name)]:
            raise ValueError(
                f"runner {self.runner} needs {', '.join(missing)}, the host and port of Beam's job server, as in "
                "localhost:8099 (docs/scale.md)"
            )
        if self.runner != "local" and not self.environment_config:
            raise ValueError(
                f"environment {self._environment} needs environment_config: the address of a worker pool for external, "
                "an image for docker, JSON for process (docs/scale.md)"
            )
        return self

    @property
    def _environment(self) -> str:
        return self.environment or "external"

    def args(self) -> tuple[str, ...]:
        """Returns the options of a Beam pipeline."""
        if self.runner == "local":
            return in_process_args(self.workers or 1)
        return (
            # Flink's and Spark's own runner classes in Python would download a job server and start it.
            "--runner=PortableRunner",
            f"--job_endpoint={self.job_endpoint}",
            f"--environment_type={self._environment.upper()}",
            f"--environment_config={self.environment_config}",
            *((f"--parallelism={self.parallelism}",) if self.parallelism else ()),
            # The workers have the product and Beam installed; nothing is packed for them.
            "--sdk_location=container",
            "--sdk_container_image=none",
        )


def in_process_args(workers: int = 1) -> tuple[str, ...]:
    """Returns the options of Beam's in-process runner.

    Args:
        workers: One worker is a thread of this process. More are processes, each of which imports TensorFlow again.
    """
    return (
        # Without a name, Beam first downloads the binary of another runner, Prism, and runs that if it gets it.
        "--runner=FnApiRunner",
        f"--direct_running_mode={'in_memory' if workers == 1 else 'multi_processing'}",
        f"--direct_num_workers={workers}",
        # No container is started here. Unless an image is named, TFX packs its own sources for remote workers: 52 MB
        # per component that stay in the directory for temporary files.
        "--sdk_container_image=none",
    )
