"""What heads share, against arithmetic by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from trainer_module.models.config import MmoeMixing, PleMixing, SharedBottomMixing
from trainer_module.models.mixing import Expert, Gate, MixtureOfExperts, ProgressiveExtraction, SharedBottom

INPUTS = tf.constant([[1.0, 2.0]])


def with_values(layer: tf.keras.layers.Layer, *values) -> tf.keras.layers.Layer:
    """Gives a layer's weights values, after they have been made."""
    layer(INPUTS)
    for weight, value in zip(layer.trainable_variables, values, strict=True):
        weight.assign(value)
    return layer


# An expert of one unit: the sum of the inputs, and twice the first; a gate of two experts in the ratio 1 to 3.
SUM = ([[1.0], [1.0]], [0.0])
TWICE = ([[2.0], [0.0]], [0.0])
EVEN = [[0.0, 0.0], [0.0, 0.0]]
ONE_TO_THREE = [[0.0, math.log(3.0)], [0.0, 0.0]]


def test_an_expert_ends_in_a_relu():
    expert = with_values(Expert([1]), [[1.0], [-2.0]], [0.5])
    np.testing.assert_allclose(expert(INPUTS), [[0.0]])
    np.testing.assert_allclose(expert(-INPUTS), [[3.5]])


def test_a_gate_takes_a_weighted_mean_of_experts():
    gate = Gate(2)
    experts = [tf.constant([[4.0, 0.0]]), tf.constant([[8.0, 4.0]])]
    gate(INPUTS, experts)
    gate.trainable_variables[0].assign(ONE_TO_THREE)
    np.testing.assert_allclose(gate(INPUTS, experts), [[0.25 * 4 + 0.75 * 8, 0.75 * 4]], rtol=1e-6)


def test_a_shared_bottom_is_the_same_for_all_heads():
    layer = with_values(SharedBottom(2, [1]), *SUM)
    one, other = layer(INPUTS)
    np.testing.assert_allclose([one, other], [[[3.0]], [[3.0]]])
    assert len(layer.trainable_variables) == 2


def test_each_head_mixes_the_experts_by_its_own_gate():
    layer = with_values(MixtureOfExperts(2, 2, [1]), *SUM, *TWICE, EVEN, ONE_TO_THREE)
    one, other = layer(INPUTS)
    np.testing.assert_allclose(one, [[(3.0 + 2.0) / 2]], rtol=1e-6)
    np.testing.assert_allclose(other, [[0.25 * 3.0 + 0.75 * 2.0]], rtol=1e-6)


def test_a_head_of_one_level_sees_its_own_experts_and_the_shared_ones_but_not_another_heads():
    # The experts of the first head, of the second, and the shared one; a gate per head, its own expert first.
    nothing = ([[0.0], [0.0]], [0.0])
    layer = with_values(ProgressiveExtraction(2, 1, 1, 1, [1]), *SUM, *nothing, *TWICE, ONE_TO_THREE, EVEN)
    one, other = layer(INPUTS)
    np.testing.assert_allclose(one, [[0.25 * 3.0 + 0.75 * 2.0]], rtol=1e-6)
    np.testing.assert_allclose(other, [[(0.0 + 2.0) / 2]], rtol=1e-6)


def test_the_shared_experts_of_the_second_level_read_a_mean_of_all_experts_of_the_first():
    identity, nothing = ([[1.0]], [0.0]), ([[0.0]], [0.0])
    shared_gate = np.zeros((2, 3))
    layer = with_values(
        ProgressiveExtraction(2, 2, 1, 1, [1]),
        *SUM, *TWICE, *([[4.0], [0.0]], [0.0]),  # 3, 2 and 4
        EVEN, EVEN, shared_gate,
        *nothing, *nothing, *identity,
        [[0.0, 0.0]], [[0.0, 0.0]],
    )  # fmt: skip
    # Both heads' own experts of the second level are zero, so that half of the shared one remains.
    np.testing.assert_allclose(layer(INPUTS), [[[(3.0 + 2.0 + 4.0) / 3 / 2]]] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    "mixing",
    [
        SharedBottomMixing(widths=(8, 4)),
        MmoeMixing(experts=3, widths=(8, 4)),
        PleMixing(levels=2, own_experts=2, shared_experts=1, widths=(4,)),
    ],
    ids=lambda mixing: mixing.type,
)
def test_every_mixing_gives_each_head_a_vector_and_drops_by_the_seed_alone(mixing):
    layer = mixing.layer(3, 0.5, "float32")
    inputs, seed = tf.random.stateless_normal([5, 6], [1, 2]), tf.constant([3, 4])
    assert [tuple(of_head.shape) for of_head in layer(inputs, seed=None)] == [(5, 4)] * 3
    np.testing.assert_array_equal(layer(inputs, seed=seed), layer(inputs, seed=seed))
    assert np.any(np.not_equal(layer(inputs, seed=seed), layer(inputs, seed=seed + 1)))
    # All weights take part, in the last level too.
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(of_head**2) for of_head in layer(inputs, seed=None)])
    assert all(gradient is not None for gradient in tape.gradient(loss, layer.trainable_variables))
