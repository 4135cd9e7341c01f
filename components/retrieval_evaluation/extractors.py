"""Extractors for the Evaluator: every model's lists become values per query, and those are sliced.

The Evaluator finds `custom_extractors` by name in the module that its `module_path` parameter gives. Its examples are
the artifact of `judged.JudgedQueries`, and it is given no schema: with one, TFMA would drop the columns added there.
"""

from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.extractors import extractor, predictions_extractor, slice_key_extractor
from tensorflow_model_analysis.proto import config_pb2

from components.columnar_evaluation.extractors import slice_batch
from components.retrieval_evaluation.judged import BASELINE_COLUMN, CATALOG_SIZE, GROUPS, RELEVANT_GROUP
from components.retrieval_evaluation.metrics import list_sizes
from components.retrieval_evaluation.outcomes import query_values
from components.retrieval_evaluation.tfma_metrics import metric_arguments
from trainer_module.datasets.spec import RELEVANT

_CONTEXT = "retrieval_context"


def custom_extractors(
    eval_shared_model: Any, eval_config: config_pb2.EvalConfig, tensor_adapter_config: Any
) -> list[extractor.Extractor]:
    """The extractors of an evaluation of retrieval.

    Raises:
        ValueError: The configuration slices by fixed values, or a schema was given.
    """
    if any(spec.feature_values for spec in eval_config.slicing_specs):
        raise ValueError("slicing_specs with feature_values are not supported; slice by feature_keys")
    if tensor_adapter_config is not None:
        raise ValueError(
            "the Evaluator of retrieval takes no schema, which would drop the columns of the judged queries"
        )
    slices = [list(spec.feature_keys) for spec in eval_config.slicing_specs] or [[]]
    arguments = metric_arguments(eval_config)
    return [
        extractor.Extractor("ExtractQueries", beam.Map(extract_queries, slices, arguments["baselines"])),
        predictions_extractor.PredictionsExtractor(eval_config, eval_shared_model),
        extractor.Extractor("ExtractOutcomes", beam.Map(extract_outcomes, arguments["k"])),
        extractor.Extractor(slice_key_extractor.SLICE_KEY_EXTRACTOR_STAGE_NAME, beam.FlatMap(slice_batch, slices)),
    ]


def extract_queries(extracts: tfma.Extracts, slices: list[list[str]], baselines: list[str]) -> tfma.Extracts:
    """From the Arrow batch: serialized examples for the model, slice columns, and what the judge needs.

    Raises:
        ValueError: A slice column does not hold one value per query.
    """
    batch = extracts[constants.ARROW_RECORD_BATCH_KEY]
    rows = batch.num_rows
    lists = {BASELINE_COLUMN.format(name): pa.large_binary() for name in baselines}
    lists |= {RELEVANT: pa.large_binary(), RELEVANT_GROUP: pa.int64(), CATALOG_SIZE: pa.int64()}
    names = {name for columns in slices for name in columns}
    features = {name: batch.column(name).flatten().to_numpy(zero_copy_only=False) for name in names}
    for name, values in features.items():
        if (list_sizes(batch.column(name)) != 1).any():
            raise ValueError(
                f"slice column {name!r} must hold one value per query; {rows} queries, {len(values)} values"
            )
    return {
        constants.INPUT_KEY: batch.column(constants.ARROW_INPUT_COLUMN).flatten().to_numpy(zero_copy_only=False),
        constants.FEATURES_KEY: features,
        _CONTEXT: {name: _lists(batch, name, kind) for name, kind in lists.items()},
    }


def extract_outcomes(extracts: tfma.Extracts, k: int) -> tfma.Extracts:
    """Replaces each model's lists by its values per query; the size of the catalog becomes the label."""
    context = extracts[_CONTEXT]
    predictions = extracts[constants.PREDICTIONS_KEY]
    one_model = "ids" in predictions
    outcomes = {
        name: _outcome(answer, context, k) for name, answer in ({"": predictions} if one_model else predictions).items()
    }
    return {
        constants.FEATURES_KEY: extracts[constants.FEATURES_KEY],
        constants.LABELS_KEY: context[CATALOG_SIZE].flatten().to_numpy(),
        constants.PREDICTIONS_KEY: outcomes[""] if one_model else outcomes,
    }


def _outcome(answer: dict[str, np.ndarray], context: dict[str, pa.LargeListArray], k: int) -> dict[str, np.ndarray]:
    prefix = BASELINE_COLUMN.format("")
    values = query_values(
        answer["ids"],
        answer["train_counts"],
        context[RELEVANT],
        context[RELEVANT_GROUP],
        {name.removeprefix(prefix): lists for name, lists in context.items() if name.startswith(prefix)},
        GROUPS,
        k,
    )
    return {"values": np.stack(list(values.values()), axis=1), "ids": answer["ids"][:, :k]}


def _lists(batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.LargeListArray:
    """A column as lists; one that is empty throughout the batch is absent from it or of type null."""
    position = batch.schema.get_field_index(name)
    if position < 0 or pa.types.is_null(batch.schema.field(position).type):
        return pa.array([[]] * batch.num_rows, pa.large_list(kind))
    return batch.column(position).cast(pa.large_list(kind))
