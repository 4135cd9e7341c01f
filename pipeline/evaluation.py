"""The Evaluator's configuration: what is measured, and when a model is blessed."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from components.evaluation.retrieval_metrics import THIRDS, RetrievalMetric
from components.evaluation.row_metrics import (
    CLICK_METRICS,
    FLOAT32_CLICK_METRICS,
    FLOAT32_RATING_METRICS,
    POLICY_METRICS,
    RATING_METRICS,
    ClickMetric,
    RegressionMetric,
)
from components.retrieval_index.exact import EVALUATE
from pipeline.config import EvaluationConfig
from trainer_module.data.spec import DatasetSpec, LabelSpec, Task
from trainer_module.models.signatures import BY_EXAMPLE

# The signature that is evaluated, and its metrics.
Measured = tuple[config_pb2.ModelSpec, config_pb2.MetricsSpec]

_LOWER, _HIGHER = config_pb2.MetricDirection.LOWER_IS_BETTER, config_pb2.MetricDirection.HIGHER_IS_BETTER


def eval_config(
    config: EvaluationConfig, dataset: DatasetSpec, heads: Sequence[LabelSpec] = (), quantized: bool = False
) -> config_pb2.EvalConfig:
    """Metrics overall and by slice for the dataset's task, and thresholds on the overall ones.

    Args:
        config: The thresholds. The one against the last blessed model has no effect where there is none.
        dataset: Gives the task, the label and the slices.
        heads: The labels of a model of several goals, each of which gets the metrics and thresholds of its own task.
        quantized: Whether the model is quantized and the float32 one beside it is measured, too.
    """
    if not heads:
        model, metrics = _BUILDERS[dataset.task](config, dataset, quantized)
        return _eval_config(model, [metrics], dataset)
    # TFMA takes no label that a row may lack; the extractors add the heads' labels to the features.
    model = _model(BY_EXAMPLE)
    of_heads = []
    for head in heads:
        _, metrics = _BUILDERS[head.task](config.of_head(head), dataset.for_label(head.name), quantized)
        of_heads.append(config_pb2.MetricsSpec(metrics=metrics.metrics, output_names=[head.name]))
    return _eval_config(model, of_heads, dataset)


def retrieval_metric_names(cutoffs: Sequence[int], quantized: bool = False) -> list[str]:
    """Names of all metrics of a retrieval evaluation.

    Args:
        cutoffs: List lengths; the interval of nDCG is given at the first one only.
        quantized: Whether the float32 index beside a quantized one is measured, too.
    """
    first, *_ = cutoffs
    names = [f"ndcg_at_{first}", f"ndcg_at_{first}_low", f"ndcg_at_{first}_high"]
    for k in cutoffs:
        names += [
            f"ndcg_at_{k}",
            f"popularity_ndcg_at_{k}",
            f"ndcg_at_{k}_lift",
            f"recall_at_{k}",
            f"popularity_recall_at_{k}",
            f"recall_at_{k}_head",
            f"recall_at_{k}_tail",
            f"recall_at_{k}_cold",
            *(f"{metric}_at_{k}{third}" for metric in ("recall", "ndcg") for third in THIRDS),
            f"hit_rate_at_{k}",
            f"coverage_at_{k}",
            f"average_popularity_at_{k}",
            *([f"float32_ndcg_at_{k}", f"float32_recall_at_{k}"] if quantized else []),
        ]
    names += ["mrr_at_100", "row_recall_at_100", "row_recall_at_100_kept", "example_count"]
    return list(dict.fromkeys(names))


def _rating_metrics(config: EvaluationConfig, dataset: DatasetSpec, quantized: bool) -> Measured:
    """RMSE and MAE of predicted ratings."""
    thresholds = {
        "rmse": _threshold(
            upper=config.max_rmse or _any_bound(config), max_regression=config.max_regression, direction=_LOWER
        ),
        **_lift("rmse_lift", config),
        **_calibration(config),
    }
    names = [*RATING_METRICS, *(FLOAT32_RATING_METRICS if quantized else ())]
    return _of_rows(dataset), _metrics(RegressionMetric, names, thresholds)


def _click_metrics(config: EvaluationConfig, dataset: DatasetSpec, quantized: bool) -> Measured:
    """Log loss, AUC and calibration of click probabilities, and the value of policies where there are propensities."""
    thresholds = {
        "log_loss": _threshold(
            upper=config.max_log_loss or _any_bound(config), max_regression=config.max_regression, direction=_LOWER
        ),
        **_lift("log_loss_lift", config),
        **_calibration(config),
    }
    if config.min_auc is not None:
        thresholds["auc"] = _threshold(lower=config.min_auc)
    if config.max_calibration_error is not None:
        thresholds["calibration_error"] = _threshold(upper=config.max_calibration_error)
    names = [*CLICK_METRICS, *(FLOAT32_CLICK_METRICS if quantized else ())]
    names += POLICY_METRICS if dataset.propensity_key else ()
    return _of_rows(dataset), _metrics(ClickMetric, names, thresholds)


def _retrieval_metrics(config: EvaluationConfig, dataset: DatasetSpec, quantized: bool) -> Measured:
    """Metrics over the full corpus, without the user's seen items unless named `_kept`, beside those of popularity."""
    judged = f"ndcg_at_{config.list_lengths[0]}"
    thresholds = {
        judged: _threshold(
            lower=config.min_ndcg if config.min_ndcg is not None else 0.0,
            max_regression=config.max_regression,
            direction=_HIGHER,
        ),
        **_lift(f"{judged}_lift", config),
    }
    names = retrieval_metric_names(config.list_lengths, quantized)
    return _model(EVALUATE), _metrics(RetrievalMetric, names, thresholds)


_BUILDERS: Mapping[Task, Callable[[EvaluationConfig, DatasetSpec, bool], Measured]] = {
    "rating": _rating_metrics,
    "click": _click_metrics,
    "retrieval": _retrieval_metrics,
}


def _of_rows(dataset: DatasetSpec) -> config_pb2.ModelSpec:
    return _model(BY_EXAMPLE, dataset.features.label.name)


def _model(signature: str, label: str = "") -> config_pb2.ModelSpec:
    # Without a type, TFMA loads the model once more, to see whether it is one of Keras.
    return config_pb2.ModelSpec(model_type=tfma.TF_GENERIC, signature_name=signature, label_key=label)


def _eval_config(
    model: config_pb2.ModelSpec, metrics: Sequence[config_pb2.MetricsSpec], dataset: DatasetSpec
) -> config_pb2.EvalConfig:
    options = config_pb2.Options()
    options.include_default_metrics.value = False  # TFMA's own count would count batches
    return config_pb2.EvalConfig(
        model_specs=[model],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=[name]) for name in dataset.slices),
        ],
        metrics_specs=metrics,
        options=options,
    )


def _threshold(
    lower: float | None = None,
    upper: float | None = None,
    max_regression: float | None = None,
    direction: config_pb2.MetricDirection = _LOWER,
) -> config_pb2.MetricThreshold:
    """Bounds of a metric, and of its change against the last blessed model."""
    threshold = config_pb2.MetricThreshold()
    if lower is not None:
        threshold.value_threshold.lower_bound.value = lower
    if upper is not None:
        threshold.value_threshold.upper_bound.value = upper
    if max_regression is not None:
        threshold.change_threshold.direction = direction
        threshold.change_threshold.absolute.value = max_regression if direction == _LOWER else -max_regression
    return threshold


def _any_bound(config: EvaluationConfig) -> float | None:
    """An upper bound that every finite loss keeps, for experiments without gates: without one TFMA blesses nothing."""
    return None if config.beat_baseline else sys.float_info.max


def _lift(name: str, config: EvaluationConfig) -> dict[str, config_pb2.MetricThreshold]:
    """The threshold on the lead over the naive baseline, if there is to be one."""
    return {name: _threshold(lower=0.0)} if config.beat_baseline else {}


def _calibration(config: EvaluationConfig) -> dict[str, config_pb2.MetricThreshold]:
    """The bounds of the mean prediction over the mean label, if there are to be any.

    The naive baseline predicts the mean of the training split, so that a lead over it would say nothing, and the last
    blessed model was within the same bounds.
    """
    if config.max_miscalibration is None:
        return {}
    return {"calibration": _threshold(lower=1 - config.max_miscalibration, upper=1 + config.max_miscalibration)}


def _metrics(
    kind: type[tfma.metrics.Metric], names: Iterable[str], thresholds: Mapping[str, config_pb2.MetricThreshold]
) -> config_pb2.MetricsSpec:
    return config_pb2.MetricsSpec(metrics=[_metric(kind, name, thresholds.get(name)) for name in names])


def _metric(
    kind: type[tfma.metrics.Metric], name: str, threshold: config_pb2.MetricThreshold | None = None
) -> config_pb2.MetricConfig:
    # Slices are for people to look at; a slice of a dozen examples must not decide.
    overall = config_pb2.PerSliceMetricThreshold(slicing_specs=[config_pb2.SlicingSpec()], threshold=threshold)
    return config_pb2.MetricConfig(
        class_name=kind.__name__,
        module=kind.__module__,
        config=json.dumps({"name": name}),
        per_slice_thresholds=[overall] if threshold else [],
    )
