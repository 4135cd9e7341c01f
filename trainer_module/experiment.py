"""What an experiment decides about the model and its training; the YAML file's other sections are the pipeline's."""

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from trainer_module.data.datasets.flat import FlatDataset
from trainer_module.data.features import Categorical, FeatureSpec, Table, TokenRows
from trainer_module.embeddings.initializers import Initializer, TruncatedNormal
from trainer_module.errors import ConfigError
from trainer_module.export.config import ExportConfig
from trainer_module.frozen import Frozen, reasons
from trainer_module.models.config import ModelConfig, RatingModelConfig
from trainer_module.optimizers.config import Adam, OptimizerConfig


class TableOverride(Frozen):
    """What an experiment says differently of a table; see `features.Table`. What is None stays as declared."""

    dim: int | None = Field(default=None, ge=1)
    combiner: Literal["mean", "sum", "sqrtn"] | None = None
    initializer: Initializer | None = None
    optimizer: OptimizerConfig | None = None
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
    placement: Literal["tpu_embedding", "partial", "replicated"] = "tpu_embedding"
    size_threshold: int = Field(default=10_000, ge=0)
    pipelining: bool = False
    sparse_core: SparseCoreConfig = SparseCoreConfig()
    tables: dict[str, TableOverride] = {}
    features: dict[str, FeatureOverride] = {}

    def applied_to(self, spec: FeatureSpec) -> FeatureSpec:
        """The feature spec with this section's changes.

        Raises:
            ConfigError: A name is unknown (names the nearest known one), or the changed spec contradicts itself.
        """
        _check_names("embeddings.features", self.features, [column.name for column in spec.categorical])
        columns = tuple(
            _changed(column, self.features[column.name]) if column.name in self.features else column
            for column in spec.columns
        )
        used = {column.table for column in columns if isinstance(column, Categorical)}
        known = [table.name for table in spec.tables]
        _check_names("embeddings.tables", self.tables, [*known, *used])
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


class WarmStartConfig(Frozen):
    """An earlier training whose weights are the start of this one.

    Attributes:
        checkpoint: Path prefix, as in `.../model_run/7/best/checkpoint`.
        transform_graph: Directory of the transform graph that it was trained with; gives its vocabularies.
    """

    checkpoint: str
    transform_graph: str


LAST_BLESSED = "last_blessed"


class TrainingConfig(Frozen):
    """The training loop.

    Attributes:
        strategy: `auto` takes a TPU where there is one, then the workers of `TF_CONFIG`, then GPUs, then the CPU.
        tpu: Name or address of the TPU; empty means the one of this machine.
        batch_size: Examples per step over all replicas.
        eval_batch_size: The same for evaluation; None is 8192, or `batch_size` on a TPU, whose embedding engine is
            configured for one size.
        epochs: Passes over the training split at most.
        steps: Steps at most, whatever the epochs; None is as many as `epochs` have.
        patience: Evaluations without improvement after which training stops.
        keep: Which weights are exported: those of the `best` evaluation, or of the `last` one, where the metric of the
            evaluations cannot judge; `patience` then has no part.
        evaluate_every: Steps between evaluations; None is an epoch.
        steps_per_loop: Steps in one call to the devices, at most; evaluations end a call early. Logs, signals and
            checkpoints are looked after between calls.
        checkpoint_every: Steps between checkpoints, rounded up to whole calls; None is at each evaluation.
        keep_checkpoints: How many of the latest checkpoints stay.
        async_checkpoints: Write checkpoints while training goes on.
        dense_optimizer: For everything but the embedding tables.
        embedding_optimizer: For the embedding tables that name none of their own.
        clip_norm: Largest global norm of the dense part's gradient; None does not clip.
        precision: Of the dense part's arithmetic; `auto` is bfloat16 on TPUs and float32 elsewhere. Embedding rows,
            weights and the loss stay float32.
        jit_compile: Compile the dense part with XLA on CPUs and GPUs (a TPU always does).
        cache: `features` keeps the transformed split in memory and shuffles all of it; `records` keeps the serialized
            examples in memory; `none` reads the files in every epoch.
        shuffle_rows: Size of the shuffle buffer unless `cache` is `features`, in examples; 0 does not shuffle.
        profile_steps: First and last step of a TensorBoard profile, rounded to whole calls.
        warm_start: Start from the weights of an earlier training, by token: a named one, or `last_blessed`, that of the
            pipeline's last blessed model, if there is one; see `docs/warm_start.md`.
        seed: Of initial weights, shuffling and dropout.
    """

    strategy: Literal["auto", "tpu", "multi_worker", "mirrored", "cpu"] = "auto"
    tpu: str = ""
    batch_size: int = Field(default=1024, ge=1)
    eval_batch_size: int | None = Field(default=None, ge=1)
    epochs: int = Field(default=40, ge=1)
    steps: int | None = Field(default=None, ge=1)
    patience: int = Field(default=6, ge=1)
    keep: Literal["best", "last"] = "best"
    evaluate_every: int | None = Field(default=None, ge=1)
    steps_per_loop: int = Field(default=500, ge=1)
    checkpoint_every: int | None = Field(default=None, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    async_checkpoints: bool = False
    dense_optimizer: OptimizerConfig = Adam(learning_rate=0.001)
    embedding_optimizer: OptimizerConfig = Adam(learning_rate=0.002)
    clip_norm: float | None = Field(default=None, gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    jit_compile: bool = False
    cache: Literal["features", "records", "none"] = "features"
    shuffle_rows: int = Field(default=100_000, ge=0)
    profile_steps: tuple[int, int] | None = None
    warm_start: WarmStartConfig | Literal["last_blessed"] | None = None
    seed: int = 42


class Experiment(Frozen):
    """All that the Trainer needs to know, beside its input artifacts.

    Attributes:
        dataset: Name of a dataset, or the description of a user's own; see `datasets.dataset_spec`.
        model: The model.
        embeddings: The embedding tables.
        training: The loop.
        export: How the SavedModel is made.
    """

    dataset: str | FlatDataset
    model: ModelConfig = RatingModelConfig()
    embeddings: EmbeddingsConfig = EmbeddingsConfig()
    training: TrainingConfig = TrainingConfig()
    export: ExportConfig = ExportConfig()

    def features(self, declared: FeatureSpec) -> FeatureSpec:
        """The columns and tables of the model, from those of the dataset.

        Raises:
            ConfigError: A name in `embeddings` or `model.ignore` is unknown, or what is left contradicts itself.
        """
        spec = self.embeddings.applied_to(declared)
        _check_names("model.ignore", self.model.ignore, [column.name for column in spec.inputs])
        try:
            return spec.without(self.model.ignore)
        except ValidationError as error:
            raise ConfigError(f"model.ignore: {reasons(error)}") from None


def _check_names(section: str, names: Iterable[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise ConfigError(f"{section}: unknown name {name!r}. Did you mean {near[0]!r}? Known: {', '.join(known)}")


def _changed(declared: Any, override: Frozen) -> Any:
    """A column or table with the override's values, validated anew."""
    changes = override.model_dump(exclude_none=True)
    try:
        return type(declared).model_validate(declared.model_dump() | changes)
    except ValidationError as error:
        raise ConfigError(f"embeddings: {reasons(error)}") from None
