"""Writes what Vertex AI Vector Search needs to take over the items of another version.

A batch of updates is a directory whose `.json` files hold items to insert or replace, one per line, and whose directory
`delete` holds text files with the identifiers of items to remove, one per line ("Input data format and structure" in
its documentation). No other file may lie there.
"""

import json
import os
import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trainer_module.errors import ConfigError, ModelError
from trainer_module.export.quantization import dequantize, quantize

ITEMS_FILE, DELETED_FILE = "items.json", "delete/removed.txt"

Distance = Literal["max-abs", "cosine"]
DISTANCES: Mapping[Distance, Callable[[np.ndarray, np.ndarray], float]] = {
    "max-abs": lambda earlier, newer: float(np.abs(earlier - newer).max()),
    "cosine": lambda earlier, newer: _cosine_distance(earlier, newer),
}


@dataclass(frozen=True)
class ItemFile:
    """The items of a version.

    Attributes:
        path: Its import file for Vertex AI, see `vertex`.
        is_int8: Whether the version serves the vectors as int8 rows.
    """

    path: Path
    is_int8: bool = False

    def lines(self) -> Iterator[tuple[str, bytes, int]]:
        """Yields identifier, line and the byte at which the line begins.

        Raises:
            ModelError: A line is no item; names file and line.
        """
        start = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield self.parsed(line, f"line {number}")["id"], line, start
                start += len(line)

    def parsed(self, line: bytes, place: str) -> dict[str, Any]:
        """An item with a text `id` and a list `embedding`."""
        try:
            item = json.loads(line)
            if isinstance(item["id"], str) and isinstance(item["embedding"], list):
                return item
            raise ValueError("id is no text or embedding no list")
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{self.path}, {place}: not an item of Vertex AI Vector Search ({error}); push the version again"
            ) from None

    def vector(self, item: Mapping[str, Any]) -> np.ndarray:
        """The vector as the version serves it, float32 `[dim]`."""
        vector = np.array(item["embedding"], np.float32)
        return dequantize(*quantize(vector[np.newaxis]))[0] if self.is_int8 else vector


@dataclass(frozen=True)
class Delta:
    """What a batch of updates holds.

    Attributes:
        new: Items that the earlier version lacks.
        changed: Items whose vector or restricts are others.
        unchanged: Items that are not in the batch.
        removed: Items that the newer version lacks.
    """

    new: int
    changed: int
    unchanged: int
    removed: int

    @property
    def is_empty(self) -> bool:
        return not (self.new or self.changed or self.removed)


def write_delta(
    newer: ItemFile, earlier: ItemFile | None, output: Path, tolerance: float = 0.0, distance: Distance = "max-abs"
) -> Delta:
    """Writes the batch that turns an index of an earlier version into one of a newer version.

    Reads line by line; memory holds the identifiers of the earlier version and where their lines are. Lines are those
    of the newer version's import file, byte by byte, so that an updated index equals one that is built from it.

    Args:
        newer: What the index shall hold.
        earlier: What it holds; None writes all items.
        output: Directory, which appears complete or not at all, and not if there is nothing to update.
        tolerance: Largest distance of two vectors that are the same.
        distance: `max-abs`: largest absolute difference of a number. `cosine`: 1 minus the cosine.

    Raises:
        ConfigError: `output` exists.
        ModelError: An import file is damaged, or the vectors have another dimension.
    """
    if output.exists():
        raise ConfigError(f"{output} is there already; name a directory that is not, or remove it")
    output.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        delta = _write(newer, earlier, staging, tolerance, distance)
        if not delta.is_empty:
            staging.chmod(0o755)  # mkdtemp gives access to the owner only
            # An empty directory in its place would be replaced, one with files is an error.
            os.rename(staging, output)
        return delta
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(newer: ItemFile, earlier: ItemFile | None, directory: Path, tolerance: float, distance: Distance) -> Delta:
    numbers: dict[str, int] = {}
    starts, kept = array("q"), bytearray()
    if earlier is not None:
        for item, _, start in earlier.lines():
            numbers[item] = len(starts)
            starts.append(start)
        kept = bytearray(len(starts))
    new = changed = unchanged = 0
    items_file = directory / ITEMS_FILE
    with items_file.open("wb") as items, (earlier or newer).path.open("rb") as before:
        for item, line, _ in newer.lines():
            number = numbers.get(item)
            if number is None:
                new += 1
            else:
                assert earlier is not None
                kept[number] = 1
                before.seek(starts[number])
                if _is_same(earlier, before.readline(), newer, line, tolerance, DISTANCES[distance]):
                    unchanged += 1
                    continue
                changed += 1
            items.write(line)
    if not new + changed:
        # The service may refuse a file without an item.
        items_file.unlink()
    removed = len(kept) - sum(kept)
    if removed:
        deleted = directory / DELETED_FILE
        deleted.parent.mkdir()
        with deleted.open("w", encoding="utf-8") as file:
            file.writelines(f"{item}\n" for item, number in numbers.items() if not kept[number])
    return Delta(new, changed, unchanged, removed)


def _is_same(
    earlier: ItemFile,
    earlier_line: bytes,
    newer: ItemFile,
    newer_line: bytes,
    tolerance: float,
    distance: Callable[[np.ndarray, np.ndarray], float],
) -> bool:
    if earlier_line == newer_line and earlier.is_int8 == newer.is_int8:
        return True
    before, now = earlier.parsed(earlier_line, "a line"), newer.parsed(newer_line, "a line")
    if before.get("restricts") != now.get("restricts"):
        return False
    vectors = earlier.vector(before), newer.vector(now)
    if len(vectors[0]) != len(vectors[1]):
        raise ModelError(
            f"{newer.path} holds vectors of {len(vectors[1])} numbers, {earlier.path} of {len(vectors[0])}; an index "
            "keeps its dimension, so export all items and create another one"
        )
    return distance(*vectors) <= tolerance


def _cosine_distance(earlier: np.ndarray, newer: np.ndarray) -> float:
    if np.array_equal(earlier, newer):
        return 0.0
    earlier, newer = earlier.astype(np.float64), newer.astype(np.float64)
    norms = float(np.linalg.norm(earlier) * np.linalg.norm(newer))
    # A vector of zeros has no direction, so that it is like no other.
    return max(0.0, 1.0 - float(earlier @ newer) / norms) if norms else 1.0
