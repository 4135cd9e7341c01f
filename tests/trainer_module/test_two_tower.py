"""The sampled softmax by hand, what it converges to, and the two towers over one layer."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_module.data.features import Categorical, ExampleWeight, FeatureSpec, Label, Numeric, Table
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.embeddings.layer import embedding_layer, feature_configs, look_up
from trainer_module.errors import ConfigError
from trainer_module.models.config import ContrastiveLoss, GbceLoss, TwoTowerConfig
from trainer_module.models.layers import DenseOptions
from trainer_module.models.negatives import negative_name
from trainer_module.models.retrieval import Retrieval
from trainer_module.models.two_tower import TwoTowerModel, build_two_tower, sampled_softmax
from trainer_module.training.config import TrainingConfig

from .conftest import described

SPEC = FeatureSpec(
    columns=(
        Categorical(name="user", table="user"),
        Categorical(name="history", table="item", multivalent=True, max_sequence_length=3),
        Numeric(name="age"),
        Categorical(name="item", table="item"),
        Categorical(name="tags", table="tag", multivalent=True),
        Label(name="rating"),
    ),
    tables=(Table(name="user"), Table(name="item", frequencies=True), Table(name="tag")),
)
ROWS = {"user": 5, "item": 4, "tag": 3}
RETRIEVAL = Retrieval("item", ("item", "tags"), np.array([8, 4, 3, 0]))
SEED = tf.constant([1, 2])


def build(config: TwoTowerConfig = TwoTowerConfig(), spec: FeatureSpec = SPEC, **dense) -> TwoTowerModel:  # noqa: B008 (it is immutable)
    embeddings = EmbeddingsConfig(dim=2)
    configs = feature_configs(spec, ROWS, embeddings)
    layer = embedding_layer(configs, spec, embeddings)
    return build_two_tower(config, spec, configs, layer, RETRIEVAL, DenseOptions(**dense))


def check(spec: FeatureSpec, config: TwoTowerConfig = TwoTowerConfig()) -> None:  # noqa: B008 (it is immutable)
    """As an experiment with embeddings 2 wide checks it."""
    dataset = described(spec, "retrieval", item_key="item", candidate_columns=RETRIEVAL.candidate_columns)
    config.check(dataset, spec, {table.name: table.dim or 2 for table in spec.tables})


def features(users: list[int], items: list[int]) -> dict[str, tf.Tensor | tf.SparseTensor]:
    count = len(users)
    return {
        "user": tf.constant(users, tf.int64)[:, tf.newaxis],
        "history": tf.sparse.from_dense(tf.constant([[1, 2]] * count, tf.int64)),
        "age": tf.ones([count, 1]),
        "item": tf.constant(items, tf.int64)[:, tf.newaxis],
        "tags": tf.sparse.from_dense(tf.constant([[1, 2]] * count, tf.int64)),
    }


def test_the_softmax_by_hand():
    queries, candidates = tf.constant([[1.0, 0.0], [0.0, 1.0]]), tf.constant([[1.0, 0.0], [0.6, 0.8]])
    frequencies = np.log([0.5, 0.25]).astype(np.float32)
    loss = sampled_softmax(queries, candidates, tf.constant([7, 9]), frequencies, temperature=0.5)
    # Logits: dot product / 0.5 - log frequency.
    first, second = np.array([2.0, 1.2]) - frequencies, np.array([0.0, 1.6]) - frequencies
    expected = [np.log(np.exp(first).sum()) - first[0], np.log(np.exp(second).sum()) - second[1]]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_the_own_item_is_no_negative():
    queries = candidates = tf.constant([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    loss = sampled_softmax(queries, candidates, tf.constant([7, 7, 9]), tf.zeros([3]), temperature=1.0)
    np.testing.assert_allclose(loss, [np.log(1 + np.exp(-1))] * 2 + [np.log(1 + 2 * np.exp(-1))], rtol=1e-6)


def test_hard_negatives_are_those_with_the_largest_logits():
    queries, candidates = tf.constant([[1.0, 0.0]] * 3), tf.constant([[0.5, 0.0], [0.9, 0.0], [0.1, 0.0]])
    loss = sampled_softmax(queries, candidates, tf.range(3), tf.zeros([3]), temperature=1.0, hard_negatives=1)
    np.testing.assert_allclose(loss[0], np.log(np.exp(0.5) + np.exp(0.9)) - 0.5, rtol=1e-6)


def test_the_correction_makes_the_batch_stand_for_the_whole_corpus():
    """Two items, one nine times as frequent as the other and chosen nine times as often by a query that is always the
    same: the scores that minimize the loss differ by the log of what the whole corpus' softmax must give, log 9. With
    the opposite sign of the correction they would not differ this way: popular items would be pushed down."""
    random = np.random.default_rng(0)
    share = np.array([0.9, 0.1])
    items = random.choice(2, p=share, size=[400, 16])
    scores = tf.Variable([0.0, 0.0])
    optimizer = tf.keras.optimizers.legacy.SGD(0.2)

    @tf.function
    def step(batch: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            # A query of ones against one-dimensional candidates gives the scores themselves.
            candidates = tf.gather(scores, batch)[:, tf.newaxis]
            frequencies = tf.gather(tf.math.log(tf.constant(share, tf.float32)), batch)
            loss = tf.reduce_mean(sampled_softmax(tf.ones([16, 1]), candidates, batch, frequencies, 1.0))
        optimizer.apply_gradients([(tape.gradient(loss, scores), scores)])

    for _ in range(5):
        for batch in items:
            step(tf.constant(batch))
    assert float(scores[0] - scores[1]) > np.log(9) / 2


@given(st.integers(1, 6), st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_the_loss_is_that_of_a_softmax_over_distinct_items(batch_size, seed):
    random = np.random.default_rng(seed)
    queries, candidates = random.normal(size=(2, batch_size, 3)).astype(np.float32)
    ids = random.permutation(batch_size)
    loss = sampled_softmax(queries, candidates, tf.constant(ids), tf.zeros([batch_size]), 0.7)
    logits = queries @ candidates.T / 0.7
    expected = np.log(np.exp(logits).sum(axis=1)) - np.diag(logits)
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-5)


def test_frequencies_are_shares_and_never_zero():
    np.testing.assert_allclose(np.exp(RETRIEVAL.log_frequencies), np.array([8, 4, 3, 1]) / 16, rtol=1e-6)


def test_a_query_is_the_normalized_sum_of_its_features():
    model = build()
    some = features([3], [1])
    looked_up = look_up(model.embedding, SPEC, some)
    tables = {name: table.numpy() for name, table in model.embedding.trainable_tables.items()}
    # The history's two rows are averaged, its padding does not count.
    history = (tables["item"][1] + tables["item"][2]) / 2
    numbers = model._query_tower._numbers(tf.ones([1, 1])).numpy()[0]
    expected = tables["user"][3] + history + numbers
    np.testing.assert_allclose(model.queries_from(looked_up, some)[0], expected / np.linalg.norm(expected), rtol=1e-5)
    expected = tables["item"][1] + (tables["tag"][1] + tables["tag"][2]) / 2
    np.testing.assert_allclose(
        model.candidates_from(looked_up, some)[0], expected / np.linalg.norm(expected), rtol=1e-5
    )


def test_an_empty_history_adds_nothing():
    model, some = build(), features([3], [1])
    some["history"] = tf.sparse.from_dense(tf.zeros([1, 1], tf.int64))
    assert np.all(np.isfinite(model(some)["query"]))


def test_towers_with_hidden_layers_learn_every_variable():
    model = build(TwoTowerConfig(query_mlp=(4,), candidate_mlp=(4,), dropout=0.3, embedding_l2=0.1))
    some = features([0, 1, 2], [1, 2, 3])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.per_example_loss(some, tf.zeros([3]), SEED))
    gradients = tape.gradient(loss, model.trainable_variables)
    without = [v.name for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None]
    assert not without


def test_what_fills_a_batch_up_changes_no_metric():
    model = build()
    whole = model.evaluation_sums(features([0, 1], [1, 2]), tf.zeros([2]), tf.ones([2]))
    filled = model.evaluation_sums(features([0, 1, 0], [1, 2, 3]), tf.zeros([3]), tf.constant([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(whole, filled, rtol=1e-6)
    assert set(model.metrics_from(whole.numpy())) == {"softmax_loss"}


def changed(**changes) -> FeatureSpec:
    return FeatureSpec.model_validate(SPEC.model_dump() | changes)


def test_what_does_not_fit_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"one width; got \{'user': 2, 'item': 2, 'tag': 4\}"):
        check(changed(tables=(Table(name="user"), Table(name="item"), Table(name="tag", dim=4))))
    with pytest.raises(ConfigError, match=r"the query tower .* has no categorical column"):
        check(
            changed(
                columns=tuple(c for c in SPEC.columns if c.name not in ("user", "history")),
                tables=(Table(name="item"), Table(name="tag")),
            )
        )
    with pytest.raises(ConfigError, match=r"jit_compile; leave it out"):
        TwoTowerConfig().check_training(TrainingConfig(jit_compile=True))
    with pytest.raises(ConfigError, match=r"a step has 20 candidates: training.batch_size=10 times 1 \+"):
        TwoTowerConfig(hard_negatives=21, mixed_negatives=1).check_training(TrainingConfig(batch_size=10))
    TwoTowerConfig(hard_negatives=20, mixed_negatives=1).check_training(TrainingConfig(batch_size=10))
    with pytest.raises(ConfigError, match=r"table item of column item does not keep it"):
        check(changed(tables=(Table(name="user"), Table(name="item"), Table(name="tag"))))
    with pytest.raises(ConfigError, match=r"item's key 'item'; take it out of model.ignore"):
        check(SPEC.without(["item", "history"]))
    check(SPEC)


@pytest.mark.parametrize(
    "config",
    [
        TwoTowerConfig(),
        TwoTowerConfig(hard_negatives=1),
        TwoTowerConfig(mixed_negatives=1),
        TwoTowerConfig(full_softmax=True),
        TwoTowerConfig(loss=ContrastiveLoss()),
        TwoTowerConfig(loss=GbceLoss(), in_batch_negatives=False, mixed_negatives=1),
    ],
    ids=["in_batch", "hard", "mixed", "full", "contrastive", "gbce"],
)
def test_every_loss_is_weighed_by_example(config):
    weighed = changed(columns=(*SPEC.columns, ExampleWeight(name="plays")))
    retrieval = Retrieval("item", ("item", "tags"), np.array([8, 4, 3, 0]), np.array([0, 1, 1, 1]), copies=2)
    some = features([0, 1], [1, 2])
    for number in (1, 2):
        drawn = features([0, 1], [number, 3])
        some |= {negative_name(name, number): drawn[name] for name in ("item", "tags")}
    models = []
    for spec in (weighed, SPEC):
        in_training, embeddings = config.training_columns(spec, retrieval), EmbeddingsConfig(dim=2)
        configs = feature_configs(in_training, ROWS, embeddings)
        layer = embedding_layer(configs, in_training, embeddings)
        models.append(build_two_tower(config, spec, configs, layer, retrieval))
    model, plain = models
    losses = [each.per_example_loss(some | {"plays": tf.ones([2, 1])}, tf.zeros([2]), SEED) for each in models]
    assert losses[0].shape == (2,)
    for to, of in zip(model.variables, plain.variables, strict=True):
        to.assign(of)
    loss = plain.per_example_loss(some, tf.zeros([2]), SEED)
    found = model.per_example_loss(some | {"plays": tf.constant([[0.5], [3.0]])}, tf.zeros([2]), SEED)
    np.testing.assert_allclose(found, [0.5, 3.0] * loss, rtol=1e-5)
