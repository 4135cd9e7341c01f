"""The section `vertex` of the experiment file. No Google library here: `recspan --help` reads this too."""

import re
from datetime import datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from trainer_module.frozen import Frozen

BEAM_COMPONENTS = ("ExampleGen", "StatisticsGen", "Transform", "Evaluator")
BeamComponent = Literal["ExampleGen", "StatisticsGen", "Transform", "Evaluator"]

_PROJECT = re.compile(r"([a-z0-9.-]+\.[a-z]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+(-[a-z]+)+[0-9]+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_IMAGE = re.compile(
    r"(?P<registry>[a-z0-9.-]+(:[0-9]+)?)(?P<path>(/[a-z0-9]+([._-]+[a-z0-9]+)*)+)"
    r"(:(?P<tag>\w[\w.-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_SERVICE_ACCOUNT = re.compile(r"[a-z0-9-]{1,63}@[a-z0-9.-]+\.gserviceaccount\.com")
_NETWORK = re.compile(r"projects/[0-9]+/global/networks/[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBNETWORK = re.compile(
    r"(https://www\.googleapis\.com/compute/v1/projects/[a-z0-9.:-]+/)?regions/[a-z0-9-]+/subnetworks/[a-z0-9-]+"
)
_ENDPOINT = re.compile(r"(https?://)?[a-z0-9.-]+(:[0-9]{1,5})?")
# International letters are allowed in labels too, but no service that takes them from here needs any.
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_MOST_LABELS = 64


def _project(value: str) -> str:
    if not _PROJECT.fullmatch(value):
        raise ValueError(
            "expected a project id, as in my-project: 6 to 30 lower-case letters, digits and hyphens, a letter first "
            "(`gcloud projects list` shows it; neither the number nor the display name)"
        )
    return value


def _region(value: str) -> str:
    if not _REGION.fullmatch(value):
        hint = f"; {value[:-2]} is the region of that zone" if _REGION.fullmatch(value[:-2]) else ""
        raise ValueError(f"expected a region, as in us-central1 or europe-west4{hint}")
    return value


def _uri(value: str) -> str:
    """A directory in Cloud Storage, without a slash at its end."""
    scheme, separator, rest = value.partition("://")
    if scheme != "gs" or not separator:
        raise ValueError("expected a URI of Cloud Storage, as in gs://my-bucket or gs://my-bucket/folder")
    bucket, _, path = rest.rstrip("/").partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket or any(len(part) > 63 for part in bucket.split(".")):
        raise ValueError(
            f"{bucket!r} cannot be the name of a bucket: 3 to 63 lower-case letters, digits, hyphens, underscores and "
            "dots, a letter or digit first and last. Expected a URI as in gs://my-bucket/folder"
        )
    if re.search(r"[\s\x00-\x1f*?\[\]#]", path) or "" in path.split("/")[:-1] or {".", ".."} & set(path.split("/")):
        raise ValueError(
            "expected a plain folder after the bucket, without spaces, wildcards, empty parts, `.` and `..`, as in "
            "gs://my-bucket/folder"
        )
    return value.rstrip("/")


def _image(value: str) -> str:
    """An image with its tag or digest."""
    match = _IMAGE.fullmatch(value)
    if not match:
        raise ValueError(
            "expected an image with registry and tag, as in us-central1-docker.pkg.dev/my-project/recspan/pipeline:1.0"
        )
    if not match["tag"] and not match["digest"]:
        raise ValueError(
            f"the image has no tag, and what runs would change with every push; write {value}:TAG, or its digest"
        )
    if match["tag"] == "latest":
        raise ValueError(
            "the tag latest moves with every push, so a cached step may come from other code; give the image a tag of "
            "its own, or name its digest"
        )
    return value


def _matching(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


def _labels(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > _MOST_LABELS:
        raise ValueError(f"{len(labels)} labels; a resource takes {_MOST_LABELS} at most")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise ValueError(
                f"{key!r} cannot be the key of a label: up to 63 lower-case letters, digits, _ and -, a letter first"
            )
        if not _LABEL_VALUE.fullmatch(value):
            raise ValueError(
                f"{value!r} cannot be the value of label {key!r}: up to 63 lower-case letters, digits, _ and -"
            )
    return labels


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
    for field, (name, low, high, words) in zip(fields, _CRON_FIELDS, strict=True):
        for item in field.split(","):
            _check_cron_item(item, name, low, high, words)
    return " ".join(fields)


def _check_cron_item(item: str, name: str, low: int, high: int, words: tuple[str, ...]) -> None:
    spread, slash, step = item.partition("/")
    bounds = [] if spread == "*" else spread.split("-")
    numbers = [words.index(bound.lower()) + low if bound.lower() in words else bound for bound in bounds]
    in_range = all(str(number).isascii() and str(number).isdigit() and low <= int(number) <= high for number in numbers)
    ordered = len(numbers) < 2 or (in_range and len(numbers) == 2 and int(numbers[0]) <= int(numbers[1]))
    stepped = not slash or (step.isascii() and step.isdigit() and int(step) > 0)
    if not (in_range and ordered and stepped):
        raise ValueError(f"{item!r} is no {name}: expected *, a number or a range from {low} to {high}, or */STEP")


Project = Annotated[str, AfterValidator(_project)]
Region = Annotated[str, AfterValidator(_region)]
Uri = Annotated[str, AfterValidator(_uri)]
Image = Annotated[str, AfterValidator(_image)]
ServiceAccount = Annotated[
    str, _matching(_SERVICE_ACCOUNT, "a service account, as in name@my-project.iam.gserviceaccount.com")
]
Network = Annotated[
    str,
    _matching(_NETWORK, "the full name of a network with the project's number, as in projects/12345/global/networks/n"),
]
Subnetwork = Annotated[str, _matching(_SUBNETWORK, "a subnetwork, as in regions/us-central1/subnetworks/name")]
Endpoint = Annotated[str, _matching(_ENDPOINT, "the address of an API, as in us-central1-aiplatform.googleapis.com")]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]


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
                    "max_workers is for autoscaling: throughput; with none there are just as many as workers says"
                )
            if self.workers is None:
                raise ValueError("autoscaling: none needs workers, the number to keep to")
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
                "runner: dataflow needs image, one that starts Apache Beam's worker; target dataflow of "
                "docker/pipeline.Dockerfile makes it (docs/images.md)"
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


class VertexConfig(Frozen):
    """Where and on what the pipeline runs on Vertex AI.

    Attributes:
        project: Its id.
        region: Of everything that is started.
        bucket: Below it lie artifacts, checkpoints, pushed models and Dataflow's temporary files.
        data: Directory of the raw files.
        image: Container of the pipeline's components, with a tag or digest.
        tpu_image: Container of a Trainer on a TPU; needed there.
        service_account: Under which the pipeline, its custom jobs and Dataflow run; by default Compute Engine's.
        network: Peered with the pipeline's and the Trainer's machines.
        labels: Of the run, its custom jobs and its Dataflow jobs.
        trainer: Machine of the Trainer; None trains in the pipeline's own container.
        beam: How components run on Beam.
        schedule: When the pipeline runs by itself.
        endpoint: Address of the Vertex AI API, where it is not the region's public one (Private Service Connect).
    """

    project: Project
    region: Region
    bucket: Uri
    data: Uri
    image: Image
    tpu_image: Literal[""] | Image = ""
    service_account: Literal[""] | ServiceAccount = ""
    network: Literal[""] | Network = ""
    labels: Labels = {}
    trainer: TrainerMachine | None = None
    beam: BeamConfig = BeamConfig()
    schedule: Schedule | None = None
    endpoint: Literal[""] | Endpoint = ""

    @property
    def api(self) -> str:
        """Address of the Vertex AI API."""
        return self.endpoint or f"{self.region}-aiplatform.googleapis.com"

    @property
    def location(self) -> str:
        """Resource name of what everything is created in."""
        return f"projects/{self.project}/locations/{self.region}"

    def under_bucket(self, kind: str, pipeline_name: str) -> str:
        """A folder of the pipeline's own."""
        return f"{self.bucket}/{kind}/{pipeline_name}"

    @property
    def schedules_url(self) -> str:
        """Where a person looks after schedules."""
        return f"https://console.cloud.google.com/vertex-ai/pipelines/schedules?project={self.project}"

    def run_url(self, run_name: str) -> str:
        """Where a person watches a run."""
        where = f"locations/{self.region}/pipelines/runs/{run_name}"
        return f"https://console.cloud.google.com/vertex-ai/{where}?project={self.project}"
