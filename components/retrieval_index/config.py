"""How the index is built and when it is good enough, as data. Free of TensorFlow, TFX and FAISS."""

import math
from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from trainer_module.errors import ConfigError
from trainer_module.frozen import Frozen

SECTION = "retrieval_index"

# FAISS's k-means warns below 39 points per centroid and looks at 256 at most (`ClusteringParameters`). Cells are many,
# and their training takes time in proportion to both numbers; the centroids of a product quantizer are few.
_LEAST_POINTS_PER_CELL = 39
_MOST_POINTS_PER_CELL = 64
_POINTS_PER_CODE = 256


class _FaissIndex(Frozen):
    """What every kind of index says of itself.

    Attributes:
        remedy: What to do when it finds too little.
    """

    remedy: ClassVar[str]

    @abstractmethod
    def description(self, num_candidates: int, dim: int) -> str:
        """As `faiss.index_factory` takes it.

        Raises:
            ConfigError: The parameters do not fit the number of candidates or the dimension of their vectors.
        """

    def num_training(self, num_candidates: int) -> int:
        """How many vectors it is trained with."""
        return 0

    @property
    def parameters(self) -> dict[str, int]:
        """As `faiss.ParameterSpace` takes them."""
        return {}


class FlatConfig(_FaissIndex):
    """All vectors as they are, compared one by one: exact, for catalogs up to some hundred thousand items."""

    type: Literal["flat"] = "flat"
    remedy: ClassVar[str] = "a flat index is exact, so this is a defect; please report it"

    def description(self, num_candidates: int, dim: int) -> str:
        return "Flat"


class _Cells(_FaissIndex):
    """Vectors sorted into cells around the centroids of a k-means; a search visits the nearest cells.

    Attributes:
        nlist: Number of cells. None takes four times the square root of the number of candidates, or fewer where that
            would leave a cell with less than 39 of them.
        nprobe: So many cells are visited: more find more and take longer.
    """

    nlist: int | None = Field(default=None, ge=1)
    nprobe: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _check(self):
        if self.nlist and self.nprobe > self.nlist:
            raise ValueError(f"nprobe {self.nprobe} visits more cells than nlist {self.nlist} makes")
        return self

    def num_training(self, num_candidates: int) -> int:
        return min(num_candidates, _MOST_POINTS_PER_CELL * self.cells(num_candidates))

    @property
    def parameters(self) -> dict[str, int]:
        return {"nprobe": self.nprobe}

    def cells(self, num_candidates: int) -> int:
        """Number of cells.

        Raises:
            ConfigError: There are fewer candidates.
        """
        if self.nlist is None:
            return max(1, min(4 * math.isqrt(num_candidates), num_candidates // _LEAST_POINTS_PER_CELL))
        if self.nlist > num_candidates:
            raise ConfigError(
                f"{SECTION}.faiss.nlist is {self.nlist}, but there are only {num_candidates} candidates to learn the "
                "cells from; lower it, or leave it out to have it follow from the number of candidates"
            )
        return self.nlist


class IvfConfig(_Cells):
    """An inverted file: the vectors of each cell as they are."""

    type: Literal["ivf"] = "ivf"
    remedy: ClassVar[str] = f"raise {SECTION}.faiss.nprobe"

    def description(self, num_candidates: int, dim: int) -> str:
        return f"IVF{self.cells(num_candidates)},Flat"


class IvfPqConfig(_Cells):
    """An inverted file of vectors compressed by product quantization (Jegou et al., 2011).

    A vector takes `m * bits / 8` bytes instead of `4 * dim`; its scores are approximate.

    Attributes:
        m: A vector is cut into so many parts, of equal length.
        bits: Each part is replaced by the nearest of 2^bits centroids.
    """

    type: Literal["ivf_pq"] = "ivf_pq"
    m: int = Field(default=8, ge=1)
    bits: int = Field(default=8, ge=4, le=8)
    remedy: ClassVar[str] = f"raise {SECTION}.faiss.m (more bytes per vector) or {SECTION}.faiss.nprobe"

    def description(self, num_candidates: int, dim: int) -> str:
        if dim % self.m:
            divisors = ", ".join(str(m) for m in range(1, dim + 1) if dim % m == 0)
            raise ConfigError(
                f"{SECTION}.faiss.m is {self.m}, which does not divide the vectors' dimension {dim}; take one of "
                f"{divisors}"
            )
        if 2**self.bits > num_candidates:
            raise ConfigError(
                f"{SECTION}.faiss.bits is {self.bits}, which asks for {2**self.bits} centroids, but there are only "
                f"{num_candidates} candidates to learn them from; lower it, or take another {SECTION}.faiss.type"
            )
        # np: not polysemous. Ordering the codes for Hamming distances takes most of the time and serves no search here.
        return f"IVF{self.cells(num_candidates)},PQ{self.m}x{self.bits}np"

    def num_training(self, num_candidates: int) -> int:
        return max(super().num_training(num_candidates), min(num_candidates, _POINTS_PER_CODE * 2**self.bits))


class HnswConfig(_FaissIndex):
    """A graph of near neighbours, walked from a few entry points (Malkov and Yashunin, 2018).

    Attributes:
        m: Neighbours kept of each vector; memory grows by some `8 * m` bytes per vector.
        ef_construction: Size of the list of nearest ones while a vector is inserted.
        ef_search: The same while searching: more find more and take longer.
    """

    type: Literal["hnsw"] = "hnsw"
    m: int = Field(default=32, ge=2)
    ef_construction: int = Field(default=200, ge=1)
    ef_search: int = Field(default=128, ge=1)
    remedy: ClassVar[str] = (
        f"raise {SECTION}.faiss.ef_search, then {SECTION}.faiss.ef_construction or {SECTION}.faiss.m"
    )

    def description(self, num_candidates: int, dim: int) -> str:
        return f"HNSW{self.m},Flat"

    @property
    def parameters(self) -> dict[str, int]:
        return {"efConstruction": self.ef_construction, "efSearch": self.ef_search}


FaissConfig = Annotated[FlatConfig | IvfConfig | IvfPqConfig | HnswConfig, Field(discriminator="type")]


class RetrievalIndexConfig(Frozen):
    """The index of a two-tower model.

    Attributes:
        max_k: Items that the SavedModel's `serving_default` answers per query.
        batch_size: Candidates embedded at once.
        faiss: Which approximate index is built beside the exact one, with its parameters.
        recall_k: The approximate index is judged by how many of the so many best it finds.
        min_recall: Least share of them that it must find.
        recall_queries: It is judged with so many of the held-out queries at most, the first ones.
        restricts: Candidate columns by whose values Vertex AI Vector Search may filter.
    """

    max_k: int = Field(default=100, ge=1)
    batch_size: int = Field(default=4096, ge=1)
    faiss: FaissConfig = FlatConfig()
    recall_k: int = Field(default=100, ge=1)
    min_recall: float = Field(default=0.95, ge=0, le=1)
    recall_queries: int = Field(default=1000, ge=1)
    restricts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "RetrievalIndexConfig":
        if self.recall_k > self.max_k:
            raise ValueError(
                f"recall_k {self.recall_k} is more than the exact search answers, max_k {self.max_k}; lower the one "
                "or raise the other"
            )
        return self
