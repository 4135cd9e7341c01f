"""The component that prepares queries for the Evaluator: with what a judge needs to know beside the model's answer.

From the examples of a retrieval dataset it makes an `Examples` artifact with one split, `queries`: the same rows with
more columns. The Evaluator then needs no other input, and a threshold on the difference to a baseline blesses or
refuses as every other threshold does.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tfx import v1 as tfx
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx_bsl.coders import example_coder

from components.retrieval_evaluation import baselines
from components.retrieval_evaluation.config import BaselinesConfig
from components.retrieval_evaluation.metrics import list_sizes
from trainer_module.datasets import dataset_spec
from trainer_module.datasets.spec import RELEVANT, SEEN, TRAIN_COUNT
from trainer_module.errors import DataError

QUERIES = "queries"
GROUPS = ("cold", "tail", "head")
RELEVANT_GROUP = "relevant_group"
CATALOG_SIZE = "catalog_size"
BASELINE_COLUMN = "baseline_{}"
REPORT = "baselines.json"

_DECODED = 1024
_KNOWN_SPLITS = ("train", "eval")


def popularity_groups(train_counts: np.ndarray, head_share: float) -> np.ndarray:
    """Which of `GROUPS` each item is in.

    Args:
        train_counts: Training rows of each item, `[items]`.
        head_share: Share of the catalog, by training rows, that is the head; ties at its end go to the tail.

    Returns:
        Indices into `GROUPS`, `[items]` int64: cold without a training row, head, or tail, all others.
    """
    # The least popular item of the head has more rows than the first that is no longer in it.
    size = int(head_share * len(train_counts))
    bound = np.sort(train_counts)[::-1][size] if size < len(train_counts) else 0
    return np.where(train_counts == 0, 0, np.where(train_counts > bound, 2, 1))


def read_columns(uri: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Columns of a split's gzip-compressed examples, batch by batch.

    Args:
        uri: Directory of the split.
        columns: Their names.

    Raises:
        DataError: A column is missing.
    """
    for _, batch in _read(uri):
        if missing := set(columns) - set(batch.schema.names):
            raise DataError(f"{uri}: the examples have no column {sorted(missing)[0]!r}")
        yield batch.select(columns)


class Executor(base_executor.BaseExecutor):
    """Fits the baselines and rewrites the queries."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Writes the judged queries and says which baselines were left out."""
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        judged = artifact_utils.get_single_instance(output_dict["judged"])
        judged.split_names = artifact_utils.encode_split_names([QUERIES])
        examples_utils.set_payload_format(judged, examples_utils.get_payload_format(examples))
        report = write_judged(
            {
                split: artifact_utils.get_split_uri([examples], split)
                for split in (*_KNOWN_SPLITS, "candidates", QUERIES)
            },
            artifact_utils.get_split_uri([judged], QUERIES),
            dataset_name=exec_properties["dataset"],
            config=BaselinesConfig.model_validate_json(exec_properties["config"]),
        )
        with tf.io.gfile.GFile(os.path.join(judged.uri, REPORT), "w") as file:
            file.write(json.dumps(report, indent=2))


def write_judged(split_uris: dict[str, str], output_uri: str, dataset_name: str, config: BaselinesConfig) -> dict:
    """Writes the queries with what their judge needs.

    Added columns: under `BASELINE_COLUMN` each baseline's list, under `RELEVANT_GROUP` the group of each relevant item,
    and `CATALOG_SIZE`.

    Args:
        split_uris: Directories of train, eval, candidates and queries.
        output_uri: Directory of the new split.
        dataset_name: Gives the keys of users and items.
        config: Which baselines.

    Returns:
        What was computed: `computed`, and `left_out` with the reason by name.

    Raises:
        DataError: A column is missing, or an item is not in the catalog.
    """
    dataset = dataset_spec(dataset_name)
    catalog = pa.Table.from_batches(read_columns(split_uris["candidates"], [dataset.item_key, TRAIN_COUNT]))
    items = _flat(catalog[dataset.item_key])
    groups = popularity_groups(_flat(catalog[TRAIN_COUNT]).to_numpy(), config.head_share)
    known = _known_matrix([split_uris[split] for split in _KNOWN_SPLITS], dataset.user_key, dataset.item_key, items)
    left_out = {
        name: f"the catalog has {len(items):,} items, more than max_items {config.max_items:,}"
        for name in config.baselines
        if name != "popularity" and len(items) > config.max_items
    }
    scorers = {name: _fit(name, known, config) for name in config.baselines if name not in left_out}
    tf.io.gfile.makedirs(output_uri)
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(os.path.join(output_uri, "data_tfrecord-00000-of-00001.gz"), options) as writer:
        for records, batch in _read(split_uris[QUERIES]):
            seen = _matrix(batch.column(SEEN), items, SEEN)
            lists = {name: baselines.top_k(score(seen), config.k, seen) for name, score in scorers.items()}
            relevant = batch.column(RELEVANT)
            of_relevant = groups[_indices(relevant, items, RELEVANT)]
            ends = np.cumsum(list_sizes(relevant))
            for row, (record, end) in enumerate(zip(records, ends, strict=True)):
                added = tf.train.Example()
                added.features.feature[CATALOG_SIZE].int64_list.value.append(len(items))
                start = ends[row - 1] if row else 0
                added.features.feature[RELEVANT_GROUP].int64_list.value.extend(of_relevant[start:end].tolist())
                for name, best in lists.items():
                    tokens = items.take(pa.array(best[row][best[row] >= 0])).to_pylist()
                    added.features.feature[BASELINE_COLUMN.format(name)].bytes_list.value.extend(tokens)
                # Serialized messages that stand one after the other are merged by whoever parses them.
                writer.write(record + added.SerializeToString())
    return {"computed": list(scorers), "left_out": left_out}


def _fit(name: str, known: baselines.sparse.csr_matrix, config: BaselinesConfig) -> baselines.Scorer:
    if name == "popularity":
        return baselines.popularity(known)
    if name == "item_knn":
        return baselines.item_knn(known, config.neighbours)
    return baselines.ease(known, config.regularization)


def _known_matrix(uris: list[str], user_key: str, item_key: str, items: pa.Array) -> baselines.sparse.csr_matrix:
    rows = pa.Table.from_batches(batch for uri in uris for batch in read_columns(uri, [user_key, item_key]))
    users = _flat(rows[user_key]).dictionary_encode()
    item = _indices(rows[item_key].combine_chunks(), items, item_key)
    return baselines.binary_matrix(users.indices.to_numpy(), item, (len(users.dictionary), len(items)))


def _matrix(lists: pa.LargeListArray, items: pa.Array, column: str) -> baselines.sparse.csr_matrix:
    rows = np.repeat(np.arange(len(lists)), list_sizes(lists))
    return baselines.binary_matrix(rows, _indices(lists, items, column), (len(lists), len(items)))


def _indices(lists: pa.LargeListArray, items: pa.Array, column: str) -> np.ndarray:
    tokens = lists.flatten().cast(items.type)
    index = pa.compute.index_in(tokens, items)
    if index.null_count:
        unknown = tokens.filter(index.is_null())[0].as_py()
        raise DataError(f"column {column}: item {unknown!r} is not among the split `candidates`")
    return index.to_numpy().astype(np.int64)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().flatten()


def _read(uri: str) -> Iterator[tuple[list[bytes], pa.RecordBatch]]:
    decoder = example_coder.ExamplesToRecordBatchDecoder()
    files = tf.io.gfile.glob(os.path.join(uri, "*.gz"))
    for batch in tf.data.TFRecordDataset(sorted(files), "GZIP").batch(_DECODED).as_numpy_iterator():
        yield list(batch), decoder.DecodeBatch(list(batch))


class JudgedQueriesSpec(ComponentSpec):
    """What the component reads and where it writes."""

    PARAMETERS = {
        "dataset": ExecutionParameter(type=str),
        "config": ExecutionParameter(type=str),
        "source_hash": ExecutionParameter(type=str),
    }
    INPUTS = {"examples": ChannelParameter(type=tfx.types.standard_artifacts.Examples)}
    OUTPUTS = {"judged": ChannelParameter(type=tfx.types.standard_artifacts.Examples)}


class JudgedQueries(base_component.BaseComponent):
    """Queries with the baselines' answers and what else their judge needs."""

    SPEC_CLASS = JudgedQueriesSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, examples: tfx.types.BaseChannel, dataset: str, config: BaselinesConfig, source_hash: str):
        """Connects the component.

        Args:
            examples: With the splits train, eval, candidates and queries.
            dataset: Name of the dataset.
            config: Which baselines.
            source_hash: Of this component's sources, so that a change of them is not answered from the cache.
        """
        super().__init__(
            JudgedQueriesSpec(
                examples=examples,
                dataset=dataset,
                config=config.model_dump_json(),
                source_hash=source_hash,
                judged=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Examples),
            )
        )
