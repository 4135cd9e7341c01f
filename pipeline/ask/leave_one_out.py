"""Which values a prediction or a score depends on: it is asked again without each of them.

Leave-one-out attribution (also called occlusion or ablation): the contribution of a value is the score with all values
minus the score where this one is missing. Values act together, so contributions add up to the score in additive models
only. The method needs nothing but a model's answers, so it explains every pushed model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Contribution:
    """What one value adds to a score.

    Attributes:
        column: Input column.
        value: The value; of a column with several values, one of them.
        amount: The score minus the score without this value.
    """

    column: str
    value: str
    amount: float


@dataclass(frozen=True)
class Explanation:
    """A score and what its values add to it.

    Attributes:
        score: With all values.
        without_any: Where all values are missing.
        contributions: The largest amounts first, whatever their sign.
    """

    score: float
    without_any: float
    contributions: tuple[Contribution, ...]


def leave_one_out(
    row: pa.RecordBatch, columns: Sequence[str], ask: Callable[[pa.RecordBatch], np.ndarray]
) -> Explanation:
    """Leaves out one value after the other, all in one question.

    Args:
        row: A request: lists of values, one row.
        columns: Those whose values are left out.
        ask: From requests `[rows]` to their scores, `[rows]`.
    """
    values = {name: row.column(name).to_pylist()[0] for name in columns}
    variants: list[dict[str, list]] = [values, {name: [] for name in columns}]
    left_out: list[tuple[str, object]] = []
    for name in columns:
        for place, value in enumerate(values[name]):
            rest = [*values[name][:place], *values[name][place + 1 :]]
            variants.append(values | {name: rest})
            left_out.append((name, value))
    repeated = pa.Table.from_batches([row]).take(pa.array([0] * len(variants))).combine_chunks().to_batches()[0]
    arrays = {
        name: pa.array([variant[name] for variant in variants], repeated.schema.field(name).type)
        if name in values
        else repeated.column(name)
        for name in repeated.schema.names
    }
    scores = ask(pa.RecordBatch.from_pydict(arrays)).astype(np.float64)
    score, without_any = float(scores[0]), float(scores[1])
    contributions = [
        Contribution(name, _text(value), score - float(without))
        for (name, value), without in zip(left_out, scores[2:], strict=True)
    ]
    contributions.sort(key=lambda each: -abs(each.amount))
    return Explanation(score, without_any, tuple(contributions))


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return f"{value:g}" if isinstance(value, float) else str(value)
