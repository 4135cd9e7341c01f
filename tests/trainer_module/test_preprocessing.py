import numpy as np
import tensorflow as tf

from trainer_module.data.features import Categorical, ExampleWeight, FeatureSpec, Label, Numeric, Table

from .conftest import NUM_ITEMS, NUM_USERS, parse_spec, serialize, transform_graph


def transformed(world, *examples: dict) -> dict:
    rows = [{"user": [b"u1"], "item": [b"i1"], "tags": [], "main_tag": [b"c"], "year": []} | row for row in examples]
    raw = tf.io.parse_example([serialize(row) for row in rows], parse_spec(world.spec.inputs))
    return world.model_inputs(dict(raw))


def test_known_tokens_get_distinct_ids_and_unknown_ones_an_oov_bucket(world):
    users = [{"user": [f"u{number}".encode()]} for number in range(NUM_USERS)]
    ids = transformed(world, *users, {"user": [b"nobody"]})["user"].numpy()
    assert ids.shape == (NUM_USERS + 1, 1)
    assert sorted(ids[:-1, 0]) == list(range(NUM_USERS))
    assert ids[-1, 0] == NUM_USERS
    (unknown,) = transformed(world, {"item": [b"nothing"]})["item"].numpy()[0]
    assert NUM_ITEMS <= unknown < NUM_ITEMS + 3


def test_columns_that_share_a_table_share_its_ids(world):
    output = transformed(world, {"tags": [b"c"], "main_tag": [b"a"]}, {"tags": [b"a", b"c"], "main_tag": [b"c"]})
    tags, main = output["tags"].values.numpy(), output["main_tag"].numpy()[:, 0]
    np.testing.assert_array_equal(tags, [main[1], main[0], main[1]])


def test_numbers_are_clipped_z_scores_and_a_missing_one_is_the_mean(world):
    output = transformed(world, {"year": [1995.0]}, {"year": []}, {"year": [3000.0]})["year"].numpy()
    assert output.shape == (3, 1)
    assert abs(output[0, 0]) < 0.1
    np.testing.assert_array_equal(output[1:, 0], [0.0, 1.0])


def test_a_batch_in_which_every_number_is_missing(world):
    np.testing.assert_array_equal(transformed(world, {"year": []}, {"year": []})["year"], [[0.0], [0.0]])


def test_numbers_whose_squares_and_sums_float32_cannot_hold_keep_their_z_scores(tmp_path):
    spec = FeatureSpec(
        columns=(
            Categorical(name="user", table="user"),
            Numeric(name="year", required=False),
            Numeric(name="plays"),
            ExampleWeight(name="weight"),
            Label(name="rating"),
            Label(name="dwell", required=False),
        ),
        tables=(Table(name="user"),),
    )
    largest = float(np.finfo(np.float32).max)
    values = [largest, -largest, np.nan, 0.0]
    examples = [
        {
            "user": b" u\xc2\xa0",
            "year": [] if number else [value],
            "plays": [value],
            "weight": [largest],
            "rating": [1.0],
            "dwell": [2.0] if number else [],
        }
        for number, value in enumerate(values)
    ]
    for row in examples:
        row |= {name: np.array(row[name], np.float32) for name in ("year", "plays", "weight", "rating", "dwell")}
        row["user"] = np.array([row["user"]], object)
    output = transform_graph(tmp_path, examples, spec)
    assert output.vocabulary_by_name("user") == [b"u"]
    layer = output.transform_features_layer()
    raw = {
        "user": tf.constant([[b"u"]] * 4),
        "year": tf.sparse.from_dense(tf.constant([[largest]] * 4)),
        "plays": tf.constant(values, tf.float32, shape=[4, 1]),
        "weight": tf.fill([4, 1], largest),
        "rating": tf.ones([4, 1]),
        # Of the first and the third row.
        "dwell": tf.SparseTensor([[0, 0], [2, 0]], [7.0, 8.0], [4, 1]),
    }
    found = layer(raw)
    # The deviation of largest, -largest and 0 is the root of two thirds of largest.
    np.testing.assert_allclose(found["plays"][:, 0], [1.5**0.5, -(1.5**0.5), 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(found["weight"][:, 0], np.ones(4), atol=1e-6)
    np.testing.assert_array_equal(found["dwell"][:, 0], [7.0, np.nan, 8.0, np.nan])
    assert {value.dtype for name, value in found.items() if name in ("plays", "year", "weight")} == {tf.float32}
