"""Permutation importance of models whose answers are arithmetic."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.evaluation import permutation
from components.evaluation.importance import REPEATS, Importance
from components.evaluation.permutation import ITEM, USER, Plan, units_of
from trainer_module.data.dataset import Dataset
from trainer_module.data.datasets.movielens import MOVIELENS_100K
from trainer_module.data.features import Categorical, FeatureSpec, Label, Numeric, Table, Weights
from trainer_module.data.spec import DatasetSpec, LabelSpec

INTERACTIONS = {"files": "x", "user": "user", "item": "item", "label": "rating", "numeric": ["hour"]}
TABLES = {
    "interactions": INTERACTIONS,
    "users": {"files": "u", "key": "user", "categorical": ["country"]},
    "items": {"files": "i", "key": "item", "numeric": ["price"]},
}
RATINGS = Dataset.model_validate({"task": "rating", "tables": TABLES}).spec()
CLICKS = RATINGS.model_copy(update={"task": "click"})
RETRIEVAL = Dataset.model_validate({"task": "retrieval", "tables": TABLES}).spec()


def names(dataset: DatasetSpec) -> dict[str, tuple[str, ...]]:
    return {unit.name: unit.columns for unit in units_of(dataset)}


def test_columns_stand_alone_and_those_of_a_user_or_an_item_together_too():
    assert names(RATINGS) == {
        "user": ("user",),
        "country": ("country",),
        "item": ("item",),
        "price": ("price",),
        "hour": ("hour",),
        USER: ("user", "country"),
        ITEM: ("item", "price"),
    }
    assert [unit.is_group for unit in units_of(RATINGS)] == [False] * 5 + [True] * 2


def test_retrieval_exchanges_columns_of_the_query():
    assert names(RETRIEVAL) == {
        "user": ("user",), "country": ("country",), "hour": ("hour",), USER: ("user", "country"),
    }  # fmt: skip


def test_what_a_user_had_belongs_to_the_user_and_who_rated_an_item_to_the_item():
    with_neighbours = MOVIELENS_100K.model_copy(update={"neighbours": 5}).spec()
    assert "rated" in names(with_neighbours)[USER] and "raters" in names(with_neighbours)[ITEM]


def test_a_user_without_attributes_is_a_column_and_no_group():
    assert USER not in names(
        Dataset.model_validate({"task": "rating", "tables": {"interactions": INTERACTIONS}}).spec()
    )


def test_weights_go_with_the_tokens_that_they_weigh():
    columns = (
        Categorical(name="tags", table="tags", multivalent=True, weights="strength"),
        Weights(name="strength"),
        Numeric(name="price"),
        Label(name="rating"),
    )
    dataset = DatasetSpec(name="x", features=FeatureSpec(columns=columns, tables=(Table(name="tags"),)))
    assert names(dataset) == {"tags + strength": ("tags", "strength"), "price": ("price",)}


def rows(dataset: DatasetSpec, **values) -> pa.RecordBatch:
    """A sample; columns that are not named have no values."""
    schema = Plan(dataset, {}, 2).schema
    count = len(next(iter(values.values())))
    columns = [pa.array(values.get(field.name, [[]] * count), field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def listed(values) -> list:
    return [[value] for value in values]


def flat(requests: pa.RecordBatch, name: str) -> np.ndarray:
    return requests.column(name).flatten().to_numpy(zero_copy_only=False)


def changes(found: Importance, metric: str) -> dict[str, np.ndarray]:
    return {each.unit.name: np.asarray(each.changes[metric]) for each in found.units}


HOURS = np.arange(50, dtype=np.float32)


def hour_sample() -> pa.RecordBatch:
    """Ratings that are the hour; a price that says the same, and users that say nothing."""
    users = [f"u{number % 7}".encode() for number in range(50)]
    return rows(RATINGS, user=listed(users), hour=listed(HOURS), price=listed(HOURS), rating=listed(HOURS))


def test_only_what_the_model_reads_matters_and_by_hand():
    asked = []

    def ask(requests):
        asked.append(requests.num_rows)
        return {"": flat(requests, "hour") + 1}

    found = Plan(RATINGS, {}, 2).measure(hour_sample(), ask, size=120)
    (metric,) = found.metrics
    assert (found.rows, metric.name, metric.value) == (50, "rmse", 1)
    by_unit = changes(found, "rmse")
    assert all((by_unit[name] == 0).all() for name in by_unit if name != "hour")
    random = np.random.default_rng(0)
    orders = [random.permutation(50) for _ in range(REPEATS)]
    expected = [np.sqrt(np.mean((HOURS[order] + 1 - HOURS) ** 2)) - 1 for order in orders]
    assert by_unit["hour"] == pytest.approx(expected)
    # Seven units, exchanged five times each, in calls that the model can take.
    assert sum(asked) == 50 + 7 * REPEATS * 50 and max(asked) == 120


def test_two_columns_that_say_the_same_matter_less_than_both():
    def ask(requests):
        return {"": (flat(requests, "hour") + flat(requests, "price")) / 2}

    by_unit = changes(Plan(RATINGS, {}, 2).measure(hour_sample(), ask, size=1000), "rmse")
    assert 0 < by_unit["price"].mean() < by_unit["hour"].mean() * 1.01
    # Neither does the item as a whole, whose only column with values is the price.
    assert by_unit[ITEM] == pytest.approx(by_unit["price"])


@given(
    st.lists(st.tuples(st.text(max_size=3), st.lists(st.floats(0, 9, width=32), max_size=1)), min_size=2, max_size=9)
)
def test_values_are_exchanged_and_neither_lost_nor_torn_apart(cells):
    users, prices = [[text.encode()] for text, _ in cells], [price for _, price in cells]
    labels = listed(np.arange(len(cells), dtype=np.float32))
    sample = rows(RATINGS, user=users, country=users, price=prices, rating=labels)
    seen = []

    def ask(requests):
        seen.append(requests.to_pydict())
        return {"": np.zeros(requests.num_rows)}

    Plan(RATINGS, {}, 2).measure(sample, ask, size=len(cells))
    whole = sample.to_pydict()
    for request in seen:
        for name, values in request.items():
            assert sorted(values) == sorted(whole[name])
        assert request["rating"] == whole["rating"]
    # The user as a whole keeps its country.
    position = 1 + REPEATS * list(names(RATINGS)).index(USER)
    for request in seen[position : position + REPEATS]:
        assert request["user"] == request["country"]


def test_clicks_have_log_loss_which_decides_and_auc():
    sample = rows(CLICKS, hour=listed(HOURS), rating=listed((HOURS > 24).astype(np.float32)))

    def ask(requests):
        return {"": np.where(flat(requests, "hour") > 24, 0.75, 0.25)}

    found = Plan(CLICKS, {}, 2).measure(sample, ask, size=1000)
    assert [(each.name, each.value, each.gates) for each in found.metrics] == [
        ("log_loss", pytest.approx(np.log(4 / 3)), True), ("auc", 1, False),
    ]  # fmt: skip
    assert (changes(found, "log_loss")["hour"] > 0.3).all() and (changes(found, "auc")["hour"] < -0.3).all()


def test_where_all_labels_are_alike_there_is_no_auc():
    sample = rows(CLICKS, hour=listed(HOURS), rating=listed(np.zeros(50, np.float32)))
    found = Plan(CLICKS, {}, 2).measure(sample, lambda requests: {"": np.full(requests.num_rows, 0.5)}, size=1000)
    assert [each.name for each in found.metrics] == ["log_loss"]


def test_heads_are_measured_on_the_rows_that_have_their_label():
    label = Label(name="dwell", required=False)
    features = RATINGS.features.model_copy(update={"columns": (*RATINGS.features.columns, label)})
    further = (LabelSpec(name="dwell", task="rating"),)
    goals = CLICKS.model_copy(update={"features": features, "further_labels": further})
    plan = Plan(goals, {"rating": "click", "dwell": "rating"}, 2)
    dwell = [[value] if value % 2 else [] for value in HOURS]
    arrays = {"hour": listed(HOURS), "rating": listed((HOURS > 24).astype(np.float32)), "dwell": dwell}
    columns = [pa.array(arrays.get(field.name, [[]] * 50), field.type) for field in plan.schema]
    sample = pa.RecordBatch.from_arrays(columns, schema=plan.schema)

    def ask(requests):
        return {"rating": np.full(requests.num_rows, 0.5), "dwell": flat(requests, "hour") + 2}

    found = plan.measure(sample, ask, size=1000)
    assert [(each.name, each.value) for each in found.metrics] == [
        ("rating.log_loss", pytest.approx(np.log(2))), ("rating.auc", 0.5), ("dwell.rmse", 2),
    ]  # fmt: skip
    assert (changes(found, "dwell.rmse")["hour"] > 1).all()
    assert (changes(found, "rating.log_loss")["hour"] == 0).all()


def test_a_sample_without_any_label_is_refused():
    plan = Plan(RATINGS, {"rating": "rating"}, 2)
    found = plan.measure(rows(RATINGS, hour=listed(HOURS)), lambda requests: {}, size=99)
    assert found == Importance(refusal="None of 50 test rows has a label.")


def queries(count: int = 20) -> pa.RecordBatch:
    """Each user looks for the item of its own number."""
    users = [f"{number}".encode() for number in range(count)]
    return rows(RETRIEVAL, user=listed(users), relevant=listed(users), seen=[[]] * count)


def find(requests: pa.RecordBatch, candidates: int = 20) -> dict[str, np.ndarray]:
    found = flat(requests, "user")
    return {
        "ids": np.stack([found, np.full(len(found), b"x", object)], axis=1),
        "relevant": np.array(requests.column("relevant").to_pylist(), object),
        "candidates": np.full(len(found), candidates),
    }


def test_lists_become_worse_when_the_query_is_another_ones():
    found = Plan(RETRIEVAL, {}, 2).measure(queries(), find, size=64)
    (metric,) = found.metrics
    assert (metric.name, metric.value, metric.higher_is_better) == ("ndcg_at_2", 1, True)
    fixed = [np.mean(order == np.arange(20)) for order in _orders(20)]
    assert changes(found, "ndcg_at_2")["user"] == pytest.approx(np.array(fixed) - 1)
    assert (changes(found, "ndcg_at_2")["country"] == 0).all()


def _orders(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.permutation(count) for _ in range(REPEATS)]


def test_a_catalog_too_large_to_score_again_is_refused_and_a_large_one_has_a_smaller_sample(monkeypatch):
    large = 1_000_000

    def ask(requests):
        return find(requests, large)

    refused = Plan(RETRIEVAL, {}, 2).measure(queries(200), ask, size=64)
    assert not refused.units and refused.refusal.startswith(
        "With 1,000,000 items to score for each of them, fewer than"
    )
    monkeypatch.setattr(permutation, "_MOST_SCORES", 120 * large * REPEATS * len(units_of(RETRIEVAL)))
    assert Plan(RETRIEVAL, {}, 2).measure(queries(200), ask, size=64).rows == 120


@pytest.mark.parametrize(("dataset", "most"), [(RATINGS, 1000), (RETRIEVAL, 200)])
def test_the_sample_is_bounded_by_the_requests_that_it_makes(dataset, most):
    assert Plan(dataset, {}, 2).most_rows == most
