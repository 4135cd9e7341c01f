"""The models, as data: their sizes, what they need, and how they are built.

Free of TensorFlow, so that an experiment can be read and refused at once; what builds a model imports it when called.
A new ranking model is a config here, named in `RankingConfig`, and a module with its head.
"""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from trainer_module.data.dataset import HISTORY
from trainer_module.data.features import Categorical, FeatureSpec, HashBuckets
from trainer_module.data.spec import DatasetSpec, Task
from trainer_module.errors import ConfigError
from trainer_module.frozen import Frozen
from trainer_module.training.config import TrainingConfig

if TYPE_CHECKING:
    import tensorflow as tf

    from trainer_module.models.goals import Goals
    from trainer_module.models.multi_task import MultiTaskModel
    from trainer_module.models.objectives import Objective
    from trainer_module.models.parts import ModelParts
    from trainer_module.models.ranking import RankingModel
    from trainer_module.models.retrieval import Retrieval
    from trainer_module.models.training_data import TrainingData, TrainingExamples
    from trainer_module.models.two_tower import TwoTowerModel


def _with_defaults(value: Any) -> Any:
    """A section that is a name alone takes the defaults of its type."""
    return {"type": value} if isinstance(value, str) else value


# Units of each hidden layer.
Widths = tuple[Annotated[int, Field(ge=1)], ...]


class _Model(Frozen):
    """The base of all models.

    Attributes:
        tasks: What the model can be trained for.
        takes_sequences: Whether a categorical column may be a sequence.
        takes_xla: Whether `training.jit_compile` compiles the dense part.
        ignore: Input columns that the model does not read.
        dropout: Fraction of hidden units dropped in training.
        embedding_l2: Weight of the squared norm of the looked-up rows in the loss.
    """

    tasks: ClassVar[tuple[Task, ...]]
    takes_sequences: ClassVar[bool] = False
    takes_xla: ClassVar[bool] = True

    type: str
    ignore: tuple[str, ...] = ()
    dropout: float = Field(default=0.0, ge=0, lt=1)
    embedding_l2: float = Field(default=0.0, ge=0)

    def adapted(self, dataset: DatasetSpec, spec: FeatureSpec) -> FeatureSpec:
        """The columns in the form in which the model reads them, and of the labels those that it predicts.

        Args:
            dataset: Gives their meaning.
            spec: The columns, with the experiment's changes applied.
        """
        return spec.without([label.name for label in spec.further_labels])

    def check(self, dataset: DatasetSpec, spec: FeatureSpec, dims: Mapping[str, int]) -> None:
        """Checks that the model can be trained on a dataset.

        Args:
            dataset: Gives the task and, for retrieval, the columns of the item.
            spec: The columns that the model reads, and their tables.
            dims: Width per table.

        Raises:
            ConfigError: It cannot; the message names the keys to change.
        """
        if dataset.task not in self.tasks:
            fitting = [name for name, model in MODELS.items() if dataset.task in model.tasks]
            raise ConfigError(
                f"model.type {self.type} is for the task {' or '.join(self.tasks)}, but the task of the data is "
                f"{dataset.task}. Set model.type to {' or '.join(fitting)}, or data.task to "
                f"{' or '.join(self.tasks)}"
            )
        if not spec.categorical:
            raise ConfigError(
                f"model.type {self.type} looks up categorical columns, and none is left; declare one in the section "
                "data, or take one out of model.ignore"
            )
        sequences = [column.name for column in spec.categorical if column.max_sequence_length]
        if sequences and not self.takes_sequences:
            raise ConfigError(
                f"model.type {self.type} takes no sequences; set max_sequence_length of {sequences} to 0, or list them "
                "in model.ignore"
            )

    @property
    def predicted(self) -> tuple[str, ...]:
        """Labels of a model of several goals, which names its outputs after them; empty for all other models."""
        return ()

    @property
    def num_biases(self) -> int:
        """Number of biases at the end of a table's row."""
        return 0

    def fixed_biases(self, dataset: DatasetSpec, spec: FeatureSpec) -> frozenset[str]:
        """Tables whose rows end in a bias of the naive baseline, which training does not change.

        Args:
            dataset: Gives task and keys.
            spec: The columns that the model reads, and their tables.
        """
        return frozenset()

    def check_training(self, training: TrainingConfig) -> None:
        """Checks that the model can be trained in this way.

        Raises:
            ConfigError: It cannot; the message names the keys to change.
        """
        if training.jit_compile and not self.takes_xla:
            raise ConfigError(f"model.type {self.type} does not take training.jit_compile; leave it out")

    def _check_one_width(self, dims: Mapping[str, int], why: str) -> None:
        if len(set(dims.values())) > 1:
            raise ConfigError(
                f"model.type {self.type} {why}, so its tables need one width; got {dict(dims)}. Set embeddings.dim and "
                "leave the tables' own dim out."
            )


class _RankingModel(_Model):
    """The base of models that score an example: a head over embeddings and numbers."""

    tasks: ClassVar[tuple[Task, ...]] = ("rating", "click")

    @property
    def whole_table_l2(self) -> float:
        """Weight of the squared norm of whole tables in the loss."""
        return 0.0

    @abstractmethod
    def head(self, dim: int, initial_score: float, dtype: str) -> "tf.keras.layers.Layer":
        """Builds the dense part, as `trainer_module.models.ranking.RankingModel` takes it.

        Args:
            dim: Width of the tables; models that take tables of several widths do not read it.
            initial_score: The score before training.
            dtype: Keras dtype policy.
        """

    def prepare(self, data: "TrainingData") -> "tuple[Objective, TrainingExamples]":
        """The objective of a dataset, and the examples to train on."""
        from trainer_module.models.objectives import make_objective

        return make_objective(data.dataset.task, data.dataset.label_range or data.train.label_range()), data.train

    def training_columns(self, spec: FeatureSpec, objective: "Objective") -> FeatureSpec:
        """The columns of a training batch."""
        return spec

    def build(self, parts: "ModelParts") -> "RankingModel":
        """Builds the model; see `trainer_module.models.ranking.build_ranking_model`."""
        from trainer_module.models.ranking import build_ranking_model

        return build_ranking_model(self, parts)


class RatingModelConfig(_RankingModel):
    """Factorization of pairwise interactions plus a small MLP; see `trainer_module.models.rating`.

    Attributes:
        mlp: Widths of the hidden layers; without any it is a factorization machine.
        dropout: Fraction of embedding and hidden units dropped in training.
        biases: `fitted` takes the biases of users and items from the naive baseline, which is fitted in closed form, as
            the last number of their rows, and learns a correction of the baseline. Held-out rows choose how much of it
            is believed (`trainer_module.models.shrinkage`): for sparse data. `learned` learns biases with the rest: a
            little better where users have dozens of ratings.
        table_l2: Weight of the squared norm of whole tables in the loss, as a Gaussian prior of each row gives it
            (Salakhutdinov and Mnih, "Probabilistic Matrix Factorization", 2007). It holds frequent rows less than
            `embedding_l2` does. Every step touches every row, so it is for tables of some 100,000 rows at most, off
            TPUs.
    """

    type: Literal["rating"] = "rating"
    mlp: Widths = (32,)
    biases: Literal["fitted", "learned"] = "fitted"
    dropout: float = Field(default=0.5, ge=0, lt=1)
    embedding_l2: float = Field(default=0.05, ge=0)
    table_l2: float = Field(default=0.0, ge=0)

    @property
    def whole_table_l2(self) -> float:
        return self.table_l2

    @property
    def num_biases(self) -> int:
        return int(self.biases == "fitted")

    def fixed_biases(self, dataset: DatasetSpec, spec: FeatureSpec) -> frozenset[str]:
        keys = (dataset.user_key, dataset.item_key)
        if not self.num_biases or dataset.task != "rating" or not all(keys):
            return frozenset()
        with_tokens = {table.name for table in spec.tables if not isinstance(table.vocabulary, HashBuckets)}
        tables = [column.table for column in spec.categorical]
        of_keys = {column.table for column in spec.categorical if column.name in keys}
        return frozenset(table for table in of_keys & with_tokens if tables.count(table) == 1)

    def check(self, dataset: DatasetSpec, spec: FeatureSpec, dims: Mapping[str, int]) -> None:
        super().check(dataset, spec, dims)
        self._check_one_width(dims, "takes dot products of all pairs of rows")
        if self.num_biases and min(dims.values()) < 2:
            raise ConfigError(
                "model.biases fitted takes the last number of a row as its bias and the others as embedding, so tables "
                f"must be at least 2 wide; got {dict(dims)}. Set embeddings.dim to 2 or more, or model.biases: learned"
            )

    def head(
        self, dim: int, initial_score: float, dtype: str, scale: float = 1.0, fixed: Collection[int] = ()
    ) -> "tf.keras.layers.Layer":
        from trainer_module.models.rating import Start, rating_head

        start = Start(initial_score, scale, frozenset(fixed))
        return rating_head(self.mlp, self.dropout, start, bool(self.num_biases), dtype)


class DlrmConfig(_RankingModel):
    """See `trainer_module.models.dlrm`.

    Attributes:
        bottom: Widths of the hidden layers between the numbers and the interaction.
        top: Widths of the hidden layers behind the interaction.
    """

    type: Literal["dlrm"] = "dlrm"
    bottom: Widths = (256, 64)
    top: Widths = (256, 128)

    def check(self, dataset: DatasetSpec, spec: FeatureSpec, dims: Mapping[str, int]) -> None:
        super().check(dataset, spec, dims)
        self._check_one_width(dims, "takes dot products of all pairs of rows")
        if not spec.numeric:
            raise ConfigError(
                "model.type dlrm reads numeric columns and the feature spec has none; declare one in the section "
                "data, take one out of model.ignore, or set model.type to dcn, final_mlp, rating or wide_deep"
            )

    def head(self, dim: int, initial_score: float, dtype: str) -> "tf.keras.layers.Layer":
        from trainer_module.models.dlrm import dlrm_head

        return dlrm_head(dim, self.bottom, self.top, self.dropout, initial_score, dtype)


class DcnConfig(_RankingModel):
    """See `trainer_module.models.dcn`.

    Attributes:
        crosses: Number of cross layers.
        rank: Of their matrices; None is full.
        structure: `stacked` feeds the crosses into the MLP, `parallel` puts both side by side.
        mlp: Widths of the MLP.
    """

    type: Literal["dcn"] = "dcn"
    crosses: int = Field(default=2, ge=1)
    rank: int | None = Field(default=None, ge=1)
    structure: Literal["stacked", "parallel"] = "stacked"
    mlp: Widths = Field(default=(256, 128), min_length=1)

    def head(self, dim: int, initial_score: float, dtype: str) -> "tf.keras.layers.Layer":
        from trainer_module.models.dcn import dcn_head

        return dcn_head(self.crosses, self.rank, self.structure, self.mlp, self.dropout, initial_score, dtype)


class WideDeepConfig(_RankingModel):
    """See `trainer_module.models.wide_deep`.

    Attributes:
        mlp: Widths of the deep part's hidden layers.
    """

    type: Literal["wide_deep"] = "wide_deep"
    mlp: Widths = (256, 128)

    def check(self, dataset: DatasetSpec, spec: FeatureSpec, dims: Mapping[str, int]) -> None:
        super().check(dataset, spec, dims)
        if min(dims.values()) < 2:
            raise ConfigError(
                f"model.type wide_deep takes the last number of a row as its linear weight and the others as its "
                f"embedding, so tables must be at least 2 wide; got {dict(dims)}. Raise embeddings.dim, or the dim of "
                "the table"
            )

    def head(self, dim: int, initial_score: float, dtype: str) -> "tf.keras.layers.Layer":
        from trainer_module.models.wide_deep import wide_deep_head

        return wide_deep_head(self.mlp, self.dropout, initial_score, dtype)


class FinalMlpConfig(_RankingModel):
    """See `trainer_module.models.final_mlp`.

    Attributes:
        first: Widths of the first MLP.
        second: Widths of the second MLP, which reads the same features; another shape lets it see other things.
        heads: Number of parts in which their last layers are compared; divides both last widths.
    """

    type: Literal["final_mlp"] = "final_mlp"
    first: Widths = Field(default=(256, 128), min_length=1)
    second: Widths = Field(default=(128,), min_length=1)
    heads: int = Field(default=4, ge=1)

    @model_validator(mode="after")
    def _check(self) -> "FinalMlpConfig":
        if self.first[-1] % self.heads or self.second[-1] % self.heads:
            raise ValueError(
                f"heads: {self.heads} does not divide {self.first[-1]} and {self.second[-1]}, the last widths of first "
                "and second; choose a number that divides both"
            )
        return self

    def head(self, dim: int, initial_score: float, dtype: str) -> "tf.keras.layers.Layer":
        from trainer_module.models.final_mlp import final_mlp_head

        return final_mlp_head(self.first, self.second, self.heads, self.dropout, initial_score, dtype)


class TaskHead(Frozen):
    """One goal of a `multi_task` model.

    Attributes:
        label: Column of the label: `interactions.label` or one of `interactions.labels`, by its feature's name. The
            head's output has the same name.
        loss: `log_loss` for labels of task click, `mse` for those of task rating; None takes the one that fits.
        loss_weight: Of the head's loss in the model's. A `mse` is measured in variances of the label in the training
            split, so that goals of unlike units weigh alike.
        score_weight: Of the head's prediction in the final score.
    """

    label: str
    loss: Literal["log_loss", "mse"] | None = None
    loss_weight: float = Field(default=1.0, gt=0)
    score_weight: float = 1.0


class SharedBottomMixing(Frozen):
    """One MLP for all heads; see `trainer_module.models.mixing`.

    Attributes:
        widths: Of its layers.
    """

    type: Literal["shared_bottom"] = "shared_bottom"
    widths: Widths = Field(default=(256, 128), min_length=1)

    def layer(self, num_heads: int, dropout: float, dtype: str) -> "tf.keras.layers.Layer":
        """Builds the layer for a number of heads."""
        from trainer_module.models.mixing import SharedBottom

        return SharedBottom(num_heads, self.widths, dropout, dtype)


class MmoeMixing(Frozen):
    """Experts that a gate of each head mixes (MMoE); see `trainer_module.models.mixing`.

    Attributes:
        experts: Number of experts.
        widths: Of each expert's layers.
    """

    type: Literal["mmoe"] = "mmoe"
    experts: int = Field(default=4, ge=1)
    widths: Widths = Field(default=(128, 64), min_length=1)

    def layer(self, num_heads: int, dropout: float, dtype: str) -> "tf.keras.layers.Layer":
        """Builds the layer for a number of heads."""
        from trainer_module.models.mixing import MixtureOfExperts

        return MixtureOfExperts(num_heads, self.experts, self.widths, dropout, dtype)


class PleMixing(Frozen):
    """Levels of shared experts and of experts that belong to one head (PLE); see `trainer_module.models.mixing`.

    Attributes:
        levels: Number of levels; one is the paper's CGC.
        own_experts: Number of experts of each head, per level.
        shared_experts: Number of experts of all heads, per level.
        widths: Of each expert's layers.
    """

    type: Literal["ple"] = "ple"
    levels: int = Field(default=2, ge=1)
    own_experts: int = Field(default=1, ge=1)
    shared_experts: int = Field(default=2, ge=1)
    widths: Widths = Field(default=(64,), min_length=1)

    def layer(self, num_heads: int, dropout: float, dtype: str) -> "tf.keras.layers.Layer":
        """Builds the layer for a number of heads."""
        from trainer_module.models.mixing import ProgressiveExtraction

        return ProgressiveExtraction(
            num_heads, self.levels, self.own_experts, self.shared_experts, self.widths, dropout, dtype
        )


Mixing = Annotated[
    Annotated[SharedBottomMixing | MmoeMixing | PleMixing, Field(discriminator="type")],
    BeforeValidator(_with_defaults),
]


class MultiTaskConfig(_Model):
    """Several goals in one model; see `trainer_module.models.multi_task`.

    Attributes:
        heads: One per goal.
        mixing: What the heads share; the name alone takes its defaults.
        tower: Widths of each head's own hidden layers.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("rating", "click")

    type: Literal["multi_task"] = "multi_task"
    heads: tuple[TaskHead, ...] = Field(min_length=1)
    mixing: Mixing = SharedBottomMixing()
    tower: Widths = (64,)

    @model_validator(mode="after")
    def _check_names(self) -> "MultiTaskConfig":
        labels = self.predicted
        if twice := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"heads: label {twice[0]!r} has two heads; name each once")
        if "score" in labels:
            raise ValueError(
                "heads: 'score' is the output that holds the final score; rename the label, as in labels: "
                "[{name: score, feature: points, ...}]"
            )
        return self

    @property
    def predicted(self) -> tuple[str, ...]:
        return tuple(head.label for head in self.heads)

    def adapted(self, dataset: DatasetSpec, spec: FeatureSpec) -> FeatureSpec:
        return spec.without([label.name for label in spec.further_labels if label.name not in self.predicted])

    def check(self, dataset: DatasetSpec, spec: FeatureSpec, dims: Mapping[str, int]) -> None:
        super().check(dataset, spec, dims)
        labels = {label.name: label for label in dataset.labels}
        losses = {"click": "log_loss", "rating": "mse"}
        for head in self.heads:
            if head.label not in labels:
                raise ConfigError(
                    f"model.heads: the data has no label {head.label!r}; it has {', '.join(labels)}. Declare it in "
                    f"interactions.labels, as in {{name: {head.label}, task: rating}}, or mend the head"
                )
            task = labels[head.label].task
            if head.loss and head.loss != losses[task]:
                raise ConfigError(
                    f"model.heads: label {head.label} is of task {task}, which takes loss {losses[task]}, not "
                    f"{head.loss}. Leave loss out, or change the task of the label in the section data"
                )

    def prepare(self, data: "TrainingData") -> "tuple[Goals, TrainingExamples]":
        """The objective of the labels, and the examples to train on."""
        from trainer_module.models.goals import goals_of

        return goals_of(self, data), data.train

    def training_columns(self, spec: FeatureSpec, objective: "Goals") -> FeatureSpec:
        """The columns of a training batch."""
        return spec

    def build(self, parts: "ModelParts") -> "MultiTaskModel":
        """Builds the model, whose goals know the means of their labels; see `multi_task.build_multi_task_model`."""
        from trainer_module.models.multi_task import build_multi_task_model

        return build_multi_task_model(self, parts)


class MeanEncoder(Frozen):
    """The mean of the items' rows."""

    type: Literal["mean"] = "mean"


class RecencyEncoder(Frozen):
    """A weighted mean of the items' rows, with learned weights by age; see `trainer_module.models.encoders`."""

    type: Literal["recency"] = "recency"


class AttentionEncoder(Frozen):
    """A weighted mean of the items' rows, with weights from rows and ages; see `trainer_module.models.encoders`."""

    type: Literal["attention"] = "attention"


class TransformerEncoder(Frozen):
    """A causal transformer over the items' rows; see `trainer_module.models.encoders`.

    Attributes:
        layers: Number of blocks of self-attention and feed-forward layer.
        heads: Number of attention heads, which divides the width of the rows.
        feedforward: Width of the hidden feed-forward layers, in multiples of the rows' width.
        dropout: Fraction of inputs, attention weights and hidden units dropped in training.
        positions: What a training row predicts: `last` its own item from its history; `all` every item of the history
            from those before it, too. `all` trains on few rows, which together cover every item of the training split
            once.
    """

    type: Literal["transformer"] = "transformer"
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    feedforward: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    positions: Literal["last", "all"] = "last"


class SoftmaxLoss(Frozen):
    """The target's share of a softmax over it and the negatives."""

    type: Literal["softmax"] = "softmax"


class GbceLoss(Frozen):
    """Binary cross entropy, calibrated for the share of the catalog that is drawn; see
    `trainer_module.models.retrieval_losses`.

    Attributes:
        calibration: 0 is plain binary cross entropy; the nearer to 1, the nearer are probabilities to those of training
            with all items as negatives.
    """

    type: Literal["gbce"] = "gbce"
    calibration: float = Field(default=0.75, ge=0, le=1)


class ContrastiveLoss(Frozen):
    """Cosine contrastive loss; see `trainer_module.models.retrieval_losses`.

    Attributes:
        margin: Cosine up to which a negative costs nothing.
        negative_weight: Of the mean over the negatives, against the target's part.
    """

    type: Literal["contrastive"] = "contrastive"
    margin: float = Field(default=0.5, ge=-1, lt=1)
    negative_weight: float = Field(default=10.0, gt=0)


RetrievalLoss = SoftmaxLoss | GbceLoss | ContrastiveLoss


class InteractionExamples(Frozen):
    """A training example is an interaction: a query and the item that it chose."""

    type: Literal["interactions"] = "interactions"


class UserExamples(Frozen):
    """A training example is a user with several of the user's items; see `trainer_module.models.user_examples`.

    Attributes:
        positives: Largest number of items per example. A user with more items is several examples. Where the query
            reads the user's other items, an example has at most half of the user's, so that others are left to read.
    """

    type: Literal["users"] = "users"
    positives: int = Field(default=32, ge=1)


TrainingExamplesConfig = Annotated[
    Annotated[InteractionExamples | UserExamples, Field(discriminator="type")],
    BeforeValidator(_with_defaults),
]

LARGEST_FULL_SOFTMAX = 100_000
"""Beyond so many items, the scores of a batch take gigabytes."""

LARGEST_LOOKUP = 10_000_000
"""Beyond so many rows of 64 numbers, what a batch looks up in one column takes gigabytes."""


QueryEncoder = MeanEncoder | RecencyEncoder | AttentionEncoder | TransformerEncoder


class TwoTowerConfig(_Model):
    """See `trainer_module.models.two_tower`; for interactions.

    Attributes:
        examples: What a training example is: an interaction, or a user with several items; the name alone takes its
            defaults. `batch_size`, steps and epochs count these examples.
        query_encoder: How the rows of the user's history become one; the name alone takes its defaults.
        similarity: Of a query's and a candidate's vector: `cosine` takes the dot product of unit vectors, `dot` that of
            the vectors as they are.
        loss: What the similarities of a query with its target and with negatives cost. Evaluation measures the softmax,
            whatever the training's loss. The name alone takes its defaults.
        temperature: Divides the similarities in a softmax or gBCE: the lower, the more the nearest candidates matter.
        query_mlp: Widths of the query tower's hidden layers; without any, its features' embeddings are added up.
        candidate_mlp: The same for the candidate tower.
        hard_negatives: How many of each query's negatives count, the hardest; None takes all.
        in_batch_negatives: Whether the items of the batch's other examples are negatives; without them, only
            `mixed_negatives` are.
        mixed_negatives: Number of items per example, drawn uniformly from the catalog, that are negatives of all
            examples of the batch; see `trainer_module.models.negatives`.
        full_softmax: Whether every item of the catalog is a candidate in every step, in place of drawn items and those
            of the batch; for catalogs of at most 100,000 items, on one device.
        log_q: Strength of the correction for the items' frequency among the candidates: 1 makes the softmax over the
            batch estimate that over all items, 0 leaves the correction out.
        dropout: Fraction of embedding and hidden units dropped in training.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("retrieval",)
    takes_sequences: ClassVar[bool] = True
    takes_xla: ClassVar[bool] = False

    type: Literal["two_tower"] = "two_tower"
    examples: TrainingExamplesConfig = InteractionExamples()
    query_encoder: Annotated[Annotated[QueryEncoder, Field(discriminator="type")], BeforeValidator(_with_defaults)] = (
        MeanEncoder()
    )
    similarity: Literal["cosine", "dot"] = "cosine"
    loss: Annotated[Annotated[RetrievalLoss, Field(discriminator="type")], BeforeValidator(_with_defaults)] = (
        SoftmaxLoss()
    )
    temperature: float = Field(default=0.2, gt=0)
    query_mlp: Widths = ()
    candidate_mlp: Widths = ()
    hard_negatives: int | None = Field(default=None, ge=1)
    in_batch_negatives: bool = True
    mixed_negatives: int = Field(default=0, ge=0)
    full_softmax: bool = False
    log_q: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _has_negatives(self) -> "TwoTowerConfig":
        if self.full_softmax:
            return self
        if not self.in_batch_negatives and not self.mixed_negatives:
            raise ValueError(
                "in_batch_negatives: false leaves no negatives; set mixed_negatives to the number of items per example "
                "that are drawn from the catalog, or leave in_batch_negatives out"
            )
        return self

    @model_validator(mode="after")
    def _check_loss(self) -> "TwoTowerConfig":
        # Not what is set: the Trainer reads a model of which every field is, by its default.
        given = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        if self.full_softmax:
            if self.loss.type != "softmax":
                raise ValueError(f"full_softmax goes with loss softmax; got {self.loss.type}. Leave one of them out")
            if taken := sorted(given & {"in_batch_negatives", "mixed_negatives", "hard_negatives", "log_q"}):
                raise ValueError(
                    f"full_softmax: every item is a candidate once, so {', '.join(taken)} would change nothing; leave "
                    "it out"
                )
        if self.loss.type != "softmax" and "log_q" in given:
            raise ValueError(f"log_q corrects a sampled softmax; loss {self.loss.type} takes none. Leave log_q out")
        if self.loss.type == "contrastive" and self.similarity != "cosine":
            raise ValueError(
                "loss contrastive compares cosines with a margin; leave similarity: dot out, or choose another loss"
            )
        if self.loss.type == "gbce" and self.in_batch_negatives:
            raise ValueError(
                "loss gbce is calibrated for negatives drawn uniformly from the catalog; set in_batch_negatives: false "
                "and mixed_negatives to the number of items per example"
            )
        return self

    @property
    def correction(self) -> float:
        """Strength of the correction for frequencies in the loss of the training."""
        return self.log_q if self.loss.type == "softmax" else 0.0

    @property
    def has_in_batch_negatives(self) -> bool:
        """Whether the items of the batch's other examples are negatives."""
        return self.in_batch_negatives and not self.full_softmax

    @property
    def reads_catalog(self) -> bool:
        """Whether training needs all items in memory."""
        return self.full_softmax or self.mixed_negatives > 0

    @property
    def positives(self) -> int:
        """Largest number of items that a training example holds."""
        return self.examples.positives if isinstance(self.examples, UserExamples) else 1

    @property
    def trains_users(self) -> bool:
        """Whether a training example is a user with several items."""
        return isinstance(self.examples, UserExamples)

    @property
    def trains_all_positions(self) -> bool:
        """Whether a training row predicts every item of its history."""
        return isinstance(self.query_encoder, TransformerEncoder) and self.query_encoder.positions == "all"

    def adapted(self, dataset: DatasetSpec, spec: FeatureSpec) -> FeatureSpec:
        """Makes the history a sequence for the encoders that read one, as long as the data has it."""
        if isinstance(self.query_encoder, MeanEncoder):
            return spec
        columns = tuple(
            column.model_copy(update={"max_sequence_length": dataset.history})
            if isinstance(column, Categorical) and column.name == HISTORY and not column.max_sequence_length
            else column
            for column in spec.columns
        )
        return FeatureSpec(columns=columns, tables=spec.tables)

    def check(self, dataset: DatasetSpec, spec: FeatureSpec, dims: Mapping[str, int]) -> None:
        super().check(dataset, spec, dims)
        self._check_one_width(dims, "adds rows up")
        key = next((column for column in spec.categorical if column.name == dataset.item_key), None)
        if key is None:
            raise ConfigError(
                f"model.type two_tower looks up the item's key {dataset.item_key!r}; take it out of model.ignore"
            )
        if key.ids_layout != "dense":
            raise ConfigError(
                f"model.type two_tower needs exactly one {dataset.item_key!r} per example; its layout is "
                f"{key.ids_layout}. Leave embeddings.features.{dataset.item_key}.layout out"
            )
        for tower, is_candidate in (("query", False), ("candidate", True)):
            columns = [c for c in spec.inputs if (c.name in dataset.candidate_columns) == is_candidate]
            if not any(isinstance(column, Categorical) for column in columns):
                raise ConfigError(
                    f"the {tower} tower of model.type two_tower has no categorical column to look up; declare one, or "
                    "take one out of model.ignore"
                )

        (table,) = [table for table in spec.tables if table.name == key.table]
        if not table.frequencies:
            raise ConfigError(
                f"model.type two_tower needs how often each item occurs, but table {table.name} of column "
                f"{dataset.item_key} does not keep it; leave embeddings.features.{dataset.item_key}.table out, or "
                "declare the table with frequencies=True in the dataset's feature spec"
            )
        if self.trains_users:
            self._check_users(dataset, spec, key)
        if not isinstance(self.query_encoder, MeanEncoder):
            self._check_encoder(dataset, spec, key, dims[key.table])

    def _check_users(self, dataset: DatasetSpec, spec: FeatureSpec, key: Categorical) -> None:
        """All rows of a user must give the same query, but for which of the user's items it may not know."""
        history = next((column for column in spec.categorical if column.name == HISTORY), None)
        by_time = history is not None and history.latest_last
        of_rows = [c.name for c in spec.inputs if (c.name == HISTORY and by_time) or c.name in dataset.event_columns]
        if of_rows:
            raise ConfigError(
                f"model.examples users makes one query of all rows of a user, but {', '.join(of_rows)} differ from row "
                "to row. Add them to model.ignore, or set examples: interactions"
            )
        if history and (history.table != key.table or history.max_sequence_length):
            raise ConfigError(
                f"model.examples users takes an example's own items out of {HISTORY}, so it must be a bag of ids of "
                f"table {key.table}. Leave embeddings.features.{HISTORY}.table and .max_sequence_length out"
            )

    def _check_encoder(self, dataset: DatasetSpec, spec: FeatureSpec, key: Categorical, dim: int) -> None:
        where = f"model.query_encoder {self.query_encoder.type}"
        history = next((column for column in spec.categorical if column.name == HISTORY), None)
        if history is None or not dataset.history:
            raise ConfigError(
                f"{where} reads the column {HISTORY}, and there is none. Name interactions.time, set data.history, "
                f"or take {HISTORY} out of model.ignore"
            )
        if not history.latest_last:
            raise ConfigError(
                f"{where} reads the order of a history, and rows have no time. Name interactions.time, or set "
                "model.query_encoder: {type: mean}"
            )
        if history.max_sequence_length < dataset.history:
            raise ConfigError(
                f"{where} reads whole histories: embeddings.features.{HISTORY}.max_sequence_length is "
                f"{history.max_sequence_length}, but data.history is {dataset.history}. Leave the first out, or lower "
                "data.history"
            )
        if isinstance(self.query_encoder, TransformerEncoder) and dim % self.query_encoder.heads:
            raise ConfigError(
                f"{where}: {self.query_encoder.heads} heads do not divide the rows' width {dim}. Change "
                "model.query_encoder.heads or embeddings.dim"
            )
        if self.trains_all_positions:
            self._check_all_positions(dataset, spec, key, history)

    def _check_all_positions(
        self, dataset: DatasetSpec, spec: FeatureSpec, key: Categorical, history: Categorical
    ) -> None:
        """The items of a history are described by the columns of the catalog, and the events behind them not at all."""
        where = "model.query_encoder.positions all"
        inputs = [column.name for column in spec.inputs]
        several = [c for c in spec.categorical if c.name in dataset.candidate_columns and c.ids_layout != "dense"]
        if several and history.ids_layout == "ragged":
            raise ConfigError(
                f"{where} puts the tokens of {several[0].name} into places of each item of a history, which ragged ids "
                "do not have. Leave the layout of features out, or set positions: last"
            )
        if weighted := [column.name for column in several if column.weights]:
            raise ConfigError(
                f"{where} adds the tokens of {', '.join(weighted)} up without their weights. Declare the columns "
                "without weights, add them to model.ignore, or set positions: last"
            )
        if events := [name for name in inputs if name in dataset.event_columns]:
            raise ConfigError(
                f"{where} predicts earlier items too, but {', '.join(events)} describe a row's own item. Add them to "
                "model.ignore, or set positions: last"
            )
        if history.table != key.table:
            raise ConfigError(
                f"{where}: {HISTORY} is looked up in table {history.table} and {key.name} in {key.table}, but an item "
                f"of a history must have the row of a candidate. Leave embeddings.features.{HISTORY}.table out"
            )

    def check_training(self, training: TrainingConfig) -> None:
        super().check_training(training)
        if self.trains_users and training.cache != "features":
            raise ConfigError(
                "model.examples users gathers the rows of a user from the transformed training split, which "
                f"training.cache {training.cache} does not keep; leave training.cache out"
            )
        of_batch = self.positives if self.has_in_batch_negatives else 0
        candidates = training.batch_size * (of_batch + self.mixed_negatives)
        if self.hard_negatives and self.hard_negatives > candidates:
            raise ConfigError(
                f"model.hard_negatives={self.hard_negatives}, but a step has {candidates} candidates: "
                f"training.batch_size={training.batch_size} times {of_batch} + "
                "model.mixed_negatives. Lower the first or raise one of the others"
            )

    def prepare(self, data: "TrainingData") -> "tuple[Retrieval, TrainingExamples]":
        """The objective, with the counts of items, and the examples to train on, with drawn items if there are any."""
        from trainer_module.models.retrieval import prepare_retrieval

        return prepare_retrieval(self, data)

    def training_columns(self, spec: FeatureSpec, objective: "Retrieval") -> FeatureSpec:
        """The columns of a training batch: those of an example, its history's items, its further items and the items
        drawn for it."""
        from trainer_module.models.negatives import with_negatives
        from trainer_module.models.sequences import with_attributes_of_history
        from trainer_module.models.user_examples import with_positives

        columns = objective.candidate_columns
        if self.trains_all_positions:
            spec = with_attributes_of_history(spec, columns, objective.item_key, objective.tokens_per_item)
        spec = with_positives(spec, columns, self.positives)
        return with_negatives(spec, columns, self.num_drawn(objective))

    def num_drawn(self, objective: "Retrieval") -> int:
        """Number of items of the catalog that come with each example of a training batch."""
        return objective.copies if self.full_softmax else self.mixed_negatives

    def build(self, parts: "ModelParts") -> "TwoTowerModel":
        """Builds the model; see `two_tower.build_two_tower`."""
        from trainer_module.models.two_tower import build_two_tower

        return build_two_tower(self, parts.spec, parts.configs, parts.embedding, parts.objective, parts.dense)


def _rating_unless_named(value: Any) -> Any:
    """A section without a type is about the default model."""
    return {"type": "rating"} | value if isinstance(value, dict) else value


RankingConfig = RatingModelConfig | DlrmConfig | DcnConfig | WideDeepConfig | FinalMlpConfig
ModelConfig = Annotated[
    Annotated[RankingConfig | MultiTaskConfig | TwoTowerConfig, Field(discriminator="type")],
    BeforeValidator(_rating_unless_named),
]
MODELS: Mapping[str, type[_Model]] = {
    model.model_fields["type"].default: model for model in (*get_args(RankingConfig), MultiTaskConfig, TwoTowerConfig)
}
