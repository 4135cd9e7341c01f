"""TFMA's extractors up to the predictions, then slicing that keeps batches whole.

The Evaluator finds `custom_extractors` by name in the module that its `module_path` parameter gives.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors import (
    extractor,
    features_extractor,
    labels_extractor,
    predictions_extractor,
    slice_key_extractor,
)
from tensorflow_model_analysis.proto import config_pb2

from components.evaluation.slicing import group_by_slice


def custom_extractors(
    eval_shared_model: Any, eval_config: config_pb2.EvalConfig, tensor_adapter_config: Any
) -> list[extractor.Extractor]:
    """The extractors of an evaluation whose metrics take batches.

    Raises:
        ValueError: The configuration slices by fixed values, which this evaluation does not do.
    """
    if any(spec.feature_values for spec in eval_config.slicing_specs):
        raise ValueError("slicing_specs with feature_values are not supported; slice by feature_keys")
    columns = [list(spec.feature_keys) for spec in eval_config.slicing_specs] or [[]]
    return [
        features_extractor.FeaturesExtractor(
            eval_config, tensor_adapter_config.tensor_representations if tensor_adapter_config else None
        ),
        labels_extractor.LabelsExtractor(eval_config),
        predictions_extractor.PredictionsExtractor(eval_config, eval_shared_model),
        extractor.Extractor(
            stage_name=slice_key_extractor.SLICE_KEY_EXTRACTOR_STAGE_NAME,
            ptransform=beam.FlatMap(slice_batch, columns),
        ),
    ]


def slice_batch(extracts: tfma.Extracts, slices: Sequence[Sequence[str]]) -> Iterator[tfma.Extracts]:
    """From the extracts of a batch to one smaller batch per slice, with labels and predictions only.

    Args:
        extracts: Features, labels and predictions; with a baseline, predictions by model.
        slices: Columns of each slicing; an empty list is the overall slice.
    """
    features = {
        name: extracts[tfma.FEATURES_KEY][name] for name in {name for columns in slices for name in columns}
    } or {tfma.PREDICTIONS_KEY: _any_array(extracts[tfma.PREDICTIONS_KEY])}
    for columns in slices:
        for key, rows in group_by_slice(features, columns):
            yield {
                tfma.SLICE_KEY_TYPES_KEY: [key],
                tfma.LABELS_KEY: _take(extracts[tfma.LABELS_KEY], rows),
                tfma.PREDICTIONS_KEY: _take(extracts[tfma.PREDICTIONS_KEY], rows),
            }


def _any_array(values: np.ndarray | dict[str, Any]) -> np.ndarray:
    """Some array, for the number of its rows."""
    return _any_array(next(iter(values.values()))) if isinstance(values, dict) else np.asarray(values)


def _take(values: Any, rows: np.ndarray) -> Any:
    """Rows of an array, or of each array of a dictionary by model or output; None, where there are no labels, stays."""
    if values is None:
        return None
    if isinstance(values, dict):
        return {name: _take(value, rows) for name, value in values.items()}
    return np.asarray(values)[rows]
