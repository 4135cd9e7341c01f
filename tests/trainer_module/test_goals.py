"""Models of several goals: losses of rows that lack a label, the final score, and the model around them."""

import math

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from trainer_module.blueprint import Blueprint
from trainer_module.data.features import Categorical, ExampleWeight, FeatureSpec, Label, Numeric, Table
from trainer_module.data.spec import DatasetSpec, LabelSpec
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.errors import ConfigError, DataError
from trainer_module.experiment import Experiment
from trainer_module.models.config import MultiTaskConfig, RatingModelConfig, TaskHead
from trainer_module.models.goals import Goal, Goals, LabelStatistics, make_goal
from trainer_module.models.objectives import Click, Rating
from trainer_module.models.signatures import ranked_by
from trainer_module.training.config import TrainingConfig

SPEC = FeatureSpec(
    columns=(
        Categorical(name="user", table="user"),
        Numeric(name="price"),
        Label(name="clicked"),
        Label(name="dwell", required=False),
        Label(name="bought", required=False),
        ExampleWeight(name="plays"),
    ),
    tables=(Table(name="user"),),
)
DATASET = DatasetSpec(
    name="small",
    features=SPEC,
    task="click",
    label_range=(0.0, 1.0),
    further_labels=(LabelSpec(name="dwell", task="rating"), LabelSpec(name="bought", task="click")),
)
CLICKED = Goal("clicked", 0, Click(), initial_score=0.0, score_weight=2.0)
DWELL = Goal("dwell", 1, Rating((0.0, 100.0)), 0.0, loss_weight=3.0, score_weight=0.01, mean=50.0, deviation=20.0)
GOALS = Goals((CLICKED, DWELL))
CONFIG = MultiTaskConfig(
    heads=(TaskHead(label="clicked", score_weight=2.0), TaskHead(label="dwell", loss_weight=3.0, score_weight=0.01)),
    mixing={"type": "mmoe", "experts": 2, "widths": [4]},
    tower=(),
)
SEED = tf.constant([1, 2])
# The second row lacks its dwell.
LABELS = tf.constant([[1.0, 70.0], [0.0, math.nan]])
SCORES = tf.constant([[0.0, 2.0], [0.0, 7.0]])


def test_predictions_are_in_the_labels_unit_and_the_score_is_their_weighted_sum():
    predictions = GOALS.predict(tf.constant([[0.0, 1.5], [0.0, 9.0]]))
    np.testing.assert_allclose(predictions["clicked"], [0.5, 0.5])
    # Clipped to the range of the label.
    np.testing.assert_allclose(predictions["dwell"], [80.0, 100.0])
    np.testing.assert_allclose(predictions["score"], [2.0 * 0.5 + 0.8, 2.0 * 0.5 + 1.0], rtol=1e-6)
    assert set(predictions) == set(GOALS.outputs)


def test_a_row_without_a_label_adds_nothing_to_the_loss_of_its_head():
    # 70 is one deviation above the mean, and the score is 2.
    np.testing.assert_allclose(GOALS.loss(SCORES, LABELS), [math.log(2) + 3.0 * (2 - 1) ** 2, math.log(2)], rtol=1e-6)


def test_a_row_without_a_label_has_no_gradient_there():
    with tf.GradientTape() as tape:
        tape.watch(SCORES)
        loss = tf.reduce_sum(GOALS.loss(SCORES, LABELS))
    np.testing.assert_allclose(tape.gradient(loss, SCORES), [[-0.5, 3.0 * 2 * (2 - 1)], [0.5, 0.0]], rtol=1e-5)


def test_metrics_of_a_head_are_those_of_its_labelled_rows():
    predictions = GOALS.predict(SCORES)
    # The third row fills the batch up.
    three = {name: tf.concat([values, values[:1]], axis=0) for name, values in predictions.items()}
    labels, weights = tf.concat([LABELS, LABELS[:1]], axis=0), tf.constant([1.0, 1.0, 0.0])
    metrics = GOALS.metrics(GOALS.sums(three, labels, weights).numpy())
    assert metrics["clicked.log_loss"] == pytest.approx(math.log(2))
    assert metrics["clicked.auc"] == pytest.approx(0.5)
    # 90 instead of 70, in the only row with a dwell; the loss counts it among two rows.
    assert metrics["dwell.rmse"] == metrics["dwell.mae"] == pytest.approx(20.0)
    assert metrics["loss"] == pytest.approx(math.log(2) + 3.0 * (20 / 20) ** 2 / 2)
    assert GOALS.metric in metrics


def test_the_sums_of_several_batches_add_up():
    predictions = GOALS.predict(SCORES)
    whole = GOALS.sums(predictions, LABELS, tf.ones(2))
    parts = [
        GOALS.sums({name: of[row : row + 1] for name, of in predictions.items()}, LABELS[row : row + 1], tf.ones(1))
        for row in range(2)
    ]
    np.testing.assert_allclose(tf.add_n(parts), whole, rtol=1e-6)


class Rows:
    """A training split in two batches."""

    def __init__(self, *values: list[float]):
        self._values = values

    def batches(self, columns):
        (column,) = columns
        for part in np.array_split(np.arange(len(self._values)), 2):
            lists = pa.array([self._values[row] for row in part], pa.large_list(pa.float32()))
            yield pa.RecordBatch.from_arrays([lists], names=[column.name])


def test_statistics_leave_rows_without_the_label_out():
    found = LabelStatistics.of(Rows([1.0], [], [4.0], [], [7.0]), SPEC.further_labels[0])
    assert (found.count, found.mean, found.low, found.high) == (3, 4.0, 1.0, 7.0)
    assert found.deviation == pytest.approx(6**0.5)
    far = LabelStatistics.of(Rows(*([1e6 + value] for value in (1.0, 4.0, 7.0))), SPEC.further_labels[0])
    assert far.deviation == pytest.approx(6**0.5)


def test_a_label_without_values_is_an_error():
    with pytest.raises(DataError, match="column 'dwell' holds no value in the training split"):
        LabelStatistics.of(Rows([], []), SPEC.further_labels[0])


def test_goals_start_at_the_mean_of_their_labels():
    clicks = make_goal(TaskHead(label="bought"), 2, DATASET.labels[2], LabelStatistics(10, 0.2, 0.4, 0.0, 1.0))
    assert float(clicks.predict(tf.constant(clicks.initial_score))) == pytest.approx(0.2)
    numbers = make_goal(TaskHead(label="dwell"), 1, DATASET.labels[1], LabelStatistics(10, 5.0, 0.0, 5.0, 5.0))
    # All labels alike: nothing to divide by.
    assert (numbers.initial_score, numbers.mean, numbers.deviation) == (0.0, 5.0, 1.0)
    with pytest.raises(DataError, match="column 'bought': the 10 labels of the training split are all alike"):
        make_goal(TaskHead(label="bought"), 2, DATASET.labels[2], LabelStatistics(10, 1.0, 0.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def model():
    experiment = Experiment(
        dataset=DATASET, model=CONFIG, embeddings=EmbeddingsConfig(dim=2), training=TrainingConfig(strategy="cpu")
    )
    spec = experiment.features(SPEC)
    made, _ = Blueprint(experiment, spec, {"user": 3}, GOALS).for_training(tf.distribute.get_strategy(), 0.0)
    return made


def features(plays: float = 1.0) -> dict[str, tf.Tensor]:
    weights = tf.constant([[plays], [1.0]])
    return {"user": tf.constant([[0], [1]], tf.int64), "price": tf.constant([[1.0], [2.0]]), "plays": weights}


def test_a_model_predicts_each_goal_and_the_score_and_serves_the_same(model):
    predictions = model(features())
    assert {name: tuple(values.shape) for name, values in predictions.items()} == dict.fromkeys(GOALS.outputs, (2,))
    np.testing.assert_allclose(
        predictions["score"], 2.0 * predictions["clicked"] + 0.01 * predictions["dwell"], rtol=1e-6
    )
    by_example, by_column = model.served
    assert by_example.serialized and not by_column.serialized
    assert set(by_column.predictions) == set(GOALS.outputs)
    assert [column.name for column in by_column.columns] == ["user", "price"]
    looked_up = {"user": tf.gather(model.embedding.trainable_tables["user"], [0, 1])}
    for name, values in by_column.answer(looked_up, features()).items():
        np.testing.assert_allclose(values, predictions[name], rtol=1e-6)


def test_what_orders_items_is_the_score_or_the_only_prediction(model):
    predictions = model(features())
    assert ranked_by(predictions) is predictions["score"]
    assert ranked_by({"rating": 3.5}) == 3.5


def test_the_weight_of_an_example_multiplies_the_loss_of_all_heads(model):
    once, thrice = (model.per_example_loss(features(plays), LABELS, SEED).numpy() for plays in (1.0, 3.0))
    np.testing.assert_allclose(thrice, once * [3.0, 1.0], rtol=1e-6)


def test_labels_that_no_head_predicts_are_not_read():
    def names(model) -> list[str]:
        experiment = Experiment(dataset=DATASET, model=model)
        return [label.name for label in experiment.features(SPEC).labels]

    assert names(CONFIG) == ["clicked", "dwell"]
    assert names(RatingModelConfig()) == ["clicked"]
    assert "dwell" not in [column.name for column in SPEC.inputs]


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([{"label": "clicks"}], r"the data has no label 'clicks'; it has clicked, dwell, bought"),
        ([{"label": "clicked", "loss": "mse"}], "label clicked is of task click, which takes loss log_loss, not mse"),
        ([{"label": "dwell", "loss": "log_loss"}], "label dwell is of task rating, which takes loss mse"),
    ],
)
def test_heads_that_do_not_fit_the_data_are_refused(heads, message):
    model = MultiTaskConfig.model_validate({"heads": heads})
    with pytest.raises(ConfigError, match=message):
        Experiment(dataset=DATASET, model=model).check()


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ([{"label": "clicked"}, {"label": "clicked"}], "label 'clicked' has two heads"),
        ([{"label": "score"}], "'score' is the output that holds the final score; rename the label"),
        ([], "at least 1"),
    ],
)
def test_heads_that_contradict_each_other_are_refused(heads, message):
    with pytest.raises(ValueError, match=message):
        MultiTaskConfig.model_validate({"heads": heads})


def test_one_label_as_a_dataset_of_its_own():
    alone = DATASET.for_label("dwell")
    assert (alone.task, alone.features.label.name, alone.further_labels) == ("rating", "dwell", ())
    assert alone.features.inputs == SPEC.inputs
    assert [label.name for label in DATASET.labels] == ["clicked", "dwell", "bought"]
