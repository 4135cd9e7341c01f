"""The Pusher's parts of `summary.json`."""

import math
from importlib import metadata
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import validation_result_pb2
from tfx import types
from tfx.types import artifact_utils

_PACKAGES = (
    "recspan",
    "tfx",
    "tensorflow",
    "tensorflow-recommenders",
    "tensorflow-transform",
    "tensorflow-model-analysis",
    "apache-beam",
)


def blessing_summary(blessed: bool, has_baseline: bool, hold_first_run: bool) -> dict[str, Any]:
    """Decides whether to push and gives the reason.

    Args:
        blessed: The Evaluator's verdict.
        has_baseline: Whether the model was compared with an earlier blessed model.
        hold_first_run: Whether to hold back a model without a baseline.
    """
    if not blessed:
        push, reason = False, "a metric misses its threshold"
    elif not has_baseline and hold_first_run:
        push, reason = (
            False,
            "first blessed model and evaluation.first_run=hold; the next run is compared with it",
        )
    elif not has_baseline:
        push, reason = True, "all value thresholds hold; no earlier blessed model to compare with"
    else:
        push, reason = True, "all thresholds hold, also against the last blessed model"
    return {"blessed": blessed, "has_baseline": has_baseline, "push": push, "reason": reason}


def ingest_summary(examples: types.Artifact) -> dict[str, Any]:
    """Rows per split, the number of malformed rows and, for data with spans, the spans that were read."""
    splits = artifact_utils.decode_split_names(examples.split_names)
    rows = {split: examples.get_int_custom_property(f"rows_{split}") for split in splits}
    summary = {"rows": rows, "bad_rows": examples.get_int_custom_property("bad_rows")}
    if examples.has_custom_property("spans"):
        summary["spans"] = examples.get_string_custom_property("spans")
        if examples.has_custom_property("version"):
            summary["version_of_last_span"] = examples.get_int_custom_property("version")
    return summary


def evaluation_summary(evaluation_uri: str) -> dict[str, Any]:
    """Metrics of the candidate model and the thresholds that failed.

    Returns:
        `slices`: list of `{"slice": text, metric: value}`, the overall one first; None where there was nothing to
            measure; with a baseline also the differences from it, as `rmse_diff`. `failures`: list of texts.
    """
    # Without a model's name, TFMA gives the candidate's metrics.
    result = tfma.load_eval_result(evaluation_uri)
    slices = []
    for key, outputs in result.slicing_metrics:
        name = ", ".join(f"{column}={value}" for column, value in key) or "overall"
        values = {metric: _finite(cell["doubleValue"]) for metric, cell in outputs[""][""].items()}
        for name_of_data in ("example_count", "baseline_log_loss", "popularity_ndcg_at_10", "popularity_recall_at_10"):
            values.pop(f"{name_of_data}_diff", None)  # both models see the same examples
        slices.append({"slice": name} | values)
    slices.sort(key=lambda row: (row["slice"] != "overall", row["slice"]))
    validation = tfma.load_validation_result(evaluation_uri)
    failures = [failure for of_slice in validation.metric_validations_per_slice for failure in of_slice.failures]
    return {"slices": slices, "failures": [failure_text(failure) for failure in failures]}


def package_versions() -> dict[str, str]:
    """Versions of the packages that affect a model's behavior."""
    return {name: metadata.version(name) for name in _PACKAGES}


def _finite(value: float | str) -> float | None:
    """Converts a TFMA value; "NaN" becomes None."""
    return float(value) if math.isfinite(float(value)) else None


def failure_text(failure: validation_result_pb2.ValidationFailure) -> str:
    """Describes a failed threshold: the metric, its value and the bound."""
    name, value = failure.metric_key.name, failure.metric_value.double_value.value
    threshold = failure.metric_threshold
    if threshold.HasField("change_threshold"):
        allowed = threshold.change_threshold.absolute.value
        bound = "at most" if allowed >= 0 else "at least"
        return f"{name} changed by {value:+.4f} against the last blessed model; {bound} {allowed:+.4f} is allowed"
    bounds = threshold.value_threshold
    if bounds.HasField("lower_bound"):
        return f"{name} is {value:.4f}; at least {bounds.lower_bound.value:.4f} is needed"
    return f"{name} is {value:.4f}; at most {bounds.upper_bound.value:.4f} is allowed"
