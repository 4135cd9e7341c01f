"""Ranking models against arithmetic by hand: two tables of width 2, one number."""

import math
from importlib import metadata

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_module.data.features import Categorical, ExampleWeight, FeatureSpec, Label, Numeric, Table
from trainer_module.embeddings.config import EmbeddingsConfig
from trainer_module.embeddings.layer import embedding_layer, feature_configs
from trainer_module.errors import ConfigError
from trainer_module.models.config import (
    MODELS,
    DcnConfig,
    DlrmConfig,
    FinalMlpConfig,
    MultiTaskConfig,
    RankingConfig,
    RatingModelConfig,
    TaskHead,
    WideDeepConfig,
)
from trainer_module.models.layers import DenseOptions
from trainer_module.models.objectives import Click, Rating
from trainer_module.models.parts import ModelParts
from trainer_module.models.ranking import RankingModel

from .conftest import described

SPEC = FeatureSpec(
    columns=(
        Categorical(name="ad", table="ad"),
        Categorical(name="page", table="page"),
        Numeric(name="age"),
        Label(name="click"),
    ),
    tables=(Table(name="ad"), Table(name="page")),
)
ROWS = {"ad": 3, "page": 2}
SEED = tf.constant([1, 2])
# Of every kind, with hidden layers.
CONFIGS = {
    "rating": RatingModelConfig(mlp=(4,), dropout=0.0, embedding_l2=0.0),
    "dlrm": DlrmConfig(bottom=(4,), top=(4,)),
    "dcn": DcnConfig(mlp=(4,)),
    "dcn, low rank": DcnConfig(rank=1, mlp=(4, 3)),
    "dcn, parallel": DcnConfig(structure="parallel", mlp=(4,)),
    "wide_deep": WideDeepConfig(mlp=(4,)),
    "final_mlp": FinalMlpConfig(first=(6, 4), second=(4,), heads=2),
}
NO_HIDDEN = DlrmConfig(bottom=(), top=())
# TensorFlow's TPU build compiles for TPUs alone.
XLA_FOR_CPUS = "tensorflow" in {each.metadata["Name"] for each in metadata.distributions()}
needs_xla = pytest.mark.skipif(not XLA_FOR_CPUS, reason="this build of TensorFlow has no XLA for CPUs")
every_model = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def build(config: RankingConfig, spec: FeatureSpec = SPEC, objective=None, **dense) -> RankingModel:
    embeddings = EmbeddingsConfig(dim=2)
    configs = feature_configs(spec, ROWS, embeddings)
    layer = embedding_layer(configs, spec, embeddings)
    return config.build(ModelParts(spec, configs, layer, objective or Click(), DenseOptions(**dense)))


def check(config: RankingConfig, spec: FeatureSpec) -> None:
    """As an experiment with embeddings 2 wide checks it."""
    config.check(described(spec, "click"), spec, {table.name: table.dim or 2 for table in spec.tables})


def features(ad: list[int], page: list[int], age: list[float]) -> dict[str, tf.Tensor]:
    columns = {"ad": tf.constant(ad, tf.int64), "page": tf.constant(page, tf.int64), "age": tf.constant(age)}
    return {name: values[:, tf.newaxis] for name, values in columns.items()}


def by_hand(config: RankingConfig, values: tuple, **dense) -> RankingModel:
    """Rows 1 of the tables are (1, 2) and (3, 4), all others zero; `values` are those of the dense variables."""
    model = build(config, **dense)
    model(features([0], [0], [0.0]))
    tables = model.embedding.trainable_tables
    tables["ad"].assign([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]])
    tables["page"].assign([[0.0, 0.0], [3.0, 4.0]])
    head = [variable for variable in model.trainable_variables if not any(variable is t for t in tables.values())]
    for variable, value in zip(head, values, strict=True):
        variable.assign(value)
    return model


# The bottom MLP is (age, -age), the top one weighs its five inputs.
DLRM_VALUES = ([[1.0, -1.0]], [0.0, 0.0], [[1.0], [10.0], [0.1], [0.2], [0.3]], [0.5])
# age 2: bottom (2, 0) after ReLU; ad.bottom = 2, page.bottom = 6, page.ad = 11.
LOGIT = 1.0 * 2 + 10.0 * 0 + 0.1 * 2 + 0.2 * 6 + 0.3 * 11 + 0.5


MACHINE = RatingModelConfig(mlp=(), dropout=0.0, embedding_l2=0.0, biases="learned")
# The weights of age, then of the rows of ad and page, all in the order of the columns' names, and the bias.
MACHINE_VALUES = ([[0.1], [0.2], [0.3], [0.4], [10.0]], [0.5])


def test_a_factorization_machine_by_hand():
    model = by_hand(MACHINE, MACHINE_VALUES)
    # (1, 2) . (3, 4) = 11, and the linear term.
    score = 11 + 0.1 * 1 + 0.2 * 2 + 0.3 * 3 + 0.4 * 4 + 10 * 2 + 0.5
    np.testing.assert_allclose(model.scores(features([1, 0], [1, 0], [2.0, 0.0])), [score, 0.5], rtol=1e-6)


def correcting(objective, scale: float = 1.0, mean: float = 0.0) -> RankingModel:
    """A machine whose table of ads ends in biases of the naive baseline; the third ad is of no token."""
    config = RatingModelConfig(mlp=(), dropout=0.0, embedding_l2=1.0)
    embeddings = EmbeddingsConfig(dim=2)
    biases = {"ad": np.array([0.25, 2.0], np.float32)}
    configs = feature_configs(SPEC, ROWS, embeddings, initial_biases=biases)
    layer = embedding_layer(configs, SPEC, embeddings)
    parts = ModelParts(SPEC, configs, layer, objective, mean_label=mean, scale=scale, fixed_biases=biases)
    model = config.build(parts)
    model(features([0], [0], [0.0]))
    return model


def with_values(model: RankingModel) -> RankingModel:
    """Gives row 1 of both tables, and the dense part, values that differ from their initial ones."""
    tables = model.embedding.trainable_tables
    tables["ad"].assign([[0.0, 0.25], [3.0, 2.0], [0.0, 0.0]])
    tables["page"].assign([[0.0, 0.0], [5.0, 4.0]])
    head = [variable for variable in model.trainable_variables if not any(variable is t for t in tables.values())]
    for variable, value in zip(head, ([[0.1], [1.0], [1.0]], [0.5]), strict=True):
        variable.assign(value)
    return model


def test_fitted_biases_are_added_and_stay():
    model = correcting(Click(), mean=0.5)
    tables = model.embedding.trainable_tables
    np.testing.assert_array_equal(tables["ad"][:, 1], [0.25, 2.0, 0.0])
    np.testing.assert_array_equal(tables["ad"][2], [0.0, 0.0])
    with_values(model)
    # The product 3 * 5, the linear term 0.1 * 3 + 5 + 1 + 0.5, and the biases 2 + 4.
    batch = features([1], [1], [1.0])
    np.testing.assert_allclose(model.scores(batch), [15 + 6.8 + 6], rtol=1e-6)
    with tf.GradientTape() as tape:
        loss = model.per_example_loss(batch, tf.constant([0.0]), SEED)
    ad, page = (tf.convert_to_tensor(each) for each in tape.gradient(loss, [tables["ad"], tables["page"]]))
    np.testing.assert_array_equal(ad[:, 1], [0, 0, 0])
    # The slope of the log loss; the penalty leaves biases out.
    np.testing.assert_allclose(page[1, 1], 1.0, rtol=1e-6)
    # The norms of the rows without biases: 9 + 25.
    np.testing.assert_allclose(loss, [15 + 6.8 + 6 + 34], rtol=1e-6)


def test_a_correction_is_scaled_and_shrunk():
    model = with_values(correcting(Rating((0.0, 100.0)), scale=2.0, mean=10.0))
    batch = features([1], [1], [1.0])
    # The baseline is 10 + 2; the learned bias 4 belongs to the correction.
    baseline, correction = 12.0, 2 * (15 + 6.8 + 4)
    np.testing.assert_allclose(model.scores(batch), [baseline + correction], rtol=1e-6)
    label = tf.constant([20.0])
    loss = model.per_example_loss(batch, label, SEED)
    np.testing.assert_allclose(loss, [((baseline + correction - 20) / 2) ** 2 + 34], rtol=1e-6)
    # All of the correction points upwards, and all of it is noise but 8 / 51.6 of it.
    model.calibration.choose(model.calibration.sums(batch, label, tf.ones([1])).numpy())
    np.testing.assert_allclose(model(batch), [20.0], rtol=1e-5)
    # Training goes on with the whole correction.
    np.testing.assert_allclose(model.per_example_loss(batch, label, SEED), loss, rtol=1e-6)
    model.calibration.choose(model.calibration.sums(batch, tf.constant([5.0]), tf.ones([1])).numpy())
    np.testing.assert_array_equal(model(batch), [12.0])


def test_a_correction_moves_to_another_baseline():
    model = with_values(correcting(Rating((0.0, 100.0)), scale=2.0, mean=10.0))
    model.correct(20.0, {"ad": np.array([0.5, 3.0], np.float32)}, 4.0)
    np.testing.assert_allclose(model.scores(features([1], [1], [1.0])), [20 + 3 + 4 * (15 + 6.8 + 4)], rtol=1e-6)
    np.testing.assert_array_equal(model.embedding.trainable_tables["ad"][2], [0.0, 0.0])


def test_before_training_predictions_are_those_of_the_baseline():
    model = correcting(Rating((0.0, 100.0)), scale=2.0, mean=10.0)
    model.shrink(0.0)
    batch = features([0, 1, 2], [0, 1, 1], [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(model(batch), [10.25, 12.0, 10.0])


def test_whole_tables_may_be_held_to_zero():
    free, held = (
        by_hand(MACHINE.model_copy(update={"table_l2": weight}), MACHINE_VALUES).per_example_loss(
            features([0, 1], [0, 1], [0.0, 1.0]), tf.constant([1.0, 0.0]), SEED
        )
        for weight in (0.0, 0.5)
    )
    # 1 + 4 + 9 + 16, for every example alike, whatever it looks up.
    np.testing.assert_allclose(held - free, [15.0, 15.0], rtol=1e-6)


def test_tables_inside_the_engine_cannot_be_held(monkeypatch):
    model = by_hand(MACHINE.model_copy(update={"table_l2": 0.5}), MACHINE_VALUES)
    page = {"page": model.embedding.trainable_tables["page"]}
    monkeypatch.setattr(type(model.embedding), "trainable_tables", page)
    with pytest.raises(ConfigError, match=r"model.table_l2: table\(s\) ad live inside .* use model.embedding_l2"):
        model.per_example_loss(features([0], [0], [0.0]), tf.constant([1.0]), SEED)


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=needs_xla)])
def test_dlrm_by_hand(jit_compile):
    model, one = by_hand(NO_HIDDEN, DLRM_VALUES, jit_compile=jit_compile), features([1], [1], [2.0])
    assert model.scores(one).numpy() == pytest.approx([LOGIT])
    assert model(one).numpy() == pytest.approx([1 / (1 + math.exp(-LOGIT))])
    no_click = model.per_example_loss(one, tf.constant([0.0]), SEED).numpy()
    assert no_click == pytest.approx([math.log(1 + math.exp(LOGIT))])
    click = model.per_example_loss(one, tf.constant([1.0]), SEED).numpy()
    assert click == pytest.approx([math.log(1 + math.exp(-LOGIT))], rel=1e-4)


def test_an_example_does_not_depend_on_its_batch():
    model = by_hand(NO_HIDDEN, DLRM_VALUES)
    # Rows 0 are zero and a negative age dies in the ReLU: what is left is 10 * 3 (the other bottom unit) + 0.5.
    assert model.scores(features([1, 0], [1, 0], [2.0, -3.0])).numpy() == pytest.approx([LOGIT, 30.5])


def cross_by_hand(first: np.ndarray, x: np.ndarray, matrix: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return first * (x @ matrix + bias) + x


@pytest.mark.parametrize("rank", [None, 1])
@pytest.mark.parametrize("structure", ["stacked", "parallel"])
def test_dcn_by_hand(rank, structure):
    random = np.random.default_rng(0)
    first = np.array([1.0, 2.0, 3.0, 4.0, 0.5])  # both rows and the age
    up, down = random.normal(size=(rank or 5, 5)), random.normal(size=(5, rank or 0))
    bias, deep, deep_bias = random.normal(size=5), random.normal(size=(5, 1)), random.normal(size=1)
    output, output_bias = random.normal(size=(1 if structure == "stacked" else 6, 1)), random.normal(size=1)
    crossing = (up, bias, down) if rank else (up, bias)
    config = DcnConfig(crosses=1, rank=rank, structure=structure, mlp=(1,))
    model = by_hand(config, (*crossing, deep, deep_bias, output, output_bias))
    crossed = cross_by_hand(first, first, down @ up if rank else up, bias)
    if structure == "stacked":
        last = np.maximum(crossed @ deep + deep_bias, 0)
    else:
        last = np.concatenate([crossed, np.maximum(first @ deep + deep_bias, 0)])
    assert model.scores(features([1], [1], [0.5])).numpy() == pytest.approx(last @ output + output_bias, rel=1e-4)


def test_wide_deep_by_hand():
    values = ([[0.1], [0.2], [0.3]], [0.5], [[7.0]])  # deep: first number of each row and the age; linear in the age
    model = by_hand(WideDeepConfig(mlp=()), values)
    expected = (2 + 4) + (0.1 * 1 + 0.2 * 3 + 0.3 * 2 + 0.5) + 7 * 2
    assert model.scores(features([1], [1], [2.0])).numpy() == pytest.approx([expected])


@pytest.mark.parametrize(
    ("config", "additive"), [(WideDeepConfig(mlp=()), True), *((config, False) for config in CONFIGS.values())]
)
def test_only_wide_deep_without_hidden_layers_is_additive(config, additive):
    # For additive scores, exchanging one column changes the score by as much whatever the other one is.
    model = build(config)
    cases = features([0, 0, 1, 1], [0, 1, 0, 1], [1.0] * 4)
    model(cases)
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    scores = model.scores(cases).numpy()
    torn = abs((scores[0] - scores[1]) - (scores[2] - scores[3]))
    assert bool(torn < 1e-4) is additive


def test_final_mlp_by_hand():
    random = np.random.default_rng(0)
    first, second = (random.uniform(0.1, 1, [5, 4]) for _ in range(2))
    of_first, of_second, form = (random.normal(size=shape) for shape in ([4, 1], [4, 1], [2, 2, 2]))
    config = FinalMlpConfig(first=(4,), second=(4,), heads=2)
    model = by_hand(config, (first, np.zeros(4), second, np.full(4, 0.5), form, of_first, [0.25], of_second))
    inputs = np.array([1, 2, 3, 4, 2.0])
    one, two = inputs @ first, inputs @ second + 0.5
    score = 0.25 + one @ of_first[:, 0] + two @ of_second[:, 0]
    score += one[:2] @ form[0] @ two[:2] + one[2:] @ form[1] @ two[2:]
    assert model.scores(features([1], [1], [2.0])).numpy() == pytest.approx([score], rel=1e-5)


def test_heads_divide_the_last_widths():
    with pytest.raises(ValueError, match="heads: 3 does not divide 128 and 9"):
        FinalMlpConfig(second=(9,), heads=3)


@every_model
def test_shapes_are_static(config):
    column = tf.TensorSpec([8, 1], tf.int64)
    specs = {"ad": column, "page": column, "age": tf.TensorSpec([8, 1])}
    loss = tf.function(build(config).per_example_loss, autograph=False)
    assert loss.get_concrete_function(specs, tf.TensorSpec([8]), SEED).output_shapes.as_list() == [8]


@every_model
def test_dropout_follows_its_seed_and_spares_predictions(config):
    # So many units that one of them is alive and dropped.
    wide = {name: (64,) for name in ("mlp", "bottom", "top", "first", "second") if name in type(config).model_fields}
    model, one = build(config.model_copy(update=wide | {"dropout": 0.5})), features([1], [1], [2.0])
    for variable in model.trainable_variables:
        # Some weights start at 0, and what they weigh may be dropped unseen.
        variable.assign_add(tf.fill(variable.shape, 0.1))
    assert model.scores(one).numpy() == model.scores(one).numpy()
    label = tf.constant([1.0])
    by_seed = [model.per_example_loss(one, label, tf.constant([0, seed])).numpy().item() for seed in (1, 1, 2)]
    assert by_seed[0] == by_seed[1] != by_seed[2]


@every_model
def test_bfloat16_predicts_in_float32(config):
    model = build(config, dtype="mixed_bfloat16")
    assert model(features([1], [1], [2.0])).dtype == tf.float32
    assert {variable.dtype for variable in model.trainable_variables} == {tf.float32}


@every_model
@pytest.mark.parametrize("batch_size", [1, 2])
def test_every_variable_has_a_gradient(config, batch_size):
    model = build(config)
    some = features([1, 2][:batch_size], [1, 0][:batch_size], [2.0, 1.0][:batch_size])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.per_example_loss(some, tf.constant([1.0, 0.0][:batch_size]), SEED))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert len(gradients) == len(model.trainable_variables) > 2
    assert all(gradient is not None for gradient in gradients)


@every_model
def test_predictions_start_at_the_mean_label(config):
    embeddings = EmbeddingsConfig(dim=2, initializer={"name": "constant", "value": 0.0})
    configs = feature_configs(SPEC, ROWS, embeddings)
    for objective, mean in ((Click(), 0.03), (Rating((1.0, 5.0)), 3.5)):
        layer = embedding_layer(configs, SPEC, embeddings)
        model = config.build(ModelParts(SPEC, configs, layer, objective, mean_label=mean))
        assert model(features([1], [1], [0.0])).numpy() == pytest.approx([mean], rel=1e-5)


def test_ratings_are_clipped_but_their_loss_is_not():
    model = by_hand(NO_HIDDEN, DLRM_VALUES)
    model.objective = Rating((1.0, 5.0))
    one = features([1], [1], [2.0])
    assert model(one).numpy() == [5.0]
    assert model.per_example_loss(one, tf.constant([5.0]), SEED).numpy() == pytest.approx([(LOGIT - 5) ** 2])


def changed(**changes) -> FeatureSpec:
    return FeatureSpec.model_validate(SPEC.model_dump() | changes)


@pytest.mark.parametrize("config", [CONFIGS["rating"], CONFIGS["dlrm"]])
def test_dot_products_need_one_width(config):
    with pytest.raises(ConfigError, match=r"one width; got \{'ad': 4, 'page': 2\}"):
        check(config, changed(tables=(Table(name="ad", dim=4), Table(name="page"))))


@pytest.mark.parametrize("config", [CONFIGS["dcn"], CONFIGS["wide_deep"], CONFIGS["final_mlp"]])
def test_widths_may_differ_without_dot_products(config):
    spec = changed(tables=(Table(name="ad", dim=4), Table(name="page")))
    check(config, spec)
    model = build(config, spec)
    assert model(features([1], [1], [2.0])).shape == [1]


def test_what_does_not_fit_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"declare one"):
        check(NO_HIDDEN, changed(columns=tuple(column for column in SPEC.columns if column.name != "age")))
    sequence = Categorical(name="ad", table="ad", layout="ragged", max_sequence_length=3)
    with pytest.raises(ConfigError, match=r"max_sequence_length of \['ad'\]"):
        check(NO_HIDDEN, changed(columns=(sequence, *SPEC.columns[1:])))
    with pytest.raises(ConfigError, match=r"at least 2 wide; got \{'ad': 1, 'page': 2\}"):
        check(CONFIGS["wide_deep"], changed(tables=(Table(name="ad", dim=1), Table(name="page"))))


def metrics(objective, predictions, labels, weights=None) -> dict[str, float]:
    arrays = (predictions, labels, np.ones(len(labels)) if weights is None else weights)
    return objective.metrics(objective.sums(*(tf.constant(x, tf.float32) for x in arrays)).numpy())


def test_rating_metrics_by_hand():
    found = metrics(Rating((1.0, 5.0)), [1.0, 2.0, 9.0], [2.0, 4.0, 0.0], [1.0, 1.0, 0.0])
    assert found == pytest.approx({"rmse": math.sqrt(5 / 2), "mae": 1.5})


def test_click_metrics_by_hand():
    # Pairs: (.8, .3) and (.8, .5) right, (.5, .3) right, (.5, .5) tied.
    found = metrics(Click(), [0.8, 0.5, 0.3, 0.5, 0.9], [1.0, 1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, 0.0])
    log_loss = -(math.log(0.8) + math.log(0.5) + math.log(0.7) + math.log(0.5)) / 4
    assert found == pytest.approx({"auc": 3.5 / 4, "log_loss": log_loss}, rel=1e-5)


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=50))
@settings(deadline=None, max_examples=50)
def test_auc_is_the_share_of_pairs_in_order(examples):
    labels = np.array([click for _, click in examples], np.float32)
    # In the middle of bins, so that equal ones tie and others do not.
    predictions = np.array([(place * 64 + 0.5) / 4096 for place, _ in examples])
    clicks, others = predictions[labels == 1], predictions[labels == 0]
    found = metrics(Click(), predictions, labels)["auc"]
    if not len(clicks) or not len(others):
        assert math.isnan(found)
        return
    assert found == pytest.approx(np.mean(np.sign(clicks[:, None] - others) / 2 + 0.5), abs=1e-6)


def test_clicks_all_alike_cannot_be_learned():
    with pytest.raises(ValueError, match=r"labels must be 0 and 1, both of them; their mean is 1\.0"):
        Click().initial_score(1.0)


@pytest.mark.parametrize("task", ["rating", "retrieval"])
def test_every_model_names_the_tasks_that_it_is_for(task):
    # A model of several goals has no default heads.
    others = [
        MultiTaskConfig(heads=(TaskHead(label="click"),)) if model is MultiTaskConfig else model()
        for model in MODELS.values()
        if task not in model.tasks
    ]
    assert others
    for model in others:
        with pytest.raises(ConfigError, match=f"but the task of the data is {task}. Set model.type to"):
            model.check(described(SPEC, task), SPEC, {"ad": 2, "page": 2})


def test_a_model_without_categorical_columns_is_refused():
    numbers = FeatureSpec(columns=(Numeric(name="age"), Label(name="click")), tables=())
    with pytest.raises(ConfigError, match="looks up categorical columns, and none is left"):
        check(CONFIGS["dcn"], numbers)


@every_model
def test_the_loss_is_weighed_by_example_and_regularization_is_not(config):
    weighed = changed(columns=(*SPEC.columns, ExampleWeight(name="visits")))
    held = config.model_copy(update={"embedding_l2": 0.5})
    model, plain = build(held, weighed), build(held)
    some = features([1, 0], [1, 0], [2.0, 1.0])
    for each in (model, plain):
        each(some)
    for to, of in zip(model.variables, plain.variables, strict=True):
        to.assign(of)
    labels = tf.constant([1.0, 0.0])
    regularization = plain.per_example_loss(some, labels, SEED) - plain.objective.loss(plain.scores(some), labels)
    loss = plain.objective.loss(plain.scores(some), labels)
    found = model.per_example_loss(some | {"visits": tf.constant([[0.5], [3.0]])}, labels, SEED)
    np.testing.assert_allclose(found, [0.5, 3.0] * loss + regularization, rtol=1e-5)
    # Evaluation does not ask for the weights.
    np.testing.assert_allclose(model(some), plain(some), rtol=1e-6)
