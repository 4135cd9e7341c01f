"""The ExampleGen of the product."""

from collections.abc import Mapping
from typing import Any

from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2

from components.example_gen.config import IngestConfig
from components.example_gen.executor import Executor
from components.example_gen.layout import FILES
from components.example_gen.packed_config import pack


class MovieLensExampleGen(FileBasedExampleGen):
    """Ingests a dataset in the MovieLens 100K layout into the splits `train`, `eval` and `test`.

    TFX's driver fingerprints the three data files; together with the config and a hash of the ingesting code they
    make the cache key.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, input_base: str, data: IngestConfig | Mapping[str, Any]):
        """Connects the component.

        Args:
            input_base: Directory with `u.data`, `u.user` and `u.item`.
            data: The configuration, or its fields as JSON-able values.

        Raises:
            pydantic.ValidationError: `data` is not a valid `IngestConfig`.
        """
        config = data if isinstance(data, IngestConfig) else IngestConfig.model_validate(data)
        super().__init__(
            input_base=input_base,
            input_config=example_gen_pb2.Input(
                splits=[example_gen_pb2.Input.Split(name=name.replace(".", "_"), pattern=name) for name in FILES]
            ),
            # The output splits follow from the protocol, not from TFX's hash buckets.
            output_config=example_gen_pb2.Output(),
            custom_config=pack(config, Executor.__module__),
        )
