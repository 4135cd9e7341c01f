"""Rowwise int8 by hand, its error bound on any rows, and lookups in such tables beside TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from trainer_module.data.features import Categorical, FeatureSpec, Label, Table, Weights
from trainer_module.export.quantization import QuantizedTable, dequantize, quantize
from trainer_module.export.serving import look_up_on_cpu

# Smallest positive float32: what rounding costs where a scale has lost its precision.
SUBNORMAL = np.float32(1.4e-45)


def test_a_row_by_hand():
    # The largest absolute value is 2.54, so the scale is 0.02; 0.05 lies midway between 2 and 3 scales.
    rows, scales = quantize(np.array([[2.54, -1.27, 0.02, 0.029, 0.0]], np.float32))
    np.testing.assert_array_equal(rows, [[127, -64, 1, 1, 0]])
    np.testing.assert_allclose(scales, [0.02], rtol=1e-6)
    np.testing.assert_allclose(dequantize(rows, scales), [[2.54, -1.28, 0.02, 0.02, 0.0]], rtol=1e-6)


def test_each_row_has_a_scale_of_its_own_and_zeros_stay_zero():
    rows, scales = quantize(np.array([[0.0, 0.0], [1e30, -1e30], [0.0, 1e-30]], np.float32))
    np.testing.assert_array_equal(rows, [[0, 0], [127, -127], [0, 127]])
    np.testing.assert_allclose(scales, np.array([0, 1e30, 1e-30]) / 127, rtol=1e-6)
    assert rows.dtype == np.int8 and scales.dtype == np.float32
    np.testing.assert_array_equal(dequantize(rows, scales)[0], [0, 0])


def test_no_rows():
    rows, scales = quantize(np.empty([0, 3], np.float32))
    assert rows.shape == (0, 3) and scales.shape == (0,)


LARGEST = float(np.float32(1e38))
NUMBERS = st.floats(-LARGEST, LARGEST, width=32)


@settings(max_examples=200, deadline=None)
@given(st_numpy.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 8)), elements=NUMBERS))
def test_no_number_moves_by_more_than_half_a_scale(values):
    rows, scales = quantize(values)
    error = np.abs(dequantize(rows, scales).astype(float) - values)
    # Half a scale, and what three roundings to float32 cost: of the scale, the quotient and the product.
    bound = scales[:, np.newaxis] * 0.5 + 3 * 2.0**-24 * np.abs(values).astype(float) + 127 * SUBNORMAL
    assert np.all(error <= bound)
    assert np.abs(rows.astype(int)).max() <= 127
    # What has been rounded stays where it is, but for float32.
    again = dequantize(*quantize(dequantize(rows, scales)))
    np.testing.assert_allclose(again, dequantize(rows, scales), rtol=1e-6, atol=127 * SUBNORMAL)


def test_a_table_is_rounded_in_blocks(monkeypatch):
    monkeypatch.setattr("trainer_module.export.quantization._ROWS_AT_ONCE", 3)
    values = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
    table = tf.Variable(values)
    quantized = QuantizedTable.rounding(table, "user")
    rows, scales = quantize(values)
    np.testing.assert_array_equal(quantized.rows, rows)
    np.testing.assert_array_equal(quantized.scales, scales)
    np.testing.assert_array_equal(table, dequantize(rows, scales))
    np.testing.assert_array_equal(quantized.gather(tf.constant([6, 0, 6])), table.numpy()[[6, 0, 6]])
    assert quantized.nbytes == rows.nbytes + scales.nbytes == 7 * (4 + 4)


SPEC = FeatureSpec(
    columns=(
        Categorical(name="user", table="user"),
        Categorical(name="tags", table="tags", multivalent=True),
        Categorical(name="weighted", table="tags", multivalent=True, weights="strengths"),
        Categorical(name="history", table="user", multivalent=True, max_sequence_length=3),
        Weights(name="strengths"),
        Label(name="rating"),
    ),
    tables=(Table(name="user"), Table(name="tags", combiner="mean")),
)


@pytest.mark.parametrize("ragged", [False, True], ids=["sparse", "ragged"])
@pytest.mark.parametrize("batch", [3, 1, 0])
def test_lookups_equal_those_in_the_rounded_table(batch, ragged):
    random = np.random.default_rng(1)
    tables = {name: tf.Variable(random.normal(size=(5, 2)).astype(np.float32)) for name in ("user", "tags")}
    quantized = {name: QuantizedTable.rounding(table, name) for name, table in tables.items()}

    def lists(values: list[list], dtype: tf.DType) -> tf.RaggedTensor | tf.SparseTensor:
        rows = tf.ragged.constant(values[:batch], dtype=dtype, ragged_rank=1)
        return rows if ragged else rows.to_sparse()

    features = {
        "user": tf.constant([[4], [0], [4]][:batch], tf.int64, shape=[batch, 1]),
        # Bags are empty, or hold an id twice.
        "tags": lists([[], [1, 1, 3], [2]], tf.int64),
        "weighted": lists([[0, 4], [], [2, 2]], tf.int64),
        "strengths": lists([[1.0, 3.0], [], [0.5, 0.25]], tf.float32),
        "history": lists([[0, 1, 2, 3], [], [4]], tf.int64),
    }
    expected, found = (look_up_on_cpu(each, SPEC, SPEC.categorical, features) for each in (tables, quantized))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_an_invalid_id_names_no_row():
    tables = {"tags": tf.Variable([[1.0, 2.0], [3.0, 4.0]])}
    ids = tf.SparseTensor([[0, 0], [0, 1]], tf.constant([-1, 1], tf.int64), [1, 2])
    columns = [column for column in SPEC.categorical if column.name == "tags"]
    found = look_up_on_cpu({"tags": QuantizedTable.rounding(tables["tags"], "tags")}, SPEC, columns, {"tags": ids})
    np.testing.assert_allclose(found["tags"], [[3.0, 4.0]], rtol=0.01)
