"""How much of the exact answer an approximate index finds."""

import numpy as np

# float32 sums in another order differ by a few units in the last place.
_TOLERANCE = 1e-5


def recall(queries: np.ndarray, vectors: np.ndarray, found: np.ndarray, best_scores: np.ndarray) -> np.ndarray:
    """Share of each query's best candidates that was found, `[queries]`.

    A candidate that was found counts if its own score, computed anew, reaches that of the last of the best: where
    several tie for the last place, it does not matter which of them an index returns (Aumueller et al., "ANN-
    Benchmarks", Information Systems 87, 2020, section 2).

    Args:
        queries: Their vectors, float32 `[queries, dim]`.
        vectors: Of all candidates, float32 `[candidates, dim]`, possibly on disk.
        found: Positions of candidates, int64 `[queries, k]`, each at most once in a row; -1 where nothing was found.
        best_scores: Of the exact answer, best first, float32 `[queries, k]`.
    """
    scores = np.einsum("qd,qkd->qk", queries, vectors[np.maximum(found, 0)])
    last = best_scores[:, -1:]
    hits = (found >= 0) & (scores >= last - _TOLERANCE * np.maximum(1, np.abs(last)))
    return hits.mean(axis=1)
