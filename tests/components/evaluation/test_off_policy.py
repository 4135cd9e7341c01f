"""Off-policy estimates by hand and on generated logs of a policy whose value is known."""

import numpy as np
import pytest

from components.evaluation.off_policy import greedy, policy_metrics, policy_sums, softmax


def estimates(clicks, weights) -> dict[str, float]:
    return policy_metrics(policy_sums(np.asarray(clicks), np.asarray(weights)))


def test_by_hand():
    found = estimates([1, 0, 1, 0], [2.0, 1.0, 0.0, 1.0])
    # w r is 2, 0, 0, 0: its mean is 1/2, its variance 3/4. The weights add up to 4, their squares to 6.
    assert found["logged_value"] == 0.5
    assert (found["ips_value"], found["snips_value"]) == (0.5, 0.5)
    assert found["ips_value_high"] - 0.5 == 0.5 - found["ips_value_low"]
    assert found["ips_value_high"] == pytest.approx(0.5 + 1.96 * (0.75 / 4) ** 0.5, abs=1e-4)
    # w (r - 1/2) is 1, -1/2, 0, -1/2: the squares add up to 3/2.
    assert found["snips_value_high"] == pytest.approx(0.5 + 1.96 * 1.5**0.5 / 4, abs=1e-4)
    assert (found["importance_weight"], found["effective_rows"]) == (1.0, 16 / 6)


def test_the_logging_policy_has_the_value_of_the_log():
    clicks = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    found = estimates(clicks, np.ones(5))
    assert found["ips_value"] == found["snips_value"] == found["logged_value"] == pytest.approx(0.6)
    assert found["effective_rows"] == 5


def test_without_any_weight_the_ratio_is_undefined():
    found = estimates([1, 0], [0.0, 0.0])
    assert found["ips_value"] == 0 and found["effective_rows"] == 0
    assert np.isnan(found["snips_value"]) and np.isnan(found["snips_value_low"])


def test_without_a_weighted_click_there_is_no_interval_of_width_zero():
    found = estimates([1, 0, 0], [0.0, 2.0, 1.0])
    assert found["ips_value"] == found["snips_value"] == 0
    assert all(np.isnan(found[f"{name}_value_{end}"]) for name in ("ips", "snips") for end in ("low", "high"))


@pytest.mark.parametrize(
    ("weights", "message"),
    [([1.0], "2 clicks but 1 importance weights"), ([1.0, np.inf], "not finite"), ([1.0, -1.0], "is negative")],
)
def test_what_cannot_be_a_weight_is_an_error(weights, message):
    with pytest.raises(ValueError, match=message):
        policy_sums(np.array([0, 1]), np.array(weights))


# Clicks of three items in two contexts, how the log draws the items, and a model that knows the clicks.
CLICKS = np.array([[0.1, 0.3, 0.6], [0.5, 0.2, 0.1]])
LOGGING = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])


def log(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Contexts, shown items and clicks."""
    random = np.random.default_rng(seed)
    context = random.integers(2, size=rows)
    shown = (random.random(rows)[:, np.newaxis] > LOGGING[context].cumsum(axis=1)).sum(axis=1)
    return context, shown, (random.random(rows) < CLICKS[context, shown]).astype(float)


@pytest.mark.parametrize(
    ("policy", "value"),
    [(greedy, (0.6 + 0.5) / 2), (softmax, None)],
    ids=["greedy", "softmax"],
)
def test_intervals_hold_the_known_value_as_often_as_they_promise(policy, value):
    every = np.arange(3)
    of_items = np.stack([policy(CLICKS, np.full(2, item)) for item in every], axis=1)
    np.testing.assert_allclose(of_items.sum(axis=1), 1)
    truth = float((of_items * CLICKS).sum(axis=1).mean())
    assert value is None or truth == pytest.approx(value)
    runs = 200
    inside = dict.fromkeys(("ips_value", "snips_value"), 0)
    for seed in range(runs):
        context, shown, clicks = log(500, seed)
        found = estimates(clicks, policy(CLICKS[context], shown) / LOGGING[context, shown])
        assert abs(found["ips_value"] - truth) < 0.25 and 0.7 < found["importance_weight"] < 1.3
        for name in inside:
            inside[name] += found[f"{name}_low"] <= truth <= found[f"{name}_high"]
    assert all(0.9 <= count / runs <= 0.99 for count in inside.values()), inside


def test_sums_add_up_over_batches():
    context, shown, clicks = log(100, 0)
    weights = greedy(CLICKS[context], shown) / LOGGING[context, shown]
    parts = policy_sums(clicks[:30], weights[:30]) + policy_sums(clicks[30:], weights[30:])
    np.testing.assert_allclose(parts, policy_sums(clicks, weights))


def test_equal_predictions_share_the_choice_and_an_unknown_item_is_never_chosen():
    probabilities = np.array([[0.5, 0.5, 0.1], [0.5, 0.5, 0.1], [0.2, 0.8, 0.1]])
    assert greedy(probabilities, np.array([1, 2, -1])).tolist() == [0.5, 0.0, 0.0]
    drawn = softmax(probabilities, np.array([0, 2, -1]))
    # By the odds: 1, 1 and 1/9.
    assert drawn == pytest.approx([9 / 19, 1 / 19, 0.0])
