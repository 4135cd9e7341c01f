"""Predictions of models and of references, then slicing that keeps batches whole.

The Evaluator finds `custom_extractors` by name in the module that its `module_path` parameter gives.
"""

import json
import os
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors import (
    extractor,
    features_extractor,
    labels_extractor,
    slice_key_extractor,
)
from tensorflow_model_analysis.proto import config_pb2

from components.evaluation.added_features import LABEL_PREFIX, NAIVE_PREFIX, ROW_WEIGHT, label_feature, naive_feature
from components.evaluation.extras import extras_to_write
from components.evaluation.float32 import FLOAT32_FEATURE, PredictInFloat32, float32_directory
from components.evaluation.importance_stage import MeasureImportance
from components.evaluation.policies import WEIGHT_FEATURES, WeighPolicies, candidates_directory
from components.evaluation.predictions import Predict
from components.evaluation.retrieval_metrics import with_places
from components.evaluation.row_writer import KEY_FEATURE, KeepRows
from components.evaluation.slicing import group_by_slice
from components.retrieval_index.exact import EVALUATE, queries_at_once
from components.retrieval_index.layout import REPORT_FILE
from trainer_module.data.example_files import serialized, single_or_missing
from trainer_module.data.spec import RELEVANT
from trainer_module.training.naive_baseline import NAIVE_BASELINE, NaiveBaseline

# Examples in one call of the model's signature, at most.
_ROWS_AT_ONCE, _QUERIES_AT_ONCE = 8192, 512

_ADDED = (NAIVE_PREFIX, LABEL_PREFIX, ROW_WEIGHT, FLOAT32_FEATURE, *WEIGHT_FEATURES)


def custom_extractors(
    eval_shared_model: Any, eval_config: config_pb2.EvalConfig, tensor_adapter_config: Any
) -> list[extractor.Extractor]:
    """Gives the extractors of an evaluation whose metrics take batches.

    The naive baseline is read from beside the candidate model; a retrieval index brings its own, popularity. The
    float32 model is read from beside a quantized one.

    Raises:
        ValueError: The configuration slices by fixed values, which this evaluation does not do.
    """
    if any(spec.feature_values for spec in eval_config.slicing_specs):
        raise ValueError("slicing_specs with feature_values are not supported; slice by feature_keys")
    columns = [list(spec.feature_keys) for spec in eval_config.slicing_specs] or [[]]
    is_retrieval = any(spec.signature_name == EVALUATE for spec in eval_config.model_specs)
    size = _queries_at_once(eval_shared_model) if is_retrieval else _ROWS_AT_ONCE
    first, last = [], []
    heads = list(dict.fromkeys(name for spec in eval_config.metrics_specs for name in spec.output_names))
    # What looks tokens up does so before batches are cut: its cost follows the number of distinct tokens per batch.
    if not is_retrieval:
        predict = beam.ParDo(PredictNaively(naive_baseline_directory(eval_shared_model), heads))
        first.append(extractor.Extractor(stage_name="PredictNaively", ptransform=predict))
    if extras := extras_to_write():
        first.append(extractor.Extractor(stage_name="KeyRows", ptransform=beam.Map(extras.rows.keyed)))
    first.append(extractor.Extractor(stage_name="Requests", ptransform=beam.FlatMap(as_requests, size)))
    model_dir = _candidate_directory(eval_shared_model)
    if candidates_dir := candidates_directory(model_dir):
        weigh = beam.ParDo(WeighPolicies(model_dir, candidates_dir))
        first.append(extractor.Extractor(stage_name="WeighPolicies", ptransform=weigh))
    if float32_dir := float32_directory(model_dir):
        predict = beam.ParDo(PredictInFloat32(float32_dir, is_retrieval, heads))
        first.append(extractor.Extractor(stage_name="PredictInFloat32", ptransform=predict))
    if is_retrieval:
        last.append(extractor.Extractor(stage_name="FindPlaces", ptransform=beam.Map(_with_places)))
    if extras:
        loader = _candidate(eval_shared_model).model_loader
        measure = MeasureImportance(extras.plan, loader, KEY_FEATURE, extras.directory, size)
        first.append(extractor.Extractor(stage_name="MeasureImportance", ptransform=measure))
        last.append(extractor.Extractor(stage_name="KeepRows", ptransform=KeepRows(extras.rows)))
    (signature,) = {spec.signature_name for spec in eval_config.model_specs}
    predict = beam.ParDo(
        Predict({each.model_name: each.model_loader for each in _models(eval_shared_model)}, signature)
    )
    first.append(extractor.Extractor(stage_name="Predict", ptransform=predict))
    # TFMA turns all columns that it gets into tensors.
    wanted = {spec.label_key for spec in eval_config.model_specs}.union(*columns)
    first.append(extractor.Extractor(stage_name="SelectColumns", ptransform=beam.Map(with_columns, wanted)))
    return [
        *first,
        features_extractor.FeaturesExtractor(
            eval_config, tensor_adapter_config.tensor_representations if tensor_adapter_config else None
        ),
        labels_extractor.LabelsExtractor(eval_config),
        *last,
        extractor.Extractor(
            stage_name=slice_key_extractor.SLICE_KEY_EXTRACTOR_STAGE_NAME,
            ptransform=beam.FlatMap(slice_batch, columns),
        ),
    ]


def naive_baseline_directory(eval_shared_model: Any) -> str:
    """The directory of the naive baseline beside the candidate model.

    Args:
        eval_shared_model: One of TFMA's shared models, or a list of the candidate and the last blessed one.
    """
    return os.path.join(os.path.dirname(_candidate_directory(eval_shared_model)), NAIVE_BASELINE)


def _queries_at_once(eval_shared_model: Any) -> int:
    """Queries in one call of each index: each makes a score for each of its items and each query."""
    most = 1
    for model in _models(eval_shared_model):
        with tf.io.gfile.GFile(os.path.join(os.path.dirname(model.model_path.rstrip("/")), REPORT_FILE)) as file:
            most = max(most, json.load(file)["candidates"])
    return min(_QUERIES_AT_ONCE, queries_at_once(most))


def _candidate_directory(eval_shared_model: Any) -> str:
    return _candidate(eval_shared_model).model_path.rstrip("/")


def _candidate(eval_shared_model: Any) -> tfma.types.EvalSharedModel:
    (candidate,) = [model for model in _models(eval_shared_model) if not model.is_baseline]
    return candidate


def _models(eval_shared_model: Any) -> list[tfma.types.EvalSharedModel]:
    return eval_shared_model if isinstance(eval_shared_model, list) else [eval_shared_model]


def as_requests(extracts: tfma.Extracts, size: int) -> Iterator[tfma.Extracts]:
    """Cuts a batch into smaller ones and adds the serialized examples that the model's signature takes.

    TFX's reader of TFRecords gives them along; that of Parquet files gives columns alone, and a row group at a time.

    Args:
        extracts: With an Arrow batch and arrays, `[rows]`, that earlier stages have added to its features.
        size: Rows per batch.
    """
    whole, added = extracts[tfma.ARROW_RECORD_BATCH_KEY], extracts.get(tfma.FEATURES_KEY, {})
    for start in range(0, whole.num_rows, size):
        batch = whole.slice(start, size)
        if tfma.ARROW_INPUT_COLUMN not in batch.schema.names:
            one_each = np.arange(batch.num_rows + 1)
            requests = pa.LargeListArray.from_arrays(one_each, pa.array(serialized(batch), pa.large_binary()))
            batch = pa.RecordBatch.from_arrays(
                [*batch.columns, requests], names=[*batch.schema.names, tfma.ARROW_INPUT_COLUMN]
            )
        features = {name: values[start : start + size] for name, values in added.items()}
        yield {**extracts, tfma.ARROW_RECORD_BATCH_KEY: batch, tfma.FEATURES_KEY: features}


def with_columns(extracts: tfma.Extracts, names: Collection[str]) -> tfma.Extracts:
    """A batch with some of its columns.

    Args:
        extracts: With an Arrow batch.
        names: Of the columns; those that the batch lacks are ignored.
    """
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    selected = batch.select([name for name in batch.schema.names if name in names])
    return {**extracts, tfma.ARROW_RECORD_BATCH_KEY: selected}


class PredictNaively(beam.DoFn):
    """Adds the naive baselines' predictions, labels that rows may lack, and weights to the features of each batch."""

    def __init__(self, directory: str, heads: Sequence[str] = ()):
        """Names the directory, which each worker reads once, and the heads of a model of several goals."""
        self._directory = directory
        self._heads = heads

    def setup(self) -> None:
        """Reads the baselines."""
        self._baselines = {
            head: NaiveBaseline.load(os.path.join(self._directory, head)) for head in self._heads or ("",)
        }

    def process(self, extracts: tfma.Extracts) -> Iterator[tfma.Extracts]:
        """Predicts from the Arrow batch, before TFMA turns it into tensors."""
        batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
        named = {
            naive_feature(source, head): values
            for head, baseline in self._baselines.items()
            for source, values in baseline.predict(batch).items()
        }
        named |= {label_feature(head): single_or_missing(batch, head) for head in self._heads}
        # All baselines of a model were fitted on the same rows.
        named[ROW_WEIGHT] = next(iter(self._baselines.values())).weights(batch)
        yield {**extracts, tfma.FEATURES_KEY: {**extracts.get(tfma.FEATURES_KEY, {}), **named}}


def slice_batch(extracts: tfma.Extracts, slices: Sequence[Sequence[str]]) -> Iterator[tfma.Extracts]:
    """Cuts the extracts of a batch into one smaller batch per slice.

    Args:
        extracts: Features, labels and predictions; with a last blessed model, predictions by model.
        slices: Columns of each slicing; an empty list is the overall slice.

    Yields:
        Slice key, labels, predictions, and of the features those that the stages before have added.
    """
    features = extracts[tfma.FEATURES_KEY]
    added = {name: values for name, values in features.items() if name.startswith(_ADDED)}
    sliced_by = {name: features[name] for name in {name for columns in slices for name in columns}} or {
        tfma.PREDICTIONS_KEY: _any_array(extracts[tfma.PREDICTIONS_KEY])
    }
    for columns in slices:
        for key, rows in group_by_slice(sliced_by, columns):
            yield {
                tfma.SLICE_KEY_TYPES_KEY: [key],
                tfma.LABELS_KEY: _take(extracts[tfma.LABELS_KEY], rows),
                tfma.PREDICTIONS_KEY: _take(extracts[tfma.PREDICTIONS_KEY], rows),
                tfma.FEATURES_KEY: _take(added, rows),
            }


def _with_places(extracts: tfma.Extracts) -> tfma.Extracts:
    answers = extracts[tfma.PREDICTIONS_KEY]
    if RELEVANT in answers:
        return {**extracts, tfma.PREDICTIONS_KEY: with_places(answers)}
    return {**extracts, tfma.PREDICTIONS_KEY: {model: with_places(each) for model, each in answers.items()}}


def _any_array(values: np.ndarray | dict[str, Any]) -> np.ndarray:
    """Any one of the arrays; all have the same number of rows."""
    return _any_array(next(iter(values.values()))) if isinstance(values, dict) else np.asarray(values)


def _take(values: Any, rows: np.ndarray) -> Any:
    """Rows of an array, or of each array of a dictionary; None, for missing labels, stays None."""
    if values is None:
        return None
    if isinstance(values, dict):
        return {name: _take(value, rows) for name, value in values.items()}
    return np.asarray(values)[rows]
