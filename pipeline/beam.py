"""The section `beam` of the experiment file, and the options of Apache Beam that follow from it.

This module imports neither Beam nor TensorFlow nor Google's libraries, because `recspan --help` reads it too.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from components.google_cloud.names import Image, Subnetwork
from trainer_module.errors import ConfigError
from trainer_module.frozen import Frozen

BEAM_COMPONENTS = ("ExampleGen", "StatisticsGen", "Transform", "Evaluator")
BeamComponent = Literal["ExampleGen", "StatisticsGen", "Transform", "Evaluator"]

# Keys that each runner takes beside `runner`, and those of them that it needs.
_KEYS_OF_RUNNER: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "local": (("workers",), ()),
    "flink": (
        ("job_endpoint", "environment", "environment_config", "parallelism"),
        ("job_endpoint", "environment_config"),
    ),
    "spark": (("job_endpoint", "environment", "environment_config"), ("job_endpoint", "environment_config")),
    "dataflow": (
        (
            "workers",
            "max_workers",
            "autoscaling",
            "machine_type",
            "disk_gb",
            "image",
            "setup_file",
            "subnetwork",
            "public_ips",
        ),
        ("image",),
    ),
}
_DESCRIPTION_OF_NEEDED = {
    "job_endpoint": "the host and port of Beam's job server, as in localhost:8099 (docs/scale.md)",
    "environment_config": (
        "the address of a worker pool for environment external, an image for docker, JSON for process (docs/scale.md)"
    ),
    "image": (
        "an image that starts Apache Beam's worker. Build it from target dataflow of docker/pipeline.Dockerfile "
        "(docs/images.md). Dataflow is for runs on Vertex AI; for a run on this machine, add --set beam.runner=local"
    ),
}
_NOT_LOCAL = (
    "dataflow is for runs on Vertex AI. Its workers cannot read the artifacts of a local run, which are on this "
    "machine. Add --set beam.runner=local, which drops the keys of other runners from the file's section "
    "(docs/scale.md)"
)


class BeamOptions(Frozen):
    """Runner and Beam options of one component.

    Attributes:
        runner: `local` runs in the component's own process, `flink` and `spark` submit jobs to a cluster through Beam's
            job server, `dataflow` starts Dataflow jobs and is for runs on Vertex AI.
        workers: For `local`: number of worker processes; 1 is a thread of the component's process, and so is None. For
            `dataflow`: number of machines at the start; None lets the service choose.
        job_endpoint: For `flink` and `spark`: address of Beam's job server.
        environment: For `flink` and `spark`: how Python workers start. `external`: worker pools that are already
            running; `docker`: containers; `process`: a command. None is `external`.
        environment_config: For `flink` and `spark`: address of the worker pool for `external`, image for `docker`, JSON
            for `process`.
        parallelism: For `flink`: number of parallel tasks; None takes the cluster's default.
        max_workers: For `dataflow`: largest number of machines under autoscaling.
        autoscaling: For `dataflow`: `throughput`, or `none` for the fixed number `workers`.
        machine_type: For `dataflow`: machine type of the workers.
        disk_gb: For `dataflow`: disk size of the workers in GB.
        image: For `dataflow`: image of the workers, which starts Apache Beam's worker and contains the product.
        setup_file: For `dataflow`: path of the product's `setup.py` relative to the container's working directory, from
            which workers build the product; empty means that they use the product in `image`.
        subnetwork: For `dataflow`: subnetwork of the workers.
        public_ips: For `dataflow`: whether the workers have public addresses.
    """

    runner: Literal["local", "flink", "spark", "dataflow"] = "local"
    workers: int | None = Field(default=None, ge=1)
    job_endpoint: str = Field(default="", pattern=r"^([\w.-]+:\d+)?$")
    environment: Literal["external", "docker", "process"] | None = None
    environment_config: str = ""
    parallelism: int | None = Field(default=None, ge=1)
    max_workers: int | None = Field(default=None, ge=1)
    autoscaling: Literal["throughput", "none"] = "throughput"
    machine_type: str | None = Field(default=None, pattern=r"^[a-z0-9]+-[a-z0-9-]+$")
    disk_gb: int | None = Field(default=None, ge=10)
    image: Literal[""] | Image = ""
    setup_file: str = Field(default="", pattern=r"^([\w.-]+/)*[\w-]+\.py$|^$")
    subnetwork: Literal[""] | Subnetwork = ""
    public_ips: bool = True

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_name(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("runner") == "direct":
            raise ValueError("runner: direct is now called local, for local runs and Vertex AI alike; rename the value")
        return values

    @model_validator(mode="after")
    def _check(self) -> "BeamOptions":
        self._refuse_foreign_keys()
        self._check_dataflow()
        _, needed = _KEYS_OF_RUNNER[self.runner]
        for key in needed:
            if not getattr(self, key):
                raise ValueError(f"runner {self.runner} needs {key}, {_DESCRIPTION_OF_NEEDED[key]}")
        return self

    def _refuse_foreign_keys(self) -> None:
        taken, _ = _KEYS_OF_RUNNER[self.runner]
        fields = BeamOptions.model_fields
        changed = [key for key in fields if key != "runner" and getattr(self, key) != fields[key].default]
        if foreign := [key for key in changed if key not in taken]:
            owners = "; ".join(f"{key} is for {' and '.join(_takers(key))}" for key in foreign)
            raise ValueError(
                f"{', '.join(foreign)}: runner {self.runner} has no such option ({owners}). It takes "
                f"{', '.join(taken)}. Remove the key, or choose another runner"
            )

    def _check_dataflow(self) -> None:
        """Checks Dataflow's keys against each other; with other runners they have their defaults."""
        if self.autoscaling == "none":
            if self.max_workers is not None:
                raise ValueError(
                    "max_workers needs autoscaling: throughput; with autoscaling: none, workers gives the fixed number"
                )
            if self.workers is None:
                raise ValueError("autoscaling: none needs workers, the fixed number of machines")
        if self.workers and self.max_workers and self.workers > self.max_workers:
            raise ValueError(f"workers ({self.workers}) exceeds max_workers ({self.max_workers})")
        if not self.public_ips and not self.subnetwork:
            raise ValueError("public_ips: false needs subnetwork, one with Private Google Access")

    def args(self) -> tuple[str, ...]:
        """Returns the Beam options of a job that does not run on Dataflow; `pipeline.vertex.platform` has the others.

        Raises:
            ConfigError: The runner is `dataflow`.
        """
        if self.runner == "dataflow":
            raise ConfigError(f"beam.runner: {_NOT_LOCAL}")
        if self.runner == "local":
            return in_process_args(self.workers or 1)
        return (
            # Flink's and Spark's own runner classes in Python would download a job server and start it.
            "--runner=PortableRunner",
            f"--job_endpoint={self.job_endpoint}",
            f"--environment_type={(self.environment or 'external').upper()}",
            f"--environment_config={self.environment_config}",
            *((f"--parallelism={self.parallelism}",) if self.parallelism else ()),
            # The workers have the product and Beam installed; nothing is packed for them.
            "--sdk_location=container",
            "--sdk_container_image=none",
        )


class BeamConfig(BeamOptions):
    """Where Beam jobs run: those of local runs, of runs on Vertex AI and of `recommend --all-users`.

    Attributes:
        components: Other options of single components by component id. An entry changes single keys of the section; one
            with another `runner` takes no key from the section.
    """

    components: dict[BeamComponent, BeamOptions] = {}

    @model_validator(mode="before")
    @classmethod
    def _complete_entries(cls, values: Any) -> Any:
        """Adds the section's keys to the entries of `components` that have the same runner."""
        if not isinstance(values, Mapping) or not isinstance(entries := values.get("components"), Mapping):
            return values
        shared = {key: value for key, value in values.items() if key in BeamOptions.model_fields}
        completed = {
            name: {**shared, **entry}
            if isinstance(entry, Mapping) and entry.get("runner", _runner(shared)) == _runner(shared)
            else entry
            for name, entry in entries.items()
        }
        return {**values, "components": completed}

    def of(self, component: str) -> BeamOptions:
        """Returns the options of a component."""
        return self.components.get(component, self)

    def place(self, component: str) -> str:
        """Returns the dotted key of the section that holds a component's options."""
        return f"beam.components.{component}" if component in self.components else "beam"

    def check_local(self) -> None:
        """Checks that all jobs can run in a local run.

        Raises:
            ConfigError: A runner is `dataflow`; the message says how to run without it.
        """
        for place, options in self._placed():
            if options.runner == "dataflow":
                raise ConfigError(f"{place}.runner: {_NOT_LOCAL}")

    def check_on_vertex(self) -> None:
        """Checks that containers on Vertex AI can reach the job servers.

        Raises:
            ConfigError: A job server's address is that of the container itself.
        """
        for place, options in self._placed():
            host = options.job_endpoint.rpartition(":")[0]
            if host in ("localhost", "0.0.0.0") or host.startswith("127."):
                raise ConfigError(
                    f"{place}.job_endpoint: {options.job_endpoint} would be the component's own container on Vertex "
                    "AI, where no job server runs. Name an address that the pipeline's network reaches, or take "
                    "--set beam.runner=local (docs/scale.md)"
                )

    def _placed(self) -> Iterator[tuple[str, BeamOptions]]:
        yield "beam", self
        for component, options in self.components.items():
            yield self.place(component), options


def moved_to(runner: Any, section: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what remains of a file's section `beam` when the command line moves all jobs to one runner.

    Drops `components`, and, if the file's section has another runner, all its keys, because they belong to that runner.

    Args:
        runner: Value of `beam.runner` on the command line.
        section: The section as it stands in the file.
    """
    kept = section if _runner(section) == runner else {}
    return {key: value for key, value in kept.items() if key != "components"}


def _runner(section: Mapping[str, Any]) -> Any:
    """The runner of a section that is not checked yet."""
    return section.get("runner", BeamOptions.model_fields["runner"].default)


def _takers(key: str) -> list[str]:
    """The runners that take a key."""
    return [runner for runner, (taken, _) in _KEYS_OF_RUNNER.items() if key in taken]


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
