"""Embedding tables as an experiment describes them. Free of TensorFlow."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from trainer_module.data.features import Categorical, FeatureSpec, Table, TokenRows
from trainer_module.embeddings.initializers import Initializer, TruncatedNormal
from trainer_module.errors import ConfigError
from trainer_module.frozen import Frozen, reasons
from trainer_module.optimizers.config import TableOptimizerConfig
from trainer_module.suggestions import did_you_mean

Placement = Literal["tpu_embedding", "partial", "replicated"]

REPLICATED_ROWS = 10_000
"""Under `partial`, tables of at most this many rows are replicated unless the experiment says otherwise."""


def is_replicated(rows: int, placement: Placement, size_threshold: int) -> bool:
    """Whether a table is copied to every replica rather than sharded.

    Args:
        rows: Of the table.
        placement: `partial` replicates tables of at most `size_threshold` rows: the table at the threshold is
            replicated, the one above it is sharded, and a threshold of 0 shards all. The others treat all tables alike.
        size_threshold: In rows; only `partial` reads it.
    """
    return placement == "replicated" or (placement == "partial" and rows <= size_threshold)


class TableOverride(Frozen):
    """What an experiment says differently of a table; see `features.Table`. What is None stays as declared."""

    dim: int | None = Field(default=None, ge=1)
    combiner: Literal["mean", "sum", "sqrtn"] | None = None
    initializer: Initializer | None = None
    optimizer: TableOptimizerConfig | None = None
    vocabulary: TokenRows | None = None


class FeatureOverride(Frozen):
    """What an experiment says differently of a categorical column; see `features.Categorical`. What is None stays as
    declared."""

    table: str | None = None
    layout: Literal["dense", "sparse", "ragged"] | None = None
    max_sequence_length: int | None = Field(default=None, ge=0)
    output_shape: tuple[int, ...] | None = None
    validate_weights_and_indices: bool | None = None
    bag_width: int | None = Field(default=None, ge=1)


class SparseCoreConfig(Frozen):
    """What only SparseCores (TPU v5p, v6e) ask; passed to `tf.tpu.experimental.embedding.SparseCoreEmbeddingConfig`.

    Buffers are laid out per stacked table; `recspan plan` prints how tables stack, and TensorFlow names a stack by its
    tables in alphabetical order, joined by `_`.

    Attributes:
        max_ids_per_table: Ids that one SparseCore may ask another for in a step, by stack; 256 where a stack is not
            named. More in a batch is an error, unless `allow_id_dropping`.
        max_unique_ids_per_table: The same for distinct ids.
        allow_id_dropping: Drop ids that do not fit instead of failing.
        disable_table_stacking: Keep every table by itself.
    """

    max_ids_per_table: dict[str, Annotated[int, Field(ge=1)]] | None = None
    max_unique_ids_per_table: dict[str, Annotated[int, Field(ge=1)]] | None = None
    allow_id_dropping: bool = False
    disable_table_stacking: bool = False


class EmbeddingsConfig(Frozen):
    """The embedding tables and where they live.

    Attributes:
        dim: Width of every table that names no width of its own.
        initializer: Of every table that names none of its own.
        placement: `tpu_embedding` gives all tables to the TPU's embedding engine, sharded over all cores; `replicated`
            keeps a copy of all on every replica; `partial` replicates the small ones and shards the rest.
        size_threshold: Under `partial`, tables of at most this many rows are replicated.
        pipelining: Look the rows of step n + 1 up while the dense part of step n runs. Faster on TPUs, but the lookups
            do not yet see the updates of the step before.
        sparse_core: Buffers of SparseCores.
        tables: Changes to the dataset's tables, by name; a name that a feature below takes makes a new table.
        features: Changes to the dataset's categorical columns, by name. Columns that name one table share its rows.
    """

    dim: int = Field(default=32, ge=1)
    initializer: Initializer = TruncatedNormal(stddev=0.05)
    placement: Placement = "tpu_embedding"
    size_threshold: int = Field(default=REPLICATED_ROWS, ge=0)
    pipelining: bool = False
    sparse_core: SparseCoreConfig = SparseCoreConfig()
    tables: dict[str, TableOverride] = {}
    features: dict[str, FeatureOverride] = {}

    def applied_to(self, spec: FeatureSpec) -> FeatureSpec:
        """The feature spec with this section's changes.

        Raises:
            ConfigError: A name is unknown (names the nearest known one), or the changed spec contradicts itself.
        """
        check_names("embeddings.features", self.features, [column.name for column in spec.categorical])
        columns = tuple(
            _changed(column, self.features[column.name]) if column.name in self.features else column
            for column in spec.columns
        )
        used = {column.table for column in columns if isinstance(column, Categorical)}
        known = [table.name for table in spec.tables]
        check_names("embeddings.tables", self.tables, list(dict.fromkeys([*known, *sorted(used)])))
        new = [Table(name=name) for name in sorted(used.intersection(self.tables) - set(known))]
        tables = tuple(
            _changed(table, self.tables[table.name]) if table.name in self.tables else table
            for table in (*spec.tables, *new)
            if table.name in used
        )
        try:
            return FeatureSpec(columns=columns, tables=tables)
        except ValidationError as error:
            raise ConfigError(f"embeddings: {reasons(error)}") from None


def check_names(section: str, names: Iterable[str], known: list[str]) -> None:
    """Raises a `ConfigError` for the first unknown name; it names `section` and the nearest known name."""
    for name in names:
        if name not in known:
            raise ConfigError(f"{section}: unknown name {name!r}. {did_you_mean(name, known)}Known: {', '.join(known)}")


def _changed(declared: Any, override: Frozen) -> Any:
    """A column or table with the override's values, validated anew."""
    changes = override.model_dump(exclude_none=True)
    try:
        return type(declared).model_validate(declared.model_dump() | changes)
    except ValidationError as error:
        raise ConfigError(f"embeddings: {reasons(error)}") from None
