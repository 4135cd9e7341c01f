"""What a cell means: one rule for ingestion, training and service.

- Spaces around a token are no part of it. A space is what Unicode calls White_Space.
- Null, NaN, the empty text, a text of spaces alone and a cell that is not there are one thing: a missing value.
- A list, of tokens or of words, holds its present values only; a list without any is a missing value.
- Of a token and its weight, a missing one drops both.

Ingestion applies the rule to Arrow columns by `trimmed`. The transform graph, and so training and every signature of an
exported model, applies it to tensors: `trainer_module.data.clean`. `clean_row` is the rule on plain values, by which
the sample that an exported model is checked with says what a raw row means.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer_module.data.features import Column, FeatureSpec, Weights

WHITESPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"

_FIRST_VISIBLE, _LAST_VISIBLE = np.frombuffer(b"!~", np.uint8)

# Stands for a missing token in a column of integers.
MISSING_INTEGER = -1

Values = list[Any]


def trim(token: str) -> str:
    """A token without the spaces around it; empty if the token is missing."""
    return token.strip(WHITESPACE)


def trimmed(texts: pa.Array) -> pa.Array:
    """The same as `trim` for an Arrow column of texts."""
    if pa.types.is_large_string(texts.type) and _is_visible_ascii(texts):
        return texts
    return pc.utf8_trim(texts, characters=WHITESPACE)


def _is_visible_ascii(texts: pa.Array) -> bool:
    """Whether every byte of a column of large strings is an ASCII character but a space or a control character."""
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return True
    first, behind = np.frombuffer(offsets, np.int64)[[texts.offset, texts.offset + len(texts)]]
    # Unsigned bytes below "!" wrap around to large ones.
    return not np.any(np.frombuffer(data, np.uint8)[first:behind] - _FIRST_VISIBLE > _LAST_VISIBLE - _FIRST_VISIBLE)


def clean_row(spec: FeatureSpec, row: Mapping[str, Values]) -> dict[str, Values]:
    """The inputs of an example as ingestion would have written them.

    Args:
        spec: Gives the columns.
        row: Values by column: bytes, integers or floats. A column that is not there is missing.

    Returns:
        Values by column. A required column whose value is missing, which ingestion refuses, holds the token that
        service reads in its place: the empty text, which no vocabulary holds, or `MISSING_INTEGER`, or NaN.
    """
    cleaned: dict[str, Values] = {}
    for column in spec.inputs:
        if isinstance(column, Weights):
            continue
        values = [_clean(column, value) for value in row.get(column.name, [])]
        paired = column.weights if column.kind == "categorical" else None
        of_values = row.get(paired, []) if paired else values
        kept = [
            (value, weight)
            for value, weight in zip(values, of_values, strict=True)
            if _is_present(column, value) and (not paired or not math.isnan(weight))
        ]
        cleaned[column.name] = [value for value, _ in kept]
        if paired:
            cleaned[paired] = [weight for _, weight in kept]
        if column.required and not column.multivalent and not kept:
            cleaned[column.name] = [missing_value(column)]
    return cleaned


def missing_value(column: Column) -> bytes | float:
    """What a dense tensor holds where the value of a column is missing."""
    if column.dtype == "string":
        return b""
    return MISSING_INTEGER if column.dtype == "int64" else math.nan


def _clean(column: Column, value: Any) -> Any:
    if column.dtype != "string":
        return value
    # Bytes that are no text stay what they are.
    return trim(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _is_present(column: Column, value: Any) -> bool:
    if column.dtype == "string":
        return value != b""
    if column.dtype == "int64":
        return column.kind == "numeric" or value != MISSING_INTEGER
    return not math.isnan(value)
