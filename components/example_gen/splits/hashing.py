"""Hashes that draw rows for a split.

Each distinct token is hashed once with BLAKE2b, keyed by the seed. Hashes of several values are then mixed by the
finalizer of splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). This is
vectorized and stateless. It gives a row the same split on every machine and in every run, whatever other rows are
added and in whatever order they come.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from components.example_gen.rows import ITEM, POSITION, TOKEN, USER, Entities, Rows, places


def hash_tokens(tokens: Iterable[bytes], key: str) -> np.ndarray:
    """Hashes tokens.

    Args:
        tokens: What is hashed.
        key: Hashes under different keys are independent; ASCII, at most 64 characters.

    Returns:
        `[tokens]` uint64.
    """
    # Copies take two thirds of the time that new ones do.
    keyed = hashlib.blake2b(digest_size=8, key=key.encode())

    def digest(token: bytes) -> bytes:
        copy = keyed.copy()
        copy.update(token)
        return copy.digest()

    return np.frombuffer(b"".join(map(digest, tokens)), "<u8").astype(np.uint64)


def as_bytes(tokens: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Tokens as objects, `[tokens]`, in a twentieth of the time that `to_pylist` takes."""
    return tokens.to_numpy(zero_copy_only=False)


def mix(values: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 over its first state, elementwise on uint64 (arithmetic modulo 2^64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def uniform(hashes: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) from the upper 53 bits, all that a float64 holds."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def drawn(hashes: np.ndarray, split: int, fraction: float) -> np.ndarray:
    """Draws rows for a split, independently of the draws for other splits.

    Args:
        hashes: Of the rows, `[rows]` uint64.
        split: Index into `SPLITS`.
        fraction: Share of the hashes that is drawn.

    Returns:
        Whether each row is drawn, `[rows]` bool.
    """
    return uniform(mix(hashes ^ np.uint64(split))) < fraction


def hash_values(values: pa.Array, seed: int) -> np.ndarray:
    """Hashes of a column's values, `[rows]` uint64; equal values have equal hashes.

    Args:
        values: `[rows]` large_binary, without nulls.
        seed: Of the draw.
    """
    distinct = values.dictionary_encode()
    return hash_tokens(as_bytes(distinct.dictionary), f"{seed}")[distinct.indices.to_numpy()]


class Hasher:
    """Hashes rows by their users and items, or by their places.

    The tokens of an `Entities` are hashed once, when a method first needs them: 8 bytes per user and item.

    Attributes:
        seed: Of the draw.
    """

    def __init__(self, seed: int):
        """Takes the seed that keys all hashes."""
        self.seed = seed
        self._entities: Entities | None = None
        self._hashes: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict:
        # The hashes belong to the `Entities` of one process.
        return {"seed": self.seed, "_entities": None, "_hashes": {}}

    def of_entity(self, rows: Rows, column: str, entities: Entities) -> np.ndarray:
        """Hashes of the rows' users or items, `[rows]` uint64. A user and an item of the same name differ.

        Args:
            rows: With the column.
            column: `USER` or `ITEM`.
            entities: The users and items that the column points into.
        """
        return self._tokens(column, entities)[rows.column(column)]

    def of_pair(self, rows: Rows, entities: Entities) -> np.ndarray:
        """Hashes of the rows' (user, item) pairs, `[rows]` uint64."""
        return mix(self.of_entity(rows, USER, entities) ^ mix(self.of_entity(rows, ITEM, entities)))

    def of_place(self, rows: Rows, entities: Entities) -> np.ndarray:
        """Hashes of the rows' files and lines, `[rows]` uint64."""
        file, line = places(rows.column(POSITION))
        return mix(self._tokens(POSITION, entities)[file] ^ mix(line.astype(np.uint64)))

    def _tokens(self, column: str, entities: Entities) -> np.ndarray:
        if self._entities is not entities:
            self._entities, self._hashes = entities, {}
        if column not in self._hashes:
            self._hashes[column] = self._hash(column, entities)
        return self._hashes[column]

    def _hash(self, column: str, entities: Entities) -> np.ndarray:
        if column == POSITION:
            return hash_tokens([file.encode() for file in entities.files], f"{self.seed}")
        role, table = ("user", entities.users) if column == USER else ("item", entities.items)
        assert table is not None
        return hash_tokens(as_bytes(table[TOKEN]), f"{role}:{self.seed}")
