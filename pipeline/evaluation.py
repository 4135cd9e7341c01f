"""What the Evaluator measures and when it blesses."""

import json

from tensorflow_model_analysis.proto import config_pb2

from components.columnar_evaluation.metrics import RegressionMetric
from pipeline.config import EvaluationConfig
from trainer_module.datasets.spec import DatasetSpec


def rating_eval_config(config: EvaluationConfig, dataset: DatasetSpec) -> config_pb2.EvalConfig:
    """RMSE and MAE of predicted ratings, overall and by slice; thresholds on the overall RMSE.

    Args:
        config: The thresholds. The one against the last blessed model is ignored where there is none.
        dataset: Gives the label and the slices.
    """
    threshold = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(upper_bound={"value": config.max_rmse}),
        change_threshold=config_pb2.GenericChangeThreshold(
            direction=config_pb2.MetricDirection.LOWER_IS_BETTER, absolute={"value": config.max_regression}
        ),
    )
    # Slices are for people to look at; a slice of a dozen examples must not decide.
    overall = config_pb2.PerSliceMetricThreshold(slicing_specs=[config_pb2.SlicingSpec()], threshold=threshold)
    options = config_pb2.Options()
    options.include_default_metrics.value = False  # TFMA's own count would count batches
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(signature_name="serving_default", label_key=dataset.features.label.name)],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=[name]) for name in dataset.slices),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(metrics=[_metric("rmse", overall), _metric("mae"), _metric("example_count")])
        ],
        options=options,
    )


def _metric(name: str, *thresholds: config_pb2.PerSliceMetricThreshold) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(
        class_name=RegressionMetric.__name__,
        module=RegressionMetric.__module__,
        config=json.dumps({"name": name}),
        per_slice_thresholds=thresholds,
    )
