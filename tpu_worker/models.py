"""Small versions of all models, for compiling, laying out tables and tracing without a TPU."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer_module.blueprint import Blueprint
from trainer_module.data.dataset import HISTORY, HISTORY_TARGETS, HISTORY_WEIGHTS
from trainer_module.data.features import (
    Categorical,
    Context,
    ExampleWeight,
    FeatureSpec,
    HistoryWeights,
    Label,
    Numeric,
    Table,
)
from trainer_module.data.inputs import length_name
from trainer_module.data.spec import DatasetSpec
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.embeddings.layer import Features
from trainer_module.experiment import Experiment
from trainer_module.models.config import (
    DcnConfig,
    DlrmConfig,
    FinalMlpConfig,
    MmoeMixing,
    MultiTaskConfig,
    PleMixing,
    RankingConfig,
    RatingModelConfig,
    SharedBottomMixing,
    TaskHead,
    TransformerEncoder,
    TwoTowerConfig,
    UserExamples,
    WideDeepConfig,
)
from trainer_module.models.goals import Goal, Goals
from trainer_module.models.objectives import Click, Objective, Rating
from trainer_module.models.retrieval import Retrieval
from trainer_module.models.sequences import count_name, ids_name, weights_name
from trainer_module.models.user_examples import NUM_POSITIVES
from trainer_module.optimizers.config import Adagrad, TableOptimizerConfig
from trainer_module.training.config import TrainingConfig

# Dense ids, bags of any length, a table shared by two columns, and a numeric column.
SPEC = FeatureSpec(
    columns=(
        Categorical(name="user", table="user"),
        Categorical(name="item", table="item"),
        Categorical(name="tags", table="tag", multivalent=True),
        Categorical(name="main_tag", table="tag"),
        Numeric(name="year", required=False),
        Label(name="rating"),
    ),
    tables=(Table(name="user"), Table(name="item"), Table(name="tag", combiner="sum")),
)
ROWS = {"user": 100, "item": 301, "tag": 7}
DIM = 8
RATING = Rating((1.0, 5.0))
BAG_LENGTH = 2

# The same tables, the user's history, and weights of rows.
WITH_HISTORY = FeatureSpec(
    columns=(
        *SPEC.columns,
        Categorical(
            name=HISTORY,
            table="item",
            multivalent=True,
            counted=False,
            max_sequence_length=BAG_LENGTH,
            latest_last=True,
        ),
        Context(name=HISTORY_TARGETS, dtype="int64"),
        ExampleWeight(name="plays"),
        HistoryWeights(name=HISTORY_WEIGHTS),
    ),
    tables=SPEC.tables,
)

# The same tables, and the user's other items.
WITH_OTHERS = FeatureSpec(
    columns=(*SPEC.columns, Categorical(name=HISTORY, table="item", multivalent=True, counted=False)),
    tables=SPEC.tables,
)

# The same inputs, and a second goal.
TWO_GOALS = FeatureSpec(columns=(*SPEC.columns, Label(name="clicked", required=False)), tables=SPEC.tables)
GOALS = Goals(
    (
        Goal("rating", 0, RATING, initial_score=0.0, mean=3.0, deviation=1.2),
        Goal("clicked", 1, Click(), initial_score=0.0),
    )
)


@dataclass(frozen=True)
class SmallModel:
    """A model over three small tables.

    Attributes:
        config: Configuration of the model.
        spec: Columns and tables.
        objective: Training objective.
    """

    config: RankingConfig | MultiTaskConfig | TwoTowerConfig
    spec: FeatureSpec = SPEC
    objective: Objective | Goals | Retrieval = RATING

    def blueprint(
        self,
        batch_size: int,
        optimizer: TableOptimizerConfig = Adagrad(learning_rate=0.1),  # noqa: B008 (it is immutable)
        pipelining: bool = False,
    ) -> Blueprint:
        """Returns the blueprint of the model.

        Args:
            batch_size: Number of examples per step over all replicas.
            optimizer: Embedding optimizer.
            pipelining: Whether the embedding engine pipelines lookups and updates.
        """
        experiment = Experiment(
            dataset=DatasetSpec(name="small", features=self.spec),
            model=self.config,
            embeddings=EmbeddingsConfig(dim=DIM, pipelining=pipelining),
            training=TrainingConfig(batch_size=batch_size, embedding_optimizer=optimizer),
        )
        return Blueprint(experiment, self.spec, ROWS, self.objective)

    def batch(self, batch_size: int) -> tuple[Features, tf.Tensor]:
        """Returns features and labels, the same at every call. Bags have `BAG_LENGTH` ids, and sequences are full.

        Labels are `[batch]`; with further labels `[batch, number of labels]`, of which every other example lacks those.
        """
        random = np.random.default_rng(0)
        features = {}
        for column in self.config.training_columns(self.spec, self.objective).categorical:
            shape = [batch_size, (column.max_sequence_length or BAG_LENGTH) if column.multivalent else 1]
            ids = random.integers(ROWS[column.table], size=shape)
            features[column.name] = (
                tf.SparseTensor(list(np.ndindex(*shape)), ids.ravel(), shape)
                if column.multivalent
                else tf.constant(ids)
            )
            if column.name == HISTORY:
                features[ids_name(column.name)] = tf.constant(ids)
                features[length_name(column.name)] = tf.fill([batch_size, 1], np.int64(BAG_LENGTH))
                features[HISTORY_TARGETS] = tf.fill([batch_size, 1], np.int64(BAG_LENGTH))
                features[weights_name(column.name)] = tf.ones(shape)
        if isinstance(self.config, TwoTowerConfig) and self.config.trains_users:
            features[NUM_POSITIVES] = tf.fill([batch_size, 1], np.int64(self.config.positives))
        if isinstance(self.objective, Retrieval):
            for name in self.objective.tokens_per_item:
                features[count_name(name)] = tf.ones([batch_size, BAG_LENGTH])
        if self.spec.example_weight:
            features[self.spec.example_weight.name] = tf.ones([batch_size, 1])
        for column in self.spec.numeric:
            features[column.name] = tf.constant(random.normal(size=[batch_size, 1]), tf.float32)
        labels = random.uniform(1, 5, size=[batch_size])
        clicks = [np.where(np.arange(batch_size) % 2, np.nan, labels > 3) for _ in self.spec.further_labels]
        return features, tf.constant(np.stack([labels, *clicks], axis=1) if clicks else labels, tf.float32)


def _two_goals(mixing: SharedBottomMixing | MmoeMixing | PleMixing) -> SmallModel:
    heads = (TaskHead(label="rating"), TaskHead(label="clicked"))
    return SmallModel(MultiTaskConfig(heads=heads, mixing=mixing, tower=(8,), dropout=0.1), TWO_GOALS, GOALS)


MODELS = {
    "rating": SmallModel(RatingModelConfig()),
    "dlrm": SmallModel(DlrmConfig(bottom=(16,), top=(16,), dropout=0.1)),
    "dcn": SmallModel(DcnConfig(rank=4, mlp=(16,), dropout=0.1)),
    "wide_deep": SmallModel(WideDeepConfig(mlp=(16,), dropout=0.1)),
    "final_mlp": SmallModel(FinalMlpConfig(first=(16, 8), second=(8,), heads=2, dropout=0.1)),
    "shared_bottom": _two_goals(SharedBottomMixing(widths=(16, 8))),
    "mmoe": _two_goals(MmoeMixing(experts=2, widths=(16, 8))),
    "ple": _two_goals(PleMixing(widths=(8,))),
    "two_tower": SmallModel(
        TwoTowerConfig(query_mlp=(16,), dropout=0.1),
        objective=Retrieval("item", ("item", "tags", "main_tag"), np.arange(ROWS["item"])),
    ),
    "two_tower_users": SmallModel(
        TwoTowerConfig(examples=UserExamples(positives=3), dropout=0.1, mixed_negatives=1),
        WITH_OTHERS,
        Retrieval("item", ("item", "tags", "main_tag"), np.arange(ROWS["item"]), np.ones(ROWS["item"], np.int64)),
    ),
    "transformer": SmallModel(
        TwoTowerConfig(
            query_encoder=TransformerEncoder(positions="all", dropout=0.1),
            similarity="dot",
            in_batch_negatives=False,
            mixed_negatives=2,
        ),
        WITH_HISTORY,
        Retrieval(
            "item",
            ("item", "tags", "main_tag"),
            np.arange(ROWS["item"]),
            np.ones(ROWS["item"], np.int64),
            tokens_per_item={"tags": BAG_LENGTH},
        ),
    ),
}
