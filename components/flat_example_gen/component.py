"""The ExampleGen of tables: text or Parquet, a row per example."""

from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2

from components.example_gen.packed_config import pack
from components.flat_example_gen.config import CriteoIngestConfig, FlatIngestConfig
from components.flat_example_gen.executor import Executor


class FlatExampleGen(FileBasedExampleGen):
    """Ingests a table into the splits `train`, `eval` and `test`.

    TFX's driver fingerprints the files; together with the config and a hash of the ingesting code they make the cache
    key.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, input_base: str, data: FlatIngestConfig | CriteoIngestConfig):
        """Connects the component.

        Args:
            input_base: Directory below which the files lie.
            data: The configuration.
        """
        super().__init__(
            input_base=input_base,
            input_config=example_gen_pb2.Input(
                splits=[
                    example_gen_pb2.Input.Split(name=f"files_{number}", pattern=pattern)
                    for number, pattern in enumerate(data.source().files)
                ]
            ),
            # The output splits follow from the section `data`, not from TFX's hash buckets.
            output_config=example_gen_pb2.Output(),
            custom_config=pack(data, Executor.__module__),
        )
