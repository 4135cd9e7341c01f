"""How an ingest config reaches its executor: as one JSON string inside the custom config."""

from google.protobuf import any_pb2, struct_pb2
from pydantic import BaseModel
from tfx.proto import example_gen_pb2
from tfx.utils import proto_utils

from trainer_module.source_hash import source_hash

_CONFIG, _SOURCE_HASH = "data", "source_hash"


def pack(config: BaseModel, executor_module: str) -> example_gen_pb2.CustomConfig:
    """Packs a config and a hash of the ingesting code, which both are part of the cache key.

    Args:
        config: Of the ingestion.
        executor_module: Dotted name of the executor's module.
    """
    # A Struct turns every number into a float64, which a seed need not fit; so the config travels as one string.
    fields = struct_pb2.Struct()
    fields.update({_CONFIG: config.model_dump_json(), _SOURCE_HASH: source_hash(executor_module)})
    packed = any_pb2.Any()
    packed.Pack(fields)
    return example_gen_pb2.CustomConfig(custom_config=packed)


def unpack(custom_config: str) -> str:
    """The config's JSON.

    Args:
        custom_config: What `pack` made, serialized as JSON.

    Raises:
        ValueError: It is not of that kind.
    """
    message = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(custom_config, message)
    fields = struct_pb2.Struct()
    if not message.custom_config.Unpack(fields):
        raise ValueError(f"custom_config holds {message.custom_config.type_url!r} instead of a Struct")
    return fields.fields[_CONFIG].string_value
