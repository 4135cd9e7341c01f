"""Settings of the retrieval index. Does not import TensorFlow, TFX or FAISS."""

import math
from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from trainer_module.data.spec import DatasetSpec
from trainer_module.errors import ConfigError
from trainer_module.frozen import Frozen
from trainer_module.suggestions import did_you_mean

SECTION = "retrieval_index"

# Inputs of the signature `recommend` beside the query's columns.
EXCLUDE, K = "exclude", "k"

# Length of the lists that evaluation looks at, whatever the length of an answer.
LONGEST_CUTOFF = 100
# Length of the lists that metrics look at, unless the experiment says otherwise.
DEFAULT_CUTOFF = 10

# FAISS's k-means warns below 39 points per centroid and uses at most 256 (`ClusteringParameters`). Training time grows
# with the number of cells times the points per cell, so cells get fewer points. A product quantizer has few centroids.
_LEAST_POINTS_PER_CELL = 39
_MOST_POINTS_PER_CELL = 64
_POINTS_PER_CODE = 256


class _FaissIndex(Frozen):
    """Base class of the FAISS index settings.

    Attributes:
        remedy: Advice for an error about low recall.
    """

    remedy: ClassVar[str]

    @abstractmethod
    def description(self, num_candidates: int, dim: int) -> str:
        """Description of the index for `faiss.index_factory`.

        Raises:
            ConfigError: The parameters do not fit the number of candidates or the dimension of their vectors.
        """

    def num_training(self, num_candidates: int) -> int:
        """Number of vectors to train the index with."""
        return 0

    def check_dim(self, dim: int) -> None:
        """Checks that vectors of that dimension can be indexed.

        Raises:
            ConfigError: They cannot.
        """

    @property
    def parameters(self) -> dict[str, int]:
        """Search and build parameters for `faiss.ParameterSpace`."""
        return {}


class FlatConfig(_FaissIndex):
    """Compares a query with every vector. Exact; for catalogs of up to some hundred thousand items."""

    type: Literal["flat"] = "flat"
    remedy: ClassVar[str] = "a flat index is exact, so this is a defect; please report it"

    def description(self, num_candidates: int, dim: int) -> str:
        return "Flat"


class _Cells(_FaissIndex):
    """Assigns vectors to the cells of a k-means; a search visits the nearest cells.

    Attributes:
        nlist: Number of cells. None uses four times the square root of the number of candidates, but at most one cell
            per 39 candidates.
        nprobe: Number of cells that a search visits. More cells raise recall and latency.
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
            ConfigError: `nlist` exceeds the number of candidates.
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
    """An inverted file with uncompressed vectors."""

    type: Literal["ivf"] = "ivf"
    remedy: ClassVar[str] = f"raise {SECTION}.faiss.nprobe"

    def description(self, num_candidates: int, dim: int) -> str:
        return f"IVF{self.cells(num_candidates)},Flat"


class IvfPqConfig(_Cells):
    """An inverted file with vectors compressed by product quantization (Jegou et al., 2011).

    A vector takes `m * bits / 8` bytes instead of `4 * dim`. Scores are approximate.

    Attributes:
        m: Number of parts of equal length that a vector is split into.
        bits: Each part is replaced by the nearest of 2^bits centroids.
    """

    type: Literal["ivf_pq"] = "ivf_pq"
    m: int = Field(default=8, ge=1)
    bits: int = Field(default=8, ge=4, le=8)
    remedy: ClassVar[str] = f"raise {SECTION}.faiss.m (more bytes per vector) or {SECTION}.faiss.nprobe"

    def check_dim(self, dim: int) -> None:
        if dim % self.m:
            divisors = ", ".join(str(m) for m in range(1, dim + 1) if dim % m == 0)
            raise ConfigError(
                f"{SECTION}.faiss.m is {self.m}, which does not divide the vectors' dimension {dim}; take one of "
                f"{divisors}"
            )

    def description(self, num_candidates: int, dim: int) -> str:
        self.check_dim(dim)
        if 2**self.bits > num_candidates:
            raise ConfigError(
                f"{SECTION}.faiss.bits is {self.bits}, which asks for {2**self.bits} centroids, but there are only "
                f"{num_candidates} candidates to learn them from; lower it, or take another {SECTION}.faiss.type"
            )
        # np: no polysemous training. It orders codes for Hamming distances, which no search here uses, and takes most
        # of the build time.
        return f"IVF{self.cells(num_candidates)},PQ{self.m}x{self.bits}np"

    def num_training(self, num_candidates: int) -> int:
        return max(super().num_training(num_candidates), min(num_candidates, _POINTS_PER_CODE * 2**self.bits))


class HnswConfig(_FaissIndex):
    """A navigable graph of near neighbours (Malkov and Yashunin, 2018).

    Attributes:
        m: Neighbours stored per vector; takes about `8 * m` additional bytes per vector.
        ef_construction: Size of the candidate list during insertion.
        ef_search: Size of the candidate list during search. A larger list raises recall and latency.
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
    """The section `retrieval_index`: the indexes of a two-tower model.

    Attributes:
        max_k: Number of items per query in the answer of the SavedModel's `serving_default`.
        batch_size: Number of candidates embedded at once.
        faiss: Type and parameters of the approximate index.
        recall_k: k of the recall gate.
        min_recall: Minimum recall@k of the approximate index against exact search.
        recall_queries: Maximum number of held-out queries for the recall gate; the first ones are used.
        restricts: Candidate columns that Vertex AI Vector Search can filter by.
    """

    max_k: int = Field(default=100, ge=1)
    batch_size: int = Field(default=4096, ge=1)
    faiss: FaissConfig = FlatConfig()
    recall_k: int = Field(default=100, ge=1)
    min_recall: float = Field(default=0.95, ge=0, le=1)
    recall_queries: int = Field(default=1000, ge=1)
    restricts: tuple[str, ...] = ()

    def check(self, dataset: DatasetSpec, dim: int) -> None:
        """Checks that a two-tower model of a dataset can be indexed, as far as no row of the data is needed.

        Args:
            dataset: Gives the columns of candidates.
            dim: Width of the tables, which is the dimension of the vectors.

        Raises:
            ConfigError: It cannot; the message names the key.
        """
        self.faiss.check_dim(dim)
        if taken := [name for name in dataset.query_columns if name in (EXCLUDE, K)]:
            raise ConfigError(
                f"the column {taken[0]!r} describes queries, and the index's signature `recommend` has another input "
                f"of that name; rename it, as in {{name: {taken[0]}, feature: user_{taken[0]}}}"
            )
        for name in self.restricts:
            if name not in dataset.candidate_columns:
                raise ConfigError(
                    f"{SECTION}.restricts: {name!r} is no column of candidates. "
                    f"{did_you_mean(name, dataset.candidate_columns)}Known: {', '.join(dataset.candidate_columns)}"
                )

    @model_validator(mode="after")
    def _check(self) -> "RetrievalIndexConfig":
        if self.recall_k > self.max_k:
            raise ValueError(
                f"recall_k {self.recall_k} is more than the exact search answers, max_k {self.max_k}; lower the one "
                "or raise the other"
            )
        return self
