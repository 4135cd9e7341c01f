"""Export routes on a small model whose tables hold random numbers, as good as trained ones for this purpose."""

import math
import sys

import numpy as np
import pytest
import tensorflow as tf

from components.pusher.verify import verify
from trainer_module.blueprint import Blueprint
from trainer_module.data.inputs import ExampleReader
from trainer_module.embeddings.config import EmbeddingsConfig, FeatureOverride
from trainer_module.embeddings.layer import embedding_layer, feature_configs
from trainer_module.errors import ConfigError, ModelError
from trainer_module.export import parity, restore, routes, sample
from trainer_module.export.config import ExportConfig
from trainer_module.export.quantization import quantize
from trainer_module.export.routes import Trained, export, export_quantized
from trainer_module.export.serving import tables_of
from trainer_module.models.config import MultiTaskConfig, RatingModelConfig, TaskHead
from trainer_module.models.goals import Goal, Goals
from trainer_module.models.objectives import Rating
from trainer_module.training.config import TrainingConfig

from .conftest import batch_of, rows, sample_rows, serialize

MODEL, TRAINING = RatingModelConfig(mlp=(4,)), TrainingConfig()
# The user table has more rows than the threshold, the others have fewer.
EMBEDDINGS = EmbeddingsConfig(
    dim=2, initializer={"name": "uniform", "limit": 1.0}, placement="partial", size_threshold=15
)


@pytest.fixture(scope="module")
def blueprint(world):
    return world.blueprint(MODEL, TRAINING, EMBEDDINGS)


@pytest.fixture(scope="module")
def one_batch(world):
    return world.reader().features(batch_of(rows()[:2]))


@pytest.fixture(scope="module", params=["default", "mirrored"])
def trained(request, blueprint, one_batch, tmp_path_factory) -> Trained:
    """A model with optimizer slots, and a checkpoint that holds both."""
    default = tf.distribute.get_strategy()
    strategy = default if request.param == "default" else tf.distribute.MirroredStrategy(["/CPU:0"])
    model, optimizer = blueprint.for_training(strategy, 2.5)
    strategy.run(tf.function(model), args=(one_batch,))
    with strategy.scope():
        optimizer.make_slots(model.trainable_variables, model.embedding.trainable_tables)
    model.shrink(0.5)
    directory = tmp_path_factory.mktemp("checkpoint")
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer).write(str(directory / "trained"))
    return Trained(checkpoint, model, strategy)


def tables(layer) -> dict[str, np.ndarray]:
    return {config.name: table.numpy() for config, table in layer.embedding_tables.items()}


@pytest.mark.parametrize(
    "config",
    [
        ExportConfig(route="checkpoint"),
        ExportConfig(route="direct"),
        ExportConfig(route="subset", features=("tags", "user")),
    ],
    ids=lambda config: config.route,
)
def test_every_route_answers_as_the_training_model(config, world, blueprint, trained, one_batch, tmp_path, monkeypatch):
    sample_dir, model_dir = str(tmp_path / "parity"), str(tmp_path / "model")
    chosen = sample_rows(world)
    sample_file = parity.save_sample(sample_dir, world.spec, chosen)
    reader = ExampleReader(world.spec, world.model_inputs, [sample_file])

    def predict(reader, count):
        features = reader.features(reader.head(count))
        return trained.strategy.run(tf.function(trained.model), args=(features,)).numpy()

    answers = routes.expected_answers(config, blueprint, trained.model, predict, reader)
    parity.save_expected(sample_dir, answers, "float32", [row.kind for row in chosen])
    report = export(config, blueprint, trained, world.model_inputs, one_batch, model_dir)
    for name in ("tensorflow_recommenders", "tfx"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    proof = verify(model_dir, sample_dir)
    assert proof["batch_sizes"] == [0, 1, len(chosen)]
    assert proof["largest_difference"] < 1e-5
    assert report.route == config.route

    exported = tf.saved_model.load(model_dir)
    wanted = {"tags", "user"} if config.route == "subset" else {"user", "item", "tags"}
    of_training = tables(trained.model.embedding)
    assert set(exported.tables) == wanted
    for name, table in exported.tables.items():
        np.testing.assert_array_equal(table, of_training[name])
    assert report.table_bytes == sum(of_training[name].nbytes for name in wanted)
    # Head: 4 rows of 1 and a bias, 6 dot products, 1 number; the linear term takes no dot products. Then three scalars.
    dense = 0 if config.route == "subset" else (11 * 4 + 4) + (4 + 1) + 5 + 3
    assert sum(math.prod(variable.shape) for variable in exported.dense) == dense


@pytest.mark.parametrize(
    "config",
    [
        ExportConfig(quantize="int8"),
        ExportConfig(route="subset", features=("tags", "user"), quantize="int8"),
    ],
    ids=lambda config: config.route,
)
def test_a_quantized_export_answers_as_the_model_with_rounded_tables(
    config, world, blueprint, trained, tmp_path, monkeypatch
):
    sample_dir, model_dir, float32_dir = (str(tmp_path / name) for name in ("parity", "model", "float32"))
    chosen = sample_rows(world)
    reader = ExampleReader(world.spec, world.model_inputs, [parity.save_sample(sample_dir, world.spec, chosen)])
    inputs = reader.features(reader.head(reader.num_examples))

    def predict(reader, count):
        return trained.strategy.run(tf.function(trained.model), args=(inputs,)).numpy()

    expected = routes.expected_answers(config, blueprint, trained.model, predict, reader)
    before = tables(trained.model.embedding)

    def quantized(expected) -> routes.QuantizedExport:
        tolerance = parity.TOLERANCE["float32"]
        return export_quantized(
            config, blueprint, trained, world.model_inputs, reader, expected, tolerance, model_dir, float32_dir
        )

    done = quantized(expected)
    parity.save_expected(sample_dir, done.answers, "float32", [row.kind for row in chosen])
    for name in ("tensorflow_recommenders", "tfx"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert verify(model_dir, sample_dir)["largest_difference"] < 1e-5

    exported, in_float32 = tf.saved_model.load(model_dir), tf.saved_model.load(float32_dir)
    rounded = {name: quantize(table.numpy()) for name, table in in_float32.tables.items()}
    assert {name: table.rows.dtype for name, table in exported.tables.items()} == dict.fromkeys(rounded, tf.int8)
    for name, (of_table, scales) in rounded.items():
        np.testing.assert_array_equal(exported.tables[name].rows, of_table)
        np.testing.assert_array_equal(exported.tables[name].scales, scales)
        np.testing.assert_array_equal(in_float32.tables[name], before[name])
    if config.route == "subset":
        # Each row differs by half a scale at most, and the longest bag of the sample sums 100 of them.
        for name, num_rows in (("user", 1), ("tags", 100)):
            assert done.largest_change[f"embed/{name}"] <= num_rows * rounded[name][1].max() * 0.501
    assert {name.partition("/")[0] for name in done.largest_change} == set(expected)
    assert all(change > 0 for change in done.largest_change.values())
    # The training model goes on with what it learned, and so does whoever starts from its checkpoint.
    for name, table in tables(trained.model.embedding).items():
        np.testing.assert_array_equal(table, before[name])
        key = f"model/embedding/_tpu_embedding/{name}/.ATTRIBUTES/VARIABLE_VALUE"
        np.testing.assert_array_equal(tf.train.load_variable(trained.checkpoint, key), before[name])

    assert (done.report.route, done.report.quantize) == (config.route.replace("auto", "checkpoint"), "int8")
    assert done.report.table_bytes == sum(before[name].nbytes for name in rounded)
    assert done.report.quantized_bytes == sum(values.nbytes + of.nbytes for values, of in rounded.values())
    wrong = {name: {output: values + 1 for output, values in of.items()} for name, of in expected.items()}
    with pytest.raises(ModelError, match=r"the float32 copy of the model differs from the training model: .* row 0 of"):
        quantized(wrong)


def test_int8_tables_make_the_saved_model_smaller(world, tmp_path):
    embeddings = EmbeddingsConfig(dim=1024)
    blueprint = world.blueprint(MODEL, TRAINING, embeddings)
    layer = embedding_layer(feature_configs(blueprint.spec, blueprint.rows, embeddings), blueprint.spec, embeddings)
    layer.build({})
    prefix = tf.train.Checkpoint(model=tf.train.Checkpoint(embedding=layer)).write(str(tmp_path / "checkpoint"))
    reports = {
        kind: export(
            ExportConfig(route="subset", features=("user", "item"), quantize=kind),
            blueprint,
            Trained(prefix),
            world.model_inputs,
            {},
            str(tmp_path / str(kind)),
        )
        for kind in (None, "int8")
    }
    saved = {kind: report.saved_bytes for kind, report in reports.items()}
    float32_bytes, int8_bytes = reports["int8"].table_bytes, reports["int8"].quantized_bytes
    num_rows = blueprint.rows["user"] + blueprint.rows["item"]
    assert (float32_bytes, int8_bytes) == (num_rows * 1024 * 4, num_rows * (1024 + 4))
    assert reports[None].quantized_bytes == 0 and reports[None].forecast_bytes >= float32_bytes
    # The graph of the lookup takes a few thousand bytes.
    assert 0.7 * (float32_bytes - int8_bytes) < saved[None] - saved["int8"] < float32_bytes - int8_bytes


@pytest.mark.parametrize("route", ["checkpoint", "direct"])
def test_a_model_of_several_goals_is_exported_with_its_heads_and_score(route, world, one_batch, tmp_path):
    config = MultiTaskConfig(heads=(TaskHead(label="rating"),), mixing="ple", tower=(4,))
    experiment = world.blueprint(MODEL, TRAINING, EMBEDDINGS).experiment.model_copy(update={"model": config})
    goals = Goals((Goal("rating", 0, Rating((1.0, 4.0)), 0.0, score_weight=0.5, mean=2.5),))
    blueprint = Blueprint(experiment, world.spec, world.blueprint(MODEL, TRAINING, EMBEDDINGS).rows, goals)
    model, optimizer = blueprint.for_training(tf.distribute.get_strategy(), 2.5)
    expected = {name: values.numpy() for name, values in model(one_batch).items()}
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer).write(str(tmp_path / "trained"))
    trained = Trained(checkpoint, model, tf.distribute.get_strategy())
    export(ExportConfig(route=route), blueprint, trained, world.model_inputs, one_batch, str(tmp_path / "model"))
    served = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    answers = served(tf.constant([serialize(row) for row in rows()[:2]]))
    assert set(answers) == set(expected) == {"rating", "score"}
    for name, values in answers.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5)
    np.testing.assert_allclose(answers["score"], answers["rating"] / 2)


def test_the_copy_is_the_training_model_by_value(blueprint, trained, one_batch):
    copy = blueprint.for_serving()
    restore.restore_copy(copy, trained.checkpoint, one_batch)
    for name, table in tables(copy.embedding).items():
        np.testing.assert_array_equal(table, tables(trained.model.embedding)[name])
    others, originals = (routes._other_variables(model) for model in (copy, trained.model))
    # Two layers with bias, one without; intercept, scale and shrinkage.
    assert len(others) == 2 * 2 + 1 + 3
    for restored, original in zip(others, originals, strict=True):
        np.testing.assert_array_equal(restored, original)


def test_tables_are_made_from_the_checkpoint_and_never_initialized(blueprint, trained, one_batch, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a table was initialized, so it is in memory before its value is")

    monkeypatch.setattr("trainer_module.embeddings.layer._not_a_number", refuse)
    restore.restore_copy(blueprint.for_serving(), trained.checkpoint, one_batch)


def test_tensorflow_alone_restores_nothing_without_a_word(blueprint, trained, one_batch):
    """The failure that the next tests are about: a renamed attribute, an optimizer left behind, no error."""
    copy = blueprint.for_training(tf.distribute.get_strategy(), 0.0)[0]
    status = tf.train.Checkpoint(network=copy).read(trained.checkpoint)
    copy(one_batch)
    initial = copy.get_weights()
    status.expect_partial()
    assert np.isfinite(copy(one_batch)).all()
    for before, after in zip(initial, copy.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_table_that_the_checkpoint_does_not_reach_is_refused_by_name(blueprint, trained, one_batch, tmp_path):
    root = tf.train.Checkpoint(model=tf.train.Checkpoint(lookups=trained.model.embedding, _head=trained.model._head))
    renamed = root.write(str(tmp_path / "renamed"))
    with pytest.raises(ModelError, match=r"row 0 of embedding table '.*' has no finite value.*no embedding table"):
        restore.restore_copy(blueprint.for_serving(), renamed, one_batch)


def test_a_dense_variable_that_the_checkpoint_does_not_reach_is_refused_by_name(
    blueprint, trained, one_batch, tmp_path
):
    root = tf.train.Checkpoint(model=tf.train.Checkpoint(embedding=trained.model.embedding, top=trained.model._head))
    renamed = root.write(str(tmp_path / "renamed"))
    with pytest.raises(ModelError, match=r"variable .*kernel:0 \(\d+, \d+\) is not in the checkpoint"):
        restore.restore_copy(blueprint.for_serving(), renamed, one_batch)


def test_values_that_are_not_the_checkpoints_are_refused(blueprint, trained, one_batch):
    copy = blueprint.for_serving()
    root = tf.train.Checkpoint(model=copy)
    restore.restore_copy(copy, trained.checkpoint, one_batch)
    others = [variable for variable in copy.variables if "kernel" in variable.name]
    others[0].assign_add(tf.ones_like(others[0]))
    with pytest.raises(ModelError, match=f"variable {others[0].name} differs from its value model/_head/"):
        restore.prove_others(copy, root, trained.checkpoint)


def test_a_subset_whose_table_is_missing_is_refused_by_name(blueprint, trained, tmp_path):
    checkpoint = tf.train.Checkpoint(model=tf.train.Checkpoint(embedding=blueprint.embedding_for_serving(["user"])))
    checkpoint.model.embedding.embedding_tables  # noqa: B018 (makes the table)
    prefix = checkpoint.write(str(tmp_path / "users"))
    with pytest.raises(ModelError, match=r"embedding table 'item'.*it holds model/embedding/_tpu_embedding/user"):
        restore.restore_tables(blueprint.embedding_for_serving(["item"]), prefix)


def test_sequences_are_cut_and_filled_up_in_a_subset(world, tmp_path):
    features = {"tags": FeatureOverride(max_sequence_length=3)}
    embeddings = EMBEDDINGS.model_copy(update={"features": features})
    blueprint = world.blueprint(MODEL, TRAINING, embeddings)
    layer = embedding_layer(feature_configs(blueprint.spec, blueprint.rows, embeddings), blueprint.spec, embeddings)
    layer.build({})
    root = tf.train.Checkpoint(model=tf.train.Checkpoint(embedding=layer))
    table = tables(layer)["tags"]
    prefix = root.write(str(tmp_path / "checkpoint"))
    routes.subset(("tags",), blueprint, prefix).save(world.model_inputs, str(tmp_path / "model"))
    embed = tf.saved_model.load(str(tmp_path / "model")).signatures["embed"]
    (answer,) = embed(tags=tf.constant([["a", "b", "c", "a"], ["c", "", "", ""]])).values()
    ids = {tag: int(world.transform_output.vocabulary_by_name("tags").index(tag.encode())) for tag in "abc"}
    zero = np.zeros(2)
    expected = [[table[ids[tag]] for tag in "abc"], [table[ids["c"]], zero, zero]]
    np.testing.assert_array_equal(answer, expected)
    assert embed(tags=tf.constant([], tf.string, shape=[0, 1]))["tags"].shape == (0, 3, 2)


def test_without_a_training_model_nothing_is_exported_directly(world, blueprint, trained, one_batch, tmp_path):
    with pytest.raises(ModelError, match="does not live in this process; take checkpoint"):
        export(ExportConfig(route="direct"), blueprint, Trained(trained.checkpoint), world.model_inputs, one_batch, "")


def test_stacked_tables_are_refused_by_name(blueprint):
    layer = tf.Module()
    layer._tpu_embedding = tf.Module()
    layer._tpu_embedding.user_item_tags = tf.Variable(0.0)
    with pytest.raises(ModelError, match=r"\['item', 'tags', 'user'\].*\['user_item_tags'\].*export\.route to check"):
        tables_of(layer, blueprint.spec.inputs)


def test_an_unknown_feature_of_a_subset_is_refused(blueprint):
    with pytest.raises(ConfigError, match="no categorical column year; known: user, item, tags, main_tag"):
        routes.make_forecast(ExportConfig(route="subset", features=("year",)), blueprint)


def test_edge_cases_keep_everything_but_what_they_change(world):
    row = next(row for row in rows() if len(row["tags"]) == 2 and row["year"])
    changed = sample.edge_cases(world.spec, [serialize(row)])

    def values(kind: str, column: str) -> list:
        (example,) = changed[kind]
        feature = tf.train.Example.FromString(example).features.feature[column]
        return list(feature.float_list.value or feature.bytes_list.value)

    unknown = b"a token that no vocabulary holds"
    assert values("unknown tokens", "user") == [unknown]
    assert values("unknown tokens", "tags") == [unknown] * 2
    assert values("unknown tokens", "year") == row["year"]
    assert values("nothing but keys", "user") == row["user"]
    assert values("nothing but keys", "tags") == values("nothing but keys", "year") == []
    assert values("over-long lists", "tags") == row["tags"] * 50
    assert values("over-long lists", "main_tag") == row["main_tag"]
    assert all(values(kind, "rating") == row["rating"] for kind in changed)


def test_the_sample_holds_rows_of_every_kind_that_the_data_knows(world):
    chosen = {row.kind: tf.train.Example.FromString(row.example).features.feature for row in sample_rows(world)}
    spellings = ("missing", "an empty text", "spaces alone", "spaces around the rarest token")
    tokens = (*spellings, "the rarest token", "an unknown token")
    lists = ("a list with missing values", "a list of missing values", "most values", "no value")
    numbers = ("missing", "NaN", "zero", "no value", "smallest number", "largest number")
    bounds = ("smallest number that its type holds", "largest number that its type holds")
    expected = {f"{name}: {kind}" for name in ("user", "item", "tags", "main_tag") for kind in tokens}
    expected |= {f"tags: {kind}" for kind in lists} | {f"year: {kind}" for kind in (*numbers, *bounds)}
    edges = {"unknown tokens", "nothing but keys", "over-long lists"}
    assert set(chosen) == expected | edges | {"an ordinary row"}
    assert [list(chosen[f"year: {end} number"]["year"].float_list.value) for end in ("smallest", "largest")] == [
        [min(row["year"][0] for row in rows() if row["year"])],
        [max(row["year"][0] for row in rows() if row["year"])],
    ]
    assert len(chosen["tags: most values"]["tags"].bytes_list.value) == 2
    rarest = world.transform_output.vocabulary_by_name("item")[-1]
    assert list(chosen["item: the rarest token"]["item"].bytes_list.value) == [rarest]
    assert list(chosen["item: spaces alone"]["item"].bytes_list.value) == [" \t\u00a0\u3000 ".encode()]
