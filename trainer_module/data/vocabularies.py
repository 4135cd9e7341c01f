"""Which token has which row: vocabularies in the transform graph, their fingerprints, and the contract that they make.

Ids mean nothing by themselves. A checkpoint or SavedModel therefore carries the fingerprints of the vocabularies that
its tables were trained with, and loading it with others is refused.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_transform as tft

from trainer_module.data.features import FeatureSpec, HashBuckets, Table
from trainer_module.errors import ConfigError, DataError, ModelError

_BLOCK_BYTES = 8 << 20
_NONE = "no such table"

# Where a checkpoint whose root holds a `VocabularyState` as `vocabularies` keeps it.
_CHECKPOINT_KEY = "vocabularies/.ATTRIBUTES/py_state"


class Vocabularies:
    """The vocabularies of all embedding tables.

    Attributes:
        rows: Number of rows per table: its tokens plus its out-of-vocabulary buckets.
        fingerprints: SHA-256 per table, over its tokens in the order of their ids and the number of its buckets.
    """

    def __init__(self, spec: FeatureSpec, transform_output: tft.TFTransformOutput):
        self._transform_output = transform_output
        self.rows = table_rows(spec, transform_output)
        self.fingerprints = {
            table.name: table_fingerprint(transform_output, table.name, table.vocabulary.oov_buckets)
            for table in spec.tables
        }

    @property
    def fingerprint(self) -> str:
        """One SHA-256 for all: equal if and only if all ids mean the same."""
        return hashlib.sha256(json.dumps(self.fingerprints, sort_keys=True).encode()).hexdigest()

    def tokens(self, table: str) -> pa.Array:
        """All tokens of a table, in the order of their ids."""
        return read_tokens(self._transform_output, table)


def table_rows(spec: FeatureSpec, transform_output: tft.TFTransformOutput) -> dict[str, int]:
    """Number of rows per table: its tokens plus its out-of-vocabulary buckets."""
    return {
        table.name: table.vocabulary.oov_buckets
        + (0 if isinstance(table.vocabulary, HashBuckets) else _num_lines(transform_output, table.name))
        for table in spec.tables
    }


def table_fingerprint(transform_output: tft.TFTransformOutput, table: str, oov_buckets: int) -> str:
    """SHA-256 over a table's tokens in the order of their ids and its number of out-of-vocabulary buckets.

    A table of hash buckets has no tokens, so that the number of its buckets is all that its ids depend on.
    """
    digest = hashlib.sha256(f"{oov_buckets}\n".encode())
    path = transform_output.vocabulary_file_by_name(table)
    if path is None:
        return digest.hexdigest()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def read_tokens(transform_output: tft.TFTransformOutput, table: str) -> pa.Array:
    """The tokens of a table, `large_binary`, in the order of their ids; none for a table of hash buckets."""
    path = transform_output.vocabulary_file_by_name(table)
    return pa.array([], pa.large_binary()) if path is None else _read_lines(path)


def training_counts(transform_output: tft.TFTransformOutput, table: Table) -> np.ndarray:
    """How often each row of a table is looked up by the training split's counted columns.

    Args:
        transform_output: Of Transform.
        table: Declared with `frequencies`.

    Returns:
        int64 `[rows]` in the order of the ids; tokens out of vocabulary add up in the buckets that they hash to.

    Raises:
        ConfigError: The table keeps no frequencies.
    """
    if not table.frequencies:
        raise ConfigError(
            f"table {table.name}: its training frequencies are needed, but Transform does not keep them; declare the "
            "table with frequencies=True in the dataset's feature spec"
        )
    tokens = read_tokens(transform_output, table.name)
    lines = _read_lines(transform_output.vocabulary_file_by_name(table.frequency_file))
    # Each line is a number, a blank and the token, which may hold blanks itself.
    fields = pc.split_pattern(lines, b" ", max_splits=1)
    counts = pc.list_element(fields, 0).cast(pa.large_string()).cast(pa.int64()).to_numpy()
    counted = pc.list_element(fields, 1)
    ids = pc.index_in(counted, tokens)
    known = ids.is_valid().to_numpy(zero_copy_only=False)
    totals = np.zeros(len(tokens) + table.vocabulary.oov_buckets, np.int64)
    totals[ids.drop_null().to_numpy()] = counts[known]
    unknown = counted.filter(pa.array(~known)).to_numpy(zero_copy_only=False)
    # The hash with which the transform graph chooses a bucket.
    buckets = tf.strings.to_hash_bucket_fast(tf.constant(unknown, tf.string), table.vocabulary.oov_buckets).numpy()
    np.add.at(totals, len(tokens) + buckets, counts[~known])
    return totals


def _num_lines(transform_output: tft.TFTransformOutput, table: str) -> int:
    """Number of a table's tokens.

    `vocabulary_size_by_name` does the same line by line, which takes a second for 70,000 tokens.
    """
    path = transform_output.vocabulary_file_by_name(table)
    return sum(block.count(b"\n") for block in _blocks(path))


def _blocks(path: str) -> Iterator[bytes]:
    """The content of a file in blocks, because a vocabulary may have hundreds of millions of tokens."""
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _read_lines(path: str) -> pa.Array:
    """The lines of a file, `large_binary`."""
    with tf.io.gfile.GFile(path, "rb") as file:
        text = file.read()
    if not text:
        return pa.array([], pa.large_binary())
    (lines,) = pc.split_pattern(pa.array([text.removesuffix(b"\n")], pa.large_binary()), b"\n").to_pylist()
    return pa.array(lines, pa.large_binary())


class VocabularyState(tf.train.experimental.PythonState):
    """Carries fingerprints inside a checkpoint, so that the two cannot be separated."""

    def __init__(self, fingerprints: Mapping[str, str]):
        self._fingerprints = dict(fingerprints)

    def serialize(self) -> str:
        return json.dumps(self._fingerprints)

    def deserialize(self, string_value: bytes) -> None:
        check_fingerprints(self._fingerprints, json.loads(string_value), "the checkpoint")


def read_fingerprints(checkpoint: str) -> dict[str, str]:
    """The fingerprints in a checkpoint, by table.

    Raises:
        ModelError: It holds none.
    """
    reader = tf.train.load_checkpoint(checkpoint)
    if not reader.has_tensor(_CHECKPOINT_KEY):
        raise ModelError(
            f"{checkpoint} holds no vocabulary fingerprints, so it is not one of this product's checkpoints"
        )
    return json.loads(reader.get_tensor(_CHECKPOINT_KEY))


def check_fingerprints(expected: Mapping[str, str], found: Mapping[str, str], where: str) -> None:
    """Compares fingerprints by table.

    Args:
        expected: Of the transform graph at hand.
        found: What a checkpoint or SavedModel carries.
        where: Names the latter.

    Raises:
        ModelError: They differ; names the tables.
    """
    differing = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    if differing:
        expected_and_found = [(name, expected.get(name, _NONE), found.get(name, _NONE)) for name in differing]
        shown = [f"{name} (expected {one[:13]}, found {other[:13]})" for name, one, other in expected_and_found]
        raise ModelError(
            f"{where} was trained with other vocabularies: {', '.join(shown)}. Its rows would stand for other tokens. "
            "Train anew, or name it in training.warm_start, which moves rows with their tokens"
        )


def check_ids(
    spec: FeatureSpec, rows: Mapping[str, int], features: Mapping[str, tf.Tensor | tf.SparseTensor | tf.RaggedTensor]
) -> None:
    """Checks transformed examples against the sizes of their tables.

    Args:
        spec: Gives the categorical columns.
        rows: Number of rows per table.
        features: Ids by column, of some examples.

    Raises:
        DataError: An id has no row; names column, table, id and example.
    """
    for column in spec.categorical:
        ids = features[column.name]
        if isinstance(ids, tf.Tensor):
            ids = tf.RaggedTensor.from_tensor(ids)
        if isinstance(ids, tf.SparseTensor):
            ids = tf.RaggedTensor.from_sparse(ids)
        outside = (ids.values < 0) | (ids.values >= rows[column.table])
        for position in tf.where(outside)[:1, 0].numpy():
            raise DataError(
                f"column {column.name}: the transform graph gives id {int(ids.values[position])} in example "
                f"{int(ids.value_rowids()[position])}, but table {column.table} has the rows 0 to "
                f"{rows[column.table] - 1}. Transform and vocabularies do not belong together; run Transform again "
                "(--no-cache)"
            )
