"""Losses of a query's target and negatives against arithmetic by hand, and which settings go together."""

import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from trainer_module.models.config import TwoTowerConfig
from trainer_module.models.retrieval_losses import MASKED, binary, calibrating_power, contrastive, multinomial, softmax
from trainer_module.models.two_tower import shared_negatives_softmax

TARGETS = tf.constant([0.5, -1.0])
NEGATIVES = tf.constant([[0.25, 1.0, -0.5], [0.0, MASKED, 0.75]])


def test_the_softmax_leaves_masked_negatives_out():
    others = [np.exp([0.25, 1.0, -0.5]).sum(), np.exp([0.0, 0.75]).sum()]
    expected = [np.log(np.exp(0.5) + others[0]) - 0.5, np.log(np.exp(-1.0) + others[1]) + 1.0]
    np.testing.assert_allclose(softmax(TARGETS, NEGATIVES), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", [softmax, multinomial, binary(0.3), contrastive(0.1, 5.0)])
def test_several_targets_of_a_query_cost_as_much_as_each_alone(loss):
    several = tf.constant([[0.5, 0.1, -2.0], [-1.0, 0.0, 3.0]])
    alone = [loss(several[:, number], NEGATIVES) for number in range(3)]
    np.testing.assert_allclose(loss(several, NEGATIVES), np.stack(alone, axis=1), rtol=1e-6)


def test_the_multinomial_s_candidates_contain_the_target():
    candidates = tf.concat([TARGETS[:, tf.newaxis], NEGATIVES], axis=1)
    np.testing.assert_allclose(multinomial(TARGETS, candidates), softmax(TARGETS, NEGATIVES), rtol=1e-6)


def test_a_target_s_probability_counts_by_its_power():
    def cost(*scores: float) -> float:
        return float(np.sum(np.log1p(np.exp(scores))))

    expected = [0.3 * cost(-0.5) + cost(0.25, 1.0, -0.5), 0.3 * cost(1.0) + cost(0.0, 0.75)]
    np.testing.assert_allclose(binary(0.3)(TARGETS, NEGATIVES), np.array(expected) / 4, rtol=1e-5)


def test_the_power_follows_from_the_share_that_is_drawn():
    # The paper: beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha).
    for alpha, t in ((0.1, 0.75), (0.02, 0.5)):
        assert calibrating_power(alpha, t) == pytest.approx(alpha * (t * (1 - 1 / alpha) + 1 / alpha))
    assert calibrating_power(0.1, 0.0) == 1 and calibrating_power(3.0, 1.0) == 1
    # Fully calibrated: as if the target counted as often as its negatives do in the whole catalog.
    assert calibrating_power(0.01, 1.0) == pytest.approx(0.01)


def test_calibrated_probabilities_are_those_of_training_with_all_items():
    """An item is chosen with probability .2 among 1,000. With all items as negatives, its best score says just that;
    with 10 drawn ones, plain binary cross entropy says far more, and gBCE the same."""
    share, num_items, drawn = 0.2, 1000, 10
    rate = drawn / (num_items - 1)

    def best(power: float) -> float:
        # Of `power * share * log sigmoid(s) + (1 - share) * rate * log(1 - sigmoid(s))`.
        score = tf.Variable(0.0)
        optimizer = tf.keras.optimizers.legacy.SGD(20.0)
        for _ in range(400):
            with tf.GradientTape() as tape:
                scores = tf.reshape(score, [1])
                of_target = binary(power)(scores, tf.fill([1, 1], MASKED))
                of_negative = binary(power)(tf.fill([1], -MASKED), tf.reshape(score, [1, 1]))
                loss = share * of_target + (1 - share) * rate * of_negative
            optimizer.apply_gradients([(tape.gradient(loss, score), score)])
        return float(tf.sigmoid(score))

    assert best(calibrating_power(rate, 1.0)) == pytest.approx(share, abs=0.02)
    assert best(1.0) > 0.9


def test_negatives_below_the_margin_cost_nothing():
    loss = contrastive(0.5, 3.0)(TARGETS, NEGATIVES)
    np.testing.assert_allclose(loss, [0.5 + 3 * 0.5 / 3, 2.0 + 3 * 0.25 / 3], rtol=1e-6)


def test_a_negative_without_an_id_does_not_count():
    queries, targets = tf.constant([[1.0, 0.0]]), tf.constant([[0.5, 0.0]])
    negatives = tf.constant([[0.9, 0.0], [0.1, 0.0]])
    loss = shared_negatives_softmax(
        queries, targets, tf.constant([3]), negatives, tf.constant([-1, 0]), tf.zeros([4]), 1.0
    )
    np.testing.assert_allclose(loss, [np.log(np.exp(0.5) + np.exp(0.1)) - 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"loss": {"type": "gbce"}}, "set in_batch_negatives: false and mixed_negatives"),
        ({"loss": {"type": "contrastive"}, "similarity": "dot"}, "leave similarity: dot out"),
        ({"loss": {"type": "contrastive"}, "log_q": 0.5}, "Leave log_q out"),
        ({"full_softmax": True, "mixed_negatives": 3}, "mixed_negatives would change nothing"),
        ({"full_softmax": True, "loss": {"type": "contrastive"}}, "full_softmax goes with loss softmax"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TwoTowerConfig.model_validate(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": {"type": "gbce"}, "in_batch_negatives": False, "mixed_negatives": 8},
        {"loss": {"type": "contrastive"}},
        {"full_softmax": True},
        {"full_softmax": True, "examples": "users", "similarity": "dot"},
    ],
    ids=str,
)
def test_settings_are_still_taken_when_every_field_is_written_out(settings):
    """As the Trainer gets them."""
    config = TwoTowerConfig.model_validate(settings)
    assert TwoTowerConfig.model_validate_json(config.model_dump_json()) == config
