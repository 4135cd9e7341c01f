"""Measures permutation importance with the model that the evaluation has loaded, while TFMA computes its metrics."""

import time
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_model_analysis as tfma

from components.evaluation.importance import Importance, write_importance
from components.evaluation.permutation import Answers, Plan
from components.retrieval_index.exact import CANDIDATES, EVALUATE, IDS
from trainer_module.data.example_files import concatenated, serialized
from trainer_module.data.spec import RELEVANT
from trainer_module.models.signatures import BY_EXAMPLE

# Keys of rows, `[rows]`, and the rows.
Keyed = tuple[np.ndarray, pa.RecordBatch]


class MeasureImportance(beam.PTransform):
    """Measures a sample of the rows of all batches, writes the result, and passes the batches on."""

    def __init__(self, plan: Plan, model_loader: Any, key_feature: str, directory: str, size: int):
        """Takes what is needed to measure.

        Args:
            plan: What is measured.
            model_loader: TFMA's, of the candidate; its model is loaded once for all stages of a worker.
            key_feature: Name of the rows' keys among a batch's features.
            directory: Of the Evaluator's output.
            size: Largest number of requests in one call of the model.
        """
        super().__init__()
        self._plan, self._key_feature = plan, key_feature
        self._measure = _Measure(plan, model_loader, size)
        self._directory = directory

    def expand(self, extracts: beam.PCollection) -> beam.PCollection:
        _ = (
            extracts
            | "Columns" >> beam.Map(keyed_columns, self._plan.schema, self._key_feature)
            | "Sample" >> beam.CombineGlobally(SampleRows(self._plan.most_rows)).without_defaults()
            | "Measure" >> beam.ParDo(self._measure)
            | "Write" >> beam.Map(write_importance, self._directory)
        )
        return extracts


def keyed_columns(extracts: tfma.Extracts, schema: pa.Schema, key_feature: str) -> Keyed:
    """Some columns of a batch, and the keys of its rows.

    Args:
        extracts: With an Arrow batch, which lacks columns that no row has a value of.
        schema: Names and types of the columns.
        key_feature: Name of the keys among the features.
    """
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.array([[]] * batch.num_rows, field.type)
        for field in schema
    ]
    return extracts[tfma.FEATURES_KEY][key_feature], pa.RecordBatch.from_arrays(columns, schema=schema)


class SampleRows(beam.CombineFn):
    """The rows with the smallest keys, by key: a random sample, because keys are hashes, and always the same one."""

    def __init__(self, size: int):
        """Takes the number of rows."""
        self._size = size

    def create_accumulator(self) -> list[Keyed]:
        return []

    def add_input(self, accumulator: list[Keyed], element: Keyed) -> list[Keyed]:
        return self._smallest([*accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[list[Keyed]]) -> list[Keyed]:
        return self._smallest([keyed for accumulator in accumulators for keyed in accumulator])

    def extract_output(self, accumulator: list[Keyed]) -> pa.RecordBatch:
        ((_, rows),) = accumulator
        return rows

    def _smallest(self, parts: list[Keyed]) -> list[Keyed]:
        if not parts:
            return []
        keys = np.concatenate([keys for keys, _ in parts])
        order = np.argsort(keys, kind="stable")[: self._size]
        return [(keys[order], concatenated([rows for _, rows in parts]).take(pa.array(order)))]


class _Measure(beam.DoFn):
    """Asks the model for a permuted sample."""

    def __init__(self, plan: Plan, model_loader: Any, size: int):
        self._plan, self._loader, self._size = plan, model_loader, size

    def setup(self) -> None:
        self._model: Any = self._loader.load()

    def process(self, sample: pa.RecordBatch) -> Iterable[Importance]:
        begun = time.monotonic()
        measured = self._plan.measure(sample, self._ask, self._size)
        yield measured.model_copy(update={"seconds": time.monotonic() - begun})

    def _ask(self, requests: pa.RecordBatch) -> Answers:
        is_retrieval = self._plan.dataset.task == "retrieval"
        signature = self._model.signatures[EVALUATE if is_retrieval else BY_EXAMPLE]
        answers = signature(examples=tf.constant(serialized(requests)))
        if is_retrieval:
            return {name: answers[name].numpy() for name in (IDS, RELEVANT, CANDIDATES)}
        if self._plan.heads:
            return {head: answers[head].numpy().reshape(-1) for head in self._plan.heads}
        (only,) = answers.values()
        return {"": only.numpy().reshape(-1)}
