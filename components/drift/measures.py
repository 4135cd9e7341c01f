"""How far two distributions of a column are apart.

Rows without a value count as a value of their own, so that a column that goes missing is found by the same measures.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.drift.config import Measure
from components.drift.profile import Distribution, Numbers, Tokens

MISSING = "(missing)"
# Numbers are compared over the ranges between so many quantiles of the earlier ones.
NUM_BINS = 20
# Tokens that both data sets together have less often are one in the Jensen-Shannon divergence: most of a long tail's
# divergence is chance.
LEAST_COUNT = 10


@dataclass(frozen=True)
class Aligned:
    """Two distributions over the same values.

    Attributes:
        names: Of the values, as people read them.
        earlier: Counts in the earlier data, float64 `[values]`.
        newer: Counts in the new data, float64 `[values]`.
    """

    names: "Names"
    earlier: np.ndarray
    newer: np.ndarray

    @property
    def shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Shares of the earlier and the new data, `[values]` each."""
        return self.earlier / max(self.earlier.sum(), 1), self.newer / max(self.newer.sum(), 1)


@dataclass(frozen=True)
class Names:
    """Names of values, made for those that are shown.

    Attributes:
        of: Tokens (an Arrow array) or texts; the last value is `MISSING`.
    """

    of: pa.Array | list[str]

    def __getitem__(self, number: int) -> str:
        if number == len(self.of):
            return MISSING
        if isinstance(self.of, list):
            return self.of[number]
        return self.of[number].as_py().decode(errors="replace")


def align(earlier: Distribution, newer: Distribution) -> Aligned:
    """Counts two distributions of one column over the same values.

    Args:
        earlier: Sets the bins of numbers.
        newer: Of the same kind.

    Returns:
        One value per token, or per bin of numbers, and `MISSING` as the last one.
    """
    if isinstance(earlier, Tokens) and isinstance(newer, Tokens):
        return _aligned_tokens(earlier, newer)
    assert isinstance(earlier, Numbers) and isinstance(newer, Numbers)
    # Without earlier numbers, all new ones are in one bin.
    points = earlier.values if len(earlier.values) else np.zeros(1)
    weights = np.cumsum(earlier.weights) / earlier.weights.sum() if len(earlier.values) else np.ones(1)
    wanted = np.arange(1, NUM_BINS) / NUM_BINS
    inner = points[np.minimum(np.searchsorted(weights, wanted - 1e-9), len(points) - 1)]
    edges = np.unique([np.nextafter(points[0], -np.inf), points[0], *inner, points[-1]])
    names = [f"below {points[0]:.6g}"]
    names += [_range(low, high, points) for low, high in itertools.pairwise(edges)]
    names.append(f"above {edges[-1]:.6g}")
    return Aligned(Names(names), _binned(earlier, edges), _binned(newer, edges))


def l_infinity(aligned: Aligned) -> tuple[float, int]:
    """The largest difference of a value's share, and the number of that value; of two, the one that has grown."""
    earlier, newer = aligned.shares
    growth = newer - earlier
    worst = int(np.lexsort((growth, np.round(np.abs(growth), 9)))[-1])
    return abs(float(growth[worst])), worst


def jensen_shannon(aligned: Aligned) -> float:
    """Jensen-Shannon divergence in bits, from 0 to 1 (J. Lin, Divergence measures based on the Shannon entropy, 1991).

    Values that occur less often than `LEAST_COUNT` in both data sets together are taken as one.
    """
    frequent = aligned.earlier + aligned.newer >= LEAST_COUNT
    p, q = (np.append(share[frequent], share[~frequent].sum()) for share in aligned.shares)
    middle = (p + q) / 2
    return max(0.0, (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2)


def new_tokens(aligned: Aligned) -> float:
    """Share of the new data's tokens that the earlier data do not have; missing ones are no tokens."""
    earlier, newer = aligned.earlier[:-1], aligned.newer[:-1]
    return float(newer[earlier == 0].sum() / max(newer.sum(), 1))


def label_shift(earlier: Numbers, newer: Numbers) -> float | None:
    """Difference of the means, in standard deviations of the earlier labels; None if these are all the same."""
    return abs(newer.mean - earlier.mean) / earlier.deviation if earlier.deviation else None


def chance(measure: Measure, aligned: Aligned) -> float:
    """What the measure may well be for two samples of one distribution: four standard errors, or three times the mean.

    Of new tokens, the mean is the share of the tokens that the earlier data have once (I. J. Good, The population
    frequencies of species and the estimation of population parameters, Biometrika 1953). Of the divergence, it is
    (values - 1) (1/n + 1/m) / (8 ln 2) for samples of n and m (from its second-order expansion around equal
    distributions).
    """
    noise = 1 / max(aligned.earlier.sum(), 1) + 1 / max(aligned.newer.sum(), 1)
    if measure == "l_infinity":
        total = aligned.earlier + aligned.newer
        share = min(float(total.max() / max(total.sum(), 1)), 0.5)
        return 4 * float(np.sqrt(share * (1 - share) * noise))
    if measure == "jensen_shannon":
        num_values = 1 + np.count_nonzero(aligned.earlier + aligned.newer >= LEAST_COUNT)
        return 3 * (num_values - 1) * noise / (8 * float(np.log(2)))
    if measure == "new_tokens":
        earlier, newer = (max(float(counts[:-1].sum()), 1) for counts in (aligned.earlier, aligned.newer))
        # One token more in both, because counts are whole and none is no certainty.
        once = (np.count_nonzero(aligned.earlier[:-1] == 1) + 1) / earlier
        share = min(once, 0.5)
        return min(once + 4 * float(np.sqrt(share * (1 / earlier + (1 - share) / newer))) + 1 / newer, 1.0)
    return 4 * float(np.sqrt(noise))


def _aligned_tokens(earlier: Tokens, newer: Tokens) -> Aligned:
    place = pc.index_in(newer.tokens, value_set=earlier.tokens)
    is_new = np.asarray(place.is_null())
    counts = np.zeros(len(earlier.tokens))
    known = place.drop_null().to_numpy(zero_copy_only=False)
    counts[known] = newer.counts[~is_new]
    names = pa.concat_arrays([earlier.tokens, newer.tokens.filter(pa.array(is_new))])
    return Aligned(
        Names(names),
        np.concatenate([earlier.counts, np.zeros(is_new.sum()), [earlier.missing]]).astype(np.float64),
        np.concatenate([counts, newer.counts[is_new], [newer.missing]]).astype(np.float64),
    )


def _binned(numbers: Numbers, edges: np.ndarray) -> np.ndarray:
    """Rows at most at each edge and above the one before, those above the last, and missing ones."""
    place = np.searchsorted(edges, numbers.values, side="left")
    return np.append(np.bincount(place, numbers.weights, minlength=len(edges) + 1), numbers.missing)


def _range(low: float, high: float, points: np.ndarray) -> str:
    """The name of a bin: its value, if earlier numbers have no other one there."""
    num_values = np.diff(np.searchsorted(points, [low, high], side="right"))[0]
    return f"{high:.6g}" if num_values == 1 else f"above {low:.6g} to {high:.6g}"


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> float:
    """In bits; 0 where p is."""
    some = p > 0
    return float((p[some] * np.log2(p[some] / q[some])).sum())
