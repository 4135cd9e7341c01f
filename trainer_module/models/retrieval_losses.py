"""What a query's target and its negatives cost: the losses that `model.loss` names.

All take the scores of the targets, `[queries]` or, with several targets of each query, `[queries, targets]`, and those
of the negatives, `[queries, negatives]`, and return the cost of each target against the negatives, in the shape of the
targets. A negative that does not count has a score far below all others.
"""

from collections.abc import Callable

import tensorflow as tf

PairLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

MASKED = -1e9
"""Score of a negative that does not count."""


def softmax(targets: tf.Tensor, negatives: tf.Tensor) -> tf.Tensor:
    """Cross entropy of finding the target among it and the negatives."""
    return tf.nn.softplus(_beside(targets, tf.reduce_logsumexp(negatives, axis=1)) - targets)


def multinomial(targets: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Cross entropy of finding each target among all candidates, which contain the targets: the multinomial likelihood
    of Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018, equation 2."""
    return _beside(targets, tf.reduce_logsumexp(candidates, axis=1)) - targets


def binary(power: float) -> PairLoss:
    """Binary cross entropy with the target's probability to a power (gBCE; Petrov and Macdonald, "gSASRec: Reducing
    Overconfidence in Sequential Recommendation Trained with Negative Sampling", RecSys 2023, equation 9).

    Trained with few negatives, a model learns probabilities that are too high, and ranks the best items badly. A power
    below 1 takes that back.

    Args:
        power: From `calibrating_power`; 1 is plain binary cross entropy.
    """

    def loss(targets: tf.Tensor, negatives: tf.Tensor) -> tf.Tensor:
        of_target = power * tf.nn.softplus(-targets)
        of_negatives = _beside(targets, tf.reduce_sum(tf.nn.softplus(negatives), axis=1))
        return (of_target + of_negatives) / tf.cast(1 + tf.shape(negatives)[1], targets.dtype)

    return loss


def calibrating_power(sampled: float, calibration: float) -> float:
    """The power for `binary` (the same paper, equation 12).

    Args:
        sampled: Share of the catalog that is drawn as negatives of a query, at most 1.
        calibration: 0 is plain binary cross entropy; at 1, the model's probabilities are those that it would learn if
            all other items were negatives.
    """
    return 1 - calibration * (1 - min(sampled, 1.0))


def contrastive(margin: float, negative_weight: float) -> PairLoss:
    """Cosine contrastive loss (Mao et al., "SimpleX: A Simple and Strong Baseline for Collaborative Filtering", CIKM
    2021, equation 1): the target is to have cosine 1, and negatives below the margin cost nothing.

    Args:
        margin: Cosine up to which a negative costs nothing.
        negative_weight: Of the mean over the negatives, against the target's part.
    """

    def loss(targets: tf.Tensor, negatives: tf.Tensor) -> tf.Tensor:
        of_negatives = tf.reduce_mean(tf.nn.relu(negatives - margin), axis=1)
        return 1 - targets + negative_weight * _beside(targets, of_negatives)

    return loss


def _beside(targets: tf.Tensor, of_queries: tf.Tensor) -> tf.Tensor:
    """Values of queries, `[queries]`, in a shape that broadcasts to that of their targets."""
    return of_queries[:, tf.newaxis] if targets.shape.rank == 2 else of_queries
