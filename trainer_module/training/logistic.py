"""Clicks predicted by a logistic regression over hashed tokens and standardized numbers.

A token enters as one of `BUCKETS` indicators, chosen by hash ("feature hashing": Weinberger et al., "Feature Hashing
for Large Scale Multitask Learning", ICML 2009).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from scipy import sparse
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from trainer_module.data.example_files import single_or_missing
from trainer_module.data.features import Categorical, FeatureSpec, Numeric

BUCKETS = 1 << 18

# Inverse strengths of the squared penalty, as scikit-learn takes them.
_STRENGTHS = (0.01, 0.1, 1.0)
_MAX_ITERATIONS = 50


@dataclass(frozen=True)
class Logistic:
    """A fitted regression.

    Attributes:
        spec: Gives the input columns.
        means: Of the transformed numbers, `[numbers]`.
        deviations: Their standard deviations, `[numbers]`; 1 for a constant column.
        weights: float32 `[BUCKETS + numbers]`.
        intercept: Log odds where all inputs are zero.
    """

    spec: FeatureSpec
    means: np.ndarray
    deviations: np.ndarray
    weights: np.ndarray
    intercept: float

    def predict(self, batch: pa.RecordBatch) -> np.ndarray:
        """Click probabilities, float64 `[rows]`, from columns of lists."""
        inputs = _inputs(batch, self.spec, self.means, self.deviations)
        return expit(inputs @ self.weights + self.intercept)


def fit(
    train: pa.RecordBatch,
    labels: np.ndarray,
    selection: pa.RecordBatch,
    selection_labels: np.ndarray,
    spec: FeatureSpec,
    weights: np.ndarray | None = None,
    selection_weights: np.ndarray | None = None,
) -> Logistic:
    """Fits regressions of several strengths of regularization and keeps the one with the lowest log loss.

    Args:
        train: Rows to fit: columns of lists.
        labels: 0 and 1, both of them, `[rows]`.
        selection: Rows to choose the strength by.
        selection_labels: 0 or 1, `[rows]`.
        spec: Gives the input columns.
        weights: Of the rows to fit, `[rows]`; None weighs all alike.
        selection_weights: Of the rows to choose by, likewise.
    """
    numbers = (
        np.stack([_numbers(batch=train, column=column) for column in spec.numeric], axis=1) if spec.numeric else None
    )
    means = np.zeros(0) if numbers is None else np.array([_mean(column) for column in numbers.T])
    deviations = np.zeros(0) if numbers is None else np.array([_deviation(column) for column in numbers.T])
    inputs = _inputs(train, spec, means, deviations)
    best, lowest = None, np.inf
    for strength in _STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=_MAX_ITERATIONS)
        with warnings.catch_warnings():
            # A reference needs no last digit.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(inputs, labels, sample_weight=weights)
        fitted = Logistic(spec, means, deviations, model.coef_[0].astype(np.float32), float(model.intercept_[0]))
        loss = _log_loss(selection_labels, fitted.predict(selection), selection_weights)
        if best is None or loss < lowest:
            best, lowest = fitted, loss
    assert best is not None
    return best


def _inputs(batch: pa.RecordBatch, spec: FeatureSpec, means: np.ndarray, deviations: np.ndarray) -> sparse.csr_matrix:
    """Indicators of tokens, then standardized numbers, `[rows, BUCKETS + numbers]`."""
    rows, columns = zip(*(_hashed(batch, column) for column in spec.categorical), strict=True)
    shape = (batch.num_rows, BUCKETS)
    ones = np.ones(sum(map(len, rows)), np.float32)
    tokens = sparse.csr_matrix((ones, (np.concatenate(rows), np.concatenate(columns))), shape=shape)
    numbers = [
        np.nan_to_num(np.clip((_numbers(batch, column) - mean) / deviation, -column.clip, column.clip), nan=0.0)
        for column, mean, deviation in zip(spec.numeric, means, deviations, strict=True)
    ]
    if not numbers:
        return tokens
    return sparse.csr_matrix(sparse.hstack([tokens, np.stack(numbers, axis=1).astype(np.float32)]))


def _hashed(batch: pa.RecordBatch, column: Categorical) -> tuple[np.ndarray, np.ndarray]:
    """Row number and bucket of each token of a column, `[tokens]` both."""
    lists = _lists(batch, column.name)
    rows = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    encoded = lists.flatten().dictionary_encode()
    distinct: Sequence = encoded.dictionary.cast(
        pa.large_string() if column.dtype == "int64" else pa.large_binary()
    ).to_pylist()
    if not distinct:
        return rows, rows
    named = tf.strings.join([tf.constant(f"{column.name}\0"), tf.constant(distinct)])
    buckets = tf.strings.to_hash_bucket_fast(named, BUCKETS).numpy()
    return rows, buckets[encoded.indices.to_numpy(zero_copy_only=False)]


def _numbers(batch: pa.RecordBatch, column: Numeric) -> np.ndarray:
    """A column's numbers, transformed but not standardized, float64 `[rows]`; NaN where one is missing."""
    values = single_or_missing(batch, column.name)
    return np.log1p(np.maximum(values, 0)) if column.transform == "log1p_z_score" else values


def _lists(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column of lists; empty ones where the batch holds no value of the column at all."""
    if name in batch.schema.names and not pa.types.is_null(batch.column(name).type):
        return batch.column(name)
    return pa.array([[]] * batch.num_rows, pa.large_list(pa.float32()))


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0


def _deviation(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.std()) or 1.0 if len(known) else 1.0


def _log_loss(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None) -> float:
    clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)
    return float(-np.average(labels * np.log(clipped) + (1 - labels) * np.log1p(-clipped), weights=weights))
