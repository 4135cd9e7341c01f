"""Training on users with several items each: which rows make an example, and the loss by hand."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_module.blueprint import Blueprint
from trainer_module.data.dataset import HISTORY
from trainer_module.data.example_files import write_parquet
from trainer_module.data.features import Categorical, ExampleWeight, FeatureSpec, Label, Numeric, Table
from trainer_module.data.inputs import ExampleReader, ModelInputs, to_arrays, to_tensors
from trainer_module.data.permutation import shuffled_rows
from trainer_module.data.row_store import Limits
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.errors import ConfigError
from trainer_module.experiment import Experiment
from trainer_module.models.config import TwoTowerConfig
from trainer_module.models.negatives import Catalog, MixedExamples, negative_name
from trainer_module.models.retrieval import Retrieval
from trainer_module.models.retrieval_losses import MASKED, binary, softmax
from trainer_module.models.sequences import ids_name
from trainer_module.models.training_data import TrainingData
from trainer_module.models.two_tower import TwoTowerModel, _contains
from trainer_module.models.user_examples import (
    NUM_POSITIVES,
    POSITIVE_WEIGHTS,
    ExamplesByUser,
    RowsByUser,
    positive_name,
)
from trainer_module.training.config import TrainingConfig

from .conftest import batch_of, described
from .conftest import rows as sample

POSITIVES, NUM_USERS, NUM_ITEMS, DIM, BATCH = 3, 8, 11, 4, 4
TEMPERATURE = 0.5
USER = Categorical(name="user", table="user", dtype="int64")
SPEC = FeatureSpec(
    columns=(
        USER,
        Categorical(name="item", table="item", dtype="int64"),
        Categorical(name="tags", table="tags", dtype="int64", multivalent=True),
        Numeric(name="price"),
        Label(name="label"),
    ),
    tables=(Table(name="user"), Table(name="item", frequencies=True), Table(name="tags")),
)
OTHERS = Categorical(name=HISTORY, table="item", dtype="int64", multivalent=True, counted=False)
OF_OTHERS = FeatureSpec(columns=(*SPEC.columns, OTHERS), tables=SPEC.tables)
WEIGHTED = FeatureSpec(columns=(*SPEC.columns, ExampleWeight(name="weight")), tables=SPEC.tables)
ROWS = {"user": NUM_USERS, "item": NUM_ITEMS, "tags": 3}
CANDIDATE_COLUMNS = ("item", "tags", "price")
ONE_HOST = tf.distribute.InputContext()
SEED = tf.constant([1, 2])


def rows() -> list[dict]:
    """User u has u + 1 rows, in no order; the weight of a row is its number plus 1."""
    random = np.random.default_rng(0)
    users = random.permutation(np.repeat(np.arange(NUM_USERS), np.arange(NUM_USERS) + 1))
    items = [int(random.integers(NUM_ITEMS)) for _ in users]
    return [
        {
            "user": [int(user)],
            "item": [item],
            "tags": list(range(item % 3)),
            "price": [item / NUM_ITEMS],
            "label": [1.0],
            "weight": [number + 1.0],
        }
        for number, (user, item) in enumerate(zip(users, items, strict=True))
    ]


def chosen_by(user: int) -> list[int]:
    return sorted(row["item"][0] for row in rows() if row["user"] == [user])


def rows_with_others() -> list[dict]:
    """The same, and the other items of each row's user."""
    return [row | {HISTORY: sorted(set(chosen_by(row["user"][0])) - set(row["item"]))} for row in rows()]


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> ExampleReader:
    return reader_of(WEIGHTED, tmp_path_factory.mktemp("rows"), rows())


def reader_of(spec: FeatureSpec, directory, examples: list[dict], limits: Limits | None = None) -> ExampleReader:
    for number, part in enumerate((examples[:7], examples[7:])):
        write_parquet(str(directory / f"{number}.parquet"), pa.Table.from_batches([batch_of(part, spec)]))
    return ExampleReader(spec, ModelInputs(spec, dict), [str(directory / "*.parquet")], limits=limits)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    directory = tmp_path_factory.mktemp("catalog")
    items = [{"item": [i], "tags": list(range(i % 3)), "price": [i / NUM_ITEMS]} for i in range(NUM_ITEMS)]
    write_parquet(str(directory / "0.parquet"), pa.Table.from_batches([batch_of(items, SPEC)]))
    return Catalog(SPEC, ModelInputs(SPEC, dict), CANDIDATE_COLUMNS, [str(directory / "*")])


def by_user(reader: ExampleReader, spec: FeatureSpec = WEIGHTED) -> ExamplesByUser:
    return ExamplesByUser(
        reader, spec, USER, CANDIDATE_COLUMNS, "item", POSITIVES, NUM_ITEMS if spec is OF_OTHERS else 0
    )


def batches(examples, count: int, first_step: int = 0, host=ONE_HOST, seed: int = 3) -> list:
    config = TrainingConfig(batch_size=BATCH, seed=seed)
    return [features for features, _ in examples.training_batches(config, host, first_step).take(count)]


def items_of(features) -> np.ndarray:
    """`[batch, positives]`."""
    return np.concatenate([features[positive_name("item", number + 1)] for number in range(POSITIVES)], axis=1)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(0, 2**31 - 1),
    st.booleans(),
)
def test_every_epoch_visits_every_row_once_with_rows_of_its_user_alone(keys, positives, seed, leave_half):
    grouped = RowsByUser.of([pa.array(keys[:3]), pa.array(keys[3:], pa.string())], positives, leave_half)
    num_examples = len(grouped.users)
    most = {key: min(positives, max(1, keys.count(key) // 2)) if leave_half else positives for key in set(keys)}
    assert num_examples == sum(-(-keys.count(key) // most[key]) for key in set(keys))
    for epoch in range(2):
        positions = tf.range(epoch * num_examples, (epoch + 1) * num_examples, dtype=tf.int64)
        numbers, counts = grouped.batch(shuffled_rows(positions[0], num_examples, num_examples, seed), positions)
        assert numbers.shape == [num_examples, positives]
        visited = []
        for of_example, count in zip(numbers.numpy(), counts.numpy(), strict=True):
            (key,) = {keys[row] for row in of_example}
            assert count <= most[key]
            assert (of_example[count:] == of_example[0]).all()
            visited += of_example[:count].tolist()
        assert sorted(visited) == list(range(len(keys)))


def test_other_rows_of_a_user_come_together_in_every_epoch():
    grouped = RowsByUser.of([pa.array(["a"] * 30)], 7)
    positions = tf.range(20, dtype=tf.int64)
    numbers, _ = grouped.batch(shuffled_rows(positions[0], 20, len(grouped.users), 5), positions)
    epochs = [{frozenset(of_example) for of_example in numbers.numpy()[5 * epoch :][:5]} for epoch in range(4)]
    assert all(not first & second for first, second in itertools.pairwise(epochs))


def test_a_batch_has_the_items_of_a_user_with_their_attributes_and_weights(reader):
    examples = by_user(reader)
    assert examples.num_examples == sum(-(-(user + 1) // POSITIVES) for user in range(NUM_USERS))
    assert examples.positives_per_example == len(rows()) / examples.num_examples
    weights = {}
    for row in rows():
        weights.setdefault((row["user"][0], row["item"][0]), []).append(row["weight"][0])
    for features in batches(examples, examples.num_examples // BATCH):
        assert "weight" not in features
        number, of_items = features[NUM_POSITIVES].numpy(), features[POSITIVE_WEIGHTS].numpy()
        for example, (user,) in enumerate(features["user"].numpy()):
            for place, item in enumerate(items_of(features)[example]):
                assert item in chosen_by(user)
                assert of_items[example, place] in weights[user, item]
                if place >= number[example]:
                    assert item == items_of(features)[example, 0]
        for place in range(1, POSITIVES + 1):
            items = features[positive_name("item", place)].numpy()
            np.testing.assert_allclose(features[positive_name("price", place)], items / NUM_ITEMS, rtol=1e-6)
            tags = tf.RaggedTensor.from_sparse(features[positive_name("tags", place)])
            assert tags.to_list() == [list(range(item % 3)) for item in items[:, 0]]


def test_a_query_does_not_know_the_items_of_its_example(tmp_path):
    by_users = by_user(reader_of(OF_OTHERS, tmp_path, rows_with_others()), OF_OTHERS)
    known = 0
    for features in batches(by_users, by_users.num_examples // BATCH):
        histories = tf.RaggedTensor.from_sparse(features[HISTORY]).to_list()
        for (user,), own, history in zip(features["user"].numpy(), items_of(features), histories, strict=True):
            assert sorted(history) == sorted(set(chosen_by(user)) - set(own.tolist()))
            known += len(history)
        filled = [history + [-1] * (NUM_ITEMS - len(history)) for history in histories]
        np.testing.assert_array_equal(features[ids_name(HISTORY)], filled)
    # Of users with two items or more, some are left.
    assert known


def test_a_later_start_goes_on_with_the_same_examples(reader):
    examples = by_user(reader)
    for whole, late in zip(batches(examples, 9)[6:], batches(examples, 3, first_step=6), strict=True):
        np.testing.assert_array_equal(items_of(whole), items_of(late))
        np.testing.assert_array_equal(whole["user"], late["user"])


def test_rows_that_memory_cannot_hold_come_from_files(reader, tmp_path):
    in_files = by_user(reader_of(WEIGHTED, tmp_path, rows(), Limits(0, 0, str(tmp_path))))
    for expected, got in zip(batches(by_user(reader), 3), batches(in_files, 3), strict=True):
        np.testing.assert_array_equal(items_of(expected), items_of(got))


def test_hosts_group_their_own_rows(reader):
    found = []
    for host in (tf.distribute.InputContext(2, number, 2) for number in range(2)):
        # More than one epoch of either host.
        for features in batches(by_user(reader), 40, host=host):
            for (user,), of_user in zip(features["user"].numpy(), items_of(features), strict=True):
                found += [(user, item) for item in of_user]
    assert set(found) == {(row["user"][0], row["item"][0]) for row in rows()}


def reader_features(spec: FeatureSpec):
    """Of a few interactions."""
    raw = batch_of(rows()[:BATCH], spec)
    return ModelInputs(spec, dict)(to_tensors(to_arrays(raw, spec.inputs), spec.inputs))


def model_of(config: TwoTowerConfig, spec: FeatureSpec, retrieval: Retrieval) -> TwoTowerModel:
    experiment = Experiment(
        dataset=described(spec, "retrieval"),
        model=config,
        embeddings=EmbeddingsConfig(dim=DIM),
        training=TrainingConfig(batch_size=BATCH),
    )
    blueprint = Blueprint(experiment, spec, ROWS, retrieval)
    model, _ = blueprint.for_training(tf.distribute.get_strategy(), 0.0)
    model(reader_features(spec))
    for number, table in enumerate(model.embedding.trainable_tables.values()):
        table.assign(tf.random.stateless_normal(table.shape, [number, 4]))
    return model  # pyright: ignore[reportReturnType] (Keras declares __new__ as giving any Model)


def config_of(**settings) -> TwoTowerConfig:
    examples = {"type": "users", "positives": POSITIVES}
    return TwoTowerConfig(examples=examples, similarity="dot", temperature=TEMPERATURE, **settings)


def vectors(model: TwoTowerModel, features) -> tuple[np.ndarray, np.ndarray]:
    """Of queries `[batch, dim]` and items `[positives, batch, dim]`, from the model's predictions for interactions."""
    items = []
    for number in range(1, POSITIVES + 1):
        as_own = features | {name: features[positive_name(name, number)] for name in CANDIDATE_COLUMNS}
        predicted = model(as_own)
        items.append(predicted["candidate"].numpy())
    return predicted["query"].numpy(), np.stack(items)


def counts() -> np.ndarray:
    return np.bincount([row["item"][0] for row in rows()], minlength=NUM_ITEMS)


def histories_of(features) -> list[list[int]]:
    return [[item for item in of_query if item >= 0] for of_query in features[ids_name(HISTORY)].numpy().tolist()]


@pytest.mark.parametrize("spec", [SPEC, WEIGHTED, OF_OTHERS], ids=["unweighted", "weighted", "with_others"])
def test_items_of_other_users_are_negatives(spec, tmp_path):
    examples = by_user(reader_of(spec, tmp_path, rows_with_others()), spec)
    mean = examples.positives_per_example
    retrieval = Retrieval("item", CANDIDATE_COLUMNS, counts(), positives_per_example=mean)
    model = model_of(config_of(embedding_l2=0.1), spec, retrieval)
    (features,) = batches(examples, 1)
    queries, items = vectors(model, features)
    ids, number = items_of(features), features[NUM_POSITIVES].numpy()[:, 0]
    shares = np.log(np.maximum(counts(), 1) / np.maximum(counts(), 1).sum())
    tables = {name: table.numpy() for name, table in model.embedding.trainable_tables.items()}
    weights = features[POSITIVE_WEIGHTS].numpy() if spec is WEIGHTED else np.ones([BATCH, POSITIVES])
    known = histories_of(features) if spec is OF_OTHERS else [[]] * BATCH
    expected = np.zeros(BATCH)
    for query in range(BATCH):
        others = [
            queries[query] @ items[place, other] / TEMPERATURE - shares[ids[other, place]]
            for other in range(BATCH)
            for place in range(number[other])
            if ids[other, place] not in [*ids[query], *known[query]]
        ]
        for place in range(number[query]):
            item = ids[query, place]
            own = queries[query] @ items[place, query] / TEMPERATURE - shares[item]
            cost = np.logaddexp.reduce([own, *others]) - own
            tags = tables["tags"][: item % 3].mean(axis=0) if item % 3 else np.zeros(DIM)
            bag = tables["item"][known[query]].mean(axis=0) if known[query] else np.zeros(DIM)
            looked_up = (tables["user"][features["user"].numpy()[query, 0]], tables["item"][item], tags, bag)
            norm = sum(np.sum(row**2) for row in looked_up)
            expected[query] += weights[query, place] * cost + 0.1 * norm
    loss = model.per_example_loss(features, tf.ones([BATCH]), SEED)
    np.testing.assert_allclose(loss, expected / mean, rtol=1e-4)


@pytest.mark.parametrize("spec", [SPEC, OF_OTHERS], ids=["users", "with_others"])
def test_the_full_softmax_is_the_multinomial_likelihood_of_a_user_s_items(spec, catalog, tmp_path):
    copies = -(-NUM_ITEMS // BATCH)
    grouped = by_user(reader_of(spec, tmp_path, rows_with_others()), spec)
    mean = grouped.positives_per_example
    retrieval = Retrieval(
        "item", CANDIDATE_COLUMNS, counts(), np.ones(NUM_ITEMS, np.int64), copies, positives_per_example=mean
    )
    model = model_of(config_of(full_softmax=True), spec, retrieval)
    (features,) = batches(MixedExamples(grouped, catalog, copies, whole=True), 1)
    queries, items = vectors(model, features)
    of_copies = [
        features | {name: features[negative_name(name, copy)] for name in CANDIDATE_COLUMNS}
        for copy in range(1, copies + 1)
    ]
    every = np.concatenate([model(each)["candidate"].numpy() for each in of_copies])[:NUM_ITEMS]
    scores = queries @ every.T / TEMPERATURE
    if spec is OF_OTHERS:
        for query, known in enumerate(histories_of(features)):
            scores[query, known] = MASKED
    total = np.logaddexp.reduce(scores, axis=1)
    own = np.einsum("bd,pbd->bp", queries, items) / TEMPERATURE
    exists = np.arange(POSITIVES) < features[NUM_POSITIVES].numpy()
    loss = model.per_example_loss(features, tf.ones([BATCH]), SEED)
    np.testing.assert_allclose(loss, ((total[:, np.newaxis] - own) * exists).sum(axis=1) / mean, rtol=1e-4)


def test_the_share_of_drawn_items_counts_by_the_items_of_an_example():
    retrieval = Retrieval("item", ("item",), np.array([3, 1]), np.array([1, 1]), positives_per_example=4.0)
    # For 4 items of the batch with frequencies 3/4 and 1/4 there are 2 of the catalog.
    expected = [(4 * 0.75 + 2 * 0.5) / 6, (4 * 0.25 + 2 * 0.5) / 6]
    np.testing.assert_allclose(np.exp(retrieval.log_sampling_shares(2)), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "loss"),
    [
        (config_of(mixed_negatives=2, hard_negatives=5), softmax),
        (config_of(mixed_negatives=2, in_batch_negatives=False, loss={"type": "gbce"}), binary(0.25 + 0.75 * 0.8)),
    ],
    ids=["hardest", "gbce"],
)
def test_items_of_the_catalog_are_negatives_of_all_users_but_those_who_chose_them(reader, catalog, config, loss):
    grouped = by_user(reader)
    retrieval = Retrieval("item", CANDIDATE_COLUMNS, counts(), np.ones(NUM_ITEMS, np.int64), positives_per_example=2.0)
    model = model_of(config, SPEC, retrieval)
    (features,) = batches(MixedExamples(grouped, catalog, 2), 1)
    queries, items = vectors(model, features)
    ids, exists = items_of(features), np.arange(POSITIVES) < features[NUM_POSITIVES].numpy()
    drawn = [features | {name: features[negative_name(name, copy)] for name in CANDIDATE_COLUMNS} for copy in (1, 2)]
    candidates = [model(each)["candidate"].numpy() for each in drawn]
    candidate_ids = [each["item"].numpy()[:, 0] for each in drawn]
    if config.in_batch_negatives:
        candidates = [*items, *candidates]
        candidate_ids = [*np.where(exists, ids, -1).T, *candidate_ids]
    shares = config.correction * retrieval.log_sampling_shares(2, config.in_batch_negatives)
    candidates, candidate_ids = np.concatenate(candidates), np.concatenate(candidate_ids)
    others = queries @ candidates.T / TEMPERATURE - shares[candidate_ids]
    for query in range(BATCH):
        others[query, np.isin(candidate_ids, [-1, *ids[query]])] = MASKED
    if config.hard_negatives:
        others = np.sort(others, axis=1)[:, -config.hard_negatives :]
    own = np.einsum("bd,pbd->bp", queries, items) / TEMPERATURE - shares[ids]
    of_items = np.stack([loss(tf.constant(of_place), tf.constant(others, tf.float32)) for of_place in own.T], axis=1)
    result = model.per_example_loss(features, tf.ones([BATCH]), SEED)
    np.testing.assert_allclose(result, (of_items * exists).sum(axis=1) / 2, rtol=1e-4)


def test_items_that_are_a_query_s_own():
    found = _contains(tf.constant([[5, 2, 2], [7, 1, 9]], tf.int64), tf.constant([9, 2, 3, 5, 2], tf.int64))
    np.testing.assert_array_equal(found, [[False, True, False, True, True], [True, False, False, False, False]])
    assert not tf.reduce_any(_contains(tf.zeros([2, 0], tf.int64), tf.constant([9, 2], tf.int64)))


def test_evaluation_and_serving_take_interactions():
    model = model_of(config_of(), SPEC, Retrieval("item", CANDIDATE_COLUMNS, counts()))
    assert {name: value.shape for name, value in model(reader_features(SPEC)).items()} == {
        "query": (BATCH, DIM),
        "candidate": (BATCH, DIM),
    }


def check(spec: FeatureSpec, training: TrainingConfig | None = None, **facts) -> None:
    dataset = described(
        spec, "retrieval", user_key="user", item_key="item", candidate_columns=CANDIDATE_COLUMNS, **facts
    )
    experiment = Experiment(
        dataset=dataset, model=TwoTowerConfig(examples="users"), training=training or TrainingConfig()
    )
    experiment.check()


def test_columns_that_differ_from_row_to_row_are_refused():
    check(SPEC)
    device = Numeric(name="hour")
    with pytest.raises(ConfigError, match=r"model.examples users makes one query .*hour differ from row to row"):
        check(FeatureSpec(columns=(*SPEC.columns, device), tables=SPEC.tables), event_columns=("hour",))
    history = Categorical(name=HISTORY, table="item", dtype="int64", multivalent=True, counted=False, latest_last=True)
    with pytest.raises(ConfigError, match=r"history differ from row to row. Add them to model.ignore"):
        check(FeatureSpec(columns=(*SPEC.columns, history), tables=SPEC.tables), history=5)
    check(OF_OTHERS, history=5)
    for change in ({"table": "tags"}, {"max_sequence_length": 5}):
        other = OTHERS.model_copy(update=change)
        with pytest.raises(ConfigError, match=r"it must be a bag of ids of table item"):
            check(FeatureSpec(columns=(*SPEC.columns, other), tables=SPEC.tables), history=5)


def test_the_trainer_counts_users_even_if_the_model_ignores_them(world):
    columns = ("item", "tags", "main_tag", "year")
    facts = {"user_key": "user", "item_key": "item", "candidate_columns": columns}
    for spec in (world.spec, world.spec.without(["user"])):
        reader = ExampleReader(spec, world.model_inputs, world.files)
        data = TrainingData(
            described(world.spec, "retrieval", **facts), spec, world.transform_output, world.model_inputs, reader, BATCH
        )
        objective, examples = TwoTowerConfig(examples={"type": "users", "positives": 7}).prepare(data)
        of_users = np.unique([row["user"][0] for row in sample()], return_counts=True)[1]
        assert examples.num_examples == np.sum(-(-of_users // 7))
        assert objective.positives_per_example == of_users.sum() / examples.num_examples


@pytest.mark.parametrize("cache", ["records", "none"])
def test_rows_that_are_not_kept_are_refused(cache):
    with pytest.raises(ConfigError, match=f"training.cache {cache} does not keep"):
        check(SPEC, TrainingConfig(cache=cache))
