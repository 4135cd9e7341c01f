"""Builds, saves and loads the FAISS index over the candidates' vectors (inner product)."""

import logging
import os
from collections.abc import Sequence

import faiss
import numpy as np
import tensorflow as tf

from components.retrieval_index.config import FaissConfig

_log = logging.getLogger(__name__)

INDEX_FILE = "index.faiss"
IDS_FILE = "ids.txt"

_BLOCK_ROWS = 65_536
_SEED = 0


def build(config: FaissConfig, vectors: np.ndarray) -> faiss.Index:
    """Trains an index and adds the vectors block by block.

    Besides the index, memory holds one block of vectors or the training sample.

    Args:
        config: Type and parameters of the index.
        vectors: Float32 `[candidates, dim]`, possibly memory-mapped.

    Returns:
        An index whose ids are row numbers of `vectors`.

    Raises:
        ConfigError: The parameters do not fit the number of candidates or their dimension.
    """
    num_candidates, dim = vectors.shape
    index = faiss.index_factory(dim, config.description(num_candidates, dim), faiss.METRIC_INNER_PRODUCT)
    for name, value in config.parameters.items():
        faiss.ParameterSpace().set_index_parameter(index, name, value)
    if num_training := config.num_training(num_candidates):
        _log.info("training the FAISS index with %d of %d vectors", num_training, num_candidates)
        index.train(_sample(vectors, num_training))
    for start in range(0, num_candidates, _BLOCK_ROWS):
        index.add(np.ascontiguousarray(vectors[start : start + _BLOCK_ROWS]))
        _log.info("FAISS index holds %d of %d candidates", index.ntotal, num_candidates)
    return index


def save(index: faiss.Index, ids: Sequence[str], directory: str) -> None:
    """Writes an index and a file with the identifier of each row, one per line."""
    tf.io.gfile.makedirs(directory)
    with tf.io.gfile.GFile(os.path.join(directory, INDEX_FILE), "wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
    with tf.io.gfile.GFile(os.path.join(directory, IDS_FILE), "w") as file:
        for item in ids:
            file.write(f"{item}\n")


def load(directory: str) -> tuple[faiss.Index, list[str]]:
    """Loads an index written by `save` and the identifiers of its rows."""
    with tf.io.gfile.GFile(os.path.join(directory, INDEX_FILE), "rb") as file:
        index = faiss.read_index(faiss.PyCallbackIOReader(file.read))
    with tf.io.gfile.GFile(os.path.join(directory, IDS_FILE)) as file:
        return index, file.read().split("\n")[:-1]


def _sample(vectors: np.ndarray, size: int) -> np.ndarray:
    """Draws rows without replacement and sorts them, so that a memory-mapped file is read sequentially."""
    rows = np.random.default_rng(_SEED).choice(len(vectors), size, replace=False, shuffle=False)
    return np.ascontiguousarray(vectors[np.sort(rows)])
