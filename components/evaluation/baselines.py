"""Reference recommenders for benchmarks: popularity, item kNN and EASE, on a sparse users x items matrix.

Each is fitted on a binary matrix of known interactions and gives a `Scorer`, from the binary rows of some users
(`[queries, items]`) to scores `[queries, items]`. `top_k` turns scores into lists. Scores are dense, so callers pass
queries in blocks.
"""

from collections.abc import Callable

import numpy as np
from scipy import sparse

Scorer = Callable[[sparse.csr_matrix], np.ndarray]


def binary_matrix(user: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Marks the pairs of a user and an item that have a row: float32 `[users, items]`, 1 or 0.

    Args:
        user: `[rows]`, indices.
        item: `[rows]`, indices.
        shape: Numbers of users and items.
    """
    matrix = sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=shape)
    matrix.data[:] = 1  # the constructor has added up what stood in one place
    return matrix


def popularity(known: sparse.csr_matrix) -> Scorer:
    """Scores an item by the number of its users, the same for every query.

    Args:
        known: Binary `[users, items]`.
    """
    counts = np.asarray(known.sum(axis=0), np.float32).reshape(1, -1)
    return lambda queries: np.repeat(counts, np.diff(queries.indptr).size, axis=0)


def item_knn(known: sparse.csr_matrix, neighbours: int) -> Scorer:
    """Scores an item by the cosine to its neighbours among the query's items (Deshpande and Karypis, TOIS 2004).

    Args:
        known: Binary `[users, items]`. The cosines are dense: 4 bytes times the square of the number of items.
        neighbours: Number of most similar items that count for each item.
    """
    norms = np.sqrt(np.asarray(known.sum(axis=0)).reshape(-1))
    scaled = known @ sparse.diags(np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0))
    cosine = (scaled.T @ scaled).toarray().astype(np.float32)
    np.fill_diagonal(cosine, 0)
    if neighbours < len(cosine):
        # Column j keeps the neighbours of item j, the one that is scored.
        smallest = np.partition(cosine, -neighbours, axis=0)[-neighbours]
        cosine[cosine < smallest] = 0
    return lambda queries: np.asarray(queries @ cosine)


def ease(known: sparse.csr_matrix, regularization: float) -> Scorer:
    """Linear autoencoder with a zero diagonal, solved in closed form (Steck, WWW 2019, "Embarrassingly Shallow...").

    Args:
        known: Binary `[users, items]`. An items x items matrix is inverted: memory is a few times 8 bytes per cell,
            time grows with the cube of the number of items.
        regularization: The paper's lambda.
    """
    gram = (known.T @ known).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += regularization
    inverse = np.linalg.inv(gram)
    weights = (inverse / -np.diag(inverse)).astype(np.float32)
    np.fill_diagonal(weights, 0)
    return lambda queries: np.asarray(queries @ weights)


def top_k(scores: np.ndarray, k: int, seen: sparse.csr_matrix | None = None) -> np.ndarray:
    """The best items of each query.

    Args:
        scores: `[queries, items]`; equal ones come in the order of the items.
        k: Length of the lists.
        seen: Binary `[queries, items]`: items to leave out. None keeps all.

    Returns:
        Indices of items, best first, `[queries, k]` int64; -1 where fewer items remain.
    """
    scores = scores.copy()
    if seen is not None:
        scores[seen.nonzero()] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.where(np.isneginf(np.take_along_axis(scores, order, axis=1)), -1, order)
    return np.pad(best, [(0, 0), (0, k - best.shape[1])], constant_values=-1)
