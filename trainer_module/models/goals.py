"""What a model of several goals is trained for: one objective per head, their weighted loss and the final score."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer_module.data.features import Label
from trainer_module.data.inputs import ExampleReader
from trainer_module.data.spec import LabelSpec
from trainer_module.errors import DataError
from trainer_module.models.config import MultiTaskConfig, TaskHead
from trainer_module.models.objectives import Objective, make_objective
from trainer_module.models.signatures import SCORE
from trainer_module.models.training_data import TrainingData


@dataclass(frozen=True)
class LabelStatistics:
    """A label's values in the training split; examples that lack it do not count.

    Attributes:
        count: Number of examples that have it.
        mean: Mean.
        deviation: Standard deviation.
        low: Smallest value.
        high: Largest value.
    """

    count: int
    mean: float
    deviation: float
    low: float
    high: float

    @classmethod
    def of(cls, train: ExampleReader, label: Label) -> "LabelStatistics":
        """Reads one column of the training split.

        Raises:
            DataError: No example has the label.
        """
        count, mean, squares, low, high = 0, 0.0, 0.0, math.inf, -math.inf
        for batch in train.batches([label]):
            values = batch.column(label.name).flatten().to_numpy(zero_copy_only=False).astype(np.float64)
            if not len(values):
                continue
            # Sums of squares of batches are merged as Chan, Golub and LeVeque do ("Updating Formulae and a Pairwise
            # Algorithm for Computing Sample Variances", 1979), so that a large mean costs no digits.
            total, away = count + len(values), float(values.mean()) - mean
            squares += float(np.square(values - values.mean()).sum()) + away**2 * count * len(values) / total
            mean, count = mean + away * len(values) / total, total
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        if not count:
            raise DataError(
                f"column {label.name!r} holds no value in the training split, and model.heads predicts it; mend the "
                "data, or leave the head out"
            )
        return cls(count, mean, math.sqrt(squares / count), low, high)


@dataclass(frozen=True)
class Goal:
    """What one head predicts.

    Scores of numbers are standardized: score 0 predicts the label's mean in the training split, and 1 its mean plus its
    standard deviation. The loss is measured in the same unit, so that goals of unlike units weigh alike.

    Attributes:
        label: Column, and the name of the head's output.
        place: Of the label among `FeatureSpec.labels`.
        objective: Predictions, loss and metrics in the label's own unit.
        initial_score: Score that predicts the training split's mean.
        loss_weight: Of the loss in the model's loss.
        score_weight: Of the prediction in the final score.
        mean: What score 0 predicts; 0 for clicks, whose scores are log odds.
        deviation: By how much score 1 exceeds it; 1 for clicks.
    """

    label: str
    place: int
    objective: Objective
    initial_score: float
    loss_weight: float = 1.0
    score_weight: float = 1.0
    mean: float = 0.0
    deviation: float = 1.0

    def predict(self, scores: tf.Tensor) -> tf.Tensor:
        """From scores to predictions in the label's unit, float32 `[batch]` both."""
        return self.objective.predict(self.mean + self.deviation * scores)

    def loss(self, scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Of each example, `[batch]`; 0 where the label is NaN."""
        present, known = self._known(labels)
        loss = self.objective.loss(self.mean + self.deviation * scores, known) / self.deviation**2
        return tf.where(present, loss, 0.0)

    def sums(self, predictions: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """What adds up to `metrics`, `[n]`; the first is the sum of losses. Examples without the label weigh 0."""
        present, known = self._known(labels)
        return self.objective.sums(predictions, known, tf.where(present, weights, 0.0))

    def _known(self, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Whether each example has the label, and the labels with any finite value in place of NaN, `[batch]` both.

        The gradient of `tf.where` is NaN where the side that is not taken is.
        """
        present = tf.logical_not(tf.math.is_nan(labels))
        return present, tf.where(present, labels, self.mean)


@dataclass(frozen=True)
class Goals:
    """The objective of a model of several goals.

    A step's loss is the mean over the batch of `sum of loss_weight * loss of the head`, to which an example that lacks
    a head's label adds nothing. The final score is `sum of score_weight * prediction of the head`, where a click's
    prediction is a probability and a number's is in its label's unit.

    Attributes:
        goals: One per head, in the order of the heads.
        metric: Chooses the best weights: the same loss, on the eval split.
    """

    goals: tuple[Goal, ...]
    metric: str = "loss"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the predictions: each head's label, and the final score."""
        return (*(goal.label for goal in self.goals), SCORE)

    def predict(self, scores: tf.Tensor) -> dict[str, tf.Tensor]:
        """From scores `[batch, heads]` to `outputs`, float32 `[batch]` each."""
        predictions = {
            goal.label: goal.predict(of_head)
            for goal, of_head in zip(self.goals, tf.unstack(scores, axis=1), strict=True)
        }
        return predictions | {SCORE: tf.add_n([goal.score_weight * predictions[goal.label] for goal in self.goals])}

    def loss(self, scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Of each example, `[batch]`.

        Args:
            scores: `[batch, heads]`.
            labels: `[batch, number of labels]`, or `[batch]` of a dataset with one label; NaN where an example lacks
                one.
        """
        of_heads = zip(self.goals, tf.unstack(scores, axis=1), strict=True)
        return tf.add_n([goal.loss_weight * goal.loss(score, _column(labels, goal)) for goal, score in of_heads])

    def sums(self, predictions: Mapping[str, tf.Tensor], labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """What adds up over batches and replicas, `[n]`: the number of examples, then each goal's sums."""
        of_goals = [goal.sums(predictions[goal.label], _column(labels, goal), weights) for goal in self.goals]
        return tf.concat([[tf.reduce_sum(weights)], *of_goals], axis=0)

    def metrics(self, sums: np.ndarray) -> dict[str, float]:
        """By name, from the total of `sums`: `loss`, and of each head as in `clicked.auc`."""
        ends = np.cumsum([goal.objective.num_sums for goal in self.goals])
        count, of_goals = float(sums[0]), np.split(sums[1:], ends[:-1])
        loss, metrics = 0.0, {}
        for goal, part in zip(self.goals, of_goals, strict=True):
            loss += goal.loss_weight * float(part[0]) / goal.deviation**2 / count
            metrics |= {f"{goal.label}.{name}": value for name, value in goal.objective.metrics(part).items()}
        return {self.metric: loss} | metrics


def _column(labels: tf.Tensor, goal: Goal) -> tf.Tensor:
    """The label of one goal, `[batch]`."""
    return labels if labels.shape.rank == 1 else labels[:, goal.place]


def goals_of(config: MultiTaskConfig, data: TrainingData) -> Goals:
    """The objective of a dataset's labels, with their statistics in the training split.

    Raises:
        DataError: No example of the training split has one of the labels, or all labels of clicks are alike.
    """
    labels = {label.name: label for label in data.dataset.labels}
    columns = {label.name: (place, label) for place, label in enumerate(data.spec.labels)}
    goals = []
    for head in config.heads:
        place, column = columns[head.label]
        goals.append(make_goal(head, place, labels[head.label], LabelStatistics.of(data.train, column)))
    return Goals(tuple(goals))


def make_goal(head: TaskHead, place: int, label: LabelSpec, statistics: LabelStatistics) -> Goal:
    """The goal of one head.

    Args:
        head: Its weights.
        place: Of the label among `FeatureSpec.labels`.
        label: What the label means.
        statistics: Of the label in the training split.

    Raises:
        DataError: All labels of clicks are alike.
    """
    objective = make_objective(label.task, label.label_range or (statistics.low, statistics.high))
    weights = {"loss_weight": head.loss_weight, "score_weight": head.score_weight}
    if label.task == "rating":
        deviation = statistics.deviation or 1.0
        return Goal(head.label, place, objective, 0.0, **weights, mean=statistics.mean, deviation=deviation)
    if not 0 < statistics.mean < 1:
        raise DataError(
            f"column {head.label!r}: the {statistics.count:,} labels of the training split are all alike, and a head "
            "of clicks needs 1 and 0. Mend the data, split it otherwise, or leave the head out"
        )
    return Goal(head.label, place, objective, objective.initial_score(statistics.mean), **weights)
