"""Ratings predicted by a mean, a bias of the user and a bias of the item: the naive baseline of the rating task.

The model is `mean + user bias + item bias`, fitted by least squares with a penalty on the biases (Koren, Bell and
Volinsky, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 2009, equations 3 and 5).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array

# Numbers of ratings at which half of a user's or item's deviation from the mean is believed.
SHRINKAGES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)

_SWEEPS = 8


@dataclass(frozen=True)
class Ratings:
    """Rows of one split.

    Attributes:
        user: Row number of the user, `[rows]`; -1 for a user without a bias.
        item: Row number of the item, `[rows]`; -1 for an item without a bias.
        label: The ratings, `[rows]`.
        weight: Of the rows, float64 `[rows]`.
    """

    user: np.ndarray
    item: np.ndarray
    label: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Biases:
    """A fitted model.

    Attributes:
        mean: Weighted mean rating of the training split.
        user: Bias by user, float64 `[users]`.
        item: Bias by item, float64 `[items]`.
        shrinkage: The penalties on the biases of users and of items, in ratings.
    """

    mean: float
    user: np.ndarray
    item: np.ndarray
    shrinkage: tuple[float, float]

    def error(self, ratings: Ratings) -> float:
        """The weighted root mean squared error on `ratings`."""
        off = self.predict(ratings.user, ratings.item) - ratings.label
        return float(np.sqrt(np.average(off * off, weights=ratings.weight)))

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Predicted ratings, float64 `[rows]`; the bias of row number -1 is 0.

        Args:
            user: Row numbers, `[rows]`.
            item: Row numbers, `[rows]`.
        """
        return self.mean + row_biases(user, self.user) + row_biases(item, self.item)


@dataclass(frozen=True)
class Sums:
    """What the fits of all shrinkages share: the ratings, added up.

    Attributes:
        mean: Weighted mean rating.
        counts: Weight of the ratings by user and item, sparse `[users, items]`.
        counts_by_item: The same by item and user, sparse `[items, users]`.
        user: Weighted sum of the ratings' distances from the mean by user, `[users]`.
        item: The same by item, `[items]`.
        of_user: Weight of the ratings by user, `[users]`.
        of_item: Weight of the ratings by item, `[items]`.
    """

    mean: float
    counts: csr_array
    counts_by_item: csr_array
    user: np.ndarray
    item: np.ndarray
    of_user: np.ndarray
    of_item: np.ndarray

    @classmethod
    def of(cls, ratings: Ratings, num_users: int, num_items: int) -> "Sums":
        """Adds up rows without a -1."""
        weight = ratings.weight
        mean = float(np.average(ratings.label.astype(np.float64), weights=weight))
        residual = weight * (ratings.label - mean)
        counts = coo_array((weight, (ratings.user, ratings.item)), shape=(num_users, num_items)).tocsr()
        return cls(
            mean,
            counts,
            counts.T.tocsr(),
            np.bincount(ratings.user, residual, num_users),
            np.bincount(ratings.item, residual, num_items),
            np.bincount(ratings.user, weight, num_users),
            np.bincount(ratings.item, weight, num_items),
        )

    def fit(self, shrinkage: tuple[float, float]) -> Biases:
        """Minimizes `sum weight * (label - mean - user - item)^2 + s_u sum user^2 + s_i sum item^2`.

        Alternates between closed forms.

        Each sweep solves for all item biases with the user biases fixed, then the other way round.

        Args:
            shrinkage: The penalties `s_u` and `s_i`, in ratings.
        """
        user, item = np.zeros_like(self.user), np.zeros_like(self.item)
        for _ in range(_SWEEPS):
            item = (self.item - self.counts_by_item @ user) / (self.of_item + shrinkage[1])
            user = (self.user - self.counts @ item) / (self.of_user + shrinkage[0])
        return Biases(self.mean, user, item, shrinkage)


def fit_best(train: Ratings, selection: Ratings, num_users: int, num_items: int) -> Biases:
    """Fits biases with the shrinkage that predicts `selection` best.

    The search alternates between the two shrinkages until neither changes.

    Args:
        train: Rows to fit, without a -1.
        selection: Rows to choose the shrinkage by.
        num_users: Of the training split.
        num_items: Of the training split.
    """
    sums = Sums.of(train, num_users, num_items)
    fitted: dict[tuple[float, float], tuple[float, Biases]] = {}

    def error(shrinkage: tuple[float, float]) -> float:
        if shrinkage not in fitted:
            biases = sums.fit(shrinkage)
            off = biases.predict(selection.user, selection.item) - selection.label
            fitted[shrinkage] = (float(selection.weight @ (off * off)), biases)
        return fitted[shrinkage][0]

    best = (4.0, 4.0)
    while True:
        of_user = min(((users, best[1]) for users in _near(best[0])), key=error)
        of_both = min(((of_user[0], items) for items in _near(of_user[1])), key=error)
        if of_both == best:
            return fitted[best][1]
        best = of_both


def _near(shrinkage: float) -> Iterable[float]:
    """The grid's neighbours of a value, itself first, so that it stays where they are no better."""
    place = SHRINKAGES.index(shrinkage)
    return (shrinkage, *SHRINKAGES[max(place - 1, 0) : place], *SHRINKAGES[place + 1 : place + 2])


def row_biases(rows: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """The biases of row numbers, float64 `[rows]`; 0 for row number -1, which is the last place."""
    return np.append(biases, 0.0)[rows]
