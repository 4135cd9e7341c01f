"""Encoders of histories: what they see, what they do not see, and their weights by hand."""

import numpy as np
import pytest
import tensorflow as tf

from trainer_module.models import encoders
from trainer_module.models.config import AttentionEncoder, MeanEncoder, QueryEncoder, RecencyEncoder, TransformerEncoder
from trainer_module.models.encoders import Attention, make_encoder

DIM, LENGTH = 4, 5
SEED = tf.constant([1, 2])
FULL = tf.constant([LENGTH] * 3, tf.int64)
ENCODERS = (RecencyEncoder(), AttentionEncoder(), TransformerEncoder())


def made(config: QueryEncoder, dtype: str = "float32") -> tf.keras.layers.Layer:
    encoder = make_encoder(config, DIM, LENGTH, dtype)
    assert encoder is not None
    return encoder


def lengths(*values: int) -> tf.Tensor:
    return tf.constant(values, tf.int64)


@pytest.fixture(params=ENCODERS, ids=lambda config: config.type)
def encoder(request) -> tf.keras.layers.Layer:
    return made(request.param)


@pytest.fixture
def transformer() -> tf.keras.layers.Layer:
    return made(TransformerEncoder(dropout=0.5))


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, LENGTH, DIM)).astype(np.float32)


def test_the_mean_needs_no_encoder():
    assert make_encoder(MeanEncoder(), DIM, LENGTH) is None


def test_what_fills_up_does_not_count(encoder, rows):
    other = rows.copy()
    other[0, 2:], other[1, :] = 7.0, -3.0
    np.testing.assert_allclose(encoder(rows, lengths(2, 0, 5)), encoder(other, lengths(2, 0, 5)), rtol=1e-5, atol=1e-6)


def test_an_item_whose_row_is_zero_is_an_item(encoder, rows):
    rows[:, 1] = 0
    one, two = encoder(rows, lengths(1, 1, 1)), encoder(rows, lengths(2, 2, 2))
    assert np.abs(one - two).max() > 0.01


def test_the_order_of_items_counts(encoder, rows):
    if isinstance(encoder, Attention):
        encoder._of_age.assign(np.arange(LENGTH))
    assert np.abs(encoder(rows, lengths(5, 5, 5)) - encoder(rows[:, ::-1], lengths(5, 5, 5))).max() > 0.01


def test_an_empty_history_gives_nothing_but_the_start(rows):
    for config in ENCODERS[:2]:
        np.testing.assert_array_equal(made(config)(rows, lengths(0, 0, 0)), np.zeros([3, DIM]))
    first, second, third = made(ENCODERS[2])(rows, lengths(0, 0, 0)).numpy()
    assert np.all(np.isfinite(first)) and np.abs(first).max() > 0.1
    np.testing.assert_allclose([second, third], [first, first], rtol=1e-5)


def test_recent_items_weigh_more(rows):
    encoded = made(RecencyEncoder())(rows, lengths(2, 2, 2))
    # Ages 1 and 0 have the weights 1/2 and 1 before they are normalized.
    np.testing.assert_allclose(encoded, rows[:, 0] / 3 + rows[:, 1] * 2 / 3, rtol=1e-5)


def test_attention_by_hand(rows):
    encoder = made(AttentionEncoder())
    encoder._of_age.assign([0.5, 0.0, -0.5, 0.0, 0.0])
    hidden = np.tanh(rows[0, :2] @ encoder._hidden.kernel.numpy() + encoder._hidden.bias.numpy())
    weights = np.exp((hidden @ encoder._score.kernel.numpy())[:, 0] + [0.0, 0.5])
    expected = weights @ rows[0, :2] / weights.sum()
    np.testing.assert_allclose(encoder(rows, lengths(2, 5, 5))[0], expected, rtol=1e-5)


def test_a_step_sees_no_later_item(transformer, rows):
    steps = transformer.steps(rows, FULL).numpy()
    assert steps.shape == (3, LENGTH + 1, DIM)
    for changed in range(LENGTH):
        other = rows.copy()
        other[:, changed, 0] += 1.0
        of_other = transformer.steps(other, FULL).numpy()
        np.testing.assert_array_equal(of_other[:, : changed + 1], steps[:, : changed + 1])
        assert np.all(np.abs(of_other[:, changed + 1 :] - steps[:, changed + 1 :]).max(axis=2) > 1e-4)


def test_the_vector_is_that_of_the_step_behind_the_last_item(transformer, rows):
    encoded, steps = transformer(rows, lengths(0, 2, 5)), transformer.steps(rows, FULL)
    np.testing.assert_allclose(encoded, [steps[0, 0], steps[1, 2], steps[2, 5]], rtol=1e-6)


def test_a_tpu_computes_the_same_with_fixed_shapes(transformer, rows, monkeypatch):
    packed = transformer(rows, lengths(0, 2, 5))
    monkeypatch.setattr(encoders, "on_tpu", lambda: True)
    np.testing.assert_allclose(transformer(rows, lengths(0, 2, 5)), packed, rtol=1e-5, atol=1e-6)


def test_dropout_follows_from_the_seed(transformer, rows):
    first, again, other = (transformer.steps(rows, FULL, seed) for seed in (SEED, SEED, SEED + 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert np.abs(first - transformer.steps(rows, FULL)).max() > 0.01


@pytest.mark.parametrize("config", ENCODERS, ids=lambda config: config.type)
def test_bfloat16_stays_close(config, rows):
    exact, rounded = made(config), made(config, "mixed_bfloat16")
    for to, of in zip(rounded.variables, exact.variables, strict=True):
        assert to.dtype == tf.float32
        to.assign(of)
    found = tf.cast(rounded(rows, lengths(1, 3, 5)), tf.float32)
    np.testing.assert_allclose(found, exact(rows, lengths(1, 3, 5)), atol=0.1)


def test_every_variable_is_learned(encoder, rows):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(encoder(rows, lengths(1, 3, 5), SEED), tf.float32)[:, 0] ** 2)
    gradients = tape.gradient(loss, encoder.trainable_variables)
    assert not [v.name for v, g in zip(encoder.trainable_variables, gradients, strict=True) if g is None]
