"""The items' embeddings: their norms against popularity, and the nearest neighbours of popular items."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from pydantic import TypeAdapter
from tfx.utils import path_utils

from components.run_report import charts
from components.run_report.artifacts import RunArtifacts
from components.run_report.page import Block, Cell, Column, Section, Table
from trainer_module.models.config import ModelConfig
from trainer_module.training.warm_start import table_key

_MODEL: TypeAdapter = TypeAdapter(ModelConfig)
# Variables of a retrieval index (`components.retrieval_index.item_vectors`).
_FLOAT32_ROWS, _INT8_ROWS, _INT8_SCALES = "_vectors/_vectors", "_vectors/_rows", "_vectors/_scales"
_MOST_BYTES = 512 << 20
_POINTS = 400
_POPULAR, _NEAREST = 10, 4


def section(run: RunArtifacts) -> Section | None:
    """Norms and neighbours; None where items have no table of their own or it is too large to read here."""
    found = _of_index(run) if run.dataset.task == "retrieval" else _of_checkpoint(run)
    if found is None:
        return None
    items, vectors, counts = found
    norms = np.linalg.norm(vectors, axis=1)
    order = np.argsort(-counts, kind="stable")
    seen = order[: int((counts > 0).sum())]
    if len(seen) < _POPULAR:
        return None
    places = np.unique(np.linspace(0, len(seen) - 1, _POINTS).round().astype(int))
    points = [
        (float(counts[row]), float(norms[row]), f"{run.title(items[row])}: {counts[row]:,} rows, norm {norms[row]:.3g}")
        for row in seen[places]
    ]
    blocks: list[Block] = []
    if np.ptp(norms[seen]) > 1e-4 * norms[seen].max():
        blocks.append(
            charts.scatter(
                "norm of items' embeddings by popularity", points, "rows in the training split", "norm", log_x=True
            )
        )
    blocks.append(_neighbours(run, items, vectors / np.maximum(norms, 1e-12)[:, None], seen))
    return Section(id="embeddings", title="Embeddings", blocks=tuple(blocks))


def _of_index(run: RunArtifacts) -> tuple[list[bytes], np.ndarray, np.ndarray] | None:
    """Items, vectors and training rows of a retrieval index."""
    model = path_utils.serving_model_path(run.uris.model)
    reader = tf.train.load_checkpoint(os.path.join(model, "variables", "variables"))
    shapes = {name.partition("/.ATTRIBUTES")[0]: shape for name, shape in reader.get_variable_to_shape_map().items()}

    def read(name: str) -> np.ndarray:
        return reader.get_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE")

    is_int8 = _INT8_ROWS in shapes
    if 4 * np.prod(shapes[_INT8_ROWS if is_int8 else _FLOAT32_ROWS], dtype=np.int64) > _MOST_BYTES:
        return None
    vectors = read(_INT8_ROWS) * read(_INT8_SCALES)[:, np.newaxis] if is_int8 else read(_FLOAT32_ROWS)
    return read("_ids").tolist(), vectors, read("_train_counts")


def _of_checkpoint(run: RunArtifacts) -> tuple[list[bytes], np.ndarray, np.ndarray] | None:
    """Items, rows of their table and training rows of a ranking model."""
    tables = {column.name: column.table for column in run.tokens}
    table = tables.get(run.dataset.item_key)
    if table is None or table not in run.vocabularies or table not in run.summary["training"]["table_rows"]:
        return None
    reader = tf.train.load_checkpoint(os.path.join(run.uris.model_run, "best", "checkpoint"))
    shape = reader.get_variable_to_shape_map().get(table_key(table))
    # SparseCores stack tables in their checkpoints.
    if shape is None or 4 * np.prod(shape, dtype=np.int64) > _MOST_BYTES:
        return None
    tokens = run.vocabularies[table]
    rows = reader.get_tensor(table_key(table))[: len(tokens)]
    rows = rows[:, : rows.shape[1] - _MODEL.validate_python(run.config["model"]).num_biases]
    counted, numbers = run.counts(run.dataset.item_key)
    places = pc.index_in(
        tokens, value_set=counted.cast(tokens.type) if pa.types.is_large_binary(counted.type) else _texts(counted)
    )
    known = places.is_valid().to_numpy(zero_copy_only=False)
    counts = np.zeros(len(tokens), np.int64)
    counts[known] = numbers[places.drop_null().to_numpy()]
    return tokens.to_pylist(), rows, counts


def _texts(values: pa.Array) -> pa.Array:
    return values.cast(pa.large_string()).cast(pa.large_binary())


def _neighbours(run: RunArtifacts, items: list[bytes], unit: np.ndarray, seen: np.ndarray) -> Table:
    """The nearest items, by cosine, of the most popular ones; among items with training rows."""
    popular = seen[:_POPULAR]
    similar = unit[popular] @ unit[seen].T
    similar[np.arange(len(popular)), np.arange(len(popular))] = -np.inf
    rows: list[tuple[Cell, ...]] = []
    for row, of_row in zip(popular, similar, strict=True):
        nearest = np.argsort(-of_row, kind="stable")[:_NEAREST]
        rows.append(
            (run.title(items[row]), *(f"{run.title(items[seen[each]])} ({of_row[each]:.2f})" for each in nearest))
        )
    heads = ("popular item", *(f"nearest {number}" for number in range(1, _NEAREST + 1)))
    return Table(
        title="nearest neighbours of popular items (cosine)",
        columns=tuple(Column(name=head) for head in heads),
        rows=tuple(rows),
    )
