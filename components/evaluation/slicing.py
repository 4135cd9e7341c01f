"""Groups the rows of a batch by slice."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

SliceKey = tuple[tuple[str, str | int | float], ...]


def group_by_slice(features: Mapping[str, np.ndarray], columns: Sequence[str]) -> Iterator[tuple[SliceKey, np.ndarray]]:
    """Groups the rows of a batch by their values in some columns.

    Args:
        features: Values by column, one per row: `[batch]` or `[batch, 1]`; bytes, numbers or text.
        columns: Columns to group by; none gives one group of all rows, the overall slice `()`.

    Yields:
        The slice, columns in alphabetical order, and the indices of its rows in ascending order.

    Raises:
        ValueError: A column does not hold exactly one value per row.
    """
    if not columns:
        num_rows = len(next(iter(features.values())))
        if num_rows:
            yield (), np.arange(num_rows)
        return
    names = sorted(columns)
    per_column = [np.unique(_one_per_row(name, features[name]), return_inverse=True) for name in names]
    distinct, codes = zip(*per_column, strict=True)
    combined = np.ravel_multi_index(codes, [len(values) for values in distinct])
    order = np.argsort(combined, kind="stable")
    starts = np.flatnonzero(np.diff(combined[order], prepend=-1))
    for rows in np.split(order, starts[1:]):
        if len(rows):
            values = (_plain(of_column[code[rows[0]]]) for of_column, code in zip(distinct, codes, strict=True))
            yield tuple(zip(names, values, strict=True)), rows


def column_texts(name: str, values: np.ndarray) -> list[str]:
    """A column's values as slices name them, `[rows]`.

    Args:
        name: Of the column, for messages.
        values: One per row: `[batch]` or `[batch, 1]`.

    Raises:
        ValueError: The column does not hold exactly one value per row.
    """
    return [f"{_plain(value)}" for value in _one_per_row(name, values)]


def _one_per_row(name: str, values: np.ndarray) -> np.ndarray:
    if values.size != len(values):
        raise ValueError(f"slice column {name!r} has shape {values.shape}; expected one value per row")
    return values.reshape(-1)


def _plain(value: np.generic | bytes | str) -> str | int | float:
    plain = value.item() if isinstance(value, np.generic) else value
    return plain.decode() if isinstance(plain, bytes) else plain
