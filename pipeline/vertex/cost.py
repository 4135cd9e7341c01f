"""Estimates the cost of a run on Vertex AI from the compiled pipeline, hours per component and the user's prices."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from components.google_cloud.names import Region
from pipeline.beam import BEAM_COMPONENTS, BeamConfig
from pipeline.config import PipelineConfig, read_settings, vertex_section
from pipeline.job_options import Job
from pipeline.vertex.compile import compile_job
from pipeline.vertex.config import VertexConfig
from pipeline.vertex.machines import BUILT_IN_GPUS, find_machine
from trainer_module.errors import ConfigError
from trainer_module.frozen import Frozen

_TRAINER = "Trainer"
_EXAMPLE = "pipeline/vertex/prices.example.yaml"
_SECONDS_PER_HOUR = 3600

PriceList = dict[str, float | None]


class Prices(Frozen):
    """The user's prices for one region.

    Attributes:
        currency: Currency of all prices.
        region: Region in which the prices apply.
        source: Where and when the user read the prices.
        run: Price of one run of Vertex AI Pipelines.
        component_machine: Machine type of components that request no machine.
        machines: Price per hour by machine type, including built-in GPUs.
        gpus: Price per hour of an attached GPU, by GPU type.
        tpu_chips: Price per hour and chip, by generation, as in `v5e`.
        dataflow_workers: Price per hour and worker, by machine type.
        serving: Price per hour and replica of endpoints and index endpoints, by machine type.
    """

    currency: str = "USD"
    region: Region
    source: str = Field(min_length=1)
    run: float | None = Field(default=None, ge=0)
    component_machine: str = "e2-standard-4"
    machines: PriceList = {}
    gpus: PriceList = {}
    tpu_chips: PriceList = {}
    dataflow_workers: PriceList = {}
    serving: PriceList = {}


@dataclass(frozen=True)
class Use:
    """Billed machines of one kind.

    Attributes:
        component: Component of the pipeline.
        section: Field of `Prices` that holds the price.
        machine: Key in that field.
        count: Number of machines, GPUs or chips.
    """

    component: str
    section: str
    machine: str
    count: int


@dataclass(frozen=True)
class CostLine:
    """Cost of one use of machines.

    Attributes:
        use: The machines.
        hours: Billed hours.
        price: Price per hour of one machine, GPU or chip.
    """

    use: Use
    hours: float
    price: float

    @property
    def cost(self) -> float:
        return self.use.count * self.hours * self.price


@dataclass(frozen=True)
class CostEstimate:
    """Cost of a run and of the machines that keep running after it.

    Attributes:
        currency: Currency of all amounts.
        source: Source of the prices.
        run: Fee of the run itself.
        lines: Costs of the run.
        per_hour: Costs per hour of deployed models and indexes after the run.
    """

    currency: str
    source: str
    run: float
    lines: tuple[CostLine, ...]
    per_hour: tuple[CostLine, ...]

    @property
    def total(self) -> float:
        return self.run + sum(line.cost for line in self.lines)


def estimate_run(
    config: PipelineConfig, prices_file: Path, hours: Mapping[str, float], like: Mapping[str, float]
) -> CostEstimate:
    """Estimates the cost of a run of an experiment.

    Args:
        config: The experiment.
        prices_file: YAML file with `Prices`.
        hours: Hours by component.
        like: Hours of a similar run, for components that `hours` does not name.

    Raises:
        ConfigError: The experiment cannot run on Vertex AI, or hours or prices are missing; the message lists them.
    """
    prices = read_settings(Prices, prices_file, {}, where=f"{prices_file}: ")
    return estimate(config, compile_job(config), prices, prices_file, hours, like)


def estimate(
    config: PipelineConfig,
    job: Job,
    prices: Prices,
    prices_file: Path,
    hours: Mapping[str, float],
    like: Mapping[str, float] | None = None,
) -> CostEstimate:
    """Estimates the cost of a compiled job; see `estimate_run`.

    Raises:
        ConfigError: Hours or prices are missing, or the prices are for another region.
    """
    vertex = vertex_section(config)
    if prices.region != vertex.region:
        raise ConfigError(
            f"{prices_file}: region: the prices are for {prices.region}, but the experiment runs in {vertex.region} "
            "(vertex.region); use a file with prices for that region"
        )
    names = container_components(job)
    known = dict(like or {}) | dict(hours)
    _check_hours(names, hours, known)
    uses = uses_of_run(vertex, config.beam, names, prices.component_machine)
    after = uses_after_run(vertex)
    missing = [] if prices.run is not None else ["run (per run)"]
    for use in dict.fromkeys([*uses, *after]):
        entry = f"{use.section}.{use.machine} (for {use.component})"
        if getattr(prices, use.section).get(use.machine) is None and entry not in missing:
            missing.append(entry)
    if missing:
        raise ConfigError(f"{prices_file}: no price for {', '.join(missing)}. {_EXAMPLE} says where to look prices up")

    def line(use: Use, duration: float) -> CostLine:
        return CostLine(use, duration, getattr(prices, use.section)[use.machine])

    return CostEstimate(
        prices.currency,
        prices.source,
        prices.run or 0.0,
        tuple(line(use, known[use.component]) for use in uses),
        tuple(line(use, 1.0) for use in after),
    )


def container_components(job: Job) -> list[str]:
    """Returns the components that run in a container, sorted. Resolvers cost nothing."""
    spec = job["pipelineSpec"]
    executors = spec["deploymentSpec"]["executors"]
    labels = {name: component.get("executorLabel") for name, component in spec["components"].items()}
    tasks = spec["root"]["dag"]["tasks"]
    return sorted(
        name for name, task in tasks.items() if "container" in executors.get(labels[task["componentRef"]["name"]], {})
    )


def uses_of_run(vertex: VertexConfig, beam: BeamConfig, components: Iterable[str], component_machine: str) -> list[Use]:
    """Lists the machines that a run is billed for. A component's own machine waits for the jobs that it starts.

    Args:
        vertex: The section `vertex`.
        beam: The section `beam`.
        components: Components that run in a container.
        component_machine: Machine type of these containers.

    Raises:
        ConfigError: The section leaves the number or type of Dataflow's workers to the service.
    """
    uses = []
    for name in components:
        uses.append(Use(name, "machines", component_machine, 1))
        if name == _TRAINER:
            uses += _training(vertex)
        elif name in BEAM_COMPONENTS:
            uses += _dataflow(beam, name)
    return uses


def uses_after_run(vertex: VertexConfig) -> list[Use]:
    """Lists the machines that are always billed while a model or index is deployed."""
    deploy = vertex.deploy
    if deploy is None:
        return []
    search = deploy.vector_search.endpoint if deploy.vector_search else None
    places = {"endpoint": deploy.endpoint, "index endpoint": search}
    return [Use(name, "serving", place.machine, place.min_replicas) for name, place in places.items() if place]


def parse_hours(assignments: Sequence[str]) -> dict[str, float]:
    """Parses `COMPONENT=HOURS` texts.

    Raises:
        ConfigError: A text has another form.
    """
    hours = {}
    for assignment in assignments:
        name, _, text = assignment.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not name or not 0 <= value < math.inf:
            raise ConfigError(f"--hours {assignment}: expected COMPONENT=HOURS, as in --hours Trainer=2.5")
        hours[name] = value
    return hours


def hours_like(summary_file: Path, scale: float) -> dict[str, float]:
    """Reads the hours by component from a local run, without components answered from the cache.

    Args:
        summary_file: The run's `summary.json`.
        scale: Factor by which all hours are multiplied.

    Raises:
        ConfigError: The file is not the summary of a local run.
    """
    try:
        components = json.loads(summary_file.read_text(encoding="utf-8"))["components"]
        seconds = {each["component"]: float(each["seconds"]) for each in components if not each["cached"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"--like {summary_file}: expected the summary.json of a local run, as below runs/runs "
            f"({type(error).__name__}: {error})"
        ) from None
    return {component: each * scale / _SECONDS_PER_HOUR for component, each in seconds.items()}


def print_estimate(found: CostEstimate, console: Console) -> None:
    """Prints one line for each use of machines, and the total."""
    table = Table("component", "machine", box=SIMPLE_HEAD)
    for title in ("count", "hours", f"{found.currency} per hour", found.currency):
        table.add_column(title, justify="right")
    for line in found.lines:
        table.add_row(*_cells(line), f"{line.cost:.2f}")
    table.add_row("the run itself", "", "", "", "", f"{found.run:.2f}")
    table.add_section()
    table.add_row("total", "", "", "", "", f"{found.total:.2f}")
    console.print(table)
    for line in found.per_hour:
        console.print(
            f"afterwards, per hour: {line.use.component}, {line.use.count} x {line.use.machine}: {line.cost:.2f} "
            f"{found.currency}",
            highlight=False,
        )
    console.print(
        f"prices: {found.source}. Not included: disks of custom jobs, clusters of Flink and Spark, storage, network, "
        "logs, imports of vectors.",
        highlight=False,
        markup=False,
    )


def _cells(line: CostLine) -> list[str]:
    return [line.use.component, line.use.machine, str(line.use.count), f"{line.hours:.3f}", f"{line.price:g}"]


def _check_hours(names: Sequence[str], given: Iterable[str], known: Iterable[str]) -> None:
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ConfigError(
            f"--hours {', '.join(unknown)}: no container of the compiled pipeline has this name. Known: "
            f"{', '.join(names)}"
        )
    missing = [name for name in names if name not in known]
    if missing:
        raise ConfigError(
            f"no hours for {', '.join(missing)}: give --hours COMPONENT=HOURS for each, or --like the summary.json of "
            "a local run with --no-cache (components answered from the cache have no duration)"
        )


def _training(vertex: VertexConfig) -> list[Use]:
    """Lists the machines of the Trainer's custom job."""
    chosen = vertex.trainer
    if chosen is None:
        return []
    machine = find_machine(chosen)
    if machine.slice:
        return [Use(_TRAINER, "tpu_chips", machine.slice.generation.name, machine.slice.chips)]
    uses = [Use(_TRAINER, "machines", machine.type, chosen.workers)]
    if machine.accelerator and machine.type not in BUILT_IN_GPUS.value:
        uses.append(Use(_TRAINER, "gpus", machine.accelerator, machine.accelerator_count * chosen.workers))
    return uses


def _dataflow(beam: BeamConfig, component: str) -> list[Use]:
    """Lists the largest number of workers that a component's Dataflow job may start."""
    options: Any = beam.of(component)
    if options.runner != "dataflow":
        return []
    count = options.max_workers or options.workers
    for key, value in (("machine_type", options.machine_type), ("max_workers", count)):
        if not value:
            raise ConfigError(
                f"{beam.place(component)}.{key}: Dataflow chooses for {component}, so the cost is unknown. Set this "
                f"key, as in --set {beam.place(component)}.{key}={'n1-standard-4' if key == 'machine_type' else 10}"
            )
    return [Use(component, "dataflow_workers", options.machine_type, count)]
