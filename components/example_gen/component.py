"""The ExampleGen of the product: the tables of a dataset in, examples out.

This is a class, because the decorator `@component` cannot name TFX's driver of file-based ExampleGens.
"""

import glob

from tfx import types
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ExecutionParameter

from components.example_gen.config import NO_FILES, DataConfig
from components.example_gen.executor import ALL_SPANS, LAST_SPAN, NEWEST_SPAN, TABLES_STATE, WINDOW, Executor
from components.example_gen.output.writer import PAYLOADS
from components.example_gen.packed_config import pack
from components.example_gen.spans import wildcards
from trainer_module.data.paths import is_remote
from trainer_module.errors import ConfigError


class TablesExampleGenSpec(standard_component_specs.FileBasedExampleGenSpec):
    """Parameters of TFX's file-based ExampleGens, the window of spans and the state of queried tables.

    TFX's own `range_config` cannot carry the window: the drivers, of which Vertex AI knows only the stock one, refuse
    ranges of more than one span, and any range if the patterns have no marker.
    """

    PARAMETERS = {
        **standard_component_specs.FileBasedExampleGenSpec.PARAMETERS,
        WINDOW: ExecutionParameter(type=int, optional=True),
        LAST_SPAN: ExecutionParameter(type=int, optional=True),
        TABLES_STATE: ExecutionParameter(type=str, optional=True),
    }


def span_properties(data: DataConfig) -> dict[str, int]:
    """The window that a configuration asks for, by execution property; empty if its files have no spans."""
    if not data.has_spans:
        return {}
    last = data.last_span_number
    return {WINDOW: data.window or ALL_SPANS, LAST_SPAN: NEWEST_SPAN if last is None else last}


class TablesExampleGen(FileBasedExampleGen):
    """Ingests a dataset into the splits `train`, `eval` and `test`, for retrieval also `candidates` and `queries`.

    TFX's driver fingerprints the files of all tables, and those of all spans; together with the window, the config,
    which holds queries and the time that they read as of, the state of the tables that other queries read, and a hash
    of the ingesting code they make the cache key.
    """

    SPEC_CLASS = TablesExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        input_base: str,
        data: DataConfig,
        window: RuntimeParameter | None = None,
        last_span: RuntimeParameter | None = None,
        tables_state: str = "",
    ):
        """Connects the component.

        Args:
            input_base: Directory below which the files lie; not looked at if all tables are queries.
            data: The configuration, with paths relative to `input_base` (`DataConfig.portable`).
            window: Given at run time in place of `data.window`: an int, where 0 takes all spans.
            last_span: Given at run time in place of `data.last_span`: an int, where -1 takes the newest span.
            tables_state: Differs once a table was changed that a query reads without `@as_of`; part of the cache key.

        Raises:
            ConfigError: A window is given at run time and the files have no spans.
        """
        properties = span_properties(data)
        given = {name: value for name, value in ((WINDOW, window), (LAST_SPAN, last_span)) if value}
        if given and not properties:
            raise ConfigError(
                f"{WINDOW} and {LAST_SPAN} are given at run time, but no file pattern has a marker of spans: name one "
                "in data.interactions.files, as in 'day-{SPAN}/*.csv' (Criteo's days: set data.window)"
            )
        payload = PAYLOADS[data.payload]
        if not data.reads_files:
            input_base = NO_FILES
        spec = TablesExampleGenSpec(
            # TFX's driver joins it with the patterns, to find the files for its fingerprint.
            input_base=input_base if is_remote(input_base) else glob.escape(input_base),
            input_config=_patterns(data),
            # The output splits follow from the section `data`, not from TFX's hash buckets.
            output_config=example_gen_pb2.Output(),
            output_data_format=payload.payload,
            output_file_format=payload.file_format_number,
            custom_config=pack(data, Executor.__module__),
            examples=types.Channel(type=standard_artifacts.Examples),
            **properties | given | ({TABLES_STATE: tables_state} if tables_state else {}),
        )
        # FileBasedExampleGen's own constructor makes a spec without the window.
        super(FileBasedExampleGen, self).__init__(spec=spec)


def _patterns(data: DataConfig) -> example_gen_pb2.Input:
    """The patterns of all tables, each as a split of TFX's driver."""
    patterns = [
        (f"{name}_{number}", wildcards(pattern))
        for name, table in data.described().tables.named()
        for number, pattern in enumerate(table.files)
    ]
    # Without a split, the driver has no fingerprint and fails.
    splits = [example_gen_pb2.Input.Split(name=name, pattern=pattern) for name, pattern in patterns or [("none", "*")]]
    return example_gen_pb2.Input(splits=splits)
