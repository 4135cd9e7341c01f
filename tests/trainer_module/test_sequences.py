"""Training on all positions of a history: which rows are read, what their targets are, and the loss by hand."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from trainer_module.blueprint import Blueprint
from trainer_module.data.dataset import HISTORY, HISTORY_TARGETS, HISTORY_WEIGHTS
from trainer_module.data.example_files import serialized, write_parquet
from trainer_module.data.features import (
    Categorical,
    Context,
    ExampleWeight,
    FeatureSpec,
    HistoryWeights,
    Label,
    Numeric,
    Table,
    Weights,
)
from trainer_module.data.inputs import ExampleReader, ModelInputs, length_name
from trainer_module.data.row_store import Limits
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.errors import ConfigError, DataError
from trainer_module.experiment import Experiment
from trainer_module.models.config import TwoTowerConfig
from trainer_module.models.negatives import Catalog, MixedExamples, negative_name
from trainer_module.models.retrieval import Retrieval
from trainer_module.models.sequences import SequenceExamples, count_name, ids_name, step_name, weights_name
from trainer_module.models.two_tower import TwoTowerModel
from trainer_module.training.config import TrainingConfig

from .conftest import batch_of, described

LENGTH, NUM_USERS, NUM_ITEMS, DIM = 3, 40, 7, 4
TARGETS = Context(name=HISTORY_TARGETS, dtype="int64")
SPEC = FeatureSpec(
    columns=(
        Categorical(name="user", table="user", dtype="int64"),
        Categorical(name="item", table="item", dtype="int64"),
        Categorical(
            name=HISTORY,
            table="item",
            dtype="int64",
            multivalent=True,
            counted=False,
            max_sequence_length=LENGTH,
            latest_last=True,
        ),
        Numeric(name="age"),
        TARGETS,
        Label(name="label"),
    ),
    tables=(Table(name="user"), Table(name="item", frequencies=True)),
)
# Items have a brand and a price.
DESCRIBED = FeatureSpec(
    columns=(*SPEC.columns, Categorical(name="brand", table="brand", dtype="int64"), Numeric(name="price")),
    tables=(*SPEC.tables, Table(name="brand")),
)
# Rows have weights.
WEIGHTED = FeatureSpec(
    columns=(*SPEC.columns, ExampleWeight(name="plays"), HistoryWeights(name=HISTORY_WEIGHTS)), tables=SPEC.tables
)
ROWS = {"user": NUM_USERS, "item": NUM_ITEMS, "brand": 3, "tag": 5}
ONE_HOST = tf.distribute.InputContext()
RETRIEVAL = Retrieval("item", ("item",), np.array([9, 7, 5, 3, 2, 1, 0]), np.ones(NUM_ITEMS, np.int64))
SEED = tf.constant([1, 2])
TRANSFORMER = {"type": "transformer", "positions": "all", "dropout": 0.0}


def examples() -> list[dict]:
    """One row per user, half of them to be left out; the user's number is the row's."""
    random = np.random.default_rng(0)
    rows = []
    for user in range(NUM_USERS):
        history = random.integers(NUM_ITEMS, size=user % (LENGTH + 2)).tolist()
        known = min(len(history), LENGTH)
        full = min(known + 1, LENGTH) if user % 4 else 1
        rows.append(
            {
                "user": [user],
                "item": [int(random.integers(NUM_ITEMS))],
                HISTORY: history,
                "age": [user / NUM_USERS],
                HISTORY_TARGETS: [full if user % 2 == 0 else 0],
                "label": [1.0],
            }
        )
    return rows


@pytest.fixture(scope="module")
def model_inputs() -> ModelInputs:
    return ModelInputs(SPEC, dict)


@pytest.fixture(scope="module")
def reader(tmp_path_factory, model_inputs) -> ExampleReader:
    directory = tmp_path_factory.mktemp("sequences")
    for number, part in enumerate((examples()[:25], examples()[25:])):
        write_parquet(str(directory / f"{number}.parquet"), pa.Table.from_batches([batch_of(part, SPEC)]))
    return ExampleReader(SPEC, model_inputs, [str(directory / "*.parquet")])


def batches(examples, config: TrainingConfig, count: int, first_step: int = 0, host=ONE_HOST) -> list:
    return [features for features, _ in examples.training_batches(config, host, first_step).take(count)]


def users(features) -> list[int]:
    return features["user"].numpy()[:, 0].tolist()


def test_only_rows_with_targets_are_read(reader):
    chosen = reader.where(TARGETS)
    assert (reader.num_examples, chosen.num_examples) == (NUM_USERS, NUM_USERS // 2)
    for cache in ("features", "records", "none"):
        config = TrainingConfig(batch_size=5, cache=cache, shuffle_rows=7)
        epoch = batches(chosen, config, 4)
        assert sorted(user for each in epoch for user in users(each)) == list(range(0, NUM_USERS, 2))
        for each in epoch:
            for user, targets in zip(users(each), each[HISTORY_TARGETS].numpy(), strict=True):
                assert targets == examples()[user][HISTORY_TARGETS]
    assert HISTORY_TARGETS not in batches(reader, TrainingConfig(batch_size=5), 1)[0]


def test_records_are_chosen_as_columns_are(reader, model_inputs, tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "0.gz"), tf.io.TFRecordOptions("GZIP")) as writer:
        for record in serialized(batch_of(examples(), SPEC)):
            writer.write(record)
    chosen = ExampleReader(SPEC, model_inputs, [str(tmp_path / "*")]).where(TARGETS)
    assert chosen.num_examples == NUM_USERS // 2
    config = TrainingConfig(batch_size=20)
    assert users(*batches(chosen, config, 1)) == users(*batches(reader.where(TARGETS), config, 1))


def test_hosts_share_the_chosen_rows(reader):
    hosts = [tf.distribute.InputContext(2, host, 2) for host in range(2)]
    config = TrainingConfig(batch_size=4, cache="none")
    found = [
        user for host in hosts for each in batches(reader.where(TARGETS), config, 5, host=host) for user in users(each)
    ]
    assert sorted(found) == list(range(0, NUM_USERS, 2))


def test_no_row_with_targets_is_an_error(tmp_path, model_inputs):
    rows = [row | {HISTORY_TARGETS: [0]} for row in examples()]
    write_parquet(str(tmp_path / "0.parquet"), pa.Table.from_batches([batch_of(rows, SPEC)]))
    with pytest.raises(DataError, match=r"column 'history_targets' is 0 in all examples of"):
        ExampleReader(SPEC, model_inputs, [str(tmp_path / "*")]).where(TARGETS)


@pytest.mark.parametrize("cache", ["features", "records", "none"])
def test_an_interrupted_training_goes_on_with_the_same_rows(reader, cache):
    config = TrainingConfig(batch_size=6, cache=cache, shuffle_rows=7)
    chosen = SequenceExamples(reader.where(TARGETS), SPEC.categorical[2])
    whole, resumed = batches(chosen, config, 9), batches(chosen, config, 4, first_step=5)
    for expected, found in zip(whole[5:], resumed, strict=True):
        assert expected.keys() == found.keys()
        for name in ("user", "item", ids_name(HISTORY), HISTORY_TARGETS, length_name(HISTORY)):
            np.testing.assert_array_equal(expected[name], found[name])


def test_rows_beyond_the_memory_budget_are_the_same(reader, model_inputs):
    in_files = ExampleReader(SPEC, model_inputs, reader.files, TARGETS, Limits(0, 0))
    config, history = TrainingConfig(batch_size=6), SPEC.categorical[2]
    both = (batches(SequenceExamples(each, history), config, 5) for each in (reader.where(TARGETS), in_files))
    for expected, found in zip(*both, strict=True):
        for name in ("user", ids_name(HISTORY), HISTORY_TARGETS, length_name(HISTORY)):
            np.testing.assert_array_equal(expected[name], found[name])


def test_ids_and_length_are_those_of_the_latest_items(reader):
    (batch,) = batches(SequenceExamples(reader.where(TARGETS), SPEC.categorical[2]), TrainingConfig(batch_size=20), 1)
    for number, user in enumerate(users(batch)):
        latest = examples()[user][HISTORY][-LENGTH:]
        filled = latest + [-1] * (LENGTH - len(latest))
        assert batch[ids_name(HISTORY)][number].numpy().tolist() == filled
        assert batch[length_name(HISTORY)][number].numpy().tolist() == [len(latest)]
        assert tf.sparse.to_dense(batch[HISTORY], -1)[number].numpy().tolist()[: len(latest)] == latest
    assert batch[ids_name(HISTORY)].shape == (20, LENGTH)


def build(
    similarity: str = "cosine",
    numbers: int = 2,
    encoder: dict | None = None,
    spec: FeatureSpec = SPEC,
    retrieval: Retrieval = RETRIEVAL,
    **changes,
) -> TwoTowerModel:
    drawn = {} if changes.get("full_softmax") else {"mixed_negatives": numbers}
    config = TwoTowerConfig(query_encoder=encoder or TRANSFORMER, similarity=similarity, **drawn, **changes)
    facts = {"item_key": "item", "candidate_columns": retrieval.candidate_columns, "history": LENGTH}
    experiment = Experiment(
        dataset=described(spec, "retrieval", **facts),
        model=config,
        embeddings=EmbeddingsConfig(dim=DIM),
        training=TrainingConfig(batch_size=20),
    )
    experiment.check()
    blueprint = Blueprint(experiment, spec, ROWS, retrieval)
    model, _ = blueprint.for_training(tf.distribute.get_strategy(), 0.0)
    return model  # pyright: ignore[reportReturnType] (Keras declares __new__ as giving any Model)


@pytest.fixture(scope="module")
def catalog(model_inputs, tmp_path_factory) -> Catalog:
    directory = tmp_path_factory.mktemp("catalog")
    items = [{"item": [item]} for item in range(NUM_ITEMS)]
    write_parquet(str(directory / "0.parquet"), pa.Table.from_batches([batch_of(items, SPEC)]))
    return Catalog(SPEC, model_inputs, ("item",), [str(directory / "*")])


@pytest.fixture(scope="module")
def batch(reader, catalog) -> dict:
    """All chosen rows with two drawn items each."""
    chosen = SequenceExamples(reader.where(TARGETS), SPEC.categorical[2])
    (features,) = batches(MixedExamples(chosen, catalog, 2), TrainingConfig(batch_size=20), 1)
    return features


@pytest.mark.parametrize("in_batch", [True, False], ids=["mixed", "catalog"])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("log_q", [1.0, 0.5])
def test_the_loss_of_all_positions_is_that_of_one_query_per_target(batch, in_batch, similarity, log_q):
    """Step by step: each beginning of a history as a query of its own, each target against the shared negatives."""
    model = build(similarity, in_batch_negatives=in_batch, log_q=log_q, temperature=0.5)
    found = model.per_example_loss(batch, tf.ones([20]), SEED)
    table = model.embedding.trainable_tables["item"].numpy()

    def vectors(ids) -> np.ndarray:
        rows = table[np.asarray(ids)]
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True) if similarity == "cosine" else rows

    negatives = [batch[negative_name("item", number)].numpy()[:, 0] for number in (1, 2)]
    negatives = np.concatenate([batch["item"].numpy()[:, 0], *negatives] if in_batch else negatives)
    shares = log_q * RETRIEVAL.log_sampling_shares(2, in_batch)
    losses = []
    for number, user in enumerate(users(batch)):
        own, targets = examples()[user]["item"][0], examples()[user][HISTORY_TARGETS][0]
        known = examples()[user][HISTORY][-LENGTH:]
        items, of_row = [*known, own], 0.0
        for step in range(len(known) + 1 - targets, len(known) + 1):
            short = {name: values[number : number + 1] for name, values in batch.items() if name != HISTORY}
            short[HISTORY] = tf.sparse.from_dense(tf.constant([[item + 1 for item in items[:step]] + [0] * LENGTH]))
            short[HISTORY] = short[HISTORY].with_values(tf.cast(short[HISTORY].values - 1, tf.int64))
            short[length_name(HISTORY)] = tf.constant([[step]], tf.int64)
            query = model(short)["query"].numpy()[0]
            others = negatives[negatives != items[step]]
            logits = vectors([items[step], *others]) @ query / 0.5 - shares[[items[step], *others]]
            of_row += np.log(np.exp(logits).sum()) - logits[0]
        losses.append(of_row)
    count = sum(examples()[user][HISTORY_TARGETS][0] for user in users(batch))
    np.testing.assert_allclose(found, np.array(losses) * 20 / count, rtol=1e-4)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_the_full_softmax_of_all_positions_finds_each_target_among_all_items(reader, catalog, similarity):
    size, temperature = 5, 0.5
    # The second copy of the catalog's columns holds its last two items, then fills up with the first ones.
    copies = -(-NUM_ITEMS // size)
    chosen = SequenceExamples(reader.where(TARGETS), SPEC.categorical[2])
    examples_with_items = MixedExamples(chosen, catalog, copies, whole=True)
    retrieval = replace(RETRIEVAL, copies=copies)
    model = build(similarity, retrieval=retrieval, full_softmax=True, temperature=temperature)
    for batch in batches(examples_with_items, TrainingConfig(batch_size=size), 4):
        found = model.per_example_loss(batch, tf.ones([size]), SEED)
        table = model.embedding.trainable_tables["item"].numpy()
        items = table / np.linalg.norm(table, axis=1, keepdims=True) if similarity == "cosine" else table
        queries = model._queries_of_steps(model._own(model._look_up(batch)), batch, SEED).numpy()
        scores = queries.reshape(size, -1, DIM) @ items[:NUM_ITEMS].T / temperature
        expected = np.zeros(size)
        for number, user in enumerate(users(batch)):
            targets = [*examples()[user][HISTORY][-LENGTH:], examples()[user]["item"][0]]
            for step in range(len(targets) - examples()[user][HISTORY_TARGETS][0], len(targets)):
                of_step = scores[number, step]
                expected[number] += np.logaddexp.reduce(of_step) - of_step[targets[step]]
        count = batch[HISTORY_TARGETS].numpy().sum()
        np.testing.assert_allclose(found, expected * size / count, rtol=1e-4)


def test_the_items_of_a_history_have_their_attributes(reader, tmp_path):
    """The rows have other brands and prices than their items in the catalog, to tell the two apart."""
    model_inputs = ModelInputs(DESCRIBED, dict)
    for name, rows in (
        ("rows", [row | {"brand": [0], "price": [0.9]} for row in examples()]),
        ("items", [{"item": [item], "brand": [item % 3], "price": [item / 10]} for item in range(NUM_ITEMS)]),
    ):
        write_parquet(str(tmp_path / f"{name}.parquet"), pa.Table.from_batches([batch_of(rows, DESCRIBED)]))
    columns = ("item", "brand", "price")
    catalog = Catalog(DESCRIBED, model_inputs, columns, [str(tmp_path / "items.parquet")])
    by_id = {name: catalog.by_id(name, "item", NUM_ITEMS) for name in ("brand", "price")}
    chosen = ExampleReader(DESCRIBED, model_inputs, [str(tmp_path / "rows.parquet")]).where(TARGETS)
    sequences = MixedExamples(SequenceExamples(chosen, DESCRIBED.categorical[2], by_id), catalog, 2)
    (batch,) = batches(sequences, TrainingConfig(batch_size=20), 1)
    retrieval = replace(RETRIEVAL, candidate_columns=columns)
    model = build("dot", spec=DESCRIBED, retrieval=retrieval, in_batch_negatives=False, temperature=1.0)
    model._candidate_tower._numbers.kernel.assign([[0.1, -0.2, 0.3, 0.05]])
    found = model.per_example_loss(batch, tf.ones([20]), SEED)
    tables = {name: table.numpy() for name, table in model.embedding.trainable_tables.items()}

    def vectors(items, brands=None, prices=None) -> np.ndarray:
        items = np.asarray(items)
        brands, prices = items % 3 if brands is None else brands, items / 10 if prices is None else prices
        return tables["item"][items] + tables["brand"][brands] + np.outer(prices, [0.1, -0.2, 0.3, 0.05])

    negatives = np.concatenate([batch[negative_name("item", number)].numpy()[:, 0] for number in (1, 2)])
    lengths, count = batch[length_name(HISTORY)][:, 0], 0
    queries = model._queries_of_steps(model._own(model._look_up(batch)), batch, SEED).numpy().reshape(20, -1, DIM)
    for number, user in enumerate(users(batch)):
        known, own = examples()[user][HISTORY][-LENGTH:], examples()[user]["item"][0]
        of_row = 0.0
        for step in range(len(known) + 1 - examples()[user][HISTORY_TARGETS][0], len(known) + 1):
            item = own if step == lengths[number] else known[step]
            target = vectors([item], [0], [0.9]) if step == lengths[number] else vectors([item])
            logits = np.concatenate([target, vectors(negatives[negatives != item])]) @ queries[number, step]
            of_row += np.log(np.exp(logits).sum()) - logits[0]
            count += 1
        np.testing.assert_allclose(found[number] * sum(batch[HISTORY_TARGETS].numpy())[0] / 20, of_row, rtol=1e-3)
    assert count == batch[HISTORY_TARGETS].numpy().sum()
    # Outside training, no batch has attributes of the history.
    short = {name: value for name, value in batch.items() if "negative" not in name and "of_history" not in name}
    np.testing.assert_allclose(model(short)["candidate"], model(batch)["candidate"], rtol=1e-6)


def weight_of(item: int, step: int) -> float:
    return 0.25 * (item + step)


def weighted_examples() -> list[dict]:
    """The examples with a weight for each item of the history and for the row's own."""
    rows = []
    for row in examples():
        items = [*row[HISTORY], *row["item"]]
        *of_history, own = [weight_of(item, step) for step, item in enumerate(items)]
        rows.append(row | {"plays": [own], HISTORY_WEIGHTS: of_history})
    return rows


@pytest.fixture(scope="module")
def weighted_reader(tmp_path_factory) -> ExampleReader:
    file = tmp_path_factory.mktemp("weighted") / "0.parquet"
    write_parquet(str(file), pa.Table.from_batches([batch_of(weighted_examples(), WEIGHTED)]))
    return ExampleReader(WEIGHTED, ModelInputs(WEIGHTED, dict), [str(file)])


@pytest.mark.parametrize("cache", ["features", "none"])
def test_the_weights_of_a_history_are_those_of_its_latest_rows(weighted_reader, cache):
    chosen = weighted_reader.where(TARGETS, history_weights=True)
    sequences = SequenceExamples(chosen, WEIGHTED.categorical[2], weights=WEIGHTED.history_weights)
    config = TrainingConfig(batch_size=5, cache=cache)
    whole, resumed = batches(sequences, config, 4), batches(sequences, config, 2, first_step=2)
    for batch in whole:
        assert HISTORY_WEIGHTS not in batch
        for number, user in enumerate(users(batch)):
            latest = weighted_examples()[user][HISTORY_WEIGHTS][-LENGTH:]
            filled = latest + [0.0] * (LENGTH - len(latest))
            np.testing.assert_allclose(batch[weights_name(HISTORY)][number], filled)
    for expected, found in zip(whole[2:], resumed, strict=True):
        np.testing.assert_array_equal(expected[weights_name(HISTORY)], found[weights_name(HISTORY)])
    assert HISTORY_WEIGHTS not in batches(weighted_reader, config, 1)[0]


@pytest.mark.parametrize("loss", ["softmax", "gbce", "contrastive"])
def test_a_step_has_the_weight_of_the_row_whose_item_it_predicts(weighted_reader, catalog, loss):
    """The weighted loss of each row against unweighted losses of each of its steps."""
    chosen = weighted_reader.where(TARGETS, history_weights=True)
    sequences = SequenceExamples(chosen, WEIGHTED.categorical[2], weights=WEIGHTED.history_weights)
    (batch,) = batches(MixedExamples(sequences, catalog, 2), TrainingConfig(batch_size=20), 1)
    model = build(spec=WEIGHTED, in_batch_negatives=False, loss={"type": loss})
    unweighted = build(in_batch_negatives=False, loss={"type": loss})
    unweighted.set_weights(model.get_weights())
    found = model.per_example_loss(batch, tf.ones([20]), SEED).numpy()
    num_targets, expected = batch[HISTORY_TARGETS].numpy()[:, 0], np.zeros(20)
    for target in range(LENGTH + 1):
        # One step of each row that has so many, counted from the last one.
        of_one = {HISTORY_TARGETS: tf.constant(np.where(num_targets > target, target + 1, 0)[:, np.newaxis])}
        before = {HISTORY_TARGETS: tf.constant(np.where(num_targets > target, target, 0)[:, np.newaxis])}
        sums = []
        for changed in (of_one, before):
            trained = int(changed[HISTORY_TARGETS].numpy().sum())
            of_rows = unweighted.per_example_loss(batch | changed, tf.ones([20]), SEED).numpy() if trained else 0.0
            sums.append(of_rows * trained / 20)
        of_step = sums[0] - sums[1]
        for number, user in enumerate(users(batch)):
            row = weighted_examples()[user]
            weights = [*row["plays"], *row[HISTORY_WEIGHTS][::-1]]
            expected[number] += of_step[number] * weights[target] if num_targets[number] > target else 0.0
    np.testing.assert_allclose(found, expected * 20 / num_targets.sum(), rtol=1e-3, atol=1e-6)


TAGS_OF_ITEM = [[], [0], [1, 2], [2, 2, 4], [3], [0, 1, 2, 3], [4]]


@pytest.mark.parametrize("length", [0, 2], ids=["bag", "sequence"])
@pytest.mark.parametrize("combiner", ["mean", "sum", "sqrtn"])
def test_items_of_a_history_have_all_their_tokens(tmp_path, combiner, length):
    """A target of the history has the vector that its item has as a candidate."""
    tags = Categorical(name="tags", table="tag", dtype="int64", multivalent=True, max_sequence_length=length)
    spec = FeatureSpec(columns=(*SPEC.columns, tags), tables=(*SPEC.tables, Table(name="tag", combiner=combiner)))
    model_inputs = ModelInputs(spec, dict)
    rows = [row | {"tags": TAGS_OF_ITEM[row["item"][0]]} for row in examples()]
    items = [{"item": [item], "tags": of_item} for item, of_item in enumerate(TAGS_OF_ITEM)]
    for name, part in (("rows", rows), ("items", items)):
        write_parquet(str(tmp_path / f"{name}.parquet"), pa.Table.from_batches([batch_of(part, spec)]))
    catalog = Catalog(spec, model_inputs, ("item", "tags"), [str(tmp_path / "items.parquet")])
    by_id = {"tags": catalog.by_id("tags", "item", NUM_ITEMS)[:, : length or None]}
    reader = ExampleReader(spec, model_inputs, [str(tmp_path / "rows.parquet")]).where(TARGETS)
    sequences = SequenceExamples(reader, spec.categorical[2], by_id)
    width = length or 4
    assert sequences.tokens_per_item == {"tags": width}
    (batch,) = batches(MixedExamples(sequences, catalog, 2), TrainingConfig(batch_size=20), 1)
    assert batch[step_name("tags")].shape == (20, LENGTH * width)
    assert batch[count_name("tags")].shape == (20, LENGTH)
    retrieval = replace(RETRIEVAL, candidate_columns=("item", "tags"), tokens_per_item=sequences.tokens_per_item)
    model = build("dot", spec=spec, retrieval=retrieval, in_batch_negatives=False)
    model.embedding.trainable_tables["tag"].assign(np.random.default_rng(0).normal(size=[5, DIM]))
    steps = model._steps(model._look_up(batch), batch)
    vectors = model._candidate_tower(steps.rows, steps.numbers, None).numpy()
    tables = {name: table.numpy() for name, table in model.embedding.trainable_tables.items()}
    scale = {"mean": len, "sum": lambda tokens: 1, "sqrtn": lambda tokens: np.sqrt(len(tokens))}
    for vector, item, is_trained in zip(vectors, steps.target_ids.numpy(), steps.is_trained.numpy(), strict=True):
        tokens = TAGS_OF_ITEM[item][: length or None]
        divisor = len(tokens) if length else scale[combiner](tokens)
        of_tags = tables["tag"][tokens].sum(axis=0) / divisor if tokens else 0.0
        if is_trained:
            np.testing.assert_allclose(vector, tables["item"][item] + of_tags, rtol=1e-5, atol=1e-6)
    assert np.all(np.isfinite(model.per_example_loss(batch, tf.ones([20]), SEED)))
    # Outside training, no batch has attributes of the history.
    short = {name: value for name, value in batch.items() if "negative" not in name and "of_history" not in name}
    np.testing.assert_allclose(model(short)["candidate"], model(batch)["candidate"], rtol=1e-6)


def test_last_positions_alone_against_the_catalog_by_hand(batch):
    model = build("dot", in_batch_negatives=False, encoder={"type": "recency"}, temperature=1.0)
    loss = model.per_example_loss(batch, tf.ones([20]), SEED)
    answers, table = model(batch), model.embedding.trainable_tables["item"].numpy()
    negatives = np.concatenate([batch[negative_name("item", number)].numpy()[:, 0] for number in (1, 2)])
    for number in range(20):
        own = int(batch["item"][number, 0])
        others = negatives[negatives != own]
        logits = table[[own, *others]] @ answers["query"].numpy()[number]
        np.testing.assert_allclose(loss[number], np.log(np.exp(logits).sum()) - logits[0], rtol=1e-4)


def test_vectors_keep_their_length_under_dot(batch):
    for similarity, is_unit in (("cosine", True), ("dot", False)):
        norms = np.linalg.norm(build(similarity)(batch)["query"], axis=1)
        assert np.allclose(norms, 1, rtol=1e-5) == is_unit


def test_scores_learn_what_the_correction_leaves_out():
    """Evaluation takes candidates by frequency. Without the correction, scores hold the log of an item's frequency less
    than its probability, so evaluation must not subtract it once more."""
    uncorrected, corrected = build(numbers=0, log_q=0.0), build(numbers=0)
    np.testing.assert_allclose(uncorrected._log_shares_in_evaluation, np.zeros(NUM_ITEMS), atol=1e-6)
    np.testing.assert_array_equal(corrected._log_shares_in_evaluation, RETRIEVAL.log_frequencies)


def check(config: dict, spec: FeatureSpec = SPEC, heads: int = 2, **facts) -> None:
    encoder = {"type": "transformer", "positions": "all", "heads": heads} | config
    known = {"item_key": "item", "candidate_columns": ("item", "brand"), "history": LENGTH} | facts
    TwoTowerConfig(query_encoder=encoder).check(described(spec, "retrieval", **known), spec, dict.fromkeys(ROWS, DIM))


def with_columns(*columns) -> FeatureSpec:
    return FeatureSpec(columns=(*SPEC.columns, *columns), tables=SPEC.tables)


def test_what_all_positions_cannot_know_is_refused():
    check({})
    check({}, with_columns(Categorical(name="brand", table="user", dtype="int64")))
    brands = Categorical(name="brand", table="user", dtype="int64", multivalent=True)
    check({}, with_columns(brands))
    check({}, with_columns(ExampleWeight(name="plays"), HistoryWeights(name=HISTORY_WEIGHTS)))
    ragged = [c.model_copy(update={"layout": "ragged"}) if c.name == HISTORY else c for c in SPEC.columns]
    ragged += [brands.model_copy(update={"layout": "ragged"})]
    with pytest.raises(ConfigError, match=r"which ragged ids do not have. Leave the layout of features out"):
        check({}, FeatureSpec(columns=tuple(ragged), tables=SPEC.tables))
    shares = (brands.model_copy(update={"weights": "shares"}), Weights(name="shares"))
    with pytest.raises(ConfigError, match=r"adds the tokens of brand up without their weights"):
        check({}, with_columns(*shares))
    with pytest.raises(ConfigError, match=r"but age describe a row's own item"):
        check({}, event_columns=("age",))


def test_a_history_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match=r"3 heads do not divide the rows' width 4"):
        check({}, heads=3)
    with pytest.raises(ConfigError, match=r"max_sequence_length is 3, but data.history is 50"):
        check({}, history=50)
    with pytest.raises(ConfigError, match=r"reads the column history, and there is none"):
        check({}, SPEC.without([HISTORY]))
    with pytest.raises(ValueError, match=r"in_batch_negatives: false leaves no negatives"):
        TwoTowerConfig(in_batch_negatives=False)


def test_the_history_becomes_a_sequence_of_its_length():
    bag = SPEC.categorical[2].model_copy(update={"max_sequence_length": 0})
    spec = FeatureSpec(columns=(*(c for c in SPEC.columns if c.name != HISTORY), bag), tables=SPEC.tables)
    dataset = described(spec, "retrieval", history=50)
    for encoder, length in (({"type": "transformer"}, 50), ({"type": "mean"}, 0)):
        adapted = TwoTowerConfig(query_encoder=encoder).adapted(dataset, spec)
        assert [c.max_sequence_length for c in adapted.categorical if c.name == HISTORY] == [length]
