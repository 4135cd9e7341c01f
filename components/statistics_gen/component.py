"""TFX's StatisticsGen with an executor that counts values column by column.

This is a class, because the decorator `@component` cannot make a component of Beam.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
import tensorflow_data_validation as tfdv
from tensorflow_data_validation.statistics.generators.basic_stats_generator import BasicStatsGenerator
from tensorflow_data_validation.statistics.stats_impl import GenerateSlicedStatisticsImpl
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.components.statistics_gen.executor import DEFAULT_FILE_NAME
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.example_source import ReadExamples
from components.statistics_gen.top_values import TopValues
from trainer_module.source_hash import source_hash


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
        files = {
            split: os.path.join(artifact_utils.get_split_uri([artifact], split), DEFAULT_FILE_NAME) for split in splits
        }
        with self._make_beam_pipeline() as pipeline:
            # One pipeline of steps for all splits: with little data, the number of steps decides how long it takes.
            _ = (
                pipeline
                | "Read" >> ReadExamples(examples, splits)
                | "Statistics" >> GenerateSlicedStatisticsImpl(stats_options(), is_slicing_enabled=True)
                | "Write" >> beam.Map(write_statistics, files)
            )


def write_statistics(found: statistics_pb2.DatasetFeatureStatisticsList, files: Mapping[str, str]) -> None:
    """Writes the statistics of each split to a file of its own.

    Args:
        found: A dataset for each split with rows, which has the split's name.
        files: Paths by split.
    """
    by_split = {dataset.name: dataset for dataset in found.datasets}
    for split, path in files.items():
        # As in TFX's files, where no name tells datasets apart and a split without rows has empty statistics.
        dataset = by_split.get(split, statistics_pb2.DatasetFeatureStatistics())
        dataset.ClearField("name")
        fileio.makedirs(os.path.dirname(path))
        with fileio.open(path, "wb") as file:
            file.write(statistics_pb2.DatasetFeatureStatisticsList(datasets=[dataset]).SerializeToString())


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
