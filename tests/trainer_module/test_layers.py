import numpy as np
import pytest
import tensorflow as tf

from trainer_module.models.layers import MLP, DotInteraction, dropout


def test_dot_interaction_by_hand():
    a, b, c = (tf.constant([row]) for row in ([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]))
    # b.a = 3 + 8, c.a = 5 + 12, c.b = 15 + 24
    np.testing.assert_array_equal(DotInteraction()([a, b, c]), [[11.0, 17.0, 39.0]])


def test_the_gradient_of_dots_by_hand():
    a, b, c = (tf.constant([row]) for row in ([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]))
    with tf.GradientTape() as tape:
        tape.watch([a, b, c])
        # b.a + 10 c.a + 100 c.b
        loss = tf.reduce_sum(DotInteraction()([a, b, c]) * [[1.0, 10.0, 100.0]])
    of_a, of_b, of_c = tape.gradient(loss, [a, b, c])
    np.testing.assert_array_equal(of_a, [[3.0 + 50.0, 4.0 + 60.0]])
    np.testing.assert_array_equal(of_b, [[1.0 + 500.0, 2.0 + 600.0]])
    np.testing.assert_array_equal(of_c, [[10.0 + 300.0, 20.0 + 400.0]])


@pytest.mark.parametrize("num_vectors", [2, 4, 5, 9])
def test_dots_and_gradients_are_right_for_few_and_for_many_vectors(num_vectors):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(num_vectors, 7, 4))
    rows, columns = np.tril_indices(num_vectors, -1)
    factors = random.normal(size=(7, len(rows)))
    inputs = [tf.constant(vector, tf.float32) for vector in vectors]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        dots = DotInteraction()(inputs)
        loss = tf.reduce_sum(dots * tf.constant(factors, tf.float32))
    np.testing.assert_allclose(dots, np.einsum("pbd,pbd->bp", vectors[rows], vectors[columns]), atol=1e-5)
    expected = np.zeros_like(vectors)
    for pair, (row, column) in enumerate(zip(rows, columns, strict=True)):
        expected[row] += factors[:, pair, np.newaxis] * vectors[column]
        expected[column] += factors[:, pair, np.newaxis] * vectors[row]
    np.testing.assert_allclose(tape.gradient(loss, inputs), expected, atol=1e-5)


def test_dot_interaction_has_static_shapes():
    traced = tf.function(DotInteraction().call).get_concrete_function([tf.TensorSpec([None, 4])] * 5)
    assert traced.output_shapes.as_list() == [None, 10]
    assert not [op for op in traced.graph.get_operations() if op.type in ("Where", "BooleanMask")]


def test_mlp_starts_at_its_output_bias():
    output = MLP((), 1, output_bias=3.5)(tf.zeros([2, 4]))
    np.testing.assert_array_equal(output, [[3.5], [3.5]])


def test_mlp_drops_units_in_training_only_and_by_its_seed():
    mlp = MLP((64,), 1, dropout=0.5)
    inputs = tf.ones([1, 8])
    assert mlp(inputs) == mlp(inputs)
    by_seed = [mlp(inputs, seed=tf.constant([0, seed])).numpy().item() for seed in (1, 1, 2, 3)]
    assert by_seed[0] == by_seed[1]
    assert len(set(by_seed)) == 3


def test_dropout_keeps_the_mean():
    dropped = dropout(tf.ones([10_000]), 0.25, tf.constant([1, 2])).numpy()
    assert set(dropped) == {0.0, np.float32(1 / 0.75)}
    assert abs(dropped.mean() - 1) < 0.02


def test_bfloat16_computes_in_half_and_keeps_weights_in_float32():
    mlp = MLP((4,), 1, dtype="mixed_bfloat16")
    assert mlp(tf.ones([2, 3])).dtype == tf.bfloat16
    assert {variable.dtype for variable in mlp.variables} == {tf.float32}
