"""Recall of an approximate index against exact search."""

import numpy as np

# float32 sums in a different order differ by a few units in the last place.
_TOLERANCE = 1e-5


def recall(queries: np.ndarray, vectors: np.ndarray, found: np.ndarray, best_scores: np.ndarray) -> np.ndarray:
    """Share of each query's k best candidates that was found, `[queries]`.

    A found candidate counts if its recomputed score reaches the kth best score. If several candidates tie for the kth
    place, the index may return any of them (Aumueller et al., "ANN-Benchmarks", Information Systems 87, 2020,
    section 2).

    Args:
        queries: Query vectors, float32 `[queries, dim]`.
        vectors: Vectors of all candidates, float32 `[candidates, dim]`, possibly memory-mapped.
        found: Positions of the found candidates, int64 `[queries, k]`, distinct within a row; -1 for no candidate.
        best_scores: Scores of the exact answer, best first, float32 `[queries, k]`.
    """
    scores = np.einsum("qd,qkd->qk", queries, vectors[np.maximum(found, 0)])
    last = best_scores[:, -1:]
    hits = (found >= 0) & (scores >= last - _TOLERANCE * np.maximum(1, np.abs(last)))
    return hits.mean(axis=1)
