"""The section `vertex` of the experiment file.

This module imports no Google library, because `recspan --help` reads it too.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from croniter import croniter
from pydantic import AfterValidator, Field, model_validator

from components.google_cloud.names import Image, Uri
from components.google_cloud.target import Target
from components.vertex_deployer.config import DeployConfig
from trainer_module.frozen import Frozen


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
    """Checks five fields in cron's syntax. Macros such as `@daily` and a prefix `TZ=` are refused."""
    fields = text.split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError(
            "expected five fields, minute, hour, day of month, month and day of week, as in `0 3 * * *` for three "
            "o'clock every night (set the time zone with the key time_zone)"
        )
    for number, (field, (name, low, high, words)) in enumerate(zip(fields, _CRON_FIELDS, strict=True)):
        alone = ["*"] * len(_CRON_FIELDS)
        alone[number] = field
        # croniter also takes letters that cron does not have, such as L for the last day.
        known_words = all(word.lower() in words for word in re.findall("[A-Za-z]+", field))
        if not (field.isascii() and known_words and croniter.is_valid(" ".join(alone))):
            raise ValueError(
                f"{field!r} is not a valid {name}: expected *, a number or a range from {low} to {high}, */STEP, or "
                "several of these separated by commas"
            )
    return " ".join(fields)


class TrainerMachine(Frozen):
    """Machine of the custom job in which the Trainer runs; see `machines.machine_names`.

    Attributes:
        machine: Machine type, as in `n1-standard-16` or `ct5lp-hightpu-4t`, or TPU slice, as in `v5e-8`.
        accelerator: GPU type, as in `NVIDIA_TESLA_T4`; optional for machines with built-in GPUs.
        accelerator_count: Number of GPUs per machine.
        topology: Topology of a TPU slice, as in `2x4`; needed if the machine type does not determine it.
        workers: Number of machines that train together; a TPU slice is one.
        boot_disk_gb: Size of each machine's disk in GB.
    """

    machine: str
    accelerator: str | None = None
    accelerator_count: int | None = Field(default=None, ge=1)
    topology: str | None = None
    workers: int = Field(default=1, ge=1)
    boot_disk_gb: int = Field(default=100, ge=100, le=64_000)


class Schedule(Frozen):
    """Schedule of recurring runs.

    Attributes:
        cron: Five fields: minute, hour, day of month, month, day of week.
        time_zone: Time zone of `cron`, by its name in the IANA database.
        max_concurrent_runs: Largest number of runs at the same time; further runs wait.
        max_runs: Number of runs after which the schedule ends; None means no limit.
        start: Start with an offset from UTC; None means at once.
        end: End with an offset from UTC; None means never.
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
        """`cron` with its time zone, in Vertex AI's syntax."""
        return f"TZ={self.time_zone} {self.cron}"


class VertexConfig(Target):
    """Project, storage, images and machines of the pipeline on Vertex AI.

    Attributes:
        bucket: Directory of artifacts, checkpoints, pushed models and Dataflow's temporary files.
        data: Directory of the raw files; None if all tables are queries.
        image: Image of the pipeline's components, with a tag or digest.
        tpu_image: Image of a Trainer on a TPU; required there.
        trainer: Machine of the Trainer; None trains in the pipeline's own container.
        schedule: Schedule of recurring runs; None means no schedule.
        deploy: Deployment of pushed versions; None leaves them in the bucket.
    """

    bucket: Uri
    data: Uri | None = None
    image: Image
    tpu_image: Literal[""] | Image = ""
    trainer: TrainerMachine | None = None
    schedule: Schedule | None = None
    deploy: DeployConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_beam(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "beam" in values:
            raise ValueError(
                "the keys of vertex.beam are now in the section beam, for local runs and Vertex AI alike. Move them "
                "there, and write runner: local in place of runner: direct (docs/scale.md)"
            )
        return values

    @property
    def target(self) -> Target:
        """The settings that a deployment needs."""
        return Target.model_validate({name: getattr(self, name) for name in Target.model_fields})

    def under_bucket(self, kind: str, pipeline_name: str) -> str:
        """Returns the pipeline's own folder for one kind of files."""
        return f"{self.bucket}/{kind}/{pipeline_name}"

    @property
    def schedules_url(self) -> str:
        """Page of the schedules in Google's console."""
        return self.console_url("vertex-ai/pipelines/schedules")

    def run_url(self, run_name: str) -> str:
        """Returns the page of a run in Google's console."""
        return self.console_url(f"vertex-ai/locations/{self.region}/pipelines/runs/{run_name}")
