"""The ExampleGen of tables: text or Parquet, a row per example."""

from tfx import types
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ExecutionParameter

from components.example_gen.packed_config import pack
from components.flat_example_gen.config import CriteoIngestConfig, FlatIngestConfig
from components.flat_example_gen.executor import ALL_SPANS, LAST_SPAN, NEWEST_SPAN, WINDOW, Executor
from components.example_gen.spans import wildcards
from trainer_module.errors import ConfigError


class FlatExampleGenSpec(standard_component_specs.FileBasedExampleGenSpec):
    """What TFX's ExampleGens of files take, and the window of spans.

    TFX's own `range_config` cannot carry it: the drivers, of which Vertex AI knows only the stock one, refuse ranges of
    more than one span, and any range if the patterns have no marker.
    """

    PARAMETERS = {
        **standard_component_specs.FileBasedExampleGenSpec.PARAMETERS,
        WINDOW: ExecutionParameter(type=int, optional=True),
        LAST_SPAN: ExecutionParameter(type=int, optional=True),
    }


def span_properties(data: FlatIngestConfig | CriteoIngestConfig) -> dict[str, int]:
    """The window that a configuration asks for, by execution property; empty if its files have no spans."""
    if not data.source().has_spans:
        return {}
    last = data.last_span_number
    return {WINDOW: data.window or ALL_SPANS, LAST_SPAN: NEWEST_SPAN if last is None else last}


class FlatExampleGen(FileBasedExampleGen):
    """Ingests a table into the splits `train`, `eval` and `test`.

    TFX's driver fingerprints the files, those of all spans; together with the window, the config and a hash of the
    ingesting code they make the cache key.
    """

    SPEC_CLASS = FlatExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        input_base: str,
        data: FlatIngestConfig | CriteoIngestConfig,
        window: RuntimeParameter | None = None,
        last_span: RuntimeParameter | None = None,
    ):
        """Connects the component.

        Args:
            input_base: Directory below which the files lie.
            data: The configuration.
            window: Given at run time in place of `data.window`: an int, where 0 takes all spans.
            last_span: Given at run time in place of `data.last_span`: an int, where -1 takes the newest span.

        Raises:
            ConfigError: A window is given at run time and the files have no spans.
        """
        source, properties = data.source(), span_properties(data)
        given = {name: value for name, value in ((WINDOW, window), (LAST_SPAN, last_span)) if value}
        if given and not properties:
            raise ConfigError(
                f"{WINDOW} and {LAST_SPAN} are given at run time, but no file pattern has a marker of spans: name one "
                "in data.files, as in 'day-{SPAN}/*.csv' (Criteo's days: set data.window)"
            )
        spec = FlatExampleGenSpec(
            input_base=input_base,
            input_config=example_gen_pb2.Input(
                splits=[
                    example_gen_pb2.Input.Split(name=f"files_{number}", pattern=wildcards(pattern))
                    for number, pattern in enumerate(source.files)
                ]
            ),
            # The output splits follow from the section `data`, not from TFX's hash buckets.
            output_config=example_gen_pb2.Output(),
            output_data_format=example_gen_pb2.FORMAT_TF_EXAMPLE,
            output_file_format=example_gen_pb2.FORMAT_TFRECORDS_GZIP,
            custom_config=pack(data, Executor.__module__),
            examples=types.Channel(type=standard_artifacts.Examples),
            **properties | given,
        )
        # FileBasedExampleGen's own constructor makes a spec that does not know the window.
        super(FileBasedExampleGen, self).__init__(spec=spec)
