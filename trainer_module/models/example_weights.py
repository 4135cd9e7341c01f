"""Weights of examples in the training loss."""

import tensorflow as tf

from trainer_module.data.features import FeatureSpec
from trainer_module.embeddings.layer import Features


def weighted(loss: tf.Tensor, spec: FeatureSpec, features: Features) -> tf.Tensor:
    """Multiplies the loss of each example, `[batch]`, by its weight; without a column of weights it stays the same.

    Args:
        loss: Without regularization, which is not weighed.
        spec: Says whether there is such a column.
        features: Of a training batch; hold the weights, `[batch, 1]`.
    """
    if spec.example_weight is None:
        return loss
    return loss * tf.squeeze(features[spec.example_weight.name], axis=1)
