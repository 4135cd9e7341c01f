"""Holds the curated schema against the feature spec, before anything runs."""

from tensorflow_metadata.proto.v0 import schema_pb2

from trainer_module.data.features import Column, FeatureSpec
from trainer_module.errors import ConfigError

_TYPES = {"string": schema_pb2.BYTES, "int64": schema_pb2.INT, "float32": schema_pb2.FLOAT}


def check_schema(spec: FeatureSpec, schema: schema_pb2.Schema, schema_file: str) -> None:
    """Checks that spec and schema name the same columns with the same types and shapes.

    Args:
        spec: Of the dataset.
        schema: The curated schema.
        schema_file: Its name, for messages.

    Raises:
        ConfigError: Lists every difference.
    """
    features = {feature.name: feature for feature in schema.feature}
    columns = {column.name: column for column in spec.columns}
    problems = [f"column {name!r} is missing" for name in columns.keys() - features.keys()]
    problems += [f"feature {name!r} is not in the feature spec" for name in features.keys() - columns.keys()]
    for name in columns.keys() & features.keys():
        problems += _differences(columns[name], features[name])
    if problems:
        lines = "\n".join(f"  {problem}" for problem in sorted(problems))
        raise ConfigError(f"{schema_file} does not fit the dataset's feature spec:\n{lines}")


def _differences(column: Column, feature: schema_pb2.Feature) -> list[str]:
    problems = []
    if feature.type != _TYPES[column.dtype]:
        expected, found = (schema_pb2.FeatureType.Name(t) for t in (_TYPES[column.dtype], feature.type))
        problems.append(f"feature {column.name!r}: type {found}, but the spec's dtype {column.dtype} is {expected}")
    # Transform reads a feature as dense only if the schema fixes its shape and says that it is always there.
    dense = feature.HasField("shape") and feature.presence.min_fraction == 1
    if dense != (column.required and not column.multivalent):
        expected = "shape { dim { size: 1 } } and presence { min_fraction: 1 }" if not dense else "no fixed shape"
        problems.append(f"feature {column.name!r}: expected {expected}")
    return problems
