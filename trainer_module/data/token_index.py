"""Places of tokens among many known ones, looked up again and again."""

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Below this, Arrow's own lookup takes no longer than the rest of a batch.
_MANY = 100_000


class TokenIndex:
    """Finds tokens among known ones.

    `pyarrow.compute.index_in` hashes all known tokens in every call, which takes more than a second for ten million.
    Here they are hashed once, and found by a binary search of the hashes, which take 16 bytes a token.
    """

    def __init__(self, known: pa.Array):
        """Takes the known tokens, distinct and without nulls."""
        self._known = known

    def __getstate__(self) -> dict[str, Any]:
        return {"_known": self._known}

    def places(self, tokens: pa.Array) -> np.ndarray:
        """Places of tokens among the known ones, int64 `[tokens]`; -1 for an unknown token.

        Args:
            tokens: Of a type that can be cast to that of the known ones.
        """
        tokens = tokens.cast(self._known.type)
        if self._by_hash is None:
            found = pc.index_in(tokens, value_set=self._known).fill_null(-1)
            return found.to_numpy(zero_copy_only=False).astype(np.int64)
        hashes, places = self._by_hash
        # Neighbours in the search are neighbours in memory.
        wanted = _hashes(tokens)
        order = np.argsort(wanted)
        found = np.empty(len(tokens), np.int64)
        found[order] = places[np.minimum(np.searchsorted(hashes, wanted[order]), len(hashes) - 1)]
        is_same = pc.equal(self._known.take(pa.array(found)), tokens).fill_null(False)
        return np.where(is_same.to_numpy(zero_copy_only=False), found, -1)

    @cached_property
    def _by_hash(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The known tokens' hashes in ascending order, and their places; None if they are few or two have one hash."""
        if len(self._known) < _MANY:
            return None
        hashes = _hashes(self._known)
        places = np.argsort(hashes)
        hashes = hashes[places]
        return None if np.any(hashes[1:] == hashes[:-1]) else (hashes, places)


def _hashes(tokens: pa.Array) -> np.ndarray:
    """Hashes that are equal for equal tokens in one process, uint64 `[tokens]`."""
    # Most runs know fewer tokens, and need not import it.
    import polars as pl

    series = pl.from_arrow(tokens)
    assert isinstance(series, pl.Series)
    return series.hash().to_numpy()
