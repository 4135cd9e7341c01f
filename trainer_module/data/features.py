"""The declarative feature spec: the only place where a dataset's features are named.

Column types for ingestion, the check of the curated schema, `preprocessing_fn`, the parse spec, embedding tables,
model inputs and serving signatures are all derived from one `FeatureSpec`. It is plain data (pydantic), free of
TensorFlow, and travels as JSON between components.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from trainer_module.embeddings.initializers import Initializer
from trainer_module.frozen import Frozen
from trainer_module.optimizers.config import TableOptimizerConfig

DType = Literal["string", "int64", "float32"]

_TABLE_NAME = re.compile("[0-9A-Za-z_]{1,200}")
_SHOWN = 60
_ARROW_VALUE_TYPES = {"string": pa.large_binary(), "int64": pa.int64(), "float32": pa.float32()}


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


class HashBuckets(Frozen):
    """No token has an id of its own: all are hashed to so many rows.

    For features with more values than anybody wants to count, or that change while a model is in use: the number of
    rows is known before any data is seen, and tokens that hash alike share a row.

    Attributes:
        buckets: Number of rows.
    """

    buckets: int = Field(ge=1)

    @property
    def oov_buckets(self) -> int:
        """A vocabulary without tokens: every token is out of it."""
        return self.buckets


def _rows_by(value: Any) -> str:
    hashed = "buckets" in value if isinstance(value, dict) else isinstance(value, HashBuckets)
    return "hash" if hashed else "tokens"


TokenRows = Annotated[
    Annotated[Vocabulary, Tag("tokens")] | Annotated[HashBuckets, Tag("hash")], Discriminator(_rows_by)
]


class Table(Frozen):
    """An embedding table. Its number of rows is the vocabulary's size plus the out-of-vocabulary buckets.

    Attributes:
        name: Also the name of the vocabulary file in the transform graph.
        dim: Width of a row; None takes the experiment's default.
        combiner: How the rows of a bag (a multivalent feature that is no sequence) become one.
        initializer: Initial values; None takes the experiment's default.
        optimizer: Of this table alone; None takes the experiment's embedding optimizer. The fewer distinct ones, the
            faster a TPU.
        vocabulary: Which tokens get a row: a `Vocabulary`, or `HashBuckets`.
        frequencies: Whether the transform graph also keeps how often each token stands in the training split, for
            `vocabularies.training_counts`.
    """

    name: str
    dim: int | None = Field(default=None, ge=1)
    combiner: Literal["mean", "sum", "sqrtn"] = "mean"
    initializer: Initializer | None = None
    optimizer: TableOptimizerConfig | None = None
    vocabulary: TokenRows = Vocabulary()
    frequencies: bool = False

    @field_validator("name")
    @classmethod
    def _names_a_file(cls, name: str) -> str:
        # The vocabulary is a file of that name in the transform graph, which it must not leave.
        if not _TABLE_NAME.fullmatch(name):
            raise ValueError(
                f"{name[:_SHOWN]!r} cannot name a table, which names a file; take up to 200 letters, digits and "
                "underscores"
            )
        return name

    @property
    def frequency_file(self) -> str:
        """Name of the frequencies in the transform graph."""
        return f"{self.name}_frequencies"


class _Column(Frozen):
    name: str
    dtype: DType = "string"
    multivalent: bool = False
    required: bool = True


class Categorical(_Column):
    """Tokens that are looked up in an embedding table. Features that name one table share its rows.

    Attributes:
        table: Where the tokens are looked up.
        counted: Whether the column's tokens count for the table's vocabulary. Not for one that repeats what another
            column holds, as the history of a user does: it would count an item once for every later row.
        missing_token: Stands for a missing value, and has a row (or bucket) like any other token; the model then gets
            exactly one id per example. None leaves the bag empty, whose embedding is zero.
        layout: How ids reach the embedding layer. None is `dense` where there is always exactly one value and `sparse`
            elsewhere. One experiment cannot mix `sparse` and `ragged`: the embedding layer takes one of them per call.
        max_sequence_length: 0 combines the rows of an example; above, they stay a sequence `[batch, length, dim]`,
            cut or filled up with zeros.
        output_shape: Of the activation between batch and width: `()` gives `[batch, dim]`; `(1,)`, for a dense
            feature, `[batch, 1, dim]`; a sequence is `(max_sequence_length,)`. None is what the layer infers.
        validate_weights_and_indices: On CPUs and GPUs, drop negative ids and weights and give empty bags a zero
            vector, at some cost; without it the data must hold neither.
        weights: Name of the weights column whose values scale the rows before they are combined.
        bag_width: Largest number of ids per example of a bag. Only bags in a replicated table on a TPU need it, whose
            programs have fixed shapes; an example with more ids stops the training.
        latest_last: Whether the values are ordered by time, the latest last. A sequence then keeps its latest values;
            any other keeps its first ones.
    """

    kind: Literal["categorical"] = "categorical"
    dtype: Literal["string", "int64"] = "string"
    table: str
    counted: bool = True
    missing_token: str | None = Field(default=None, min_length=1)
    layout: Literal["dense", "sparse", "ragged"] | None = None
    max_sequence_length: int = Field(default=0, ge=0)
    output_shape: tuple[int, ...] | None = None
    validate_weights_and_indices: bool = True
    weights: str | None = None
    bag_width: int | None = Field(default=None, ge=1)
    latest_last: bool = False

    @model_validator(mode="after")
    def _check(self) -> "Categorical":
        if self.missing_token and (self.multivalent or self.required or self.dtype != "string"):
            raise ValueError(
                f"{self.name}: missing_token stands for the missing value of a column of strings that may lack its "
                "only one; set required=False, multivalent=False, or leave missing_token out"
            )
        if self.layout == "dense" and not self._one_id:
            raise ValueError(f"{self.name}: layout dense needs exactly one value per example; take sparse or ragged")
        if self.max_sequence_length and self.ids_layout == "dense":
            raise ValueError(f"{self.name}: a sequence must be sparse or ragged; set its layout")
        if self.weights and (self.max_sequence_length or self.ids_layout == "dense"):
            raise ValueError(f"{self.name}: weights scale the rows of a bag; a {self._form} has none to combine")
        allowed = {"dense": ((), (1,)), "bag": ((),), "sequence": ((self.max_sequence_length,),)}[self._form]
        if self.output_shape is not None and self.output_shape not in allowed:
            raise ValueError(
                f"{self.name}: output_shape {list(self.output_shape)} does not fit a {self._form} feature; "
                f"possible: {', '.join(str(list(shape)) for shape in allowed)}"
            )
        return self

    @property
    def ids_layout(self) -> Literal["dense", "sparse", "ragged"]:
        return self.layout or ("dense" if self._one_id else "sparse")

    @property
    def _one_id(self) -> bool:
        """Whether the model gets exactly one id per example."""
        return not self.multivalent and (self.required or self.missing_token is not None)

    @property
    def _form(self) -> Literal["dense", "bag", "sequence"]:
        if self.max_sequence_length:
            return "sequence"
        return "dense" if self.ids_layout == "dense" else "bag"


class Weights(_Column):
    """One number per token of the categorical columns that name it; 1 for all would change nothing."""

    kind: Literal["weights"] = "weights"
    dtype: Literal["float32"] = "float32"
    multivalent: Literal[True] = True


class Numeric(_Column):
    """One number per example, as a z-score under the training split.

    Attributes:
        transform: What becomes of a number x: `z_score` takes x itself, `log1p_z_score` log(1 + max(x, 0)), for counts
            and amounts whose large values are rare. Of that, minus the mean, over the standard deviation.
        clip: Largest absolute z-score; keeps one wild value from dominating the dense tower.
        missing: The z-score of a missing value; 0 is the mean.
    """

    kind: Literal["numeric"] = "numeric"
    dtype: Literal["int64", "float32"] = "float32"
    multivalent: Literal[False] = False
    transform: Literal["z_score", "log1p_z_score"] = "z_score"
    clip: float = Field(default=3.0, gt=0)
    missing: float = 0.0


class Label(_Column):
    """What the model predicts; never part of a serving request.

    A dataset has one required label. Any further label is predicted by models of several goals; an example may lack it.
    """

    kind: Literal["label"] = "label"
    dtype: Literal["float32"] = "float32"
    multivalent: Literal[False] = False


class ExampleWeight(_Column):
    """How much an example counts in the training loss and in metrics: one number that is not negative.

    Transform divides it by its mean over the training split. Serving does not read it.
    """

    kind: Literal["example_weight"] = "example_weight"
    dtype: Literal["float32"] = "float32"
    multivalent: Literal[False] = False
    required: Literal[True] = True


class HistoryWeights(_Column):
    """The weights of the rows behind the items of a history, in the history's order.

    Transform divides them by the mean of `ExampleWeight`. Only a model that trains every item of a history reads them;
    serving does not.
    """

    kind: Literal["history_weights"] = "history_weights"
    dtype: Literal["float32"] = "float32"
    multivalent: Literal[True] = True


class Context(_Column):
    """Ingested, validated and available to splits and evaluation slices, but never an input of the model."""

    kind: Literal["context"] = "context"


Column = Annotated[
    Categorical | Weights | Numeric | Label | ExampleWeight | HistoryWeights | Context, Field(discriminator="kind")
]


class FeatureSpec(Frozen):
    """All columns and embedding tables of a dataset.

    Raises:
        ValueError: (as pydantic's `ValidationError`) duplicate names, a categorical column without its table or its
            weights, a table or weights that no column uses, sparse beside ragged ids, not exactly
            one required label, or several columns that weigh the examples.
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
        if uncounted := used - {c.table for c in self.categorical if c.counted}:
            raise ValueError(
                f"table(s) {sorted(uncounted)} have no vocabulary: no column that looks up there is counted"
            )
        if (named := {c.weights for c in self.categorical if c.weights}) != (known := {c.name for c in self.weights}):
            raise ValueError(
                f"categorical columns name the weights {sorted(named)}, but the weights columns are {sorted(known)}"
            )
        layouts = {c.ids_layout for c in self.categorical}
        if {"sparse", "ragged"} <= layouts:
            by_layout = {x: [c.name for c in self.categorical if c.ids_layout == x] for x in ("sparse", "ragged")}
            raise ValueError(
                f"one embedding layer takes sparse or ragged ids, not both: {by_layout}; choose one layout"
            )
        if len(labels := [c for c in self.columns if c.kind == "label" and c.required]) != 1:
            raise ValueError(f"exactly one required label column is needed, got {[c.name for c in labels]}")
        if len(weights := [c.name for c in self.columns if c.kind == "example_weight"]) > 1:
            raise ValueError(f"one column weighs the examples, got {weights}; declare the others as Context")
        return self

    @property
    def categorical(self) -> tuple[Categorical, ...]:
        return tuple(c for c in self.columns if c.kind == "categorical")

    @property
    def numeric(self) -> tuple[Numeric, ...]:
        return tuple(c for c in self.columns if c.kind == "numeric")

    @property
    def weights(self) -> tuple[Weights, ...]:
        return tuple(c for c in self.columns if c.kind == "weights")

    @property
    def inputs(self) -> tuple[Categorical | Weights | Numeric, ...]:
        """The columns of a serving request, in declaration order."""
        return tuple(c for c in self.columns if isinstance(c, Categorical | Weights | Numeric))

    @property
    def label(self) -> Label:
        """The required label."""
        return next(c for c in self.columns if c.kind == "label" and c.required)

    @property
    def further_labels(self) -> tuple[Label, ...]:
        """Labels that an example may lack."""
        return tuple(c for c in self.columns if c.kind == "label" and not c.required)

    @property
    def labels(self) -> tuple[Label, ...]:
        """All labels, the required one first."""
        return (self.label, *self.further_labels)

    @property
    def example_weight(self) -> ExampleWeight | None:
        return next((c for c in self.columns if c.kind == "example_weight"), None)

    @property
    def history_weights(self) -> HistoryWeights | None:
        return next((c for c in self.columns if c.kind == "history_weights"), None)

    def without(self, names: Collection[str]) -> "FeatureSpec":
        """The same without some columns, their weights, and the tables that nothing else looks up in."""
        weights = {c.weights for c in self.categorical if c.name in names}
        columns = tuple(c for c in self.columns if c.name not in names and c.name not in weights)
        used = {c.table for c in columns if isinstance(c, Categorical)}
        return FeatureSpec(columns=columns, tables=tuple(t for t in self.tables if t.name in used))

    def for_preprocessing(self) -> "FeatureSpec":
        """The same without what only training looks at, so that a new optimizer does not transform the data again."""
        tables = [Table(name=t.name, vocabulary=t.vocabulary, frequencies=t.frequencies) for t in self.tables]
        lookups = {
            "layout",
            "max_sequence_length",
            "output_shape",
            "validate_weights_and_indices",
            "bag_width",
            "latest_last",
        }
        columns = [
            Categorical(**c.model_dump(exclude=lookups)) if isinstance(c, Categorical) else c for c in self.columns
        ]
        return FeatureSpec(columns=tuple(columns), tables=tuple(tables))

    def arrow_schema(self) -> pa.Schema:
        """Arrow types of all ingested columns; see `arrow_schema_of`."""
        return arrow_schema_of(self.columns)


def arrow_schema_of(columns: Iterable[_Column]) -> pa.Schema:
    """Arrow types of ingested columns: `large_list` of the value type, one list per example (empty = missing)."""
    return pa.schema([(c.name, pa.large_list(_ARROW_VALUE_TYPES[c.dtype])) for c in columns])
