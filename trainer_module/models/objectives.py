"""What a ranking model is trained for: how scores become predictions, what they cost, and how they are judged."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from trainer_module.data.spec import Task

# Two clicks whose predicted probabilities fall into one of so many equal bins count as tied in the AUC that steers
# training. The Evaluator computes it anew.
_AUC_BINS = 4096


class Objective(Protocol):
    """The part of a ranking model that depends on what the label means.

    Attributes:
        output: Name of the prediction in the exported model.
        metric: Which of `metrics` chooses the best weights; the lower the better.
        num_sums: Length of `sums`, of which the first is the sum of losses.
    """

    @property
    def output(self) -> str: ...

    @property
    def metric(self) -> str: ...

    @property
    def num_sums(self) -> int: ...

    def initial_score(self, mean_label: float) -> float:
        """The score that predicts the mean label."""
        ...

    def predict(self, scores: tf.Tensor) -> tf.Tensor:
        """From scores to predictions, float32 `[batch]` both."""
        ...

    def loss(self, scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Of each example, `[batch]`."""
        ...

    def sums(self, predictions: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """What adds up over batches and replicas, `[n]`, from three times `[batch]`."""
        ...

    def metrics(self, sums: np.ndarray) -> dict[str, float]:
        """By name, from the total of `sums`."""
        ...


@dataclass(frozen=True)
class Rating:
    """Predicts a number within a range, such as stars, by least squares.

    Attributes:
        rating_range: Predictions are clipped to it; the loss is not, since a clipped score has no gradient.
    """

    rating_range: tuple[float, float]
    output: str = "rating"
    metric: str = "rmse"
    num_sums: int = 3

    def initial_score(self, mean_label: float) -> float:
        return mean_label

    def predict(self, scores: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(scores, *self.rating_range)

    def loss(self, scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return tf.square(scores - labels)

    def sums(self, predictions: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        error = predictions - labels
        return tf.stack([tf.reduce_sum(weights * x) for x in (tf.square(error), tf.abs(error), tf.ones_like(error))])

    def metrics(self, sums: np.ndarray) -> dict[str, float]:
        squared, absolute, count = (float(x) for x in sums)
        return {"rmse": math.sqrt(squared / count), "mae": absolute / count}


@dataclass(frozen=True)
class Click:
    """Predicts the probability of a label that is 0 or 1, by maximum likelihood."""

    output: str = "probability"
    metric: str = "log_loss"
    num_sums: int = 1 + 2 * _AUC_BINS

    def initial_score(self, mean_label: float) -> float:
        """Log odds of the mean.

        Raises:
            ValueError: All labels are alike.
        """
        if not 0 < mean_label < 1:
            raise ValueError(f"labels must be 0 and 1, both of them; their mean is {mean_label}")
        return math.log(mean_label / (1 - mean_label))

    def predict(self, scores: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(scores)

    def loss(self, scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=scores)

    def sums(self, predictions: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        epsilon = 1e-7
        clipped = tf.clip_by_value(predictions, epsilon, 1 - epsilon)
        log_loss = -(labels * tf.math.log(clipped) + (1 - labels) * tf.math.log(1 - clipped))
        bins = tf.minimum(tf.cast(predictions * _AUC_BINS, tf.int32), _AUC_BINS - 1)
        by_bin = [tf.math.unsorted_segment_sum(weights * of, bins, _AUC_BINS) for of in (labels, 1 - labels)]
        return tf.concat([[tf.reduce_sum(weights * log_loss)], *by_bin], axis=0)

    def metrics(self, sums: np.ndarray) -> dict[str, float]:
        clicks, others = np.asarray(sums[1:], np.float64).reshape(2, _AUC_BINS)
        count = clicks.sum() + others.sum()
        # Of all pairs of a click and another, those in which the click has the higher prediction; ties count half.
        below = np.cumsum(others) - others
        pairs = clicks.sum() * others.sum()
        auc = float(clicks @ (below + others / 2) / pairs) if pairs else math.nan
        return {"log_loss": float(sums[0]) / float(count), "auc": auc}


def make_objective(task: Task, label_range: tuple[float, float]) -> Objective:
    """The objective of a dataset's label.

    Args:
        task: What the label means.
        label_range: Its smallest and largest value.
    """
    return Rating(label_range) if task == "rating" else Click()


def describe_metrics(metrics: Mapping[str, float]) -> str:
    """For one line of a log."""
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
