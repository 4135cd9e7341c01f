"""Where the threshold of a measure comes from: the experiment, history, or a floor while there is no history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from components.drift.config import Measure

# Earlier comparisons that a threshold needs: those among three spans.
LEAST_VALUES = 2
# Median absolute deviations above the median, scaled to standard deviations of normal values.
NUM_DEVIATIONS = 5
_TO_DEVIATIONS = 1.4826

# Share of the median: a column that changes much every day may change more on one of them, or over a refused day.
RELATIVE_MARGIN = 0.5
# The least that a threshold lies above the median of history.
MARGINS: Mapping[Measure, float] = {
    "l_infinity": 0.05,
    "jensen_shannon": 0.05,
    "new_tokens": 0.1,
    "label_shift": 0.25,
}
# While there is no history; chance is added to them.
FIRST: Mapping[Measure, float] = {"l_infinity": 0.2, "jensen_shannon": 0.2, "new_tokens": 0.5, "label_shift": 0.5}


@dataclass(frozen=True)
class Threshold:
    """The largest value that is no drift.

    Attributes:
        value: The value.
        origin: Where it comes from, for people.
        may_stop: Whether a larger value may stop a run.
    """

    value: float
    origin: str
    may_stop: bool


def threshold(
    column: str,
    measure: Measure,
    given: float | None,
    history: Sequence[float],
    chance: float,
    relative_noise: float = 1.0,
) -> Threshold:
    """The threshold of a measure of a column.

    Args:
        column: For the text.
        measure: The measure.
        given: From the experiment; None takes history.
        history: Values of the measure between earlier spans.
        chance: What the measure may be without any drift.
        relative_noise: Variance of these data's shares over that of earlier days' (`relative_noise` of
            `components.drift.history`); history tells of data of their size.
    """
    if given is not None:
        return Threshold(given, f"validation.drift.columns.{column}.{measure}", True)
    if len(history) < LEAST_VALUES:
        value = FIRST[measure] + chance
        missing = f"{LEAST_VALUES + 1} earlier spans are needed, there {_are(len(history) + 1)}"
        return Threshold(value, f"no history yet ({missing}), so it only warns", False)
    median = float(np.median(history))
    deviation = float(np.median(np.abs(np.array(history) - median))) * _TO_DEVIATIONS
    margin = max(MARGINS[measure], NUM_DEVIATIONS * deviation, RELATIVE_MARGIN * median)
    origin = f"history of {len(history) + 1} spans: median {median:.3f}, margin {margin:.3f}"
    allowed = max(median + margin, _for_fewer_rows(measure, median + margin, chance, relative_noise))
    if allowed > median + margin:
        origin += f", and {allowed - median - margin:.3f} for what chance may do in so few rows"
    return Threshold(allowed, origin, True)


def _for_fewer_rows(measure: Measure, value: float, chance: float, relative_noise: float) -> float:
    """A threshold for data with fewer rows than those that history tells of."""
    if measure == "new_tokens":
        # What the earlier data do not have depends on their own size, which `chance` knows.
        return chance if relative_noise > 1 else value
    exponent = 1.0 if measure == "jensen_shannon" else 0.5
    return value + chance * (1 - min(1.0, relative_noise**-exponent))


def _are(number: int) -> str:
    return f"{'is' if number == 1 else 'are'} {number}"
