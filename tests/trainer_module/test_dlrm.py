"""DLRM against arithmetic by hand: two tables of width 2, one number."""

import math

import numpy as np
import pytest
import tensorflow as tf

from trainer_module.embeddings import embedding_layer, feature_configs
from trainer_module.errors import ConfigError
from trainer_module.experiment import EmbeddingsConfig
from trainer_module.features import Categorical, FeatureSpec, Label, Numeric, Table
from trainer_module.layers import DenseOptions
from trainer_module.models.dlrm import Dlrm, build_dlrm

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


def build(spec: FeatureSpec = SPEC, hidden: tuple[int, ...] = (), dropout: float = 0.0, **dense) -> Dlrm:
    embeddings = EmbeddingsConfig(dim=2)
    configs = feature_configs(spec, ROWS, embeddings)
    layer = embedding_layer(configs, spec, embeddings)
    return build_dlrm(spec, configs, layer, hidden, hidden, dropout, DenseOptions(**dense))


def features(ad: list[int], page: list[int], age: list[float]) -> dict[str, tf.Tensor]:
    columns = {"ad": tf.constant(ad, tf.int64), "page": tf.constant(page, tf.int64), "age": tf.constant(age)}
    return {name: values[:, tf.newaxis] for name, values in columns.items()}


def by_hand(**dense) -> Dlrm:
    """Rows 1 of the tables are (1, 2) and (3, 4); the bottom MLP is (age, -age), the top one weighs its five inputs."""
    model = build(**dense)
    model(features([0], [0], [0.0]))
    tables = model.embedding.trainable_tables
    tables["ad"].assign([[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]])
    tables["page"].assign([[0.0, 0.0], [3.0, 4.0]])
    head = [variable for variable in model.trainable_variables if not any(variable is t for t in tables.values())]
    values = ([[1.0, -1.0]], [0.0, 0.0], [[1.0], [10.0], [0.1], [0.2], [0.3]], [0.5])
    for variable, value in zip(head, values, strict=True):
        variable.assign(value)
    return model


# age 2: bottom (2, 0) after ReLU; ad.bottom = 2, page.bottom = 6, page.ad = 11.
LOGIT = 1.0 * 2 + 10.0 * 0 + 0.1 * 2 + 0.2 * 6 + 0.3 * 11 + 0.5


@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_example_by_hand(jit_compile):
    model, one = by_hand(jit_compile=jit_compile), features([1], [1], [2.0])
    assert model.logits(one).numpy() == pytest.approx([LOGIT])
    assert model(one).numpy() == pytest.approx([1 / (1 + math.exp(-LOGIT))])
    no_click = model.per_example_loss(one, tf.constant([0.0]), SEED).numpy()
    assert no_click == pytest.approx([math.log(1 + math.exp(LOGIT))])
    click = model.per_example_loss(one, tf.constant([1.0]), SEED).numpy()
    assert click == pytest.approx([math.log(1 + math.exp(-LOGIT))], rel=1e-4)


def test_an_example_does_not_depend_on_its_batch():
    model = by_hand()
    # Rows 0 are zero and a negative age dies in the ReLU: what is left is 10 * 3 (the other bottom unit) + 0.5.
    assert model.logits(features([1, 0], [1, 0], [2.0, -3.0])).numpy() == pytest.approx([LOGIT, 30.5])


def test_shapes_are_static():
    model = build(hidden=(4,))
    column = tf.TensorSpec([8, 1], tf.int64)
    specs = {"ad": column, "page": column, "age": tf.TensorSpec([8, 1])}
    traced = tf.function(model.per_example_loss, autograph=False).get_concrete_function(specs, tf.TensorSpec([8]), SEED)
    assert traced.output_shapes.as_list() == [8]


def test_dropout_follows_its_seed_and_spares_predictions():
    model, one = build(hidden=(64,), dropout=0.5), features([1], [1], [2.0])
    assert model.logits(one).numpy() == model.logits(one).numpy()
    by_seed = [model.logits(one, tf.constant([0, seed])).numpy().item() for seed in (1, 1, 2)]
    assert by_seed[0] == by_seed[1] != by_seed[2]


def test_bfloat16_predicts_in_float32():
    model = build(hidden=(4,), dtype="mixed_bfloat16")
    assert model(features([1], [1], [2.0])).dtype == tf.float32
    assert {variable.dtype for variable in model.trainable_variables} == {tf.float32}


def test_every_variable_has_a_gradient():
    model, one = build(hidden=(4,)), features([1, 2], [1, 0], [2.0, 1.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.per_example_loss(one, tf.constant([1.0, 0.0]), SEED))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert len(gradients) == 2 + 4 + 4
    assert all(gradient is not None for gradient in gradients)
    np.testing.assert_array_equal(np.sort(gradients[0].indices), [1, 2])


def changed(**changes) -> FeatureSpec:
    return FeatureSpec.model_validate(SPEC.model_dump() | changes)


def test_what_does_not_fit_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"one width; got \{'ad': 4, 'page': 2\}"):
        build(changed(tables=(Table(name="ad", dim=4), Table(name="page"))))
    with pytest.raises(ConfigError, match=r"declare one"):
        build(changed(columns=tuple(column for column in SPEC.columns if column.name != "age")))
    sequence = Categorical(name="ad", table="ad", layout="ragged", max_sequence_length=3)
    with pytest.raises(ConfigError, match=r"max_sequence_length of \['ad'\]"):
        build(changed(columns=(sequence, *SPEC.columns[1:])))
