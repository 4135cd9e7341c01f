"""TFX's StatisticsGen with an executor that counts values column by column.

This is a class, because the decorator `@component` cannot make a component of Beam.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics.generators.basic_stats_generator import BasicStatsGenerator
from tfx.components.statistics_gen.executor import DEFAULT_FILE_NAME
from tfx.components.util import tfxio_utils
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.statistics_gen.top_values import TopValues
from trainer_module.source_hash import source_hash

_TELEMETRY = ["StatisticsGen"]


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes the files of statistics that TFX's executor writes without schema, weights and samples."""

    def Do(  # noqa: N802 (the name that TFX calls)
        self, input_dict: dict[str, list], output_dict: dict[str, list], exec_properties: dict[str, Any]
    ) -> None:
        """Computes the statistics of each split.

        Args:
            input_dict: Holds one `Examples` artifact under `examples`.
            output_dict: Holds one `ExampleStatistics` artifact under `statistics`. It gets the splits of the examples
                but the excluded ones, and in each a file `FeatureStats.pb`.
            exec_properties: `exclude_splits`, a list of names as JSON.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        artifact = artifact_utils.get_single_instance(output_dict["statistics"])
        excluded = json.loads(exec_properties["exclude_splits"])
        splits = [split for split in artifact_utils.decode_split_names(examples.split_names) if split not in excluded]
        artifact.split_names = artifact_utils.encode_split_names(splits)
        artifact.span = examples.span
        with self._make_beam_pipeline() as pipeline:
            for split in splits:
                source = tfxio_utils.get_split_tfxio([examples], split, telemetry_descriptors=_TELEMETRY).BeamSource()
                file = os.path.join(artifact_utils.get_split_uri([artifact], split), DEFAULT_FILE_NAME)
                _ = (
                    pipeline
                    | f"Read[{split}]" >> source
                    | f"Statistics[{split}]" >> tfdv.GenerateStatistics(stats_options())
                    | f"Write[{split}]" >> tfdv.WriteStatisticsToBinaryFile(file)
                )


def stats_options() -> tfdv.StatsOptions:
    """Returns TFDV's default options with `TopValues` in place of its own generator of top values."""
    options = tfdv.StatsOptions(add_default_generators=False)
    options.generators = [
        BasicStatsGenerator(
            num_values_histogram_buckets=options.num_values_histogram_buckets,
            num_histogram_buckets=options.num_histogram_buckets,
            num_quantiles_histogram_buckets=options.num_quantiles_histogram_buckets,
            epsilon=options.epsilon,
        ),
        TopValues(options),
    ]
    return options


class ColumnarStatisticsGenSpec(ComponentSpec):
    """Splits that are left out, and the hash of the sources."""

    PARAMETERS = {
        "exclude_splits": ExecutionParameter(type=str),
        "source_hash": ExecutionParameter(type=str),
    }
    INPUTS = {"examples": ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics)}


class ColumnarStatisticsGen(base_beam_component.BaseBeamComponent):
    """Computes statistics of the splits of examples."""

    SPEC_CLASS = ColumnarStatisticsGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, examples: BaseChannel, exclude_splits: Sequence[str]):
        """Connects the component.

        Args:
            examples: Output of ExampleGen.
            exclude_splits: Names of splits that get no statistics.
        """
        super().__init__(
            ColumnarStatisticsGenSpec(
                examples=examples,
                exclude_splits=json.dumps(list(exclude_splits)),
                source_hash=source_hash(__name__),
                statistics=Channel(type=standard_artifacts.ExampleStatistics),
            )
        )
