"""Facts about TPU machines with their sources, and a parser for the names of slices.

Every number is a `Fact` that names its source. A number that no public document states, or that is only inferred, has
`confirmed=False`; `recspan plan` lists those under its result. This module does not import TensorFlow.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Generic, Literal, TypeVar

from trainer_module.errors import ConfigError
from trainer_module.suggestions import did_you_mean

T = TypeVar("T")

GIB = 2**30

EmbeddingFeature = Literal["V0", "V1", "V2"]
"""Hardware that looks up embeddings: only the TensorCore (V0), the first accelerator (V1), SparseCores (V2).

TensorFlow's names are `UNSUPPORTED`, `V1` and `V2` (`tf.tpu.experimental.HardwareFeature.EmbeddingFeature`).
"""

HBM_RESERVE_FRACTION = 0.25
"""Part of the HBM that a plan leaves free of tables: for the dense part with its optimizer slots and gradients, for
activations, buffers of ids and the program. A choice that was never measured on a TPU."""


@dataclass(frozen=True)
class Fact(Generic[T]):
    """A value and where it comes from.

    Attributes:
        value: In the unit that the holder's documentation gives.
        source: Address or title of the document, or what it was inferred from.
        confirmed: Whether the source states it.
    """

    value: T
    source: str
    confirmed: bool = True


@dataclass(frozen=True)
class Generation:
    """A generation of TPU chips.

    Attributes:
        name: As it begins the name of a slice.
        unit: What the number in the name of a slice counts.
        sizes: The numbers that a name may hold, smallest first.
        cores_per_chip: TensorCores.
        hbm_per_chip: Bytes.
        features: What TensorFlow reports as the embedding accelerator, the likeliest first.
        sparse_cores_per_chip: 0 without any.
        replicas_per_chip: Replicas of a `TPUStrategy`. Two TensorCores that share their HBM ("megacore") are one.
        chips_per_host: Of a slice on several hosts (TPU VMs).
        chips_of_one_host: The largest slice on a single host.
        host_memory_per_chip: Bytes of the host's memory, divided by its chips; None where no document was found.
        remarks: What a reader of a plan should know.
    """

    name: str
    unit: Literal["TensorCores", "chips"]
    sizes: Fact[tuple[int, ...]]
    cores_per_chip: Fact[int]
    hbm_per_chip: Fact[int]
    features: Fact[tuple[EmbeddingFeature, ...]]
    sparse_cores_per_chip: Fact[int]
    replicas_per_chip: Fact[int]
    chips_per_host: Fact[int]
    chips_of_one_host: Fact[int]
    host_memory_per_chip: Fact[int | None]
    remarks: tuple[str, ...] = ()

    @property
    def slice_names(self) -> tuple[str, ...]:
        return tuple(f"{self.name}-{size}" for size in self.sizes.value)

    @property
    def unconfirmed(self) -> tuple[tuple[str, Fact], ...]:
        """Names and facts that no document states."""
        facts = ((field.name, getattr(self, field.name)) for field in fields(self))
        return tuple((name, fact) for name, fact in facts if isinstance(fact, Fact) and not fact.confirmed)


_V2_DOC = "https://cloud.google.com/tpu/docs/v2"
_V3_DOC = "https://cloud.google.com/tpu/docs/v3"
_V4_DOC = "https://cloud.google.com/tpu/docs/v4"
_V5E_DOC = "https://cloud.google.com/tpu/docs/v5e"
_V5P_DOC = "https://docs.cloud.google.com/tpu/docs/v5p"
_V6E_DOC = "https://docs.cloud.google.com/tpu/docs/v6e"
_ZONES_DOC = "https://cloud.google.com/tpu/docs/regions-zones (TPU types with total TPU memory)"
_ARCHITECTURE_DOC = "https://docs.cloud.google.com/tpu/docs/system-architecture-tpu-vm"
_SPARSECORE_DOC = "https://openxla.org/xla/sparsecore (specifications at a glance)"
_EMBEDDING_BLOG = (
    "https://cloud.google.com/blog/topics/developers-practitioners/building-large-scale-recommenders-using-cloud-tpus"
)
_CHIPS_DOC = "https://docs.jax.dev/en/latest/_autosummary/jax.experimental.pallas.tpu.ChipVersion.html"
_TPU_INFO_SOURCE = "https://github.com/jax-ml/jax, jax/_src/pallas/mosaic/tpu_info.py"
_SLICES_SOURCE = "https://github.com/AI-Hypercomputer/xpk, src/xpk/core/system_characteristics.py"
_NOT_FOUND = "no document found"

_FOUR_CHIPS = Fact(4, _SLICES_SOURCE)
_FOUR_CHIPS_OF_OLD = Fact(4, "Google Kubernetes Engine's machine types ct2-hightpu-4t, ct3-hightpu-4t, ct3p-hightpu-4t")
_NO_SPARSE_CORES = Fact(0, _TPU_INFO_SOURCE)
_MEGACORE = Fact(
    1, f"inferred: {_CHIPS_DOC} lists megacore support; TensorFlow's own count is not documented", confirmed=False
)
_E_SIZES = (1, 4, 8, 16, 32, 64, 128, 256)

GENERATIONS: tuple[Generation, ...] = (
    Generation(
        name="v2",
        unit="TensorCores",
        sizes=Fact((8, 32, 128, 256, 512), _V2_DOC),
        cores_per_chip=Fact(2, _CHIPS_DOC),
        hbm_per_chip=Fact(16 * GIB, _ZONES_DOC),
        features=Fact(("V1",), "inferred: as v3, the generation after it", confirmed=False),
        sparse_cores_per_chip=_NO_SPARSE_CORES,
        replicas_per_chip=Fact(2, _CHIPS_DOC),
        chips_per_host=_FOUR_CHIPS_OF_OLD,
        chips_of_one_host=_FOUR_CHIPS_OF_OLD,
        host_memory_per_chip=Fact(None, _NOT_FOUND, confirmed=False),
    ),
    Generation(
        name="v3",
        unit="TensorCores",
        sizes=Fact((8, 32, 64, 128, 256, 512, 1024, 2048), _ZONES_DOC),
        cores_per_chip=Fact(2, _V3_DOC),
        hbm_per_chip=Fact(32 * GIB, _V3_DOC),
        features=Fact(("V1",), f"inferred: {_EMBEDDING_BLOG} reports TPUEmbedding on v3-32", confirmed=False),
        sparse_cores_per_chip=_NO_SPARSE_CORES,
        replicas_per_chip=Fact(2, _CHIPS_DOC),
        chips_per_host=_FOUR_CHIPS_OF_OLD,
        chips_of_one_host=_FOUR_CHIPS_OF_OLD,
        host_memory_per_chip=Fact(None, _NOT_FOUND, confirmed=False),
    ),
    Generation(
        name="v4",
        unit="TensorCores",
        sizes=Fact(
            (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096), f"{_SLICES_SOURCE}; only powers of two are listed here"
        ),
        cores_per_chip=Fact(2, _V4_DOC),
        hbm_per_chip=Fact(32 * GIB, _V4_DOC),
        features=Fact(
            ("V2", "V1"),
            f"inferred: {_SPARSECORE_DOC} gives a v4 SparseCores, but {_EMBEDDING_BLOG} of 2022 used the V1 interface "
            "on it; ask strategy.extended.tpu_hardware_feature.embedding_feature on the machine",
            confirmed=False,
        ),
        sparse_cores_per_chip=Fact(4, _SPARSECORE_DOC),
        replicas_per_chip=_MEGACORE,
        chips_per_host=_FOUR_CHIPS,
        chips_of_one_host=_FOUR_CHIPS,
        host_memory_per_chip=Fact(None, _NOT_FOUND, confirmed=False),
        remarks=(
            f"{_EMBEDDING_BLOG} speaks of about 200 GB of embeddings on a v4-8. Its four chips have 128 GiB of HBM by "
            f"{_V4_DOC}, and this plan counts on no more.",
        ),
    ),
    Generation(
        name="v5e",
        unit="chips",
        sizes=Fact(_E_SIZES, _V5E_DOC),
        cores_per_chip=Fact(1, _V5E_DOC),
        hbm_per_chip=Fact(16 * GIB, _V5E_DOC),
        features=Fact(("V0",), f"{_V6E_DOC}: SparseCore is a special feature of v6e, v5e has none"),
        sparse_cores_per_chip=_NO_SPARSE_CORES,
        replicas_per_chip=Fact(1, _V5E_DOC),
        chips_per_host=_FOUR_CHIPS,
        chips_of_one_host=Fact(8, _V5E_DOC),
        host_memory_per_chip=Fact(64 * GIB, f"{_V6E_DOC}: 512 GiB of DRAM per host of 8 chips; a VM may get less"),
        remarks=("A v5e has no embedding accelerator: every replica holds every table whole.",),
    ),
    Generation(
        name="v5p",
        unit="TensorCores",
        sizes=Fact(
            (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 12288), f"{_V5P_DOC}; v5p-32: {_SLICES_SOURCE}"
        ),
        cores_per_chip=Fact(2, _V5P_DOC),
        hbm_per_chip=Fact(95 * GIB, _V5P_DOC),
        features=Fact(("V2",), _SPARSECORE_DOC),
        sparse_cores_per_chip=Fact(4, _V5P_DOC),
        replicas_per_chip=_MEGACORE,
        chips_per_host=Fact(4, _V5P_DOC),
        chips_of_one_host=Fact(4, _V5P_DOC),
        host_memory_per_chip=Fact(112 * 10**9, f"{_V5P_DOC}: 448 GB in a VM of 4 chips"),
    ),
    Generation(
        name="v6e",
        unit="chips",
        sizes=Fact(_E_SIZES, _V6E_DOC),
        cores_per_chip=Fact(1, _V6E_DOC),
        # The page says GB; OpenXLA's table says GiB of the same chip.
        hbm_per_chip=Fact(32 * GIB, _SPARSECORE_DOC),
        features=Fact(("V2",), _SPARSECORE_DOC),
        sparse_cores_per_chip=Fact(2, _ARCHITECTURE_DOC),
        replicas_per_chip=Fact(1, _V6E_DOC),
        chips_per_host=Fact(4, _V6E_DOC),
        chips_of_one_host=Fact(8, _V6E_DOC),
        host_memory_per_chip=Fact(192 * GIB, f"{_V6E_DOC}: 1536 GiB of DRAM per host of 8 chips; a VM may get less"),
    ),
)

GENERATION_ALIASES = {"v5litepod": "v5e", "v5lite": "v5e"}


@dataclass(frozen=True)
class Slice:
    """A number of connected chips of one generation, as a TPU is ordered and named.

    Attributes:
        generation: Of its chips.
        chips: How many.
    """

    generation: Generation
    chips: int

    @property
    def name(self) -> str:
        return f"{self.generation.name}-{self.cores if self.generation.unit == 'TensorCores' else self.chips}"

    @property
    def cores(self) -> int:
        """TensorCores."""
        return self.chips * self.generation.cores_per_chip.value

    @property
    def replicas(self) -> int:
        return self.chips * self.generation.replicas_per_chip.value

    @property
    def cores_per_replica(self) -> int:
        return self.cores // self.replicas

    @property
    def hosts(self) -> int:
        if self.chips <= self.generation.chips_of_one_host.value:
            return 1
        return self.chips // self.generation.chips_per_host.value

    @property
    def sparse_cores(self) -> int:
        return self.chips * self.generation.sparse_cores_per_chip.value

    @property
    def hbm_per_replica(self) -> int:
        """Bytes."""
        return self.generation.hbm_per_chip.value // self.generation.replicas_per_chip.value

    @property
    def host_memory(self) -> int | None:
        """Bytes of one host's memory; None where it is not documented."""
        per_chip = self.generation.host_memory_per_chip.value
        return None if per_chip is None else per_chip * self.chips // self.hosts


def slices_of(generation: Generation) -> tuple[Slice, ...]:
    """All slices of a generation, smallest first."""
    per_size = generation.cores_per_chip.value if generation.unit == "TensorCores" else 1
    return tuple(Slice(generation, size // per_size) for size in generation.sizes.value)


def parse_slice(name: str) -> Slice:
    """Reads the name of a slice, such as `v4-8` (8 TensorCores) or `v5e-8` (8 chips).

    Args:
        name: Generation and size; `v5litepod-8` is another name of `v5e-8`. Case does not matter.

    Raises:
        ConfigError: No slice is called so; the message names the nearest and the valid ones.
    """
    prefix, _, size = name.strip().lower().partition("-")
    canonical = f"{GENERATION_ALIASES.get(prefix, prefix)}-{size}"
    known = {candidate.name: candidate for generation in GENERATIONS for candidate in slices_of(generation)}
    if canonical in known:
        return known[canonical]
    raise ConfigError(f"--tpu {name}: no TPU slice is called so. {_advice(canonical)}")


def _advice(name: str) -> str:
    """What to write instead: sizes of the generation if there is one, all generations otherwise."""
    prefix, _, size = name.partition("-")
    for generation in GENERATIONS:
        if generation.name != prefix:
            continue
        sizes = f"Known {prefix} slices, by {generation.unit}: {', '.join(generation.slice_names)}"
        if not re.fullmatch(r"\d{1,9}", size):
            return sizes
        nearest = min(generation.sizes.value, key=lambda known: abs(known - int(size)))
        return f"The nearest is {prefix}-{nearest}. {sizes}"
    names = [name for generation in GENERATIONS for name in generation.slice_names]
    examples = ", ".join(f"{g.slice_names[0]} to {g.slice_names[-1]}" for g in GENERATIONS)
    return f"{did_you_mean(name, names, always=False)}Known generations: {examples}"


def parse_slices(names: Iterable[str]) -> list[Slice]:
    """Parses the names of slices.

    Raises:
        ConfigError: There are no names, or a name is unknown.
    """
    slices = [parse_slice(name) for name in names]
    if not slices:
        known = ", ".join(f"{g.slice_names[0]} to {g.slice_names[-1]}" for g in GENERATIONS)
        raise ConfigError(f"--tpu: name at least one slice, as in --tpu v4-8 --tpu v6e-16. Known: {known}")
    return slices
