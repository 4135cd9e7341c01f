"""The component DriftGate: stops the pipeline before the Trainer, or warns, when new data differ from earlier data."""

# pyright: reportInvalidTypeArguments=false

import json
import logging
import math
import os
from collections.abc import Mapping

import pyarrow as pa
import tensorflow as tf
from tfx.components.example_gen import utils as example_gen
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import Artifact, artifact_utils, standard_artifacts
from tfx.types.experimental import simple_artifacts

from components.drift.comparison import compare_with_earlier
from components.drift.config import DriftConfig, Kind, compared_columns
from components.drift.findings import Measured, as_table
from components.drift.history import Entry
from components.drift.layout import ACCEPTED, EXAMPLES, NEWEST, REPORT_FILE, WHOLE
from components.drift.profile import Profile, profile_of, save
from components.drift.report import DriftReport
from components.example_gen.rows import SPLITS
from components.example_gen.span_facts import NEWEST_FILES, NEWEST_SPAN_NAME, NUM_SPANS, SPANS
from components.run_report.on_refusal import with_page
from components.run_report.stop import Stop
from trainer_module.data.example_files import ExampleFiles
from trainer_module.data.features import FeatureSpec
from trainer_module.errors import DataError
from trainer_module.run_fn import TRAINING_REPORT

# Of more rows, evenly spaced ones are looked at.
ROWS_READ = 1_000_000

_log = logging.getLogger(__name__)


class DriftFound(DataError):
    """New data differ from earlier data by more than the experiment lets through.

    Attributes:
        report: The whole comparison; None in an error that another process raised.
    """

    verdict = "stopped by drift"

    def __init__(self, message: str, report: DriftReport | None = None):
        super().__init__(message)
        self.report = report


@component
def DriftGate(  # noqa: N802 (TFX components are named like classes)
    examples: InputArtifact[standard_artifacts.Examples],
    drift: OutputArtifact[simple_artifacts.Statistics],
    features: Parameter[str],
    config: Parameter[str],
    source_hash: Parameter[str],
    earlier: InputArtifact[simple_artifacts.Statistics] = None,
    model: InputArtifact[standard_artifacts.Model] = None,
    accepted: InputArtifact[simple_artifacts.Statistics] = None,
    page: Parameter[str] = "",
    statistics: InputArtifact[standard_artifacts.ExampleStatistics] = None,
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies] = None,
) -> None:
    """Compares the newest span with the one before it, and with the data of the last blessed model.

    Without spans, all rows are compared with those of the last run that read other examples.

    Args:
        examples: Output of ExampleGen.
        drift: Output: a `DriftReport`, and the profiles that later runs are compared with. It exists only if the data
            were accepted, so that a refused span is no reference. Of a type that no other component makes, by which
            resolvers find it, and that Vertex AI knows.
        features: A `FeatureSpec` as JSON.
        config: A `DriftConfig` as JSON.
        source_hash: Hash of this component's sources; part of the cache key.
        earlier: The last other output of this component; None if there is none.
        model: The last blessed model that was trained on other examples; None if there is none.
        accepted: An output of this component about the same examples, whose drift was let through; None if there is
            none.
        page: `PageSettings` as JSON, where this component writes the page of a run that it stops; else empty.
        statistics: For that page.
        anomalies: For that page.

    Raises:
        DataError: The newest span has no row.
        DriftFound: Drift is to stop the run.
    """
    del source_hash
    settings = DriftConfig.model_validate_json(config)
    spec = FeatureSpec.model_validate_json(features)
    kinds = compared_columns(spec)
    schema = pa.schema([spec.arrow_schema().field(name) for name in kinds])
    is_window = _has_spans(examples) and examples.get_int_custom_property(NUM_SPANS) > 1
    whole = _profile(examples, kinds, schema, "*")
    newest = _profile(examples, kinds, schema, NEWEST_FILES) if is_window else whole
    own = _entry(examples, drift.uri, newest.rows, is_window)
    save(newest, own.newest)
    if is_window:
        save(whole, own.whole)
    known = _entries(earlier)
    report = compare_with_earlier(own, newest, known, _examples_of(model), kinds, settings)
    stopping = [each for each in report.drift if each.may_stop]
    was_accepted = _was_accepted(own, known, accepted)
    if stopping and settings.action == "stop" and was_accepted:
        note = f"{own.name} was accepted by an earlier run, so that its drift does not stop this one"
        report = report.model_copy(update={"notes": (*report.notes, note)})
    elif stopping and settings.action == "stop":
        message = (
            f"{own.name} differs from earlier data, and validation.drift.action is stop:\n{as_table(stopping)}\n"
            f"{_ways_out(own, stopping[0])}"
        )
        stop = Stop("DriftGate", DriftFound.verdict, message, drift=report)
        artifacts = {"examples": examples, "statistics": statistics, "anomalies": anomalies}
        raise DriftFound(with_page(page, drift.uri, stop, artifacts), report)
    if report.drift:
        _log.warning("%s differs from earlier data:\n%s", own.name, as_table(report.drift))
    elif report.compared_with:
        _log.info("%s: no drift against %s", own.name, " and ".join(report.compared_with))
    for note in report.notes:
        # Of data that were not compared with what there is, people must hear.
        _log.log(logging.WARNING if known and not report.compared_with else logging.INFO, "%s", note)
    with tf.io.gfile.GFile(os.path.join(drift.uri, REPORT_FILE), "w") as file:
        file.write(report.model_dump_json())
    drift.set_string_custom_property(EXAMPLES, examples.uri)
    drift.set_int_custom_property(ACCEPTED, int(bool(stopping)))


def _has_spans(examples: Artifact) -> bool:
    return examples.has_custom_property(SPANS)


def _profile(examples: Artifact, kinds: Mapping[str, Kind], schema: pa.Schema, files: str) -> Profile:
    """The profile of the rows in some files of all splits.

    Raises:
        DataError: There is no such file.
    """
    patterns = [os.path.join(artifact_utils.get_split_uri([examples], split), files) for split in SPLITS]
    if not any(tf.io.gfile.glob(pattern) for pattern in patterns):
        raise DataError(
            f"span {examples.get_string_custom_property(NEWEST_SPAN_NAME)}, the newest of the window, has no row that "
            "could be compared with earlier ones. Deliver it again, or end the window before it by data.last_span"
        )
    rows = ExampleFiles(patterns)
    return profile_of(rows.batches(schema, every=-(-rows.num_examples // ROWS_READ)), kinds)


def _entry(examples: Artifact, uri: str, rows: int, is_window: bool) -> Entry:
    newest = os.path.join(uri, NEWEST)
    whole = os.path.join(uri, WHOLE) if is_window else newest
    if not _has_spans(examples):
        # Files without spans have no name but the directory of their examples.
        name = f"the delivery read into {os.path.basename(examples.uri)}"
        return Entry(name=name, span=None, window="", examples=examples.uri, newest=newest, whole=whole, rows=rows)
    return Entry(
        name=f"span {examples.get_string_custom_property(NEWEST_SPAN_NAME)}",
        span=examples.get_int_custom_property(example_gen.SPAN_PROPERTY_NAME),
        window=examples.get_string_custom_property(SPANS),
        examples=examples.uri,
        newest=newest,
        whole=whole,
        rows=rows,
    )


def _entries(earlier: Artifact | None) -> tuple[Entry, ...]:
    if earlier is None:
        return ()
    return DriftReport.model_validate_json(_read(os.path.join(earlier.uri, REPORT_FILE))).entries


def _was_accepted(own: Entry, known: tuple[Entry, ...], accepted: Artifact | None) -> bool:
    """Whether an earlier run has let the very same examples through."""
    return accepted is not None or any(entry.examples == own.examples for entry in known)


def _examples_of(model: Artifact | None) -> str | None:
    """URI of the examples that a model was trained on; None for one of an older version, which did not record it."""
    if model is None:
        return None
    return json.loads(_read(os.path.join(model.uri, TRAINING_REPORT))).get("examples")


def _ways_out(own: Entry, worst: Measured) -> str:
    in_loop = leave_out = ""
    if own.span is not None:
        name = own.name.removeprefix("span ")
        in_loop = f", or in the loop --accept {name}"
        leave_out = f" To leave it out of later windows: data.leave_out=[{name}]."
    return (
        "If the delivery is wrong, mend its files and run again. If the data are like this from now on, accept them "
        f"once, and later spans are compared with them: --set validation.drift.action=warn{in_loop}."
        f"{leave_out} To allow so much of it always: "
        f"--set validation.drift.columns.{worst.column}.{worst.measure}={_above(worst.value)}"
    )


def _above(value: float) -> str:
    """The value, rounded up."""
    return f"{math.ceil(value * 100) / 100:g}"


def _read(path: str) -> str:
    with tf.io.gfile.GFile(path) as file:
        return file.read()
