"""Compares what two runs of a pipeline left: examples, statistics, vocabularies, metrics and recommendations."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import tensorflow_data_validation as tfdv
from google.protobuf import json_format

from tests.examples_on_disk import read_split

TOLERANCE = 1e-6


def read_examples(split: Path) -> Iterator[str]:
    """The examples of a split, each as a text that is equal for equal examples."""
    # The encoder of serialized examples puts features in another order in every process.
    return (str(sorted(row.items())) for row in read_split(split))


def examples(one: Path, other: Path) -> str:
    """How the examples of two runs differ, split by split as multisets of rows; empty if they do not."""
    splits = [_splits(_artifact(root, "ExampleGen/examples")) for root in (one, other)]
    if splits[0].keys() != splits[1].keys():
        return f"splits {sorted(splits[0])} and {sorted(splits[1])}"
    for name, directory in splits[0].items():
        rows, others = Counter(read_examples(directory)), Counter(read_examples(splits[1][name]))
        if not rows:
            return f"split {name} is empty"
        if rows != others:
            return (
                f"split {name}: {max((rows - others).total(), (others - rows).total())} of {rows.total()} rows differ"
            )
    return ""


def statistics(one: Path, other: Path) -> str:
    """How the statistics of two runs differ by more than `TOLERANCE`; empty if they do not."""
    splits = [_splits(_artifact(root, "StatisticsGen/statistics")) for root in (one, other)]
    for name, directory in splits[0].items():
        found = (
            _features(tfdv.load_stats_binary(str(each / "FeatureStats.pb"))) for each in (directory, splits[1][name])
        )
        if difference := first_difference(*found):
            return f"split {name}: {difference}"
    return ""


def vocabularies(one: Path, other: Path) -> str:
    """How the assets of two transform graphs differ; empty if they do not."""
    directories = [_artifact(root, "Transform/transform_graph") / "transform_fn" / "assets" for root in (one, other)]
    found = [{file.name: file.read_bytes() for file in directory.iterdir()} for directory in directories]
    return "" if found[0] == found[1] else f"differ in {sorted(k for k in found[0] if found[0][k] != found[1].get(k))}"


def metrics(one: Path, other: Path) -> str:
    """How the metrics of two runs differ by more than `TOLERANCE`; empty if they do not."""
    found = (
        json.loads(next((root / "runs").glob("*/summary.json")).read_text())["evaluation"] for root in (one, other)
    )
    return first_difference(*found)


def recommendations(one: Path, other: Path) -> str:
    """How two files of recommendations differ, scores by more than `TOLERANCE`; empty if they do not."""
    rows = (
        sorted(pq.read_table(file).to_pylist(), key=lambda row: (row["user"], row["rank"])) for file in (one, other)
    )
    return first_difference(*rows)


def first_difference(one: Any, other: Any, place: str = "") -> str:
    """Where two trees of JSON-like values first differ; floats may differ by `TOLERANCE`, absolute or relative."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs = [(f"{place}.{key}", one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{place}[{number}]", *pair) for number, pair in enumerate(zip(one, other, strict=True))]
    elif isinstance(one, float) and isinstance(other, float):
        close = math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return "" if close else f"{place}: {one!r} and {other!r}"
    else:
        return "" if one == other else f"{place}: {str(one)[:80]} and {str(other)[:80]}"
    return next(filter(None, (first_difference(a, b, inside) for inside, a, b in pairs)), "")


def _features(statistics: Any) -> Any:
    """The statistics as a tree, features by name."""
    tree = json_format.MessageToDict(statistics)
    for dataset in tree["datasets"]:
        dataset["features"] = {str(feature["path"]["step"]): feature for feature in dataset["features"]}
    return tree


def _artifact(root: Path, output: str) -> Path:
    (directory,) = (root / "artifacts").glob(f"*/{output}/*")
    return directory


def _splits(artifact: Path) -> dict[str, Path]:
    return {directory.name: directory for directory in artifact.glob("Split-*")}
