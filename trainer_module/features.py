"""The declarative feature spec: the only place where a dataset's features are named.

Column types for ingestion, the check of the curated schema, `preprocessing_fn`, the parse spec, embedding tables,
model inputs and serving signatures are all derived from one `FeatureSpec`. It is plain data (pydantic), free of
TensorFlow, and travels as JSON between components.
"""

from collections import Counter
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

DType = Literal["string", "int64", "float32"]

_ARROW_VALUE_TYPES = {"string": pa.large_binary(), "int64": pa.int64(), "float32": pa.float32()}


class Frozen(BaseModel):
    """An immutable model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Vocabulary(Frozen):
    """Which tokens get an id of their own; all others share the out-of-vocabulary buckets behind them.

    Attributes:
        min_frequency: Tokens seen less often in the training split are out of vocabulary.
        top_k: At most this many tokens, the most frequent ones; None keeps all.
        oov_buckets: Ids for unknown tokens, chosen by hash.
    """

    min_frequency: int = Field(default=1, ge=1)
    top_k: int | None = Field(default=None, ge=1)
    oov_buckets: int = Field(default=1, ge=1)


class Table(Frozen):
    """An embedding table. Its number of rows is the vocabulary's size plus the out-of-vocabulary buckets.

    Attributes:
        name: Also the name of the vocabulary file in the transform graph.
        dim: Width of a row; None takes the model's default.
        combiner: How the rows of a multivalent feature become one.
        vocabulary: Which tokens get a row.
    """

    name: str
    dim: int | None = Field(default=None, ge=1)
    combiner: Literal["mean", "sum", "sqrtn"] = "mean"
    vocabulary: Vocabulary = Vocabulary()


class _Column(Frozen):
    name: str
    dtype: DType = "string"
    multivalent: bool = False
    required: bool = True


class Categorical(_Column):
    """Tokens that are looked up in an embedding table. Features that name one table share its rows."""

    kind: Literal["categorical"] = "categorical"
    dtype: Literal["string", "int64"] = "string"
    table: str


class Numeric(_Column):
    """One number per example, as a z-score under the training split; a missing value becomes the mean, that is 0.

    Attributes:
        clip: Largest absolute z-score; keeps one wild value from dominating the dense tower.
    """

    kind: Literal["numeric"] = "numeric"
    dtype: Literal["int64", "float32"] = "float32"
    multivalent: Literal[False] = False
    clip: float = Field(default=3.0, gt=0)


class Label(_Column):
    """What the model predicts; never part of a serving request."""

    kind: Literal["label"] = "label"
    dtype: Literal["float32"] = "float32"
    multivalent: Literal[False] = False


class Context(_Column):
    """Ingested, validated and available to splits and evaluation slices, but never an input of the model."""

    kind: Literal["context"] = "context"


Column = Annotated[Categorical | Numeric | Label | Context, Field(discriminator="kind")]


class FeatureSpec(Frozen):
    """All columns and embedding tables of a dataset.

    Raises:
        ValueError: (as pydantic's `ValidationError`) duplicate names, a categorical column without its table, a table
            that no column uses, or not exactly one label.
    """

    columns: tuple[Column, ...]
    tables: tuple[Table, ...]

    @model_validator(mode="after")
    def _check(self) -> "FeatureSpec":
        for what, names in (
            ("column", [c.name for c in self.columns]),
            ("table", [t.name for t in self.tables]),
        ):
            if duplicates := [name for name, count in Counter(names).items() if count > 1]:
                raise ValueError(f"duplicate {what} name(s) {duplicates}")
        used, known = {c.table for c in self.categorical}, {t.name for t in self.tables}
        if missing := used - known:
            raise ValueError(f"columns look up in undeclared table(s) {sorted(missing)}; declared: {sorted(known)}")
        if idle := known - used:
            raise ValueError(f"no column looks up in table(s) {sorted(idle)}; remove them or name them in a column")
        if len(labels := [c for c in self.columns if c.kind == "label"]) != 1:
            raise ValueError(f"exactly one label column is needed, got {[c.name for c in labels]}")
        return self

    @property
    def categorical(self) -> tuple[Categorical, ...]:
        return tuple(c for c in self.columns if c.kind == "categorical")

    @property
    def numeric(self) -> tuple[Numeric, ...]:
        return tuple(c for c in self.columns if c.kind == "numeric")

    @property
    def inputs(self) -> tuple[Categorical | Numeric, ...]:
        """The columns of a serving request, in declaration order."""
        return tuple(c for c in self.columns if isinstance(c, Categorical | Numeric))

    @property
    def label(self) -> Label:
        return next(c for c in self.columns if c.kind == "label")

    def arrow_schema(self) -> pa.Schema:
        """Arrow types of ingested columns: `large_list` of the value type, one list per example (empty = missing)."""
        return pa.schema([(c.name, pa.large_list(_ARROW_VALUE_TYPES[c.dtype])) for c in self.columns])
