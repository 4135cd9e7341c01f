"""Which values a prediction or a score depends on: it is asked again without each of them.

Leave-one-out attribution (also called occlusion or ablation): the contribution of a value is the score with all values
minus the score where this one is missing. Values act together, so contributions add up to the score in additive models
only. The method needs nothing but a model's answers, so it explains every pushed model.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from trainer_module.models.signatures import SCORE

# Largest difference of two float32 scores that counts as none.
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5


@dataclass(frozen=True)
class Contribution:
    """What one value adds to an answer.

    Attributes:
        column: Input column.
        value: The value; of a column with several values, one of them.
        amount: The score minus the score without this value.
        heads: For a model of several goals, the same for the prediction of each head.
    """

    column: str
    value: str
    amount: float
    heads: Mapping[str, float]


@dataclass(frozen=True)
class Explanation:
    """An answer and what its values add to it.

    Attributes:
        score: With all values.
        without_any: Where all values are missing.
        heads: For a model of several goals, the prediction of each head.
        contributions: The largest amounts first, whatever their sign.
    """

    score: float
    without_any: float
    heads: Mapping[str, float]
    contributions: tuple[Contribution, ...]

    @property
    def together(self) -> float:
        """The sum of all amounts."""
        return sum(each.amount for each in self.contributions)

    @property
    def adds_up(self) -> bool:
        """Whether the amounts add up to what all values do together, as in a model that is additive in them."""
        whole = self.score - self.without_any
        return math.isclose(self.together, whole, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)


def leave_one_out(
    row: pa.RecordBatch, columns: Sequence[str], ask: Callable[[pa.RecordBatch], Mapping[str, np.ndarray]]
) -> Explanation:
    """Leaves out one value after the other, all in one question.

    Args:
        row: A request: lists of values, one row.
        columns: Those whose values are left out.
        ask: From requests `[rows]` to the score that orders items, under `SCORE`, and the predictions of heads, under
            their names, `[rows]` each.
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
    answers = {name: each.astype(np.float64) for name, each in ask(pa.RecordBatch.from_pydict(arrays)).items()}
    scores = answers.pop(SCORE)
    contributions = [
        Contribution(
            name,
            _text(value),
            amount=float(scores[0] - scores[number]),
            heads={head: float(each[0] - each[number]) for head, each in answers.items()},
        )
        for number, (name, value) in enumerate(left_out, start=2)
    ]
    contributions.sort(key=lambda each: -abs(each.amount))
    heads = {head: float(each[0]) for head, each in answers.items()}
    return Explanation(float(scores[0]), float(scores[1]), heads, tuple(contributions))


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return f"{value:g}" if isinstance(value, float) else str(value)
