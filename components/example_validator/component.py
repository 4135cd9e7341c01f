"""TFX's ExampleValidator with an executor that fails on anomalies instead of only recording them.

This is a class, because the decorator `@component` cannot extend the executor of another component.
"""

import logging
import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator import executor as stock
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.example_validator.anomalies import FailOn, Finding, as_table, findings, stopping
from components.run_report.on_refusal import with_page
from components.run_report.stop import Stop
from trainer_module.errors import DataError

_PAGE = "page"
# Inputs that the page shows.
_FOR_PAGE = ("examples", "statistics")

_log = logging.getLogger(__name__)


class AnomaliesFound(DataError):
    """Data do not fit their schema.

    Attributes:
        findings: All anomalies; empty in an error that another process raised.
    """

    verdict = "stopped by anomalies"

    def __init__(self, message: str, findings: Sequence[Finding] = ()):
        super().__init__(message)
        self.findings = tuple(findings)


class Executor(stock.Executor):
    """Validates as TFX does, then raises an error if an anomaly is severe enough."""

    def Do(self, input_dict, output_dict, exec_properties: dict[str, Any]):  # noqa: N802
        """Validates statistics against the schema.

        Raises:
            AnomaliesFound: Some anomaly has at least the configured severity. The message has a table of all anomalies.
        """
        output = super().Do(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict["anomalies"])
        splits = artifact_utils.decode_split_names(artifact.split_names)
        found = findings({split: _read(artifact_utils.get_split_uri([artifact], split)) for split in splits})
        if stopping(found, exec_properties["fail_on"]):
            message = (
                f"the data does not fit its schema:\n{as_table(found)}\n"
                "Mend the data, or, if it is right, the schema; validation.fail_on=never goes on regardless."
            )
            stop = Stop("ExampleValidator", AnomaliesFound.verdict, message, findings=tuple(found))
            given = {name: next(iter(input_dict.get(name, [])), None) for name in _FOR_PAGE}
            raise AnomaliesFound(with_page(exec_properties.get(_PAGE) or "", artifact.uri, stop, given), found)
        if found:
            _log.warning("the data does not quite fit its schema:\n%s", as_table(found))
        return output


class StrictExampleValidatorSpec(ComponentSpec):
    """TFX's spec plus the severity that fails the component, and what the page of a stopped run needs."""

    PARAMETERS = {
        "exclude_splits": ExecutionParameter(type=str),
        "fail_on": ExecutionParameter(type=str),
        _PAGE: ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {"anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies)}


class StrictExampleValidator(base_component.BaseComponent):
    """Stops the pipeline when the data does not fit the curated schema."""

    SPEC_CLASS = StrictExampleValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        statistics: BaseChannel,
        schema: BaseChannel,
        fail_on: FailOn,
        examples: BaseChannel | None = None,
        page: str | None = None,
    ):
        """Connects the component.

        Args:
            statistics: Statistics of all splits.
            schema: The curated schema.
            fail_on: Minimum severity of an anomaly that stops the run.
            examples: Of which the statistics are; needed with `page`.
            page: `PageSettings` as JSON, where this component writes the page of a run that it stops.
        """
        super().__init__(
            StrictExampleValidatorSpec(
                statistics=statistics,
                schema=schema,
                fail_on=fail_on,
                examples=examples,
                page=page,
                exclude_splits="[]",
                anomalies=Channel(type=standard_artifacts.ExampleAnomalies),
            )
        )


def _read(split_uri: str) -> anomalies_pb2.Anomalies:
    with tf.io.gfile.GFile(os.path.join(split_uri, stock.DEFAULT_FILE_NAME), "rb") as file:
        return anomalies_pb2.Anomalies.FromString(file.read())
