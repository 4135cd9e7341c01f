"""Chooses the rows by which an exported model is compared with the training model.

They are rows of every kind that the data knows, as a client may write them: the longest lists and the extreme numbers
that were found, missing values in every spelling, the rarest and unknown tokens, and some ordinary rows.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from trainer_module.data.cells import Values, clean_row, missing_value
from trainer_module.data.example_files import concatenated, serialized, values_and_row_splits
from trainer_module.data.features import Categorical, FeatureSpec
from trainer_module.data.inputs import ExampleReader
from trainer_module.models.signatures import RequestColumn

# Ordinary rows, and of these the ones that get all changes at once.
_ORDINARY, _CHANGED = 128, 8
# Rows of a split among which the longest lists and the extreme numbers are looked for.
_SEARCHED = 200_000

_UNKNOWN: Mapping[str, Any] = {"string": b"a token that no vocabulary holds", "int64": (1 << 53) - 1}
# A tab, a no-break space and an ideographic space.
_BEFORE, _BEHIND = b" \t\xc2\xa0", b"\xe3\x80\x80 "
_LARGEST: Mapping[str, Any] = {"float32": float(np.finfo(np.float32).max), "int64": 1 << 53}
# Longer than any bag of the data is likely to be.
_LONG = 50


@dataclass(frozen=True)
class SampleRow:
    """A row of the sample.

    Attributes:
        kind: What is special about it, for messages.
        example: Serialized `tf.Example`, as a client may send it.
    """

    kind: str
    example: bytes


def choose(
    spec: FeatureSpec, rarest: Mapping[str, bytes], ordinary: ExampleReader, searched: Sequence[ExampleReader]
) -> list[SampleRow]:
    """Chooses rows of every kind.

    Args:
        spec: Gives the columns.
        rarest: The rarest token by table, of tables that have tokens.
        ordinary: The split that ordinary rows are taken from, evenly.
        searched: Splits in which the longest lists and the extreme numbers are looked for, in `_SEARCHED` rows of each.
    """
    columns = (*spec.inputs, spec.label)
    evenly = concatenated(ordinary.batches(columns, max(1, ordinary.num_examples // _ORDINARY)))
    examples = serialized(evenly.slice(0, _ORDINARY))
    rows = [SampleRow("an ordinary row", example) for example in examples]
    rows += find_extremes(spec, searched)
    bases = cycle(examples)
    for column in spec.inputs:
        for kind, changed in _changes(spec, column, rarest):
            rows.append(SampleRow(f"{column.name}: {kind}", _with(spec, next(bases), changed)))
    for kind, changed in edge_cases(spec, examples[:_CHANGED]).items():
        rows += [SampleRow(kind, example) for example in changed]
    return rows


def find_extremes(spec: FeatureSpec, readers: Sequence[ExampleReader]) -> list[SampleRow]:
    """Finds, for each column, a row without a value, and those with most values or the smallest and largest number."""
    best: dict[str, float] = {}
    found: dict[str, pa.RecordBatch] = {}

    def note(kind: str, score: float, batch: pa.RecordBatch, row: int) -> None:
        if score > best.get(kind, -math.inf):
            best[kind], found[kind] = score, batch.slice(row, 1)

    for reader in readers:
        for batch in reader.batches((*spec.inputs, spec.label), max(1, reader.num_examples // _SEARCHED)):
            for column in spec.inputs:
                values, row_splits = values_and_row_splits(batch.column(column.name))
                counts = np.diff(row_splits)
                if not counts.all():
                    note(f"{column.name}: no value", 0, batch, int(np.argmin(counts)))
                if column.multivalent:
                    note(f"{column.name}: most values", counts.max(), batch, int(np.argmax(counts)))
                elif column.kind == "numeric" and len(values):
                    rows = np.repeat(np.arange(len(counts)), counts)
                    note(f"{column.name}: smallest number", -values.min(), batch, int(rows[np.argmin(values)]))
                    note(f"{column.name}: largest number", values.max(), batch, int(rows[np.argmax(values)]))
    return [SampleRow(kind, *serialized(row)) for kind, row in found.items()]


def cleaned(spec: FeatureSpec, example: bytes) -> bytes:
    """An example whose inputs are as ingestion would have written them."""
    return _with(spec, example, clean_row(spec, _values(spec, example)))


def edge_cases(spec: FeatureSpec, examples: Sequence[bytes]) -> dict[str, list[bytes]]:
    """Copies of serialized examples in which every input is changed, by kind of change.

    unknown tokens: No token has an id of its own.
    nothing but keys: Every bag is empty and every value that may be missing is.
    over-long lists: Every multivalent column has more values than any sequence keeps, and than most bags hold; where
        the spec limits the width of a bag, that many.
    """
    longest = max((column.max_sequence_length for column in spec.categorical), default=0)
    widths = {name: c.bag_width for c in spec.categorical for name in (c.name, c.weights) if c.bag_width}
    changes: dict[str, Callable[[RequestColumn, Values], Values]] = {
        "unknown tokens": _unknown,
        "nothing but keys": _emptied,
        "over-long lists": lambda column, values: _lengthened(column, values, max(_LONG, longest + 1))[
            : widths.get(column.name)
        ],
    }
    return {name: [_changed(spec, example, change) for example in examples] for name, change in changes.items()}


def _changes(
    spec: FeatureSpec, column: RequestColumn, rarest: Mapping[str, bytes]
) -> Iterator[tuple[str, dict[str, Values]]]:
    """Values of one column, with those of its weights, by kind."""
    if isinstance(column, Categorical):
        yield from _of_tokens(column, _rarest(column, rarest))
    elif column.kind == "numeric":
        yield "missing", {column.name: []}
        yield "zero", {column.name: [0]}
        yield "largest number that its type holds", {column.name: [_LARGEST[column.dtype]]}
        yield "smallest number that its type holds", {column.name: [-_LARGEST[column.dtype]]}
        if column.dtype == "float32":
            yield "NaN", {column.name: [math.nan]}


def _of_tokens(column: Categorical, rarest: bytes | int) -> Iterator[tuple[str, dict[str, Values]]]:
    missing = missing_value(column)

    def changed(*tokens: bytes | float) -> dict[str, Values]:
        weights = {column.weights: [0.5] * len(tokens)} if column.weights else {}
        return {column.name: list(tokens), **weights}

    yield "missing", changed()
    yield "the rarest token", changed(rarest)
    yield "an unknown token", changed(_UNKNOWN[column.dtype])
    yield ("-1" if column.dtype == "int64" else "an empty text"), changed(missing)
    if isinstance(rarest, bytes):
        yield "spaces alone", changed(_BEFORE + _BEHIND)
        yield "spaces around the rarest token", changed(_BEFORE + rarest + _BEHIND)
    if column.multivalent:
        yield "a list with missing values", changed(missing, rarest, missing)
        yield "a list of missing values", changed(missing, missing)
    if column.weights:
        yield "a weight of NaN", {column.name: [rarest, rarest], column.weights: [math.nan, 0.5]}


def _rarest(column: Categorical, rarest: Mapping[str, bytes]) -> bytes | int:
    """The rarest token of a column's table; an unknown one of a table without tokens."""
    if column.table not in rarest:
        return _UNKNOWN[column.dtype]
    return int(rarest[column.table]) if column.dtype == "int64" else rarest[column.table]


def _changed(spec: FeatureSpec, example: bytes, change: Callable[[RequestColumn, Values], Values]) -> bytes:
    values = _values(spec, example)
    return _with(spec, example, {column.name: change(column, values[column.name]) for column in spec.inputs})


def _unknown(column: RequestColumn, values: Values) -> Values:
    return [_UNKNOWN[column.dtype]] * len(values) if column.kind == "categorical" else values


def _emptied(column: RequestColumn, values: Values) -> Values:
    return values if column.required and not column.multivalent else []


def _lengthened(column: RequestColumn, values: Values, times: int) -> Values:
    """Repeats the values of a multivalent column; ids and their weights start equally long and stay so."""
    filler = 1.0 if column.dtype == "float32" else _UNKNOWN[column.dtype]
    return (values or [filler]) * times if column.multivalent else values


def _values(spec: FeatureSpec, example: bytes) -> dict[str, Values]:
    features = tf.train.Example.FromString(example).features.feature
    return {column.name: list(getattr(features[column.name], _kind(column)).value) for column in spec.inputs}


def _with(spec: FeatureSpec, example: bytes, changed: Mapping[str, Values]) -> bytes:
    """An example with other values of some inputs."""
    parsed = tf.train.Example.FromString(example)
    for column in spec.inputs:
        if column.name in changed:
            feature = parsed.features.feature[column.name]
            feature.Clear()
            getattr(feature, _kind(column)).value.extend(changed[column.name])
    return parsed.SerializeToString(deterministic=True)


def _kind(column: RequestColumn) -> str:
    return {"string": "bytes_list", "int64": "int64_list", "float32": "float_list"}[column.dtype]
