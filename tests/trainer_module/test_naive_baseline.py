"""The naive baselines: biases for ratings, the mean and a logistic regression for clicks."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer_module.data.dataset import Dataset
from trainer_module.data.features import Categorical, ExampleWeight, FeatureSpec, Label, Table
from trainer_module.data.spec import DatasetSpec
from trainer_module.errors import DataError
from trainer_module.training import biases
from trainer_module.training.naive_baseline import (
    BASELINE,
    BIASES_NAME,
    LOGISTIC,
    MEAN_NAME,
    NaiveBaseline,
    fit_naive_baseline,
    initial_biases,
)

RATINGS = DatasetSpec(
    name="ratings",
    features=FeatureSpec(
        columns=(Categorical(name="user", table="user"), Categorical(name="item", table="item"), Label(name="stars")),
        tables=(Table(name="user"), Table(name="item")),
    ),
    schema_file="",
    label_range=(0.0, 10.0),
    user_key="user",
    item_key="item",
    slices=(),
)
CLICKS = Dataset.model_validate(
    {
        "task": "click",
        "tables": {
            "interactions": {"files": "c.csv", "label": "clicked", "categorical": ["shop"], "numeric": ["price"]}
        },
    }
).spec()


@dataclass
class Split:
    """Examples in memory, with one value per column."""

    examples: list[dict]

    @property
    def num_examples(self) -> int:
        return len(self.examples)

    def batches(self, columns, every: int = 1):
        types = {"string": pa.large_binary(), "float32": pa.float32()}
        chosen = self.examples[::every]
        yield lists(
            **{c.name: pa.array([[row[c.name]] for row in chosen], pa.large_list(types[c.dtype])) for c in columns}
        )


def lists(**columns) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in columns.items()})


def as_ratings(rows) -> biases.Ratings:
    user, item, label = (np.array(column) for column in zip(*rows, strict=True))
    return biases.Ratings(user, item, label.astype(float), np.ones(len(label)))


def test_biases_by_hand():
    # One user with the ratings 4 and 8 around a mean of 6: without item biases its residuals cancel, and each item
    # keeps half of its own under a penalty of one rating.
    fitted = biases.Sums.of(as_ratings([(0, 0, 4), (0, 1, 8)]), 1, 2).fit((1.0, 1.0))
    assert fitted.mean == 6
    np.testing.assert_allclose(fitted.user, [0], atol=1e-12)
    np.testing.assert_allclose(fitted.item, [-1, 1], atol=1e-12)
    np.testing.assert_allclose(fitted.predict(np.array([0, -1, 0]), np.array([0, 1, -1])), [5, 7, 6], atol=1e-12)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 10)), min_size=1, unique_by=lambda row: row[:2]
    )
)
def test_the_gradient_of_the_penalized_squares_is_zero(rows):
    """With at most four ratings of each user and item, a sweep shrinks the error to 4/6 * 4/8 of it, so that eight
    leave a gradient of at most 10 * 8 / 3**8, about 0.012."""
    ratings, shrinkage = as_ratings(rows), (2.0, 4.0)
    fitted = biases.Sums.of(ratings, 4, 4).fit(shrinkage)
    error = ratings.label - fitted.predict(ratings.user, ratings.item)
    np.testing.assert_allclose(np.bincount(ratings.user, error, 4), shrinkage[0] * fitted.user, atol=0.02)
    np.testing.assert_allclose(np.bincount(ratings.item, error, 4), shrinkage[1] * fitted.item, atol=0.02)


def test_the_shrinkage_is_chosen_on_the_other_split():
    random = np.random.default_rng(0)
    taste, quality = random.normal(0, 2, 200), random.normal(0, 0.1, 200)
    user, item = random.integers(0, 200, 4000), random.integers(0, 200, 4000)
    label = 5 + taste[user] + quality[item] + random.normal(0, 1, 4000)
    train, other = (
        biases.Ratings(user[rows], item[rows], label[rows], np.ones(len(label[rows])))
        for rows in (slice(3000), slice(3000, None))
    )
    of_users, of_items = biases.fit_best(train, other, 200, 200).shrinkage
    # The ideal penalty is the variance of the noise over that of the biases: 1/4 for users, 100 for items.
    assert of_users <= 1
    assert of_items >= 32


def weighed(dataset: DatasetSpec) -> DatasetSpec:
    columns = (*dataset.features.columns, ExampleWeight(name="plays"))
    return dataset.model_copy(update={"features": FeatureSpec(columns=columns, tables=dataset.features.tables)})


def as_many(rows: list[dict]) -> tuple[Split, Split]:
    """The rows with their weights, and as many copies of each instead."""
    return Split(rows), Split([row | {"plays": 1.0} for row in rows for _ in range(int(row["plays"]))])


@pytest.mark.parametrize("keys", ["both", "none"])
def test_a_rating_of_weight_2_counts_as_two(keys):
    random = np.random.default_rng(0)
    rows = [
        {"user": f"u{u}", "item": f"i{i}", "stars": float(u + i) + float(n), "plays": float(w)}
        for u, i, n, w in zip(
            random.integers(0, 5, 60), random.integers(0, 4, 60), random.normal(size=60), random.integers(1, 4, 60),
            strict=True,
        )
    ]  # fmt: skip
    dataset = weighed(RATINGS)
    if keys == "none":
        dataset = dataset.model_copy(update={"user_key": "", "item_key": ""})
    weighted, copied = (fit_naive_baseline(dataset, split, split) for split in as_many(rows))
    assert weighted.weight == copied.weight == "plays"
    assert weighted.mean == pytest.approx(copied.mean)
    assert weighted.mean != pytest.approx(np.mean([row["stars"] for row in rows]), abs=1e-3)
    assert weighted.error == pytest.approx(copied.error, rel=0.05)
    # Their penalties count rows: copies are more of them.
    for one, other in zip(weighted.entities, copied.entities, strict=True):
        assert one.tokens.sort().equals(other.tokens.sort())
    asked = lists(plays=[[3.0], [0.5]])
    assert weighted.weights(asked).tolist() == [3.0, 0.5]


def test_biases_of_weighted_ratings_are_those_of_copies():
    random = np.random.default_rng(1)
    user, item, label = random.integers(0, 5, 60), random.integers(0, 4, 60), random.normal(size=60)
    weight = random.integers(1, 4, 60).astype(float)
    rows = np.repeat(np.arange(60), weight.astype(int))
    weighted = biases.Sums.of(biases.Ratings(user, item, label, weight), 5, 4).fit((2.0, 4.0))
    ones = np.ones(len(rows))
    copied = biases.Sums.of(biases.Ratings(user[rows], item[rows], label[rows], ones), 5, 4).fit((2.0, 4.0))
    np.testing.assert_allclose(weighted.user, copied.user)
    np.testing.assert_allclose(weighted.item, copied.item)
    ratings = biases.Ratings(user, item, label, weight)
    assert weighted.error(ratings) == pytest.approx(
        copied.error(biases.Ratings(user[rows], item[rows], label[rows], ones))
    )


def test_clicks_are_weighed():
    random = np.random.default_rng(2)
    rows = [
        {"shop": f"s{shop}", "price": float(price), "clicked": float(clicked), "plays": 3.0 if clicked else 1.0}
        for shop, price, clicked in zip(
            random.integers(0, 3, 90), random.normal(size=90), random.integers(0, 2, 90), strict=True
        )
    ]
    weighted, dataset = Split(rows), weighed(CLICKS)
    found = fit_naive_baseline(dataset, weighted, weighted)
    clicks = sum(row["clicked"] for row in rows)
    assert found.mean == pytest.approx(3 * clicks / (3 * clicks + 90 - clicks))
    assert found.regression is not None
    # Clicks of three times the weight are predicted three times as often.
    batch = lists(shop=[[row["shop"].encode()] for row in rows], price=[[row["price"]] for row in rows])
    alike = fit_naive_baseline(CLICKS, weighted, weighted)
    assert found.predict(batch)[LOGISTIC].mean() > alike.predict(batch)[LOGISTIC].mean() + 0.15


def test_ratings_of_known_and_unknown_users_survive_the_file(tmp_path):
    rows = [("ann", "x", 9.0), ("ann", "y", 9.0), ("bob", "x", 1.0), ("bob", "y", 1.0)] * 20
    split = Split([{"user": user, "item": item, "stars": stars} for user, item, stars in rows])
    fitted = fit_naive_baseline(RATINGS, split, split)
    assert fitted.name == BIASES_NAME
    fitted.save(str(tmp_path / "naive"))
    loaded = NaiveBaseline.load(str(tmp_path / "naive"))
    asked = lists(user=[[b"ann"], [b"bob"], [b"eve"]], item=[[b"x"], [b"y"], [b"z"]])
    predicted = loaded.predict(asked)[BASELINE]
    np.testing.assert_array_equal(predicted, fitted.predict(asked)[BASELINE])
    np.testing.assert_allclose(predicted, [9, 1, 5], atol=0.3)
    assert loaded.facts() == fitted.facts()
    # Rows of an embedding table follow its vocabulary.
    start = initial_biases(loaded, RATINGS.features, {"user": pa.array([b"eve", b"bob", b"ann"])})
    np.testing.assert_allclose(start["user"], [0, -4, 4], atol=0.3)
    assert set(start) == {"user"}


def test_predictions_stay_in_the_range():
    rows = [("ann", "x", 10.0), ("ann", "y", 9.0), ("bob", "x", 10.0), ("bob", "z", 0.0)] * 50
    split = Split([{"user": user, "item": item, "stars": stars} for user, item, stars in rows])
    fitted = fit_naive_baseline(RATINGS, split, split)
    (value,) = fitted.predict(lists(user=[[b"ann"]], item=[[b"x"]]))[BASELINE]
    assert value == 10


def test_ratings_without_users_are_compared_with_the_mean():
    table = {"files": "prices.csv", "label": "price", "categorical": ["shop"]}
    dataset = Dataset.model_validate(
        {"task": "rating", "label_range": [0, 9], "tables": {"interactions": table}}
    ).spec()
    split = Split([{"shop": "a", "price": 1.0}, {"shop": "b", "price": 4.0}])
    fitted = fit_naive_baseline(dataset, split, split)
    assert fitted.name == MEAN_NAME
    assert fitted.predict(lists(shop=[[b"a"]]))[BASELINE].tolist() == [2.5]


def test_clicks_are_compared_with_the_mean_and_a_logistic_regression(tmp_path):
    random = np.random.default_rng(0)
    good = random.random(2000) < 0.5
    price = random.normal(10, 2, 2000)
    clicked = random.random(2000) < np.where(good, 0.6, 0.1) * np.where(price > 10, 0.5, 1)
    examples = [
        {"shop": "good" if g else "bad", "price": float(p), "clicked": float(c)}
        for g, p, c in zip(good, price, clicked, strict=True)
    ]
    fitted = fit_naive_baseline(CLICKS, Split(examples[:1500]), Split(examples[1500:]))
    fitted.save(str(tmp_path / "naive"))
    asked = lists(shop=[[b"good"], [b"bad"], [], [b"new"]], price=[[8.0], [8.0], [12.0], []])
    predicted = NaiveBaseline.load(str(tmp_path / "naive")).predict(asked)
    np.testing.assert_allclose(predicted[BASELINE], clicked[:1500].mean())
    assert predicted[LOGISTIC][0] > 0.4
    assert predicted[LOGISTIC][1] < 0.25
    np.testing.assert_array_equal(predicted[LOGISTIC], fitted.predict(asked)[LOGISTIC])


def test_clicks_of_one_kind_are_refused_with_counts():
    split = Split([{"shop": "a", "price": 1.0, "clicked": 0.0}] * 3)
    with pytest.raises(DataError, match="column 'clicked' of the training split: 0 of 3 rows read are clicks"):
        fit_naive_baseline(CLICKS, split, split)


def test_a_model_without_a_baseline_is_named(tmp_path):
    with pytest.raises(DataError, match=r"baseline.json does not exist: .* Train it again"):
        NaiveBaseline.load(str(tmp_path))
