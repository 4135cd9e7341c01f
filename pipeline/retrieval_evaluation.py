"""What the Evaluator measures of retrieval and when it blesses."""

import json

from tensorflow_model_analysis.proto import config_pb2

from components.retrieval_evaluation.config import BaselinesConfig
from components.retrieval_evaluation.tfma_metrics import RetrievalMetrics
from pipeline.config import EvaluationConfig
from trainer_module.datasets.spec import DatasetSpec


def baselines_config(config: EvaluationConfig) -> BaselinesConfig:
    """Which baselines the queries need: always popularity, and the one to beat."""
    wanted = {"popularity", config.beat_baseline} - {"none"}
    return BaselinesConfig(baselines=tuple(sorted({*wanted, *config.baselines})))


def retrieval_eval_config(config: EvaluationConfig, dataset: DatasetSpec) -> config_pb2.EvalConfig:
    """Metrics of the top 10 over the full catalog, overall and by slice; thresholds on the overall nDCG@10.

    Args:
        config: The thresholds. The one against the last blessed model is ignored where there is none.
        dataset: Gives the slices.
    """
    baselines = baselines_config(config)
    name = f"ndcg_at_{baselines.k}"
    thresholds = {
        name: config_pb2.MetricThreshold(
            value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": config.min_ndcg_at_10}),
            change_threshold=config_pb2.GenericChangeThreshold(
                direction=config_pb2.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -config.max_regression}
            ),
        )
    }
    if config.beat_baseline != "none":
        thresholds[f"{name}_over_{config.beat_baseline}"] = config_pb2.MetricThreshold(
            value_threshold=config_pb2.GenericValueThreshold(lower_bound={"value": 0})
        )
    options = config_pb2.Options()
    options.include_default_metrics.value = False  # TFMA's own count would count batches
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(signature_name="serving_default")],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=[column]) for column in dataset.slices),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    config_pb2.MetricConfig(
                        class_name=RetrievalMetrics.__name__,
                        module=RetrievalMetrics.__module__,
                        config=json.dumps({"k": baselines.k, "baselines": baselines.baselines, "resamples": 1000}),
                    )
                ],
                per_slice_thresholds={key: _overall(threshold) for key, threshold in thresholds.items()},
            )
        ],
        options=options,
    )


def _overall(threshold: config_pb2.MetricThreshold) -> config_pb2.PerSliceMetricThresholds:
    # Slices are for people to look at; a slice of a dozen queries must not decide.
    overall = config_pb2.PerSliceMetricThreshold(slicing_specs=[config_pb2.SlicingSpec()], threshold=threshold)
    return config_pb2.PerSliceMetricThresholds(thresholds=[overall])
