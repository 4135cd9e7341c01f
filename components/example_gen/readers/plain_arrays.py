"""Brings Arrow columns of every ordinary type to the few forms that conversions know."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.readers.problems import Problems
from trainer_module.data.cells import trimmed


def plain(values: pa.Array) -> pa.Array:
    """The same values without dictionaries, extension types, views and fixed-size lists."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_fixed_size_list(values.type):
        return values.cast(pa.large_list(values.type.value_type))
    if pa.types.is_string_view(values.type):
        return values.cast(pa.large_string())
    if pa.types.is_binary_view(values.type):
        return values.cast(pa.large_binary())
    return values


def is_list(values: pa.DataType) -> bool:
    """Whether a type is one of Arrow's list types but the fixed-size one."""
    return pa.types.is_list(values) or pa.types.is_large_list(values)


def is_number(values: pa.DataType) -> bool:
    """Whether a type is one of integers, floats or decimals."""
    return pa.types.is_integer(values) or pa.types.is_floating(values) or pa.types.is_decimal(values)


def is_text(values: pa.DataType) -> bool:
    """Whether a type is one of text or bytes."""
    return (
        pa.types.is_string(values)
        or pa.types.is_large_string(values)
        or pa.types.is_binary(values)
        or pa.types.is_large_binary(values)
        or pa.types.is_fixed_size_binary(values)
    )


def null_where(is_missing: pa.Array, values: pa.Array) -> pa.Array:
    """The same values with nulls in some places.

    Args:
        is_missing: `[rows]` bool; null where a value is null already.
        values: `[rows]`; returned as they are if none is missing, which saves a copy.
    """
    return pc.if_else(is_missing, None, values) if pc.any(is_missing).as_py() else values


def trimmed_text(values: pa.Array, name: str, problems: Problems) -> pa.Array:
    """Values as text without spaces around it (see `trainer_module.data.cells`), `[rows]` large_string.

    Args:
        values: Of a plain type but lists.
        name: Of the column, for messages.
        problems: Gets bytes that are not UTF-8; they are null in the result.
    """
    if pa.types.is_fixed_size_binary(values.type):
        values = values.cast(pa.large_binary())
    try:
        text = values.cast(pa.large_string())
    except pa.ArrowInvalid:
        wrong = np.array([value is not None and not _is_utf8(value) for value in values.to_pylist()])
        problems.add(
            wrong, lambda row: f"column {name!r}: expected text in UTF-8, found the bytes {values[row].as_py()!r}"
        )
        text = pc.if_else(pa.array(wrong), None, values.cast(pa.large_binary())).cast(pa.large_string())
    return trimmed(text)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
