"""TFX's Transform for pipelines that need nothing but the transform graph.

TFX's executor prepares for statistics, analyzer caches and transformed examples, whether they are wanted or not: it
traces the preprocessing function four times before the analysis, and builds further Beam steps. This one leaves that
out.

This is a class, because the decorator `@component` cannot make a component of Beam.
"""

import functools
import os
from typing import Any

import apache_beam as beam
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import metadata_io
from tfx.components.util import tfxio_utils
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import io_utils

from components.example_source import ReadExamples
from trainer_module.data.features import FeatureSpec
from trainer_module.data.preprocessing import analyzed_columns, preprocessing_fn
from trainer_module.source_hash import source_hash

_TELEMETRY = ["Transform"]
_SPLIT = "train"
_SCRATCH = ".temp_path"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes the transform graph that TFX's executor writes."""

    def Do(  # noqa: N802 (the name that TFX calls)
        self, input_dict: dict[str, list], output_dict: dict[str, list], exec_properties: dict[str, Any]
    ) -> None:
        """Analyzes the training split.

        Args:
            input_dict: Holds one `Examples` artifact under `examples` and one `Schema` artifact under `schema`.
            output_dict: Holds one `TransformGraph` artifact under `transform_graph`.
            exec_properties: `features`, a `FeatureSpec` as JSON.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        schema_directory = artifact_utils.get_single_uri(input_dict["schema"])
        schema = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema_directory))
        output = artifact_utils.get_single_uri(output_dict["transform_graph"])
        features = exec_properties["features"]
        preprocess = functools.partial(preprocessing_fn, custom_config={"features": features})
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        spec = FeatureSpec.model_validate_json(features)
        # Where nothing is analyzed, the label is read all the same: batches without columns have no rows.
        read = analyzed_columns(spec) or [spec.label.name]
        source = tfxio_utils.get_split_tfxio([examples], _SPLIT, _TELEMETRY, schema).Project(read)
        raw_metadata = os.path.join(output, tft.TFTransformOutput.RAW_METADATA_DIR)
        metadata_io.write_metadata(tft.DatasetMetadata(schema), raw_metadata)
        scratch = os.path.join(output, _SCRATCH)
        with self._make_beam_pipeline() as pipeline, tft_beam.Context(scratch, use_deep_copy_optimization=True):
            rows = pipeline | "Read" >> ReadExamples(examples, [_SPLIT], source.ArrowSchema()) | "Rows" >> beam.Values()
            graph = (rows, source.TensorAdapterConfig()) | "Analyze" >> tft_beam.AnalyzeDataset(preprocess, pipeline)
            _ = graph | "Write" >> tft_beam.WriteTransformFn(output)
        io_utils.delete_dir(scratch)


class GraphTransformSpec(ComponentSpec):
    """Columns of the model, and the hash of the sources."""

    PARAMETERS = {
        "features": ExecutionParameter(type=str),
        "source_hash": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {"transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph)}


class GraphTransform(base_beam_component.BaseBeamComponent):
    """Learns vocabularies and moments from the training split, and writes the transform graph."""

    SPEC_CLASS = GraphTransformSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, examples: BaseChannel, schema: BaseChannel, features: FeatureSpec):
        """Connects the component.

        Args:
            examples: Output of ExampleGen.
            schema: The curated schema of the rows.
            features: Columns of the model.
        """
        super().__init__(
            GraphTransformSpec(
                examples=examples,
                schema=schema,
                features=features.for_preprocessing().model_dump_json(),
                source_hash=source_hash(__name__),
                transform_graph=Channel(type=standard_artifacts.TransformGraph),
            )
        )
