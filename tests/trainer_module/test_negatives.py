"""Items drawn from the catalog: the softmax by hand, what is drawn, and what a training makes of it."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from components.pusher.verify import verify
from trainer_module.blueprint import Blueprint
from trainer_module.data.features import Categorical, FeatureSpec, Label, Table, Weights
from trainer_module.data.inputs import ExampleReader
from trainer_module.data.vocabularies import Vocabularies, training_counts
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.errors import ConfigError, DataError
from trainer_module.experiment import Experiment
from trainer_module.export import parity, routes
from trainer_module.export.config import ExportConfig
from trainer_module.export.routes import Trained, export
from trainer_module.models.config import ContrastiveLoss, GbceLoss, TwoTowerConfig
from trainer_module.models.negatives import Catalog, MixedExamples, negative_name, with_negatives
from trainer_module.models.retrieval import Retrieval
from trainer_module.models.two_tower import sampled_softmax
from trainer_module.training.config import TrainingConfig
from trainer_module.training.distribution import make_strategy
from trainer_module.training.loop import TrainingLoop

from .conftest import NUM_ITEMS, batch_of, described, rows, sample_rows, write_examples

CANDIDATE_COLUMNS = ("item", "tags", "main_tag", "year")
ONE_HOST = tf.distribute.InputContext()
NEVER_CHOSEN = "never"


@pytest.fixture(scope="module")
def catalog_file(tmp_path_factory) -> str:
    """Every item once, and one that no row of the training holds."""
    path = tmp_path_factory.mktemp("catalog") / "items.gz"
    items = {row["item"][0]: {name: row[name] for name in CANDIDATE_COLUMNS} for row in rows()}
    items[NEVER_CHOSEN.encode()] = {"item": [NEVER_CHOSEN.encode()], "tags": [b"a"], "main_tag": [b"c"], "year": []}
    return write_examples(path, [items[item] for item in sorted(items)])


@pytest.fixture(scope="module")
def catalog(world, catalog_file) -> Catalog:
    return Catalog(world.spec, world.model_inputs, CANDIDATE_COLUMNS, [catalog_file])


def test_the_softmax_with_drawn_items_by_hand():
    """Two queries, their own items 7 and 9, and two drawn ones, of which the first is item 7 once more."""
    queries = tf.constant([[1.0, 0.0], [0.0, 1.0]])
    candidates = tf.constant([[1.0, 0.0], [0.6, 0.8], [1.0, 0.0], [0.8, 0.6]])
    shares = np.log([0.5, 0.25, 0.5, 0.125]).astype(np.float32)
    loss = sampled_softmax(queries, candidates, tf.constant([7, 9, 7, 3]), shares, temperature=0.5)
    # Logits: dot product / 0.5 - log share. The first query's own item, drawn again, is no negative of it.
    first = np.array([2.0 - shares[0], 1.2 - shares[1], 1.6 - shares[3]])
    second = np.array([0.0, 1.6, 0.0, 1.2]) - shares
    expected = [np.log(np.exp(first).sum()) - first[0], np.log(np.exp(second).sum()) - second[1]]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_the_hardest_negative_may_be_a_drawn_one():
    candidates = tf.constant([[0.5, 0.0], [0.1, 0.0], [0.9, 0.0], [0.2, 0.0]])
    loss = sampled_softmax(tf.constant([[1.0, 0.0]] * 2), candidates, tf.range(4), tf.zeros([4]), 1.0, hard_negatives=1)
    np.testing.assert_allclose(loss[0], np.log(np.exp(0.5) + np.exp(0.9)) - 0.5, rtol=1e-6)


def test_an_items_share_is_that_of_the_mixture():
    # Chosen in 6, 2 and no rows (which count as one); in the catalog once, once and, unknown items, twice.
    retrieval = Retrieval("item", ("item",), np.array([6, 2, 0]), np.array([1, 1, 2]))
    expected = [(6 / 9 + 2 / 4) / 3, (2 / 9 + 2 / 4) / 3, (1 / 9 + 2 * 2 / 4) / 3]
    np.testing.assert_allclose(np.exp(retrieval.log_sampling_shares(2)), expected, rtol=1e-6)
    np.testing.assert_array_equal(retrieval.log_sampling_shares(0), retrieval.log_frequencies)
    with pytest.raises(ConfigError, match=r"mixed_negatives needs the counts"):
        replace(retrieval, catalog_counts=None).log_sampling_shares(1)


def test_copies_look_up_in_the_same_tables_with_weights_of_their_own():
    spec = FeatureSpec(
        columns=(
            Categorical(name="user", table="user"),
            Categorical(name="tags", table="tag", multivalent=True, weights="strengths"),
            Weights(name="strengths"),
            Label(name="rating"),
        ),
        tables=(Table(name="user"), Table(name="tag")),
    )
    mixed = with_negatives(spec, ("tags", "strengths"), 2)
    assert mixed.tables == spec.tables
    assert [(c.name, c.table, c.weights) for c in mixed.categorical[2:]] == [
        ("tags_negative_1", "tag", "strengths_negative_1"),
        ("tags_negative_2", "tag", "strengths_negative_2"),
    ]
    assert with_negatives(spec, ("tags", "strengths"), 0) == spec


def test_drawn_items_are_whole_and_uniform_over_the_catalog(catalog):
    drawn = catalog.draw(2, 20_000, tf.constant([1, 2]))
    ids = np.concatenate([drawn[f"item_negative_{number}"].numpy().ravel() for number in (1, 2)])
    counts = catalog.counts("item", int(ids.max()) + 1)
    assert counts.sum() == catalog.num_items == NUM_ITEMS + 1
    # 40,000 draws: the standard deviation of a share of 1/11 is 0.0014.
    np.testing.assert_allclose(np.bincount(ids, minlength=len(counts)) / len(ids), counts / counts.sum(), atol=0.008)
    assert not np.array_equal(drawn["item_negative_1"], drawn["item_negative_2"])
    # An item's other columns come with it: each id has one year and one list of tags.
    tags = tf.sparse.to_dense(drawn["tags_negative_1"], default_value=-1).numpy()
    together = np.column_stack([drawn["item_negative_1"], drawn["year_negative_1"], tags])
    assert len(np.unique(together, axis=0)) == NUM_ITEMS + 1


def drawn_items(world, catalog, config: TrainingConfig, first_step: int = 0, host=ONE_HOST) -> np.ndarray:
    batches = MixedExamples(world.reader(), catalog, 2).training_batches(config, host, first_step).take(6)
    return np.stack([features["item_negative_2"] for features, _ in batches])


@pytest.mark.parametrize("cache", ["features", "records", "none"])
def test_a_later_start_draws_the_same_items(world, catalog, cache):
    config = TrainingConfig(batch_size=100, cache=cache, seed=5)
    items = drawn_items(world, catalog, config)
    np.testing.assert_array_equal(drawn_items(world, catalog, config, first_step=2)[:4], items[2:])
    assert not np.array_equal(items[0], items[1])
    assert not np.array_equal(items, drawn_items(world, catalog, config.model_copy(update={"seed": 6})))


def test_hosts_draw_different_items_and_a_later_start_counts_replicas(world, catalog):
    config = TrainingConfig(batch_size=100)
    hosts = [tf.distribute.InputContext(2, host, 4) for host in range(2)]
    first, second = (drawn_items(world, catalog, config, host=host) for host in hosts)
    assert first.shape == (6, 25, 1)
    assert not np.array_equal(first, second)
    # Each host has two replicas, so a step is two batches.
    np.testing.assert_array_equal(drawn_items(world, catalog, config, 2, hosts[0])[:2], first[4:])


def test_the_batches_themselves_stay_the_same(world, catalog):
    config = TrainingConfig(batch_size=100)
    plain = next(iter(world.reader().training_batches(config, ONE_HOST)))
    mixed = next(iter(MixedExamples(world.reader(), catalog, 1).training_batches(config, ONE_HOST)))
    np.testing.assert_array_equal(plain[0]["item"], mixed[0]["item"])
    assert set(mixed[0]) - set(plain[0]) == {f"{name}_negative_1" for name in CANDIDATE_COLUMNS}


def test_a_dataset_without_a_catalog_is_refused(world):
    with pytest.raises(DataError, match=r"no example files match /nowhere/Split-candidates.*or leave them out"):
        Catalog(world.spec, world.model_inputs, CANDIDATE_COLUMNS, ["/nowhere/Split-candidates/*"])


def train(
    world, catalog: Catalog, directory, number: int, model: TwoTowerConfig | None = None
) -> tuple[Blueprint, TrainingLoop, Trained]:
    """A short training with so many items of the catalog per example."""
    training = TrainingConfig(
        batch_size=100,
        epochs=6,
        keep="last",
        embedding_optimizer={"name": "adam", "learning_rate": 0.05},
        dense_optimizer={"name": "adam", "learning_rate": 0.05},
    )
    model = model or TwoTowerConfig(mixed_negatives=number)
    experiment = Experiment(
        dataset=described(world.spec), model=model, embeddings=EmbeddingsConfig(dim=2), training=training
    )
    (table,) = [table for table in world.spec.tables if table.name == "item"]
    counts = training_counts(world.transform_output, table)
    in_catalog = catalog.counts("item", len(counts))
    retrieval = Retrieval("item", CANDIDATE_COLUMNS, counts, in_catalog, number if model.full_softmax else 0)
    blueprint = Blueprint(experiment, world.spec, Vocabularies(world.spec, world.transform_output).rows, retrieval)
    strategy = make_strategy(training)
    trained, optimizer = blueprint.for_training(strategy, 0.0)
    loop = TrainingLoop(strategy, trained, optimizer, training, str(directory / "state"), str(directory))
    examples = world.reader()
    result = loop.fit(MixedExamples(examples, catalog, number, model.full_softmax) if number else examples, examples)
    return blueprint, loop, Trained(result.checkpoint, trained, strategy)


@pytest.fixture(scope="module")
def mixed(world, catalog, tmp_path_factory) -> tuple[Blueprint, TrainingLoop, Trained]:
    return train(world, catalog, tmp_path_factory.mktemp("mixed"), 2)


def test_the_loss_is_the_softmax_over_the_batchs_items_and_the_drawn_ones(world, catalog, mixed):
    blueprint, _, trained = mixed
    batches = MixedExamples(world.reader(), catalog, 2).training_batches(TrainingConfig(batch_size=50), ONE_HOST)
    features, labels = next(iter(batches))
    of_copies = [
        features | {name: features[f"{name}_negative_{number}"] for name in CANDIDATE_COLUMNS} for number in (1, 2)
    ]
    candidates = tf.concat([trained.model(each)["candidate"] for each in (features, *of_copies)], axis=0)
    ids = tf.concat([each["item"][:, 0] for each in (features, *of_copies)], axis=0)
    shares = tf.gather(blueprint.objective.log_sampling_shares(2), ids)
    expected = sampled_softmax(trained.model(features)["query"], candidates, ids, shares, 0.2)
    loss = trained.model.per_example_loss(features, labels, tf.constant([0, 0]))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_batch_brings_every_item_of_the_catalog_once(world, catalog):
    number = -(-catalog.num_items // 4)
    features = catalog.all(number, 4)
    ids = np.concatenate([features[negative_name("item", copy)][:, 0] for copy in range(1, number + 1)])
    assert len(ids) == 4 * number
    counts = catalog.counts("item", int(ids.max()) + 1)
    assert np.bincount(ids[: catalog.num_items]).tolist() == counts.tolist()


def test_the_full_softmax_is_over_the_target_and_all_other_items(world, catalog, tmp_path):
    copies = -(-catalog.num_items // 100)
    _, _, trained = train(world, catalog, tmp_path, copies, TwoTowerConfig(full_softmax=True))
    examples = MixedExamples(world.reader(), catalog, copies, whole=True)
    features, labels = next(iter(examples.training_batches(TrainingConfig(batch_size=100), ONE_HOST)))
    model = trained.model
    loss = model.per_example_loss(features, labels, tf.constant([0, 0]))
    of_copies = [
        features | {name: features[negative_name(name, copy)] for name in CANDIDATE_COLUMNS}
        for copy in range(1, copies + 1)
    ]
    items = tf.concat([model(each)["candidate"] for each in of_copies], axis=0)[: catalog.num_items]
    ids = tf.concat([each["item"][:, 0] for each in of_copies], axis=0)[: catalog.num_items]
    predicted = model(features)
    scores = tf.matmul(predicted["query"], items, transpose_b=True).numpy() / 0.2
    own = tf.reduce_sum(predicted["query"] * predicted["candidate"], axis=1).numpy() / 0.2
    others = np.where(features["item"].numpy() == ids.numpy(), -np.inf, scores)
    np.testing.assert_allclose(loss, np.logaddexp(own, np.logaddexp.reduce(others, axis=1)) - own, rtol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        TwoTowerConfig(mixed_negatives=2, in_batch_negatives=False, loss=GbceLoss()),
        TwoTowerConfig(mixed_negatives=2, loss=ContrastiveLoss(margin=0.2), hard_negatives=20),
    ],
    ids=["gbce", "contrastive"],
)
def test_other_losses_fall_in_training(world, catalog, tmp_path, model):
    _, _, trained = train(world, catalog, tmp_path, 2, model)
    examples = MixedExamples(world.reader(), catalog, 2)
    features, labels = next(iter(examples.training_batches(TrainingConfig(batch_size=100), ONE_HOST)))
    after = tf.reduce_mean(trained.model.per_example_loss(features, labels, tf.constant([0, 0])))
    for table in trained.model.embedding.trainable_tables.values():
        table.assign(0.1 * tf.random.stateless_normal(table.shape, [1, 2]))
    before = tf.reduce_mean(trained.model.per_example_loss(features, labels, tf.constant([0, 0])))
    assert after < before - 0.05


def test_all_items_need_the_whole_batch_on_one_device(world, catalog):
    examples = MixedExamples(world.reader(), catalog, 3, whole=True)
    with pytest.raises(ConfigError, match="there are 2 replicas"):
        examples.training_batches(TrainingConfig(batch_size=50), tf.distribute.InputContext(1, 0, 2))


def test_an_item_that_nobody_chose_is_trained_only_if_it_is_drawn(world, catalog, mixed, tmp_path):
    raw = {
        "item": [NEVER_CHOSEN.encode()],
        "tags": [],
        "main_tag": [b"c"],
        "year": [],
        "user": [b"u1"],
        "rating": [1.0],
    }
    features = world.reader().features(batch_of([raw]))

    def row(model: tf.keras.Model) -> np.ndarray:
        return model.embedding.trainable_tables["item"].numpy()[int(features["item"][0, 0])]

    strategy = mixed[2].strategy
    initial, _ = mixed[0].for_training(strategy, 0.0)
    with strategy.scope():
        initial(features)  # makes its variables
    _, _, without = train(world, catalog, tmp_path, 0)
    np.testing.assert_array_equal(row(without.model), row(initial))
    assert np.abs(row(mixed[2].model) - row(initial)).max() > 0.01


@pytest.mark.parametrize("route", ["checkpoint", "direct"])
def test_the_exported_towers_answer_as_the_trained_model(route, world, mixed, tmp_path, monkeypatch):
    blueprint, loop, trained = mixed
    sample_dir, model_dir = str(tmp_path / "parity"), str(tmp_path / "model")
    sample = ExampleReader(
        world.spec, world.model_inputs, [parity.save_sample(sample_dir, world.spec, sample_rows(world))]
    )
    config = ExportConfig(route=route)
    answers = routes.expected_answers(config, blueprint, trained.model, loop.predict, sample)
    parity.save_expected(sample_dir, answers, "float32")
    features = sample.features(sample.head(1))
    export(config, blueprint, trained, world.model_inputs, features, model_dir)
    for name in ("tensorflow_recommenders", "tfx"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert verify(model_dir, sample_dir)["largest_difference"] < 1e-5
