"""The curated schema: checked against the feature spec, or derived from it."""

from tensorflow_metadata.proto.v0 import schema_pb2

from trainer_module.data.features import Column, FeatureSpec
from trainer_module.data.spec import DatasetSpec
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


def curated_schema(dataset: DatasetSpec, known: schema_pb2.Schema) -> schema_pb2.Schema:
    """The part of a known dataset's schema that an experiment uses, and derived features for its other columns.

    A known dataset's columns depend on task, slices and joins. Types and domains come from the curated schema; shape
    and presence follow from the feature spec, because Transform reads a column by them.

    Args:
        dataset: Gives the columns.
        known: Curated features by name, and the domains that they name.
    """
    curated = {feature.name: feature for feature in known.feature}
    features = [_merged(curated.get(feature.name), feature) for feature in derive_schema(dataset).feature]
    used = {feature.domain for feature in features if feature.domain}
    return schema_pb2.Schema(
        feature=features, string_domain=[domain for domain in known.string_domain if domain.name in used]
    )


def _merged(curated: schema_pb2.Feature | None, derived: schema_pb2.Feature) -> schema_pb2.Feature:
    """The curated feature in the shape that the spec gives it; without one, the derived feature."""
    if curated is None:
        return derived
    merged = schema_pb2.Feature()
    merged.CopyFrom(curated)
    merged.ClearField("shape")
    if derived.HasField("shape"):
        merged.ClearField("value_count")
        merged.shape.CopyFrom(derived.shape)
        merged.presence.CopyFrom(derived.presence)
    elif derived.HasField("value_count"):
        merged.value_count.CopyFrom(derived.value_count)
    return merged


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


def derive_schema(dataset: DatasetSpec) -> schema_pb2.Schema:
    """Derives types, shapes and presence of all columns, the labels' ranges, and that weights are not negative.

    A required column has exactly one value per example; any other must have one somewhere, and at most one per example
    unless it is multivalent. Domains of tokens do not follow from the spec.
    """
    ranges = {label.name: label.label_range for label in dataset.labels} | {
        dataset.features.label.name: dataset.label_range
    }
    return schema_pb2.Schema(feature=[_feature(column, ranges.get(column.name)) for column in dataset.features.columns])


def _feature(column: Column, value_range: tuple[float, float] | None) -> schema_pb2.Feature:
    feature = schema_pb2.Feature(name=column.name, type=_TYPES[column.dtype])
    feature.presence.min_count = 1
    if column.required and not column.multivalent:
        feature.presence.min_fraction = 1.0
        feature.shape.dim.add(size=1)
    elif not column.multivalent:
        feature.value_count.max = 1
    if column.kind == "example_weight":
        feature.float_domain.min = 0.0
    if value_range:
        feature.float_domain.min, feature.float_domain.max = value_range
    return feature
