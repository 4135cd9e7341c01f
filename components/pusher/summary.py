"""The Pusher's parts of `summary.json`."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import tensorflow as tf
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import validation_result_pb2
from tfx import types
from tfx.types import artifact_utils

from components.example_gen.bigquery.layout import QUERY_RESULTS
from components.pusher.comparison import Comparison, shown
from components.retrieval_index.layout import REPORT_FILE
from trainer_module.run_fn import TRAINING_REPORT

_PACKAGES = (
    "recspan",
    "tfx",
    "tensorflow",
    "tensorflow-recommenders",
    "tensorflow-transform",
    "tensorflow-model-analysis",
    "apache-beam",
)

POPULARITY_NAME = "most popular items"
FLOAT32_NAME = "the same model without export.quantize"

# Metrics that are the same for the candidate and the last blessed model, which see the same examples.
# The importance weights of policies and the float32 metrics are those of the candidate in both places.
_OF_DATA = (
    *("example_count", "click_count", "baseline_", "popularity_", "logistic_", "float32_"),
    *("logged_", "greedy_", "softmax_"),
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
    """Rows per split and the number of malformed rows; the spans that were read, and the results of queries."""
    splits = artifact_utils.decode_split_names(examples.split_names)
    rows = {split: examples.get_int_custom_property(f"rows_{split}") for split in splits}
    summary = {"rows": rows, "bad_rows": examples.get_int_custom_property("bad_rows")}
    if examples.has_custom_property("spans"):
        summary["spans"] = examples.get_string_custom_property("spans")
        if examples.has_custom_property("version"):
            summary["version_of_last_span"] = examples.get_int_custom_property("version")
    if examples.has_custom_property(QUERY_RESULTS):
        manifest = json.loads(examples.get_string_custom_property(QUERY_RESULTS))
        summary[QUERY_RESULTS] = {"examples": examples.uri} | manifest
    return summary


def run_facts(
    experiment: Mapping[str, Any], data_dir: str, examples: types.Artifact | None, model: str, evaluation: str
) -> dict[str, Any]:
    """What is known of a run, whether or not it came to its verdict.

    Args:
        experiment: The whole configuration.
        data_dir: Directory of the raw files.
        examples: Output of ExampleGen; None if there is none.
        model: URI of the judged or the trained model; empty if there is none.
        evaluation: URI of the Evaluator's output; empty if there is none.

    Returns:
        `config`, `data_dir`, `packages`; `examples`, `training`, `retrieval_index` and `evaluation` where they exist.
    """
    facts: dict[str, Any] = {"config": experiment, "data_dir": data_dir, "packages": package_versions()}
    if examples is not None:
        facts["examples"] = ingest_summary(examples)
    if model:
        facts["training"] = json.loads(_read(os.path.join(model, TRAINING_REPORT)))
        if tf.io.gfile.exists(index_report := os.path.join(model, REPORT_FILE)):
            facts["retrieval_index"] = json.loads(_read(index_report))
    if evaluation:
        naive_baselines = {head: each["name"] for head, each in facts["training"]["naive_baselines"].items()}
        facts["evaluation"] = evaluation_summary(evaluation, naive_baselines)
    return facts


def evaluation_summary(evaluation_uri: str, naive_baselines: Mapping[str, str]) -> dict[str, Any]:
    """Metrics of the candidate model, beside those of the naive baseline, and the thresholds that failed.

    Args:
        evaluation_uri: The Evaluator's output.
        naive_baselines: Names of the naive baselines by head, for people; that of a model with one prediction has the
            empty key. Popularity, of a retrieval model, needs none.

    Returns:
        `slices`: list of `{"slice": text, metric: value}`, the overall one first; None where there was nothing to
            measure; with a last blessed model also the differences from it, as `rmse_diff`. A metric of a head has the
            head's label before its name, as `dwell.rmse`. `baselines`: list of
            `Comparison`s, as dictionaries. `failures`: list of texts.
    """
    # Without a model's name, TFMA gives the candidate's metrics.
    result = tfma.load_eval_result(evaluation_uri)
    slices = []
    for key, outputs in result.slicing_metrics:
        name = ", ".join(f"{column}={value}" for column, value in key) or "overall"
        metrics = {
            metric_name(head, metric): _finite(cell["doubleValue"])
            for head, of_head in outputs.items()
            for metric, cell in of_head[""].items()
            if not _is_idle(metric)
        }
        slices.append({"slice": name} | metrics)
    slices.sort(key=lambda row: (row["slice"] != "overall", row["slice"]))
    validation = tfma.load_validation_result(evaluation_uri)
    failures = [failure for of_slice in validation.metric_validations_per_slice for failure in of_slice.failures]
    overall = slices[0]
    return {
        "slices": slices,
        "baselines": [dataclasses.asdict(each) for each in comparisons(overall, naive_baselines)],
        "failures": [failure_text(failure, overall, naive_baselines) for failure in failures],
    }


def metric_name(head: str, metric: str) -> str:
    """The name of a head's metric in a summary; of a model with one prediction, the metric's own."""
    return f"{head}.{metric}" if head else metric


def comparisons(overall: Mapping[str, Any], naive_baselines: Mapping[str, str]) -> list[Comparison]:
    """Pairs the metrics of references with the model's.

    Args:
        overall: Metrics by name, over the whole test split.
        naive_baselines: As for `evaluation_summary`.
    """
    pairs = []
    for name, value in overall.items():
        head, _, own_name = name.rpartition(".")
        references = {
            "popularity_": POPULARITY_NAME,
            "logistic_": "logistic regression",
            "float32_": FLOAT32_NAME,
        }
        references |= {"baseline_": naive_baselines[head]} if head in naive_baselines else {}
        for prefix, reference in references.items():
            metric = metric_name(head, own_name.removeprefix(prefix))
            if own_name.startswith(prefix) and metric in overall:
                pairs.append(Comparison(metric, overall[metric], reference, value))
    return pairs


def package_versions() -> dict[str, str]:
    """Versions of the packages that affect a model's behavior."""
    return {name: metadata.version(name) for name in _PACKAGES}


def _finite(value: float | str) -> float | None:
    """The value, or None for TFMA's "NaN"."""
    return float(value) if math.isfinite(float(value)) else None


def failure_text(
    failure: validation_result_pb2.ValidationFailure, overall: Mapping[str, Any], naive_baselines: Mapping[str, str]
) -> str:
    """Says which metric missed which bound, by how much.

    Args:
        failure: As TFMA reports it.
        overall: Metrics by name, over the whole test split.
        naive_baselines: As for `evaluation_summary`.
    """
    head, value = failure.metric_key.output_name, failure.metric_value.double_value.value
    name = metric_name(head, failure.metric_key.name)
    threshold = failure.metric_threshold
    if not math.isfinite(value):
        return f"{name} is undefined: {_undefined(head, name, overall)}"
    if threshold.HasField("change_threshold"):
        allowed = threshold.change_threshold.absolute.value
        bound = "at most" if allowed >= 0 else "at least"
        return f"{name} changed by {value:+.4f} against the last blessed model; {bound} {allowed:+.4f} is allowed"
    if name.endswith("_lift"):
        metric = name.removesuffix("_lift")
        (pair,) = [
            each
            for each in comparisons(overall, naive_baselines)
            if each.metric == metric and each.reference in (naive_baselines.get(head), POPULARITY_NAME)
        ]
        return (
            f"{metric} {shown(pair.value)} does not beat the naive baseline, {pair.reference}: "
            f"{shown(pair.reference_value)}"
        )
    bounds = threshold.value_threshold
    if bounds.HasField("lower_bound") and bounds.HasField("upper_bound"):
        low, high = bounds.lower_bound.value, bounds.upper_bound.value
        return f"{name} is {value:.4f}; from {low:.4f} to {high:.4f} is allowed"
    if bounds.HasField("lower_bound"):
        return f"{name} is {value:.4f}; at least {bounds.lower_bound.value:.4f} is needed"
    return f"{name} is {value:.4f}; at most {bounds.upper_bound.value:.4f} is allowed"


def _undefined(head: str, name: str, overall: Mapping[str, Any]) -> str:
    """Why a metric has no value."""
    count = overall.get(metric_name(head, "example_count")) or 0
    clicks = overall.get(metric_name(head, "click_count"))
    if "auc" in name and clicks is not None:
        return (
            f"{clicks:.0f} of the {count:.0f} rows of the test split are clicks, and it needs rows of both kinds. "
            "Split the data otherwise"
        )
    if name.rpartition(".")[2] == "calibration" and count:
        return f"the mean label of the {count:.0f} rows of the test split is 0, and it is divided by it"
    return f"none of the {count:.0f} rows of the test split counts for it"


def _read(path: str) -> str:
    with tf.io.gfile.GFile(path) as file:
        return file.read()


def _is_idle(metric: str) -> bool:
    """Whether a metric is the difference of something that does not depend on the model."""
    return metric.endswith("_diff") and metric.startswith(_OF_DATA)
