"""TFX's Evaluator with an executor that also keeps every test row's loss and measures permutation importance.

This is a class, because the decorator `@component` cannot extend the executor of another component.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

import tensorflow_model_analysis as tfma
from tfx.components.evaluator import component as stock_component
from tfx.components.evaluator import executor as stock
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ExecutionParameter

from components.evaluation import extractors
from components.evaluation.comparable import check_comparable
from components.evaluation.extras import Extras, writing
from components.evaluation.permutation import Plan
from components.evaluation.row_files import ROWS_DIRECTORY
from components.evaluation.row_writer import KeptRows
from components.once_per_worker import let_go
from trainer_module.data.spec import DatasetSpec, LabelSpec
from trainer_module.source_hash import source_hash

_DATASET, _HEADS, _CUTOFF = "dataset", "heads", "cutoff"
_SOURCE_HASH = "source_hash"


class Executor(stock.Executor):
    """Evaluates as TFX does; rows and importance lie beside the metrics."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]):  # noqa: N802
        """Evaluates a model and decides whether it is blessed."""
        evaluation = artifact_utils.get_single_uri(output_dict[standard_component_specs.EVALUATION_KEY])
        dataset = DatasetSpec.model_validate_json(exec_properties[_DATASET])
        heads = json.loads(exec_properties[_HEADS])
        for blessed in input_dict.get(standard_component_specs.BASELINE_MODEL_KEY, ()):
            check_comparable(heads or {"": dataset.task}, blessed.uri)
        is_retrieval = dataset.task == "retrieval"
        kept = KeptRows(
            directory=os.path.join(evaluation, ROWS_DIRECTORY),
            task=dataset.task,
            keys=dataset.row_keys,
            slices=dataset.slices,
            label="" if is_retrieval else dataset.features.label.name,
            user_key=dataset.user_key if is_retrieval else "",
            heads=heads,
        )
        with writing(Extras(evaluation, kept, Plan(dataset, heads, exec_properties[_CUTOFF]))):
            super().Do(input_dict, output_dict, exec_properties)
        # Models, which the next components would hold beside their own.
        let_go()


class RowKeepingEvaluatorSpec(standard_component_specs.EvaluatorSpec):
    """TFX's spec, the description of rows and the hash of the sources."""

    PARAMETERS = {
        **standard_component_specs.EvaluatorSpec.PARAMETERS,
        _DATASET: ExecutionParameter(type=str),
        _HEADS: ExecutionParameter(type=str),
        _CUTOFF: ExecutionParameter(type=int),
        _SOURCE_HASH: ExecutionParameter(type=str),
    }


class RowKeepingEvaluator(stock_component.Evaluator):
    """Computes metrics on the test split, blesses the model, and keeps the losses that the metrics are made of."""

    SPEC_CLASS = RowKeepingEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: BaseChannel,
        model: BaseChannel,
        baseline_model: BaseChannel,
        schema: BaseChannel | None,
        eval_config: tfma.EvalConfig,
        split: str,
        dataset: DatasetSpec,
        heads: Sequence[LabelSpec] = (),
        cutoff: int = 10,
    ):
        """Connects the component.

        Args:
            examples: Output of ExampleGen.
            model: The candidate.
            baseline_model: The last blessed model.
            schema: Of the rows; None where they are queries.
            eval_config: Metrics, slices and thresholds.
            split: The split that is judged.
            dataset: Tells test rows apart.
            heads: The labels of a model of several goals.
            cutoff: For retrieval, length of the lists that judge the model.
        """
        spec = RowKeepingEvaluatorSpec(
            examples=examples,
            model=model,
            baseline_model=baseline_model,
            schema=schema,
            eval_config=eval_config,
            example_splits=json.dumps([split]),
            fairness_indicator_thresholds="null",
            module_path=extractors.__name__,
            dataset=dataset.for_evaluation().model_dump_json(),
            heads=json.dumps({head.name: head.task for head in heads}),
            cutoff=cutoff,
            source_hash=source_hash(__name__),
            evaluation=Channel(type=standard_artifacts.ModelEvaluation),
            blessing=Channel(type=standard_artifacts.ModelBlessing),
        )
        # The constructor of TFX's component makes a spec without the rows.
        base_component.BaseComponent.__init__(self, spec=spec)
