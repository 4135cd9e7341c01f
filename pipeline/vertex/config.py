"""The section `vertex` of the experiment file. No Google library here: `recspan --help` reads this too."""

import re
from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from croniter import croniter
from pydantic import AfterValidator, Field, model_validator

from components.google_cloud.names import Image, Subnetwork, Uri
from components.google_cloud.target import Target
from components.vertex_deployer.config import DeployConfig
from trainer_module.frozen import Frozen

BEAM_COMPONENTS = ("ExampleGen", "StatisticsGen", "Transform", "Evaluator")
BeamComponent = Literal["ExampleGen", "StatisticsGen", "Transform", "Evaluator"]


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("expected a time zone of the IANA database, as in UTC or Europe/Berlin") from None
    return name


_CRON_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)


def _cron(text: str) -> str:
    """Five fields of cron's own syntax; macros such as `@daily` and a `TZ=` prefix are not taken."""
    fields = text.split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError(
            "expected five fields, minute, hour, day of month, month and day of week, as in `0 3 * * *` for three "
            "o'clock every night (the time zone has a key of its own, time_zone)"
        )
    for number, (field, (name, low, high, words)) in enumerate(zip(fields, _CRON_FIELDS, strict=True)):
        alone = ["*"] * len(_CRON_FIELDS)
        alone[number] = field
        # croniter also takes letters that cron does not have, such as L for the last day.
        known_words = all(word.lower() in words for word in re.findall("[A-Za-z]+", field))
        if not (field.isascii() and known_words and croniter.is_valid(" ".join(alone))):
            raise ValueError(
                f"{field!r} is no {name}: expected *, a number or a range from {low} to {high}, or */STEP, or several "
                "with commas between them"
            )
    return " ".join(fields)


class TrainerMachine(Frozen):
    """The machine on which the Trainer runs, as a custom job of its own; see `machines.MACHINES`.

    Attributes:
        machine: Type of a machine, as in `n1-standard-16` or `ct5lp-hightpu-4t`, or a TPU slice, as in `v5e-8`.
        accelerator: GPU, as in `NVIDIA_TESLA_T4`; machines that come with theirs need not name it.
        accelerator_count: GPUs per machine.
        topology: Of a TPU slice that the type alone leaves open, as in `2x4`.
        workers: Machines that train together; a TPU slice is one.
        boot_disk_gb: Size of each machine's disk.
    """

    machine: str
    accelerator: str | None = None
    accelerator_count: int | None = Field(default=None, ge=1)
    topology: str | None = None
    workers: int = Field(default=1, ge=1)
    boot_disk_gb: int = Field(default=100, ge=100, le=64_000)


class BeamOptions(Frozen):
    """How one component runs on Beam.

    Attributes:
        runner: `direct` stays in the component's container, `dataflow` starts a Dataflow job.
        workers: Processes of `direct`; machines that Dataflow starts with, None leaves it to the service.
        max_workers: Of Dataflow, under autoscaling.
        autoscaling: Of Dataflow: `throughput`, or `none` keeps to `workers`.
        machine_type: Of Dataflow's workers.
        disk_gb: Of Dataflow's workers.
    """

    runner: Literal["dataflow", "direct"] = "direct"
    workers: int | None = Field(default=None, ge=1)
    max_workers: int | None = Field(default=None, ge=1)
    autoscaling: Literal["throughput", "none"] = "throughput"
    machine_type: str | None = Field(default=None, pattern=r"^[a-z0-9]+-[a-z0-9-]+$")
    disk_gb: int | None = Field(default=None, ge=10)

    @model_validator(mode="after")
    def _check(self) -> "BeamOptions":
        cloud_only = {"max_workers", "autoscaling", "machine_type", "disk_gb"}
        changed = {name for name in cloud_only if getattr(self, name) != type(self).model_fields[name].default}
        if self.runner == "direct" and changed:
            raise ValueError(
                f"{', '.join(sorted(changed))}: only Dataflow has that; set runner: dataflow or leave it out"
            )
        if self.autoscaling == "none":
            if self.max_workers is not None:
                raise ValueError(
                    "max_workers needs autoscaling: throughput; with autoscaling: none, workers gives the fixed number"
                )
            if self.workers is None:
                raise ValueError("autoscaling: none needs workers, the fixed number of machines")
        if self.workers and self.max_workers and self.workers > self.max_workers:
            raise ValueError(f"workers ({self.workers}) exceeds max_workers ({self.max_workers})")
        return self


class BeamConfig(BeamOptions):
    """How components that read or write many rows run on Beam.

    Attributes:
        image: Of Dataflow's workers, which starts Apache Beam's worker and holds the product's code; they need one.
        setup_file: The product's `setup.py`, by its place below the container's working directory, from which workers
            build the code instead of taking it from `image`; empty does not.
        subnetwork: Of Dataflow's workers.
        public_ips: Whether they have addresses on the internet.
        components: Options of single components, by their ids, in place of those above that have the same names.
    """

    image: Literal[""] | Image = ""
    setup_file: str = Field(default="", pattern=r"^([\w.-]+/)*[\w-]+\.py$|^$")
    subnetwork: Literal[""] | Subnetwork = ""
    public_ips: bool = True
    components: dict[BeamComponent, BeamOptions] = {}

    @model_validator(mode="after")
    def _check_network(self) -> "BeamConfig":
        if not self.public_ips and not self.subnetwork:
            raise ValueError("public_ips: false needs subnetwork, one with Private Google Access")
        return self

    @model_validator(mode="after")
    def _check_image(self) -> "BeamConfig":
        if not self.image and "dataflow" in {self.runner, *(each.runner for each in self.components.values())}:
            raise ValueError(
                "runner: dataflow needs image, an image that starts Apache Beam's worker. Build it from target "
                "dataflow of docker/pipeline.Dockerfile (docs/images.md)"
            )
        return self

    def of(self, component: str) -> BeamOptions:
        """The options of a component."""
        return self.components.get(component, self)


class Schedule(Frozen):
    """When the pipeline runs by itself.

    Attributes:
        cron: Five fields: minute, hour, day of month, month, day of week.
        time_zone: Of `cron`, as the IANA database calls it.
        max_concurrent_runs: Runs at the same time; one more waits.
        max_runs: After so many the schedule is done.
        start: With an offset from UTC; by default at once.
        end: With an offset from UTC; by default never.
    """

    cron: Annotated[str, AfterValidator(_cron)]
    time_zone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    max_concurrent_runs: int = Field(default=1, ge=1)
    max_runs: int | None = Field(default=None, ge=1)
    start: datetime | None = None
    end: datetime | None = None

    @model_validator(mode="after")
    def _check(self) -> "Schedule":
        for name in ("start", "end"):
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{name}: expected an offset from UTC, as in 2030-01-31T03:00:00+00:00")
        if self.start and self.end and self.start >= self.end:
            raise ValueError("start must be before end")
        return self

    @property
    def cron_in_zone(self) -> str:
        """As Vertex AI takes it."""
        return f"TZ={self.time_zone} {self.cron}"


class VertexConfig(Target):
    """Where and on what the pipeline runs on Vertex AI.

    Attributes:
        bucket: Below it lie artifacts, checkpoints, pushed models and Dataflow's temporary files.
        data: Directory of the raw files.
        image: Container of the pipeline's components, with a tag or digest.
        tpu_image: Container of a Trainer on a TPU; needed there.
        trainer: Machine of the Trainer; None trains in the pipeline's own container.
        beam: How components run on Beam.
        schedule: When the pipeline runs by itself.
        deploy: What becomes of a pushed version; None leaves it in the bucket.
    """

    bucket: Uri
    data: Uri
    image: Image
    tpu_image: Literal[""] | Image = ""
    trainer: TrainerMachine | None = None
    beam: BeamConfig = BeamConfig()
    schedule: Schedule | None = None
    deploy: DeployConfig | None = None

    @property
    def target(self) -> Target:
        """The part that a deployment needs to know."""
        return Target.model_validate({name: getattr(self, name) for name in Target.model_fields})

    def under_bucket(self, kind: str, pipeline_name: str) -> str:
        """A folder of the pipeline's own."""
        return f"{self.bucket}/{kind}/{pipeline_name}"

    @property
    def schedules_url(self) -> str:
        """Where a person looks after schedules."""
        return self.console_url("vertex-ai/pipelines/schedules")

    def run_url(self, run_name: str) -> str:
        """Where a person watches a run."""
        return self.console_url(f"vertex-ai/locations/{self.region}/pipelines/runs/{run_name}")
