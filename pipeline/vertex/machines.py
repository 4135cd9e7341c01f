"""Tables of the machines on which Vertex AI trains, and checks of an experiment against them.

`pipeline.planning.accelerators` describes the TPUs themselves. This module adds the names that Vertex AI uses.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.planning.accelerators import GENERATION_ALIASES, GENERATIONS, EmbeddingFeature, Fact, Slice, slices_of
from pipeline.vertex.config import TrainerMachine, VertexConfig
from trainer_module.errors import ConfigError
from trainer_module.experiment import Experiment
from trainer_module.suggestions import did_you_mean

COMPUTE_DOC = "https://cloud.google.com/vertex-ai/docs/training/configure-compute"
TPU_DOC = "https://cloud.google.com/vertex-ai/docs/training/training-with-tpu-vm"
MACHINE_SPEC_DOC = "https://cloud.google.com/vertex-ai/docs/reference/rest/v1/MachineSpec"
_ZONES_DOC = "https://cloud.google.com/tpu/docs/regions-zones"
_GKE_DOC = "https://cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus"
_NOT_VERIFIED = "; not verified against the current page"


@dataclass(frozen=True)
class HostFamily:
    """Machine types that differ only in size.

    Attributes:
        prefix: Beginning of the names, as in `n1-standard`.
        sizes: Numbers of virtual CPUs; each is the end of a name.
        gpus: Numbers of GPUs that can be attached, by GPU type and number of virtual CPUs; empty if none can.
    """

    prefix: str
    sizes: tuple[int, ...]
    gpus: dict[str, dict[int, tuple[int, ...]]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.prefix}-{size}" for size in self.sizes)


_UP_TO_4, _UP_TO_8 = (1, 2, 4), (1, 2, 4, 8)
_UP_TO_4_GPUS = {2: _UP_TO_4, 4: _UP_TO_4, 8: _UP_TO_4, 16: _UP_TO_4, 32: (2, 4), 64: (4,), 96: (4,)}
_UP_TO_8_GPUS = {2: _UP_TO_8, 4: _UP_TO_8, 8: _UP_TO_8, 16: (2, 4, 8), 32: (4, 8), 64: (8,), 96: (8,)}
_N1_GPUS = {
    "NVIDIA_TESLA_T4": _UP_TO_4_GPUS,
    "NVIDIA_TESLA_P4": _UP_TO_4_GPUS,
    "NVIDIA_TESLA_P100": _UP_TO_4_GPUS,
    "NVIDIA_TESLA_V100": _UP_TO_8_GPUS,
}

HOST_FAMILIES: Fact[tuple[HostFamily, ...]] = Fact(
    (
        HostFamily("e2-standard", (4, 8, 16, 32), {}),
        HostFamily("e2-highmem", (2, 4, 8, 16), {}),
        HostFamily("e2-highcpu", (16, 32), {}),
        HostFamily("n2-standard", (4, 8, 16, 32, 48, 64, 80), {}),
        HostFamily("n2-highmem", (2, 4, 8, 16, 32, 48, 64, 80), {}),
        HostFamily("n2-highcpu", (16, 32, 48, 64, 80), {}),
        HostFamily("n1-standard", (4, 8, 16, 32, 64, 96), _N1_GPUS),
        HostFamily("n1-highmem", (2, 4, 8, 16, 32, 64, 96), _N1_GPUS),
        HostFamily("n1-highcpu", (16, 32, 64, 96), _N1_GPUS),
        HostFamily("c2-standard", (4, 8, 16, 30, 60), {}),
        HostFamily("m1-ultramem", (40, 80, 160), {}),
        HostFamily("m1-megamem", (96,), {}),
    ),
    COMPUTE_DOC + _NOT_VERIFIED,
    confirmed=False,
)

# Type and number of the GPUs by machine type, for machines with built-in GPUs.
BUILT_IN_GPUS: Fact[dict[str, tuple[str, int]]] = Fact(
    {
        **{f"g2-standard-{size}": ("NVIDIA_L4", 1) for size in (4, 8, 12, 16, 32)},
        "g2-standard-24": ("NVIDIA_L4", 2),
        "g2-standard-48": ("NVIDIA_L4", 4),
        "g2-standard-96": ("NVIDIA_L4", 8),
        **{f"a2-highgpu-{count}g": ("NVIDIA_TESLA_A100", count) for count in (1, 2, 4, 8)},
        "a2-megagpu-16g": ("NVIDIA_TESLA_A100", 16),
        **{f"a2-ultragpu-{count}g": ("NVIDIA_A100_80GB", count) for count in (1, 2, 4, 8)},
        **{f"a3-highgpu-{count}g": ("NVIDIA_H100_80GB", count) for count in (1, 2, 4, 8)},
        "a3-megagpu-8g": ("NVIDIA_H100_MEGA_80GB", 8),
        "a3-ultragpu-8g": ("NVIDIA_H200_141GB", 8),
        "a4-highgpu-8g": ("NVIDIA_B200", 8),
    },
    f"{COMPUTE_DOC}; names of GPUs: {MACHINE_SPEC_DOC}{_NOT_VERIFIED}",
    confirmed=False,
)


@dataclass(frozen=True)
class TpuFamily:
    """Names that Vertex AI uses for the slices of a TPU generation.

    Attributes:
        generation: Name in `accelerators.GENERATIONS`.
        machines: Machine type and topology by number of chips; empty for generations whose slices are named by their
            number of cores.
        accelerator: Accelerator type of slices that are named by their number of cores, on the machine type
            `cloud-tpu`; else empty.
        regions: Regions of the United States with this generation. Other regions are not checked, because no table of
            them was found.
    """

    generation: str
    machines: Fact[dict[int, tuple[str, str]]]
    accelerator: str
    regions: Fact[tuple[str, ...]]


CLOUD_TPU = "cloud-tpu"
_TOPOLOGIES = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}


def _machines(prefix: str) -> dict[int, tuple[str, str]]:
    """Returns machine type and topology by number of chips. Slices of several hosts have machines with four chips."""
    return {chips: (f"{prefix}-{chips if chips <= 8 else 4}t", shape) for chips, shape in _TOPOLOGIES.items()}


_BY_CORES: Fact[dict[int, tuple[str, str]]] = Fact({}, MACHINE_SPEC_DOC)

TPU_FAMILIES: tuple[TpuFamily, ...] = (
    TpuFamily("v2", _BY_CORES, "TPU_V2", Fact(("us-central1",), _ZONES_DOC)),
    TpuFamily("v3", _BY_CORES, "TPU_V3", Fact(("us-central1",), _ZONES_DOC)),
    TpuFamily(
        "v5e",
        Fact(_machines("ct5lp-hightpu"), f"{TPU_DOC}; topologies are those of {_GKE_DOC}, as {MACHINE_SPEC_DOC} says"),
        "",
        Fact(("us-central1", "us-east5", "us-south1", "us-west1", "us-west4"), _ZONES_DOC),
    ),
    TpuFamily(
        "v6e",
        Fact(_machines("ct6e-standard"), f"{TPU_DOC}; topologies are those of {_GKE_DOC}, as {MACHINE_SPEC_DOC} says"),
        "",
        Fact(("us-central1", "us-east1", "us-east4", "us-east5", "us-west1"), _ZONES_DOC),
    ),
)


@dataclass(frozen=True)
class Machine:
    """A machine for training, in the terms of a custom job's `MachineSpec`.

    Attributes:
        type: Machine type.
        accelerator: Type of the GPU or, on `cloud-tpu`, of the TPU; empty if the machine has neither.
        accelerator_count: Number of GPUs or TPU cores.
        topology: Topology of a TPU slice; empty if the number of cores determines it.
        slice: The TPU slice; None if the machine has no TPU.
        regions: Regions of the United States that have this TPU; empty if the machine has no TPU.
    """

    type: str
    accelerator: str = ""
    accelerator_count: int = 0
    topology: str = ""
    slice: Slice | None = None
    regions: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        if self.slice:
            return "TPU"
        return "GPU" if self.accelerator else "CPU"

    @property
    def embedding_features(self) -> tuple[EmbeddingFeature, ...]:
        """Embedding engines that the TPU may have, the likeliest first; empty if the machine has no TPU."""
        return self.slice.generation.features.value if self.slice else ()

    def spec(self) -> dict[str, Any]:
        """Returns the fields of a `MachineSpec` of the Vertex AI API."""
        fields = {
            "machine_type": self.type,
            "accelerator_type": self.accelerator,
            "accelerator_count": self.accelerator_count,
            "tpu_topology": self.topology,
        }
        return {name: value for name, value in fields.items() if value}


def tpu_machines() -> tuple[Machine, ...]:
    """Returns all TPU slices on which Vertex AI trains, by generation, smallest first."""
    generations = {generation.name: generation for generation in GENERATIONS}
    machines = []
    for family in TPU_FAMILIES:
        for tpu in slices_of(generations[family.generation]):
            if family.accelerator:
                machine = Machine(CLOUD_TPU, family.accelerator, tpu.cores, "", tpu, family.regions.value)
            else:
                kind, topology = family.machines.value[tpu.chips]
                machine = Machine(kind, "", 0, topology, tpu, family.regions.value)
            machines.append(machine)
    return tuple(machines)


def machine_names() -> tuple[str, ...]:
    """Returns all valid values of `vertex.trainer.machine`."""
    tpus = tpu_machines()
    names = [name for family in HOST_FAMILIES.value for name in family.names]
    names += BUILT_IN_GPUS.value
    names += dict.fromkeys(machine.type for machine in tpus)
    names += [machine.slice.name for machine in tpus if machine.slice]
    return tuple(names)


def find_machine(chosen: TrainerMachine) -> Machine:
    """Returns the machine that a section `vertex.trainer` names.

    Raises:
        ConfigError: Vertex AI has no such machine; the message lists the valid ones.
    """
    tpu = _tpu(chosen)
    if tpu:
        return tpu
    if chosen.topology:
        raise ConfigError(f"vertex.trainer.topology: {chosen.machine} is not a TPU and has no topology; omit this key")
    if chosen.machine in BUILT_IN_GPUS.value:
        return _with_built_in_gpus(chosen, *BUILT_IN_GPUS.value[chosen.machine])
    for family in HOST_FAMILIES.value:
        if chosen.machine in family.names:
            return _with_attached_gpus(chosen, family)
    names = machine_names()
    raise ConfigError(
        f"vertex.trainer.machine: Vertex AI has no machine type {chosen.machine!r} for training. "
        f"{did_you_mean(chosen.machine, names, always=False)}Known: {', '.join(names)}"
    )


def check_fits(vertex: VertexConfig, experiment: Experiment) -> None:
    """Refuses a machine that cannot train an experiment.

    Raises:
        ConfigError: The message names the key and valid values.
    """
    if vertex.trainer is None:
        if experiment.training.strategy in ("tpu", "multi_worker"):
            raise ConfigError(
                f"training.strategy={experiment.training.strategy} needs vertex.trainer; without it, the Trainer runs "
                "in the pipeline's own container. Set a machine, as in --set vertex.trainer.machine=v6e-8, or set "
                "training.strategy=auto"
            )
        return
    machine = find_machine(vertex.trainer)
    _check_strategy(vertex.trainer, machine, experiment)
    if machine.slice:
        _check_tpu(vertex, machine, machine.slice, experiment)


def _tpu(chosen: TrainerMachine) -> Machine | None:
    """Returns the TPU slice with this slice name or machine type; None if the name is not that of a TPU."""
    prefix, _, size = chosen.machine.lower().partition("-")
    name = f"{GENERATION_ALIASES.get(prefix, prefix)}-{size}"
    machines = tpu_machines()
    named = [machine for machine in machines if machine.slice and machine.slice.name == name]
    of_type = [machine for machine in machines if machine.type == chosen.machine]
    if not named and not of_type:
        generation = [machine for machine in machines if machine.slice and machine.slice.generation.name == prefix]
        if generation:
            known = ", ".join(machine.slice.name for machine in generation if machine.slice)
            raise ConfigError(f"vertex.trainer.machine: Vertex AI has no slice {chosen.machine}. Known: {known}")
        return None
    asked = {
        "accelerator": chosen.accelerator,
        "accelerator_count": chosen.accelerator_count,
        "topology": chosen.topology,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    fitting = [m for m in named or of_type if all(getattr(m, name) == value for name, value in asked.items())]
    if not fitting:
        given = ", ".join(f"{name}={value}" for name, value in asked.items())
        raise ConfigError(
            f"vertex.trainer: {chosen.machine} has no slice with {given}. Valid: {_choices(named or of_type)}"
        )
    if len(fitting) > 1 and any(machine.slice and machine.slice.hosts == 1 for machine in fitting):
        # A machine type may name a slice of one host and the parts of larger slices. Prefer the single host.
        fitting = [machine for machine in fitting if machine.slice and machine.slice.hosts == 1]
    if len(fitting) > 1:
        raise ConfigError(
            f"vertex.trainer: several slices have the machine type {chosen.machine}. Add one of: {_choices(fitting)}"
        )
    return fitting[0]


def _choices(machines: list[Machine]) -> str:
    """Lists the settings by which machines of the same name differ."""
    return ", ".join(
        f"topology={machine.topology}"
        if machine.topology
        else f"accelerator={machine.accelerator} accelerator_count={machine.accelerator_count}"
        for machine in machines
    )


def _with_built_in_gpus(chosen: TrainerMachine, gpu: str, count: int) -> Machine:
    if chosen.accelerator not in (None, gpu):
        raise ConfigError(
            f"vertex.trainer.accelerator: {chosen.machine} comes with {gpu}, not {chosen.accelerator}; omit this key"
        )
    if chosen.accelerator_count not in (None, count):
        raise ConfigError(
            f"vertex.trainer.accelerator_count: {chosen.machine} comes with {count} {gpu}, not "
            f"{chosen.accelerator_count}; omit this key"
        )
    return Machine(chosen.machine, gpu, count)


def _with_attached_gpus(chosen: TrainerMachine, family: HostFamily) -> Machine:
    if not chosen.accelerator:
        if chosen.accelerator_count:
            raise ConfigError(
                f"vertex.trainer.accelerator_count={chosen.accelerator_count} needs vertex.trainer.accelerator, the "
                f"type of GPU. Valid: {', '.join(family.gpus) or 'none on ' + chosen.machine}"
            )
        return Machine(chosen.machine)
    if not family.gpus:
        with_gpus = ", ".join(f"{other.prefix}-*" for other in HOST_FAMILIES.value if other.gpus)
        raise ConfigError(
            f"vertex.trainer.accelerator: {chosen.machine} supports no GPU. Machines that do: {with_gpus}; machines "
            f"with built-in GPUs: {', '.join(BUILT_IN_GPUS.value)}"
        )
    if chosen.accelerator not in family.gpus:
        built_in = [name for name, (gpu, _) in BUILT_IN_GPUS.value.items() if gpu == chosen.accelerator]
        hint = f". {chosen.accelerator} comes with {', '.join(built_in)}" if built_in else ""
        raise ConfigError(
            f"vertex.trainer.accelerator: {chosen.machine} does not support {chosen.accelerator}. Valid: "
            f"{', '.join(family.gpus)}{hint}"
        )
    size = int(chosen.machine.rpartition("-")[2])
    counts = family.gpus[chosen.accelerator][size]
    count = chosen.accelerator_count or counts[0]
    if count not in counts:
        raise ConfigError(
            f"vertex.trainer.accelerator_count: {chosen.machine} supports {_or(counts)} {chosen.accelerator}, not "
            f"{count}"
        )
    return Machine(chosen.machine, chosen.accelerator, count)


def _check_strategy(chosen: TrainerMachine, machine: Machine, experiment: Experiment) -> None:
    strategy = experiment.training.strategy
    valid = {
        "TPU": ("auto", "tpu"),
        "GPU": ("auto", "mirrored", "multi_worker", "cpu"),
        "CPU": ("auto", "cpu", "multi_worker"),
    }[machine.kind]
    if chosen.workers > 1:
        valid = tuple(name for name in valid if name in ("auto", "multi_worker"))
    if machine.kind == "TPU" and chosen.workers > 1:
        raise ConfigError(
            f"vertex.trainer.workers: a TPU slice is one worker, not {chosen.workers}; choose a larger slice instead"
        )
    if strategy not in valid:
        raise ConfigError(
            f"training.strategy={strategy} does not work on {chosen.workers} x {chosen.machine} ({machine.kind}). "
            f"Valid: {', '.join(valid)}"
        )


def _check_tpu(vertex: VertexConfig, machine: Machine, tpu: Slice, experiment: Experiment) -> None:
    if not vertex.tpu_image:
        raise ConfigError(
            f"vertex.tpu_image: {tpu.name} needs the image of TPU workers, which contains TPU builds of TensorFlow and "
            "libtpu. Set this key (docs/images.md)"
        )
    if vertex.region.startswith("us-") and vertex.region not in machine.regions:
        raise ConfigError(
            f"vertex.region: {vertex.region} has no TPU {tpu.generation.name}. In the United States: "
            f"{', '.join(machine.regions)} ({_ZONES_DOC})"
        )
    if tpu.hosts > 1 and not experiment.training.tpu:
        single = [m.slice.name for m in tpu_machines() if m.slice and m.slice.hosts == 1]
        raise ConfigError(
            f"vertex.trainer.machine: {tpu.name} has {tpu.hosts} hosts, so the Trainer needs the slice's address. Set "
            f"training.tpu, or choose a slice with one host: {', '.join(single)}"
        )
    embeddings = experiment.embeddings
    if "V0" in machine.embedding_features:
        if embeddings.placement != "replicated":
            raise ConfigError(
                f"embeddings.placement={embeddings.placement} shards tables over an embedding engine, and "
                f"{tpu.name} has none. Set it to replicated (every core holds every table), or choose a generation "
                f"with an engine: {', '.join(_with_engine())}"
            )
        if embeddings.pipelining:
            raise ConfigError(
                f"embeddings.pipelining needs an embedding engine, and {tpu.name} has none. Set it to false, or choose "
                f"{', '.join(_with_engine())}"
            )
    for key in ("batch_size", "eval_batch_size"):
        size = getattr(experiment.training, key)
        if size is not None and size % tpu.replicas:
            raise ConfigError(
                f"training.{key}={size} is not a multiple of the {tpu.replicas} replicas of {tpu.name}; choose a "
                f"multiple, as in {max(1, round(size / tpu.replicas)) * tpu.replicas}"
            )


def _with_engine() -> list[str]:
    """Returns the generations on Vertex AI that have an embedding engine."""
    names = [m.slice.generation.name for m in tpu_machines() if m.slice and "V0" not in m.embedding_features]
    return list(dict.fromkeys(names))


def _or(counts: tuple[int, ...]) -> str:
    *first, last = map(str, counts)
    return f"{', '.join(first)} or {last}" if first else last
